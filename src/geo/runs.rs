//! All addresses of a family in a row, cut into runs of one value each.

/// The bits of an address: `u32` for IPv4, `u128` for IPv6.
pub(super) trait Bits: Copy + Ord + std::fmt::Debug {
    /// The first address.
    const FIRST: Self;
    /// The one after this, if it is not the last.
    fn next(self) -> Option<Self>;
    /// At the left of 128 bits, where addresses of both families compare by their leading bits.
    fn left(self) -> u128;
}

impl Bits for u32 {
    const FIRST: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn left(self) -> u128 {
        u128::from(self) << 96
    }
}

impl Bits for u128 {
    const FIRST: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn left(self) -> u128 {
        self
    }
}

/// Runs of one value each: each begins where the one before it ends, and has another value. The
/// first begins at the first address, the last ends with the last. Addresses and values lie
/// apart, because together they would be padded to twice the size for IPv6.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Runs<A> {
    starts: Vec<A>,
    values: Vec<u32>,
}

impl<A: Bits> Runs<A> {
    /// One run of one value.
    pub(super) fn all(value: u32) -> Self {
        Self { starts: vec![A::FIRST], values: vec![value] }
    }

    /// From the last start on it is this value; starts only grow. The same start again takes the
    /// word of the one before back.
    pub(super) fn push(&mut self, start: A, value: u32) {
        debug_assert!(self.starts.last().is_none_or(|last| *last <= start));
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Where each begins, and its value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (A, u32)> + '_ {
        self.starts.iter().copied().zip(self.values.iter().copied())
    }

    /// The start of one of them, at the left; past the end: none.
    pub(super) fn left(&self, at: usize) -> Option<u128> {
        self.starts.get(at).map(|start| start.left())
    }

    /// The value of one of them.
    pub(super) fn value(&self, at: usize) -> u32 {
        self.values[at]
    }

    /// The one that an address lies in.
    pub(super) fn find(&self, address: A) -> usize {
        self.starts.partition_point(|start| *start <= address) - 1
    }

    /// The same runs with other values; those that become alike become one.
    pub(super) fn map(&self, mut value: impl FnMut(u32) -> u32) -> Self {
        let mut mapped = Self { starts: Vec::new(), values: Vec::new() };
        for (start, old) in self.iter() {
            mapped.push(start, value(old));
        }
        mapped.fit();
        mapped
    }

    /// Both at once: cut where either is cut, each stretch with what is made of its two values.
    pub(super) fn overlay(&self, top: &Self, mut combine: impl FnMut(u32, u32) -> u32) -> Self {
        let mut both = Self { starts: Vec::new(), values: Vec::new() };
        let (mut mine, mut theirs) = (0, 0);
        let mut start = A::FIRST;
        loop {
            both.push(start, combine(self.values[mine], top.values[theirs]));
            let next = [self.starts.get(mine + 1), top.starts.get(theirs + 1)].into_iter().flatten().min();
            let Some(&next) = next else { break };
            mine += usize::from(self.starts.get(mine + 1) == Some(&next));
            theirs += usize::from(top.starts.get(theirs + 1) == Some(&next));
            start = next;
        }
        both.fit();
        both
    }

    /// From ranges that lie inside each other or apart, sorted by their first address, wide ones
    /// first: the innermost gives the value, and 0 is where there is none.
    pub(super) fn nest(ranges: impl Iterator<Item = (A, A, u32)>) -> Self {
        let mut runs = Self::all(0);
        let mut open: Vec<(A, u32)> = Vec::new();
        let close = |runs: &mut Self, open: &mut Vec<(A, u32)>| {
            let closed = open.pop().and_then(|(last, _)| last.next());
            if let Some(after) = closed {
                runs.push(after, open.last().map_or(0, |(_, value)| *value));
            }
        };
        for (first, last, value) in ranges {
            while open.last().is_some_and(|(end, _)| *end < first) {
                close(&mut runs, &mut open);
            }
            runs.push(first, value);
            open.push((last, value));
        }
        while !open.is_empty() {
            close(&mut runs, &mut open);
        }
        runs.fit();
        runs
    }

    fn fit(&mut self) {
        self.starts.shrink_to_fit();
        self.values.shrink_to_fit();
    }
}

/// The length of the widest network around an address that lies in one run; all at the left.
/// `next` is where the next run begins.
///
/// A network holds an address exactly if the two have its leading bits in common. So it leaves
/// out the last address before the run and the first after it exactly if it is longer than what
/// they have in common with the address. Such networks of one run never overlap: two of them
/// would lie inside each other, and each is the widest.
pub(super) fn widest(address: u128, start: u128, next: Option<u128>) -> u8 {
    let beyond = |other: u128| (address ^ other).leading_zeros() as u8 + 1;
    let below = start.checked_sub(1).map_or(0, beyond);
    below.max(next.map_or(0, beyond))
}
