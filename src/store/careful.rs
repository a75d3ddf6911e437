//! After a sync has failed, the file cannot be believed.
//!
//! When writeback fails, Linux reports it once, marks the pages clean and forgets it: they
//! still read as they were written, the next sync succeeds, and what they held is gone with
//! the next power cut (PostgreSQL learned it in 2018, "fsyncgate"; its answer is to crash and
//! write everything again from its log). Ours: everything written since the last sync that
//! succeeded is kept in memory, and written once more before the file is used again.
//!
//! A write that fails is another matter: the database gives its transaction up, so whatever
//! of it reached the file is of no interest.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;

/// A file with its unsynced writes. Clones share both.
#[derive(Clone, Debug)]
pub(super) struct Careful {
    inner: Arc<dyn StorageBackend>,
    unsynced: Arc<Mutex<Unsynced>>,
}

#[derive(Debug, Default)]
struct Unsynced {
    changes: Vec<Change>,
    /// A sync has failed since the last one that succeeded.
    suspect: bool,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl Careful {
    pub fn new(inner: impl StorageBackend) -> Self {
        Self { inner: Arc::new(inner), unsynced: Arc::default() }
    }

    /// Makes the file worth believing again, if a sync has failed.
    pub fn heal(&self) -> io::Result<()> {
        let mut unsynced = self.lock();
        if !unsynced.suspect {
            return Ok(());
        }
        for change in &unsynced.changes {
            match change {
                Change::Write(offset, data) => self.inner.write(*offset, data)?,
                Change::SetLen(len) => self.inner.set_len(*len)?,
            }
        }
        self.inner.sync_data()?;
        *unsynced = Unsynced::default();
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Unsynced> {
        // A list of changes is whole at any time, whoever panicked.
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for Careful {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)?;
        self.lock().changes.push(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut unsynced = self.lock();
        match self.inner.sync_data() {
            // Once one has failed, a success says nothing about what was written before it.
            Ok(()) if !unsynced.suspect => {
                unsynced.changes.clear();
                Ok(())
            }
            Ok(()) => Err(io::Error::other("an earlier sync has failed")),
            Err(why) => {
                unsynced.suspect = true;
                Err(why)
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)?;
        self.lock().changes.push(Change::Write(offset, data.to_vec()));
        Ok(())
    }
}
