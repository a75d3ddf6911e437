//! Files that tell where clients are may change while the daemon runs: they are looked at again
//! and again, and taken over when they have settled.
//!
//! ```text
//!               as they were read
//!        ┌──────────────────────────────┐
//!        ▼                              │
//!     Loaded ── look otherwise ─► Changing ── twice the same ─► read ─┬─ sound ──► Loaded
//!        ▲                        ▲     ▲                             │
//!        │                        └─────┘ otherwise again             └─ broken ─► Refused
//!        └── as they were read ── Refused ── look otherwise ─► Changing
//! ```

use std::sync::Arc;

use tokio::time::sleep;
use tracing::warn;

use super::handle::Gone;
use super::reload::Reloader;
use crate::base::{Mistakes, Severity};
use crate::decide::Setup;
use crate::geo::Stamp;
use crate::sys;

/// What all files look like; none where there is no file.
type Looks = Vec<Option<Stamp>>;

/// Mistakes that are told of; `check` tells all of them.
const SHOWN_MAX: usize = 5;

/// How the files stand to what was read of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum State {
    /// They are what was read.
    #[default]
    Loaded,
    /// They look otherwise; perhaps somebody is still writing.
    Changing(Looks),
    /// They look like this, and cannot be taken over.
    Refused(Looks),
}

/// What a look leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Nothing.
    Wait,
    /// They are to be read.
    Read,
    /// What could not be taken over is gone again.
    Recovered,
}

impl State {
    /// Takes in a look at the files.
    fn look(&mut self, seen: &Looks, loaded: &Looks) -> Step {
        if seen == loaded {
            let was = std::mem::take(self);
            return if matches!(was, Self::Refused(_)) { Step::Recovered } else { Step::Wait };
        }
        match self {
            Self::Refused(refused) if refused == seen => Step::Wait,
            Self::Changing(before) if before == seen => Step::Read,
            _ => {
                *self = Self::Changing(seen.clone());
                Step::Wait
            }
        }
    }
}

impl Reloader {
    /// Looks after the files until the daemon ends.
    pub async fn watch_geo(&self) {
        let mut state = State::default();
        while self.look_at_geo(&mut state).await.is_ok() {}
    }

    async fn look_at_geo(&self, state: &mut State) -> Result<(), Gone> {
        let base = self.handle.look(|daemon, _| Arc::clone(daemon.setup())).await?;
        sleep(base.config.geo.check_every).await;
        // Not while another configuration is taken over: it reads the files as well.
        let _turn = self.turn.lock().await;
        let base = self.handle.look(|daemon, _| Arc::clone(daemon.setup())).await?;
        let config = Arc::clone(&base.config);
        // A file system may be far away.
        let Ok(seen) = tokio::task::spawn_blocking(move || sys::geo_stamps(&config.geo)).await else {
            return Ok(());
        };
        let loaded = base.world.databases().iter().map(|database| Some(database.stamp)).collect();
        match state.look(&seen, &loaded) {
            Step::Wait => Ok(()),
            Step::Recovered => self.handle.geo_trouble(None).await,
            Step::Read => match read(&base).await {
                Ok(setup) => {
                    *state = State::Loaded;
                    self.handle.relocate(base, setup).await.map(drop)
                }
                Err(why) => {
                    *state = State::Refused(seen);
                    self.handle.geo_trouble(Some(why)).await
                }
            },
        }
    }
}

/// The same setup with the files as they are now, or every mistake in them.
async fn read(base: &Arc<Setup>) -> Result<Arc<Setup>, String> {
    let base = Arc::clone(base);
    let read = tokio::task::spawn_blocking(move || {
        let (world, warnings) =
            sys::load_world(&base.config.geo).map_err(|mistakes| in_one_line(&mistakes))?;
        for warning in warnings.iter() {
            warn!("{warning}");
        }
        base.with_world(world).map_err(|mistakes| in_one_line(&mistakes))
    });
    read.await.unwrap_or_else(|why| Err(why.to_string()))
}

fn in_one_line(mistakes: &Mistakes) -> String {
    let errors = mistakes.iter().filter(|mistake| mistake.severity == Severity::Error);
    errors.take(SHOWN_MAX).map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(size: u64) -> Looks {
        vec![Some(Stamp { size, ..Stamp::default() }), None]
    }

    #[test]
    fn a_change_is_taken_when_it_was_seen_twice() {
        let (loaded, mut state) = (looks(1), State::default());
        let mut look = |size, expected| assert_eq!(state.look(&looks(size), &loaded), expected, "{size}");
        look(1, Step::Wait);
        look(2, Step::Wait);
        look(3, Step::Wait);
        look(3, Step::Read);
        look(3, Step::Read);
        look(1, Step::Wait);
        look(3, Step::Wait);
        look(3, Step::Read);
    }

    #[test]
    fn what_is_broken_is_read_once() {
        let (loaded, mut state) = (looks(1), State::Refused(looks(2)));
        let mut look = |size, expected| assert_eq!(state.look(&looks(size), &loaded), expected, "{size}");
        look(2, Step::Wait);
        look(2, Step::Wait);
        look(3, Step::Wait);
        look(3, Step::Read);
        let mut state = State::Refused(looks(2));
        assert_eq!(state.look(&loaded, &loaded), Step::Recovered);
        assert_eq!(state.look(&loaded, &loaded), Step::Wait);
    }
}
