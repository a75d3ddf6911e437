//! Telling systemd how we are (`Type=notify-reload`, sd_notify(3)). Without systemd all of it
//! does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service manager, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Systemd {
    watchdog: Option<Duration>,
}

impl Systemd {
    /// Looks at the environment once.
    pub fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// The daemon serves.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// A reload has begun; [`Systemd::ready`] ends it. The time is mandatory since systemd 253.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(time) => tell(&[NotifyState::Reloading, time]),
            Err(why) => tracing::warn!(%why, "cannot read the monotonic clock for systemd"),
        }
    }

    /// The daemon is on its way out.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Another process is the service from now on.
    pub fn succeeded_by(&self, process: u32) {
        tell(&[NotifyState::MainPid(process)]);
    }

    /// A line for `systemctl status`.
    pub fn status(&self, line: &str) {
        tell(&[NotifyState::Status(line)]);
    }

    /// How often [`Systemd::alive`] must be called: half the time that systemd allows.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// The part of the daemon that matters still moves.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

impl Default for Systemd {
    fn default() -> Self {
        Self::new()
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(why) = sd_notify::notify(states) {
        tracing::warn!(%why, "cannot reach systemd");
    }
}
