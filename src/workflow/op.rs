//! What a stage does, resolved and frozen: everything an agent needs, nothing it must look up.
//!
//! Targets are chosen once, at admission, and written to the journal; every attempt, by
//! whichever process, addresses the same ones. Secrets are references even here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::SecretRef;
use crate::config::{HostPort, PostgresTarget, UnreachableWriter};

/// What a stage does, by agent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Makes room in a region.
    Capacity(CapacityOp),
    /// Gives a database's writer role to a region, or takes it away.
    Database(DatabaseOp),
    /// Sets the shares of traffic in our own table. Done by the daemon itself, not by an agent.
    Dial(DialOp),
    /// Runs a program.
    Exec(ExecOp),
    /// Sends an HTTP request.
    Http(HttpOp),
    /// Tells people.
    Notify(NotifyOp),
    /// Waits for a time, or for something to be so.
    Wait(WaitOp),
}

impl Op {
    /// The agent's name, as in workflow files.
    pub fn agent(&self) -> &'static str {
        match self {
            Self::Capacity(_) => "capacity",
            Self::Database(_) => "database",
            Self::Dial(_) => "dial",
            Self::Exec(_) => "exec",
            Self::Http(_) => "http",
            Self::Notify(_) => "notify",
            Self::Wait(_) => "wait",
        }
    }
}

/// A text, written out or kept as a secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    /// As it stands.
    Plain(String),
    /// Read when it is needed.
    Secret(SecretRef),
}

/// Makes room in a region, through an HTTP hook.
///
/// The hook gets `POST` with the JSON of `region`, `percent`, `capacity` and `extra`, and an
/// `Idempotency-Key` that stays the same over attempts: it must do the same thing once. It
/// answers 2xx when the capacity is there, or 202 to be asked again with `GET` until 200.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CapacityOp {
    /// The region that needs it.
    pub region: String,
    /// Of what it has when it is whole.
    pub percent: u32,
    /// What the configuration says it can carry.
    pub capacity: Option<u32>,
    /// The hook.
    pub url: String,
    /// Further headers.
    pub headers: BTreeMap<String, Text>,
    /// Whatever else the file says (`cluster`, `namespace` …), passed on as it is.
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// Gives the writer role to one region's node, or takes it from one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DatabaseOp {
    /// The cluster's name.
    pub cluster: String,
    /// What the region's node shall be.
    pub role: DatabaseRole,
    /// The region whose node is meant.
    pub region: String,
    /// Every node of the cluster.
    pub nodes: Vec<DatabaseNode>,
    /// Password of the role we connect as.
    pub password: Option<SecretRef>,
    /// Whom to trust, as a PEM file.
    pub ca: Option<PathBuf>,
    /// What a fence shuts out.
    pub application: ApplicationOp,
    /// What to do when the old writer cannot be reached to be fenced.
    pub unreachable_writer: UnreachableWriter,
}

/// What a node of a database shall be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseRole {
    /// Fence every other node, wait for replay, promote, verify.
    Writer,
    /// Fence this node.
    Reader,
}

/// One node of a database.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DatabaseNode {
    /// The region it lies in.
    pub region: String,
    /// How to reach it.
    pub target: PostgresTarget,
}

/// The roles that applications write as; see [`crate::config::Application`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ApplicationOp {
    /// Their names; empty: found out at the node.
    pub roles: Vec<String>,
    /// A role and its password to prove with that a write is refused.
    pub proof: Option<(String, Option<SecretRef>)>,
    /// The database they write to.
    pub database: Option<String>,
}

/// Sets what share of a service's traffic each region gets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DialOp {
    /// The service's name.
    pub service: String,
    /// Regions and their shares; a region that is left out gets none.
    pub shares: BTreeMap<String, u32>,
}

/// Runs a program: an argument vector, no shell, in a process group of its own.
///
/// Exit status 0: applied. 75 (`EX_TEMPFAIL`): not applied, try again. 78 (`EX_CONFIG`): not
/// applied, do not try again. Anything else, or a signal: unknown.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ExecOp {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Further environment.
    pub env: BTreeMap<String, Text>,
    /// Tells whether it has happened: 0 yes, 1 no, else it cannot tell.
    pub observe: Option<Vec<String>>,
    /// Running it twice does no harm.
    pub idempotent: bool,
}

/// Sends an HTTP request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HttpOp {
    /// `GET`, `HEAD`, `PUT`, `POST`, `PATCH`, `DELETE`.
    pub method: String,
    /// Where to.
    pub url: String,
    /// Further headers.
    pub headers: BTreeMap<String, Text>,
    /// What to send.
    pub body: Option<String>,
    /// Status codes that mean it was applied, as inclusive ranges.
    pub expect: Vec<(u16, u16)>,
    /// Tells whether it has happened.
    pub observe: Option<HttpObserve>,
    /// Sending it twice does no harm: by its method (RFC 9110 §9.2.2), or because the target
    /// honours `Idempotency-Key`.
    pub idempotent: bool,
}

/// A `GET` that tells whether something has happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HttpObserve {
    /// Where to.
    pub url: String,
    /// This status: it has happened.
    pub applied: u16,
    /// This status: it has not.
    pub not_applied: u16,
}

/// Tells people, through a webhook.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NotifyOp {
    /// The channel's name.
    pub channel: String,
    /// Where to.
    pub url: Text,
    /// Further headers.
    pub headers: BTreeMap<String, Text>,
    /// What to say.
    pub message: String,
}

/// Waits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WaitOp {
    /// For what.
    pub until: Until,
    /// Between looks.
    pub interval: Duration,
    /// So many looks in a row must find it so.
    pub consecutive: u32,
}

/// What to wait for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// A time.
    Elapsed(Duration),
    /// A `GET` that answers with one of these status codes, as inclusive ranges.
    Http {
        /// Where to.
        url: String,
        /// What passes.
        status: Vec<(u16, u16)>,
    },
    /// A port that accepts connections.
    Tcp {
        /// Where to.
        address: HostPort,
    },
}
