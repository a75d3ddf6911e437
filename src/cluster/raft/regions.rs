//! How each region stands in a group that goes on.

use std::collections::BTreeMap;

use super::leader::Leader;
use super::{Notes, Voter};
use crate::base::RegionId;
use crate::cluster::absent::out_of_sight;
use crate::cluster::case::Case;
use crate::cluster::past::{CatchUp, Past};
use crate::cluster::{Facts, NodeView, Standing};

pub(super) fn stand(
    case: &Case<'_>,
    past: &mut Past,
    notes: &Notes,
    answered: &[Voter<'_>],
    leader: &Leader,
    whole: (Standing, &str),
) -> BTreeMap<RegionId, (Standing, String)> {
    let mut regions = BTreeMap::new();
    for (region, mut local) in case.group.by_region() {
        local.retain(|position| !notes.learners.contains(position));
        if local.is_empty() {
            continue;
        }
        let within = local.iter().find(|position| leader.followers.contains(position));
        let heard =
            answered.iter().map(|(position, _)| *position).filter(|position| local.contains(position));
        let standing = if let Some(span) = notes.proofs.fail_among(case, heard) {
            past.failing_alone(case, region, &span)
        } else if let Some(position) = within {
            past.back_in_group(case, region, leader.own_word);
            rejoined(past, region, &case.round.views[*position], whole)
        } else if answered.iter().any(|(position, _)| local.contains(position)) {
            let words = format!("its voters are cut off from the leader{}", leader.term_words(" of term"));
            past.out_of_group(case, region, &words)
        } else if case.views_of(&local).any(|view| matches!(view, NodeView::Answered(_))) {
            (Standing::Unknown, "its voters answer for another cluster; the group goes on".to_owned())
        } else {
            out_of_sight(case.views_of(&local))
        };
        regions.insert(region, standing);
    }
    regions
}

/// A region's voter follows the leader: has it caught up, if it was out?
fn rejoined(
    past: &mut Past,
    region: RegionId,
    view: &NodeView,
    (verdict, reason): (Standing, &str),
) -> (Standing, String) {
    let NodeView::Answered(Facts::Raft(facts)) = view else { return (verdict, reason.to_owned()) };
    if let Some(catch_up) = past.rejoining.get_mut(&region) {
        let target = catch_up.target(facts.index);
        if facts.applied < target && !facts.arbiter {
            *catch_up = CatchUp::To(target);
            let words = format!("back in the group; applied {} of {target}", facts.applied);
            return (Standing::Recovering, words);
        }
        past.rejoining.remove(&region);
    }
    (verdict, reason.to_owned())
}
