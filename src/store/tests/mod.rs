//! The store as a whole, on a real file, on a medium that fails, and against a process that
//! is killed.

mod damage;
mod faults;
mod killed;
mod plain;
mod platter;
mod replay;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{Batch, Event, Opened, Store, StoreError, Ticket};
use crate::base::Timestamp;
use crate::workflow::Thread;

/// A directory that goes away with the test.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pointsman-store-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl std::ops::Deref for Scratch {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A store, and what it tells.
pub(super) struct Owner {
    pub store: Store,
    pub events: Receiver<Event>,
    pub replay: Vec<super::Replayed>,
    pub state: Vec<(String, String)>,
}

impl Owner {
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::on(|tell| Store::open(directory, tell))
    }

    pub fn on(
        open: impl FnOnce(Box<dyn FnMut(Event) + Send>) -> Result<Opened, StoreError>,
    ) -> Result<Self, StoreError> {
        let (sender, events) = channel();
        let Opened { store, replay, state } = open(Box::new(move |event| drop(sender.send(event))))?;
        Ok(Self { store, events, replay, state })
    }

    /// Hands a batch in and waits for its answer.
    pub fn append(&mut self, batch: Batch) -> Result<u64, String> {
        let ticket = self.store.append(batch).unwrap();
        self.answer(ticket)
    }

    pub fn answer(&mut self, ticket: Ticket) -> Result<u64, String> {
        loop {
            match self.events.recv_timeout(Duration::from_secs(20)).expect("every batch is answered") {
                Event::Stored { ticket: of, first } if of == ticket => return Ok(first),
                Event::Failed { ticket: of, why } if of == ticket => return Err(why),
                Event::Trouble { .. } | Event::Recovered => {}
                other => panic!("{other:?} while waiting for {ticket:?}"),
            }
        }
    }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

/// A batch of so many records that tell their number.
pub(super) fn numbered(first: u64, count: u64) -> Batch {
    let mut batch = Batch::default();
    for number in first..first + count {
        batch.record(at(number as i64), "test", &number);
    }
    batch.put("last", &(first + count - 1));
    batch
}

pub(super) fn threaded(body: &str, threads: &[Thread]) -> Batch {
    let mut batch = Batch::default();
    batch.record(at(0), "test", &body);
    batch.entries[0].threads = threads.to_vec();
    batch
}
