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
    /// Through which members in turn, and how it ends.
    write: Option<(&'static [usize], LinearizableResult)>,
    turn: usize,
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
            turn: 0,
        }
    }

    /// One round. A letter is a member: those with the same one of `A` and `B` see each other;
    /// `a` sees all and is seen by none; `x` refused, `-` silent, `?` denied.
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
        let write = self.write.clone();
        self.turn += 1;
        let linearizable = write.map(|(members, result)| {
            let member = members[self.turn % members.len()];
            Linearizable { at: self.now, member, result }
        });
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
fn a_confirmed_write_proves_a_quorum_and_one_that_goes_on_failing_disproves_it() {
    for states in ["A--", "AB-", "A?-", "Axx"] {
        let mut bench = Bench::new(3, true);
        bench.write = Some((&[0], LinearizableResult::Passed));
        assert_eq!(bench.settled(states).verdict, Standing::Degraded, "{states}");
    }
    for result in [LinearizableResult::Hung, LinearizableResult::NoQuorum("refused".into())] {
        // Denied through one of them: what was held against that one is taken back.
        let mut bench = Bench::new(3, true);
        bench.write = Some((&[0, 1, 2], result.clone()));
        (0..6).for_each(|_| drop(bench.round("AAA")));
        bench.write = Some((&[0], LinearizableResult::Unmeasured("denied".into())));
        bench.round("AAA");
        bench.write = Some((&[1, 2], result.clone()));
        assert_ne!(bench.settled("AAA").verdict, Standing::NoQuorum);
        let mut bench = Bench::new(3, true);
        // Through one of three it may fail for reasons of that one, which can spare no other.
        bench.write = Some((&[0], result.clone()));
        assert_eq!(bench.settled("AAA").verdict, Standing::Degraded);
        let mut bench = Bench::new(3, true);
        bench.write = Some((&[0, 1, 2], result.clone()));
        for _ in 0..5 {
            assert_eq!(bench.round("AAA").verdict, Standing::Quorum, "not at once");
        }
        // Another member confirms: the time starts anew.
        bench.write = Some((&[1], LinearizableResult::Passed));
        bench.round("AAA");
        bench.write = Some((&[0, 1, 2], result.clone()));
        for _ in 0..5 {
            assert_ne!(bench.round("AAA").verdict, Standing::NoQuorum);
        }
        let lost = bench.round("AAA");
        assert_eq!((lost.verdict, lost.evidence.margin), (Standing::NoQuorum, -1));
        // A member that claims to see a majority, and at which a write fails.
        assert_eq!(bench.settled("a--").verdict, Standing::NoQuorum);
        // It hangs at one that does not even answer locally: that says nothing.
        let mut bench = Bench::new(3, true);
        bench.write = Some((&[2], result));
        assert_eq!(bench.settled("AA-").verdict, Standing::Degraded);
        assert_eq!(bench.settled("a--").verdict, Standing::Unknown);
    }
    let mut bench = Bench::new(3, true);
    bench.write = Some((&[0], LinearizableResult::Unmeasured("no such queue".into())));
    assert_eq!(bench.settled("AAA").verdict, Standing::Quorum);
}

/// Two writes that hung before and after a silence are no hang that lasted.
#[test]
fn what_hung_before_a_silence_counts_no_more() {
    let mut bench = Bench::new(3, true);
    bench.write = Some((&[0, 1, 2], LinearizableResult::Hung));
    (0..3).for_each(|_| drop(bench.round("AAA")));
    bench.write = None;
    bench.settled("---");
    bench.write = Some((&[0, 1, 2], LinearizableResult::Hung));
    for _ in 0..3 {
        let judgement = bench.round("AAA");
        assert_ne!(judgement.verdict, Standing::NoQuorum, "{}", judgement.reason);
    }
    assert_eq!(bench.settled("AAA").verdict, Standing::NoQuorum);
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
