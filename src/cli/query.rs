//! `query`: the answer engine without a socket, printed as dig does.

use std::path::Path;
use std::sync::Arc;

use crate::base::Named;
use crate::decide::{Daemon, Restored};
use crate::dns::{Asker, Desk, Transport, answer};
use crate::io::Clock;
use crate::sys;
use crate::table::{Image, Table};
use crate::wire::{Message, Name, RecordType, ask};

use super::args::{Common, Query};
use super::text::{colour, complain, print};
use super::{Done, Exit};

/// As much as TCP carries: what is printed is the whole answer.
const ANSWER_OCTETS_MAX: usize = 65_535;
/// What resolvers ask for; it brings the answer's own OPT record along.
const PAYLOAD: u16 = 1232;

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
    let message = ask(1, &name, rtype, Some(PAYLOAD));
    let mut out = vec![0; ANSWER_OCTETS_MAX];
    let asker = Asker { client: query.client, transport: Transport::Tcp };
    let mut desk = Desk::new(fastrand::Rng::with_seed(1), Clock.seconds());
    let length = answer(&message, &mut out, &table, &asker, &mut desk)
        .ok_or_else(|| Exit::No("the server would not answer this at all".to_owned()))?;
    let shown = Message::read(&out[..length])
        .map_err(|why| Exit::No(format!("the answer does not read back: {why}")))?;
    print(&shown.to_string());
    if dynamic {
        print(AS_IF);
    }
    Ok(())
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
    let candidates: Vec<Name> = match origin {
        Some(origin) => vec![Name::parse(origin).map_err(|why| Exit::No(format!("`{origin}`: {why}")))?],
        None => {
            let text = std::fs::read_to_string(file)
                .map_err(|why| Exit::Missing(format!("cannot read {}: {why}", file.display())))?;
            stated_origin(&text)
                .into_iter()
                .chain(std::iter::successors(Some(name.clone()), Name::parent))
                .collect()
        }
    };
    let mut first_trouble = None;
    for apex in candidates {
        match sys::load_zone(file, &apex) {
            Ok((zone, warnings)) => {
                complain(&warnings.render(colour(true)));
                let (image, _) = Image::with_services(&[zone], &Named::default())
                    .map_err(|mistakes| Exit::No(mistakes.render(colour(true))))?;
                return Ok(Arc::new(Table::new(crate::base::Generation(1), image, Vec::new())));
            }
            Err(mistakes) => drop(first_trouble.get_or_insert(mistakes)),
        }
    }
    let trouble = first_trouble.map_or(String::new(), |mistakes| mistakes.render(colour(true)));
    Err(Exit::No(format!("{trouble}if the file leaves its apex open, name it with --origin")))
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
