//! Finding names by their hash.

/// From the hash of a name to a number that stands for it; the names themselves are kept by
/// whoever asks. Eight octets a slot, so that a probe and its neighbours share a cache line.
#[derive(Clone, Default)]
pub struct NameIndex {
    slots: Vec<Slot>,
    len: usize,
}

/// The low half of the hash, and the number plus one; zero is a free slot.
#[derive(Clone, Copy, Default)]
struct Slot {
    tag: u32,
    value: u32,
}

/// At most so many of ten slots are taken: the next free one is then near.
const FILL_TENTHS: usize = 7;

impl NameIndex {
    /// Room for so many names without moving.
    pub fn with_capacity(names: usize) -> Self {
        Self { slots: vec![Slot::default(); slots_for(names)], len: 0 }
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many octets of memory it takes.
    pub fn octets(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }

    /// The number of the name with this hash that `is_it` says yes to. Others with the same
    /// half of a hash are asked about too, about once in four billion.
    #[inline]
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        // There is always a free slot, so the walk ends; and it ends if there are none at all.
        for _ in 0..self.slots.len() {
            let slot = self.slots.get(at)?;
            if slot.value == 0 {
                return None;
            }
            if slot.tag == hash as u32 && is_it(slot.value - 1) {
                return Some(slot.value - 1);
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
        None
    }

    /// Adds a name that is not there yet. When the slots run short they double, and `hash_of`
    /// is asked for the hash of each name that moves.
    ///
    /// The number must be below `u32::MAX`.
    pub fn insert(&mut self, hash: u64, value: u32, hash_of: impl Fn(u32) -> u64) {
        debug_assert!(value < u32::MAX);
        if slots_for(self.len + 1) > self.slots.len() {
            let mut roomier = Self::with_capacity(self.len * 2 + 8);
            for slot in self.slots.iter().filter(|slot| slot.value != 0) {
                roomier.place(hash_of(slot.value - 1), slot.value);
            }
            *self = roomier;
        }
        self.place(hash, value + 1);
    }

    fn place(&mut self, hash: u64, value: u32) {
        let mut at = self.home(hash);
        while self.slots[at].value != 0 {
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
        self.slots[at] = Slot { tag: hash as u32, value };
        self.len += 1;
    }

    /// Where the search starts: the high half of the hash, scaled to the number of slots.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.slots.len() as u64) >> 32) as usize
    }
}

fn slots_for(names: usize) -> usize {
    names * 10 / FILL_TENTHS + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hash_name;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let names: Vec<_> = (0..10_000u32).map(|n| format!("\x06{n:06}\x00")).collect();
        let hash_of = |n: u32| hash_name(names[n as usize].as_bytes());
        let mut index = NameIndex::default();
        assert_eq!(index.find(hash_of(0), |_| true), None);
        for n in (0..10_000).step_by(2) {
            index.insert(hash_of(n), n, hash_of);
        }
        assert_eq!(index.len(), 5000);
        for n in 0..10_000 {
            let found = index.find(hash_of(n), |other| other == n);
            assert_eq!(found, n.is_multiple_of(2).then_some(n));
        }
    }

    #[test]
    fn tells_apart_names_with_the_same_hash() {
        let mut index = NameIndex::with_capacity(3);
        for n in 0..3 {
            index.insert(u64::MAX, n, |_| u64::MAX);
        }
        for n in 0..3 {
            assert_eq!(index.find(u64::MAX, |other| other == n), Some(n));
        }
        assert_eq!(index.find(u64::MAX, |_| false), None);
    }
}
