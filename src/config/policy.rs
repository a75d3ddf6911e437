//! Policies: which region answers whom. A policy is a region, or is made of policies; it cannot
//! contain itself, so there are no loops.

use std::fmt;

use super::model::Location;
use crate::base::RegionId;

/// Which region answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// This one.
    Region(RegionId),
    /// The first that has a fit region.
    Failover(Vec<Policy>),
    /// One of those that have a fit region, by lot, each as often as its weight says.
    Weighted(Vec<(u32, Policy)>),
    /// All fit ones together.
    All(Vec<Policy>),
    /// By where clients are.
    Geo(GeoPolicy),
    /// The nearest fit one.
    Nearest(Vec<(RegionId, Location)>),
    /// By lot, and each client always the same, as long as what it drew is fit.
    Sticky(Sticky),
}

/// A policy for each kind of client.
#[derive(Clone, Debug, PartialEq)]
pub struct GeoPolicy {
    /// Rules in the order of the file. Those that hold for a client are tried by what they go by
    /// ([`Who`], in its order), and then in this order; the next one if none of a rule's regions
    /// is fit.
    pub rules: Vec<GeoRule>,
    /// For clients that no rule holds for, and the last that is tried for all others.
    pub default: Box<Policy>,
}

/// One rule of `geo`.
#[derive(Clone, Debug, PartialEq)]
pub struct GeoRule {
    /// For whom.
    pub who: Who,
    /// Who answers them.
    pub to: Policy,
}

/// What a rule goes by. What says most about a client comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Labels of networks.
    Networks(Vec<String>),
    /// Autonomous systems.
    Asns(Vec<u32>),
    /// Countries, or parts of them.
    Countries(Vec<Country>),
    /// Continents, as MaxMind writes them.
    Continents(Vec<[u8; 2]>),
}

/// A country by ISO 3166-1, or a part of one by ISO 3166-2: `US`, `US-CA`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Country {
    /// Two letters.
    pub code: [u8; 2],
    /// One to three letters or digits.
    pub part: Option<String>,
}

/// Each client always the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Sticky {
    /// What is drawn from, with weights. The name is what a share of clients is bound to: a
    /// region's own, or a policy's text.
    pub among: Vec<(u32, String, Policy)>,
    /// Clients of one network are one client.
    pub prefix: StickyPrefix,
    /// What decides which clients are bound to what, besides their networks: services with the
    /// same text and the same regions bind alike. The service's name by default.
    pub salt: Option<String>,
}

/// How many leading bits of an address make a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StickyPrefix {
    /// Of IPv4 addresses, up to 32.
    pub ipv4: u8,
    /// Of IPv6 addresses, up to 128.
    pub ipv6: u8,
}

impl Default for StickyPrefix {
    /// What resolvers tell at most (RFC 7871 §11.1).
    fn default() -> Self {
        Self { ipv4: 24, ipv6: 56 }
    }
}

impl Policy {
    /// The regions it may choose, each once: in order of preference, as far as there is one.
    pub fn regions(&self) -> Vec<RegionId> {
        let mut regions = Vec::new();
        self.each(&mut |region| {
            if !regions.contains(&region) {
                regions.push(region);
            }
        });
        regions
    }

    fn each(&self, visit: &mut impl FnMut(RegionId)) {
        match self {
            Self::Region(region) => visit(*region),
            Self::Nearest(regions) => regions.iter().for_each(|(region, _)| visit(*region)),
            _ => self.parts().for_each(|part| part.each(visit)),
        }
    }

    /// The policies that it is made of.
    pub fn parts(&self) -> Box<dyn Iterator<Item = &Policy> + '_> {
        match self {
            Self::Region(_) | Self::Nearest(_) => Box::new(std::iter::empty()),
            Self::Failover(parts) | Self::All(parts) => Box::new(parts.iter()),
            Self::Weighted(parts) => Box::new(parts.iter().map(|(_, part)| part)),
            Self::Sticky(sticky) => Box::new(sticky.among.iter().map(|(_, _, part)| part)),
            Self::Geo(geo) => Box::new(geo.rules.iter().map(|rule| &rule.to).chain([&*geo.default])),
        }
    }

    /// Whether a client's place makes a difference.
    pub fn asks_where(&self) -> bool {
        matches!(self, Self::Geo(_) | Self::Nearest(_)) || self.parts().any(Self::asks_where)
    }

    /// Regions in order of preference, if the policy is nothing but such an order.
    pub fn order(&self) -> Option<Vec<RegionId>> {
        let Self::Failover(parts) = self else { return None };
        let region = |part: &Policy| match part {
            Self::Region(region) => Some(*region),
            _ => None,
        };
        parts.iter().map(region).collect()
    }

    /// The key that names it in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Region(_) => "region",
            Self::Failover(_) => "failover",
            Self::Weighted(_) => "weighted",
            Self::All(_) => "all",
            Self::Geo(_) => "geo",
            Self::Nearest(_) => "nearest",
            Self::Sticky(_) => "sticky",
        }
    }

    /// As the configuration writes it, on one line. `name` names regions.
    pub fn text<'n>(&self, name: &impl Fn(RegionId) -> &'n str) -> String {
        let list = |parts: Vec<String>| parts.join(", ");
        match self {
            Self::Region(region) => name(*region).to_owned(),
            Self::Failover(parts) | Self::All(parts) => {
                let parts = parts.iter().map(|part| part.text(name)).collect();
                format!("{}: [{}]", self.word(), list(parts))
            }
            Self::Weighted(parts) => {
                let parts = parts.iter().map(|(weight, part)| format!("{weight}: {}", part.text(name)));
                format!("weighted: {{{}}}", list(parts.collect()))
            }
            Self::Nearest(regions) => {
                let parts = regions.iter().map(|(region, _)| name(*region).to_owned()).collect();
                format!("nearest: [{}]", list(parts))
            }
            Self::Sticky(sticky) => {
                let parts = sticky.among.iter();
                let parts = parts.map(|(weight, _, part)| format!("{weight}: {}", part.text(name)));
                format!("sticky: {{{}}}", list(parts.collect()))
            }
            Self::Geo(geo) => {
                let rules = geo.rules.iter().map(|rule| format!("{} → {}", rule.who, rule.to.text(name)));
                let rest = [format!("default → {}", geo.default.text(name))];
                format!("geo: {{{}}}", list(rules.chain(rest).collect()))
            }
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code.escape_ascii())?;
        self.part.iter().try_for_each(|part| write!(f, "-{part}"))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, values): (_, Vec<String>) = match self {
            Self::Networks(labels) => ("networks", labels.clone()),
            Self::Asns(numbers) => ("asns", numbers.iter().map(u32::to_string).collect()),
            Self::Countries(countries) => ("countries", countries.iter().map(Country::to_string).collect()),
            Self::Continents(codes) => {
                ("continents", codes.iter().map(|code| code.escape_ascii().to_string()).collect())
            }
        };
        write!(f, "{word} {}", values.join(" "))
    }
}
