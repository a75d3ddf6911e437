//! Asking every voter of a group: one file per system. A probe of a voter tells facts, never
//! a verdict; what they add up to is judged elsewhere.

mod api;

pub(super) use api::shown;

mod canary;
mod cassandra;
mod cockroachdb;
mod consul;
mod etcd;
mod galera;
mod hashicorp;
mod kafka;
mod mongodb;
mod mysql;
mod mysql_gr;
mod patroni;
mod nats;
mod nomad;
mod postgres;
mod rabbitmq;
mod raft_http;
mod redis;
mod search;
mod tikv;
mod vault;
mod yugabytedb;
mod zookeeper;

use std::time::Duration;

use crate::cluster::{LinearizableResult, NodeView};
use crate::config::{Cluster, ClusterKind, Endpoint, Group, Member};
use crate::io::{Class, Contact, Failure, Net};

/// Asks every voter of a group at once; one view per member, in their order. Each is asked
/// once and for `timeout` at most, so that a voter that hangs never has two questions open.
pub async fn views(net: &Net, cluster: &Cluster, group: &Group, timeout: Duration) -> Vec<NodeView> {
    let mut asking = tokio::task::JoinSet::new();
    for (position, member) in group.members.iter().enumerate() {
        let (net, kind, member) = (net.clone(), cluster.kind.clone(), member.clone());
        asking.spawn(async move { (position, view(&net, &kind, &member, timeout).await) });
    }
    let mut views = vec![NodeView::Unmeasured("the probe broke off".to_owned()); group.members.len()];
    while let Some(asked) = asking.join_next().await {
        match asked {
            Ok((position, view)) => views[position] = view,
            Err(why) => tracing::error!(%why, "a probe of a voter broke off: this is a defect of the daemon"),
        }
    }
    views
}

async fn view(net: &Net, kind: &ClusterKind, member: &Member, timeout: Duration) -> NodeView {
    let asked = match (kind, &member.endpoint) {
        (ClusterKind::Etcd(options), Endpoint::Http(url)) => etcd::status(net, options, url, timeout).await,
        (ClusterKind::Consul(options), Endpoint::Http(url)) => {
            consul::status(net, options, url, timeout).await
        }
        (ClusterKind::Nomad(options), Endpoint::Http(url)) => nomad::status(net, options, url, timeout).await,
        (ClusterKind::ZooKeeper(options), Endpoint::Port(to)) => {
            zookeeper::status(net, options, to, timeout).await
        }
        (ClusterKind::Nats(options), Endpoint::Http(url)) => nats::status(net, options, url, timeout).await,
        (ClusterKind::RaftHttp(options), Endpoint::Http(url)) => {
            raft_http::status(net, options, url, timeout).await
        }
        (ClusterKind::Postgres(options), Endpoint::Postgres(target)) => {
            postgres::status(net, options, target, timeout).await
        }
        (ClusterKind::Canary(canary), _) => canary::status(net, canary, member, timeout).await,
        (ClusterKind::Kafka(options), Endpoint::Port(address)) => {
            kafka::status(net, options, address, timeout).await
        }
        (ClusterKind::Rabbitmq(options), Endpoint::Http(url)) => {
            rabbitmq::status(net, options, url, timeout).await
        }
        (ClusterKind::Galera(options), Endpoint::Port(address)) => {
            galera::status(net, options, address, timeout).await
        }
        (ClusterKind::Patroni(options), Endpoint::Http(url)) => {
            patroni::status(net, options, url, timeout).await
        }
        (ClusterKind::RedisSentinel(options), Endpoint::Redis(target)) => {
            redis::status(net, options, target, timeout).await
        }
        (ClusterKind::Vault(options), Endpoint::Http(url)) => vault::status(net, options, url, timeout).await,
        (ClusterKind::Search(options), Endpoint::Http(url)) => {
            search::status(net, options, url, timeout).await
        }
        (ClusterKind::Cockroachdb(options), Endpoint::Http(url)) => {
            cockroachdb::status(net, options, url, timeout).await
        }
        (ClusterKind::Yugabytedb(options), Endpoint::Http(url)) => {
            yugabytedb::status(net, options, url, timeout).await
        }
        (ClusterKind::Tikv(options), Endpoint::Http(url)) => tikv::status(net, options, url, timeout).await,
        (ClusterKind::Mongodb(options), Endpoint::Port(address)) => {
            mongodb::status(net, options, address, timeout).await
        }
        (ClusterKind::MysqlGr(options), Endpoint::Port(address)) => {
            mysql_gr::status(net, options, address, timeout).await
        }
        (ClusterKind::Cassandra(options), Endpoint::Port(address)) => {
            cassandra::status(net, options, address, timeout).await
        }
        _ => Err(Failure::unmeasured(format!("{} is not a {} server", member.endpoint, kind.word()))),
    };
    match asked {
        Ok(facts) => NodeView::Answered(facts),
        Err(Failure { class, words }) => match class {
            Class::Refused => NodeView::Refused(words),
            Class::Silent => NodeView::Silent(words),
            Class::Denied => NodeView::Denied(words),
            Class::Rubbish => NodeView::Rubbish(words),
            Class::Unmeasured => NodeView::Unmeasured(words),
        },
    }
}

/// The budget of the probe that takes a quorum, for systems that have one.
pub fn linearizable_budget(kind: &ClusterKind) -> Option<Duration> {
    match kind {
        ClusterKind::Etcd(options) => Some(options.linearizable_timeout),
        ClusterKind::Tikv(options) => Some(options.pd.linearizable_timeout),
        ClusterKind::Rabbitmq(options) => options.publish.as_ref().map(|publish| publish.timeout),
        ClusterKind::Consul(options) => Some(options.linearizable_timeout),
        ClusterKind::ZooKeeper(options) => Some(options.linearizable_timeout),
        ClusterKind::Nats(options) => options.publish.as_ref().map(|_| options.linearizable_timeout),
        ClusterKind::RaftHttp(options) => options.linearizable.as_ref().map(|_| options.linearizable_timeout),
        ClusterKind::Vault(options) => options.token.as_ref().map(|_| options.linearizable_timeout),
        ClusterKind::Nomad(options) => options.variable.as_ref().map(|_| options.linearizable_timeout),
        ClusterKind::Search(options) => options.proof_index.as_ref().map(|_| options.linearizable_timeout),
        ClusterKind::Galera(options) => Some(options.linearizable_timeout),
        ClusterKind::MysqlGr(options) => Some(options.linearizable_timeout),
        ClusterKind::Cassandra(options) => options.canary.as_ref().map(|_| options.linearizable_timeout),
        ClusterKind::Cockroachdb(options) => options.sql.as_ref().map(|sql| sql.timeout),
        ClusterKind::Mongodb(options) => options.login.as_ref().map(|_| options.linearizable_timeout),
        ClusterKind::Patroni(_)
        | ClusterKind::RedisSentinel(_)
        | ClusterKind::Postgres(_)
        | ClusterKind::Kafka(_)
        // The leader's lease is one, and every round asks for it.
        | ClusterKind::Yugabytedb(_)
        // The round itself is the probe.
        | ClusterKind::Canary(_) => None,
    }
}

/// Asks one voter for something that it can only answer with a quorum behind it.
pub async fn linearizable(net: &Net, kind: &ClusterKind, member: &Member) -> LinearizableResult {
    match (kind, &member.endpoint) {
        (ClusterKind::Etcd(options), Endpoint::Http(url)) => etcd::linearizable(net, options, url).await,
        (ClusterKind::Tikv(options), Endpoint::Http(url)) => etcd::linearizable(net, &options.pd, url).await,
        (ClusterKind::Rabbitmq(options), Endpoint::Http(url)) => {
            rabbitmq::linearizable(net, options, url).await
        }
        (ClusterKind::Consul(options), Endpoint::Http(url)) => consul::linearizable(net, options, url).await,
        (ClusterKind::Nomad(options), Endpoint::Http(url)) => nomad::linearizable(net, options, url).await,
        (ClusterKind::Vault(options), Endpoint::Http(url)) => vault::linearizable(net, options, url).await,
        (ClusterKind::Search(options), Endpoint::Http(url)) => search::linearizable(net, options, url).await,
        (ClusterKind::Nats(options), Endpoint::Http(url)) => nats::linearizable(net, options, url).await,
        (ClusterKind::RaftHttp(options), Endpoint::Http(url)) => {
            raft_http::linearizable(net, options, url).await
        }
        (ClusterKind::ZooKeeper(options), Endpoint::Port(to)) => {
            zookeeper::linearizable(net, options, to).await
        }
        (ClusterKind::Galera(options), Endpoint::Port(address)) => {
            galera::linearizable(net, options, address).await
        }
        (ClusterKind::Cockroachdb(options), Endpoint::Http(url)) => {
            cockroachdb::linearizable(net, options, url).await
        }
        (ClusterKind::Mongodb(options), Endpoint::Port(address)) => {
            mongodb::linearizable(net, options, address).await
        }
        (ClusterKind::MysqlGr(options), Endpoint::Port(address)) => {
            mysql_gr::linearizable(net, options, address).await
        }
        (ClusterKind::Cassandra(options), Endpoint::Port(address)) => {
            cassandra::linearizable(net, options, address).await
        }
        _ => LinearizableResult::Unmeasured(format!("{} has no such probe", kind.word())),
    }
}

/// What it means that a probe that takes a quorum got no answer.
fn unanswered(failure: Failure, contact: &Contact) -> LinearizableResult {
    // Only a member that took the question can leave it hanging.
    match failure.class == Class::Silent && contact.phases.connected.is_some() {
        true => LinearizableResult::Hung,
        false => LinearizableResult::Unmeasured(failure.words),
    }
}
