//! PostgreSQL under Patroni, with an etcd member on every host, as Debian has them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::net::Net;
use super::scene::System;
use super::{Program, find};

const USER: &str = "postgres";
const BINARIES: &str = "/usr/lib/postgresql/15/bin";

pub struct Patroni {
    etcd: PathBuf,
    patroni: PathBuf,
    hosts: usize,
    /// More of the REST API's configuration.
    pub rest: String,
}

impl Patroni {
    /// `None`: not installed.
    pub fn find(hosts: usize) -> Option<Self> {
        find("postgres", "postgresql-15", &[BINARIES])?;
        find("curl", "curl", &[])?;
        Some(Self {
            etcd: find("etcd", "etcd-server", &[])?,
            patroni: find("patroni", "patroni", &[])?,
            hosts,
            rest: String::new(),
        })
    }

    fn file(&self, net: &Net, host: usize, own: &Path) -> String {
        let (address, own) = (net.address(host), own.display());
        let stores: Vec<_> = (0..self.hosts).map(|host| format!("\"{}:2379\"", net.address(host))).collect();
        format!(
            "scope: shop
name: n{host}
restapi: {{listen: \"{address}:8008\", connect_address: \"{address}:8008\"{rest}}}
etcd3: {{hosts: [{stores}]}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 4
    postgresql: {{use_pg_rewind: true, parameters: {{max_connections: 40, shared_buffers: 16MB, fsync: \"off\"}}}}
  initdb: [{{encoding: UTF8}}, data-checksums]
  pg_hba: [host all all 0.0.0.0/0 trust, host replication all 0.0.0.0/0 trust, local all all trust]
postgresql:
  listen: \"{address}:5432\"
  connect_address: \"{address}:5432\"
  data_dir: {own}/data
  pgpass: {own}/pgpass
  bin_dir: {BINARIES}
  authentication:
    superuser: {{username: postgres, password: pg}}
    replication: {{username: repl, password: repl}}
    rewind: {{username: rewind, password: rewind}}
  parameters: {{unix_socket_directories: {own}}}
",
            stores = stores.join(", "),
            rest = self.rest,
        )
    }
}

/// Which host has the primary, by the members' own word.
pub fn primary(net: &Net, hosts: usize) -> Option<usize> {
    (0..hosts).find(|host| {
        let mut curl = net.on(*host, "curl");
        let output =
            curl.args(["-s", "-m", "2", &format!("http://{}:8008/patroni", net.address(*host))]).output();
        let said = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
        said.contains("\"role\": \"master\"") && said.contains("\"state\": \"running\"")
    })
}

impl System for Patroni {
    fn start(&mut self, net: &Net, host: usize, directory: &Path) -> Vec<Program> {
        let own = directory.join(format!("n{host}"));
        if !own.exists() {
            std::fs::create_dir(&own).unwrap();
            std::fs::write(own.join("patroni.yml"), self.file(net, host, &own)).unwrap();
            let given = Command::new("chown").args(["-R", USER]).arg(&own).status().unwrap();
            assert!(given.success());
        }
        let url = |host: usize, port: u16| format!("http://{}:{port}", net.address(host));
        let cluster: Vec<_> = (0..self.hosts).map(|host| format!("e{host}={}", url(host, 2380))).collect();
        let (client, peer) = (url(host, 2379), url(host, 2380));
        let mut etcd = net.on(host, self.etcd.to_str().unwrap());
        etcd.env_remove("ETCDCTL_API").args(["--name", &format!("e{host}"), "--data-dir"]);
        etcd.arg(directory.join(format!("e{host}")));
        etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        etcd.args(["--initial-cluster", &cluster.join(","), "--initial-cluster-token", "shop"]);
        etcd.args(["--logger", "zap", "--log-level", "warn", "--unsafe-no-fsync"]);
        // PostgreSQL makes itself the head of a session: it dies with the process namespace, if its first
        // process still hears of its parent's death after it has changed its user.
        let mut patroni = net.on(host, "unshare");
        patroni.args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "setpriv"]);
        patroni.args([&format!("--reuid={USER}"), "--clear-groups", "--pdeathsig=KILL"]).arg(&self.patroni);
        patroni.arg(own.join("patroni.yml"));
        let log = |name: &str| directory.join(format!("{name}-{host}.log"));
        vec![
            Program::start(&mut etcd, "etcd", &log("etcd")),
            Program::start(&mut patroni, "patroni", &log("patroni")),
        ]
    }

    fn options(&self, _: &Path) -> String {
        "  store:
    patroni:
      time_to_truth: 25s
      across:
MEMBERS
"
        .to_owned()
    }

    fn members(&self, net: &Net, host: usize) -> Vec<String> {
        vec![format!("http://{}:8008", net.address(host))]
    }
}
