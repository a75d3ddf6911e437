//! Judging a system without a leader, whose every token range has replicas of its own: Cassandra.
//!
//! There is no quorum of the whole. Whether a read or write finds the replicas that its consistency
//! level takes depends on the range and on who asks, so that each region is judged by itself, from
//! the best of its own members that answers:
//! 1. The ring and the replication are those that a majority of the configured members tells alike
//!    (or the configuration, for the replication). What a majority once told stays true while fewer
//!    answer.
//! 2. A replica counts that answers for itself, and that hears the member that would ask it, and is
//!    heard by it: heartbeats that one node has of another can be old, and never too new, because
//!    only the node itself makes them. What a node thinks of its peers (up, down) is not asked.
//! 3. A replica that is silent to us while others still hear it is in doubt, and so are those of
//!    which nobody tells. In doubt the read at the level decides: one that passes proves the
//!    ranges that are in doubt, one that goes on failing at every member of the region disproves
//!    them. Otherwise it is unknown.
//! 4. More ranges lost than is tolerated: electing, and lost after the time to truth. Fewer, or some
//!    that one more loss would end: degraded.
//! 5. A read that goes on failing at every member of a region disproves the best ring. One that
//!    passes excuses none of the ranges that are lost, for it went through one of them only; but if
//!    all of them are said to be lost, then what was said is wrong.
//! 6. A login that fails for want of replicas is no denial: the member is there, and tells nothing.
//! 7. Regions that do not hear each other, each with its level, go on apart: nobody is lost, and
//!    what they write diverges. The group says so (`sides`), its regions stand.
//! 8. A region that was lost is back once nobody keeps hints for its members any more.

mod notes;
mod region;
mod sight;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use self::notes::Notes;
use self::sight::Sight;
use self::tally::Tally;
use super::absent::{Absent, nobody_answers};
use super::case::Case;
use super::kin::of_one_cluster;
use super::past::Past;
use super::{Evidence, Facts, Judgement, ReplicaFacts, Standing};
use crate::base::RegionId;
use crate::config::CassandraOptions;

pub(super) fn judge(
    options: &CassandraOptions,
    case: &Case<'_>,
    past: &mut Past,
    notes: &mut Notes,
) -> Judgement {
    let answered = answered(case);
    notes.learn(options, case, &answered);
    let sight = Sight { options, case: *case, answered: &answered, notes };

    let mut regions = BTreeMap::new();
    let mut worst: Option<Tally> = None;
    for (region, local) in case.group.by_region() {
        let (standing, words, tally) = region::stands(&sight, past, region, &local);
        if let Some(tally) = tally
            && worst.as_ref().is_none_or(|worst| worst.badness() < tally.badness())
        {
            worst = Some(tally);
        }
        regions.insert(region, (standing, words));
    }

    let sides = sight.sides();
    let mut evidence = Evidence {
        voters: case.group.members.len(),
        reached: answered.len(),
        agreeing: sides.iter().map(BTreeSet::len).max().unwrap_or(0),
        sides: (!sides.is_empty()).then_some(sides.len() as u64),
        ..Evidence::default()
    };
    if let Some(tally) = worst {
        evidence.margin = tally.margin;
        evidence.parts_total = Some(tally.shards.total);
        evidence.parts_lost = Some(tally.shards.lost);
        evidence.parts_critical = Some(tally.shards.critical);
    }
    let (verdict, reason) = match answered.is_empty() && regions.values().all(|(it, _)| !it.is_measured()) {
        true => nobody_answers("voter", &Absent::count(&case.round.views), &case.round.views),
        false => whole(case, &regions, &sides),
    };
    let regions = if case.group.inside.is_none() { regions } else { BTreeMap::new() };
    Judgement { verdict, reason, evidence, regions }
}

/// The group stands as the best of its regions does, and is degraded if another does not stand.
fn whole(
    case: &Case<'_>,
    regions: &BTreeMap<RegionId, (Standing, String)>,
    sides: &[BTreeSet<usize>],
) -> (Standing, String) {
    let stands = |standing: Standing| standing <= Standing::Degraded;
    let best = regions.values().filter(|(standing, _)| standing.is_measured()).min();
    let worst = regions.values().max();
    match (best, worst) {
        (Some(best), Some(worst)) if stands(best.0) => {
            let worst = match stands(worst.0) {
                true => worst.1.clone(),
                false => format!("not in every region: {}", worst.1),
            };
            // One of the first and one of the second side, to have a name for each.
            match sides.get(1).and_then(|other| Some((sides[0].first()?, other.first()?))) {
                Some((one, other)) => {
                    let (one, other) = (case.place(*one), case.place(*other));
                    let words = "do not hear each other: what one side writes the other misses";
                    (Standing::Degraded, format!("{one} and {other} {words}; {worst}"))
                }
                None if regions.values().all(|(standing, _)| *standing == Standing::Quorum) => {
                    (Standing::Quorum, worst)
                }
                None => (Standing::Degraded, worst),
            }
        }
        // Where it was seen it fails. Of regions that could not be seen nothing is said.
        (Some(best), _) => best.clone(),
        (None, Some(worst)) => worst.clone(),
        _ => (Standing::Unknown, "no members".to_owned()),
    }
}

/// Members of the cluster that most answers come from.
fn answered<'a>(case: &Case<'a>) -> BTreeMap<usize, &'a ReplicaFacts> {
    let mut answers: Vec<(usize, &ReplicaFacts)> = case.answers(|facts| match facts {
        Facts::Replica(facts) => Some(&**facts),
        _ => None,
    });
    of_one_cluster(&mut answers, |(_, facts)| &facts.cluster);
    answers.into_iter().collect()
}
