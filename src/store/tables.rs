//! The tables, and one transaction that writes a group of batches.
//!
//! ```text
//!  journal   index            → epoch, time, kind, JSON, previous hash, hash
//!  threads   (thread, index)  → ()      records of threads that are open
//!  closed    index            → thread  last records of threads that were closed
//!  held      index            → count   why a record is not pruned: the two tables above
//!  state     key              → JSON, hash
//!  meta      "meta"           → where the journal begins and ends, the epoch; with its hash
//! ```
//! The journal keeps the newest [`RECORDS_MAX`] records, and of older ones those that are
//! still read back at a restart. It is pruned a little with every transaction.

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::batch::{Batch, Entry, Record, Replayed};
use super::chain::{Hash, Link, ROOT, plain_hash, state_hash};
use crate::base::Timestamp;
use crate::workflow::{SETTLED_MAX, Thread};

/// Records that are kept, apart from those that are needed at a restart.
pub const RECORDS_MAX: u64 = 200_000;
/// The JSON of one record, and of one value of the state.
pub const RECORD_BYTES_MAX: usize = 4 << 20;
/// Records that one transaction prunes beyond as many as it adds: so that a lowered limit is
/// reached in the end, and no single transaction takes long.
const PRUNE_EXTRA: u64 = 64;

type Row<'a> = (u64, i64, &'a str, &'a str, &'a Hash, &'a Hash);

const JOURNAL: TableDefinition<u64, Row<'static>> = TableDefinition::new("journal");
const THREADS: TableDefinition<(u64, u64), ()> = TableDefinition::new("threads");
const CLOSED: TableDefinition<u64, u64> = TableDefinition::new("closed");
const HELD: TableDefinition<u64, u32> = TableDefinition::new("held");
const STATE: TableDefinition<&str, (&str, &Hash)> = TableDefinition::new("state");
const META: TableDefinition<&str, (&[u8], &Hash)> = TableDefinition::new("meta");
const META_KEY: &str = "meta";
/// Of the tables as a whole.
const FORMAT: u64 = 1;
const NOT_OURS: &str = "it is not a store of ours";

/// Why something cannot be read or written.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database, or what is below it.
    Database(redb::Error),
    /// A record of the journal is not what was written.
    Broken { index: u64, why: String },
    /// Something else is not what was written.
    Unreadable(String),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Database(redb::Error::Io(why)) => why.fmt(f),
            Self::Database(why) => why.fmt(f),
            Self::Broken { index, why } => write!(f, "record {index}: {why}"),
            Self::Unreadable(why) => f.write_str(why),
        }
    }
}

/// Where the journal begins and ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Meta {
    /// Of the process that owns the store, or owned it last.
    pub epoch: u64,
    /// The index of the next record.
    pub next: u64,
    /// The hash of the last record.
    pub head: Hash,
    /// All records below are pruned, apart from those that are held.
    pub pruned: u64,
    /// The hash of the last record below `pruned`.
    pub anchor: Hash,
    /// How many transactions there have been: by it a writer tells, after a failure, whether
    /// its own was the last one.
    pub commits: u64,
}

impl Meta {
    pub const NEW: Self = Self { epoch: 0, next: 0, head: ROOT, pruned: 0, anchor: ROOT, commits: 0 };

    fn bytes(&self) -> Vec<u8> {
        let numbers = [FORMAT, self.epoch, self.next, self.pruned, self.commits];
        let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
        numbers.chain(self.head).chain(self.anchor).collect()
    }

    fn read(bytes: &[u8], hash: &Hash) -> Result<Self, Fault> {
        let wrong = |why: &str| Fault::Unreadable(why.to_owned());
        if plain_hash(bytes) != *hash {
            return Err(wrong("its heading is damaged"));
        }
        let number = |n: usize| -> Option<u64> {
            Some(u64::from_be_bytes(bytes.get(n * 8..n * 8 + 8)?.try_into().ok()?))
        };
        let hash = |n: usize| -> Option<Hash> { bytes.get(40 + n * 32..72 + n * 32)?.try_into().ok() };
        match number(0) {
            Some(FORMAT) => {}
            Some(format) => {
                return Err(wrong(&format!("it has format {format}, and this program reads {FORMAT}")));
            }
            None => return Err(wrong("its heading is too short")),
        }
        let meta = (|| {
            let (epoch, next, pruned, commits) = (number(1)?, number(2)?, number(3)?, number(4)?);
            Some(Self { epoch, next, pruned, commits, head: hash(0)?, anchor: hash(1)? })
        })();
        meta.ok_or_else(|| wrong("its heading is too short"))
    }
}

/// One transaction over all tables.
pub(super) struct Tables<'t> {
    journal: redb::Table<'t, u64, Row<'static>>,
    threads: redb::Table<'t, (u64, u64), ()>,
    closed: redb::Table<'t, u64, u64>,
    held: redb::Table<'t, u64, u32>,
    state: redb::Table<'t, &'static str, (&'static str, &'static Hash)>,
    heading: redb::Table<'t, &'static str, (&'static [u8], &'static Hash)>,
    pub meta: Meta,
    records_max: u64,
    closed_max: u64,
}

impl<'t> Tables<'t> {
    /// Fills an empty database.
    pub fn make(transaction: &WriteTransaction) -> Result<(), Fault> {
        let bytes = Meta::NEW.bytes();
        let mut heading = transaction.open_table(META)?;
        heading.insert(META_KEY, (bytes.as_slice(), &plain_hash(&bytes)))?;
        transaction.open_table(JOURNAL)?;
        transaction.open_table(THREADS)?;
        transaction.open_table(CLOSED)?;
        transaction.open_table(HELD)?;
        transaction.open_table(STATE)?;
        Ok(())
    }

    pub fn open(transaction: &'t WriteTransaction, records_max: u64) -> Result<Self, Fault> {
        let heading = transaction.open_table(META)?;
        let meta = match heading.get(META_KEY)? {
            Some(row) => Meta::read(row.value().0, row.value().1)?,
            None => return Err(Fault::Unreadable(NOT_OURS.to_owned())),
        };
        Ok(Self {
            journal: transaction.open_table(JOURNAL)?,
            threads: transaction.open_table(THREADS)?,
            closed: transaction.open_table(CLOSED)?,
            held: transaction.open_table(HELD)?,
            state: transaction.open_table(STATE)?,
            heading,
            meta,
            records_max,
            closed_max: SETTLED_MAX as u64,
        })
    }

    /// Adds one batch; tells the index of its first record.
    pub fn batch(&mut self, batch: &Batch) -> Result<u64, Fault> {
        let first = self.meta.next;
        for entry in &batch.entries {
            self.entry(entry)?;
        }
        for (key, value) in &batch.puts {
            match value {
                Some(value) => {
                    let hash = state_hash(key, value);
                    self.state.insert(key.as_str(), (value.as_str(), &hash))?;
                }
                None => drop(self.state.remove(key.as_str())?),
            }
        }
        Ok(first)
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Fault> {
        let index = self.meta.next;
        let at = entry.at.as_microsecond();
        let (kind, body) = (entry.kind.as_str(), entry.body.as_str());
        let previous = self.meta.head;
        let hash = Link { previous: &previous, index, epoch: self.meta.epoch, at, kind, body }.hash();
        self.journal.insert(index, (self.meta.epoch, at, kind, body, &previous, &hash))?;
        (self.meta.next, self.meta.head) = (index + 1, hash);
        for thread in &entry.threads {
            match thread {
                Thread::Opens => self.add(index, index)?,
                Thread::Continues(thread) if self.is_open(*thread)? => self.add(*thread, index)?,
                Thread::Replaces(thread) if self.is_open(*thread)? => {
                    self.drop_from(*thread, *thread + 1)?;
                    self.add(*thread, index)?;
                }
                Thread::Closes(thread) if self.is_open(*thread)? => {
                    self.drop_from(*thread, *thread)?;
                    self.closed.insert(index, *thread)?;
                    self.hold(index)?;
                }
                Thread::Ends(thread) if self.is_open(*thread)? => self.drop_from(*thread, *thread)?,
                // Of a thread that is over nothing is read back any more.
                Thread::Continues(_) | Thread::Replaces(_) | Thread::Closes(_) | Thread::Ends(_) => {}
            }
        }
        Ok(())
    }

    /// What must be done once, after all batches.
    pub fn finish(&mut self, added: u64) -> Result<(), Fault> {
        while self.closed.len()? > self.closed_max {
            let oldest = self.closed.pop_first()?.map(|(index, _)| index.value());
            let Some(oldest) = oldest else { break };
            self.release(oldest)?;
        }
        self.prune(added.saturating_add(PRUNE_EXTRA))?;
        self.meta.commits += 1;
        let bytes = self.meta.bytes();
        self.heading.insert(META_KEY, (bytes.as_slice(), &plain_hash(&bytes)))?;
        Ok(())
    }

    /// Takes away the oldest records past the limit, at most so many.
    fn prune(&mut self, most: u64) -> Result<(), Fault> {
        let excess = (self.meta.next - self.meta.pruned).saturating_sub(self.records_max);
        for _ in 0..excess.min(most) {
            let index = self.meta.pruned;
            let Some(hash) = self.journal.get(index)?.map(|row| *row.value().5) else {
                return Err(Fault::Broken { index, why: "it is gone".to_owned() });
            };
            if self.held.get(index)?.is_none() {
                self.journal.remove(index)?;
            }
            (self.meta.pruned, self.meta.anchor) = (index + 1, hash);
        }
        Ok(())
    }

    fn is_open(&self, thread: u64) -> Result<bool, Fault> {
        Ok(self.threads.get((thread, thread))?.is_some())
    }

    fn add(&mut self, thread: u64, index: u64) -> Result<(), Fault> {
        if self.threads.insert((thread, index), ())?.is_none() {
            self.hold(index)?;
        }
        Ok(())
    }

    /// Drops the records of a thread from this index on.
    fn drop_from(&mut self, thread: u64, index: u64) -> Result<(), Fault> {
        let range = (thread, index)..=(thread, u64::MAX);
        let mut dropped = Vec::new();
        for row in self.threads.extract_from_if(range, |_, ()| true)? {
            dropped.push(row?.0.value().1);
        }
        dropped.into_iter().try_for_each(|index| self.release(index))
    }

    fn hold(&mut self, index: u64) -> Result<(), Fault> {
        let held = self.held.get(index)?.map_or(0, |held| held.value());
        self.held.insert(index, held + 1)?;
        Ok(())
    }

    /// One reason less to keep a record.
    fn release(&mut self, index: u64) -> Result<(), Fault> {
        let held = self.held.get(index)?.map_or(0, |held| held.value());
        if held > 1 {
            self.held.insert(index, held - 1)?;
            return Ok(());
        }
        self.held.remove(index)?;
        if index < self.meta.pruned {
            self.journal.remove(index)?;
        }
        Ok(())
    }
}

// ── reading ──

type Journal = redb::ReadOnlyTable<u64, Row<'static>>;

/// All tables as they are at one moment.
pub(super) struct View {
    transaction: redb::ReadTransaction,
    pub meta: Meta,
}

impl View {
    pub fn new(transaction: redb::ReadTransaction) -> Result<Self, Fault> {
        let meta = match transaction.open_table(META)?.get(META_KEY)? {
            Some(row) => Meta::read(row.value().0, row.value().1)?,
            None => return Err(Fault::Unreadable(NOT_OURS.to_owned())),
        };
        Ok(Self { transaction, meta })
    }

    /// Records from an index on, those that are pruned left out.
    pub fn records(&self, from: u64, most: usize) -> Result<Vec<Record>, Fault> {
        let journal = self.transaction.open_table(JOURNAL)?;
        let mut records = Vec::new();
        for row in journal.range(from..)?.take(most) {
            let (index, row) = row?;
            records.push(record(index.value(), row.value())?);
        }
        Ok(records)
    }

    /// What must be read back at a restart, in order.
    pub fn replay(&self) -> Result<Vec<Replayed>, Fault> {
        let journal = self.transaction.open_table(JOURNAL)?;
        let mut indices = std::collections::BTreeMap::new();
        for row in self.transaction.open_table(CLOSED)?.iter()? {
            indices.insert(row?.0.value(), false);
        }
        for row in self.transaction.open_table(THREADS)?.iter()? {
            let (thread, index) = row?.0.value();
            *indices.entry(index).or_default() |= thread == index;
        }
        let mut replayed = Vec::with_capacity(indices.len());
        for (index, open) in indices {
            let Some(row) = journal.get(index)? else {
                return Err(Fault::Broken { index, why: "it is gone".to_owned() });
            };
            replayed.push(Replayed { record: record(index, row.value())?, open });
        }
        Ok(replayed)
    }

    /// All keys of the state with their values.
    pub fn state(&self) -> Result<Vec<(String, String)>, Fault> {
        let mut state = Vec::new();
        for row in self.transaction.open_table(STATE)?.iter()? {
            let (key, row) = row?;
            let (value, hash) = row.value();
            if state_hash(key.value(), value) != *hash {
                return Err(Fault::Unreadable(format!("the value of `{}` is damaged", key.value())));
            }
            state.push((key.value().to_owned(), value.to_owned()));
        }
        Ok(state)
    }

    /// Checks every record and every link of the chain; tells how many records there are.
    pub fn verify(&self) -> Result<u64, Fault> {
        let journal: Journal = self.transaction.open_table(JOURNAL)?;
        let meta = &self.meta;
        let broken = |index: u64, why: &str| Err(Fault::Broken { index, why: why.to_owned() });
        let (mut expected, mut previous, mut epoch, mut count) = (meta.pruned, meta.anchor, 0, 0);
        for row in journal.iter()? {
            let (index, row) = row?;
            let (index, row) = (index.value(), row.value());
            record(index, row)?;
            count += 1;
            let held_back = index < meta.pruned;
            if !held_back {
                if index != expected {
                    return broken(expected, "it is gone");
                }
                if *row.4 != previous {
                    return broken(index, "it does not follow on the one before it");
                }
                (expected, previous) = (index + 1, *row.5);
            }
            if row.0 < epoch || row.0 > meta.epoch {
                return broken(index, &format!("its epoch {} is out of order", row.0));
            }
            epoch = row.0;
        }
        if expected != meta.next {
            return broken(expected, "it is gone");
        }
        if previous != meta.head {
            return broken(meta.next.saturating_sub(1), "it is not the one that was written last");
        }
        Ok(count)
    }
}

/// A row that is what was written.
fn record(index: u64, row: Row<'_>) -> Result<Record, Fault> {
    let (epoch, at, kind, body, previous, hash) = row;
    if (Link { previous, index, epoch, at, kind, body }).hash() != *hash {
        return Err(Fault::Broken { index, why: "its hash does not fit what it says".to_owned() });
    }
    let at = Timestamp::from_microsecond(at)
        .map_err(|why| Fault::Broken { index, why: format!("its time cannot be: {why}") })?;
    Ok(Record { index, epoch, at, kind: kind.to_owned(), body: body.to_owned() })
}
