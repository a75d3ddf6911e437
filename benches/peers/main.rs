//! Pointsman beside its peers, in one run: gdnsd, Knot, NSD, PowerDNS and BIND as Debian ships
//! them, and a bare recvmmsg/sendmmsg echo, the ceiling for sockets.
//!
//! Each server runs in processes of its own, pinned to the first core, with one UDP thread; the
//! client runs on the second. All of them serve the same names from the same zone text. Rounds
//! are interleaved: in each, every server has its turn, in an order that moves on from round to
//! round, so that whatever else the machine does falls on all of them.
//!
//! | part | asks |
//! |---|---|
//! | `zone` | 1000 names with an address each, by dnsperf |
//! | `dynamic` | a weighted lot in the client's country, with a client subnet in each query, by dnsperf; of the peers those that can |
//! | `signed` | the same of a signed zone, with and without DO, and of a dynamic name in one |
//! | `latency` | percentiles at a steady rate, with and without a new table each second |
//! | `start` | 1 000 000 records: from the start of the process to its first answer, and memory |
//!
//! *Per CPU-second* is queries answered over the CPU time that the scheduler counted for all
//! threads of the server, the kernel's share included. Ratios are formed within a round; the
//! interval is 95 % over rounds.
//!
//! Light: the client is the bottleneck and batches are small. Saturated: with `--quota P` (root and
//! a control group file system) servers are held to P percent of their core, with `--share` the
//! client takes turns with them on that core; queries pile up meanwhile, and batches fill, if
//! `--window N` lets enough of them be in flight. With `--flood` a client that never sleeps asks
//! instead of dnsperf: to wake a client costs a server more than all else it does.
//!
//! `cargo bench --bench peers -- [PART…] [--rounds N] [--seconds S] [--quota P] [--share] [--window N] [--flood] [--only NAME,…] [--install]`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints what it measured")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod server;
mod zone;

use std::time::{Duration, Instant};

use client::{Load, Pace, Queries};
use common::{CLIENT_CORE, Group, SERVER_CORE, cpu_ns, pin_to_client_core, pss, spread};
use server::{Kind, Server};

/// Names asked for, of each kind.
const NAMES: usize = 1000;
/// The zone that takes long to load.
const RECORDS: usize = 1_000_000;

struct Options {
    parts: Vec<String>,
    rounds: usize,
    pace: Pace,
    quota: Option<u32>,
    only: Option<Vec<String>>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == "--echo") {
        return server::echo();
    }
    if args.iter().any(|arg| arg == "--install") {
        server::install();
    }
    let after = |key: &str| args.iter().skip_while(|arg| *arg != key).nth(1);
    let number = |key: &str| after(key).map(|text| text.parse::<f64>().expect("options take numbers"));
    let named = |part: &&str| args.iter().any(|arg| arg == part);
    const PARTS: [&str; 5] = ["zone", "dynamic", "signed", "latency", "start"];
    let mut parts: Vec<_> = PARTS.into_iter().filter(named).map(str::to_owned).collect();
    if parts.is_empty() {
        parts = PARTS.map(str::to_owned).to_vec();
    }
    let options = Options {
        parts,
        rounds: number("--rounds").map_or(10, |rounds| rounds as usize),
        pace: Pace {
            leg: Duration::from_secs_f64(number("--seconds").unwrap_or(1.5)),
            window: number("--window").map_or(100, |window| window as u32),
            core: if args.iter().any(|arg| arg == "--share") { SERVER_CORE } else { CLIENT_CORE },
            flood: args.iter().any(|arg| arg == "--flood"),
        },
        quota: number("--quota").map(|quota| quota as u32),
        only: after("--only").map(|names| names.split(',').map(str::to_owned).collect()),
    };
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return println!("this takes two cores");
    }
    pin_to_client_core();
    for part in &options.parts {
        match part.as_str() {
            "zone" => rates("names of a zone", zone::Content::Plain, false, &options),
            "dynamic" => rates(
                "dynamic names: country, weights, client subnet",
                zone::Content::Dynamic,
                false,
                &options,
            ),
            "signed" => signed(&options),
            "latency" => latency(&options),
            _ => start(&options),
        }
    }
}

/// The servers that can serve this and are installed.
fn servers(content: zone::Content, names: usize, options: &Options) -> Vec<Server> {
    let wanted = |kind: &Kind| {
        kind.serves(content)
            && options.only.as_ref().is_none_or(|only| only.iter().any(|name| name == kind.name()))
    };
    Kind::ALL.into_iter().filter(wanted).filter_map(|kind| Server::start(kind, content, names)).collect()
}

/// One measured turn of one server.
#[derive(Clone, Copy)]
struct Leg {
    load: Load,
    /// Nanoseconds of the server's CPU per query.
    cost: f64,
}

fn leg(server: &Server, queries: &Queries, options: &Options) -> Leg {
    let processes = server.processes();
    let before = cpu_ns(&processes);
    let load = client::ask_all(server.address, queries, options.pace);
    Leg { load, cost: (cpu_ns(&processes) - before) as f64 / load.answered as f64 }
}

fn rates(title: &str, content: zone::Content, dnssec_ok: bool, options: &Options) {
    let servers = servers(content, NAMES, options);
    let group = options.quota.map(Group::new);
    for server in &servers {
        group.iter().for_each(|group| group.hold(&server.processes()));
    }
    let queries = Queries::new(content, NAMES, dnssec_ok);
    let mut rounds = Vec::new();
    for round in 0..=options.rounds {
        let mut legs = vec![None; servers.len()];
        for nth in 0..servers.len() {
            let which = (nth + round) % servers.len();
            legs[which] = Some(leg(&servers[which], &queries, options));
        }
        // The first round warms up.
        if round > 0 {
            rounds.push(legs.into_iter().flatten().collect::<Vec<_>>());
        }
    }
    let mut held = options.quota.map_or("light".to_owned(), |quota| format!("held to {quota} % of the core"));
    if options.pace.core == SERVER_CORE {
        held = "client on the same core".to_owned();
    }
    if options.pace.flood {
        held += ", a client that never sleeps";
    }
    println!(
        "\n## {title} ({held}; {} in flight; {} rounds of {:?})\n",
        options.pace.window, options.rounds, options.pace.leg
    );
    let position = |kind: Kind| servers.iter().position(|server| server.kind == kind);
    let ours = position(Kind::Pointsman);
    println!("| server | k queries per CPU-second | k queries per second | lost | pointsman's ratio to it |");
    println!("|---|---|---|---|---|");
    for (which, server) in servers.iter().enumerate() {
        let of = |value: fn(&Leg) -> f64| spread(rounds.iter().map(|legs| value(&legs[which])));
        let (per_cpu, wide) = of(|leg| 1e6 / leg.cost);
        let (rate, _) = of(|leg| leg.load.answered as f64 / leg.load.seconds / 1e3);
        let lost: u64 = rounds.iter().map(|legs| legs[which].load.lost).sum();
        let ratio = ours.map_or("–".to_owned(), |ours| {
            let (ratio, wide) = spread(rounds.iter().map(|legs| legs[which].cost / legs[ours].cost));
            format!("{ratio:.3} ± {wide:.3}")
        });

        println!("| {} | {per_cpu:.0} ± {wide:.0} | {rate:.0} | {lost} | {ratio} |", server.kind.name());
    }
}

/// Signed answers beside unsigned ones, of the same server and the same zone.
fn signed(options: &Options) {
    for (title, content) in [
        ("signed names of a zone", zone::Content::Signed),
        ("signed dynamic names", zone::Content::SignedDynamic),
    ] {
        let servers = servers(content, NAMES, options);
        let queries = [true, false].map(|dnssec_ok| Queries::new(content, NAMES, dnssec_ok));
        println!("\n## {title} ({} rounds of {:?})\n", options.rounds, options.pace.leg);
        println!("| server | k signed answers per CPU-second | unsigned | ratio |\n|---|---|---|---|");
        for server in &servers {
            assert!(client::is_signed(server.address, &queries[0]), "{} does not sign", server.kind.name());
            let mut rounds = Vec::new();
            for round in 0..=options.rounds {
                let first = round & 1;
                let a = leg(server, &queries[first], options).cost;
                let b = leg(server, &queries[1 - first], options).cost;
                if round > 0 {
                    rounds.push(if first == 0 { (a, b) } else { (b, a) });
                }
            }
            let (signed, _) = spread(rounds.iter().map(|(signed, _)| 1e6 / signed));
            let (unsigned, _) = spread(rounds.iter().map(|(_, unsigned)| 1e6 / unsigned));
            let (ratio, interval) = spread(rounds.iter().map(|(signed, unsigned)| unsigned / signed));
            println!("| {} | {signed:.0} | {unsigned:.0} | {ratio:.3} ± {interval:.3} |", server.kind.name());
        }
    }
}

/// Percentiles at a steady rate that every server bears, and our own while tables are swapped.
fn latency(options: &Options) {
    /// Well below what the slowest of them answers.
    const PER_SECOND: u32 = 20_000;
    let seconds = options.pace.leg * 2;
    let mut servers = servers(zone::Content::Dynamic, NAMES, options);
    let queries = Queries::new(zone::Content::Dynamic, NAMES, false);
    println!(
        "\n## latency at {PER_SECOND} queries per second (microseconds; {} rounds of {seconds:?})\n",
        options.rounds
    );
    println!("| server | p50 | p99 | p99.9 | lost |\n|---|---|---|---|---|");
    let mut seen: Vec<Vec<client::Latencies>> = servers.iter().map(|_| Vec::new()).collect();
    let mut swapping = Vec::new();
    for round in 0..=options.rounds {
        for nth in 0..servers.len() {
            let which = (nth + round) % servers.len();
            let quiet = client::steady(servers[which].address, &queries, PER_SECOND, seconds, || {});
            if servers[which].kind == Kind::Pointsman {
                let mut turn = 0;
                let server = &mut servers[which];
                let busy = client::steady(server.address, &queries, PER_SECOND, seconds, || {
                    turn += 1;
                    server.swap_tables(turn);
                });
                if round > 0 {
                    swapping.push((quiet.clone(), busy));
                }
            }
            if round > 0 {
                seen[which].push(quiet);
            }
        }
    }
    let row = |name: &str, of: &[client::Latencies]| {
        let all = client::Latencies::together(of);
        let [a, b, c] = [0.5, 0.99, 0.999].map(|share| all.percentile(share));
        println!("| {name} | {a:.0} | {b:.0} | {c:.0} | {} |", all.lost);
    };
    for (server, of) in servers.iter().zip(&seen) {
        row(server.kind.name(), of);
    }
    let busy: Vec<_> = swapping.iter().map(|(_, busy)| busy.clone()).collect();
    if !busy.is_empty() {
        row("pointsman, a new table each second", &busy);
        let ratios = swapping.iter().map(|(quiet, busy)| busy.percentile(0.999) / quiet.percentile(0.999));
        let (ratio, interval) = spread(ratios);
        println!("\np99.9 with a new table each second over p99.9 without: {ratio:.3} ± {interval:.3}");
    }
}

/// A big zone: how long until the first answer, and what it takes to keep.
fn start(options: &Options) {
    /// Each round starts every server once; they take seconds.
    const ROUNDS: usize = 3;
    let rounds = options.rounds.min(ROUNDS);
    println!("\n## a zone of {RECORDS} A records ({rounds} rounds)\n");
    println!("| server | start to first answer | memory (PSS) |\n|---|---|---|");
    let content = zone::Content::Plain;
    let wanted = |kind: &Kind| {
        *kind != Kind::Echo
            && options.only.as_ref().is_none_or(|only| only.iter().any(|name| name == kind.name()))
    };
    let kinds: Vec<_> = Kind::ALL.into_iter().filter(wanted).collect();
    let mut seen = vec![Vec::new(); kinds.len()];
    for round in 0..rounds {
        for nth in 0..kinds.len() {
            let which = (nth + round) % kinds.len();
            let Some(place) = server::Place::prepare(kinds[which], content, RECORDS) else { continue };
            let began = Instant::now();
            let Some(server) = place.start() else { continue };
            let first = began.elapsed();
            std::thread::sleep(Duration::from_secs(1));
            seen[which].push((first.as_secs_f64(), pss(&server.processes()) as f64 / 1e6));
        }
    }
    for (kind, of) in kinds.iter().zip(&seen).filter(|(_, of)| !of.is_empty()) {
        let (first, spread_of) = spread(of.iter().map(|(first, _)| *first));
        let (memory, _) = spread(of.iter().map(|(_, memory)| *memory));
        println!("| {} | {first:.2} ± {spread_of:.2} s | {memory:.0} MB |", kind.name());
    }
}
