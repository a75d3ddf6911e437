//! Clusters: stateful systems, their groups of voters, and how to talk to each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::{Canary, HostPort, Schedule, StatusRange};
use crate::base::{ClusterId, GroupId, Place, RegionId, SecretRef};

/// A stateful system, named once: watched by checks, acted on by database stages.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// What it is.
    pub kind: ClusterKind,
    /// Its groups of voters.
    pub groups: Vec<GroupId>,
    /// When its members are asked.
    pub schedule: Schedule,
    /// A system that elects may be without a leader for this long before that counts as lost.
    pub time_to_truth: Duration,
    /// What to make of a group whose voters are all silent while lower layers pass.
    pub silent_means: SilentMeans,
    /// Where the configuration names it.
    pub place: Place,
}

/// What to make of silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SilentMeans {
    /// It could not be measured; nothing changes.
    #[default]
    Unknown,
    /// It is gone.
    NoQuorum,
}

/// What a cluster is, with what it takes to talk to it.
#[derive(Clone, Debug)]
pub enum ClusterKind {
    /// etcd 3.4 and later, over its JSON gateway.
    Etcd(EtcdOptions),
    /// Consul servers, over their HTTP API.
    Consul(ConsulOptions),
    /// Nomad servers, over their HTTP API.
    Nomad(NomadOptions),
    /// ZooKeeper servers, over their client port.
    ZooKeeper(ZooKeeperOptions),
    /// NATS JetStream servers, over their monitoring port.
    Nats(NatsOptions),
    /// Any system that elects a leader and tells of it in JSON over HTTP.
    RaftHttp(Box<RaftHttpOptions>),
    /// PostgreSQL: one primary, streaming standbys.
    Postgres(PostgresOptions),
    /// RabbitMQ 3.10 and later: quorum queues, over its management API.
    Rabbitmq(RabbitmqOptions),
    /// Kafka 3.3 and later in KRaft mode, in its own protocol.
    Kafka(KafkaOptions),
    /// Anything that takes a small write and brings it back, by one way or another.
    Canary(Box<Canary>),
    /// Galera: MariaDB, Percona XtraDB Cluster, MySQL with Codership's patch.
    Galera(GaleraOptions),
    /// MySQL Group Replication, InnoDB Cluster.
    MysqlGr(MysqlGrOptions),
    /// Redis under Sentinels.
    RedisSentinel(RedisSentinelOptions),
    /// PostgreSQL under Patroni.
    Patroni(PatroniOptions),
    /// Cassandra 3.0 and later, in its native protocol.
    Cassandra(CassandraOptions),
    /// Elasticsearch or OpenSearch, over their REST API.
    Search(SearchOptions),
    /// Vault with integrated storage, over its HTTP API.
    Vault(VaultOptions),
    /// A MongoDB replica set.
    Mongodb(MongodbOptions),
    /// CockroachDB, by its metrics and a read over SQL.
    Cockroachdb(Box<CockroachdbOptions>),
    /// YugabyteDB, by its masters.
    Yugabytedb(YugabytedbOptions),
    /// TiKV, by its placement drivers.
    Tikv(TikvOptions),
}

impl ClusterKind {
    /// The key that names it in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Etcd(_) => "etcd",
            Self::Consul(_) => "consul",
            Self::Nomad(_) => "nomad",
            Self::ZooKeeper(_) => "zookeeper",
            Self::Nats(_) => "nats",
            Self::RaftHttp(_) => "raft_http",
            Self::Postgres(_) => "postgres",
            Self::Rabbitmq(_) => "rabbitmq",
            Self::Kafka(_) => "kafka",
            Self::Canary(canary) => canary.word(),
            Self::Galera(_) => "galera",
            Self::MysqlGr(_) => "mysql_gr",
            Self::RedisSentinel(_) => "redis_sentinel",
            Self::Patroni(_) => "patroni",
            Self::Cassandra(_) => "cassandra",
            Self::Search(options) => options.dialect.word(),
            Self::Vault(_) => "vault",
            Self::Mongodb(_) => "mongodb",
            Self::Cockroachdb(_) => "cockroachdb",
            Self::Yugabytedb(_) => "yugabytedb",
            Self::Tikv(_) => "tikv",
        }
    }

    /// Voters of each group that cannot be asked.
    pub fn arbitrators(&self) -> usize {
        match self {
            Self::Galera(options) => options.arbitrators,
            _ => 0,
        }
    }

    /// Whether a member is known to have no vote before it was asked.
    pub fn voteless(&self, endpoint: &Endpoint) -> bool {
        match (self, endpoint) {
            (Self::Mongodb(options), Endpoint::Port(address)) => options.without_vote.contains(address),
            _ => false,
        }
    }

    /// What its parts are called, and how many of them may be lost, where it is sharded.
    pub fn parts(&self) -> Option<(&'static str, LostMax)> {
        match self {
            Self::Kafka(options) => Some(("partitions", options.parts_lost_max)),
            Self::Rabbitmq(options) => Some(("quorum queues", options.parts_lost_max)),
            Self::Cockroachdb(options) => Some(("ranges", options.parts_lost_max)),
            Self::Yugabytedb(options) => Some(("tablets", options.parts_lost_max)),
            Self::Tikv(options) => Some(("regions of TiKV", options.parts_lost_max)),
            Self::Search(options) => Some(("shards", options.parts_lost_max)),
            Self::Nats(options) => options.streams_lost_max.map(|most| ("streams", most)),
            Self::Cassandra(options) => Some(("token ranges", options.parts_lost_max)),
            Self::Etcd(_) | Self::Consul(_) | Self::ZooKeeper(_) | Self::RaftHttp(_) | Self::Vault(_) => None,
            Self::Canary(_) | Self::Mongodb(_) | Self::Nomad(_) => None,
            Self::Postgres(_)
            | Self::Galera(_)
            | Self::MysqlGr(_)
            | Self::RedisSentinel(_)
            | Self::Patroni(_) => None,
        }
    }

    /// Whether its members decide by majority, so that it matters how many there are.
    pub fn votes(&self) -> bool {
        match self {
            Self::Rabbitmq(_) | Self::Galera(_) | Self::MysqlGr(_) => true,
            // Each range has voters of its own; it has three of them at the least.
            Self::Cockroachdb(_) => true,
            // Its members are no voters alone: its Sentinels are counted where it is bound.
            Self::RedisSentinel(_) | Self::Patroni(_) => false,
            Self::Postgres(_) => false,
            // Every token range has voters of its own.
            Self::Cassandra(_) => false,
            _ => self.elects(),
        }
    }

    /// Whether its members elect one leader per term, and are judged by whom they name.
    pub fn elects(&self) -> bool {
        match self {
            Self::Etcd(_) | Self::Consul(_) | Self::ZooKeeper(_) | Self::Vault(_) => true,
            Self::Kafka(_) | Self::Nats(_) | Self::Nomad(_) | Self::RaftHttp(_) => true,
            Self::Search(_) | Self::Mongodb(_) | Self::Yugabytedb(_) | Self::Tikv(_) => true,
            Self::Galera(_) | Self::MysqlGr(_) | Self::RedisSentinel(_) | Self::Patroni(_) => false,
            Self::Postgres(_) | Self::Rabbitmq(_) | Self::Cassandra(_) | Self::Cockroachdb(_) => false,
            Self::Canary(_) => false,
        }
    }
}

/// How many parts of a sharded system may be lost before the system counts as lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LostMax {
    /// So many.
    Count(u64),
    /// So many of a hundred.
    Percent(u8),
}

impl LostMax {
    /// Whether so many of so many are too many.
    pub fn exceeded(self, lost: u64, total: u64) -> bool {
        match self {
            Self::Count(most) => lost > most,
            Self::Percent(most) => u128::from(lost) * 100 > u128::from(total) * u128::from(most),
        }
    }
}

/// A part that was forgotten on a member long gone moves nobody's traffic; the loss of a member
/// that mattered costs far more than this.
impl Default for LostMax {
    fn default() -> Self {
        Self::Percent(10)
    }
}

/// A number, or a share such as `10%`.
impl<'de> serde::Deserialize<'de> for LostMax {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::{Error, Visitor};
        struct Text;
        impl Visitor<'_> for Text {
            type Value = LostMax;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of parts, or a share such as 10%")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<LostMax, E> {
                let share =
                    text.strip_suffix('%').map(|share| share.parse().ok().filter(|share| *share < 100));
                let read = match share {
                    Some(share) => share.map(LostMax::Percent),
                    None => text.parse().ok().map(LostMax::Count),
                };
                read.ok_or_else(|| E::custom(format!("`{text}` is neither a number nor a share below 100%")))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<LostMax, E> {
                Ok(LostMax::Count(number))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// How to show oneself to a server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Whom to trust, as a PEM file; the system's roots by default.
    pub ca: Option<PathBuf>,
    /// Client certificate and key, as PEM files.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// What is shown besides.
    pub credential: Option<Credential>,
}

/// What an HTTP server is shown; read each time it is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credential {
    /// A token (RFC 6750 §2.1).
    Bearer(SecretRef),
    /// A user and a password (RFC 7617).
    Basic {
        /// Who.
        user: String,
        /// Where the password is.
        password: SecretRef,
    },
    /// An API key of Elasticsearch, as it is given out: `id:key` in base64.
    ApiKey(SecretRef),
    /// A token in a header of the system's own, named in lower case.
    Header(&'static str, SecretRef),
}

/// How to talk to etcd.
#[derive(Clone, Debug, Default)]
pub struct EtcdOptions {
    /// TLS, where its endpoints are `https`.
    pub access: Access,
    /// The budget of the linearizable probe; apart from the local one's `timeout`, because
    /// etcd itself takes up to 7 s to give up on a read that has no quorum.
    pub linearizable_timeout: Duration,
    /// Who reads, where authentication is switched on.
    pub user: Option<EtcdUser>,
}

/// A user of etcd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EtcdUser {
    /// Who.
    pub name: String,
    /// The password.
    pub password: SecretRef,
}

/// How to talk to RabbitMQ.
#[derive(Clone, Debug, Default)]
pub struct RabbitmqOptions {
    /// Of the management API; user and password are those of AMQP too.
    pub access: Access,
    /// Only queues of this virtual host.
    pub vhost: Option<String>,
    /// Only queues with these names; a name that ends in `*` stands for all that begin so.
    pub queues: Vec<String>,
    /// How many of them may be lost.
    pub parts_lost_max: LostMax,
    /// The queue whose confirmations prove a quorum.
    pub publish: Option<RabbitmqPublish>,
}

/// A quorum queue that a message is published to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RabbitmqPublish {
    /// Its name.
    pub queue: String,
    /// Its virtual host.
    pub vhost: String,
    /// Where AMQP is spoken, on the host of the management API.
    pub port: u16,
    /// Over TLS.
    pub tls: bool,
    /// The budget of a publish with its confirmation.
    pub timeout: Duration,
}

/// How to talk to Kafka.
#[derive(Clone, Debug, Default)]
pub struct KafkaOptions {
    /// Whom to trust over TLS; user and password for SASL.
    pub access: Access,
    /// How the password is shown, or proved.
    pub mechanism: KafkaMechanism,
    /// Over TLS.
    pub tls: bool,
    /// Only these topics; a name that ends in `*` stands for all that begin so.
    pub topics: Vec<String>,
    /// How many of their partitions may be lost.
    pub parts_lost_max: LostMax,
}

/// How somebody logs in to Kafka.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
pub enum KafkaMechanism {
    /// SASL/PLAIN: the password itself.
    #[default]
    #[serde(rename = "plain")]
    Plain,
    /// SASL/SCRAM-SHA-256.
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    /// SASL/SCRAM-SHA-512.
    #[serde(rename = "scram_sha_512")]
    ScramSha512,
}

impl KafkaMechanism {
    /// As SASL's registry has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How to talk to Vault.
#[derive(Clone, Debug, Default)]
pub struct VaultOptions {
    /// TLS, where its endpoints are `https`.
    pub access: Access,
    /// Whose cubbyhole is written to, to prove a quorum; without it there is no such probe.
    pub token: Option<SecretRef>,
    /// The budget of that probe.
    pub linearizable_timeout: Duration,
}

/// How to talk to Elasticsearch or OpenSearch.
#[derive(Clone, Debug, Default)]
pub struct SearchOptions {
    /// Which of both.
    pub dialect: SearchDialect,
    /// TLS, where its endpoints are `https`, and who we are.
    pub access: Access,
    /// Only shards of these indices; a name that ends in `*` stands for all that begin so.
    pub indices: Vec<String>,
    /// How many of their primaries may be lost.
    pub parts_lost_max: LostMax,
    /// An index whose mapping is changed to prove a quorum; without it there is no such probe.
    pub proof_index: Option<String>,
    /// The budget of that probe.
    pub linearizable_timeout: Duration,
}

/// The systems that have one REST API, but for the name of the elected node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SearchDialect {
    /// It elects a master.
    #[default]
    Elasticsearch,
    /// It elects a cluster manager.
    Opensearch,
}

impl SearchDialect {
    /// The key that names it in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Elasticsearch => "elasticsearch",
            Self::Opensearch => "opensearch",
        }
    }
}

/// How to talk to Consul servers.
#[derive(Clone, Debug, Default)]
pub struct ConsulOptions {
    /// TLS, where its endpoints are `https`, and an ACL token.
    pub access: Access,
    /// The budget of the linearizable probe; Consul itself takes up to 7 s to give up on a read
    /// that finds no leader.
    pub linearizable_timeout: Duration,
}

/// How to talk to Nomad servers.
#[derive(Clone, Debug, Default)]
pub struct NomadOptions {
    /// TLS, where its endpoints are `https`, and an ACL token.
    pub access: Access,
    /// The path of a variable that is written to, to prove a quorum; without it there is no such probe.
    pub variable: Option<String>,
    /// The budget of that probe.
    pub linearizable_timeout: Duration,
}

/// How to talk to ZooKeeper servers.
#[derive(Clone, Debug, Default)]
pub struct ZooKeeperOptions {
    /// The client port speaks TLS (`secureClientPort`).
    pub tls: bool,
    /// Whom to trust and what certificate to show, with TLS.
    pub access: Access,
    /// The budget of the linearizable probe; a server that is cut off leaves it hanging for
    /// `syncLimit` ticks.
    pub linearizable_timeout: Duration,
}

/// How to talk to NATS JetStream servers.
#[derive(Clone, Debug, Default)]
pub struct NatsOptions {
    /// TLS of the monitoring port.
    pub access: Access,
    /// The budget of the linearizable probe.
    pub linearizable_timeout: Duration,
    /// What that publishes; without it there is none.
    pub publish: Option<NatsPublish>,
    /// How many replicated streams may be lost; without it they are not looked at.
    pub streams_lost_max: Option<LostMax>,
}

/// Where to publish a message that a majority must have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NatsPublish {
    /// A subject of a replicated stream.
    pub subject: String,
    /// The client port of every server.
    pub port: u16,
    /// Who we are there.
    pub user: Option<String>,
    /// That user's password.
    pub password: Option<SecretRef>,
    /// A token instead.
    pub token: Option<SecretRef>,
    /// Whether TLS is spoken there, trusting whom the monitoring port's TLS trusts.
    pub tls: NatsTls,
}

/// When TLS begins on a client port of NATS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NatsTls {
    /// Never.
    #[default]
    None,
    /// Once the server has introduced itself, in clear text.
    AfterInfo,
    /// With the first byte (`handshake_first`).
    First,
}

/// How to ask a system that we know nothing of but this.
#[derive(Clone, Debug, Default)]
pub struct RaftHttpOptions {
    /// TLS, and a bearer token.
    pub access: Access,
    /// What to ask every member.
    pub path: String,
    /// Sent with POST; without it, GET.
    pub body: Option<String>,
    /// What must be in the answer.
    pub expect: Option<String>,
    /// Where in the answer each fact is.
    pub pointers: Pointers,
    /// The budget of the linearizable probe.
    pub linearizable_timeout: Duration,
    /// What takes a quorum to answer; without it there is no such probe.
    pub linearizable: Option<RaftHttpQuorum>,
}

/// Where in an answer each fact is: JSON pointers (RFC 6901).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pointers {
    /// Which cluster.
    pub cluster: Option<String>,
    /// The member's own name.
    pub member: Option<String>,
    /// Whom it takes for the leader: missing, null, empty or 0 for nobody.
    pub leader: String,
    /// In which term.
    pub term: Option<String>,
    /// The end of its log.
    pub index: Option<String>,
    /// How far it has applied that.
    pub applied: Option<String>,
    /// True for a member without a vote.
    pub learner: Option<String>,
    /// False for a member without a vote.
    pub voter: Option<String>,
}

/// A request that takes a quorum to answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RaftHttpQuorum {
    /// What to ask.
    pub path: String,
    /// Sent with POST; without it, GET.
    pub body: Option<String>,
    /// Which statuses prove a quorum.
    pub status: Vec<StatusRange>,
    /// What must be in the answer besides.
    pub expect: Option<String>,
    /// What in an answer, of whatever status, means that there is none.
    pub no_quorum: Option<String>,
}

/// How to write and read back over HTTP.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CanaryOptions {
    /// Whom to trust and what to show.
    pub access: Access,
    /// How to write.
    pub method: CanaryMethod,
    /// What to send, with `{value}` for what must come back.
    pub body: String,
    /// The query of the read; that of the member's URL by default.
    pub read_query: Option<String>,
}

/// How a canary writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryMethod {
    /// PUT.
    #[default]
    Put,
    /// POST.
    Post,
}

/// How to talk to DynamoDB.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DynamodbOptions {
    /// Whom to trust.
    pub access: Access,
    /// The region that requests are signed for.
    pub region: String,
    /// The table.
    pub table: String,
    /// The name of its partition key, a string.
    pub key: String,
    /// The access key's id.
    pub key_id: SecretRef,
    /// The secret access key.
    pub secret: SecretRef,
    /// The session token of temporary credentials.
    pub session_token: Option<SecretRef>,
}

/// How to talk to PostgreSQL, and what to do with it.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Password of the role that watches and promotes.
    pub password: Option<SecretRef>,
    /// Whom to trust, as a PEM file.
    pub ca: Option<PathBuf>,
    /// What to do when the old writer cannot be reached to be fenced.
    pub unreachable_writer: UnreachableWriter,
    /// The roles that applications write as.
    pub application: Application,
}

/// What a promotion does when the old writer cannot be reached to be fenced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnreachableWriter {
    /// Pauses for an operator's approval.
    #[default]
    Ask,
    /// Promotes: whoever wrote this accepts that two nodes may be writable for a while.
    Promote,
}

/// The roles that applications write as: what a fence shuts out.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// Their names. Empty: every role that can log in, apart from superusers, replication
    /// roles and the role we connect as.
    pub roles: Vec<String>,
    /// A role and its password to prove with that a write is refused.
    pub proof: Option<(String, Option<SecretRef>)>,
    /// The database they write to.
    pub database: Option<String>,
}

/// How to log in to a MySQL or MariaDB server.
#[derive(Clone, Debug, Default)]
pub struct MysqlLogin {
    /// Who.
    pub user: String,
    /// The password.
    pub password: Option<SecretRef>,
    /// Over TLS, the server's name verified; clear text without.
    pub tls: Option<Access>,
}

/// How to talk to Galera.
#[derive(Clone, Debug, Default)]
pub struct GaleraOptions {
    /// Who we are there.
    pub login: MysqlLogin,
    /// Voters without data (`garbd`), in each group. They cannot be asked.
    pub arbitrators: usize,
    /// The budget of a read that waits for the others.
    pub linearizable_timeout: Duration,
}

/// How to talk to MySQL Group Replication.
#[derive(Clone, Debug, Default)]
pub struct MysqlGrOptions {
    /// Who we are there.
    pub login: MysqlLogin,
    /// The budget of a read that waits for the others.
    pub linearizable_timeout: Duration,
}

/// How to talk to Redis and its Sentinels.
#[derive(Clone, Debug, Default)]
pub struct RedisSentinelOptions {
    /// What the Sentinels call the master.
    pub master: String,
    /// Who we are at the servers.
    pub servers: RedisLogin,
    /// Who we are at the Sentinels.
    pub sentinels: RedisLogin,
    /// Over TLS, the servers' names verified; clear text without.
    pub tls: Option<Access>,
}

/// How to talk to Patroni.
#[derive(Clone, Debug, Default)]
pub struct PatroniOptions {
    /// TLS, where its endpoints are `https`.
    pub access: Access,
}

/// How to talk to Cassandra, and what of it matters.
#[derive(Clone, Debug, Default)]
pub struct CassandraOptions {
    /// Whom to trust over TLS; user and password for `PasswordAuthenticator`.
    pub access: Access,
    /// Over TLS.
    pub tls: bool,
    /// The keyspaces that matter, and what clients ask of them.
    pub keyspaces: BTreeMap<String, Keyspace>,
    /// How many of their token ranges may lack the consistency level.
    pub parts_lost_max: LostMax,
    /// What to read at a consistency level; without it there is no such probe.
    pub canary: Option<CassandraCanary>,
    /// The budget of that read.
    pub linearizable_timeout: Duration,
}

/// What clients ask of a keyspace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Keyspace {
    /// How many replicas must take part.
    pub level: Level,
    /// The datacenter that counts at the local levels; by default that of a region's own members.
    pub datacenter: Option<String>,
    /// Replicas in each datacenter; by default as the schema says that a majority tells.
    pub replication: Option<BTreeMap<String, u32>>,
}

/// A small table that is read at a consistency level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CassandraCanary {
    /// Its keyspace.
    pub keyspace: String,
    /// Its name.
    pub table: String,
    /// Its primary key, one column of type `int`.
    pub column: String,
    /// The level to read at.
    pub level: Level,
}

/// How many replicas must take part in a read or write (CQL native protocol, §3 `[consistency]`).
/// `ANY` is not among them: it is satisfied by a hint on a coordinator that reaches nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// One, anywhere.
    One,
    /// Two, anywhere.
    Two,
    /// Three, anywhere.
    Three,
    /// A majority of all, whatever the datacenter.
    Quorum,
    /// All of them.
    All,
    /// A majority of those in the datacenter.
    #[default]
    LocalQuorum,
    /// A majority in every datacenter.
    EachQuorum,
    /// As `quorum`, by Paxos.
    Serial,
    /// As `local_quorum`, by Paxos.
    LocalSerial,
    /// One in the datacenter.
    LocalOne,
}

impl Level {
    /// As Cassandra writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::One => "ONE",
            Self::Two => "TWO",
            Self::Three => "THREE",
            Self::Quorum => "QUORUM",
            Self::All => "ALL",
            Self::LocalQuorum => "LOCAL_QUORUM",
            Self::EachQuorum => "EACH_QUORUM",
            Self::Serial => "SERIAL",
            Self::LocalSerial => "LOCAL_SERIAL",
            Self::LocalOne => "LOCAL_ONE",
        }
    }
}

/// How to talk to MongoDB.
#[derive(Clone, Debug)]
pub struct MongodbOptions {
    /// What the replica set is called; any by default.
    pub set: Option<String>,
    /// Who we are there; without it only what needs no login is asked.
    pub login: Option<MongodbLogin>,
    /// Members with `votes: 0`.
    pub without_vote: Vec<HostPort>,
    /// What is written must reach a majority of those with data, as with `w: "majority"`.
    pub majority_writes: bool,
    /// Over TLS, the servers' names verified; clear text without.
    pub tls: Option<Access>,
    /// The budget of a linearizable read.
    pub linearizable_timeout: Duration,
}

/// Who logs in to MongoDB.
#[derive(Clone, Debug)]
pub struct MongodbLogin {
    /// The user; a certificate has its own.
    pub user: Option<String>,
    /// The password, which a certificate needs not.
    pub password: Option<SecretRef>,
    /// The database that the user is defined in.
    pub database: String,
    /// How; without, the best that the server has for this user.
    pub mechanism: Option<MongodbMechanism>,
}

/// How somebody logs in to MongoDB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MongodbMechanism {
    /// SCRAM-SHA-256.
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    /// SCRAM-SHA-1.
    #[serde(rename = "scram_sha_1")]
    ScramSha1,
    /// By the certificate of the connection.
    X509,
}

/// How to talk to CockroachDB.
#[derive(Clone, Debug, Default)]
pub struct CockroachdbOptions {
    /// TLS, where its endpoints are `https`.
    pub access: Access,
    /// How many ranges may be lost.
    pub parts_lost_max: LostMax,
    /// The read that takes a quorum; without it there is none.
    pub sql: Option<CockroachdbSql>,
}

/// How to talk to YugabyteDB's masters.
#[derive(Clone, Debug, Default)]
pub struct YugabytedbOptions {
    /// TLS, where its endpoints are `https`.
    pub access: Access,
    /// How many tablets may be lost.
    pub parts_lost_max: LostMax,
}

/// How to talk to TiKV's placement drivers.
#[derive(Clone, Debug, Default)]
pub struct TikvOptions {
    /// A PD has an etcd in it, and is asked as one.
    pub pd: EtcdOptions,
    /// How many of TiKV's regions may be lost.
    pub parts_lost_max: LostMax,
}

/// A read over SQL.
#[derive(Clone, Debug)]
pub struct CockroachdbSql {
    /// Where SQL is spoken, on the host of the metrics.
    pub port: u16,
    /// Who.
    pub user: String,
    /// The password.
    pub password: Option<SecretRef>,
    /// In which database.
    pub database: String,
    /// What to read.
    pub read: String,
    /// Over TLS.
    pub tls: bool,
    /// The budget of login and read.
    pub timeout: Duration,
}

/// How to log in to a Redis server or a Sentinel.
#[derive(Clone, Debug, Default)]
pub struct RedisLogin {
    /// An ACL user; without, the default one.
    pub user: Option<String>,
    /// The password; without, nobody logs in.
    pub password: Option<SecretRef>,
}

/// Voters that agree among themselves.
#[derive(Clone, Debug)]
pub struct Group {
    /// The system it is part of.
    pub cluster: ClusterId,
    /// Inside one region, or across regions.
    pub inside: Option<RegionId>,
    /// Its voters.
    pub members: Vec<Member>,
}

impl Group {
    /// More than half of the voters.
    pub fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// The positions of the members in each region.
    pub fn by_region(&self) -> BTreeMap<RegionId, Vec<usize>> {
        let mut by_region: BTreeMap<RegionId, Vec<usize>> = BTreeMap::new();
        for (position, member) in self.members.iter().enumerate() {
            by_region.entry(member.region).or_default().push(position);
        }
        by_region
    }
}

/// One voter.
#[derive(Clone, Debug)]
pub struct Member {
    /// The region it lies in.
    pub region: RegionId,
    /// How to reach it.
    pub endpoint: Endpoint,
}

/// How to reach a voter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// A base URL.
    Http(Url),
    /// A host and a port.
    Port(HostPort),
    /// A PostgreSQL server.
    Postgres(PostgresTarget),
    /// A Redis server or a Sentinel.
    Redis(RedisTarget),
    /// Whatever a program of the operator's makes of it.
    Named(String),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url.as_str().trim_end_matches('/')),
            Self::Port(address) => address.fmt(f),
            Self::Postgres(target) => target.address.fmt(f),
            Self::Redis(target) => target.address.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// A Redis server, or a Sentinel of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedisTarget {
    /// Where.
    pub address: HostPort,
    /// It has a vote, and no data.
    pub sentinel: bool,
}

/// A PostgreSQL server and who we are there; the password is kept elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct PostgresTarget {
    /// Where.
    pub address: HostPort,
    /// Who.
    pub user: String,
    /// To which database.
    pub database: String,
    /// Whether over TLS.
    pub tls: PostgresTls,
}

/// `sslmode` (PostgreSQL, libpq "SSL Support"); modes that fall back to clear text are not offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostgresTls {
    /// Clear text.
    #[default]
    Disable,
    /// TLS with the server's name verified (`verify-full`).
    Require,
}
