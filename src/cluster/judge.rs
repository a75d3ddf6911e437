//! One judgement per round.

use super::memory::{CatchUp, Memory};
use super::{
    Judgement, Round, Standing, canary, component, patroni, peers, postgres, raft, replicas, sentinel, shards,
};
use crate::base::Mono;
use crate::config::{Cluster, ClusterKind, Group};

/// Judges a group by what one round brought.
pub fn judge(cluster: &Cluster, group: &Group, round: &Round, memory: &mut Memory, now: Mono) -> Judgement {
    let mut judgement = match cluster.kind {
        ClusterKind::Etcd(_)
        | ClusterKind::Consul(_)
        | ClusterKind::ZooKeeper(_)
        | ClusterKind::Nats(_)
        | ClusterKind::Kafka(_)
        | ClusterKind::Search(_)
        | ClusterKind::Vault(_)
        | ClusterKind::Mongodb(_)
        | ClusterKind::Yugabytedb(_)
        | ClusterKind::Tikv(_)
        | ClusterKind::RaftHttp(_) => raft::judge(cluster, group, round, memory, now),
        ClusterKind::Canary(_) => canary::judge(cluster, group, round, memory, now),
        ClusterKind::Rabbitmq(_) | ClusterKind::Cockroachdb(_) => {
            peers::judge(cluster, group, round, memory, now)
        }
        ClusterKind::Galera(_) | ClusterKind::MysqlGr(_) => {
            component::judge(cluster, group, round, memory, now)
        }
        ClusterKind::Patroni(_) => patroni::judge(cluster, group, round, memory, now),
        ClusterKind::RedisSentinel(_) => sentinel::judge(cluster, group, round, memory, now),
        ClusterKind::Postgres(_) => postgres::judge(cluster, group, round, memory, now),
        ClusterKind::Cassandra(ref options) => replicas::judge(options, cluster, group, round, memory, now),
    };
    shards::weigh(cluster, round, memory, &mut judgement, now);
    match judgement.verdict {
        Standing::Quorum | Standing::Degraded => memory.seen_well = true,
        Standing::NoQuorum | Standing::ReadOnly | Standing::SplitBrain => {
            memory.catching_up = Some(CatchUp::ToBeSeen);
        }
        _ => {}
    }
    // A region that lies outside the judged ones has the group's own standing.
    for member in &group.members {
        judgement
            .regions
            .entry(member.region)
            .or_insert_with(|| (judgement.verdict, judgement.reason.clone()));
    }
    judgement
}
