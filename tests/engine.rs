//! What the engine answers, question by question: RFC 1034 §4.3.2 and what came after it.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::net::IpAddr;
use std::sync::Arc;

use pointsman::base::{Generation, Named};
use pointsman::dns::{Asker, Counter, Desk, Transport, UDP_PAYLOAD, answer};
use pointsman::table::{Image, Table};
use pointsman::wire::{Fault, HEADER_OCTETS, Message, Name, Query, Rcode, Record, RecordType, ask};
use proptest::prelude::*;

#[path = "common/times.rs"]
mod times;
mod zoo;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// Some day in 2027.
const NOW: u32 = 1_800_000_000;

/// A table and what was counted while it answered.
struct Engine {
    table: Table,
    desk: Desk,
}

impl Engine {
    fn new(table: Table) -> Self {
        Self { table, desk: Desk::new(fastrand::Rng::with_seed(7), NOW) }
    }

    fn zoo() -> Self {
        Self::new(zoo::table())
    }

    /// One zone, `example.com`, with an SOA and NS records beside what is given.
    fn of(text: &str) -> Self {
        let head = "$TTL 300\n@ SOA ns h 1 2 3 4 60\n@ NS ns.elsewhere.\n";
        let zone = zoo::zone("example.com", &format!("{head}{text}"));
        let (image, _) = Image::with_services(&[zone], &Named::default()).unwrap();
        Self::new(Table::new(Generation(1), image, Vec::new()))
    }

    fn octets(&mut self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let mut out = vec![0xee; 65_535];
        let asker = Asker { client: CLIENT, transport };
        let len = answer(query, &mut out, &self.table, &asker, &mut self.desk)?;
        out.truncate(len);
        Some(out)
    }

    fn message(&mut self, query: &[u8], transport: Transport) -> Message {
        let octets = self.octets(query, transport).expect("it answers");
        Message::read(&octets).unwrap_or_else(|why| panic!("{why}: {octets:x?}"))
    }

    fn ask(&mut self, name: &str, rtype: RecordType) -> Message {
        self.message(&ask(1, &Name::parse(name).unwrap(), rtype, Some(4096)), Transport::Udp)
    }

    /// `RCODE flags`, then each section after ` | `, its records sorted and without class.
    fn line(&mut self, name: &str, rtype: RecordType) -> String {
        line(&self.ask(name, rtype))
    }
}

fn line(message: &Message) -> String {
    let flags: Vec<_> = message.flag_words().filter(|word| *word != "qr").collect();
    let sections = message.sections.iter().map(|section| {
        let mut records: Vec<_> = section.iter().map(short).collect();
        records.sort();
        records.join(", ")
    });
    let sections: Vec<_> = sections.collect();
    format!("{} {} | {}", message.rcode(), flags.join(" "), sections.join(" | ")).trim_end().to_owned()
}

fn short(record: &Record) -> String {
    record.to_string().replace("\tIN\t", "\t").replace('\t', " ").replace(".example.com.", ".")
}

const NEGATIVE: &str = "example.com. 30 SOA ns1. hostmaster. 1 3600 600 1209600 30";

#[test]
fn answers_what_is_there() {
    let mut zoo = Engine::zoo();
    for (name, rtype, expected) in [
        ("host.example.com", RecordType::A, "NOERROR aa | host. 300 A 192.0.2.1 |  |"),
        ("host.example.com", RecordType::AAAA, "NOERROR aa | host. 300 AAAA 2001:db8::1 |  |"),
        ("host.example.com", RecordType::TXT, "NOERROR aa | host. 300 TXT \"a host\" |  |"),
        (
            "many.example.com",
            RecordType::A,
            "NOERROR aa | many. 300 A 192.0.2.1, many. 300 A 192.0.2.2, many. 300 A 192.0.2.3 |  |",
        ),
        (
            "example.com",
            RecordType::SOA,
            "NOERROR aa | example.com. 300 SOA ns1. hostmaster. 1 3600 600 1209600 30 |  |",
        ),
        (
            "example.com",
            RecordType::NS,
            "NOERROR aa | example.com. 300 NS ns1., example.com. 300 NS ns2. |  | \
             ns1. 300 A 192.0.2.53, ns1. 300 AAAA 2001:db8::53, ns2. 300 A 198.51.100.53",
        ),
        (
            "example.com",
            RecordType::MX,
            "NOERROR aa | example.com. 300 MX 10 mail. |  | mail. 300 A 192.0.2.25",
        ),
        (
            "_sip._tcp.example.com",
            RecordType::SRV,
            "NOERROR aa | _sip._tcp. 300 SRV 0 5 5060 host. |  | host. 300 A 192.0.2.1, host. 300 AAAA 2001:db8::1",
        ),
        (
            "web.example.com",
            RecordType::HTTPS,
            "NOERROR aa | web. 300 HTTPS 1 host. alpn=\"h2\" |  | host. 300 A 192.0.2.1, host. 300 AAAA 2001:db8::1",
        ),
    ] {
        assert_eq!(zoo.line(name, rtype), expected.trim_end(), "{name} {rtype}");
    }
}

#[test]
fn says_no_for_as_long_as_the_soa_says() {
    let mut zoo = Engine::zoo();
    for (name, rtype, rcode) in [
        ("nothing.example.com", RecordType::A, "NXDOMAIN"),
        ("not.host.example.com", RecordType::A, "NXDOMAIN"),
        ("host.example.com", RecordType::MX, "NOERROR"),
        ("host.example.com", RecordType(65280), "NOERROR"),
        // Empty non-terminals exist.
        ("b.c.example.com", RecordType::A, "NOERROR"),
        ("c.example.com", RecordType::ANY, "NOERROR"),
        ("q.wild.example.com", RecordType::AAAA, "NOERROR"),
        ("wild.example.com", RecordType::A, "NOERROR"),
    ] {
        assert_eq!(zoo.line(name, rtype), format!("{rcode} aa |  | {NEGATIVE} |"), "{name} {rtype}");
    }
    assert_eq!(zoo.desk.counts[Counter::NxDomain], 2);
    assert_eq!(zoo.desk.counts[Counter::Nodata], 6);
}

#[test]
fn wildcards_answer_for_the_name_that_was_asked() {
    let mut zoo = Engine::zoo();
    assert_eq!(zoo.line("q.wild.example.com", RecordType::A), "NOERROR aa | q.wild. 300 A 192.0.2.3 |  |");
    assert_eq!(
        zoo.line("long.and.winding.wild.example.com", RecordType::MX),
        "NOERROR aa | long.and.winding.wild. 300 MX 10 mail. |  | mail. 300 A 192.0.2.25"
    );
    assert_eq!(zoo.line("*.wild.example.com", RecordType::A), "NOERROR aa | *.wild. 300 A 192.0.2.3 |  |");
}

#[test]
fn follows_cnames_as_far_as_our_zones_go() {
    let mut zoo = Engine::zoo();
    for (name, rtype, expected) in [
        (
            "chain.example.com",
            RecordType::A,
            "NOERROR aa | alias. 300 CNAME host., chain. 300 CNAME alias., host. 300 A 192.0.2.1 |  |"
                .to_owned(),
        ),
        ("alias.example.com", RecordType::CNAME, "NOERROR aa | alias. 300 CNAME host. |  |".to_owned()),
        ("away.example.com", RecordType::A, "NOERROR aa | away. 300 CNAME www.elsewhere. |  |".to_owned()),
        ("alias.example.com", RecordType::MX, format!("NOERROR aa | alias. 300 CNAME host. | {NEGATIVE} |")),
        // The code is that of the last name (RFC 6604 §3).
        (
            "lost.example.com",
            RecordType::A,
            format!("NXDOMAIN aa | lost. 300 CNAME not.there. | {NEGATIVE} |"),
        ),
        (
            "circle.example.com",
            RecordType::A,
            "NOERROR aa | circle. 300 CNAME round., round. 300 CNAME circle. |  |".to_owned(),
        ),
        // Into services.
        (
            "shop.example.com",
            RecordType::A,
            "NOERROR aa | shop. 300 CNAME storefront., storefront. 20 A 192.0.2.10 |  |".to_owned(),
        ),
        (
            "any.shops.example.com",
            RecordType::AAAA,
            "NOERROR aa | any.shops. 300 CNAME storefront., storefront. 20 AAAA 2001:db8::10 |  |".to_owned(),
        ),
    ] {
        assert_eq!(zoo.line(name, rtype), expected.trim_end(), "{name} {rtype}");
    }
}

#[test]
fn a_long_chain_is_left_to_the_resolver() {
    let text: String = (0..20).map(|n| format!("c{n} CNAME c{}\n", n + 1)).collect();
    let message = Engine::of(&text).ask("c0.example.com", RecordType::A);
    assert_eq!(message.sections[0].len(), 8);
    assert_eq!(message.sections[1].len(), 0);
    // Eight links, and what they lead to.
    let text =
        format!("{}c8 A 192.0.2.1", (0..8).map(|n| format!("c{n} CNAME c{}\n", n + 1)).collect::<String>());
    assert_eq!(Engine::of(&text).ask("c0.example.com", RecordType::A).sections[0].len(), 9);
}

#[test]
fn a_chain_may_end_below_a_delegation() {
    let line =
        Engine::of("a CNAME b.lab\nlab NS ns.lab\nns.lab A 192.0.2.1").line("a.example.com", RecordType::A);
    assert_eq!(line, "NOERROR aa | a. 300 CNAME b.lab. | lab. 300 NS ns.lab. | ns.lab. 300 A 192.0.2.1");
}

#[test]
fn dname_redirects_what_lies_below() {
    let mut zoo = Engine::zoo();
    for (name, rtype, expected) in [
        (
            "q.old.example.com",
            RecordType::A,
            "NOERROR aa | old. 300 DNAME wild., q.old. 300 CNAME q.wild., q.wild. 300 A 192.0.2.3 |  |"
                .to_owned(),
        ),
        (
            "q.old.example.com",
            RecordType::CNAME,
            "NOERROR aa | old. 300 DNAME wild., q.old. 300 CNAME q.wild. |  |".to_owned(),
        ),
        ("old.example.com", RecordType::DNAME, "NOERROR aa | old. 300 DNAME wild. |  |".to_owned()),
        // The name itself is not redirected (RFC 6672 §2.3).
        ("old.example.com", RecordType::A, format!("NOERROR aa |  | {NEGATIVE} |")),
    ] {
        assert_eq!(zoo.line(name, rtype), expected.trim_end(), "{name} {rtype}");
    }
    // The case of the prefix stays.
    let message = zoo.ask("Q.oLd.example.com", RecordType::A);
    let query = ask(1, &Name::parse("q.old.example.com").unwrap(), RecordType::A, None);
    let mut asked = query.clone();
    asked[13] = b'Q';
    assert_eq!(zoo.message(&asked, Transport::Udp).sections[0].len(), message.sections[0].len());
}

#[test]
fn a_dname_can_make_a_name_too_long() {
    let long = ["a".repeat(60), "b".repeat(60), "c".repeat(60)].join(".");
    let mut engine = Engine::of(&format!("d DNAME {long}"));
    let line = engine.line(&format!("{}.d.example.com", "e".repeat(63)), RecordType::A);
    assert!(line.starts_with("YXDOMAIN aa | d. 300 DNAME "), "{line}");
    assert_eq!(engine.desk.counts[Counter::YxDomain], 1);
}

#[test]
fn a_set_stands_in_a_message_once() {
    // Each turn makes the name longer and comes back to the same DNAME.
    let message = Engine::of("d DNAME a.d").ask("q.d.example.com", RecordType::A);
    let dnames = message.sections[0].iter().filter(|record| record.rtype == RecordType::DNAME).count();
    assert_eq!((dnames, message.sections[0].len()), (1, 9));
}

#[test]
fn refers_to_the_servers_of_a_child() {
    let mut zoo = Engine::zoo();
    let referral = "NOERROR  |  | lab. 300 NS ns.lab., lab. 300 NS ns1. | \
                    ns.lab. 300 A 192.0.2.54, ns.lab. 300 AAAA 2001:db8::54, ns1. 300 A 192.0.2.53, ns1. 300 AAAA 2001:db8::53";
    for (name, rtype) in [
        ("lab.example.com", RecordType::A),
        ("lab.example.com", RecordType::NS),
        ("ns.lab.example.com", RecordType::A),
        ("deep.down.lab.example.com", RecordType::TXT),
        ("x.lab.example.com", RecordType::DS),
    ] {
        assert_eq!(zoo.line(name, rtype), referral, "{name} {rtype}");
    }
    // DS is answered above the cut (RFC 4035 §3.1.4.1).
    assert_eq!(zoo.line("lab.example.com", RecordType::DS), format!("NOERROR aa |  | {NEGATIVE} |"));
    assert_eq!(zoo.desk.counts[Counter::Referral], 5);
}

#[test]
fn glue_that_does_not_fit_is_missed() {
    // RFC 9471 §3.1: servers inside the child must all be there, or TC says that they are not.
    let servers: String = (0..12)
        .map(|n| format!("lab NS ns{n}.lab\nns{n}.lab AAAA 2001:db8::{n}\nns{n}.lab A 192.0.2.{n}\n"))
        .collect();
    let mut engine = Engine::of(&servers);
    let query = ask(1, &Name::parse("q.lab.example.com").unwrap(), RecordType::A, None);
    let message = engine.message(&query, Transport::Udp);
    assert!(message.flag_words().any(|word| word == "tc"));
    assert_eq!(message.sections[1].len(), 12, "whole sets as far as they fit");
    let message = engine.message(&query, Transport::Tcp);
    assert!(!message.flag_words().any(|word| word == "tc"));
    assert_eq!(message.sections[2].len(), 24);
    // §3.2: servers beside the child need not be there.
    let servers: String =
        (0..12).map(|n| format!("lab NS ns{n}\nns{n} AAAA 2001:db8::{n}\nns{n} A 192.0.2.{n}\n")).collect();
    let message = Engine::of(&servers).message(&query, Transport::Udp);
    assert!(!message.flag_words().any(|word| word == "tc"));
    assert!((1..24).contains(&message.sections[2].len()));
}

#[test]
fn glue_inside_the_child_goes_first() {
    let mut servers: String =
        (0..11).map(|n| format!("lab NS ns{n}\nns{n} AAAA 2001:db8::{n}\nns{n} A 192.0.2.{n}\n")).collect();
    servers.push_str("lab NS in.lab\nin.lab A 192.0.2.99\nin.lab AAAA 2001:db8::99\n");
    let query = ask(1, &Name::parse("q.lab.example.com").unwrap(), RecordType::A, None);
    let message = Engine::of(&servers).message(&query, Transport::Udp);
    assert!(!message.flag_words().any(|word| word == "tc"));
    assert_eq!(
        message.sections[2][..2].iter().filter(|record| record.owner.starts_with(b"\x02in")).count(),
        2
    );
}

#[test]
fn a_child_of_ours_is_answered_and_its_ds_above() {
    let head = |ns: &str| format!("$TTL 300\n@ SOA ns h 1 2 3 4 60\n@ NS {ns}\n");
    let above = zoo::zone(
        "example.com",
        &format!("{}lab NS ns.lab\nlab DS 1 8 2 00\nns.lab A 192.0.2.1", head("ns.elsewhere.")),
    );
    let below = zoo::zone("lab.example.com", &format!("{}ns A 192.0.2.2\n", head("ns")));
    let (image, _) = Image::with_services(&[above, below], &Named::default()).unwrap();
    let mut engine = Engine::new(Table::new(Generation(1), image, Vec::new()));
    assert_eq!(engine.line("ns.lab.example.com", RecordType::A), "NOERROR aa | ns.lab. 300 A 192.0.2.2 |  |");
    assert_eq!(engine.line("lab.example.com", RecordType::DS), "NOERROR aa | lab. 300 DS 1 8 2 00 |  |");
    assert!(engine.line("q.lab.example.com", RecordType::A).starts_with("NXDOMAIN aa |  | lab. 60 SOA"));
}

#[test]
fn services_answer_with_their_own_ttl() {
    let mut zoo = Engine::zoo();
    let short_negative = NEGATIVE.replace(" 30 SOA", " 20 SOA");
    for (name, rtype, expected) in [
        ("storefront.example.com", RecordType::A, "NOERROR aa | storefront. 20 A 192.0.2.10 |  |".to_owned()),
        (
            "storefront.example.com",
            RecordType::AAAA,
            "NOERROR aa | storefront. 20 AAAA 2001:db8::10 |  |".to_owned(),
        ),
        ("deep.under.example.com", RecordType::A, "NOERROR aa | deep.under. 20 A 192.0.2.10 |  |".to_owned()),
        (
            "storefront.example.com",
            RecordType::TXT,
            "NOERROR aa | storefront. 300 TXT \"beside a service\" |  |".to_owned(),
        ),
        (
            "together.example.com",
            RecordType::A,
            "NOERROR aa | together. 20 A 192.0.2.12, together. 20 A 198.51.100.12 |  |".to_owned(),
        ),
        ("example.com", RecordType::AAAA, "NOERROR aa | example.com. 20 AAAA 2001:db8::12 |  |".to_owned()),
        // No negative answer outlives a flip.
        ("legacy.example.com", RecordType::AAAA, format!("NOERROR aa |  | {short_negative} |")),
        ("dark.example.com", RecordType::A, format!("NOERROR aa |  | {short_negative} |")),
        // What no flip changes is kept as usual.
        ("legacy.example.com", RecordType::MX, format!("NOERROR aa |  | {NEGATIVE} |")),
        ("broken.example.com", RecordType::A, "SERVFAIL  |  |  |".to_owned()),
        ("broken.example.com", RecordType::MX, format!("NOERROR aa |  | {NEGATIVE} |")),
    ] {
        assert_eq!(zoo.line(name, rtype), expected.trim_end(), "{name} {rtype}");
    }
}

#[test]
fn one_region_at_a_time_and_never_a_mixture() {
    let mut zoo = Engine::zoo();
    let mut seen = [0; 2];
    for _ in 0..1000 {
        match &*zoo.line("spread.example.com", RecordType::A) {
            "NOERROR aa | spread. 20 A 192.0.2.11 |  |" => seen[0] += 1,
            "NOERROR aa | spread. 20 A 198.51.100.11, spread. 20 A 198.51.100.12 |  |" => seen[1] += 1,
            other => panic!("{other}"),
        }
    }
    assert!(seen[0] > 150 && seen[1] > 600, "{seen:?}");
    // The other region's IPv6 address is never lent.
    let aaaa: Vec<_> =
        (0..100).map(|_| zoo.ask("spread.example.com", RecordType::AAAA).sections[0].len()).collect();
    assert!(aaaa.contains(&0) && aaaa.contains(&1));
}

#[test]
fn addresses_take_turns() {
    let mut zoo = Engine::zoo();
    for name in ["many.example.com", "together.example.com"] {
        let firsts: std::collections::HashSet<_> =
            (0..100).map(|_| zoo.ask(name, RecordType::A).sections[0][0].rdata.clone()).collect();
        assert!(firsts.len() > 1, "{name}");
    }
}

#[test]
fn a_service_without_answers_is_servfail() {
    let table = zoo::table();
    let table = Table::new(Generation(1), Arc::clone(table.image()), Vec::new());
    assert_eq!(
        Engine::new(table).line("storefront.example.com", RecordType::A),
        "SERVFAIL  |  |  |".trim_end()
    );
}

#[test]
fn any_gets_one_set() {
    let mut zoo = Engine::zoo();
    for (name, expected) in [
        ("host.example.com", "NOERROR aa | host. 300 A 192.0.2.1 |  |"),
        ("alias.example.com", "NOERROR aa | alias. 300 CNAME host. |  |"),
        ("storefront.example.com", "NOERROR aa | storefront. 20 A 192.0.2.10 |  |"),
        ("broken.example.com", "SERVFAIL  |  |  |"),
        ("old.example.com", "NOERROR aa | old. 300 DNAME wild. |  |"),
    ] {
        assert_eq!(zoo.line(name, RecordType::ANY), expected.trim_end(), "{name}");
    }
}

#[test]
fn refuses_what_is_not_ours_to_answer() {
    let mut zoo = Engine::zoo();
    assert_eq!(zoo.line("example.org", RecordType::A), "REFUSED  |  |  |".trim_end());
    assert_eq!(zoo.line(".", RecordType::NS), "REFUSED  |  |  |".trim_end());
    for (rtype, rcode) in [
        (RecordType::AXFR, Rcode::REFUSED),
        (RecordType::IXFR, Rcode::REFUSED),
        (RecordType::MAILA, Rcode::NOTIMP),
        (RecordType::MAILB, Rcode::NOTIMP),
        (RecordType::OPT, Rcode::FORMERR),
        (RecordType::TSIG, Rcode::FORMERR),
        (RecordType::TKEY, Rcode::FORMERR),
        (RecordType::NXNAME, Rcode::FORMERR),
        (RecordType(200), Rcode::FORMERR),
    ] {
        let message = zoo.ask("example.com", rtype);
        assert_eq!((message.rcode(), message.questions.len()), (rcode, 1), "{rtype}");
    }
    for class in [0u16, 3, 4, 254, 255] {
        let mut query = ask(1, &Name::parse("host.example.com").unwrap(), RecordType::A, None);
        let len = query.len();
        query[len - 2..].copy_from_slice(&class.to_be_bytes());
        assert_eq!(zoo.message(&query, Transport::Udp).rcode(), Rcode::REFUSED, "class {class}");
    }
}

#[test]
fn gives_back_what_was_asked() {
    let mut zoo = Engine::zoo();
    let mut query = ask(0xbeef, &Name::parse("host.example.com").unwrap(), RecordType::A, None);
    query[13..17].copy_from_slice(b"HoSt");
    // RD, and the bits that are not given back: AD, CD, Z, and AA, TC, RA, which no query has.
    query[2] = 0x07;
    query[3] = 0xf0;
    let octets = zoo.octets(&query, Transport::Udp).unwrap();
    assert_eq!(octets[..4], [0xbe, 0xef, 0x85, 0x00]);
    assert_eq!(octets[12..query.len()], query[12..], "0x20: the case of the question stays");
    assert!(Message::read(&octets).unwrap().opt.is_none(), "OPT only if asked");
}

#[test]
fn edns_as_the_rfcs_want_it() {
    let mut zoo = Engine::zoo();
    let name = Name::parse("host.example.com").unwrap();
    let mut query = ask(1, &name, RecordType::A, Some(4096));
    let opt_at = query.len() - 11;
    let message = zoo.message(&query, Transport::Udp);
    let opt = message.opt.unwrap();
    assert_eq!((opt.payload, opt.version, opt.flags, opt.options.len()), (UDP_PAYLOAD, 0, 0, 0));
    // DO is copied, other flags are not (RFC 3225 §3, RFC 6891 §6.1.4).
    query[opt_at + 7..opt_at + 9].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(zoo.message(&query, Transport::Udp).opt.unwrap().flags, 0x8000);
    // Unknown options are ignored.
    query.extend([0xfd, 0xe9, 0, 1, 7]);
    let len = query.len();
    query[len - 6] = 5;
    let message = zoo.message(&query, Transport::Udp);
    assert_eq!((message.rcode(), message.opt.unwrap().options.len()), (Rcode::NOERROR, 0));
    // A version that we do not speak.
    query[opt_at + 6] = 1;
    let message = zoo.message(&query, Transport::Udp);
    let opt = message.opt.clone().unwrap();
    assert_eq!((message.rcode(), opt.version, opt.flags), (Rcode::BADVERS, 0, 0x8000));
    assert_eq!(message.sections, [vec![], vec![], vec![]]);
    assert_eq!(zoo.desk.counts[Counter::BadVers], 1);
}

#[test]
fn the_network_a_resolver_asks_for_goes_back() {
    let mut zoo = Engine::zoo();
    let mut query = ask(1, &Name::parse("host.example.com").unwrap(), RecordType::A, Some(1232));
    let len = query.len();
    query[len - 1] = 11;
    let subnet = [0, 1, 24, 0, 192, 0, 2];
    query.extend([0, 8, 0, 7]);
    query.extend(subnet);
    // Records of a zone are for everybody: the scope is 0 (RFC 7871 §7.2.1).
    let options = zoo.message(&query, Transport::Udp).opt.unwrap().options;
    assert_eq!(options, [(8, subnet.to_vec())]);
    // Malformed, it is refused, and does not go back.
    query[len + 7] = 24;
    let message = zoo.message(&query, Transport::Udp);
    assert_eq!((message.rcode(), message.opt.unwrap().options.len()), (Rcode::FORMERR, 0));
}

#[test]
fn answers_are_padded_where_nobody_reads_along() {
    let mut zoo = Engine::zoo();
    for (name, rtype, blocks) in [("host", RecordType::A, 1), ("big", RecordType::TXT, 3)] {
        let name = Name::parse(&format!("{name}.example.com")).unwrap();
        let mut query = ask(1, &name, rtype, Some(1232));
        let unpadded = zoo.octets(&query, Transport::Tls).unwrap().len();
        assert_eq!(unpadded.div_ceil(468), blocks, "{unpadded}");
        let len = query.len();
        query[len - 1] = 4;
        query.extend([0, 12, 0, 0]);
        for transport in [Transport::Tls, Transport::Https, Transport::Quic] {
            let octets = zoo.octets(&query, transport).unwrap();
            assert_eq!(octets.len(), blocks * 468, "RFC 8467 §4.1");
            let (code, padding) = Message::read(&octets).unwrap().opt.unwrap().options.remove(0);
            assert!(code == 12 && padding.iter().all(|octet| *octet == 0));
        }
        assert_eq!(zoo.octets(&query, Transport::Tcp).unwrap().len(), unpadded);
    }
}

#[test]
fn malformed_messages_get_what_they_deserve() {
    let mut zoo = Engine::zoo();
    let query = ask(0x1234, &Name::parse("host.example.com").unwrap(), RecordType::A, None);
    assert_eq!(zoo.octets(&query[..11], Transport::Udp), None);
    let mut response = query.clone();
    response[2] |= 0x80;
    assert_eq!(zoo.octets(&response, Transport::Udp), None);
    assert_eq!(zoo.desk.counts[Counter::Dropped], 2);
    // A header that says FORMERR, and nothing else.
    assert_eq!(
        zoo.octets(&query[..20], Transport::Udp).unwrap(),
        [0x12, 0x34, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    // What we do not speak (STATUS), and news of a zone that we have not (NOTIFY), with the question
    // that could be read.
    for (flags, rcode) in [(0x10, 4), (0x20, 9)] {
        let mut message = query.clone();
        message[2] = flags;
        let header = [0x12, 0x34, 0x80 | flags, rcode, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(zoo.octets(&message, Transport::Udp).unwrap(), [&header, &query[12..]].concat());
    }
    assert_eq!((zoo.desk.counts[Counter::FormErr], zoo.desk.counts[Counter::NotImp]), (1, 1));
}

#[test]
fn what_does_not_fit_is_left_out_whole() {
    let mut zoo = Engine::zoo();
    let name = Name::parse("big.example.com").unwrap();
    for (payload, transport, complete) in [
        (None, Transport::Udp, false),
        (Some(512), Transport::Udp, false),
        (Some(0), Transport::Udp, false),
        (Some(65_535), Transport::Udp, false),
        (None, Transport::Tcp, true),
        (Some(512), Transport::Tcp, true),
    ] {
        let query = ask(1, &name, RecordType::TXT, payload);
        let octets = zoo.octets(&query, transport).unwrap();
        let limit = match (transport, payload) {
            (Transport::Tcp, _) => 65_535,
            (_, Some(payload)) => usize::from(payload.clamp(512, UDP_PAYLOAD)),
            (_, None) => 512,
        };
        assert!(octets.len() <= limit);
        let message = Message::read(&octets).unwrap();
        assert_eq!(message.sections[0].len(), if complete { 11 } else { 0 });
        assert_eq!(message.flag_words().any(|word| word == "tc"), !complete, "{payload:?} {transport:?}");
        assert_eq!(message.opt.is_some(), payload.is_some());
    }
    assert_eq!(zoo.desk.counts[Counter::Truncated], 4);
}

#[test]
fn an_answer_fits_to_the_octet() {
    for len in 1..255 {
        let text: String = (0..3).map(|n| format!("t TXT \"{n}{}\"\n", "x".repeat(len - 1))).collect();
        let mut engine = Engine::of(&text);
        let name = Name::parse("t.example.com").unwrap();
        // Header, question, three records, OPT.
        let whole = HEADER_OCTETS + name.as_wire().len() + 4 + 3 * (12 + 1 + len) + 11;
        for (payload, fits) in
            [(512, whole <= 512), (640, whole <= 640), (whole as u16, true), (whole as u16 - 1, whole <= 512)]
        {
            let octets =
                engine.octets(&ask(1, &name, RecordType::TXT, Some(payload)), Transport::Udp).unwrap();
            assert_eq!(octets.len() == whole, fits, "{len} {payload}");
            assert_eq!(octets[2] & 2 != 0, !fits, "TC");
        }
    }
}

#[test]
fn optional_addresses_go_first_when_room_is_short() {
    let text: String = (0..14)
        .map(|n| format!("@ MX {n} mail{n}\nmail{n} A 192.0.2.{n}\nmail{n} AAAA 2001:db8::{n}\n"))
        .collect();
    let mut engine = Engine::of(&text);
    let message =
        engine.message(&ask(1, &Name::parse("example.com").unwrap(), RecordType::MX, None), Transport::Udp);
    assert_eq!(message.sections[0].len(), 14);
    assert!(!message.flag_words().any(|word| word == "tc"));
    assert!((1..28).contains(&message.sections[2].len()));
}

#[test]
fn a_negative_answer_that_does_not_fit_says_so() {
    let long = |letter: &str| [letter.repeat(63), letter.repeat(63), letter.repeat(63)].join(".");
    let zone = format!("$TTL 300\n@ SOA {}.a. {}.b. 1 2 3 4 60\n@ NS ns.elsewhere.\n", long("m"), long("r"));
    let (image, _) = Image::with_services(&[zoo::zone("example.com", &zone)], &Named::default()).unwrap();
    let mut engine = Engine::new(Table::new(Generation(1), image, Vec::new()));
    let name = Name::parse(&format!("{}.example.com", long("q"))).unwrap();
    let message = engine.message(&ask(1, &name, RecordType::A, None), Transport::Udp);
    assert_eq!(line(&message), "NXDOMAIN aa tc |  |  |".trim_end());
    let message = engine.message(&ask(1, &name, RecordType::A, None), Transport::Tcp);
    assert_eq!(message.sections[1].len(), 1);
}

#[test]
fn a_buffer_too_small_for_anything_is_no_answer() {
    let mut zoo = Engine::zoo();
    let query = ask(1, &Name::parse("host.example.com").unwrap(), RecordType::A, Some(512));
    let asker = Asker { client: CLIENT, transport: Transport::Udp };
    for len in 0..80 {
        let mut out = vec![0; len];
        let written = answer(&query, &mut out, &zoo.table, &asker, &mut zoo.desk);
        assert!(written.is_none_or(|written| written <= len));
    }
}

// ── whatever comes in ──

/// An answer must be one: short enough, readable, to the question that was asked.
fn check_answer(
    zoo: &mut Engine,
    query: &[u8],
    transport: Transport,
    room: usize,
) -> Result<(), TestCaseError> {
    let mut out = vec![0xee; room];
    let asker = Asker { client: CLIENT, transport };
    let Some(len) = answer(query, &mut out, &zoo.table, &asker, &mut zoo.desk) else {
        return Ok(());
    };
    prop_assert!(len <= room);
    let edns = match Query::read(query) {
        Ok(read) => read.edns,
        Err(Fault::Told { edns, .. }) => edns,
        Err(Fault::Silence) => None,
    };
    let limit = match transport {
        Transport::Udp => edns.map_or(512, |edns| edns.payload.clamp(512, UDP_PAYLOAD)),
        Transport::Tcp | Transport::Tls | Transport::Https | Transport::Quic => 65_535,
    };
    prop_assert!(len <= usize::from(limit));
    let reply = &out[..len];
    let message = Message::read(reply).map_err(TestCaseError::fail)?;
    // A second reader, written by others, agrees.
    let theirs = hickory_proto::op::Message::from_vec(reply)
        .map_err(|why| TestCaseError::fail(format!("{why}: {reply:x?}")))?;
    prop_assert_eq!(theirs.answers.len(), message.sections[0].len());
    prop_assert_eq!(reply[..2].to_vec(), query[..2].to_vec());
    prop_assert_eq!(reply[2] & 0x80, 0x80);
    if !message.questions.is_empty() {
        let end = len.min(query.len());
        let question = message.questions[0].0.len() + 4;
        prop_assert_eq!(
            &reply[HEADER_OCTETS..HEADER_OCTETS + question],
            &query[HEADER_OCTETS..end][..question]
        );
    }
    Ok(())
}

fn any_query() -> impl Strategy<Value = Vec<u8>> {
    let rtype = prop_oneof![
        prop::sample::select(vec![1u16, 28, 2, 5, 6, 15, 16, 33, 39, 43, 65, 255, 252, 41]),
        any::<u16>()
    ];
    let name = prop_oneof![
        prop::sample::select(zoo::NAMES).prop_map(|name| format!("{name}.example.com")),
        Just("example.com".to_owned()),
        Just(".".to_owned()),
    ];
    (any::<u16>(), name, rtype, proptest::option::of(any::<u16>())).prop_map(|(id, name, rtype, payload)| {
        ask(id, &Name::parse(&name).unwrap(), RecordType(rtype), payload)
    })
}

fn any_transport() -> impl Strategy<Value = Transport> {
    prop::sample::select(vec![
        Transport::Udp,
        Transport::Tcp,
        Transport::Tls,
        Transport::Https,
        Transport::Quic,
    ])
}

#[test]
fn random_octets_never_make_it_panic() {
    let mut runner = runner(20_000);
    let zoo = std::cell::RefCell::new(Engine::zoo());
    let octets = prop::collection::vec(any::<u8>(), 0..200);
    runner
        .run(&(octets, any_transport()), |(octets, transport)| {
            check_answer(&mut zoo.borrow_mut(), &octets, transport, 65_535)
        })
        .unwrap();
}

#[test]
fn mutated_queries_never_make_it_panic() {
    let mut runner = runner(30_000);
    let zoo = std::cell::RefCell::new(Engine::zoo());
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let cut = proptest::option::weighted(0.1, any::<prop::sample::Index>());
    let room = prop::sample::select(vec![0usize, 11, 12, 30, 100, 512, 1232, 65_535]);
    runner
        .run(
            &(any_query(), changes, cut, any_transport(), room),
            |(mut query, changes, cut, transport, room)| {
                for (at, value) in changes {
                    let at = at.index(query.len());
                    query[at] = value;
                }
                if let Some(cut) = cut {
                    query.truncate(cut.index(query.len()));
                }
                check_answer(&mut zoo.borrow_mut(), &query, transport, room)
            },
        )
        .unwrap();
}

fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: times::times(cases),
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}
