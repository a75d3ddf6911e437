//! Every operation of the medium fails once, in every way that it can.

use super::platter::{Fault, Platter};
use super::*;
use crate::store::{Event, Store};

const BATCHES: u64 = 8;

/// Stores the numbers in order, two to a batch, as an owner does who tries again what has
/// failed. Tells which batches were answered as stored, and where.
fn script(platter: &Platter) -> Vec<(u64, u64)> {
    let path = Path::new("platter");
    let mut stored = Vec::new();
    let opened = Owner::on(|tell| Store::open_on(platter.clone(), None, path, 6, tell));
    // A store that does not open because of a fault is opened again.
    let opened = opened.or_else(|_| Owner::on(|tell| Store::open_on(platter.clone(), None, path, 6, tell)));
    let Ok(mut owner) = opened else { return stored };
    'batches: for batch in 0..BATCHES {
        for _ in 0..10 {
            let Ok(ticket) = owner.store.append(numbered(batch * 2, 2)) else { return stored };
            loop {
                match owner.events.recv_timeout(Duration::from_secs(20)).expect("an answer") {
                    Event::Stored { ticket: of, first } => {
                        assert_eq!(of, ticket);
                        stored.push((batch, first));
                        continue 'batches;
                    }
                    Event::Failed { ticket: of, why } => {
                        assert_eq!(of, ticket);
                        assert!(!why.is_empty());
                        owner.store.resume().unwrap();
                        break;
                    }
                    // The machine has stopped: there will be no answer.
                    Event::Trouble { why } if why.contains("stopped") => return stored,
                    Event::Trouble { .. } | Event::Recovered => {}
                }
            }
        }
        panic!("batch {batch} was never stored");
    }
    stored
}

/// What a machine that comes back finds.
fn check(platter: &Platter, stored: &[(u64, u64)], what: &str) {
    let path = Path::new("platter");
    for seed in 0..3 {
        let platter = platter.reboot(&mut fastrand::Rng::with_seed(seed));
        let owner = match Owner::on(|tell| Store::open_on(platter.clone(), None, path, 6, tell)) {
            Ok(owner) => owner,
            Err(error) => panic!("{what}: {error}"),
        };
        let verified = owner.store.reader().verify().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(verified.head.next % 2, 0, "{what}: half a batch");
        let whole = verified.head.next / 2;
        assert!(whole >= stored.len() as u64, "{what}: {whole} of {} stored", stored.len());
        assert!(whole <= stored.len() as u64 + 1, "{what}: more than was handed in");
        for (batch, first) in stored {
            assert_eq!(*first, batch * 2, "{what}: each was stored once, in order");
        }
        for record in owner.store.reader().records(0, 100).unwrap() {
            assert_eq!(record.body, record.index.to_string(), "{what}");
        }
        let last = owner.state.iter().find(|(key, _)| key == "last").map(|(_, value)| value.clone());
        let expected = (whole > 0).then(|| (whole * 2 - 1).to_string());
        assert_eq!(last, expected, "{what}: records and state belong together");
    }
}

#[test]
fn one_fault_at_every_operation() {
    let plain = Platter::with(&[]);
    let stored = script(&plain);
    assert_eq!(stored.len() as u64, BATCHES);
    check(&plain, &stored, "no fault");
    let operations = plain.operations();
    assert!(operations > 50, "{operations}");
    for number in 0..operations {
        for fault in [Fault::Enospc, Fault::Short, Fault::Sync, Fault::Crash] {
            let what = format!("{fault:?} at operation {number}");
            let platter = Platter::with(&[(number, fault)]);
            let stored = script(&platter);
            if fault != Fault::Crash {
                assert_eq!(stored.len() as u64, BATCHES, "{what}: it recovers");
            }
            check(&platter, &stored, &what);
        }
    }
}

#[test]
fn two_faults_anywhere() {
    let operations = {
        let plain = Platter::with(&[]);
        script(&plain);
        plain.operations()
    };
    let mut rng = fastrand::Rng::with_seed(11);
    let kinds = [Fault::Enospc, Fault::Short, Fault::Sync, Fault::Crash];
    for _ in 0..300 {
        let first = rng.u64(..operations);
        // Often while it recovers from the first.
        let second = first + 1 + rng.u64(..12);
        let faults = [(first, kinds[rng.usize(..3)]), (second, kinds[rng.usize(..4)])];
        let platter = Platter::with(&faults);
        let stored = script(&platter);
        check(&platter, &stored, &format!("{faults:?}"));
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost_when_there_is_space_again() {
    let platter = Platter::with(&[]);
    let mut owner =
        Owner::on(|tell| Store::open_on(platter.clone(), None, Path::new("platter"), 6, tell)).unwrap();
    owner.append(numbered(0, 2)).unwrap();
    platter.set_full(true);
    let ticket = owner.store.append(numbered(2, 2)).unwrap();
    // Not even the repair can be written: it says so, and keeps trying.
    let event = owner.events.recv_timeout(Duration::from_secs(20)).unwrap();
    let Event::Trouble { why } = event else { panic!("{event:?}") };
    assert!(why.contains("full") || why.contains("space"), "{why}");
    platter.set_full(false);
    let answer = loop {
        match owner.events.recv_timeout(Duration::from_secs(20)).unwrap() {
            Event::Failed { ticket: of, why } if of == ticket => break Err(why),
            Event::Stored { ticket: of, first } if of == ticket => break Ok(first),
            Event::Trouble { .. } | Event::Recovered => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(answer.is_err(), "nothing of it was ever written");
    assert!(owner.append(numbered(2, 2)).is_err(), "not before the owner knows");
    owner.store.resume().unwrap();
    assert_eq!(owner.append(numbered(2, 2)), Ok(2));
    assert_eq!(owner.store.reader().verify().unwrap().records, 4);
}

/// The answer to a commit whose sync failed is found out, and believed only once it is safe.
#[test]
fn a_failed_sync_is_healed_before_anything_is_believed() {
    let before = {
        let platter = Platter::with(&[]);
        let mut owner =
            Owner::on(|tell| Store::open_on(platter.clone(), None, Path::new("p"), 6, tell)).unwrap();
        owner.append(numbered(0, 2)).unwrap();
        platter.operations()
    };
    // The last operation of the append is its sync.
    let platter = Platter::with(&[(before - 1, Fault::Sync)]);
    let mut owner = Owner::on(|tell| Store::open_on(platter.clone(), None, Path::new("p"), 6, tell)).unwrap();
    assert_eq!(owner.append(numbered(0, 2)), Ok(0), "it was there after all");
    std::mem::forget(owner);
    let rebooted = platter.reboot(&mut fastrand::Rng::with_seed(0));
    let owner = Owner::on(|tell| Store::open_on(rebooted.clone(), None, Path::new("p"), 6, tell)).unwrap();
    assert_eq!(owner.store.reader().head().unwrap().next, 2, "and survives a power cut");
}
