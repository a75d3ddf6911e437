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

use std::collections::{BTreeMap, BTreeSet};

use super::absent::{Absent, first_complaint, out_of_sight};
use super::kin::of_one_cluster;
use super::raft::{nobody_answers, unheard};
use super::{Evidence, Facts, Judgement, LinearizableResult, Memory, NodeView, PeerFacts, Round, Standing};
use crate::base::{Mono, RegionId, show_span};
use crate::config::{Cluster, Group, SilentMeans};

type Peer<'a> = (usize, &'a PeerFacts);

pub(super) fn judge(
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    now: Mono,
) -> Judgement {
    let answered = answered(round);
    let members = group.members.len();
    let majority = members / 2 + 1;
    let absent = Absent::count(&round.views);
    let side = biggest_side(&answered);
    let mut evidence = Evidence {
        voters: members,
        reached: answered.len(),
        agreeing: side.len(),
        margin: side.len() as i64 - majority as i64,
        ..Evidence::default()
    };
    let proven = answered.iter().any(|(_, facts)| facts.live.is_some_and(|live| live > 0));
    if proven {
        // Fewer than there once were, and they go on: how many more can go is not known from here.
        evidence.margin = evidence.margin.max(0);
    }

    let read = round.linearizable.as_ref().filter(|read| now.since(read.at) <= cluster.schedule.interval);
    let passed = read.is_some_and(|read| read.result == LinearizableResult::Passed);
    // A write through a member that does not answer local questions says nothing.
    let failing = read.filter(|read| answered.iter().any(|(position, _)| *position == read.member));
    let failing = failing.and_then(|read| match &read.result {
        LinearizableResult::NoQuorum(why) => Some(why.clone()),
        LinearizableResult::Hung => {
            Some(format!("a write through {} hangs", group.members[read.member].endpoint))
        }
        _ => None,
    });
    let agreed = side.len() >= majority || proven;
    let sees_majority = answered.iter().any(|(_, facts)| facts.sees.len() >= majority);

    let (verdict, reason) = if passed || agreed {
        let disproved = match failing {
            Some(why) => Some((memory.leaderless_for(now), why)),
            None => {
                memory.leaderless_since = None;
                None
            }
        };
        match disproved {
            Some((since, why)) if since > cluster.time_to_truth => {
                evidence.margin = -1;
                let words = if proven { "nodes are live" } else { "members see each other" };
                (Standing::NoQuorum, format!("{} of {members} {words}, but {why}", side.len()))
            }
            _ => {
                memory.catching_up = None;
                if !agreed {
                    // Proven by the write alone: how many more may be lost is not known from here.
                    evidence.margin = 0;
                }
                let others = absent.words();
                let others = if others.is_empty() { others } else { format!("; {others}") };
                let words = match agreed {
                    true if proven => format!("{} of {members} nodes are live{others}", side.len()),
                    true => format!("{} of {members} members see each other{others}", side.len()),
                    false => format!("a write was confirmed by a quorum{others}"),
                };
                (if evidence.margin > 0 { Standing::Quorum } else { Standing::Degraded }, words)
            }
        }
    } else if absent.refused >= majority {
        let words = format!("{} of {members} members refuse connections", absent.refused);
        match memory.seen_well {
            true => (Standing::NoQuorum, words),
            false => (Standing::Unknown, format!("{words}; never seen otherwise: is the address right?")),
        }
    } else if answered.is_empty() {
        memory.leaderless_since = None;
        nobody_answers(&absent, first_complaint(&round.views))
    } else if failing.is_some() || !sees_majority {
        let since = memory.leaderless_for(now);
        let why = failing.map_or(String::new(), |why| format!("; {why}"));
        let words = format!("{} of {members} members answer, and see no majority{why}", answered.len());
        match since <= cluster.time_to_truth {
            true => (Standing::Electing, format!("{words}, for {}", show_span(since))),
            false => (Standing::NoQuorum, words),
        }
    } else {
        let words = "members that answer see a majority, whose others do not answer us";
        (Standing::Unknown, format!("{words} ({})", absent.words()))
    };

    let regions = match verdict {
        Standing::Quorum | Standing::Degraded if group.inside.is_none() && agreed => {
            regions(cluster, group, round, memory, &side, (verdict, &reason), now)
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

/// Members of the cluster that most answers come from.
fn answered(round: &Round) -> Vec<Peer<'_>> {
    let mut answers: Vec<Peer<'_>> = Vec::new();
    for (position, view) in round.views.iter().enumerate() {
        if let NodeView::Answered(Facts::Peer(facts)) = view {
            answers.push((position, facts));
        }
    }
    of_one_cluster(&mut answers, |(_, facts)| &facts.cluster);
    answers
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
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    side: &BTreeSet<usize>,
    (verdict, reason): (Standing, &str),
    now: Mono,
) -> BTreeMap<RegionId, (Standing, String)> {
    let mut regions = BTreeMap::new();
    for (region, local) in group.by_region() {
        let views: Vec<&NodeView> = local.iter().map(|position| &round.views[*position]).collect();
        let standing = if local.iter().any(|position| side.contains(position)) {
            memory.cut_off.remove(&region);
            (verdict, reason.to_owned())
        } else if views.iter().any(|view| matches!(view, NodeView::Answered(_))) {
            let words = "its members are cut off from the majority";
            memory.out_of_group(region, words, cluster.time_to_truth, now)
        } else {
            out_of_sight(views.iter().copied())
        };
        regions.insert(region, standing);
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::GroupId;
    use crate::cluster::bench::{self, SECOND};
    use crate::cluster::{Linearizable, judge};
    use crate::config::{ClusterKind, Endpoint, Member, RabbitmqOptions};

    struct Bench {
        cluster: Cluster,
        group: Group,
        memory: Memory,
        now: Mono,
        write: Option<(usize, LinearizableResult)>,
    }

    impl Bench {
        fn new(members: u16, inside: bool) -> Self {
            let members = (0..members).map(|n| Member {
                region: RegionId(n),
                endpoint: Endpoint::Http(format!("http://m{n}:15672").parse().unwrap()),
            });
            Self {
                cluster: bench::cluster(ClusterKind::Rabbitmq(RabbitmqOptions::default())),
                group: bench::group(members, inside),
                memory: Memory::well(),
                now: Mono(100 * SECOND),
                write: None,
            }
        }

        /// One round. A letter is a member: those with the same one of `A` and `B` see each other;
        /// `a` sees all and is seen by none; `l` has proven to be live, `d` has not; `x` refused,
        /// `-` silent, `?` denied.
        fn round(&mut self, states: &str) -> Judgement {
            self.now = self.now + SECOND;
            let views = states.chars().map(|state| match state {
                'x' => NodeView::Refused("refused".into()),
                '?' => NodeView::Denied("denied".into()),
                '-' => NodeView::Silent("silent".into()),
                _ => NodeView::Unmeasured("replaced below".into()),
            });
            let mut views: Vec<NodeView> = views.collect();
            for (n, state) in states.chars().enumerate().filter(|(_, state)| "ABa".contains(*state)) {
                let sees = states.chars().enumerate().filter(|(other, letter)| match state {
                    'a' => true,
                    _ => *other == n || *letter == state,
                });
                views[n] = NodeView::Answered(Facts::Peer(PeerFacts {
                    member: n.to_string(),
                    sees: sees.map(|(other, _)| other.to_string()).collect(),
                    ..PeerFacts::default()
                }));
            }
            let live = states.matches('l').count() as u64;
            for (n, state) in states.chars().enumerate().filter(|(_, state)| "ld".contains(*state)) {
                views[n] = NodeView::Answered(Facts::Peer(PeerFacts {
                    member: n.to_string(),
                    live: Some(if state == 'l' { live } else { 0 }),
                    ..PeerFacts::default()
                }));
            }
            let write = self.write.clone();
            let linearizable = write.map(|(member, result)| Linearizable { at: self.now, member, result });
            let round = Round { group: GroupId(0), views, linearizable, took: SECOND };
            judge(&self.cluster, &self.group, &round, &mut self.memory, self.now)
        }

        fn settled(&mut self, states: &str) -> Judgement {
            for _ in 0..7 {
                self.round(states);
            }
            self.round(states)
        }
    }

    #[test]
    fn every_combination_of_members_that_prove_to_be_live() {
        let letters = ['l', 'd', 'x', '-', '?'];
        for n in [3usize, 5] {
            let majority = n / 2 + 1;
            for code in 0..letters.len().pow(n as u32) {
                let states: String = (0..n as u32)
                    .map(|place| letters[code / letters.len().pow(place) % letters.len()])
                    .collect();
                let count = |wanted: char| states.matches(wanted).count();
                let judged = Bench::new(n as u16, false).settled(&states);
                let expected = match count('l') {
                    live if live > majority => Standing::Quorum,
                    1.. => Standing::Degraded,
                    _ if count('x') >= majority => Standing::NoQuorum,
                    _ if count('d') > 0 => Standing::NoQuorum,
                    _ if count('?') > 0 => Standing::Unknown,
                    _ => Standing::Unreachable,
                };
                assert_eq!(judged.verdict, expected, "{states}: {}", judged.reason);
                // Those that are not live are cut off from a group that goes on.
                for (n, state) in states.chars().enumerate().filter(|_| count('l') > 0) {
                    let standing = judged.regions[&RegionId(n as u16)].0;
                    match state {
                        'l' => assert_eq!(standing, expected, "{states}"),
                        'd' => assert_eq!(standing, Standing::NoQuorum, "{states}"),
                        'x' => assert_eq!(standing, Standing::Degraded, "{states}"),
                        _ => assert_eq!(standing, Standing::Unknown, "{states}"),
                    }
                }
            }
        }
    }

    #[test]
    fn every_combination_of_three_and_five() {
        let letters = ['A', 'B', 'a', 'x', '-', '?'];
        for n in [3usize, 5] {
            let majority = n / 2 + 1;
            for code in 0..letters.len().pow(n as u32) {
                let states: String = (0..n as u32)
                    .map(|place| letters[code / letters.len().pow(place) % letters.len()])
                    .collect();
                let count = |wanted: &str| states.chars().filter(|state| wanted.contains(*state)).count();
                let side = count("A").max(count("B"));
                let stale = count("a");
                if stale > 1 {
                    // They see one another: a side of their own.
                    continue;
                }
                let verdict = Bench::new(n as u16, true).settled(&states).verdict;
                let expected = match side {
                    side if side > majority => Standing::Quorum,
                    side if side == majority => Standing::Degraded,
                    _ if count("x") >= majority => Standing::NoQuorum,
                    0 if stale == 0 && count("?") > 0 => Standing::Unknown,
                    0 if stale == 0 => Standing::Unreachable,
                    // One member's word of a majority that we do not see.
                    _ if stale == 1 => Standing::Unknown,
                    _ => Standing::NoQuorum,
                };
                assert_eq!(verdict, expected, "{states}");
            }
        }
    }

    #[test]
    fn a_confirmed_write_proves_a_quorum_and_one_that_goes_on_failing_disproves_it() {
        for states in ["A--", "AB-", "A?-", "Axx"] {
            let mut bench = Bench::new(3, true);
            bench.write = Some((0, LinearizableResult::Passed));
            assert_eq!(bench.settled(states).verdict, Standing::Degraded, "{states}");
        }
        for result in [LinearizableResult::Hung, LinearizableResult::NoQuorum("refused".into())] {
            let mut bench = Bench::new(3, true);
            bench.write = Some((0, result.clone()));
            for _ in 0..5 {
                assert_eq!(bench.round("AAA").verdict, Standing::Quorum, "not at once");
            }
            // Another member confirms: the time starts anew.
            bench.write = Some((1, LinearizableResult::Passed));
            bench.round("AAA");
            bench.write = Some((0, result.clone()));
            for _ in 0..6 {
                assert_eq!(bench.round("AAA").verdict, Standing::Quorum);
            }
            let lost = bench.round("AAA");
            assert_eq!((lost.verdict, lost.evidence.margin), (Standing::NoQuorum, -1));
            // A member that claims to see a majority, and at which a write fails.
            assert_eq!(bench.settled("a--").verdict, Standing::NoQuorum);
            // It hangs at one that does not even answer locally: that says nothing.
            bench.write = Some((2, result));
            assert_eq!(bench.settled("AA-").verdict, Standing::Degraded);
            assert_eq!(bench.settled("a--").verdict, Standing::Unknown);
        }
        let mut bench = Bench::new(3, true);
        bench.write = Some((0, LinearizableResult::Unmeasured("no such queue".into())));
        assert_eq!(bench.settled("AAA").verdict, Standing::Quorum);
    }

    #[test]
    fn only_the_region_that_is_cut_off_is_lost() {
        use Standing::{Degraded, Electing, NoQuorum, Quorum, Unknown};
        for (states, expected) in [
            ("AAA", [Quorum, Quorum, Quorum]),
            ("AAB", [Degraded, Degraded, NoQuorum]),
            ("AAa", [Degraded, Degraded, NoQuorum]),
            ("AAx", [Degraded, Degraded, Degraded]),
            ("AA-", [Degraded, Degraded, Unknown]),
            ("AA?", [Degraded, Degraded, Unknown]),
            ("A--", [NoQuorum, Unknown, Unknown]),
            ("AB-", [NoQuorum, NoQuorum, NoQuorum]),
            ("Axx", [NoQuorum, NoQuorum, NoQuorum]),
        ] {
            let regions = Bench::new(3, false).settled(states).regions;
            let standings: Vec<Standing> = regions.values().map(|(standing, _)| *standing).collect();
            assert_eq!(standings, expected, "{states}");
        }
        let mut bench = Bench::new(3, false);
        assert_eq!(bench.round("AAB").regions[&RegionId(2)].0, Electing, "for as long as it may take");
    }

    #[test]
    fn what_was_never_seen_well_is_mistyped() {
        let mut bench = Bench::new(3, true);
        bench.memory = Memory::default();
        assert_eq!(bench.settled("xxx").verdict, Standing::Unknown);
    }
}
