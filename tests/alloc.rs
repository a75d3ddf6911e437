//! The answer path does not allocate: an allocator that counts says so.
#![allow(unsafe_code, reason = "a global allocator is unsafe to implement; this one only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use pointsman::base::{Prefix, Timestamp};
use pointsman::dns::{Asker, Counter, Desk, Transport, answer};
use pointsman::sign::{Algorithm, Flags, SignatureTimes, SigningKey, ZoneKeys};
use pointsman::table::{Signing, Unions};
use pointsman::wire::{Name, RecordType, ask};

mod zoo;

const NOW: u32 = 1_800_000_000;
const CLIENT: [u8; 4] = [192, 0, 2, 200];

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // The cell is gone while a thread ends; nothing is measured then.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn no_answer_allocates() {
    let table = zoo::table();
    let types = [1, 28, 2, 5, 6, 12, 15, 16, 33, 35, 39, 41, 43, 46, 65, 128, 250, 251, 252, 253, 255, 65280];
    let mut queries = Vec::new();
    let known = zoo::cookie(CLIENT.into(), NOW);
    let below = zoo::NAMES.iter().map(|name| format!("{name}.example.com"));
    for name in below.chain(["example.com".to_owned()]) {
        for rtype in types {
            for payload in [None, Some(512), Some(4096)] {
                queries.push(ask(1, &Name::parse(&name).unwrap(), RecordType(rtype), payload));
            }
        }
    }
    queries.push(ask(1, &Name::parse("elsewhere").unwrap(), RecordType::A, None));
    // Somebody tells of another version of a zone that is ours, or is not.
    for zone in ["example.com", "elsewhere"] {
        let mut notice = ask(1, &Name::parse(zone).unwrap(), RecordType::SOA, None);
        notice[2] = 0x24;
        queries.push(notice);
    }
    // Each of these, broken at every place in turn.
    let sound = ask(1, &Name::parse("host.example.com").unwrap(), RecordType::A, Some(1232));
    for at in 0..sound.len() {
        queries.push(sound[..at].to_vec());
        for value in [0, 1, 0x80, 0xc0, 0xff] {
            let mut broken = sound.clone();
            broken[at] = value;
            queries.push(broken);
        }
    }

    // Everything that a client can say of itself, and what is not so.
    let id = ask(1, &Name::parse("id.server").unwrap(), RecordType::TXT, Some(1232));
    let chaos = [&id[..id.len() - 12], &[3][..], &id[id.len() - 11..]].concat();
    for query in [&sound, &chaos] {
        for cookie in [&b"clientsO"[..], b"clientsOserversOserversO", b"cl", &known] {
            let subnet = &[0, 1, 24, 0, 192, 0, 2];
            let options = [(8, &subnet[..]), (10, cookie), (3, &[]), (11, &[]), (12, &[])];
            queries.push(zoo::with_options(query.clone(), &options));
        }
    }

    let tables = [
        table.clone(),
        table.clone().with_manners(Arc::new(zoo::manners("offer", "rate_limit: {responses_per_second: 3}"))),
        table.with_manners(Arc::new(zoo::manners("require", "unverified_udp_max: 512"))),
    ];
    let (mut out, mut desk) = (vec![0; 65_535], Desk::new(fastrand::Rng::with_seed(3), NOW));
    desk.limiter.prepare(&mut desk.rng);
    let before = ALLOCATIONS.get();
    for (query, table) in queries.iter().flat_map(|query| tables.iter().map(move |table| (query, table))) {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic] {
            let asker = Asker { client: CLIENT.into(), transport };
            answer(query, &mut out, table, &asker, &mut desk);
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "over {} queries", queries.len());
    // It was a mix of everything.
    for (counter, count) in desk.counts.iter().take(Counter::Unsent as usize) {
        let is_there = !matches!(counter, Counter::YxDomain);
        assert_eq!(count > 0, is_there, "{}", counter.word());
    }
    // And the allocator does count.
    drop(Box::new(ALLOCATIONS.get()));
    assert!(ALLOCATIONS.get() > before);
}

/// Neither does one that depends on where the client is, for whom a resolver asks, on a lot or on
/// what a client is bound to.
#[test]
fn no_answer_of_a_nested_policy_allocates() {
    let table = zoo::led();
    let clients =
        ["81.2.69.142", "216.160.83.56", "89.160.20.112", "192.0.2.9", "2a02:d300::1", "2001:db8::9"];
    let mut queries = Vec::new();
    for name in ["led", "aliased"] {
        for rtype in [1, 28, 16, 33, 65, 255] {
            for (client, len) in clients.iter().zip([0, 8, 20, 24, 32, 56]) {
                let mut query = ask(
                    1,
                    &Name::parse(&format!("{name}.example.com")).unwrap(),
                    RecordType(rtype),
                    Some(1232),
                );
                queries.push((query.clone(), client.parse().unwrap()));
                zoo::add_subnet(&mut query, &Prefix::around(client.parse().unwrap(), len));
                queries.push((query, [192, 0, 2, 200].into()));
            }
        }
    }
    let (mut out, mut desk) = (vec![0; 65_535], Desk::new(fastrand::Rng::with_seed(3), 1_800_000_000));
    let before = ALLOCATIONS.get();
    for (query, client) in queries.iter().cycle().take(queries.len() * 20) {
        let asker = Asker { client: *client, transport: Transport::Udp };
        answer(query, &mut out, &table, &asker, &mut desk).expect("it is answered");
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(desk.counts[Counter::Dynamic] as usize >= queries.len() * 20);
    assert_eq!(desk.counts[Counter::ServFail], 0);
}

/// The one exception is a signature that is made for a question: all its memory is taken with the
/// first ones, and answers that are signed ahead, or were signed before, take none.
#[test]
fn no_signed_answer_allocates() {
    let config = zoo::config(zoo::CONFIG);
    let plain = zoo::table();
    let random = ring::rand::SystemRandom::new();
    let (key, _) =
        SigningKey::generate(Algorithm::EcdsaP256Sha256, Flags::SecureEntryPoint, &random).expect("a key");
    let zone = Name::parse("example.com").expect("a name");
    let keys = [Arc::new(ZoneKeys::one(zone, Arc::new(key), 300, SignatureTimes::default()))];
    let now = Timestamp::from_second(1_800_000_000).expect("it is in range");
    let signing = Signing::new(plain.image(), &config.services, &keys, now).expect("there are keys");
    let parts = vec![signing.part(0, 1)];
    let signed = Arc::new(signing.finish(parts));
    let (mut unions, services) = (Unions::default(), config.services.values());
    let sealed = services
        .zip(plain.all_answers())
        .map(|(service, answers)| unions.compile(plain.image(), &signed, service, answers))
        .collect();
    let table = plain.with_signatures(signed, sealed);

    let mut queries = Vec::new();
    let below = zoo::NAMES.iter().map(|name| format!("{name}.example.com"));
    for name in below.chain(["example.com".to_owned()]) {
        for rtype in [1, 28, 2, 5, 6, 15, 16, 33, 39, 43, 46, 47, 48, 59, 65, 255, 65280] {
            for (payload, transport) in
                [(512, Transport::Udp), (1232, Transport::Udp), (1232, Transport::Tcp)]
            {
                let mut query =
                    ask(1, &Name::parse(&name).expect("a name"), RecordType(rtype), Some(payload));
                let flags_at = query.len() - 4;
                query[flags_at] = 0x80;
                queries.push((query, transport));
            }
        }
    }
    let (mut out, mut desk) = (vec![0; 65_535], Desk::new(fastrand::Rng::with_seed(3), 1_800_000_000));
    let mut pass = || {
        let before = ALLOCATIONS.get();
        for (query, transport) in &queries {
            let asker = Asker { client: [192, 0, 2, 200].into(), transport: *transport };
            answer(query, &mut out, &table, &asker, &mut desk);
        }
        ALLOCATIONS.get() - before
    };
    assert!(pass() > 0, "the first signatures take their memory");
    assert_eq!(pass(), 0, "over {} queries", queries.len());
    assert!(desk.counts[Counter::SealMade] > 10 && desk.counts[Counter::SealFound] > 100);
    assert_eq!(desk.counts[Counter::Unsigned], 0);
}
