//! A key is succeeded while a resolver watches: an unbound that has the parent's key alone, goes by
//! the DS records that the parent hands out, and asks through every phase. The parent puts in what
//! the zone asks it for (CDS, RFC 7344), and what waits for caches waits for this one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pointsman::base::{RegionId, Timestamp};
use pointsman::region::Pick;
use pointsman::serve::{Server, Sockets};
use pointsman::sign::{
    Algorithm, Flags, KeyPolicy, KeyRecord, KeyRing, KeyState, Layout, Role, SigningKey, Timing, ZoneKeys,
};
use pointsman::table::{Image, Table};
use pointsman::wire::{Name, Rcode, RecordType, ShowRdata};

use crate::common::unbound::Unbound;
use crate::resolvers::{addresses, is_secure, now, resolve};
use crate::signed::*;
use crate::zoo;

/// The TTL of everything.
const SECOND: Duration = Duration::from_secs(1);
/// What unbound keeps for a second it may keep for almost two: it counts in whole ones.
const EXPIRED: Duration = Duration::from_millis(2200);

const CONFIG: &str = "\
version: 1
mode: answer
site: {name: test1}
listen: {dns: [], control: control.sock}
zones: [{name: x.corp, file: x}, {name: corp, file: corp}]
regions: {eu: {}, us: {}}
services:
  shop:
    names: [shop.x.corp]
    policy: {all: [eu, us]}
    answers: {eu: {a: [192.0.2.10]}, us: {a: [198.51.100.10]}}
    ttl: {min: 1s, max: 1s}
";
const ZONE: &str = "\
$TTL 1
@ SOA ns h 1 1h 10m 2w 1
@ NS ns
ns A 192.0.2.53
host A 192.0.2.1
*.wild A 192.0.2.3
";
/// What is asked in every phase, and how many addresses there are.
const ASKED: [(&str, u16, usize); 7] = [
    ("host.x.corp", 1, 1),
    ("shop.x.corp", 1, 2),
    ("shop.x.corp", 28, 0),
    ("q.wild.x.corp", 1, 1),
    ("q.wild.x.corp", 16, 0),
    ("nothing.x.corp", 1, 0),
    ("x.corp", 48, 0),
];

/// The zone, its parent, and who serves both.
struct World {
    ring: KeyRing,
    policy: KeyPolicy,
    keys: BTreeMap<u16, Arc<SigningKey>>,
    /// The time of the keys. Signatures are of the true one: unbound has a clock of its own.
    at: i64,
    parent_keys: Arc<ZoneKeys>,
    /// What the parent points at: RDATA.
    ds: Vec<Vec<u8>>,
    /// The resolver knows of it.
    is_entered: bool,
    table: Arc<ArcSwap<Table>>,
    unbound: Unbound,
    _server: Server,
}

impl World {
    fn start(layout: Layout, algorithm: Algorithm) -> Self {
        let timing = Timing {
            dnskey_ttl: SECOND,
            max_ttl: SECOND,
            propagation: Duration::ZERO,
            ds_ttl: SECOND,
            parent_propagation: Duration::ZERO,
            safety: Duration::ZERO,
        };
        let policy = KeyPolicy { layout, algorithm, timing, ..KeyPolicy::default() };
        let parent_keys = one_key("corp", Algorithm::default());
        let sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()], 1).unwrap();
        let address = sockets.udp_addresses()[0];
        let table = Arc::new(ArcSwap::from_pointee(zoo::table()));
        let server = Server::start(sockets, Arc::clone(&table), &zoo::config(CONFIG).dns).unwrap();
        let anchors = crate::resolvers::anchors(&parent_keys);
        let unbound = Unbound::validating_below(&["corp", "x.corp"], address, &anchors).unwrap();
        let (ring, keys) = (KeyRing::new(), BTreeMap::new());
        let mut world = Self {
            ring,
            policy,
            keys,
            at: 0,
            parent_keys,
            ds: Vec::new(),
            is_entered: false,
            table,
            unbound,
            _server: server,
        };
        for role in layout.roles() {
            world.generate(*role);
        }
        world
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + self.at).unwrap()
    }

    fn generate(&mut self, role: Role) -> u16 {
        let flags = if role == Role::Zsk { Flags::Zone } else { Flags::SecureEntryPoint };
        let key = new_key(self.policy.algorithm, flags);
        self.ring.keys.push(KeyRecord::new(key.tag(), key.algorithm(), role, self.time()));
        let tag = key.tag();
        assert!(self.keys.insert(tag, key).is_none(), "two keys of one tag");
        tag
    }

    /// Takes one step in the life of the keys, and answers accordingly.
    fn step(&mut self) {
        let now = self.time();
        self.ring.step(&self.policy, now);
        self.serve();
        self.ring.put_in_force(now);
    }

    fn serve(&self) {
        let apex = name("x.corp");
        let find = |key: &KeyRecord| self.keys.get(&key.tag).cloned();
        let keys = Arc::new(self.ring.zone_keys(&apex, &self.policy, find).unwrap());
        let ds = |rdata| ShowRdata { rtype: RecordType::DS, rdata };
        let ds: String = self.ds.iter().map(|rdata| format!("x DS {}\n", ds(rdata))).collect();
        let parent = format!(
            "$TTL 1\n@ SOA ns h 1 1h 10m 2w 1\n@ NS ns\nns A 192.0.2.53\nx NS ns.x\nns.x A 192.0.2.53\n{ds}"
        );
        let config = zoo::config(CONFIG);
        let zones = [zoo::zone("x.corp", ZONE), zoo::zone("corp", &parent)];
        let (image, _) = Image::build(&zones, &config).unwrap();
        let signed = sign(&image, &config.services, &[keys, Arc::clone(&self.parent_keys)], now());
        let pick = |_: &str, _: &_| Pick::All(vec![RegionId(0), RegionId(1)]);
        let choices = choices(&config.services, pick, 1);
        self.table.store(Arc::new(table(&image, &config.services, &signed, &choices)));
    }

    /// Everything is answered, and validates or not.
    #[track_caller]
    fn asks(&self, secure: bool) {
        for (text, rtype, wanted) in ASKED {
            let message = resolve(self.unbound.address, text, RecordType(rtype));
            let what = format!("{:?}: {text} {rtype}:\n{message}", self.ring.keys);
            assert_ne!(message.rcode(), Rcode::SERVFAIL, "{what}");
            assert_eq!(is_secure(&message), secure, "{what}");
            assert_eq!(addresses(&message).len(), wanted, "{what}");
        }
    }

    /// The next step in the life of the keys. What the resolver has kept from before meets what is new.
    #[track_caller]
    fn becomes(&mut self, states: &[KeyState]) {
        self.step();
        let at: Vec<_> = self.ring.keys.iter().map(|key| key.state().0).collect();
        assert_eq!(at, states);
        self.asks(self.is_entered);
    }

    /// A second goes by, for the keys; and for caches, of which one asks all the time.
    #[track_caller]
    fn ages(&mut self) {
        let started = self.is_entered == self.ds.is_empty();
        for _ in 0..4 {
            std::thread::sleep(EXPIRED / 4);
            if !started {
                self.asks(self.is_entered);
            }
        }
        // What was kept from before there was a DS was insecure, and no more than that.
        self.is_entered = !self.ds.is_empty();
        self.asks(self.is_entered);
        self.at += 1;
    }

    /// The parent does what the zone asks for, and is seen to have done so once caches know.
    fn parent_follows(&mut self) {
        let cds = resolve(self.unbound.address, "x.corp", RecordType::CDS);
        // The very first is taken on trust (RFC 8078 §3.3).
        assert!(self.ds.is_empty() || is_secure(&cds), "{cds}");
        let wanted: Vec<_> =
            cds.sections[0].iter().filter(|record| record.rtype == RecordType::CDS).collect();
        assert!(!wanted.is_empty(), "{cds}");
        self.ds = wanted.iter().map(|cds| cds.rdata.clone()).collect();
        self.serve();
        let tag = self.ring.awaits_ds().expect("one is ready").tag;
        let time = self.time();
        self.ring.ds_seen(tag, time).unwrap();
    }
}

fn key_of(ds: &[u8], world: &World) -> u16 {
    let apex: Name = name("x.corp");
    *world.keys.iter().find(|(_, key)| key.is_named_by(&apex, ds)).expect("it names one").0
}

/// Old key alone, both published, the new one signs, the old one is gone.
#[test]
fn an_unbound_follows_a_combined_key() {
    use KeyState::*;
    if !Unbound::is_installed() {
        return;
    }
    let mut world = World::start(Layout::Csk, Algorithm::default());
    world.becomes(&[Published]);
    world.at += 1;
    world.becomes(&[Ready]);
    world.parent_follows();
    world.becomes(&[Active]);
    world.ages();
    let old = key_of(&world.ds[0], &world);
    world.generate(Role::Csk);
    world.becomes(&[Active, Published]);
    world.ages();
    world.becomes(&[Active, Ready]);
    world.parent_follows();
    assert_ne!(key_of(&world.ds[0], &world), old);
    world.becomes(&[Retired, Active]);
    world.ages();
    world.becomes(&[Removed, Active]);
    // Had the parent not followed, everything would be lost by now: the checks above could fail.
    world.ds = vec![world.keys[&old].ds_rdata(&name("x.corp"))];
    world.serve();
    std::thread::sleep(EXPIRED);
    assert_eq!(resolve(world.unbound.address, "host.x.corp", RecordType::A).rcode(), Rcode::SERVFAIL);
}

#[test]
fn an_unbound_follows_a_pair_of_keys() {
    use KeyState::*;
    if !Unbound::is_installed() {
        return;
    }
    let mut world = World::start(Layout::KskZsk, Algorithm::Ed25519);
    world.becomes(&[Published, Active]);
    world.at += 1;
    world.becomes(&[Ready, Active]);
    world.parent_follows();
    world.becomes(&[Active, Active]);
    world.ages();
    // The zone-signing key: published before it signs, gone after its signatures.
    world.generate(Role::Zsk);
    world.becomes(&[Active, Active, Published]);
    world.ages();
    world.becomes(&[Active, Retired, Active]);
    world.ages();
    // The other one signs the keys beside its predecessor.
    world.generate(Role::Ksk);
    world.becomes(&[Active, Removed, Active, Published]);
    world.ages();
    world.becomes(&[Active, Removed, Active, Ready]);
    world.parent_follows();
    world.becomes(&[Retired, Removed, Active, Active]);
    world.ages();
    world.becomes(&[Removed, Removed, Active, Active]);
}
