//! The fuzz targets on the stable toolchain: seeds, each seed with octets changed, and random
//! octets, a bounded number of them. `make fuzz` lets cargo-fuzz look for as long as one likes;
//! what it finds goes into `seeds/`.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;

use fastrand::Rng;

mod tables;
mod targets;
#[path = "../common/times.rs"]
mod times;
#[path = "../zoo/mod.rs"]
mod zoo;

/// So many inputs are made of the seeds of a target.
const PACKETS: u32 = 40_000;
const ZONE_FILES: u32 = 2_500;
const SIGNATURES: u32 = 20_000;
const PROXY_HEADERS: u32 = 40_000;
/// No made-up input is longer than this.
const INPUT_OCTETS_MAX: usize = 4096;

/// The seeds of a target, by name.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut paths: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 3, "there are seeds in {}", directory.display());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One or several seeds, changed as fuzzers do: octets replaced, inserted, dropped, doubled, pieces
/// of another seed put in.
fn mutate(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut Rng| seeds[rng.usize(..seeds.len())].clone();
    let mut input = pick(rng);
    for _ in 0..rng.usize(1..=6) {
        let at = rng.usize(..=input.len());
        let to = (at + rng.usize(..16)).min(input.len());
        match rng.u8(..8) {
            0..=2 => {
                if let Some(octet) = input.get_mut(at) {
                    *octet = match rng.u8(..3) {
                        0 => *octet ^ (1 << rng.u8(..8)),
                        1 => [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff][rng.usize(..8)],
                        _ => rng.u8(..),
                    };
                }
            }
            3 => input.insert(at, rng.u8(..)),
            4 => drop(input.drain(at..to)),
            5 => {
                let piece = input[at..to].to_vec();
                input.splice(at..at, piece);
            }
            6 => {
                let other = pick(rng);
                let start = rng.usize(..=other.len());
                let piece = other[start..(start + rng.usize(..32)).min(other.len())].to_vec();
                input.splice(at..to, piece);
            }
            _ => input.truncate(at),
        }
    }
    input.truncate(INPUT_OCTETS_MAX);
    input
}

/// Feeds a target; an input that makes it fail is printed in full.
fn feed(target: &str, inputs: u32, function: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    let seeds = seeds(target);
    let mut rng = Rng::with_seed(1);
    let made = (0..times::times(inputs)).map(|_| mutate(&mut rng, &seeds));
    for input in seeds.iter().cloned().chain(made) {
        if std::panic::catch_unwind(|| function(&input)).is_err() {
            panic!("{target} fails on b\"{}\"", input.escape_ascii());
        }
    }
}

#[test]
fn packets() {
    let tables = std::panic::AssertUnwindSafe(tables::tables());
    feed("packet", PACKETS, |input| targets::packet(&tables, input));
}

#[test]
fn zone_files() {
    feed("zone_file", ZONE_FILES, targets::zone_file);
}

#[test]
fn signatures() {
    // Nobody finds a good one by chance.
    assert_eq!(seeds("tsig").iter().filter(|seed| targets::is_signed_well(seed)).count(), 4);
    feed("tsig", SIGNATURES, targets::tsig);
}

#[test]
fn proxy_headers() {
    feed("proxy", PROXY_HEADERS, targets::proxy);
}
