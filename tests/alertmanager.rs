//! Alerts as a sense: the daemon as it is shipped, told by a real Alertmanager.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use common::daemon::Daemon;
use common::{Program, find, ports, until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(40);

/// A daemon whose region `west` goes by alerts of a real Alertmanager.
struct Scene {
    daemon: Daemon,
    alertmanager: Option<Program>,
    program: std::path::PathBuf,
    api: SocketAddr,
    http: SocketAddr,
}

impl Scene {
    /// None: there is no Alertmanager here.
    fn start(name: &str) -> Option<Self> {
        let program = find("prometheus-alertmanager", "prometheus-alertmanager", &[])?;
        let [api, http] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], ports::free())));
        let mut daemon = Daemon::prepare(name);
        daemon.http = Some(http);
        let text = format!(
            "version: 1
mode: answer
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"], http: \"{http}\", control: control.sock}}
zones: [{{name: gtm.example.com, file: gtm.example.com.zone}}]
dns: {{open_after: 1s}}
defaults: {{check: {{interval: 200ms, timeout: 150ms, fall: 1, rise: 1}}}}
alertmanagers:
  prod: {{token: {{file: token}}, repeat_interval: 2s, group_interval: 1s}}
regions:
  west:
    layers: {{service: [{{alertmanager: {{from: prod, matchers: ['alertname=~\"Down|Lost\"', region=west]}}}}]}}
services:
  shop:
    names: [shop.gtm.example.com]
    policy: {{all: [west]}}
    answers: {{west: {{a: [192.0.2.1]}}}}
    ttl: {{min: 1s, max: 5s}}
    failback: {{auto: {{after: 1s}}}}
store: {{embedded: {{path: state}}}}
"
        );
        daemon.write("pointsman.yaml", &text);
        daemon.write("token", "hunter2\n");
        daemon.start();
        Some(Self { daemon, alertmanager: None, program, api, http })
    }

    /// Starts Alertmanager with this token and this much more to say of the webhook.
    fn start_alertmanager(&mut self, token: &str, more: &str) {
        let text = format!(
            "route: {{receiver: pointsman, group_by: [alertname], group_wait: 200ms, group_interval: 1s, repeat_interval: 2s}}
receivers:
  - name: pointsman
    webhook_configs:
      - url: \"http://{}/v1/alertmanager/prod\"
        http_config: {{authorization: {{credentials: {token}}}}}
        {more}
",
            self.http
        );
        self.daemon.write("alertmanager.yml", &text);
        let directory = self.daemon.directory();
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--config.file={}", directory.join("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", directory.join("alertmanager").display()))
            .arg(format!("--web.listen-address={}", self.api))
            .arg("--cluster.listen-address=");
        self.alertmanager =
            Some(Program::start(&mut command, "alertmanager", &directory.join("alertmanager.log")));
        until("Alertmanager to be ready", PATIENCE, || {
            self.ask("GET", "/-/ready", "").is_some_and(|(status, _)| status == 200)
        });
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.api, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: am\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) {
        let (status, said) = self.ask("POST", path, &body.to_string()).unwrap();
        assert_eq!(status, 200, "{said}");
    }

    /// What Prometheus would tell Alertmanager.
    fn alert(&self, name: &str, region: &str, fires: bool) {
        let ends = if fires { "2099-01-01T00:00:00Z" } else { "2026-01-02T00:00:00Z" };
        let alert = json!([{
            "labels": {"alertname": name, "region": region},
            "annotations": {"summary": format!("{name} in {region}")},
            "startsAt": "2026-01-01T00:00:00Z", "endsAt": ends,
        }]);
        self.post("/api/v2/alerts", &alert);
    }

    fn why(&self) -> String {
        self.daemon.region("west")["why"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn until(&self, health: &str, words: &str) {
        let came = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(&format!("west to be {health}: {words}"), PATIENCE, || {
                std::thread::sleep(Duration::from_millis(50));
                let west = self.daemon.region("west");
                west["health"] == health && west["why"].as_str().unwrap().contains(words)
            });
        }));
        assert!(came.is_ok(), "{}", self.daemon.region("west"));
    }
}

#[test]
fn alerts_of_a_real_alertmanager_fail_and_pass() {
    let Some(mut scene) = Scene::start("alertmanager") else { return };
    scene.until("unknown", "has told nothing yet");
    scene.start_alertmanager("hunter2", "");
    // Nothing fires, and nobody knows whether that is so.
    scene.alert("Watchdog", "none", true);
    scene.until("unknown", "none of the alerts fires that Alertmanager `prod` told of");
    scene.until("healthy", "");
    scene.alert("Down", "east", true);
    scene.alert("Down", "west", true);
    scene.until("unreachable", "`Down` fires: Down in west");
    scene.alert("Lost", "west", true);
    scene.alert("Down", "west", false);
    scene.until("unreachable", "`Lost` fires");
    scene.alert("Lost", "west", false);
    scene.until("healthy", "");
    let notified = scene.daemon.metric("pointsman_alertmanager_notifications_total{alertmanager=\"prod\"}");
    assert!(notified > Some(4.0), "{notified:?}");
    let probed = scene.daemon.cli(&["probe", "west"]);
    assert!(probed.succeeded() && probed.out.contains("POST /v1/alertmanager/prod"), "{probed}");

    // Silenced there: nobody knows any more here.
    scene.alert("Down", "west", true);
    scene.until("unreachable", "`Down` fires");
    let silence = json!({
        "matchers": [{"name": "alertname", "value": "Down", "isRegex": false}],
        "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z", "createdBy": "x", "comment": "x",
    });
    scene.post("/api/v2/silences", &silence);
    scene.until("unknown", "neither repeated nor resolved");
    assert_eq!(scene.daemon.region("west")["last_known"], "unreachable", "unknown changes nothing");

    scene.alertmanager = None;
    scene.until("unknown", "has told nothing for");
}

#[test]
fn what_a_real_alertmanager_cuts_off_or_may_not_say_is_unknown() {
    let Some(mut scene) = Scene::start("alertmanager-cut") else { return };
    scene.start_alertmanager("wrong", "");
    scene.alert("Watchdog", "none", true);
    scene.until("unknown", "refused since, the last");
    scene.until("unknown", "do not belong together");
    scene.alertmanager = None;

    scene.start_alertmanager("hunter2", "max_alerts: 1");
    scene.alert("Watchdog", "none", true);
    scene.until("healthy", "");
    for region in ["south", "north"] {
        scene.alert("Down", region, true);
    }
    scene.until("unknown", "1 alerts of a group `Down` were cut off");
    assert!(scene.why().contains("max_alerts"), "{}", scene.why());
    // Those of other names cannot be ours.
    for region in ["south", "north"] {
        scene.alert("Down", region, false);
        scene.alert("Other", region, true);
    }
    scene.until("healthy", "");
}
