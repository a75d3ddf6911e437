//! The one place that reads clocks. Everything else is given a [`Now`], or waits for a
//! [`Deadline`].

use std::future::Future;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::base::{Mono, Now, Timestamp};

/// Where the monotonic readings of this process count from. One for all, so that readings
/// taken by different parts of the program can be compared.
static ORIGIN: LazyLock<Instant> = LazyLock::new(read_monotonic);

/// The clocks of this machine. Any two of them agree.
#[derive(Clone, Copy, Default, Debug)]
pub struct Clock;

impl Clock {
    /// Both clocks, read together.
    pub fn now(self) -> Now {
        Now { mono: self.mono(), wall: read_wall() }
    }

    /// The monotonic clock alone. It stands still while the machine sleeps.
    pub fn mono(self) -> Mono {
        // The origin first: it is read when it is first used, and must not lie ahead.
        let origin = *ORIGIN;
        Mono(read_monotonic().saturating_duration_since(origin))
    }

    /// Whole seconds since 1970-01-01 UTC, as cookies and rates count them; wraps in 2106.
    pub fn seconds(self) -> u32 {
        read_wall().as_second() as u32
    }

    /// The moment that lies this far ahead.
    pub fn deadline(self, span: Duration) -> Deadline {
        let now = self.mono();
        Deadline { at: now + span }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place")]
fn read_monotonic() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods, reason = "this is the one place")]
fn read_wall() -> Timestamp {
    Timestamp::now()
}

/// A moment past which nothing may be waited for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Deadline {
    at: Mono,
}

/// A deadline has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the time is up")]
pub struct Late;

impl Deadline {
    /// When it is.
    pub fn at(self) -> Mono {
        self.at
    }

    /// How long until then; zero if it has passed.
    pub fn left(self) -> Duration {
        self.at.since(Clock.mono())
    }

    /// Whether it has passed.
    pub fn over(self) -> bool {
        self.left().is_zero()
    }

    /// The same moment, or `span` from now if that is sooner.
    pub fn within(self, span: Duration) -> Deadline {
        self.min(Clock.deadline(span))
    }

    /// A moment this much before it.
    pub fn less(self, span: Duration) -> Deadline {
        Deadline { at: self.at - span }
    }

    /// Waits for `work`, but not past the deadline.
    ///
    /// # Errors
    /// The deadline passed first; `work` was dropped where it stood.
    pub async fn bound<T>(self, work: impl Future<Output = T>) -> Result<T, Late> {
        // A timeout looks at its work first. A loop over work that is always ready, such as reading
        // from a target that never stops talking, would never come to look at the clock.
        if self.over() {
            return Err(Late);
        }
        tokio::time::timeout(self.left(), work).await.map_err(|_| Late)
    }

    /// Waits for `span`, but not past the deadline.
    ///
    /// # Errors
    /// The deadline passed first.
    pub async fn sleep(self, span: Duration) -> Result<(), Late> {
        self.bound(tokio::time::sleep(span)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_is_always_ready_does_not_outlive_its_deadline() {
        let deadline = Clock.deadline(Duration::from_millis(20));
        while deadline.bound(std::future::ready(())).await.is_ok() {}
        assert!(deadline.over());
    }

    #[test]
    fn readings_of_two_clocks_agree_and_grow() {
        let first = Clock.now();
        let second = Clock.mono();
        assert!(second >= first.mono);
        assert!(second.since(first.mono) < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_deadline_cuts_off() {
        let deadline = Clock.deadline(Duration::from_millis(20));
        assert_eq!(deadline.bound(std::future::pending::<()>()).await, Err(Late));
        assert!(deadline.over());
        assert!(deadline.within(Duration::from_secs(9)) == deadline);
        let far = Clock.deadline(Duration::from_secs(60));
        assert!(far.within(Duration::from_secs(1)) < far);
        assert_eq!(far.bound(async { 7 }).await, Ok(7));
        assert!(far.less(Duration::from_secs(59)).left() <= Duration::from_secs(1));
    }
}
