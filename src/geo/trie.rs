//! Address → value and the widest network around it that has this value, in few cache misses.
//!
//! Sixteen bits at a time. The first step is a table with an entry for each of the 65 536 blocks;
//! most of them have one value for all, and the entry holds it. The others lead to a node: a
//! sorted list of the places where the value changes in the next sixteen bits, searched by
//! halves. Nodes lie one after the other: where runs begin in one array, values in another.
//!
//! ```text
//! root     [ value, scope | node ] × 65 536
//! starts   … n−1, 0, start₁, …, startₙ₋₁, …        one node of n runs
//! values   …   –, v₀,    v₁, …,    vₙ₋₁, …         vᵢ: a value, or the next node
//! ```
//!
//! IPv4 is at most one node deep. Of IPv6, allocations end at 32 bits and most customers' networks
//! at 48: one or two nodes.

use super::runs::{Bits, Runs, widest};

/// Values take the bits below; in the root, the scope lies above them.
pub(super) const VALUE_MAX: u32 = 0x1_ffff;
const SCOPE_SHIFT: u32 = 17;
const NODE: u32 = 1 << 31;
/// Slots of a node.
const SLOTS: u32 = 1 << 16;

/// Values per address.
#[derive(Clone, Debug)]
pub(super) struct Trie {
    root: Box<[u32]>,
    starts: Vec<u16>,
    values: Vec<u32>,
}

/// There are more runs than the trie can hold: 2³¹.
#[derive(Debug)]
pub(super) struct TooBig;

impl Trie {
    /// From runs of values up to [`VALUE_MAX`].
    pub(super) fn build<A: Bits>(runs: &Runs<A>) -> Result<Self, TooBig> {
        let mut trie = Self { root: Box::default(), starts: Vec::new(), values: Vec::new() };
        let slots = trie.slots(runs, 0..runs.len(), 0, 112)?;
        let mut root = vec![0; SLOTS as usize];
        for (at, &(slot, value)) in slots.iter().enumerate() {
            let next = slots.get(at + 1).map(|(next, _)| *next);
            for block in slot..next.unwrap_or(SLOTS) {
                let scope = widest(left(block), left(slot), next.map(left));
                root[block as usize] = match value & NODE {
                    0 => value | u32::from(scope) << SCOPE_SHIFT,
                    _ => value,
                };
            }
        }
        trie.root = root.into();
        trie.starts.shrink_to_fit();
        trie.values.shrink_to_fit();
        Ok(trie)
    }

    /// The value at an address (at the left of 128 bits), and the length of the widest network
    /// around it where every address has it.
    pub(super) fn find(&self, address: u128) -> (u32, u8) {
        let entry = self.root[(address >> 112) as usize];
        if entry & NODE == 0 {
            return (entry & VALUE_MAX, (entry >> SCOPE_SHIFT) as u8);
        }
        let (mut node, mut shift, mut depth) = ((entry ^ NODE) as usize, 96, 16);
        loop {
            let slot = (address >> shift) as u16;
            let first = node + 1;
            let starts = &self.starts[first..=first + usize::from(self.starts[node])];
            // The first run begins at 0: there is always one that has begun.
            let at = starts.partition_point(|start| *start <= slot) - 1;
            let value = self.values[first + at];
            if value & NODE == 0 {
                let next = starts.get(at + 1).map(|next| left(u32::from(*next)));
                let scope = widest(left(u32::from(slot)), left(u32::from(starts[at])), next);
                return (value, depth + scope);
            }
            (node, shift, depth) = ((value ^ NODE) as usize, shift - 16, depth + 16);
        }
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        size_of_val(&*self.root) + self.starts.capacity() * 2 + self.values.capacity() * 4
    }

    /// The runs of one block in terms of its 65 536 slots: where each begins, and its value or
    /// the node that tells more. `block` is the first address; the first of `runs` covers it.
    fn slots<A: Bits>(
        &mut self,
        runs: &Runs<A>,
        range: std::ops::Range<usize>,
        block: u128,
        shift: u32,
    ) -> Result<Vec<(u32, u32)>, TooBig> {
        let mut slots: Vec<(u32, u32)> = Vec::new();
        let (mut slot, mut at) = (0, range.start);
        while slot < SLOTS {
            // Where the next run begins, if it does so in this block.
            let next = (at + 1 < range.end).then(|| runs.left(at + 1)).flatten();
            let reaches = next.map_or(SLOTS, |next| ((next - block) >> shift) as u32);
            if reaches > slot {
                slots.push((slot, runs.value(at)));
                slot = reaches;
                at += usize::from(next.is_some_and(|next| next == block + (u128::from(reaches) << shift)));
                continue;
            }
            // More than one run in this slot.
            let begin = block + (u128::from(slot) << shift);
            let end = begin + ((1u128 << shift) - 1);
            let mut last = at;
            while last + 1 < range.end && runs.left(last + 1).is_some_and(|start| start <= end) {
                last += 1;
            }
            let node = self.node(runs, at..last + 1, begin, shift - 16)?;
            slots.push((slot, node));
            slot += 1;
            let over = last + 1 < range.end && runs.left(last + 1) == end.checked_add(1);
            at = last + usize::from(over);
        }
        Ok(slots)
    }

    fn node<A: Bits>(
        &mut self,
        runs: &Runs<A>,
        range: std::ops::Range<usize>,
        block: u128,
        shift: u32,
    ) -> Result<u32, TooBig> {
        let slots = self.slots(runs, range, block, shift)?;
        let node = u32::try_from(self.starts.len()).ok().filter(|at| at & NODE == 0).ok_or(TooBig)?;
        // One to 65 536 runs: the number less one fits.
        self.starts.push((slots.len() - 1) as u16);
        self.values.push(0);
        for (slot, value) in slots {
            self.starts.push(slot as u16);
            self.values.push(value);
        }
        Ok(node | NODE)
    }
}

/// A slot at the left of 128 bits.
fn left(slot: u32) -> u128 {
    u128::from(slot) << 112
}
