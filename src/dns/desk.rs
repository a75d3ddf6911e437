//! What a thread that answers keeps from one query to the next.

use fastrand::Rng;

use super::counts::Counts;

/// Everything that answering changes. Each thread has one of its own: nothing is shared, nothing
/// waits.
#[derive(Clone, Debug)]
pub struct Desk {
    /// Draws for policies and for the order of addresses.
    pub rng: Rng,
    /// What happened so far.
    pub counts: Counts,
}

impl Desk {
    /// A desk on which nothing has happened yet.
    pub fn new(rng: Rng) -> Self {
        Self { rng, counts: Counts::default() }
    }
}
