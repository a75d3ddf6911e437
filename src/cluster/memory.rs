//! What must be remembered of a group between rounds.

use super::past::Past;
use super::{component, peers, raft, replicas, sentinel};
use crate::base::{Mono, RegionId};

/// What a group was, as far as judging the next round depends on it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Of any group.
    pub(super) past: Past,
    /// Since when more parts are lost than is tolerated.
    pub(super) parts_lost_since: Option<Mono>,
    /// What only its own family of judges knows of.
    pub(super) family: Family,
}

/// What a family of judges remembers beside what all do: a cluster is of one family, and is never
/// judged by what another has noted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Family {
    /// Nothing.
    #[default]
    Any,
    Raft(raft::Notes),
    Component(component::Notes),
    Peers(peers::Notes),
    Sentinel(sentinel::Notes),
    Replicas(Box<replicas::Notes>),
    /// Of those with one writer: the member that was it.
    Writer(Option<usize>),
}

impl Memory {
    /// Of a group that an earlier process has seen with a quorum.
    pub fn well() -> Self {
        Self { past: Past { seen_well: true, ..Past::default() }, ..Self::default() }
    }

    /// Whether it has been seen with a quorum.
    pub fn seen_well(&self) -> bool {
        self.past.seen_well
    }

    /// The same under another configuration, where regions may have other ids.
    pub fn renumbered(&self, id: impl Fn(RegionId) -> Option<RegionId>) -> Self {
        Self { past: self.past.renumbered(id), ..self.clone() }
    }
}

/// Each starts anew where another family's notes stand.
impl Family {
    pub(super) fn raft(&mut self) -> &mut raft::Notes {
        match self {
            Self::Raft(notes) => notes,
            other => {
                *other = Self::Raft(raft::Notes::default());
                other.raft()
            }
        }
    }

    pub(super) fn component(&mut self) -> &mut component::Notes {
        match self {
            Self::Component(notes) => notes,
            other => {
                *other = Self::Component(component::Notes::default());
                other.component()
            }
        }
    }

    pub(super) fn peers(&mut self) -> &mut peers::Notes {
        match self {
            Self::Peers(notes) => notes,
            other => {
                *other = Self::Peers(peers::Notes::default());
                other.peers()
            }
        }
    }

    pub(super) fn sentinel(&mut self) -> &mut sentinel::Notes {
        match self {
            Self::Sentinel(notes) => notes,
            other => {
                *other = Self::Sentinel(sentinel::Notes::default());
                other.sentinel()
            }
        }
    }

    pub(super) fn replicas(&mut self) -> &mut replicas::Notes {
        match self {
            Self::Replicas(notes) => notes,
            other => {
                *other = Self::Replicas(Box::default());
                other.replicas()
            }
        }
    }

    pub(super) fn writer(&mut self) -> &mut Option<usize> {
        match self {
            Self::Writer(writer) => writer,
            other => {
                *other = Self::Writer(None);
                other.writer()
            }
        }
    }
}
