//! What each family of systems tells of the world, with the lies that it is known to tell.

use super::world::{TERM, Voter, World};
use crate::cluster::{ComponentFacts, ComponentView, Facts, PeerFacts, RaftFacts};
use crate::config::{
    ClusterKind, Endpoint, EtcdOptions, GaleraOptions, HostPort, MongodbOptions, RabbitmqOptions,
};

/// One family as the probes see it.
pub struct System {
    pub kind: ClusterKind,
    pub endpoint: fn(usize) -> Endpoint,
    /// What a voter that answers tells.
    pub facts: fn(&World, usize) -> Facts,
    /// Whether something is asked of it that takes a quorum, and of which voters it can be. Without, old
    /// claims must be known to die by themselves within the time to truth.
    pub proofs: Option<fn(&World, usize) -> bool>,
}

fn http(n: usize) -> Endpoint {
    Endpoint::Http(format!("http://m{n}:1").parse().unwrap())
}

fn port(n: usize) -> Endpoint {
    Endpoint::Port(HostPort { host: format!("m{n}"), port: 1 })
}

/// As etcd tells it: names and terms. A leader that nobody of us knows has a name, too.
fn told(world: &World, n: usize) -> RaftFacts {
    let (leader, term) = match world.names(n) {
        Some((leader, term)) => (Some(leader.map_or("gone".to_owned(), |n| n.to_string())), term),
        None => (None, TERM),
    };
    RaftFacts { member: n.to_string(), leader, term, index: 50, applied: 50, ..RaftFacts::default() }
}

/// etcd, TiKV, Consul with its rights.
pub fn etcd() -> System {
    System {
        kind: ClusterKind::Etcd(EtcdOptions::default()),
        endpoint: http,
        facts: |world, n| Facts::Raft(told(world, n)),
        proofs: Some(|_, _| true),
    }
}

/// NATS before 2.11, Vault: no terms.
pub fn without_terms() -> System {
    System { facts: |world, n| Facts::Raft(RaftFacts { term: 0, ..told(world, n) }), ..etcd() }
}

/// ZooKeeper: followers do not say whom they follow.
pub fn anonymous() -> System {
    fn facts(world: &World, n: usize) -> Facts {
        let mut facts = told(world, n);
        if !facts.leads() {
            facts.leader = facts.leader.map(|_| String::new());
        }
        Facts::Raft(facts)
    }
    System { facts, ..etcd() }
}

/// Elasticsearch: the system's own list of voters comes along.
pub fn listed() -> System {
    fn facts(world: &World, n: usize) -> Facts {
        let electorate = (0..world.voters.len()).map(|n| n.to_string()).collect();
        Facts::Raft(RaftFacts { electorate, ..told(world, n) })
    }
    System { facts, ..etcd() }
}

/// YugabyteDB, Kafka: the leader proves itself in every round.
pub fn leased() -> System {
    System { proofs: None, ..without_terms() }
}

/// MongoDB without a login: followers tell the term of their last write.
pub fn mongodb() -> System {
    fn facts(world: &World, n: usize) -> Facts {
        let facts = told(world, n);
        let leads = facts.leads();
        let term = if leads { facts.term } else { TERM - 1 };
        Facts::Raft(RaftFacts { term, term_of_log: !leads, committed: leads.then_some(50), ..facts })
    }
    let options = MongodbOptions {
        set: None,
        login: None,
        without_vote: Vec::new(),
        majority_writes: true,
        tls: None,
        linearizable_timeout: std::time::Duration::from_secs(5),
    };
    System { kind: ClusterKind::Mongodb(options), endpoint: port, facts, proofs: None }
}

/// Galera, MySQL Group Replication: those that are cut off go on in the membership of before.
pub fn component() -> System {
    fn facts(world: &World, n: usize) -> Facts {
        let view = |number, size| Some(ComponentView { number, name: String::new(), size });
        let all = world.voters.len();
        let view = match world.voters[n] {
            Voter::Up if world.takes_part(n) => {
                let size = (0..all).filter(|n| world.takes_part(*n)).count();
                view(if size == all { 7 } else { 8 }, size)
            }
            Voter::Hung => view(7, all),
            Voter::Lagging | Voter::Old => view(6, all),
            _ => None,
        };
        Facts::Component(ComponentFacts {
            member: n.to_string(),
            ready: view.is_some(),
            synced: view.is_some(),
            view,
            committed: 50,
            ..ComponentFacts::default()
        })
    }
    let kind = ClusterKind::Galera(GaleraOptions::default());
    System { kind, endpoint: port, facts, proofs: Some(|_, _| true) }
}

/// RabbitMQ: those that are cut off go on seeing everybody.
pub fn peers() -> System {
    fn facts(world: &World, n: usize) -> Facts {
        let sees = |other: &usize| match world.voters[n] {
            _ if *other == n => true,
            Voter::Hung | Voter::Lagging | Voter::Old => true,
            Voter::Up => world.takes_part(n) && world.takes_part(*other),
            _ => false,
        };
        let sees = (0..world.voters.len()).filter(sees).map(|n| n.to_string()).collect();
        Facts::Peer(PeerFacts { member: n.to_string(), sees, ..PeerFacts::default() })
    }
    let kind = ClusterKind::Rabbitmq(RabbitmqOptions::default());
    System { kind, endpoint: http, facts, proofs: Some(|_, _| true) }
}

/// CockroachDB: those that are cut off go on calling themselves live for as long as a record is valid.
pub fn live() -> System {
    fn facts(world: &World, n: usize) -> Facts {
        let live = match world.voters[n] {
            Voter::Up => u64::from(world.takes_part(n)) * world.count(Voter::Up) as u64,
            Voter::Hung | Voter::Lagging | Voter::Old => world.voters.len() as u64,
            _ => 0,
        };
        Facts::Peer(PeerFacts { member: n.to_string(), live: Some(live), ..PeerFacts::default() })
    }
    System { facts, ..peers() }
}
