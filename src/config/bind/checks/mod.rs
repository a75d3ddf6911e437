//! The checks of a layer.

mod connect;
mod dns;
mod exec;
mod http;
mod matching;
mod prometheus;
mod told;

use super::Binder;
use super::layers::{Part, Speaker};
use crate::base::{Place, RegionId};
use crate::config::model::{Check, CheckKind, Layer};
use crate::config::read::{Beside, Placed, read};
use crate::config::spec;
use crate::config::yaml::{Node, Value};

impl Binder<'_> {
    /// `region/layer/kind`, with `service/` before it if it is a service's own, and with `-2`, `-3` …
    /// behind it for the later ones of a kind. Clusters and targets that report themselves have names
    /// of their own in the place of the kind.
    pub(in crate::config::bind) fn check_name(&self, speaker: Speaker<'_>, check: &Check) -> String {
        let kind = match &check.kind {
            CheckKind::Cluster(cluster) => self.clusters.name(*cluster).to_string(),
            CheckKind::Push(push) => push.name.clone(),
            kind => kind.word().to_owned(),
        };
        let service = speaker.service.map_or(String::new(), |service| format!("{service}/"));
        let base = match check.region {
            Some(region) => format!("{service}{}/{}/{kind}", self.regions.name(region), check.layer.word()),
            None => format!("self_check/{kind}"),
        };
        std::iter::once(base.clone())
            .chain((2..).map(|n| format!("{base}-{n}")))
            .find(|name| self.checks.id(name).is_none())
            .expect("one of endless names is free")
    }

    pub(in crate::config::bind) fn check(
        &mut self,
        speaker: Speaker<'_>,
        item: &Node,
    ) -> Option<(Check, Part)> {
        let Speaker { region, layer, .. } = speaker;
        if let Value::Text(name) = &item.value {
            let name = Placed { value: name.clone(), place: item.place.clone() };
            let region = self.inside(region, &item.place)?;
            return Some((self.cluster_check(region, layer, &name, false)?, Part::default()));
        }
        let (kind, schedule) = match read::<spec::Check>(item, self.mistakes)? {
            spec::Check::Tcp(Beside { shared, own }) => (CheckKind::Tcp(self.tcp(own)?), shared),
            spec::Check::Tls(Beside { shared, own }) => (CheckKind::Tls(self.tls(own)?), shared),
            spec::Check::Http(http) => {
                let Beside { shared, own } = *http;
                (CheckKind::Http(self.http(own, &item.place)?), shared)
            }
            spec::Check::Prometheus(prometheus) => {
                let Beside { shared, own } = *prometheus;
                (CheckKind::Prometheus(self.prometheus(own, &item.place)?), shared)
            }
            spec::Check::Push(Beside { shared, own }) => {
                (CheckKind::Push(self.push(speaker, own, &shared, &item.place)?), shared)
            }
            spec::Check::Alertmanager(Beside { shared, own }) => {
                let check = self.alertmanager(speaker, own, &shared, &item.place)?;
                (CheckKind::Alertmanager(check), shared)
            }
            spec::Check::Cluster(cluster) => {
                let monitoring_only = cluster.monitoring_only.is_some_and(|only| only.value);
                let region = self.inside(region, &item.place)?;
                let check = self.cluster_check(region, layer, &cluster.name, monitoring_only)?;
                return Some((check, Part { weight: cluster.weight, monitoring_only }));
            }
            spec::Check::Grpc(Beside { shared, own }) => (CheckKind::Grpc(self.grpc(own)?), shared),
            spec::Check::Dns(dns) => {
                let Beside { shared, own } = *dns;
                (CheckKind::Dns(self.dns_check(own)?), shared)
            }
            spec::Check::Icmp(Beside { shared, own }) => (CheckKind::Icmp(self.icmp(&own)?), shared),
            spec::Check::Exec(Beside { shared, own }) => (CheckKind::Exec(self.exec(own)?), shared),
        };
        let monitoring_only = schedule.monitoring_only.as_ref().is_some_and(|only| only.value);
        let part = Part { weight: schedule.weight.clone(), monitoring_only };
        let schedule = self.schedule(&schedule, &item.place, self.defaults);
        Some((Check { region, layer, monitoring_only, kind, schedule }, part))
    }

    fn inside(&mut self, region: Option<RegionId>, place: &Place) -> Option<RegionId> {
        if region.is_none() {
            self.mistakes.error(place, "a cluster is no anchor").help("name a check of a target outside");
        }
        region
    }

    fn cluster_check(
        &mut self,
        region: RegionId,
        layer: Layer,
        name: &Placed<String>,
        monitoring_only: bool,
    ) -> Option<Check> {
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
            region: Some(region),
            layer,
            monitoring_only,
            kind: CheckKind::Cluster(cluster),
            schedule: self.clusters[cluster].schedule,
        })
    }
}
