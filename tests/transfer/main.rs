//! Zones and their way to secondary servers: the shipped binary, asked with `dig` and `kdig`, and
//! fetched from by real Knot, NSD and BIND secondaries.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod asked;
mod private;
mod secondaries;
mod serials;
mod steps;
mod world;
#[path = "../zoo/mod.rs"]
mod zoo;
