//! The command line: subcommands, what they print, and their exit codes.

mod args;
mod check;
mod client;
mod geo;
mod keys;
mod order;
mod probe;
mod query;
mod serve;
mod show;
mod text;
mod workflow;

use std::process::ExitCode;

use clap::Parser as _;

use crate::demo;
use args::{Arguments, Command};

/// How a command ends when it does not end well.
#[derive(Debug)]
enum Exit {
    /// The answer is no: exit code 1. The words go to standard error, unless they were told.
    No(String),
    /// Something that is needed is not there: exit code 3.
    Missing(String),
}

type Done = Result<(), Exit>;

/// Runs the program.
pub fn run() -> ExitCode {
    let Arguments { common, command } = Arguments::parse();
    let done = match command {
        Command::Serve { log } => serve::run(&common, log),
        Command::Check { file, secrets } => {
            check::run(file.as_ref().unwrap_or(&common.config), secrets, common.output)
        }
        Command::Query(query) => query::run(&common, &query),
        Command::Geo { addresses } => geo::run(&common, &addresses),
        Command::Probe { names } => probe::run(&common, &names),
        Command::Status => show::status(&common),
        Command::Explain { name, client } => show::explain(&common, &name, client),
        Command::Region(region) => order::region(&common, region),
        Command::Dial { service, shares, why } => order::dial(&common, service, shares, &why),
        Command::Automation(automation) => order::automation(&common, automation),
        Command::Workflow(command) => workflow::run(&common, command),
        Command::Keys(command) => keys::run(&common, command),
        Command::Reload { zone } => order::reload(&common, zone.as_deref()),
        Command::Upgrade => order::upgrade(&common),
        Command::Demo { real, keep } => demo::run(demo::Options { real, keep }).map_err(|why| match why {
            demo::Failed::Missing(words) => Exit::Missing(words),
            demo::Failed::Wrong(words) => Exit::No(words),
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Exit::No(words)) => {
            text::complain(&words);
            ExitCode::from(1)
        }
        Err(Exit::Missing(words)) => {
            text::complain(&words);
            ExitCode::from(3)
        }
    }
}
