//! A real Cassandra cluster, a node per host of a network, with passwords.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pointsman::base::Secret;
use pointsman::config::{HostPort, Level};
use pointsman::io::cql::{Answer, Login, Target, log_in};
use pointsman::io::{Contact, Net as Out, TrustFiles};
use rustix::process::Signal;

use super::net::Net;
use super::{Program, Scratch, find, lacks, maven, until};

pub const PORT: u16 = 9042;
/// The version that runs on Java 11 and 17.
const VERSION: &str = "5.0.4";
const START: Duration = Duration::from_secs(300);
/// Whom Cassandra makes at its first start; it may do everything.
const MASTER: (&str, &str) = ("cassandra", "cassandra");
/// The role that reads and writes `orders`. The first one logs in at `QUORUM` of all datacenters.
pub const SHOP: (&str, &str) = ("shop", "shop");
/// The role that watches.
pub const WATCHER: (&str, &str) = ("pointsman", "guest");

pub struct Cassandra {
    nodes: Vec<Option<Program>>,
    java: PathBuf,
    jars: PathBuf,
    scratch: Scratch,
    datacenters: Vec<usize>,
    more: String,
    trust: Option<TrustFiles>,
}

impl Cassandra {
    /// Starts a node on each of the first hosts, each in the datacenter of this number, and the
    /// keyspaces `orders` and `pointsman` with three replicas, or as many as there are nodes, in
    /// each datacenter. `None`: something is missing.
    pub fn start(net: &Net, datacenters: &[usize]) -> Option<Self> {
        Self::start_with(net, datacenters, "", None)
    }

    /// The same with more in its configuration, talked to over TLS where somebody is trusted.
    pub fn start_with(
        net: &Net,
        datacenters: &[usize],
        more: &str,
        trust: Option<TrustFiles>,
    ) -> Option<Self> {
        let java = find("java", "openjdk-17-jre-headless", &[])?;
        let version = Command::new(&java).arg("-version").output().unwrap();
        let version = String::from_utf8_lossy(&version.stderr).into_owned();
        if !["\"11.", "\"17."].iter().any(|known| version.contains(known)) {
            lacks(&format!("Java 11 or 17, and not {version}"));
            return None;
        }
        let mut cassandra = Self {
            nodes: datacenters.iter().map(|_| None).collect(),
            java,
            jars: maven::jars("cassandra/pom.xml", &format!("cassandra-{VERSION}"))?,
            scratch: Scratch::new("cassandra"),
            datacenters: datacenters.to_vec(),
            more: more.to_owned(),
            trust,
        };
        for n in 0..datacenters.len() {
            cassandra.configure(net, n);
        }
        // The others learn of the ring from the first. They have nothing to fetch from each other,
        // and may come all at once.
        for n in 0..datacenters.len() {
            cassandra.start_node(net, n);
            if n == 0 {
                cassandra.until_in(net, 0, MASTER);
            }
        }
        let size = datacenters.len().to_string();
        until("every node to know all others", START, || {
            std::thread::sleep(Duration::from_millis(500));
            (0..datacenters.len()).all(|n| {
                let known = cassandra.ask(net, n, MASTER, "SELECT host_id FROM system.peers_v2", Level::One);
                matches!(known, Some(Answer::Rows(rows)) if (rows.len() + 1).to_string() == size)
            })
        });
        let mut each: Vec<String> = Vec::new();
        for datacenter in 0..=*datacenters.iter().max().unwrap() {
            let nodes = datacenters.iter().filter(|of| **of == datacenter).count();
            each.push(format!("'dc{datacenter}': {}", nodes.min(3)));
        }
        let replication = format!("{{'class': 'NetworkTopologyStrategy', {}}}", each.join(", "));
        let (watcher, password) = WATCHER;
        let (shop, shop_password) = SHOP;
        for statement in [
            format!("ALTER KEYSPACE system_auth WITH replication = {replication}"),
            format!("CREATE KEYSPACE orders WITH replication = {replication}"),
            format!("CREATE KEYSPACE pointsman WITH replication = {replication}"),
            "CREATE TABLE orders.orders (id int PRIMARY KEY, words text)".to_owned(),
            "CREATE TABLE pointsman.canary (id int PRIMARY KEY)".to_owned(),
            format!("CREATE ROLE {watcher} WITH PASSWORD = '{password}' AND LOGIN = true"),
            format!("CREATE ROLE {shop} WITH PASSWORD = '{shop_password}' AND LOGIN = true"),
            format!("GRANT MODIFY ON orders.orders TO {shop}"),
            format!("GRANT SELECT ON orders.orders TO {shop}"),
            format!("GRANT SELECT ON pointsman.canary TO {watcher}"),
            format!("GRANT SELECT ON system_views.gossip_info TO {watcher}"),
            format!("GRANT SELECT ON system_views.pending_hints TO {watcher}"),
        ] {
            let what = format!("`{statement}` to be done");
            until(&what, START, || {
                std::thread::sleep(Duration::from_millis(300));
                let done = cassandra.ask(net, 0, MASTER, &statement, Level::Quorum);
                match done {
                    Some(Answer::Rows(_)) => true,
                    // It was done, and said too late.
                    Some(Answer::Error(complaint)) => complaint.words.contains("already exists"),
                    None => false,
                }
            });
        }
        for n in 0..datacenters.len() {
            cassandra.until_in(net, n, WATCHER);
        }
        Some(cassandra)
    }

    fn configure(&self, net: &Net, n: usize) {
        let home = self.home(n);
        std::fs::create_dir_all(&home).unwrap();
        let address = net.address(n);
        // One range each, of equal size.
        let width = u64::MAX / self.datacenters.len() as u64;
        let token = i64::MIN.wrapping_add((width * n as u64).cast_signed()).wrapping_add(1);
        let path = home.display();
        let text = format!(
            "cluster_name: tests
num_tokens: 1
initial_token: \"{token}\"
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
commitlog_sync: periodic
commitlog_sync_period: 10000ms
data_file_directories: [{path}/data]
commitlog_directory: {path}/commitlog
saved_caches_directory: {path}/saved
hints_directory: {path}/hints
cdc_raw_directory: {path}/cdc
hints_flush_period: 1000ms
listen_address: {address}
rpc_address: {address}
endpoint_snitch: GossipingPropertyFileSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: \"{seed}\"}}]
concurrent_reads: 4
concurrent_writes: 4
memtable_heap_space: 32MiB
memtable_offheap_space: 32MiB
file_cache_size: 32MiB
networking_cache_size: 16MiB
key_cache_size: 4MiB
commitlog_total_space: 64MiB
commitlog_segment_size: 8MiB
auto_snapshot: false
{more}",
            more = self.more,
            seed = net.address(0),
        );
        std::fs::write(home.join("cassandra.yaml"), text).unwrap();
        let rack = format!("dc=dc{}\nrack=r1\n", self.datacenters[n]);
        std::fs::write(home.join("cassandra-rackdc.properties"), rack).unwrap();
        let log = "<configuration><appender name=\"o\" class=\"ch.qos.logback.core.ConsoleAppender\">\
                   <encoder><pattern>%d %-5level %logger{0} %msg%n</pattern></encoder></appender>\
                   <root level=\"WARN\"><appender-ref ref=\"o\"/></root></configuration>";
        std::fs::write(home.join("logback.xml"), log).unwrap();
    }

    fn home(&self, n: usize) -> PathBuf {
        self.scratch.path().join(format!("n{n}"))
    }

    /// Starts a node, or starts it again with what it had.
    pub fn start_node(&mut self, net: &Net, n: usize) {
        let home = self.home(n);
        let mut command = net.on(n, self.java.to_str().unwrap());
        command.current_dir(&home);
        command.args(["-Xms256m", "-Xmx256m", "-XX:MaxDirectMemorySize=128m", "-XX:+UseSerialGC"]);
        command.args(["-XX:TieredStopAtLevel=1", "-Djdk.attach.allowAttachSelf=true"]);
        // What it reaches into (conf/jvm17-server.options).
        for exported in [
            "java.base/jdk.internal.misc",
            "java.management.rmi/com.sun.jmx.remote.internal.rmi",
            "java.rmi/sun.rmi.registry",
            "java.rmi/sun.rmi.server",
            "java.sql/java.sql",
            "java.base/java.lang.ref",
            "jdk.unsupported/sun.misc",
        ] {
            command.args(["--add-exports", &format!("{exported}=ALL-UNNAMED")]);
        }
        for opened in [
            "java.base/java.io",
            "java.base/java.lang",
            "java.base/java.lang.module",
            "java.base/java.lang.reflect",
            "java.base/java.net",
            "java.base/java.nio",
            "java.base/java.util",
            "java.base/java.util.concurrent",
            "java.base/java.util.concurrent.atomic",
            "java.base/jdk.internal.loader",
            "java.base/jdk.internal.math",
            "java.base/jdk.internal.module",
            "java.base/jdk.internal.ref",
            "java.base/jdk.internal.reflect",
            "java.base/jdk.internal.util.jar",
            "java.base/sun.nio.ch",
            "jdk.management/com.sun.management.internal",
        ] {
            command.args(["--add-opens", &format!("{opened}=ALL-UNNAMED")]);
        }
        let agent = self.jars.join("jamm-0.4.0.jar");
        command.arg(format!("-javaagent:{}", agent.display()));
        command.args(["-cp", &format!("{}:{}/*", home.display(), self.jars.display())]);
        command.arg(format!("-Dcassandra.config=file://{}/cassandra.yaml", home.display()));
        command.arg(format!("-Dcassandra.storagedir={}", home.display()));
        command.args(["-Dcassandra-foreground=yes", "-Dcassandra.ring_delay_ms=4000"]);
        command.args(["-Dcassandra.superuser_setup_delay_ms=0"]);
        command.args(["-Dcassandra.skip_wait_for_gossip_to_settle=0"]);
        command.arg("org.apache.cassandra.service.CassandraDaemon");
        let log = self.scratch.path().join(format!("n{n}.log"));
        self.nodes[n] = Some(Program::start(&mut command, "cassandra", &log));
    }

    /// Waits until a node lets somebody in.
    fn until_in(&self, net: &Net, n: usize, who: (&str, &str)) {
        until(&format!("node {n} to let {} in", who.0), START, || {
            std::thread::sleep(Duration::from_millis(500));
            let asked = self.ask(net, n, who, "SELECT host_id FROM system.local", Level::One);
            matches!(asked, Some(Answer::Rows(_)))
        });
    }

    /// Asks a node something, from the node's own host. `None`: it does not let us in, or not in time.
    pub fn ask(&self, net: &Net, n: usize, who: (&str, &str), what: &str, level: Level) -> Option<Answer> {
        let address = HostPort { host: net.address(n), port: PORT };
        let (user, password) = (who.0.to_owned(), Secret::new(who.1.to_owned()));
        let (what, trust) = (what.to_owned(), self.trust.clone());
        let asking = net.within(n, async move {
            let contact = &mut Contact::new(Duration::from_secs(15));
            let target = Target { address: &address, tls: trust.as_ref(), plain: Some((&user, &password)) };
            match log_in(contact, &Out::new(), target).await {
                Ok(Login::In(mut session)) => session.ask(contact, &[(&what, level)]).await.ok()?.pop(),
                _ => None,
            }
        });
        asking.join().unwrap()
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
