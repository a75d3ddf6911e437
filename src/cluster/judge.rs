//! One judgement per round, and what must be remembered between rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Judgement, NodeView, Round, Standing, postgres, raft};
use crate::base::{Mono, RegionId};
use crate::config::{Cluster, ClusterKind, Group};

/// What a group was, as far as judging the next round depends on it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// It has been seen with a quorum. A group that never was is not lost but mistyped.
    pub(super) seen_well: bool,
    /// Since when nobody names a leader, or nobody is the writer.
    pub(super) leaderless_since: Option<Mono>,
    /// The last thing known for sure was that it cannot commit: it must catch up first.
    pub(super) catching_up: Option<CatchUp>,
    /// Voters that said they have no vote.
    pub(super) learners: BTreeSet<usize>,
    /// The member that was the writer.
    pub(super) writer: Option<usize>,
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
    /// How long there has been no leader, counting from the first round that said so.
    pub(super) fn leaderless_for(&mut self, now: Mono) -> Duration {
        now.since(*self.leaderless_since.get_or_insert(now))
    }
}

/// Judges a group by what one round brought.
pub fn judge(cluster: &Cluster, group: &Group, round: &Round, memory: &mut Memory, now: Mono) -> Judgement {
    let mut judgement = match cluster.kind {
        ClusterKind::Etcd(_) => raft::judge(cluster, group, round, memory, now),
        ClusterKind::Postgres(_) => postgres::judge(cluster, group, round, memory, now),
    };
    match judgement.verdict {
        Standing::Quorum | Standing::Degraded => memory.seen_well = true,
        Standing::NoQuorum | Standing::ReadOnly | Standing::SplitBrain => {
            memory.catching_up = Some(CatchUp::ToBeSeen);
        }
        _ => {}
    }
    // A region that lies outside the judged ones has the group's own standing.
    for member in &group.members {
        judgement
            .regions
            .entry(member.region)
            .or_insert_with(|| (judgement.verdict, judgement.reason.clone()));
    }
    judgement
}

/// Counts of how members failed to answer, and words about them.
#[derive(Default, Debug)]
pub(super) struct Absent {
    pub(super) refused: usize,
    pub(super) silent: usize,
    pub(super) denied: usize,
    pub(super) rubbish: usize,
    pub(super) unmeasured: usize,
}

impl Absent {
    pub(super) fn count<'a>(views: impl IntoIterator<Item = &'a NodeView>) -> Self {
        let mut absent = Self::default();
        for view in views {
            match view {
                NodeView::Answered(_) => {}
                NodeView::Refused(_) => absent.refused += 1,
                NodeView::Silent(_) => absent.silent += 1,
                NodeView::Denied(_) => absent.denied += 1,
                NodeView::Rubbish(_) => absent.rubbish += 1,
                NodeView::Unmeasured(_) => absent.unmeasured += 1,
            }
        }
        absent
    }

    /// "2 silent, 1 refused", or an empty text.
    pub(super) fn words(&self) -> String {
        let counts = [
            (self.refused, "refused"),
            (self.silent, "silent"),
            (self.denied, "denied us"),
            (self.rubbish, "answered rubbish"),
            (self.unmeasured, "could not be asked"),
        ];
        let parts: Vec<_> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        parts.join(", ")
    }
}

/// The first words of a view that tells why it brought no facts.
pub(super) fn first_complaint(views: &[NodeView]) -> Option<&str> {
    views.iter().find_map(|view| match view {
        NodeView::Answered(_) => None,
        NodeView::Refused(why)
        | NodeView::Silent(why)
        | NodeView::Denied(why)
        | NodeView::Rubbish(why)
        | NodeView::Unmeasured(why) => Some(why.as_str()),
    })
}
