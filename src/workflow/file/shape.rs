//! The shape of a workflow file, verbatim.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::Span;
use crate::config::read::{Entries, Placed};
use crate::config::yaml::Node;
use crate::workflow::{DatabaseRole, Jitter, OnFailure};

/// `version: 1`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub version: Placed<u32>,
    pub name: Option<Placed<String>>,
    pub description: Option<String>,
    pub timeout: Option<Placed<Span>>,
    #[serde(default)]
    pub defaults: Defaults,
    pub stages: Node,
}

/// `stages:` alone.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Article {
    pub stages: Node,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Defaults {
    pub timeout: Option<Placed<Span>>,
    pub attempt_timeout: Option<Placed<Span>>,
    pub retry: Option<Placed<Retry>>,
    pub on_failure: Option<OnFailure>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Stage {
    /// In the list form of `stages` only; in the map form it is the key.
    pub name: Option<Placed<String>>,
    pub agent: Placed<Agent>,
    pub spec: Option<Node>,
    pub needs: Option<Vec<Placed<String>>>,
    pub description: Option<String>,
    pub timeout: Option<Placed<Span>>,
    pub attempt_timeout: Option<Placed<Span>>,
    pub retry: Option<Placed<Retry>>,
    pub on_failure: Option<Placed<OnFailure>>,
}

/// A stage of the article's form.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct ArticleStage {
    pub agent: Placed<Agent>,
    pub spec: Option<Node>,
}

impl From<ArticleStage> for Stage {
    fn from(stage: ArticleStage) -> Self {
        Self {
            name: None,
            agent: stage.agent,
            spec: stage.spec,
            needs: None,
            description: None,
            timeout: None,
            attempt_timeout: None,
            retry: None,
            on_failure: None,
        }
    }
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Agent {
    Capacity,
    Database,
    Dial,
    Exec,
    Http,
    Notify,
    Wait,
}

#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Retry {
    pub max_attempts: Option<Placed<u32>>,
    pub initial_interval: Option<Placed<Span>>,
    pub multiplier: Option<Placed<f64>>,
    pub max_interval: Option<Placed<Span>>,
    pub jitter: Option<Jitter>,
}

// ── what `spec` holds, by agent ──

/// Whatever else stands in the spec is passed on.
#[derive(Deserialize, Debug)]
pub(super) struct Capacity {
    pub region: Option<Placed<String>>,
    pub percent: Option<Placed<u32>>,
    pub hook: Option<Hook>,
}

impl Capacity {
    pub const KEYS: [&str; 3] = ["region", "percent", "hook"];
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Hook {
    pub url: Placed<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, Node>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    pub cluster: Placed<String>,
    pub role: DatabaseRole,
    pub region: Option<Placed<String>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Dial {
    pub service: Option<Placed<String>>,
    pub endpoint: Option<Placed<String>>,
    pub region: Option<Placed<String>>,
    pub shares: Option<Placed<Entries<Placed<u32>>>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Exec {
    pub command: Placed<Vec<Placed<String>>>,
    #[serde(default)]
    pub env: BTreeMap<String, Node>,
    pub observe: Option<Placed<Vec<Placed<String>>>>,
    #[serde(default)]
    pub idempotent: bool,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub url: Placed<String>,
    pub method: Option<Placed<String>>,
    pub body: Option<Placed<String>>,
    #[serde(default)]
    pub headers: BTreeMap<String, Node>,
    pub expect: Option<Vec<Node>>,
    pub observe: Option<Observe>,
    pub idempotent: Option<bool>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Observe {
    pub url: Placed<String>,
    pub applied: Option<Placed<u16>>,
    pub not_applied: Option<Placed<u16>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    #[serde(rename = "for")]
    pub span: Option<Placed<Span>>,
    pub until: Option<Until>,
    pub interval: Option<Placed<Span>>,
    pub consecutive: Option<Placed<u32>>,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Until {
    Http(UntilHttp),
    Tcp(UntilTcp),
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct UntilHttp {
    pub url: Placed<String>,
    pub status: Option<Vec<Node>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct UntilTcp {
    pub address: Placed<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Notify {
    pub channel: Placed<String>,
    pub message: Placed<String>,
}
