//! Pointsman: a health-sensing global traffic manager.
//!
//! An operator delegates a DNS zone to it and runs one daemon per edge site. It checks every
//! region in layers, up to quorum loss of the stateful system inside it, swaps its answers
//! atomically, and drives the recovery workflow that the operator wrote as YAML.
//!
//! The folders are the data's journey; each hands one noun to the next:
//!
//! ```text
//! config ─► probe ─► health ─► cluster ─► region ─► table ─► dns ─► serve
//! Config    Sample   Verdict   Standing   Flip      Table    answer bytes
//!                                          └─► workflow ─► agent
//!                                              Call        Outcome
//! ```
//!
//! A module imports only from those above it in this file (`tests/layers.rs` enforces it).
//! Everything before [`io`] is pure: no clock, socket, file or randomness of its own, so that
//! the daemon, the simulator and the tests run the same decisions. ARCHITECTURE.md has the
//! whole picture on one page.

#[cfg(test)]
#[path = "../tests/common/times.rs"]
mod times;

// ── pure: the same input always gives the same output ──
pub mod base;
pub mod wire;
pub mod zone;
pub mod sign;
pub mod config;
pub mod geo;
pub mod health;
pub mod cluster;
pub mod region;
pub mod transfer;
pub mod table;
pub mod dns;
pub mod workflow;
pub mod decide;
pub mod sim;
// ── the rim: sockets, files, clocks; these never import each other, apart from io ──
pub mod io;
pub mod probe;
pub mod agent;
pub mod serve;
pub mod notify;
pub mod store;
pub mod sys;
// ── the daemon ──
pub mod control;
pub mod admin;
pub mod demo;
pub mod cli;
