//! What is remembered of any group between rounds, whatever its family.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Standing;
use super::case::Case;
use crate::base::{Mono, RegionId};

/// What a group was, as far as judging the next round depends on it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Past {
    /// It has been seen with a quorum. A group that never was is not lost but mistyped.
    pub(super) seen_well: bool,
    /// Since when nobody names a leader, or nobody is the writer.
    pub(super) leaderless_since: Option<Mono>,
    /// The last thing known for sure was that it cannot commit: it must catch up first.
    pub(super) catching_up: Option<CatchUp>,
    /// Regions whose voters have fallen out of the group, and since when.
    pub(super) cut_off: BTreeMap<RegionId, Mono>,
    /// Regions whose voters are back in the group and must catch up first.
    pub(super) rejoining: BTreeMap<RegionId, CatchUp>,
}

/// How far a log must be applied before a return counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CatchUp {
    /// As far as the leader's log will be when the quorum is seen again.
    ToBeSeen,
    /// As far as this.
    To(u64),
}

impl CatchUp {
    /// How far, now that the log's end is seen.
    pub(super) fn target(self, end: u64) -> u64 {
        match self {
            Self::To(index) => index,
            Self::ToBeSeen => end,
        }
    }
}

impl Past {
    /// The same under another configuration, where regions may have other ids.
    pub(super) fn renumbered(&self, id: impl Fn(RegionId) -> Option<RegionId>) -> Self {
        Self {
            cut_off: self.cut_off.iter().filter_map(|(region, since)| Some((id(*region)?, *since))).collect(),
            rejoining: self.rejoining.iter().filter_map(|(region, to)| Some((id(*region)?, *to))).collect(),
            ..*self
        }
    }

    /// How long there has been no leader, counting from the first round that said so.
    pub(super) fn leaderless_for(&mut self, now: Mono) -> Duration {
        now.since(*self.leaderless_since.get_or_insert(now))
    }

    /// What it means that so many refuse connections that a quorum cannot be left: of a group that was
    /// never seen well, that the address may be wrong.
    pub(super) fn refused(&self, words: String) -> (Standing, String) {
        match self.seen_well {
            true => (Standing::NoQuorum, words),
            false => (Standing::Unknown, format!("{words}; never seen otherwise: is the address right?")),
        }
    }

    /// How a region stands that is out of a group that goes on: it has its time to truth to come back.
    pub(super) fn out_of_group(
        &mut self,
        case: &Case<'_>,
        region: RegionId,
        words: &str,
    ) -> (Standing, String) {
        let since = *self.cut_off.entry(region).or_insert(case.now);
        let (standing, words) = case.in_time(case.now.since(since), words.to_owned(), Standing::NoQuorum);
        match standing {
            Standing::NoQuorum => (standing, format!("{words}; the group goes on elsewhere")),
            _ => (standing, words),
        }
    }

    /// How a region stands whose voters all claim to be in a group that goes on, and let what takes a
    /// quorum hang for so long: they are cut off from it, and do not know it yet.
    pub(super) fn failing_alone(
        &mut self,
        case: &Case<'_>,
        region: RegionId,
        span: &str,
    ) -> (Standing, String) {
        self.cut_off.entry(region).or_insert(case.now);
        let words = format!("what takes a quorum has failed through its voters for {span}");
        (Standing::NoQuorum, format!("{words}; the group goes on elsewhere"))
    }

    /// A region is in the group again. If it was out for longer than an election takes, it must catch
    /// up with what the group has by now.
    pub(super) fn back_in_group(&mut self, case: &Case<'_>, region: RegionId, end: Option<u64>) {
        if self.cut_off.remove(&region).is_some_and(|since| case.has_lasted(since)) {
            self.rejoining.insert(region, end.map_or(CatchUp::ToBeSeen, CatchUp::To));
        }
    }
}
