#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::table::Table;

#[path = "../targets.rs"]
#[allow(dead_code, reason = "one of several targets")]
mod targets;
#[path = "../../zoo/mod.rs"]
mod zoo;

fuzz_target!(|input: &[u8]| {
    thread_local! {
        static TABLE: Table = zoo::table();
    }
    TABLE.with(|table| targets::packet(table, input));
});
