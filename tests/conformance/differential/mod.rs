//! Random zones × random questions, answered by our engine and by Knot, NSD and BIND: code, flags,
//! EDNS and the three sections agree, [`Difference`]s apart.
//!
//! The zones are the same in every run, unless `POINTSMAN_TEST_SEED` says otherwise;
//! `POINTSMAN_TEST_TIMES` makes more of them.

mod compare;
mod peers;
mod zones;

use std::collections::BTreeSet;

use fastrand::Rng;
use pointsman::table::Table;
use pointsman::wire::{HEADER_OCTETS, Message, Name, RecordType};

use self::compare::{Case, KNOWN, compare};
use self::peers::{Kind, Peer};
use self::zones::{Made, any_case, labels, make, prepend};
use super::reply::{ADDITIONAL, Reply, engine, table};
use crate::common::Scratch;
use crate::times;

const ZONES: u32 = 240;
const QUESTIONS: usize = 60;
/// So many disagreements are printed.
const TOLD_MAX: usize = 5;

/// Types to ask for, the common ones more often; some are in no zone.
const TYPES: &[u16] = &[
    1, 1, 1, 1, 2, 2, 5, 5, 6, 12, 13, 15, 16, 17, 18, 28, 28, 29, 33, 35, 37, 39, 39, 43, 43, 44, 46, 47,
    48, 50, 52, 53, 59, 61, 62, 64, 65, 65, 99, 108, 109, 255, 255, 256, 257, 65280, 65534,
];

/// A question as it goes over the wire.
struct Asked {
    query: Vec<u8>,
    rtype: RecordType,
    over_tcp: bool,
    payload: Option<u16>,
    /// For people.
    shown: String,
}

impl Asked {
    /// How long an answer may be that everybody would send.
    fn limit(&self) -> usize {
        match self.payload {
            _ if self.over_tcp => usize::from(u16::MAX),
            Some(payload) => usize::from(payload.clamp(512, 1232)),
            None => 512,
        }
    }
}

fn question(rng: &mut Rng, made: &Made) -> Option<Asked> {
    let known = rng.choice(&made.names).expect("it has its apex");
    let name = match rng.u8(0..10) {
        0 => prepend("a", known),
        1 => prepend("zz", known),
        2 => prepend("b", &prepend("*", known)),
        3 => labels(known).nth(1).unwrap_or(".").to_owned(),
        4 => prepend("\\000\\255", known),
        _ => known.clone(),
    };
    let rtype = RecordType(*rng.choice(TYPES).expect("there are some"));
    let over_tcp = rng.bool();
    let payload = *rng.choice(&[None, Some(512), Some(1232), Some(4096)]).expect("there are some");
    let mut query = pointsman::wire::ask(rng.u16(..), &Name::parse(&name).ok()?, rtype, payload);
    let dnssec_ok = payload.is_some() && rng.bool();
    if dnssec_ok {
        let flags_at = query.len() - 4;
        query[flags_at] = 0x80;
    }
    // RD, and any case.
    query[2] |= u8::from(rng.bool());
    let name = any_case(rng, &name);
    for octet in &mut query[HEADER_OCTETS..] {
        if octet.is_ascii_lowercase() && rng.u8(0..4) == 0 {
            octet.make_ascii_uppercase();
        }
        if *octet == 0 {
            break;
        }
    }
    let shown = format!("{name} {rtype} {payload:?} do={dnssec_ok} tcp={over_tcp}");
    Some(Asked { query, rtype, over_tcp, payload, shown })
}

/// Our answer, and the whole of it; the one over UDP says no more than that one, and says when it
/// says less.
fn our_answer(table: &Table, asked: &Asked) -> (Message, Reply) {
    let raw = engine(table, &asked.query, asked.over_tcp).expect("it answers");
    let whole_raw = engine(table, &asked.query, true).expect("it answers");
    let (message, whole) = (Message::read(&raw).unwrap(), Reply::from(Message::read(&whole_raw).unwrap()));
    if !asked.over_tcp {
        let reply = Reply::from(message.clone());
        let limit = asked.limit();
        assert!(raw.len() <= limit, "{}: {} octets where {limit} fit", asked.shown, raw.len());
        if reply.flags.contains("tc") {
            assert!(whole_raw.len() > limit, "{}: truncated, but all of it fits", asked.shown);
        } else {
            assert_eq!(reply.sections[..ADDITIONAL], whole.sections[..ADDITIONAL], "{}", asked.shown);
            assert!(reply.sections[ADDITIONAL].is_subset(&whole.sections[ADDITIONAL]), "{}", asked.shown);
        }
    }
    (message, whole)
}

#[test]
fn agrees_with_knot_nsd_and_bind() {
    let seed = std::env::var("POINTSMAN_TEST_SEED").ok().map_or(1, |seed| seed.parse().expect("a number"));
    let mut rng = Rng::with_seed(seed);
    let scratch = Scratch::new("differential");
    let zones: Vec<Made> = (0..times::times(ZONES)).map(|nth| make(&mut rng, &format!("z{nth}"))).collect();
    for (nth, made) in zones.iter().enumerate() {
        std::fs::write(scratch.path().join(format!("{nth}.zone")), &made.text).unwrap();
    }
    let peers: Option<Vec<Peer>> =
        Kind::ALL.into_iter().map(|kind| Peer::start(kind, &scratch, &zones)).collect();
    let Some(peers) = peers else { return };
    let mut met = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for made in &zones {
        let apex = Name::parse(&made.apex).unwrap();
        let owners = made.owners(|_| true);
        let cuts = made.owners(|rtype| rtype == "NS").into_iter().filter(|owner| *owner != apex).collect();
        let table = table(&apex, &made.text).unwrap_or_else(|wrong| panic!("{wrong}\n{}", made.text));
        for asked in (0..QUESTIONS).filter_map(|_| question(&mut rng, made)) {
            let (ours, whole) = our_answer(&table, &asked);
            let (rtype, limit) = (asked.rtype, asked.limit());
            let case = Case { apex: &apex, rtype, whole: &whole, limit, owners: &owners, cuts: &cuts };
            for peer in &peers {
                compared += 1;
                let theirs = Message::read(&peer.ask(&asked.query, asked.over_tcp));
                let theirs = theirs.unwrap_or_else(|why| panic!("{:?}: {}: {why}", peer.kind, asked.shown));
                match compare(peer.kind, &case, &ours, &theirs) {
                    Ok(differences) => met.extend(differences.into_iter().map(|what| (peer.kind, what))),
                    Err(why) => wrong.push(format!(
                        "{why}: {}\n{}\nwe: {:?}\n{:?}: {:?}\n",
                        asked.shown,
                        made.text,
                        Reply::from(ours.clone()),
                        peer.kind,
                        Reply::from(theirs),
                    )),
                }
            }
        }
    }
    let told = wrong.iter().take(TOLD_MAX).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {compared} answers differ (seed {seed}):\n{told}", wrong.len());
    for (kind, what) in &met {
        let (_, known) = KNOWN.iter().find(|(known, _)| known == what).expect("every difference is listed");
        assert!(known.contains(kind), "{what:?} is new in {kind:?}");
    }
    for (known, _) in KNOWN {
        assert!(met.iter().any(|(_, what)| what == known), "{known:?} is shown by nobody any more");
    }
}
