//! Layers: which checks speak for a region or a service, and how many of them must pass.

use std::collections::BTreeMap;

use crate::base::CheckId;

/// Layers of a region, bottom-up: the first broken one is the reason.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Can it be reached?
    Reach,
    /// Does the service answer?
    Service,
    /// Can the stateful system inside commit a write?
    Quorum,
    /// Has it caught up?
    Replication,
}

impl Layer {
    /// All of them, bottom-up.
    pub const ALL: [Layer; 4] = [Layer::Reach, Layer::Service, Layer::Quorum, Layer::Replication];

    /// As written in the configuration and in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reach => "reach",
            Self::Service => "service",
            Self::Quorum => "quorum",
            Self::Replication => "replication",
        }
    }
}

/// The checks of a region, or of a service in a region, by layer. A layer without checks is not
/// in it.
pub type Layers = BTreeMap<Layer, LayerChecks>;

/// The checks of one layer, and how many of them must pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LayerChecks {
    /// All of them, in the order of the file: those that only monitor too.
    pub checks: Vec<CheckId>,
    /// Those that decide, and what each counts for: 1, unless the layer has weights.
    pub votes: Vec<(CheckId, u32)>,
    /// What those that pass must add up to for the layer to pass. Never more than all together.
    pub needed: u64,
}

impl LayerChecks {
    /// The checks that decide.
    pub fn deciding(&self) -> impl Iterator<Item = CheckId> + '_ {
        self.votes.iter().map(|(check, _)| *check)
    }

    /// What all together add up to.
    pub fn total(&self) -> u64 {
        self.votes.iter().map(|(_, weight)| u64::from(*weight)).sum()
    }

    /// None of them may fail.
    pub fn needs_all(&self) -> bool {
        self.needed == self.total()
    }
}
