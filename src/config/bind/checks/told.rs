//! Checks of what others tell by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::Regex;

use crate::base::{Place, nearest, show_span};
use crate::config::bind::Binder;
use crate::config::bind::layers::Speaker;
use crate::config::model::{Alertmanager, AlertmanagerCheck, CheckKind, LabelMatcher, LabelTest, PushCheck};
use crate::config::read::{Entries, Placed};
use crate::config::spec;

/// Intervals of Alertmanager's routes; it takes any.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// What Alertmanager's own default is.
const GROUP_INTERVAL: Duration = Duration::from_secs(300);

impl Binder<'_> {
    pub(super) fn push(
        &mut self,
        speaker: Speaker<'_>,
        own: spec::PushCheck,
        shared: &spec::Schedule,
        place: &Place,
    ) -> Option<PushCheck> {
        self.is_told(speaker, shared, place);
        self.word(&own.name, "a target that reports itself");
        let name = own.name.value;
        let is_taken = |kind: &CheckKind| matches!(kind, CheckKind::Push(other) if other.name == name);
        if self.checks.iter().any(|(_, check)| is_taken(&check.kind)) {
            self.mistakes
                .error(&own.name.place, format!("two targets report themselves as `{name}`"))
                .help("reports go to /v1/push/NAME: each needs a name of its own");
        }
        let (ttl, least, most) = (own.ttl.value.0, PushCheck::TTL_MIN, PushCheck::TTL_MAX);
        if !(least..=most).contains(&ttl) {
            let (ttl, least, most) = (show_span(ttl), show_span(least), show_span(most));
            self.mistakes.error(&own.ttl.place, format!("a ttl of {ttl} is not between {least} and {most}"));
        }
        Some(PushCheck { token: self.secret(own.token), name, ttl, silence: own.silence })
    }

    /// Those who tell of alerts; tells where each is named.
    pub(in crate::config::bind) fn alertmanagers(
        &mut self,
        specs: Entries<spec::Alertmanager>,
    ) -> Vec<Placed<String>> {
        let mut named = Vec::new();
        for (name, spec) in specs.0 {
            self.word(&name, "an Alertmanager");
            let mut interval = |span: &Placed<spec::Span>, key: &str| {
                if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&span.value.0) {
                    let (least, most) = (show_span(INTERVAL_MIN), show_span(INTERVAL_MAX));
                    self.mistakes.error(&span.place, format!("`{key}` is not between {least} and {most}"));
                }
                span.value.0
            };
            let repeat_interval = interval(&spec.repeat_interval, "repeat_interval");
            let group_interval =
                spec.group_interval.as_ref().map_or(GROUP_INTERVAL, |span| interval(span, "group_interval"));
            let token = self.secret(spec.token);
            let alertmanager = Alertmanager { token, repeat_interval, group_interval };
            self.alertmanagers.insert(name.value.clone(), alertmanager);
            named.push(name);
        }
        named
    }

    /// One that no check goes by does nothing.
    pub(in crate::config::bind) fn idle_alertmanagers(&mut self, named: &[Placed<String>]) {
        for name in named {
            let uses =
                |kind: &CheckKind| matches!(kind, CheckKind::Alertmanager(own) if own.from == name.value);
            if !self.checks.iter().any(|(_, check)| uses(&check.kind)) {
                self.mistakes
                    .warn(&name.place, format!("no check goes by the alerts of `{}`", name.value))
                    .help(format!(
                        "write `- alertmanager: {{from: {}, matchers: […]}}` into a layer",
                        name.value
                    ));
            }
        }
    }

    pub(super) fn alertmanager(
        &mut self,
        speaker: Speaker<'_>,
        own: spec::AlertmanagerCheck,
        shared: &spec::Schedule,
        place: &Place,
    ) -> Option<AlertmanagerCheck> {
        self.is_told(speaker, shared, place);
        let found = self.alertmanagers.contains_key(&own.from.value).then_some(());
        if found.is_none() && !self.declared.contains(&("alertmanagers", own.from.value.clone())) {
            let meant = nearest(&own.from.value, self.alertmanagers.keys().map(String::as_str));
            let help = meant.map_or("name it under `alertmanagers`".to_owned(), |meant| {
                format!("did you mean `{meant}`?")
            });
            self.mistakes
                .error(&own.from.place, format!("there is no Alertmanager `{}`", own.from.value))
                .help(help);
        }
        let mut matchers = Vec::new();
        for text in &own.matchers.value {
            match matcher(&text.value) {
                Ok(matcher) => matchers.push(matcher),
                Err(why) => {
                    self.mistakes
                        .error(&text.place, format!("`{}` is not a matcher: {why}", text.value))
                        .help("write it as in Alertmanager: 'alertname=\"Down\"', 'severity=~\"page|critical\"'; also != and !~");
                }
            }
        }
        let sound = matchers.len() == own.matchers.value.len();
        if sound && matchers.iter().all(|matcher| matcher.holds(&BTreeMap::new())) {
            self.mistakes
                .error(
                    &own.matchers.place,
                    "these matchers hold for every alert, for one that always fires too",
                )
                .help("name the alerts that mean a failure, such as 'alertname=\"RegionDown\"'");
        }
        found?;
        sound.then_some(AlertmanagerCheck { from: own.from.value, matchers })
    }

    /// What is wrong about a check that asks nobody.
    fn is_told(&mut self, speaker: Speaker<'_>, shared: &spec::Schedule, place: &Place) {
        if speaker.region.is_none() {
            self.mistakes
                .error(
                    place,
                    "what others tell is no anchor: it shows that they reach us, not that we reach them",
                )
                .help("name a check of a target outside");
        }
        for (given, key) in [(shared.timeout.is_some(), "timeout"), (shared.source.is_some(), "source")] {
            if given {
                self.mistakes.error(place, format!("nobody is asked here, so that `{key}` means nothing"));
            }
        }
    }
}

/// `label="value"`, `label!="value"`, `label=~"regex"` or `label!~"regex"`; quotes may be left out
/// (Alertmanager, "Configuration", `<matcher>`).
fn matcher(text: &str) -> Result<LabelMatcher, String> {
    let at = text.find(['=', '!']).ok_or("there is no =, !=, =~ or !~ in it")?;
    let (label, rest) = (text[..at].trim(), &text[at..]);
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if label.is_empty() || !label.bytes().all(fine) || label.starts_with(|first: char| first.is_ascii_digit())
    {
        return Err(format!("`{label}` is not the name of a label"));
    }
    let operators = [("=~", true, true), ("!~", false, true), ("!=", false, false), ("=", true, false)];
    let found = operators
        .into_iter()
        .find_map(|(sign, wanted, regex)| Some((rest.strip_prefix(sign)?.trim(), wanted, regex)));
    let (value, wanted, is_regex) = found.ok_or("there is no =, !=, =~ or !~ in it")?;
    let value = match value.starts_with('"') {
        // Escapes are those of JSON, as far as anybody uses them.
        true => serde_json::from_str(value).map_err(|_| "its quotes or escapes are not sound")?,
        false => value.to_owned(),
    };
    let test = match is_regex {
        true => LabelTest::Matches(Box::new(
            Regex::new(&format!("^(?:{value})$"))
                .map_err(|why| format!("not a regular expression: {why}"))?,
        )),
        false => LabelTest::Is(value),
    };
    Ok(LabelMatcher { label: label.to_owned(), test, wanted })
}

#[cfg(test)]
mod tests {
    use crate::base::Source;
    use crate::config::{Surroundings, parse};

    fn said(layers: &str, more: &str) -> String {
        let around = Surroundings { directory: "/etc/x".into(), state: None, runtime: None, processors: 1 };
        let text = format!(
            "version: 1\nmode: observe\nsite: {{name: x}}\nlisten: {{dns: [\"127.0.0.1:53\"]}}\n{more}regions:\n  \
             west: {{layers: {{service: {layers}}}}}\n"
        );
        match parse(&Source::new("c.yaml", text), &around) {
            Ok((config, _)) => config.checks.names().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(mistakes) => mistakes.render(false),
        }
    }

    #[test]
    fn a_reporter_has_a_name_a_token_and_a_ttl() {
        let push = |more: &str| format!("{{push: {{name: a, token: {{env: T}}, ttl: 30s{more}}}}}");
        assert_eq!(said(&format!("[{}]", push("")), ""), "west/service/a");
        let anchor = format!("self_check: {{anchors: [{}]}}\n", push(""));
        for (layers, more, words) in [
            (format!("[{}, {}]", push(""), push("")), "", "two targets report themselves as `a`"),
            (format!("[{}]", push(", timeout: 1s")), "", "`timeout` means nothing"),
            (format!("[{}]", push(", source: 192.0.2.1")), "", "`source` means nothing"),
            (format!("[{}]", push(", silence: pass")), "", "unknown kind `pass`"),
            ("[{push: {name: a, token: {env: T}, ttl: 0s}}]".to_owned(), "", "not between 1s and 24h"),
            ("[{push: {name: a, token: {env: T}, ttl: 2d}}]".to_owned(), "", "not between 1s and 24h"),
            ("[{push: {name: a/b, token: {env: T}, ttl: 9s}}]".to_owned(), "", "`a/b` cannot name"),
            ("[{push: {name: a, token: hunter2, ttl: 9s}}]".to_owned(), "", "error"),
            ("[{push: {name: a, ttl: 9s}}]".to_owned(), "", "`token` is missing"),
            ("[]".to_owned(), anchor.as_str(), "is no anchor"),
        ] {
            let said = said(&layers, more);
            assert!(said.contains(words), "{layers}: {said}");
        }
    }

    #[test]
    fn matchers_are_alertmanagers() {
        let holds = |text: &str, value: &str| {
            let labels = [("a".to_owned(), value.to_owned())].into();
            super::matcher(text).unwrap().holds(&labels)
        };
        assert!(
            holds("a=x", "x")
                && holds(" a = \"x\" ", "x")
                && !holds("a=x", "xx")
                && holds("a=\"x=~y\"", "x=~y")
        );
        assert!(holds("a!=x", "y") && !holds("a!=\"x\"", "x"));
        assert!(holds("a=~\"x|y\"", "y") && !holds("a=~x|y", "xy"), "as a whole");
        assert!(holds("a!~x.*", "yx") && !holds("a!~\"x.*\"", "xy"));
        assert!(holds("b=\"\"", "x") && holds("b!=x", "x"), "a label that is missing is empty");
        for wrong in ["a", "=x", "1a=x", "a b=x", "a=\"x", "a=~(", "a!x", ""] {
            assert!(super::matcher(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn alerts_are_taken_from_one_that_is_named() {
        let named = "alertmanagers: {prod: {token: {env: T}, repeat_interval: 1m}}\n";
        let check = |from: &str, matchers: &str| {
            format!("[{{alertmanager: {{from: {from}, matchers: {matchers}}}}}]")
        };
        let good = check("prod", "[alertname=Down, 'region=~\"west|w.*\"']");
        assert_eq!(said(&good, named), "west/service/alertmanager");
        for (layers, more, words) in [
            (check("prof", "[alertname=Down]"), named, "did you mean `prod`?"),
            (check("prod", "[alertname]"), named, "`alertname` is not a matcher"),
            (check("prod", "['x!=\"1\"']"), named, "hold for every alert"),
            (check("prod", "[]"), named, "hold for every alert"),
            (good.clone(), &named.replace("1m", "500ms"), "`repeat_interval` is not between 1s and 168h"),
        ] {
            let said = said(&layers, more);
            assert!(said.contains(words), "{layers}: {said}");
        }
    }
}
