//! Leaders that lead without committing: where some voters have no data, a majority of votes is not
//! a majority of copies (a MongoDB primary with an arbiter and no secondary).
//!
//! 1. How many more voters can be lost counts both majorities, and the smaller margin holds.
//! 2. Whether it commits is the leader's own word, for it may reach voters that we do not: what a
//!    majority has must not stand still for the time to truth while the leader's log goes on.

use std::collections::BTreeSet;

use super::Voter;
use crate::base::Mono;
use crate::cluster::RaftFacts;

/// How many more of those that vote for the leader can be lost; where not all have data, also how many
/// of those that do.
pub(super) fn margin(
    answered: &[Voter<'_>],
    voting: &BTreeSet<usize>,
    voters: usize,
    majority: usize,
) -> i64 {
    let votes = voting.len() as i64 - majority as i64;
    let without = answered.iter().filter(|(_, facts)| !facts.has_data()).count();
    if without == 0 {
        return votes;
    }
    let majority = majority.min(voters.saturating_sub(without));
    let with =
        answered.iter().filter(|(position, facts)| voting.contains(position) && facts.has_data()).count();
    votes.min((with as i64 - majority as i64).max(0))
}

/// Whether what the leader writes reaches a majority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Stall {
    /// How much of the leader's log a majority has, and since when that is not all and grows no more.
    standing: Option<(u64, Mono)>,
}

impl Stall {
    /// Since when a leader that goes on writing has not brought any of it to a majority.
    pub(super) fn since(&mut self, leader: Option<&RaftFacts>, now: Mono) -> Option<Mono> {
        let behind = leader.and_then(|facts| facts.committed.filter(|committed| *committed < facts.index));
        self.standing = behind.map(|committed| match self.standing {
            Some((known, since)) if known == committed => (known, since),
            _ => (committed, now),
        });
        self.standing.map(|(_, since)| since)
    }
}

#[cfg(test)]
mod tests;
