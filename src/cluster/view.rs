//! What one voter told: facts only.

use std::time::Duration;

use super::Shards;
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

impl NodeView {
    /// In one word, for people: what the voter told, or how it failed to.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Answered(Facts::Raft(facts)) if facts.learner => "learner",
            Self::Answered(Facts::Raft(facts)) => match &facts.leader {
                Some(leader) if *leader == facts.member => "leads",
                Some(_) => "follows",
                None => "no leader",
            },
            Self::Answered(Facts::Postgres(facts)) => match (facts.in_recovery, facts.fenced) {
                (true, _) => "standby",
                (false, true) => "fenced",
                (false, false) => "writer",
            },
            Self::Refused(_) => "refused",
            Self::Silent(_) => "silent",
            Self::Denied(_) => "denied",
            Self::Rubbish(_) => "rubbish",
            Self::Unmeasured(_) => "not asked",
        }
    }
}

/// Facts, by family of systems.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Facts {
    /// A member of a raft group.
    Raft(RaftFacts),
    /// A PostgreSQL server.
    Postgres(PostgresFacts),
}

impl Facts {
    /// All of it, on one line for a person; what a system does not tell is left out.
    pub fn words(&self) -> String {
        let some = |name: &str, value: u64| (value > 0).then(|| format!("{name} {value}"));
        let parts: Vec<Option<String>> = match self {
            Self::Raft(facts) => vec![
                (!facts.member.is_empty()).then(|| format!("is {}", facts.member)),
                Some(match &facts.leader {
                    Some(leader) => format!("leader {leader}"),
                    None => "no leader".to_owned(),
                }),
                some("term", facts.term),
                some("index", facts.index),
                some("applied", facts.applied),
                (!facts.errors.is_empty()).then(|| format!("complains: {}", facts.errors.join("; "))),
            ],
            Self::Postgres(facts) => vec![
                some("timeline", facts.timeline.into()),
                some("received", facts.received),
                some("replayed", facts.replayed),
                facts.read_only.then(|| "read only".to_owned()),
                Some(if facts.streaming { "streaming" } else { "not streaming" }.to_owned()),
                some("system", facts.system),
            ],
        };
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// What it tells of the parts of the system, where it has some.
    pub fn shards(&self) -> Option<&Shards> {
        match self {
            Self::Raft(facts) => facts.shards.as_ref(),
            Self::Postgres(_) => None,
        }
    }
}

/// What a member of a group that elects one leader per term says of itself. Names are the
/// system's own, whatever it calls its members by.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RaftFacts {
    /// Which cluster it belongs to; empty where the system does not tell.
    pub cluster: String,
    /// Its own name; empty where it does not tell.
    pub member: String,
    /// Whom it takes for the leader, in which term; an empty name: it follows one, and does not
    /// tell whom. `None`: it knows of no leader.
    pub leader: Option<String>,
    /// Its term, epoch or view: grows with every election; 0 where the system does not tell.
    pub term: u64,
    /// The index of its log; 0 where the system does not tell.
    pub index: u64,
    /// How far it has applied the log; 0 where the system does not tell.
    pub applied: u64,
    /// It has no vote.
    pub learner: bool,
    /// What it complains of.
    pub errors: Vec<String>,
    /// What it tells of the parts of the system, where it has some.
    pub shards: Option<Shards>,
}

/// What a PostgreSQL server says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PostgresFacts {
    /// Identifies the database system: equal on a primary and its standbys.
    pub system: u64,
    /// A standby, or still in recovery after a crash.
    pub in_recovery: bool,
    /// `default_transaction_read_only` is on.
    pub read_only: bool,
    /// No application role may log in: a promotion elsewhere has fenced it.
    pub fenced: bool,
    /// The timeline it is on.
    pub timeline: u32,
    /// Primary: the end of its log. Standby: how far it has received it.
    pub received: u64,
    /// Standby: how far it has replayed the log. Primary: the end of its log.
    pub replayed: u64,
    /// Standby: it streams from a primary. Primary: at least one standby streams from it.
    pub streaming: bool,
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
