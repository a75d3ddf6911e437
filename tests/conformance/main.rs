//! Other people's cases, and other people's servers: what we answer is what an authoritative
//! server answers.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may")]

#[path = "../common/mod.rs"]
mod common;
mod differential;
mod dig;
mod ferret;
mod limits;
mod reply;
#[path = "../common/times.rs"]
mod times;
