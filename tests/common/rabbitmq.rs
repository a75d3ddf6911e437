//! A real RabbitMQ cluster, one node per host of a network of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::net::Net;
use super::{Program, Scratch, find, now, until};

pub const MANAGEMENT: u16 = 15672;
const BIN: &str = "/usr/lib/rabbitmq/bin";
const START: Duration = Duration::from_secs(120);
/// A node that starts takes 8 s, twice as long on a busy machine.
const HANGS: Duration = Duration::from_secs(40);
/// Nodes notice that another is gone after this, in seconds; 60 by default.
const NET_TICK_SECONDS: u32 = 8;

pub struct Rabbitmq {
    nodes: Vec<Option<Node>>,
    _name_servers: Vec<Program>,
    server: PathBuf,
    scratch: Scratch,
}

/// A node with all its processes: the server is started by a script, and starts others.
struct Node {
    program: Program,
}

impl Node {
    fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(i32::try_from(self.program.pid()).unwrap()).unwrap();
        let _ = kill_process_group(group, signal);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl Rabbitmq {
    /// Starts a node on each of the first hosts, and waits until they are one cluster with the
    /// queue `pointsman`. `None`: a program is missing, and was named.
    pub fn start(net: &Net, size: usize) -> Option<Self> {
        let server = find("rabbitmq-server", "rabbitmq-server", &[BIN])?;
        let server =
            if server.starts_with(BIN) { server } else { PathBuf::from(BIN).join("rabbitmq-server") };
        find("epmd", "erlang-base", &[])?;
        find("curl", "curl", &[])?;
        let scratch = Scratch::new("rabbitmq");
        let home = scratch.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        let cookie = home.join(".erlang.cookie");
        std::fs::write(&cookie, "POINTSMANTESTS").unwrap();
        let mut only_owner = std::fs::metadata(&cookie).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut only_owner, 0o400);
        std::fs::set_permissions(&cookie, only_owner).unwrap();
        // Names of the nodes' hosts, for Erlang alone.
        let names: String = (0..size)
            .map(|n| format!("{{host,{{{}}},[\"qn{n}\"]}}.\n", net.address(n).replace('.', ",")))
            .collect();
        std::fs::write(scratch.path().join("inetrc"), names + "{lookup,[file,native]}.\n").unwrap();
        let name_servers = (0..size)
            .map(|n| {
                let mut epmd = net.on(n, "epmd");
                epmd.env("ERL_EPMD_ADDRESS", net.address(n));
                Program::start(&mut epmd, "epmd", &scratch.path().join(format!("epmd{n}.log")))
            })
            .collect();
        let nodes = (0..size).map(|_| None).collect();
        let mut rabbitmq = Self { nodes, _name_servers: name_servers, server, scratch };
        for n in 0..size {
            rabbitmq.start_node(net, n);
        }
        until("RabbitMQ to be one cluster", START, || {
            rabbitmq.api(net, 0, "GET", "nodes?columns=running", "").matches("true").count() == size
        });
        let queue = r#"{"durable":true,"arguments":{"x-queue-type":"quorum","x-max-length":1}}"#;
        until("the queue to have a member on every node", START, || {
            rabbitmq.api(net, 0, "PUT", "queues/%2F/pointsman", queue);
            let told = rabbitmq.api(net, 0, "GET", "queues/%2F/pointsman?columns=online", "");
            told.matches("rabbit@").count() == size
        });
        Some(rabbitmq)
    }

    /// Starts a node, or starts it again with what it had.
    pub fn start_node(&mut self, net: &Net, n: usize) {
        let (address, directory) = (net.address(n), self.scratch.path().join(format!("n{n}")));
        std::fs::create_dir_all(directory.join("log")).unwrap();
        std::fs::write(directory.join("plugins"), "[rabbitmq_management].\n").unwrap();
        let peers: String = (0..self.nodes.len())
            .map(|n| format!("cluster_formation.classic_config.nodes.{} = rabbit@qn{n}\n", n + 1))
            .collect();
        let configuration = format!(
            "listeners.tcp.1 = {address}:5672
management.tcp.ip = {address}
management.tcp.port = {MANAGEMENT}
loopback_users = none
cluster_partition_handling = ignore
cluster_formation.peer_discovery_backend = classic_config
{peers}cluster_formation.randomized_startup_delay_range.min = 0
cluster_formation.randomized_startup_delay_range.max = 1
net_ticktime = {NET_TICK_SECONDS}
vm_memory_high_watermark.absolute = 300MB
disk_free_limit.absolute = 10MB
"
        );
        std::fs::write(directory.join("rabbitmq.conf"), configuration).unwrap();
        let mut command = net.on(n, self.server.to_str().unwrap());
        let interface = format!("{{{}}}", address.replace('.', ","));
        command
            .env("HOME", self.scratch.path().join("home"))
            .env("RABBITMQ_HOME", "/usr/lib/rabbitmq")
            .env("RABBITMQ_NODENAME", format!("rabbit@qn{n}"))
            .env("RABBITMQ_CONFIG_FILE", directory.join("rabbitmq"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", directory.join("plugins"))
            .env("RABBITMQ_MNESIA_BASE", directory.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", directory.join("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_PID_FILE", directory.join("pid"))
            .env("RABBITMQ_DIST_PORT", "25672")
            .env("ERL_EPMD_ADDRESS", &address)
            .env("ERL_INETRC", self.scratch.path().join("inetrc"))
            .env("LANG", "C.UTF-8")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                format!("+S 1:1 -kernel inet_dist_use_interface {interface}"),
            );
        let log = self.scratch.path().join(format!("n{n}.log"));
        self.nodes[n] = Some(Node { program: Program::start(&mut command, "rabbitmq-server", &log) });
    }

    /// Starts nodes again and waits until they answer. One that gives up on the way, or hangs,
    /// because the others have not yet noticed that it was gone, is started anew, as a service
    /// manager or a person does.
    pub fn bring_back(&mut self, net: &Net, which: &[usize]) {
        let mut tried = Vec::new();
        until("the nodes to be back", START * 2, || {
            let answers = |n: usize| self.api(net, n, "GET", "overview?columns=node", "").contains("rabbit@");
            let absent: Vec<usize> = which.iter().copied().filter(|n| !answers(*n)).collect();
            for n in &absent {
                let ended = self.nodes[*n].as_mut().is_none_or(|node| node.program.has_ended());
                let hangs = tried.iter().rev().find(|(other, _)| other == n);
                if ended || hangs.is_some_and(|(_, since)| now() - *since > HANGS) {
                    self.kill(*n);
                    self.start_node(net, *n);
                    tried.push((*n, now()));
                }
            }
            absent.is_empty()
        });
    }

    /// As `kill -9` of everything that belongs to a node.
    pub fn kill(&mut self, n: usize) {
        self.nodes[n] = None;
    }

    /// Stops a node where it stands.
    pub fn pause(&self, n: usize) {
        self.nodes[n].as_ref().unwrap().signal(Signal::STOP);
    }

    pub fn resume(&self, n: usize) {
        self.nodes[n].as_ref().unwrap().signal(Signal::CONT);
    }

    /// Asks a node's management API, from its own host.
    pub fn api(&self, net: &Net, n: usize, method: &str, path: &str, body: &str) -> String {
        let url = format!("http://{}:{MANAGEMENT}/api/{path}", net.address(n));
        let mut curl: Command = net.on(n, "curl");
        curl.args(["-s", "-m", "10", "-u", "guest:guest", "-X", method, &url]);
        if !body.is_empty() {
            curl.args(["-H", "content-type: application/json", "-d", body]);
        }
        String::from_utf8_lossy(&curl.output().unwrap().stdout).into_owned()
    }
}
