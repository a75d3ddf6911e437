//! How patient to be with a stage: what it says itself, over `defaults`, over what holds
//! when a file says nothing.

use std::time::Duration;

use super::Parser;
use super::shape::{self, Agent};
use crate::base::show_span;
use crate::config::Span;
use crate::config::read::Placed;
use crate::workflow::{Care, Form, OnFailure, Op, RetryPolicy, Spec, Until};

const TIMEOUT: Duration = Duration::from_secs(600);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(120);
const SPAN_MIN: Duration = Duration::from_millis(100);
const SPAN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
const ATTEMPTS_MAX: u32 = 100;
const MULTIPLIER_MAX: f64 = 100.0;
/// A stage that only waits is given this much longer than it has to.
const WAIT_MARGIN: Duration = Duration::from_secs(60);

/// What a stage says of its limits.
pub(super) struct Limits {
    pub timeout: Option<Placed<Span>>,
    pub attempt_timeout: Option<Placed<Span>>,
    pub retry: Option<Placed<shape::Retry>>,
    pub on_failure: Option<OnFailure>,
}

impl Parser<'_> {
    pub(super) fn care(
        &mut self,
        stage: &Limits,
        defaults: &shape::Defaults,
        form: Form,
        agent: Agent,
        spec: Option<&Spec>,
    ) -> Care {
        let elapsed = match spec {
            Some(Spec::Fixed(Op::Wait(wait))) => match wait.until {
                Until::Elapsed(span) => Some(span),
                _ => None,
            },
            _ => None,
        };
        let timeout = match (&stage.timeout, &defaults.timeout) {
            (Some(written), _) => {
                let timeout = self.span(written, "timeout");
                if let Some(span) = elapsed.filter(|span| *span > timeout) {
                    self.mistakes.error(
                        &written.place,
                        format!("a wait of {} does not fit into {}", show_span(span), show_span(timeout)),
                    );
                }
                timeout
            }
            (None, default) => {
                let timeout = default.as_ref().map_or(TIMEOUT, |default| self.span(default, "timeout"));
                elapsed.map_or(timeout, |span| timeout.max(span.saturating_add(WAIT_MARGIN)))
            }
        };
        let attempt_timeout = match (&stage.attempt_timeout, &defaults.attempt_timeout) {
            (Some(written), _) => {
                let attempt = self.span(written, "attempt_timeout");
                if attempt > timeout {
                    let (attempt, timeout) = (show_span(attempt), show_span(timeout));
                    self.mistakes.warn(
                        &written.place,
                        format!("an attempt of {attempt} is cut short by the stage's timeout of {timeout}"),
                    );
                }
                if let Some(span) = elapsed.filter(|span| *span > attempt) {
                    self.mistakes.error(
                        &written.place,
                        format!("a wait of {} does not fit into {}", show_span(span), show_span(attempt)),
                    );
                }
                attempt
            }
            // To wait is one long attempt.
            _ if agent == Agent::Wait => timeout,
            (None, Some(default)) => self.span(default, "attempt_timeout"),
            (None, None) => ATTEMPT_TIMEOUT,
        };
        let on_failure = stage.on_failure.unwrap_or(match (agent, defaults.on_failure, form) {
            // A notification that fails must not fail a failover.
            (Agent::Notify, ..) => OnFailure::Continue,
            (_, Some(default), _) => default,
            (_, None, Form::Article) => OnFailure::Abort,
            (_, None, Form::Version1) => OnFailure::Pause,
        });
        let retry = self.retry(RetryPolicy::DEFAULT, defaults.retry.as_ref());
        let retry = self.retry(retry, stage.retry.as_ref());
        Care { timeout, attempt_timeout: attempt_timeout.min(timeout), retry, on_failure }
    }

    /// What is written, over what holds otherwise.
    fn retry(&mut self, base: RetryPolicy, written: Option<&Placed<shape::Retry>>) -> RetryPolicy {
        let Some(written) = written else { return base };
        let mut policy = base;
        if let Some(attempts) = &written.max_attempts {
            policy.max_attempts = attempts.value;
            if !(1..=ATTEMPTS_MAX).contains(&attempts.value) {
                self.mistakes
                    .error(&attempts.place, format!("{} is not between 1 and {ATTEMPTS_MAX}", attempts.value))
                    .help("1 means: no second attempt");
            }
        }
        if let Some(multiplier) = &written.multiplier {
            policy.multiplier = multiplier.value;
            if !(1.0..=MULTIPLIER_MAX).contains(&multiplier.value) {
                let message = format!("{} is not between 1 and {MULTIPLIER_MAX}", multiplier.value);
                self.mistakes.error(&multiplier.place, message);
            }
        }
        if let Some(interval) = &written.initial_interval {
            policy.initial_interval = self.span(interval, "initial_interval");
        }
        match &written.max_interval {
            Some(interval) => policy.max_interval = self.span(interval, "max_interval"),
            None => policy.max_interval = policy.max_interval.max(policy.initial_interval),
        }
        if policy.max_interval < policy.initial_interval {
            self.mistakes.error(
                &written.place,
                format!(
                    "`max_interval` ({}) is below `initial_interval` ({})",
                    show_span(policy.max_interval),
                    show_span(policy.initial_interval)
                ),
            );
        }
        policy.jitter = written.jitter.unwrap_or(policy.jitter);
        policy
    }

    pub(super) fn span(&mut self, span: &Placed<Span>, key: &str) -> Duration {
        let value = span.value.0;
        if !(SPAN_MIN..=SPAN_MAX).contains(&value) {
            let (min, max) = (show_span(SPAN_MIN), show_span(SPAN_MAX));
            self.mistakes.error(
                &span.place,
                format!("`{key}` of {} is not between {min} and {max}", show_span(value)),
            );
        }
        value.clamp(SPAN_MIN, SPAN_MAX)
    }
}
