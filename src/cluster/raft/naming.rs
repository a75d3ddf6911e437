//! Followers that leave out whom they follow, or in which term: filled in where only one can be meant.
//!
//! One that does not name its leader (ZooKeeper) follows the leader that says so itself in the highest
//! term. Its own term is that of the last entry that it has, which after an election is still the one
//! before; and it follows only once it has all of that. A follower of a higher term follows somebody who
//! does not answer.
//!
//! One that tells whom it follows, and not in which term (MongoDB without a login), is in the term of
//! that one's own claim, if it has no entry of a later term; and of those that name one that does not
//! answer, in the latest that any of them has seen it in.

use std::collections::BTreeMap;

use crate::cluster::{Facts, NodeView, RaftFacts, Round};

/// The round with leaders and terms filled in; `None` where nothing is left out.
pub(super) fn resolved(round: &Round) -> Option<Round> {
    if !facts(round).any(|facts| facts.leader.as_deref() == Some("") || facts.term_of_log) {
        return None;
    }
    let claims: Vec<(u64, String)> =
        facts(round).filter(|facts| facts.leads()).map(|facts| (facts.term, facts.member.clone())).collect();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for facts in facts(round) {
        if let Some(leader) = &facts.leader {
            let latest = seen.entry(leader.clone()).or_default();
            *latest = (*latest).max(facts.term);
        }
    }
    let newest = claims.iter().max();
    let mut round = round.clone();
    for view in &mut round.views {
        let NodeView::Answered(Facts::Raft(facts)) = view else { continue };
        let Some(followed) = &facts.leader else { continue };
        if facts.term_of_log {
            let claim = claims.iter().find(|(_, leader)| leader == followed).map(|(term, _)| *term);
            let term = claim.or_else(|| seen.get(followed).copied()).unwrap_or(0);
            facts.term = facts.term.max(term);
        } else if let Some((term, leader)) = newest.filter(|(term, _)| facts.term <= *term)
            && followed.is_empty()
        {
            if facts.term < *term {
                (facts.index, facts.applied) = (0, 0);
            }
            facts.term = *term;
            facts.leader = Some(leader.clone());
        }
    }
    Some(round)
}

fn facts(round: &Round) -> impl Iterator<Item = &RaftFacts> {
    round.views.iter().filter_map(|view| match view {
        NodeView::Answered(Facts::Raft(facts)) => Some(facts),
        _ => None,
    })
}
