//! Reading: beside the daemon that owns the store, or while there is none.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::ReadableDatabase;

use super::StoreError;
use super::batch::{Record, Replayed};
use super::file::{self, Disk, Lock};
use super::open::{self, Base};
use super::overlay::Overlay;
use super::tables::{Fault, View};

/// What a reader reads from. Empty while the writer opens it anew after a failure.
pub(super) type Shared = Arc<RwLock<Option<Base>>>;

/// Reads the store. Clones read the same one.
#[derive(Clone)]
pub struct Reader {
    pub(super) shared: Shared,
    pub(super) path: PathBuf,
    /// Keeps a daemon out while this looks at a store that has none.
    pub(super) _lock: Option<Arc<Lock>>,
}

/// Where the journal begins and ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Of the process that owns the store, or owned it last.
    pub epoch: u64,
    /// The index of the next record.
    pub next: u64,
    /// Records below this index are pruned, apart from those that are needed at a restart.
    pub pruned: u64,
}

/// A journal that was checked from end to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified {
    /// How many records it holds.
    pub records: u64,
    /// Where it begins and ends.
    pub head: Head,
}

impl Reader {
    /// Reads a store that no daemon owns at present, and changes nothing about it: also one
    /// whose daemon was killed, which the database would first repair.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::InUse`] (ask the daemon instead), or why it
    /// cannot be read.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let (disk, lock) = Disk::look(directory)?;
        let path = file::path(directory);
        let unreadable = |why: String| StoreError::Unreadable { file: path.clone(), why };
        let overlay =
            Overlay::new(disk).map_err(|why| StoreError::Io { doing: "read", file: path.clone(), why })?;
        if redb::StorageBackend::len(&overlay).unwrap_or_default() == 0 {
            return Err(unreadable("it is empty".to_owned()));
        }
        let database = open::database(overlay).map_err(&unreadable)?;
        Ok(Self { shared: Arc::new(RwLock::new(Some(database))), path, _lock: lock.map(Arc::new) })
    }

    /// Where the journal begins and ends.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn head(&self) -> Result<Head, StoreError> {
        self.view(|view| Ok(head(view)))
    }

    /// At most so many records from an index on; those that are pruned are left out.
    ///
    /// # Errors
    /// The first record that is broken, or why it cannot be read.
    pub fn records(&self, from: u64, most: usize) -> Result<Vec<Record>, StoreError> {
        self.view(|view| view.records(from, most))
    }

    /// What is read back at a restart: the records of open threads, and the last ones of
    /// closed threads.
    ///
    /// # Errors
    /// The first record that is broken, or why it cannot be read.
    pub fn replay(&self) -> Result<Vec<Replayed>, StoreError> {
        self.view(|view| view.replay())
    }

    /// The keys of the state and their values, as JSON.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn state(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.view(|view| view.state())
    }

    /// Checks every record and every link of the chain.
    ///
    /// # Errors
    /// The first record that is broken, or why it cannot be read.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        self.view(|view| Ok(Verified { records: view.verify()?, head: head(view) }))
    }

    fn view<T>(&self, read: impl FnOnce(&View) -> Result<T, Fault>) -> Result<T, StoreError> {
        let guard = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        let Some(base) = guard.as_ref() else {
            return Err(self.unreadable("it is being opened anew after a failure".to_owned()));
        };
        let outcome = base.with(|database| {
            let view = View::new(database.begin_read()?)?;
            read(&view)
        });
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(fault)) => Err(self.error(fault)),
            Err(why) => Err(self.unreadable(why)),
        }
    }

    pub(super) fn error(&self, fault: Fault) -> StoreError {
        match fault {
            Fault::Broken { index, why } => StoreError::Broken { file: self.path.clone(), index, why },
            fault => self.unreadable(fault.to_string()),
        }
    }

    fn unreadable(&self, why: String) -> StoreError {
        StoreError::Unreadable { file: self.path.clone(), why }
    }
}

fn head(view: &View) -> Head {
    Head { epoch: view.meta.epoch, next: view.meta.next, pruned: view.meta.pruned }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}
