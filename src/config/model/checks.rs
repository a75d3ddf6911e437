//! Checks: what is probed, and when.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::Layer;
use crate::base::{ClusterId, RegionId, SecretRef};

/// When to probe, and how many results make a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// A probe that takes longer has failed. Shorter than the interval.
    pub timeout: Duration,
    /// This many passes in a row make a failed check pass.
    pub rise: u32,
    /// This many failures in a row make a passing check fail.
    pub fall: u32,
}

/// One probe of one target on an interval, in one layer of one region.
#[derive(Clone, Debug)]
pub struct Check {
    /// The region it speaks for; none for an anchor of the site's own.
    pub region: Option<RegionId>,
    /// The layer it belongs to.
    pub layer: Layer,
    /// It is measured and shown, and decides nothing.
    pub monitoring_only: bool,
    /// What it does.
    pub kind: CheckKind,
    /// When, and how many results make a verdict.
    pub schedule: Schedule,
}

/// What a check does.
#[derive(Clone, Debug)]
pub enum CheckKind {
    /// Opens a TCP connection.
    Tcp(TcpCheck),
    /// Opens a TLS session and judges the certificate.
    Tls(TlsCheck),
    /// Sends an HTTP request and judges the status.
    Http(HttpCheck),
    /// Takes the region's standing in a cluster.
    Cluster(ClusterId),
}

impl CheckKind {
    /// The key that names it in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Http(_) => "http",
            Self::Cluster(_) => "cluster",
        }
    }
}

/// Opens a TCP connection, and closes it.
#[derive(Clone, Debug)]
pub struct TcpCheck {
    /// Where to.
    pub address: HostPort,
}

/// Opens a TLS session and judges the certificate.
#[derive(Clone, Debug)]
pub struct TlsCheck {
    /// Where to.
    pub address: HostPort,
    /// The name to ask for and to find in the certificate; the host of `address` by default.
    pub server_name: String,
    /// Whom to trust, as a PEM file; the system's roots by default.
    pub ca: Option<PathBuf>,
    /// Fail this long before the certificate expires.
    pub min_validity: Duration,
}

/// Sends an HTTP/1.1 request and judges the status.
#[derive(Clone, Debug)]
pub struct HttpCheck {
    /// `http` or `https`.
    pub url: Url,
    /// `GET` or `HEAD`.
    pub method: HttpMethod,
    /// Status codes that pass.
    pub status: Vec<StatusRange>,
    /// Further headers; a `host` among them replaces the URL's.
    pub headers: BTreeMap<String, HeaderValue>,
    /// Connect here instead of to the URL's host; the name stays in SNI and `Host`.
    pub connect: Option<HostPort>,
    /// Whom to trust, as a PEM file; the system's roots by default.
    pub ca: Option<PathBuf>,
}

/// Methods of a check: those without effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// With a body, which is not read.
    #[default]
    Get,
    /// Without a body.
    Head,
}

/// Status codes from `first` to `last`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// The value of a header: written out, or kept as a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// As it stands.
    Plain(String),
    /// Read when the request is made.
    Secret(SecretRef),
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct HostPort {
    /// An address or a name.
    pub host: String,
    /// A TCP port.
    pub port: u16,
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.parse::<Ipv6Addr>() {
            Ok(address) => write!(f, "[{address}]:{}", self.port),
            Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}
