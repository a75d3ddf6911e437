//! Clusters, as written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::Span;
use crate::base::SecretRef;
use crate::config::model::{
    CanaryMethod, ExitCodes, KafkaMechanism, Level, LostMax, MongodbMechanism, NatsTls, SilentMeans,
    UnreachableWriter,
};
use crate::config::read::{Beside, Entries, Placed};
use crate::config::yaml::Node;

#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "read once, and taken apart at once")]
pub enum Cluster {
    Etcd(Framed<Etcd>),
    Consul(Framed<Consul>),
    Nomad(Framed<Nomad>),
    #[serde(rename = "zookeeper")]
    ZooKeeper(Framed<ZooKeeper>),
    Nats(Framed<Nats>),
    RaftHttp(Framed<RaftHttp>),
    Postgres(Framed<Postgres>),
    Rabbitmq(Framed<Rabbitmq>),
    Kafka(Framed<Kafka>),
    Canary(Framed<Canary>),
    Dynamodb(Framed<Dynamodb>),
    CanaryExec(Framed<CanaryExec>),
    CanaryPostgres(Framed<CanaryPostgres>),
    CanaryMysql(Framed<CanaryMysql>),
    CanaryRedis(Framed<CanaryRedis>),
    CanaryEtcd(Framed<CanaryEtcd>),
    Spanner(Framed<Spanner>),
    Galera(Framed<Galera>),
    MysqlGr(Framed<MysqlGr>),
    RedisSentinel(Framed<RedisSentinel>),
    Patroni(Framed<Patroni>),
    Cassandra(Framed<Cassandra>),
    Elasticsearch(Framed<Search>),
    Opensearch(Framed<Search>),
    Vault(Framed<Vault>),
    Mongodb(Framed<Mongodb>),
    Cockroachdb(Framed<Cockroachdb>),
    Yugabytedb(Framed<Yugabytedb>),
    Tikv(Framed<Tikv>),
}

/// A cluster: what every system has, and what this one has besides.
pub type Framed<T> = Beside<Frame, T>;

/// What every system has.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    pub inside: Option<Entries<Vec<Placed<String>>>>,
    pub across: Option<Entries<Vec<Placed<String>>>>,
    pub interval: Option<Span>,
    pub timeout: Option<Span>,
    pub rise: Option<u32>,
    pub fall: Option<u32>,
    pub jitter: Option<Node>,
    pub source: Option<Node>,
    pub time_to_truth: Option<Span>,
    #[serde(default)]
    pub silent_means: SilentMeans,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Etcd {
    pub username: Option<Placed<String>>,
    pub password: Option<Placed<SecretRef>>,
    pub tls: Option<Tls>,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Consul {
    pub token: Option<SecretRef>,
    pub tls: Option<Tls>,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Nomad {
    pub token: Option<SecretRef>,
    pub tls: Option<Tls>,
    pub variable: Option<Placed<String>>,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct ZooKeeper {
    pub tls: Option<Tls>,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    pub tls: Option<Tls>,
    pub publish: Option<NatsPublish>,
    pub streams_lost_max: Option<LostMax>,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct NatsPublish {
    pub subject: Placed<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<SecretRef>,
    pub token: Option<SecretRef>,
    #[serde(default)]
    pub tls: NatsTls,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct RaftHttp {
    pub path: Placed<String>,
    pub body: Option<String>,
    pub expect: Option<String>,
    pub pointers: Pointers,
    pub token: Option<SecretRef>,
    pub tls: Option<Tls>,
    pub linearizable: Option<RaftHttpQuorum>,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Pointers {
    pub cluster: Option<Placed<String>>,
    pub member: Option<Placed<String>>,
    pub leader: Placed<String>,
    pub term: Option<Placed<String>>,
    pub index: Option<Placed<String>>,
    pub applied: Option<Placed<String>>,
    pub learner: Option<Placed<String>>,
    pub voter: Option<Placed<String>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct RaftHttpQuorum {
    pub path: Placed<String>,
    pub body: Option<String>,
    pub status: Option<Vec<Node>>,
    pub expect: Option<String>,
    pub no_quorum: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    pub password: Option<SecretRef>,
    pub ca: Option<PathBuf>,
    #[serde(default)]
    pub unreachable_writer: UnreachableWriter,
    #[serde(default)]
    pub application: Application,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Application {
    pub roles: Vec<Placed<String>>,
    pub proof: Option<Proof>,
    pub database: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    pub user: String,
    pub password: Option<SecretRef>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Rabbitmq {
    pub user: String,
    pub password: SecretRef,
    pub tls: Option<Tls>,
    pub vhost: Option<String>,
    #[serde(default)]
    pub queues: Vec<Placed<String>>,
    pub parts_lost_max: Option<LostMax>,
    pub publish: Option<RabbitmqPublish>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct RabbitmqPublish {
    pub queue: Placed<String>,
    pub vhost: Option<Placed<String>>,
    pub port: Option<u16>,
    #[serde(default)]
    pub tls: bool,
    pub timeout: Option<Span>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    pub user: Option<String>,
    pub password: Option<Placed<SecretRef>>,
    pub mechanism: Option<Placed<KafkaMechanism>>,
    pub tls: Option<Tls>,
    #[serde(default)]
    pub topics: Vec<Placed<String>>,
    pub parts_lost_max: Option<LostMax>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    pub token: Option<SecretRef>,
    pub tls: Option<Tls>,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Search {
    pub user: Option<String>,
    pub password: Option<SecretRef>,
    pub api_key: Option<SecretRef>,
    pub tls: Option<Tls>,
    #[serde(default)]
    pub indices: Vec<Placed<String>>,
    pub parts_lost_max: Option<LostMax>,
    pub proof_index: Option<Placed<String>>,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Galera {
    pub user: String,
    pub password: Option<SecretRef>,
    pub tls: Option<Tls>,
    #[serde(default)]
    pub arbitrators: usize,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct MysqlGr {
    pub user: String,
    pub password: Option<SecretRef>,
    pub tls: Option<Tls>,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct RedisSentinel {
    pub master: String,
    #[serde(default)]
    pub servers: RedisLogin,
    #[serde(default)]
    pub sentinels: RedisLogin,
    pub tls: Option<Tls>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Patroni {
    pub tls: Option<Tls>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Mongodb {
    pub set: Option<String>,
    pub user: Option<Placed<String>>,
    pub password: Option<Placed<SecretRef>>,
    pub database: Option<Placed<String>>,
    pub mechanism: Option<Placed<MongodbMechanism>>,
    #[serde(default)]
    pub without_vote: Vec<Placed<String>>,
    pub majority_writes: Option<bool>,
    pub tls: Option<Tls>,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Cockroachdb {
    pub tls: Option<Tls>,
    pub parts_lost_max: Option<LostMax>,
    pub sql: Option<CockroachdbSql>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Yugabytedb {
    pub tls: Option<Tls>,
    pub parts_lost_max: Option<LostMax>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Tikv {
    pub tls: Option<Tls>,
    pub parts_lost_max: Option<LostMax>,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct CockroachdbSql {
    pub port: Option<u16>,
    pub user: String,
    pub password: Option<SecretRef>,
    pub database: Option<String>,
    pub read: Placed<String>,
    pub tls: Option<bool>,
    pub timeout: Option<Span>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct RedisLogin {
    pub user: Option<Placed<String>>,
    pub password: Option<SecretRef>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    pub token: Option<SecretRef>,
    pub user: Option<String>,
    pub password: Option<SecretRef>,
    pub tls: Option<Tls>,
    #[serde(default)]
    pub method: CanaryMethod,
    pub body: Option<Placed<String>>,
    pub read_query: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct CanaryExec {
    pub argv: Placed<Vec<String>>,
    #[serde(default)]
    pub env: BTreeMap<String, Node>,
    #[serde(default)]
    pub codes: ExitCodes,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct CanaryPostgres {
    pub password: Option<SecretRef>,
    pub ca: Option<PathBuf>,
    pub table: Option<Placed<String>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct CanaryMysql {
    pub user: String,
    pub password: Option<SecretRef>,
    pub tls: Option<Tls>,
    pub table: Placed<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct CanaryRedis {
    pub replicas: Placed<u32>,
    pub user: Option<Placed<String>>,
    pub password: Option<SecretRef>,
    pub tls: Option<Tls>,
    pub key: Option<Placed<String>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct CanaryEtcd {
    pub username: Option<Placed<String>>,
    pub password: Option<Placed<SecretRef>>,
    pub tls: Option<Tls>,
    pub key: Option<Placed<String>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Spanner {
    pub database: Placed<String>,
    pub table: Option<Placed<String>>,
    pub service_account: Option<SecretRef>,
    pub metadata_server: Option<Placed<String>>,
    #[serde(default)]
    pub anonymous: bool,
    pub tls: Option<Tls>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Dynamodb {
    pub region: String,
    pub table: String,
    pub key: Option<String>,
    pub access_key_id: SecretRef,
    pub secret_access_key: SecretRef,
    pub session_token: Option<SecretRef>,
    pub tls: Option<Tls>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Cassandra {
    pub user: Option<String>,
    pub password: Option<Placed<SecretRef>>,
    pub tls: Option<Tls>,
    pub keyspaces: Entries<Placed<Keyspace>>,
    pub parts_lost_max: Option<LostMax>,
    pub canary: Option<CassandraCanary>,
    pub linearizable_timeout: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Keyspace {
    #[serde(default)]
    pub level: Level,
    pub datacenter: Option<Placed<String>>,
    pub replication: Option<Entries<u32>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct CassandraCanary {
    pub table: Placed<String>,
    pub column: Option<Placed<String>>,
    #[serde(default)]
    pub level: Level,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub ca: Option<PathBuf>,
    pub cert: Option<Placed<PathBuf>>,
    pub key: Option<Placed<PathBuf>>,
}
