//! Checks, as written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Schedule, Span};
use crate::config::model::HttpMethod;
use crate::config::read::{Beside, Placed};
use crate::config::yaml::Node;

#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    Tcp(Timed<TcpCheck>),
    Tls(Timed<TlsCheck>),
    Http(Timed<HttpCheck>),
    Cluster(ClusterCheck),
}

/// A check: when it is made, and what it is.
pub type Timed<T> = Beside<Schedule, T>;

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    pub address: Placed<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TlsCheck {
    pub address: Placed<String>,
    pub server_name: Option<String>,
    pub ca: Option<PathBuf>,
    pub min_validity: Option<Span>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    pub url: Placed<String>,
    #[serde(default)]
    pub method: HttpMethod,
    pub status: Option<Vec<Node>>,
    #[serde(default)]
    pub headers: BTreeMap<String, Node>,
    pub connect: Option<Placed<String>>,
    pub ca: Option<PathBuf>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct ClusterCheck {
    pub name: Placed<String>,
    pub weight: Option<Placed<u32>>,
    pub monitoring_only: Option<Placed<bool>>,
}
