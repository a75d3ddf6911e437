//! Helpers of the tests that run against real programs. Everything they start lives under a
//! directory of its own, listens on loopback at ports found free, and dies with the test, also
//! when it fails.
#![allow(dead_code, reason = "each test file uses what it needs of these")]
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "helpers of tests")]

pub mod cassandra;
pub mod client;
pub mod daemon;
pub mod etcd;
pub mod fleet;
pub mod galera;
pub mod kafka;
pub mod maven;
pub mod mysql;
pub mod net;
pub mod patroni;
pub mod ports;
pub mod postgres;
pub mod rabbitmq;
pub mod redis;
pub mod scene;
pub mod search;
pub mod served;
pub mod servers;
pub mod shop;
pub mod unbound;
pub mod watch;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman::base::Source;
use pointsman::config::{Config, Surroundings};
use rustix::process::{Pid, Signal, kill_process};

/// A configuration from its text; the test fails with the mistakes in it.
pub fn config(text: &str) -> Arc<Config> {
    let around = Surroundings { directory: std::env::temp_dir(), state: None, runtime: None, processors: 2 };
    match pointsman::config::parse(&Source::new("test.yaml", text), &around) {
        Ok((config, _)) => Arc::new(config),
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    }
}

/// A directory that is removed with everything in it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pointsman-test-{}-{n}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("POINTSMAN_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.0.display());
            return;
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Finds a program by the path or in further directories. If it is missing, the test that needs
/// it passes with a remark, unless `POINTSMAN_TEST_REQUIRE=1` makes that a failure.
pub fn find(program: &str, package: &str, further: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(further.iter().map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|path| path.is_file());
    if found.is_none() {
        lacks(package);
    }
    found
}

/// Says that a test is left out, or fails it where everything must be there.
pub fn lacks(what: &str) {
    let required = std::env::var_os("POINTSMAN_TEST_REQUIRE").is_some_and(|value| value == "1");
    assert!(!required, "this test needs {what}");
    eprintln!("ignored: needs {what}");
}

/// Finds a program that Debian 12 does not have, where `tests/install-tools-long.sh` puts it.
pub fn find_foreign(program: &str, package: &str) -> Option<PathBuf> {
    let tools = cache().join("bin");
    find(program, &format!("{package} (run tests/install-tools-long.sh)"), &[tools.to_str()?])
}

/// Where what was fetched for the tests is kept.
pub fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| Path::new(&home).join(".cache"), PathBuf::from);
    cache.join("pointsman-tests")
}

/// A child process that is killed on drop, stopped or not.
pub struct Program {
    child: Child,
    name: String,
}

impl Program {
    /// Starts it in a process group of its own, its output in a file.
    pub fn start(command: &mut Command, name: &str, log: &Path) -> Self {
        use std::os::unix::process::CommandExt;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        let child = command.spawn().unwrap_or_else(|why| panic!("cannot start {name}: {why}"));
        Self { child, name: name.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|why| panic!("{}: {why}", self.name));
    }

    /// As `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn succeeded(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some_and(|status| status.success())
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) {
        until("the program to end", Duration::from_secs(30), || self.has_ended());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks every 20 ms until something is so; fails the test after `within`.
pub fn until(what: &str, within: Duration, mut so: impl FnMut() -> bool) {
    let start = now();
    while !so() {
        assert!(now() - start < within, "waited {within:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same, with looks that wait themselves.
pub async fn until_async(what: &str, within: Duration, mut so: impl AsyncFnMut() -> bool) {
    let start = now();
    while !so().await {
        assert!(now() - start < within, "waited {within:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[allow(clippy::disallowed_methods, reason = "tests against real programs run on real time")]
pub fn now() -> Instant {
    Instant::now()
}
