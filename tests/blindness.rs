//! Random failures that hang together, thousands of them on virtual time: how often a site takes
//! itself for blind rightly, and whom it withdraws wrongly. Prints the table of docs/sensing.md:
//! `cargo test --test blindness -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, and a table for people")]

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use pointsman::base::{CheckId, Mono, Now, RegionId, Source, Timestamp};
use pointsman::config::{self, CheckKind, Config, Surroundings};
use pointsman::decide::{Daemon, Restored, Senses, Setup};
use pointsman::health::{Finding, Sample};
use pointsman::table::Image;

mod zoo;

/// Runs of each failure in each setup.
const RUNS: u64 = 40;
const BEGINS: u64 = 60;
const HEALS: u64 = 200;
const ENDS: u64 = 330;
const TIMEOUT: Duration = Duration::from_secs(2);

/// What goes wrong between 60 and 200 seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Failure {
    Nothing,
    UplinkLost,
    HalfTheUplinkLost,
    UplinkFlaps,
    ResolverDead,
    PacketLoss,
    OneRegionDown,
    OneRegionFlaps,
    TwoRegionsDown,
    AllRegionsDown,
}

use Failure::*;

const ALL: [Failure; 10] = [
    Nothing,
    UplinkLost,
    HalfTheUplinkLost,
    UplinkFlaps,
    ResolverDead,
    PacketLoss,
    OneRegionDown,
    OneRegionFlaps,
    TwoRegionsDown,
    AllRegionsDown,
];

impl Failure {
    fn words(self) -> &'static str {
        match self {
            Nothing => "nothing",
            UplinkLost => "uplink lost",
            HalfTheUplinkLost => "half the uplink lost",
            UplinkFlaps => "uplink flaps",
            ResolverDead => "resolver dead",
            PacketLoss => "packet loss, 5 to 30 %",
            OneRegionDown => "one region down",
            OneRegionFlaps => "one region flaps",
            TwoRegionsDown => "two regions down",
            AllRegionsDown => "all regions down",
        }
    }

    /// It lies with us that regions are silent.
    fn is_ours(self) -> bool {
        matches!(self, UplinkLost | HalfTheUplinkLost | UplinkFlaps | ResolverDead)
    }
}

/// As many regions, with anchors or without. Each region is probed twice by address and, at its
/// own pace, once by name.
fn setup(regions: usize, anchors: bool) -> Config {
    let mut text = "version: 1\nmode: act\nsite: {name: a}\nlisten: {dns: [\"127.0.0.1:53\"]}\n\
        defaults: {check: {interval: 5s, timeout: 2s, fall: 2, rise: 3}}\n"
        .to_owned();
    if anchors {
        text.push_str("self_check:\n  anchors:\n");
        for n in 1..=3 {
            let _ = writeln!(text, "    - tcp: {{address: \"203.0.113.{n}:53\"}}");
        }
    }
    text.push_str("regions:\n");
    for n in 1..=regions {
        let _ = writeln!(
            text,
            "  r{n}: {{layers: {{reach: [{{tcp: {{address: \"192.0.2.{n}:80\"}}}}], service: [{{http: {{url: \
             \"http://192.0.2.{n}/\"}}}}, {{http: {{url: \"http://r{n}.example/\", interval: 15s}}}}]}}}}"
        );
    }
    let around = Surroundings { directory: "/etc/x".into(), state: None, runtime: None, processors: 1 };
    match config::parse(&Source::new("c.yaml", text), &around) {
        Ok((config, _)) => config,
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    }
}

/// What came of one run.
#[derive(Default)]
struct Outcome {
    /// It took itself for blind at some time.
    blind: bool,
    /// Regions that were withdrawn although nothing was wrong with them.
    wrongly: u32,
    /// Regions that were down for minutes and not withdrawn, while the site did not call itself blind.
    missed: u32,
    /// From the failure to the first withdrawal of a region that is down.
    withdrawn_after: Option<Duration>,
    /// It was still blind long after everything had healed.
    stuck: bool,
}

fn run(config: &Config, failure: Failure, seed: u64) -> Outcome {
    let mut rng = fastrand::Rng::with_seed(seed);
    let regions: Vec<RegionId> = config.regions.ids().collect();
    let mut shuffled = regions.clone();
    rng.shuffle(&mut shuffled);
    let down: BTreeSet<RegionId> = match failure {
        OneRegionDown | OneRegionFlaps => shuffled[..1].iter().copied().collect(),
        TwoRegionsDown => shuffled[..2].iter().copied().collect(),
        AllRegionsDown => shuffled.iter().copied().collect(),
        _ => BTreeSet::new(),
    };
    // Half of an uplink: some of the ways out, not all; regions and anchors alike.
    let anchors = config.self_check.as_ref().map_or(0, |own| own.anchors.len());
    let lost_regions: BTreeSet<RegionId> =
        shuffled[..rng.usize(1..=regions.len().max(2) - 1)].iter().copied().collect();
    let lost_anchors: BTreeSet<usize> = (0..anchors).filter(|_| rng.u32(0..10) < 8).collect();
    let loss = rng.f64() * 0.25 + 0.05;
    let begins = Duration::from_secs(BEGINS) + Duration::from_millis(rng.u64(0..15_000));
    let heals = Duration::from_secs(HEALS);
    let period = Duration::from_millis(rng.u64(8_000..25_000));

    let mut senses = Senses::new(config, |_| None, |_| None, |_| None);
    let mut queue = BinaryHeap::new();
    for check in config.checks.ids() {
        let at = Duration::from_millis(rng.u64(0..5000));
        queue.push(std::cmp::Reverse((at, false, check.0)));
    }
    let mut found: BTreeMap<u32, (bool, Finding, Duration)> = BTreeMap::new();
    let mut outcome = Outcome::default();
    let mut withdrawn = BTreeSet::new();
    let wall = Timestamp::UNIX_EPOCH;
    while let Some(std::cmp::Reverse((at, ends, number))) = queue.pop() {
        if at > Duration::from_secs(ENDS) {
            break;
        }
        let id = CheckId(number);
        let check = &config.checks[id];
        if !ends {
            let failing = at >= begins && at < heals;
            // A SYN that is lost is sent again after a second: what flaps in between is answered then.
            let down_at =
                |at: Duration| (at.saturating_sub(begins).as_millis() / period.as_millis()).is_multiple_of(2);
            let odd = down_at(at) && down_at(at + Duration::from_secs(1));
            let by_name = matches!(&check.kind, CheckKind::Http(http) if http.url.domain().is_some());
            let way = match check.region {
                Some(region) => lost_regions.contains(&region),
                None => lost_anchors.contains(&(number as usize % anchors.max(1))),
            };
            let is_down = check.region.is_some_and(|region| down.contains(&region));
            let silent = failing
                && match failure {
                    Nothing | ResolverDead => false,
                    UplinkLost => true,
                    UplinkFlaps => odd,
                    HalfTheUplinkLost => way,
                    // A lost SYN is sent again within the timeout.
                    PacketLoss => rng.f64() < loss * loss,
                    OneRegionFlaps => is_down && odd,
                    OneRegionDown | TwoRegionsDown | AllRegionsDown => is_down,
                };
            let words = String::new();
            let (heard, finding, took) = match (failing && failure == ResolverDead && by_name, silent) {
                (true, _) => (false, Finding::Unknown(words), TIMEOUT),
                (_, true) => (false, Finding::Fail(words), TIMEOUT),
                _ => (true, Finding::Pass(words), Duration::from_millis(rng.u64(5..150))),
            };
            found.insert(number, (heard, finding, took));
            queue.push(std::cmp::Reverse((at + took, true, number)));
            let interval = check.schedule.interval.mul_f64(1.0 + 0.05 * rng.f64());
            queue.push(std::cmp::Reverse((at + interval, false, number)));
            continue;
        }
        let (heard, finding, took) = found.remove(&number).unwrap();
        let now = Now { mono: Mono(at), wall };
        senses.sample(&Sample { check: id, finding, heard, took }, now);
        senses.settle(now.mono);
        outcome.blind |= senses.sight.blind().is_some();
        for flip in senses.turns(config, now).regions {
            if !flip.to.is_bad() {
                withdrawn.remove(&flip.region);
                continue;
            }
            withdrawn.insert(flip.region);
            match down.contains(&flip.region) {
                true => drop(outcome.withdrawn_after.get_or_insert(at.saturating_sub(begins))),
                false => outcome.wrongly += 1,
            }
        }
        let late = Duration::from_secs(HEALS - 1);
        if at < late && at + Duration::from_secs(1) >= late && senses.sight.blind().is_none() {
            outcome.missed = outcome.missed.max(down.difference(&withdrawn).count() as u32);
        }
    }
    outcome.stuck = senses.sight.blind().is_some();
    if matches!(failure, OneRegionFlaps) {
        outcome.missed = 0;
    }
    outcome
}

#[derive(Default)]
struct Sum {
    runs: u32,
    blind: u32,
    wrongly: u32,
    missed: u32,
    stuck: u32,
    slowest: Duration,
}

#[test]
fn blind_when_it_is_ours_and_not_when_it_is_theirs() {
    let mut table = String::from(
        "| setup | failure | runs | blind | regions wrongly withdrawn | down and not withdrawn | slowest withdrawal |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut judged = String::from(
        "| setup | precision | recall: uplink lost | uplink flaps | half of it lost |\n|---|---|---|---|---|\n",
    );
    for (name, regions, anchors) in [
        ("2 regions", 2, false),
        ("3 regions", 3, false),
        ("5 regions", 5, false),
        ("1 region, 3 anchors", 1, true),
        ("3 regions, 3 anchors", 3, true),
    ] {
        let config = setup(regions, anchors);
        let mut sums: BTreeMap<Failure, Sum> = BTreeMap::new();
        for failure in ALL {
            // Two of two are all, and of one there is no half.
            let needed = match failure {
                TwoRegionsDown => 3,
                HalfTheUplinkLost if !anchors => 2,
                AllRegionsDown => 2,
                _ => 1,
            };
            if regions < needed {
                continue;
            }
            let sum = sums.entry(failure).or_default();
            for seed in 0..RUNS {
                let outcome = run(&config, failure, seed * 1000 + failure as u64 * 17 + regions as u64);
                sum.runs += 1;
                sum.blind += u32::from(outcome.blind);
                sum.wrongly += outcome.wrongly;
                sum.missed += outcome.missed;
                sum.stuck += u32::from(outcome.stuck);
                sum.slowest = sum.slowest.max(outcome.withdrawn_after.unwrap_or_default());
            }
            let slowest = match sum.slowest.is_zero() {
                true => "-".to_owned(),
                false => format!("{:.1} s", sum.slowest.as_secs_f64()),
            };
            let _ = writeln!(
                table,
                "| {name} | {} | {} | {} | {} | {} | {slowest} |",
                failure.words(),
                sum.runs,
                sum.blind,
                sum.wrongly,
                sum.missed
            );
        }
        let blind = |ours: bool| -> u32 {
            sums.iter().filter(|(failure, _)| failure.is_ours() == ours).map(|(_, sum)| sum.blind).sum()
        };
        // All regions down without anchors looks the same from here, and ends the same: it holds.
        let same = if anchors { 0 } else { sums.get(&AllRegionsDown).map_or(0, |sum| sum.blind) };
        let precision = f64::from(blind(true)) / f64::from(blind(true) + blind(false) - same).max(1.0);
        let recall = |failure: Failure| {
            let sum = sums.get(&failure)?;
            Some(f64::from(sum.blind) / f64::from(sum.runs))
        };
        let shown = |recall: Option<f64>| recall.map_or("-".to_owned(), |recall| format!("{recall:.3}"));
        let [lost, flaps, half] = [UplinkLost, UplinkFlaps, HalfTheUplinkLost].map(recall);
        let _ = writeln!(
            judged,
            "| {name} | {precision:.3} | {} | {} | {} |",
            shown(lost),
            shown(flaps),
            shown(half)
        );

        assert!(precision >= 0.99, "{name}: precision {precision}");
        assert!(lost >= Some(0.99), "{name}: recall {lost:?}");
        assert!(flaps >= Some(0.7), "{name}: recall {flaps:?}");
        assert!(!anchors || half >= Some(0.6), "{name}: recall {half:?}");
        for (failure, sum) in &sums {
            assert_eq!(sum.stuck, 0, "{name}: {failure:?}: blind for ever");
            let may_be_wrong = match failure {
                // Without anchors nobody can tell half an uplink from half of the regions.
                HalfTheUplinkLost => true,
                PacketLoss => true,
                _ => false,
            };
            assert!(
                may_be_wrong || sum.wrongly == 0,
                "{name}: {failure:?}: {} wrongly withdrawn",
                sum.wrongly
            );
            assert_eq!(sum.missed, 0, "{name}: {failure:?}: down and not withdrawn");
        }
        for failure in [OneRegionDown, TwoRegionsDown] {
            let Some(sum) = sums.get(&failure) else { continue };
            assert_eq!(sum.blind, 0, "{name}: {failure:?}");
            // Two failures of the fastest check, and the next word of anybody else.
            assert!(sum.slowest <= Duration::from_secs(20), "{name}: {failure:?}: {:?}", sum.slowest);
        }
    }
    println!("{table}\n{judged}");
}

#[test]
fn a_blind_site_says_so_and_holds_its_answers() {
    let regions = ["eu", "us"].map(|name| {
        let at = if name == "eu" { 1 } else { 2 };
        format!("  {name}: {{layers: {{reach: [{{tcp: {{address: '192.0.2.{at}:80'}}}}]}}}}\n")
    });
    let config = Arc::new(zoo::config(&format!(
        "version: 1\nmode: answer\nsite: {{name: a}}\nlisten: {{dns: [], control: control.sock}}\n\
         zones: [{{name: example.com, file: zone}}]\nregions:\n{}services:\n  www:\n    names: [www.example.com]\n    \
         policy: {{failover: [eu, us]}}\n    answers: {{eu: {{a: [192.0.2.1]}}, us: {{a: [192.0.2.2]}}}}\n",
        regions.concat()
    )));
    let (image, _) = Image::build(&[zoo::zone("example.com", zoo::ZONE)], &config).unwrap();
    let setup = Setup::new(Arc::clone(&config), image, Vec::new(), Vec::new());
    let storeless = Some("a test writes nothing".to_owned());
    let mut daemon = Daemon::new(setup, Restored::nothing(), storeless, fastrand::Rng::with_seed(1));
    let mut now = Now { mono: Mono(Duration::from_secs(100)), wall: Timestamp::UNIX_EPOCH };
    let mut see = |heard: bool| {
        for check in config.checks.ids() {
            let finding = match heard {
                true => Finding::Pass("connected".to_owned()),
                false => Finding::Fail("no connection".to_owned()),
            };
            daemon.sample(&Sample { check, finding, took: Duration::ZERO, heard }, now);
        }
        daemon.conclude(now);
        now = now.after(Duration::from_secs(5));
        let explained = daemon.explain("www.example.com", None, now).unwrap();
        assert_eq!(daemon.status(true, now).blind, explained.blind);
        (explained.blind, explained.answers)
    };
    (0..4).for_each(|_| drop(see(true)));
    let (sighted, before) = see(true);
    assert_eq!((sighted, before.len()), (None, 1));
    (0..20).for_each(|_| drop(see(false)));
    let (blind, held) = see(false);
    assert!(blind.is_some_and(|why| !why.is_empty()));
    assert_eq!(held, before);
    (0..10).for_each(|_| drop(see(true)));
    assert_eq!(see(true), (None, before));
}
