//! What the engine answers from a signed zone: every answer proves what it says.

use pointsman::dns::{Asker, Counter, Transport, answer};
use pointsman::region::Pick;
use pointsman::sign::{Algorithm, Flags, KeyUse, SignatureTimes, ZoneKeys};
use pointsman::table::{Image, Manners};
use pointsman::wire::{Message, Rcode, Record, RecordType, ShowName, ask, name_len, read_bitmap};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::signed::*;
use crate::validator::Proof;
use crate::zoo;

/// More names for the zoo.
pub const MORE: &str = "\
safe       NS    ns.lab
safe       DS    12345 13 2 0000000000000000000000000000000000000000000000000000000000000000
*.only     TXT   \"a wildcard without addresses\"
";

const TYPES: [u16; 16] = [1, 28, 2, 5, 6, 15, 16, 33, 39, 43, 47, 48, 59, 60, 65, 255];

fn pick(name: &str, _: &pointsman::config::Service) -> Pick {
    let (eu, us) = (region(0, 1), region(1, 3));
    match name {
        "spread" => Pick::One(vec![eu, us]),
        "together" => Pick::All(vec![eu.0, us.0]),
        "dark" => Pick::Nodata,
        "broken" => Pick::Servfail,
        _ => Pick::One(vec![eu]),
    }
}

fn zoo_of(keys: &Arc<ZoneKeys>, test: impl FnOnce(&mut Asking<'_>)) {
    zoo_with(zoo::CONFIG, keys, test);
}

fn zoo_with(config: &str, keys: &Arc<ZoneKeys>, test: impl FnOnce(&mut Asking<'_>)) {
    let config = zoo::config(config);
    let zone = zoo::zone("example.com", &format!("{}{MORE}", zoo::ZONE));
    let (image, _) = Image::build(&[zone], &config).unwrap();
    let signed = sign(&image, &config.services, &[Arc::clone(keys)], NOW);
    let table = table(&image, &config.services, &signed, &choices(&config.services, pick, zoo::SERVICE_TTL));
    let table = table.with_manners(Arc::new(Manners::new(&config, Vec::new())));
    test(&mut Asking::new(&table));
}

fn names() -> Vec<String> {
    let below = zoo::NAMES.iter().chain(&["safe", "q.safe", "q.only", "deep.under", "under", "*.nothing"]);
    below.map(|name| format!("{name}.example.com")).chain(["example.com".to_owned()]).collect()
}

/// Everything but DNSSEC, sorted.
fn data(message: &Message) -> Vec<String> {
    let hidden = [RecordType::RRSIG, RecordType::NSEC, RecordType::DS];
    let mut lines: Vec<_> = message
        .sections
        .iter()
        .flatten()
        .filter(|record| !hidden.contains(&record.rtype))
        .map(|record| record.to_string().to_lowercase())
        .collect();
    lines.sort();
    lines
}

#[test]
fn every_answer_proves_what_it_says() {
    for keys in [
        one_key("example.com", Algorithm::EcdsaP256Sha256),
        one_key("example.com", Algorithm::Ed25519),
        many_keys("example.com"),
    ] {
        let validator = validator(&keys);
        zoo_of(&keys, |zoo| {
            let mut proofs = BTreeMap::new();
            for name in names() {
                for rtype in TYPES.map(RecordType) {
                    let message = zoo.signed(&name, rtype);
                    let what = format!("{name} {rtype}:\n{message}");
                    if name == "broken.example.com" && [1, 28, 255].contains(&rtype.0) {
                        assert_eq!(message.rcode(), Rcode::SERVFAIL, "{what}");
                        continue;
                    }
                    let qname = crate::signed::name(&name);
                    let proof = validator
                        .check(&message, qname.as_wire(), rtype)
                        .unwrap_or_else(|why| panic!("{why}\n{what}"));
                    *proofs.entry(proof).or_insert(0) += 1;
                    // Signed or not, the same data.
                    let plain = zoo.plain(&name, rtype);
                    let fixed = !["spread", "q.safe"].iter().any(|some| name.starts_with(some))
                        && rtype != RecordType::ANY;
                    if fixed && ![RecordType::NSEC, RecordType::DS].contains(&rtype) {
                        assert_eq!(data(&message), data(&plain), "{what}");
                    }
                    let expected = if proof == Proof::Nxdomain { Rcode::NXDOMAIN } else { message.rcode() };
                    if rtype != RecordType::NSEC {
                        assert_eq!(plain.rcode(), expected, "{what}");
                    }
                }
            }
            for proof in [
                Proof::Positive,
                Proof::Nodata,
                Proof::Nxdomain,
                Proof::Elsewhere,
                Proof::SecureReferral,
                Proof::InsecureReferral,
            ] {
                assert!(proofs.contains_key(&proof), "{proof:?} is not among {proofs:?}");
            }
        });
    }
}

#[test]
fn who_does_not_ask_for_signatures_gets_none() {
    let keys = one_key("example.com", Algorithm::EcdsaP256Sha256);
    zoo_of(&keys, |zoo| {
        for name in names() {
            for rtype in TYPES.map(RecordType) {
                let message = zoo.plain(&name, rtype);
                let types: Vec<_> = message.sections.iter().flatten().map(|record| record.rtype).collect();
                for dnssec in [RecordType::RRSIG, RecordType::NSEC, RecordType::DNSKEY, RecordType::CDS] {
                    assert!(rtype == dnssec || !types.contains(&dnssec), "{name} {rtype}:\n{message}");
                }
                assert_eq!(message.opt.unwrap().flags, 0);
            }
        }
        // Signatures come to those who ask for them by name.
        let message = zoo.plain("host.example.com", RecordType::RRSIG);
        assert_eq!(message.sections[0].len(), 1, "{message}");
        assert_eq!(zoo.desk.counts[Counter::SealMade], 0);
    });
}

#[test]
fn nxdomain_is_told_to_those_who_understand() {
    let keys = one_key("example.com", Algorithm::Ed25519);
    zoo_of(&keys, |zoo| {
        let nothing = name("nothing.example.com");
        for (compact, rcode, flags) in [(false, Rcode::NOERROR, 0x8000), (true, Rcode::NXDOMAIN, 0xc000)] {
            let message = zoo.send(&ask_signed(nothing.as_wire(), RecordType::A, compact), Transport::Udp);
            assert_eq!((message.rcode(), message.opt.as_ref().unwrap().flags), (rcode, flags), "{message}");
            assert_eq!(
                validator(&keys).check(&message, nothing.as_wire(), RecordType::A),
                Ok(Proof::Nxdomain)
            );
        }
        // NXNAME is nothing that one can ask for (RFC 9824 §3.5).
        assert_eq!(zoo.signed("host.example.com", RecordType::NXNAME).rcode(), Rcode::FORMERR);
    });
}

#[test]
fn what_was_signed_once_is_found_again() {
    let keys = one_key("example.com", Algorithm::Ed25519);
    zoo_of(&keys, |zoo| {
        let (a, mx) = (RecordType::A, RecordType::MX);
        let mut asked = |text: &str, rtype, made, found| {
            let message = zoo.signed(text, rtype);
            let wire = name(text);
            validator(&keys)
                .check(&message, wire.as_wire(), rtype)
                .unwrap_or_else(|why| panic!("{why}\n{message}"));
            let counts = &zoo.desk.counts;
            assert_eq!(
                (counts[Counter::SealMade], counts[Counter::SealFound]),
                (made, found),
                "{text} {rtype}"
            );
        };
        asked("nothing.example.com", a, 1, 0);
        asked("nothing.example.com", mx, 1, 1);
        asked("nowhere.example.com", a, 2, 1);
        asked("nothing.example.com", a, 2, 2);
        // What a wildcard stands for is signed set by set, and what it lacks once.
        asked("q.wild.example.com", a, 3, 2);
        asked("q.wild.example.com", mx, 4, 2);
        asked("q.wild.example.com", RecordType::TXT, 5, 2);
        asked("q.wild.example.com", RecordType::AAAA, 5, 3);
        asked("q.wild.example.com", a, 5, 4);
        // Names that exist are signed ahead.
        asked("host.example.com", mx, 5, 4);
        asked("*.wild.example.com", a, 5, 4);
    });
}

#[test]
fn a_flood_of_names_costs_no_more_than_the_budget() {
    let keys = one_key("example.com", Algorithm::Ed25519);
    let config = zoo::CONFIG.replacen("regions:", "dns: {signatures_per_second: 10}\nregions:", 1);
    zoo_with(&config, &keys, |zoo| {
        let mut truncated = 0;
        for n in 0..30 {
            let query = ask_signed(name(&format!("n{n}.example.com")).as_wire(), RecordType::A, false);
            let message = zoo.send(&query, Transport::Udp);
            truncated += u32::from(message.flags & 0x200 != 0);
            if message.flags & 0x200 != 0 {
                assert!(message.sections.iter().all(Vec::is_empty), "{message}");
                assert_eq!(zoo.send(&query, Transport::Tcp).rcode(), Rcode::SERVFAIL);
            }
        }
        assert_eq!(truncated, 20);
        assert_eq!(zoo.desk.counts[Counter::SealRefused], 40);
        // What is signed ahead is answered all the same, and what was signed before.
        for known in ["host.example.com", "n3.example.com"] {
            let message = zoo.signed(known, RecordType::AAAA);
            validator(&keys).check(&message, name(known).as_wire(), RecordType::AAAA).unwrap();
        }
        zoo.desk.now += 1;
        let message = zoo.signed("n29.example.com", RecordType::A);
        validator(&keys).check(&message, name("n29.example.com").as_wire(), RecordType::A).unwrap();
    });
}

#[test]
fn who_is_sent_no_more_has_nothing_signed() {
    let keys = one_key("example.com", Algorithm::Ed25519);
    let rules = "dns: {rate_limit: {responses_per_second: 10, slip: 2}}\nregions:";
    let config = zoo::CONFIG.replacen("regions:", rules, 1);
    zoo_with(&config, &keys, |zoo| {
        zoo.desk.limiter.prepare(&mut fastrand::Rng::with_seed(1));
        let table = zoo.table;
        let (mut sent, mut out) = ([0; 2], [0; 1232]);
        for n in 0..60 {
            for at in ["", ".wild"] {
                let query =
                    ask_signed(name(&format!("n{n}{at}.example.com")).as_wire(), RecordType::A, false);
                let asker = Asker { client: [192, 0, 2, 1].into(), transport: Transport::Udp };
                if let Some(len) = answer(&query, &mut out, table, &asker, &mut zoo.desk) {
                    let message = Message::read(&out[..len]).unwrap();
                    sent[usize::from(message.flags & 0x200 != 0)] += 1;
                }
            }
        }
        let counts = &zoo.desk.counts;
        // Ten of each kind, and of the rest each is counted once; about one in two slips.
        assert_eq!(sent[0], 20, "{counts:?}");
        assert_eq!(counts[Counter::RateSlipped], sent[1]);
        assert_eq!(counts[Counter::RateDropped] + sent[1], 100);
        assert!((30..70).contains(&sent[1]), "{counts:?}");
        assert_eq!(counts[Counter::SealMade], 20);
    });
}

#[test]
fn what_does_not_fit_is_asked_for_again() {
    let keys = many_keys("example.com");
    zoo_of(&keys, |zoo| {
        for text in
            ["big.example.com", "example.com", "host.example.com", "nothing.example.com", "q.lab.example.com"]
        {
            let wire = name(text);
            for payload in [512u16, 700, 900, 1232] {
                for rtype in [1, 16, 48, 2].map(RecordType) {
                    let mut query = ask_signed(wire.as_wire(), rtype, false);
                    let at = query.len() - 8;
                    query[at..at + 2].copy_from_slice(&payload.to_be_bytes());
                    let message = zoo.send(&query, Transport::Udp);
                    if message.flags & 0x200 != 0 {
                        assert!(message.sections.iter().all(Vec::is_empty), "{message}");
                    } else {
                        validator(&keys).check(&message, wire.as_wire(), rtype).unwrap_or_else(|why| {
                            panic!("{why} {} {rtype}\n{message}", ShowName(wire.as_wire()))
                        });
                    }
                }
            }
        }
    });
}

/// RFC 8906 §8.2.7, on zones whose keys fit into 512 octets and on such where they do not: EDNS is
/// there all the same, and says DO.
#[test]
fn keys_that_do_not_fit_are_cut_off_by_the_book() {
    // In the middle of two rollovers at once.
    let used = |flags, signs_keys, signs_zone| {
        let key = new_key(Algorithm::EcdsaP256Sha256, flags);
        KeyUse { key, published: true, signs_keys, signs_zone, for_parent: signs_keys }
    };
    let (ksk, zsk) = (Flags::SecureEntryPoint, Flags::Zone);
    let uses =
        [used(ksk, true, false), used(ksk, true, false), used(zsk, false, true), used(zsk, false, false)];
    let four = ZoneKeys::new(name("example.com"), &uses, false, 300, SignatureTimes::default()).unwrap();
    for (keys, cut) in [(one_key("example.com", Algorithm::Ed25519), false), (Arc::new(four), true)] {
        zoo_of(&keys, |zoo| {
            let wire = name("example.com");
            let mut query = ask_signed(wire.as_wire(), RecordType::DNSKEY, false);
            let at = query.len() - 8;
            query[at..at + 2].copy_from_slice(&512u16.to_be_bytes());
            let message = zoo.send(&query, Transport::Udp);
            let opt = message.opt.as_ref().unwrap();
            assert_eq!((message.rcode(), opt.version, opt.flags), (Rcode::NOERROR, 0, 0x8000), "{message}");
            assert_eq!(message.flags & 0x200 != 0, cut, "{message}");
            assert_eq!(message.sections[0].is_empty(), cut, "{message}");
            // Nor does it to those who want the keys alone, without their signatures.
            let plain = ask(1, &wire, RecordType::DNSKEY, Some(512));
            let message = zoo.send(&plain, Transport::Udp);
            assert_eq!((message.rcode(), message.opt.as_ref().unwrap().flags), (Rcode::NOERROR, 0));
            assert_eq!(message.sections[0].len(), if cut { 4 } else { 1 }, "{message}");
            let whole = zoo.send(&query, Transport::Tcp);
            assert_eq!(
                validator(&keys).check(&whole, wire.as_wire(), RecordType::DNSKEY),
                Ok(Proof::Positive)
            );
        });
    }
}

/// Whatever can be asked for and is there is among the types that the name is said to have, or one
/// denial would do away with it (RFC 8198); and no denial is kept for longer than the SOA record
/// says, in whatever company it comes (RFC 9077).
#[test]
fn denials_leave_out_nothing_and_last_no_longer_than_they_may() {
    let keys = one_key("example.com", Algorithm::Ed25519);
    let minimum = 30;
    zoo_of(&keys, |zoo| {
        let (mut denials, mut shown) = (0, 0);
        for text in names() {
            let wire = name(&text);
            let nsec = zoo.signed(&text, RecordType::NSEC);
            let own = |record: &&Record| record.rtype == RecordType::NSEC && record.owner == wire.as_wire();
            let nsec = nsec.sections.iter().flatten().find(own);
            // None below a delegation, and where a wildcard gives a CNAME, which answers everything.
            let has: Option<Vec<_>> = nsec.map(|nsec| {
                let next = name_len(&nsec.rdata).unwrap();
                read_bitmap(&nsec.rdata[next..]).collect()
            });
            shown += usize::from(has.is_some());
            for rtype in TYPES.map(RecordType).into_iter().chain([RecordType::NSEC]) {
                let message = zoo.signed(&text, rtype);
                let there = message.sections[0]
                    .iter()
                    .any(|record| record.rtype == rtype && record.owner == wire.as_wire());
                let fits = !there || has.as_ref().is_none_or(|has| has.contains(&rtype));
                assert!(fits, "{text} {rtype}: {has:?}\n{message}");
                for record in message.sections.iter().flatten() {
                    let signs_one = record.rtype == RecordType::RRSIG
                        && record.rdata[..2] == RecordType::NSEC.0.to_be_bytes();
                    if record.rtype == RecordType::NSEC || signs_one {
                        denials += 1;
                        assert!(record.ttl <= minimum, "{text} {rtype}:\n{message}");
                        // Nor may a cache take more from what was signed (RFC 4035 §5.3.3).
                        let original = record.rdata[4..8].first_chunk().map(|four| u32::from_be_bytes(*four));
                        assert!(!signs_one || original <= Some(minimum), "{text} {rtype}:\n{message}");
                    }
                }
            }
        }
        assert!(denials > 200 && shown > 25, "{denials} denials, {shown} shown");
    });
}
