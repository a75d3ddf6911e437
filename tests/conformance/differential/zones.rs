//! Zones made at random, such that four servers load them: names that cross each other's way in
//! few labels, every type, wildcards, empty non-terminals, delegations with and without glue,
//! DNAMEs, chains and circles of CNAMEs, targets in and out of the zone, long and odd names.
//!
//! What some server refuses to load is left out: a CNAME or DNAME beside others of its kind, a
//! delegated wildcard (RFC 4592 §4.2), records below a DNAME (RFC 6672 §2.4), a DS that is no
//! delegation's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use fastrand::Rng;
use pointsman::wire::{NAME_OCTETS_MAX, Name};

/// Few, so that names meet. The odd ones: a dot in a label, octets that are no letters, case.
const LABELS: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "*",
    "a",
    "b",
    "c",
    "*",
    "www",
    "A-b",
    "_sip",
    "_tcp",
    "x\\.y",
    "\\000\\255",
    "q\\032q",
];
const ELSEWHERE: &[&str] = &["far.away.", "www.example.", "away.", "."];
const RECORDS_MAX: usize = 28;
/// The longest label there is.
const LONG: &str = "lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll";

/// One zone.
pub struct Made {
    /// Its apex, with the dot at the end.
    pub apex: String,
    /// Its master file, names in full.
    pub text: String,
    /// Names in it worth asking for, in full: owners and targets.
    pub names: Vec<String>,
}

impl Made {
    /// The names that own records of such types.
    pub fn owners(&self, counts: impl Fn(&str) -> bool) -> BTreeSet<Name> {
        let lines = self.text.lines().map(|line| line.split(' '));
        let counted = lines.filter(|words| words.clone().nth(3).is_some_and(&counts));
        counted
            .map(|mut words| Name::parse(words.next().expect("an owner")).expect("it was a name"))
            .collect()
    }
}

/// Records with data of no interest to the engine: one line each, of every type that all four
/// servers know by name, and one that none knows.
const PLAIN: &[(&str, &str)] = &[
    ("TXT", "\"a \\\"text\\\"\" \"\" plain \\065\\254"),
    ("TXT", "\"\""),
    ("HINFO", "\"PDP-11\" \"UNIX \\; V7\""),
    ("LOC", "52 22 23.000 N 4 53 32.000 E -2.00m 1m 10000m 10m"),
    ("LOC", "0 0 0 S 180 0 0 W 42849672.95m 90000000m 0 0"),
    ("CERT", "PKIX 1 RSASHA256 AwEAAbd0"),
    ("SSHFP", "4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789"),
    ("TLSA", "3 1 1 0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3"),
    ("SMIMEA", "3 0 0 aabbcc"),
    ("OPENPGPKEY", "mQINBFit2ioBEADhbjg="),
    ("CSYNC", "66 3 A NS AAAA"),
    ("EUI48", "00-00-5e-00-53-2a"),
    ("EUI64", "00-00-5e-ef-10-00-00-2a"),
    ("URI", "10 1 \"https://www.example/a?b=c\""),
    ("CAA", "0 issue \"ca.example; policy=ev\""),
    ("CAA", "128 iodef \"mailto:x@example\""),
    ("SPF", "\"v=spf1 -all\""),
    ("TYPE65280", "\\# 4 0A000001"),
    ("TYPE65280", "\\# 0"),
];

/// Makes one whose apex ends in this top-level name of its own, unique among all that are made.
pub fn make(rng: &mut Rng, top: &str) -> Made {
    let apex = match rng.u8(0..8) {
        0 => format!("Sub.Zone.{top}."),
        1 => format!("{LONG}.{LONG}.{LONG}.{top}."),
        2 => format!("x\\.y.\\001.{top}."),
        _ => format!("{top}."),
    };
    let mut zone = Zone { apex: apex.clone(), sets: BTreeMap::new(), ttls: BTreeMap::new() };
    let mut pool = vec![apex.clone()];
    for _ in 0..rng.usize(3..=RECORDS_MAX) {
        let owner = zone.name(rng, &pool);
        let (rtype, data) = zone.record(rng, &pool);
        if zone.add(&owner, &rtype, &data) {
            pool.push(owner);
        }
        if let Some(target) = data.split(' ').find(|word| word.ends_with('.') && word.len() > 1) {
            pool.push(target.to_owned());
        }
    }
    let text = zone.text(rng);
    Made { apex, text, names: pool }
}

struct Zone {
    apex: String,
    /// Data by owner and type, owners lower-cased.
    sets: BTreeMap<(String, String), BTreeSet<String>>,
    ttls: BTreeMap<(String, String), u32>,
}

impl Zone {
    /// A name in the zone: a new one, one that was there before, or one beside or below it.
    fn name(&self, rng: &mut Rng, pool: &[String]) -> String {
        let below = match rng.u8(0..6) {
            0 => self.apex.clone(),
            1 | 2 => rng.choice(pool).expect("it has the apex").clone(),
            3 => {
                let name = rng.choice(pool).expect("it has the apex");
                labels(name).nth(1).map_or_else(|| self.apex.clone(), str::to_owned)
            }
            _ => {
                let mut name = self.apex.clone();
                for _ in 0..rng.usize(1..=4) {
                    name = prepend(rng.choice(LABELS).expect("there are some"), &name);
                }
                name
            }
        };
        let inside = below.to_ascii_lowercase().ends_with(&self.apex.to_ascii_lowercase());
        let below = if inside { below } else { self.apex.clone() };
        let name = match rng.u8(0..8) {
            0 => prepend(LONG, &below),
            1..=3 => prepend(rng.choice(LABELS).expect("there are some"), &below),
            _ => below,
        };
        if wire_len(&name) <= NAME_OCTETS_MAX { name } else { self.apex.clone() }
    }

    fn target(&self, rng: &mut Rng, pool: &[String]) -> String {
        if rng.u8(0..6) == 0 {
            return (*rng.choice(ELSEWHERE).expect("there are some")).to_owned();
        }
        self.name(rng, pool)
    }

    fn record(&self, rng: &mut Rng, pool: &[String]) -> (String, String) {
        let target = self.target(rng, pool);
        let (rtype, data) = match rng.u8(0..32) {
            0..=4 => ("A", format!("192.0.2.{}", rng.u8(..))),
            5..=7 => ("AAAA", format!("2001:db8::{:x}", rng.u16(1..))),
            8..=12 => ("CNAME", target),
            13..=17 => ("NS", if target == "." { "ns.far.away.".into() } else { target }),
            18..=19 => ("DNAME", target),
            20 => ("MX", format!("{} {target}", rng.u8(0..3))),
            21 => ("SRV", format!("{} 0 5060 {target}", rng.u8(0..3))),
            22 => ("PTR", target),
            23 => ("NAPTR", format!("10 20 \"U\" \"E2U+sip\" \"!^.*$!sip:x@y!\" {target}")),
            24 => ("RP", format!("{target} far.away.")),
            25 => ("AFSDB", format!("1 {target}")),
            26 => ("DS", format!("{} 8 2 {}", rng.u16(..), "ab".repeat(32))),
            27 => ("HTTPS", format!("1 {target} alpn=h2,h3 ipv4hint=192.0.2.7 ipv6hint=2001:db8::7")),
            28 => ("SVCB", format!("{} {target}", rng.u8(0..1))),
            _ => {
                let (rtype, data) = rng.choice(PLAIN).expect("there are some");
                (*rtype, (*data).to_owned())
            }
        };
        (rtype.to_owned(), data)
    }

    fn has(&self, owner: &str, rtype: &str) -> bool {
        self.sets.contains_key(&(owner.to_owned(), rtype.to_owned()))
    }

    fn types<'z>(&'z self, owner: &'z str) -> impl Iterator<Item = &'z str> {
        self.sets.keys().filter(move |(other, _)| other == owner).map(|(_, rtype)| rtype.as_str())
    }

    /// Adds a record unless that makes a zone which somebody would not load.
    fn add(&mut self, owner: &str, rtype: &str, data: &str) -> bool {
        let owner = owner.to_ascii_lowercase();
        let apex = self.apex.to_ascii_lowercase();
        let at_apex = owner == apex;
        let below_dname = labels(&owner).skip(1).any(|above| self.has(above, "DNAME"));
        let others_below = || {
            self.sets.keys().any(|(other, _)| *other != owner && labels(other).any(|above| above == owner))
        };
        let lawful = match rtype {
            "CNAME" => !at_apex && self.types(&owner).next().is_none(),
            "DNAME" => {
                !self.types(&owner).any(|beside| matches!(beside, "DNAME" | "CNAME" | "NS"))
                    && !owner.starts_with("*.")
                    && !others_below()
            }
            "NS" => {
                !at_apex
                    && !owner.starts_with("*.")
                    && !self.has(&owner, "CNAME")
                    && !self.has(&owner, "DNAME")
            }
            "DS" => self.has(&owner, "NS"),
            _ => !self.has(&owner, "CNAME"),
        };
        if !lawful || below_dname {
            return false;
        }
        self.sets.entry((owner, rtype.to_owned())).or_default().insert(data.to_owned())
    }

    fn text(&mut self, rng: &mut Rng) -> String {
        let mut text = String::new();
        let apex = &self.apex;
        let minimum = rng.u32(0..600);
        writeln!(text, "{apex} 300 IN SOA ns.far.away. host\\.master.far.away. 1 7200 900 1209600 {minimum}")
            .unwrap();
        writeln!(text, "{apex} 400 IN NS ns.far.away.").unwrap();
        if rng.bool() && !self.has(&apex.to_ascii_lowercase(), "DNAME") {
            let server = prepend("ns", apex);
            writeln!(text, "{apex} 400 IN NS {server}").unwrap();
            writeln!(text, "{server} 60 IN A 192.0.2.53").unwrap();
        }
        for ((owner, rtype), datas) in &self.sets {
            let ttl = *self.ttls.entry((owner.clone(), rtype.clone())).or_insert_with(|| rng.u32(0..1000));
            for data in datas {
                let owner = any_case(rng, owner);
                writeln!(text, "{owner} {ttl} IN {rtype} {data}").unwrap();
            }
        }
        text
    }
}

/// A name, and all those above it, as text. Dots that are escaped part nothing.
pub fn labels(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| {
        let mut octets = name.bytes().enumerate();
        while let Some((at, octet)) = octets.next() {
            match octet {
                b'\\' => drop(octets.next()),
                b'.' => return name.get(at + 1..).filter(|rest| !rest.is_empty()),
                _ => {}
            }
        }
        None
    })
}

pub fn prepend(label: &str, name: &str) -> String {
    if name == "." { format!("{label}.") } else { format!("{label}.{name}") }
}

/// Octets in wire form; too many, if it is no name.
fn wire_len(name: &str) -> usize {
    Name::parse(name).map_or(usize::MAX, |name| name.as_wire().len())
}

/// The same name in another case.
pub fn any_case(rng: &mut Rng, name: &str) -> String {
    name.chars().map(|letter| if rng.u8(0..4) == 0 { letter.to_ascii_uppercase() } else { letter }).collect()
}
