#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::table::Table;

#[path = "../tables.rs"]
mod tables;
#[path = "../targets.rs"]
#[allow(dead_code, reason = "one of several targets")]
mod targets;
#[path = "../../zoo/mod.rs"]
mod zoo;

fuzz_target!(|input: &[u8]| {
    thread_local! {
        static TABLES: [Table; 2] = tables::tables();
    }
    TABLES.with(|tables| targets::packet(tables, input));
});
