//! The health of a region, in one word.

use std::fmt;

/// What a region is fit for. The order is from best to worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Every layer passes.
    Healthy,
    /// Serves, but one more loss and it is gone: not chosen as a target while a healthy one exists.
    Degraded,
    /// It answers, and its stateful system cannot commit a write.
    NoQuorum,
    /// It cannot be reached, or its service does not answer.
    Unreachable,
    /// It could not be measured. Changes nothing.
    Unknown,
}

impl Health {
    /// All of them, from best to worst, `Unknown` last.
    pub const ALL: [Health; 5] =
        [Health::Healthy, Health::Degraded, Health::NoQuorum, Health::Unreachable, Health::Unknown];

    /// As written in configuration, labels and answers of the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::NoQuorum => "no_quorum",
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
        }
    }

    /// Whether traffic may stay there.
    pub fn serves(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }

    /// Whether it is known to be unfit. `Unknown` is neither this nor [`Health::serves`].
    pub fn is_bad(self) -> bool {
        matches!(self, Self::NoQuorum | Self::Unreachable)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
