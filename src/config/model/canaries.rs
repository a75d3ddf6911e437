//! Canaries: small writes and reads back, and how they get there.

use std::path::PathBuf;

use reqwest::Url;

use super::{Access, CanaryOptions, DynamodbOptions, EtcdOptions, ExecCheck, MysqlLogin, RedisLogin};
use crate::base::SecretRef;

/// How a small write and its read get to a system.
#[derive(Clone, Debug)]
pub enum Canary {
    /// Anything that takes a PUT and gives it back to a GET.
    Http(CanaryOptions),
    /// DynamoDB.
    Dynamodb(DynamodbOptions),
    /// A program that knows how; `{member}` in its arguments stands for the member.
    Exec(ExecCheck),
    /// Whatever speaks PostgreSQL's protocol.
    Postgres(PostgresCanary),
    /// Whatever speaks MySQL's protocol.
    Mysql(MysqlCanary),
    /// Redis.
    Redis(RedisCanary),
    /// etcd.
    Etcd(EtcdCanary),
    /// Spanner.
    Spanner(SpannerCanary),
}

impl Canary {
    /// The key that names it in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Http(_) => "canary",
            Self::Dynamodb(_) => "dynamodb",
            Self::Exec(_) => "canary_exec",
            Self::Postgres(_) => "canary_postgres",
            Self::Mysql(_) => "canary_mysql",
            Self::Redis(_) => "canary_redis",
            Self::Etcd(_) => "canary_etcd",
            Self::Spanner(_) => "spanner",
        }
    }
}

/// A row of this site's own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Row {
    /// The table, perhaps with its schema: names that need no quotes.
    pub table: String,
    /// The row's key: the name of this site.
    pub site: String,
}

/// How to write and read back by PostgreSQL's protocol.
#[derive(Clone, Debug, Default)]
pub struct PostgresCanary {
    /// The password; who logs in where stands with each member.
    pub password: Option<SecretRef>,
    /// Whom to trust, as a PEM file.
    pub ca: Option<PathBuf>,
    /// What is written.
    pub row: Row,
}

/// How to write and read back by MySQL's protocol.
#[derive(Clone, Debug, Default)]
pub struct MysqlCanary {
    /// Who we are there.
    pub login: MysqlLogin,
    /// What is written; the table perhaps with its database.
    pub row: Row,
}

/// How to write and read back in Redis.
#[derive(Clone, Debug, Default)]
pub struct RedisCanary {
    /// Who we are there.
    pub login: RedisLogin,
    /// Over TLS, the server's name verified; clear text without.
    pub tls: Option<Access>,
    /// The key: this site's own.
    pub key: String,
    /// So many replicas must have the write: without any, a master that is cut off passes.
    pub replicas: u32,
}

/// How to write and read back in etcd.
#[derive(Clone, Debug, Default)]
pub struct EtcdCanary {
    /// Who we are there.
    pub options: EtcdOptions,
    /// The key: this site's own.
    pub key: String,
}

/// How to write and read back in Spanner.
#[derive(Clone, Debug)]
pub struct SpannerCanary {
    /// Whom to trust.
    pub access: Access,
    /// `projects/…/instances/…/databases/…`
    pub database: String,
    /// What is written.
    pub row: Row,
    /// Who we are there.
    pub identity: SpannerIdentity,
}

/// Who we are at Spanner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SpannerIdentity {
    /// A service account, by its key: a file of JSON.
    Account(SecretRef),
    /// The account of this machine, as its metadata server has it.
    Machine(Url),
    /// Nobody: an emulator does not ask.
    Nobody,
}
