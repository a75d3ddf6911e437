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

/// Signs all that stands still in the zones that have keys. Takes about 20 µs for each signature
/// and processor: not to be called on the loop.
pub(super) fn sign(setup: &Setup, keys: &[Arc<ZoneKeys>]) -> Option<Arc<Signed>> {
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

/// For which image, and what.
type Made = (Arc<Image>, Option<Arc<Signed>>);

/// When signatures are made anew, and the work while it is under way.
pub(super) struct Signatures {
    keys: Vec<Arc<ZoneKeys>>,
    due: Option<Timestamp>,
    work: Option<JoinHandle<Made>>,
    /// Keys changed while signatures were made with those before.
    outdated: bool,
}

impl Signatures {
    /// Takes over signatures that are in the table, and the keys that made them.
    pub(super) fn of(keys: Vec<Arc<ZoneKeys>>, signed: Option<&Arc<Signed>>) -> Self {
        Self { keys, due: signed.map(|signed| signed.renew_at()), work: None, outdated: false }
    }

    /// Begins to make signatures if it is time to.
    pub(super) fn renew(&mut self, setup: &Arc<Setup>, now: Timestamp) {
        if self.work.is_none() && self.due.is_some_and(|due| due <= now) {
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
                    return signed;
                }
                // A reload was quicker, or other keys were.
                Ok(_) => self.begin(Arc::clone(setup)),
                Err(broken) => {
                    error!(event = "dnssec.broken", "signatures could not be made: {broken}");
                    self.due = Clock.now().wall.checked_add(RETRY).ok();
                }
            }
        }
    }
}
