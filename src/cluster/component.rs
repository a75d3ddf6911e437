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

use std::collections::{BTreeMap, BTreeSet};

use super::absent::{Absent, first_complaint, out_of_sight};
use super::kin::of_one_cluster;
use super::memory::CatchUp;
use super::raft::{nobody_answers, unheard};
use super::{
    ComponentFacts, ComponentView, Evidence, Facts, Judgement, LinearizableResult, Memory, NodeView, Round,
    Standing,
};
use crate::base::{Mono, RegionId, show_span};
use crate::config::{Cluster, Group, SilentMeans};

/// A claim to commit that others contradict may be an old one for so many times the time to truth.
const RIVAL_TRUTHS: u32 = 2;

type Member<'a> = (usize, &'a ComponentFacts);

/// The membership that counts, and who of those we reach is in it.
struct Part<'a> {
    view: &'a ComponentView,
    members: Vec<Member<'a>>,
}

impl Part<'_> {
    fn holds(&self, position: usize) -> bool {
        self.members.iter().any(|(member, _)| *member == position)
    }
}

pub(super) fn judge(
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    now: Mono,
) -> Judgement {
    let answered = answered(round);
    let absent = Absent::count(&round.views);
    let arbitrators = cluster.kind.arbitrators();
    let voters = group.members.len() + arbitrators;
    let majority = voters / 2 + 1;
    let part = part(&answered);
    let votes = part.as_ref().map_or(0, |part| {
        let unheard = group.members.len() - answered.len() - absent.refused;
        // What the membership has room for beside the members that are, or may be, in it.
        let unseen = part.view.size.saturating_sub(part.members.len() + unheard);
        part.members.len() + unseen.min(arbitrators)
    });

    let mut evidence = Evidence {
        voters,
        reached: answered.len(),
        agreeing: votes,
        margin: votes as i64 - majority as i64,
        leader: part.as_ref().map(|part| leader_words(group, part)),
        term: part.as_ref().map(|part| part.view.number),
        lag_max: lag_max(&answered),
        ..Evidence::default()
    };
    // One that started with the round before may end a little after it.
    let fresh = cluster.schedule.interval * 2;
    let read = round.linearizable.as_ref().filter(|read| now.since(read.at) <= fresh);
    let read_passed = read.is_some_and(|read| read.result == LinearizableResult::Passed);
    note_stuck(round, memory, &answered);

    let (verdict, reason) = if let Some(words) = split(cluster, group, memory, &answered, part.as_ref(), now)
    {
        (Standing::SplitBrain, words)
    } else if let Some(words) = stuck(cluster, memory, part.as_ref(), now) {
        (Standing::NoQuorum, words)
    } else if let Some(part) = part.as_ref().filter(|_| votes >= majority || read_passed) {
        memory.leaderless_since = None;
        if votes < majority {
            // Proven by the read alone: how many more may be lost is not known from here.
            evidence.margin = 0;
        }
        committing(memory, part, majority, &evidence, &absent)
    } else if absent.refused >= majority && !shrunk(part.as_ref()) {
        let words = format!("{} of {voters} voters refuse connections", absent.refused);
        match memory.seen_well {
            true => (Standing::NoQuorum, words),
            false => (Standing::Unknown, format!("{words}; never seen otherwise: is the address right?")),
        }
    } else if !answered.is_empty() {
        outside(cluster, memory, votes, &answered, voters, &absent, now)
    } else {
        nobody_answers(&absent, first_complaint(&round.views))
    };
    if matches!(verdict, Standing::Unreachable | Standing::Unknown) && answered.is_empty() {
        memory.leaderless_since = None;
    }

    let regions = match (verdict, &part) {
        (Standing::Quorum | Standing::Degraded | Standing::Recovering, Some(part))
            if group.inside.is_none() =>
        {
            regions(cluster, group, round, memory, part, (verdict, &reason), now)
        }
        (Standing::NoQuorum, _)
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

/// Members of the cluster that most answers come from. One that belongs to none for now counts.
fn answered(round: &Round) -> Vec<Member<'_>> {
    let mut answers: Vec<Member<'_>> = round
        .views
        .iter()
        .enumerate()
        .filter_map(|(position, view)| match view {
            NodeView::Answered(Facts::Component(facts)) => Some((position, facts)),
            _ => None,
        })
        .collect();
    of_one_cluster(&mut answers, |(_, facts)| &facts.cluster);
    answers
}

/// The membership that most members are in; of equal ones the newest.
fn part<'a>(answered: &[Member<'a>]) -> Option<Part<'a>> {
    let mut parts: BTreeMap<&ComponentView, Vec<Member<'a>>> = BTreeMap::new();
    for (position, facts) in answered {
        if let Some(view) = &facts.view {
            parts.entry(view).or_default().push((*position, facts));
        }
    }
    let most = parts.into_iter().max_by_key(|(view, members)| (members.len(), view.number));
    most.map(|(view, members)| Part { view, members })
}

/// Two parts that both go on claiming the right to commit.
fn split(
    cluster: &Cluster,
    group: &Group,
    memory: &mut Memory,
    answered: &[Member<'_>],
    part: Option<&Part<'_>>,
    now: Mono,
) -> Option<String> {
    let part = part?;
    let names: BTreeSet<&str> = part.members.iter().map(|(_, facts)| facts.member.as_str()).collect();
    if names.len() > part.view.size {
        let Part { view: ComponentView { number, size, .. }, .. } = part;
        let found = names.len();
        return Some(format!("{found} members each claim to be in membership {number}, which has {size}"));
    }
    let rival = answered.iter().find(|(position, facts)| facts.view.is_some() && !part.holds(*position));
    let Some((position, facts)) = rival else {
        memory.rival_since = None;
        return None;
    };
    let since = now.since(*memory.rival_since.get_or_insert(now));
    let place = &group.members[*position].endpoint;
    let theirs = facts.view.as_ref().map_or(0, |view| view.number);
    (since > cluster.time_to_truth * RIVAL_TRUTHS).then(|| {
        format!(
            "{place} goes on in membership {theirs} by itself, and {} others in {}",
            part.members.len(),
            part.view.number
        )
    })
}

/// Notes on which members what takes the others hangs, and for how long already.
fn note_stuck(round: &Round, memory: &mut Memory, answered: &[Member<'_>]) {
    memory.stuck.retain(|position, _| answered.iter().any(|(member, _)| member == position));
    let Some(read) = &round.linearizable else { return };
    match read.result {
        LinearizableResult::Passed => memory.stuck.clear(),
        LinearizableResult::Hung | LinearizableResult::NoQuorum(_) => {
            if answered.iter().any(|(member, _)| *member == read.member) {
                memory.stuck.entry(read.member).or_insert(read.at);
            }
        }
        LinearizableResult::Unmeasured(_) => {}
    }
}

/// Every member that says it may commit lets what takes the others hang.
fn stuck(cluster: &Cluster, memory: &Memory, part: Option<&Part<'_>>, now: Mono) -> Option<String> {
    let part = part?;
    let since = part.members.iter().map(|(position, _)| memory.stuck.get(position).copied());
    let since = since.collect::<Option<Vec<_>>>()?.into_iter().min()?;
    let hanging = now.since(since);
    (hanging > cluster.time_to_truth).then(|| {
        let n = part.members.len();
        format!("{n} members answer, and what takes the others has hung for {}", show_span(hanging))
    })
}

/// A part that holds a majority of a membership that has shrunk: it is no old claim of members
/// whose others are gone, and a read can prove it.
fn shrunk(part: Option<&Part<'_>>) -> bool {
    part.is_some_and(|part| 2 * part.members.len() > part.view.size)
}

/// There is a quorum: with how much to spare, does it take writes, and has it caught up?
fn committing(
    memory: &mut Memory,
    part: &Part<'_>,
    majority: usize,
    evidence: &Evidence,
    absent: &Absent,
) -> (Standing, String) {
    let Part { view, members } = part;
    if !members.iter().any(|(_, facts)| facts.ready) {
        let states: BTreeSet<&str> = members.iter().map(|(_, facts)| facts.state.as_str()).collect();
        let states = states.into_iter().collect::<Vec<_>>().join(", ");
        return (Standing::Recovering, format!("no member takes statements yet ({states})"));
    }
    if let Some(catch_up) = memory.catching_up {
        let target = match catch_up {
            CatchUp::To(count) => count,
            CatchUp::ToBeSeen => members.iter().map(|(_, facts)| facts.committed).max().unwrap_or(0),
        };
        memory.catching_up = Some(CatchUp::To(target));
        let there = members.iter().filter(|(_, facts)| has_caught_up(facts, target)).count();
        if there < majority.min(members.len()) {
            return (
                Standing::Recovering,
                format!("quorum is back; {there} members have all {target} transactions"),
            );
        }
        memory.catching_up = None;
    }
    let writers: Vec<&ComponentFacts> = members
        .iter()
        .map(|(_, facts)| *facts)
        .filter(|facts| facts.ready && facts.primary.as_ref().is_none_or(|primary| *primary == facts.member))
        .collect();
    if !writers.is_empty() && writers.iter().all(|facts| facts.read_only) {
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
    let others = absent.words();
    match evidence.margin {
        1.. => (Standing::Quorum, words),
        _ if others.is_empty() => (Standing::Degraded, format!("{words}; none can be spared")),
        _ => (Standing::Degraded, format!("{words}; none can be spared ({others})")),
    }
}

fn has_caught_up(facts: &ComponentFacts, target: u64) -> bool {
    facts.synced && facts.committed >= target
}

/// Somebody answers, and no majority is in one membership that may commit.
fn outside(
    cluster: &Cluster,
    memory: &mut Memory,
    votes: usize,
    answered: &[Member<'_>],
    voters: usize,
    absent: &Absent,
    now: Mono,
) -> (Standing, String) {
    let since = memory.leaderless_for(now);
    let others = match absent.words() {
        words if words.is_empty() => String::new(),
        words => format!(" ({words})"),
    };
    let reached = answered.len();
    let words = match votes {
        0 => {
            let states: BTreeSet<&str> = answered.iter().map(|(_, facts)| facts.state.as_str()).collect();
            let states = states.into_iter().collect::<Vec<_>>().join(", ");
            format!(
                "{reached} of {voters} voters answer, in no membership that may commit ({states}){others}"
            )
        }
        n => format!("only {n} of {voters} voters are in one membership{others}"),
    };
    match (since <= cluster.time_to_truth, votes) {
        (true, _) => (Standing::Electing, format!("{words}, for {}", show_span(since))),
        (false, 0) => (Standing::NoQuorum, words),
        // By its own word it commits, and nothing has proved that; others may be out of our sight.
        (false, _) => (Standing::Unknown, words),
    }
}

/// How each region stands in a group that goes on.
fn regions(
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    part: &Part<'_>,
    (verdict, reason): (Standing, &str),
    now: Mono,
) -> BTreeMap<RegionId, (Standing, String)> {
    let mut regions = BTreeMap::new();
    for (region, local) in group.by_region() {
        let facts = |position: &usize| match &round.views[*position] {
            NodeView::Answered(Facts::Component(facts)) => Some(facts),
            _ => None,
        };
        let inside = local.iter().filter(|position| part.holds(**position)).filter_map(facts);
        // The one that is furthest speaks for its region.
        let best = inside.max_by_key(|facts| (facts.ready, facts.synced, facts.committed));
        let standing = if let Some(best) = best {
            let was_out =
                memory.cut_off.remove(&region).is_some_and(|since| now.since(since) > cluster.time_to_truth);
            if was_out {
                let target = part.members.iter().map(|(_, facts)| facts.committed).max();
                memory.rejoining.insert(region, target.map_or(CatchUp::ToBeSeen, CatchUp::To));
            }
            within(memory, region, best, (verdict, reason))
        } else if local.iter().any(|position| facts(position).is_some_and(|facts| facts.view.is_none())) {
            let words = format!("its members are not in membership {}", part.view.number);
            memory.out_of_group(region, &words, cluster.time_to_truth, now)
        } else if local.iter().any(|position| facts(position).is_some()) {
            (Standing::Unknown, "its members answer for another membership; the group goes on".to_owned())
        } else {
            out_of_sight(local.iter().map(|position| &round.views[*position]))
        };
        regions.insert(region, standing);
    }
    regions
}

/// A region's member is in the membership that counts: does it serve, and has it caught up?
fn within(
    memory: &mut Memory,
    region: RegionId,
    facts: &ComponentFacts,
    (verdict, reason): (Standing, &str),
) -> (Standing, String) {
    if !facts.ready {
        return (Standing::Recovering, format!("its member takes no statements yet ({})", facts.state));
    }
    if let Some(catch_up) = memory.rejoining.get(&region) {
        let target = match *catch_up {
            CatchUp::To(count) => count,
            CatchUp::ToBeSeen => facts.committed,
        };
        if !has_caught_up(facts, target) {
            let ComponentFacts { state, committed, .. } = facts;
            return (
                Standing::Recovering,
                format!("back in the group ({state}); {committed} of {target} transactions"),
            );
        }
        memory.rejoining.remove(&region);
    }
    (verdict, reason.to_owned())
}

fn lag_max(answered: &[Member<'_>]) -> Option<u64> {
    let end = answered.iter().map(|(_, facts)| facts.committed).max()?;
    answered.iter().map(|(_, facts)| end - facts.committed + facts.queue).max()
}

/// The member that takes writes, or the membership where all do.
fn leader_words(group: &Group, part: &Part<'_>) -> String {
    let primary = part.members.iter().find_map(|(_, facts)| facts.primary.clone());
    let Some(primary) = primary else { return format!("membership {}", part.view.number) };
    match part.members.iter().find(|(_, facts)| facts.member == primary) {
        Some((position, _)) => group.members[*position].endpoint.to_string(),
        None => primary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::GroupId;
    use crate::cluster::bench::{self, SECOND};
    use crate::cluster::{Linearizable, judge};
    use crate::config::{ClusterKind, Endpoint, GaleraOptions, HostPort};

    struct Bench {
        cluster: Cluster,
        group: Group,
        memory: Memory,
        now: Mono,
        read: Option<(usize, LinearizableResult)>,
    }

    impl Bench {
        fn new(regions: &[u16], inside: bool, arbitrators: usize) -> Self {
            let members = regions.iter().enumerate().map(|(n, region)| crate::config::Member {
                region: RegionId(*region),
                endpoint: Endpoint::Port(HostPort { host: format!("m{n}"), port: 3306 }),
            });
            let options = GaleraOptions { arbitrators, ..GaleraOptions::default() };
            Self {
                cluster: bench::cluster(ClusterKind::Galera(options)),
                group: bench::group(members, inside),
                memory: Memory::default(),
                now: Mono(100 * SECOND),
                read: None,
            }
        }

        fn views(&mut self, views: Vec<NodeView>) -> Judgement {
            self.now = self.now + SECOND;
            let linearizable =
                self.read.clone().map(|(member, result)| Linearizable { at: self.now, member, result });
            let round = Round { group: GroupId(0), views, linearizable, took: SECOND };
            judge(&self.cluster, &self.group, &round, &mut self.memory, self.now)
        }

        /// One round; each letter is a member: a digit is in a membership of so many that may
        /// commit, `o` still in the old one with all, `j`oining, `c`ut off, `x` refused, `-` silent,
        /// `?` denied.
        fn round(&mut self, states: &str) -> Judgement {
            let all = self.group.members.len() + self.cluster.kind.arbitrators();
            let views = states.chars().enumerate().map(|(n, state)| {
                let view = |number, size| Some(ComponentView { number, name: String::new(), size });
                let facts = ComponentFacts {
                    cluster: "ours".to_owned(),
                    member: n.to_string(),
                    ready: !matches!(state, 'c' | 'j'),
                    synced: !matches!(state, 'c' | 'j'),
                    state: if state == 'j' { "Joining" } else { "Synced" }.to_owned(),
                    committed: 50,
                    ..ComponentFacts::default()
                };
                let with =
                    |view| NodeView::Answered(Facts::Component(ComponentFacts { view, ..facts.clone() }));
                match state {
                    'x' => NodeView::Refused("connection refused".to_owned()),
                    '-' => NodeView::Silent("no answer".to_owned()),
                    '?' => NodeView::Denied("access denied".to_owned()),
                    'c' => with(None),
                    'o' => with(view(7, all)),
                    'j' => with(view(8, all)),
                    size => with(view(8, size.to_digit(10).unwrap() as usize)),
                }
            });
            let views = views.collect();
            self.views(views)
        }

        /// The verdict once every time that matters is over.
        fn settled(&mut self, states: &str) -> Standing {
            for _ in 0..11 {
                self.round(states);
            }
            self.round(states).verdict
        }
    }

    fn well(n: usize) -> Bench {
        let mut bench = Bench::new(&vec![0; n], true, 0);
        assert_eq!(bench.settled(&n.to_string().repeat(n)), Standing::Quorum);
        bench
    }

    #[test]
    fn the_truth_of_three_and_five() {
        // Every combination of in the one membership, cut off, refusing, silent and denying.
        for n in [3, 5] {
            for code in 0..5_usize.pow(n) {
                let states: Vec<usize> = (0..n).map(|k| code / 5_usize.pow(k) % 5).collect();
                let n = n as usize;
                let count = |which| states.iter().filter(|state| **state == which).count();
                let (inside, cut, refused) = (count(0), count(1), count(2));
                // A part that lost its majority would not be one: such a state does not exist, and
                // what is out of sight may be part of it.
                let size = n - cut - refused;
                let letters: String = states
                    .iter()
                    .map(|state| ['i', 'c', 'x', '-', '?'][*state])
                    .map(|c| if c == 'i' { char::from_digit(size as u32, 10).unwrap() } else { c })
                    .collect();
                let majority = n / 2 + 1;
                if inside > 0 && size < majority {
                    continue;
                }
                let verdict = well(n).settled(&letters);
                let expected: &[Standing] = match () {
                    () if inside > majority => &[Standing::Quorum],
                    () if inside == majority => &[Standing::Degraded],
                    () if refused >= majority => &[Standing::NoQuorum],
                    // Some go on, and too few of them are in sight to prove it.
                    () if inside > 0 => &[Standing::Unknown],
                    () if cut > 0 => &[Standing::NoQuorum],
                    () => &[Standing::Unreachable, Standing::Unknown],
                };
                assert!(expected.contains(&verdict), "{letters}: {verdict:?}, not {expected:?}");
            }
        }
    }

    #[test]
    fn an_old_claim_is_not_counted_and_dies() {
        // Right after a partition: the one that is cut off goes on in the old membership.
        let mut bench = well(3);
        assert_eq!(bench.round("o22").verdict, Standing::Degraded);
        // Alone it is no quorum, nor a loss yet; then it finds out.
        let mut bench = well(3);
        assert_eq!(bench.round("o--").verdict, Standing::Electing);
        assert_eq!(bench.round("c--").verdict, Standing::Electing);
        assert_eq!(bench.settled("c--"), Standing::NoQuorum);
    }

    #[test]
    fn two_parts_that_both_go_on_are_a_split_brain() {
        let mut bench = well(3);
        assert_ne!(bench.round("o22").verdict, Standing::SplitBrain);
        assert_eq!(bench.settled("o22"), Standing::SplitBrain);
        // Two that were each told to go on alone, with the same number.
        assert_eq!(well(3).round("11c").verdict, Standing::SplitBrain);
    }

    #[test]
    fn a_membership_that_shrunk_in_good_order_is_proved_by_a_read() {
        let mut bench = well(3);
        bench.read = Some((0, LinearizableResult::Passed));
        assert_eq!(bench.settled("1xx"), Standing::Degraded);
        // Without the read nothing is known: not lost, as a claim of the old membership would be.
        let mut bench = well(3);
        assert_eq!(bench.settled("1xx"), Standing::Unknown);
        let mut bench = well(3);
        assert_eq!(bench.settled("oxx"), Standing::NoQuorum);
    }

    #[test]
    fn members_that_answer_while_what_takes_the_others_hangs_have_no_quorum() {
        let mut bench = well(3);
        bench.read = Some((0, LinearizableResult::Hung));
        assert_eq!(bench.settled("3--"), Standing::NoQuorum);
        // On one of them it may hang for reasons of its own.
        let mut bench = well(3);
        bench.read = Some((0, LinearizableResult::Hung));
        assert_eq!(bench.settled("333"), Standing::Quorum);
        for member in 1..3 {
            bench.read = Some((member, LinearizableResult::Hung));
            bench.round("333");
        }
        assert_eq!(bench.settled("333"), Standing::NoQuorum);
        bench.read = Some((1, LinearizableResult::Passed));
        assert_eq!(bench.settled("333"), Standing::Quorum);
    }

    #[test]
    fn arbitrators_vote_and_cannot_be_asked() {
        // Two members and an arbitrator.
        let mut bench = Bench::new(&[0, 0], true, 1);
        assert_eq!(bench.settled("33"), Standing::Quorum);
        assert_eq!(bench.settled("2x"), Standing::Degraded);
        assert_eq!(bench.settled("2c"), Standing::Degraded);
        // Silent, it may itself be the second of the two.
        assert_eq!(bench.settled("2-"), Standing::Unknown);
        assert_eq!(bench.settled("3-"), Standing::Degraded);
        assert_eq!(bench.settled("cx"), Standing::NoQuorum);
        // The arbitrator is gone.
        assert_eq!(bench.settled("22"), Standing::Degraded);
    }

    #[test]
    fn catches_up_before_it_counts() {
        let mut bench = well(3);
        assert_eq!(bench.settled("ccc"), Standing::NoQuorum);
        let facts = |n: u64, committed, synced| {
            NodeView::Answered(Facts::Component(ComponentFacts {
                member: n.to_string(),
                view: Some(ComponentView { number: 9, name: String::new(), size: 3 }),
                ready: true,
                synced,
                committed,
                ..ComponentFacts::default()
            }))
        };
        let mut round = |second: (u64, bool)| {
            bench.views(vec![facts(0, 90, true), facts(1, second.0, second.1), facts(2, 50, true)]).verdict
        };
        assert_eq!(round((50, true)), Standing::Recovering);
        assert_eq!(round((90, false)), Standing::Recovering);
        assert_eq!(round((90, true)), Standing::Quorum);
        assert_eq!(round((50, true)), Standing::Quorum, "lag alone is not a recovery");
        assert_eq!(well(3).settled("jjx"), Standing::Recovering);
    }

    #[test]
    fn only_the_region_that_is_cut_off_is_lost() {
        let mut bench = Bench::new(&[0, 1, 2], false, 0);
        let standings = |judgement: &Judgement| {
            judgement.regions.values().map(|(standing, _)| *standing).collect::<Vec<_>>()
        };
        assert_eq!(standings(&bench.round("333")), [Standing::Quorum; 3]);
        // Still in the old membership: not yet known.
        assert_eq!(standings(&bench.round("o22"))[0], Standing::Unknown);
        assert_eq!(standings(&bench.round("c22"))[0], Standing::Electing);
        bench.settled("c22");
        let cut = bench.round("c22");
        assert_eq!(standings(&cut), [Standing::NoQuorum, Standing::Degraded, Standing::Degraded]);
        // Back, and behind.
        assert_eq!(standings(&bench.round("j33"))[0], Standing::Recovering);
        assert_eq!(standings(&bench.round("333")), [Standing::Quorum; 3]);
        // A dead process is not a partition; silence is not evidence.
        assert_eq!(standings(&bench.round("x22"))[0], Standing::Degraded);
        assert_eq!(standings(&bench.round("-22"))[0], Standing::Unknown);
        // A minority that is cut off says nothing of the others, which are silent.
        bench.settled("c--");
        let judgement = bench.round("c--");
        assert_eq!(judgement.verdict, Standing::NoQuorum);
        assert_eq!(standings(&judgement), [Standing::NoQuorum, Standing::Unknown, Standing::Unknown]);
    }

    #[test]
    fn a_group_that_refuses_writes_is_read_only() {
        let mut bench = well(3);
        let facts = |n: u64, read_only| {
            NodeView::Answered(Facts::Component(ComponentFacts {
                member: n.to_string(),
                view: Some(ComponentView { number: 9, name: String::new(), size: 3 }),
                ready: true,
                synced: true,
                primary: Some("0".to_owned()),
                read_only,
                ..ComponentFacts::default()
            }))
        };
        let mut round =
            |primary| bench.views(vec![facts(0, primary), facts(1, true), facts(2, true)]).verdict;
        assert_eq!(round(false), Standing::Quorum);
        assert_eq!(round(true), Standing::ReadOnly);
    }

    #[test]
    fn words_say_what_was_seen() {
        let mut bench = well(3);
        assert_eq!(bench.round("333").reason, "3 of 3 voters are in membership 8");
        assert_eq!(
            bench.round("22x").reason,
            "2 of 3 voters are in membership 8; none can be spared (1 refused)"
        );
        bench.settled("c--");
        assert_eq!(
            bench.round("c--").reason,
            "1 of 3 voters answer, in no membership that may commit (Synced) (2 silent)"
        );
        assert_eq!(bench.round("xx-").reason, "2 of 3 voters refuse connections");
        let mut bench = Bench::new(&[0, 0, 0], true, 0);
        assert!(bench.round("xxx").reason.contains("is the address right?"));
    }
}
