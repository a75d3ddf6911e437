//! Galera: one short session per member and round, two questions that every role may ask.
//!
//! `wsrep_cluster_status` is the word that counts: a member that is cut off says `non-Primary`
//! after 6.5 seconds at most. Not asked, because they answer on as if nothing were wrong: a ping,
//! `SELECT 1`, `@@read_only`, `wsrep_connected`, `wsrep_evs_state`, and reads of tables under
//! `wsrep_dirty_reads`.
//!
//! What takes the others is `START TRANSACTION` with `wsrep_sync_wait`: it sends a message through
//! the group and waits until it is back, unless one has been within the last second
//! (`evs.causal_keepalive_period`). It needs no table and no rights, and writes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::mysql::{failed, named, open};
use crate::cluster::{ComponentFacts, ComponentView, Facts, LinearizableResult};
use crate::config::{GaleraOptions, HostPort};
use crate::io::{Contact, Failure, Net};

const STATUS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', \
    'wsrep_cluster_size', 'wsrep_cluster_conf_id', 'wsrep_cluster_state_uuid', 'wsrep_gcomm_uuid', \
    'wsrep_local_state', 'wsrep_local_state_comment', 'wsrep_ready', 'wsrep_last_committed', \
    'wsrep_local_recv_queue', 'wsrep_flow_control_active')";
const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'wsrep_reject_queries')";

/// `wsrep_local_state`: it has all that the others have.
const SYNCED: &str = "4";
/// A member before its first membership.
const NO_CLUSTER: &str = "00000000-0000-0000-0000-000000000000";
/// ER_UNKNOWN_COM_ERROR, as "WSREP has not yet prepared node for application use"; what a wait
/// ends with when the member finds out that it is cut off (ER_LOCK_WAIT_TIMEOUT,
/// ER_ERROR_DURING_COMMIT).
const FOR_WANT_OF_A_QUORUM: [u16; 3] = [1047, 1205, 1180];

/// What a member says of itself.
pub(super) async fn status(
    net: &Net,
    options: &GaleraOptions,
    address: &HostPort,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let mut contact = Contact::new(timeout);
    let asked = async {
        let mut session = open(&mut contact, net, &options.login, address).await?;
        let status = session.query(&contact, STATUS).await?;
        let variables = session.query(&contact, VARIABLES).await?;
        Ok::<_, crate::io::mysql::MysqlFailure>((named(status), named(variables)))
    };
    let (status, variables) = asked.await.map_err(|error| error.failure)?;
    facts(&status, &variables)
        .map(Facts::Component)
        .ok_or_else(|| Failure::rubbish(format!("{address} is no Galera member: it has no wsrep status")))
}

/// Sends a message through the group, and waits until it is back.
pub(super) async fn linearizable(
    net: &Net,
    options: &GaleraOptions,
    address: &HostPort,
) -> LinearizableResult {
    let mut contact = Contact::new(options.linearizable_timeout);
    let mut session = match open(&mut contact, net, &options.login, address).await {
        Ok(session) => session,
        Err(error) => return LinearizableResult::Unmeasured(error.failure.words),
    };
    for question in ["SET SESSION wsrep_sync_wait = 1", "START TRANSACTION", "ROLLBACK"] {
        if let Err(error) = session.query(&contact, question).await {
            return failed(&error, &FOR_WANT_OF_A_QUORUM);
        }
    }
    LinearizableResult::Passed
}

fn facts(status: &BTreeMap<String, String>, variables: &BTreeMap<String, String>) -> Option<ComponentFacts> {
    let text = |name: &str| status.get(name).map(String::as_str);
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    let primary = text("wsrep_cluster_status")? == "Primary";
    let view = match primary {
        true => Some(ComponentView {
            number: number("wsrep_cluster_conf_id")?,
            name: String::new(),
            size: usize::try_from(number("wsrep_cluster_size")?).ok()?,
        }),
        false => None,
    };
    let rejects = variables.get("wsrep_reject_queries").is_some_and(|which| which != "NONE");
    Some(ComponentFacts {
        cluster: text("wsrep_cluster_state_uuid")
            .filter(|uuid| *uuid != NO_CLUSTER)
            .unwrap_or_default()
            .to_owned(),
        member: text("wsrep_gcomm_uuid").unwrap_or_default().to_owned(),
        view,
        ready: text("wsrep_ready")? == "ON" && !rejects,
        synced: text("wsrep_local_state")? == SYNCED,
        state: match (primary, rejects) {
            (false, _) => text("wsrep_cluster_status")?.to_owned(),
            (true, true) => "rejects queries".to_owned(),
            (true, false) => text("wsrep_local_state_comment")?.to_owned(),
        },
        primary: None,
        read_only: variables.get("read_only").is_some_and(|value| value != "OFF"),
        stalled: text("wsrep_flow_control_active").is_some_and(|value| value == "true"),
        // -1 as long as it has none.
        committed: number("wsrep_last_committed").unwrap_or(0),
        queue: number("wsrep_local_recv_queue").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name=value name=value`, as captured.
    fn parse(text: &str) -> Option<ComponentFacts> {
        let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
        let status = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let variables = BTreeMap::from([("read_only".to_owned(), "OFF".to_owned())]);
        facts(&status, &variables)
    }

    #[test]
    fn a_member_that_is_cut_off_says_so_in_one_word_only() {
        // MariaDB 10.11 with Galera 26.4, isolated: it answers SQL, it is connected, it is
        // OPERATIONAL, it is not read-only, and its component of one is not primary.
        let facts = parse(
            "wsrep_last_committed=33 wsrep_local_recv_queue=0 wsrep_flow_control_paused=0 \
             wsrep_local_state=0 wsrep_local_state_comment=Initialized wsrep_cluster_weight=0 \
             wsrep_evs_state=OPERATIONAL wsrep_gcomm_uuid=9003830c-e57f-11f1-accc-32ed9205aaaa \
             wsrep_cluster_conf_id=18446744073709551615 wsrep_cluster_size=1 \
             wsrep_cluster_state_uuid=90042684-e57f-11f1-93b8-0e73874a4765 \
             wsrep_cluster_status=non-Primary wsrep_connected=ON wsrep_ready=OFF",
        );
        let facts = facts.unwrap();
        assert_eq!((facts.view, facts.ready, facts.synced, facts.read_only), (None, false, false, false));
        assert_eq!((facts.state.as_str(), facts.committed), ("non-Primary", 33));
    }

    #[test]
    fn a_member_of_the_primary_component_names_it() {
        let text = "wsrep_last_committed=135 wsrep_local_recv_queue=3 wsrep_local_state=4 \
             wsrep_local_state_comment=Synced wsrep_gcomm_uuid=905635a7-e57f-11f1-bedc-465796b24710 \
             wsrep_cluster_conf_id=7 wsrep_cluster_size=2 \
             wsrep_cluster_state_uuid=90042684-e57f-11f1-93b8-0e73874a4765 \
             wsrep_cluster_status=Primary wsrep_connected=ON wsrep_ready=ON";
        let facts = parse(text).unwrap();
        assert_eq!(facts.view, Some(ComponentView { number: 7, name: String::new(), size: 2 }));
        assert!(facts.ready && facts.synced && !facts.stalled);
        assert_eq!((facts.committed, facts.queue), (135, 3));
        // A joiner is in the component before it serves.
        let joiner = text
            .replace("state=4", "state=1")
            .replace("comment=Synced", "comment=Joining")
            .replace("ready=ON", "ready=OFF");
        let facts = parse(&joiner).unwrap();
        assert!(facts.view.is_some() && !facts.ready && !facts.synced);
        assert_eq!(facts.state, "Joining");
        // A server without wsrep is none.
        assert_eq!(parse("uptime=3"), None);
    }
}
