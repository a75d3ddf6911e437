//! `query`: the answer engine without a socket, printed as dig does.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::base::{Mistakes, Named, Prefix};
use crate::decide::{Daemon, Restored};
use crate::dns::{Asker, Desk, Transport, answer};
use crate::io::Clock;
use crate::sys;
use crate::table::{Image, Table};
use crate::wire::{
    AskEdns, Message, Name, Record, RecordType, ShowName, ShowRdata, ask_by_edns, option_code,
};

use super::args::{Common, Output, Query};
use super::text::{colour, complain, print, print_json};
use super::{Done, Exit};

/// As much as TCP carries: what is printed is the whole answer.
const ANSWER_OCTETS_MAX: usize = 65_535;
/// As dig says it.
const RETRIED: &str = ";; Truncated, retrying in TCP mode.\n";

/// So are the keys.
const UNSIGNED: &str = ";; without signatures: the keys of signed zones are the daemon's\n";

/// The health of regions is the daemon's to know.
const AS_IF: &str = ";; as if every region were healthy; `pointsman explain NAME` asks the daemon which one is answered now\n";

pub(super) fn run(common: &Common, query: &Query) -> Done {
    let name = Name::parse(&query.name)
        .map_err(|why| Exit::No(format!("`{}` is not a domain name: {why}", query.name)))?;
    let rtype = RecordType::parse(query.qtype.as_bytes()).ok_or_else(|| {
        Exit::No(format!("`{}` is not a record type; write A, AAAA, SOA … or TYPE65280", query.qtype))
    })?;
    let (table, dynamic) = match &query.zone {
        Some(file) => (zone_table(file, query.origin.as_deref(), &name)?, false),
        None => config_table(&common.config, &name)?,
    };
    let over_tcp = query.tcp;
    let mut answered = exchange(&table, query, &name, rtype, over_tcp)?;
    let retried = answered.is_truncated() && !query.udp && !over_tcp;
    if retried {
        answered = exchange(&table, query, &name, rtype, true)?;
    }
    if common.output == Output::Json {
        print_json(&answered.json());
        return Ok(());
    }
    if retried {
        print(RETRIED);
    }
    print(&answered.message.to_string());
    print(&format!("\n;; MSG SIZE  rcvd: {}\n", answered.octets));
    // A file alone has no keys.
    if query.dnssec && query.zone.is_none() {
        print(UNSIGNED);
    }
    if dynamic {
        print(AS_IF);
    }
    Ok(())
}

/// An answer, and how it came.
struct Answered {
    message: Message,
    octets: usize,
    over_tcp: bool,
}

fn exchange(
    table: &Table,
    query: &Query,
    name: &Name,
    rtype: RecordType,
    over_tcp: bool,
) -> Result<Answered, Exit> {
    let edns = (!query.no_edns).then(|| AskEdns {
        payload: query.bufsize,
        dnssec_ok: query.dnssec,
        options: query.subnet.iter().map(subnet_option).collect(),
    });
    let asked = ask_by_edns(1, name, rtype, edns.as_ref());
    let mut out = vec![0; ANSWER_OCTETS_MAX];
    let transport = if over_tcp { Transport::Tcp } else { Transport::Udp };
    let asker = Asker { client: query.client, transport };
    let mut desk = Desk::new(fastrand::Rng::with_seed(1), Clock.seconds());
    let octets = answer(&asked, &mut out, table, &asker, &mut desk)
        .ok_or_else(|| Exit::No("the server would not answer this at all".to_owned()))?;
    let message = Message::read(&out[..octets])
        .map_err(|why| Exit::No(format!("the answer does not read back: {why}")))?;
    Ok(Answered { message, octets, over_tcp })
}

/// Family, length, no scope, and the octets that the length reaches (RFC 7871 §6).
fn subnet_option(subnet: &Prefix) -> (u16, Vec<u8>) {
    let (family, octets) = match subnet.first() {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let counted = usize::from(subnet.len().div_ceil(8));
    (option_code::CLIENT_SUBNET, [&[0, family, subnet.len(), 0], &octets[..counted]].concat())
}

impl Answered {
    fn is_truncated(&self) -> bool {
        self.message.flag_words().any(|word| word == "tc")
    }

    /// The same for scripts, in dig's words.
    fn json(&self) -> Value {
        let Message { id, sections, opt, questions, .. } = &self.message;
        let [answer, authority, additional] = sections.each_ref().map(|section| {
            let records = section.iter().map(|Record { owner, rtype, class, ttl, rdata }| {
                json!({
                    "name": ShowName(owner).to_string(),
                    "ttl": ttl,
                    "class": class.to_string(),
                    "type": rtype.to_string(),
                    "data": ShowRdata { rtype: *rtype, rdata }.to_string(),
                })
            });
            records.collect::<Value>()
        });
        let question = questions.first().map(|(name, rtype, class)| {
            json!({"name": ShowName(name).to_string(), "class": class.to_string(), "type": rtype.to_string()})
        });
        let edns = opt.as_ref().map(|opt| {
            let hex = |value: &[u8]| value.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
            let options = opt.options.iter().map(|(code, value)| json!({"code": code, "data": hex(value)}));
            json!({
                "version": opt.version,
                "dnssec_ok": opt.flags >> 15 != 0,
                "udp": opt.payload,
                "options": options.collect::<Value>(),
            })
        });
        json!({
            "id": id,
            "opcode": self.message.opcode().to_string(),
            "status": self.message.rcode().to_string(),
            "flags": self.message.flag_words().collect::<Vec<_>>(),
            "edns": edns,
            "question": question,
            "answer": answer,
            "authority": authority,
            "additional": additional,
            "octets": self.octets,
            "transport": if self.over_tcp { "tcp" } else { "udp" },
        })
    }
}

/// What the configuration answers before anything is known of its regions, and whether the name is
/// a service's.
fn config_table(path: &Path, name: &Name) -> Result<(Arc<Table>, bool), Exit> {
    let (setup, _) = sys::load(path).map_err(|mistakes| Exit::No(mistakes.render(colour(true))))?;
    let storeless = Some("a query needs no store".to_owned());
    let dynamic =
        setup.config.services.values().any(|service| service.names.iter().any(|(known, _)| known == name));
    let mut daemon = Daemon::new(setup, Restored::nothing(), storeless, fastrand::Rng::with_seed(1));
    let effects = daemon.conclude(Clock.now());
    Ok((effects.publish.expect("the first conclusion always compiles a table"), dynamic))
}

/// A single zone, without services. Its apex is what is said, or what the file itself says, or
/// the first parent of the name asked for under which the file makes sense.
fn zone_table(file: &Path, origin: Option<&str>, name: &Name) -> Result<Arc<Table>, Exit> {
    let (stated, guessed) = match origin {
        Some(origin) => {
            (Some(Name::parse(origin).map_err(|why| Exit::No(format!("`{origin}`: {why}")))?), None)
        }
        None => {
            let text = std::fs::read_to_string(file)
                .map_err(|why| Exit::Missing(format!("cannot read {}: {why}", file.display())))?;
            (stated_origin(&text), Some(name.clone()))
        }
    };
    let is_open = stated.is_none();
    let candidates = stated.into_iter().chain(std::iter::successors(guessed, Name::parent));
    let mut troubles: Vec<Mistakes> = Vec::new();
    for apex in candidates {
        match sys::load_zone(file, &apex) {
            Ok((zone, warnings)) => {
                complain(&warnings.render(colour(true)));
                let (image, _) = Image::with_services(&[zone], &Named::default())
                    .map_err(|mistakes| Exit::No(mistakes.render(colour(true))))?;
                return Ok(Arc::new(Table::new(crate::base::Generation(1), image, Vec::new())));
            }
            Err(mistakes) => troubles.push(mistakes),
        }
    }
    let trouble = troubles.first().map_or(String::new(), |mistakes| mistakes.render(colour(true)));
    // What is wrong under every name has nothing to do with the name.
    let depends = troubles.iter().any(|other| troubles.first() != Some(other));
    Err(Exit::No(match is_open && depends {
        true => format!("{trouble}the file does not say which zone it is: name its apex with --origin"),
        false => trouble.trim_end().to_owned(),
    }))
}

/// The apex that a file states: by `$ORIGIN` before any record, or by the owner of its SOA.
fn stated_origin(text: &str) -> Option<Name> {
    for line in text.lines() {
        let mut words = line.split(';').next().unwrap_or_default().split_whitespace();
        match (words.next(), words.next()) {
            (Some("$ORIGIN"), Some(origin)) => return Name::parse(origin).ok(),
            (Some(directive), _) if directive.starts_with('$') => {}
            (Some(owner), Some(_)) if owner.ends_with('.') && !line.starts_with(char::is_whitespace) => {
                let soa = line.split_whitespace().any(|word| word.eq_ignore_ascii_case("SOA"));
                return soa.then(|| Name::parse(owner).ok()).flatten();
            }
            (Some(_), _) => return None,
            (None, _) => {}
        }
    }
    None
}
