//! Who has a vote, where the system decides that itself.
//!
//! Elasticsearch keeps a list of voters of its own, takes nodes out of it that are gone, and leaves
//! one out where their number is even. What a member lists alone proves nothing: a list that has
//! shrunk to whoever is left is how a minority comes to look whole. The list counts once the leader
//! tells it and a majority *of that list* follows this leader in this term, which is what the system
//! itself must have before it may commit anything. Until another list is confirmed so, the last one
//! stays.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::RaftFacts;

/// The voters that were last confirmed, and which member is which of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Electorate {
    /// What each member calls itself, by position in the group.
    names: BTreeMap<usize, String>,
    /// The list; empty as long as none is confirmed.
    voters: BTreeSet<String>,
}

impl Electorate {
    /// Keeps what members that tell of voters call themselves.
    pub(super) fn meet(&mut self, answered: &[(usize, &RaftFacts)]) {
        for (position, facts) in answered.iter().filter(|(_, facts)| !facts.electorate.is_empty()) {
            self.names.insert(*position, facts.member.clone());
        }
    }

    /// Takes the leader's list over, if a majority of it follows the leader.
    pub(super) fn confirm(&mut self, told: &BTreeSet<String>, followers: &BTreeSet<usize>) {
        let names = followers.iter().filter_map(|position| self.names.get(position));
        let confirming = names.filter(|name| told.contains(*name)).count();
        if confirming > told.len() / 2 {
            self.voters.clone_from(told);
        }
    }

    /// How many vote: as listed, or else all of those that are configured and may.
    pub(super) fn size(&self, configured: usize) -> usize {
        if self.voters.is_empty() { configured } else { self.voters.len() }
    }

    /// Whether a member may have a vote. One that never told its name does, as long as a listed
    /// voter has not shown up.
    pub(super) fn may_vote(&self, position: usize) -> bool {
        match self.names.get(&position) {
            _ if self.voters.is_empty() => true,
            Some(name) => self.voters.contains(name),
            None => !self.voters.iter().all(|voter| self.names.values().any(|name| name == voter)),
        }
    }
}
