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
//! 3. A write that a quorum has confirmed proves one, whatever else is said. One that was refused, or
//!    hangs, at every member that answers local questions and claims to be in a quorum, for longer than
//!    the time to truth, disproves it.
//! 4. A majority that refuses connections is gone, if the group was ever seen well.
//! 5. Members that answer and see no majority: electing, and lost after the time to truth.
//! 6. Members that claim to see a majority which we cannot reach: unknown.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::absent::{Absent, nobody_answers, out_of_sight, without_quorum};
use super::case::Case;
use super::kin::of_one_cluster;
use super::past::Past;
use super::proofs::Proofs;
use super::{Evidence, Facts, Judgement, LinearizableResult, NodeView, PeerFacts, Standing};
use crate::base::RegionId;

type Peer<'a> = (usize, &'a PeerFacts);

/// What is remembered of such a group between rounds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Notes {
    /// Members at which a write that takes a quorum hangs, or is refused.
    proofs: Proofs,
}

pub(super) fn judge(case: &Case<'_>, past: &mut Past, notes: &mut Notes) -> Judgement {
    let answered = answered(case);
    let members = case.group.members.len();
    let majority = case.group.majority();
    let absent = Absent::count(&case.round.views);
    notes.proofs.note(case, |member| answered.iter().any(|(position, _)| *position == member));
    let passed = case.proof(1).filter(|write| write.result == LinearizableResult::Passed);
    let side = side(&answered, passed.map(|write| write.member), majority);
    let proven = answered.iter().any(|(_, facts)| facts.live.is_some_and(|live| live > 0));
    let agreed = side.len() >= majority || proven;
    // Who is cut off from where a write passes cannot be spared for another.
    let margin = notes.proofs.sound(case, &side).len() as i64 - majority as i64;
    let mut evidence = Evidence {
        voters: members,
        reached: answered.len(),
        agreeing: side.len(),
        // Fewer than there once were may go on: how many more can go is not known from here.
        margin: if agreed { margin.max(0) } else { margin },
        ..Evidence::default()
    };

    let passed = passed.is_some();
    // Who sees no majority, or is not live, is in no quorum by its own word.
    let claims = |facts: &PeerFacts| facts.live.map_or(facts.sees.len() >= majority, |live| live > 0);
    let claiming = || answered.iter().filter(|(_, facts)| claims(facts)).map(|(position, _)| *position);

    let (verdict, reason) = if let Some(span) = notes.proofs.fail_throughout(case, claiming()) {
        evidence.margin = -1;
        let (n, how) = (answered.len(), if proven { "are live" } else { "see a majority" });
        let words = format!("{n} of {members} members answer, and a write has failed for {span}");
        (Standing::NoQuorum, format!("{words} through all that {how}{}", absent.aside()))
    } else if passed || agreed {
        past.leaderless_since = None;
        past.catching_up = None;
        if !agreed {
            // Proven by the write alone: how many more may be lost is not known from here.
            evidence.margin = 0;
        }
        let words = match (agreed, proven) {
            (true, true) => format!("{} of {members} nodes are live", side.len()),
            (true, false) => format!("{} of {members} members see each other", side.len()),
            (false, _) => "a write was confirmed by a quorum".to_owned(),
        };
        let others = absent.words();
        let others = if others.is_empty() { others } else { format!("; {others}") };
        let standing = if evidence.margin > 0 { Standing::Quorum } else { Standing::Degraded };
        (standing, format!("{words}{others}"))
    } else if absent.refused >= majority {
        past.refused(format!("{} of {members} members refuse connections", absent.refused))
    } else if answered.is_empty() {
        past.leaderless_since = None;
        nobody_answers("voter", &absent, &case.round.views)
    } else if claiming().next().is_none() {
        let words = format!("{} of {members} members answer, and see no majority", answered.len());
        case.in_time(past.leaderless_for(case.now), words, Standing::NoQuorum)
    } else {
        let words = "members that answer see a majority, whose others do not answer us";
        (Standing::Unknown, format!("{words}{}", absent.aside()))
    };

    let spoke = answered.len() + absent.refused;
    let (verdict, reason, lost) = match verdict {
        Standing::NoQuorum => without_quorum(case, past, (members, spoke), reason),
        _ => (verdict, reason, BTreeMap::new()),
    };
    let regions = match verdict {
        Standing::Quorum | Standing::Degraded if case.group.inside.is_none() => {
            regions(case, past, notes, &side, (verdict, &reason))
        }
        _ => lost,
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

/// The members that answer and see each other, as seen from the one that has most of them. In a
/// partition that is not clean (one sees both, who do not see each other) it is an upper bound,
/// which the write then decides. If none has a majority, but a write has passed through one: its own.
fn side(answered: &[Peer<'_>], proven: Option<usize>, majority: usize) -> BTreeSet<usize> {
    if answered.iter().any(|(_, facts)| facts.live.is_some()) {
        let live = answered.iter().filter(|(_, facts)| facts.live.is_some_and(|live| live > 0));
        return live.map(|(position, _)| *position).collect();
    }
    let around = |(position, one): &Peer<'_>| -> BTreeSet<usize> {
        let seen = answered.iter().filter(|(other_position, other)| {
            other_position == position
                || (one.sees.contains(&other.member) && other.sees.contains(&one.member))
        });
        seen.map(|(position, _)| *position).collect()
    };
    let biggest = answered.iter().map(around).max_by_key(BTreeSet::len).unwrap_or_default();
    let proven = answered.iter().find(|(position, _)| Some(*position) == proven);
    match proven.filter(|_| biggest.len() < majority) {
        Some(member) => around(member),
        None => biggest,
    }
}

/// How each region stands in a group that goes on.
fn regions(
    case: &Case<'_>,
    past: &mut Past,
    notes: &Notes,
    side: &BTreeSet<usize>,
    (verdict, reason): (Standing, &str),
) -> BTreeMap<RegionId, (Standing, String)> {
    let mut regions = BTreeMap::new();
    for (region, local) in case.group.by_region() {
        let inside = local.iter().copied().filter(|position| side.contains(position));
        let standing = if let Some(span) = notes.proofs.fail_among(case, inside.clone()) {
            past.failing_alone(case, region, &span)
        } else if inside.count() > 0 {
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
