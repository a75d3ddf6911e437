//! A real etcd cluster on loopback.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::{Program, Scratch, find, ports, until};

/// Members of one etcd cluster.
pub struct Etcd {
    members: Vec<Member>,
    binary: PathBuf,
    scratch: Scratch,
    tls: Option<Tls>,
    more: &'static [&'static str],
    /// Needed as long as the cluster lives.
    certificates: Option<Scratch>,
}

struct Member {
    client: u16,
    peer: u16,
    program: Option<Program>,
}

/// Certificates for a cluster that wants one of its clients.
#[derive(Clone)]
pub struct Tls {
    pub ca: PathBuf,
    pub server: (PathBuf, PathBuf),
    pub client: (PathBuf, PathBuf),
}

impl Etcd {
    /// Starts a cluster of so many voters, and waits until all of them follow one leader.
    /// `None`: etcd is not installed.
    pub fn start(size: usize) -> Option<Self> {
        Self::start_with(size, None)
    }

    /// The same, over TLS, with client certificates required; ours is of the common name `client`.
    pub fn start_tls(size: usize) -> Option<Self> {
        Self::start_tls_of(size, find("etcd", "etcd-server", &[])?)
    }

    /// The same, of another etcd than Debian's.
    pub fn start_tls_of(size: usize, binary: PathBuf) -> Option<Self> {
        let scratch = Scratch::new("etcd-tls");
        let tls = super::servers::certificates(scratch.path());
        let tls = Tls { ca: tls.ca, server: tls.server, client: tls.client };
        let mut etcd = Self::start_as(size, binary, Some(tls), &[])?;
        etcd.certificates = Some(scratch);
        Some(etcd)
    }

    /// The same without TLS, of another etcd than Debian's.
    pub fn start_of(size: usize, binary: PathBuf) -> Option<Self> {
        Self::start_as(size, binary, None, &[])
    }

    /// The same, of members that take in a few megabytes and no more.
    pub fn start_small(size: usize) -> Option<Self> {
        let binary = find("etcd", "etcd-server", &[])?;
        Self::start_as(size, binary, None, &["--quota-backend-bytes", "4000000"])
    }

    fn start_with(size: usize, tls: Option<Tls>) -> Option<Self> {
        Self::start_as(size, find("etcd", "etcd-server", &[])?, tls, &[])
    }

    fn start_as(
        size: usize,
        binary: PathBuf,
        tls: Option<Tls>,
        more: &'static [&'static str],
    ) -> Option<Self> {
        find("etcdctl", "etcd-client", &[])?;
        let members = (0..size).map(|_| Member { client: ports::free(), peer: ports::free(), program: None });
        let (members, scratch) = (members.collect(), Scratch::new("etcd"));
        let mut etcd = Self { members, binary, scratch, tls, more, certificates: None };
        for n in 0..size {
            etcd.start_member(n);
        }
        etcd.wait_for_leader();
        Some(etcd)
    }

    /// Starts a member, or starts it again with what it had.
    pub fn start_member(&mut self, n: usize) {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{}", self.members[n].client);
        let peer = format!("http://127.0.0.1:{}", self.members[n].peer);
        let cluster: Vec<String> = self
            .members
            .iter()
            .enumerate()
            .map(|(n, member)| format!("m{n}=http://127.0.0.1:{}", member.peer))
            .collect();
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .args(["--name", &format!("m{n}")])
            .arg("--data-dir")
            .arg(self.scratch.path().join(format!("m{n}")))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-token", &self.token()])
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000"])
            .args(["--logger", "zap", "--log-level", "warn", "--unsafe-no-fsync"])
            .args(self.more);
        if let Some(tls) = &self.tls {
            command
                .arg("--cert-file")
                .arg(&tls.server.0)
                .arg("--key-file")
                .arg(&tls.server.1)
                .arg("--trusted-ca-file")
                .arg(&tls.ca)
                .arg("--client-cert-auth");
        }
        let log = self.scratch.path().join(format!("m{n}.log"));
        self.members[n].program = Some(Program::start(&mut command, "etcd", &log));
    }

    fn token(&self) -> String {
        format!("t{}", self.members[0].peer)
    }

    /// Waits until every member serves.
    pub fn wait_for_leader(&self) {
        until("etcd to elect a leader", Duration::from_secs(30), || {
            (0..self.members.len()).all(|n| self.ctl(n, &["endpoint", "health"]).0)
        });
    }

    /// Runs `etcdctl` against one member.
    pub fn ctl(&self, n: usize, arguments: &[&str]) -> (bool, String) {
        let etcdctl = find("etcdctl", "etcd-client", &[]).expect("it was there when the cluster was started");
        let mut command = Command::new(etcdctl);
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url(n), "--command-timeout", "2s"]);
        if let Some(tls) = &self.tls {
            command
                .arg("--cacert")
                .arg(&tls.ca)
                .arg("--cert")
                .arg(&tls.client.0)
                .arg("--key")
                .arg(&tls.client.1);
        }
        let output = command.args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Switches authentication on: root:secret, and a user with its role that may read, or write,
    /// one key.
    pub fn enable_auth(&self, user: &[&str], right: &str, key: &str) {
        let name = user[0].split(':').next().unwrap();
        let add: Vec<&str> = ["user", "add"].into_iter().chain(user.iter().copied()).collect();
        for step in [
            &["user", "add", "root:secret"][..],
            &["user", "grant-role", "root", "root"],
            &["role", "add", "pointsman"],
            &["role", "grant-permission", "pointsman", right, key],
            &add,
            &["user", "grant-role", name, "pointsman"],
            &["auth", "enable"],
        ] {
            let (done, said) = self.ctl(0, step);
            // The role `root` may or may not be there already.
            assert!(done || step[1] == "grant-role", "{step:?}: {said}");
        }
    }

    /// How often a member was asked to let somebody in.
    pub fn logins(&self, n: usize) -> u64 {
        let output = Command::new("curl").args(["-s", &format!("{}/metrics", self.url(n))]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let handled = |line: &&str| {
            line.starts_with("grpc_server_handled_total") && line.contains("grpc_method=\"Authenticate\"")
        };
        assert!(text.contains("grpc_server_handled_total"), "{text}");
        text.lines()
            .filter(handled)
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    /// Which member leads.
    pub fn leader(&self) -> usize {
        let status = |n| {
            let (ok, text) = self.ctl(n, &["endpoint", "status", "--write-out", "json"]);
            assert!(ok, "member {n} does not tell its status");
            let status: serde_json::Value = serde_json::from_str(&text).unwrap();
            (status[0]["Status"]["header"]["member_id"].clone(), status[0]["Status"]["leader"].clone())
        };
        let leads = |n: &usize| {
            let (member, leader) = status(*n);
            member == leader
        };
        (0..self.members.len()).find(leads).expect("one of them leads")
    }

    /// A member's base URL.
    pub fn url(&self, n: usize) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.members[n].client)
    }

    pub fn urls(&self) -> Vec<String> {
        (0..self.members.len()).map(|n| self.url(n)).collect()
    }

    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// As `kill -9`.
    pub fn kill(&mut self, n: usize) {
        self.members[n].program = None;
    }

    /// Stops a member where it stands: the kernel goes on accepting connections for it.
    pub fn pause(&self, n: usize) {
        self.members[n].program.as_ref().unwrap().signal(Signal::STOP);
    }

    pub fn resume(&self, n: usize) {
        self.members[n].program.as_ref().unwrap().signal(Signal::CONT);
    }
}
