//! Signed zones, from the engine to validating resolvers.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod engine;
mod signed;
mod validator;
#[path = "../zoo/mod.rs"]
mod zoo;
