//! Checks of what others tell by themselves: nobody is asked.

use std::time::Duration;

use crate::base::SecretRef;

/// Takes what a target reports of itself.
#[derive(Clone, Debug)]
pub struct PushCheck {
    /// What reports name it by; no two have the same.
    pub name: String,
    /// What a report must show.
    pub token: SecretRef,
    /// For how long a report stands.
    pub ttl: Duration,
    /// What it means that no report stands.
    pub silence: Silence,
}

impl PushCheck {
    /// A report stands for so long at least: a shorter time would be lost to one retry on the way.
    pub const TTL_MIN: Duration = Duration::from_secs(1);
    /// A report stands for so long at most: one that is older says nothing of today.
    pub const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
}

/// What it means that a target no longer reports itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Silence {
    /// It was not measured. Whoever reports may have died and not what it reports on, its token
    /// may have changed, its way here may be closed: we cannot ask back.
    #[default]
    Unknown,
    /// It does not work, unless the silence may be our own.
    Fail,
}
