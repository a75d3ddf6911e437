//! Checks of what others tell by themselves: nobody is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::Regex;

use crate::base::SecretRef;

/// Takes what a target reports of itself.
#[derive(Clone, Debug)]
pub struct PushCheck {
    /// What reports name it by; no two have the same.
    pub name: String,
    /// What a report must show.
    pub token: SecretRef,
    /// For how long a report stands.
    pub ttl: Duration,
    /// What it means that no report stands.
    pub silence: Silence,
}

impl PushCheck {
    /// A report stands for so long at least: a shorter time would be lost to one retry on the way.
    pub const TTL_MIN: Duration = Duration::from_secs(1);
    /// A report stands for so long at most: one that is older says nothing of today.
    pub const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
}

/// What it means that a target no longer reports itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Silence {
    /// It was not measured. Whoever reports may have died and not what it reports on, its token
    /// may have changed, its way here may be closed: we cannot ask back.
    #[default]
    Unknown,
    /// It does not work, unless the silence may be our own.
    Fail,
}

/// An Alertmanager that tells us of alerts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alertmanager {
    /// What its notifications must show.
    pub token: SecretRef,
    /// It repeats what fires as often, by the route that leads here.
    pub repeat_interval: Duration,
    /// It looks as often whether a group has news, by that route.
    pub group_interval: Duration,
}

/// Takes the alerts of an Alertmanager for the check's own word: firing is a failure.
#[derive(Clone, Debug)]
pub struct AlertmanagerCheck {
    /// Which one.
    pub from: String,
    /// Which alerts: those for which all of these hold.
    pub matchers: Vec<LabelMatcher>,
}

/// A test of one label; one that is missing is empty (Prometheus, "Querying basics").
#[derive(Clone, Debug)]
pub struct LabelMatcher {
    /// Its name.
    pub label: String,
    /// What is tested.
    pub test: LabelTest,
    /// The test must hold; else it must not.
    pub wanted: bool,
}

/// What a label is tested for.
#[derive(Clone, Debug)]
pub enum LabelTest {
    /// It is this.
    Is(String),
    /// It is, as a whole, a match of this.
    Matches(Box<Regex>),
}

impl LabelMatcher {
    /// Whether it holds for these labels.
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        let is = match &self.test {
            LabelTest::Is(text) => value == text,
            LabelTest::Matches(regex) => regex.is_match(value),
        };
        is == self.wanted
    }
}
