//! What an operator meets: a full disk, restarts, sockets and ports, monitoring, the unit file,
//! and files with mistakes in them. Everything runs against the program itself.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::client::addresses;
use common::daemon::{BINARY, Daemon, Said, binary, pointsman};
use common::{Program, Scratch, find, now, ports, until};
use pointsman::wire::{Message, Name, RecordType, ask};
use rustix::process::{Pid, Resource, Rlimit};

const EU: &str = "192.0.2.10";
const US: &str = "198.51.100.10";
/// Checks, hold-downs and stages take a second or two; machines may be slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// A web server that is well or not, and counts who writes to it.
struct Web {
    address: SocketAddr,
    well: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    puts: Arc<AtomicUsize>,
}

impl Web {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = Self {
            address: listener.local_addr().unwrap(),
            well: Arc::new(AtomicBool::new(true)),
            hangs: Arc::default(),
            puts: Arc::default(),
        };
        let (well, hangs, puts) = (web.well.clone(), web.hangs.clone(), web.puts.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (well, hangs, puts) = (well.clone(), hangs.clone(), puts.clone());
                std::thread::spawn(move || serve(stream, &well, &hangs, &puts));
            }
        });
        web
    }

    fn set_well(&self, well: bool) {
        self.well.store(well, Ordering::Relaxed);
    }

    fn puts(&self) -> usize {
        self.puts.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: TcpStream, well: &AtomicBool, hangs: &AtomicBool, puts: &AtomicUsize) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut request = Vec::new();
    let complete = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        (body.len() >= length).then_some(text)
    };
    let text = loop {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            length => request.extend_from_slice(&buffer[..length]),
        }
        if let Some(text) = complete(&request) {
            break text;
        }
    };
    if text.starts_with("PUT") {
        puts.fetch_add(1, Ordering::Relaxed);
        if hangs.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_secs(60));
        }
    }
    let status = if well.load(Ordering::Relaxed) { "200 OK" } else { "503 Service Unavailable" };
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()
}

/// Two regions with a front end each, and the target of a workflow that moves the petstore.
struct World {
    eu: Web,
    us: Web,
    target: Web,
    daemon: Daemon,
}

impl World {
    fn new(name: &str) -> Self {
        let daemon = Daemon::prepare(name);
        let world = Self { eu: Web::start(), us: Web::start(), target: Web::start(), daemon };
        world.daemon.write(
            "petstore-failover.yaml",
            &format!(
                "version: 1
name: petstore-failover
stages:
  switch:
    agent: http
    needs: []
    spec: {{method: PUT, url: \"http://{}/${{activate}}/role\", body: writer}}
  dial:
    agent: dial
    needs: [switch]
    spec: {{service: petstore}}
",
                world.target.address
            ),
        );
        world.configure("state", "");
        world
    }

    /// Writes the configuration: where the store is, and what else to listen on.
    fn configure(&self, store: &str, listen: &str) {
        let (eu, us) = (self.eu.address, self.us.address);
        self.daemon.write(
            "pointsman.yaml",
            &format!(
                "version: 1
mode: act
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"], control: control.sock{listen}}}
zones: [{{name: gtm.example.com, file: gtm.example.com.zone}}]
defaults: {{check: {{interval: 200ms, timeout: 150ms, fall: 2, rise: 2}}}}
regions:
  eu-west:
    layers:
      reach:   [{{tcp: {{address: \"{eu}\"}}}}]
      service: [{{http: {{url: \"http://{eu}/healthz\", status: [200]}}}}]
  us-east:
    layers:
      reach:   [{{tcp: {{address: \"{us}\"}}}}]
      service: [{{http: {{url: \"http://{us}/healthz\", status: [200]}}}}]
services:
  storefront:
    names: [storefront.gtm.example.com]
    policy: {{failover: [eu-west, us-east]}}
    answers: {{eu-west: {{a: [{EU}]}}, us-east: {{a: [{US}]}}}}
    ttl: {{min: 1s, max: 5s}}
    failback: {{auto: {{after: 500ms}}}}
  petstore:
    names: [petstore.gtm.example.com]
    policy: {{failover: [eu-west, us-east]}}
    switched_by: workflow
    answers: {{eu-west: {{a: [{EU}]}}, us-east: {{a: [{US}]}}}}
    ttl: {{min: 1s, max: 5s}}
    failback: manual
workflows:
  - {{file: petstore-failover.yaml, when: {{region: eu-west, turns: [unreachable], for: 300ms}}}}
store: {{embedded: {{path: {store}}}}}
"
            ),
        );
    }

    /// Starts the daemon, and waits until both regions are what they are at their best.
    fn start(&mut self) {
        self.daemon.start();
        self.until_healthy();
    }

    fn until_healthy(&self) {
        until("both regions to be healthy", PATIENCE, || {
            ["eu-west", "us-east"].iter().all(|region| self.daemon.health(region) == "healthy")
        });
    }
}

/// Waits until a name is answered with one address, and that one.
fn until_answered(daemon: &Daemon, service: &str, address: &str) {
    let name = format!("{service}.gtm.example.com");
    until(&format!("{name} to be {address}"), PATIENCE, || {
        let answered = daemon.addresses(&name);
        assert!(!answered.is_empty(), "{name} is never empty");
        answered == [address]
    });
}

// ── the disk ──

/// A directory that can be made to take no more.
struct Disk {
    path: PathBuf,
    mounted: bool,
}

impl Disk {
    /// A small file system of its own, if this machine lets us mount one. Else the kernel's
    /// limit on the size of files does: writes fail just as suddenly, with another error.
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=0755", "pointsman-test"]).arg(&path);
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        Self { path, mounted }
    }

    /// A command that starts the program so that a write beyond the limit is an error to it,
    /// and not its death.
    fn command() -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", BINARY]);
        command
    }

    fn fill(&self, daemon: &Daemon) {
        if self.mounted {
            let mut ballast = std::fs::File::create(self.path.join("ballast")).unwrap();
            for size in [65_536, 4096] {
                while ballast.write(&vec![7; size]).is_ok_and(|written| written > 0) {}
            }
        } else {
            limit(daemon, Some(1));
        }
    }

    fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", &format!("remount,{how}")]).arg(&self.path).status().unwrap();
        assert!(status.success(), "remount,{how}");
    }

    fn free(&self, daemon: &Daemon) {
        if self.mounted {
            std::fs::remove_file(self.path.join("ballast")).unwrap();
        } else {
            limit(daemon, None);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        }
    }
}

/// No file of a process may become larger than this.
fn limit(daemon: &Daemon, bytes: Option<u64>) {
    let pid = Pid::from_raw(daemon.pid() as i32);
    let before = rustix::process::getrlimit(Resource::Fsize);
    let limit = Rlimit { current: bytes, maximum: before.maximum };
    rustix::process::prlimit(pid, Resource::Fsize, limit).unwrap();
}

#[test]
fn a_full_disk_pauses_workflows_and_nothing_else() {
    let mut world = World::new("full");
    let disk = Disk::new(world.daemon.directory().join("disk"));
    world.configure("disk/state", "");
    world.daemon.start_by(Disk::command());
    world.until_healthy();
    let daemon = &world.daemon;
    assert_eq!(daemon.metric("pointsman_store_healthy"), Some(1.0));

    disk.fill(daemon);
    world.eu.set_well(false);
    until_answered(daemon, "storefront", US);
    until("the store to be told failing", PATIENCE, || daemon.metric("pointsman_store_healthy") == Some(0.0));
    let blocked = "pointsman_trigger{workflow=\"petstore-failover\",state=\"blocked\"}";
    until("the workflow to be told blocked", PATIENCE, || daemon.metric(blocked) == Some(1.0));
    let status = daemon.get("/v1/status");
    assert_eq!(status["automation"]["enabled"], false, "{status}");
    let because = status["automation"]["because"].to_string();
    assert!(because.contains("store"), "{because}");

    // Health goes on moving traffic, back and forth; the workflow's service stays where it is.
    world.eu.set_well(true);
    until_answered(daemon, "storefront", EU);
    world.eu.set_well(false);
    until_answered(daemon, "storefront", US);
    until("the workflow to be told blocked", PATIENCE, || daemon.metric(blocked) == Some(1.0));
    assert_eq!(daemon.addresses("petstore.gtm.example.com"), [EU]);
    assert_eq!(world.target.puts(), 0, "nothing acts while it cannot be written");

    disk.free(daemon);
    until_answered(daemon, "petstore", US);
    until("the store to be well again", PATIENCE, || daemon.metric("pointsman_store_healthy") == Some(1.0));
    assert_eq!(world.target.puts(), 1, "once");
    assert_eq!(daemon.metric("pointsman_journal_facts_lost_total"), Some(0.0));
    world.daemon.stop();
}

/// A restart is the first thing that anybody tries. What a workflow or a person has moved must
/// not come back by it: the old writer is behind it.
#[test]
fn a_restart_on_a_disk_that_takes_nothing_forgets_nothing() {
    let mut world = World::new("restart");
    let disk = Disk::new(world.daemon.directory().join("disk"));
    if !disk.mounted {
        eprintln!("ignored: needs root, to mount a file system");
        return;
    }
    world.configure("disk/state", "");
    world.start();
    let dialled = world.daemon.cli(&["dial", "petstore", "us-east=100", "--reason", "maintenance"]);
    assert!(dialled.succeeded(), "{dialled}");
    let served = world.daemon.get("/v1/status")["generation"].as_u64().unwrap();
    for on_disk in ["full", "read-only"] {
        if on_disk == "full" {
            disk.fill(&world.daemon);
        }
        world.daemon.kill();
        if on_disk == "read-only" {
            // What kernels do by themselves when a disk returns errors (ext4: errors=remount-ro).
            disk.remount("ro");
        }
        world.daemon.start();
        let daemon = &world.daemon;
        let first = daemon.event("daemon.serving")["table"].as_u64().unwrap();
        assert!(first > served, "{on_disk}: table {first} is served after table {served}");
        assert_eq!(daemon.addresses("petstore.gtm.example.com"), [US], "{on_disk}: {}", daemon.log());
        // Traffic goes on by health.
        world.eu.set_well(false);
        until("the store to be told failing", PATIENCE, || {
            daemon.metric("pointsman_store_healthy") == Some(0.0)
        });
        until("eu-west to be out", PATIENCE, || daemon.health("eu-west") == "unreachable");
        let blocked = "pointsman_trigger{workflow=\"petstore-failover\",state=\"blocked\"}";
        until("the workflow to be told blocked", PATIENCE, || daemon.metric(blocked) == Some(1.0));
        world.eu.set_well(true);
        until("eu-west to be back", PATIENCE, || daemon.health("eu-west") == "healthy");
    }
    assert_eq!(world.target.puts(), 0, "no workflow without a journal");

    disk.remount("rw");
    disk.free(&world.daemon);
    world.daemon.kill();
    world.start();
    assert_eq!(world.daemon.metric("pointsman_store_healthy"), Some(1.0));
    assert_eq!(world.daemon.addresses("petstore.gtm.example.com"), [US]);
}

// ── starting and stopping ──

/// The time that the unit gives for stopping.
fn stop_timeout() -> Duration {
    let unit = include_str!("../systemd/pointsman.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    Duration::from_secs(line.strip_suffix('s').unwrap().parse().unwrap())
}

#[test]
fn stops_cleanly_and_in_time_also_while_an_agent_hangs() {
    let mut world = World::new("stop");
    world.start();
    let (control, dns, start) = (world.daemon.control(), world.daemon.dns(), now());
    world.daemon.stop();
    assert!(now() - start < Duration::from_secs(5), "nothing was under way");
    assert!(!control.exists(), "the socket is gone with its daemon");
    drop(TcpListener::bind(dns).unwrap());

    world.start();
    world.target.hangs.store(true, Ordering::Relaxed);
    world.eu.set_well(false);
    until("the agent to hang", PATIENCE, || world.target.puts() == 1);
    let start = now();
    world.daemon.stop();
    assert!(now() - start < stop_timeout(), "before systemd loses its patience");
    let log = world.daemon.log();
    assert!(log.contains("calls are still under way; they are looked at again at the next start"), "{log}");
}

#[test]
fn a_second_daemon_is_told_what_is_taken_and_by_whom() {
    let mut world = World::new("second");
    world.start();
    let daemon = &world.daemon;
    let run = |listen: &str| {
        let config = std::fs::read_to_string(daemon.config()).unwrap();
        let (before, after) = config.split_once("listen: {").unwrap();
        let after = after.split_once('\n').unwrap().1;
        daemon.write("second.yaml", &format!("{before}listen: {{{listen}}}\n{after}"));
        let log = daemon.directory().join("second.log");
        let _ = std::fs::remove_file(&log);
        let mut command = binary();
        command.args(["serve", "--log", "json", "--config"]).arg(daemon.directory().join("second.yaml"));
        (Program::start(&mut command, "the second daemon", &log), log)
    };
    let ended = |(mut program, log): (Program, PathBuf)| {
        program.wait();
        assert!(!program.succeeded());
        std::fs::read_to_string(log).unwrap()
    };

    // The port: named, with the cure.
    let dns = daemon.dns();
    let port = dns.port();
    let said = ended(run(&format!("dns: [\"{dns}\"], control: second.sock")));
    assert!(said.contains(&format!("cannot listen on {dns} (TCP): Address already in use")), "{said}");
    assert!(said.contains(&format!("ss -lntp sport = :{port}")), "{said}");
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = http.local_addr().unwrap();
    let said = ended(run(&format!("dns: [\"127.0.0.1:0\"], http: \"{taken}\", control: second.sock")));
    assert!(said.contains(&format!("cannot listen on {taken} (`listen: http:`)")), "{said}");
    // The control socket stays with the one that has it.
    let said = ended(run("dns: [\"127.0.0.1:0\"], control: control.sock"));
    assert!(said.contains("another daemon listens on"), "{said}");
    assert_eq!(daemon.health("eu-west"), "healthy");

    // The store: refused, and the holder named. A daemon beside it would not know what is dialled.
    let said = ended(run("dns: [\"127.0.0.1:0\"], control: second.sock"));
    let refusal = format!("is in use by another process (most likely process {})", daemon.pid());
    assert!(said.contains(&refusal), "{said}");
    assert!(!said.contains("daemon.serving"), "{said}");
    assert_eq!(daemon.metric("pointsman_store_healthy"), Some(1.0), "the first has noticed nothing");
}

#[test]
fn table_generations_only_grow() {
    let mut world = World::new("generations");
    let (mut served, mut changes) = (0, 0);
    for round in 0..8u64 {
        world.daemon.start();
        let first = world.daemon.event("daemon.serving")["table"].as_u64().unwrap();
        assert!(first > served, "round {round}: table {first} is served after table {served}");
        served = served.max(first);
        // Every other process is killed at once, before its disk has told it anything; the
        // rest while tables follow each other.
        if round % 2 == 1 {
            world.eu.set_well(round % 4 == 1);
            let end = now() + Duration::from_millis(700 + 130 * round);
            while now() < end {
                let generation = world.daemon.get("/v1/status")["generation"].as_u64().unwrap();
                assert!(generation >= served, "table {generation} is served after table {served}");
                changes += u64::from(generation > served);
                served = generation;
            }
        }
        world.daemon.kill();
    }
    assert!(changes > 0, "tables have followed each other");
}

#[test]
fn serves_on_the_sockets_that_systemd_passes() {
    let Some(activate) = find("systemd-socket-activate", "systemd", &[]) else { return };
    let mut world = World::new("activation");
    let port = ports::free();
    let config = std::fs::read_to_string(world.daemon.config()).unwrap();
    world.daemon.write("pointsman.yaml", &config.replace("127.0.0.1:0", &format!("127.0.0.1:{port}")));
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    let listen = address.to_string();
    // The tool makes sockets of one kind only, and passes those on that were passed to it.
    let mut command = Command::new(&activate);
    command.args(["--listen", &listen]).arg(&activate).args(["--datagram", "--listen", &listen, BINARY]);
    world.daemon.launch(command);
    until("the tool to listen", PATIENCE, || TcpStream::connect(address).is_ok());
    // What comes in while the daemon starts waits in the socket, as over a restart.
    let mut answered = Vec::new();
    until("the first answer", PATIENCE, || {
        answered = addresses(address, "storefront.gtm.example.com");
        !answered.is_empty()
    });
    // It answers a moment before it says so.
    until("the daemon to say that it serves", PATIENCE, || !world.daemon.event("daemon.serving").is_null());
    // It cannot have bound the port itself: this process's own listener is still on it.
    assert_eq!(world.daemon.dns(), address);
    assert_eq!(answered, [EU]);
    let mut stream = TcpStream::connect(address).unwrap();
    let name = Name::parse("storefront.gtm.example.com").unwrap();
    let query = ask(9, &name, RecordType::A, None);
    stream.write_all(&(query.len() as u16).to_be_bytes()).unwrap();
    stream.write_all(&query).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    assert_eq!(Message::read(&message).unwrap().sections[0].len(), 1);
    world.daemon.stop();

    // Half of what it needs is a mistake in the socket unit.
    let mut command = Command::new(&activate);
    command.args(["--listen", &listen, BINARY]);
    world.daemon.launch(command);
    until("the tool to listen", PATIENCE, || TcpStream::connect(address).is_ok());
    assert!(!world.daemon.ends_well());
    let said = world.daemon.log();
    assert!(said.contains(&format!("systemd passed only one of UDP and TCP for {address}")), "{said}");
}

#[test]
fn only_the_control_socket_takes_orders() {
    let mut world = World::new("orders");
    let http = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    world.configure("state", &format!(", http: \"{http}\""));
    world.daemon.http = Some(http);
    world.start();
    let daemon = &world.daemon;
    let metadata = std::fs::metadata(daemon.control()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);

    let over_http = |method: &str, path: &str, body: &str| daemon.request(method, path, body).unwrap().0;
    let paths = ["/", "/healthz", "/readyz", "/metrics", "/v1/status", "/v1/executions", "/v1/obligations"];
    for path in paths {
        assert_eq!(over_http("GET", path, ""), 200, "{path}");
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            assert_eq!(over_http(method, path, "{}"), 405, "{method} {path}");
        }
    }
    let order = r#"{"owner": "nobody", "reason": "test", "what": {"drain": {"region": "eu-west", "expires": "2100-01-01T00:00:00Z", "even_if_empty": true}}}"#;
    for path in ["/v1/orders", "/v1/reload"] {
        assert_eq!(over_http("POST", path, order), 404, "{path}");
    }
    assert_eq!(daemon.region("eu-west")["duty"], "active");
    let drained = daemon.cli(&["region", "drain", "eu-west", "--reason", "test", "--expires", "1h"]);
    assert!(drained.succeeded(), "{drained}");
    assert_eq!(daemon.region("eu-west")["duty"], "drained");
    until_answered(daemon, "storefront", US);
}

// ── what others watch it with ──

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a tool in the repository, with something on its standard input.
fn tool(program: &Path, arguments: &[&str], input: &str) -> Said {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(repository());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn prometheus_takes_the_metrics_and_the_alerts() {
    let Some(promtool) = find("promtool", "prometheus", &[]) else { return };
    for arguments in [
        ["check", "rules", "config/prometheus/alerts.yml"],
        ["test", "rules", "tests/prometheus/alerts_test.yml"],
    ] {
        let output = tool(&promtool, &arguments, "");
        assert!(output.succeeded(), "{arguments:?}: {output}");
    }
    let mut world = World::new("prometheus");
    // A cluster that nobody runs is judged all the same.
    let voters: Vec<_> = (0..3).map(|_| format!("\"http://127.0.0.1:{}\"", ports::free())).collect();
    let config = std::fs::read_to_string(world.daemon.config()).unwrap();
    let cluster =
        format!("clusters:\n  sessions: {{etcd: {{inside: {{ap-south: [{}]}}}}}}\n", voters.join(", "));
    let third = "  ap-south:\n    layers:\n      quorum: [sessions]\nservices:\n";
    let config = config.replace("regions:\n", &format!("{cluster}regions:\n")).replace("services:\n", third);
    // A service with a check of its own, and a signed zone, so that their metrics are there too.
    let own = format!("{{us-east: {{service: [{{tcp: {{address: \"{}\"}}}}]}}}}", world.us.address);
    let config = config.replacen("    failback:", &format!("    layers: {own}\n    failback:"), 1);
    let config =
        config.replace("gtm.example.com.zone}", "gtm.example.com.zone, dnssec: {parent: {servers: []}}}");
    // And a certificate is shown to whoever comes over TLS.
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["ns1.example.com".to_owned()]).unwrap();
    world.daemon.write("server.pem", &certificate.self_signed(&key).unwrap().pem());
    world.daemon.write("server.key", &key.serialize_pem());
    let config = config.replace(
        "listen: {",
        "tls: {certificate: server.pem, key: server.key}\nlisten: {tls: [\"127.0.0.1:0\"], ",
    );
    world.daemon.write("pointsman.yaml", &config);
    world.daemon.start();
    let daemon = &world.daemon;
    until("the first conclusions", PATIENCE, || daemon.health("eu-west") == "healthy");
    world.eu.set_well(false);
    until("a flip and a stage to be counted", PATIENCE, || world.target.puts() == 1);
    until_answered(daemon, "petstore", US);

    let metrics = daemon.metrics();
    let output = tool(&promtool, &["check", "metrics"], &metrics);
    let complaints = output.to_string();
    assert!(output.succeeded() && complaints.is_empty(), "{complaints}");

    // An alert on a metric that is never exposed never fires.
    let exposed: BTreeSet<_> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let alerts = include_str!("../config/prometheus/alerts.yml");
    let expressions = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let words =
        expressions.flat_map(|expression| expression.split(|c: char| !c.is_alphanumeric() && c != '_'));
    let used: BTreeSet<_> = words.filter(|word| word.starts_with("pointsman_")).collect();
    assert!(used.len() > 10, "{used:?}");
    // Some are of systems that are not here; that they are set can only be read.
    let elsewhere = ["pointsman_cluster_parts", "pointsman_cluster_sides"];
    let source = include_str!("../src/control/telemetry.rs");
    assert!(elsewhere.iter().all(|metric| source.matches(&format!("\"{metric}\"")).count() > 1));
    let missing: Vec<_> = used.difference(&exposed).filter(|metric| !elsewhere.contains(*metric)).collect();
    assert!(missing.is_empty(), "{missing:?} are not among {exposed:?}");
    // And every label that an alert names by value is one that is exposed.
    for (label, values) in [
        ("pointsman_region_health", ["no_quorum", "unreachable"]),
        ("pointsman_trigger", ["blocked", "idle"]),
        ("pointsman_dnssec_parent", ["differs", "unknown"]),
    ] {
        for value in values {
            assert!(
                metrics
                    .lines()
                    .any(|line| line.starts_with(label) && line.contains(&format!("=\"{value}\"")))
            );
        }
    }
}

#[test]
fn the_unit_is_sound_and_locked_down() {
    let Some(analyze) = find("systemd-analyze", "systemd", &[]) else { return };
    let scratch = Scratch::new("unit");
    let units = ["pointsman.service", "pointsman.socket"].map(|name| {
        let unit = std::fs::read_to_string(repository().join("systemd").join(name)).unwrap();
        assert!(name.ends_with("socket") || unit.contains("ExecStart=/usr/bin/pointsman serve "));
        // The program must exist where the unit says, for `verify` to pass.
        let path = scratch.path().join(name);
        std::fs::write(&path, unit.replace("/usr/bin/pointsman", BINARY)).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let verified = tool(&analyze, &["verify", &units[0], &units[1]], "");
    assert!(verified.succeeded(), "{verified}");
    let complaints = verified.to_string();
    let ours: Vec<_> = complaints.lines().filter(|line| line.contains("pointsman")).collect();
    assert!(ours.is_empty(), "{ours:?}");
    // 0 is a cage, 100 is a shell for everybody.
    let security = ["security", "--offline=true", "--threshold=20", "--no-pager", &units[0]];
    let judged = tool(&analyze, &security, "");
    assert!(judged.succeeded(), "{judged}");
}

// ── files with mistakes in them ──

#[test]
fn the_committed_configuration_is_sound_and_says_what_it_guarantees() {
    let output = pointsman(&repository().join("config/pointsman.yaml"), &["check"]);
    let said = output.to_string();
    assert!(output.succeeded(), "{said}");
    for bound in [
        "config/pointsman.yaml is sound: 2 regions, 6 checks, 2 clusters with 8 members",
        "a broken eu-west is known within",
        "answers may be cached for at most",
        "the last client has left within",
        "a region that was out stays out at least",
        "then its workflow waits                               10s",
        "without eu-west 100 of 200 (50 %)",
        "an operator is asked before another is promoted",
    ] {
        assert!(said.contains(bound), "`{bound}` is not in:\n{said}");
    }
    assert!(output.err.is_empty(), "no warnings: {said}");
}

/// One file of the committed set with one place changed: what must be said about it.
struct Broken {
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// Line and column of the mistake in the changed file.
    at: &'static str,
    says: &'static str,
    cure: &'static str,
}

const CONFIG: &str = "config/pointsman.yaml";
const WORKFLOW: &str = "config/workflows/petstore-failover.yaml";
const ZONE_FILE: &str = "zones/gtm.example.com.zone";

const BROKEN: [Broken; 20] = [
    Broken {
        file: CONFIG,
        from: "mode: act  ",
        to: "mod: act  ",
        at: "4:1",
        says: "unknown key `mod`",
        cure: "did you mean `mode`?",
    },
    Broken {
        file: CONFIG,
        from: "version: 1",
        to: "version: 2",
        at: "3:10",
        says: "this program reads version 1, not 2",
        cure: "write `version: 1`",
    },
    Broken {
        file: CONFIG,
        from: "interval: 5s,",
        to: "interval: 5,",
        at: "17:21",
        says: "`5` has no unit",
        cure: "write 5s, 5m or 5ms",
    },
    Broken {
        file: CONFIG,
        from: "timeout: 2s",
        to: "timeout: 6s",
        at: "17:10",
        says: "a timeout of 6s does not fit into an interval of 5s",
        cure: "a probe must be over before the next one starts",
    },
    Broken {
        file: CONFIG,
        from: "127.0.0.1:5353",
        to: "127.0.0.1",
        at: "9:9",
        says: "`127.0.0.1` is not an address and a port",
        cure: "write it like \"127.0.0.1:53\"",
    },
    Broken {
        file: CONFIG,
        from: "sites: [fra1]",
        to: "sites: [ams1]",
        at: "5:14",
        says: "`sites` does not list `fra1`",
        cure: "lists every site that shares this configuration",
    },
    Broken {
        file: CONFIG,
        from: "all_down: serve_all",
        to: "all_down: serve_al",
        at: "61:15",
        says: "unknown kind `serve_al`",
        cure: "did you mean `serve_all`?",
    },
    Broken {
        file: CONFIG,
        from: "eu-west: {a: [192.0.2.10], aaaa: [\"2001:db8::10\"]}",
        to: "eu-west: {}",
        at: "58:7",
        says: "region `eu-west` gives no records",
        cure: "never empty",
    },
    Broken {
        file: CONFIG,
        from: "failback: manual",
        to: "failback: {auto: {after: 1m}}",
        at: "63:3",
        says: "cannot fail back by itself",
        cure: "write `failback: manual`",
    },
    Broken {
        file: CONFIG,
        from: "[storefront.gtm.example.com]",
        to: "[storefront.example.org]",
        at: "55:13",
        says: "lies in none of the zones",
        cure: "add its zone under `zones:`",
    },
    Broken {
        file: CONFIG,
        from: "region: eu-west, turns",
        to: "region: eu-wset, turns",
        at: "74:61",
        says: "there is no region `eu-wset`",
        cure: "did you mean `eu-west`?",
    },
    Broken {
        file: CONFIG,
        from: "turns: [no_quorum, unreachable]",
        to: "turns: [unknown]",
        at: "74:78",
        says: "unknown changes nothing",
        cure: "name the health that was found",
    },
    Broken {
        file: CONFIG,
        from: "port=5442 user=pointsman",
        to: "port=5442 user=pointsman sslmode=prefer",
        at: "34:80",
        says: "sslmode `prefer` is not offered",
        cure: "`verify-full`",
    },
    Broken {
        file: CONFIG,
        from: "zones/gtm.example.com.zone",
        to: "zones/nothing.zone",
        at: "14:35",
        says: "nothing.zone: No such file or directory",
        cure: "starts at the directory of the configuration file",
    },
    Broken {
        file: CONFIG,
        from: "workflows/petstore-failover.yaml",
        to: "workflows/nothing.yaml",
        at: "74:12",
        says: "nothing.yaml: No such file or directory",
        cure: "starts at the directory of the configuration file",
    },
    Broken {
        file: WORKFLOW,
        from: "agent: capacity",
        to: "agent: capactiy",
        at: "16:12",
        says: "unknown kind `capactiy`",
        cure: "did you mean `capacity`?",
    },
    Broken {
        file: WORKFLOW,
        from: "{service: petstore}",
        to: "{service: petstroe}",
        at: "34:21",
        says: "there is no service `petstroe`",
        cure: "did you mean `petstore`?",
    },
    Broken {
        file: WORKFLOW,
        from: "role: reader",
        to: "role: raeder",
        at: "38:40",
        says: "unknown kind `raeder`",
        cure: "did you mean `reader`?",
    },
    Broken {
        file: ZONE_FILE,
        from: "IN CNAME storefront",
        to: "IN CNAMEE storefront",
        at: "20:16",
        says: "`CNAMEE` is not a record type",
        cure: "did you mean CNAME?",
    },
    Broken {
        file: ZONE_FILE,
        from: "1209600    ; expire",
        to: "soon       ; expire",
        at: "9:21",
        says: "`soon` is not a number of seconds",
        cure: "like 3600 or 1h",
    },
];

/// The committed set in a directory of its own, for breaking.
fn copy_of_the_set(scratch: &Scratch) -> PathBuf {
    for file in [CONFIG, WORKFLOW, ZONE_FILE] {
        let to = scratch.path().join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(repository().join(file), to).unwrap();
    }
    scratch.path().join(CONFIG)
}

fn break_it(scratch: &Scratch, broken: &Broken) {
    let path = scratch.path().join(broken.file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches(broken.from).count(), 1, "`{}` once in {}", broken.from, broken.file);
    std::fs::write(path, text.replace(broken.from, broken.to)).unwrap();
}

#[test]
fn every_mistake_is_shown_with_its_place_and_its_cure() {
    for broken in &BROKEN {
        let scratch = Scratch::new("broken");
        let config = copy_of_the_set(&scratch);
        break_it(&scratch, broken);
        for command in [&["check"][..], &["serve", "--log", "json"]] {
            let output = pointsman(&config, command);
            let said = &output.err;
            let about = format!("{command:?} with `{}` for `{}`:\n{said}", broken.to, broken.from);
            assert_eq!(output.code, Some(1), "{about}");
            assert!(output.out.is_empty(), "{about}");
            let error = said.split("error: ").find(|error| error.contains(broken.says));
            let error = error.unwrap_or_else(|| panic!("not told `{}`: {about}", broken.says));
            // A place in the file, the line as it stands there, and a mark under the fault.
            let place = format!("--> {}:{}\n", scratch.path().join(broken.file).display(), broken.at);
            assert!(error.contains(&place), "not `{place}`: {about}");
            let line = broken.at.split(':').next().unwrap();
            let quoted = error.lines().find(|quoted| quoted.trim_start().starts_with(&format!("{line} |")));
            assert!(quoted.is_some() && error.contains('^'), "{about}");
            assert!(error.contains(broken.cure), "no cure: {about}");
        }
    }
}

/// The configuration's own mistakes come first: without it, nobody knows which names the
/// workflows may use.
#[test]
fn all_mistakes_are_told_at_once() {
    let in_config = ["`fra1`", "serve_al", "eu-wset", "prefer", "no records"];
    let beside_it = ["petstroe", "raeder", "CNAMEE", "soon"];
    for words in [&in_config[..], &beside_it] {
        let scratch = Scratch::new("all-broken");
        let config = copy_of_the_set(&scratch);
        let fits = |broken: &&Broken| words.iter().any(|word| broken.says.contains(word));
        let together: Vec<_> = BROKEN.iter().filter(fits).collect();
        assert_eq!(together.len(), words.len());
        for broken in &together {
            break_it(&scratch, broken);
        }
        let output = pointsman(&config, &["check"]);
        let said = &output.err;
        assert_eq!(output.code, Some(1));
        for broken in &together {
            assert!(said.contains(broken.says), "`{}` is missing:\n{said}", broken.says);
        }
        assert!(said.contains(&format!(": {} mistakes\n", together.len())), "{said}");
    }
}
