//! The lives of keys, with validators watching: whatever is answered, whenever the process dies,
//! and however slow caches and parents are, everything in caches validates with everything else.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::Timestamp;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn policy(layout: Layout, timing: Timing) -> KeyPolicy {
    KeyPolicy { layout, timing, ..KeyPolicy::default() }
}

fn seconds(span: u64) -> Duration {
    Duration::from_secs(span)
}

/// A ring after the daemon has answered with it.
fn settle(ring: &mut KeyRing, policy: &KeyPolicy, now: Timestamp) -> Vec<Turn> {
    let turns = ring.step(policy, now);
    ring.put_in_force(now);
    turns
}

fn record(tag: u16, role: Role, now: Timestamp) -> KeyRecord {
    KeyRecord::new(tag, Algorithm::default(), role, now)
}

fn states(ring: &KeyRing) -> Vec<(u16, KeyState)> {
    ring.keys.iter().map(|key| (key.tag, key.state().0)).collect()
}

#[test]
fn a_combined_key_comes_and_goes() {
    let timing = Timing::default();
    let policy = policy(Layout::Csk, timing);
    let hour = 3600;
    let mut ring = KeyRing::new();
    assert_eq!(ring.wants(&policy, at(0)), Some(Role::Csk));
    ring.keys.push(record(1, Role::Csk, at(0)));
    assert_eq!(ring.wants(&policy, at(0)), None);
    settle(&mut ring, &policy, at(0));
    assert_eq!(states(&ring), [(1, KeyState::Published)]);
    assert!(ring.signs_zone(1), "a zone's first key signs from the start");
    assert_eq!(ring.entries().count(), 0, "unsigned answers are still in caches");
    assert_eq!(ring.ds_seen(1, at(1)), Err(Refused::NotReady(1, KeyState::Published)));
    assert_eq!(ring.can_roll(Role::Csk), Err(Refused::NothingToRoll(Role::Csk)));
    // A day of TTL, five minutes to spread, an hour to be safe.
    let known = 25 * hour + 300;
    settle(&mut ring, &policy, at(known - 1));
    assert_eq!(states(&ring), [(1, KeyState::Published)]);
    settle(&mut ring, &policy, at(known));
    assert_eq!(states(&ring), [(1, KeyState::Ready)]);
    assert_eq!(ring.entries().map(|key| key.tag).collect::<Vec<_>>(), [1]);
    let waits = Wait { what: WaitFor::Parent, until: None };
    assert_eq!(ring.wait_of(1, &policy, at(known)), Some(waits));
    ring.ds_seen(1, at(known + 5)).unwrap();
    ring.put_in_force(at(known + 5));
    assert_eq!(states(&ring), [(1, KeyState::Active)]);

    // Its successor: known to caches after an hour of TTL, then it is the parent's turn.
    let start = known + 1000;
    ring.can_roll(Role::Csk).unwrap();
    ring.keys.push(record(2, Role::Csk, at(start)));
    assert_eq!(ring.can_roll(Role::Csk), Err(Refused::UnderWay(2)));
    settle(&mut ring, &policy, at(start));
    settle(&mut ring, &policy, at(start + 2 * hour + 299));
    assert_eq!(states(&ring), [(1, KeyState::Active), (2, KeyState::Published)]);
    let ready = start + 2 * hour + 300;
    settle(&mut ring, &policy, at(ready));
    assert_eq!(states(&ring), [(1, KeyState::Active), (2, KeyState::Ready)]);
    assert!(ring.signs_zone(1) && !ring.signs_zone(2));
    assert_eq!(ring.entries().map(|key| key.tag).collect::<Vec<_>>(), [2]);
    assert_eq!(ring.awaits_ds().map(|key| key.tag), Some(2));
    ring.ds_seen(2, at(ready + 10)).unwrap();
    ring.put_in_force(at(ready + 10));
    assert_eq!(states(&ring), [(1, KeyState::Retired), (2, KeyState::Active)]);
    assert!(ring.signs_zone(2) && !ring.signs_zone(1));
    // The DS that named the old one: a day of TTL, an hour to spread, an hour to be safe.
    let gone = ready + 10 + 26 * hour;
    settle(&mut ring, &policy, at(gone - 1));
    assert_eq!(states(&ring), [(1, KeyState::Retired), (2, KeyState::Active)]);
    settle(&mut ring, &policy, at(gone));
    assert_eq!(states(&ring), [(1, KeyState::Removed), (2, KeyState::Active)]);
    let month = KEPT_AFTER_REMOVAL.as_secs() as i64;
    let turns = settle(&mut ring, &policy, at(gone + month));
    assert_eq!(turns, [Turn { tag: 1, role: Role::Csk, to: None }]);
    assert_eq!(states(&ring), [(2, KeyState::Active)]);
}

#[test]
fn a_zone_signing_key_comes_of_age() {
    let mut policy = policy(Layout::KskZsk, Timing::default());
    policy.lifetimes.zsk = Some(seconds(90 * 24 * 3600));
    let mut ring = KeyRing::new();
    assert_eq!(ring.wants(&policy, at(0)), Some(Role::Ksk));
    ring.keys.push(record(1, Role::Ksk, at(0)));
    assert_eq!(ring.wants(&policy, at(0)), Some(Role::Zsk));
    ring.keys.push(record(2, Role::Zsk, at(0)));
    settle(&mut ring, &policy, at(0));
    assert_eq!(states(&ring), [(1, KeyState::Published), (2, KeyState::Active)]);
    assert!(ring.signs_zone(2) && !ring.signs_zone(1));
    assert_eq!(ring.wants(&policy, at(89 * 24 * 3600)), None);
    // Early enough that its successor can take over on the day.
    let early = 90 * 24 * 3600 - (2 * 3600 + 300);
    assert_eq!(ring.wants(&policy, at(early - 1)), None);
    assert_eq!(ring.wants(&policy, at(early)), Some(Role::Zsk));
    ring.keys.push(record(3, Role::Zsk, at(early)));
    settle(&mut ring, &policy, at(early));
    assert_eq!(ring.ds_seen(3, at(early)), Err(Refused::NoEntry(3)));
    assert!(ring.signs_zone(2) && !ring.signs_zone(3));
    settle(&mut ring, &policy, at(90 * 24 * 3600));
    let states = states(&ring);
    assert_eq!(states[1..], [(2, KeyState::Retired), (3, KeyState::Active)]);
}

#[test]
fn waits_begin_when_a_change_is_answered_with() {
    let policy = policy(Layout::Csk, Timing::default());
    let mut ring = KeyRing::new();
    ring.keys.push(record(1, Role::Csk, at(0)));
    ring.step(&policy, at(0));
    // Killed before it served, and down for a year.
    let year = 365 * 24 * 3600;
    let mut ring: KeyRing = serde_json::from_str(&serde_json::to_string(&ring).unwrap()).unwrap();
    assert_eq!(ring.step(&policy, at(year)), []);
    assert_eq!(ring.wait_of(1, &policy, at(year)).unwrap().what, WaitFor::Service);
    ring.put_in_force(at(year));
    assert_eq!(ring.step(&policy, at(year + 3600)), []);
    assert_eq!(ring.keys[0].state(), (KeyState::Published, at(year)));
}

#[test]
fn the_way_back_to_unsigned() {
    let policy = policy(Layout::Csk, Timing::default());
    let mut ring = KeyRing::new();
    ring.keys.push(record(1, Role::Csk, at(0)));
    settle(&mut ring, &policy, at(0));
    settle(&mut ring, &policy, at(200_000));
    ring.ds_seen(1, at(200_000)).unwrap();
    ring.put_in_force(at(200_000));
    assert_eq!(ring.ds_gone(at(200_001)), Err(Refused::NotUnsigning));
    ring.unsign(at(200_001)).unwrap();
    ring.put_in_force(at(200_001));
    assert_eq!(ring.free_at(&policy, at(300_000)), None);
    ring.ds_gone(at(300_000)).unwrap();
    assert_eq!(ring.free_at(&policy, at(300_000)), Some(at(300_000 + 26 * 3600)));
    assert_eq!(ring.can_roll(Role::Csk), Err(Refused::Unsigning));
    // Changed our mind: the parent must be asked anew.
    ring.stay_signed().unwrap();
    assert_eq!(states(&ring), [(1, KeyState::Ready)]);
    assert!(ring.signs_zone(1));
}

// ── validators ──

/// What was answered from one moment on, and for how long caches keep it.
#[derive(Debug, Clone)]
struct Answered {
    from: i64,
    dnskeys: BTreeSet<u16>,
    key_signers: BTreeSet<u16>,
    data_signers: BTreeSet<u16>,
    dnskey_ttl: i64,
    data_ttl: i64,
}

/// What the parent answered from one moment on.
#[derive(Debug, Clone)]
struct Delegated {
    from: i64,
    ds: BTreeSet<u16>,
}

/// The zone, its parent, and the process that serves it.
struct World {
    rng: fastrand::Rng,
    now: i64,
    policy: KeyPolicy,
    /// What the disk has.
    kept: KeyRing,
    /// What the process has in hand; none: it is dead.
    ring: Option<KeyRing>,
    answered: Vec<Answered>,
    delegated: Vec<Delegated>,
    next_tag: u16,
    /// What the zone's CDS set asks for: tags; none: nothing; empty: forget all.
    cds: Option<BTreeSet<u16>>,
    rolled: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let timing = random_timing(&mut rng);
        let layout = if rng.bool() { Layout::Csk } else { Layout::KskZsk };
        let mut policy = policy(layout, timing);
        policy.lifetimes.zsk = rng.bool().then(|| seconds(rng.u64(100..2000)));
        policy.lifetimes.csk = rng.bool().then(|| seconds(rng.u64(100..2000)));
        // Unsigned: a negative answer or unsigned data may be cached as long as anything.
        let unsigned = Answered {
            from: i64::MIN / 2,
            dnskeys: BTreeSet::new(),
            key_signers: BTreeSet::new(),
            data_signers: BTreeSet::new(),
            dnskey_ttl: timing.max_ttl.as_secs() as i64,
            data_ttl: timing.max_ttl.as_secs() as i64,
        };
        Self {
            rng,
            now: 0,
            policy,
            kept: KeyRing::new(),
            ring: None,
            answered: vec![unsigned],
            delegated: vec![Delegated { from: i64::MIN / 2, ds: BTreeSet::new() }],
            next_tag: 1,
            cds: None,
            rolled: 0,
        }
    }

    /// The daemon's round: load if it was dead, step, write, serve, write again; it may die between
    /// any two of these.
    fn daemon(&mut self) {
        let now = at(self.now);
        let mut ring = self.ring.take().unwrap_or_else(|| self.kept.clone());
        // It may die with half of them made.
        while let Some(role) = ring.wants(&self.policy, now).filter(|_| self.rng.u8(..) > 20) {
            ring.keys.push(record(self.next_tag, role, now));
            self.next_tag += 1;
        }
        ring.step(&self.policy, now);
        self.commit(ring);
    }

    fn commit(&mut self, mut ring: KeyRing) {
        if self.rng.u8(..) < 20 {
            return;
        }
        self.kept = ring.clone();
        if self.rng.u8(..) < 20 {
            return;
        }
        // Signing takes time, more than it should now and then.
        self.now += self.rng.i64(0..30);
        self.serve(&ring);
        if self.rng.u8(..) < 20 {
            return;
        }
        ring.put_in_force(at(self.now));
        self.kept = ring.clone();
        self.ring = (self.rng.u8(..) > 20).then_some(ring);
    }

    fn serve(&mut self, ring: &KeyRing) {
        let those = |is: &dyn Fn(&KeyRecord) -> bool| {
            ring.keys.iter().filter(|key| is(key)).map(|key| key.tag).collect::<BTreeSet<_>>()
        };
        let served = Answered {
            from: self.now,
            dnskeys: those(&|key| key.state().0.is_published()),
            key_signers: those(&|key| key.state().0.is_published() && key.role.is_entry()),
            data_signers: those(&|key| ring.signs_zone(key.tag)),
            dnskey_ttl: self.policy.timing.dnskey_ttl.as_secs() as i64,
            data_ttl: self.policy.timing.max_ttl.as_secs() as i64,
        };
        self.answered.push(served);
        self.cds = match ring.unsign {
            Some(_) => Some(BTreeSet::new()),
            None => {
                Some(ring.entries().map(|key| key.tag).collect()).filter(|set: &BTreeSet<_>| !set.is_empty())
            }
        };
    }

    /// The parent looks at the CDS set and does what it says.
    fn parent(&mut self) {
        if let Some(wanted) = self.cds.clone() {
            self.delegated.push(Delegated { from: self.now, ds: wanted });
        }
    }

    /// An operator does something.
    fn operator(&mut self) {
        let now = at(self.now);
        let Some(mut ring) = self.ring.clone() else { return };
        let ds = self.delegated.last().unwrap().ds.clone();
        match self.rng.u8(0..12) {
            0..6 => {
                let Some(tag) = ring.awaits_ds().map(|key| key.tag).filter(|tag| ds.contains(tag)) else {
                    return;
                };
                if ring.ds_seen(tag, now).is_ok() {
                    self.rolled += 1;
                }
            }
            6..9 => {
                let role = *self.rng.choice(self.policy.layout.roles()).unwrap();
                if !ring.in_force || ring.can_roll(role).is_err() {
                    return;
                }
                ring.keys.push(record(self.next_tag, role, now));
                self.next_tag += 1;
            }
            9 => drop(ring.unsign(now)),
            10 => drop(ring.stay_signed()),
            _ => {
                if !ds.is_empty() || ring.ds_gone(now).is_err() {
                    return;
                }
            }
        }
        self.commit(ring);
    }

    /// Every combination of what caches may hold at each moment.
    fn validate(&self) -> Result<(), String> {
        let end = |from: Option<i64>| from.unwrap_or(i64::MAX / 2);
        let ends = |at: usize| end(self.answered.get(at + 1).map(|next| next.from));
        let spread = self.spread();
        let parent_kept =
            (self.policy.timing.ds_ttl + self.policy.timing.parent_propagation).as_secs() as i64;
        let moments =
            self.answered.iter().map(|one| one.from).chain(self.delegated.iter().map(|one| one.from));
        for moment in moments {
            let parents = self.delegated.iter().enumerate().filter(|(at, one)| {
                let until = end(self.delegated.get(at + 1).map(|next| next.from));
                one.from <= moment && moment < until.saturating_add(parent_kept) && !one.ds.is_empty()
            });
            for (_, parent) in parents {
                let zones = || self.answered.iter().enumerate().filter(|(_, one)| one.from <= moment);
                for (_, keys) in zones().filter(|(at, one)| moment < ends(*at) + spread + one.dnskey_ttl) {
                    let entered = parent
                        .ds
                        .iter()
                        .any(|tag| keys.dnskeys.contains(tag) && keys.key_signers.contains(tag));
                    if !entered {
                        return Err(format!("at {moment}: {parent:?} does not lead to {keys:?}"));
                    }
                    for (_, data) in zones().filter(|(at, one)| moment < ends(*at) + spread + one.data_ttl) {
                        if data.data_signers.is_disjoint(&keys.dnskeys) {
                            return Err(format!("at {moment}: {data:?} does not validate with {keys:?}"));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn spread(&self) -> i64 {
        self.policy.timing.propagation.as_secs() as i64
    }
}

fn random_timing(rng: &mut fastrand::Rng) -> Timing {
    let mut span = |max: u64| seconds(rng.u64(0..max));
    Timing {
        dnskey_ttl: span(100),
        max_ttl: span(200),
        propagation: seconds(7),
        ds_ttl: seconds(90),
        parent_propagation: seconds(11),
        // The margin is for the world outside; here it would only hide mistakes.
        safety: Duration::ZERO,
    }
}

/// One world from a seed, for some time; how many keys came into use.
fn live(seed: u64, rounds: usize) -> Result<usize, String> {
    let mut world = World::new(seed);
    for _ in 0..rounds {
        world.now += match world.rng.u8(0..10) {
            0..6 => world.rng.i64(0..40),
            6..9 => world.rng.i64(0..200),
            _ => world.rng.i64(0..2000),
        };
        match world.rng.u8(0..10) {
            0..6 => world.daemon(),
            6..8 => world.parent(),
            8 => world.operator(),
            _ => {
                // TTLs from before the first key are nobody's to remember: `max_ttl` must cover them.
                if world.rng.u8(..) < 40 && world.kept.timing.is_some() {
                    // Another configuration: other TTLs. The process takes it over when it is next about.
                    world.policy.timing = random_timing(&mut world.rng);
                    world.daemon();
                }
                world.operator();
            }
        }
    }
    world.validate().map(|()| world.rolled)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::times::times(400), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn caches_always_validate(seed in any::<u64>()) {
        if let Err(why) = live(seed, 150) {
            return Err(TestCaseError::fail(why));
        }
    }
}

#[test]
fn worlds_do_roll() {
    let rolled: usize = (0..100).map(|seed| live(seed, 150).unwrap()).sum();
    assert!(rolled > 100, "only {rolled} keys came into use: the worlds above prove nothing");
}
