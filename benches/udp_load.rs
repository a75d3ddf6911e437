//! CPU time per query over UDP: our server beside the ceiling for sockets.
//!
//! Two servers run pinned to the first core, one thread each: Pointsman, and an echo that takes
//! a batch with recvmmsg, copies each message and sends the batch back with sendmmsg, through the
//! same code and with the same socket options. A client pinned to the second core keeps a window
//! of queries under way to one of them at a time. Rounds alternate the order, so that whatever
//! else the machine does falls on both.
//!
//! CPU time is what the scheduler counted for the server's threads (`/proc/PID/task/*/schedstat`),
//! the kernel's share included: receiving, sending, and delivering to the client over loopback.
//! The *ratio* is the echo's CPU time per query over ours: 1 would mean that finding and writing
//! an answer costs nothing. Its spread is a 95 % interval over rounds.
//!
//! Light: the client is the bottleneck and batches are small. With `--quota P` (root and cgroup v1
//! or v2 needed) the servers are held to P percent of their core, so that batches fill.
//!
//! `cargo bench --bench udp_load -- [--rounds N] [--seconds S] [--window W] [--quota P]`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints what it measured")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pointsman::base::{Generation, RegionId};
use pointsman::dns::{Asker, Desk, Transport, answer};
use pointsman::region::{Audience, Choice, Pick};
use pointsman::serve::mmsg::Batch;
use pointsman::serve::{Server, Sockets};
use pointsman::table::{Answers, Image, Table};
use pointsman::wire::{Name, RecordType, ask};

#[path = "../tests/zoo/mod.rs"]
mod zoo;

mod common;
use common::{Group, SERVER_CORE, cpu_ns, pin_to_client_core, spread};

/// Names asked for, of each kind.
const NAMES: usize = 1000;

struct Options {
    rounds: usize,
    leg: Duration,
    window: usize,
    quota: Option<u32>,
}

fn main() {
    let args: Vec<_> = std::env::args().collect();
    let after = |key: &str| args.iter().skip_while(|arg| *arg != key).nth(1);
    if let Some(kind) = after("--serve") {
        return serve(kind);
    }
    let number = |key: &str| after(key).map(|text| text.parse::<f64>().expect("options take numbers"));
    let options = Options {
        rounds: number("--rounds").map_or(10, |rounds| rounds as usize),
        leg: Duration::from_secs_f64(number("--seconds").unwrap_or(1.0)),
        window: number("--window").map_or(64, |window| window as usize),
        quota: number("--quota").map(|quota| quota as u32),
    };
    run(&options);
}

fn run(options: &Options) {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return println!("this takes two cores");
    }
    pin_to_client_core();
    let servers = [Running::start("pointsman"), Running::start("echo")];
    let group = options.quota.map(Group::new);
    let load = match &group {
        Some(group) => {
            group.hold(&servers.each_ref().map(|server| server.child.id()));
            format!("held to {} % of the core", options.quota.unwrap_or_default())
        }
        None => "light".to_owned(),
    };
    println!("{} rounds of {:?}, window {}, {load}", options.rounds, options.leg, options.window);
    for kind in ["plain", "dynamic"] {
        let queries = queries(kind);
        let mut rounds = Vec::new();
        for round in 0..=options.rounds {
            let mut legs = [Leg::default(); 2];
            for nth in 0..2 {
                // Now one is first, now the other.
                let which = (nth + round) & 1;
                legs[which] = measure(&servers[which], &queries, options);
            }
            // The first one warms up.
            if round > 0 {
                rounds.push(legs);
            }
        }
        report(kind, &rounds);
        println!("  the answer alone, no socket: {:.0} ns", engine_ns(&queries));
    }
}

/// What it takes to find and write an answer, hot, without any system call.
fn engine_ns(queries: &[Vec<u8>]) -> f64 {
    let (table, mut desk) = (table(), Desk::new(fastrand::Rng::with_seed(1), 0));
    let asker = Asker { client: [127, 0, 0, 1].into(), transport: Transport::Udp };
    let mut out = [0; 1232];
    let mut turn = || {
        let started = Instant::now();
        for query in queries {
            black_box(answer(black_box(query), &mut out, &table, &asker, &mut desk));
        }
        started.elapsed().as_nanos() as f64 / queries.len() as f64
    };
    // The fastest of many turns: anything slower is the machine's doing.
    (0..1000).map(|_| turn()).fold(f64::MAX, f64::min)
}

fn report(kind: &str, rounds: &[[Leg; 2]]) {
    let of = |which: usize, value: fn(&Leg) -> f64| spread(rounds.iter().map(|legs| value(&legs[which])));
    let ratio = spread(rounds.iter().map(|[ours, echo]| echo.cost() / ours.cost()));
    println!("{kind} names");
    for (which, name) in [(0, "pointsman"), (1, "echo")] {
        let (cost, _) = of(which, Leg::cost);
        let (rate, _) = of(which, |leg| leg.answered as f64 / leg.elapsed);
        println!(
            "  {name:<10} {cost:7.0} ns per query   {:7.0} k per CPU-second   {:6.0} k per second",
            1e6 / cost,
            rate / 1e3
        );
    }
    println!("  ratio {:.3} ± {:.3}", ratio.0, ratio.1);
}

#[derive(Clone, Copy, Default)]
struct Leg {
    answered: u64,
    cpu_ns: u64,
    elapsed: f64,
}

impl Leg {
    /// Nanoseconds of the server's CPU per query.
    fn cost(&self) -> f64 {
        self.cpu_ns as f64 / self.answered as f64
    }
}

/// Keeps a window of queries under way for a while: each answer that comes in is followed by the
/// next query, in batches.
fn measure(server: &Running, queries: &[Vec<u8>], options: &Options) -> Leg {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket has a timeout");
    let mut next = (0..queries.len()).cycle();
    let mut query = || &queries[next.next().unwrap_or_default()];
    let mut batch = Batch::new(false);
    let prime = |queries: &mut dyn FnMut() -> Vec<u8>| {
        for _ in 0..options.window {
            let _ = socket.send_to(&queries(), server.address);
        }
    };
    prime(&mut || query().clone());
    let mut leg = Leg::default();
    // The window settles before the clock starts.
    let mut started = None;
    let begun = Instant::now();
    loop {
        match batch.receive(&socket) {
            Ok(received) if started.is_some() => leg.answered += received as u64,
            Ok(_) => {}
            // Lost on the way: start over.
            Err(_) => prime(&mut || query().clone()),
        }
        let replies = batch.answer(|_, _, out| {
            let query = query();
            out.get_mut(..query.len())?.copy_from_slice(query);
            Some(query.len())
        });
        let _ = replies.send(&socket);
        match started {
            None if begun.elapsed() > options.leg / 10 => {
                started = Some((Instant::now(), server.cpu_ns()));
            }
            Some((at, cpu)) if at.elapsed() > options.leg => {
                leg.elapsed = at.elapsed().as_secs_f64();
                leg.cpu_ns = server.cpu_ns() - cpu;
                return leg;
            }
            _ => {}
        }
    }
}

fn queries(kind: &str) -> Vec<Vec<u8>> {
    let name = |n| Name::parse(&format!("{kind}{n}.example.com")).expect("it is a name");
    (0..NAMES).map(|n| ask(n as u16, &name(n), RecordType::A, Some(1232))).collect()
}

/// A server in a process of its own.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(kind: &str) -> Self {
        let this = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new("taskset")
            .args(["-c", SERVER_CORE])
            .arg(this)
            .args(["--serve", kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("needs taskset(1)");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it tells its address");
        let address = line.trim().parse().expect("it tells its address");
        Self { child, address }
    }

    /// What all threads together have spent on a core.
    fn cpu_ns(&self) -> u64 {
        cpu_ns(&[self.child.id()])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The end of its input is its word to stop.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Runs a server until the end of its input.
fn serve(kind: &str) {
    let sockets =
        Sockets::bind(&["127.0.0.1:0".parse().expect("it is an address")], 1).expect("loopback has ports");
    let address = sockets.udp_addresses()[0];
    let tell = || {
        println!("{address}");
        std::io::stdout().flush().expect("somebody reads it");
    };
    if kind == "pointsman" {
        let table = Arc::new(ArcSwap::from_pointee(table()));
        let server = Server::start(sockets, table, &zoo::config(zoo::CONFIG).dns).expect("there are threads");
        tell();
        wait();
        let counts = server.stop();
        let odd = counts.iter().filter(|(counter, count)| {
            *count > 0 && !["udp", "noerror", "dynamic"].contains(&counter.word())
        });
        for (counter, count) in odd {
            eprintln!("{count} {}", counter.word());
        }
        return;
    }
    // The same socket options: a copy of the socket that the server would have had.
    let socket = sockets.udp_socket(0).expect("one was bound");
    std::thread::spawn(move || {
        let mut batch = Batch::new(false);
        loop {
            if batch.receive(&socket).is_ok() {
                let replies = batch.answer(|query, _, reply| {
                    reply.get_mut(..query.len())?.copy_from_slice(query);
                    Some(query.len())
                });
                let _ = replies.send(&socket);
            }
        }
    });
    tell();
    wait();
}

fn wait() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// As many static names as names of services.
fn table() -> Table {
    let mut zone = zoo::ZONE.to_owned();
    let mut text = zoo::CONFIG.split("services:").next().unwrap_or_default().to_owned() + "services:\n";
    for n in 0..NAMES {
        let (high, low) = (n >> 8, n & 255);
        let _ = writeln!(zone, "plain{n} A 10.2.{high}.{low}");
        let _ = writeln!(
            text,
            "  s{n}: {{names: [dynamic{n}.example.com], policy: {{weighted: {{eu: 1, us: 2}}}}, answers: {{eu: {{a: \
             [10.0.{high}.{low}], aaaa: ['2001:db8::{n:x}']}}, us: {{a: [10.1.{high}.{low}]}}}}}}"
        );
    }
    let config = zoo::config(&text);
    let (image, _) =
        Image::build(&[zoo::zone("example.com", &zone)], &config).unwrap_or_else(|wrong| panic!("{wrong}"));
    let pick = Pick::One(vec![(RegionId(0), 1), (RegionId(1), 2)]);
    let choice = Choice::of(pick, 20);
    let answers = config
        .services
        .values()
        .map(|service| Answers::compile(service, &Audience::unlocated(service), &choice));
    Table::new(Generation(1), image, answers.collect())
}
