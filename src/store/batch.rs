//! What goes in, and what comes back.

use crate::base::Timestamp;
use crate::workflow::{self, Mark, Stamp, Thread, Token};

/// Records and changes of state that are stored together or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// Records for the journal, in order.
    pub entries: Vec<Entry>,
    /// Keys of the state with their new values, as JSON; `None` takes a key away.
    pub puts: Vec<(String, Option<String>)>,
}

impl Batch {
    /// Adds a record that stands alone.
    pub fn record(
        &mut self,
        at: Timestamp,
        kind: impl Into<String>,
        body: &impl serde::Serialize,
    ) -> &mut Self {
        let body = serde_json::to_string(body).expect("what is journaled has texts for keys");
        self.entries.push(Entry { at, kind: kind.into(), body, threads: Vec::new() });
        self
    }

    /// Sets a key of the state.
    pub fn put(&mut self, key: impl Into<String>, value: &impl serde::Serialize) -> &mut Self {
        let value = serde_json::to_string(value).expect("what is kept has texts for keys");
        self.puts.push((key.into(), Some(value)));
        self
    }

    /// Takes a key of the state away.
    pub fn remove(&mut self, key: impl Into<String>) -> &mut Self {
        self.puts.push((key.into(), None));
        self
    }

    /// Adds what the workflow engine wants to be written.
    pub fn workflow(&mut self, entries: Vec<workflow::Entry>) -> &mut Self {
        for entry in entries {
            if let Some(mark) = entry.mark {
                self.put(mark.key(), &mark.generation);
            }
            let (at, body, threads) = (entry.at, entry.body, entry.threads);
            self.entries.push(Entry { at, kind: entry.kind.to_owned(), body, threads });
        }
        self
    }
}

/// A record to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The wall clock, in microseconds when it is kept.
    pub at: Timestamp,
    /// What kind of record.
    pub kind: String,
    /// Its JSON.
    pub body: String,
    /// How it hangs together with others: what must be read back at a restart.
    pub threads: Vec<Thread>,
}

/// A record as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its place in the journal.
    pub index: u64,
    /// Of the process that wrote it.
    pub epoch: u64,
    /// The wall clock then.
    pub at: Timestamp,
    /// What kind of record.
    pub kind: String,
    /// Its JSON.
    pub body: String,
}

/// A record that is read back at a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replayed {
    /// The record.
    pub record: Record,
    /// Whether the thread that it opened is still open.
    pub open: bool,
}

/// The workflow engine's part of what was read back, for [`workflow::Engine::restore`].
///
/// # Errors
/// The index of a record that this program cannot read, and why.
pub fn workflow_records(replayed: &[Replayed]) -> Result<Vec<workflow::Replayed>, (u64, String)> {
    let mut records = Vec::new();
    for Replayed { record, open } in replayed {
        let Some(read) = workflow::Record::read(&record.kind, &record.body) else { continue };
        let read = read.map_err(|why| (record.index, why))?;
        let stamp = Stamp { token: Token { epoch: record.epoch, index: record.index }, at: record.at };
        records.push(workflow::Replayed { stamp, record: read, open: *open });
    }
    Ok(records)
}

/// The workflow engine's part of the state, for [`workflow::Engine::restore`].
pub fn marks<'a>(state: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Mark> {
    state.into_iter().filter_map(|(key, value)| Mark::read(key, value.parse().ok()?)).collect()
}
