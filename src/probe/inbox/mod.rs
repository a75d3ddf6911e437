//! What others tell by themselves: reports of targets, and alerts. Both become samples like any other.
//!
//! A report is a sample at the moment in which it arrives, so that `rise` and `fall` count reports.
//! The timetable looks at each reporter on its interval, and finds something only once no report
//! stands any more:
//!
//! ```text
//!            report                        no report within the ttl
//!  waiting ─────────► stands: a sample ────────────────────────────► silent: a sample at each look
//!     │                  ▲                                              │
//!     └──── ttl ─────────┼──────────────────────────────────────────────┤
//!                        └────────────────── report ────────────────────┘
//! ```
//!
//! Alerts are a level, not an event: what [`alerts`] knows is looked at on the check's interval, and each
//! look is a sample.
//!
//! Age is counted on our monotonic clock from the arrival, whatever clock the target has. Nothing
//! of it outlives the process: a report from before a restart is not known to stand.

mod alerts;
mod refused;
mod reporter;
mod word;

pub use alerts::Notification;
pub use word::{Said, Says};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::mpsc;

use self::alerts::Alerts;
use self::reporter::{Memory, Reporter, Stand};
use super::Report;
use crate::base::{CheckId, Mono, RegionId, SecretRef, show_span};
use crate::config::{Alertmanager, CheckKind, Config, LabelMatcher};
use crate::health::{Finding, Sample};

/// Takes in what others tell. Clones share it; it goes on from one configuration to the next.
#[derive(Clone, Default, Debug)]
pub struct Inbox(Arc<Mutex<Room>>);

#[derive(Default, Debug)]
struct Room {
    /// Where samples go; weak, so that they end with the probes of the configuration.
    reports: Option<mpsc::WeakSender<Report>>,
    /// By the name that reports carry.
    reporters: BTreeMap<String, Reporter>,
    /// By the name that notifications carry.
    alertmanagers: BTreeMap<String, Teller>,
    /// Which check is whose.
    checks: BTreeMap<CheckId, Whose>,
    /// When a report arrived from each region last.
    arrived: BTreeMap<RegionId, Mono>,
}

/// Who tells of a check, by name.
#[derive(Clone, Debug)]
enum Whose {
    Reporter(String),
    Alertmanager(String),
}

/// An Alertmanager and the checks that go by it.
#[derive(Debug)]
struct Teller {
    rule: Alertmanager,
    known: Alerts,
    listeners: BTreeMap<CheckId, Listener>,
}

#[derive(Debug)]
struct Listener {
    matchers: Vec<LabelMatcher>,
    /// Since when it goes by these.
    since: Mono,
}

impl Teller {
    fn wants(&self, labels: &BTreeMap<String, String>) -> bool {
        let mut listeners = self.listeners.values();
        listeners.any(|listener| listener.matchers.iter().all(|matcher| matcher.holds(labels)))
    }
}

/// Why what was told is not taken in.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody of that name is expected to report, by now.
    #[error("nobody is expected to report itself by that name")]
    Unexpected,
    /// The daemon is stopping, or hands over to another process.
    #[error("this daemon takes nothing in any more: it stops, or hands over to another one; send it again")]
    Closed,
    /// More comes in than is taken in.
    #[error("the daemon is too busy; send it again")]
    Busy,
    /// The one before came a moment ago.
    #[error("the report before came less than {}ms ago; send it again in a moment", reporter::GAP_MIN.as_millis())]
    TooSoon,
    /// A report that is older than one which was taken in, or the same again.
    #[error("a report of sequence {newest} was taken in already: each must have a greater one")]
    Replayed {
        /// The newest.
        newest: u64,
    },
}

impl Refusal {
    /// In one word, for labels.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unexpected => "unexpected",
            Self::Closed => "closed",
            Self::Busy => "busy",
            Self::TooSoon => "too_soon",
            Self::Replayed { .. } => "replayed",
        }
    }
}

impl Inbox {
    /// Expects what a configuration says. Samples speak of it by its ids from here on.
    pub(super) fn open(&self, config: &Config, reports: &mpsc::Sender<Report>, now: Mono) {
        let mut room = self.room();
        room.reports = Some(reports.downgrade());
        room.open_alerts(config, now);
        let before = std::mem::take(&mut room.reporters);
        let mut before: BTreeMap<_, _> =
            before.into_iter().map(|(name, reporter)| (name, reporter.known)).collect();
        for (check, spec) in config.checks.iter() {
            let (CheckKind::Push(push), Some(region)) = (&spec.kind, spec.region) else { continue };
            let (shown, rule) = (config.checks.name(check).to_string(), push.clone());
            let known = before.remove(&push.name).unwrap_or_else(|| Memory::new(now));
            room.checks.insert(check, Whose::Reporter(push.name.clone()));
            room.reporters.insert(push.name.clone(), Reporter { check, shown, region, rule, known });
        }
        // Regions may have other ids now.
        let arrivals = room.reporters.values().filter_map(|one| Some((one.region, one.known.newest_at()?)));
        let mut arrived = BTreeMap::new();
        for (region, at) in arrivals {
            let newest = arrived.entry(region).or_insert(at);
            *newest = at.max(*newest);
        }
        room.arrived = arrived;
    }

    /// What a report by that name must show.
    pub fn token_of(&self, name: &str) -> Option<SecretRef> {
        self.room().reporters.get(name).map(|reporter| reporter.rule.token.clone())
    }

    /// Takes a report in that has shown this token.
    ///
    /// # Errors
    /// It is not taken in.
    pub fn report(&self, name: &str, token: &SecretRef, said: Said, now: Mono) -> Result<(), Refusal> {
        let mut room = self.room();
        let reports = room.reports.as_ref().and_then(mpsc::WeakSender::upgrade).ok_or(Refusal::Closed)?;
        let reporter = room.reporters.get_mut(name).filter(|reporter| reporter.rule.token == *token);
        let reporter = reporter.ok_or(Refusal::Unexpected)?;
        reporter.may_report(&said, now)?;
        let place = reports.try_reserve().map_err(|why| match why {
            mpsc::error::TrySendError::Full(()) => Refusal::Busy,
            mpsc::error::TrySendError::Closed(()) => Refusal::Closed,
        })?;
        let shown = reporter.shown.clone();
        counter!("pointsman_push_reports_total", "check" => shown, "says" => said.says.word()).increment(1);
        let (check, region, finding) = (reporter.check, reporter.region, reporter.take(&said, now));
        room.arrived.insert(region, now);
        place.send(Report::Sample(sample(check, finding, true, Duration::ZERO)));
        Ok(())
    }

    /// Notes that something was refused which came in this name, so that whoever looks for the
    /// reason of a silence finds it.
    pub fn refused(&self, name: &str, words: &str, now: Mono) {
        if let Some(reporter) = self.room().reporters.get_mut(name) {
            reporter.known.refused.note(words, now);
        }
    }

    /// What a notification by that name must show.
    pub fn token_of_alertmanager(&self, name: &str) -> Option<SecretRef> {
        self.room().alertmanagers.get(name).map(|teller| teller.rule.token.clone())
    }

    /// Takes a notification in that has shown this token.
    ///
    /// # Errors
    /// Nobody of that name is expected any more.
    pub fn notify(
        &self,
        name: &str,
        token: &SecretRef,
        told: Notification,
        now: Mono,
    ) -> Result<(), Refusal> {
        let mut room = self.room();
        let teller = room.alertmanagers.get_mut(name).filter(|teller| teller.rule.token == *token);
        let teller = teller.ok_or(Refusal::Unexpected)?;
        counter!("pointsman_alertmanager_notifications_total", "alertmanager" => name.to_owned())
            .increment(1);
        let mut known = std::mem::take(&mut teller.known);
        known.take(&teller.rule, told, |labels| teller.wants(labels), now);
        teller.known = known;
        Ok(())
    }

    /// Notes that a notification was refused; `missed`: though it has shown the token, so that
    /// something was told and is not known.
    pub fn not_notified(&self, name: &str, words: &str, missed: bool, now: Mono) {
        if let Some(teller) = self.room().alertmanagers.get_mut(name) {
            match missed {
                true => teller.known.miss(words.to_owned(), now),
                false => teller.known.refused.note(words, now),
            }
        }
    }

    /// What there is to say of a check that nobody is asked about; of a target that reports itself
    /// nothing, as long as a report stands.
    pub(super) fn look(&self, check: CheckId, now: Mono) -> Option<Sample> {
        let room = self.room();
        let name = match room.checks.get(&check)? {
            Whose::Reporter(name) => name,
            Whose::Alertmanager(name) => {
                let Teller { rule, known, listeners } = room.alertmanagers.get(name)?;
                let Listener { matchers, since } = listeners.get(&check)?;
                let finding = known.level(rule, name, matchers, *since, now);
                return Some(sample(check, finding, true, Duration::ZERO));
            }
        };
        let reporter = room.reporters.get(name)?;
        let Stand::Silent { words, fails } = reporter.stand(now) else { return None };
        let finding = match (fails, room.hears_others(reporter, now)) {
            (false, _) => Finding::Unknown(words),
            (true, Some(false)) => Finding::Unknown(format!(
                "{words}; no reports from other regions arrive either, so that our own listener may be cut off"
            )),
            (true, _) => Finding::Fail(words),
        };
        // It was silent for its ttl: for so long others must have answered to vouch for that.
        Some(sample(check, finding, false, reporter.rule.ttl))
    }

    /// Sets the gauges.
    pub fn measure(&self, now: Mono) {
        let room = self.room();
        for (name, teller) in &room.alertmanagers {
            if let Some(age) = teller.known.age(now) {
                let name = name.clone();
                gauge!("pointsman_alertmanager_age_seconds", "alertmanager" => name).set(age.as_secs_f64());
            }
        }
        for reporter in room.reporters.values() {
            if let Some(age) = reporter.age(now) {
                let shown = reporter.shown.clone();
                gauge!("pointsman_push_age_seconds", "check" => shown).set(age.as_secs_f64());
            }
        }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn open_alerts(&mut self, config: &Config, now: Mono) {
        self.checks.clear();
        let mut before = std::mem::take(&mut self.alertmanagers);
        for (name, rule) in &config.alertmanagers {
            let before = before.remove(name);
            let (known, heard) =
                before.map_or_else(Default::default, |teller| (teller.known, teller.listeners));
            let mut teller = Teller { rule: rule.clone(), known, listeners: BTreeMap::new() };
            for (check, spec) in config.checks.iter() {
                let CheckKind::Alertmanager(own) = &spec.kind else { continue };
                if own.from != *name {
                    continue;
                }
                // By other matchers it has heard of nothing yet.
                let same =
                    |other: &&Listener| format!("{:?}", other.matchers) == format!("{:?}", own.matchers);
                let since = heard.values().find(same).map_or(now, |other| other.since);
                teller.listeners.insert(check, Listener { matchers: own.matchers.clone(), since });
                self.checks.insert(check, Whose::Alertmanager(name.clone()));
            }
            let mut known = std::mem::take(&mut teller.known);
            known.prune(|labels| teller.wants(labels));
            teller.known = known;
            self.alertmanagers.insert(name.clone(), teller);
        }
    }

    /// Whether reports from other regions have arrived while this one was silent; none if none ever
    /// have, so that there is nothing to compare with.
    fn hears_others(&self, silent: &Reporter, now: Mono) -> Option<bool> {
        let others = self.arrived.iter().filter(|(region, _)| **region != silent.region);
        let newest = others.map(|(_, at)| now.since(*at)).min()?;
        Some(newest <= silent.rule.ttl)
    }
}

fn sample(check: CheckId, finding: Finding, heard: bool, took: Duration) -> Sample {
    Sample { check, finding, heard, took }
}

/// In whole seconds, which is enough for ages.
fn show(span: Duration) -> String {
    show_span(Duration::from_secs(span.as_secs()))
}

#[cfg(test)]
mod tests;
