//! Rules for clients that there are none of, and distances from nowhere.

use std::collections::HashSet;

use crate::base::{Mistakes, Named, ServiceId, nearest};
use crate::config::{Country, Service, Who};
use crate::geo::{Code, World};

/// Everything that is known of anybody.
#[derive(Default)]
struct Known<'w> {
    continents: HashSet<Code>,
    countries: HashSet<Code>,
    parts: HashSet<(Code, &'w str)>,
    asns: HashSet<u32>,
    labels: HashSet<&'w str>,
    has_locations: bool,
}

impl<'w> Known<'w> {
    fn of(world: &'w World) -> Self {
        let mut known = Self::default();
        for facts in world.facts() {
            known.continents.extend(facts.continent);
            known.countries.extend(facts.country);
            known.parts.extend(facts.country.zip(facts.subdivision.as_ref().map(|part| part.as_str())));
            known.asns.extend(facts.asn);
            known.has_locations |= facts.location.is_some();
            known.labels.extend(facts.networks.iter().map(|label| &**label));
        }
        known
    }

    /// What of a rule no network has, in words.
    fn lacks(&self, who: &Who) -> Vec<String> {
        let has_country = |country: &&Country| match &country.part {
            Some(part) => self.parts.contains(&(country.code, part.as_str())),
            None => self.countries.contains(&country.code),
        };
        let texts = |values: &mut dyn Iterator<Item = String>| values.collect();
        match who {
            Who::Networks(labels) => {
                texts(&mut labels.iter().filter(|label| !self.labels.contains(label.as_str())).cloned())
            }
            Who::Asns(numbers) => texts(
                &mut numbers.iter().filter(|asn| !self.asns.contains(asn)).map(|asn| format!("AS{asn}")),
            ),
            Who::Countries(countries) => {
                texts(&mut countries.iter().filter(|country| !has_country(country)).map(Country::to_string))
            }
            Who::Continents(codes) => texts(
                &mut codes
                    .iter()
                    .filter(|code| !self.continents.contains(*code))
                    .map(|code| code.escape_ascii().to_string()),
            ),
        }
    }
}

/// A warning for each rule of a policy that names what no network has, which never holds, and for
/// each policy that goes by distance where nothing tells how far anybody is.
pub fn idle_rules(services: &Named<ServiceId, Service>, world: &World) -> Mistakes {
    let mut mistakes = Mistakes::default();
    if services.values().all(|service| service.rules.is_empty() && service.nearest.is_empty()) {
        return mistakes;
    }
    let known = Known::of(world);
    for (who, place) in services.values().flat_map(|service| &service.rules) {
        let lacks = known.lacks(who);
        if !lacks.is_empty() {
            let message = format!("nothing tells which clients are {}", lacks.join(", "));
            let meant = match who {
                Who::Networks(_) => {
                    lacks.iter().find_map(|label| nearest(label, known.labels.iter().copied()))
                }
                _ => None,
            };
            mistakes.warn(place, message).help(match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => {
                    "list a database or a list of networks that does under `geo:`, or take it out".to_owned()
                }
            });
        }
    }
    if !known.has_locations {
        for place in services.values().flat_map(|service| &service.nearest) {
            mistakes
                .warn(
                    place,
                    "nothing tells where clients are: the first fit region is `nearest` to everybody",
                )
                .help(
                    "list a database with locations under `geo:`, such as GeoLite2-City, or write `failover`",
                );
        }
    }
    mistakes
}
