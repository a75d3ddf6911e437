//! One call to an agent, and how it ended.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Op;
pub use crate::base::Token;

/// Names one execution of one workflow: the workflow's name, the index of its first record in
/// the journal, and a tag drawn by lot, as in `petstore-failover-417-k3fq`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(pub String);

impl ExecutionId {
    /// Puts one together.
    pub fn new(workflow: &str, number: u64, tag: &str) -> Self {
        Self(format!("{workflow}-{number}-{tag}"))
    }

    /// The index of its first record.
    pub fn number(&self) -> Option<u64> {
        self.0.rsplit('-').nth(1)?.parse().ok()
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request to an agent. Its intent is in the journal before the agent sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// On whose behalf.
    pub execution: ExecutionId,
    /// Which stage.
    pub stage: String,
    /// Counts from 1.
    pub attempt: u32,
    /// To do it, or to look whether it was done.
    pub act: Act,
    /// Fences older calls off.
    pub token: Token,
    /// What.
    pub op: Op,
    /// For how long the agent may try; past it the outcome is unknown.
    pub timeout: Duration,
    /// An operator has approved what the agent asked.
    pub approved: bool,
}

impl Call {
    /// Stays the same over all attempts of a stage: with it, a target does the thing once.
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}", self.execution, self.stage)
    }
}

/// What a call is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// To do it.
    Apply,
    /// To look whether it was done, after an outcome that nobody knows. Changes nothing.
    Observe,
}

/// How a call ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Applied {
        /// How, in words for a person.
        detail: String,
        /// Values for later stages and for the report.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        outputs: BTreeMap<String, String>,
        /// What could not be done now and is still owed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owed: Option<Box<Owed>>,
    },
    /// It is not done, and cannot still happen.
    NotApplied {
        /// Why, in words for a person.
        reason: String,
        /// Whether to try again.
        retry: Retry,
    },
    /// The target cannot be reached, and nothing was sent. A stage that may be owed is
    /// deferred on it; any other tries again.
    Unreachable {
        /// Why, in words for a person.
        reason: String,
    },
    /// It may have happened, or may still happen. Left only by an observation or an operator.
    Unknown {
        /// Why, in words for a person.
        reason: String,
    },
    /// The target has seen a higher token: someone else owns it now.
    Stale {
        /// Why, in words for a person.
        reason: String,
    },
    /// It must not go on without an operator's approval.
    Ask {
        /// What is asked.
        question: String,
    },
}

impl Outcome {
    /// What it is, in one word (the metrics' label), and what is said about it.
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Applied { detail, .. } => ("applied", detail),
            Self::NotApplied { reason, .. } => ("not_applied", reason),
            Self::Unreachable { reason } => ("unreachable", reason),
            Self::Unknown { reason } => ("unknown", reason),
            Self::Stale { reason } => ("stale", reason),
            Self::Ask { question } => ("ask", question),
        }
    }
}

/// Whether to try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// After the stage's backoff.
    Backoff,
    /// After this long, as the target asked (`Retry-After`), or the backoff if that is longer.
    After(Duration),
    /// No: it would fail the same way.
    Never,
}

/// Something that is still owed before a region may serve again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Owed {
    /// The region that is kept out until it is paid.
    pub region: String,
    /// What, in words for a person.
    pub what: String,
    /// How it is paid.
    pub op: Op,
}
