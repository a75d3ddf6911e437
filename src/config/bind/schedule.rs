//! When probes are made, and where they come from.

use std::net::IpAddr;
use std::time::Duration;

use super::Binder;
use crate::base::{Place, parse_span, show_span};
use crate::config::model::{Jitter, Schedule, Source};
use crate::config::spec;
use crate::config::yaml::{Node, Value};

const INTERVAL_MIN: Duration = Duration::from_millis(50);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

impl Binder<'_> {
    /// A schedule, with what is left out taken from `default`.
    pub(super) fn schedule(&mut self, spec: &spec::Schedule, place: &Place, default: Schedule) -> Schedule {
        let interval = spec.interval.map_or(default.interval, |span| span.0);
        // A shorter interval alone shortens an inherited timeout with it.
        let timeout = spec.timeout.map_or(default.timeout.min(interval), |span| span.0);
        let schedule = Schedule {
            interval,
            timeout,
            rise: spec.rise.unwrap_or(default.rise),
            fall: spec.fall.unwrap_or(default.fall),
            jitter: self.jitter(spec.jitter.as_ref(), interval, default.jitter),
            source: spec.source.as_ref().map_or(default.source, |node| self.source(node)),
        };
        if interval < INTERVAL_MIN || interval > INTERVAL_MAX {
            self.mistakes
                .error(place, format!("an interval of {} is not between 50ms and 1h", show_span(interval)));
        }
        if timeout.is_zero() || timeout > interval {
            let (timeout, interval) = (show_span(timeout), show_span(interval));
            self.mistakes
                .error(place, format!("a timeout of {timeout} does not fit into an interval of {interval}"))
                .help("a probe must be over before the next one starts");
        }
        if schedule.rise == 0 || schedule.fall == 0 {
            self.mistakes.error(place, "`rise` and `fall` count results: at least 1");
        }
        schedule
    }

    /// `5%`, `2.5%`, or a span; an inherited span gives way to a short interval.
    fn jitter(&mut self, node: Option<&Node>, interval: Duration, default: Jitter) -> Jitter {
        let Some(node) = node else {
            return match default {
                Jitter::Span(span) => Jitter::Span(span.min(interval / 2)),
                share => share,
            };
        };
        let parsed = match &node.value {
            Value::Text(text) => parse_jitter(text),
            _ => None,
        };
        match parsed {
            Some(jitter) if jitter.of(interval) <= interval / 2 => jitter,
            Some(_) => {
                self.mistakes
                    .error(&node.place, "a jitter of more than half the interval")
                    .help("gaps between probes are the interval at most, and shorter by up to the jitter");
                default
            }
            None => {
                self.mistakes
                    .error(&node.place, format!("`{}` is not a jitter", node.place.text()))
                    .help("write a share of the interval, such as 10%, or a span, such as 250ms");
                default
            }
        }
    }

    /// One address, or one of each family.
    fn source(&mut self, node: &Node) -> Source {
        let nodes = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut source = Source::default();
        for node in nodes {
            let address = match &node.value {
                Value::Text(text) => text.parse::<IpAddr>().ok(),
                _ => None,
            };
            let known = match address {
                Some(address) if address.is_unspecified() || address.is_multicast() => {
                    self.mistakes.error(&node.place, format!("nothing can come from {address}"));
                    continue;
                }
                Some(IpAddr::V4(v4)) => source.v4.replace(v4).is_some(),
                Some(IpAddr::V6(v6)) => source.v6.replace(v6).is_some(),
                None => {
                    self.mistakes
                        .error(&node.place, format!("`{}` is not an address", node.place.text()))
                        .help("write an address of this machine, such as 192.0.2.1, or a list of an IPv4 and an IPv6 one");
                    continue;
                }
            };
            if known {
                self.mistakes.error(&node.place, "a second address of the same family: at most one of each");
            }
        }
        source
    }
}

fn parse_jitter(text: &str) -> Option<Jitter> {
    let Some(share) = text.trim().strip_suffix('%') else {
        return parse_span(text).ok().map(Jitter::Span);
    };
    let (whole, tenth) = share.trim().split_once('.').unwrap_or((share.trim(), "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() < 4;
    if !digits(whole) || !digits(tenth) || tenth.len() != 1 {
        return None;
    }
    Some(Jitter::PerMille(whole.parse::<u32>().ok()? * 10 + tenth.parse::<u32>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_a_share_or_a_span() {
        assert_eq!(parse_jitter("5%"), Some(Jitter::PerMille(50)));
        assert_eq!(parse_jitter("12.5 %"), Some(Jitter::PerMille(125)));
        assert_eq!(parse_jitter("0%"), Some(Jitter::PerMille(0)));
        assert_eq!(parse_jitter("250ms"), Some(Jitter::Span(Duration::from_millis(250))));
        for rubbish in ["5", "%", ".5%", "1.25%", "-5%", "five", "99999%"] {
            assert_eq!(parse_jitter(rubbish), None, "{rubbish}");
        }
        assert_eq!(Jitter::PerMille(125).of(Duration::from_secs(8)), Duration::from_secs(1));
    }
}
