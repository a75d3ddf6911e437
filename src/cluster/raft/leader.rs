//! Who leads, by the words of those that answer.

use std::collections::{BTreeMap, BTreeSet};

use super::Voter;
use crate::cluster::RaftFacts;
use crate::cluster::case::Case;

/// The leader that counts, and who names it.
pub(super) struct Leader {
    pub(super) name: String,
    pub(super) term: u64,
    pub(super) followers: BTreeSet<usize>,
    /// It says so itself, and this is its log's end.
    pub(super) own_word: Option<u64>,
    /// Who has a vote, by its own word, where it tells.
    pub(super) electorate: BTreeSet<String>,
}

impl Leader {
    /// The leader of the highest term that anybody names. `proven`: the voter through which a
    /// linearizable read has just passed.
    pub(super) fn of(answered: &[Voter<'_>], proven: Option<usize>) -> Option<Self> {
        let (term, name) = answered
            .iter()
            .filter_map(|(_, facts)| facts.leader.as_deref().map(|leader| (facts.term, leader)))
            // Equal terms, or none: the one that is proven, or else that more voters name.
            .max_by_key(|named| {
                let naming = || answered.iter().filter(|voter| names(voter, *named));
                (named.0, naming().any(|(position, _)| Some(*position) == proven), naming().count())
            })?;
        let naming = || answered.iter().filter(|voter| names(voter, (term, name)));
        let own_word = naming().find(|(_, facts)| facts.relayed || facts.leads());
        Some(Self {
            name: name.to_owned(),
            term,
            followers: naming().map(|(position, _)| *position).collect(),
            own_word: own_word.map(|(_, facts)| facts.index),
            electorate: own_word.map(|(_, facts)| facts.electorate.clone()).unwrap_or_default(),
        })
    }

    /// What it says itself, if it answers.
    pub(super) fn itself<'a>(&self, answered: &[Voter<'a>]) -> Option<&'a RaftFacts> {
        let named = (self.term, self.name.as_str());
        answered.iter().find(|voter| names(voter, named) && voter.1.leads()).map(|(_, facts)| *facts)
    }

    /// Its term after these words, where the system tells one.
    pub(super) fn term_words(&self, words: &str) -> String {
        match self.term {
            0 => String::new(),
            term => format!("{words} {term}"),
        }
    }

    /// Where it is, if it told us itself, else its id.
    pub(super) fn words(&self, case: &Case<'_>, answered: &[Voter<'_>]) -> String {
        match answered.iter().find(|(_, facts)| facts.member == self.name) {
            Some((position, _)) => case.place(*position).to_string(),
            None if self.name.is_empty() => "a leader whom they do not name".to_owned(),
            None => self.name.clone(),
        }
    }
}

fn names((_, facts): &Voter<'_>, (term, leader): (u64, &str)) -> bool {
    facts.term == term && facts.leader.as_deref() == Some(leader)
}

/// Two voters that each claim to lead in the same term.
pub(super) fn split(answered: &[Voter<'_>]) -> Option<String> {
    let mut claims: BTreeMap<u64, &str> = BTreeMap::new();
    // Without terms there is no telling whether both mean the same one.
    for (_, facts) in answered.iter().filter(|(_, facts)| facts.term > 0 && facts.leads()) {
        if let Some(other) = claims.insert(facts.term, &facts.member) {
            let term = facts.term;
            return Some(format!("{other} and {} both lead in term {term}", facts.member));
        }
    }
    None
}
