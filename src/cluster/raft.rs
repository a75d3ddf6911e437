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
//! 5. A majority that refuses connections is gone, if the group was ever seen well.
//! 6. Voters that answer and all know of no leader: electing, and lost after the time to truth.
//! 7. Nobody answers: unreachable from here, which says nothing about the quorum.
//! 8. Anything else is unknown.

use std::collections::{BTreeMap, BTreeSet};

use super::absent::{Absent, first_complaint, out_of_sight};
use super::commit::{margin, stalled};
use super::kin::of_one_cluster;
use super::memory::CatchUp;
use super::{Evidence, Facts, Judgement, LinearizableResult, Memory, NodeView, RaftFacts, Round, Standing};
use crate::base::{Mono, RegionId, show_span};
use crate::config::{Cluster, Group, SilentMeans};

/// A voter that answered, by its position in the group.
pub(super) type Voter<'a> = (usize, &'a RaftFacts);

/// The leader that counts, and who names it.
struct Leader {
    name: String,
    term: u64,
    followers: BTreeSet<usize>,
    /// It says so itself, and this is its log's end.
    own_word: Option<u64>,
    /// Who has a vote, by its own word, where it tells.
    electorate: BTreeSet<String>,
}

impl Leader {
    /// Its term after these words, where the system tells one.
    fn term_words(&self, words: &str) -> String {
        match self.term {
            0 => String::new(),
            term => format!("{words} {term}"),
        }
    }
}

pub(super) fn judge(
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    now: Mono,
) -> Judgement {
    for (position, member) in group.members.iter().enumerate() {
        if cluster.kind.voteless(&member.endpoint) {
            memory.learners.insert(position);
        }
    }
    let with_names;
    let round = match anonymous(round) {
        true => {
            with_names = named(round);
            &with_names
        }
        false => round,
    };
    let answered = answered(round, memory);
    let leader = leader(&answered);
    memory.electorate.meet(&answered);
    if let Some(leader) = leader.as_ref().filter(|leader| leader.own_word.is_some()) {
        memory.electorate.confirm(&leader.electorate, &leader.followers);
    }
    let may_vote = |position: &usize| memory.electorate.may_vote(*position);
    let voters = memory.electorate.size(group.members.len() - memory.learners.len());
    let majority = voters / 2 + 1;
    let entitled = round.views.iter().enumerate().filter(|(position, _)| may_vote(position));
    let absent = Absent::count(entitled.map(|(_, view)| view));
    let reached = answered.iter().filter(|(position, _)| may_vote(position)).count();
    let voting = leader.iter().flat_map(|leader| &leader.followers).filter(|of| may_vote(of));
    let voting: BTreeSet<usize> = voting.copied().collect();
    let agreeing = voting.len();

    let mut evidence = Evidence {
        voters,
        reached,
        agreeing,
        margin: margin(&answered, &voting, voters, majority),
        leader: leader.as_ref().map(|leader| leader_words(group, &answered, leader)),
        term: leader.as_ref().map(|leader| leader.term).filter(|term| *term > 0),
        lag_max: lag_max(&answered),
        ..Evidence::default()
    };

    let read = round.linearizable.as_ref().filter(|read| now.since(read.at) <= cluster.schedule.interval);
    let read_passed = read.is_some_and(|read| read.result == LinearizableResult::Passed);
    let agreed = agreeing >= majority;
    let own_word = leader.as_ref().is_some_and(|leader| leader.own_word.is_some());
    let named = leader.as_ref().map(|leader| (leader.term, leader.name.clone()));
    if !agreed || own_word || memory.vouched != named {
        memory.vouched = None;
    }
    let settled = own_word
        || memory.vouched.is_some()
        || memory.leaderless_since.is_some_and(|since| now.since(since) > cluster.time_to_truth);

    let (verdict, reason) = if let Some(words) = split(&answered) {
        (Standing::SplitBrain, words)
    } else if (agreed && settled) || read_passed {
        // From now on a loss has the whole time to truth before it counts.
        memory.leaderless_since = None;
        if agreed && !own_word {
            memory.vouched = named;
        }
        if !agreed {
            // Proven by the read alone: how many more may be lost is not known from here.
            evidence.margin = 0;
        }
        let itself = leader.as_ref().and_then(|leader| {
            let named = (leader.term, leader.name.as_str());
            answered.iter().find(|voter| names(voter, named) && leads(voter.1))
        });
        let stalled = stalled(memory, itself.map(|(_, facts)| *facts), now).filter(|_| !read_passed);
        match stalled.filter(|since| *since > cluster.time_to_truth) {
            Some(_) => {
                evidence.margin = -1;
                let who = evidence.leader.as_deref().unwrap_or("the leader");
                let words = format!("{agreeing} of {voters} voters follow {who}, and nothing that it writes");
                (Standing::NoQuorum, format!("{words} reaches a majority"))
            }
            None => committing(memory, &answered, leader.as_ref(), majority, &evidence, &absent),
        }
    } else if absent.refused >= majority {
        let words = format!("{} of {voters} voters refuse connections", absent.refused);
        match memory.seen_well {
            true => (Standing::NoQuorum, words),
            false => (Standing::Unknown, format!("{words}; never seen otherwise: is the address right?")),
        }
    } else if !answered.is_empty() {
        leaderless(cluster, memory, agreeing, reached, voters, &absent, now)
    } else {
        nobody_answers(&absent, first_complaint(&round.views))
    };
    if matches!(verdict, Standing::Unreachable | Standing::Unknown) && answered.is_empty() {
        // What nobody says proves nothing: the time without a leader starts when it is seen.
        memory.leaderless_since = None;
    }

    let regions = match verdict {
        Standing::Quorum | Standing::Degraded | Standing::Recovering if group.inside.is_none() => {
            regions(cluster, group, round, memory, &answered, leader.as_ref(), (verdict, &reason), now)
        }
        Standing::NoQuorum
            if group.inside.is_none()
                && cluster.silent_means == SilentMeans::Unknown
                && answered.len() + absent.refused < majority =>
        {
            unheard(group, round)
        }
        _ => BTreeMap::new(),
    };
    Judgement { verdict, reason, evidence, regions }
}

/// Voters of the cluster that most answers come from.
fn answered<'a>(round: &'a Round, memory: &mut Memory) -> Vec<Voter<'a>> {
    let mut answers: Vec<Voter<'a>> = Vec::new();
    for (position, view) in round.views.iter().enumerate() {
        if let NodeView::Answered(Facts::Raft(facts)) = view {
            if facts.learner {
                memory.learners.insert(position);
            } else {
                memory.learners.remove(&position);
                answers.push((position, facts));
            }
        }
    }
    of_one_cluster(&mut answers, |(_, facts)| &facts.cluster);
    answers
}

/// Whether some follow a leader without telling whom, or in which term.
fn anonymous(round: &Round) -> bool {
    round.views.iter().any(|view| match view {
        NodeView::Answered(Facts::Raft(facts)) => facts.leader.as_deref() == Some("") || facts.term_of_log,
        _ => false,
    })
}

/// The same with the name of whom they follow, where only one can be meant: the leader that says
/// so itself in the highest term. Their own term is that of the last entry that they have, which
/// after an election is still the one before; and they follow only once they have all of that.
/// A follower of a higher term follows somebody who does not answer. Likewise one that tells whom it
/// follows is in the term of that one's own claim, if it has no entry of a later term; and of those
/// that name one that does not answer, in the latest that any of them has seen it in.
fn named(round: &Round) -> Round {
    let mut round = round.clone();
    let claims: Vec<(u64, String)> = round
        .views
        .iter()
        .filter_map(|view| match view {
            NodeView::Answered(Facts::Raft(facts)) if leads(facts) => {
                Some((facts.term, facts.member.clone()))
            }
            _ => None,
        })
        .collect();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for view in &round.views {
        if let NodeView::Answered(Facts::Raft(RaftFacts { leader: Some(leader), term, .. })) = view {
            let latest = seen.entry(leader.clone()).or_default();
            *latest = (*latest).max(*term);
        }
    }
    let newest = claims.iter().max();
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
    round
}

/// The leader of the highest term that anybody names.
fn leader(answered: &[Voter<'_>]) -> Option<Leader> {
    let (term, name) = answered
        .iter()
        .filter_map(|(_, facts)| facts.leader.as_deref().map(|leader| (facts.term, leader)))
        // Equal terms: the one that more voters name.
        .max_by_key(|named| (named.0, answered.iter().filter(|voter| names(voter, *named)).count()))?;
    let followers = answered.iter().filter(|voter| names(voter, (term, name))).map(|(position, _)| *position);
    let own_word = answered
        .iter()
        .filter(|voter| names(voter, (term, name)))
        .find(|(_, facts)| facts.relayed || leads(facts));
    Some(Leader {
        name: name.to_owned(),
        term,
        followers: followers.collect(),
        electorate: own_word.map(|(_, facts)| facts.electorate.clone()).unwrap_or_default(),
        own_word: own_word.filter(|(_, facts)| facts.term == term).map(|(_, facts)| facts.index),
    })
}

fn names((_, facts): &Voter<'_>, (term, leader): (u64, &str)) -> bool {
    facts.term == term && facts.leader.as_deref() == Some(leader)
}

fn leads(facts: &RaftFacts) -> bool {
    facts.leader.as_ref() == Some(&facts.member)
}

/// Two voters that each claim to lead in the same term.
fn split(answered: &[Voter<'_>]) -> Option<String> {
    let mut claims: BTreeMap<u64, &str> = BTreeMap::new();
    // Without terms there is no telling whether both mean the same one.
    for (_, facts) in answered.iter().filter(|(_, facts)| facts.term > 0 && leads(facts)) {
        if let Some(other) = claims.insert(facts.term, &facts.member) {
            let term = facts.term;
            return Some(format!("{other} and {} both lead in term {term}", facts.member));
        }
    }
    None
}

/// There is a quorum: with how much to spare, and has it caught up?
fn committing(
    memory: &mut Memory,
    answered: &[Voter<'_>],
    leader: Option<&Leader>,
    majority: usize,
    evidence: &Evidence,
    absent: &Absent,
) -> (Standing, String) {
    if let Some(catch_up) = memory.catching_up {
        let end = answered.iter().map(|(_, facts)| facts.index).max().unwrap_or(0);
        let target = match catch_up {
            CatchUp::To(index) => index,
            CatchUp::ToBeSeen => end,
        };
        memory.catching_up = Some(CatchUp::To(target));
        let applied = answered.iter().filter(|(_, facts)| facts.applied >= target).count();
        let with_data = answered.iter().filter(|(_, facts)| facts.has_data()).count();
        if applied < majority.min(with_data) {
            let words = format!("quorum is back; {applied} voters have applied up to {target}");
            return (Standing::Recovering, words);
        }
        memory.catching_up = None;
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
    let others = absent.words();
    match evidence.margin {
        1.. => (Standing::Quorum, who),
        _ if others.is_empty() => (Standing::Degraded, format!("{who}; none can be spared")),
        _ => (Standing::Degraded, format!("{who}; none can be spared ({others})")),
    }
}

/// Somebody answers, and there is no majority behind a leader.
fn leaderless(
    cluster: &Cluster,
    memory: &mut Memory,
    agreeing: usize,
    answered: usize,
    voters: usize,
    absent: &Absent,
    now: Mono,
) -> (Standing, String) {
    let since = memory.leaderless_for(now);
    let others = match absent.words() {
        words if words.is_empty() => String::new(),
        words => format!(" ({words})"),
    };
    let words = match agreeing {
        0 => format!("{answered} of {voters} voters answer and know of no leader{others}"),
        n if n > voters / 2 => format!("{n} of {voters} voters name a leader that does not answer{others}"),
        n => format!("only {n} of {voters} voters name a leader{others}"),
    };
    match (since <= cluster.time_to_truth, agreeing) {
        (true, _) => (Standing::Electing, format!("{words}, for {}", show_span(since))),
        (false, 0) => (Standing::NoQuorum, words),
        // A voter that still hears from a leader after all this time may be part of a quorum
        // whose other members only we cannot reach.
        (false, _) => (Standing::Unknown, words),
    }
}

pub(super) fn nobody_answers(absent: &Absent, complaint: Option<&str>) -> (Standing, String) {
    let words = absent.words();
    let complaint = complaint.map_or(String::new(), |why| format!(": {why}"));
    let unclear = absent.denied + absent.rubbish + absent.unmeasured;
    match unclear {
        0 => (Standing::Unreachable, format!("no voter answers ({words}){complaint}")),
        _ => (Standing::Unknown, format!("no voter could be judged ({words}){complaint}")),
    }
}

/// A minority has no majority behind it, and the others say nothing: they may well go on where only we
/// cannot see them, so that nothing is known of the regions they are in.
pub(super) fn unheard(group: &Group, round: &Round) -> BTreeMap<RegionId, (Standing, String)> {
    let heard = |view: &NodeView| matches!(view, NodeView::Answered(_) | NodeView::Refused(_));
    let members = || group.members.iter().zip(&round.views);
    let spoke: BTreeSet<RegionId> =
        members().filter(|(_, view)| heard(view)).map(|(member, _)| member.region).collect();
    let mut regions = BTreeMap::new();
    for (member, _) in members().filter(|(member, _)| !spoke.contains(&member.region)) {
        let local = members().filter(|(other, _)| other.region == member.region).map(|(_, view)| view);
        let words = Absent::count(local).words();
        let words = format!("its voters: {words}; a minority elsewhere has no majority");
        regions.insert(member.region, (Standing::Unknown, words));
    }
    regions
}

/// How each region stands in a group that goes on.
#[allow(clippy::too_many_arguments, reason = "what a judgement rests on, taken apart")]
fn regions(
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    answered: &[Voter<'_>],
    leader: Option<&Leader>,
    whole: (Standing, &str),
    now: Mono,
) -> BTreeMap<RegionId, (Standing, String)> {
    let (verdict, reason) = whole;
    let mut regions = BTreeMap::new();
    let Some(leader) = leader else { return regions };
    for (region, mut local) in group.by_region() {
        local.retain(|position| !memory.learners.contains(position));
        if local.is_empty() {
            continue;
        }
        let views: Vec<&NodeView> = local.iter().map(|position| &round.views[*position]).collect();
        let within = local.iter().find(|position| leader.followers.contains(position));
        let standing = if let Some(position) = within {
            let was_out =
                memory.cut_off.remove(&region).is_some_and(|since| now.since(since) > cluster.time_to_truth);
            if was_out {
                let target = leader.own_word.map_or(CatchUp::ToBeSeen, CatchUp::To);
                memory.rejoining.insert(region, target);
            }
            rejoined(memory, region, &round.views[*position], (verdict, reason))
        } else if answered.iter().any(|(position, _)| local.contains(position)) {
            let words = format!("its voters are cut off from the leader{}", leader.term_words(" of term"));
            memory.out_of_group(region, &words, cluster.time_to_truth, now)
        } else {
            match views.iter().any(|view| matches!(view, NodeView::Answered(_))) {
                true => {
                    (Standing::Unknown, "its voters answer for another cluster; the group goes on".to_owned())
                }
                false => out_of_sight(views.iter().copied()),
            }
        };
        regions.insert(region, standing);
    }
    regions
}

/// A region's voter follows the leader: has it caught up, if it was out?
fn rejoined(
    memory: &mut Memory,
    region: RegionId,
    view: &NodeView,
    (verdict, reason): (Standing, &str),
) -> (Standing, String) {
    let NodeView::Answered(Facts::Raft(facts)) = view else { return (verdict, reason.to_owned()) };
    if let Some(catch_up) = memory.rejoining.get_mut(&region) {
        let target = match *catch_up {
            CatchUp::To(index) => index,
            CatchUp::ToBeSeen => facts.index,
        };
        if facts.applied < target && !facts.arbiter {
            *catch_up = CatchUp::To(target);
            return (
                Standing::Recovering,
                format!("back in the group; applied {} of {target}", facts.applied),
            );
        }
        memory.rejoining.remove(&region);
    }
    (verdict, reason.to_owned())
}

fn lag_max(answered: &[Voter<'_>]) -> Option<u64> {
    let end = answered.iter().map(|(_, facts)| facts.index).max()?;
    let with_data = answered.iter().filter(|(_, facts)| !facts.arbiter);
    with_data.map(|(_, facts)| end.saturating_sub(facts.applied)).max()
}

/// Where the leader is, if it told us itself, else its id.
fn leader_words(group: &Group, answered: &[Voter<'_>], leader: &Leader) -> String {
    match answered.iter().find(|(_, facts)| facts.member == leader.name) {
        Some((position, _)) => group.members[*position].endpoint.to_string(),
        None if leader.name.is_empty() => "a leader whom they do not name".to_owned(),
        None => leader.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::GroupId;
    use crate::cluster::bench::{self, SECOND};
    use crate::cluster::{Linearizable, judge};
    use crate::config::{ClusterKind, Endpoint, EtcdOptions, Member};

    /// A group of `n` voters, spread over regions as told, its memory, and a clock.
    struct Bench {
        cluster: Cluster,
        group: Group,
        memory: Memory,
        now: Mono,
        read: Option<LinearizableResult>,
        /// Voters by the word of everybody, where the system lists them.
        electorate: BTreeSet<String>,
    }

    impl Bench {
        fn new(regions: &[u16], inside: bool) -> Self {
            let members = regions.iter().enumerate().map(|(n, region)| Member {
                region: RegionId(*region),
                endpoint: Endpoint::Http(format!("http://m{n}:2379").parse().unwrap()),
            });
            Self {
                cluster: bench::cluster(ClusterKind::Etcd(EtcdOptions::default())),
                group: bench::group(members, inside),
                memory: Memory::default(),
                now: Mono(100 * SECOND),
                read: None,
                electorate: BTreeSet::new(),
            }
        }

        /// One round; each letter is a voter: `L`eads, `f`ollows, `n`o leader, `o`ld leader of a
        /// lower term, `O`ld leader itself, `x` refused, `-` silent, `?` denied, `l`earner.
        fn round(&mut self, states: &str) -> Judgement {
            self.now = self.now + SECOND;
            let leads = (states.find('L').unwrap_or(9) + 1).to_string();
            let views = states.chars().enumerate().map(|(n, state)| {
                let member = (n + 1).to_string();
                let facts = |leader: Option<&str>, term: u64| {
                    NodeView::Answered(Facts::Raft(RaftFacts {
                        cluster: "ours".to_owned(),
                        member: member.clone(),
                        leader: leader.map(str::to_owned),
                        term,
                        index: 50,
                        applied: 50,
                        learner: state == 'l',
                        electorate: self.electorate.clone(),
                        ..RaftFacts::default()
                    }))
                };
                match state {
                    'L' | 'f' | 'l' => facts(Some(&leads), 5),
                    'n' => facts(None, 5),
                    'o' => facts(Some("88"), 4),
                    'O' => facts(Some(&member), 4),
                    'x' => NodeView::Refused("refused".into()),
                    '?' => NodeView::Denied("denied".into()),
                    _ => NodeView::Silent("silent".into()),
                }
            });
            let linearizable =
                self.read.clone().map(|result| Linearizable { at: self.now, member: 0, result });
            let round =
                Round { group: GroupId(0), views: views.collect(), linearizable, took: Duration::ZERO };
            judge(&self.cluster, &self.group, &round, &mut self.memory, self.now)
        }

        /// The verdict after the time to truth.
        fn settled(&mut self, states: &str) -> Standing {
            for _ in 0..7 {
                self.round(states);
            }
            self.round(states).verdict
        }
    }

    fn well(n: usize) -> Bench {
        let mut bench = Bench::new(&vec![0; n], true);
        assert_eq!(bench.settled(&("L".to_owned() + &"f".repeat(n - 1))), Standing::Quorum);
        bench
    }

    #[test]
    fn every_combination_of_three_and_five() {
        let letters = ['L', 'f', 'n', 'x', '-', '?'];
        for n in [3usize, 5] {
            for code in 0..letters.len().pow(n as u32) {
                let states: String = (0..n as u32)
                    .map(|place| letters[code / letters.len().pow(place) % letters.len()])
                    .collect();
                let count = |wanted: char| states.matches(wanted).count();
                if count('L') > 1 || (count('f') > 0 && count('L') == 0) {
                    continue;
                }
                let majority = n / 2 + 1;
                let agreeing = count('L') + count('f');
                let verdict = well(n).settled(&states);
                let expected = if agreeing > majority {
                    Standing::Quorum
                } else if agreeing == majority {
                    Standing::Degraded
                } else if count('x') >= majority {
                    Standing::NoQuorum
                } else if agreeing > 0 {
                    // It hears from a leader: the others may well be where only we cannot see them.
                    Standing::Unknown
                } else if count('n') > 0 {
                    Standing::NoQuorum
                } else if count('?') > 0 {
                    Standing::Unknown
                } else {
                    Standing::Unreachable
                };
                assert_eq!(verdict, expected, "{states}");
            }
        }
    }

    /// Every state of five members, of which one, three or five have a vote by the word of all.
    #[test]
    fn a_list_of_voters_counts_once_a_majority_of_it_confirms_it() {
        let letters = ['L', 'f', 'n', 'x', '-'];
        for voters in [vec![1], vec![0, 1, 2], vec![1, 3, 4], vec![0, 1, 2, 3, 4]] {
            for code in 0..letters.len().pow(5) {
                let states: String =
                    (0..5u32).map(|place| letters[code / letters.len().pow(place) % letters.len()]).collect();
                let count = |wanted: char| states.matches(wanted).count();
                if count('L') > 1 || (count('f') > 0 && count('L') == 0) {
                    continue;
                }
                let mut bench = well(5);
                bench.electorate = voters.iter().map(|n| (n + 1).to_string()).collect();
                bench.round("Lffff");
                let among = |wanted: &str| {
                    voters.iter().filter(|n| wanted.contains(states.as_bytes()[**n] as char)).count()
                };
                let majority = voters.len() / 2 + 1;
                let expected = if among("Lf") > majority {
                    Standing::Quorum
                } else if among("Lf") == majority {
                    Standing::Degraded
                } else if among("x") >= majority {
                    Standing::NoQuorum
                } else if among("Lf") > 0 {
                    Standing::Unknown
                } else if count('L') + count('f') + count('n') > 0 {
                    Standing::NoQuorum
                } else {
                    Standing::Unreachable
                };
                let settled = bench.settled(&states);
                assert_eq!(settled, expected, "{states} of {voters:?}");
            }
        }
    }

    #[test]
    fn a_list_that_nobody_confirms_changes_nothing() {
        let listed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        // A follower of a leader that is silent lists itself alone.
        let mut bench = well(5);
        bench.electorate = listed(&["5"]);
        assert_eq!(bench.settled("----o"), Standing::Unknown);
        // One that is cut off, and knows of no leader.
        assert_eq!(bench.settled("----n"), Standing::NoQuorum);
        // A leader whose list has voters that nobody of us has ever seen: they may be anywhere.
        let mut bench = well(3);
        bench.electorate = listed(&["1", "2", "7", "8", "9"]);
        assert_eq!(bench.settled("Lff"), Standing::Quorum, "as configured");
        bench.electorate = listed(&["1", "2", "3", "8", "9"]);
        assert_eq!(bench.settled("Lff"), Standing::Degraded, "three of five, and none to spare");
        // What was confirmed holds while there is no leader, and no member that left counts again.
        let mut bench = well(5);
        bench.electorate = listed(&["1", "2", "3"]);
        assert_eq!(bench.settled("Lffxx"), Standing::Quorum);
        assert_eq!(bench.round("nnxxx").verdict, Standing::Electing, "three refuse, one of them a voter");
        assert_eq!(bench.settled("Lfxxx"), Standing::Degraded);
        assert_eq!(bench.round("nxxnn").verdict, Standing::NoQuorum, "two of three voters refuse");
        // Until more are listed, and confirm it.
        bench.electorate = listed(&["1", "2", "3", "4", "5"]);
        assert_eq!(bench.settled("Lffff"), Standing::Quorum);
        assert_eq!(bench.round("Lffff").evidence.margin, 2);
    }

    #[test]
    fn a_voter_that_never_showed_up_may_be_any_of_the_listed() {
        let mut bench = Bench::new(&[0; 5], true);
        bench.memory = Memory::well();
        bench.electorate = (1..=3).map(|n: u8| n.to_string()).collect();
        // The third has not been seen, so that either of those that refuse may be it.
        let judged = bench.round("Lf--x");
        assert_eq!((judged.verdict, judged.evidence.voters), (Standing::Degraded, 3));
        assert_eq!(bench.settled("nx--x"), Standing::NoQuorum);
        let judged = bench.round("Lffx-");
        assert_eq!(
            (judged.verdict, judged.evidence.margin, judged.evidence.reached),
            (Standing::Quorum, 1, 3)
        );
    }

    #[test]
    fn electing_has_its_time_and_no_more() {
        let mut bench = well(3);
        for second in 1..=6 {
            assert_eq!(bench.round("xnn").verdict, Standing::Electing, "after {second}s");
        }
        assert_eq!(bench.round("xnn").verdict, Standing::NoQuorum);
        // A new leader within the time: nothing happened.
        let mut bench = well(3);
        bench.round("xnn");
        assert_eq!(bench.round("xLf").verdict, Standing::Degraded);
    }

    #[test]
    fn followers_that_name_a_dead_leader_prove_nothing_until_the_time_is_up() {
        let mut bench = well(3);
        // The old leader (id 88) is silent and two voters still name it.
        assert_eq!(bench.round("-oo").verdict, Standing::Electing);
        // They would have given up on it long ago if it were dead.
        assert_eq!(bench.settled("-oo"), Standing::Degraded);
    }

    #[test]
    fn a_linearizable_read_that_passed_overrules_and_a_hung_one_does_not() {
        let mut bench = well(5);
        bench.read = Some(LinearizableResult::Passed);
        assert_eq!(bench.settled("f----"), Standing::Degraded);
        bench.read = Some(LinearizableResult::Hung);
        assert_eq!(bench.settled("n----"), Standing::NoQuorum);
        let mut bench = well(5);
        bench.read = Some(LinearizableResult::Hung);
        assert_eq!(bench.settled("Lffff"), Standing::Quorum);
    }

    #[test]
    fn never_sums_votes_over_terms_and_sees_two_leaders_of_one_term() {
        assert_eq!(well(5).settled("LfxOo"), Standing::Unknown);
        assert_eq!(well(5).settled("LffOo"), Standing::Degraded);
        let mut bench = well(3);
        let mut round = |leaders: [u64; 3]| {
            bench.now = bench.now + SECOND;
            let views = leaders.iter().zip(1..).map(|(leader, member): (_, u64)| {
                NodeView::Answered(Facts::Raft(RaftFacts {
                    member: member.to_string(),
                    leader: Some(leader.to_string()),
                    term: 5,
                    ..RaftFacts::default()
                }))
            });
            let round = Round { group: GroupId(0), views: views.collect(), linearizable: None, took: SECOND };
            judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now).verdict
        };
        assert_eq!(round([1, 2, 2]), Standing::SplitBrain);
    }

    /// One round of voters that tell whom they take for the leader, and neither their own name nor
    /// the term.
    fn nameless(bench: &mut Bench, leaders: [&str; 3]) -> Judgement {
        bench.now = bench.now + SECOND;
        let views = leaders.map(|leader| {
            let leader = Some(leader.to_owned()).filter(|leader| !leader.is_empty());
            NodeView::Answered(Facts::Raft(RaftFacts { leader, ..RaftFacts::default() }))
        });
        let round = Round { group: GroupId(0), views: views.to_vec(), linearizable: None, took: SECOND };
        judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now)
    }

    #[test]
    fn a_leader_that_does_not_tell_its_name_is_believed_in_time() {
        let mut bench = Bench::new(&[0, 0, 0], true);
        for _ in 0..6 {
            assert_eq!(nameless(&mut bench, ["a", "a", "a"]).verdict, Standing::Electing);
        }
        for _ in 0..9 {
            assert_eq!(nameless(&mut bench, ["a", "a", "a"]).verdict, Standing::Quorum);
        }
        // An election is an election, however long it went well before.
        for _ in 0..5 {
            assert_eq!(nameless(&mut bench, ["", "", ""]).verdict, Standing::Electing);
        }
        // The next leader has to prove itself anew; what never was lost is never called so.
        for _ in 0..3 {
            assert_ne!(nameless(&mut bench, ["b", "b", "b"]).verdict, Standing::NoQuorum);
        }
        assert_eq!(nameless(&mut bench, ["b", "b", "b"]).verdict, Standing::Quorum);
        for _ in 0..6 {
            assert_eq!(nameless(&mut bench, ["", "", ""]).verdict, Standing::Electing);
        }
        assert_eq!(nameless(&mut bench, ["", "", ""]).verdict, Standing::NoQuorum);
    }

    #[test]
    fn followers_that_do_not_say_whom_they_follow() {
        let mut bench = Bench::new(&[0, 0, 0], true);
        // A letter and a term each: `L`eads, `f`ollows somebody, `n`o leader, `-` silent.
        let mut round = |states: [(char, u64); 3]| {
            bench.now = bench.now + SECOND;
            let views = states.iter().zip(["a", "b", "c"]).map(|((state, term), member)| {
                let leader = match state {
                    'L' => Some(member.to_owned()),
                    'f' => Some(String::new()),
                    '-' => return NodeView::Silent(String::new()),
                    _ => None,
                };
                let member = member.to_owned();
                NodeView::Answered(Facts::Raft(RaftFacts {
                    member,
                    leader,
                    term: *term,
                    ..RaftFacts::default()
                }))
            });
            let round = Round { group: GroupId(0), views: views.collect(), linearizable: None, took: SECOND };
            let judgement = judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now);
            (judgement.verdict, judgement.evidence.agreeing)
        };
        // Nothing has happened yet in the new epoch: the followers are still in the one before.
        assert_eq!(round([('L', 1), ('f', 0), ('f', 0)]), (Standing::Quorum, 3));
        assert_eq!(round([('L', 1), ('f', 1), ('n', 0)]), (Standing::Degraded, 2));
        // The old leader has not noticed: its followers are gone to another.
        assert_eq!(round([('L', 1), ('L', 2), ('f', 1)]), (Standing::Degraded, 2));
        // It follows somebody who is newer than the only one that claims to lead.
        assert_eq!(round([('L', 1), ('-', 0), ('f', 2)]), (Standing::Electing, 1));
        // Two follow somebody whom we cannot reach: believed in time, in one epoch alone.
        for _ in 0..6 {
            round([('-', 0), ('f', 2), ('f', 2)]);
        }
        assert_eq!(round([('-', 0), ('f', 2), ('f', 2)]), (Standing::Degraded, 2));
        for _ in 0..8 {
            round([('-', 0), ('f', 2), ('f', 1)]);
        }
        assert_eq!(round([('-', 0), ('f', 2), ('f', 1)]), (Standing::Unknown, 1));
        for _ in 0..8 {
            round([('n', 0), ('n', 0), ('-', 0)]);
        }
        assert_eq!(round([('n', 0), ('n', 0), ('-', 0)]).0, Standing::NoQuorum);
    }

    #[test]
    fn an_old_leader_without_a_term_is_no_split() {
        let mut bench = Bench::new(&[0, 0, 0], true);
        let mut round = |leaders: [&str; 3]| {
            bench.now = bench.now + SECOND;
            let views = leaders.iter().zip(["a", "b", "c"]).map(|(leader, member)| {
                let (leader, member) = (Some((*leader).to_owned()), member.to_owned());
                NodeView::Answered(Facts::Raft(RaftFacts { member, leader, ..RaftFacts::default() }))
            });
            let round = Round { group: GroupId(0), views: views.collect(), linearizable: None, took: SECOND };
            let judgement = judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now);
            (judgement.verdict, judgement.evidence.leader)
        };
        assert_eq!(round(["a", "a", "a"]).0, Standing::Quorum);
        assert_eq!(round(["a", "b", "b"]), (Standing::Degraded, Some("http://m1:2379".to_owned())));
        assert_eq!(round(["a", "b", "c"]).0, Standing::Electing);
    }

    #[test]
    fn a_group_never_seen_well_is_not_lost_when_it_refuses() {
        let mut bench = Bench::new(&[0, 0, 0], true);
        let judgement = bench.round("xxx");
        assert_eq!(judgement.verdict, Standing::Unknown);
        assert!(judgement.reason.contains("is the address right?"), "{}", judgement.reason);
    }

    #[test]
    fn learners_have_no_vote() {
        // Three voters and a learner: two voters are a majority of three.
        let mut bench = Bench::new(&[0, 0, 0, 0], true);
        assert_eq!(bench.settled("Lffl"), Standing::Quorum);
        assert_eq!(bench.settled("Lfxl"), Standing::Degraded);
        assert_eq!(bench.settled("nxxl"), Standing::NoQuorum);
        // It stays known as one while it is silent.
        assert_eq!(bench.settled("Lfx-"), Standing::Degraded);
    }

    #[test]
    fn catches_up_before_it_counts() {
        let mut bench = well(3);
        assert_eq!(bench.settled("nxx"), Standing::NoQuorum);
        bench.now = bench.now + SECOND;
        let facts = |member: u64, applied: u64| {
            NodeView::Answered(Facts::Raft(RaftFacts {
                member: member.to_string(),
                leader: Some("1".to_owned()),
                term: 6,
                index: 90,
                applied,
                ..RaftFacts::default()
            }))
        };
        let mut round = |applied: [u64; 3]| {
            let views = applied.iter().zip(1..).map(|(applied, member)| facts(member, *applied)).collect();
            let round = Round { group: GroupId(0), views, linearizable: None, took: SECOND };
            judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now).verdict
        };
        assert_eq!(round([90, 50, 50]), Standing::Recovering);
        assert_eq!(round([90, 90, 50]), Standing::Quorum);
        assert_eq!(round([90, 50, 50]), Standing::Quorum, "lag alone is not a recovery");
    }

    #[test]
    fn only_the_region_that_is_cut_off_is_lost() {
        let mut bench = Bench::new(&[0, 1, 2], false);
        let standings = |judgement: &Judgement| {
            judgement.regions.values().map(|(standing, _)| *standing).collect::<Vec<_>>()
        };
        let healthy = bench.round("Lff");
        assert_eq!(standings(&healthy), [Standing::Quorum; 3]);
        let cut = bench.round("nLf");
        assert_eq!(cut.verdict, Standing::Degraded);
        assert_eq!(standings(&cut), [Standing::Electing, Standing::Degraded, Standing::Degraded]);
        bench.settled("nLf");
        let cut = bench.round("nLf");
        assert_eq!(standings(&cut), [Standing::NoQuorum, Standing::Degraded, Standing::Degraded]);
        // A dead process is not a partition; silence is not evidence.
        assert_eq!(standings(&bench.round("xLf"))[0], Standing::Degraded);
        assert_eq!(standings(&bench.round("-Lf"))[0], Standing::Unknown);
        // Back again.
        bench.settled("fLf");
        assert_eq!(standings(&bench.round("fLf")), [Standing::Quorum; 3]);
        // A minority that knows of no leader says nothing of the others, which are silent.
        bench.settled("n--");
        assert_eq!(
            standings(&bench.round("n--")),
            [Standing::NoQuorum, Standing::Unknown, Standing::Unknown]
        );
        bench.settled("Lff");
        // Lost as a whole: everybody's loss, and nobody's alone.
        bench.settled("nxx");
        assert_eq!(standings(&bench.round("nxx")), [Standing::NoQuorum; 3]);
    }

    #[test]
    fn what_answers_for_another_cluster_is_no_partition() {
        let mut bench = Bench::new(&[0, 1, 2], false);
        bench.settled("Lff");
        let facts = |cluster: &str, member: &str, leader: &str, term: u64| RaftFacts {
            cluster: cluster.to_owned(),
            member: member.to_owned(),
            leader: Some(leader.to_owned()),
            term,
            ..RaftFacts::default()
        };
        for _ in 0..8 {
            bench.now = bench.now + SECOND;
            let answers =
                [facts("theirs", "1", "1", 5), facts("ours", "2", "2", 6), facts("ours", "3", "2", 6)];
            let views = answers.map(|facts| NodeView::Answered(Facts::Raft(facts))).to_vec();
            let round = Round { group: GroupId(0), views, linearizable: None, took: SECOND };
            let judgement = judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now);
            assert_eq!(judgement.verdict, Standing::Degraded);
            assert_eq!(judgement.regions[&RegionId(0)].0, Standing::Unknown);
            assert_eq!(judgement.regions[&RegionId(1)].0, Standing::Degraded);
        }
    }

    #[test]
    fn words_say_what_was_seen() {
        let mut bench = well(3);
        let reason = |judgement: Judgement| judgement.reason;
        assert_eq!(reason(bench.round("Lff")), "3 of 3 voters follow http://m0:2379 in term 5");
        assert_eq!(
            reason(bench.round("Lfx")),
            "2 of 3 voters follow http://m0:2379 in term 5; none can be spared (1 refused)"
        );
        bench.settled("n--");
        assert_eq!(reason(bench.round("n--")), "1 of 3 voters answer and know of no leader (2 silent)");
        assert_eq!(reason(bench.round("xx-")), "2 of 3 voters refuse connections");
    }
}
