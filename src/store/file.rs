//! The file itself: one owner at a time, and plain positioned reads and writes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::StorageBackend;

use super::StoreError;

/// The store's file in its directory.
const NAME: &str = "pointsman.redb";
/// A store that is being made, until it is whole.
const NEW: &str = "pointsman.redb.new";
/// A lock that another process has is asked for so often …
const LOCK_TRIES: u32 = 20;
/// … and so long apart.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Whoever has this file locked owns the store; in it stands who that is.
const LOCK: &str = "pointsman.lock";
/// The journal tells who did what and why: nobody else's business.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o750;
/// Of a note that somebody else may have written.
const HOLDER_MAX: u64 = 200;

/// Where a directory's store is.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

/// The right to the store. The kernel takes it back with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held, not used")] File);

/// The file, open.
#[derive(Debug)]
pub(super) struct Disk(File);

impl Disk {
    /// Opens the store's file for writing. If there is none, `make` fills a new one, which
    /// takes its name only when it is whole.
    pub fn own(
        directory: &Path,
        make: impl FnOnce(Self) -> Result<(), StoreError>,
    ) -> Result<(Self, Lock), StoreError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)
            .map_err(io("make the directory", directory))?;
        let lock_path = directory.join(LOCK);
        let mut lock = writable(&lock_path)?;
        own(&lock, patiently(|| lock.try_lock()), directory)?;
        // Only a hint for people, so it is no reason to fail.
        let _ = lock.set_len(0).and_then(|()| write!(lock, "process {}", std::process::id()));
        let path = path(directory);
        if !path.try_exists().map_err(io("look for", &path))? {
            let new = directory.join(NEW);
            match std::fs::remove_file(&new) {
                Err(why) if why.kind() != ErrorKind::NotFound => return Err(io("remove", &new)(why)),
                _ => {}
            }
            make(Self(writable(&new)?))?;
            std::fs::rename(&new, &path).map_err(io("rename", &new))?;
            // The name must survive as well.
            File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(io("sync", directory))?;
        }
        Ok((Self(writable(&path)?), Lock(lock)))
    }

    /// Opens the store's file for reading, while no daemon owns it.
    pub fn look(directory: &Path) -> Result<(Self, Option<Lock>), StoreError> {
        let path = path(directory);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(why) if why.kind() == ErrorKind::NotFound => return Err(StoreError::Missing(path)),
            Err(why) => return Err(io("open", &path)(why)),
        };
        // A copy that was put aside has no lock, and needs none.
        let lock = File::open(directory.join(LOCK)).ok();
        if let Some(lock) = &lock {
            own(lock, patiently(|| lock.try_lock_shared()), directory)?;
        }
        Ok((Self(file), lock.map(Lock)))
    }
}

fn io(doing: &'static str, file: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let file = file.to_owned();
    move |why| StoreError::Io { doing, file, why }
}

fn writable(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    options.open(path).map_err(io("open", path))
}

/// Tries for a moment. A lock that was given back can still be held, for as long as it takes a
/// program that this process has just started to become another one: until then it has a copy of
/// every open file.
fn patiently(mut lock: impl FnMut() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    for _ in 1..LOCK_TRIES {
        match lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            locked => return locked,
        }
    }
    lock()
}

fn own(lock: &File, locked: Result<(), TryLockError>, directory: &Path) -> Result<(), StoreError> {
    let file = path(directory);
    locked.map_err(|why| match why {
        TryLockError::WouldBlock => {
            let mut note = String::new();
            let read = (&*lock).take(HOLDER_MAX).read_to_string(&mut note);
            let holder = read.is_ok().then(|| note.trim().to_owned()).filter(|note| !note.is_empty());
            StoreError::InUse { file, holder }
        }
        TryLockError::Error(why) => StoreError::Io { doing: "lock", file, why },
    })
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
