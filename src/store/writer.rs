//! The only thread that writes.
//!
//! ```text
//!            batch: durable             batch: failed, for certain
//!           ┌────────────┐           ┌─────────────────────────┐
//!           ▼            │           │                         ▼   each batch fails
//!        Writing ────────┴───────────┤                     Refusing
//!           ▲  ▲                     │                         │
//!           │  └─────────────────────┼───────── resume ────────┘
//!           │                        │
//!           └──── opens again ─── Trouble   the file does not open: tries by itself
//! ```
//! Once the database has panicked over damaged pages it stays in Refusing for good.
//!
//! A commit that fails may have reached the file all the same. So the file is healed and
//! opened anew, and what it then holds decides: the answer is always certain.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use redb::{Database, Durability, ReadableDatabase};

use super::batch::Batch;
use super::careful::Careful;
use super::open::{self, Event, Ticket};
use super::reader::Shared;
use super::tables::{Fault, RECORD_BYTES_MAX, Tables, View};

/// Records that share one sync: enough for thousands of executions at once.
const GROUP_RECORDS_MAX: usize = 8192;
/// How long to wait between two tries to open the file anew, at first and at most.
const TROUBLE_WAIT: Duration = Duration::from_millis(10);
const TROUBLE_WAIT_MAX: Duration = Duration::from_secs(5);
/// So many tries after the owner is gone; then the batch is left to the next process, which
/// finds it there or not.
const FAREWELL_TRIES: u32 = 3;

/// What the owner asks for.
#[derive(Debug)]
pub(super) enum Job {
    Batch(Ticket, Batch),
    Resume,
}

pub(super) struct Writer {
    shared: Shared,
    careful: Careful,
    records_max: u64,
    tell: Box<dyn FnMut(Event) + Send>,
    /// The owner is about to go.
    closing: Arc<AtomicBool>,
    /// Why batches are refused.
    refusing: Option<String>,
    /// The database has panicked over damaged pages: nothing is written any more.
    dead: bool,
}

/// How a transaction went.
enum Written {
    /// Durable: the first index of each batch.
    Yes(Vec<u64>),
    /// Failed on the way; how many transactions there would have been with it, if it got so
    /// far, and the first index of each batch.
    No { why: String, aim: Option<(u64, Vec<u64>)> },
}

impl Writer {
    pub fn new(
        shared: Shared,
        careful: Careful,
        records_max: u64,
        tell: Box<dyn FnMut(Event) + Send>,
        closing: Arc<AtomicBool>,
    ) -> Self {
        Self { shared, careful, records_max, tell, closing, refusing: None, dead: false }
    }

    /// Counts this process in: the epoch grows before anything else.
    pub fn take_epoch(&mut self) -> Result<Result<u64, Fault>, String> {
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            let epoch;
            {
                let mut tables = Tables::open(&transaction, self.records_max)?;
                tables.meta.epoch += 1;
                epoch = tables.meta.epoch;
                tables.finish(0)?;
            }
            transaction.commit()?;
            Ok(epoch)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> T) -> Result<T, String> {
        let guard = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        guard.as_ref().ok_or_else(|| "it is not open".to_owned())?.with(work)
    }

    /// Until the owner is gone and everything it handed in is answered.
    pub fn run(mut self, queue: &Receiver<Job>) {
        let mut next = None;
        while let Some(job) = next.take().or_else(|| queue.recv().ok()) {
            let Job::Batch(ticket, batch) = job else {
                if !self.dead {
                    self.refusing = None;
                }
                continue;
            };
            // Everything that has queued up meanwhile shares one sync.
            let mut records = batch.entries.len();
            let mut group = vec![(ticket, batch)];
            while records < GROUP_RECORDS_MAX && next.is_none() {
                match queue.try_recv() {
                    Ok(Job::Batch(ticket, batch)) => {
                        records += batch.entries.len();
                        group.push((ticket, batch));
                    }
                    Ok(Job::Resume) => next = Some(Job::Resume),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            self.group(group);
        }
        *self.shared.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn group(&mut self, mut group: Vec<(Ticket, Batch)>) {
        // A batch that asks too much fails alone, and with it, as always, all after it.
        let large = group.iter().position(|(_, batch)| too_large(batch).is_some());
        let rest = group.split_off(large.unwrap_or(group.len()));
        if !group.is_empty() && self.refusing.is_none() {
            let (tickets, batches): (Vec<Ticket>, Vec<Batch>) = group.into_iter().unzip();
            let written = self.write(&batches);
            self.answer(&tickets, written);
        } else {
            self.refuse(group.into_iter().map(|(ticket, _)| ticket));
        }
        if let Some((_, batch)) = rest.first() {
            self.refusing = self.refusing.take().or(too_large(batch));
            self.refuse(rest.into_iter().map(|(ticket, _)| ticket));
        }
    }

    fn refuse(&mut self, tickets: impl Iterator<Item = Ticket>) {
        let why = self.refusing.clone().unwrap_or_default();
        for ticket in tickets {
            (self.tell)(Event::Failed { ticket, why: why.clone() });
        }
    }

    /// One transaction for all of them.
    fn write(&self, batches: &[Batch]) -> Written {
        let mut aim = None;
        let outcome = self.with(|database| -> Result<Vec<u64>, Fault> {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            let mut firsts = Vec::with_capacity(batches.len());
            {
                let mut tables = Tables::open(&transaction, self.records_max)?;
                let start = tables.meta.next;
                for batch in batches {
                    firsts.push(tables.batch(batch)?);
                }
                tables.finish(tables.meta.next - start)?;
                aim = Some((tables.meta.commits, firsts.clone()));
            }
            transaction.commit()?;
            Ok(firsts)
        });
        match outcome {
            Ok(Ok(firsts)) => Written::Yes(firsts),
            Ok(Err(fault)) => Written::No { why: fault.to_string(), aim },
            Err(why) => Written::No { why, aim },
        }
    }

    fn answer(&mut self, tickets: &[Ticket], written: Written) {
        let firsts = match written {
            Written::Yes(firsts) => Ok(firsts),
            Written::No { why, .. } if self.panicked() => {
                // To open it again would only be to panic again. Whatever the file holds, the
                // next process finds; this one acts on nothing more.
                self.dead = true;
                Err(why)
            }
            Written::No { why, aim } => match (self.reopen(), aim) {
                // Nobody is there to hear it: the next process finds out for itself.
                (None, _) => return,
                (Some(commits), Some((aim, firsts))) if commits == aim => Ok(firsts),
                (Some(_), _) => Err(why),
            },
        };
        match firsts {
            Ok(firsts) => {
                for (ticket, first) in tickets.iter().zip(firsts) {
                    (self.tell)(Event::Stored { ticket: *ticket, first });
                }
            }
            Err(why) => {
                self.refusing = Some(why);
                self.refuse(tickets.iter().copied());
            }
        }
    }

    fn panicked(&self) -> bool {
        let guard = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        guard.as_ref().is_some_and(open::Base::panicked)
    }

    /// Tells how many transactions the file holds, read anew. Tries for as long as it takes, or
    /// as the owner is there.
    fn reopen(&mut self) -> Option<u64> {
        let (mut wait, mut farewell, mut told) = (TROUBLE_WAIT, 0, false);
        loop {
            match self.reopen_now() {
                Ok(commits) => {
                    if told {
                        (self.tell)(Event::Recovered);
                    }
                    return Some(commits);
                }
                Err(why) => (self.tell)(Event::Trouble { why }),
            }
            told = true;
            if self.closing.load(Ordering::Acquire) {
                farewell += 1;
                if farewell == FAREWELL_TRIES {
                    return None;
                }
            }
            // The owner wakes it when it goes.
            std::thread::park_timeout(wait);
            wait = (wait * 2).min(TROUBLE_WAIT_MAX);
        }
    }

    /// Closes the file, if it is open, heals it, and opens it anew.
    pub fn reopen_now(&self) -> Result<u64, String> {
        let mut guard = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        *guard = None;
        self.careful.heal().map_err(|why| why.to_string())?;
        let base = open::database(self.careful.clone())?;
        let commits = base.with(|database| Ok(View::new(database.begin_read()?)?.meta.commits))?;
        let commits = commits.map_err(|fault: Fault| fault.to_string())?;
        *guard = Some(base);
        Ok(commits)
    }
}

/// Why a batch is more than the store takes.
fn too_large(batch: &Batch) -> Option<String> {
    let records = batch.entries.iter().map(|entry| (entry.kind.as_str(), entry.body.len()));
    let values = batch.puts.iter().map(|(key, value)| (key.as_str(), value.as_ref().map_or(0, String::len)));
    let (name, len) = records.chain(values).find(|(_, len)| *len > RECORD_BYTES_MAX)?;
    Some(format!("`{name}` has {len} bytes; at most {RECORD_BYTES_MAX} are stored"))
}
