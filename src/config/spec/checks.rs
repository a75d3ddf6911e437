//! Checks, as written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Schedule, Span};
use crate::base::SecretRef;
use crate::config::model::{ExitCodes, HttpMethod, NoData, SeriesRule, Silence};
use crate::config::read::{Beside, Entries, Placed};
use crate::config::yaml::Node;
use crate::wire::Name;

#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    Tcp(Timed<TcpCheck>),
    Tls(Timed<TlsCheck>),
    Http(Box<Timed<HttpCheck>>),
    Grpc(Timed<GrpcCheck>),
    Dns(Box<Timed<DnsCheck>>),
    Icmp(Timed<IcmpCheck>),
    Exec(Timed<ExecCheck>),
    Prometheus(Box<Timed<PrometheusCheck>>),
    Push(Timed<PushCheck>),
    Alertmanager(Timed<AlertmanagerCheck>),
    Cluster(ClusterCheck),
}

/// A check: when it is made, and what it is.
pub type Timed<T> = Beside<Schedule, T>;

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    pub address: Placed<String>,
    pub send: Option<Node>,
    pub expect: Option<Node>,
    pub tls: Option<TcpTls>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TcpTls {
    pub server_name: Option<String>,
    pub ca: Option<PathBuf>,
    pub cert: Option<Placed<PathBuf>>,
    pub key: Option<Placed<PathBuf>>,
}

/// Octets that are no text.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Octets {
    Hex(Placed<String>),
    Base64(Placed<String>),
}

/// What an answer must be like, if not that it has a text in it.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    Contains(String),
    Equals(String),
    Matches(Placed<String>),
    Hex(Placed<String>),
    Base64(Placed<String>),
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TlsCheck {
    pub address: Placed<String>,
    pub server_name: Option<String>,
    pub ca: Option<PathBuf>,
    pub cert: Option<Placed<PathBuf>>,
    pub key: Option<Placed<PathBuf>>,
    pub min_validity: Option<Span>,
    pub min_version: Option<Node>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    pub url: Placed<String>,
    pub version: Option<Node>,
    #[serde(default)]
    pub method: HttpMethod,
    pub body: Option<Placed<String>>,
    pub status: Option<Vec<Node>>,
    #[serde(default)]
    pub headers: BTreeMap<String, Node>,
    pub connect: Option<Placed<String>>,
    pub ca: Option<PathBuf>,
    pub cert: Option<Placed<PathBuf>>,
    pub key: Option<Placed<PathBuf>>,
    #[serde(default)]
    pub expect: HttpExpect,
    pub body_bytes_max: Option<Placed<usize>>,
    pub redirects: Option<Placed<usize>>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct HttpExpect {
    pub body: Option<Node>,
    pub json: Entries<Node>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct GrpcCheck {
    pub url: Placed<String>,
    #[serde(default)]
    pub service: String,
    pub connect: Option<Placed<String>>,
    pub ca: Option<PathBuf>,
    pub cert: Option<Placed<PathBuf>>,
    pub key: Option<Placed<PathBuf>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct DnsCheck {
    pub server: Placed<String>,
    pub name: Placed<Name>,
    #[serde(rename = "type")]
    pub rtype: Option<Placed<String>>,
    #[serde(default)]
    pub recursion: bool,
    #[serde(default)]
    pub expect: DnsExpect,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct DnsExpect {
    pub rcode: Option<Placed<String>>,
    pub contains: Option<Vec<Placed<String>>>,
    pub equals: Option<Vec<Placed<String>>>,
    pub authoritative: Option<bool>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct IcmpCheck {
    pub host: Placed<String>,
    pub count: Option<Placed<usize>>,
    pub lost_max: Option<Placed<usize>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct ExecCheck {
    pub argv: Placed<Vec<String>>,
    #[serde(default)]
    pub env: BTreeMap<String, Node>,
    #[serde(default)]
    pub codes: ExitCodes,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct ClusterCheck {
    pub name: Placed<String>,
    pub weight: Option<Placed<u32>>,
    pub monitoring_only: Option<Placed<bool>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct PrometheusCheck {
    pub url: Placed<String>,
    pub query: Placed<String>,
    pub above: Option<Placed<f64>>,
    pub below: Option<Placed<f64>>,
    #[serde(default)]
    pub series: SeriesRule,
    #[serde(default)]
    pub no_data: NoData,
    pub stale_after: Option<Span>,
    pub bearer: Option<SecretRef>,
    pub basic: Option<Basic>,
    pub tls: Option<super::Tls>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    pub user: Placed<String>,
    pub password: SecretRef,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct PushCheck {
    pub name: Placed<String>,
    pub token: SecretRef,
    pub ttl: Placed<Span>,
    #[serde(default)]
    pub silence: Silence,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerCheck {
    pub from: Placed<String>,
    pub matchers: Placed<Vec<Placed<String>>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Alertmanager {
    pub token: SecretRef,
    pub repeat_interval: Placed<Span>,
    pub group_interval: Option<Placed<Span>>,
}
