//! A region's change of health.
//!
//! ```text
//!            ┌──────────── known ────────────┐
//!            │ healthy ⇄ degraded            │   a flip leads from the last known health
//!  never ──► │    ⇅          ⇅               │   to the next known one; unknown lies over
//!  known     │ no_quorum ⇄ unreachable       │   it like a veil and changes nothing
//!            └───────────────────────────────┘
//! ```
//! A region that was never known flips nothing when it is first found, whatever it is found
//! to be. Role changes arm for it only once it was seen healthy.

use crate::base::{Health, Mono, Now, RegionId, Timestamp};

use super::{Assessment, Why};

/// A change of health.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flip {
    /// Whose.
    pub region: RegionId,
    /// What it was last known to be.
    pub from: Health,
    /// What it is known to be now.
    pub to: Health,
    /// When it was decided.
    pub at: Timestamp,
    /// Why.
    pub why: Why,
    /// Counts the flips of this region; kept in the store, so that whoever sees the same flip
    /// gives it the same number.
    pub generation: u64,
}

/// What is known of a region's health. This is what outlives the process.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Known {
    /// The last known health.
    pub health: Health,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub why: Why,
    /// The number of the flip that led here; 0 before the first.
    pub generation: u64,
    /// The number of the flip that led from serving to not serving, if it does not serve now.
    /// One episode starts a workflow once, however its health wanders while it is bad.
    pub episode: Option<u64>,
    /// It has been seen healthy: automatic role changes may act on it.
    pub armed: bool,
}

/// The health of a region, as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RegionState {
    known: Option<Known>,
    /// Why it cannot be measured at present, and since when.
    veil: Option<(Why, Now)>,
    /// It has been measured since this process started, one way or another.
    measured: bool,
    /// When the present health was first seen by this process.
    seen_since: Option<Mono>,
}

impl RegionState {
    /// Goes on from what an earlier process knew.
    pub fn restored(known: Known) -> Self {
        Self { known: Some(known), ..Self::default() }
    }

    /// Takes in an assessment; tells the flip, if it is one.
    pub fn take(&mut self, region: RegionId, assessment: Assessment, now: Now) -> Option<Flip> {
        let Assessment { health, why } = assessment;
        if health == Health::Unknown {
            match &mut self.veil {
                Some((known_why, _)) => *known_why = why,
                None => self.veil = Some((why, now)),
            }
            return None;
        }
        self.veil = None;
        self.measured = true;
        let Some(known) = &mut self.known else {
            self.seen_since = Some(now.mono);
            self.known = Some(Known {
                health,
                since: now.wall,
                why,
                generation: 0,
                episode: None,
                armed: health == Health::Healthy,
            });
            return None;
        };
        known.armed |= health == Health::Healthy;
        let from = known.health;
        if from == health {
            self.seen_since.get_or_insert(now.mono);
            known.why = why;
            return None;
        }
        self.seen_since = Some(now.mono);
        let generation = known.generation + 1;
        let episode = match (from.serves(), health.serves()) {
            (_, true) => None,
            (true, false) => Some(generation),
            (false, false) => known.episode,
        };
        *known = Known { health, since: now.wall, why: why.clone(), generation, episode, armed: known.armed };
        Some(Flip { region, from, to: health, at: now.wall, why, generation })
    }

    /// What it is: the last known health, or `Unknown` while it cannot be measured.
    pub fn health(&self) -> Health {
        match (&self.veil, &self.known) {
            (None, Some(known)) => known.health,
            _ => Health::Unknown,
        }
    }

    /// The last known health and its history.
    pub fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// The last known health, if there is one.
    pub fn known_health(&self) -> Option<Health> {
        self.known.as_ref().map(|known| known.health)
    }

    /// Why it is what it is at present.
    pub fn why(&self) -> Why {
        match (&self.veil, &self.known) {
            (Some((why, _)), _) => why.clone(),
            (None, Some(known)) => known.why.clone(),
            (None, None) => Why { words: "not measured yet".to_owned(), ..Why::default() },
        }
    }

    /// Since when it cannot be measured.
    pub fn unknown_since(&self) -> Option<Now> {
        self.veil.as_ref().map(|(_, since)| *since)
    }

    /// Whether this process has measured it itself, rather than taken an earlier one's word.
    pub fn measured(&self) -> bool {
        self.measured
    }

    /// For how long this process has seen it to be what it is. Never longer than that: what an
    /// earlier process saw does not count towards a hold-down.
    pub fn seen_for(&self, now: Mono) -> std::time::Duration {
        self.seen_since.map_or(std::time::Duration::ZERO, |since| now.since(since))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run(healths: &[Health]) -> (Vec<String>, RegionState) {
        let mut now = Now { mono: Mono::default(), wall: Timestamp::UNIX_EPOCH };
        let mut state = RegionState::default();
        let mut flips = Vec::new();
        for health in healths {
            now = now.after(Duration::from_secs(1));
            let assessment = Assessment { health: *health, why: Why::default() };
            if let Some(flip) = state.take(RegionId(0), assessment, now) {
                flips.push(format!("{}:{}>{}", flip.generation, flip.from, flip.to));
            }
        }
        (flips, state)
    }

    use Health::{Degraded, Healthy, NoQuorum, Unknown, Unreachable};

    #[test]
    fn unknown_is_a_veil() {
        let (flips, state) = run(&[Healthy, Unknown, NoQuorum, Unknown, NoQuorum, Unknown]);
        assert_eq!(flips, ["1:healthy>no_quorum"]);
        assert_eq!((state.health(), state.known_health()), (Unknown, Some(NoQuorum)));
        assert_eq!(run(&[Healthy, Unknown, Unknown, Healthy]).0, [""; 0]);
    }

    #[test]
    fn what_is_found_bad_at_first_flips_nothing_and_arms_nothing() {
        let (flips, state) = run(&[NoQuorum, Unreachable]);
        assert_eq!(flips, ["1:no_quorum>unreachable"]);
        let known = state.known().unwrap();
        assert_eq!((known.armed, known.episode), (false, None));
        assert!(run(&[Unknown, NoQuorum]).0.is_empty());
        assert!(run(&[Degraded, NoQuorum]).1.known().is_some_and(|known| !known.armed));
    }

    #[test]
    fn one_episode_from_serving_to_serving() {
        let episode = |healths: &[Health]| run(healths).1.known().unwrap().episode;
        assert_eq!(episode(&[Healthy, NoQuorum]), Some(1));
        assert_eq!(episode(&[Healthy, NoQuorum, Unreachable, NoQuorum]), Some(1));
        assert_eq!(episode(&[Healthy, NoQuorum, Degraded]), None);
        assert_eq!(episode(&[Healthy, NoQuorum, Degraded, NoQuorum]), Some(3));
        assert_eq!(episode(&[Healthy, Degraded]), None);
    }
}
