//! What validating resolvers make of it: a real unbound with the trust anchor and `delv`, against
//! the real server, in every state that a service can be in.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pointsman::base::RegionId;
use pointsman::config::Config;
use pointsman::region::Pick;
use pointsman::serve::{Server, Sockets};
use pointsman::sign::{Algorithm, ZoneKeys};
use pointsman::table::{Image, Signed, Table};
use pointsman::wire::{Message, Rcode, RecordType, ShowRdata, ask};

use crate::common::unbound::Unbound;
use crate::common::{Scratch, find};
use crate::engine::MORE;
use crate::signed::*;
use crate::zoo;

const EU: RegionId = RegionId(0);
const US: RegionId = RegionId(1);

/// A server of the zoo, signed as of now.
struct Running {
    config: Config,
    image: Arc<Image>,
    signed: Arc<Signed>,
    table: Arc<ArcSwap<Table>>,
    address: SocketAddr,
    _server: Server,
}

impl Running {
    fn start(keys: &Arc<ZoneKeys>, pick: impl Fn(&str) -> Pick, ttl: u32) -> Self {
        let config = zoo::config(zoo::CONFIG);
        let zone = zoo::zone("example.com", &format!("{}{MORE}", zoo::ZONE));
        let (image, _) = Image::build(&[zone], &config).unwrap();
        let signed = sign(&image, &config.services, &[Arc::clone(keys)], now());
        let table =
            table(&image, &config.services, &signed, &choices(&config.services, |name, _| pick(name), ttl));
        let table = Arc::new(ArcSwap::from_pointee(table));
        let sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()], 1).unwrap();
        let address = sockets.udp_addresses()[0];
        let server = Server::start(sockets, Arc::clone(&table), &config.dns).unwrap();
        Self { config, image, signed, table, address, _server: server }
    }

    fn flip(&self, pick: impl Fn(&str) -> Pick, ttl: u32) {
        let services = &self.config.services;
        self.table.store(Arc::new(table(
            &self.image,
            services,
            &self.signed,
            &choices(services, |name, _| pick(name), ttl),
        )));
    }

    /// The same table with signatures made now, by these keys.
    fn sign_anew(&mut self, keys: &Arc<ZoneKeys>, pick: impl Fn(&str) -> Pick, ttl: u32) {
        self.signed = sign(&self.image, &self.config.services, &[Arc::clone(keys)], now());
        self.flip(pick, ttl);
    }

    fn unbound(&self, keys: &ZoneKeys) -> Option<Unbound> {
        Unbound::validating("example.com", self.address, &anchors(keys))
    }
}

#[allow(clippy::disallowed_methods, reason = "resolvers have a clock of their own")]
pub fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

/// DS records of the keys that a parent would point at.
pub fn anchors(keys: &ZoneKeys) -> Vec<String> {
    let ds = |rdata| ShowRdata { rtype: RecordType::DS, rdata };
    keys.cds().iter().map(|cds| format!("{} 300 IN DS {}", keys.zone(), ds(cds))).collect()
}

/// Asks a resolver with DO and RD.
pub fn resolve(resolver: SocketAddr, text: &str, rtype: RecordType) -> Message {
    let mut query = ask(9, &name(text), rtype, Some(1232));
    query[2] |= 1;
    let flags_at = query.len() - 4;
    query[flags_at] = 0x80;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut out = [0; 4096];
    for _ in 0..4 {
        socket.send_to(&query, resolver).unwrap();
        if let Ok(len) = socket.recv(&mut out) {
            return Message::read(&out[..len]).unwrap();
        }
    }
    panic!("no answer for {text} {rtype}");
}

/// Whether a resolver found that it could trust the answer.
pub fn is_secure(message: &Message) -> bool {
    message.flags & 0x20 != 0
}

pub fn addresses(message: &Message) -> Vec<String> {
    let addresses = message.sections[0].iter().filter(|record| [1, 28].contains(&record.rtype.0));
    let mut addresses: Vec<_> =
        addresses.map(|record| ShowRdata { rtype: record.rtype, rdata: &record.rdata }.to_string()).collect();
    addresses.sort();
    addresses
}

/// What a service answers, by its name.
type State = Box<dyn Fn(&str) -> Pick>;

/// States of the services.
fn states() -> Vec<(&'static str, State)> {
    let only = |region: RegionId, other: Pick| {
        Box::new(move |service: &str| match service {
            "legacy" | "dark" | "broken" => Pick::One(vec![(EU, 1)]),
            "together" => other.clone(),
            _ => Pick::One(vec![(region, 1)]),
        }) as State
    };
    let all_down = |pick: Pick| Box::new(move |_: &str| pick.clone()) as State;
    vec![
        ("both up", only(EU, Pick::All(vec![EU, US]))),
        ("eu down", only(US, Pick::All(vec![US]))),
        ("us down", only(EU, Pick::All(vec![EU]))),
        ("all down, serve_all", all_down(Pick::All(vec![]))),
        ("all down, nodata", all_down(Pick::Nodata)),
        ("all down, servfail", all_down(Pick::Servfail)),
    ]
}

const STATIC: &[(&str, u16)] = &[
    ("example.com", 6),
    ("example.com", 48),
    ("example.com", 59),
    ("example.com", 60),
    ("example.com", 2),
    ("example.com", 15),
    ("host.example.com", 1),
    ("host.example.com", 28),
    // NODATA, an empty non-terminal, names that are not there.
    ("host.example.com", 15),
    ("b.c.example.com", 1),
    ("nothing.example.com", 1),
    ("not.there.at.all.example.com", 16),
    // Wildcards, and what they lack.
    ("q.wild.example.com", 1),
    ("deep.q.wild.example.com", 15),
    ("q.wild.example.com", 16),
    ("q.only.example.com", 1),
    ("*.wild.example.com", 1),
    // Chains, one of them to nothing.
    ("chain.example.com", 28),
    ("chain.example.com", 15),
    ("lost.example.com", 1),
    ("old.example.com", 39),
    ("q.old.example.com", 1),
    // Both sides of a delegation.
    ("lab.example.com", 43),
    ("safe.example.com", 43),
    ("big.example.com", 16),
];

const DYNAMIC: &[(&str, u16)] = &[
    ("storefront.example.com", 1),
    ("storefront.example.com", 28),
    ("storefront.example.com", 16),
    ("storefront.example.com", 15),
    ("deep.under.example.com", 1),
    ("spread.example.com", 1),
    ("spread.example.com", 28),
    ("together.example.com", 1),
    ("together.example.com", 28),
    ("legacy.example.com", 28),
    ("example.com", 1),
    ("example.com", 28),
    ("shop.example.com", 1),
    ("shop.example.com", 28),
    ("q.shops.example.com", 1),
];

#[test]
fn an_unbound_validates_every_state() {
    if !Unbound::is_installed() {
        return;
    }
    for (algorithm, states) in
        [(Algorithm::EcdsaP256Sha256, states()), (Algorithm::Ed25519, states().split_off(3))]
    {
        let keys = one_key("example.com", algorithm);
        for (state, pick) in states {
            let running = Running::start(&keys, &pick, zoo::SERVICE_TTL);
            let unbound = running.unbound(&keys).unwrap();
            for (text, rtype) in STATIC.iter().chain(DYNAMIC) {
                let rtype = RecordType(*rtype);
                let message = resolve(unbound.address, text, rtype);
                let what = format!("{state}: {text} {rtype}:\n{message}");
                let is_service = DYNAMIC.contains(&(text, rtype.0)) && ![15, 16].contains(&rtype.0);
                if state.ends_with("servfail") && is_service {
                    assert_eq!(message.rcode(), Rcode::SERVFAIL, "{what}");
                    continue;
                }
                assert!(is_secure(&message), "{what}");
                if is_service && state.ends_with("nodata") {
                    assert_eq!(addresses(&message).len(), 0, "{what}");
                } else if is_service && rtype == RecordType::A {
                    assert!(!addresses(&message).is_empty(), "{what}");
                }
            }
        }
    }
}

#[test]
fn an_unbound_follows_flips_and_failbacks() {
    if !Unbound::is_installed() {
        return;
    }
    let keys = many_keys("example.com");
    let one = |region| move |_: &str| Pick::One(vec![(region, 1)]);
    let running = Running::start(&keys, one(EU), 1);
    let unbound = running.unbound(&keys).unwrap();
    let secure = |text: &str, rtype| {
        let message = resolve(unbound.address, text, rtype);
        assert!(is_secure(&message), "{text} {rtype}:\n{message}");
        addresses(&message)
    };
    let (a, aaaa) = (RecordType::A, RecordType::AAAA);
    let expire = || std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(secure("storefront.example.com", a), ["192.0.2.10"]);
    assert_eq!(secure("spread.example.com", aaaa), ["2001:db8::11"]);
    running.flip(one(US), 1);
    expire();
    assert_eq!(secure("storefront.example.com", a), ["198.51.100.10"]);
    // This region has no such address: a denial that must not outlive the failback.
    assert_eq!(secure("spread.example.com", aaaa), [""; 0]);
    running.flip(|_| Pick::Nodata, 1);
    expire();
    assert_eq!(secure("storefront.example.com", a), [""; 0]);
    assert_eq!(secure("storefront.example.com", RecordType::MX), [""; 0]);
    running.flip(one(EU), 1);
    expire();
    assert_eq!(secure("storefront.example.com", a), ["192.0.2.10"]);
    assert_eq!(secure("storefront.example.com", aaaa), ["2001:db8::10"]);
    assert_eq!(secure("spread.example.com", aaaa), ["2001:db8::11"]);
}

#[test]
fn an_unbound_notices_nothing_when_signatures_are_made_anew() {
    if !Unbound::is_installed() {
        return;
    }
    let keys = one_key("example.com", Algorithm::EcdsaP256Sha256);
    let one = |_: &str| Pick::One(vec![(EU, 1)]);
    let mut running = Running::start(&keys, one, 1);
    let unbound = running.unbound(&keys).unwrap();
    for _ in 0..3 {
        for (text, rtype) in
            [("storefront.example.com", 1), ("nothing.example.com", 1), ("host.example.com", 15)]
        {
            let message = resolve(unbound.address, text, RecordType(rtype));
            assert!(is_secure(&message), "{message}");
        }
        running.sign_anew(&keys, one, 1);
        std::thread::sleep(Duration::from_millis(1100));
    }
}

#[test]
fn a_wrong_key_is_found_out() {
    if !Unbound::is_installed() {
        return;
    }
    // The tests above could not fail if unbound took anything.
    let (keys, others) =
        (one_key("example.com", Algorithm::Ed25519), one_key("example.com", Algorithm::Ed25519));
    let running = Running::start(&keys, |_| Pick::One(vec![(EU, 1)]), 1);
    let unbound = running.unbound(&others).unwrap();
    assert_eq!(resolve(unbound.address, "host.example.com", RecordType::A).rcode(), Rcode::SERVFAIL);
}

#[test]
fn delv_validates_every_state() {
    let Some(delv) = find("delv", "bind9-dnsutils", &[]) else { return };
    let keys = many_keys("example.com");
    let scratch = Scratch::new("delv");
    let anchor = scratch.path().join("anchor");
    let lines: String = anchors(&keys)
        .iter()
        .map(|record| {
            let (_, data) = record.split_once(" DS ").unwrap();
            let (numbers, digest) = data.rsplit_once(' ').unwrap();
            format!("  example.com. static-ds {numbers} \"{digest}\";\n")
        })
        .collect();
    std::fs::write(&anchor, format!("trust-anchors {{\n{lines}}};\n")).unwrap();
    for (state, pick) in states() {
        let running = Running::start(&keys, &pick, zoo::SERVICE_TTL);
        let questions: Vec<_> = match state {
            "both up" => STATIC.iter().chain(DYNAMIC).collect(),
            _ => DYNAMIC.iter().collect(),
        };
        for (text, rtype) in questions {
            let rtype = RecordType(*rtype);
            let mut command = Command::new(&delv);
            command.args(["-4", "@127.0.0.1", "-p", &running.address.port().to_string(), "-a"]).arg(&anchor);
            command.args(["+root=example.com", "+vtrace", text, "-t", &rtype.to_string()]);
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let what =
                format!("{state}: {text} {rtype}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
            if state.ends_with("servfail") && ![15, 16].contains(&rtype.0) {
                assert!(!said.contains("validated"), "{what}");
                continue;
            }
            assert!(said.contains("fully validated"), "{what}");
            assert!(!said.contains("; unsigned answer"), "{what}");
        }
    }
}
