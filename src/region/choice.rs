//! What a service answers right now.

use super::choose::Rule;
use crate::base::RegionId;
use crate::config::StickyPrefix;

/// What a service answers right now, decided from health, duty and dials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// What different clients are answered, each once; there is at least one.
    pub outcomes: Vec<Outcome>,
    /// The outcome of each class of clients, by its position; empty if there is only one.
    pub classes: Vec<u16>,
    /// For how long a cache may keep the answer, in seconds.
    pub ttl: u32,
}

/// What some clients are answered, and why.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Outcome {
    /// Which region's records.
    pub pick: Pick,
    /// What decided.
    pub rule: Rule,
}

/// Which region's records. One pick serves all types: a type that the picked region does not
/// have is NODATA, never another region's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Pick {
    /// One region, by lot. The shares are above zero and there is at least one.
    One(Vec<(RegionId, u32)>),
    /// All of these together; there is at least one.
    All(Vec<RegionId>),
    /// One of these, by lot, where not all are single regions.
    Lot(Vec<(Pick, u32)>),
    /// One of these, by lot, and for each client always the same; there are at least two.
    Sticky(Sticky),
    /// No records, because the all-down policy says so.
    Nodata,
    /// SERVFAIL, because the all-down policy says so.
    Servfail,
}

/// What each client draws from, always with the same result.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sticky {
    /// What clients are bound to: what names it, its weight, what it comes to. Weights are above
    /// zero.
    pub among: Vec<(u64, u32, Pick)>,
    /// How much of an address makes a client.
    pub prefix: StickyPrefix,
    /// What besides the client decides.
    pub salt: u64,
}

impl Choice {
    /// One outcome for everybody, by the policy.
    pub fn of(pick: Pick, ttl: u32) -> Self {
        Self { outcomes: vec![Outcome { pick, rule: Rule::POLICY }], classes: Vec::new(), ttl }
    }

    /// Whether everybody is answered the same by both, be it for another reason.
    pub fn answers_like(&self, other: &Self) -> bool {
        self.ttl == other.ttl
            && self.classes == other.classes
            && self.outcomes.len() == other.outcomes.len()
            && self.outcomes.iter().zip(&other.outcomes).all(|(mine, theirs)| mine.pick == theirs.pick)
    }

    /// What a class of clients is answered.
    pub fn outcome(&self, class: u16) -> Option<&Outcome> {
        let position = self.classes.get(usize::from(class)).copied().unwrap_or_default();
        self.outcomes.get(usize::from(position))
    }

    /// Whether this region's records may be answered to anybody.
    pub fn has(&self, region: RegionId) -> bool {
        self.outcomes.iter().any(|outcome| outcome.pick.has(region))
    }

    /// The regions whose records may be answered to anybody, each once.
    pub fn regions(&self) -> Vec<RegionId> {
        let mut regions = Vec::new();
        self.each_region(&mut |region| {
            if !regions.contains(&region) {
                regions.push(region);
            }
        });
        regions
    }

    /// Shows those regions, some perhaps more than once.
    pub fn each_region(&self, show: &mut dyn FnMut(RegionId)) {
        self.outcomes.iter().for_each(|outcome| outcome.pick.each_region(show));
    }
}

impl Pick {
    /// This region for certain.
    pub fn certain(region: RegionId) -> Self {
        Self::One(vec![(region, 1)])
    }

    /// One of these by lot, in the simplest form. Shares are above zero; `None` if there is
    /// nothing to draw from.
    pub fn lot(mut parts: Vec<(Pick, u32)>) -> Option<Self> {
        if parts.len() == 1 {
            return parts.pop().map(|(pick, _)| pick);
        }
        let mut shares: Vec<(RegionId, u32)> = Vec::with_capacity(parts.len());
        for (pick, share) in &parts {
            let Some(region) = pick.only() else { return Some(Self::Lot(parts)) };
            match shares.iter_mut().find(|(there, _)| *there == region) {
                Some((_, sum)) => *sum = sum.saturating_add(*share),
                None => shares.push((region, *share)),
            }
        }
        (!shares.is_empty()).then_some(Self::One(shares))
    }

    /// Always the same of these for each client, in the simplest form.
    pub fn sticky(mut sticky: Sticky) -> Option<Self> {
        let first = sticky.among.first().map(|(_, _, pick)| pick)?;
        match sticky.among.iter().all(|(_, _, pick)| pick == first) {
            true => sticky.among.pop().map(|(_, _, pick)| pick),
            false => Some(Self::Sticky(sticky)),
        }
    }

    /// The region, if there is only one.
    pub fn only(&self) -> Option<RegionId> {
        match self {
            Self::One(shares) if shares.len() == 1 => Some(shares[0].0),
            Self::All(regions) if regions.len() == 1 => Some(regions[0]),
            _ => None,
        }
    }

    /// How much of an address makes a client that always draws the same, at the most.
    pub fn sticky_prefix(&self) -> Option<StickyPrefix> {
        let longer = |a: StickyPrefix, b: StickyPrefix| StickyPrefix {
            ipv4: a.ipv4.max(b.ipv4),
            ipv6: a.ipv6.max(b.ipv6),
        };
        match self {
            Self::Lot(parts) => parts.iter().filter_map(|(pick, _)| pick.sticky_prefix()).reduce(longer),
            Self::Sticky(sticky) => {
                let inner = sticky.among.iter().filter_map(|(_, _, pick)| pick.sticky_prefix());
                Some(inner.fold(sticky.prefix, longer))
            }
            _ => None,
        }
    }

    /// Whether this region's records may be answered.
    pub fn has(&self, region: RegionId) -> bool {
        match self {
            Self::One(shares) => shares.iter().any(|(id, _)| *id == region),
            Self::All(regions) => regions.contains(&region),
            Self::Lot(parts) => parts.iter().any(|(pick, _)| pick.has(region)),
            Self::Sticky(sticky) => sticky.among.iter().any(|(_, _, pick)| pick.has(region)),
            Self::Nodata | Self::Servfail => false,
        }
    }

    /// The regions whose records may be answered, each once.
    pub fn regions(&self) -> Vec<RegionId> {
        let mut regions = Vec::new();
        self.each_region(&mut |region| {
            if !regions.contains(&region) {
                regions.push(region);
            }
        });
        regions
    }

    /// Shows the regions whose records it gives, some perhaps more than once. Allocates nothing:
    /// every service is asked on every flip.
    pub fn each_region(&self, show: &mut dyn FnMut(RegionId)) {
        match self {
            Self::One(parts) => parts.iter().for_each(|(region, _)| show(*region)),
            Self::All(regions) => regions.iter().for_each(|region| show(*region)),
            Self::Lot(parts) => parts.iter().for_each(|(pick, _)| pick.each_region(show)),
            Self::Sticky(sticky) => sticky.among.iter().for_each(|(_, _, pick)| pick.each_region(show)),
            Self::Nodata | Self::Servfail => {}
        }
    }

    /// How large a part of the clients each region gets, each once, in the order of the pick. Of
    /// regions that are answered together each gets all.
    pub fn shares(&self) -> Vec<(RegionId, f64)> {
        let mut shares: Vec<(RegionId, f64)> = Vec::new();
        self.add_shares(1.0, &mut shares);
        shares
    }

    fn add_shares(&self, of: f64, shares: &mut Vec<(RegionId, f64)>) {
        let mut add = |region: RegionId, share: f64| match shares.iter_mut().find(|(id, _)| *id == region) {
            Some((_, sum)) => *sum += share,
            None => shares.push((region, share)),
        };
        match self {
            Self::One(parts) => {
                let total: f64 = parts.iter().map(|(_, share)| f64::from(*share)).sum();
                parts.iter().for_each(|(region, share)| add(*region, of * f64::from(*share) / total));
            }
            Self::All(regions) => regions.iter().for_each(|region| add(*region, of)),
            Self::Lot(parts) => {
                let total: f64 = parts.iter().map(|(_, share)| f64::from(*share)).sum();
                parts
                    .iter()
                    .for_each(|(pick, share)| pick.add_shares(of * f64::from(*share) / total, shares));
            }
            Self::Sticky(sticky) => {
                let total: f64 = sticky.among.iter().map(|(_, weight, _)| f64::from(*weight)).sum();
                for (_, weight, pick) in &sticky.among {
                    pick.add_shares(of * f64::from(*weight) / total, shares);
                }
            }
            Self::Nodata | Self::Servfail => {}
        }
    }
}
