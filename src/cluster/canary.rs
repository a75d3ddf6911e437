//! Judging a system by a canary alone: a small write and a read back, through each member.
//!
//! For systems that tell nothing of their quorum. Each member is a way in: the endpoint of a
//! region, mostly.
//! 1. What passes proves that this way in can write, whatever is said elsewhere.
//! 2. A definite refusal (one that says it takes no writes at all is `read_only`), or silence of a
//!    member that took the question, is a failure once it has lasted for the time to truth. Until
//!    then nothing is known: a write that timed out may have been done all the same, and one is not
//!    worth a failover.
//! 3. A connection that is refused counts as a failure only of a way in that once was seen well.
//! 4. Denied, throttled, rubbish, unreachable: unknown.
//!
//! Each region stands as its own way in does; the group as the best of them.

use std::collections::BTreeMap;

use super::absent::{Absent, first_complaint};
use super::case::Case;
use super::past::Past;
use super::{CanaryFacts, Evidence, Facts, Judgement, NodeView, Standing};
use crate::base::RegionId;

pub(super) fn judge(case: &Case<'_>, past: &mut Past) -> Judgement {
    let views = &case.round.views;
    let regions: BTreeMap<RegionId, (Standing, String)> = case
        .group
        .by_region()
        .into_iter()
        .map(|(region, ways)| (region, way_in(case, past, region, &ways)))
        .collect();

    let passed = views.iter().filter(|view| passes(view)).count();
    let members = case.group.members.len();
    let evidence = Evidence {
        voters: members,
        reached: views.iter().filter(|view| matches!(view, NodeView::Answered(_))).count(),
        agreeing: passed,
        margin: passed as i64 - 1,
        ..Evidence::default()
    };
    // Standings are sorted from good to bad, but for the two of which nothing is known.
    let best = regions.values().filter(|(standing, _)| standing.is_measured()).min();
    let worst = regions.values().max();
    let (verdict, reason) = match (best, worst) {
        (Some((Standing::Quorum, _)), _) if passed == members => {
            (Standing::Quorum, format!("a write and its read pass through all of {members}"))
        }
        (Some((Standing::Quorum, _)), Some((_, why))) => {
            (Standing::Degraded, format!("a write and its read pass through {passed} of {members}; {why}"))
        }
        // Where it fails it is seen to fail; elsewhere it may pass.
        (Some(_), Some(unknown)) if !unknown.0.is_measured() => unknown.clone(),
        (Some(best), _) => best.clone(),
        (None, Some(worst)) => worst.clone(),
        (None, None) => (Standing::Unknown, "no members".to_owned()),
    };
    let regions = if case.group.inside.is_none() { regions } else { BTreeMap::new() };
    Judgement { verdict, reason, evidence, regions }
}

fn passes(view: &NodeView) -> bool {
    matches!(view, NodeView::Answered(Facts::Canary(CanaryFacts::Passed)))
}

/// How the members of one region do.
fn way_in(case: &Case<'_>, past: &mut Past, region: RegionId, ways: &[usize]) -> (Standing, String) {
    if let Some(position) = ways.iter().find(|position| passes(&case.round.views[**position])) {
        past.cut_off.remove(&region);
        return (Standing::Quorum, format!("a write and its read pass through {}", case.place(*position)));
    }
    let failures: Vec<String> = ways
        .iter()
        .filter_map(|position| match &case.round.views[*position] {
            NodeView::Answered(Facts::Canary(CanaryFacts::Failed(why) | CanaryFacts::ReadOnly(why))) => {
                Some(why.clone())
            }
            NodeView::Answered(Facts::Canary(CanaryFacts::Hung)) => {
                Some(format!("a write or its read hangs at {}", case.place(*position)))
            }
            NodeView::Refused(why) if past.seen_well => Some(why.clone()),
            _ => None,
        })
        .collect();
    match failures.first() {
        // One that is denied, or silent, may be as well as ever.
        Some(why) if failures.len() == ways.len() => {
            let read_only =
                |view: &NodeView| matches!(view, NodeView::Answered(Facts::Canary(CanaryFacts::ReadOnly(_))));
            // All of them: else one that should take writes does not.
            let then = match case.views_of(ways).all(read_only) {
                true => Standing::ReadOnly,
                false => Standing::NoQuorum,
            };
            let since = *past.cut_off.entry(region).or_insert(case.now);
            case.in_time(case.now.since(since), why.clone(), then)
        }
        _ => {
            past.cut_off.remove(&region);
            let absent = Absent::count(case.views_of(ways));
            let complaint = first_complaint(case.views_of(ways)).unwrap_or("no answer");
            let words = format!("{complaint}{}", absent.aside());
            match absent.silent == ways.len() {
                true => (Standing::Unreachable, words),
                false => (Standing::Unknown, words),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{GroupId, Mono};
    use crate::cluster::bench::{self, SECOND};
    use crate::cluster::{Memory, Round, judge};
    use crate::config::{Canary, CanaryOptions, Cluster, ClusterKind, Endpoint, Group, Member};

    struct Bench {
        cluster: Cluster,
        group: Group,
        memory: Memory,
        now: Mono,
    }

    impl Bench {
        fn new(regions: &[u16]) -> Self {
            let members = regions.iter().enumerate().map(|(n, region)| Member {
                region: RegionId(*region),
                endpoint: Endpoint::Http(format!("http://m{n}/canary").parse().unwrap()),
            });
            Self {
                cluster: bench::cluster(ClusterKind::Canary(Box::new(
                    Canary::Http(CanaryOptions::default()),
                ))),
                group: bench::group(members, false),
                memory: Memory::well(),
                now: Mono(100 * SECOND),
            }
        }

        /// One round: `p`assed, `f`ailed, `r`ead-only, `h`ung, `x` refused, `-` silent, `?` denied.
        fn round(&mut self, states: &str) -> Judgement {
            self.now = self.now + SECOND;
            let canary = |facts| NodeView::Answered(Facts::Canary(facts));
            let views = states.chars().map(|state| match state {
                'p' => canary(CanaryFacts::Passed),
                'f' => canary(CanaryFacts::Failed("503".into())),
                'r' => canary(CanaryFacts::ReadOnly("read-only".into())),
                'h' => canary(CanaryFacts::Hung),
                'x' => NodeView::Refused("refused".into()),
                '?' => NodeView::Denied("denied".into()),
                _ => NodeView::Silent("silent".into()),
            });
            let round = Round { group: GroupId(0), views: views.collect(), linearizable: None, took: SECOND };
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
    fn every_combination_of_three_regions() {
        let letters = ['p', 'f', 'r', 'h', 'x', '-', '?'];
        for code in 0..letters.len().pow(3) {
            let states: String =
                (0..3u32).map(|place| letters[code / letters.len().pow(place) % letters.len()]).collect();
            let count = |wanted: &str| states.chars().filter(|state| wanted.contains(*state)).count();
            let judged = Bench::new(&[0, 1, 2]).settled(&states);
            let expected = match (count("p"), count("-"), count("?")) {
                (3, ..) => Standing::Quorum,
                (1.., ..) => Standing::Degraded,
                (0, _, 1..) => Standing::Unknown,
                (0, 1.., 0) => Standing::Unreachable,
                // The best of them.
                _ if count("r") > 0 => Standing::ReadOnly,
                _ => Standing::NoQuorum,
            };
            assert_eq!(judged.verdict, expected, "{states}: {}", judged.reason);
            for (n, state) in states.chars().enumerate() {
                let own = match state {
                    'p' => Standing::Quorum,
                    'r' => Standing::ReadOnly,
                    'f' | 'h' | 'x' => Standing::NoQuorum,
                    '-' => Standing::Unreachable,
                    _ => Standing::Unknown,
                };
                assert_eq!(judged.regions[&RegionId(n as u16)].0, own, "{states}");
            }
        }
    }

    #[test]
    fn a_write_that_timed_out_once_is_no_failure() {
        for failing in ["h", "f", "x", "r"] {
            let mut bench = Bench::new(&[0]);
            for _ in 0..6 {
                assert_eq!(bench.round(failing).verdict, Standing::Electing, "{failing}");
            }
            assert_eq!(bench.round("p").verdict, Standing::Quorum, "the time starts anew");
            for _ in 0..6 {
                assert_eq!(bench.round(failing).verdict, Standing::Electing, "{failing}");
            }
            let lost = if failing == "r" { Standing::ReadOnly } else { Standing::NoQuorum };
            assert_eq!(bench.round(failing).verdict, lost, "{failing}");
            // What cannot be measured does not count towards it.
            assert_eq!(bench.round("?").verdict, Standing::Unknown);
            assert_eq!(bench.round(failing).verdict, Standing::Electing, "{failing}");
        }
    }

    #[test]
    fn another_way_into_the_same_region() {
        let mut bench = Bench::new(&[0, 0]);
        assert_eq!(bench.settled("fp").regions[&RegionId(0)].0, Standing::Quorum);
        assert_eq!(bench.settled("ff").regions[&RegionId(0)].0, Standing::NoQuorum);
        assert_eq!(bench.settled("rr").regions[&RegionId(0)].0, Standing::ReadOnly);
        assert_eq!(bench.settled("rf").regions[&RegionId(0)].0, Standing::NoQuorum);
        assert_eq!(bench.settled("f?").regions[&RegionId(0)].0, Standing::Unknown);
    }

    #[test]
    fn what_was_never_seen_well_is_mistyped() {
        let mut bench = Bench::new(&[0]);
        bench.memory = Memory::default();
        assert_eq!(bench.settled("x").verdict, Standing::Unknown);
    }
}
