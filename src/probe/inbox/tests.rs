use std::time::Duration;

use super::*;
use crate::base::Source;
use crate::config::{self, Surroundings};

const SECOND: Duration = Duration::from_secs(1);

/// Two regions, with a reporter each; `a`'s silence fails.
fn config(ttl: &str) -> Config {
    let around = Surroundings { directory: "/etc/x".into(), state: None, runtime: None, processors: 1 };
    let text = format!(
        "version: 1\nmode: observe\nsite: {{name: x}}\nlisten: {{dns: [\"127.0.0.1:53\"]}}\nregions:\n  \
         west: {{layers: {{service: [{{push: {{name: a, token: {{env: A}}, ttl: {ttl}, silence: fail}}}}]}}}}\n  \
         east: {{layers: {{service: [{{push: {{name: b, token: {{env: B}}, ttl: {ttl}}}}}]}}}}\n"
    );
    match config::parse(&Source::new("c.yaml", text), &around) {
        Ok((config, _)) => config,
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    }
}

struct Desk {
    inbox: Inbox,
    sender: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
}

impl Desk {
    fn open(ttl: &str) -> Self {
        let (sender, reports) = mpsc::channel(4);
        let inbox = Inbox::default();
        inbox.open(&config(ttl), &sender, at(0.0));
        Self { inbox, sender, reports }
    }

    fn say(&self, name: &str, body: &str, now: f64) -> Result<(), Refusal> {
        let token = SecretRef::Env(name.to_uppercase());
        self.inbox.report(name, &token, Said::read(body.as_bytes()).unwrap(), at(now))
    }

    /// What has become a sample.
    fn heard(&mut self) -> Option<String> {
        match self.reports.try_recv().ok()? {
            Report::Sample(sample) => {
                assert!(sample.heard, "a report is an answer");
                Some(format!("{} {}", sample.check.0, sample.finding.words()))
            }
            Report::Round(_) => None,
        }
    }

    fn look(&self, check: u32, now: f64) -> Option<String> {
        let sample = self.inbox.look(CheckId(check), at(now))?;
        assert!(!sample.heard, "nothing was heard: others must vouch for it");
        Some(format!("{}: {}", sample.finding.word(), sample.finding.words()))
    }
}

fn at(seconds: f64) -> Mono {
    Mono(Duration::from_secs(1000) + Duration::from_secs_f64(seconds))
}

const PASS: &str = r#"{"status":"pass"}"#;

#[test]
fn a_report_is_a_sample_and_stands_for_its_ttl() {
    let mut desk = Desk::open("10s");
    assert_eq!(desk.look(1, 9.9), None, "it may still come");
    assert_eq!(
        desk.look(1, 11.0).unwrap(),
        "unknown: no report yet, 11s after the start (one stands for 10s)"
    );
    desk.say("b", r#"{"status":"fail","reason":"full"}"#, 12.0).unwrap();
    assert_eq!(desk.heard().unwrap(), "1 says fail: full");
    assert_eq!(desk.heard(), None, "once");
    assert_eq!(desk.look(1, 22.0), None, "nothing to add while it stands");
    assert_eq!(
        desk.look(1, 23.5).unwrap(),
        "unknown: no report for 11s (one stands for 10s); the last one says fail: full"
    );
    desk.inbox.refused("b", "the token is not this one's", at(24.0));
    desk.inbox.refused("b", "the token is not this one's", at(25.0));
    assert!(
        desk.look(1, 27.0)
            .unwrap()
            .ends_with("; 2 refused since, the last 2s ago: the token is not this one's")
    );
    desk.say("b", PASS, 28.0).unwrap();
    assert_eq!(desk.look(1, 30.0), None);
}

#[test]
fn what_is_refused_before_the_first_report_is_told_at_once() {
    let desk = Desk::open("10s");
    assert_eq!(desk.look(0, 1.0), None);
    desk.inbox.refused("a", "wrong token", at(1.0));
    let told = "unknown: no report yet, 2s after the start (one stands for 10s); 1 refused since, the last 1s ago: wrong token";
    assert_eq!(desk.look(0, 2.0).unwrap(), told, "no failure before the ttl is over");
    assert!(desk.look(0, 11.0).unwrap().starts_with("fail: "));
}

#[test]
fn silence_fails_where_that_is_said_and_reports_from_elsewhere_still_arrive() {
    let desk = Desk::open("10s");
    assert!(
        desk.look(0, 11.0).unwrap().starts_with("fail: no report yet"),
        "there is nothing to compare with"
    );
    desk.say("a", PASS, 20.0).unwrap();
    desk.say("b", PASS, 25.0).unwrap();
    assert!(desk.look(0, 31.0).unwrap().starts_with("fail: no report for 11s"), "b was heard meanwhile");
    let cut_off = desk.look(0, 40.0).unwrap();
    assert!(
        cut_off.starts_with("unknown: ") && cut_off.ends_with("our own listener may be cut off"),
        "{cut_off}"
    );
    desk.say("b", PASS, 41.0).unwrap();
    assert!(desk.look(0, 42.0).unwrap().starts_with("fail: "));
    let sample = desk.inbox.look(CheckId(0), at(42.0)).unwrap();
    assert_eq!(sample.took, SECOND * 10, "others must have answered for as long");
}

#[test]
fn what_is_old_or_too_much_is_refused() {
    let mut desk = Desk::open("10s");
    let with = |sequence: u64| format!(r#"{{"status":"pass","sequence":{sequence}}}"#);
    desk.say("a", PASS, 0.0).unwrap();
    assert_eq!(desk.say("a", PASS, 0.05), Err(Refusal::TooSoon));
    desk.say("b", PASS, 0.05).unwrap();
    desk.say("a", &with(7), 1.0).unwrap();
    for old in [with(7), with(6), PASS.to_owned()] {
        assert_eq!(desk.say("a", &old, 2.0), Err(Refusal::Replayed { newest: 7 }));
    }
    desk.say("a", &with(8), 3.0).unwrap();
    assert_eq!(desk.say("a", &with(9), 4.0), Err(Refusal::Busy), "nobody takes them");
    while desk.heard().is_some() {}
    desk.say("a", &with(9), 4.0).unwrap();
    assert_eq!(desk.say("c", PASS, 5.0), Err(Refusal::Unexpected));
    let (wrong, said) = (SecretRef::Env("OLD".to_owned()), Said::read(PASS.as_bytes()).unwrap());
    assert_eq!(desk.inbox.report("a", &wrong, said, at(5.0)), Err(Refusal::Unexpected));
    drop(desk.sender);
    assert_eq!(
        desk.inbox.report("b", &SecretRef::Env("B".into()), Said::read(PASS.as_bytes()).unwrap(), at(9.0)),
        Err(Refusal::Closed)
    );
}

#[test]
fn another_configuration_goes_on_from_what_was_reported() {
    let desk = Desk::open("10s");
    desk.say("b", PASS, 0.0).unwrap();
    desk.inbox.open(&config("20s"), &desk.sender, at(5.0));
    assert_eq!(desk.look(1, 19.0), None);
    assert!(desk.look(1, 21.0).unwrap().contains("no report for 21s (one stands for 20s)"));
}
