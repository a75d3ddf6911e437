//! Judging a PostgreSQL cluster: one writer, and standbys that follow it.
//!
//! PostgreSQL has no quorum of its own; what plays its part is exactly one server that accepts
//! writes of applications. Two are a split brain. None is `electing` for as long as a restart may
//! take, and then lost. A server that is fenced accepts none, whatever it says of itself: it is
//! what a promotion elsewhere has left behind, or is about to.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::absent::{Absent, first_complaint, nobody_answers};
use super::case::Case;
use super::past::Past;
use super::{Evidence, Facts, Judgement, NodeView, PostgresFacts, Standing};
use crate::base::RegionId;

type Server<'a> = (usize, &'a PostgresFacts);

pub(super) fn judge(case: &Case<'_>, past: &mut Past, last_writer: &mut Option<usize>) -> Judgement {
    let answered: Vec<Server<'_>> = case.answers(|facts| match facts {
        Facts::Postgres(facts) => Some(facts),
        _ => None,
    });
    let absent = Absent::count(&case.round.views);
    let timeline = answered.iter().map(|(_, facts)| facts.timeline).max();
    let writers: Vec<Server<'_>> = answered.iter().filter(|(_, facts)| writes(facts)).copied().collect();
    let writer = writers.first().copied();
    let followers = answered
        .iter()
        .filter(|(_, facts)| facts.in_recovery && facts.streaming)
        .filter(|(_, facts)| writer.is_none_or(|(_, writer)| writer.system == facts.system))
        .count();
    let end = writer.map(|(_, facts)| facts.received);

    let evidence = Evidence {
        voters: case.group.members.len(),
        reached: answered.len(),
        agreeing: writers.len().min(1) + followers,
        margin: if writers.is_empty() { -1 } else { followers as i64 },
        leader: writer.map(|(position, _)| case.place(position).to_string()),
        term: timeline.map(u64::from),
        lag_max: end.and_then(|end| {
            let standbys = answered.iter().filter(|(_, facts)| facts.in_recovery);
            standbys.map(|(_, facts)| end.saturating_sub(facts.replayed)).max()
        }),
        ..Evidence::default()
    };

    let (verdict, reason) = match writers.as_slice() {
        [one] => {
            past.leaderless_since = None;
            past.catching_up = None;
            *last_writer = Some(one.0);
            let place = case.place(one.0);
            if one.1.read_only {
                (Standing::ReadOnly, format!("{place} is the writer and read-only by default"))
            } else if followers > 0 {
                (Standing::Quorum, format!("{place} is the writer; {followers} standby follows"))
            } else {
                (Standing::Degraded, format!("{place} is the writer; no standby follows"))
            }
        }
        [] => no_writer(case, past, *last_writer, &answered, &absent),
        many => {
            let places: Vec<_> = many.iter().map(|(position, _)| case.place(*position).to_string()).collect();
            (Standing::SplitBrain, format!("{} all accept writes", places.join(" and ")))
        }
    };
    let regions = match verdict {
        Standing::Quorum | Standing::Degraded if case.group.inside.is_none() => {
            regions(case, (verdict, &reason))
        }
        Standing::NoQuorum | Standing::Unknown if case.group.inside.is_none() => {
            without_writer(case, *last_writer, (verdict, &reason))
        }
        _ => BTreeMap::new(),
    };
    Judgement { verdict, reason, evidence, regions }
}

/// Whether applications can write there. The timelines say nothing about it: while the new writer
/// does not answer, a fenced one would be on the newest that is known, and would hide the loss.
fn writes(facts: &PostgresFacts) -> bool {
    !facts.in_recovery && !facts.fenced
}

fn no_writer(
    case: &Case<'_>,
    past: &mut Past,
    writer: Option<usize>,
    answered: &[Server<'_>],
    absent: &Absent,
) -> (Standing, String) {
    let complaint = first_complaint(&case.round.views).map_or(String::new(), |why| format!(": {why}"));
    if answered.is_empty() && absent.refused < case.group.members.len() {
        past.leaderless_since = None;
        return nobody_answers("server", absent, &case.round.views);
    }
    let last = writer.map(|position| (&case.round.views[position], case.place(position)));
    let words = match last {
        Some((NodeView::Refused(_), place)) => format!("the writer {place} refuses connections"),
        Some((NodeView::Answered(_), place)) => format!("{place} is no longer the writer, and no other is"),
        Some((_, place)) => {
            // It may be writing happily where we cannot see it.
            past.leaderless_since = None;
            return (Standing::Unknown, format!("the writer {place} does not answer{complaint}"));
        }
        None if absent.refused == case.group.members.len() => {
            let words = "every server refuses connections; never seen otherwise: is the address right?";
            return (Standing::Unknown, words.to_owned());
        }
        None if absent.refused + answered.len() < case.group.members.len() => {
            past.leaderless_since = None;
            let others = absent.aside();
            let words = format!("the writer may be one that could not be asked{others}{complaint}");
            return (Standing::Unknown, words);
        }
        None => {
            let fenced = answered.iter().find(|(_, facts)| facts.fenced);
            match fenced.map(|(position, _)| case.place(*position)) {
                Some(place) => format!("{place} is fenced, and no other is the writer"),
                None => {
                    format!(
                        "{} of {} servers answer, all in recovery",
                        answered.len(),
                        case.group.members.len()
                    )
                }
            }
        }
    };
    case.in_time(past.leaderless_for(case.now), words, Standing::NoQuorum)
}

/// The writer is gone, or out of sight, and standbys answer. Then the cluster is not lost as a
/// whole, as a raft group without its majority is: a standby can be promoted. Its region is
/// degraded, and fit to take over; the loss, or the doubt, is that of the others.
fn without_writer(
    case: &Case<'_>,
    writer: Option<usize>,
    (verdict, reason): (Standing, &str),
) -> BTreeMap<RegionId, (Standing, String)> {
    let answers = |position: usize| matches!(case.round.views[position], NodeView::Answered(_));
    let gone = match writer {
        // Somebody has taken the role away, and may be about to give it to another.
        Some(position) if answers(position) => return BTreeMap::new(),
        Some(position) => Some(case.group.members[position].region),
        None => None,
    };
    let standby = |position: usize| match &case.round.views[position] {
        NodeView::Answered(Facts::Postgres(facts)) => facts.in_recovery,
        _ => false,
    };
    let positions = 0..case.group.members.len();
    if positions.clone().all(answers) || !positions.clone().any(standby) {
        return BTreeMap::new();
    }
    let mut regions: BTreeMap<RegionId, (Standing, String)> = BTreeMap::new();
    for position in positions {
        let member = &case.group.members[position];
        let standing = regions.entry(member.region).or_insert_with(|| (verdict, reason.to_owned()));
        if standby(position) && gone != Some(member.region) {
            let words = format!("{} is a standby and can be promoted; {reason}", member.endpoint);
            *standing = (Standing::Degraded, words);
        }
    }
    regions
}

/// A region stands as the group does while its server writes or follows.
fn regions(case: &Case<'_>, (verdict, reason): (Standing, &str)) -> BTreeMap<RegionId, (Standing, String)> {
    let mut regions: BTreeMap<RegionId, (Standing, String)> = BTreeMap::new();
    for (member, view) in case.group.members.iter().zip(&case.round.views) {
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
