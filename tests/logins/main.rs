//! Every clustered system against real servers that demand TLS and a login.
//!
//! By the right ones the view is whole and the proof done. A password that is wrong, a right that is
//! missing, a CA that nobody trusts here, a name that is not the certificate's: that is unknown, with
//! words that say what to do, because what is denied to us says nothing of the system. A secret is read
//! anew for every question, and stands in nothing that anybody is told.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod cassandra;
mod consul;
mod galera;
mod kafka;
mod nats;
mod patroni;
mod rabbitmq;
mod redis;
mod search;
mod vault;
mod zookeeper;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pointsman::cluster::{
    Judgement, Linearizable, LinearizableResult, Memory, NodeView, Round, Standing, judge,
};
use pointsman::config::Config;
use pointsman::io::{Clock, Net};
use pointsman::probe::cluster;

use common::servers::{Certificates, certificates_by};
use common::{Scratch, config, daemon, until_async};

/// What every secret of these tests begins with, and nothing else.
const SECRET: &str = "s3cr3t";
/// The same behind `pointsman:`, as base64 has it in a header.
const SECRET_IN_BASE64: &str = "cG9pbnRzbWFuOnMzY3Iz";
/// A password, a token.
const RIGHT: &str = "s3cr3t-of-pointsman";
const WRONG: &str = "s3cr3t-of-yesterday";
/// A server of Java's on a busy machine.
const START: Duration = Duration::from_secs(120);

/// A directory with certificates, and secrets in files that a cluster's configuration names.
struct House {
    scratch: Scratch,
    made: Certificates,
    /// Of a CA that nobody knows.
    strange: Certificates,
}

impl House {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let made = certificates_by(scratch.path(), (2045, 1, 1), "the CA of this house");
        let elsewhere = scratch.path().join("strange");
        std::fs::create_dir_all(&elsewhere).unwrap();
        let strange = certificates_by(&elsewhere, (2045, 1, 1), "the CA of strangers");
        let house = Self { scratch, made, strange };
        house.write("password", RIGHT);
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// A certificate with its key behind it, as Java reads them.
    fn pem(&self, (certificate, key): &(PathBuf, PathBuf), name: &str) -> String {
        let text = std::fs::read_to_string(key).unwrap() + &std::fs::read_to_string(certificate).unwrap();
        self.write(name, &text).display().to_string()
    }

    /// A cluster of members, with options a line each, in which `CA`, `STRANGE`, `IDENTITY` and `SECRETS`
    /// stand for files of ours.
    fn door(&self, kind: &str, members: &[String], options: &str) -> Door<'static> {
        let (certificate, key) = &self.made.client;
        let identity = format!("cert: {}, key: {}", certificate.display(), key.display());
        let options: String = options
            .replace("STRANGE", &format!("ca: {}", self.strange.ca.display()))
            .replace("CA", &format!("ca: {}", self.made.ca.display()))
            .replace("IDENTITY", &identity)
            .replace("SECRETS", &self.scratch.path().display().to_string())
            .lines()
            .map(|line| format!("      {line}\n"))
            .collect();
        let members: Vec<String> = members.iter().map(|member| format!("\"{member}\"")).collect();
        let text = format!(
            "version: 1\nmode: observe\nsite: {{name: a}}\nlisten: {{dns: [\"127.0.0.1:0\"]}}\nclusters:\n  \
             watched:\n    {kind}:\n      inside: {{r: [{}]}}\n      interval: 10s\n      timeout: 6s\n{options}\
             regions: {{r: {{layers: {{quorum: [watched]}}}}}}\n",
            members.join(", ")
        );
        Door { config: config(&text), file: self.path("pointsman.yaml"), text, net: Net::new(), from: None }
    }
}

/// A cluster as configured.
struct Door<'a> {
    config: Arc<Config>,
    file: PathBuf,
    text: String,
    /// As the daemon has one for its whole life.
    net: Net,
    /// The host from which it is asked, if it is on a network of its own.
    from: Option<(&'a common::net::Net, usize)>,
}

impl<'a> Door<'a> {
    /// The same, asked from a host of a network.
    fn from(self, net: &'a common::net::Net, host: usize) -> Self {
        Self { from: Some((net, host)), ..self }
    }

    /// Asks every member, and for the proof if there is one.
    async fn ask(&self) -> Asked {
        let (config, net) = (Arc::clone(&self.config), self.net.clone());
        let asking = asked(config, net);
        let asked = match self.from {
            None => asking.await,
            Some((net, host)) => net.within(host, asking).join().unwrap(),
        };
        keeps_secrets(&format!("{asked:?}"));
        asked
    }

    /// Waits until it is well.
    async fn until_well(&self) {
        let mut last = None;
        let waiting = until_async("it to be well", START, async || {
            let asked = self.ask().await;
            let well = asked.is_well();
            if !well {
                if last != Some(format!("{:?}", asked.views)) {
                    eprintln!("not yet: {:?} {:?}", asked.views, asked.proof);
                }
                last = Some(format!("{:?}", asked.views));
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            well
        });
        waiting.await;
    }

    #[track_caller]
    fn well(&self, asked: &Asked) {
        assert!(asked.is_well(), "{asked:#?}");
    }

    /// What an operator sees who looks from the shell.
    fn shown(&self) -> String {
        std::fs::write(&self.file, &self.text).unwrap();
        let mut all = String::new();
        for output in ["text", "json"] {
            let mut command = match self.from {
                None => daemon::binary(),
                Some((net, host)) => net.on(host, daemon::BINARY),
            };
            command.args(["probe", "watched", "--output", output, "--config"]).arg(&self.file);
            let said = command.output().unwrap();
            all += &String::from_utf8_lossy(&[said.stdout, said.stderr].concat());
        }
        keeps_secrets(&all);
        all
    }
}

async fn asked(config: Arc<Config>, net: Net) -> Asked {
    let (id, group) = config.groups.iter().next().unwrap();
    let cluster = &config.clusters[group.cluster];
    let views = cluster::views(&net, cluster, group, cluster.schedule.timeout).await;
    let mut proof = None;
    if cluster::linearizable_budget(&cluster.kind).is_some() {
        proof = Some(cluster::linearizable(&net, &cluster.kind, &group.members[0]).await);
    }
    let linearizable = proof.clone().map(|result| Linearizable { at: Clock.mono(), member: 0, result });
    let round = Round { group: id, views, linearizable, took: Duration::ZERO };
    let judgement = judge(cluster, group, &round, &mut Memory::default(), Clock.mono());
    Asked { views: round.views, proof, judgement }
}

#[track_caller]
fn keeps_secrets(text: &str) {
    assert!(!text.contains(SECRET) && !text.contains(SECRET_IN_BASE64), "a secret is told: {text}");
}

/// What asking brought.
#[derive(Debug)]
struct Asked {
    views: Vec<NodeView>,
    proof: Option<LinearizableResult>,
    judgement: Judgement,
}

impl Asked {
    /// All members are seen, the quorum stands, and the proof is done.
    fn is_well(&self) -> bool {
        self.views.iter().all(|view| matches!(view, NodeView::Answered(_)))
            && matches!(self.judgement.verdict, Standing::Quorum | Standing::Degraded)
            && self.proof.as_ref().is_none_or(|proof| *proof == LinearizableResult::Passed)
    }

    /// Nothing could be found out, and every member says why.
    #[track_caller]
    fn is_unknown(&self, why: &str) {
        assert_eq!(self.judgement.verdict, Standing::Unknown, "{self:#?}");
        for view in &self.views {
            let told = match view {
                NodeView::Denied(words) | NodeView::Rubbish(words) | NodeView::Unmeasured(words) => words,
                _ => "",
            };
            assert!(told.contains(why), "not `{why}`: {self:#?}");
        }
        if let Some(proof) = &self.proof {
            assert!(matches!(proof, LinearizableResult::Unmeasured(_)), "{self:#?}");
        }
        assert!(self.judgement.reason.contains(why), "the verdict does not say `{why}`: {self:#?}");
    }

    /// The members tell of a quorum; the proof was not let in, and says why, and weighs nothing.
    #[track_caller]
    fn is_unproven(&self, why: &str) {
        self.is_unproven_and(&[Standing::Quorum, Standing::Degraded], why);
    }

    #[track_caller]
    fn is_unproven_and(&self, standings: &[Standing], why: &str) {
        assert!(standings.contains(&self.judgement.verdict), "{self:#?}");
        let told = matches!(&self.proof, Some(LinearizableResult::Unmeasured(words)) if words.contains(why));
        assert!(told, "not `{why}`: {self:#?}");
    }
}
