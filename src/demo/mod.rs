//! `pointsman demo`: the whole story on one machine, in under a minute.
//!
//! The daemon is the real one; what it watches are stand-ins in this process, and the demo says
//! so. With `--real` they are etcd and PostgreSQL.

mod etcd;
mod files;
mod pair;
mod shop;
mod story;
mod timeline;

pub use etcd::Etcd;
pub use pair::{Nodes, Pair};
pub use shop::Shop;

/// Runs the demo.
///
/// # Errors
/// What went wrong, in words: also when the story did not go as it should.
pub fn run(_real: bool) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|why| format!("no event loop: {why}"))?;
    runtime.block_on(story::tell())
}
