use super::region::ROLES;
use super::*;
use crate::base::{GroupId, Mono};
use crate::cluster::bench::{self, SECOND};
use crate::cluster::ring::Ranges;
use crate::cluster::{
    HostId, Linearizable, LinearizableResult, Memory, NodeView, Replication, Ring, RingHost, Round, judge,
};
use crate::config::{Cluster, ClusterKind, Endpoint, Group, HostPort, Keyspace, Level, LostMax, Member};

/// Nodes of a cluster, each a member, each with one token.
struct Bench {
    cluster: Cluster,
    group: Group,
    memory: Memory,
    now: Mono,
    ring: Ring,
    read: Option<(usize, LinearizableResult)>,
    beat: i64,
    /// As before 4.1.
    silent_on_beats: bool,
    hints: BTreeMap<HostId, u64>,
}

impl Bench {
    /// So many nodes in each datacenter, each datacenter a region, three replicas in each.
    fn new(sizes: &[u16], level: Level) -> Self {
        let place = |n: u128| Endpoint::Port(HostPort { host: format!("c{n}"), port: 9042 });
        let (mut members, mut hosts, mut n) = (Vec::new(), BTreeMap::new(), 0u128);
        for (region, size) in (0u16..).zip(sizes) {
            for _ in 0..*size {
                members.push(Member { region: RegionId(region), endpoint: place(n) });
                // Neighbours on the ring are in different datacenters.
                let host = RingHost {
                    datacenter: format!("dc{region}"),
                    rack: "r".to_owned(),
                    tokens: vec![(n as i128 * 100) % 299 + n as i128],
                };
                hosts.insert(n, host);
                n += 1;
            }
        }
        let each: BTreeMap<String, u32> = (0..sizes.len()).map(|n| (format!("dc{n}"), 3)).collect();
        let replication = Replication::ByDatacenter(each);
        let keyspaces = [("orders".to_owned(), replication.clone()), (ROLES.to_owned(), replication)];
        let keyspace = Keyspace { level, ..Keyspace::default() };
        let options = CassandraOptions {
            keyspaces: BTreeMap::from([("orders".to_owned(), keyspace)]),
            parts_lost_max: LostMax::Count(0),
            ..CassandraOptions::default()
        };
        let mut bench = Self {
            cluster: bench::cluster(ClusterKind::Cassandra(options)),
            group: bench::group(members, false),
            memory: Memory::default(),
            now: Mono(100 * SECOND),
            ring: Ring { hosts, keyspaces: keyspaces.into() },
            read: None,
            beat: 0,
            silent_on_beats: false,
            hints: BTreeMap::new(),
        };
        let well = "A".repeat(n as usize);
        bench.round(&well);
        bench.round(&well);
        bench
    }

    fn options(&mut self) -> &mut CassandraOptions {
        match &mut self.cluster.kind {
            ClusterKind::Cassandra(options) => options,
            _ => unreachable!(),
        }
    }

    /// One round. Those with one letter hear each other (`A`, `B`, …); `l` is heard by `A` and
    /// locked out, `x` refuses and is dead, `-` is silent and dead, `s` is silent to us and
    /// heard by `A`, `r` refuses us and is heard by `A`, `?` denies us and is heard by `A`.
    fn round(&mut self, states: &str) -> Judgement {
        self.now = self.now + SECOND;
        self.beat += 1;
        let side = |state: char| match state {
            'l' | 's' | 'r' | '?' => 'A',
            state => state,
        };
        let views = states.chars().enumerate().map(|(n, state)| match state {
            'x' | 'r' => NodeView::Refused("refused".into()),
            '-' | 's' => NodeView::Silent("silent".into()),
            '?' => NodeView::Denied("denied".into()),
            'l' => NodeView::Answered(Facts::Replica(Box::new(ReplicaFacts {
                locked_out: Some("Cannot achieve consistency level LOCAL_QUORUM".into()),
                ..ReplicaFacts::default()
            }))),
            _ => {
                let host = n as HostId;
                let beats = states.chars().enumerate().map(|(other, letter)| {
                    let heard = other == n || (side(letter) == state);
                    (other as HostId, (1, if heard { self.beat } else { 0 }))
                });
                NodeView::Answered(Facts::Replica(Box::new(ReplicaFacts {
                    cluster: "orders".into(),
                    host: Some(host),
                    datacenter: self.ring.hosts[&host].datacenter.clone(),
                    ring: Some(self.ring.clone()),
                    beats: (!self.silent_on_beats).then(|| beats.collect()),
                    hints: self.hints.clone(),
                    ..ReplicaFacts::default()
                })))
            }
        });
        let views = views.collect();
        let read = self.read.clone();
        let linearizable = read.map(|(member, result)| Linearizable { at: self.now, member, result });
        let round = Round { group: GroupId(0), views, linearizable, took: SECOND };
        judge(&self.cluster, &self.group, &round, &mut self.memory, self.now)
    }

    /// Long enough for beats to grow old and the time to truth to pass.
    fn settled(&mut self, states: &str) -> Judgement {
        for _ in 0..20 {
            self.round(states);
        }
        self.round(states)
    }

    fn regions(&mut self, states: &str) -> Vec<Standing> {
        self.settled(states).regions.values().map(|(standing, _)| *standing).collect()
    }
}

use Standing::{Degraded, Electing, NoQuorum, Quorum, Recovering, Unknown, Unreachable};

/// One datacenter of three, three replicas: every range is on every node, so that it is all a
/// matter of counting. Every state of every node.
#[test]
fn every_combination_of_three() {
    let letters = ['A', 'B', 'x', '-', 's', 'r', '?'];
    for level in [Level::One, Level::LocalQuorum, Level::Serial, Level::All] {
        let required = match level {
            Level::One => 1,
            Level::All => 3,
            _ => 2,
        };
        for code in 0..letters.len().pow(3) {
            let states: String =
                (0..3u32).map(|place| letters[code / letters.len().pow(place) % letters.len()]).collect();
            let count = |wanted: &str| states.chars().filter(|state| wanted.contains(*state)).count();
            let judged = Bench::new(&[3], level).settled(&states);
            // What the best of those who answer reaches, for sure and at the most.
            let views = [('A', count("A?"), count("sr")), ('B', count("B"), 0)];
            let views = views.into_iter().filter(|(letter, ..)| states.contains(*letter));
            // The members of the side of `B` neither hear nor reach those of `A`.
            let best = views
                .map(|(_, up, doubt)| match (up >= required, up + doubt >= required) {
                    (true, _) if up == required => Degraded,
                    (true, _) => Quorum,
                    (false, true) => Unknown,
                    (false, false) => NoQuorum,
                })
                .min_by_key(|standing| match standing {
                    Quorum => 0,
                    Degraded => 1,
                    Unknown => 2,
                    _ => 3,
                });
            let (refused, denied, silent) = (count("xr"), count("?"), count("-s"));
            let expected = match best {
                Some(best) => best,
                // Nobody tells anything: those that refuse are gone, those that deny are not.
                None if denied + silent < required => NoQuorum,
                None if silent == 3 => Unreachable,
                None if refused == 0 && denied == 0 => Unreachable,
                None => Unknown,
            };
            if best.is_none() && expected != NoQuorum {
                assert!(!judged.verdict.is_measured(), "{level:?} {states}: {judged:?}");
                continue;
            }
            let seen = judged.regions[&RegionId(0)].0;
            assert_eq!(seen, expected, "{level:?} {states}: {}", judged.reason);
            assert_eq!(judged.evidence.margin < 0, matches!(seen, NoQuorum | Unknown), "{states}");
        }
    }
}

/// Five nodes, three replicas: which two are lost matters.
#[test]
fn which_nodes_are_lost_decides_which_ranges_are() {
    for one in 0..5usize {
        for other in 0..one {
            let mut bench = Bench::new(&[5], Level::LocalQuorum);
            let states: String = (0..5).map(|n| if n == one || n == other { 'x' } else { 'A' }).collect();
            let judged = bench.settled(&states);
            let ranges = bench.ring.ranges(&bench.ring.keyspaces["orders"]);
            let has = |range: &Ranges, n: usize| range.hosts.contains(&(n as HostId));
            let lost = ranges.iter().filter(|range| has(range, one) && has(range, other)).count();
            assert!(lost > 0, "of three neighbours among five two always meet");
            assert_eq!(judged.evidence.parts_total, Some(5));
            assert_eq!(judged.evidence.parts_lost, Some(lost as u64), "{states}");
            assert_eq!(judged.verdict, NoQuorum, "{states}");
            // The same, tolerated.
            bench.options().parts_lost_max = LostMax::Percent(60);
            assert_eq!(bench.settled(&states).verdict, Degraded, "{states}");
        }
    }
    // Without 4 of 5, a part of the ring is whole at ONE, and another is not.
    let mut bench = Bench::new(&[5], Level::One);
    let judged = bench.settled("Axxxx");
    assert_eq!(judged.evidence.parts_lost, Some(2));
}

/// The example of the documentation: parted regions go on, and what they write diverges.
#[test]
fn parted_datacenters() {
    for (level, both) in [
        (Level::One, [Quorum, Quorum]),
        (Level::LocalOne, [Quorum, Quorum]),
        (Level::LocalQuorum, [Quorum, Quorum]),
        (Level::LocalSerial, [Quorum, Quorum]),
        // Six replicas, four of which are a majority: neither side has them.
        (Level::Quorum, [NoQuorum, NoQuorum]),
        (Level::Serial, [NoQuorum, NoQuorum]),
        (Level::EachQuorum, [NoQuorum, NoQuorum]),
        (Level::All, [NoQuorum, NoQuorum]),
    ] {
        let mut bench = Bench::new(&[3, 3], level);
        assert_eq!(bench.settled("AAAAAA").evidence.sides, Some(1));
        let judged = bench.settled("AAABBB");
        let regions: Vec<Standing> = judged.regions.values().map(|(standing, _)| *standing).collect();
        assert_eq!(regions, both, "{level:?}");
        assert_eq!(judged.evidence.sides, Some(2));
        if both == [Quorum, Quorum] {
            assert_eq!(judged.verdict, Degraded);
            assert!(judged.reason.contains("do not hear each other"), "{}", judged.reason);
        } else {
            assert_eq!(judged.verdict, NoQuorum);
        }
        assert_eq!(bench.settled("AAAAAA").verdict, if level == Level::All { Degraded } else { Quorum });
    }
    // Of three datacenters one alone has no majority of all.
    let mut bench = Bench::new(&[3, 3, 3], Level::Quorum);
    assert_eq!(bench.regions("AAAAAABBB"), [Quorum, Quorum, NoQuorum]);
}

#[test]
fn regions_by_level() {
    for (level, states, expected) in [
        (Level::LocalQuorum, "AAAAAx", [Quorum, Degraded]),
        (Level::LocalQuorum, "AAAAxx", [Quorum, NoQuorum]),
        (Level::LocalQuorum, "AAAxxx", [Quorum, NoQuorum]),
        // Nobody there tells us anything: they may be well, and parted from both.
        (Level::LocalQuorum, "AAA---", [Quorum, Unknown]),
        (Level::LocalQuorum, "AAAsss", [Quorum, Unknown]),
        // Those who answer there know that the silent ones are gone.
        (Level::LocalQuorum, "AAAA--", [Quorum, NoQuorum]),
        (Level::LocalQuorum, "AAAAss", [Quorum, Unknown]),
        (Level::EachQuorum, "AAAAxx", [NoQuorum, NoQuorum]),
        (Level::EachQuorum, "AAAAAx", [Degraded, Degraded]),
        (Level::Quorum, "AAAAAx", [Quorum, Quorum]),
        (Level::Quorum, "AAAAxx", [Degraded, Degraded]),
        (Level::Quorum, "AAAxxx", [NoQuorum, NoQuorum]),
        (Level::One, "AAAxxx", [Quorum, Degraded]),
        (Level::All, "AAAAAx", [NoQuorum, NoQuorum]),
    ] {
        assert_eq!(Bench::new(&[3, 3], level).regions(states), expected, "{level:?} {states}");
    }
    // Clients everywhere go to the second datacenter.
    let mut bench = Bench::new(&[3, 3], Level::LocalQuorum);
    bench.options().keyspaces.get_mut("orders").unwrap().datacenter = Some("dc1".into());
    assert_eq!(bench.regions("AAAAxx"), [NoQuorum, NoQuorum]);
    assert_eq!(bench.regions("AAABBB"), [NoQuorum, Quorum]);
}

#[test]
fn a_loss_counts_once_it_has_lasted() {
    let mut bench = Bench::new(&[3], Level::LocalQuorum);
    // Those who refuse may be starting anew; the others still have a fresh beat of them.
    let mut seen = Vec::new();
    for _ in 0..20 {
        let judged = bench.round("Axx").verdict;
        if seen.last() != Some(&judged) {
            seen.push(judged);
        }
    }
    assert_eq!(seen, [Unknown, NoQuorum], "the doubt has outlasted the time to truth");
    assert_eq!(bench.round("AAx").verdict, Degraded, "and is over at once");
    let mut bench = Bench::new(&[3], Level::LocalQuorum);
    bench.silent_on_beats = true;
    bench.settled("AAA");
    for _ in 0..6 {
        assert_eq!(bench.round("Axx").verdict, Electing);
    }
    assert_eq!(bench.round("Axx").verdict, NoQuorum);
}

/// Captured from 5.0.4: one node that is left of three calls our password wrong.
#[test]
fn a_login_that_fails_for_want_of_replicas_is_no_denial() {
    let mut bench = Bench::new(&[3], Level::LocalQuorum);
    assert_eq!(bench.settled("lxx").verdict, NoQuorum);
    // Where the roles have one replica, its loss locks us out everywhere and ends nothing else.
    let mut bench = Bench::new(&[3], Level::LocalQuorum);
    bench.ring.keyspaces.insert(ROLES.into(), Replication::Simple(1));
    bench.settled("AAA");
    assert_eq!(bench.settled("llx").verdict, Unknown);
    assert_eq!(bench.settled("lll").verdict, Unknown);
    // With three, two of them are gone from each that says so.
    let mut bench = Bench::new(&[3], Level::LocalQuorum);
    assert_eq!(bench.settled("lll").verdict, NoQuorum);
    let mut bench = Bench::new(&[3], Level::LocalQuorum);
    assert_eq!(bench.settled("AAl").verdict, Quorum, "the others hear it");
    assert_eq!(bench.settled("ABl").verdict, Degraded);
}

#[test]
fn what_the_read_proves() {
    // The silent ones are heard by the one that answers: it is in doubt, and the read decides.
    let mut bench = Bench::new(&[3], Level::LocalQuorum);
    assert_eq!(bench.settled("Ass").verdict, Unknown);
    bench.read = Some((0, LinearizableResult::Passed));
    assert_eq!(bench.settled("Ass").verdict, Degraded);
    for failed in [LinearizableResult::Hung, LinearizableResult::NoQuorum("Unavailable".into())] {
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        bench.read = Some((0, failed.clone()));
        assert_eq!(bench.settled("Ass").verdict, NoQuorum);
        // Of three that answer and hear each other one fails it: that may be its own trouble.
        assert_eq!(bench.settled("AAA").verdict, Quorum);
        for member in [1, 2] {
            bench.read = Some((member, failed.clone()));
            bench.round("AAA");
        }
        let judged = bench.settled("AAA");
        assert_eq!(judged.verdict, NoQuorum, "{}", judged.reason);
        // One passes again.
        bench.read = Some((1, LinearizableResult::Passed));
        assert_eq!(bench.round("AAA").verdict, Quorum);
    }
    // One range that a read went through excuses none that is lost.
    let mut bench = Bench::new(&[5], Level::LocalQuorum);
    bench.read = Some((0, LinearizableResult::Passed));
    assert_eq!(bench.settled("AAAxx").verdict, NoQuorum);
    // But if all are, then something else is wrong than the cluster.
    let mut bench = Bench::new(&[3], Level::LocalQuorum);
    bench.silent_on_beats = true;
    bench.read = Some((0, LinearizableResult::Passed));
    assert_eq!(bench.settled("Axx").verdict, Degraded);
    // In the other datacenter it proves nothing.
    let mut bench = Bench::new(&[3, 3], Level::LocalQuorum);
    bench.read = Some((0, LinearizableResult::Passed));
    assert_eq!(bench.regions("AAAAss"), [Quorum, Unknown]);
    bench.read = Some((1, LinearizableResult::NoQuorum("Unavailable".into())));
    assert_eq!(bench.regions("AAAAAA"), [Quorum, Quorum]);
    // Nor does it undo what failed in the first one.
    for member in 0..3 {
        bench.read = Some((member, LinearizableResult::NoQuorum("Unavailable".into())));
        bench.round("AAAAAA");
    }
    bench.read = Some((3, LinearizableResult::Passed));
    assert_eq!(bench.regions("AAAAAA"), [NoQuorum, Quorum]);
}

#[test]
fn before_there_were_beats_only_the_read_finds_a_partition() {
    let mut bench = Bench::new(&[3], Level::LocalQuorum);
    bench.silent_on_beats = true;
    assert_eq!(bench.settled("ABC").verdict, Quorum);
    for member in 0..3 {
        bench.read = Some((member, LinearizableResult::NoQuorum("Unavailable".into())));
        bench.round("ABC");
    }
    assert_eq!(bench.settled("ABC").verdict, NoQuorum);
}

#[test]
fn a_stale_member_does_not_tell_the_ring() {
    let mut bench = Bench::new(&[3], Level::LocalQuorum);
    // A change of the replication that only a cut-off node has missed, or has alone.
    bench.ring.keyspaces.insert("orders".into(), Replication::Simple(1));
    assert_eq!(bench.settled("Axx").verdict, NoQuorum, "one of three does not say that one is enough");
    // From the start there is nobody to believe.
    bench.memory = Memory::default();
    let judged = bench.settled("Axx");
    assert_eq!(judged.verdict, Unknown, "{}", judged.reason);
    // Where all refuse, which was seen well by an earlier process, nothing needs to be known.
    assert!(!bench.settled("xxx").verdict.is_measured(), "never seen otherwise");
    bench.memory = Memory::well();
    assert_eq!(bench.settled("xxx").verdict, NoQuorum);
    assert_eq!(bench.settled("xx-").verdict, Unreachable);
    // The configuration knows better than any of them.
    let mut bench = Bench::new(&[3], Level::LocalQuorum);
    let replication = Some(BTreeMap::from([("dc0".to_owned(), 1)]));
    bench.options().keyspaces.get_mut("orders").unwrap().replication = replication;
    assert_eq!(bench.settled("Axx").evidence.parts_lost, Some(2));
}

#[test]
fn back_once_nobody_keeps_hints_for_it() {
    let mut bench = Bench::new(&[3, 3], Level::LocalQuorum);
    assert_eq!(bench.regions("AAAAxx"), [Quorum, NoQuorum]);
    bench.hints = BTreeMap::from([(4, 2), (5, 1)]);
    assert_eq!(bench.regions("AAAAAA"), [Quorum, Recovering]);
    // Those for one that stays away hold nobody up.
    bench.hints = BTreeMap::from([(5, 1)]);
    assert_eq!(bench.regions("AAAAAx"), [Quorum, Degraded]);
    // Nor those of a short absence, in a region that was never lost.
    bench.hints = BTreeMap::from([(0, 7)]);
    assert_eq!(bench.regions("AAAAAA"), [Quorum, Quorum]);
}

#[test]
fn nodes_that_are_not_listed_count_by_their_beats() {
    let mut bench = Bench::new(&[3], Level::LocalQuorum);
    bench.group.members.truncate(1);
    bench.memory = Memory::default();
    assert_eq!(bench.settled("AAA").verdict, Quorum);
    bench.read = None;
    assert_eq!(bench.settled("Axx").verdict, NoQuorum);
}
