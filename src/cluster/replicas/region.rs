//! How one region stands: as seen by the member of its own that sees the most.

use std::collections::BTreeSet;

use super::sight::Sight;
use super::tally::Tally;
use crate::base::{Mono, RegionId};
use crate::cluster::absent::{Absent, out_of_sight};
use crate::cluster::past::{CatchUp, Past};
use crate::cluster::shards::{Found, found};
use crate::cluster::{HostId, NodeView, Replication, Standing};

/// Where Cassandra keeps the roles.
pub(super) const ROLES: &str = "system_auth";

pub(super) fn stands(
    sight: &Sight<'_>,
    past: &mut Past,
    region: RegionId,
    local: &[usize],
) -> (Standing, String, Option<Tally>) {
    let case = &sight.case;
    let coordinators: Vec<usize> =
        local.iter().copied().filter(|member| sight.answered.contains_key(member)).collect();
    let tally = match coordinators.is_empty() {
        // Nobody there to ask. Others may hear them, and what is not kept there may go on.
        true => sight.tally(None, local),
        false => coordinators
            .iter()
            .filter_map(|member| sight.tally(Some(*member), local))
            .min_by_key(Tally::badness),
    };
    let absent = Absent::count(case.views_of(local)).words();
    let absent = if absent.is_empty() { absent } else { format!("; {absent}") };
    let (noun, lost_max) = ("token ranges", sight.options.parts_lost_max);
    let lost = tally.as_ref().map(|tally| found(&tally.shards, noun, lost_max));
    let feared = tally.as_ref().map(|tally| found(&tally.feared, noun, lost_max));

    if let (Some(Found::TooMany(words)), Some(tally)) = (&lost, &tally) {
        let began = *past.cut_off.entry(region).or_insert(case.now);
        let all = tally.shards.lost == tally.shards.total;
        if let Some(member) = sight.proven(&coordinators, Some(began)).filter(|_| all) {
            let words = format!("a read passes through {}, though {words}", case.place(member));
            return (Standing::Degraded, words, Some(tally.clone()));
        }
        let words = format!("{words} at {}{absent}", sight.levels());
        let (standing, words) = lost_since(sight, past, region, began, words);
        return (standing, words, Some(tally.clone()));
    }
    let refuses = |view: &NodeView| matches!(view, NodeView::Refused(_));
    if tally.is_none() && past.seen_well && case.round.views.iter().all(refuses) {
        // Which ranges does not matter.
        let began = *past.cut_off.entry(region).or_insert(case.now);
        let words = format!("all {} members refuse connections", case.group.members.len());
        let (standing, words) = lost_since(sight, past, region, began, words);
        return (standing, words, None);
    }
    if sight.disproved(&coordinators) {
        past.rejoining.insert(region, CatchUp::ToBeSeen);
        let words = format!(
            "{} of {} members answer, but {}",
            coordinators.len(),
            local.len(),
            sight.notes.complaint
        );
        return (Standing::NoQuorum, words, tally);
    }
    let doubt = match feared {
        Some(Found::TooMany(words)) => {
            Some(format!("unless members are there that cannot be judged, {words} at {}", sight.levels()))
        }
        None => Some("no majority of the members tells one ring and the keyspaces in it".to_owned()),
        _ => None,
    };
    if let Some(doubt) = doubt {
        past.cut_off.entry(region).or_insert(case.now);
        if let Some(member) = sight.proven(&coordinators, None) {
            past.cut_off.remove(&region);
            let words = format!("a read passes through {}{absent}", case.place(member));
            return (Standing::Degraded, words, tally);
        }
        if tally.is_some() && sight.all_locked_out(&coordinators) {
            past.rejoining.insert(region, CatchUp::ToBeSeen);
            let words = format!("its members let nobody in for want of replicas; {doubt}");
            return (Standing::NoQuorum, words, tally);
        }
        return (Standing::Unknown, format!("{doubt}{absent}"), tally);
    }

    past.cut_off.remove(&region);
    if coordinators.is_empty() {
        let (standing, words) = out_of_sight(local.iter().map(|member| &case.round.views[*member]));
        return (standing, words, tally);
    }
    let hints = sight.hints(local);
    if past.rejoining.contains_key(&region) && hints > 0 {
        let words =
            format!("its members are back; {hints} files of writes that they missed are still to come");
        return (Standing::Recovering, words, tally);
    }
    past.rejoining.remove(&region);
    let whole = format!("{} of {} members answer{absent}", coordinators.len(), local.len());
    match lost {
        Some(Found::Some(words)) => {
            (Standing::Degraded, format!("{words} at {}; {whole}", sight.levels()), tally)
        }
        _ => (Standing::Quorum, format!("every token range has {}; {whole}", sight.levels()), tally),
    }
}

/// More ranges are lost than may be: electing for its time, and then to catch up first.
fn lost_since(
    sight: &Sight<'_>,
    past: &mut Past,
    region: RegionId,
    began: Mono,
    words: String,
) -> (Standing, String) {
    let stands = sight.case.in_time(sight.case.now.since(began), words, Standing::NoQuorum);
    if stands.0 == Standing::NoQuorum {
        past.rejoining.insert(region, CatchUp::ToBeSeen);
    }
    stands
}

/// What its reads and logins say.
impl Sight<'_> {
    /// "LOCAL_QUORUM", or the levels of several keyspaces.
    fn levels(&self) -> String {
        let levels: BTreeSet<&str> =
            self.options.keyspaces.values().map(|keyspace| keyspace.level.word()).collect();
        levels.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// A read has passed through one of these not long ago: a turn of all members takes this long.
    fn proven(&self, local: &[usize], after: Option<Mono>) -> Option<usize> {
        let turn = self.case.cluster.schedule.interval * (self.case.group.members.len() as u32 + 1);
        let within = turn.max(self.case.cluster.time_to_truth);
        local.iter().copied().find(|member| {
            let passed = self.notes.passed.get(member);
            passed
                .is_some_and(|at| self.case.now.since(*at) <= within && after.is_none_or(|after| *at > after))
        })
    }

    /// A read fails through each of these that answers, and has for longer than the time to truth.
    fn disproved(&self, local: &[usize]) -> bool {
        let answering = local.iter().copied().filter(|member| self.answered.contains_key(member));
        self.notes.proofs.fail_among(&self.case, answering).is_some()
    }

    /// Each of these cannot find out who we are, though the roles are kept as safely as may be: it
    /// takes two or more replicas to be gone.
    fn all_locked_out(&self, local: &[usize]) -> bool {
        let roles = self.notes.ring.as_ref().and_then(|ring| ring.keyspaces.get(ROLES));
        let safe = match roles {
            Some(Replication::Simple(n)) => *n >= 3,
            Some(Replication::ByDatacenter(each)) => {
                each.values().all(|n| *n >= 3 || *n == 0) && each.values().any(|n| *n > 0)
            }
            _ => false,
        };
        safe && self.lasting(local, |member| self.notes.locked_out.get(member).copied())
    }

    fn lasting(&self, local: &[usize], since: impl Fn(&usize) -> Option<Mono>) -> bool {
        let answering = local.iter().filter(|member| self.answered.contains_key(member));
        let since: Option<Vec<Mono>> = answering.map(since).collect();
        let first = since.and_then(|since| since.into_iter().min());
        first.is_some_and(|first| self.case.has_lasted(first))
    }

    /// Files of hints that others keep for members of a region that answer again.
    fn hints(&self, local: &[usize]) -> u64 {
        let back = local.iter().filter(|member| self.answered.contains_key(member));
        let back: BTreeSet<HostId> = back.filter_map(|member| self.host(*member)).collect();
        let hints = self.answered.values().flat_map(|facts| &facts.hints);
        hints.filter(|(host, _)| back.contains(host)).map(|(_, files)| files).sum()
    }
}
