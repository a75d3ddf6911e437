//! The scenario file.
//!
//! ```yaml
//! about: What it shows, in a sentence.
//! config: ../../config/pointsman.yaml      # relative to this file
//! script:
//!   - {at: 1m, voters: {sessions/eu-west: "n--"}}
//! until: 5m
//! expect: |
//!   …what happens, line by line
//! ```
//! At the start everything is well. Voters of a raft group are written as one letter each:
//! `L` leads, `f` follows, `b` follows and has not caught up, `n` knows of no leader, `x` refuses, `-` is silent, `?` denies us.
//! Nodes of Cassandra: `n` hears nobody, a `p`arted one those of its own region only, any other all.
//! Servers of a database: `w` writes, `s` streams from the writer, `t` is a standby that does
//! not stream, `f` was a writer and is fenced, `x`, `-` and `?` as above.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::base::{Mistakes, Source};
use crate::config::Span;
use crate::config::read::{Placed, read};
use crate::config::yaml;

/// A scenario.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows.
    pub about: String,
    /// The configuration it runs under, relative to the scenario's file.
    pub config: PathBuf,
    /// What happens, and when.
    pub script: Vec<Placed<Act>>,
    /// When it ends.
    pub until: Span,
    /// What the daemon makes of it.
    #[serde(default)]
    pub expect: String,
}

/// Something that happens at one moment.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Act {
    /// When.
    pub at: Span,
    /// Checks, by name, and what they find from now on: `pass`, or `fail: …` (it answers,
    /// and badly), `silent: …` (nothing comes back), `unknown: …`.
    pub checks: BTreeMap<String, String>,
    /// Groups, by name, and their voters from now on.
    pub voters: BTreeMap<String, String>,
    /// Stages, by name, and how their next calls end: `applied`, `retry`, `never`, `unknown`,
    /// `unreachable`, `ask`, `hangs`; the last one stays.
    pub agents: BTreeMap<String, Vec<String>>,
    /// The store takes nothing from now on, for this reason; empty: it does again.
    pub store_fails: Option<String>,
    /// The process is killed and started again, with what the store has kept.
    pub restart: bool,
    /// Another configuration is taken over from now on, relative to the scenario's file. With
    /// `restart`, the new process starts with it.
    pub reload: Option<PathBuf>,
    /// An operator's order, as on the command line: `drain eu-west 1h`, `release eu-west`,
    /// `dial petstore us-east=100`, `automation off 1h`, `automation on`,
    /// `run petstore-failover eu-west`, `approve petstore-failover promote-database` …
    pub order: Option<String>,
}

/// Reads a scenario.
///
/// # Errors
/// Every mistake in it.
pub fn parse(source: &Arc<Source>) -> Result<Scenario, Mistakes> {
    let tree = yaml::parse(source)?;
    let mut mistakes = Mistakes::default();
    let scenario = read(&tree, &mut mistakes);
    mistakes.unless_fatal(scenario).map(|(scenario, _)| scenario)
}
