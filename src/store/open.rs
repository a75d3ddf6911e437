//! Opening, and the handle that the owner keeps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::JoinHandle;

use redb::{Database, StorageBackend};

use super::StoreError;
use super::batch::{Batch, Replayed};
use super::careful::Careful;
use super::file::{self, Disk, Lock};
use super::reader::Reader;
use super::tables::{Fault, RECORDS_MAX, Tables};
use super::writer::{Job, Writer};

/// Batches that may wait to be written.
const QUEUE_MAX: usize = 4096;
/// How often to try to open the file, at once.
const OPEN_TRIES: u32 = 3;
/// Memory for pages. The journal is written at its end and hardly ever read.
const CACHE_BYTES: usize = 32 << 20;

/// Names a batch that was handed in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What the writer tells its owner, from a thread of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A batch is durable.
    Stored {
        /// Which.
        ticket: Ticket,
        /// The index of its first record; the others follow without gaps.
        first: u64,
    },
    /// Nothing of a batch is durable, nor will be. Everything that is handed in before
    /// [`Store::resume`] fails as well, so that no batch gets ahead of an earlier one. On
    /// damaged pages everything fails from then on, until another process opens the store.
    Failed {
        /// Which.
        ticket: Ticket,
        /// Why.
        why: String,
    },
    /// The file cannot even be opened anew to find out what became of a batch. The writer
    /// keeps trying; until then there is no answer.
    Trouble {
        /// Why.
        why: String,
    },
    /// The trouble is over.
    Recovered,
}

/// A store that was opened for writing, with what it remembers.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Records of open threads, and the last ones of closed threads, in order.
    pub replay: Vec<Replayed>,
    /// The keys of the state and their values, as JSON.
    pub state: Vec<(String, String)>,
}

/// The store, owned by this process alone. Dropping it writes what was handed in, then closes.
#[derive(Debug)]
pub struct Store {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    closing: Arc<AtomicBool>,
    reader: Reader,
    epoch: u64,
    tickets: u64,
    /// Given back last of all.
    _lock: Option<Lock>,
}

impl Store {
    /// Opens a directory's store for writing, makes it if there is none, and takes a new
    /// epoch, which is durable when this returns. `tell` is called from the writer's thread
    /// and must not block.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it; else why it cannot be used. The daemon
    /// can answer DNS without it.
    pub fn open(directory: &Path, tell: impl FnMut(Event) + Send + 'static) -> Result<Opened, StoreError> {
        let path = file::path(directory);
        let (disk, lock) = Disk::own(directory, |disk| make(disk, &path))?;
        Self::open_on(disk, Some(lock), &path, RECORDS_MAX, Box::new(tell))
    }

    pub(super) fn open_on(
        medium: impl StorageBackend,
        lock: Option<Lock>,
        path: &Path,
        records_max: u64,
        tell: Box<dyn FnMut(Event) + Send>,
    ) -> Result<Opened, StoreError> {
        let unreadable = |why: String| StoreError::Unreadable { file: path.to_owned(), why };
        // The database would take it for a new one, and we for one that remembers nothing.
        if medium.len().is_ok_and(|len| len == 0) {
            return Err(unreadable("it is empty".to_owned()));
        }
        let reader = Reader { shared: Arc::default(), path: path.to_owned(), _lock: None };
        let closing = Arc::new(AtomicBool::new(false));
        let mut writer =
            Writer::new(reader.shared.clone(), Careful::new(medium), records_max, tell, closing.clone());
        let mut tries = 0;
        let epoch = loop {
            tries += 1;
            match writer.reopen_now().and_then(|_| writer.take_epoch()) {
                Ok(Ok(epoch)) => break epoch,
                // A disk that stumbles once need not cost a restart; and what it has not kept
                // of ours is written again only while this process remembers it.
                _ if tries < OPEN_TRIES => {}
                Ok(Err(fault)) => return Err(reader.error(fault)),
                Err(why) => return Err(unreadable(why)),
            }
        };
        let (replay, state) = (reader.replay()?, reader.state()?);
        let (jobs, queue) = mpsc::sync_channel(QUEUE_MAX);
        let thread =
            std::thread::Builder::new()
                .name("store".to_owned())
                .spawn(move || writer.run(&queue))
                .map_err(|why| StoreError::Io { doing: "start a thread for", file: path.to_owned(), why })?;
        let store =
            Self { jobs: Some(jobs), thread: Some(thread), closing, reader, epoch, tickets: 0, _lock: lock };
        Ok(Opened { store, replay, state })
    }

    /// Hands in a batch. Its answer comes as an [`Event`] with this ticket. An empty one tries
    /// whether the store can be written to.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Closed`]: it was not taken.
    pub fn append(&mut self, batch: Batch) -> Result<Ticket, StoreError> {
        let ticket = Ticket(self.tickets + 1);
        self.send(Job::Batch(ticket, batch))?;
        self.tickets += 1;
        Ok(ticket)
    }

    /// Lets batches in again after one has failed.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Closed`].
    pub fn resume(&mut self) -> Result<(), StoreError> {
        self.send(Job::Resume)
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Full(QUEUE_MAX),
            TrySendError::Disconnected(_) => StoreError::Closed,
        })
    }

    /// The epoch of this process: higher than that of any before it.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// For reading beside it.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The writer ends when the queue does.
        self.jobs = None;
        self.closing.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Fills a new file.
pub(super) fn make(medium: impl StorageBackend, path: &Path) -> Result<(), StoreError> {
    let fill = |database: &Database| -> Result<(), Fault> {
        let transaction = database.begin_write()?;
        Tables::make(&transaction)?;
        Ok(transaction.commit()?)
    };
    let made = database(medium).and_then(|base| base.with(fill)?.map_err(|fault| fault.to_string()));
    made.map_err(|why| StoreError::Unreadable { file: path.to_owned(), why })
}

/// A database that survives what it does not expect.
///
/// Pages that were damaged on disk can make redb panic where it walks them. The daemon must
/// answer DNS all the same, so panics end here. After one the database is not even closed:
/// closing walks pages as well, and may wait for what the panic has left behind.
pub(super) struct Base {
    database: Option<Database>,
    panicked: AtomicBool,
}

impl Base {
    /// Works on the database.
    pub fn with<T>(&self, work: impl FnOnce(&Database) -> T) -> Result<T, String> {
        let database = self.database.as_ref().filter(|_| !self.panicked());
        let Some(database) = database else { return Err(DAMAGED.to_owned()) };
        guarded(|| work(database)).inspect_err(|_| self.panicked.store(true, Ordering::Release))
    }

    /// Whether it can still be used.
    pub fn panicked(&self) -> bool {
        self.panicked.load(Ordering::Acquire)
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let database = self.database.take();
        if self.panicked() {
            std::mem::forget(database);
        } else {
            let _ = guarded(|| drop(database));
        }
    }
}

/// Opens the database on a file, or says why not.
pub(super) fn database(backend: impl StorageBackend) -> Result<Base, String> {
    let opened = guarded(|| {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        builder.create_with_backend(backend)
    })?;
    let database = opened.map_err(|why| why.to_string())?;
    Ok(Base { database: Some(database), panicked: AtomicBool::new(false) })
}

const DAMAGED: &str = "its pages are damaged";

fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|_| DAMAGED.to_owned())
}
