//! Judging PostgreSQL under Patroni: one primary that holds a lease in a store of its own, and
//! replicas that follow it.
//!
//! Patroni has no quorum of its own either. The rules, in order:
//! 1. The writer is the member that says it is the primary, runs, and has its lease; without the
//!    lease only in failsafe mode or while Patroni is paused. One that is `stopping` is none,
//!    whatever its `/leader` says.
//! 2. Two of them: split brain.
//! 3. One: quorum while a replica streams from it. In failsafe mode (the store is lost, and every
//!    member still reaches the primary) and in a pause nobody would take over: degraded.
//! 4. None: electing for the time to truth. Then it is lost if no member is out of our sight; or if no
//!    replica that answers knows of a lease, and the last writer is known to be none any more, or one
//!    says that there is no lease. Else it is unknown.
//!    A minority speaks for its own regions alone: others may have made another the writer.
//! 5. A region whose members are not in the store's list, by the writer's word, is cut off.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::absent::{Absent, nobody_answers, out_of_sight, without_quorum};
use super::case::Case;
use super::past::{CatchUp, Past};
use super::{Evidence, Facts, Judgement, NodeView, PatroniFacts, Standing};
use crate::base::RegionId;
use crate::config::Endpoint;

type Server<'a> = (usize, &'a PatroniFacts);

pub(super) fn judge(case: &Case<'_>, past: &mut Past, last_writer: &mut Option<usize>) -> Judgement {
    let answered: Vec<Server<'_>> = case.answers(|facts| match facts {
        Facts::Patroni(facts) => Some(facts),
        _ => None,
    });
    let absent = Absent::count(&case.round.views);
    let writers: Vec<Server<'_>> = answered.iter().filter(|(_, facts)| writes(facts)).copied().collect();
    let writer = writers.first().copied();
    let followers = writer.map_or(0, |(_, facts)| facts.streaming);
    let evidence = Evidence {
        voters: case.group.members.len(),
        reached: answered.len(),
        agreeing: writers.len().min(1) + followers,
        margin: if writers.is_empty() { -1 } else { followers as i64 },
        leader: writer.map(|(position, _)| case.place(position).to_string()),
        term: answered.iter().map(|(_, facts)| facts.timeline).max(),
        lag_max: writer.and_then(|(_, writer)| {
            let replicas = answered.iter().filter(|(_, facts)| !facts.primary && facts.running);
            replicas.map(|(_, facts)| writer.position.saturating_sub(facts.position)).max()
        }),
        ..Evidence::default()
    };
    let (verdict, reason) = match writers.as_slice() {
        [(position, facts)] => {
            past.leaderless_since = None;
            past.catching_up = None;
            *last_writer = Some(*position);
            let words = format!("{} is the writer; {followers} replicas stream", case.place(*position));
            match (facts.failsafe, facts.paused) {
                (true, _) => {
                    (Standing::Degraded, format!("{words}; failsafe mode: the store of leases is lost"))
                }
                (_, true) => {
                    (Standing::Degraded, format!("{words}; Patroni is paused: nobody would take over"))
                }
                _ if followers == 0 => (Standing::Degraded, words),
                _ => (Standing::Quorum, words),
            }
        }
        [] => no_writer(case, past, *last_writer, &answered, &absent),
        many => {
            let places: Vec<_> = many.iter().map(|(position, _)| case.place(*position).to_string()).collect();
            (Standing::SplitBrain, format!("{} are both writers", places.join(" and ")))
        }
    };
    let voters = case.group.members.len();
    let (verdict, reason, lost) = match verdict {
        // Another may have been made the writer out of our sight.
        Standing::NoQuorum => without_quorum(case, past, (voters, answered.len() + absent.refused), reason),
        _ => (verdict, reason, BTreeMap::new()),
    };
    let regions = match (verdict, writer) {
        (Standing::Quorum | Standing::Degraded, Some(writer)) if case.group.inside.is_none() => {
            regions(case, past, writer, (verdict, &reason))
        }
        _ => lost,
    };
    Judgement { verdict, reason, evidence, regions }
}

fn writes(facts: &PatroniFacts) -> bool {
    facts.primary && facts.running && (!facts.unlocked || facts.failsafe || facts.paused)
}

fn no_writer(
    case: &Case<'_>,
    past: &mut Past,
    writer: Option<usize>,
    answered: &[Server<'_>],
    absent: &Absent,
) -> (Standing, String) {
    let all_refuse = absent.refused == case.group.members.len();
    if answered.is_empty() && !all_refuse {
        past.leaderless_since = None;
        return nobody_answers("voter", absent, &case.round.views);
    }
    if all_refuse && !past.seen_well {
        let words = "every member refuses connections; never seen otherwise: is the address right?";
        return (Standing::Unknown, words.to_owned());
    }
    let last = writer.map(|position| (&case.round.views[position], case.place(position)));
    let spoke = answered.len() + absent.refused;
    // A replica that follows somebody: out of our sight another may have been made the writer.
    let knows_of_one = answered.iter().any(|(_, facts)| facts.running && !facts.primary && !facts.unlocked);
    let gone = spoke == case.group.members.len() || !knows_of_one;
    let sure =
        gone && (spoke == case.group.members.len() || answered.iter().any(|(_, facts)| facts.unlocked));
    let (words, lost) = match last {
        Some((NodeView::Refused(_), place)) => (format!("the writer {place} refuses connections"), gone),
        Some((NodeView::Answered(Facts::Patroni(facts)), place)) => {
            (format!("{place} is no longer the writer ({}), and no other is", facts.state), gone)
        }
        Some((_, place)) => (format!("the writer {place} does not answer"), sure),
        None => {
            let members = case.group.members.len();
            (format!("{} of {members} members answer, none the writer", answered.len()), sure)
        }
    };
    // Else it may be writing happily where we cannot see it.
    let then = if lost { Standing::NoQuorum } else { Standing::Unknown };
    case.in_time(past.leaderless_for(case.now), words, then)
}

/// How each region stands beside a writer.
fn regions(
    case: &Case<'_>,
    past: &mut Past,
    (writer, told): Server<'_>,
    (verdict, reason): (Standing, &str),
) -> BTreeMap<RegionId, (Standing, String)> {
    let place = |position: usize| match case.place(position) {
        Endpoint::Http(url) => {
            url.host_str().map(|host| format!("{host}:{}", url.port_or_known_default().unwrap_or_default()))
        }
        _ => None,
    };
    let listed = |position: usize| {
        place(position)
            .is_some_and(|place| told.members.iter().any(|member| member.place == place && member.running))
    };
    // Where Patroni knows the members by other addresses, its list tells us nothing.
    let telling = listed(writer);
    let mut regions = BTreeMap::new();
    for (region, local) in case.group.by_region() {
        let facts = |position: &usize| match &case.round.views[*position] {
            NodeView::Answered(Facts::Patroni(facts)) => Some(facts),
            _ => None,
        };
        let mut heard = local.iter().filter_map(|position| Some((*position, facts(position)?))).peekable();
        let standing = if heard.peek().is_some() {
            let in_it = heard.find(|(position, facts)| {
                *position == writer || (facts.running && !facts.primary && (!telling || listed(*position)))
            });
            match in_it {
                None => {
                    let words = "its members have no lease in the store by the writer's word";
                    past.out_of_group(case, region, words)
                }
                Some((position, facts)) => {
                    if past.cut_off.remove(&region).is_some() {
                        past.rejoining.insert(region, CatchUp::To(told.position));
                    }
                    let target = match past.rejoining.get(&region) {
                        Some(CatchUp::To(target)) => *target,
                        _ => 0,
                    };
                    let behind = facts.timeline < told.timeline || facts.position < target;
                    if position != writer && target > 0 && behind {
                        let words = format!("back, at {} of {target}", facts.position);
                        (Standing::Recovering, words)
                    } else {
                        past.rejoining.remove(&region);
                        (verdict, reason.to_owned())
                    }
                }
            }
        } else {
            out_of_sight(local.iter().map(|position| &case.round.views[*position]))
        };
        regions.insert(region, standing);
    }
    regions
}
