//! Judging Redis under Sentinels: Sentinels that vote on who the master is, and servers that are
//! or are not what they were voted to be.
//!
//! Redis itself has no quorum: a master that is cut off takes writes for ever, and they are lost
//! when it is back. So the rules, in order:
//! 1. The master is the one that a majority of the configured Sentinels names in one
//!    configuration epoch, of those that say that they reach a majority themselves.
//! 2. Quorum: that, and the named server says that it is the master. What it may lose is the
//!    smaller of the Sentinels above a majority and the replicas that have lately been heard.
//! 3. Another server that says it is a master, and takes writes, was left behind. Where the
//!    group lies over regions only its own region is a split brain, and at once: what is written
//!    there will be lost. Inside one region the group is one, if that goes on for the time to truth.
//! 4. Sentinels without a majority, and one master that most servers follow: degraded. Nobody would
//!    replace it, and nothing is lost yet.
//! 5. Otherwise no quorum, after the time to truth, if a majority of Sentinels says so or refuses
//!    connections.
//! 6. The named master does not answer us: unknown. It may be writing where we cannot see it.

mod named;
mod regions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::named::{Named, is_sentinel};
use super::absent::{Absent, may_go_on, nobody_answers};
use super::case::Case;
use super::past::Past;
use super::{Evidence, Facts, Judgement, NodeView, RedisFacts, SentinelFacts, Standing};
use crate::base::Mono;
use crate::config::Endpoint;

/// What is remembered of such a group between rounds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Notes {
    /// Since when a server beside the master has taken writes as one.
    rival_since: Option<Mono>,
}

type Server<'a> = (usize, &'a RedisFacts);
type Sentinel<'a> = (usize, &'a SentinelFacts);

pub(super) fn judge(case: &Case<'_>, past: &mut Past, notes: &mut Notes) -> Judgement {
    let views = case.group.members.iter().zip(&case.round.views);
    let votes: Vec<NodeView> =
        views.filter(|(member, _)| is_sentinel(&member.endpoint)).map(|(_, view)| view.clone()).collect();
    let absent = Absent::count(&votes);
    let (voters, majority) = (votes.len(), votes.len() / 2 + 1);
    let sentinels: Vec<Sentinel<'_>> = case.answers(|facts| match facts {
        Facts::Sentinel(facts) => Some(facts),
        _ => None,
    });
    let servers: Vec<Server<'_>> = case.answers(|facts| match facts {
        Facts::Redis(facts) => Some(facts),
        _ => None,
    });
    let named = Named::by_most(&sentinels);
    let agreeing = named.as_ref().map_or(0, |named| named.by.len());
    let agreed = named.as_ref().filter(|named| named.by.len() >= majority);
    let masters: Vec<Server<'_>> =
        servers.iter().filter(|(_, facts)| facts.master && !facts.loading).copied().collect();

    let mut evidence = Evidence {
        voters,
        reached: sentinels.len(),
        agreeing,
        margin: agreeing as i64 - majority as i64,
        leader: named.as_ref().map(|named| named.address.to_owned()),
        term: named.as_ref().map(|named| named.epoch),
        lag_max: lag_max(&servers),
        ..Evidence::default()
    };

    let (verdict, reason) = match (agreed, agreed.and_then(|named| named.server(case, &servers))) {
        (Some(named), Some(master)) if master.1.master && !master.1.loading => {
            past.leaderless_since = None;
            if servers_of(case) > 1 {
                evidence.margin = evidence.margin.min(master.1.good_replicas as i64);
            }
            match left_behind(case, notes, master, &masters) {
                Some(other) => {
                    let (place, epoch) = (case.place(master.0), named.epoch);
                    let words = format!("{place} is the master of epoch {epoch}");
                    (Standing::SplitBrain, format!("{words}, and {other} still takes writes as one"))
                }
                None => reigning(case, past, named, master, &evidence, &absent),
            }
        }
        (Some(named), Some((position, _))) => {
            let place = case.place(position);
            let words = format!("{place} was made the master of epoch {} and is not", named.epoch);
            case.in_time(past.leaderless_for(case.now), words, Standing::NoQuorum)
        }
        (Some(named), None) => {
            let words = format!("the master {} does not answer", named.address);
            // It refuses, or it is not to be seen from here.
            let gone = named
                .position(case)
                .is_some_and(|position| matches!(case.round.views[position], NodeView::Refused(_)));
            let then = if gone { Standing::NoQuorum } else { Standing::Unknown };
            case.in_time(past.leaderless_for(case.now), words, then)
        }
        (None, _) => match followed(case, &masters) {
            Some(place) if !sentinels.is_empty() || absent.refused >= majority => {
                past.leaderless_since = None;
                let words = format!("{place} is the master and is followed");
                let words = format!("{words}; {agreeing} of {voters} Sentinels could replace it");
                (Standing::Degraded, words)
            }
            _ if sentinels.is_empty() && absent.refused < majority => {
                past.leaderless_since = None;
                nobody_answers("voter", &absent, &votes)
            }
            _ => headless(case, past, &sentinels, &evidence, &absent),
        },
    };
    let mut regions = match case.group.inside {
        Some(_) => BTreeMap::new(),
        None => regions::stand(case, past, agreed, (verdict, &reason)),
    };
    if verdict == Standing::NoQuorum && may_go_on(case, voters, sentinels.len() + absent.refused) {
        // Those that spoke have no quorum, and the others may be one.
        for region in case.group.by_region().into_keys() {
            regions.entry(region).or_insert_with(|| (verdict, reason.clone()));
        }
        let reason = format!("{reason}; the others may go on out of sight");
        return Judgement { verdict: Standing::Unknown, reason, evidence, regions };
    }
    Judgement { verdict, reason, evidence, regions }
}

fn servers_of(case: &Case<'_>) -> usize {
    case.group.members.iter().filter(|member| !is_sentinel(&member.endpoint)).count()
}

/// A server beside the master that has gone on taking writes as one for the time to truth, where that
/// is the loss of the group: inside one region.
fn left_behind<'a>(
    case: &Case<'a>,
    notes: &mut Notes,
    (master, _): Server<'_>,
    masters: &[Server<'_>],
) -> Option<&'a Endpoint> {
    let other = masters.iter().find(|(other, facts)| *other != master && !facts.refuses_writes);
    let Some((other, _)) = other.filter(|_| case.group.inside.is_some()) else {
        notes.rival_since = None;
        return None;
    };
    let since = *notes.rival_since.get_or_insert(case.now);
    case.has_lasted(since).then(|| case.place(*other))
}

/// The named master is one.
fn reigning(
    case: &Case<'_>,
    past: &mut Past,
    named: &Named<'_>,
    (position, facts): Server<'_>,
    evidence: &Evidence,
    absent: &Absent,
) -> (Standing, String) {
    let place = case.place(position);
    if facts.refuses_writes {
        return (Standing::ReadOnly, format!("{place} is the master and refuses writes: too few replicas"));
    }
    if past.catching_up.is_some() && servers_of(case) > 1 && facts.good_replicas == 0 {
        return (Standing::Recovering, format!("{place} is the master again; no replica follows yet"));
    }
    past.catching_up = None;
    let words = format!(
        "{} of {} Sentinels name {place} as the master of epoch {}, {} replicas follow",
        evidence.agreeing, evidence.voters, named.epoch, facts.good_replicas
    );
    absent.beside(evidence.margin, words)
}

/// The one master, if most servers follow it whatever becomes of the Sentinels.
fn followed<'a>(case: &Case<'a>, masters: &[Server<'_>]) -> Option<&'a Endpoint> {
    let [(position, facts)] = masters else { return None };
    let servers = servers_of(case);
    let by_most = facts.good_replicas + 1 > servers / 2 && (servers == 1 || facts.good_replicas > 0);
    (by_most && !facts.refuses_writes).then(|| case.place(*position))
}

/// Nobody is agreed upon, and no one master is followed.
fn headless(
    case: &Case<'_>,
    past: &mut Past,
    sentinels: &[Sentinel<'_>],
    evidence: &Evidence,
    absent: &Absent,
) -> (Standing, String) {
    let Evidence { voters, agreeing, .. } = *evidence;
    let cut_off = || sentinels.iter().filter(|(_, facts)| !facts.reaches);
    let (n, others) = (sentinels.len(), absent.aside());
    if cut_off().count() + absent.refused <= voters / 2 && cut_off().count() < n {
        let words = format!("only {agreeing} of {voters} Sentinels name one master{others}");
        return case.in_time(past.leaderless_for(case.now), words, Standing::Unknown);
    }
    let words = match cut_off().next() {
        Some((_, facts)) => {
            let said = facts.words.split('.').next().unwrap_or_default();
            format!("{n} of {voters} Sentinels answer: {said}{others}")
        }
        None => format!("{} of {voters} Sentinels refuse connections", absent.refused),
    };
    match n {
        0 if !past.seen_well => past.refused(words),
        _ => case.in_time(past.leaderless_for(case.now), words, Standing::NoQuorum),
    }
}

fn lag_max(servers: &[Server<'_>]) -> Option<u64> {
    let end = servers.iter().map(|(_, facts)| facts.offset).max()?;
    servers.iter().map(|(_, facts)| end - facts.offset).max()
}
