//! What a thread that answers keeps from one query to the next.

use fastrand::Rng;

use super::counts::Counts;
use super::limit::Limiter;
use super::notary::Notary;

/// Everything that answering changes. Each thread has one of its own; all that threads share is
/// who was sent how much, and nothing waits.
#[derive(Debug)]
pub struct Desk {
    /// Draws for policies and for the order of addresses.
    pub rng: Rng,
    /// What happened so far.
    pub counts: Counts,
    /// Signs what only a question makes known.
    pub notary: Notary,
    /// Seconds since 1970-01-01 UTC. The thread sets it now and then, once for many queries: it
    /// dates cookies and rates, which take no finer time. It wraps in 2106, and is compared
    /// accordingly.
    pub now: u32,
    /// Who was sent how much over UDP; a clone of the others', where several threads answer.
    pub limiter: Limiter,
}

impl Desk {
    /// A desk on which nothing has happened yet.
    pub fn new(mut rng: Rng, now: u32) -> Self {
        let notary = Notary::new(&mut rng);
        Self { rng, counts: Counts::default(), notary, now, limiter: Limiter::default() }
    }
}
