//! Judging a group that elects one leader per term (etcd, Consul, ZooKeeper, NATS, …).
//!
//! The rules, in order; each has its reason in what real clusters answered:
//! 1. Only voters of one cluster count; a learner has no vote, another cluster's answer is rubbish.
//!    Voters are those that are configured, or that the system lists itself, if a majority of that
//!    list confirms it.
//! 2. Votes are never summed over terms: the leader of the highest term is the one that counts,
//!    and one that two voters claim to be in the same term is a split brain.
//!    Where the system tells no terms, the leader that most voters name counts, and the other is
//!    an old one that has not noticed yet.
//! 3. A quorum is a majority of the configured voters that names one leader in one term, and
//!    that leader's own word. Followers go on naming a dead leader for an election timeout; if
//!    they still name it after the time to truth, it lives and only we cannot reach it (or its
//!    system does not tell us which of its members is which).
//! 4. A linearizable read that succeeded in this interval proves a quorum, whatever else is said.
//!    Where a leader may lead without committing (it has the votes of members without data), its
//!    own word of what a majority has must not stand still for the time to truth while its log
//!    goes on.
//! 5. Voters that answer, at every one of which that names a leader what takes a quorum has hung for
//!    longer than the time to truth, are in none, whatever they say of themselves.
//! 6. A majority that refuses connections is gone, if the group was ever seen well.
//! 7. Voters that answer and all know of no leader: electing, and lost after the time to truth.
//! 8. What has no quorum by the last three rules is the group only if the voters that are silent could
//!    not be a majority; otherwise it is the regions of those that answer.
//! 9. Nobody answers: unreachable from here, which says nothing about the quorum.
//! 10. Anything else is unknown.

mod commit;
mod electorate;
mod leader;
mod naming;
mod regions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use self::commit::{Stall, margin};
use self::electorate::Electorate;
use self::leader::{Leader, split};
use super::absent::{Absent, nobody_answers, without_quorum};
use super::case::Case;
use super::kin::of_one_cluster;
use super::past::{CatchUp, Past};
use super::proofs::Proofs;
use super::{Evidence, Facts, Judgement, LinearizableResult, RaftFacts, Standing};

/// A voter that answered, by its position in the group.
type Voter<'a> = (usize, &'a RaftFacts);

/// What is remembered of such a group between rounds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Notes {
    /// Voters that said they have no vote.
    learners: BTreeSet<usize>,
    /// Who has a vote, where the system decides that itself.
    electorate: Electorate,
    /// The leader that a majority names and that does not answer itself, once it was believed.
    vouched: Option<(u64, String)>,
    /// Whether what the leader writes reaches a majority.
    stall: Stall,
    /// Voters at which what takes a quorum hangs.
    proofs: Proofs,
}

pub(super) fn judge(case: &Case<'_>, past: &mut Past, notes: &mut Notes) -> Judgement {
    let named = naming::resolved(case.round);
    let case = &Case { round: named.as_ref().unwrap_or(case.round), ..*case };
    let answered = answered(case, notes);
    let read_passed = case.proof(1).filter(|read| read.result == LinearizableResult::Passed);
    let leader = Leader::of(&answered, read_passed.map(|read| read.member));
    notes.electorate.meet(&answered);
    if let Some(leader) = leader.as_ref().filter(|leader| leader.own_word.is_some()) {
        notes.electorate.confirm(&leader.electorate, &leader.followers);
    }
    let may_vote = |position: &usize| notes.electorate.may_vote(*position);
    let voters = notes.electorate.size(case.group.members.len() - notes.learners.len());
    let majority = voters / 2 + 1;
    let entitled = case.round.views.iter().enumerate().filter(|(position, _)| may_vote(position));
    let absent = Absent::count(entitled.map(|(_, view)| view));
    let reached = answered.iter().filter(|(position, _)| may_vote(position)).count();
    let voting = leader.iter().flat_map(|leader| &leader.followers).filter(|of| may_vote(of));
    let voting: BTreeSet<usize> = voting.copied().collect();
    let agreeing = voting.len();
    let agreed = agreeing >= majority;

    notes.proofs.note(case, |member| answered.iter().any(|(position, _)| *position == member));
    // Who names no leader is in no quorum by its own word.
    let claiming = answered.iter().filter(|(_, facts)| facts.leader.is_some());
    let hanging = notes.proofs.fail_throughout(case, claiming.map(|(position, _)| *position));

    // Who is cut off from where it passes cannot be spared for another.
    let margin = margin(&answered, &notes.proofs.sound(case, &voting), voters, majority);
    let mut evidence = Evidence {
        voters,
        reached,
        agreeing,
        margin: if agreed { margin.max(0) } else { margin },
        leader: leader.as_ref().map(|leader| leader.words(case, &answered)),
        term: leader.as_ref().map(|leader| leader.term).filter(|term| *term > 0),
        lag_max: lag_max(&answered),
        ..Evidence::default()
    };

    let read_passed = read_passed.is_some();
    let own_word = leader.as_ref().is_some_and(|leader| leader.own_word.is_some());
    let named = leader.as_ref().map(|leader| (leader.term, leader.name.clone()));
    if !agreed || own_word || notes.vouched != named {
        notes.vouched = None;
    }
    let settled = own_word
        || notes.vouched.is_some()
        || past.leaderless_since.is_some_and(|since| case.has_lasted(since));

    let (verdict, reason) = if let Some(words) = split(&answered) {
        (Standing::SplitBrain, words)
    } else if let Some(span) = hanging {
        evidence.margin = -1;
        let words =
            format!("{reached} of {voters} voters answer, and what takes a quorum has hung for {span}");
        (Standing::NoQuorum, format!("{words} at all that name a leader{}", absent.aside()))
    } else if (agreed && settled) || read_passed {
        // From now on a loss has the whole time to truth before it counts.
        past.leaderless_since = None;
        if agreed && !own_word {
            notes.vouched = named;
        }
        if !agreed {
            // Proven by the read alone: how many more may be lost is not known from here.
            evidence.margin = 0;
        }
        let itself = leader.as_ref().and_then(|leader| leader.itself(&answered));
        match notes.stall.since(itself, case.now).filter(|since| !read_passed && case.has_lasted(*since)) {
            Some(_) => {
                evidence.margin = -1;
                let who = evidence.leader.as_deref().unwrap_or("the leader");
                let words = format!("{agreeing} of {voters} voters follow {who}, and nothing that it writes");
                (Standing::NoQuorum, format!("{words} reaches a majority"))
            }
            None => committing(past, &answered, leader.as_ref(), majority, &evidence, &absent),
        }
    } else if absent.refused >= majority {
        past.refused(format!("{} of {voters} voters refuse connections", absent.refused))
    } else if !answered.is_empty() {
        leaderless(case, past, &evidence, &absent)
    } else {
        nobody_answers("voter", &absent, &case.round.views)
    };
    if !verdict.is_measured() && answered.is_empty() {
        // What nobody says proves nothing: the time without a leader starts when it is seen.
        past.leaderless_since = None;
    }

    let spoke = reached + absent.refused;
    let (verdict, reason, lost) = match verdict {
        Standing::NoQuorum => without_quorum(case, past, (voters, spoke), reason),
        _ => (verdict, reason, BTreeMap::new()),
    };
    let regions = match (verdict, &leader) {
        (Standing::Quorum | Standing::Degraded | Standing::Recovering, Some(leader))
            if case.group.inside.is_none() =>
        {
            regions::stand(case, past, notes, &answered, leader, (verdict, &reason))
        }
        _ => lost,
    };
    Judgement { verdict, reason, evidence, regions }
}

/// Voters of the cluster that most answers come from; who has none is noted.
fn answered<'a>(case: &Case<'a>, notes: &mut Notes) -> Vec<Voter<'a>> {
    for (position, member) in case.group.members.iter().enumerate() {
        if case.cluster.kind.voteless(&member.endpoint) {
            notes.learners.insert(position);
        }
    }
    let mut answers = case.answers(|facts| match facts {
        Facts::Raft(facts) => Some(facts),
        _ => None,
    });
    answers.retain(|(position, facts)| match facts.learner {
        true => {
            notes.learners.insert(*position);
            false
        }
        false => {
            notes.learners.remove(position);
            true
        }
    });
    of_one_cluster(&mut answers, |(_, facts)| &facts.cluster);
    answers
}

/// There is a quorum: with how much to spare, and has it caught up?
fn committing(
    past: &mut Past,
    answered: &[Voter<'_>],
    leader: Option<&Leader>,
    majority: usize,
    evidence: &Evidence,
    absent: &Absent,
) -> (Standing, String) {
    if let Some(catch_up) = past.catching_up {
        let end = answered.iter().map(|(_, facts)| facts.index).max().unwrap_or(0);
        let target = catch_up.target(end);
        past.catching_up = Some(CatchUp::To(target));
        let applied = answered.iter().filter(|(_, facts)| facts.applied >= target).count();
        let with_data = answered.iter().filter(|(_, facts)| facts.has_data()).count();
        if applied < majority.min(with_data) {
            let words = format!("quorum is back; {applied} voters have applied up to {target}");
            return (Standing::Recovering, words);
        }
        past.catching_up = None;
    }
    let who = match leader {
        Some(leader) => format!(
            "{} of {} voters follow {}{}",
            evidence.agreeing,
            evidence.voters,
            evidence.leader.as_deref().unwrap_or("a leader"),
            leader.term_words(" in term")
        ),
        None => "a linearizable read succeeded".to_owned(),
    };
    absent.beside(evidence.margin, who)
}

/// Somebody answers, and there is no majority behind a leader.
fn leaderless(case: &Case<'_>, past: &mut Past, evidence: &Evidence, absent: &Absent) -> (Standing, String) {
    let Evidence { voters, reached, agreeing, .. } = *evidence;
    let others = absent.aside();
    let (words, then) = match agreeing {
        0 => {
            (format!("{reached} of {voters} voters answer and know of no leader{others}"), Standing::NoQuorum)
        }
        // A voter that still hears from a leader after all this time may be part of a quorum
        // whose other members only we cannot reach.
        n if n > voters / 2 => {
            (format!("{n} of {voters} voters name a leader that does not answer{others}"), Standing::Unknown)
        }
        n => (format!("only {n} of {voters} voters name a leader{others}"), Standing::Unknown),
    };
    case.in_time(past.leaderless_for(case.now), words, then)
}

fn lag_max(answered: &[Voter<'_>]) -> Option<u64> {
    let end = answered.iter().map(|(_, facts)| facts.index).max()?;
    let with_data = answered.iter().filter(|(_, facts)| !facts.arbiter);
    with_data.map(|(_, facts)| end.saturating_sub(facts.applied)).max()
}
