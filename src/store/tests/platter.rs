//! A medium that keeps what was synced, shows what was written, and fails when told to.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// No space for this write, or for this growth.
    Enospc,
    /// Half of this write is made, then it fails.
    Short,
    /// This sync fails. What it should have kept is forgotten, and still reads as written.
    Sync,
    /// The machine stops here.
    Crash,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Debug, Default)]
struct Inner {
    durable: Vec<u8>,
    shown: Vec<u8>,
    dirty: Vec<Change>,
    operations: u64,
    faults: Vec<(u64, Fault)>,
    /// Every write fails until this is taken back.
    full: bool,
    stopped: bool,
}

/// Clones are the same medium.
#[derive(Clone, Debug, Default)]
pub(super) struct Platter(Arc<Mutex<Inner>>);

impl Platter {
    /// With an empty store on it, and these faults from the next operation on.
    pub fn with(faults: &[(u64, Fault)]) -> Self {
        let platter = Self::default();
        super::super::open::make(platter.clone(), std::path::Path::new("platter")).unwrap();
        let mut inner = platter.lock();
        (inner.operations, inner.faults) = (0, faults.to_vec());
        drop(inner);
        platter
    }

    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// The power is cut and comes back: what was synced is there; of the rest, any part may be,
    /// in any order, and the last of it torn.
    pub fn reboot(&self, rng: &mut fastrand::Rng) -> Self {
        let inner = self.lock();
        let mut durable = inner.durable.clone();
        let mut dirty = inner.dirty.clone();
        rng.shuffle(&mut dirty);
        for change in dirty {
            match change {
                Change::Write(offset, data) if rng.bool() => {
                    let cut = if rng.u8(..8) == 0 { rng.usize(..=data.len()) } else { data.len() };
                    write(&mut durable, offset, &data[..cut]);
                }
                Change::SetLen(len) if rng.bool() && len as usize > durable.len() => {
                    durable.resize(len as usize, 0);
                }
                _ => {}
            }
        }
        let shown = durable.clone();
        Self(Arc::new(Mutex::new(Inner { durable, shown, ..Inner::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let end = offset as usize + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset as usize..end].copy_from_slice(data);
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, data) => write(bytes, *offset, data),
        Change::SetLen(len) => bytes.resize(*len as usize, 0),
    }
}

impl Inner {
    /// Counts an operation that changes something; tells what goes wrong with it.
    fn fault(&mut self) -> io::Result<Option<Fault>> {
        if self.stopped {
            return Err(io::Error::other("the machine has stopped"));
        }
        let number = self.operations;
        self.operations += 1;
        let fault = self.faults.iter().find(|(at, _)| *at == number).map(|(_, fault)| *fault);
        if fault == Some(Fault::Crash) {
            self.stopped = true;
            return Err(io::Error::other("the machine has stopped"));
        }
        Ok(fault)
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.shown, &change);
        self.dirty.push(change);
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        let inner = self.lock();
        if inner.stopped {
            return Err(io::Error::other("the machine has stopped"));
        }
        Ok(inner.shown.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.lock();
        if inner.stopped {
            return Err(io::Error::other("the machine has stopped"));
        }
        let from = offset as usize;
        let bytes = inner.shown.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.lock();
        let fault = inner.fault()?;
        if inner.full || matches!(fault, Some(Fault::Enospc | Fault::Short)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.change(Change::SetLen(len));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        match inner.fault()? {
            _ if inner.full => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Enospc) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Short) => {
                inner.change(Change::Write(offset, data[..data.len() / 2].to_vec()));
                Err(io::ErrorKind::WriteZero.into())
            }
            _ => {
                inner.change(Change::Write(offset, data.to_vec()));
                Ok(())
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.lock();
        let fault = inner.fault()?;
        let dirty = std::mem::take(&mut inner.dirty);
        if matches!(fault, Some(Fault::Sync)) {
            // As Linux does: told once, and the pages are clean from then on.
            return Err(io::Error::other("writeback failed"));
        }
        for change in &dirty {
            apply(&mut inner.durable, change);
        }
        Ok(())
    }
}
