//! Judging a PostgreSQL cluster: one writer, and standbys that follow it.
//!
//! PostgreSQL has no quorum of its own; what plays its part is exactly one server that accepts
//! writes. Two are a split brain, unless the one on the older timeline is fenced. None is
//! `electing` for as long as a restart may take, and then lost.

use std::collections::BTreeMap;

use super::absent::{Absent, first_complaint};
use super::{Evidence, Facts, Judgement, Memory, NodeView, PostgresFacts, Round, Standing};
use crate::base::{Mono, RegionId, show_span};
use crate::config::{Cluster, Group};

type Server<'a> = (usize, &'a PostgresFacts);

pub(super) fn judge(
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    now: Mono,
) -> Judgement {
    let answered: Vec<Server<'_>> = round
        .views
        .iter()
        .enumerate()
        .filter_map(|(position, view)| match view {
            NodeView::Answered(Facts::Postgres(facts)) => Some((position, facts)),
            _ => None,
        })
        .collect();
    let absent = Absent::count(&round.views);
    let timeline = answered.iter().map(|(_, facts)| facts.timeline).max();
    let writers: Vec<Server<'_>> =
        answered.iter().filter(|(_, facts)| writes(facts, timeline)).copied().collect();
    let writer = writers.first().copied();
    let followers = answered
        .iter()
        .filter(|(_, facts)| facts.in_recovery && facts.streaming)
        .filter(|(_, facts)| writer.is_none_or(|(_, writer)| writer.system == facts.system))
        .count();
    let end = writer.map(|(_, facts)| facts.received);

    let evidence = Evidence {
        voters: group.members.len(),
        reached: answered.len(),
        agreeing: writers.len().min(1) + followers,
        margin: if writers.is_empty() { -1 } else { followers as i64 },
        leader: writer.map(|(position, _)| group.members[position].endpoint.to_string()),
        term: timeline.map(u64::from),
        lag_max: end.and_then(|end| {
            let standbys = answered.iter().filter(|(_, facts)| facts.in_recovery);
            standbys.map(|(_, facts)| end.saturating_sub(facts.replayed)).max()
        }),
    };

    let (verdict, reason) = match writers.as_slice() {
        [one] => {
            memory.leaderless_since = None;
            memory.catching_up = None;
            memory.writer = Some(one.0);
            let place = &group.members[one.0].endpoint;
            if one.1.read_only {
                (Standing::ReadOnly, format!("{place} is the writer and read-only by default"))
            } else if followers > 0 {
                (Standing::Quorum, format!("{place} is the writer; {followers} standby follows"))
            } else {
                (Standing::Degraded, format!("{place} is the writer; no standby follows"))
            }
        }
        [] => no_writer(cluster, group, round, memory, &answered, &absent, now),
        many => {
            let places: Vec<_> =
                many.iter().map(|(position, _)| group.members[*position].endpoint.to_string()).collect();
            (Standing::SplitBrain, format!("{} all accept writes", places.join(" and ")))
        }
    };
    let regions = match verdict {
        Standing::Quorum | Standing::Degraded if group.inside.is_none() => {
            regions(group, round, (verdict, &reason))
        }
        _ => BTreeMap::new(),
    };
    Judgement { verdict, reason, evidence, regions }
}

/// Whether applications can write there. A server on an older timeline that lets no application
/// in is what a promotion has left behind: it must be rewound, and does no harm until then.
fn writes(facts: &PostgresFacts, newest: Option<u32>) -> bool {
    let left_behind = facts.fenced && Some(facts.timeline) < newest;
    !facts.in_recovery && !left_behind
}

fn no_writer(
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    answered: &[Server<'_>],
    absent: &Absent,
    now: Mono,
) -> (Standing, String) {
    let complaint = first_complaint(&round.views).map_or(String::new(), |why| format!(": {why}"));
    if answered.is_empty() && absent.refused < group.members.len() {
        memory.leaderless_since = None;
        let words = absent.words();
        return match absent.denied + absent.rubbish + absent.unmeasured {
            0 => (Standing::Unreachable, format!("no server answers ({words}){complaint}")),
            _ => (Standing::Unknown, format!("no server could be judged ({words}){complaint}")),
        };
    }
    let last = memory.writer.map(|position| (&round.views[position], &group.members[position].endpoint));
    let words = match last {
        Some((NodeView::Refused(_), place)) => format!("the writer {place} refuses connections"),
        Some((NodeView::Answered(_), place)) => format!("{place} is no longer the writer, and no other is"),
        Some((_, place)) => {
            // It may be writing happily where we cannot see it.
            memory.leaderless_since = None;
            return (Standing::Unknown, format!("the writer {place} does not answer{complaint}"));
        }
        None if absent.refused == group.members.len() => {
            let words = "every server refuses connections; never seen otherwise: is the address right?";
            return (Standing::Unknown, words.to_owned());
        }
        None => format!("{} of {} servers answer, all in recovery", answered.len(), group.members.len()),
    };
    let since = memory.leaderless_for(now);
    match since <= cluster.time_to_truth {
        true => (Standing::Electing, format!("{words}, for {}", show_span(since))),
        false => (Standing::NoQuorum, words),
    }
}

/// A region stands as the group does while its server writes or follows.
fn regions(
    group: &Group,
    round: &Round,
    (verdict, reason): (Standing, &str),
) -> BTreeMap<RegionId, (Standing, String)> {
    let mut regions: BTreeMap<RegionId, (Standing, String)> = BTreeMap::new();
    for (member, view) in group.members.iter().zip(&round.views) {
        let place = &member.endpoint;
        let standing = match view {
            NodeView::Answered(Facts::Postgres(facts)) if !facts.in_recovery && facts.fenced => {
                (Standing::Degraded, format!("{place} is fenced and must be rewound"))
            }
            NodeView::Answered(Facts::Postgres(facts)) if facts.in_recovery && !facts.streaming => {
                (Standing::Recovering, format!("{place} does not follow the writer"))
            }
            NodeView::Answered(_) => (verdict, reason.to_owned()),
            NodeView::Refused(why) => (Standing::Degraded, format!("{why}; the writer goes on")),
            NodeView::Silent(why)
            | NodeView::Denied(why)
            | NodeView::Rubbish(why)
            | NodeView::Unmeasured(why) => (Standing::Unknown, format!("{why}; the writer goes on")),
        };
        // Several servers in one region: the best of them counts.
        regions
            .entry(member.region)
            .and_modify(|known| {
                if standing.0 < known.0 {
                    known.clone_from(&standing);
                }
            })
            .or_insert(standing);
    }
    regions
}
