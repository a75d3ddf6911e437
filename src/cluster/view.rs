//! What one round of asking has brought.

use std::time::Duration;

use super::Facts;
use crate::base::{GroupId, Mono};

/// What asking every voter of a group once has brought, by position in the group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Round {
    /// The group.
    pub group: GroupId,
    /// One view per member.
    pub views: Vec<NodeView>,
    /// The newest result of the linearizable probe, which has a budget and a pace of its own.
    pub linearizable: Option<Linearizable>,
    /// How long the round took.
    pub took: Duration,
}

/// What one voter told, or how it failed to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeView {
    /// It answered, and the answer makes sense.
    Answered(Facts),
    /// Nobody listens there: the connection was refused or reset before a word was said.
    Refused(String),
    /// No answer within the timeout. A stopped process looks like this too: the kernel goes on
    /// accepting connections for it.
    Silent(String),
    /// It knows us not, or has no time for us: says nothing about its health.
    Denied(String),
    /// It answered what makes no sense: not the system we expect, or TLS that fails.
    Rubbish(String),
    /// We could not even ask: no route, no socket, no name resolution, no secret.
    Unmeasured(String),
}

/// The result of a read or write that takes a quorum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Linearizable {
    /// When it ended.
    pub at: Mono,
    /// Through which member it went, by position in the group.
    pub member: usize,
    /// How it ended.
    pub result: LinearizableResult,
}

/// How a read or write that takes a quorum ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinearizableResult {
    /// It succeeded: there is a quorum, whatever else is said.
    Passed,
    /// A definite answer: no leader, or the system's own timeout for want of a quorum.
    NoQuorum(String),
    /// No answer within its budget.
    Hung,
    /// Denied, rubbish, unreachable: says nothing.
    Unmeasured(String),
}
