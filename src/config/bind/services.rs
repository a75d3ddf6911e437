//! Services: their names, policies, answers and bounds.

use std::collections::HashSet;
use std::time::Duration;

use super::Binder;
use crate::base::{show_span, stable_hash};
use crate::config::model::{Failback, Objectives, Service, SwitchedBy, TtlBounds, ZoneFile};
use crate::config::policy::Policy;
use crate::config::read::{Entries, Placed};
use crate::config::spec;
use crate::wire::RecordType;

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
            if let Some(bound) = self.one_service(&name, service, zones)
                && self.services.push(&name, bound).is_err()
            {
                self.mistakes.error(&name.place, "too many services");
            }
        }
    }

    fn one_service(
        &mut self,
        name: &Placed<String>,
        service: spec::Service,
        zones: &[ZoneFile],
    ) -> Option<Service> {
        let (policy, rules) = self.policy(&service.policy)?;
        let regions = policy.regions();
        let answers = self.answers(&service.answers, &service.names, zones);
        for region in &regions {
            if !answers.contains_key(region) {
                let region = self.regions.name(*region).clone();
                self.mistakes
                    .error(
                        &service.answers.place,
                        format!("region `{region}` is in the policy but gives no answers"),
                    )
                    .help(format!("add `{region}: {{a: […]}}`"));
            }
        }
        for (region, _) in service.answers.iter() {
            if self.regions.id(region).is_some_and(|id| !regions.contains(&id)) {
                self.mistakes.error(&region.place, format!("region `{}` is not in the policy", region.value));
            }
        }
        let leads = answers.values().any(|records| records.set(RecordType::CNAME).is_some());
        if leads && unites(&policy) {
            self.mistakes
                .error(&service.policy.place, "`all` would give several CNAMEs, and a name has one at most")
                .help("use `weighted`, or give addresses");
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
            regions,
            rules,
            ecs: service.ecs.unwrap_or(true),
            salt: stable_hash(name.value.as_bytes()),
            switched_by: service.switched_by,
            answers,
            ttl,
            all_down: service.all_down,
            failback,
            objectives: Objectives { rto: service.objectives.rto.map(|span| span.0) },
            place: name.place.clone(),
        })
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

/// Whether the policy may give several regions at once.
fn unites(policy: &Policy) -> bool {
    matches!(policy, Policy::All(parts) if parts.len() > 1) || policy.parts().any(unites)
}
