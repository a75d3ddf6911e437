//! One judgement per round.

use super::case::Case;
use super::memory::Memory;
use super::past::CatchUp;
use super::{
    Judgement, Round, Standing, canary, component, patroni, peers, postgres, raft, replicas, sentinel, shards,
};
use crate::base::Mono;
use crate::config::{Cluster, ClusterKind, Group};

/// Judges a group by what one round brought.
pub fn judge(cluster: &Cluster, group: &Group, round: &Round, memory: &mut Memory, now: Mono) -> Judgement {
    let case = Case { cluster, group, round, now };
    let Memory { past, family, parts_lost_since } = memory;
    let mut judgement = match &cluster.kind {
        ClusterKind::Etcd(_)
        | ClusterKind::Consul(_)
        | ClusterKind::Nomad(_)
        | ClusterKind::ZooKeeper(_)
        | ClusterKind::Nats(_)
        | ClusterKind::Kafka(_)
        | ClusterKind::Search(_)
        | ClusterKind::Vault(_)
        | ClusterKind::Mongodb(_)
        | ClusterKind::Yugabytedb(_)
        | ClusterKind::Tikv(_)
        | ClusterKind::RaftHttp(_) => raft::judge(&case, past, family.raft()),
        ClusterKind::Rabbitmq(_) | ClusterKind::Cockroachdb(_) => peers::judge(&case, past, family.peers()),
        ClusterKind::Galera(_) | ClusterKind::MysqlGr(_) => component::judge(&case, past, family.component()),
        ClusterKind::Patroni(_) => patroni::judge(&case, past, family.writer()),
        ClusterKind::Postgres(_) => postgres::judge(&case, past, family.writer()),
        ClusterKind::RedisSentinel(_) => sentinel::judge(&case, past, family.sentinel()),
        ClusterKind::Cassandra(options) => replicas::judge(options, &case, past, family.replicas()),
        ClusterKind::Canary(_) => canary::judge(&case, past),
    };
    shards::weigh(&case, parts_lost_since, &mut judgement);
    match judgement.verdict {
        Standing::Quorum | Standing::Degraded => past.seen_well = true,
        Standing::NoQuorum | Standing::ReadOnly | Standing::SplitBrain => {
            past.catching_up = Some(CatchUp::ToBeSeen);
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
