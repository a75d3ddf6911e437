//! A real Kafka cluster in KRaft mode, broker and controller in one, a node per host of a network.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::net::Net;
use super::{Program, Scratch, find, maven, until};

pub const PORT: u16 = 9092;
const CONTROLLERS: u16 = 9093;
const START: Duration = Duration::from_secs(120);
/// Any id will do, as long as all have the same.
const CLUSTER: &str = "cG9pbnRzbWFudGVzdHMwMA";

pub struct Kafka {
    nodes: Vec<Option<Program>>,
    java: PathBuf,
    jars: String,
    scratch: Scratch,
    size: usize,
}

impl Kafka {
    /// Starts a node on each of the first hosts, and a topic whose every partition has a replica
    /// on each of them and wants all but one in sync. `None`: something is missing.
    pub fn start(net: &Net, size: usize) -> Option<Self> {
        let java = find("java", "default-jre-headless", &[])?;
        let jars = format!("{}/*", maven::jars("kafka/pom.xml", "kafka-3.9.1")?.display());
        let nodes = (0..size).map(|_| None).collect();
        let mut kafka = Self { nodes, java, jars, scratch: Scratch::new("kafka"), size };
        for n in 0..size {
            kafka.configure(net, n);
            kafka.start_node(net, n);
        }
        let replicas = size.to_string();
        let least = format!("min.insync.replicas={}", size - 1);
        until("the topic to be there", START, || {
            let topic = ["--create", "--if-not-exists", "--topic", "orders", "--partitions", "6"];
            let how = ["--replication-factor", &replicas, "--config", &least];
            kafka.topics(net, 0, &[&topic[..], &how].concat())
        });
        Some(kafka)
    }

    fn configure(&self, net: &Net, n: usize) {
        let address = net.address(n);
        let voters: Vec<_> =
            (0..self.size).map(|n| format!("{n}@{}:{CONTROLLERS}", net.address(n))).collect();
        let text = format!(
            "process.roles=broker,controller
node.id={n}
controller.quorum.voters={}
listeners=PLAINTEXT://{address}:{PORT},CONTROLLER://{address}:{CONTROLLERS}
advertised.listeners=PLAINTEXT://{address}:{PORT}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={}
offsets.topic.replication.factor={}
auto.create.topics.enable=false
",
            voters.join(","),
            self.scratch.path().join(format!("data{n}")).display(),
            self.size,
        );
        std::fs::write(self.file(n), text).unwrap();
        let mut format = net.on(n, self.java.to_str().unwrap());
        format.args(["-cp", &self.jars, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]);
        let formatted = format.arg(self.file(n)).output().unwrap();
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
    }

    fn file(&self, n: usize) -> PathBuf {
        self.scratch.path().join(format!("n{n}.properties"))
    }

    /// Starts a node, or starts it again with what it had.
    pub fn start_node(&mut self, net: &Net, n: usize) {
        let mut command = net.on(n, self.java.to_str().unwrap());
        command.args(["-Xmx384m", "-XX:TieredStopAtLevel=1", "-cp", &self.jars]);
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn").arg("kafka.Kafka").arg(self.file(n));
        let log = self.scratch.path().join(format!("n{n}.log"));
        self.nodes[n] = Some(Program::start(&mut command, "kafka", &log));
    }

    fn topics(&self, net: &Net, n: usize, arguments: &[&str]) -> bool {
        let mut command = net.on(n, self.java.to_str().unwrap());
        command.args(["-Xmx128m", "-cp", &self.jars, "org.apache.kafka.tools.TopicCommand"]);
        command.args(["--bootstrap-server", &format!("{}:{PORT}", net.address(n))]);
        command.args(arguments).output().unwrap().status.success()
    }

    /// As `kill -9`.
    pub fn kill(&mut self, n: usize) {
        self.nodes[n] = None;
    }

    pub fn pause(&self, n: usize) {
        self.nodes[n].as_ref().unwrap().signal(Signal::STOP);
    }

    pub fn resume(&self, n: usize) {
        self.nodes[n].as_ref().unwrap().signal(Signal::CONT);
    }
}
