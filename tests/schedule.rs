//! Probes run at their time: never two of one target at once, never longer than their timeout,
//! through reloads and past owners that do not listen.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pointsman::base::CheckId;
use pointsman::config::Config;
use pointsman::health::Finding;
use pointsman::io::Net;
use pointsman::probe::{Probes, Report};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use common::servers::Server;
use common::{now, ports};

/// One region whose reach layer holds these checks.
fn config(checks: &[String]) -> Arc<Config> {
    let mut text = "version: 1\nmode: observe\nsite: {name: here}\nsites: [here]\n\
                    listen: {dns: [\"127.0.0.1:5353\"]}\nstore: {embedded: {path: /tmp/none}}\n\
                    regions:\n  here:\n    layers:\n      reach:\n"
        .to_owned();
    for check in checks {
        let _ = writeln!(text, "        - {check}");
    }
    common::config(&text)
}

fn tcp(port: u16, interval: &str, timeout: &str) -> String {
    format!("tcp: {{address: \"127.0.0.1:{port}\", interval: {interval}, timeout: {timeout}}}")
}

fn http(port: u16, interval: &str, timeout: &str) -> String {
    format!("http: {{url: \"http://127.0.0.1:{port}/\", interval: {interval}, timeout: {timeout}}}")
}

async fn sample(reports: &mut mpsc::Receiver<Report>) -> (CheckId, Finding) {
    let report = tokio::time::timeout(Duration::from_secs(10), reports.recv()).await.unwrap();
    match report.unwrap() {
        Report::Sample(sample) => (sample.check, sample.finding),
        Report::Round(round) => panic!("{round:?}"),
    }
}

/// A server that counts how many connections are open, at most, and when each came.
struct Counting {
    server: Server,
    most: Arc<AtomicUsize>,
    times: Arc<Mutex<Vec<Instant>>>,
}

impl Counting {
    async fn start() -> Self {
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let times = Arc::new(Mutex::new(Vec::new()));
        let (peak, came) = (Arc::clone(&most), Arc::clone(&times));
        // It takes a connection and says nothing: every probe hangs for its whole timeout.
        let server = Server::start(move |mut stream: TcpStream| {
            let (open, peak) = (Arc::clone(&open), Arc::clone(&peak));
            came.lock().unwrap().push(now());
            async move {
                peak.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                while stream.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {}
                open.fetch_sub(1, Ordering::SeqCst);
            }
        })
        .await;
        Self { server, most, times }
    }

    fn times(&self) -> Vec<Instant> {
        self.times.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_probe_of_a_target_at_a_time_each_at_its_interval() {
    let target = Counting::start().await;
    let (probes, mut reports) =
        Probes::start(&Net::new(), &config(&[http(target.server.port(), "300ms", "290ms")]));
    let started = now();
    for _ in 0..10 {
        let (_, finding) = sample(&mut reports).await;
        assert!(
            matches!(&finding, Finding::Fail(why) if why.contains("no answer within 290ms")),
            "{finding:?}"
        );
    }
    assert_eq!(target.most.load(Ordering::SeqCst), 1, "never two at once");
    let times = target.times();
    for pair in times.windows(2).skip(1) {
        let gap = pair[1] - pair[0];
        // Up to 5 % short of the interval; how late, depends on the machine.
        assert!(gap > Duration::from_millis(270) && gap < Duration::from_millis(600), "{gap:?}");
    }
    assert!(now() - started > Duration::from_millis(2400));
    probes.stop().await;
    let count = target.times().len();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(target.times().len(), count, "stopped is stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_round_is_over_soon() {
    let server = Server::start(|_| async {}).await;
    let dead = ports::free();
    let checks: Vec<String> =
        (0..500).map(|n| tcp(if n % 5 == 0 { dead } else { server.port() }, "1h", "2s")).collect();
    let config = config(&checks);
    let (_probes, mut reports) = Probes::start(&Net::new(), &config);
    let started = now();
    let mut seen = BTreeMap::new();
    while seen.len() < 500 {
        let (id, finding) = sample(&mut reports).await;
        assert_eq!(seen.insert(id, matches!(finding, Finding::Pass(_))), None, "one each");
    }
    assert!(now() - started < Duration::from_secs(3), "{:?}", now() - started);
    assert_eq!(seen.values().filter(|pass| **pass).count(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_the_rhythm_and_probes_what_is_new_at_once() {
    let (kept, gone, new) = (Counting::start().await, Counting::start().await, Counting::start().await);
    // Short, so that few are under way when a reload breaks them off and they begin anew.
    let check = |target: &Counting| http(target.server.port(), "2s", "10ms");
    let old = config(&[check(&gone), check(&kept)]);
    let (probes, mut reports) = Probes::start(&Net::new(), &old);
    for _ in 0..2 {
        sample(&mut reports).await;
    }
    // Reloading over and over neither puts the kept target off nor hurries it.
    let changed = config(&[check(&kept), check(&new)]);
    let started = now();
    let mut probes = probes;
    let mut latest = reports;
    while now() - started < Duration::from_millis(4500) {
        (probes, latest) = probes.replace(&changed).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    drop((probes, latest));
    assert_eq!(gone.times().len(), 1, "what is no longer there is no longer probed");
    let times = kept.times();
    assert!((2..=5).contains(&times.len()), "{} probes in 4.5 s at 2 s", times.len());
    assert!(
        new.times().len() >= 2 && new.times()[0] - started < Duration::from_millis(500),
        "new ones start at once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_does_not_listen_stops_no_probe() {
    let server = Counting::start().await;
    // More checks than reports can wait.
    let checks: Vec<String> = (0..5000).map(|_| tcp(server.server.port(), "1s", "900ms")).collect();
    let (probes, mut reports) = Probes::start(&Net::new(), &config(&checks));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = server.times().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = server.times().len();
    assert!(after > before + 2500, "probing goes on: {before}, then {after}");
    // Once it listens again, news come at once.
    let mut last = BTreeMap::new();
    for _ in 0..8000 {
        let (id, finding) = sample(&mut reports).await;
        last.insert(id, finding);
    }
    assert!(last.len() > 3000);
    tokio::time::timeout(Duration::from_secs(5), probes.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_probes_ends_them() {
    let target = Counting::start().await;
    let (probes, mut reports) =
        Probes::start(&Net::new(), &config(&[http(target.server.port(), "100ms", "50ms")]));
    sample(&mut reports).await;
    drop(probes);
    while tokio::time::timeout(Duration::from_secs(5), reports.recv()).await.unwrap().is_some() {}
}

/// What 30 000 TCP checks every ten seconds cost. Run it alone, in release:
/// `cargo test --release --test schedule -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement: takes a minute and wants the machine for itself"]
fn carries_30_000_tcp_checks() {
    const CHECKS: usize = 30_000;
    const LISTENERS: usize = 64;
    if std::env::var_os("POINTSMAN_TEST_LISTEN").is_some() {
        return listen(LISTENERS);
    }
    // The targets live in a process of their own, so that our own cost can be told apart.
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "carries_30_000_tcp_checks", "--ignored", "--nocapture"]);
    child.env("POINTSMAN_TEST_LISTEN", "1").stdout(std::process::Stdio::null());
    let mut child = child.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut ports = Vec::new();
    let mut told = String::new();
    let stderr = child.stderr.as_mut().unwrap();
    while ports.len() < LISTENERS {
        let mut byte = [0];
        stderr.read_exact(&mut byte).unwrap();
        match byte[0] {
            b'\n' => ports.extend(
                std::mem::take(&mut told).strip_prefix("port ").map(|port| port.parse::<u16>().unwrap()),
            ),
            byte => told.push(byte.into()),
        }
    }
    let checks: Vec<String> = (0..CHECKS).map(|n| tcp(ports[n % LISTENERS], "10s", "2s")).collect();
    let config = config(&checks);
    let memory_before = memory();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (probes, mut reports) = Probes::start(&Net::new(), &config);
        let count = Arc::new(AtomicUsize::new(0));
        let failed = Arc::new(AtomicUsize::new(0));
        let (counter, failures) = (Arc::clone(&count), Arc::clone(&failed));
        tokio::spawn(async move {
            while let Some(Report::Sample(sample)) = reports.recv().await {
                counter.fetch_add(1, Ordering::Relaxed);
                if !matches!(sample.finding, Finding::Pass(_)) {
                    failures.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        tokio::time::sleep(Duration::from_secs(20)).await;
        let (cpu, probes_before, started) = (cpu(), count.load(Ordering::Relaxed), now());
        tokio::time::sleep(Duration::from_secs(30)).await;
        let (spent, done, took) =
            (self::cpu() - cpu, count.load(Ordering::Relaxed) - probes_before, (now() - started).as_secs_f64());
        eprintln!(
            "{CHECKS} checks: {:.0}/s, {:.1} % of one core, {:.1} µs each, {:.0} MB resident (+{:.0} MB), {} did not pass",
            done as f64 / took,
            100.0 * spent / took,
            1e6 * spent / done as f64,
            memory(),
            memory() - memory_before,
            failed.load(Ordering::Relaxed),
        );
        probes.stop().await;
        assert!(done as f64 / took > 0.98 * CHECKS as f64 / 10.0);
        assert_eq!(failed.load(Ordering::Relaxed), 0);
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

fn listen(listeners: usize) {
    let threads = (0..listeners).map(|_| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        eprintln!("port {}", listener.local_addr().unwrap().port());
        std::thread::spawn(move || listener.incoming().for_each(drop))
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

/// Seconds of processor time that this process has used.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Megabytes resident.
fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
