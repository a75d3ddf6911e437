//! `pointsman demo`: the whole story on one machine, in under a minute.
//!
//! The daemon is the real one; what it watches are stand-ins in this process, and the demo says
//! so. With `--real` they are etcd and PostgreSQL. It leaves nothing behind, however it ends.

mod client;
mod directory;
mod files;
mod listener;
mod ports;
mod real;
mod shop;
mod standin;
mod stop;
mod story;
mod timeline;
mod world;

use stop::Stop;

/// How the demo is to be told.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// With etcd and PostgreSQL instead of stand-ins.
    pub real: bool,
    /// Leave the files behind: configuration, journal and logs.
    pub keep: bool,
}

/// Why there was no story, or not the one that was to be told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failed {
    /// Something that is needed is not installed.
    #[error("{0}")]
    Missing(String),
    /// The story did not go as it should.
    #[error("{0}")]
    Wrong(String),
}

/// Runs the demo.
///
/// # Errors
/// What is missing or went wrong, in words.
pub fn run(options: Options) -> Result<(), Failed> {
    let tools = match options.real {
        true => Some(real::Tools::find().map_err(Failed::Missing)?),
        false => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|why| Failed::Missing(format!("no event loop: {why}")))?;
    runtime
        .block_on(async {
            let stop = Stop::listen().map_err(|why| format!("cannot listen for signals: {why}"))?;
            story::tell(tools.as_ref(), options.keep, stop).await
        })
        .map_err(Failed::Wrong)
}
