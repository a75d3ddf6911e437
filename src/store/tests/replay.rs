//! What is read back, against a model of threads in ten lines.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::platter::Platter;
use super::*;
use crate::workflow::SETTLED_MAX;

#[derive(Default)]
struct Model {
    open: BTreeMap<u64, BTreeSet<u64>>,
    closed: Vec<u64>,
}

impl Model {
    fn take(&mut self, index: u64, threads: &[Thread]) {
        for thread in threads {
            match thread {
                Thread::Opens => drop(self.open.insert(index, [index].into())),
                Thread::Continues(of) => {
                    self.open.get_mut(of).into_iter().for_each(|records| records.extend([index]));
                }
                Thread::Replaces(of) => {
                    if let Some(records) = self.open.get_mut(of) {
                        *records = [*of, index].into();
                    }
                }
                Thread::Closes(of) => self.closed.extend(self.open.remove(of).map(|_| index)),
                Thread::Ends(of) => drop(self.open.remove(of)),
            }
        }
    }

    fn replay(&self) -> Vec<(u64, bool)> {
        let all: BTreeSet<u64> = self.open.values().flatten().chain(&self.closed).copied().collect();
        all.into_iter().map(|index| (index, self.open.contains_key(&index))).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::times::times(60), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn open_threads_and_last_records_come_back(
        records in proptest::collection::vec(proptest::collection::vec((0u8..6, any::<u8>()), 0..3), 1..80),
        keep in 5u64..200,
    ) {
        let platter = Platter::with(&[]);
        let path = Path::new("platter");
        let open = || Owner::on(|tell| Store::open_on(platter.clone(), None, path, keep, tell)).unwrap();
        let mut owner = open();
        let mut model = Model::default();
        for (index, threads) in (0u64..).zip(&records) {
            let threads: Vec<Thread> = threads
                .iter()
                .map(|(kind, of)| {
                    let of = u64::from(*of) % (index + 1);
                    match kind {
                        0 | 1 => Thread::Opens,
                        2 => Thread::Continues(of),
                        3 => Thread::Replaces(of),
                        4 => Thread::Closes(of),
                        _ => Thread::Ends(of),
                    }
                })
                .collect();
            model.take(index, &threads);
            owner.append(threaded("x", &threads)).unwrap();
        }
        drop(owner);
        let owner = open();
        let read: Vec<(u64, bool)> = owner.replay.iter().map(|r| (r.record.index, r.open)).collect();
        prop_assert_eq!(read, model.replay());
        prop_assert!(owner.store.reader().verify().is_ok());
    }
}

#[test]
fn only_the_newest_closed_threads_come_back() {
    let scratch = Scratch::new();
    let mut owner = Owner::open(&scratch).unwrap();
    let threads = SETTLED_MAX as u64 + 40;
    for first in (0..threads).step_by(500) {
        let mut batch = Batch::default();
        for n in first..(first + 500).min(threads) {
            batch.record(at(0), "open", &n).record(at(0), "close", &n);
            let end = batch.entries.len();
            batch.entries[end - 2].threads.push(Thread::Opens);
            batch.entries[end - 1].threads.push(Thread::Closes(n * 2));
        }
        owner.append(batch).unwrap();
    }
    drop(owner);
    let owner = Owner::open(&scratch).unwrap();
    assert_eq!(owner.replay.len(), SETTLED_MAX);
    assert_eq!(owner.replay[0].record.index, 81);
    assert!(owner.replay.iter().all(|replayed| !replayed.open));
}
