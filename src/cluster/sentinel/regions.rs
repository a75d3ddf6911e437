//! How each region stands.

use std::collections::BTreeMap;

use super::named::Named;
use crate::base::RegionId;
use crate::cluster::absent::{Absent, out_of_sight};
use crate::cluster::case::Case;
use crate::cluster::past::{CatchUp, Past};
use crate::cluster::{Facts, NodeView, Standing};

pub(super) fn stand(
    case: &Case<'_>,
    past: &mut Past,
    agreed: Option<&Named<'_>>,
    (verdict, reason): (Standing, &str),
) -> BTreeMap<RegionId, (Standing, String)> {
    let mut regions = BTreeMap::new();
    for (region, local) in case.group.by_region() {
        let views = || local.iter().map(|position| (*position, &case.round.views[*position]));
        let servers = || {
            views().filter_map(|(position, view)| match view {
                NodeView::Answered(Facts::Redis(facts)) => Some((position, facts)),
                _ => None,
            })
        };
        let heard = views().any(|(_, view)| matches!(view, NodeView::Answered(_)));
        let (Some(named), true) = (agreed, verdict.is_measured()) else {
            // Lost as a whole, or not known: nothing is known of whom we do not hear.
            let absent = Absent::count(case.views_of(&local));
            if !heard && absent.refused < local.len() {
                let words = format!("its members: {}", absent.words());
                regions.insert(region, (Standing::Unknown, words));
            }
            continue;
        };
        let left_behind = servers().find(|(position, facts)| {
            let meant = facts.run_id == named.run_id || named.position(case) == Some(*position);
            facts.master && !facts.refuses_writes && !meant
        });
        let apart = views().any(|(position, view)| {
            matches!(view, NodeView::Answered(Facts::Sentinel(_))) && !named.by.contains(&position)
        });
        let inside = views().any(|(position, _)| named.by.contains(&position));
        let standing = if let Some((position, _)) = left_behind {
            past.cut_off.entry(region).or_insert(case.now);
            let words = format!("{} still takes writes as a master", case.place(position));
            (Standing::SplitBrain, format!("{words}, and {} is the one", named.address))
        } else if apart && !inside {
            past.out_of_group(case, region, "its Sentinels are cut off from the majority")
        } else if heard {
            if past.cut_off.remove(&region).is_some() {
                past.rejoining.insert(region, CatchUp::ToBeSeen);
            }
            let behind = servers().find(|(_, facts)| !facts.master && !facts.linked);
            match behind.filter(|_| past.rejoining.contains_key(&region)) {
                Some((position, _)) => {
                    let place = case.place(position);
                    (Standing::Recovering, format!("back; {place} does not follow the master yet"))
                }
                None => {
                    past.rejoining.remove(&region);
                    (verdict, reason.to_owned())
                }
            }
        } else {
            out_of_sight(case.views_of(&local))
        };
        regions.insert(region, standing);
    }
    regions
}
