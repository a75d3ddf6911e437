//! Judging a group that agrees on its own membership (Galera, MySQL Group Replication).
//!
//! Every member says which membership it is in, and whether that one holds a majority of the one
//! before. The rules, in order:
//! 1. Only members of one cluster count, and votes are never summed over memberships.
//! 2. Two parts that both go on claiming the right to commit are a split brain. For a while it is
//!    only the old claim of members that were cut off: Galera's dies after some 6.5 seconds, and a
//!    Group Replication primary repeats its own for 3 seconds after a partition has healed.
//! 3. Members that answer while what takes the others hangs on every one of them: no quorum,
//!    after the time to truth, whatever they say of themselves.
//! 4. A quorum is a majority of the voters, as configured, in one membership that may commit.
//!    Arbitrators cannot be asked: those that the membership has room for count as in it.
//! 5. A read that takes the others and succeeded in this interval proves a quorum, also in a
//!    membership that has shrunk in good order below a majority of the configured voters.
//! 6. A majority that refuses connections is gone, if the group was ever seen well.
//! 7. Members that answer and are in no membership that may commit: no quorum, after the time to
//!    truth.
//! 8. Nobody answers: unreachable from here. Anything else is unknown.

mod part;
mod regions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use self::part::{Part, Rival};
use super::absent::{Absent, nobody_answers, without_quorum};
use super::case::Case;
use super::kin::of_one_cluster;
use super::past::{CatchUp, Past};
use super::proofs::Proofs;
use super::{ComponentFacts, Evidence, Facts, Judgement, LinearizableResult, Standing};

type Member<'a> = (usize, &'a ComponentFacts);

/// What is remembered of such a group between rounds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Notes {
    /// A second part that claims that it may commit.
    rival: Rival,
    /// Members at which what takes the others hangs.
    proofs: Proofs,
}

pub(super) fn judge(case: &Case<'_>, past: &mut Past, notes: &mut Notes) -> Judgement {
    let answered = answered(case);
    let absent = Absent::count(&case.round.views);
    let arbitrators = case.cluster.kind.arbitrators();
    let members = case.group.members.len();
    let voters = members + arbitrators;
    let majority = voters / 2 + 1;
    notes.proofs.note(case, |member| answered.iter().any(|(position, _)| *position == member));
    let part = Part::biggest(&answered, |member| notes.proofs.fails_at(member));
    let votes = part.as_ref().map_or(0, |part| {
        let unheard = members - answered.len() - absent.refused;
        // What the membership has room for beside the members that are, or may be, in it.
        let unseen = part.view.size.saturating_sub(part.members.len() + unheard);
        part.members.len() + unseen.min(arbitrators)
    });

    let mut evidence = Evidence {
        voters,
        reached: answered.len(),
        agreeing: votes,
        margin: votes as i64 - majority as i64,
        leader: part.as_ref().map(|part| part.leader(case)),
        term: part.as_ref().map(|part| part.view.number),
        lag_max: lag_max(&answered),
        ..Evidence::default()
    };
    // One that started with the round before may end a little after it.
    let read_passed = case.proof(2).is_some_and(|read| {
        let within = part.as_ref().is_some_and(|part| part.holds(read.member));
        within && read.result == LinearizableResult::Passed
    });
    let hanging = part.as_ref().and_then(|part| {
        notes.proofs.fail_throughout(case, part.members.iter().map(|(position, _)| *position))
    });

    let (verdict, reason) =
        if let Some(words) = part.as_ref().and_then(|part| part.split(case, notes, &answered)) {
            (Standing::SplitBrain, words)
        } else if let Some(span) = hanging {
            evidence.margin = -1;
            let words = format!("{votes} members answer, and what takes the others has hung for {span}");
            (Standing::NoQuorum, words)
        } else if let Some(part) = part.as_ref().filter(|_| votes >= majority || read_passed) {
            past.leaderless_since = None;
            if votes < majority {
                // Proven by the read alone: how many more may be lost is not known from here.
                evidence.margin = 0;
            }
            committing(past, part, majority, &evidence, &absent)
        } else if absent.refused >= majority && !part.as_ref().is_some_and(Part::has_shrunk) {
            past.refused(format!("{} of {voters} voters refuse connections", absent.refused))
        } else if !answered.is_empty() {
            outside(case, past, &answered, &evidence, &absent)
        } else {
            nobody_answers("voter", &absent, &case.round.views)
        };
    if !verdict.is_measured() && answered.is_empty() {
        past.leaderless_since = None;
    }

    let spoke = answered.len() + absent.refused;
    let (verdict, reason, lost) = match verdict {
        Standing::NoQuorum => without_quorum(case, past, (voters, spoke), reason),
        _ => (verdict, reason, BTreeMap::new()),
    };
    let regions = match (verdict, &part) {
        (Standing::Quorum | Standing::Degraded | Standing::Recovering, Some(part))
            if case.group.inside.is_none() =>
        {
            regions::stand(case, past, notes, part, (verdict, &reason))
        }
        _ => lost,
    };
    Judgement { verdict, reason, evidence, regions }
}

/// Members of the cluster that most answers come from. One that belongs to none for now counts.
fn answered<'a>(case: &Case<'a>) -> Vec<Member<'a>> {
    let mut answers = case.answers(|facts| match facts {
        Facts::Component(facts) => Some(facts),
        _ => None,
    });
    of_one_cluster(&mut answers, |(_, facts)| &facts.cluster);
    answers
}

/// There is a quorum: with how much to spare, does it take writes, and has it caught up?
fn committing(
    past: &mut Past,
    part: &Part<'_>,
    majority: usize,
    evidence: &Evidence,
    absent: &Absent,
) -> (Standing, String) {
    let Part { view, members } = part;
    if !members.iter().any(|(_, facts)| facts.ready) {
        return (Standing::Recovering, format!("no member takes statements yet ({})", states(members)));
    }
    if let Some(catch_up) = past.catching_up {
        let target = catch_up.target(members.iter().map(|(_, facts)| facts.committed).max().unwrap_or(0));
        past.catching_up = Some(CatchUp::To(target));
        let there = members.iter().filter(|(_, facts)| has_caught_up(facts, target)).count();
        if there < majority.min(members.len()) {
            let words = format!("quorum is back; {there} members have all {target} transactions");
            return (Standing::Recovering, words);
        }
        past.catching_up = None;
    }
    let mut writers = members
        .iter()
        .map(|(_, facts)| *facts)
        .filter(|facts| facts.ready && facts.primary.as_ref().is_none_or(|primary| *primary == facts.member))
        .peekable();
    if writers.peek().is_some() && writers.all(|facts| facts.read_only) {
        return (Standing::ReadOnly, format!("membership {} takes no writes: read-only", view.number));
    }
    let stalled = members.iter().filter(|(_, facts)| facts.stalled).count();
    let mut words =
        format!("{} of {} voters are in membership {}", evidence.agreeing, evidence.voters, view.number);
    if evidence.agreeing < majority {
        words = format!("{words}, of {}, which proved that it commits", view.size);
    }
    if stalled > 0 {
        words = format!("{words}; {stalled} held up by flow control");
    }
    absent.beside(evidence.margin, words)
}

fn has_caught_up(facts: &ComponentFacts, target: u64) -> bool {
    facts.synced && facts.committed >= target
}

/// What the members call their states.
fn states(members: &[Member<'_>]) -> String {
    let states: BTreeSet<&str> = members.iter().map(|(_, facts)| facts.state.as_str()).collect();
    states.into_iter().collect::<Vec<_>>().join(", ")
}

/// Somebody answers, and no majority is in one membership that may commit.
fn outside(
    case: &Case<'_>,
    past: &mut Past,
    answered: &[Member<'_>],
    evidence: &Evidence,
    absent: &Absent,
) -> (Standing, String) {
    let Evidence { voters, reached, agreeing, .. } = *evidence;
    let (states, others) = (states(answered), absent.aside());
    let (words, then) = match agreeing {
        0 => (
            format!(
                "{reached} of {voters} voters answer, in no membership that may commit ({states}){others}"
            ),
            Standing::NoQuorum,
        ),
        // By its own word it commits, and nothing has proved that; others may be out of our sight.
        n => (format!("only {n} of {voters} voters are in one membership{others}"), Standing::Unknown),
    };
    case.in_time(past.leaderless_for(case.now), words, then)
}

fn lag_max(answered: &[Member<'_>]) -> Option<u64> {
    let end = answered.iter().map(|(_, facts)| facts.committed).max()?;
    answered.iter().map(|(_, facts)| end - facts.committed + facts.queue).max()
}
