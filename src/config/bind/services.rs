//! Services: their names, policies, answers and bounds.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::Binder;
use super::policies::Bound;
use crate::base::{RegionId, show_span, stable_hash};
use crate::config::model::{Failback, Objectives, Records, Service, SwitchedBy, TtlBounds, ZoneFile};
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
        let told = self.mistakes.errors();
        let Bound { policy, rules, nearest } = self.policy(&service.policy)?;
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
        // What could not be read is not missing. Aliases stand in all regions by now, or in none.
        let are_read = self.mistakes.errors() == told;
        for (region, _) in service.answers.iter().filter(|_| are_read) {
            let id = self.regions.id(region).filter(|id| regions.contains(id));
            let Some(given) = id.and_then(|id| answers.get(&id)) else { continue };
            for (rtype, giver) in only_elsewhere(given, &regions, &answers) {
                let giver = self.regions.name(giver).clone();
                self.mistakes
                    .warn(
                        &region.place,
                        format!(
                            "clients sent to {} get no {rtype} record, those sent to {giver} do",
                            region.value
                        ),
                    )
                    .help(
                        "who asks for that type alone finds nothing there: give every region the same types",
                    );
            }
        }
        let layers = self.service_layers(name, service.layers, &regions);
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
            nearest,
            ecs: service.ecs.unwrap_or(true),
            salt: stable_hash(name.value.as_bytes()),
            switched_by: service.switched_by,
            answers,
            layers,
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

/// The types that some region gives and this one does not, each with the first that does.
fn only_elsewhere(
    given: &Records,
    regions: &[RegionId],
    answers: &BTreeMap<RegionId, Records>,
) -> Vec<(RecordType, RegionId)> {
    let mut lacks: Vec<(RecordType, RegionId)> = Vec::new();
    for region in regions {
        let types =
            answers.get(region).into_iter().flat_map(|records| records.sets().map(|(rtype, _)| rtype));
        for rtype in types.filter(|rtype| given.set(*rtype).is_none()) {
            if lacks.iter().all(|(known, _)| *known != rtype) {
                lacks.push((rtype, *region));
            }
        }
    }
    lacks
}

/// Whether the policy may give several regions at once.
fn unites(policy: &Policy) -> bool {
    matches!(policy, Policy::All(parts) if parts.len() > 1) || policy.parts().any(unites)
}

#[cfg(test)]
mod tests {
    use crate::base::Source;
    use crate::config::{Surroundings, parse};

    /// The warnings about a service of two regions that gives these answers.
    fn warned(answers: &str) -> String {
        let around = Surroundings { directory: "/etc/x".into(), state: None, runtime: None, processors: 1 };
        let text = format!(
            "\
version: 1
mode: answer
site: {{name: a}}
listen: {{dns: [\"127.0.0.1:53\"]}}
regions:
  eu: {{layers: {{reach: [{{tcp: {{address: \"127.0.0.1:1\"}}}}]}}}}
  us: {{layers: {{reach: [{{tcp: {{address: \"127.0.0.1:1\"}}}}]}}}}
zones: [{{name: x.test, file: x.zone}}]
services:
  s: {{names: [s.x.test], policy: {{failover: [eu, us]}}, answers: {answers}}}
"
        );
        let read = parse(&Source::new("c.yaml", text), &around);
        let (_, warnings) = read.unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)));
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn regions_that_lack_a_type_are_told_of() {
        let said = warned("{eu: {aaaa: [\"2001:db8::1\"]}, us: {a: [192.0.2.1]}}");
        assert!(said.contains("clients sent to eu get no A record, those sent to us do"), "{said}");
        assert!(said.contains("clients sent to us get no AAAA record, those sent to eu do"), "{said}");
        assert!(said.lines().all(|line| line.starts_with("c.yaml:10:")), "{said}");
        let said = warned("{eu: {a: [192.0.2.2], txt: [x]}, us: {a: [192.0.2.1]}}");
        assert!(said.contains("sent to us get no TXT") && said.lines().count() == 1, "{said}");
        assert_eq!(warned("{eu: {a: [192.0.2.2]}, us: {a: [192.0.2.1]}}"), "");
    }
}
