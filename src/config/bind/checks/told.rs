//! Checks of what others tell by themselves.

use crate::base::{Place, show_span};
use crate::config::bind::Binder;
use crate::config::bind::layers::Speaker;
use crate::config::model::{CheckKind, PushCheck};
use crate::config::spec;

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
}
