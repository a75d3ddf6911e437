//! What a service answers right now.

use crate::base::RegionId;

/// What a service answers right now, decided from health, duty and dials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Which region's addresses.
    pub pick: Pick,
    /// For how long a cache may keep them, in seconds.
    pub ttl: u32,
}

/// Which region's addresses. One pick serves both address families: a family that the picked
/// region does not have is NODATA, never another region's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pick {
    /// One region, by lot. The shares are above zero and there is at least one.
    One(Vec<(RegionId, u32)>),
    /// All of these together; there is at least one.
    All(Vec<RegionId>),
    /// No address, because the all-down policy says so.
    Nodata,
    /// SERVFAIL, because the all-down policy says so.
    Servfail,
}

impl Pick {
    /// Whether this region's addresses may be answered.
    pub fn has(&self, region: RegionId) -> bool {
        match self {
            Self::One(shares) => shares.iter().any(|(id, _)| *id == region),
            Self::All(regions) => regions.contains(&region),
            Self::Nodata | Self::Servfail => false,
        }
    }

    /// The regions whose addresses may be answered.
    pub fn regions(&self) -> Vec<RegionId> {
        match self {
            Self::One(shares) => shares.iter().map(|(region, _)| *region).collect(),
            Self::All(regions) => regions.clone(),
            Self::Nodata | Self::Servfail => Vec::new(),
        }
    }
}
