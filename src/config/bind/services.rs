//! Services: their names, policies, answers and bounds.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use super::Binder;
use crate::base::{Place, RegionId, show_span};
use crate::config::model::{Failback, Objectives, Policy, Records, Service, SwitchedBy, TtlBounds, ZoneFile};
use crate::config::read::{Entries, Placed};
use crate::config::spec;
use crate::wire::RecordType;

/// Addresses of one family that a region may give: what fits into 1232 octets with room to spare.
const ADDRESSES_MAX: usize = 32;
const DEFAULT_TTL: TtlBounds = TtlBounds { min: Duration::from_secs(5), max: Duration::from_secs(60) };
const TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
const DEFAULT_FAILBACK_AFTER: Duration = Duration::from_secs(60);

impl Binder<'_> {
    pub(super) fn services(&mut self, services: Entries<spec::Service>, zones: &[ZoneFile]) {
        let mut taken = HashSet::new();
        for (name, service) in services.0 {
            self.word(&name, "a service");
            for owner in &service.names {
                if !zones.iter().any(|zone| owner.value.is_at_or_under(&zone.name)) {
                    self.mistakes
                        .error(&owner.place, format!("{} lies in none of the zones", owner.value))
                        .help("add its zone under `zones:`");
                }
                if !taken.insert(owner.value.clone()) {
                    self.mistakes
                        .error(&owner.place, format!("{} already belongs to a service", owner.value));
                }
            }
            if service.names.is_empty() {
                self.mistakes.error(&name.place, format!("service `{}` has no names", name.value));
            }
            if let Some(bound) = self.one_service(&name, service)
                && self.services.push(&name, bound).is_err()
            {
                self.mistakes.error(&name.place, "too many services");
            }
        }
    }

    fn one_service(&mut self, name: &Placed<String>, service: spec::Service) -> Option<Service> {
        let policy = self.policy(&service.policy)?;
        let answers = self.answers(&service.answers);
        for region in policy.regions() {
            if !answers.contains_key(&region) {
                let region = self.regions.name(region).clone();
                self.mistakes
                    .error(
                        &service.answers.place,
                        format!("region `{region}` is in the policy but gives no answers"),
                    )
                    .help(format!("add `{region}: {{a: […]}}`"));
            }
        }
        for (region, _) in service.answers.iter() {
            if self.regions.id(region).is_some_and(|id| !policy.regions().contains(&id)) {
                self.mistakes.error(&region.place, format!("region `{}` is not in the policy", region.value));
            }
        }
        let ttl = self.ttl(service.ttl.as_ref());
        let failback = match (service.failback, service.switched_by) {
            (Some(spec::Failback::Auto(_)), SwitchedBy::Workflow) => {
                self.mistakes
                    .error(&name.place, "a service switched by a workflow cannot fail back by itself")
                    .help("write `failback: manual`, and fail back with a workflow or a dial");
                Failback::Manual
            }
            (Some(spec::Failback::Auto(auto)), SwitchedBy::Health) => Failback::Auto { after: auto.after.0 },
            (Some(spec::Failback::Manual), _) | (None, SwitchedBy::Workflow) => Failback::Manual,
            (None, SwitchedBy::Health) => Failback::Auto { after: DEFAULT_FAILBACK_AFTER },
        };
        Some(Service {
            names: service.names.into_iter().map(|name| (name.value, name.place)).collect(),
            policy,
            switched_by: service.switched_by,
            answers,
            ttl,
            all_down: service.all_down,
            failback,
            objectives: Objectives { rto: service.objectives.rto.map(|span| span.0) },
            place: name.place.clone(),
        })
    }

    fn policy(&mut self, policy: &Placed<spec::Policy>) -> Option<Policy> {
        let bound = match &policy.value {
            spec::Policy::Failover(names) => Policy::Failover(self.region_list(names)),
            spec::Policy::All(names) => Policy::All(self.region_list(names)),
            spec::Policy::Weighted(entries) => {
                let mut weights = Vec::new();
                for (name, weight) in entries.iter() {
                    if weight.value > 1_000_000 {
                        self.mistakes.error(&weight.place, "a weight is at most 1000000");
                    }
                    weights.extend(self.region(name).map(|region| (region, weight.value)));
                }
                if !entries.is_empty() && entries.iter().all(|(_, weight)| weight.value == 0) {
                    self.mistakes.error(&policy.place, "all weights are 0: nothing could ever be chosen");
                }
                Policy::Weighted(weights)
            }
        };
        if bound.regions().is_empty() {
            self.mistakes.error(&policy.place, "the policy names no region that exists");
            return None;
        }
        Some(bound)
    }

    fn region_list(&mut self, names: &[Placed<String>]) -> Vec<RegionId> {
        let mut regions = Vec::new();
        for name in names {
            let Some(region) = self.region(name) else { continue };
            if regions.contains(&region) {
                self.mistakes.error(&name.place, format!("region `{}` is named twice", name.value));
            } else {
                regions.push(region);
            }
        }
        regions
    }

    fn answers(&mut self, answers: &Entries<spec::Addresses>) -> BTreeMap<RegionId, Records> {
        let mut bound = BTreeMap::new();
        for (name, addresses) in answers.iter() {
            let Some(region) = self.region(name) else { continue };
            let mut given = Records::default();
            self.addresses(&addresses.a, "IPv4", &name.place, |address: Ipv4Addr| {
                given.add(RecordType::A, &address.octets())
            });
            self.addresses(&addresses.aaaa, "IPv6", &name.place, |address: Ipv6Addr| {
                given.add(RecordType::AAAA, &address.octets())
            });
            if addresses.a.is_empty() && addresses.aaaa.is_empty() {
                self.mistakes
                    .error(&name.place, format!("region `{}` gives no address", name.value))
                    .help("never empty: list at least one under `a` or `aaaa`");
            }
            bound.insert(region, given);
        }
        bound
    }

    fn addresses<A: FromStr>(
        &mut self,
        texts: &[Placed<String>],
        family: &str,
        place: &Place,
        mut add: impl FnMut(A) -> bool,
    ) {
        for text in texts {
            match text.value.parse::<A>() {
                Ok(address) => {
                    if !add(address) {
                        self.mistakes.error(&text.place, format!("{} is listed twice", text.value));
                    }
                }
                Err(_) => {
                    self.mistakes.error(&text.place, format!("`{}` is not an {family} address", text.value));
                }
            }
        }
        if texts.len() > ADDRESSES_MAX {
            self.mistakes
                .error(place, format!("more than {ADDRESSES_MAX} {family} addresses do not fit an answer"));
        }
    }

    fn ttl(&mut self, ttl: Option<&Placed<spec::Ttl>>) -> TtlBounds {
        let Some(ttl) = ttl else { return DEFAULT_TTL };
        let bounds = TtlBounds { min: ttl.value.min.0, max: ttl.value.max.0 };
        let whole = |span: Duration| span.subsec_nanos() == 0;
        if bounds.min < Duration::from_secs(1) || !whole(bounds.min) || !whole(bounds.max) {
            self.mistakes.error(&ttl.place, "a TTL is a whole number of seconds, at least 1s");
        } else if bounds.max < bounds.min {
            self.mistakes.error(&ttl.place, "`max` is below `min`");
        } else if bounds.max > TTL_MAX {
            self.mistakes.error(&ttl.place, format!("`max` is above {}", show_span(TTL_MAX)));
        } else {
            return bounds;
        }
        DEFAULT_TTL
    }
}
