//! What one Alertmanager tells: which alerts fire, and that it is there at all.
//!
//! Alertmanager speaks when alerts begin, when they end, and again every `repeat_interval` while they
//! fire. While nothing fires it is silent, so that silence says nothing: what shows that it is there
//! is an alert that always fires (a watchdog), routed here like the others.
//!
//! ```text
//!   a matching alert fires, heard within `patience` ───────────────► fail
//!   it fired, and was neither repeated nor resolved ───────────────► unknown: silenced, or its end was lost
//!   nothing at all was heard within `patience` ────────────────────► unknown
//!   something was cut off or refused that may have matched ────────► unknown
//!   heard, but not yet for `patience` without a gap ───────────────► unknown: what fires already is repeated in that time
//!   else ──────────────────────────────────────────────────────────► pass
//! ```
//! `patience` is the `repeat_interval` and two `group_interval`s: Alertmanager looks only once in a
//! `group_interval` whether it is time to repeat, and one delivery may fail.
//!
//! The last word on an alert counts. A resend changes nothing; a delivery that was late by one word
//! is set right by the next one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::refused::Refusals;
use super::show;
use super::word::plain;
use crate::base::{Mono, show_span};
use crate::config::{Alertmanager, LabelMatcher};
use crate::health::Finding;

/// The version of the message (Alertmanager, "Configuration", `<webhook_config>`).
const VERSION: &str = "4";
/// Alerts that fire and that a check goes by.
const FIRING_MAX: usize = 2000;
/// Groups that were cut off.
const CUT_MAX: usize = 1000;

type Labels = BTreeMap<String, String>;

/// A notification.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    version: String,
    group_key: String,
    #[serde(default)]
    group_labels: Labels,
    /// So many alerts of the group were left out (`max_alerts`).
    #[serde(default)]
    truncated_alerts: u64,
    alerts: Vec<Alert>,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
struct Alert {
    status: Status,
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

impl Notification {
    /// Reads what Alertmanager sends.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(body)
            .map_err(|why| format!("not a notification of Alertmanager's webhook: {why}"))?;
        match read.version.as_str() {
            VERSION => Ok(read),
            other => Err(format!("version {} of Alertmanager's webhook, wanted {VERSION}", plain(other))),
        }
    }
}

/// What is known of one Alertmanager.
#[derive(Clone, Default, Debug)]
pub(super) struct Alerts {
    heard: Option<Heard>,
    firing: BTreeMap<Labels, Firing>,
    cut: BTreeMap<String, Cut>,
    /// Something was refused that may have been anything.
    missed: Option<(Mono, String)>,
    /// What came in its name without its token.
    pub(super) refused: Refusals,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Mono,
    /// Since when there was no gap.
    steady: Mono,
}

#[derive(Clone, Debug)]
struct Firing {
    at: Mono,
    summary: String,
}

/// A group of which only a part was told.
#[derive(Clone, Debug)]
struct Cut {
    at: Mono,
    count: u64,
    labels: Labels,
}

/// For how long a word stands.
pub(super) fn patience(rule: &Alertmanager) -> Duration {
    rule.repeat_interval + rule.group_interval * 2
}

impl Alerts {
    /// Takes a notification in, as far as any check goes by it.
    pub(super) fn take(
        &mut self,
        rule: &Alertmanager,
        told: Notification,
        wanted: impl Fn(&Labels) -> bool,
        now: Mono,
    ) {
        let patience = patience(rule);
        let heard = self.heard.filter(|heard| now.since(heard.at) <= patience);
        self.refused.forget();
        self.heard = Some(Heard { at: now, steady: heard.map_or(now, |heard| heard.steady) });
        for Alert { status, labels, annotations } in told.alerts {
            match status {
                Status::Resolved => drop(self.firing.remove(&labels)),
                Status::Firing if !wanted(&labels) => {}
                Status::Firing if self.firing.len() >= FIRING_MAX && !self.firing.contains_key(&labels) => {
                    self.miss(format!("more than {FIRING_MAX} matching alerts fire"), now);
                }
                Status::Firing => {
                    let summary = annotations.get("summary").map(|text| plain(text)).unwrap_or_default();
                    self.firing.insert(labels, Firing { at: now, summary });
                }
            }
        }
        self.cut.retain(|_, cut| now.since(cut.at) <= patience);
        match told.truncated_alerts {
            0 => drop(self.cut.remove(&told.group_key)),
            count if self.cut.len() < CUT_MAX || self.cut.contains_key(&told.group_key) => {
                self.cut.insert(told.group_key, Cut { at: now, count, labels: told.group_labels });
            }
            _ => self.miss("alerts of many groups were cut off (`max_alerts`)".to_owned(), now),
        }
    }

    /// Something came that could not be taken in; Alertmanager will not send it again.
    pub(super) fn miss(&mut self, words: String, now: Mono) {
        self.missed = Some((now, words));
    }

    /// Forgets alerts that no check goes by any more.
    pub(super) fn prune(&mut self, wanted: impl Fn(&Labels) -> bool) {
        self.firing.retain(|labels, _| wanted(labels));
    }

    /// How long ago anything was heard.
    pub(super) fn age(&self, now: Mono) -> Option<Duration> {
        self.heard.map(|heard| now.since(heard.at))
    }

    /// What there is to say of the alerts that match, to one who listens since then.
    pub(super) fn level(
        &self,
        rule: &Alertmanager,
        name: &str,
        matchers: &[LabelMatcher],
        since: Mono,
        now: Mono,
    ) -> Finding {
        let patience = patience(rule);
        let stands = |at: Mono| now.since(at) <= patience;
        let matches = |labels: &Labels| matchers.iter().all(|matcher| matcher.holds(labels));
        let mut firing: Vec<_> = self.firing.iter().filter(|(labels, _)| matches(labels)).collect();
        // The one that is heard last first: what lapsed tells less.
        firing.sort_by_key(|(_, firing)| std::cmp::Reverse(firing.at));
        let fresh = firing.iter().filter(|(_, firing)| stands(firing.at)).count();
        if let Some((labels, first)) = firing.first().filter(|_| fresh > 0) {
            let more = if fresh > 1 { format!(" (and {} more)", fresh - 1) } else { String::new() };
            return Finding::Fail(format!("{} fires{}{more}", shown(labels), first.words()));
        }
        let Some(heard) = self.heard else {
            let waited = show(now.since(since));
            return Finding::Unknown(format!(
                "Alertmanager `{name}` has told nothing yet, for {waited}; only an alert that always fires shows that it is there{}",
                self.refused.words(now)
            ));
        };
        if !stands(heard.at) {
            let (silent, patience) = (show(now.since(heard.at)), show_span(patience));
            let fired =
                firing.first().map_or(String::new(), |(labels, _)| format!("; {} fired then", shown(labels)));
            return Finding::Unknown(format!(
                "Alertmanager `{name}` has told nothing for {silent} (wanted every {patience}){fired}{}",
                self.refused.words(now)
            ));
        }
        if let Some((labels, lapsed)) = firing.first() {
            let silent = show(now.since(lapsed.at));
            return Finding::Unknown(format!(
                "{} fired, and was neither repeated nor resolved for {silent}: it is silenced, or its end was lost",
                shown(labels)
            ));
        }
        let may_match = |group: &Labels| {
            matchers.iter().all(|matcher| !group.contains_key(&matcher.label) || matcher.holds(group))
        };
        if let Some(cut) = self.cut.values().find(|cut| stands(cut.at) && may_match(&cut.labels)) {
            return Finding::Unknown(format!(
                "{} alerts of a group {} were cut off: raise `max_alerts` of the webhook",
                cut.count,
                shown(&cut.labels)
            ));
        }
        if let Some((_, words)) = self.missed.as_ref().filter(|(at, _)| stands(*at)) {
            return Finding::Unknown(format!(
                "Alertmanager `{name}` told what could not be taken in: {words}"
            ));
        }
        let listened = now.since(since.max(heard.steady));
        if listened < patience {
            let (listened, patience) = (show(listened), show_span(patience));
            return Finding::Unknown(format!(
                "none of the alerts fires that Alertmanager `{name}` told of in {listened}; what has fired before is repeated within {patience}"
            ));
        }
        let ago = show(now.since(heard.at));
        Finding::Pass(format!("no such alert fires (Alertmanager `{name}` was heard {ago} ago)"))
    }
}

impl Firing {
    fn words(&self) -> String {
        if self.summary.is_empty() { String::new() } else { format!(": {}", self.summary) }
    }
}

/// By its name, or by its labels if it has none.
fn shown(labels: &Labels) -> String {
    /// Labels that are told.
    const LABELS_MAX: usize = 6;
    match labels.get("alertname") {
        Some(name) => format!("`{}`", plain(name)),
        None => {
            let labels = labels.iter().take(LABELS_MAX);
            let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={}", plain(value))).collect();
            format!("{{{}}}", labels.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SecretRef;
    use crate::config::LabelTest;

    fn rule() -> Alertmanager {
        Alertmanager {
            token: SecretRef::Env("T".to_owned()),
            repeat_interval: Duration::from_secs(60),
            group_interval: Duration::from_secs(10),
        }
    }

    fn at(second: u64) -> Mono {
        Mono(Duration::from_secs(1000 + second))
    }

    /// A message of one group: `name!` fires, `name` is resolved.
    fn message(alerts: &[&str], truncated: u64, group: &str) -> Notification {
        let alerts: Vec<_> = alerts
            .iter()
            .map(|alert| {
                let status = if alert.ends_with('!') { "firing" } else { "resolved" };
                let name = alert.trim_end_matches('!');
                serde_json::json!({
                    "status": status,
                    "labels": {"alertname": name, "region": "west"},
                    "annotations": {"summary": "it is\nso"},
                    "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
                    "generatorURL": "", "fingerprint": "0123456789abcdef",
                })
            })
            .collect();
        let text = serde_json::json!({
            "version": "4", "groupKey": format!("{{}}:{group}"), "truncatedAlerts": truncated,
            "status": "firing", "receiver": "pointsman", "groupLabels": {"alertname": group},
            "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://x", "alerts": alerts,
        });
        Notification::read(text.to_string().as_bytes()).unwrap()
    }

    struct Told {
        alerts: Alerts,
    }

    impl Told {
        fn tell(&mut self, second: u64, alerts: &[&str]) {
            self.tell_cut(second, alerts, 0, "g");
        }

        fn tell_cut(&mut self, second: u64, alerts: &[&str], truncated: u64, group: &str) {
            let matchers = [down()];
            let wanted = |labels: &Labels| matchers.iter().all(|matcher| matcher.holds(labels));
            self.alerts.take(&rule(), message(alerts, truncated, group), wanted, at(second));
        }

        fn level(&self, second: u64) -> String {
            let finding = self.alerts.level(&rule(), "prod", &[down()], at(0), at(second));
            format!("{}: {}", finding.word(), finding.words())
        }
    }

    fn down() -> LabelMatcher {
        LabelMatcher { label: "alertname".to_owned(), test: LabelTest::Is("Down".to_owned()), wanted: true }
    }

    #[test]
    fn firing_fails_and_resolved_passes() {
        let mut told = Told { alerts: Alerts::default() };
        assert!(told.level(5).starts_with("unknown: Alertmanager `prod` has told nothing yet, for 5s"));
        // It fired before we came, for all we know: it would be repeated within 80 s.
        told.tell(10, &["Watchdog!"]);
        assert!(told.level(30).starts_with("unknown: none of the alerts fires"), "{}", told.level(30));
        told.tell(70, &["Watchdog!"]);
        assert!(told.level(89).starts_with("unknown: none of the alerts fires"));
        assert_eq!(told.level(91), "pass: no such alert fires (Alertmanager `prod` was heard 21s ago)");
        told.tell(92, &["Down!"]);
        assert_eq!(told.level(92), "fail: `Down` fires: it is so");
        // A resend changes nothing.
        told.tell(95, &["Down!"]);
        assert_eq!(told.level(96), "fail: `Down` fires: it is so");
        told.tell(100, &["Down", "Other!"]);
        assert!(told.level(101).starts_with("pass: "), "{}", told.level(101));
        told.tell(102, &["Down"]);
        assert!(told.level(103).starts_with("pass: "));
    }

    #[test]
    fn at_the_start_a_firing_alert_counts_at_once_and_a_resolved_one_does_not() {
        let mut told = Told { alerts: Alerts::default() };
        told.tell(1, &["Down!"]);
        assert!(told.level(1).starts_with("fail: "));
        told.tell(2, &["Down"]);
        assert!(
            told.level(3).starts_with("unknown: none of the alerts fires"),
            "another one may: {}",
            told.level(3)
        );
    }

    #[test]
    fn silence_is_unknown_and_so_is_what_is_neither_repeated_nor_resolved() {
        let mut told = Told { alerts: Alerts::default() };
        told.tell(0, &["Watchdog!", "Down!"]);
        assert!(told.level(80).starts_with("fail: "));
        assert!(
            told.level(81).contains("told nothing for 1m21s (wanted every 1m20s); `Down` fired then"),
            "{}",
            told.level(81)
        );
        told.tell(82, &["Watchdog!"]);
        assert!(told.level(83).contains("neither repeated nor resolved for 1m23s"), "{}", told.level(83));
        for second in [140, 200, 260, 320] {
            told.tell(second, &["Watchdog!"]);
        }
        assert!(told.level(330).starts_with("unknown: `Down` fired"), "time heals nothing here");
        told.tell(331, &["Down"]);
        assert!(told.level(332).starts_with("pass: "), "{}", told.level(332));
        // A gap: what began in it has not been told yet.
        told.tell(500, &["Watchdog!"]);
        assert!(told.level(501).starts_with("unknown: none of the alerts fires"), "{}", told.level(501));
    }

    #[test]
    fn what_was_cut_off_or_missed_may_have_matched() {
        let mut told = Told { alerts: Alerts::default() };
        for second in [0, 60, 120] {
            told.tell(second, &["Watchdog!"]);
        }
        assert!(told.level(121).starts_with("pass: "));
        told.tell_cut(122, &["Other!"], 3, "Other");
        assert!(told.level(122).starts_with("pass: "), "none of that group can be ours");
        told.tell_cut(123, &["Down"], 3, "Down");
        assert!(told.level(123).contains("3 alerts of a group `Down` were cut off"), "{}", told.level(123));
        told.tell_cut(124, &["Down"], 0, "Down");
        assert!(told.level(124).starts_with("pass: "));
        told.alerts.miss("the body is too large".to_owned(), at(125));
        assert!(told.level(126).contains("could not be taken in: the body is too large"));
        told.tell(180, &["Watchdog!"]);
        assert!(told.level(206).starts_with("pass: "), "{}", told.level(206));
    }

    #[test]
    fn only_so_many_alerts_are_kept() {
        let mut told = Told { alerts: Alerts::default() };
        let mut message = message(&[], 0, "g");
        let alert = |n: usize, status| Alert {
            status,
            labels: [("alertname", "Down".to_owned()), ("n", n.to_string())]
                .map(|(k, v)| (k.to_owned(), v))
                .into(),
            annotations: Labels::new(),
        };
        message.alerts = (0..=FIRING_MAX).map(|n| alert(n, Status::Firing)).collect();
        told.alerts.take(&rule(), message.clone(), |_| true, at(0));
        assert!(told.level(1).ends_with(&format!("(and {} more)", FIRING_MAX - 1)), "{}", told.level(1));
        message.alerts = (0..=FIRING_MAX).map(|n| alert(n, Status::Resolved)).collect();
        told.alerts.take(&rule(), message, |_| true, at(60));
        assert!(told.level(80).contains("more than 2000 matching alerts"), "{}", told.level(80));
        assert!(told.alerts.firing.is_empty());
    }

    #[test]
    fn other_messages_are_none() {
        for (text, words) in [
            ("{}", "not a notification"),
            ("[1]", "not a notification"),
            (
                r#"{"version":"5","groupKey":"x","alerts":[]}"#,
                "version 5 of Alertmanager's webhook, wanted 4",
            ),
            (
                r#"{"version":"4","groupKey":"x","alerts":[{"status":"odd","labels":{}}]}"#,
                "not a notification",
            ),
        ] {
            let why = Notification::read(text.as_bytes()).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
