//! Asking the parent of a zone which keys it points at.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Dnssec;
use crate::io::{Clock, dns};
use crate::sign::ParentSays;
use crate::wire::{Message, Name, Rcode, RecordType};

/// All of a parent's servers together get this long; nobody waits for them.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Flags of a message: the server is an authority (RFC 1035 §4.1.1).
const AUTHORITATIVE: u16 = 1 << 10;

/// Asks every server of the parent, if the configuration names them or says that there is nobody to
/// ask; else one of the system's resolvers, whose word may be as old as the DS set's TTL.
pub(super) async fn ask_parent(zone: &Name, dnssec: &Dnssec) -> ParentSays {
    let deadline = Clock.deadline(ANSWER_WAIT);
    let Some(servers) = &dnssec.parent else {
        for resolver in dns::system_resolvers() {
            let answer = dns::ask_server(resolver, zone, RecordType::DS, true, deadline).await;
            if let Some(set) = answer.ok().and_then(|message| ds_set(zone, &message)) {
                return ParentSays { sets: vec![set], all: false };
            }
        }
        return ParentSays { sets: Vec::new(), all: false };
    };
    let mut asked = tokio::task::JoinSet::new();
    for server in servers {
        asked.spawn(ask_authority(*server, zone.clone(), deadline));
    }
    let mut sets = Vec::new();
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(set)) => sets.push(set),
            Ok(Err(why)) => tracing::warn!(event = "dnssec.parent_silent", %zone, "{why}"),
            Err(why) => tracing::warn!(event = "dnssec.parent_silent", %zone, "{why}"),
        }
    }
    let all = sets.len() == servers.len();
    ParentSays { sets, all }
}

async fn ask_authority(
    server: SocketAddr,
    zone: Name,
    deadline: crate::io::Deadline,
) -> Result<Vec<Vec<u8>>, String> {
    let message = dns::ask_server(server, &zone, RecordType::DS, false, deadline).await?;
    if message.flags & AUTHORITATIVE == 0 {
        return Err(format!("{server} is no authority for the DS of {zone}: is it a server of the parent?"));
    }
    ds_set(&zone, &message)
        .ok_or_else(|| format!("{server} answers {} for the DS of {zone}", message.rcode()))
}

fn ds_set(zone: &Name, message: &Message) -> Option<Vec<Vec<u8>>> {
    if !matches!(message.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN) {
        return None;
    }
    let records = message.sections[0].iter();
    let ours = records
        .filter(|record| record.rtype == RecordType::DS && record.owner.eq_ignore_ascii_case(zone.as_wire()));
    Some(ours.map(|record| record.rdata.clone()).collect())
}
