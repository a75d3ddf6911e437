//! What each family of systems tells of the world, with the lies that it is known to tell.

use super::world::{TERM, Voter, World};
use crate::cluster::{
    ComponentFacts, ComponentView, Facts, PatroniFacts, PatroniMember, PeerFacts, RaftFacts, RedisFacts,
    SentinelFacts,
};
use crate::config::{
    ClusterKind, Endpoint, EtcdOptions, GaleraOptions, HostPort, MongodbOptions, PatroniOptions,
    RabbitmqOptions, RedisSentinelOptions, RedisTarget,
};

/// One family as the probes see it.
pub struct System {
    pub kind: ClusterKind,
    /// Of the member of this number among those of so many voters.
    pub endpoint: fn(usize, usize) -> Endpoint,
    /// How many members each voter is: first all the first ones, then all the second ones.
    pub members: usize,
    /// What a member tells whose voter answers.
    pub facts: fn(&World, usize) -> Facts,
    /// Something is asked of it that takes a quorum.
    pub proofs: bool,
    /// Old claims do not die by themselves within the time to truth.
    pub lasting: bool,
    /// It tells how many can be spared; else it has one writer, and knows of those that follow it.
    pub exact: bool,
}

fn http(n: usize, _: usize) -> Endpoint {
    Endpoint::Http(format!("http://m{n}:1").parse().unwrap())
}

fn port(n: usize, _: usize) -> Endpoint {
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
        members: 1,
        facts: |world, n| Facts::Raft(told(world, n)),
        proofs: true,
        lasting: true,
        exact: true,
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
    System { proofs: false, lasting: false, ..without_terms() }
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
    let kind = ClusterKind::Mongodb(options);
    System { kind, endpoint: port, facts, proofs: false, lasting: false, ..etcd() }
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
    System { kind, endpoint: port, facts, ..etcd() }
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
    System { kind, endpoint: http, facts, ..etcd() }
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

/// Patroni: replicas that are cut off go on following, and an old primary on stopping.
pub fn patroni() -> System {
    fn facts(world: &World, n: usize) -> Facts {
        let part: Vec<usize> = (0..world.voters.len()).filter(|n| world.takes_part(*n)).collect();
        let writes = part.contains(&n) && world.leader().0 == n;
        let stopping = match world.voters[n] {
            Voter::Old => true,
            Voter::Hung => n == world.first_leader(),
            _ => false,
        };
        let member = |n: &usize| PatroniMember { place: format!("m{n}:1"), running: true };
        let knows_of_a_lease = match world.voters[n] {
            Voter::Up => part.contains(&n),
            voter => voter != Voter::Electing,
        };
        Facts::Patroni(PatroniFacts {
            primary: writes || stopping,
            running: !stopping,
            state: if stopping { "stopping" } else { "running" }.to_owned(),
            unlocked: !knows_of_a_lease,
            streaming: if writes { part.len() - 1 } else { 0 },
            members: if writes { part.iter().map(member).collect() } else { Vec::new() },
            ..PatroniFacts::default()
        })
    }
    let kind = ClusterKind::Patroni(PatroniOptions::default());
    System { kind, facts, proofs: false, exact: false, ..etcd() }
}

/// Redis: a Sentinel and a server on each machine. A master that is cut off stays one for ever.
pub fn sentinel() -> System {
    fn facts(world: &World, member: usize) -> Facts {
        let n = member % world.voters.len();
        let part = (0..world.voters.len()).filter(|n| world.takes_part(*n)).count();
        let (inside, (leader, epoch)) = (world.takes_part(n), world.leader());
        if member < world.voters.len() {
            return Facts::Sentinel(SentinelFacts {
                reaches: inside,
                words: "NOQUORUM".to_owned(),
                master: format!("h{leader}:1"),
                run_id: leader.to_string(),
                epoch,
                down: false,
            });
        }
        let left_behind = !inside && (n == world.first_leader() || world.voters[n] == Voter::Old);
        Facts::Redis(RedisFacts {
            run_id: n.to_string(),
            master: left_behind || (inside && leader == n),
            good_replicas: if inside && leader == n { part - 1 } else { 0 },
            // `min-replicas-to-write`
            refuses_writes: left_behind,
            linked: inside && leader != n,
            ..RedisFacts::default()
        })
    }
    fn endpoint(member: usize, voters: usize) -> Endpoint {
        let address = HostPort { host: format!("h{}", member % voters), port: 1 };
        Endpoint::Redis(RedisTarget { address, sentinel: member < voters })
    }
    let kind = ClusterKind::RedisSentinel(RedisSentinelOptions::default());
    System { kind, endpoint, members: 2, facts, proofs: false, lasting: false, exact: false }
}
