//! Configuration as the rest of the program sees it: names are ids, texts are values, limits
//! are applied, and nothing in it can be wrong.

mod canaries;
mod checks;
mod clusters;
mod layers;
mod matching;
mod told;

pub use canaries::*;
pub use checks::*;
pub use clusters::*;
pub use layers::*;
pub use matching::*;
pub use told::*;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Conduct;
use super::policy::{Policy, Who};
use crate::base::{
    CheckId, ClusterId, GroupId, Health, Named, Place, Prefix, RegionId, SecretRef, ServiceId,
};
use crate::sign::KeyPolicy;
use crate::wire::{Name, RecordType};

/// All of it.
#[derive(Debug)]
pub struct Config {
    /// How much the daemon may do.
    pub mode: Mode,
    /// This site.
    pub site: Site,
    /// Every site that shares this configuration, this one among them.
    pub sites: Vec<String>,
    /// Where to listen.
    pub listen: Listen,
    /// Who we are to clients that come over TLS, HTTPS or QUIC.
    pub tls: Option<CertificateFiles>,
    /// Limits of the DNS side.
    pub dns: DnsLimits,
    /// How clients are treated.
    pub conduct: Conduct,
    /// Zone files.
    pub zones: Vec<ZoneFile>,
    /// Secrets that sign messages.
    pub keys: Vec<TsigKey>,
    /// What tells where clients are.
    pub geo: Geo,
    /// Stateful systems.
    pub clusters: Named<ClusterId, Cluster>,
    /// Their groups of voters; a group's name is its cluster's, with `/region` if it lies inside one.
    pub groups: Named<GroupId, Group>,
    /// Failure domains.
    pub regions: Named<RegionId, Region>,
    /// Those who tell us of alerts.
    pub alertmanagers: BTreeMap<String, Alertmanager>,
    /// All checks of all regions and layers; a check's name is `region/layer/kind`, with `service/`
    /// before it in a service's own layers.
    pub checks: Named<CheckId, Check>,
    /// By what the site tells whether it sees at all, besides its regions.
    pub self_check: Option<SelfCheck>,
    /// Dynamic names.
    pub services: Named<ServiceId, Service>,
    /// Workflow files and their triggers.
    pub workflows: Vec<WorkflowUse>,
    /// Names used in workflow files for things named otherwise here.
    pub aliases: BTreeMap<String, Alias>,
    /// Where notifications go.
    pub channels: BTreeMap<String, Hook>,
    /// Where secrets are kept that any part of this names.
    pub secrets: Vec<SecretRef>,
    /// Where state is kept.
    pub store: Store,
}

/// How much the daemon may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Sense and tell.
    Observe,
    /// Also serve DNS.
    Answer,
    /// Also run workflows.
    Act,
}

/// An edge site that runs one daemon.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// Its name; the same in logs, metrics and journals.
    pub name: String,
    /// Where it stands.
    pub location: Option<Location>,
}

/// A place on the globe, in degrees.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Location {
    /// −90 to 90, north is positive.
    pub latitude: f64,
    /// −180 to 180, east is positive.
    pub longitude: f64,
}

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listen {
    /// DNS, on UDP and TCP both.
    pub dns: Vec<SocketAddr>,
    /// DNS over TLS (RFC 7858).
    pub tls: Vec<SocketAddr>,
    /// DNS over HTTPS (RFC 8484).
    pub https: Vec<SocketAddr>,
    /// DNS over QUIC (RFC 9250).
    pub quic: Vec<SocketAddr>,
    /// TCP behind load balancers.
    pub proxy: Vec<Balanced>,
    /// Read-only HTTP: status, metrics, health.
    pub http: Option<SocketAddr>,
    /// Unix socket for changes.
    pub control: PathBuf,
}

/// An address that only load balancers connect to, which say first from whom (PROXY protocol,
/// version 2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Balanced {
    /// Where to listen, on TCP.
    pub address: SocketAddr,
    /// Where the balancers are. Whoever else connects is sent away: it could claim to be anybody.
    pub from: Vec<Prefix>,
    /// What follows.
    pub carries: Carries,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carries {
    /// DNS over TCP (RFC 7766).
    #[default]
    Dns,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https,
}

/// The certificate that this server shows, and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Where the configuration names it.
    pub certificate_place: Place,
    /// The key.
    pub key: PathBuf,
    /// Where the configuration names it.
    pub key_place: Place,
}

/// Limits of the DNS side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DnsLimits {
    /// Threads that answer UDP, each with a socket of its own per address.
    pub udp_threads: usize,
    /// TCP connections at once, over all clients; those over TLS, HTTPS and QUIC together may be
    /// as many again.
    pub tcp_connections_max: usize,
    /// The same from one IPv4 address or IPv6 /64.
    pub tcp_connections_per_client_max: usize,
    /// An idle TCP connection is closed after this long (RFC 7766 §6.2.3).
    pub tcp_idle: Duration,
    /// DNS opens at the latest after this long, whatever the first round of checks has found.
    pub open_after: Duration,
}

/// A zone and its master file.
#[derive(Clone, Debug)]
pub struct ZoneFile {
    /// Its apex.
    pub name: Name,
    /// Its file.
    pub file: PathBuf,
    /// Where its serial comes from.
    pub serial: SerialPolicy,
    /// The site that keeps the serial, if the file does not; the only one that hands the zone out then.
    pub primary: Option<String>,
    /// What secondary servers get of it.
    pub transfer: Arc<TransferRules>,
    /// How it is signed; none: it is not.
    pub dnssec: Option<Dnssec>,
    /// Where the configuration names it.
    pub place: Place,
}

/// How a zone is signed.
#[derive(Clone, Debug)]
pub struct Dnssec {
    /// What its keys are to be.
    pub policy: KeyPolicy,
    /// Where they are kept.
    pub directory: PathBuf,
    /// Servers of the parent, to be asked for the zone's DS set: all of them, or nobody is asked. None:
    /// a resolver of the system is.
    pub parent: Option<Vec<SocketAddr>>,
    /// How often the parent is asked.
    pub ask_every: Duration,
    /// Where the configuration says so.
    pub place: Place,
}

/// What tells where clients are.
#[derive(Clone, Debug)]
pub struct Geo {
    /// Databases in MaxMind's format; where two speak of the same, the later one is right.
    pub databases: Vec<GeoFile>,
    /// Lists of networks with labels.
    pub networks: Vec<GeoFile>,
    /// How often the files are looked at for changes.
    pub check_every: Duration,
}

impl Geo {
    /// All files, in the order in which they are laid over each other.
    pub fn files(&self) -> impl Iterator<Item = &GeoFile> {
        self.databases.iter().chain(&self.networks)
    }
}

/// A file that tells where clients are.
#[derive(Clone, Debug)]
pub struct GeoFile {
    /// The file.
    pub path: PathBuf,
    /// Where the configuration names it.
    pub place: Place,
}

/// Where a zone's serial comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SerialPolicy {
    /// From its file.
    #[default]
    Keep,
    /// From a counter in the store, one more for each change; the file's, where that is ahead.
    Increment,
    /// From the time of the change, one more where that is not ahead.
    Unixtime,
}

/// What secondary servers get of a zone. By default nobody may fetch it and nobody is told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TransferRules {
    /// Who may fetch it.
    pub allow: Vec<Permission>,
    /// Who is told that it has changed.
    pub notify: Vec<NotifyTarget>,
    /// What they get of names that services answer.
    pub dynamic_names: DynamicNames,
    /// It is signed here, and goes out without signatures to servers that sign it themselves.
    pub unsigned: bool,
}

/// Somebody who may fetch a zone: what is said must all be so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Permission {
    /// From there.
    pub from: Option<Prefix>,
    /// With this key.
    pub key: Option<Name>,
}

impl Permission {
    /// Whether it may be somebody at this address.
    pub fn admits(&self, client: IpAddr) -> bool {
        self.from.is_none_or(|from| from.contains(client))
    }
}

/// Somebody who is told that a zone has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotifyTarget {
    /// Where.
    pub address: SocketAddr,
    /// Signed with this key.
    pub key: Option<Name>,
}

/// What secondary servers get of names that services answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DynamicNames {
    /// Nothing: to them these names do not exist.
    #[default]
    LeaveOut,
    /// The answer of the moment; another one is another version of the zone.
    CurrentAnswer,
}

/// A secret that signs messages (RFC 8945).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TsigKey {
    /// Its name, the same on both sides.
    pub name: Name,
    /// How it signs.
    pub algorithm: TsigAlgorithm,
    /// The secret, in base 64.
    pub secret: SecretRef,
    /// Where the configuration names it.
    pub place: Place,
}

/// How a key signs; the older algorithms are not offered (RFC 8945 §6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
pub enum TsigAlgorithm {
    /// HMAC over SHA-256.
    #[serde(rename = "hmac-sha256")]
    Sha256,
    /// HMAC over SHA-384.
    #[serde(rename = "hmac-sha384")]
    Sha384,
    /// HMAC over SHA-512.
    #[serde(rename = "hmac-sha512")]
    Sha512,
}

/// A failure domain that serves users.
#[derive(Clone, Debug)]
pub struct Region {
    /// Where it stands.
    pub location: Option<Location>,
    /// How much it can carry, in a unit of the operator's own.
    pub capacity: Option<u32>,
    /// Who makes room in it when a workflow asks.
    pub capacity_hook: Option<Hook>,
    /// Its checks, by layer.
    pub layers: Layers,
    /// Where the configuration names it.
    pub place: Place,
}

/// Targets that have nothing to do with any region, to tell whether the site sees at all.
#[derive(Clone, Debug)]
pub struct SelfCheck {
    /// Their checks; there is at least one.
    pub anchors: Vec<CheckId>,
    /// So many of them must pass, or the site may be blind.
    pub at_least: u32,
}

/// Dynamic names and the regions that serve them.
#[derive(Clone, Debug)]
pub struct Service {
    /// The names, each inside one of the zones.
    pub names: Vec<(Name, Place)>,
    /// Which region answers whom.
    pub policy: Policy,
    /// The regions of the policy, each once, in its order.
    pub regions: Vec<RegionId>,
    /// What the rules of its policy go by, and where each stands: a rule that never holds is
    /// worth a word.
    pub rules: Vec<(Who, Place)>,
    /// Where its policy goes by distance: without data on that it does not.
    pub nearest: Vec<Place>,
    /// Whether a resolver may say for whom it asks (RFC 7871); else its own address counts.
    pub ecs: bool,
    /// Which clients a `sticky` policy binds to what, besides their networks: a hash of the
    /// service's name, so that it is the same after a restart and on every site.
    pub salt: u64,
    /// What moves its answers.
    pub switched_by: SwitchedBy,
    /// The records of each region.
    pub answers: BTreeMap<RegionId, Records>,
    /// Checks of its own: where they fail, it alone loses that region.
    pub layers: BTreeMap<RegionId, Layers>,
    /// Bounds of the answers' TTL.
    pub ttl: TtlBounds,
    /// What to answer when no region is fit.
    pub all_down: AllDown,
    /// When a region that was out may serve again.
    pub failback: Failback,
    /// What the operator wants to hold; `check` refuses a configuration that cannot.
    pub objectives: Objectives,
    /// Where the configuration names it.
    pub place: Place,
}

/// What moves a service's answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchedBy {
    /// The health of its regions.
    #[default]
    Health,
    /// A workflow's dial, or an operator's; health alone raises an alert.
    Workflow,
}

/// What a region gives for a service: sets of records, the lowest type first. No set is empty,
/// and no record is there twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records(Vec<(RecordType, Vec<Box<[u8]>>)>);

impl Records {
    /// Adds a record, its data in wire form with names uncompressed; `false` if it is there already.
    pub fn add(&mut self, rtype: RecordType, rdata: &[u8]) -> bool {
        let at = match self.0.binary_search_by_key(&rtype, |(rtype, _)| *rtype) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (rtype, Vec::new()));
                at
            }
        };
        let rdatas = &mut self.0[at].1;
        let is_new = !rdatas.iter().any(|there| **there == *rdata);
        if is_new {
            rdatas.push(rdata.into());
        }
        is_new
    }

    /// The records of one type.
    pub fn set(&self, rtype: RecordType) -> Option<&[Box<[u8]>]> {
        let at = self.0.binary_search_by_key(&rtype, |(rtype, _)| *rtype).ok()?;
        Some(&self.0[at].1)
    }

    /// All sets, the lowest type first.
    pub fn sets(&self) -> impl ExactSizeIterator<Item = (RecordType, &[Box<[u8]>])> + Clone {
        self.0.iter().map(|(rtype, rdatas)| (*rtype, rdatas.as_slice()))
    }

    /// Whether there is nothing to give.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Bounds of a TTL. Between them it is the time in which the answer cannot change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TtlBounds {
    /// Never below.
    pub min: Duration,
    /// Never above.
    pub max: Duration,
}

/// What to answer when no region is fit. The first two never leave a name empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllDown {
    /// All regions together: one of them may be better than it looks.
    #[default]
    ServeAll,
    /// The first region of the policy.
    ServeFirst,
    /// No address.
    Nodata,
    /// SERVFAIL.
    Servfail,
}

/// When a region that was out may serve again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failback {
    /// When it has been healthy for this long.
    Auto {
        /// Without a break.
        after: Duration,
    },
    /// When an operator releases it.
    Manual,
}

/// What the operator wants to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Objectives {
    /// From the moment a region breaks until the last client that honours TTLs is elsewhere.
    pub rto: Option<Duration>,
}

/// A workflow file and what starts it.
#[derive(Clone, Debug)]
pub struct WorkflowUse {
    /// The file.
    pub file: PathBuf,
    /// The flip that starts it; without one, only a person does.
    pub when: Option<Trigger>,
    /// The region to move to; by default the other one of the flip.
    pub activate: Option<RegionId>,
    /// The region to leave; by default the one that flipped.
    pub deactivate: Option<RegionId>,
    /// Where the configuration names it.
    pub place: Place,
}

/// The flip that starts a workflow.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// This region …
    pub region: RegionId,
    /// … turns one of these …
    pub turns: Vec<Health>,
    /// … and stays so this long.
    pub hold: Duration,
}

/// What a name in a workflow file stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alias {
    /// A cluster.
    pub cluster: Option<ClusterId>,
    /// A region, alone or to say which side of the cluster is meant.
    pub region: Option<RegionId>,
    /// A service.
    pub service: Option<ServiceId>,
}

/// An HTTP endpoint that is called: for notifications, or to make room.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The URL to POST to, written out or kept as a secret.
    pub url: HeaderValue,
    /// Further headers.
    pub headers: BTreeMap<String, HeaderValue>,
}

/// Where state is kept.
#[derive(Clone, Debug)]
pub enum Store {
    /// In a file of this site's own.
    Embedded {
        /// The directory that holds it.
        path: PathBuf,
    },
}

impl Store {
    /// Where a zone's keys are kept if nothing else is said: its name, such that it is one path
    /// component.
    pub fn key_directory(&self, zone: &Name) -> PathBuf {
        let Self::Embedded { path } = self;
        let text = zone.to_string();
        let name = match text.trim_end_matches('.') {
            "" => "root".to_owned(),
            name => name.replace('/', "%2f"),
        };
        path.join("keys").join(name)
    }
}

impl Config {
    /// The directory for state of this site.
    pub fn state_directory(&self) -> &std::path::Path {
        let Store::Embedded { path } = &self.store;
        path
    }

    /// The layers that decide on a service's place in a region: the region's, and its own there.
    pub fn layers_of<'a>(
        &'a self,
        service: &'a Service,
        region: RegionId,
    ) -> impl Iterator<Item = &'a LayerChecks> {
        let own = service.layers.get(&region).into_iter().flat_map(BTreeMap::values);
        self.regions[region].layers.values().chain(own)
    }

    /// The group of a cluster that a region's standing is read from, and whether the region has
    /// voters in it.
    pub fn group_of(&self, cluster: ClusterId, region: RegionId) -> Option<(GroupId, bool)> {
        self.clusters[cluster].groups.iter().find_map(|&id| {
            let group = &self.groups[id];
            let local = group.members.iter().any(|member| member.region == region);
            match group.inside {
                Some(inside) => (inside == region).then_some((id, true)),
                None => Some((id, local)),
            }
        })
    }
}
