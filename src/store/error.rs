//! What can go wrong with a store, and what to do about it.

use std::path::PathBuf;

/// What is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{} is in use by another process{}; only one daemon may own it", file.display(), named(.holder.as_deref()))]
    InUse {
        /// The file.
        file: PathBuf,
        /// Who that is, if it left a note.
        holder: Option<String>,
    },
    /// There is none.
    #[error("there is no store at {}; the daemon makes one when it starts", .0.display())]
    Missing(PathBuf),
    /// The operating system refuses.
    #[error("cannot {doing} {}: {why}", file.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        file: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
    /// It is not a store, or of another version, or damaged beyond reading.
    #[error("{} cannot be read as a store: {why}; move it away and restore a copy, or start with an empty one", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        why: String,
    },
    /// A record of the journal is not what was written.
    #[error("record {index} of the journal in {} is broken: {why}; nothing from there on can be trusted", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// The record.
        index: u64,
        /// Why.
        why: String,
    },
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
    /// More is asked of it than it takes.
    #[error("the store has {0} batches to write already")]
    Full(usize),
}

fn named(holder: Option<&str>) -> String {
    holder.map(|holder| format!(" (most likely {holder})")).unwrap_or_default()
}
