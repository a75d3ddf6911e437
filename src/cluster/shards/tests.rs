use std::collections::BTreeMap;

use super::*;
use crate::base::{GroupId, RegionId};
use crate::cluster::RaftFacts;
use crate::cluster::bench::{self, SECOND};
use crate::config::{Cluster, ClusterKind, Group, KafkaOptions};

fn shards(total: u64, lost: u64, critical: u64) -> Shards {
    let names = if lost > 0 { vec!["orders-7".to_owned()] } else { Vec::new() };
    Shards { scope: Scope::Whole, total, lost, critical, names }
}

/// Follows the leader of a term, and tells this of the parts.
fn follows(term: u64, shards: Shards) -> NodeView {
    let leader = Some("1".to_owned());
    NodeView::Answered(Facts::Raft(RaftFacts { leader, term, shards: Some(shards), ..RaftFacts::default() }))
}

struct Bench {
    cluster: Cluster,
    group: Group,
    lost_since: Option<Mono>,
    now: Mono,
    first: Standing,
}

impl Bench {
    fn new(lost_max: LostMax) -> Self {
        let options = KafkaOptions { parts_lost_max: lost_max, ..KafkaOptions::default() };
        Self {
            cluster: bench::cluster(ClusterKind::Kafka(options)),
            group: bench::group([], false),
            lost_since: None,
            now: Mono(100 * SECOND),
            first: Standing::Quorum,
        }
    }

    fn round(&mut self, views: Vec<NodeView>) -> Judgement {
        self.now = self.now + SECOND;
        let round = Round { group: GroupId(0), views, linearizable: None, took: SECOND };
        let mut regions = BTreeMap::new();
        regions.insert(RegionId(0), (self.first, "follows".to_owned()));
        regions.insert(RegionId(1), (Standing::Unknown, "silent".to_owned()));
        let evidence = Evidence { margin: 1, term: Some(5), ..Evidence::default() };
        let mut judgement =
            Judgement { verdict: self.first, reason: "3 follow".to_owned(), evidence, regions };
        let case = Case { cluster: &self.cluster, group: &self.group, round: &round, now: self.now };
        weigh(&case, &mut self.lost_since, &mut judgement);
        judgement
    }

    fn settled(&mut self, shards: &[Shards]) -> Judgement {
        let views = || shards.iter().map(|shards| follows(5, shards.clone())).collect();
        for _ in 0..7 {
            self.round(views());
        }
        self.round(views())
    }
}

#[test]
fn every_count_against_every_limit() {
    for lost_max in [LostMax::Count(0), LostMax::Count(3), LostMax::Percent(0), LostMax::Percent(10)] {
        for total in [1u64, 10, 30] {
            for lost in 0..=total {
                for critical in 0..=(total - lost).min(2) {
                    let told = shards(total, lost, critical);
                    let judged = Bench::new(lost_max).settled(&[told.clone(), told]);
                    let most = match lost_max {
                        LostMax::Count(most) => most,
                        LostMax::Percent(most) => total * u64::from(most) / 100,
                    };
                    let (expected, margin) = match (lost, critical) {
                        _ if lost > most => (Standing::NoQuorum, -1),
                        (0, 0) => (Standing::Quorum, 1),
                        _ => (Standing::Degraded, 0),
                    };
                    let case = format!("{lost} and {critical} of {total}, {lost_max:?}: {}", judged.reason);
                    assert_eq!((judged.verdict, judged.evidence.margin), (expected, margin), "{case}");
                    assert_eq!(judged.regions[&RegionId(0)].0, expected, "{case}");
                    assert_eq!(judged.regions[&RegionId(1)].0, Standing::Unknown, "{case}");
                    assert_eq!(judged.evidence.parts_lost, Some(lost), "{case}");
                }
            }
        }
    }
}

#[test]
fn words() {
    let mut bench = Bench::new(LostMax::Count(3));
    assert_eq!(
        bench.settled(&[shards(300, 12, 4)]).reason,
        "12 of 300 partitions cannot take a write (orders-7, …)"
    );
    let judged = bench.settled(&[shards(300, 1, 4)]);
    assert_eq!(judged.reason, "1 of 300 partitions cannot take a write (orders-7); 3 follow");
    let judged = bench.settled(&[shards(300, 0, 4)]);
    assert_eq!(judged.reason, "4 of 300 partitions can lose no further member; 3 follow");
}

#[test]
fn a_moment_without_leaders_is_no_loss() {
    let mut bench = Bench::new(LostMax::Count(0));
    for _ in 0..5 {
        assert_eq!(bench.round(vec![follows(5, shards(9, 9, 0))]).verdict, Standing::Electing);
    }
    assert_eq!(bench.round(vec![follows(5, shards(9, 0, 0))]).verdict, Standing::Quorum);
    // The time starts anew.
    for _ in 0..6 {
        assert_eq!(bench.round(vec![follows(5, shards(9, 9, 0))]).verdict, Standing::Electing);
    }
    assert_eq!(bench.round(vec![follows(5, shards(9, 9, 0))]).verdict, Standing::NoQuorum);
}

#[test]
fn the_worst_view_within_the_quorum_counts() {
    let mut bench = Bench::new(LostMax::Count(0));
    // One member's view is old, and too good.
    assert_eq!(bench.settled(&[shards(9, 0, 0), shards(9, 4, 0)]).verdict, Standing::NoQuorum);
    // Few of few are worse than few of many.
    let judged = bench.settled(&[shards(100, 4, 0), shards(9, 4, 0)]);
    assert_eq!(judged.evidence.parts_total, Some(9));
    // A deposed leader, and one that knows of none, have no say, for better or worse.
    let judged = bench.round(vec![follows(5, shards(9, 0, 0)), follows(4, shards(9, 9, 0))]);
    assert_eq!((judged.verdict, judged.evidence.parts_lost), (Standing::Quorum, Some(0)));
    let alone = RaftFacts { term: 5, shards: Some(shards(9, 9, 0)), ..RaftFacts::default() };
    let alone = NodeView::Answered(Facts::Raft(alone));
    assert_eq!(bench.round(vec![follows(5, shards(9, 0, 0)), alone]).verdict, Standing::Quorum);
}

#[test]
fn a_system_without_terms_has_parts_too() {
    let evidence = |term| Evidence { term, ..Evidence::default() };
    let facts = |term| RaftFacts { leader: Some("1".to_owned()), term, ..RaftFacts::default() };
    assert!(within(&Facts::Raft(facts(0)), &evidence(None)));
    assert!(within(&Facts::Raft(facts(5)), &evidence(Some(5))));
    assert!(!within(&Facts::Raft(facts(4)), &evidence(Some(5))));
    assert!(!within(&Facts::Raft(facts(0)), &evidence(Some(5))));
}

#[test]
fn parts_of_ones_own_are_added_up() {
    let own = |lost: u64| {
        let parts = (0..10u64).map(|n| (n.to_string(), if n < lost { Part::Lost } else { Part::Safe }));
        Shards::count(Scope::Own, parts)
    };
    let mut bench = Bench::new(LostMax::Percent(10));
    let judged = bench.settled(&[own(0), own(2), own(1)]);
    assert_eq!((judged.verdict, judged.evidence.parts_total), (Standing::Degraded, Some(30)));
    assert_eq!(judged.evidence.parts_lost, Some(3));
    let judged = bench.settled(&[own(0), own(3), own(1)]);
    assert_eq!(judged.verdict, Standing::NoQuorum);
    assert_eq!(judged.reason, "4 of 30 partitions cannot take a write (0, 1, 2, …)");
}

#[test]
fn where_the_whole_is_lost_or_unknown_parts_say_nothing() {
    for first in Standing::ALL {
        let mut bench = Bench::new(LostMax::Count(0));
        bench.first = first;
        let judged = bench.settled(&[shards(9, 9, 0)]);
        let expected = if commits(first) { Standing::NoQuorum } else { first };
        assert_eq!(judged.verdict, expected, "{first:?}");
        let judged = bench.settled(&[shards(9, 0, 1)]);
        let expected = if first == Standing::Quorum { Standing::Degraded } else { first };
        assert_eq!(judged.verdict, expected, "{first:?}");
    }
}

#[test]
fn counting_keeps_the_names_that_matter() {
    let parts = [("a", Part::Critical), ("b", Part::Lost), ("c", Part::Safe)];
    let counted = Shards::count(Scope::Whole, parts);
    assert_eq!((counted.total, counted.lost, counted.critical), (3, 1, 1));
    assert_eq!(counted.names, ["b"]);
    assert_eq!(Shards::count(Scope::Whole, [parts[0], parts[2]]).names, ["a"]);
}
