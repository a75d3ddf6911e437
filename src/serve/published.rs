//! Counters that one thread writes and others read.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::dns::{COUNTERS, Counts};

/// The counts of one thread, for others to read. In cache lines of its own, two together because
/// processors fetch them in pairs: a reader costs the writer nothing but the lines it reads.
#[repr(align(128))]
#[derive(Debug)]
pub(super) struct Published([AtomicU64; COUNTERS]);

impl Default for Published {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; COUNTERS])
    }
}

impl Published {
    /// Tells what was counted so far. Only the thread that counts calls this, so that plain
    /// stores do; a reader may see some counters a batch ahead of others.
    pub(super) fn store(&self, counts: &Counts) {
        for (shown, count) in self.0.iter().zip(counts.0) {
            shown.store(count, Ordering::Relaxed);
        }
    }

    /// What was told last.
    pub(super) fn load(&self) -> Counts {
        let mut counts = Counts::default();
        for (count, shown) in counts.0.iter_mut().zip(&self.0) {
            *count = shown.load(Ordering::Relaxed);
        }
        counts
    }
}
