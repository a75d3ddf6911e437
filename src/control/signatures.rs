//! Signatures of zones: made away from the loop, on all processors, and made anew before they end.
//!
//! ```text
//! start, reload:  sign ─► table                 (nothing is served before)
//! running:        due ─► sign aside ─► table    (flips go on with the signatures there are)
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{error, info};

use super::telemetry;
use crate::base::{Timestamp, show_span};
use crate::decide::Setup;
use crate::io::Clock;
use crate::sign::ZoneKeys;
use crate::table::{Image, Signed, Signing};

/// Signing shares the processors with answering, and gives way: this much on the scale of nice(1).
const NICE: i32 = 10;
/// If signing broke it is tried again after this.
const RETRY: Duration = Duration::from_secs(60);
/// A clock that goes back by no more than this is being disciplined, not set. Signatures begin to
/// hold well before they are made: so little does no harm.
const CLOCK_STEP: Duration = Duration::from_secs(5);

/// Signs all that stands still in the zones that have keys. Takes about 20 µs for each signature
/// and processor: not to be called on the loop.
pub fn sign(setup: &Setup, keys: &[Arc<ZoneKeys>]) -> Option<Arc<Signed>> {
    let began = Clock.mono();
    let signing = Signing::new(&setup.image, &setup.config.services, keys, Clock.now().wall)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let parts = std::thread::scope(|scope| {
        let work = |nth| {
            let signing = &signing;
            scope.spawn(move || {
                // On Linux a thread has a niceness of its own; without it signing is merely rude.
                let _ = rustix::process::nice(NICE);
                signing.part(nth, threads)
            })
        };
        let threads: Vec<_> = (0..threads).map(work).collect();
        let parts = threads.into_iter().map(|thread| thread.join());
        parts.collect::<Result<Vec<_>, _>>().unwrap_or_else(|broken| std::panic::resume_unwind(broken))
    });
    let signed = Arc::new(signing.finish(parts));
    let (count, took) = (signed.len(), Clock.mono().since(began));
    telemetry::signed(count, took, signed.renew_at());
    info!(
        event = "dnssec.signed", signatures = count, octets = signed.octets(), renewed = %signed.renew_at(),
        "{count} signatures made in {}", show_span(Duration::from_millis(took.as_millis() as u64))
    );
    Some(signed)
}

/// Whether signatures that are due at some time, and were made at another, are to be made now.
fn is_due(due: Option<Timestamp>, made: Option<Timestamp>, now: Timestamp) -> bool {
    let ahead = |made: Timestamp| now.saturating_add(CLOCK_STEP).is_ok_and(|bound| made > bound);
    due.is_some_and(|due| due <= now) || made.is_some_and(ahead)
}

/// For which image, and what.
type Made = (Arc<Image>, Option<Arc<Signed>>);

/// When signatures are made anew, and the work while it is under way.
pub(super) struct Signatures {
    keys: Vec<Arc<ZoneKeys>>,
    due: Option<Timestamp>,
    /// When those there are were made, by the clock of that moment.
    made: Option<Timestamp>,
    work: Option<JoinHandle<Made>>,
    /// Keys changed while signatures were made with those before.
    outdated: bool,
}

impl Signatures {
    /// Takes over signatures that are in the table, and the keys that made them.
    pub(super) fn of(signed: Option<&Arc<Signed>>) -> Self {
        let keys = signed.into_iter().flat_map(|signed| signed.keys()).cloned().collect();
        let due = signed.map(|signed| signed.renew_at());
        let made = signed.map(|signed| signed.made_at());
        Self { keys, due, made, work: None, outdated: false }
    }

    /// Begins to make signatures if it is time to: they come to their end, or are from the future.
    /// A clock that was ahead and was set right leaves signatures that do not hold yet.
    pub(super) fn renew(&mut self, setup: &Arc<Setup>, now: Timestamp) {
        if self.work.is_none() && is_due(self.due, self.made, now) {
            self.begin(Arc::clone(setup));
        }
    }

    /// Signs everything anew with other keys.
    pub(super) fn set_keys(&mut self, keys: Vec<Arc<ZoneKeys>>, setup: &Arc<Setup>) {
        // Said again while the work is under way: it need not begin anew.
        if self.keys == keys {
            return;
        }
        self.keys = keys;
        match self.work {
            None => self.begin(Arc::clone(setup)),
            Some(_) => self.outdated = true,
        }
    }

    fn begin(&mut self, setup: Arc<Setup>) {
        let keys = self.keys.clone();
        self.outdated = false;
        self.work = Some(spawn_blocking(move || (Arc::clone(&setup.image), sign(&setup, &keys))));
    }

    /// Waits until signatures are there that belong to this setup; forever if none are being made.
    /// Dropped while it waits, it loses nothing.
    pub(super) async fn made(&mut self, setup: &Arc<Setup>) -> Option<Arc<Signed>> {
        loop {
            let Some(work) = &mut self.work else { return std::future::pending().await };
            let ended = work.await;
            self.work = None;
            match ended {
                Ok((image, signed)) if Arc::ptr_eq(&image, &setup.image) && !self.outdated => {
                    self.due = signed.as_ref().map(|signed| signed.renew_at());
                    self.made = signed.as_ref().map(|signed| signed.made_at());
                    return signed;
                }
                // A reload was quicker, or other keys were.
                Ok(_) => self.begin(Arc::clone(setup)),
                Err(broken) => {
                    error!(event = "dnssec.broken", "signatures could not be made: {broken}");
                    self.due = Clock.now().wall.checked_add(RETRY).ok();
                    // Until then, also if they were to be made because they are from the future.
                    self.made = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_from_the_future_are_made_anew_at_once() {
        let at = |seconds| Some(Timestamp::from_second(seconds).unwrap());
        let now = Timestamp::from_second(1_000_000).unwrap();
        assert!(!is_due(at(2_000_000), at(999_999), now));
        assert!(is_due(at(1_000_000), at(999_999), now), "their time has come");
        assert!(is_due(at(20_000_000), at(1_000_060), now), "the clock was ahead by a minute");
        assert!(!is_due(at(2_000_000), at(1_000_003), now), "the clock is being disciplined");
        assert!(!is_due(None, None, now), "there are none");
    }
}
