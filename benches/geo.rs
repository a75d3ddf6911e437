//! What it takes to know where clients are: time and memory for a database of five million
//! networks, and the time of a lookup.
//!
//! The database is made here: cities by the hundred thousand, each in one of 250 countries, in
//! networks of /22 and /23 that leave no address out; sixteen neighbours share a country. Memory is
//! what the process holds (`Pss` of /proc/self/smaps_rollup). Times are the processor's
//! (/proc/thread-self/schedstat), the least of several rounds, since anything more is the machine's
//! doing; lookups go to addresses in no order, so that each finds the caches cold where they are
//! too small.
//!
//! `cargo bench --bench geo [-- --rounds N]`
#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use pointsman::base::Prefix;
use pointsman::geo::{Classes, World, read_mmdb};

const DEPTH: u32 = 22;
const CITIES: u32 = 100_000;
const COUNTRIES: u32 = 250;
/// Neighbours that share a country.
const BLOCK: u32 = 16;
const LOOKUPS: usize = 1 << 22;

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != "--rounds").skip(1);
    let rounds = args.next().map_or(3, |rounds| rounds.parse().expect("--rounds takes a number"));
    let before = pss();
    let bytes = database();
    println!("a database of {:.0} MB", bytes.len() as f64 / 1e6);
    let (mut read, mut laid, mut classed) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let mut kept = None;
    for _ in 0..rounds {
        drop(kept.take());
        let started = cpu();
        let layer = read_mmdb("made", &bytes).expect("it is a database");
        read = read.min(cpu().saturating_sub(started));
        let started = cpu();
        let world = World::build([layer]).expect("it is not too large");
        laid = laid.min(cpu().saturating_sub(started));
        let started = cpu();
        let classes = Classes::build(&world, |facts| facts.country).expect("there are few countries").0;
        classed = classed.min(cpu().saturating_sub(started));
        kept = Some((world, classes));
    }
    let (world, by_country) = kept.expect("there was a round");
    drop(bytes);
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    println!("{} networks, {} distinct facts", world.networks().0, world.facts().len());
    println!("  read                     {:>10}", seconds(read));
    println!("  laid over nothing        {:>10}", seconds(laid));
    println!("  classes by country       {:>10}", seconds(classed));
    println!("  held by the process      {:>7.0} MB", pss().saturating_sub(before) as f64 / 1e6);
    println!("lookup                          ns      size");
    let by_city = Classes::build(&world, |facts| facts.location.map(|at| (at.latitude * 100.0) as i64 / 2))
        .expect("there are few latitudes")
        .0;
    for (what, classes) in [("by country", &by_country), ("by latitude, 0.02°", &by_city)] {
        println!("  {what:<22} {:>9.1} {:>6.1} MB", lookup(classes, rounds), classes.size() as f64 / 1e6);
    }
}

/// Nanoseconds of one, in no order.
fn lookup(classes: &Classes, rounds: usize) -> f64 {
    let mut rng = fastrand::Rng::with_seed(1);
    let clients: Vec<Prefix> =
        (0..LOOKUPS).map(|_| Prefix::host(IpAddr::from(Ipv4Addr::from_bits(rng.u32(..))))).collect();
    let mut best = Duration::MAX;
    for _ in 0..rounds {
        let started = cpu();
        let mut sum = 0u64;
        for client in &clients {
            let class = classes.lookup(client);
            sum += u64::from(class.number) + u64::from(class.scope);
        }
        black_box(sum);
        best = best.min(cpu().saturating_sub(started));
    }
    best.as_nanos() as f64 / LOOKUPS as f64
}

fn hash(n: u32) -> u32 {
    let n = (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n >> 32) as u32
}

/// A file in the format of <https://maxmind.github.io/MaxMind-DB/>.
fn database() -> Vec<u8> {
    let mut data = Vec::new();
    let offsets: Vec<u32> = (0..CITIES)
        .map(|city| {
            let offset = data.len() as u32;
            let country = city % COUNTRIES;
            map(&mut data, 2);
            text(&mut data, "country");
            map(&mut data, 1);
            text(&mut data, "iso_code");
            let letter = |n: u32| char::from(b'A' + n as u8);
            text(&mut data, &format!("{}{}", letter(country / 26), letter(country % 26)));
            text(&mut data, "location");
            map(&mut data, 2);
            text(&mut data, "latitude");
            double(&mut data, f64::from(hash(city) % 180_000) / 1000.0 - 90.0);
            text(&mut data, "longitude");
            double(&mut data, f64::from(hash(!city) % 360_000) / 1000.0 - 180.0);
            offset
        })
        .collect();
    // A whole tree down to /22, every fourth leaf of which is split once more.
    let leaves = 1u32 << DEPTH;
    let inner = leaves - 1;
    let nodes = inner + leaves / 4;
    let record = |leaf: u32, half: u32| {
        let country = hash(leaf / BLOCK) % COUNTRIES;
        let city = hash(leaf * 2 + half) % (CITIES / COUNTRIES) * COUNTRIES + country;
        nodes + 16 + offsets[city as usize]
    };
    let mut out = Vec::with_capacity(nodes as usize * 8 + data.len() + 1024);
    let mut put = |pointer: u32| out.extend(pointer.to_be_bytes());
    for node in 0..inner {
        for child in [node * 2 + 1, node * 2 + 2] {
            put(match child.checked_sub(inner) {
                None => child,
                Some(leaf) if leaf % 4 == 0 => inner + leaf / 4,
                Some(leaf) => record(leaf, 0),
            });
        }
    }
    for split in 0..leaves / 4 {
        put(record(split * 4, 0));
        put(record(split * 4, 1));
    }
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    map(&mut out, 9);
    for (key, value) in [
        ("binary_format_major_version", 2),
        ("binary_format_minor_version", 0),
        ("build_epoch", 1_700_000_000),
        ("ip_version", 4),
        ("node_count", nodes),
        ("record_size", 32),
    ] {
        text(&mut out, key);
        // An unsigned number of four octets.
        out.push(6 << 5 | 4);
        out.extend(u32::to_be_bytes(value));
    }
    text(&mut out, "database_type");
    text(&mut out, "Made-City");
    text(&mut out, "description");
    map(&mut out, 0);
    text(&mut out, "languages");
    // An array of nothing.
    out.extend([0, 11 - 7]);
    out
}

fn map(out: &mut Vec<u8>, entries: u8) {
    out.push(7 << 5 | entries);
}

fn text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        short @ 0..29 => out.push(2 << 5 | short as u8),
        long => out.extend([2 << 5 | 29, (long - 29) as u8]),
    }
    out.extend(text.bytes());
}

fn double(out: &mut Vec<u8>, number: f64) {
    out.push(3 << 5 | 8);
    out.extend(number.to_be_bytes());
}

/// What this thread has had of a processor.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the kernel counts what each thread gets"))
}

/// What the process holds, in bytes.
fn pss() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}
