//! Layers: a list of checks that must all pass, or a mapping that says how many must.

use std::collections::BTreeMap;

use super::Binder;
use crate::base::{CheckId, Place, RegionId};
use crate::config::model::{Layer, LayerChecks, Layers, SelfCheck};
use crate::config::read::{Entries, Placed, read};
use crate::config::spec;
use crate::config::yaml::{Node, Value};

/// What a check may count for, at most.
const WEIGHT_MAX: u32 = 1_000_000;

/// For whom a check speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaker<'a> {
    /// A service of its own; else the region as a whole.
    pub(super) service: Option<&'a str>,
    /// The region; none: the site itself.
    pub(super) region: Option<RegionId>,
    /// The layer.
    pub(super) layer: Layer,
}

/// What a layer says of its checks.
#[derive(Clone, Copy)]
enum Rule {
    All,
    Any,
    AtLeast,
    Weights,
}

/// What a check says of its part in the layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) weight: Option<Placed<u32>>,
    pub(super) monitoring_only: bool,
}

impl Binder<'_> {
    /// The layers of a region, or of a service in a region.
    pub(super) fn layers(&mut self, service: Option<&str>, region: RegionId, spec: spec::Layers) -> Layers {
        let layers = [
            (Layer::Reach, spec.reach),
            (Layer::Service, spec.service),
            (Layer::Quorum, spec.quorum),
            (Layer::Replication, spec.replication),
        ];
        let mut bound = Layers::new();
        for (layer, node) in layers {
            let Some(node) = node else { continue };
            let checks = self.layer(Speaker { service, region: Some(region), layer }, &node);
            if !checks.checks.is_empty() {
                bound.insert(layer, checks);
            }
        }
        bound
    }

    /// A service's own layers, region by region.
    pub(super) fn service_layers(
        &mut self,
        service: &Placed<String>,
        layers: Entries<spec::Layers>,
        regions: &[RegionId],
    ) -> BTreeMap<RegionId, Layers> {
        let mut bound = BTreeMap::new();
        for (name, spec) in layers.0 {
            let Some(region) = self.region(&name) else { continue };
            if !regions.contains(&region) {
                self.mistakes
                    .error(&name.place, format!("region `{}` is not in the policy", name.value))
                    .help("a service's own checks decide on its place in a region that its policy has");
                continue;
            }
            let layers = self.layers(Some(&service.value), region, spec);
            if layers.is_empty() {
                self.mistakes.warn(&name.place, format!("no checks are given for `{}`", name.value));
                continue;
            }
            bound.insert(region, layers);
        }
        bound
    }

    /// The anchors of the site itself.
    pub(super) fn self_check(&mut self, spec: Placed<spec::SelfCheck>) -> Option<SelfCheck> {
        let spec::SelfCheck { anchors: items, at_least } = spec.value;
        let told = self.mistakes.errors();
        let speaker = Speaker { service: None, region: None, layer: Layer::Reach };
        let mut anchors = Vec::new();
        for item in &items.value {
            let Some((check, part)) = self.check(speaker, item) else { continue };
            if part.weight.is_some() || part.monitoring_only {
                self.mistakes.error(&item.place, "an anchor has neither `weight` nor `monitoring_only`");
            }
            let name = self.check_name(speaker, &check);
            match self.checks.push(&name, check) {
                Ok(id) => anchors.push(id),
                Err(_) => drop(self.mistakes.error(&item.place, "too many checks")),
            }
        }
        let count = anchors.len() as u32;
        if self.mistakes.errors() == told && count == 0 {
            self.mistakes
                .error(&items.place, "there are no anchors")
                .help("name targets that have nothing to do with your regions, such as public resolvers");
        }
        let wanted = at_least.as_ref().map_or(count / 2 + 1, |at_least| at_least.value);
        if let Some(at_least) =
            at_least.filter(|_| self.mistakes.errors() == told && !(1..=count).contains(&wanted))
        {
            self.mistakes
                .error(
                    &at_least.place,
                    format!("`at_least: {wanted}` of {count} anchors can never tell anything"),
                )
                .help(format!("write a number from 1 to {count}"));
        }
        (count > 0).then_some(SelfCheck { anchors, at_least: wanted.clamp(1, count) })
    }

    fn layer(&mut self, speaker: Speaker<'_>, node: &Node) -> LayerChecks {
        let Some((rule, items, at_least)) = self.rule(node) else {
            return LayerChecks { checks: Vec::new(), votes: Vec::new(), needed: 0 };
        };
        let mistakes = self.mistakes.errors();
        let mut checks = Vec::new();
        let mut votes: Vec<(CheckId, u32)> = Vec::new();
        for item in &items {
            let Some((check, part)) = self.check(speaker, item) else { continue };
            let name = self.check_name(speaker, &check);
            let Ok(id) = self.checks.push(&name, check) else {
                self.mistakes.error(&item.place, "too many checks");
                continue;
            };
            checks.push(id);
            let weight = self.weight(rule, part.weight.as_ref());
            if !part.monitoring_only {
                votes.push((id, weight));
            }
        }
        let total: u64 = votes.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let needed = match (rule, at_least) {
            (Rule::All, _) => total,
            (Rule::Any, _) => total.min(1),
            (Rule::AtLeast | Rule::Weights, Some(at_least)) => {
                let wanted = u64::from(at_least.value);
                // Checks that could not be read do not count, and are told of already.
                if self.mistakes.errors() == mistakes && !(1..=total).contains(&wanted) {
                    let what = format!("`at_least: {wanted}` of {total} that the deciding checks add up to");
                    self.mistakes
                        .error(&at_least.place, format!("{what}: the layer would always be the same"))
                        .help(format!("write a number from 1 to {total}"));
                }
                wanted.min(total)
            }
            // Told of already.
            (Rule::AtLeast | Rule::Weights, None) => total,
        };
        LayerChecks { checks, votes, needed }
    }

    /// What a layer asks for, of which checks.
    fn rule(&mut self, node: &Node) -> Option<(Rule, Vec<Node>, Option<Placed<u32>>)> {
        match &node.value {
            Value::Null => return Some((Rule::All, Vec::new(), None)),
            Value::List(items) => return Some((Rule::All, items.clone(), None)),
            _ => {}
        }
        let spec: spec::Layer = read(node, self.mistakes)?;
        let forms =
            "`[…]`, `{all: […]}`, `{any: […]}`, `{at_least: N, of: […]}` or `{weights: […], at_least: N}`";
        let given = [
            (Rule::All, spec.all),
            (Rule::Any, spec.any),
            (Rule::AtLeast, spec.of),
            (Rule::Weights, spec.weights),
        ];
        let mut given = given.into_iter().filter_map(|(rule, items)| Some((rule, items?)));
        let (Some((rule, items)), None) = (given.next(), given.next()) else {
            self.mistakes
                .error(&node.place, "a layer has its checks in exactly one list")
                .help(format!("one of {forms}"));
            return None;
        };
        match (rule, &spec.at_least) {
            (Rule::All | Rule::Any, Some(at_least)) => {
                self.mistakes
                    .error(&at_least.place, "`at_least` goes with `of` or `weights`")
                    .help(format!("one of {forms}"));
            }
            (Rule::AtLeast | Rule::Weights, None) => {
                self.mistakes
                    .error(&node.place, "`at_least` is missing: how much must pass?")
                    .help(format!("one of {forms}"));
            }
            _ => {}
        }
        Some((rule, items, spec.at_least))
    }

    fn weight(&mut self, rule: Rule, weight: Option<&Placed<u32>>) -> u32 {
        let Some(weight) = weight else { return 1 };
        if !matches!(rule, Rule::Weights) {
            self.mistakes
                .error(&weight.place, "`weight` counts only in a layer that has `weights`")
                .help("write the layer as `{weights: […], at_least: N}`");
            return 1;
        }
        if !(1..=WEIGHT_MAX).contains(&weight.value) {
            self.mistakes
                .error(
                    &weight.place,
                    format!("a weight of {} is not between 1 and {WEIGHT_MAX}", weight.value),
                )
                .help("`monitoring_only: true` takes a check out of the count");
            return 1;
        }
        weight.value
    }

    /// Keys of one check have no place where all of them get their schedule.
    pub(super) fn no_part(&mut self, defaults: &spec::Schedule) {
        let places: Vec<Place> = [
            defaults.weight.as_ref().map(|weight| weight.place.clone()),
            defaults.monitoring_only.as_ref().map(|only| only.place.clone()),
        ]
        .into_iter()
        .flatten()
        .collect();
        for place in places {
            self.mistakes
                .error(&place, "this is said of one check, not of all")
                .help("write it in the check");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::base::{Mistakes, Source};
    use crate::config::{Config, Layer, Surroundings, parse};

    fn read(reach: &str, more: &str) -> Result<(Config, Mistakes), Mistakes> {
        let around = Surroundings { directory: "/etc/x".into(), state: None, runtime: None, processors: 1 };
        let text = format!(
            "\
version: 1
mode: answer
site: {{name: a}}
listen: {{dns: [\"127.0.0.1:53\"]}}
clusters: {{db: {{etcd: {{inside: {{eu: [\"http://a:1\", \"http://b:1\", \"http://c:1\"]}}}}}}}}
regions: {{eu: {{layers: {{reach: {reach}}}}}, us: {{layers: {{reach: [{{tcp: {{address: \"u:1\"}}}}]}}}}}}
zones: [{{name: x.test, file: x.zone}}]
services:
  s: {{names: [s.x.test], policy: eu, answers: {{eu: {{a: [192.0.2.1]}}}}{more}}}
"
        );
        parse(&Source::new("c.yaml", text), &around)
    }

    fn said(reach: &str, more: &str) -> String {
        let mistakes = match read(reach, more) {
            Ok((_, warnings)) => warnings,
            Err(mistakes) => mistakes,
        };
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    const A: &str = "{tcp: {address: \"a:1\"}}";
    const B: &str = "{tcp: {address: \"b:1\"}}";

    fn shape(reach: &str) -> (usize, Vec<u32>, u64) {
        let (config, _) = read(reach, "").unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)));
        let layer = &config.regions.get("eu").unwrap().layers[&Layer::Reach];
        (layer.checks.len(), layer.votes.iter().map(|(_, weight)| *weight).collect(), layer.needed)
    }

    #[test]
    fn every_form_comes_to_weights_and_a_bound() {
        assert_eq!(shape(&format!("[{A}, {B}]")), (2, vec![1, 1], 2));
        assert_eq!(shape(&format!("{{all: [{A}, {B}]}}")), (2, vec![1, 1], 2));
        assert_eq!(shape(&format!("{{any: [{A}, {B}]}}")), (2, vec![1, 1], 1));
        assert_eq!(shape(&format!("{{at_least: 2, of: [{A}, {B}, {A}]}}")), (3, vec![1, 1, 1], 2));
        let heavy = "{tcp: {address: \"h:1\", weight: 3}}";
        assert_eq!(shape(&format!("{{weights: [{A}, {heavy}], at_least: 3}}")), (2, vec![1, 3], 3));
        let shadow = "{tcp: {address: \"h:1\", monitoring_only: true}}";
        assert_eq!(shape(&format!("[{A}, {shadow}]")), (2, vec![1], 1));
        assert_eq!(shape(&format!("{{any: [{shadow}]}}")), (1, vec![], 0));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_cure() {
        for (reach, what) in [
            (format!("{{at_least: 3, of: [{A}, {B}]}}"), "write a number from 1 to 2"),
            (format!("{{at_least: 0, of: [{A}, {B}]}}"), "always be the same"),
            (format!("{{of: [{A}, {B}]}}"), "`at_least` is missing"),
            (format!("{{any: [{A}], at_least: 1}}"), "goes with `of` or `weights`"),
            (format!("{{any: [{A}], all: [{B}]}}"), "exactly one list"),
            ("{}".to_owned(), "exactly one list"),
            (
                "[{tcp: {address: \"a:1\", weight: 2}}]".to_owned(),
                "counts only in a layer that has `weights`",
            ),
            ("{weights: [{tcp: {address: \"a:1\", weight: 0}}], at_least: 1}".to_owned(), "monitoring_only"),
        ] {
            let said = said(&reach, "");
            assert!(said.contains(what), "{reach}: {said}");
            let errors = said.lines().filter(|line| !line.contains("no checks decide"));
            assert_eq!(errors.count(), 1, "{said}");
        }
        let said = said(&format!("[{A}]"), ", layers: {us: {reach: [{tcp: {address: \"a:1\"}}]}}");
        assert!(said.contains("region `us` is not in the policy"), "{said}");
    }

    #[test]
    fn a_services_checks_are_its_own() {
        let own = ", layers: {eu: {service: {any: [{tcp: {address: \"a:1\"}}]}, quorum: [db]}}";
        let (config, _) = read(&format!("[{A}]"), own).unwrap_or_else(|bad| panic!("{}", bad.render(false)));
        let names: Vec<_> = config.checks.names().map(|name| name.to_string()).collect();
        assert_eq!(names, ["eu/reach/tcp", "us/reach/tcp", "s/eu/service/tcp", "s/eu/quorum/db"]);
        assert_eq!(config.regions.get("eu").unwrap().layers.len(), 1);
    }
}
