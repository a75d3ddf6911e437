//! The shape of the configuration file, verbatim. [`super::bind`] turns it into [`super::Config`].

mod checks;
mod clusters;

pub use checks::*;
pub use clusters::*;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::conduct::CookieHandling;
use super::model::{AllDown, Carries, DynamicNames, Mode, SerialPolicy, SwitchedBy, TsigAlgorithm};
use super::read::{Entries, Placed};
use super::yaml::Node;
use crate::base::{Health, SecretRef, parse_span};
use crate::sign::{Algorithm, Layout};
use crate::wire::Name;

/// A section that turns something on. Left empty it would turn it off, without a word.
fn not_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(section: D) -> Result<Option<T>, D::Error> {
    struct Section<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Section<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a mapping")
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Err(E::custom(
                "expected a mapping, found nothing: write `{}` for the defaults, or leave the key out",
            ))
        }

        fn visit_some<D: Deserializer<'de>>(self, section: D) -> Result<Self::Value, D::Error> {
            T::deserialize(section).map(Some)
        }
    }

    section.deserialize_option(Section(PhantomData))
}

/// The whole file.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct File {
    // The first four are required. They are optional here so that a mistake in one of them
    // does not hide the mistakes in all the rest.
    pub version: Option<Placed<u32>>,
    pub mode: Option<Mode>,
    pub site: Option<Site>,
    pub sites: Option<Vec<Placed<String>>>,
    pub listen: Option<Listen>,
    pub tls: Option<Placed<Certificate>>,
    #[serde(default)]
    pub dns: Dns,
    #[serde(default)]
    pub zones: Vec<Zone>,
    #[serde(default)]
    pub keys: Entries<TsigKey>,
    #[serde(default)]
    pub geo: Geo,
    #[serde(default)]
    pub defaults: Defaults,
    #[serde(default)]
    pub clusters: Entries<Placed<Cluster>>,
    #[serde(default)]
    pub alertmanagers: Entries<Alertmanager>,
    #[serde(default)]
    pub regions: Entries<Region>,
    #[serde(default, deserialize_with = "not_empty")]
    pub self_check: Option<Placed<SelfCheck>>,
    #[serde(default)]
    pub services: Entries<Service>,
    #[serde(default)]
    pub workflows: Vec<WorkflowUse>,
    #[serde(default)]
    pub aliases: Entries<Alias>,
    #[serde(default)]
    pub channels: Entries<Channel>,
    pub store: Option<Store>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Site {
    pub name: Placed<String>,
    pub location: Option<Placed<Location>>,
}

#[derive(Deserialize, Debug, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub struct Location {
    pub latitude: f64,
    pub longitude: f64,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub dns: Vec<Placed<String>>,
    #[serde(default)]
    pub tls: Vec<Placed<String>>,
    #[serde(default)]
    pub https: Vec<Placed<String>>,
    #[serde(default)]
    pub quic: Vec<Placed<String>>,
    #[serde(default)]
    pub proxy: Vec<Balanced>,
    pub http: Option<Placed<String>>,
    pub control: Option<PathBuf>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Balanced {
    pub address: Placed<String>,
    pub from: Placed<Vec<Placed<String>>>,
    #[serde(default)]
    pub carries: Carries,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub certificate: Placed<PathBuf>,
    pub key: Placed<PathBuf>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    pub udp_threads: Option<Placed<usize>>,
    pub tcp_connections_max: Option<Placed<usize>>,
    pub tcp_connections_per_client_max: Option<Placed<usize>>,
    pub tcp_idle: Option<Span>,
    pub open_after: Option<Span>,
    pub nsid: Option<Placed<String>>,
    pub chaos: Chaos,
    pub cookies: Cookies,
    pub unverified_udp_max: Option<Placed<usize>>,
    #[serde(deserialize_with = "not_empty")]
    pub rate_limit: Option<RateLimit>,
    pub signatures_per_second: Option<Placed<usize>>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Chaos {
    pub id: Option<Placed<String>>,
    pub version: Option<Placed<String>>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Cookies {
    pub handling: CookieHandling,
    pub secrets: Vec<Placed<SecretRef>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    pub responses_per_second: Placed<usize>,
    pub all_per_second: Option<Placed<usize>>,
    pub slip: Option<Placed<usize>>,
    pub window: Option<Placed<Span>>,
    pub ipv4_prefix: Option<Placed<usize>>,
    pub ipv6_prefix: Option<Placed<usize>>,
    #[serde(default)]
    pub exempt: Vec<Placed<String>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    pub name: Placed<Name>,
    pub file: Placed<PathBuf>,
    #[serde(default)]
    pub serial: Placed<SerialPolicy>,
    pub primary: Option<Placed<String>>,
    #[serde(default)]
    pub transfer: Transfer,
    #[serde(default, deserialize_with = "not_empty")]
    pub dnssec: Option<Placed<Dnssec>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Dnssec {
    #[serde(default)]
    pub algorithm: Algorithm,
    #[serde(default)]
    pub keys: Layout,
    pub directory: Option<PathBuf>,
    #[serde(default)]
    pub lifetime: KeyLifetimes,
    #[serde(default)]
    pub signature: Signature,
    pub dnskey_ttl: Option<Placed<Span>>,
    pub max_ttl: Option<Placed<Span>>,
    pub propagation: Option<Placed<Span>>,
    pub safety: Option<Placed<Span>>,
    #[serde(default)]
    pub parent: Parent,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct KeyLifetimes {
    pub ksk: Option<Placed<Span>>,
    pub zsk: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    pub validity: Option<Placed<Span>>,
    pub refresh: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    pub servers: Option<Vec<Placed<String>>>,
    pub ds_ttl: Option<Placed<Span>>,
    pub propagation: Option<Placed<Span>>,
    pub every: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Transfer {
    pub allow: Vec<Placed<Permission>>,
    pub notify: Vec<NotifyTarget>,
    pub dynamic_names: Option<Placed<DynamicNames>>,
    pub unsigned: bool,
}

#[derive(Deserialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    pub prefix: Option<Placed<String>>,
    pub key: Option<Placed<String>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct NotifyTarget {
    pub address: Placed<String>,
    pub key: Option<Placed<String>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TsigKey {
    pub algorithm: TsigAlgorithm,
    pub secret: SecretRef,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Geo {
    pub databases: Vec<Placed<PathBuf>>,
    pub networks: Vec<Placed<PathBuf>>,
    pub check_every: Option<Placed<Span>>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    #[serde(default)]
    pub check: Placed<Schedule>,
}

impl<T: Default> Default for Placed<T> {
    /// For a key that is left out: its place is never shown.
    fn default() -> Self {
        Self { value: T::default(), place: crate::base::Place::whole(&crate::base::Source::new("", "")) }
    }
}

#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    pub interval: Option<Span>,
    pub timeout: Option<Span>,
    pub rise: Option<u32>,
    pub fall: Option<u32>,
    pub weight: Option<Placed<u32>>,
    pub monitoring_only: Option<Placed<bool>>,
    pub jitter: Option<Node>,
    pub source: Option<Node>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Region {
    pub location: Option<Placed<Location>>,
    pub capacity: Option<u32>,
    pub capacity_hook: Option<Webhook>,
    #[serde(default)]
    pub layers: Layers,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Layers {
    pub reach: Option<Node>,
    pub service: Option<Node>,
    pub quorum: Option<Node>,
    pub replication: Option<Node>,
}

/// A layer that is not just a list of checks that must all pass.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Layer {
    pub all: Option<Vec<Node>>,
    pub any: Option<Vec<Node>>,
    pub of: Option<Vec<Node>>,
    pub weights: Option<Vec<Node>>,
    pub at_least: Option<Placed<u32>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct SelfCheck {
    pub anchors: Placed<Vec<Node>>,
    pub at_least: Option<Placed<u32>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub names: Vec<Placed<Name>>,
    pub policy: Node,
    #[serde(default)]
    pub switched_by: SwitchedBy,
    pub answers: Placed<Entries<Records>>,
    #[serde(default)]
    pub layers: Entries<Layers>,
    pub ecs: Option<bool>,
    pub ttl: Option<Placed<Ttl>>,
    #[serde(default)]
    pub all_down: AllDown,
    pub failback: Option<Failback>,
    #[serde(default)]
    pub objectives: Objectives,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    Failover(Vec<Node>),
    Weighted(Node),
    All(Vec<Node>),
    Geo(GeoPolicy),
    Nearest(Vec<Placed<String>>),
    Sticky(Sticky),
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Share {
    pub weight: Placed<u32>,
    pub to: Node,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct GeoPolicy {
    pub rules: Placed<Vec<Placed<GeoRule>>>,
    pub default: Node,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct GeoRule {
    pub networks: Option<Vec<Placed<String>>>,
    pub asns: Option<Vec<Placed<u32>>>,
    pub countries: Option<Vec<Placed<String>>>,
    pub continents: Option<Vec<Placed<String>>>,
    pub to: Node,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    pub among: Node,
    pub prefix: Option<StickyPrefix>,
    pub salt: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct StickyPrefix {
    pub ipv4: Option<Placed<u8>>,
    pub ipv6: Option<Placed<u8>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Records {
    #[serde(default)]
    pub a: Vec<Placed<String>>,
    #[serde(default)]
    pub aaaa: Vec<Placed<String>>,
    pub cname: Option<Placed<String>>,
    #[serde(default)]
    pub srv: Vec<Placed<String>>,
    #[serde(default)]
    pub https: Vec<Placed<String>>,
    #[serde(default)]
    pub txt: Vec<Placed<String>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Ttl {
    pub min: Span,
    pub max: Span,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Failback {
    Manual,
    Auto(AutoFailback),
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct AutoFailback {
    pub after: Span,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Objectives {
    pub rto: Option<Span>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct WorkflowUse {
    pub file: Placed<PathBuf>,
    pub when: Option<Trigger>,
    pub activate: Option<Placed<String>>,
    pub deactivate: Option<Placed<String>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    pub region: Placed<String>,
    pub turns: Vec<Placed<Health>>,
    #[serde(rename = "for")]
    pub hold: Span,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    pub cluster: Option<Placed<String>>,
    pub region: Option<Placed<String>>,
    pub service: Option<Placed<String>>,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Webhook(Webhook),
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: Node,
    #[serde(default)]
    pub headers: BTreeMap<String, Node>,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    Embedded(Embedded),
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    pub path: PathBuf,
}

/// A duration as people write it. Always with a unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 30s")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                parse_span(text).map(Span).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Span, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_str(Text)
    }
}
