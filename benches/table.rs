//! What it takes to make tables: time and memory for a zone of 1 000 000 A records (27 MB of
//! text), the time from a choice to a live table with 10 000 services, and from the verdict on a
//! region to a live table, through all of the daemon's decisions.
//!
//! Memory is what the process holds (`Pss` of /proc/self/smaps_rollup), measured when the text and
//! the parsed zone are gone, as in the daemon after a load. Times are the fastest of several
//! rounds, since anything slower is the machine's doing.
//!
//! `cargo bench --bench table [-- [records] [services] [flips] [--rounds N]]`
#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pointsman::base::{CheckId, Generation, Index, RegionId, ServiceId, Source};
use pointsman::control;
use pointsman::decide::{Daemon, Restored, Setup};
use pointsman::health::{Finding, Sample};
use pointsman::io::Clock;
use pointsman::region::{Audience, Choice, Pick};
use pointsman::sign::{Algorithm, Flags, SignatureTimes, SigningKey, ZoneKeys};
use pointsman::table::{Compiler, Image, Table};
use pointsman::wire::Name;
use pointsman::zone;
use ring::rand::SystemRandom;

#[path = "../tests/zoo/mod.rs"]
mod zoo;

/// As in the daemon.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECORDS: usize = 1_000_000;
const SERVICES: usize = 10_000;

fn main() {
    let args: Vec<_> = std::env::args().collect();
    let mut after = args.iter().skip_while(|arg| *arg != "--rounds").skip(1);
    let rounds = after.next().map_or(5, |rounds| rounds.parse().expect("--rounds takes a number"));
    const PARTS: [&str; 3] = ["records", "services", "flips"];
    let all = !PARTS.iter().any(|part| args.iter().any(|arg| arg == part));
    for part in PARTS.into_iter().filter(|part| all || args.iter().any(|arg| arg == part)) {
        match part {
            "records" => million_records(rounds),
            "services" => ten_thousand_services(rounds),
            _ => {
                for policy in ["failover: [eu, us]", "weighted: {eu: 3, us: 1}"] {
                    a_region_fails(rounds, policy, false);
                    a_region_fails(rounds, policy, true);
                }
            }
        }
    }
}

fn million_records(rounds: usize) {
    let mut text =
        String::from("$TTL 300\n@ SOA ns1 hostmaster 1 1h 10m 2w 30\n@ NS ns1\nns1 A 192.0.2.53\n");
    for n in 0..RECORDS {
        let _ = writeln!(text, "h{n:07} IN A 10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255);
    }
    println!("a zone of {RECORDS} A records, {:.1} MB of text", text.len() as f64 / 1e6);
    let origin = Name::parse("example.com").expect("it is a name");
    let before = pss();
    let mut best = [Duration::MAX; 3];
    let mut live = None;
    let mut first = 0.0;
    for round in 0..rounds {
        let text = text.clone();
        let started = Instant::now();
        let source = Source::new("zone", text);
        let (zone, _) = zone::parse(&source, &origin, &mut |_| Err(String::new())).expect("it is a zone");
        let parsed = started.elapsed();
        let (built, _) = Image::with_services(&[zone], &Default::default()).expect("it can be built");
        let all = started.elapsed();
        for (best, time) in best.iter_mut().zip([parsed, all - parsed, all]) {
            *best = time.min(*best);
        }
        drop(source);
        // As on a reload: the one before is dropped when this one is live.
        live = Some(built);
        if round == 0 {
            first = pss() - before;
        }
    }
    let image = live.expect("there was a round");
    let [parse, build, all] = best.map(|time| time.as_secs_f64() * 1e3);
    println!("  parse {parse:.0} ms, build {build:.0} ms, together {all:.0} ms");
    println!(
        "  image {:.1} MB; the process grew by {first:.1} MB (PSS) with the first load, by {:.1} MB with {rounds}",
        image.octets() as f64 / 1e6,
        pss() - before
    );
    black_box(image);
}

fn ten_thousand_services(rounds: usize) {
    let mut text = zoo::CONFIG.split("services:").next().unwrap_or_default().to_owned() + "services:\n";
    for n in 0..SERVICES {
        let (high, low) = (n >> 8, n & 255);
        let _ = writeln!(
            text,
            "  s{n}: {{names: [s{n}.example.com], policy: {{failover: [eu, us]}}, answers: {{eu: {{a: [10.0.{high}.{low}], \
             aaaa: ['2001:db8::{n:x}']}}, us: {{a: [10.1.{high}.{low}]}}}}}}"
        );
    }
    let config = zoo::config(&text);
    let zone = zoo::zone("example.com", zoo::ZONE);
    let started = Instant::now();
    let (image, _) = Image::build(&[zone], &config).unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("{SERVICES} services: image {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let audiences: Vec<_> = config.services.values().map(Audience::unlocated).collect();
    let mut compiler = Compiler::default();
    let mut compile = |id: ServiceId, region| {
        let choice = Choice::of(Pick::certain(region), 20);
        compiler.answers(&config.services[id], &audiences[id.position()], &choice)
    };
    let answers: Vec<_> = config.services.ids().map(|id| compile(id, RegionId(0))).collect();
    let live = ArcSwap::from_pointee(Table::new(Generation(1), image, answers));
    for changed in [1, SERVICES] {
        let mut best = Duration::MAX;
        for round in 0..rounds.max(5) {
            let region = RegionId((round as u16 + 1) & 1);
            let started = Instant::now();
            let table = live.load();
            let mut answers = table.all_answers().to_vec();
            for (position, slot) in answers.iter_mut().enumerate().take(changed) {
                *slot = compile(ServiceId::from_position(position), region);
            }
            let next = Table::new(table.generation().next(), Arc::clone(table.image()), answers);
            live.store(Arc::new(next));
            best = best.min(started.elapsed());
        }
        println!("  a flip of {changed}: new table live after {:.2} ms", best.as_secs_f64() * 1e3);
    }
}

/// From the sample that makes a region fail to the live table, through the daemon's own decisions:
/// the check's verdict, the region's health, the choice of every service, its answers, the table.
fn a_region_fails(rounds: usize, policy: &str, signed: bool) {
    let (zones, services) = zoo::CONFIG.split_once("zones:").unwrap_or_default();
    let layers = |port: u16| format!("{{reach: [{{tcp: {{address: 'localhost:{port}', fall: 1}}}}]}}");
    let mut text = format!(
        "{zones}zones:{}regions:\n  eu: {{layers: {}}}\n  us: {{layers: {}}}\nservices:\n",
        services.split("regions:").next().unwrap_or_default(),
        layers(1),
        layers(2)
    );
    for n in 0..SERVICES {
        let (high, low) = (n >> 8, n & 255);
        let _ = writeln!(
            text,
            "  s{n}: {{names: [s{n}.example.com], policy: {{{policy}}}, answers: {{eu: {{a: [10.0.{high}.{low}], \
             aaaa: ['2001:db8::{n:x}']}}, us: {{a: [10.1.{high}.{low}]}}}}}}"
        );
    }
    let config = Arc::new(zoo::config(&text));
    let (image, _) = Image::build(&[zoo::zone("example.com", zoo::ZONE)], &config)
        .unwrap_or_else(|wrong| panic!("{wrong}"));
    let keys = signed.then(|| {
        let key =
            SigningKey::generate(Algorithm::EcdsaP256Sha256, Flags::SecureEntryPoint, &SystemRandom::new());
        let apex = Name::parse("example.com").expect("it is a name");
        let (key, _) = key.expect("the system gives random numbers");
        Arc::new(ZoneKeys::one(apex, Arc::new(key), 300, SignatureTimes::default()))
    });
    let keys: Vec<_> = keys.into_iter().collect();
    let setup = Setup::new(Arc::clone(&config), image, Vec::new(), keys.clone());
    let signatures = control::sign(&setup, &keys);
    let finds = |check: CheckId, fails: bool| {
        let finding = match fails {
            true => Finding::Fail("connection refused".to_owned()),
            false => Finding::Pass("connected".to_owned()),
        };
        Sample { check, finding, took: Duration::ZERO, heard: true }
    };
    let mut best = Duration::MAX;
    for _ in 0..rounds.max(5) {
        let storeless = Some("a bench writes nothing".to_owned());
        let mut daemon =
            Daemon::new(Arc::clone(&setup), Restored::nothing(), storeless, fastrand::Rng::with_seed(1));
        daemon.sign(signatures.clone());
        let now = Clock.now();
        config.checks.ids().for_each(|check| daemon.sample(&finds(check, false), now));
        let table = daemon.conclude(now).publish.expect("the first conclusion compiles a table");
        let live = ArcSwap::new(table);
        drop(daemon.aftermath(now));
        let now = now.after(Duration::from_secs(60));
        let eu = config.checks.ids().next().expect("there is a check");
        let started = Instant::now();
        daemon.sample(&finds(eu, true), now);
        let table = daemon.conclude(now).publish.expect("every answer changes");
        let before = live.swap(table);
        best = best.min(started.elapsed());
        // The daemon clears away when the new table is live.
        drop(before);
    }
    let zone = if signed { "signed" } else { "unsigned" };
    println!(
        "  a region fails under {SERVICES} services (`{policy}`, {zone}): verdict to live table {:.2} ms",
        best.as_secs_f64() * 1e3
    );
}

/// Proportional set size of this process in MB.
fn pss() -> f64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1e3
}
