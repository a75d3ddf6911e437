//! Targets that report themselves, to the daemon as it is shipped.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::daemon::Daemon;
use common::{ports, until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon with two regions: `west` reports itself, `east` can be asked.
struct Site {
    daemon: Daemon,
    http: SocketAddr,
    _east: TcpListener,
}

impl Site {
    fn start(name: &str, push: &str) -> Self {
        let east = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let mut daemon = Daemon::prepare(name);
        daemon.http = Some(http);
        let text = format!(
            "version: 1
mode: answer
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"], http: \"{http}\", control: control.sock}}
zones: [{{name: gtm.example.com, file: gtm.example.com.zone}}]
dns: {{open_after: 1s}}
defaults: {{check: {{interval: 300ms, timeout: 250ms, fall: 1, rise: 1}}}}
regions:
  west: {{layers: {{service: [{{push: {{name: orders, token: {{file: token}}, {push}}}}}]}}}}
  east: {{layers: {{reach: [{{tcp: {{address: \"{}\"}}}}]}}}}
services:
  shop:
    names: [shop.gtm.example.com]
    policy: {{failover: [west, east]}}
    answers: {{west: {{a: [192.0.2.1]}}, east: {{a: [192.0.2.2]}}}}
    ttl: {{min: 1s, max: 5s}}
    failback: {{auto: {{after: 1s}}}}
store: {{embedded: {{path: state}}}}
",
            east.local_addr().unwrap()
        );
        daemon.write("pointsman.yaml", &text);
        daemon.write("token", "hunter2\n");
        daemon.start();
        Self { daemon, http, _east: east }
    }

    /// Sends a report; status, and what is said to it.
    fn send(&self, name: &str, token: &str, body: &str) -> (u16, String) {
        let authorization =
            if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST /v1/push/{name} HTTP/1.1\r\nhost: pointsman\r\nconnection: close\r\n{authorization}content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // Who is refused may be answered before all is sent.
        let _ = stream.write_all(body.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
        let body: Value = serde_json::from_str(body).unwrap();
        let words = body["said"].as_str().or(body["detail"].as_str()).unwrap().to_owned();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), words)
    }

    /// Reports, in time for the next one too.
    #[track_caller]
    fn report(&self, report: &Value) {
        std::thread::sleep(Duration::from_millis(110));
        let (status, words) = self.send("orders", "hunter2", &report.to_string());
        assert_eq!(status, 200, "{words}");
    }

    #[track_caller]
    fn until_west(&self, health: &str) {
        until(&format!("west to be {health}"), PATIENCE, || self.daemon.health("west") == health);
    }

    fn why(&self) -> String {
        self.daemon.region("west")["why"].as_str().unwrap().to_owned()
    }
}

fn pass() -> Value {
    json!({"status": "pass"})
}

#[test]
fn a_target_reports_itself_and_its_answers_follow() {
    let mut site = Site::start("push", "ttl: 2s");
    assert_eq!(site.daemon.health("west"), "unknown", "until the first report");
    site.report(&json!({"status": "pass", "reason": "drained", "facts": {"lag_seconds": 0.5}}));
    site.until_west("healthy");
    let check = site.daemon.region("west")["checks"][0].clone();
    assert_eq!(check["name"], "west/service/orders");
    assert_eq!(check["reason"], "says pass: drained (lag_seconds 0.5)");
    assert_eq!(site.daemon.addresses("shop.gtm.example.com"), ["192.0.2.1"]);

    site.report(&json!({"status": "fail", "reason": "disk full"}));
    site.until_west("unreachable");
    assert!(site.why().ends_with("says fail: disk full"), "{}", site.why());
    assert_eq!(site.daemon.addresses("shop.gtm.example.com"), ["192.0.2.2"]);
    let probed = site.daemon.cli(&["probe", "west/service/orders"]);
    assert_eq!(probed.code, Some(1), "{probed}");
    assert!(probed.out.contains("fail: says fail: disk full"), "{probed}");
    assert!(probed.out.contains("POST /v1/push/orders"), "{probed}");

    // Silence changes nothing, and says why.
    site.until_west("unknown");
    assert_eq!(site.daemon.region("west")["last_known"], "unreachable");
    assert_eq!(site.daemon.addresses("shop.gtm.example.com"), ["192.0.2.2"]);
    let words = "(one stands for 2s); the last one says fail: disk full";
    assert!(site.why().contains(words), "{}", site.why());

    // After ten intervals that is told, once, and again when it is over.
    let lines = |event: &str| site.daemon.log().matches(&format!("\"{event}\"")).count();
    until("the log to tell of it", PATIENCE, || lines("check.unmeasured") > 0);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((lines("check.unmeasured"), lines("check.measured")), (1, 0));
    let told = site.daemon.event("check.unmeasured");
    assert_eq!(told["check"], "west/service/orders");

    // A restart knows of no report, and keeps what the region was known to be.
    site.report(&pass());
    site.until_west("healthy");
    until("the log to tell of its end", PATIENCE, || lines("check.measured") == 1);
    assert_eq!(lines("check.unmeasured"), 1);
    site.daemon.stop();
    site.daemon.start();
    let west = site.daemon.region("west");
    assert_eq!((&west["health"], &west["last_known"]), (&json!("unknown"), &json!("healthy")));
    site.report(&pass());
    site.until_west("healthy");
    let counted = "pointsman_push_reports_total{check=\"west/service/orders\",says=\"pass\"}";
    assert_eq!(site.daemon.metric(counted), Some(1.0));
    let age = site.daemon.metric("pointsman_push_age_seconds{check=\"west/service/orders\"}").unwrap();
    assert!((0.0..10.0).contains(&age), "{age}");
}

#[test]
fn only_what_shows_the_token_is_taken_in() {
    let site = Site::start("push-token", "ttl: 1s");
    let good = pass().to_string();
    let (status, words) = site.send("orders", "", &good);
    assert_eq!(status, 401, "{words}");
    let wrong = site.send("orders", "hunter3", &good);
    assert_eq!(wrong.0, 401);
    assert_eq!(site.send("nobody", "hunter2", &good), wrong, "who guesses names learns nothing");
    assert_eq!(site.send("orders", "hunter2", "pass").0, 400);
    assert_eq!(site.send("orders", "hunter2", &"x".repeat(20_000)).0, 413);
    assert_eq!(site.send("orders", "wrong", &"x".repeat(20_000)).0, 401, "before the body is looked at");
    let answer = site.daemon.request("GET", "/v1/push/orders", "").unwrap();
    assert_eq!(answer.0, 405, "nothing is to be read there");
    until("the refusals to be told", PATIENCE, || site.why().contains("refused since"));
    assert_eq!(site.daemon.metric("pointsman_push_refused_total{to=\"push\",why=\"denied\"}"), Some(4.0));
    assert!(!site.daemon.log().contains("hunter"), "a token in the log");

    // Rotated without a restart.
    site.report(&pass());
    site.daemon.write("token", "correct horse");
    assert_eq!(site.send("orders", "hunter2", &good).0, 401);
    std::thread::sleep(Duration::from_millis(110));
    assert_eq!(site.send("orders", "correct horse", &good).0, 200);
    std::fs::remove_file(site.daemon.directory().join("token")).unwrap();
    let (status, words) = site.send("orders", "correct horse", &good);
    assert_eq!(status, 503, "our own trouble: {words}");

    let mut slow = TcpStream::connect(site.http).unwrap();
    site.daemon.write("token", "hunter2");
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /v1/push/orders HTTP/1.1\r\nhost: p\r\nauthorization: Bearer hunter2\r\ncontent-length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408", "a body that never comes");
}

#[test]
fn silence_that_fails_withdraws_the_region() {
    let site = Site::start("push-silence", "ttl: 1s, silence: fail");
    site.report(&pass());
    site.until_west("healthy");
    // The other region answers meanwhile: the silence is not our own.
    site.until_west("unreachable");
    assert!(site.why().contains("no report for "), "{}", site.why());
    assert_eq!(site.daemon.addresses("shop.gtm.example.com"), ["192.0.2.2"]);
    site.report(&pass());
    site.until_west("healthy");
}
