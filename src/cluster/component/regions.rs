//! How each region stands in a group that goes on.

use std::collections::BTreeMap;

use super::part::Part;
use super::{Notes, has_caught_up};
use crate::base::RegionId;
use crate::cluster::absent::out_of_sight;
use crate::cluster::case::Case;
use crate::cluster::past::Past;
use crate::cluster::{ComponentFacts, Facts, NodeView, Standing};

pub(super) fn stand(
    case: &Case<'_>,
    past: &mut Past,
    notes: &Notes,
    part: &Part<'_>,
    whole: (Standing, &str),
) -> BTreeMap<RegionId, (Standing, String)> {
    let mut regions = BTreeMap::new();
    for (region, local) in case.group.by_region() {
        let inside = part.members.iter().filter(|(position, _)| local.contains(position));
        // The one that is furthest speaks for its region.
        let best =
            inside.map(|(_, facts)| *facts).max_by_key(|facts| (facts.ready, facts.synced, facts.committed));
        let facts = |position: &usize| match &case.round.views[*position] {
            NodeView::Answered(Facts::Component(facts)) => Some(facts),
            _ => None,
        };
        let answered = || local.iter().copied().filter(|position| facts(position).is_some());
        let heard: Vec<&ComponentFacts> = local.iter().filter_map(facts).collect();
        let standing = if let Some(span) = notes.proofs.fail_among(case, answered()) {
            past.failing_alone(case, region, &span)
        } else if let Some(best) = best {
            let end = part.members.iter().map(|(_, facts)| facts.committed).max();
            past.back_in_group(case, region, end);
            within(past, region, best, whole)
        } else if heard.iter().any(|facts| facts.view.is_none()) {
            let words = format!("its members are not in membership {}", part.view.number);
            past.out_of_group(case, region, &words)
        } else if !heard.is_empty() {
            (Standing::Unknown, "its members answer for another membership; the group goes on".to_owned())
        } else {
            out_of_sight(case.views_of(&local))
        };
        regions.insert(region, standing);
    }
    regions
}

/// A region's member is in the membership that counts: does it serve, and has it caught up?
fn within(
    past: &mut Past,
    region: RegionId,
    facts: &ComponentFacts,
    (verdict, reason): (Standing, &str),
) -> (Standing, String) {
    let ComponentFacts { state, committed, .. } = facts;
    if !facts.ready {
        return (Standing::Recovering, format!("its member takes no statements yet ({state})"));
    }
    if let Some(catch_up) = past.rejoining.get(&region) {
        let target = catch_up.target(*committed);
        if !has_caught_up(facts, target) {
            let words = format!("back in the group ({state}); {committed} of {target} transactions");
            return (Standing::Recovering, words);
        }
        past.rejoining.remove(&region);
    }
    (verdict, reason.to_owned())
}
