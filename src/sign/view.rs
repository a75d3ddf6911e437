//! A zone's keys as others see them: `pointsman keys`, `pointsman status`, the API.

use serde::{Deserialize, Serialize};

use super::{KeyPolicy, KeyRecord, KeyRing, KeyState, ParentView, Unsign, Wait};
use crate::base::Timestamp;
use crate::wire::Name;

/// A signed zone's keys, at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ZoneView {
    /// The zone.
    pub zone: Name,
    /// What stands in the files is answered with.
    pub in_force: bool,
    /// What the parent says of them.
    pub parent: ParentView,
    /// The zone is on its way back to unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsign: Option<Unsign>,
    /// From when on it may be served unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsigned_from: Option<Timestamp>,
    /// When something happens next by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// What keeps the keys from being looked after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The keys, in the order in which they were made.
    pub keys: Vec<KeyView>,
}

/// A key, at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KeyView {
    /// What is remembered of it.
    #[serde(flatten)]
    pub record: KeyRecord,
    /// Where it is in its life.
    pub state: KeyState,
    /// Since when.
    pub since: Timestamp,
    /// It signs the zone's data.
    pub signs_zone: bool,
    /// The parent should point at it.
    pub for_parent: bool,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Wait>,
}

impl ZoneView {
    /// A ring as it stands.
    pub fn of(zone: &Name, ring: &KeyRing, policy: &KeyPolicy, now: Timestamp) -> Self {
        let keys: Vec<_> = ring
            .keys
            .iter()
            .map(|record| {
                let (state, since) = record.state();
                KeyView {
                    record: record.clone(),
                    state,
                    since,
                    signs_zone: state.is_published() && ring.signs_zone(record.tag),
                    for_parent: ring.entries().any(|entry| entry.tag == record.tag),
                    waits: ring.wait_of(record.tag, policy, now),
                }
            })
            .collect();
        Self {
            zone: zone.clone(),
            in_force: ring.in_force,
            parent: ParentView::Unknown,
            unsign: ring.unsign,
            unsigned_from: ring.free_at(policy, now),
            next: keys.iter().filter_map(|key| key.waits?.until).min(),
            trouble: None,
            keys,
        }
    }
}
