//! One target that reports itself, and what it last said.

use std::time::Duration;

use super::refused::Refusals;
use super::{Refusal, Said, show};
use crate::base::{CheckId, Mono, RegionId, show_span};
use crate::config::{PushCheck, Silence};
use crate::health::Finding;

/// Between two reports of one target there is this much time at least.
pub(super) const GAP_MIN: Duration = Duration::from_millis(100);

/// A reporter of the present configuration.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    pub(super) check: CheckId,
    /// What the check is called in `status`.
    pub(super) shown: String,
    pub(super) region: RegionId,
    pub(super) rule: PushCheck,
    pub(super) known: Memory,
}

/// What is known of it, whatever the configuration.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// Since when somebody listens.
    since: Mono,
    newest: Option<Newest>,
    /// The greatest sequence that was taken in.
    sequence: Option<u64>,
    pub(super) refused: Refusals,
}

impl Memory {
    pub(super) fn new(now: Mono) -> Self {
        Self { since: now, newest: None, sequence: None, refused: Refusals::default() }
    }

    /// When the newest report arrived.
    pub(super) fn newest_at(&self) -> Option<Mono> {
        self.newest.as_ref().map(|newest| newest.at)
    }
}

/// The newest report.
#[derive(Clone, Debug)]
struct Newest {
    at: Mono,
    words: String,
}

/// How a reporter stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stand {
    /// A report stands, or may still come after the start.
    Stands,
    /// None stands.
    Silent {
        words: String,
        /// It counts as a failure.
        fails: bool,
    },
}

impl Reporter {
    /// How old the newest report is.
    pub(super) fn age(&self, now: Mono) -> Option<Duration> {
        self.known.newest.as_ref().map(|newest| now.since(newest.at))
    }

    /// Whether a report may be taken in.
    pub(super) fn may_report(&self, said: &Said, now: Mono) -> Result<(), Refusal> {
        // Once sequences are given, a report without one may be an old one.
        if let Some(newest) = self.known.sequence
            && said.sequence.is_none_or(|sequence| sequence <= newest)
        {
            return Err(Refusal::Replayed { newest });
        }
        match self.age(now) {
            Some(age) if age < GAP_MIN => Err(Refusal::TooSoon),
            _ => Ok(()),
        }
    }

    /// Takes a report in.
    pub(super) fn take(&mut self, said: &Said, now: Mono) -> Finding {
        let finding = said.finding();
        self.known.newest = Some(Newest { at: now, words: finding.words().to_owned() });
        self.known.sequence = said.sequence.or(self.known.sequence);
        self.known.refused.forget();
        finding
    }

    pub(super) fn stand(&self, now: Mono) -> Stand {
        let silent = now.since(self.known.newest.as_ref().map_or(self.known.since, |newest| newest.at));
        // At the start a report may still come; not the first one, if what came was refused.
        let is_refused = self.known.newest.is_none() && !self.known.refused.is_empty();
        let is_over = silent > self.rule.ttl;
        if !is_over && !is_refused {
            return Stand::Stands;
        }
        let (silent, ttl) = (show(silent), show_span(self.rule.ttl));
        let mut words = match &self.known.newest {
            Some(newest) => {
                format!("no report for {silent} (one stands for {ttl}); the last one {}", newest.words)
            }
            None => format!("no report yet, {silent} after the start (one stands for {ttl})"),
        };
        words.push_str(&self.known.refused.words(now));
        Stand::Silent { words, fails: is_over && self.rule.silence == Silence::Fail }
    }
}
