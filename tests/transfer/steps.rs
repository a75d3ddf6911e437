//! Versions of random zones in memory: what a difference says has happened, has happened; and what
//! a transfer carries is what there is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;
use pointsman::base::{Generation, Named, Source};
use pointsman::config::{Permission, TransferRules, TsigAlgorithm};
use pointsman::dns::{Asker, Counter, Desk, Opened, Transport, answer, open};
use pointsman::table::{Change, Image, Table, lines};
use pointsman::transfer::{History, Key, Records, Signer, Step, TsigKeys, ZoneState, Zones};
use pointsman::wire::{Message, Name, Rcode, RecordType, ask};

use crate::zoo;

const SECONDARY: Asker = Asker { client: CLIENT, transport: Transport::Tcp };
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn image(text: &str, child: Option<&str>) -> Arc<Image> {
    let parse = |text: &str, origin: &str| {
        let source = Source::new("zone", text);
        let zone =
            pointsman::zone::parse(&source, &Name::parse(origin).unwrap(), &mut |_| Err(String::new()));
        zone.unwrap_or_else(|mistakes| panic!("{}\n{text}", mistakes.render(false))).0
    };
    let zones: Vec<_> =
        std::iter::once(parse(text, "x.test")).chain(child.map(|child| parse(child, "c.x.test"))).collect();
    Image::with_services(&zones, &Named::default())
        .unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)))
        .0
}

/// A zone with some of a few names and types, so that two of them have much in common.
fn random(rng: &mut Rng, serial: u32) -> String {
    let mut text = format!(
        "$TTL {}\n@ IN SOA ns hm {serial} 1 1 1 1\n@ IN NS ns\n@ IN NS ns.c\nns IN A 192.0.2.1\n",
        rng.choice([60, 300]).unwrap()
    );
    for name in ["a", "b", "*.w", "d.e.f", "ns.c", "g.c", "cut", "below.cut", "UP"] {
        for data in [
            "A 192.0.2.7",
            "A 192.0.2.8",
            "AAAA 2001:db8::1",
            "TXT \"one\" \"two\"",
            "MX 5 a",
            "MX 6 mail.example.",
            "SRV 1 2 3 a.b",
            "CAA 0 issue \"x\"",
        ] {
            if rng.u8(0..3) == 0 {
                text += &format!("{name} IN {data}\n");
            }
        }
    }
    if rng.bool() {
        text += "cut IN NS a\n";
    }
    if rng.bool() {
        text += "c IN NS ns.c\n";
    }
    text
}

fn contents(image: &Image) -> BTreeMap<Vec<u8>, usize> {
    let zone = image.zone(Name::parse("x.test").unwrap().as_wire()).unwrap();
    let (mut walk, mut records) = (image.contents(zone), Vec::new());
    while let Some(node) = walk.next(image) {
        node.push_records(&mut records);
    }
    counted(&records)
}

fn counted(records: &[u8]) -> BTreeMap<Vec<u8>, usize> {
    let mut counts = BTreeMap::new();
    for record in Records(records) {
        *counts.entry(record.octets.to_vec()).or_default() += 1;
    }
    counts
}

fn apply(mut to: BTreeMap<Vec<u8>, usize>, deleted: &[u8], added: &[u8]) -> BTreeMap<Vec<u8>, usize> {
    for (record, _) in counted(deleted) {
        assert!(to.remove(&record).is_some(), "not there: {:?}", lines(&record));
    }
    for (record, _) in counted(added) {
        assert_eq!(to.insert(record.clone(), 1), None, "there already: {:?}", lines(&record));
    }
    to
}

fn step(old: &Image, new: &Image) -> Step {
    let zone = |image: &Image| image.zone(Name::parse("x.test").unwrap().as_wire()).unwrap();
    let (deleted, added) = match new.changed_since(zone(new), old, zone(old)) {
        Change::None => (Vec::new(), Vec::new()),
        Change::Records { deleted, added } => (deleted, added),
        Change::Whole => panic!("small zones are told apart"),
    };
    let (old_soa, new_soa) = (old.soa(zone(old)), new.soa(zone(new)));
    let serial = |soa: &[u8]| Records(soa).next().unwrap().serial().unwrap();
    Step { from: serial(&old_soa), to: serial(&new_soa), old_soa, new_soa, deleted, added }
}

#[test]
fn differences_lead_from_version_to_version() {
    let mut rng = Rng::with_seed(11);
    let child = "$TTL 9\n@ IN SOA ns hm 1 1 1 1 1\n@ IN NS ns\nns IN A 192.0.2.9\ng IN A 192.0.2.3\n";
    for round in 0..60 {
        let child = (round % 2 == 0).then_some(child);
        let mut history = History::default();
        let mut versions = vec![image(&random(&mut rng, 1), child)];
        for serial in 2..6 {
            let next = image(&random(&mut rng, serial), child);
            let step = step(versions.last().unwrap(), &next);
            let reached = apply(contents(versions.last().unwrap()), &step.deleted, &step.added);
            assert_eq!(reached, contents(&next));
            history.push(step);
            versions.push(next);
        }
        let newest = versions.last().unwrap();
        for (nth, version) in versions[..4].iter().enumerate() {
            let since = history.since(pointsman::transfer::Serial(nth as u32 + 1)).unwrap();
            assert_eq!(
                apply(contents(version), &since.deleted, &since.added),
                contents(newest),
                "since {nth}"
            );
            // What is in both is in neither.
            let (gone, come) = (counted(&since.deleted), counted(&since.added));
            assert!(gone.keys().all(|record| !come.contains_key(record)));
        }
        // A zone that is compiled from what is served is that zone.
        let apex = Name::parse("x.test").unwrap();
        let restored = newest.restored(&apex);
        let again = Image::with_services(&[restored], &Named::default()).unwrap().0;
        assert_eq!(contents(&again), contents(newest));
    }
}

/// Every message of a transfer can be read, is no longer than it may be, and all together are the
/// zone between two SOA records.
#[test]
fn messages_carry_what_there_is() {
    let mut rng = Rng::with_seed(5);
    for round in 0..40 {
        let mut text = random(&mut rng, 7);
        for host in 0..rng.usize(0..3000) {
            text += &format!("host{host} IN TXT \"{}\"\n", "x".repeat(rng.usize(1..250)));
        }
        if round % 4 == 0 {
            // A set that takes a message of its own, and a record that does.
            let long = format!("\"{}\" ", "y".repeat(255)).repeat(rng.usize(60..200));
            text += &format!("long IN TXT {long}\n");
        }
        let image = image(&text, None);
        let apex = Name::parse("x.test").unwrap();
        let zone = image.zone(apex.as_wire()).unwrap();
        let everybody = Permission { from: Some("127.0.0.0/8".parse().unwrap()), key: None };
        let rules = TransferRules { allow: vec![everybody], ..TransferRules::default() };
        let state = ZoneState::new(apex.clone(), Arc::new(rules), image.soa(zone));
        let soa = state.soa.clone();
        let zones = Zones::new(vec![Arc::new(state)], Arc::default());
        let table =
            Arc::new(Table::new(Generation(1), Arc::clone(&image), Vec::new()).with_zones(Arc::new(zones)));
        let edns = rng.bool().then_some(1232);
        let Some(Opened::Stream(mut outgoing)) =
            open(&ask(9, &apex, RecordType::AXFR, edns), &table, &SECONDARY, 0)
        else {
            panic!("refused");
        };
        let mut records = Vec::new();
        while let Some(message) = outgoing.next(0) {
            let read = Message::read(&message).unwrap();
            assert_eq!((read.id, read.rcode().0, read.opt.is_some()), (9, 0, edns.is_some()));
            let longest = read.sections[0].iter().map(|record| record.rdata.len()).max();
            assert!(message.len() <= 16 * 1024 || longest > Some(15 * 1024), "{}", message.len());
            for record in &read.sections[0] {
                pointsman::transfer::push_record(
                    &mut records,
                    &record.owner,
                    record.rtype,
                    record.ttl,
                    &record.rdata,
                );
            }
        }
        assert!(records.starts_with(&soa) && records.ends_with(&soa));
        assert_eq!(counted(&records[soa.len()..records.len() - soa.len()]), contents(&image));
    }
}

#[test]
fn only_streams_for_those_who_may() {
    let image = image("$TTL 1\n@ IN SOA ns hm 7 1 1 1 1\n@ IN NS ns\nns IN A 192.0.2.1\n", None);
    let apex = Name::parse("x.test").unwrap();
    let state = ZoneState::new(apex.clone(), Arc::default(), image.soa(0));
    let zones = Zones::new(vec![Arc::new(state)], Arc::default());
    let table = Arc::new(Table::new(Generation(1), image, Vec::new()).with_zones(Arc::new(zones)));
    let rcode = |name: &str, rtype| match open(
        &ask(9, &Name::parse(name).unwrap(), rtype, None),
        &table,
        &SECONDARY,
        0,
    ) {
        Some(Opened::Reply { message, refused }) => {
            assert!(refused.is_some());
            Some(Message::read(&message).unwrap().rcode().to_string())
        }
        Some(Opened::Stream(_)) => panic!("granted"),
        None => None,
    };
    assert_eq!(rcode("x.test", RecordType::AXFR).as_deref(), Some("REFUSED"));
    assert_eq!(rcode("ns.x.test", RecordType::AXFR).as_deref(), Some("NOTAUTH"));
    assert_eq!(rcode("y.test", RecordType::IXFR).as_deref(), Some("NOTAUTH"));
    assert_eq!(rcode("x.test", RecordType::SOA), None);
    // Of another class we have no zones.
    let mut chaos = ask(9, &apex, RecordType::AXFR, None);
    *chaos.last_mut().unwrap() = 3;
    assert!(open(&chaos, &table, &SECONDARY, 0).is_none());
}

const NOW: u32 = 1_800_000_000;

/// A zone of two versions that everybody here may fetch, and five answers a second for each.
fn limited(dns: &str) -> (Table, Arc<Key>) {
    let text = |serial: u32, more: &str| {
        format!("$TTL 1\n@ IN SOA ns hm {serial} 1 1 1 1\n@ IN NS ns\nns IN A 192.0.2.1\n{more}")
    };
    let more: String = (0..12).map(|n| format!("t{n} IN TXT \"{}\"\n", "x".repeat(30))).collect();
    let (old, new) = (image(&text(1, ""), None), image(&text(2, &more), None));
    let everybody = Permission { from: Some("127.0.0.0/8".parse().unwrap()), key: None };
    let rules = TransferRules { allow: vec![everybody], ..TransferRules::default() };
    let mut state = ZoneState::new(Name::parse("x.test").unwrap(), Arc::new(rules), new.soa(0));
    Arc::make_mut(&mut state.history).push(step(&old, &new));
    let key = || Key::new(Name::parse("k").unwrap(), TsigAlgorithm::Sha256, &[7; 32]);
    let zones = Zones::new(vec![Arc::new(state)], Arc::new(TsigKeys::new([key()])));
    let manners = zoo::manners("offer", dns);
    let table = Table::new(Generation(1), new, Vec::new()).with_zones(Arc::new(zones));
    (table.with_manners(Arc::new(manners)), Arc::new(key()))
}

fn desk() -> Desk {
    let desk = Desk::new(Rng::with_seed(1), NOW);
    desk.limiter.prepare(&mut Rng::with_seed(2));
    desk
}

fn datagram(query: &[u8], table: &Table, desk: &mut Desk) -> Option<Message> {
    let asker = Asker { client: CLIENT, transport: Transport::Udp };
    let mut out = [0; 1232];
    let len = answer(query, &mut out, table, &asker, desk)?;
    Some(Message::read(&out[..len]).unwrap())
}

/// Asks what has changed since version 1.
fn ixfr(options: &[(u16, &[u8])]) -> Vec<u8> {
    since(1, options)
}

fn since(serial: u8, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut query = ask(9, &Name::parse("x.test").unwrap(), RecordType::IXFR, None);
    query[9] = 1;
    query.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0, 0, 0, 0, serial]);
    query.extend([0; 16]);
    query[11] = 1;
    query.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    zoo::with_options(query, options)
}

/// Whoever may be somebody else gets little for a datagram, and not often.
#[test]
fn differences_in_datagrams_amplify_nothing() {
    let (table, key) = limited("rate_limit: {responses_per_second: 5, slip: 2}");
    let records = |message: &Message| message.sections[0].len();
    let mut desk_of_stranger = desk();
    let told: Vec<_> = (0..15).map(|_| datagram(&ixfr(&[]), &table, &mut desk_of_stranger)).collect();
    assert!(told[..5].iter().all(|told| told.as_ref().is_some_and(|told| records(told) == 1)));
    let rest = told[5..].iter().flatten();
    assert!(rest.clone().all(|told| records(told) == 0 && told.flags & 0x200 != 0));
    let slipped = rest.count() as u64;
    assert!((1..10).contains(&slipped), "{slipped}");
    assert_eq!(desk_of_stranger.counts[Counter::RateSlipped], slipped);
    assert_eq!(desk_of_stranger.counts[Counter::RateDropped], 10 - slipped);
    // With a good cookie it is where it says.
    let cookie = zoo::cookie(CLIENT, NOW);
    for _ in 0..20 {
        let told = datagram(&ixfr(&[(10, &cookie)]), &table, &mut desk_of_stranger).unwrap();
        assert_eq!(records(&told), 16);
    }
    // A key will do too, within the limit.
    let mut signed = ixfr(&[]);
    Signer::of_request(&key).sign(&mut signed, u64::from(NOW));
    assert_eq!(records(&datagram(&signed, &table, &mut desk()).unwrap()), 16);
    // Who demands cookies demands them here.
    let (table, _) = limited("unverified_udp_max: 512");
    let table = table.with_manners(Arc::new(zoo::manners("require", "")));
    let told = datagram(&ixfr(&[]), &table, &mut desk()).unwrap();
    assert_eq!((records(&told), told.flags & 0x200), (0, 0x200));
}

#[test]
fn refused_signatures_are_limited_as_errors_are() {
    let (table, _) = limited("rate_limit: {responses_per_second: 5, slip: 2}");
    let strange = Arc::new(Key::new(Name::parse("other").unwrap(), TsigAlgorithm::Sha256, &[8; 32]));
    for rtype in [RecordType::A, RecordType::SOA] {
        let mut signed = ask(9, &Name::parse("x.test").unwrap(), rtype, None);
        Signer::of_request(&strange).sign(&mut signed, u64::from(NOW));
        let mut desk = desk();
        let told: Vec<_> = (0..15).map(|_| datagram(&signed, &table, &mut desk)).collect();
        assert!(told[..5].iter().flatten().all(|told| told.rcode() == Rcode::NOTAUTH));
        assert_eq!(told[..5].iter().flatten().count(), 5);
        let slipped: Vec<_> = told[5..].iter().flatten().collect();
        assert!(slipped.iter().all(|told| told.rcode() == Rcode::NOERROR && told.flags & 0x200 != 0));
        assert!((1..10).contains(&slipped.len()), "{}", slipped.len());
        assert_eq!(desk.counts[Counter::RateDropped], 10 - slipped.len() as u64);
    }
}

/// Every kind of answer to a datagram (RFC 1995 §2 and §4): what has changed, if it is known and
/// fits; else the newest SOA record alone, which is an answer and not the half of one.
#[test]
fn differences_in_datagrams_are_whole_or_none() {
    let (table, _) = limited("");
    let cookie = zoo::cookie(CLIENT, NOW);
    let ask_from = |serial, payload: u16| {
        let mut query = since(serial, &[(10, &cookie)]);
        let at = query.len() - 4 - cookie.len() - 8;
        query[at..at + 2].copy_from_slice(&payload.to_be_bytes());
        let told = datagram(&query, &table, &mut desk()).unwrap();
        assert_eq!((told.rcode(), told.flags & 0x600), (Rcode::NOERROR, 0x400), "{told}");
        assert!(told.sections[1].is_empty(), "{told}");
        let serials = told.sections[0].iter().filter(|record| record.rtype == RecordType::SOA);
        let serials: Vec<_> = serials.map(|soa| soa.rdata[soa.rdata.len() - 17]).collect();
        (told.sections[0].len(), serials)
    };
    assert_eq!(ask_from(1, 1232), (16, vec![2, 1, 2, 2]));
    // It does not fit: not at all, or not by an octet.
    assert_eq!(ask_from(1, 512), (1, vec![2]));
    let fits = (512..1232).find(|payload| ask_from(1, *payload).0 == 16).unwrap();
    assert_eq!(ask_from(1, fits - 1), (1, vec![2]));
    // The client has it already, or something newer than ours; or a version that nobody remembers.
    for known in [2, 3, 0] {
        assert_eq!(ask_from(known, 1232), (1, vec![2]), "since {known}");
    }
    // Which version it has goes unsaid.
    let mut query = zoo::with_options(since(1, &[]), &[]);
    query.drain(query.len() - 11 - 34..query.len() - 11);
    query[9] = 0;
    assert_eq!(datagram(&query, &table, &mut desk()).unwrap().rcode(), Rcode::FORMERR);
    // Over TCP the same is told, only never cut down.
    for (known, records) in [(1, 16), (2, 1), (3, 1)] {
        let told = match open(&since(known, &[]), &Arc::new(table.clone()), &SECONDARY, NOW.into()).unwrap() {
            Opened::Reply { message, refused: None } => message,
            Opened::Stream(mut outgoing) => outgoing.next(NOW.into()).unwrap(),
            refused => panic!("{refused:?}"),
        };
        assert_eq!(Message::read(&told).unwrap().sections[0].len(), records, "since {known}");
    }
}

/// Within TLS each message of a transfer is padded, its signature counted, if the client pads its
/// request; in the clear none is (RFC 7830 §4, RFC 8467 §4.1).
#[test]
fn transfers_are_padded_where_nobody_reads_them() {
    let (table, key) = limited("");
    let table = Arc::new(table);
    for (transport, padded) in [(Transport::Tls, true), (Transport::Tcp, false)] {
        for signed in [false, true] {
            let asked = ask(9, &Name::parse("x.test").unwrap(), RecordType::AXFR, Some(1232));
            let mut query = zoo::with_options(asked, &[(12, &[0; 40])]);
            if signed {
                Signer::of_request(&key).sign(&mut query, NOW.into());
            }
            let asker = Asker { transport, ..SECONDARY };
            let Some(Opened::Stream(mut outgoing)) = open(&query, &table, &asker, NOW.into()) else {
                panic!("refused");
            };
            let message = outgoing.next(NOW.into()).unwrap();
            let what = format!("{transport:?} {signed}: {} octets", message.len());
            assert_eq!(message.len() % 468 == 0, padded, "{what}");
            let opt = Message::read(&message).unwrap().opt.unwrap();
            assert_eq!(opt.options.iter().any(|(code, _)| *code == 12), padded, "{what}");
        }
    }
}

/// Servers on the way may give a signed question another id: the answer goes back with that one
/// (RFC 8945 §5.3.1), and however long it is, its signature fits behind it.
#[test]
fn signed_answers_go_back_to_who_passed_the_question_on() {
    let (table, key) = limited("");
    for rtype in [RecordType::SOA, RecordType::AXFR, RecordType::IXFR] {
        for payload in [512, 600, 1232] {
            let mut query = match rtype {
                RecordType::IXFR => ixfr(&[]),
                rtype => ask(9, &Name::parse("x.test").unwrap(), rtype, Some(0)),
            };
            let at = query.len() - 8;
            query[at..at + 2].copy_from_slice(&u16::to_be_bytes(payload));
            let mut signer = Signer::of_request(&key);
            signer.sign(&mut query, NOW.into());
            query[1] = 77;
            let asker = Asker { client: CLIENT, transport: Transport::Udp };
            let mut out = [0; 1232];
            let len = answer(&query, &mut out, &table, &asker, &mut desk()).unwrap();
            assert!(len <= usize::from(payload), "{rtype} {payload}: {len}");
            assert_eq!(out[1], 77);
            signer.verify(&out[..len], NOW.into()).unwrap_or_else(|why| panic!("{rtype} {payload}: {why}"));
        }
    }
    // A refusal is signed too: it could be anybody's otherwise.
    let mut query = ask(9, &Name::parse("y.test").unwrap(), RecordType::AXFR, None);
    let mut signer = Signer::of_request(&key);
    signer.sign(&mut query, NOW.into());
    let Some(Opened::Reply { message, .. }) = open(&query, &Arc::new(table), &SECONDARY, NOW.into()) else {
        panic!("granted");
    };
    assert_eq!(Message::read(&message).unwrap().rcode(), Rcode::NOTAUTH);
    signer.verify(&message, NOW.into()).unwrap();
}

/// Addresses of secondaries are forged for nothing: a datagram that shows no more than that gets the
/// newest version told, and nobody puts a difference together for it.
#[test]
fn who_may_be_anybody_costs_next_to_nothing() {
    let hosts = |serial: u32| -> String {
        let soa = format!("$TTL 1\n@ SOA ns hm {serial} 1 1 1 1\n@ NS ns\nns A 192.0.2.1\n");
        soa + &(0..2000)
            .map(|n| format!("h{n} TXT \"{n} {serial} {}\"\n", "x".repeat(40)))
            .collect::<String>()
    };
    let versions: Vec<_> = (1..4).map(|serial| image(&hosts(serial), None)).collect();
    let (mut table, _) = limited("");
    let mut state = ZoneState::clone(table.zones().get(0).unwrap());
    let mut history = History::default();
    versions.windows(2).for_each(|two| history.push(step(&two[0], &two[1])));
    assert_eq!(history.len(), 2);
    (state.history, state.soa) = (Arc::new(history), versions[2].soa(0));
    state.serial = pointsman::transfer::Serial(3);
    table = table.with_zones(Arc::new(Zones::new(vec![Arc::new(state)], Arc::default())));
    let cookie = zoo::cookie(CLIENT, NOW);
    let mut desk = desk();
    let mut time = |options: &[(u16, &[u8])]| {
        let started = crate::common::now();
        for _ in 0..10 {
            assert_eq!(datagram(&ixfr(options), &table, &mut desk).unwrap().sections[0].len(), 1);
        }
        crate::common::now() - started
    };
    let (shown, forged) = (time(&[(10, &cookie)]), time(&[]));
    assert!(forged * 10 < shown, "{forged:?}, and with a cookie {shown:?}");
}
