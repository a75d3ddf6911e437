//! Judging a group whose members know each other and elect no leader of the whole: RabbitMQ,
//! CockroachDB.
//!
//! 1. Members that answer and see one another are a side. The biggest side counts; if it is a
//!    majority of the configured members, the group goes on.
//! 2. What one member says of the others is worth nothing alone: a member that has just been cut
//!    off goes on calling them running. Sight must be mutual.
//!    Where members prove themselves by something that takes a majority of the system's own parts,
//!    those that did so are a side, and one of them is proof enough: which parts it takes along is
//!    for the parts to say.
//! 3. A write that a quorum has confirmed proves one, whatever else is said. One that was refused,
//!    or hangs at a member that answers local questions, and goes on so for longer than the time
//!    to truth through every member tried, disproves it.
//! 4. A majority that refuses connections is gone, if the group was ever seen well.
//! 5. Members that answer and see no majority: electing, and lost after the time to truth.
//! 6. Members that claim to see a majority which we cannot reach: unknown.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::absent::{Absent, nobody_answers, out_of_sight, unheard};
use super::case::Case;
use super::kin::of_one_cluster;
use super::past::Past;
use super::{Evidence, Facts, Judgement, LinearizableResult, NodeView, PeerFacts, Standing};
use crate::base::RegionId;

type Peer<'a> = (usize, &'a PeerFacts);

pub(super) fn judge(case: &Case<'_>, past: &mut Past) -> Judgement {
    let answered = answered(case);
    let members = case.group.members.len();
    let majority = case.group.majority();
    let absent = Absent::count(&case.round.views);
    let side = biggest_side(&answered);
    let proven = answered.iter().any(|(_, facts)| facts.live.is_some_and(|live| live > 0));
    let margin = side.len() as i64 - majority as i64;
    let mut evidence = Evidence {
        voters: members,
        reached: answered.len(),
        agreeing: side.len(),
        // Fewer than there once were, and they go on: how many more can go is not known from here.
        margin: if proven { margin.max(0) } else { margin },
        ..Evidence::default()
    };

    let passed = case.proof(1).is_some_and(|write| write.result == LinearizableResult::Passed);
    let failing = failing(case, &answered);
    let agreed = side.len() >= majority || proven;
    let sees_majority = answered.iter().any(|(_, facts)| facts.sees.len() >= majority);

    let (verdict, reason) = if passed || agreed {
        let words = match (agreed, proven) {
            (true, true) => format!("{} of {members} nodes are live", side.len()),
            (true, false) => format!("{} of {members} members see each other", side.len()),
            (false, _) => "a write was confirmed by a quorum".to_owned(),
        };
        match failing.map(|why| (past.leaderless_for(case.now), why)) {
            Some((since, why)) if since > case.cluster.time_to_truth => {
                evidence.margin = -1;
                (Standing::NoQuorum, format!("{words}, but {why}"))
            }
            failing => {
                if failing.is_none() {
                    past.leaderless_since = None;
                }
                past.catching_up = None;
                if !agreed {
                    // Proven by the write alone: how many more may be lost is not known from here.
                    evidence.margin = 0;
                }
                let others = absent.words();
                let others = if others.is_empty() { others } else { format!("; {others}") };
                let standing = if evidence.margin > 0 { Standing::Quorum } else { Standing::Degraded };
                (standing, format!("{words}{others}"))
            }
        }
    } else if absent.refused >= majority {
        past.refused(format!("{} of {members} members refuse connections", absent.refused))
    } else if answered.is_empty() {
        past.leaderless_since = None;
        nobody_answers("voter", &absent, &case.round.views)
    } else if failing.is_some() || !sees_majority {
        let why = failing.map_or(String::new(), |why| format!("; {why}"));
        let words = format!("{} of {members} members answer, and see no majority{why}", answered.len());
        case.in_time(past.leaderless_for(case.now), words, Standing::NoQuorum)
    } else {
        let words = "members that answer see a majority, whose others do not answer us";
        (Standing::Unknown, format!("{words}{}", absent.aside()))
    };

    let regions = match verdict {
        Standing::Quorum | Standing::Degraded if case.group.inside.is_none() && agreed => {
            regions(case, past, &side, (verdict, &reason))
        }
        Standing::NoQuorum => unheard(case, answered.len() + absent.refused, majority),
        _ => BTreeMap::new(),
    };
    Judgement { verdict, reason, evidence, regions }
}

/// Members of the cluster that most answers come from.
fn answered<'a>(case: &Case<'a>) -> Vec<Peer<'a>> {
    let mut answers = case.answers(|facts| match facts {
        Facts::Peer(facts) => Some(facts),
        _ => None,
    });
    of_one_cluster(&mut answers, |(_, facts)| &facts.cluster);
    answers
}

/// How the last write failed. Through a member that does not answer local questions it says nothing.
fn failing(case: &Case<'_>, answered: &[Peer<'_>]) -> Option<String> {
    let write =
        case.proof(1).filter(|write| answered.iter().any(|(position, _)| *position == write.member))?;
    match &write.result {
        LinearizableResult::NoQuorum(why) => Some(why.clone()),
        LinearizableResult::Hung => Some(format!("a write through {} hangs", case.place(write.member))),
        LinearizableResult::Passed | LinearizableResult::Unmeasured(_) => None,
    }
}

/// The members that answer and see each other, as seen from the one that has most of them. In a
/// partition that is not clean (one sees both, who do not see each other) it is an upper bound,
/// which the write then decides.
fn biggest_side(answered: &[Peer<'_>]) -> BTreeSet<usize> {
    if answered.iter().any(|(_, facts)| facts.live.is_some()) {
        let live = answered.iter().filter(|(_, facts)| facts.live.is_some_and(|live| live > 0));
        return live.map(|(position, _)| *position).collect();
    }
    let side = |(position, one): &Peer<'_>| -> BTreeSet<usize> {
        let seen = answered.iter().filter(|(other_position, other)| {
            other_position == position
                || (one.sees.contains(&other.member) && other.sees.contains(&one.member))
        });
        seen.map(|(position, _)| *position).collect()
    };
    answered.iter().map(side).max_by_key(BTreeSet::len).unwrap_or_default()
}

/// How each region stands in a group that goes on.
fn regions(
    case: &Case<'_>,
    past: &mut Past,
    side: &BTreeSet<usize>,
    (verdict, reason): (Standing, &str),
) -> BTreeMap<RegionId, (Standing, String)> {
    let mut regions = BTreeMap::new();
    for (region, local) in case.group.by_region() {
        let standing = if local.iter().any(|position| side.contains(position)) {
            past.cut_off.remove(&region);
            (verdict, reason.to_owned())
        } else if case.views_of(&local).any(|view| matches!(view, NodeView::Answered(_))) {
            past.out_of_group(case, region, "its members are cut off from the majority")
        } else {
            out_of_sight(case.views_of(&local))
        };
        regions.insert(region, standing);
    }
    regions
}
