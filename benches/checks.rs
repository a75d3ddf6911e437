//! What checks cost: 30 000 TCP checks every ten seconds, and HTTP checks with a fresh connection
//! each beside gdnsd's `http_status`.
//!
//! The checking daemon is pinned to the first core, and what it checks to the second: one listener
//! that every address of 127.0.0.0/8 leads to, so that each check has a target of its own. CPU time
//! is what the scheduler counted for the daemon's threads, the kernel's share included; memory is
//! the proportional set size.
//!
//! `cargo bench --bench checks -- [tcp] [http] [--rounds N] [--seconds S] [--install]`
#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

mod common;
use common::{CLIENT_CORE, SERVER_CORE, cpu_ns, pin_to_client_core, pss, spread};

/// TCP checks, and how often each is made.
const TCP_CHECKS: usize = 30_000;
const TCP_INTERVAL: u32 = 10;
/// HTTP checks, and how often each is made.
const HTTP_CHECKS: usize = 4_000;
const HTTP_INTERVAL: u32 = 2;
/// Checks of one region.
const PER_REGION: usize = 100;
/// Addresses of one of gdnsd's resources.
const PER_RESOURCE: usize = 50;
const GDNSD: &str = "/usr/sbin/gdnsd";

fn main() {
    let args: Vec<_> = std::env::args().collect();
    if args.iter().any(|arg| arg == "--target") {
        return target();
    }
    let named = |name: &str| args.iter().any(|arg| arg == name);
    if named("--install") {
        let installed = Command::new("apt-get").args(["install", "-y", "-q", "gdnsd"]).status();
        assert!(installed.is_ok_and(|status| status.success()), "gdnsd cannot be installed");
    }
    let after = |key: &str| args.iter().skip_while(|arg| *arg != key).nth(1);
    let number = |key: &str| after(key).map(|text| text.parse::<f64>().expect("options take numbers"));
    let rounds = number("--rounds").map_or(10, |rounds| rounds as usize);
    let leg = Duration::from_secs_f64(number("--seconds").unwrap_or(4.0));
    pin_to_client_core();
    let target = Target::start();
    if named("tcp") || !named("http") {
        tcp(&target, rounds.min(3));
    }
    if named("http") || !named("tcp") {
        http(&target, rounds, leg);
    }
}

// ── what is checked ──

/// Answers every connection: with HTTP if it is asked something, else not at all. Counts them by who
/// asks, and tells the counts.
fn target() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16_384).unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        let counts: Arc<[AtomicU64; 3]> = Arc::default();
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            let counts = Arc::clone(&counts);
            tokio::spawn(async move {
                let mut asked = [0; 1024];
                let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut asked)).await;
                let octets = read.map_or(0, |read| read.unwrap_or(0));
                let who = PATHS
                    .iter()
                    .position(|path| asked[..octets].starts_with(format!("GET {path} ").as_bytes()));
                counts[who.unwrap_or(SILENT)].fetch_add(1, Relaxed);
                let body = counts.each_ref().map(|count| count.load(Relaxed).to_string()).join(" ");
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
                if octets > 0 {
                    let _ = stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await;
                }
            });
        }
    });
}

/// Paths that tell who asks; the third count is of those who ask nothing.
const PATHS: [&str; 2] = ["/pointsman", "/gdnsd"];
const SILENT: usize = 2;

struct Target {
    child: Child,
    port: u16,
}

impl Target {
    fn start() -> Self {
        let exe = std::env::current_exe().unwrap();
        let mut command = Command::new("taskset");
        command.args(["-c", CLIENT_CORE]).arg(exe).arg("--target");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("needs taskset(1)");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().expect("the target tells its port") }
    }
}

impl Target {
    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Connections so far, by who made them.
    fn counts(&self) -> [u64; 3] {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"GET /counts HTTP/1.1\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let mut counts = said.rsplit('\n').next().unwrap_or_default().split(' ').map(str::parse);
        std::array::from_fn(|_| counts.next().and_then(Result::ok).expect("the target counts"))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of its own for each check.
fn address(n: usize) -> String {
    let [_, a, b, c] = (n as u32 + 1).to_be_bytes();
    format!("127.{}.{b}.{c}", a + 1)
}

// ── who checks ──

struct Checker {
    child: Child,
    directory: PathBuf,
}

impl Checker {
    fn start(name: &str, program: &str, args: &[&str], files: &[(&str, String)]) -> Self {
        let directory = std::env::temp_dir().join(format!("pointsman-bench-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        for (file, text) in files {
            let path = directory.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("DIRECTORY", &directory.to_string_lossy())).unwrap();
        }
        let mut command = Command::new("taskset");
        command.args(["-c", SERVER_CORE, program]);
        command.args(args.iter().map(|arg| arg.replace("DIRECTORY", &directory.to_string_lossy())));
        command.current_dir(&directory).process_group(0);
        command.stdout(Stdio::null()).stderr(fs::File::create(directory.join("log")).unwrap());
        Self { child: command.spawn().expect("needs taskset(1)"), directory }
    }

    fn pointsman(kind: &str, checks: usize, interval: u32, check: impl Fn(usize) -> String) -> Self {
        let mut text = String::from(
            "version: 1\nmode: observe\nsite: {name: bench}\nlisten: {dns: [], control: control.sock}\n\
             store: {embedded: {path: state}}\nregions:\n",
        );
        for region in 0..checks.div_ceil(PER_REGION) {
            let _ = write!(text, "  r{region}: {{layers: {{reach: [");
            for n in (region * PER_REGION..checks).take(PER_REGION) {
                let _ = write!(text, "{}{}", if n % PER_REGION == 0 { "" } else { ", " }, check(n));
            }
            text.push_str("]}}\n");
        }
        let _ = writeln!(text, "defaults: {{check: {{interval: {interval}s, timeout: 1s}}}}");
        let args = ["serve", "--config", "pointsman.yaml"];
        Self::start(kind, env!("CARGO_BIN_EXE_pointsman"), &args, &[("pointsman.yaml", text)])
    }

    fn gdnsd(port: u16) -> Self {
        let mut resources = String::new();
        for resource in 0..HTTP_CHECKS / PER_RESOURCE {
            let _ = write!(resources, "r{resource} => {{ ");
            for n in resource * PER_RESOURCE..(resource + 1) * PER_RESOURCE {
                let _ = write!(resources, "a{n} => {}, ", address(n));
            }
            resources.push_str("service_types => web }\n");
        }
        let config = format!(
            "options => {{ listen => [ 127.0.0.1:{} ], udp_threads => 1, tcp_threads => 1, \
             run_dir => DIRECTORY/run, state_dir => DIRECTORY/state }}\n\
             service_types => {{ web => {{ plugin => http_status, port => {port}, url_path => \"{}\", \
             interval => {HTTP_INTERVAL}, timeout => 1 }} }}\n\
             plugins => {{ multifo => {{\n{resources}}} }}\n",
            free_port(),
            PATHS[1]
        );
        let zone =
            "@ SOA ns1 hostmaster 1 1h 10m 2w 30\n@ NS ns1\nns1 A 192.0.2.53\nwww 60 DYNA multifo!r0\n";
        let files = [
            ("config", config),
            ("zones/example.com", zone.to_owned()),
            ("run/keep", String::new()),
            ("state/keep", String::new()),
        ];
        Self::start("gdnsd", GDNSD, &["-c", "DIRECTORY", "start"], &files)
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.child.id()]
    }

    fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(self.child.id() as i32).unwrap();
        let _ = kill_process_group(group, signal);
    }

    fn told(&self) -> String {
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        log.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        self.signal(Signal::KILL);
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn tcp(target: &Target, rounds: usize) {
    let interval = Duration::from_secs(TCP_INTERVAL.into());
    let port = target.port;
    let checker = Checker::pointsman("tcp", TCP_CHECKS, TCP_INTERVAL, |n| {
        format!("{{tcp: {{address: '{}:{port}'}}}}", address(n))
    });
    // The first round comes all at once, and the first conclusions with it.
    std::thread::sleep(interval * 2);
    let (mut shares, mut made) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let before = (cpu_ns(&checker.processes()), target.counts()[SILENT]);
        std::thread::sleep(interval);
        shares.push((cpu_ns(&checker.processes()) - before.0) as f64 / interval.as_nanos() as f64 * 100.0);
        made.push((target.counts()[SILENT] - before.1) as f64);
    }
    let ((share, wide), (made, _)) = (spread(shares), spread(made));
    let memory = pss(&checker.processes()) as f64 / 1e6;
    println!("\n## {TCP_CHECKS} TCP checks every {interval:?} ({rounds} rounds)\n");
    println!("{share:.1} ± {wide:.1} % of a core, {memory:.0} MB, {made:.0} connections in each round");
    // The backlog takes a while to fill; then nothing answers any more.
    target.signal(Signal::STOP);
    let shares: Vec<f64> = (0..4)
        .map(|_| {
            let before = cpu_ns(&checker.processes());
            std::thread::sleep(interval);
            (cpu_ns(&checker.processes()) - before) as f64 / interval.as_nanos() as f64 * 100.0
        })
        .collect();
    target.signal(Signal::CONT);
    let shares: Vec<String> = shares.iter().map(|share| format!("{share:.0} %")).collect();
    println!("While all of them fall silent, {interval:?} each: {}", shares.join(", "));
}

fn http(target: &Target, rounds: usize, leg: Duration) {
    let port = target.port;
    let ours = Checker::pointsman("http", HTTP_CHECKS, HTTP_INTERVAL, |n| {
        format!("{{http: {{url: 'http://{}:{port}{}'}}}}", address(n), PATHS[0])
    });
    let theirs = Path::new(GDNSD).exists().then(|| Checker::gdnsd(port));
    std::thread::sleep(Duration::from_secs(10));
    let checkers: Vec<_> = [Some(&ours), theirs.as_ref()].into_iter().flatten().collect();
    let mut rounds_of = vec![Vec::new(); checkers.len()];
    for _ in 0..rounds {
        // All at once: whatever the target and the machine do falls on all of them.
        let spent = || checkers.iter().map(|checker| cpu_ns(&checker.processes())).collect::<Vec<_>>();
        let (cpu, made) = (spent(), target.counts());
        std::thread::sleep(leg);
        let (cpu_after, made_after) = (spent(), target.counts());
        for (which, costs) in rounds_of.iter_mut().enumerate() {
            let checks = (made_after[which] - made[which]) as f64;
            costs.push(((cpu_after[which] - cpu[which]) as f64 / checks / 1e3, checks / leg.as_secs_f64()));
        }
    }
    println!("\n## {HTTP_CHECKS} HTTP checks every {HTTP_INTERVAL} s ({rounds} rounds of {leg:?})\n");
    println!(
        "| who checks | µs of CPU per check | checks per second | pointsman's ratio to it |\n|---|---|---|---|"
    );
    for (name, costs) in ["pointsman", "gdnsd"].iter().zip(&rounds_of) {
        let (cost, wide) = spread(costs.iter().map(|(cost, _)| *cost));
        let (rate, _) = spread(costs.iter().map(|(_, rate)| *rate));
        let (ratio, ratio_wide) =
            spread(rounds_of[0].iter().zip(costs).map(|((ours, _), (other, _))| ours / other));
        println!("| {name} | {cost:.1} ± {wide:.1} | {rate:.0} | {ratio:.3} ± {ratio_wide:.3} |");
    }
    println!("\n{}", ours.told());
}
