//! What was refused, kept for whoever looks for the reason of a silence.

use super::show;
use crate::base::Mono;

/// Refusals since the last time that something was taken in.
#[derive(Clone, Default, Debug)]
pub(super) struct Refusals(Option<Refused>);

#[derive(Clone, Debug)]
struct Refused {
    times: u64,
    at: Mono,
    words: String,
}

impl Refusals {
    /// One more.
    pub(super) fn note(&mut self, words: &str, now: Mono) {
        let times = self.0.as_ref().map_or(0, |refused| refused.times).saturating_add(1);
        self.0 = Some(Refused { times, at: now, words: words.to_owned() });
    }

    /// There were none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Something was taken in: they are over.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// "; 3 refused since, the last 2s ago: …", or nothing.
    pub(super) fn words(&self, now: Mono) -> String {
        match &self.0 {
            Some(Refused { times, at, words }) => {
                format!("; {times} refused since, the last {} ago: {words}", show(now.since(*at)))
            }
            None => String::new(),
        }
    }
}
