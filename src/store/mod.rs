//! What outlives the process: the journal, and the owner's state beside it, in one file.
//!
//! ```text
//!   owner ── append(batch) ──► queue ──► writer thread ──► one transaction, one sync ──► file
//!     ▲                                        │
//!     └───────── stored(first index), or failed, for each batch in order ◄────────────────┘
//! ```
//! A batch is stored whole or not at all, and an answer says which for certain. Each open for
//! writing takes a new epoch before anything else. Records are chained by their hashes, so
//! that what was changed or lost afterwards shows, with the index of the first wrong record.
//!
//! redb commits atomically and checks its pages; what it leaves to us is what happens after a
//! write or a sync has failed (`careful`), reading beside or after a killed process
//! (`overlay`), and how much to keep (`tables`).

mod batch;
mod careful;
mod chain;
mod error;
mod file;
mod open;
mod overlay;
mod reader;
mod tables;
mod writer;

#[cfg(test)]
mod tests;

pub use batch::{Batch, Entry, Record, Replayed, marks, workflow_records};
pub use error::StoreError;
pub use open::{Event, Opened, Store, Ticket};
pub use reader::{Head, Reader, Verified};
pub use tables::{RECORD_BYTES_MAX, RECORDS_MAX};
