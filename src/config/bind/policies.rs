//! Policies: lists and mappings that may hold each other → [`Policy`].

use std::collections::HashSet;

use super::{Binder, countries};
use crate::base::{Place, RegionId};
use crate::config::policy::{Country, GeoPolicy, GeoRule, Policy, Sticky, StickyPrefix, Who};
use crate::config::read::{Placed, read};
use crate::config::spec;
use crate::config::yaml::{Node, Value};

/// Policies hold each other no deeper than this.
const DEPTH_MAX: usize = 8;
/// A service's policy is made of no more parts than this.
const PARTS_MAX: usize = 1000;
const WEIGHT_MAX: u32 = 1_000_000;
/// What a bucket of a sticky policy is numbered with has eight bits.
const STICKY_MAX: usize = 255;

/// How far the reading of one service's policy has come.
#[derive(Default)]
struct Extent {
    depth: usize,
    parts: usize,
    rules: Vec<(Who, Place)>,
    nearest: Vec<Place>,
}

/// A policy that has been read.
pub(super) struct Bound {
    pub(super) policy: Policy,
    /// What its rules go by, and where they stand.
    pub(super) rules: Vec<(Who, Place)>,
    /// Where it goes by distance.
    pub(super) nearest: Vec<Place>,
}

impl Binder<'_> {
    /// The policy of a service. `None` if it names no region that exists.
    pub(super) fn policy(&mut self, node: &Node) -> Option<Bound> {
        let mut extent = Extent::default();
        let told = self.mistakes.errors();
        let policy = self.part(node, &mut extent);
        if extent.parts > PARTS_MAX {
            self.mistakes.error(&node.place, format!("the policy has more than {PARTS_MAX} parts"));
        }
        let policy = policy.filter(|policy| !policy.regions().is_empty());
        if policy.is_none() && self.mistakes.errors() == told {
            self.mistakes.error(&node.place, "the policy names no region that exists");
        }
        let Extent { rules, nearest, .. } = extent;
        policy.map(|policy| Bound { policy, rules, nearest })
    }

    /// A region's name, or a policy.
    fn part(&mut self, node: &Node, extent: &mut Extent) -> Option<Policy> {
        extent.parts += 1;
        if extent.parts > PARTS_MAX {
            return None;
        }
        if let Value::Text(name) = &node.value {
            let name = Placed { value: name.clone(), place: node.place.clone() };
            return self.region(&name).map(Policy::Region);
        }
        if extent.depth == DEPTH_MAX {
            self.mistakes
                .error(&node.place, format!("policies lie more than {DEPTH_MAX} deep in each other"))
                .help("one level often says the same: a `failover` in a `failover` is one list");
            return None;
        }
        extent.depth += 1;
        let told = self.mistakes.errors();
        let policy =
            read::<spec::Policy>(node, self.mistakes).and_then(|spec| self.made_of(spec, node, extent));
        extent.depth -= 1;
        // A part that gives nothing would answer some clients with nothing, however fit the others are.
        if let Some(empty) = policy.as_ref().filter(|policy| policy.regions().is_empty())
            && self.mistakes.errors() == told
        {
            self.mistakes
                .error(&node.place, format!("this `{}` names no region: it could never answer", empty.word()))
                .help("list at least one region, or leave the whole part out");
        }
        policy
    }

    fn made_of(&mut self, spec: spec::Policy, node: &Node, extent: &mut Extent) -> Option<Policy> {
        Some(match spec {
            spec::Policy::Failover(parts) => Policy::Failover(self.parts(&parts, extent)),
            spec::Policy::All(parts) => {
                let parts = self.parts(&parts, extent);
                if let Some(drawn) = parts.iter().find_map(draws) {
                    self.mistakes
                        .error(&node.place, format!("`all` cannot hold `{drawn}`, which draws lots"))
                        .help(format!("put it the other way round: `{drawn}` of what `all` gives together"));
                }
                Policy::All(parts)
            }
            spec::Policy::Weighted(shares) => Policy::Weighted(
                self.shares(&shares, false, extent).into_iter().map(|(w, _, p)| (w, p)).collect(),
            ),
            spec::Policy::Nearest(names) => {
                extent.nearest.push(node.place.clone());
                let regions = self.region_list(&names);
                let located = regions.into_iter().filter_map(|(region, place)| {
                    let location = self.regions[region].location;
                    if location.is_none() {
                        let name = self.regions.name(region).clone();
                        self.mistakes
                            .error(&place, format!("region `{name}` has no location: it is near nobody"))
                            .help("give the region a `location: {latitude: …, longitude: …}`");
                    }
                    Some((region, location?))
                });
                Policy::Nearest(located.collect())
            }
            spec::Policy::Geo(geo) => Policy::Geo(self.by_place(geo, extent)?),
            spec::Policy::Sticky(sticky) => Policy::Sticky(self.sticky(sticky, node, extent)),
        })
    }

    fn parts(&mut self, nodes: &[Node], extent: &mut Extent) -> Vec<Policy> {
        let mut parts = Vec::new();
        for node in nodes {
            let Some(part) = self.part(node, extent) else { continue };
            match part {
                Policy::Region(region) if parts.contains(&part) => {
                    let name = self.regions.name(region).clone();
                    self.mistakes.error(&node.place, format!("region `{name}` is named twice"));
                }
                part => parts.push(part),
            }
        }
        parts
    }

    fn region_list(&mut self, names: &[Placed<String>]) -> Vec<(RegionId, Place)> {
        let mut regions: Vec<(RegionId, Place)> = Vec::new();
        for name in names {
            let Some(region) = self.region(name) else { continue };
            if regions.iter().any(|(there, _)| *there == region) {
                self.mistakes.error(&name.place, format!("region `{}` is named twice", name.value));
            } else {
                regions.push((region, name.place.clone()));
            }
        }
        regions
    }

    /// `{region: weight}`, or a list of `{weight: …, to: …}`; with `bare`, also a list of parts
    /// of equal weight. Each with what it is called.
    fn shares(&mut self, node: &Node, bare: bool, extent: &mut Extent) -> Vec<(u32, String, Policy)> {
        let mut shares: Vec<(u32, String, Policy)> = Vec::new();
        let mut take = |binder: &mut Self, weight: Option<Placed<u32>>, part: &Node| {
            if let Some(weight) = weight.as_ref().filter(|weight| weight.value > WEIGHT_MAX) {
                binder.mistakes.error(&weight.place, format!("a weight is at most {WEIGHT_MAX}"));
            }
            let Some(policy) = binder.part(part, extent) else { return };
            let name = policy.text(&|region| binder.regions.name(region));
            if shares.iter().any(|(_, there, _)| *there == name) {
                binder.mistakes.error(&part.place, format!("`{name}` is listed twice"));
                return;
            }
            shares.push((weight.map_or(1, |weight| weight.value), name, policy));
        };
        match &node.value {
            Value::Map(entries) => {
                for (key, weight) in entries {
                    let name = Node { place: key.place.clone(), value: Value::Text(key.text.clone()) };
                    let Some(weight) = read::<Placed<u32>>(weight, self.mistakes) else { continue };
                    take(self, Some(weight), &name);
                }
            }
            Value::List(items) => {
                for item in items {
                    let is_share = item.get("to").is_some() || item.get("weight").is_some();
                    if bare && !is_share {
                        take(self, None, item);
                    } else if let Some(share) = read::<spec::Share>(item, self.mistakes) {
                        take(self, Some(share.weight), &share.to);
                    }
                }
            }
            other => {
                let message = format!("expected weights, found {}", other.kind());
                self.mistakes
                    .error(&node.place, message)
                    .help("write `{eu-west: 70, us-east: 30}` or `[{weight: 70, to: …}, …]`");
            }
        }
        if !shares.is_empty() && shares.iter().all(|(weight, ..)| *weight == 0) {
            self.mistakes.error(&node.place, "all weights are 0: nothing could ever be chosen");
        }
        shares
    }

    fn by_place(&mut self, geo: spec::GeoPolicy, extent: &mut Extent) -> Option<GeoPolicy> {
        let mut rules = Vec::new();
        let mut seen = HashSet::new();
        if geo.rules.value.is_empty() {
            self.mistakes
                .error(&geo.rules.place, "no rules: everybody would get the default")
                .help("write the default's policy instead, or add a rule such as `{countries: [DE], to: …}`");
        }
        for rule in geo.rules.value {
            let who = self.who(&rule, &mut seen);
            extent.rules.extend(who.iter().map(|who| (who.clone(), rule.place.clone())));
            let to = self.part(&rule.value.to, extent);
            rules.extend(who.zip(to).map(|(who, to)| GeoRule { who, to }));
        }
        let default = Box::new(self.part(&geo.default, extent)?);
        Some(GeoPolicy { rules, default })
    }

    fn who(&mut self, rule: &Placed<spec::GeoRule>, seen: &mut HashSet<String>) -> Option<Who> {
        let spec::GeoRule { networks, asns, countries, continents, .. } = &rule.value;
        let given = [networks.is_some(), asns.is_some(), countries.is_some(), continents.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            self.mistakes
                .error(&rule.place, "a rule goes by one of `networks`, `asns`, `countries` and `continents`")
                .help("write a rule for each; what says most about a client is tried first");
            return None;
        }
        let told = self.mistakes.errors();
        let who = if let Some(labels) = networks {
            Who::Networks(self.each_once(labels, "network", seen, |label| Ok(label.to_owned())))
        } else if let Some(numbers) = asns {
            Who::Asns(self.each_once(numbers, "AS", seen, |number| Ok(*number)))
        } else if let Some(texts) = countries {
            self.doubt(texts);
            Who::Countries(self.each_once(texts, "country", seen, parse_country))
        } else {
            let texts = continents.as_deref().unwrap_or_default();
            Who::Continents(self.each_once(texts, "continent", seen, parse_continent))
        };
        let is_empty = match &who {
            Who::Networks(list) => list.is_empty(),
            Who::Asns(list) => list.is_empty(),
            Who::Countries(list) => list.is_empty(),
            Who::Continents(list) => list.is_empty(),
        };
        if is_empty && self.mistakes.errors() == told {
            let word = who.to_string();
            self.mistakes
                .error(&rule.place, format!("`{}` lists nobody: the rule never holds", word.trim_end()))
                .help("list whom the rule is for, or take it out");
        }
        (!is_empty).then_some(who)
    }

    /// A word on countries that there are none of. No error: codes are given and withdrawn, and the
    /// database may know better.
    fn doubt(&mut self, texts: &[Placed<String>]) {
        for text in texts {
            let Ok(Country { code, .. }) = parse_country(&text.value) else { continue };
            let Err(meant) = countries::look_up(code) else { continue };
            let code = code.escape_ascii();
            let warning =
                self.mistakes.warn(&text.place, format!("`{code}` is no code of a country in ISO 3166"));
            warning.maybe_help(meant.map(|meant| format!("did you mean `{meant}`?")));
        }
    }

    fn each_once<T: std::fmt::Display, V>(
        &mut self,
        texts: &[Placed<T>],
        kind: &str,
        seen: &mut HashSet<String>,
        parse: impl Fn(&T) -> Result<V, String>,
    ) -> Vec<V> {
        let mut values = Vec::new();
        for text in texts {
            match parse(&text.value) {
                Ok(_) if !seen.insert(format!("{kind} {}", text.value)) => {
                    let message = format!("{kind} {} is in another rule already", text.value);
                    self.mistakes.error(&text.place, message).help("the first rule would always win");
                }
                Ok(value) => values.push(value),
                Err(why) => drop(self.mistakes.error(&text.place, why)),
            }
        }
        values
    }

    fn sticky(&mut self, sticky: spec::Sticky, node: &Node, extent: &mut Extent) -> Sticky {
        let mut among = self.shares(&sticky.among, true, extent);
        if among.len() > STICKY_MAX {
            self.mistakes.error(&node.place, format!("more than {STICKY_MAX} to draw from"));
            among.truncate(STICKY_MAX);
        }
        let mut prefix = StickyPrefix::default();
        if let Some(given) = sticky.prefix {
            for (bits, given, max) in
                [(&mut prefix.ipv4, given.ipv4, 32), (&mut prefix.ipv6, given.ipv6, 128)]
            {
                let Some(given) = given else { continue };
                match (1..=max).contains(&given.value) {
                    true => *bits = given.value,
                    false => {
                        let message = format!("/{} is not between /1 and /{max}", given.value);
                        self.mistakes.error(&given.place, message);
                    }
                }
            }
        }
        Sticky { among, prefix, salt: sticky.salt }
    }
}

/// The kind of the first policy in this one that draws lots.
fn draws(policy: &Policy) -> Option<&'static str> {
    match policy {
        Policy::Weighted(_) | Policy::Sticky(_) => Some(policy.word()),
        _ => policy.parts().find_map(draws),
    }
}

fn parse_country(text: &String) -> Result<Country, String> {
    let (code, part) = match text.split_once('-') {
        Some((code, part)) => (code, Some(part)),
        None => (text.as_str(), None),
    };
    let is_upper = |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let part_fits = part.is_none_or(|part| (1..=3).contains(&part.len()) && is_upper(part));
    match <[u8; 2]>::try_from(code.as_bytes()) {
        Ok(code) if code.iter().all(u8::is_ascii_uppercase) && part_fits => {
            Ok(Country { code, part: part.map(str::to_owned) })
        }
        _ => Err(format!("`{text}` is not a country (ISO 3166, as in DE or US-CA)")),
    }
}

fn parse_continent(text: &String) -> Result<[u8; 2], String> {
    const CONTINENTS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];
    match <[u8; 2]>::try_from(text.as_bytes()) {
        Ok(code) if CONTINENTS.contains(&text.as_str()) => Ok(code),
        _ => Err(format!("`{text}` is not a continent: one of {}", CONTINENTS.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use crate::base::Source;
    use crate::config::{Surroundings, parse};

    /// What is said of a service with this policy.
    fn said(policy: &str) -> String {
        let around = Surroundings { directory: "/etc/x".into(), state: None, runtime: None, processors: 1 };
        let text = format!(
            "\
version: 1
mode: answer
site: {{name: a}}
listen: {{dns: [\"127.0.0.1:53\"]}}
regions: {{eu: {{layers: {{reach: [{{tcp: {{address: \"127.0.0.1:1\"}}}}]}}}}}}
zones: [{{name: x.test, file: x.zone}}]
services:
  s: {{names: [s.x.test], policy: {policy}, answers: {{eu: {{a: [192.0.2.1]}}}}}}
"
        );
        let mistakes = parse(&Source::new("c.yaml", text), &around)
            .map_or_else(|mistakes| mistakes, |(_, warnings)| warnings);
        mistakes.render(false)
    }

    #[test]
    fn no_part_may_be_empty() {
        for (policy, message, underlined) in [
            ("{failover: [eu, {failover: []}]}", "this `failover` names no region", "{failover: []}"),
            ("{failover: [eu, {sticky: {among: []}}]}", "this `sticky` names no region", "{sticky:"),
            ("{failover: [eu, {nearest: []}]}", "this `nearest` names no region", "{nearest: []}"),
            (
                "{geo: {rules: [{countries: [DE], to: eu}], default: {failover: []}}}",
                "this `failover` names no region",
                "{failover: []}",
            ),
            (
                "{weighted: [{weight: 50, to: eu}, {weight: 50, to: {failover: []}}]}",
                "this `failover` names no region",
                "{failover: []}",
            ),
            (
                "{geo: {rules: [{countries: [], to: eu}], default: eu}}",
                "`countries` lists nobody",
                "{countries: []",
            ),
            ("{sticky: {among: []}}", "this `sticky` names no region", "{sticky:"),
        ] {
            let said = said(policy);
            assert!(said.starts_with("error: ") && said.contains(message), "{policy}: {said}");
            assert_eq!(said.matches("error: ").count(), 1, "the parts around it are not to blame: {said}");
            let line = said.lines().find(|line| line.contains("policy: ")).unwrap();
            let marks = said.lines().find(|line| line.contains('^')).unwrap();
            let at = marks.find('^').unwrap();
            assert!(line[at..].starts_with(underlined), "{policy}: {said}");
        }
        assert_eq!(said("{failover: [eu]}"), "");
    }
}
