//! Time as an argument.
//!
//! Nothing below the rim reads a clock. Whoever calls a decision hands it a [`Now`]: both
//! readings, taken together. Durations are measured on the monotonic one; the wall clock is
//! for people and for the journal.

use std::ops::{Add, Sub};
use std::time::Duration;

pub use jiff::Timestamp;
use jiff::fmt::friendly::{Designator, Spacing, SpanParser, SpanPrinter};

/// A reading of the monotonic clock, as time since some fixed moment of this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mono(pub Duration);

impl Mono {
    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Mono) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, span: Duration) -> Mono {
        Mono(self.0.saturating_add(span))
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, span: Duration) -> Mono {
        Mono(self.0.saturating_sub(span))
    }
}

/// The present, as a decision sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// For measuring durations.
    pub mono: Mono,
    /// For people, and for what outlives the process.
    pub wall: Timestamp,
}

impl Now {
    /// A later present, both clocks moved by the same span. For virtual time.
    pub fn after(self, span: Duration) -> Now {
        Now { mono: self.mono + span, wall: self.wall.saturating_add(span).unwrap_or(Timestamp::MAX) }
    }
}

/// Reads a duration as people write it: `30s`, `1m30s`, `250ms`, `1h 30m`, `14d`, `1d 12h`. A day
/// has 24 hours.
///
/// # Errors
/// A sentence that says what is wrong; a number without a unit is always wrong.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    static PARSER: SpanParser = SpanParser::new();
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("`{text}` has no unit; write {text}s, {text}m or {text}ms"));
    }
    let none = || format!("`{text}` is not a duration; write it like 30s, 1m30s or 250ms");
    let (days, rest) = match text.split_once('d') {
        Some((days, rest)) if days.bytes().all(|byte| byte.is_ascii_digit()) => {
            let days: u64 = days.parse().map_err(|_| none())?;
            (Duration::from_secs(days.checked_mul(24 * 3600).ok_or_else(none)?), rest.trim_start())
        }
        _ => (Duration::ZERO, text),
    };
    if rest.is_empty() && !text.is_empty() {
        return Ok(days);
    }
    let rest = PARSER.parse_unsigned_duration(rest).map_err(|_| none())?;
    days.checked_add(rest).ok_or_else(none)
}

/// Writes a duration as people read it: `1m30s`, `250ms`, `0s`.
pub fn show_span(span: Duration) -> String {
    static PRINTER: SpanPrinter = SpanPrinter::new().designator(Designator::Compact).spacing(Spacing::None);
    let rounded = match span.as_millis() {
        0..1000 => Duration::from_micros(span.as_micros() as u64),
        millis => Duration::from_millis(millis as u64),
    };
    PRINTER.unsigned_duration_to_string(&rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_need_units() {
        assert_eq!(parse_span("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_span("14d"), Ok(Duration::from_secs(14 * 24 * 3600)));
        assert_eq!(parse_span("1d 12h"), Ok(Duration::from_secs(36 * 3600)));
        assert!(parse_span("d").is_err() && parse_span("1d2").is_err() && parse_span("1d2d").is_err());
        assert!(parse_span("99999999999999999999d").is_err() && parse_span("999999999999999999d").is_err());
        assert!(parse_span("30").unwrap_err().contains("30s"));
        assert!(parse_span("soon").is_err());
        assert!(parse_span("-3s").is_err());
        assert!(parse_span("").is_err());
    }

    #[test]
    fn spans_read_well() {
        assert_eq!(show_span(Duration::from_secs(90)), "1m30s");
        assert_eq!(show_span(Duration::from_millis(250)), "250ms");
        assert_eq!(show_span(Duration::from_millis(2500)), "2s500ms");
        assert_eq!(show_span(Duration::ZERO), "0s");
    }
}
