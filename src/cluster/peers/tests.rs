use super::*;
use crate::base::{GroupId, Mono};
use crate::cluster::bench::{self, SECOND};
use crate::cluster::{Linearizable, Memory, Round, judge};
use crate::config::{Cluster, ClusterKind, Endpoint, Group, Member, RabbitmqOptions};

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
            let states: String =
                (0..n as u32).map(|place| letters[code / letters.len().pow(place) % letters.len()]).collect();
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
            let states: String =
                (0..n as u32).map(|place| letters[code / letters.len().pow(place) % letters.len()]).collect();
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
