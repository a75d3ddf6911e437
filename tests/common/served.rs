//! The daemon on a host of its own, watching one cluster whose members lie in a region each.

use std::time::Duration;

use serde_json::Value;

use super::daemon::{BINARY, Daemon};
use super::net::Net;
use super::{now, until};

/// A daemon and what it watches.
pub struct Served {
    pub daemon: Daemon,
}

impl Served {
    /// Starts it on a host. `system` is what stands under the cluster's name, its members apart.
    pub fn start(net: &Net, site: usize, name: &str, kind: &str, members: &[String], options: &str) -> Self {
        let (mut across, mut regions, mut answers) = (String::new(), String::new(), String::new());
        for (n, member) in members.iter().enumerate() {
            across += &format!("        r{n}: [\"{member}\"]\n");
            regions += &format!("  r{n}: {{layers: {{quorum: [watched]}}}}\n");
            answers += &format!("      r{n}: {{a: [192.0.2.{}]}}\n", n + 1);
        }
        let listed: Vec<_> = (0..members.len()).map(|n| format!("r{n}")).collect();
        let options: String = options.lines().map(|line| format!("      {line}\n")).collect();
        let text = format!(
            "version: 1
mode: act
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"], control: control.sock}}
zones: [{{name: gtm.example.com, file: gtm.example.com.zone}}]
clusters:
  watched:
    {kind}:
      across:
{across}{options}regions:
{regions}services:
  shop:
    names: [shop.gtm.example.com]
    policy: {{all: [{regions_listed}]}}
    switched_by: health
    answers:
{answers}    ttl: {{min: 1s, max: 5s}}
    all_down: serve_all
    failback: {{auto: {{after: 1s}}}}
store: {{embedded: {{path: state}}}}
",
            regions_listed = listed.join(", "),
        );
        let mut daemon = Daemon::prepare(name);
        daemon.write("pointsman.yaml", &text);
        daemon.write("password", "guest");
        daemon.start_by(net.on(site, BINARY));
        Self { daemon }
    }

    /// The group as the status shows it.
    pub fn group(&self) -> Value {
        self.daemon.get("/v1/status")["groups"][0].clone()
    }

    pub fn standing(&self) -> String {
        self.group()["standing"].as_str().unwrap_or("none").to_owned()
    }

    pub fn reason(&self) -> String {
        self.group()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits for a standing, and tells how long that took. None of `never` may be seen before.
    #[track_caller]
    pub fn until(&self, standing: &str, within: Duration, never: &[&str]) -> Duration {
        let start = now();
        until(&format!("the group to be {standing}"), within, || {
            let seen = self.standing();
            assert!(!never.contains(&seen.as_str()), "{seen} on the way to {standing}: {}", self.reason());
            if now() - start > within - Duration::from_secs(1) && seen != standing {
                eprintln!("still {seen}: {}", self.group());
            }
            std::thread::sleep(Duration::from_millis(80));
            seen == standing
        });
        let took = now() - start;
        eprintln!("{standing} after {took:.1?}: {}", self.reason());
        took
    }

    /// Waits for a region's health.
    #[track_caller]
    pub fn until_health(&self, region: usize, health: &str, within: Duration) {
        let name = format!("r{region}");
        until(&format!("{name} to be {health}"), within, || {
            std::thread::sleep(Duration::from_millis(80));
            self.daemon.health(&name) == health
        });
    }

    /// Whatever happens for a while, the standing is one of these.
    #[track_caller]
    pub fn stays(&self, standings: &[&str], lasting: Duration) {
        let start = now();
        while now() - start < lasting {
            let seen = self.standing();
            assert!(standings.contains(&seen.as_str()), "{seen}: {}", self.reason());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
