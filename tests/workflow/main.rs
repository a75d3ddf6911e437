//! The workflow engine against a model world that remembers what was really done to it.
//!
//! `auditor` is a second, much simpler reading of the journal that knows the rules and nothing
//! of the engine; `world` is the targets; `run` drives an engine through crashes, lost answers,
//! failing stores and operators. `matrix` crashes it at every point of one eventful execution,
//! `chance` lets the dice decide, `article` runs the article's file. `killed` runs engine and
//! store in a process of its own and kills that.

#![allow(clippy::unwrap_used)] // tests

mod article;
mod auditor;
mod chance;
mod flows;
mod killed;
mod matrix;
mod rules;
mod run;
#[path = "../common/times.rs"]
mod times;
mod world;
