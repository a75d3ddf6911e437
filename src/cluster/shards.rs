//! The parts of a sharded system: queues, partitions, tablets, ranges.
//!
//! A system that has its quorum as a whole may still have lost it for some of its parts: each is
//! a small group of its own, on its own choice of members. What members tell of them is judged on
//! top of the judgement of the whole:
//! 1. Only while the whole can commit: what a minority thinks of the parts is old.
//! 2. Only members that take part in the quorum count, and of their views the worst. All the
//!    stale answers that were captured are too good, never too bad: an isolated leader goes on
//!    calling its queues running. A view that is bad for a moment only, as while the leaders of
//!    many parts are elected anew, does not outlast the time to truth.
//! 3. More parts lost than the configuration tolerates: electing, and lost after the time to
//!    truth. Fewer, or some that one more loss would end: degraded.
//! 4. A linearizable probe proves the one part that it went through, so that it excuses no other.

use std::time::Duration;

use super::{Evidence, Facts, Judgement, Memory, NodeView, PeerFacts, Round, Standing};
use crate::base::{Mono, show_span};
use crate::config::{Cluster, LostMax};

/// Names of parts that are kept for the words of a judgement.
const NAMES_MAX: usize = 3;

/// What one member tells of the parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shards {
    /// Of which parts it speaks.
    pub scope: Scope,
    /// How many there are.
    pub total: u64,
    /// How many of them cannot take a write.
    pub lost: u64,
    /// How many of the others one more loss would end.
    pub critical: u64,
    /// Some of the lost ones, or else of the critical ones, by name.
    pub names: Vec<String>,
}

/// Of which parts a member speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    /// Of all that the system has: views are compared, and the worst of them counts.
    #[default]
    Whole,
    /// Of those that it answers for, and nobody else does: views are added up.
    Own,
}

/// How one part does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// It can lose one of its members.
    Safe,
    /// One more loss ends it.
    Critical,
    /// It cannot take a write.
    Lost,
}

impl Shards {
    /// Counts parts by name.
    pub fn count<N: Into<String>>(scope: Scope, parts: impl IntoIterator<Item = (N, Part)>) -> Self {
        let mut shards = Self { scope, ..Self::default() };
        let mut critical = Vec::new();
        for (name, part) in parts {
            shards.total += 1;
            let (n, names) = match part {
                Part::Safe => continue,
                Part::Critical => (&mut shards.critical, &mut critical),
                Part::Lost => (&mut shards.lost, &mut shards.names),
            };
            *n += 1;
            if names.len() < NAMES_MAX {
                names.push(name.into());
            }
        }
        if shards.lost == 0 {
            shards.names = critical;
        }
        shards
    }

    /// All of it, on one line for a person.
    pub fn words(&self) -> String {
        format!("{} parts, {} lost, {} critical", self.total, self.lost, self.critical)
    }

    /// Worse first by share of what is lost, then by what is critical.
    fn badness(&self) -> (u64, u64) {
        const PER: u64 = 1_000_000;
        let share = |n: u64| n.saturating_mul(PER) / self.total.max(1);
        (share(self.lost), share(self.critical))
    }

    fn add(&mut self, other: &Self) {
        if (self.lost == 0) != (other.lost == 0) {
            // Names of what is critical do not belong beside those of what is lost.
            if self.lost == 0 {
                self.names.clone_from(&other.names);
            }
        } else {
            self.names.extend(other.names.iter().cloned());
            self.names.truncate(NAMES_MAX);
        }
        self.total += other.total;
        self.lost += other.lost;
        self.critical += other.critical;
    }
}

/// Whether a member that told these facts takes part in the quorum that was found.
fn within(facts: &Facts, evidence: &Evidence) -> bool {
    match facts {
        // A system that tells no term has term 0, and none in the evidence.
        Facts::Raft(raft) => raft.leader.is_some() && raft.term == evidence.term.unwrap_or(0),
        Facts::Peer(PeerFacts { live: Some(live), .. }) => *live > 0,
        Facts::Peer(peer) => peer.sees.len() > evidence.voters / 2,
        _ => true,
    }
}

/// What the members of the quorum tell, put together. `None`: none of them speaks of parts.
fn gather(round: &Round, evidence: &Evidence) -> Option<Shards> {
    let mut whole: Option<&Shards> = None;
    let mut own: Option<Shards> = None;
    for view in &round.views {
        let NodeView::Answered(facts) = view else { continue };
        let Some(shards) = facts.shards().filter(|_| within(facts, evidence)) else { continue };
        match shards.scope {
            Scope::Whole if whole.is_none_or(|worst| worst.badness() < shards.badness()) => {
                whole = Some(shards);
            }
            Scope::Whole => {}
            Scope::Own => match &mut own {
                Some(sum) => sum.add(shards),
                None => own = Some(shards.clone()),
            },
        }
    }
    own.or_else(|| whole.cloned())
}

/// Weighs the parts on top of what was found of the whole.
pub(super) fn weigh(
    cluster: &Cluster,
    round: &Round,
    memory: &mut Memory,
    judgement: &mut Judgement,
    now: Mono,
) {
    weigh_parts(cluster.kind.parts(), cluster.time_to_truth, round, memory, judgement, now);
}

fn weigh_parts(
    parts: Option<(&str, LostMax)>,
    truth: Duration,
    round: &Round,
    memory: &mut Memory,
    judgement: &mut Judgement,
    now: Mono,
) {
    let Some((noun, lost_max)) = parts else { return };
    if !commits(judgement.verdict) {
        return;
    }
    let Some(shards) = gather(round, &judgement.evidence) else { return };
    judgement.evidence.parts_total = Some(shards.total);
    judgement.evidence.parts_lost = Some(shards.lost);
    judgement.evidence.parts_critical = Some(shards.critical);
    let (standing, words) = match found(&shards, noun, lost_max) {
        Found::Well => {
            memory.parts_lost_since = None;
            return;
        }
        Found::Some(words) => {
            memory.parts_lost_since = None;
            (Standing::Degraded, words)
        }
        Found::TooMany(words) => {
            let since = now.since(*memory.parts_lost_since.get_or_insert(now));
            match since <= truth {
                true => (Standing::Electing, format!("{words}, for {}", show_span(since))),
                false => (Standing::NoQuorum, words),
            }
        }
    };
    let margin = &mut judgement.evidence.margin;
    *margin = (*margin).min(if standing == Standing::Degraded { 0 } else { -1 });
    worsen(&mut judgement.verdict, &mut judgement.reason, standing, &words);
    for (known, reason) in judgement.regions.values_mut() {
        worsen(known, reason, standing, &words);
    }
}

fn commits(standing: Standing) -> bool {
    matches!(standing, Standing::Quorum | Standing::Degraded | Standing::Recovering)
}

/// A region, or the group, stands no better than the parts do.
fn worsen(known: &mut Standing, reason: &mut String, standing: Standing, words: &str) {
    let worse = match standing {
        Standing::Degraded => matches!(*known, Standing::Quorum | Standing::Degraded),
        _ => commits(*known),
    };
    if worse {
        *reason = match standing {
            // Why it was degraded before is still true.
            Standing::Degraded => format!("{words}; {reason}"),
            _ => words.to_owned(),
        };
        *known = standing;
    }
}

/// What the parts come to, in words.
pub(super) enum Found {
    /// None is lost, and none critical.
    Well,
    /// Some are, and that is tolerated.
    Some(String),
    /// More are lost than is tolerated.
    TooMany(String),
}

/// Holds the parts against what is tolerated.
pub(super) fn found(shards: &Shards, noun: &str, lost_max: LostMax) -> Found {
    let Shards { total, lost, critical, names, .. } = shards;
    let names = match names.len() as u64 {
        0 => String::new(),
        shown => {
            let more = if *(if *lost > 0 { lost } else { critical }) > shown { ", …" } else { "" };
            format!(" ({}{more})", names.join(", "))
        }
    };
    let words = match (lost, critical) {
        (0, 0) => return Found::Well,
        (0, _) => format!("{critical} of {total} {noun} can lose no further member{names}"),
        _ => format!("{lost} of {total} {noun} cannot take a write{names}"),
    };
    match lost_max.exceeded(*lost, *total) {
        true => Found::TooMany(words),
        false => Found::Some(words),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::base::{GroupId, RegionId};
    use crate::cluster::RaftFacts;

    const SECOND: Duration = Duration::from_secs(1);
    const TRUTH: Duration = Duration::from_secs(5);

    fn shards(total: u64, lost: u64, critical: u64) -> Shards {
        let names = if lost > 0 { vec!["orders-7".to_owned()] } else { Vec::new() };
        Shards { scope: Scope::Whole, total, lost, critical, names }
    }

    /// Follows the leader of a term, and tells this of the parts.
    fn follows(term: u64, shards: Shards) -> NodeView {
        let leader = Some("1".to_owned());
        NodeView::Answered(Facts::Raft(RaftFacts {
            leader,
            term,
            shards: Some(shards),
            ..RaftFacts::default()
        }))
    }

    struct Bench {
        lost_max: LostMax,
        memory: Memory,
        now: Mono,
        first: Standing,
    }

    impl Bench {
        fn new(lost_max: LostMax) -> Self {
            Self { lost_max, memory: Memory::default(), now: Mono(100 * SECOND), first: Standing::Quorum }
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
            let parts = Some(("partitions", self.lost_max));
            weigh_parts(parts, TRUTH, &round, &mut self.memory, &mut judgement, self.now);
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
                        let case =
                            format!("{lost} and {critical} of {total}, {lost_max:?}: {}", judged.reason);
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
}
