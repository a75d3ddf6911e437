//! What must be remembered of a group between rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Standing;
use super::electorate::Electorate;
use crate::base::{Mono, RegionId, show_span};

/// What a group was, as far as judging the next round depends on it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// It has been seen with a quorum. A group that never was is not lost but mistyped.
    pub(super) seen_well: bool,
    /// Since when nobody names a leader, or nobody is the writer.
    pub(super) leaderless_since: Option<Mono>,
    /// The leader that a majority names and that does not answer itself, once it was believed.
    pub(super) vouched: Option<(u64, String)>,
    /// How much of the leader's log a majority has, and since when that is not all and grows no more.
    pub(super) stalled: Option<(u64, Mono)>,
    /// Since when more parts are lost than is tolerated.
    pub(super) parts_lost_since: Option<Mono>,
    /// The last thing known for sure was that it cannot commit: it must catch up first.
    pub(super) catching_up: Option<CatchUp>,
    /// Voters that said they have no vote.
    pub(super) learners: BTreeSet<usize>,
    /// Who has a vote, where the system decides that itself.
    pub(super) electorate: Electorate,
    /// The member that was the writer.
    pub(super) writer: Option<usize>,
    /// Since when a second part has claimed that it may commit.
    pub(super) rival_since: Option<Mono>,
    /// Members that answer locally and let what takes the others hang, and since when.
    pub(super) stuck: BTreeMap<usize, Mono>,
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

impl Memory {
    /// Of a group that an earlier process has seen with a quorum.
    pub fn well() -> Self {
        Self { seen_well: true, ..Self::default() }
    }

    /// Whether it has been seen with a quorum.
    pub fn seen_well(&self) -> bool {
        self.seen_well
    }

    /// The same under another configuration, where regions may have other ids.
    pub fn renumbered(&self, id: impl Fn(RegionId) -> Option<RegionId>) -> Self {
        Self {
            cut_off: self.cut_off.iter().filter_map(|(region, since)| Some((id(*region)?, *since))).collect(),
            rejoining: self.rejoining.iter().filter_map(|(region, to)| Some((id(*region)?, *to))).collect(),
            ..self.clone()
        }
    }

    /// How a region stands that is out of a group that goes on: it has its time to truth to come back.
    pub(super) fn out_of_group(
        &mut self,
        region: RegionId,
        words: &str,
        truth: Duration,
        now: Mono,
    ) -> (Standing, String) {
        let since = now.since(*self.cut_off.entry(region).or_insert(now));
        match since <= truth {
            true => (Standing::Electing, format!("{words}, for {}", show_span(since))),
            false => (Standing::NoQuorum, format!("{words}; the group goes on elsewhere")),
        }
    }

    /// How long there has been no leader, counting from the first round that said so.
    pub(super) fn leaderless_for(&mut self, now: Mono) -> Duration {
        now.since(*self.leaderless_since.get_or_insert(now))
    }
}
