//! How a group stands, and how each region stands in it.

use std::collections::BTreeMap;

use crate::base::RegionId;

/// How a group stands as a whole, or how one region stands in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It can commit, and can afford to lose a voter.
    Quorum,
    /// It can commit; one more loss and it cannot.
    Degraded,
    /// Without a leader, for less than its time to truth.
    Electing,
    /// It can commit again and has not caught up.
    Recovering,
    /// It answers reads and refuses writes.
    ReadOnly,
    /// It cannot commit.
    NoQuorum,
    /// Two sides commit, or think they do.
    SplitBrain,
    /// No voter can be reached.
    Unreachable,
    /// It could not be measured.
    Unknown,
}

impl Standing {
    /// All of them.
    pub const ALL: [Standing; 9] = [
        Standing::Quorum,
        Standing::Degraded,
        Standing::Electing,
        Standing::Recovering,
        Standing::ReadOnly,
        Standing::NoQuorum,
        Standing::SplitBrain,
        Standing::Unreachable,
        Standing::Unknown,
    ];

    /// Enough was seen to say so.
    pub fn is_measured(self) -> bool {
        !matches!(self, Self::Unknown | Self::Unreachable)
    }

    /// As written in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Degraded => "degraded",
            Self::Electing => "electing",
            Self::Recovering => "recovering",
            Self::ReadOnly => "read_only",
            Self::NoQuorum => "no_quorum",
            Self::SplitBrain => "split_brain",
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
        }
    }
}

/// What the facts of a group add up to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// Of the group as a whole.
    pub verdict: Standing,
    /// Why, in words for a person.
    pub reason: String,
    /// What it rests on.
    pub evidence: Evidence,
    /// Of each region that has voters in it, with the reason.
    pub regions: BTreeMap<RegionId, (Standing, String)>,
}

/// What a judgement rests on.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Evidence {
    /// Voters, as configured.
    pub voters: usize,
    /// Voters that answered.
    pub reached: usize,
    /// Voters that agree on one leader in one term.
    pub agreeing: usize,
    /// How many more can be lost before the group cannot commit; negative when it cannot.
    pub margin: i64,
    /// The leader, as they name it.
    pub leader: Option<String>,
    /// The term (raft), or the timeline (PostgreSQL).
    pub term: Option<u64>,
    /// How far the slowest voter that answered is behind the leader: log entries, bytes, or (MongoDB)
    /// microseconds of its oplog.
    pub lag_max: Option<u64>,
    /// Sides of members that answer and do not hear the members of other sides, where the system
    /// tells: more than one, and what each of them writes the others miss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sides: Option<u64>,
    /// Parts of a sharded system: queues, partitions, tablets, ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts_total: Option<u64>,
    /// Those of them that cannot take a write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts_lost: Option<u64>,
    /// Those of the others that one more loss would end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts_critical: Option<u64>,
}
