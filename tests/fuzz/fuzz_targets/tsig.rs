#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code, reason = "one of several targets")]
mod targets;

fuzz_target!(|input: &[u8]| targets::tsig(input));
