//! How a zone came to be what it is: the newest steps from version to version, in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Serial;
use super::record::Records;

/// All steps of a zone together take at most so many octets; a secondary that is further behind
/// fetches the whole zone.
const HISTORY_OCTETS_MAX: usize = 1 << 20;
/// At most so many steps are kept.
const STEPS_MAX: usize = 512;

/// One step: records as [`Records`] reads them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The version before.
    pub from: Serial,
    /// The version after.
    pub to: Serial,
    /// The SOA record before.
    pub old_soa: Vec<u8>,
    /// The SOA record after.
    pub new_soa: Vec<u8>,
    /// Records that are gone, the SOA record apart.
    pub deleted: Vec<u8>,
    /// Records that have come, the SOA record apart.
    pub added: Vec<u8>,
}

/// What lies between an older version and the newest one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The SOA record of the older version.
    pub old_soa: Vec<u8>,
    /// Records that are gone.
    pub deleted: Vec<u8>,
    /// Records that have come.
    pub added: Vec<u8>,
}

impl Step {
    fn octets(&self) -> usize {
        self.old_soa.len() + self.new_soa.len() + self.deleted.len() + self.added.len()
    }
}

/// The newest steps, the oldest first; each begins where the one before ends.
#[derive(Clone, Debug, Default)]
pub struct History(VecDeque<Arc<Step>>);

impl History {
    /// Adds a step. One that does not begin where the last one ends starts anew, and one that is
    /// too big by itself leaves nothing: from before it there is no way but a whole transfer.
    pub fn push(&mut self, step: Step) {
        if self.0.back().is_some_and(|last| last.to != step.from) {
            self.0.clear();
        }
        // A version that comes round again must not be taken for the old one of that number.
        if let Some(at) = self.0.iter().rposition(|old| old.from == step.to) {
            self.0.drain(..=at);
        }
        self.0.push_back(Arc::new(step));
        let mut octets: usize = self.0.iter().map(|step| step.octets()).sum();
        while octets > HISTORY_OCTETS_MAX || self.0.len() > STEPS_MAX {
            let Some(oldest) = self.0.pop_front() else { break };
            octets -= oldest.octets();
        }
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What lies between this version and the newest, all steps in one (RFC 1995 §5): a record
    /// that came and went again on the way is not in it.
    pub fn since(&self, from: Serial) -> Option<Difference> {
        let start = self.0.iter().position(|step| step.from == from)?;
        let mut steps = self.0.range(start..);
        let first = steps.next()?;
        if steps.len() == 0 {
            let (deleted, added) = (first.deleted.clone(), first.added.clone());
            return Some(Difference { old_soa: first.old_soa.clone(), deleted, added });
        }
        // −1: gone, 1: come. The order of the first appearance is kept.
        let mut fate: HashMap<&[u8], i32> = HashMap::new();
        let mut order = Vec::new();
        for step in self.0.range(start..) {
            for (records, by) in [(&step.deleted, -1), (&step.added, 1)] {
                for record in Records(records) {
                    *fate.entry(record.octets).or_insert_with(|| {
                        order.push(record.octets);
                        0
                    }) += by;
                }
            }
        }
        let with = |fate_is: i32| -> Vec<u8> {
            order
                .iter()
                .filter(|record| fate[**record] == fate_is)
                .flat_map(|record| record.iter().copied())
                .collect()
        };
        Some(Difference { old_soa: first.old_soa.clone(), deleted: with(-1), added: with(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::push_record;
    use super::*;
    use crate::wire::RecordType;

    fn records(hosts: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for host in hosts.bytes() {
            push_record(&mut out, &[1, host, 0], RecordType::A, 300, &[192, 0, 2, host]);
        }
        out
    }

    fn step(from: u32, to: u32, deleted: &str, added: &str) -> Step {
        let soa = |serial: u32| serial.to_be_bytes().to_vec();
        Step {
            from: Serial(from),
            to: Serial(to),
            old_soa: soa(from),
            new_soa: soa(to),
            deleted: records(deleted),
            added: records(added),
        }
    }

    fn between(history: &History, from: u32) -> Option<(Vec<u8>, Vec<u8>)> {
        history.since(Serial(from)).map(|difference| {
            assert_eq!(difference.old_soa, from.to_be_bytes());
            (difference.deleted, difference.added)
        })
    }

    #[test]
    fn several_steps_are_told_as_one() {
        let mut history = History::default();
        history.push(step(1, 2, "a", "bc"));
        history.push(step(2, 5, "b", "ad"));
        history.push(step(5, 6, "d", "e"));
        assert_eq!(between(&history, 1), Some((vec![], records("ce"))));
        assert_eq!(between(&history, 2), Some((records("b"), records("ae"))));
        assert_eq!(between(&history, 5), Some((records("d"), records("e"))));
        assert_eq!(between(&history, 6), None);
        assert_eq!(between(&history, 4), None);
    }

    #[test]
    fn a_gap_starts_anew() {
        let mut history = History::default();
        history.push(step(1, 2, "a", "b"));
        history.push(step(3, 4, "c", "d"));
        assert_eq!(between(&history, 1), None);
        assert!(between(&history, 3).is_some());
        // Round about: what was 3 once is not the 3 that is now.
        history.push(step(4, 3, "e", "f"));
        assert_eq!(between(&history, 3), None);
        assert_eq!(between(&history, 4), Some((records("e"), records("f"))));
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        for serial in 0..2 * STEPS_MAX as u32 {
            history.push(step(serial, serial + 1, "a", "b"));
        }
        assert_eq!(history.len(), STEPS_MAX);
        let newest = 2 * STEPS_MAX as u32;
        let mut big = step(newest, newest + 1, "", "");
        big.added = vec![0; HISTORY_OCTETS_MAX - 100];
        history.push(big);
        assert_eq!(history.len(), 3, "the newest, and what fits beside it");
        let mut too_big = step(newest + 1, newest + 2, "", "");
        too_big.added = vec![0; HISTORY_OCTETS_MAX];
        history.push(too_big);
        assert!(history.is_empty());
    }
}
