//! The checks of a layer.

mod connect;
mod dns;
mod exec;
mod http;
mod matching;

use super::Binder;
use crate::base::{CheckId, RegionId};
use crate::config::model::{Check, CheckKind, Layer};
use crate::config::read::{Beside, Placed, read};
use crate::config::spec;
use crate::config::yaml::{Node, Value};

impl Binder<'_> {
    pub(super) fn layer(&mut self, region: RegionId, layer: Layer, items: &[Node]) -> Vec<CheckId> {
        let mut ids = Vec::new();
        for item in items {
            if let Some(check) = self.check(region, layer, item) {
                let name = self.check_name(&check);
                if let Ok(id) = self.checks.push(&name, check) {
                    ids.push(id);
                } else {
                    self.mistakes.error(&item.place, "too many checks");
                }
            }
        }
        ids
    }

    /// `region/layer/kind`, with `-2`, `-3` … behind it for the later ones of a kind.
    fn check_name(&self, check: &Check) -> String {
        let region = self.regions.name(check.region);
        let kind = match &check.kind {
            CheckKind::Cluster(cluster) => self.clusters.name(*cluster).to_string(),
            kind => kind.word().to_owned(),
        };
        let base = format!("{region}/{}/{kind}", check.layer.word());
        std::iter::once(base.clone())
            .chain((2..).map(|n| format!("{base}-{n}")))
            .find(|name| self.checks.id(name).is_none())
            .expect("one of endless names is free")
    }

    fn check(&mut self, region: RegionId, layer: Layer, item: &Node) -> Option<Check> {
        if let Value::Text(name) = &item.value {
            let name = Placed { value: name.clone(), place: item.place.clone() };
            return self.cluster_check(region, layer, &name);
        }
        let (kind, schedule) = match read::<spec::Check>(item, self.mistakes)? {
            spec::Check::Tcp(Beside { shared, own }) => (CheckKind::Tcp(self.tcp(own)?), shared),
            spec::Check::Tls(Beside { shared, own }) => (CheckKind::Tls(self.tls(own)?), shared),
            spec::Check::Http(http) => {
                let Beside { shared, own } = *http;
                (CheckKind::Http(self.http(own, &item.place)?), shared)
            }
            spec::Check::Grpc(Beside { shared, own }) => (CheckKind::Grpc(self.grpc(own)?), shared),
            spec::Check::Dns(dns) => {
                let Beside { shared, own } = *dns;
                (CheckKind::Dns(self.dns_check(own)?), shared)
            }
            spec::Check::Icmp(Beside { shared, own }) => (CheckKind::Icmp(self.icmp(&own)?), shared),
            spec::Check::Exec(Beside { shared, own }) => (CheckKind::Exec(self.exec(own)?), shared),
        };
        let schedule = self.schedule(&schedule, &item.place, self.defaults);
        Some(Check { region, layer, kind, schedule })
    }

    fn cluster_check(&mut self, region: RegionId, layer: Layer, name: &Placed<String>) -> Option<Check> {
        let cluster = self.cluster(name)?;
        if !matches!(layer, Layer::Quorum | Layer::Replication) {
            self.mistakes
                .error(
                    &name.place,
                    format!("cluster `{}` does not belong into layer `{}`", name.value, layer.word()),
                )
                .help("clusters are judged in `quorum`, or in `replication` for having caught up");
        }
        let found = self.clusters[cluster].groups.iter().any(|&group| {
            let inside = self.groups[group].inside;
            inside.is_none() || inside == Some(region)
        });
        if !found {
            let region = self.regions.name(region);
            self.mistakes
                .error(&name.place, format!("cluster `{}` has no group inside region `{region}`", name.value))
                .help(format!("add `{region}: […]` under the cluster's `inside`"));
            return None;
        }
        Some(Check {
            region,
            layer,
            kind: CheckKind::Cluster(cluster),
            schedule: self.clusters[cluster].schedule,
        })
    }
}
