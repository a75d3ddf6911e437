//! What one probe found.

use std::time::Duration;

use crate::base::CheckId;

/// The result of one probe of one target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Whose.
    pub check: CheckId,
    /// What was found.
    pub finding: Finding,
    /// Something came back from there, be it a refusal. Silence may as well be our own deafness.
    pub heard: bool,
    /// How long it took.
    pub took: Duration,
}

/// What was found, with words for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// It works.
    Pass(String),
    /// It does not.
    Fail(String),
    /// It could not be measured: our own network, a refused credential, an answer that makes no
    /// sense. Not a failure.
    Unknown(String),
    /// It is on its way back and not there yet: whatever was concluded before stands.
    Hold(String),
}

impl Finding {
    /// The words for a person.
    pub fn words(&self) -> &str {
        let (Self::Pass(words) | Self::Fail(words) | Self::Unknown(words) | Self::Hold(words)) = self;
        words
    }

    /// In one word, for labels.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Fail(_) => "fail",
            Self::Unknown(_) => "unknown",
            Self::Hold(_) => "hold",
        }
    }
}
