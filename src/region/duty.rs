//! What operators and rules say of a region, apart from its health.

use crate::base::Timestamp;

/// In one word; kept apart from health, because a region can be healthy and drained.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// Serves as its health allows.
    Active,
    /// An operator keeps traffic off it.
    Drained,
    /// An operator keeps traffic on it, whatever its health.
    Forced,
    /// Healthy again, and failback is not released.
    Held,
    /// It owes an obligation and must not serve before it is paid.
    Quarantined,
}

impl Duty {
    /// All of them.
    pub const ALL: [Duty; 5] = [Duty::Active, Duty::Drained, Duty::Forced, Duty::Held, Duty::Quarantined];

    /// As written in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Drained => "drained",
            Self::Forced => "forced",
            Self::Held => "held",
            Self::Quarantined => "quarantined",
        }
    }
}

/// What an operator can say of a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideKind {
    /// No traffic.
    Drain,
    /// Traffic, whatever its health.
    Force,
    /// Once it is out, it stays out.
    Hold,
}

impl OverrideKind {
    /// As written on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Force => "force",
            Self::Hold => "hold",
        }
    }
}

/// An operator's word on a region. It has an owner, a reason and an end.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Override {
    /// What.
    pub kind: OverrideKind,
    /// Who said so.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When.
    pub since: Timestamp,
    /// Until when.
    pub expires: Timestamp,
}

impl std::fmt::Display for Override {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let expires = self.expires.strftime("%Y-%m-%dT%H:%M:%SZ");
        write!(f, "{} by {} until {expires}: {}", self.kind.word(), self.owner, self.reason)
    }
}
