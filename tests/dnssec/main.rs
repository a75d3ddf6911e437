//! Signed zones, from the engine to validating resolvers.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../common/mod.rs"]
mod common;
mod daemon;
mod engine;
mod property;
mod resolvers;
mod rollover;
mod signed;
mod validator;
#[path = "../zoo/mod.rs"]
mod zoo;
