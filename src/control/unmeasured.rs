//! Checks that have not been measurable for too long: told once when it is too long, and once when
//! it is over, however many results come in between. An alert says the same to who has Prometheus
//! (`PointsmanUnknownTooLong`); the log says it to everybody.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{info, warn};

use crate::base::{Mono, show_span};
use crate::decide::Daemon;

/// So many intervals without a measurement are too long.
const INTERVALS_MAX: u32 = 10;
/// Checks named at once; a site that goes blind has thousands.
const NAMED_MAX: usize = 10;

/// Those that were told of, and since when each is unknown.
#[derive(Default, Debug)]
pub(super) struct Unmeasured(BTreeMap<String, Mono>);

impl Unmeasured {
    /// Looks at every check.
    pub(super) fn look(&mut self, daemon: &Daemon, now: Mono) {
        let config = &daemon.setup().config;
        let mut told_before = std::mem::take(&mut self.0);
        let (mut begun, mut over) = (0_usize, 0_usize);
        for (id, spec) in config.checks.iter() {
            let state = &daemon.senses().checks[id];
            let name: &str = config.checks.name(id);
            let unknown = state.window().unknown_for(now);
            match (unknown, told_before.remove(name)) {
                (Some(_), Some(since)) => drop(self.0.insert(name.to_owned(), since)),
                (Some(span), None) if span > spec.schedule.interval * INTERVALS_MAX => {
                    self.0.insert(name.to_owned(), Mono(now.0.saturating_sub(span)));
                    begun += 1;
                    if begun <= NAMED_MAX {
                        let (span, reason) = (coarse(span), state.window().newest());
                        warn!(
                            event = "check.unmeasured",
                            check = name,
                            "{name} has not been measurable for {span}: {reason}. Unknown changes nothing, so that a loss behind it would go unnoticed"
                        );
                    }
                }
                (None, Some(since)) => {
                    over += 1;
                    if over <= NAMED_MAX {
                        let (span, verdict) = (coarse(now.since(since)), state.verdict().word());
                        info!(
                            event = "check.measured",
                            check = name,
                            "{name} is measured again after {span}: {verdict}: {}",
                            state.window().newest()
                        );
                    }
                }
                _ => {}
            }
        }
        if begun > NAMED_MAX {
            warn!(
                event = "check.unmeasured",
                "and {} more checks have not been measurable",
                begun - NAMED_MAX
            );
        }
        if over > NAMED_MAX {
            info!(event = "check.measured", "and {} more checks are measured again", over - NAMED_MAX);
        }
    }
}

fn coarse(span: Duration) -> String {
    show_span(Duration::from_secs(span.as_secs()))
}
