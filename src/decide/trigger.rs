//! When a workflow starts by itself.
//!
//! ```text
//!   idle ──the region turns──► holding ──hold over──► due ──engine takes it──► ran
//!    ▲                           │  ▲                  │                        │
//!    │◄──── it turns back ───────┘  └── blocked ◄──────┘ refused: why           │
//!    └───────────────────────── it turns back ──────────────────────────────────┘
//! ```
//! Level-triggered: what counts is what is so, not what was seen happening. A restart in the
//! middle of an outage finds the region as it is and holds again, in full; whether this
//! occasion already ran is written in the journal.

use std::time::Duration;

use crate::base::{Mono, RegionId};
use crate::config::{Config, Trigger};
use crate::region::{Known, RegionState, Seat};

/// A trigger as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum TriggerState {
    /// The region is not what it waits for.
    #[default]
    Idle,
    /// It is, for less than the hold-down.
    Holding {
        /// Which turn of the region this is.
        occasion: u64,
        /// Since when, as this process saw it.
        since: Mono,
    },
    /// It would start, and must not.
    Blocked {
        /// Which turn of the region this is.
        occasion: u64,
        /// Since when, as this process saw it.
        since: Mono,
        /// What stands against it.
        why: String,
    },
    /// It has started for this turn.
    Ran {
        /// Which turn of the region this is.
        occasion: u64,
    },
}

impl TriggerState {
    /// In one word, for labels.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Holding { .. } => "holding",
            Self::Blocked { .. } => "blocked",
            Self::Ran { .. } => "ran",
        }
    }

    /// Moves on with what the region is now; tells the occasion if the workflow is due.
    /// `wavers`: the newest results speak against what is concluded.
    pub fn step(&mut self, trigger: &Trigger, region: &RegionState, wavers: bool, now: Mono) -> Option<u64> {
        let Some(occasion) = region.known().and_then(|known| occasion(trigger, known)) else {
            *self = Self::Idle;
            return None;
        };
        let since = match self {
            Self::Ran { occasion: ran } if *ran == occasion => return None,
            Self::Holding { occasion: held, since } | Self::Blocked { occasion: held, since, .. }
                if *held == occasion =>
            {
                *since
            }
            _ => {
                *self = Self::Holding { occasion, since: now };
                now
            }
        };
        // A veiled region may be anything by now, and one that has begun to answer may be back
        // before the role has moved: it keeps its turn, and starts nothing.
        let sure = region.unknown_since().is_none() && region.measured() && !wavers;
        (sure && now.since(since) >= trigger.hold).then_some(occasion)
    }

    /// It must not start.
    pub fn block(&mut self, why: String) {
        if let Self::Holding { occasion, since } | Self::Blocked { occasion, since, .. } = *self {
            *self = Self::Blocked { occasion, since, why };
        }
    }

    /// It has started.
    pub fn ran(&mut self, occasion: u64) {
        *self = Self::Ran { occasion };
    }

    /// When the hold-down is over, counted from now.
    pub fn due_in(&self, trigger: &Trigger, now: Mono) -> Option<Duration> {
        match self {
            Self::Holding { since, .. } => Some(trigger.hold.saturating_sub(now.since(*since))),
            _ => None,
        }
    }
}

/// Which turn of the region the trigger is looking at, if the region is what it waits for.
///
/// A region that never flipped has turned nothing: what is found bad at first starts nothing.
fn occasion(trigger: &Trigger, known: &Known) -> Option<u64> {
    if !trigger.turns.contains(&known.health) || known.generation == 0 {
        return None;
    }
    match trigger.turns.iter().all(|health| health.is_bad()) {
        true => known.episode,
        false => Some(known.generation),
    }
}

/// What of the region itself stands against starting a workflow on it.
pub fn objection(config: &Config, trigger: &Trigger, region: &RegionState) -> Option<String> {
    let known = region.known()?;
    let flipped = config.regions.name(trigger.region);
    if !known.armed {
        return Some(format!("{flipped} was never seen healthy: role changes are not armed for it"));
    }
    if known.why.cluster_loss {
        return Some(format!(
            "the loss is that of a whole cluster ({}), not of {flipped}: moving roles would not mend it",
            known.why
        ));
    }
    None
}

/// What stands against moving to a region: it must be known to serve, right now. A degraded
/// one will do if no healthy one is left.
pub fn target_objection(config: &Config, target: RegionId, seat: &Seat) -> Option<String> {
    if seat.fully_fit() || (seat.fit() && !seat.veiled && seat.known.is_some()) {
        return None;
    }
    let name = config.regions.name(target);
    let health = seat.known.map_or("not measured yet", |health| health.word());
    let why = match (seat.quarantined, seat.drained, seat.veiled) {
        (true, ..) => "quarantined".to_owned(),
        (_, true, _) => "drained".to_owned(),
        (.., true) => format!("unknown, last known {health}"),
        _ => health.to_owned(),
    };
    Some(format!("{name} is not fit to take over: {why}"))
}
