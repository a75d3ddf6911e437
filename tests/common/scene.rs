//! A real clustered system over regions: each region is a host of its own in a network namespace
//! with one member on it, and the daemon is on a host that reaches them all.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::daemon::{BINARY, Daemon};
use super::net::Net;
use super::{Program, Scratch, now, until};

/// Restarting a member, and a system's own time to find out, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What a scene starts on each host, and how it is watched.
pub trait System {
    /// Starts a member, or starts it again with what it had. More than one program may be one.
    fn start(&mut self, net: &Net, host: usize, directory: &std::path::Path) -> Vec<Program>;
    /// The system in the configuration, without its frame: what is beside `across`.
    fn options(&self, directory: &std::path::Path) -> String;
    /// The members of a host, as the configuration names them.
    fn members(&self, net: &Net, host: usize) -> Vec<String>;
}

/// The hosts with their members, the daemon, and the network between them.
pub struct Scene<S: System> {
    pub system: S,
    programs: Vec<Vec<Program>>,
    pub daemon: Daemon,
    pub scratch: Scratch,
    pub net: Net,
}

impl<S: System> Scene<S> {
    /// Members on so many hosts, with the daemon on one more. `None`: there are no namespaces here.
    pub fn prepare(name: &str, hosts: usize, system: S) -> Option<Self> {
        let net = Net::start(hosts + 1)?;
        let programs = (0..hosts).map(|_| Vec::new()).collect();
        let scratch = Scratch::new(name);
        Some(Self { system, programs, daemon: Daemon::prepare(name), scratch, net })
    }

    pub fn hosts(&self) -> usize {
        self.programs.len()
    }

    pub fn start_member(&mut self, host: usize) {
        self.programs[host] = self.system.start(&self.net, host, self.scratch.path());
    }

    /// Starts the daemon, and waits until it says `quorum`.
    pub fn watch(&mut self) {
        let (mut across, mut regions, mut answers) = (String::new(), String::new(), String::new());
        for host in 0..self.hosts() {
            let members = self.system.members(&self.net, host);
            across += &format!("        r{host}: {}\n", serde_json::to_string(&members).unwrap());
            regions += &format!("  r{host}:\n    layers: {{quorum: [store]}}\n");
            answers += &format!("      r{host}: {{a: [192.0.2.{}]}}\n", host + 1);
        }
        let names: Vec<_> = (0..self.hosts()).map(|host| format!("r{host}")).collect();
        let text = format!(
            "version: 1
mode: act
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"], control: control.sock}}
zones: [{{name: gtm.example.com, file: gtm.example.com.zone}}]
defaults: {{check: {{interval: 1s, timeout: 900ms, fall: 1, rise: 1}}}}
clusters:
{options}
regions:
{regions}services:
  store:
    names: [store.gtm.example.com]
    policy: {{all: [{names}]}}
    answers:
{answers}    ttl: {{min: 1s, max: 5s}}
    all_down: serve_all
    failback: {{auto: {{after: 1s}}}}
store: {{embedded: {{path: state}}}}
",
            options = self.system.options(self.scratch.path()).replace("MEMBERS\n", &across),
            names = names.join(", "),
        );
        self.daemon.write("pointsman.yaml", &text);
        let site = self.hosts();
        self.daemon.start_by(self.net.on(site, BINARY));
        self.until("quorum");
    }

    /// What the daemon makes of the group now, in one word.
    pub fn verdict(&self) -> String {
        let metrics = self.daemon.metrics();
        let line = metrics.lines().find(|line| {
            line.starts_with("pointsman_cluster_standing{group=\"store\"") && line.ends_with(" 1")
        });
        let word = line.and_then(|line| line.split("state=\"").nth(1)?.split('"').next());
        word.unwrap_or("none").to_owned()
    }

    /// Waits for a verdict; tells how long it took.
    #[track_caller]
    pub fn until(&self, verdict: &str) -> Duration {
        let start = now();
        let mut seen: Vec<String> = Vec::new();
        let came = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(verdict, PATIENCE, || {
                let word = self.verdict();
                if seen.last() != Some(&word) {
                    seen.push(word.clone());
                }
                std::thread::sleep(Duration::from_millis(80));
                word == verdict
            });
        }));
        let took = now() - start;
        eprintln!("{verdict} after {:.1} s, by way of {seen:?}", took.as_secs_f32());
        assert!(came.is_ok(), "no {verdict}, but {seen:?}; {}", self.words());
        took
    }

    /// Waits until a region is of this health.
    #[track_caller]
    pub fn until_region(&self, host: usize, health: &str) {
        let start = now();
        until(&format!("r{host} to be {health}"), PATIENCE, || {
            std::thread::sleep(Duration::from_millis(80));
            self.daemon.health(&format!("r{host}")) == health
        });
        eprintln!("r{host} is {health} after {:.1} s", (now() - start).as_secs_f32());
    }

    /// What the daemon says of every region, for people.
    pub fn words(&self) -> String {
        let regions = (0..self.hosts()).map(|host| {
            let region = self.daemon.region(&format!("r{host}"));
            format!("r{host}: {} {}", region["health"], region["why"])
        });
        regions.collect::<Vec<_>>().join("; ")
    }

    pub fn kill(&mut self, host: usize) {
        self.programs[host].clear();
    }

    /// Stops everything of a member where it stands.
    pub fn pause(&self, host: usize) {
        self.programs[host].iter().for_each(|program| program.signal(Signal::STOP));
    }

    pub fn resume(&self, host: usize) {
        self.programs[host].iter().for_each(|program| program.signal(Signal::CONT));
    }

    /// Cuts a host off from all other members; the daemon still reaches it.
    pub fn cut_off(&self, host: usize) {
        for other in (0..self.hosts()).filter(|other| *other != host) {
            self.net.cut(host, other);
        }
    }

    /// The daemon no longer reaches a host, and the members do.
    pub fn hide(&self, host: usize) {
        self.net.cut(self.hosts(), host);
    }

    /// Undoes every cut.
    pub fn heal(&self) {
        for host in 0..=self.hosts() {
            self.net.heal(host);
        }
    }

    /// Runs a program on a host; what it prints. The test fails if it fails.
    #[track_caller]
    pub fn run(&self, command: &mut Command) -> String {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
