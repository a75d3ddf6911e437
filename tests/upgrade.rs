//! A new binary in place of the old one while clients ask: no query is lost, nothing is
//! forgotten, and a successor that does not come to serve changes nothing.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests read the clock and fail loudly")]

mod common;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use common::client::{self, Answer};
use common::daemon::{BINARY, Daemon, Said};
use common::{ports, until};
use pointsman::wire::{AskEdns, Message, Name, RecordType, ask_by_edns};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

const NAME: &str = "storefront.gtm.example.com";
const EU: &str = "192.0.2.10";
const US: &str = "198.51.100.10";
const PATIENCE: Duration = Duration::from_secs(20);
/// Clients that ask at once; each waits for its answer before it asks again.
const CLIENTS: usize = 4;

/// A daemon whose program can be replaced, two regions that always answer, and clients.
struct World {
    daemon: Daemon,
    dns: SocketAddr,
    _regions: TcpListener,
    /// The process group that every successor stays in.
    group: Pid,
    /// The process that the service manager was told to be the service; 0: none.
    manager: Arc<AtomicI32>,
}

impl World {
    fn start(name: &str) -> Self {
        Self::start_with(name, "")
    }

    /// `more` is said of the zone.
    fn start_with(name: &str, more: &str) -> Self {
        let regions = TcpListener::bind("127.0.0.1:0").unwrap();
        let region = regions.local_addr().unwrap();
        let (dns, http) = (ports::free_for_both(), ports::free());
        let mut daemon = Daemon::prepare(name);
        daemon.write(
            "pointsman.yaml",
            &format!(
                "version: 1
mode: act
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:{dns}\"], http: \"127.0.0.1:{http}\", control: control.sock}}
dns: {{udp_threads: 2}}
zones: [{{name: gtm.example.com, file: gtm.example.com.zone{more}}}]
defaults: {{check: {{interval: 500ms, timeout: 400ms, fall: 2, rise: 2}}}}
regions:
  eu-west: {{layers: {{reach: [{{tcp: {{address: \"{region}\"}}}}]}}}}
  us-east: {{layers: {{reach: [{{tcp: {{address: \"{region}\"}}}}]}}}}
services:
  storefront:
    names: [{NAME}]
    policy: {{failover: [eu-west, us-east]}}
    answers: {{eu-west: {{a: [{EU}]}}, us-east: {{a: [{US}]}}}}
store: {{embedded: {{path: state}}}}
"
            ),
        );
        daemon.http = Some(([127, 0, 0, 1], http).into());
        install(&daemon, BINARY.as_ref());
        let manager = listen_as_manager(UnixDatagram::bind(daemon.directory().join("notify.sock")).unwrap());
        let mut command = Command::new(program(&daemon));
        command.env_clear().env("NOTIFY_SOCKET", daemon.directory().join("notify.sock"));
        daemon.start_by(command);
        let group = Pid::from_raw(daemon.pid() as i32).unwrap();
        let world = Self { daemon, dns: ([127, 0, 0, 1], dns).into(), _regions: regions, group, manager };
        until("both regions to be healthy", PATIENCE, || {
            ["eu-west", "us-east"].iter().all(|region| world.daemon.health(region) == "healthy")
        });
        world
    }

    fn upgrade(&self) -> Said {
        self.daemon.cli(&["upgrade"])
    }

    /// An order that must hold from now on; it takes a store that can be written to.
    #[track_caller]
    fn drain(&self, region: &str) {
        let said =
            self.daemon.cli(&["region", "drain", region, "--expires", "1h", "--reason", "upgrade test"]);
        assert!(said.succeeded(), "{said}");
    }

    #[track_caller]
    fn release(&self, region: &str) {
        let said = self.daemon.cli(&["region", "release", region, "--reason", "upgrade test"]);
        assert!(said.succeeded(), "{said}");
    }

    /// Which process the service manager was last told to be the service.
    fn main_process(&self) -> Option<Pid> {
        Pid::from_raw(self.manager.load(Ordering::Relaxed))
    }

    fn duty(&self, region: &str) -> String {
        self.daemon.region(region)["duty"].as_str().unwrap().to_owned()
    }

    fn generation(&self) -> u64 {
        self.daemon.get("/v1/status")["generation"].as_u64().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

/// Takes in what a service tells its manager; whoever tells waits until it is taken in.
fn listen_as_manager(socket: UnixDatagram) -> Arc<AtomicI32> {
    let main = Arc::<AtomicI32>::default();
    let told = Arc::clone(&main);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len) = socket.recv(&mut buffer) {
            let said = String::from_utf8_lossy(&buffer[..len]);
            let id = said.lines().find_map(|line| line.strip_prefix("MAINPID=")?.parse().ok());
            id.inspect(|id| told.store(*id, Ordering::Relaxed));
        }
    });
    main
}

fn program(daemon: &Daemon) -> PathBuf {
    daemon.directory().join("pointsman")
}

/// Puts a program in the place of the one there is, as a package manager does: the old file
/// stays what it is for those that run it.
fn install(daemon: &Daemon, what: &std::path::Path) {
    let beside = daemon.directory().join("pointsman.new");
    std::fs::copy(what, &beside).unwrap();
    std::fs::rename(beside, program(daemon)).unwrap();
}

fn install_script(daemon: &Daemon, script: &str) {
    let beside = daemon.directory().join("script");
    std::fs::write(&beside, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(beside, program(daemon)).unwrap();
}

fn successor_of(said: &Said) -> Pid {
    assert!(said.succeeded(), "{said}");
    let id = said.out.split_whitespace().nth(1).and_then(|id| id.parse().ok());
    Pid::from_raw(id.unwrap_or_else(|| panic!("{said}"))).unwrap()
}

/// Clients that ask without a pause, each time from another port, so that all threads' sockets
/// are asked.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(server: SocketAddr) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..CLIENTS).map(|_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut lost = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match client::query(server, NAME) {
                        Answer::Address(..) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Answer::Other(why) => lost.push(why),
                    }
                }
                lost
            })
        });
        let clients = clients.collect();
        Self { stop, answered, clients }
    }

    /// Stops; the test fails if a query was lost, or if nobody asked.
    #[track_caller]
    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let lost: Vec<_> = self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        let answered = self.answered.load(Ordering::Relaxed);
        assert!(lost.is_empty(), "{} lost of {}: {:?}", lost.len(), answered + lost.len(), lost.first());
        assert!(answered > 100, "only {answered} questions were asked");
    }
}

#[test]
fn an_upgrade_loses_no_query_and_forgets_nothing() {
    let mut world = World::start("upgrade");
    world.drain("eu-west");
    assert_eq!(client::addresses(world.dns, NAME), [US]);
    let mut generation = world.generation();
    let load = Load::start(world.dns);
    // The successor of a successor, too.
    let mut before = None;
    for turn in 0..3 {
        install(&world.daemon, BINARY.as_ref());
        let successor = successor_of(&world.upgrade());
        match before {
            None => assert!(world.daemon.ends_well(), "the first process ends, and well"),
            Some(before) => {
                until("the process before to end", PATIENCE, || test_kill_process(before).is_err())
            }
        }
        before = Some(successor);
        assert_eq!(world.main_process(), Some(successor), "the service manager follows");
        assert_eq!(world.duty("eu-west"), "drained", "turn {turn}");
        let now = world.generation();
        assert!(now > generation, "generations only grow: {now} after {generation}");
        generation = now;
        kill_process(successor, Signal::HUP).unwrap();
    }
    load.stop();
    assert_eq!(client::addresses(world.dns, NAME), [US]);
    // The last one takes orders and writes them.
    world.release("eu-west");
    until("the region to be back", PATIENCE, || client::addresses(world.dns, NAME) == [EU]);
}

/// Whether an answer comes with its signature.
fn is_signed(server: SocketAddr) -> bool {
    let edns = AskEdns { payload: 1232, dnssec_ok: true, ..AskEdns::default() };
    let query = ask_by_edns(7, &Name::parse(NAME).unwrap(), RecordType::A, Some(&edns));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&query, server).unwrap();
    let mut buffer = [0; 1500];
    let len = socket.recv(&mut buffer).unwrap();
    let answer = Message::read(&buffer[..len]).unwrap();
    let has = |rtype| answer.sections[0].iter().any(|record| record.rtype == rtype);
    assert!(has(RecordType::A), "{answer}");
    has(RecordType::RRSIG)
}

/// Signing takes a while where zones are large: a successor does it while the old process has the
/// store, and the old one has no more to do when it goes on.
#[test]
fn a_signed_zone_is_signed_before_it_changes_hands() {
    let world = World::start_with("upgrade-signed", ", dnssec: {parent: {servers: []}}");
    let signed = || world.daemon.log().matches("dnssec.signed").count();
    let settled = || world.daemon.status().signed_zones.iter().all(|zone| zone.in_force);
    until("the keys to be in force", PATIENCE, settled);
    assert!(is_signed(world.dns) && signed() > 0, "{}", world.daemon.log());

    // One that dies with the store in its hands.
    let before = signed();
    install_script(&world.daemon, "echo prepared >&0; read go; exit 3");
    let said = world.upgrade();
    assert!(said.code == Some(1) && said.err.contains("ended before it was serving"), "{said}");
    for _ in 0..10 {
        assert!(is_signed(world.dns));
        std::thread::sleep(Duration::from_millis(100));
    }
    world.drain("us-east");
    world.release("us-east");
    assert!(is_signed(world.dns));
    assert_eq!(signed(), before, "what is signed stays signed: {}", world.daemon.log());

    install(&world.daemon, BINARY.as_ref());
    let told = world.daemon.log().len();
    let stop = Arc::<AtomicBool>::default();
    let watcher = std::thread::spawn({
        let (stop, server) = (Arc::clone(&stop), world.dns);
        move || {
            let mut unsigned = 0;
            while !stop.load(Ordering::Relaxed) {
                unsigned += usize::from(!is_signed(server));
            }
            unsigned
        }
    });
    successor_of(&world.upgrade());
    stop.store(true, Ordering::Relaxed);
    assert_eq!(watcher.join().unwrap(), 0, "no answer is without its signature meanwhile");
    assert!(is_signed(world.dns));
    let log = world.daemon.log().split_off(told);
    let at = |event: &str| log.find(event).unwrap_or_else(|| panic!("no {event} in {log}"));
    assert!(at("daemon.upgrading") < at("dnssec.signed"), "{log}");
    assert!(at("dnssec.signed") < at("daemon.handing_over"), "{log}");
    assert_eq!(log.matches("dnssec.signed").count(), 1, "once is enough: {log}");
}

#[test]
fn neither_a_reload_nor_a_new_table_loses_a_query() {
    let world = World::start("swaps");
    let zone = std::fs::read_to_string(world.daemon.directory().join("gtm.example.com.zone")).unwrap();
    let load = Load::start(world.dns);
    for turn in 0..10 {
        world.drain("eu-west");
        world.daemon.write("gtm.example.com.zone", &format!("{zone}new{turn} A 192.0.2.99\n"));
        let said = world.daemon.cli(&["reload"]);
        assert!(said.succeeded(), "{said}");
        assert_eq!(client::addresses(world.dns, &format!("new{turn}.gtm.example.com")), ["192.0.2.99"]);
        world.release("eu-west");
    }
    load.stop();
}

#[test]
fn a_successor_that_does_not_come_to_serve_changes_nothing() {
    let world = World::start("upgrade-fails");
    let config = std::fs::read_to_string(world.daemon.config()).unwrap();
    let load = Load::start(world.dns);
    let refused = |words: &str| {
        let said = world.upgrade();
        assert_eq!(said.code, Some(1), "{said}");
        assert!(said.err.contains(words) && said.err.contains("the daemon that runs goes on"), "{said}");
        // It answers, and has its store: an order is written.
        world.drain("us-east");
        assert_eq!(world.duty("us-east"), "drained");
        world.release("us-east");
    };
    // It does not start at all.
    install_script(&world.daemon, "exit 7");
    refused("ended before it was prepared (exit status: 7)");
    // It says something else.
    install_script(&world.daemon, "echo hello >&0; sleep 60");
    refused("it said `hello`");
    // It dies with the store in its hands.
    install_script(&world.daemon, "echo prepared >&0; read go; exit 3");
    refused("ended before it was serving (exit status: 3)");
    // It is none of us, and there is nothing to start.
    std::fs::remove_file(program(&world.daemon)).unwrap();
    refused("cannot start");
    // It is sound, and the configuration is not.
    install(&world.daemon, BINARY.as_ref());
    world.daemon.write("pointsman.yaml", &config.replace("mode: act", "mode: act\nmood: bad"));
    let said = world.daemon.cli(&["upgrade", "--control", world.daemon.control().to_str().unwrap()]);
    assert_eq!(said.code, Some(1), "{said}");
    assert!(said.err.contains("ended before it was prepared"), "{said}");
    world.daemon.write("pointsman.yaml", &config);
    // After all that, a good one does take over.
    successor_of(&world.upgrade());
    until("the successor to be asked", PATIENCE, || world.daemon.cli(&["status"]).succeeded());
    load.stop();
}

#[test]
fn a_second_daemon_does_not_take_itself_for_a_successor() {
    let daemon = Daemon::prepare("upgrade-alone");
    daemon.write("pointsman.yaml", "version: 1\nmode: observe\nsite: {name: a}\nlisten: {dns: []}\n");
    let mut command = Command::new(BINARY);
    command.env_clear().env("POINTSMAN_SUCCEEDS", "1").stdin(Stdio::null());
    let said: Said = command.args(["serve", "--config"]).arg(daemon.config()).output().unwrap().into();
    assert_eq!(said.code, Some(3), "{said}");
    assert!(said.err.contains("POINTSMAN_SUCCEEDS"), "{said}");
}
