//! Real nodes of OpenSearch and Elasticsearch, from Maven Central; fetched once and kept.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::fleet::Launch;
use super::net::Net;
use super::{Scratch, cache, find, maven};

pub const PORT: u16 = 9200;
const NODES: u16 = 9300;

/// Which of both, and what is particular to it.
#[derive(Clone, Copy)]
pub struct Search {
    pub name: &'static str,
    version: &'static str,
    /// What it calls its leader, in settings.
    pub leader: &'static str,
}

pub const OPENSEARCH: Search = Search { name: "opensearch", version: "2.19.1", leader: "cluster_manager" };
pub const ELASTICSEARCH: Search = Search { name: "elasticsearch", version: "7.17.28", leader: "master" };

impl Search {
    /// How a node is started; the first start of all must know of so many. `None`: something is
    /// missing, and was named.
    pub fn launch(self) -> Option<Launch> {
        let java = find("java", "default-jre-headless", &[])?;
        let home = self.home()?;
        Some(Box::new(move |net, n, size, directory| {
            self.configure(net, n, size, directory);
            let mut command = net.on(n, java.to_str().unwrap());
            command.args(["-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
            command.arg(format!("-Djava.io.tmpdir={}", directory.display()));
            command
                .arg(format!("-Dlog4j.configurationFile={}", directory.join("log4j2.properties").display()));
            command.args(["-cp", &format!("{0}/start:{0}/lib/*", home.display()), "Launcher"]);
            command.arg(&home).arg(directory);
            command
        }))
    }

    fn configure(self, net: &Net, n: usize, size: usize, directory: &Path) {
        let seeds: Vec<_> = (0..size).map(|n| format!("\"{}:{NODES}\"", net.address(n))).collect();
        let first: Vec<_> = (0..size).map(|n| format!("m{n}")).collect();
        let text = format!(
            "cluster.name: tests
node.name: m{n}
path.data: {data}
path.logs: {data}
network.host: {address}
http.port: {PORT}
transport.port: {NODES}
discovery.seed_hosts: [{seeds}]
discovery.initial_state_timeout: 0s
cluster.initial_{leader}_nodes: [{first}]
node.store.allow_mmap: false
cluster.publish.timeout: 4s
cluster.fault_detection.follower_check.timeout: 2s
cluster.fault_detection.follower_check.retry_count: 2
cluster.fault_detection.leader_check.timeout: 2s
cluster.fault_detection.leader_check.retry_count: 2
",
            data = directory.join("data").display(),
            address = net.address(n),
            seeds = seeds.join(", "),
            leader = self.leader,
            first = first.join(", "),
        );
        std::fs::write(directory.join(format!("{}.yml", self.name)), text).unwrap();
        let log = "appender.out.type = Console\nappender.out.name = out\nappender.out.layout.type = PatternLayout\n\
                   appender.out.layout.pattern = %d %p %c{1.} %m%n\nrootLogger.level = info\n\
                   rootLogger.appenderRef.out.ref = out\n";
        std::fs::write(directory.join("log4j2.properties"), log).unwrap();
    }

    /// The same with the plugin that wants TLS and users.
    pub fn secured_home(self) -> Option<PathBuf> {
        let (plain, home) = (self.home()?, cache().join(format!("{}-{}-secured", self.name, self.version)));
        if home.join("complete").exists() {
            return Some(home);
        }
        let jar = find("jar", "default-jdk-headless", &[])?;
        let plugin = home.join("plugins").join(format!("{}-security", self.name));
        std::fs::create_dir_all(&plugin).unwrap();
        let scratch = Scratch::new("search-security");
        maven::fetch(&format!("search/{}-security.xml", self.name), scratch.path())?;
        for zip in std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path()) {
            let unpacked = Command::new(&jar).current_dir(&plugin).arg("xf").arg(zip).status().unwrap();
            assert!(unpacked.success());
        }
        for part in ["lib", "modules", "start"] {
            let _ = std::os::unix::fs::symlink(plain.join(part), home.join(part));
        }
        std::fs::write(home.join("complete"), "").unwrap();
        Some(home)
    }

    /// Its classes, and the one that starts it, as a distribution has them.
    fn home(self) -> Option<PathBuf> {
        let Self { name, version, .. } = self;
        let home = cache().join(format!("{name}-{version}"));
        if home.join("complete").exists() {
            return Some(home);
        }
        let javac = find("javac", "default-jdk-headless", &[])?;
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/search");
        let (lib, module) = (home.join("lib"), home.join("modules/transport-netty4"));
        for directory in [&lib, &module, &home.join("plugins")] {
            std::fs::create_dir_all(directory).unwrap();
        }
        maven::fetch(&format!("search/{name}.xml"), &lib)?;
        // What carries its traffic is a plugin, and plugins have class loaders of their own.
        for jar in std::fs::read_dir(&lib).unwrap().map(|entry| entry.unwrap()) {
            let file = jar.file_name().into_string().unwrap();
            if file.starts_with("netty-") || file.starts_with("transport-netty4-") {
                std::fs::rename(jar.path(), module.join(file)).unwrap();
            }
        }
        let descriptor = format!(
            "name=transport-netty4\ndescription=transport\nversion={version}\n{name}.version={version}\n\
             java.version=1.8\nclassname=org.{name}.transport.Netty4Plugin\n"
        );
        std::fs::write(module.join("plugin-descriptor.properties"), descriptor).unwrap();
        let source = std::fs::read_to_string(tests.join("Launcher.java")).unwrap();
        let scratch = Scratch::new("search-launcher");
        let file = scratch.path().join("Launcher.java");
        std::fs::write(&file, source.replace("org.opensearch", &format!("org.{name}"))).unwrap();
        let mut compile = Command::new(javac);
        compile.args(["-cp", &format!("{}/*", lib.display()), "-d"]).arg(scratch.path()).arg(&file);
        let compiled = compile.output().unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        std::fs::create_dir_all(home.join("start")).unwrap();
        std::fs::copy(scratch.path().join("Launcher.class"), home.join("start/Launcher.class")).unwrap();
        std::fs::write(home.join("complete"), "").unwrap();
        Some(home)
    }
}
