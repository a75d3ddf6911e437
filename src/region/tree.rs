//! A policy as it stands for one kind of client: what their place decides is decided.

use crate::base::{RegionId, stable_hash};
use crate::config::{GeoPolicy, Location, Policy, Service, StickyPrefix, Who};
use crate::geo::Facts;

/// So many of the nearest regions are told apart by each client's own distance; behind them come
/// the others as they lie around the nearest one. Regions on one continent have few orders, but
/// all orders of thirty regions would be more classes of clients than there are cities.
const NEAREST_RANKS: usize = 4;
/// The mean radius of the Earth in kilometres (IUGG).
const EARTH_RADIUS: f64 = 6371.0;

/// A policy as it stands for one kind of client. In its simplest form, so that clients who are
/// treated alike have equal trees: this is what makes them one class.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Tree {
    /// This region.
    Region(RegionId),
    /// The first that has a fit region.
    First(Vec<Tree>),
    /// One by lot.
    Lot(Vec<(u32, Tree)>),
    /// All together.
    All(Vec<Tree>),
    /// One by lot, always the same.
    Sticky {
        /// The hash of what it is called, its weight, what it is.
        among: Vec<(u64, u32, Tree)>,
        /// How much of an address makes a client.
        prefix: StickyPrefix,
        /// What besides the client decides.
        salt: u64,
    },
}

impl Tree {
    /// The policy of a service for clients of whom this is known.
    pub fn of(service: &Service, facts: &Facts) -> Self {
        Self::grow(&service.policy, service.salt, facts)
    }

    fn grow(policy: &Policy, salt: u64, facts: &Facts) -> Self {
        let grow = |part: &Policy| Self::grow(part, salt, facts);
        match policy {
            Policy::Region(region) => Self::Region(*region),
            Policy::Failover(parts) => first(parts.iter().map(grow)),
            Policy::All(parts) => match parts.as_slice() {
                [only] => grow(only),
                parts => Self::All(parts.iter().map(grow).collect()),
            },
            Policy::Weighted(parts) => match parts.as_slice() {
                [(_, only)] => grow(only),
                parts => Self::Lot(parts.iter().map(|(weight, part)| (*weight, grow(part))).collect()),
            },
            Policy::Geo(geo) => {
                let rules = matching(geo, facts).into_iter().map(|rule| &geo.rules[rule].to);
                first(rules.chain([&*geo.default]).map(grow))
            }
            Policy::Nearest(regions) => first(by_distance(regions, facts.location).map(Self::Region)),
            Policy::Sticky(sticky) => match sticky.among.as_slice() {
                [(_, _, only)] => grow(only),
                among => Self::Sticky {
                    among: among
                        .iter()
                        .map(|(weight, name, part)| (stable_hash(name.as_bytes()), *weight, grow(part)))
                        .collect(),
                    prefix: sticky.prefix,
                    salt: sticky.salt.as_ref().map_or(salt, |salt| stable_hash(salt.as_bytes())),
                },
            },
        }
    }

    /// Visits all regions, some more than once.
    pub fn each(&self, visit: &mut impl FnMut(RegionId)) {
        match self {
            Self::Region(region) => visit(*region),
            Self::First(parts) | Self::All(parts) => parts.iter().for_each(|part| part.each(visit)),
            Self::Lot(parts) => parts.iter().for_each(|(_, part)| part.each(visit)),
            Self::Sticky { among, .. } => among.iter().for_each(|(_, _, part)| part.each(visit)),
        }
    }

    /// Its regions, each once, in order of preference.
    pub fn regions(&self) -> Vec<RegionId> {
        let mut regions = Vec::new();
        self.each(&mut |region| {
            if !regions.contains(&region) {
                regions.push(region);
            }
        });
        regions
    }
}

/// The first of these: one list of what comes first, what comes again left out.
fn first(parts: impl Iterator<Item = Tree>) -> Tree {
    let mut list: Vec<Tree> = Vec::new();
    let mut add = |part: Tree| {
        if !list.contains(&part) {
            list.push(part);
        }
    };
    for part in parts {
        match part {
            Tree::First(inner) => inner.into_iter().for_each(&mut add),
            part => add(part),
        }
    }
    match list.len() {
        1 => list.remove(0),
        _ => Tree::First(list),
    }
}

/// The rules that hold, by position: what says most about a client first, then as written.
pub(super) fn matching(geo: &GeoPolicy, facts: &Facts) -> Vec<usize> {
    let mut holding: Vec<(u8, usize)> = geo
        .rules
        .iter()
        .enumerate()
        .filter_map(|(position, rule)| Some((rank(&rule.who, facts)?, position)))
        .collect();
    holding.sort_unstable();
    holding.into_iter().map(|(_, position)| position).collect()
}

/// How early a rule that holds is tried; `None` if it does not.
fn rank(who: &Who, facts: &Facts) -> Option<u8> {
    match who {
        Who::Networks(labels) => labels.iter().any(|label| facts.has_label(label)).then_some(0),
        Who::Asns(numbers) => facts.asn.is_some_and(|asn| numbers.contains(&asn)).then_some(1),
        Who::Countries(countries) => {
            let here = countries.iter().filter(|country| facts.country == Some(country.code));
            let ranks = here.filter_map(|country| match &country.part {
                None => Some(3),
                Some(part) => facts.subdivision.is_some_and(|here| here.as_str() == part).then_some(2),
            });
            ranks.min()
        }
        Who::Continents(codes) => facts.continent.is_some_and(|here| codes.contains(&here)).then_some(4),
    }
}

/// Regions as far as they are from a client; as listed if nobody knows where it is.
fn by_distance(
    regions: &[(RegionId, Location)],
    client: Option<Location>,
) -> impl Iterator<Item = RegionId> + use<> {
    let mut order = regions.to_vec();
    if let Some(client) = client {
        sort_by_distance(&mut order, client);
        if let ([(_, nearest), ..], true) = (order.as_slice(), order.len() > NEAREST_RANKS) {
            let nearest = *nearest;
            sort_by_distance(&mut order[NEAREST_RANKS..], nearest);
        }
    }
    order.into_iter().map(|(region, _)| region)
}

fn sort_by_distance(regions: &mut [(RegionId, Location)], from: Location) {
    // Equally far: as numbered, so that every site agrees.
    regions.sort_by(|(a, here), (b, there)| {
        distance(from, *here).total_cmp(&distance(from, *there)).then(a.cmp(b))
    });
}

/// Kilometres along a great circle (the haversine formula).
pub(super) fn distance(from: Location, to: Location) -> f64 {
    let [a, b] = [from.latitude, to.latitude].map(f64::to_radians);
    let (dy, dx) = (b - a, (to.longitude - from.longitude).to_radians());
    let h = (dy / 2.0).sin().powi(2) + a.cos() * b.cos() * (dx / 2.0).sin().powi(2);
    2.0 * EARTH_RADIUS * h.clamp(0.0, 1.0).sqrt().asin()
}
