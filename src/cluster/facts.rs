//! What one member told: facts only, by family of systems.

use std::collections::{BTreeMap, BTreeSet};

use super::{HostId, Ring, Shards};

/// Facts, by family of systems.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Facts {
    /// A member of a raft group.
    Raft(RaftFacts),
    /// A PostgreSQL server.
    Postgres(PostgresFacts),
    /// A member of a group without a leader.
    Peer(PeerFacts),
    /// What a canary found.
    Canary(CanaryFacts),
    /// A member of a group that agrees on who belongs to it.
    Component(ComponentFacts),
    /// A Redis Sentinel.
    Sentinel(SentinelFacts),
    /// A Redis server.
    Redis(RedisFacts),
    /// A PostgreSQL server under Patroni.
    Patroni(PatroniFacts),
    /// A node of Cassandra.
    Replica(Box<ReplicaFacts>),
}

impl Facts {
    /// What it tells of the parts of the system, where it has some.
    pub fn shards(&self) -> Option<&Shards> {
        match self {
            Self::Raft(facts) => facts.shards.as_ref(),
            Self::Peer(facts) => facts.shards.as_ref(),
            Self::Postgres(_) | Self::Component(_) => None,
            Self::Sentinel(_) | Self::Redis(_) | Self::Patroni(_) | Self::Canary(_) => None,
            // What is lost depends on who asks: it is counted where the views are put together.
            Self::Replica(_) => None,
        }
    }
}

/// What became of a small write and the read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CanaryFacts {
    /// What was written came back.
    Passed,
    /// A definite answer: it could not, or brings back something old.
    Failed(String),
    /// A definite answer: it takes no writes here, and says so.
    ReadOnly(String),
    /// It took the question and did not answer: the write may have been done all the same.
    Hung,
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
    /// Who has a vote, by their names, as it was last decided: only a list that a majority of itself
    /// confirms counts. Empty where the system does not tell.
    pub electorate: BTreeSet<String>,
    /// What it complains of.
    pub errors: Vec<String>,
    /// The leader itself has answered, through this member: its word counts as the leader's own.
    pub relayed: bool,
    /// Its term is that of the last entry that it has: its leader's may be a later one.
    pub term_of_log: bool,
    /// A leader's word of how much of its log a majority has, where it may lead without one.
    pub committed: Option<u64>,
    /// It votes, and never has any data.
    pub arbiter: bool,
    /// It votes, and its data does not count for now: it is being brought up to date.
    pub syncing: bool,
    /// What it tells of the parts of the system, where it has some.
    pub shards: Option<Shards>,
}

impl RaftFacts {
    /// What a majority must have may be on this one.
    pub fn has_data(&self) -> bool {
        !self.arbiter && !self.syncing
    }

    /// It says itself that it is the leader.
    pub fn leads(&self) -> bool {
        self.leader.as_ref() == Some(&self.member)
    }
}

/// What a member of a group without a leader says of itself and the others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeerFacts {
    /// Which cluster it belongs to.
    pub cluster: String,
    /// Its own name.
    pub member: String,
    /// Whom it takes to be alive and reachable, itself among them.
    pub sees: BTreeSet<String>,
    /// Where members prove to be alive by something that takes a majority: how many are so by its
    /// word, which is 0 if it is not itself.
    pub live: Option<u64>,
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

/// What a member of a group says that agrees on its own membership, and lets only the part with
/// a majority of the last one go on: Galera's primary component, a view of MySQL's Group
/// Replication.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ComponentFacts {
    /// Which cluster it belongs to; empty where it belongs to none for now.
    pub cluster: String,
    /// Its own name.
    pub member: String,
    /// The membership that it is part of, if that one may commit by its word.
    pub view: Option<ComponentView>,
    /// It takes statements.
    pub ready: bool,
    /// It has all that the others have, by its own word.
    pub synced: bool,
    /// What it calls its state.
    pub state: String,
    /// Who takes writes, by its word; nothing where all do.
    pub primary: Option<String>,
    /// It takes writes in general, and refuses them for now.
    pub read_only: bool,
    /// The others wait for it, or it for them, before anything more is committed.
    pub stalled: bool,
    /// How many transactions it has.
    pub committed: u64,
    /// How many it has received and not applied.
    pub queue: u64,
}

/// A membership that the members have agreed on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct ComponentView {
    /// Grows with every change of the membership.
    pub number: u64,
    /// What else tells it from others with this number.
    pub name: String,
    /// How many are in it, those that cannot be asked included.
    pub size: usize,
}

/// What a Redis Sentinel says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SentinelFacts {
    /// It reaches the quorum, and the majority that a failover takes (`CKQUORUM`).
    pub reaches: bool,
    /// Its words about that.
    pub words: String,
    /// The address of the master, as it knows it.
    pub master: String,
    /// The id of the master's run.
    pub run_id: String,
    /// The configuration that it names the master by: grows with every failover.
    pub epoch: u64,
    /// It takes the master for down.
    pub down: bool,
}

/// What a Redis server says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RedisFacts {
    /// The id of its run.
    pub run_id: String,
    /// It says that it is a master.
    pub master: bool,
    /// Replicas that it has lately heard from.
    pub good_replicas: usize,
    /// A master that takes no writes for want of replicas (`min-replicas-to-write`).
    pub refuses_writes: bool,
    /// A replica that follows its master.
    pub linked: bool,
    /// It is still reading its data.
    pub loading: bool,
    /// How far its log goes, in bytes.
    pub offset: u64,
}

/// What Patroni says of its PostgreSQL server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PatroniFacts {
    /// It is the primary, or the leader of a standby cluster.
    pub primary: bool,
    /// PostgreSQL runs: it neither starts nor stops nor has crashed.
    pub running: bool,
    /// What it calls its state.
    pub state: String,
    /// Nobody holds the lease of the leader, by its word.
    pub unlocked: bool,
    /// It goes on without its store, because every member still reaches the primary.
    pub failsafe: bool,
    /// Patroni is told to keep its hands off.
    pub paused: bool,
    /// Identifies the database system.
    pub system: String,
    /// The timeline it is on.
    pub timeline: u64,
    /// Replicas that stream from it.
    pub streaming: usize,
    /// A primary's end of the log, in bytes; how far a replica has replayed it.
    pub position: u64,
    /// A primary's list of those that have a key of their own in the store.
    pub members: Vec<PatroniMember>,
}

/// A member as the store lists it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PatroniMember {
    /// Where its REST API is, as `host:port`.
    pub place: String,
    /// It runs.
    pub running: bool,
}

/// What a node of Cassandra says of itself, and what has reached it from the others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReplicaFacts {
    /// Which cluster it belongs to.
    pub cluster: String,
    /// Its own id in the ring; nothing where it let nobody in.
    pub host: Option<HostId>,
    /// Its datacenter.
    pub datacenter: String,
    /// The ring as it knows it.
    pub ring: Option<Ring>,
    /// Where it says each host of the ring is.
    pub places: BTreeMap<HostId, String>,
    /// The newest heartbeat of each host that has reached it, by generation and number: only the
    /// host itself can make one, so that this is no opinion. `None`: it does not tell.
    pub beats: Option<BTreeMap<HostId, (i64, i64)>>,
    /// Files of hints that it keeps for others: writes that they have missed.
    pub hints: BTreeMap<HostId, u64>,
    /// It answers, and cannot find out who we are for want of replicas of the roles.
    pub locked_out: Option<String>,
    /// What it complains of.
    pub errors: Vec<String>,
}
