//! The cases of SIGCOMM's "Ferret" (<https://github.com/dns-groot/Ferret>, MIT, `LICENSE-ferret`):
//! small zones made by symbolic execution of the RFCs, a question each, and what BIND, NSD, Knot
//! and PowerDNS answer.
//!
//! Compared are the code, the flags AA and TC, and each section as a set of records with their
//! TTLs, case apart. One thing is left open: whether the zone's own NS records stand in the
//! authority section beside an answer (RFC 1034 §4.3.1 allows them, BIND and we leave them out).
//!
//! Where the four agree, so must we. Where they do not, we agree with one of them, or the case is
//! listed in `ferret-explained.txt`.

use std::collections::{BTreeMap, BTreeSet};

use pointsman::wire::{Name, Rcode, RecordType};
use serde::Deserialize;

use super::reply::{ANSWER, AUTHORITY, Reply, ours, table};

const CASES: &str = include_str!("ferret.jsonl");
const EXPLAINED: &str = include_str!("ferret-explained.txt");

#[derive(Deserialize)]
struct Case {
    id: u32,
    zone: String,
    qname: String,
    qtype: String,
    expected: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    servers: Vec<String>,
    /// As dnspython prints a message.
    response: Vec<String>,
}

impl Expected {
    fn reply(&self) -> Reply {
        let mut reply = Reply::default();
        let mut section = None;
        for line in &self.response {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("opcode", opcode) => assert_eq!(opcode, "QUERY"),
                ("rcode", rcode) => reply.rcode = named(rcode),
                ("flags", flags) => reply.flags = flags.split(' ').map(str::to_ascii_lowercase).collect(),
                (title, "") if title.starts_with(';') => {
                    section =
                        [";ANSWER", ";AUTHORITY", ";ADDITIONAL"].iter().position(|known| *known == title);
                }
                _ => {
                    if let Some(section) = section {
                        reply.sections[section].insert(line.to_owned());
                    }
                }
            }
        }
        reply
    }
}

fn named(rcode: &str) -> Rcode {
    Rcode::NAMED.iter().find(|(_, text)| *text == rcode).expect("a code of the DNS").0
}

/// A line of a master file in one spelling: lower-cased, one blank between words.
fn one_spelling(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase()
}

/// In one spelling, and without the zone's NS records beside an answer.
fn minimal(mut reply: Reply, apex: &Name) -> Reply {
    reply.sections = reply.sections.map(|section| section.iter().map(|line| one_spelling(line)).collect());
    if !reply.sections[ANSWER].is_empty() && reply.flags.contains("aa") {
        let servers = format!("{apex} 500 in ns ");
        reply.sections[AUTHORITY].retain(|record| !record.starts_with(&servers));
    }
    reply
}

/// Whether one has the same turns of a circle as the other, and perhaps more.
fn are_parts(one: &Reply, other: &Reply) -> bool {
    let (one_answer, other_answer) = (&one.sections[ANSWER], &other.sections[ANSWER]);
    let is_part = one_answer.is_subset(other_answer) || other_answer.is_subset(one_answer);
    is_part && one.rcode == other.rcode && one.sections[1..] == other.sections[1..]
}

fn explained() -> BTreeMap<u32, &'static str> {
    let lines = EXPLAINED.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (id, why) = line.split_once(' ').expect("a number and a reason");
            assert!(why.contains("RFC"), "{line}: an explanation cites what decides");
            (id.parse().expect("a number"), why)
        })
        .collect()
}

#[test]
fn agrees_with_four_servers_where_they_agree() {
    let explained = explained();
    let mut needed = BTreeSet::new();
    let mut unanimous = 0;
    let mut wrong = Vec::new();
    let cases: Vec<Case> = CASES.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(cases.len(), 3169);
    for case in &cases {
        let apex = Name::parse(case.zone.split_whitespace().next().unwrap()).unwrap();
        let table = table(&apex, &case.zone).unwrap_or_else(|wrong| panic!("{}: {wrong}", case.id));
        let qtype = RecordType::parse(case.qtype.as_bytes()).unwrap();
        let got = minimal(ours(&table, &Name::parse(&case.qname).unwrap(), qtype).into(), &apex);
        let accepted = || case.expected.iter().map(|expected| minimal(expected.reply(), &apex));
        unanimous += u32::from(case.expected.len() == 1);
        if accepted().any(|accepted| accepted == got) {
            continue;
        }
        if explained.contains_key(&case.id) && case.expected.len() > 1 {
            needed.insert(case.id);
            let turns = accepted().filter(|reply| reply.sections[ANSWER].len() > 2);
            if turns.clone().count() >= 2 && turns.clone().all(|reply| are_parts(&got, &reply)) {
                continue;
            }
        }
        let theirs = case.expected.iter().map(|expected| {
            format!("{}: {:?}\n", expected.servers.join(", "), minimal(expected.reply(), &apex))
        });
        let theirs = theirs.collect::<String>();
        let Case { id, zone, qname, qtype, .. } = case;
        wrong.push(format!("case {id}: {qname} {qtype}\n{zone}\n{theirs}we: {got:?}\n"));
    }
    assert!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(unanimous, 2518);
    let unneeded: Vec<_> = explained.keys().filter(|id| !needed.contains(id)).collect();
    assert!(unneeded.is_empty(), "no case needs these explanations any more: {unneeded:?}");
}
