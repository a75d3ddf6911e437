//! Checks: what is probed, and when.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::{Access, AlertmanagerCheck, JsonTest, Layer, Match, PushCheck};
use crate::base::{ClusterId, RegionId, SecretRef};
use crate::wire::{Name, Rcode, RecordType};

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
    /// How much shorter than the interval a gap between two probes may be.
    pub jitter: Jitter,
    /// Where probes come from.
    pub source: Source,
}

impl Schedule {
    /// What holds where nothing is said.
    pub const DEFAULT: Self = Self {
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        rise: 3,
        fall: 2,
        jitter: Jitter::DEFAULT,
        source: Source { v4: None, v6: None },
    };
}

/// How much shorter than the interval a gap between two probes may be: each gap is drawn anew, so
/// that probes of many targets, and of many sites, drift apart instead of meeting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Jitter {
    /// So many thousandths of the interval.
    PerMille(u32),
    /// So long.
    Span(Duration),
}

impl Jitter {
    /// What holds where nothing is said.
    pub const DEFAULT: Self = Self::PerMille(50);

    /// How much shorter a gap of `interval` may be.
    pub fn of(self, interval: Duration) -> Duration {
        match self {
            Self::PerMille(share) => interval * share / 1000,
            Self::Span(span) => span,
        }
    }
}

/// The addresses of this machine that probes come from, one of each family; `None`: as the system
/// chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Source {
    /// For IPv4 targets.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6 targets.
    pub v6: Option<Ipv6Addr>,
}

impl Source {
    /// Where to come from on the way to `peer`, if it is said.
    pub fn towards(&self, peer: IpAddr) -> Option<IpAddr> {
        match peer {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }
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
    /// Opens a TCP connection, and may talk.
    Tcp(TcpCheck),
    /// Opens a TLS session and judges the certificate.
    Tls(TlsCheck),
    /// Sends an HTTP request and judges the status.
    Http(HttpCheck),
    /// Asks a gRPC server for its health.
    Grpc(GrpcCheck),
    /// Asks a name server a question.
    Dns(DnsCheck),
    /// Sends echo requests.
    Icmp(IcmpCheck),
    /// Runs a program.
    Exec(ExecCheck),
    /// Compares the value of an expression with a bound.
    Prometheus(PrometheusCheck),
    /// Takes what the target reports of itself.
    Push(PushCheck),
    /// Takes what Alertmanager tells of alerts.
    Alertmanager(AlertmanagerCheck),
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
            Self::Grpc(_) => "grpc",
            Self::Dns(_) => "dns",
            Self::Icmp(_) => "icmp",
            Self::Exec(_) => "exec",
            Self::Prometheus(_) => "prometheus",
            Self::Push(_) => "push",
            Self::Alertmanager(_) => "alertmanager",
            Self::Cluster(_) => "cluster",
        }
    }

    /// Nobody is asked: others tell by themselves.
    pub fn is_told(&self) -> bool {
        matches!(self, Self::Push(_) | Self::Alertmanager(_))
    }
}

/// Opens a TCP connection; listens, if something is expected, and closes it.
#[derive(Clone, Debug)]
pub struct TcpCheck {
    /// Where to.
    pub address: HostPort,
    /// What is said first; empty: nothing.
    pub send: Vec<u8>,
    /// What must be heard.
    pub expect: Option<Match>,
    /// Over TLS; in the clear without. Boxed for the sake of the many that only connect.
    pub tls: Option<Box<TcpTls>>,
}

/// TLS under what a TCP check talks.
#[derive(Clone, Debug)]
pub struct TcpTls {
    /// The name to ask for and to find in the certificate.
    pub server_name: String,
    /// Whom to trust, as a PEM file; the system's roots by default.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, as PEM files, for a server that wants one.
    pub identity: Option<(PathBuf, PathBuf)>,
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
    /// Our own certificate and its key, as PEM files, for a server that wants one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Fail this long before the certificate expires.
    pub min_validity: Duration,
    /// Fail if what both sides speak at best is older.
    pub min_version: TlsVersion,
}

/// Versions of TLS. Older ones are not spoken at all (RFC 8996).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl TlsVersion {
    /// As written in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// Sends an HTTP request and judges the answer.
#[derive(Clone, Debug)]
pub struct HttpCheck {
    /// `http` or `https`.
    pub url: Url,
    /// Which versions are spoken.
    pub version: HttpVersion,
    /// What is asked for.
    pub method: HttpMethod,
    /// What is sent with it.
    pub body: Vec<u8>,
    /// Status codes that pass.
    pub status: Vec<StatusRange>,
    /// Further headers; a `host` among them replaces the URL's.
    pub headers: BTreeMap<String, HeaderValue>,
    /// Connect here instead of to the URL's host; the name stays in SNI and `Host`.
    pub connect: Option<HostPort>,
    /// Whom to trust, as a PEM file; the system's roots by default.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, as PEM files, for a server that wants one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// What the answer's body must be like; nothing: it is not read.
    pub expect: HttpExpect,
    /// So much of the body is read; what is expected must stand in it.
    pub body_bytes_max: usize,
    /// So many redirects are followed; none: a redirect is an answer like any other.
    pub redirects: usize,
}

impl HttpCheck {
    /// So much of a body is read where nothing is said.
    pub const BODY_BYTES: usize = 64 * 1024;

    /// A plain `GET` that wants a status of 200 to 299.
    pub fn get(url: Url) -> Self {
        Self {
            url,
            version: HttpVersion::default(),
            method: HttpMethod::default(),
            body: Vec::new(),
            status: vec![StatusRange { first: 200, last: 299 }],
            headers: BTreeMap::new(),
            connect: None,
            ca: None,
            identity: None,
            expect: HttpExpect::default(),
            body_bytes_max: Self::BODY_BYTES,
            redirects: 0,
        }
    }
}

/// What an answer's body must be like.
#[derive(Clone, Debug, Default)]
pub struct HttpExpect {
    /// As a whole.
    pub body: Option<Match>,
    /// As JSON, value by value.
    pub json: Vec<JsonTest>,
}

impl HttpExpect {
    /// Whether anything is expected.
    pub fn is_some(&self) -> bool {
        self.body.is_some() || !self.json.is_empty()
    }
}

/// Which version of HTTP is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HttpVersion {
    /// Over TLS the one that both sides like best (ALPN), in the clear 1.1.
    #[default]
    Auto,
    /// HTTP/1.1 (RFC 9112).
    V1_1,
    /// HTTP/2 (RFC 9113), in the clear with prior knowledge.
    V2,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// A page.
    #[default]
    Get,
    /// What `GET` says, without the body.
    Head,
    /// What may be asked for.
    Options,
    /// Whatever the target makes of what is sent.
    Post,
    /// To keep what is sent.
    Put,
    /// To change something by what is sent.
    Patch,
    /// To remove something.
    Delete,
}

/// Asks a gRPC server for its health (grpc.health.v1).
#[derive(Clone, Debug)]
pub struct GrpcCheck {
    /// `http` (HTTP/2 with prior knowledge) or `https`, without a path.
    pub url: Url,
    /// Whose health; empty: the whole server's.
    pub service: String,
    /// Connect here instead of to the URL's host; the name stays in SNI and `:authority`.
    pub connect: Option<HostPort>,
    /// Whom to trust, as a PEM file; the system's roots by default.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, as PEM files, for a server that wants one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Asks a name server a question.
#[derive(Clone, Debug)]
pub struct DnsCheck {
    /// Which one.
    pub server: HostPort,
    /// About which name.
    pub name: Name,
    /// For which type.
    pub rtype: RecordType,
    /// Whether it is to ask others.
    pub recursion: bool,
    /// What it must answer.
    pub expect: DnsExpect,
}

/// What a name server must answer.
#[derive(Clone, Debug)]
pub struct DnsExpect {
    /// The response code.
    pub rcode: Rcode,
    /// The records of the type that is asked for.
    pub records: DnsRecords,
    /// Whether it answers for itself (the AA bit); `None`: either way.
    pub authoritative: Option<bool>,
}

/// Which records must be in an answer.
#[derive(Clone, Debug)]
pub enum DnsRecords {
    /// Any, or none.
    Whatever,
    /// At least one.
    Some,
    /// These, and maybe others.
    Contains(Vec<ExpectedRecord>),
    /// These and no others.
    Equals(Vec<ExpectedRecord>),
}

/// A record that must be in an answer.
#[derive(Clone, Debug)]
pub struct ExpectedRecord {
    /// As it is written in the configuration.
    pub text: String,
    /// Its data in wire form, names in lower case.
    pub rdata: Vec<u8>,
}

/// Sends echo requests.
#[derive(Clone, Debug)]
pub struct IcmpCheck {
    /// To an address, or to the first one of a name.
    pub host: String,
    /// So many.
    pub count: u8,
    /// So many may stay without a reply.
    pub lost_max: u8,
}

/// Runs a program.
#[derive(Clone, Debug)]
pub struct ExecCheck {
    /// The program and its arguments; no shell.
    pub argv: Vec<String>,
    /// Variables of its environment, besides the usual ones.
    pub env: BTreeMap<String, HeaderValue>,
    /// What its exit codes mean.
    pub codes: ExitCodes,
}

/// What exit codes mean. A program that is killed by a signal has told nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCodes {
    /// 0 passes, 1 fails, all others are unknown: as `test` and `grep` have it.
    #[default]
    Plain,
    /// 0 and 1 (a warning) pass, 2 fails, all others are unknown (Monitoring Plugins, "Plugin
    /// Return Codes").
    Nagios,
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

/// Asks a Prometheus server for the value of an expression.
#[derive(Clone, Debug)]
pub struct PrometheusCheck {
    /// The server, with the prefix that it may be served under.
    pub url: Url,
    /// In PromQL.
    pub query: String,
    /// What fails.
    pub beyond: Beyond,
    /// How many of several series must be beyond for a failure.
    pub series: SeriesRule,
    /// What an expression without a result means.
    pub no_data: NoData,
    /// An answer that is older than this is none.
    pub stale_after: Duration,
    /// How to show oneself to the server.
    pub access: Access,
}

/// On which side of a bound a value fails. The bound itself passes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Beyond {
    /// Above it.
    Above(f64),
    /// Below it.
    Below(f64),
}

/// How many of several series must be beyond a bound for a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeriesRule {
    /// One of them.
    #[default]
    Any,
    /// All of them.
    All,
}

/// What it means that nothing is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoData {
    /// It cannot be measured.
    #[default]
    Unknown,
    /// There is nothing to complain of.
    Pass,
    /// There should be something.
    Fail,
}
