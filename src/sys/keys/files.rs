//! Files that hold secrets: read only if nobody else can, written whole or not at all.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::Path;

/// A key or the state of keys is never near this size.
const OCTETS_MAX: u64 = 1024 * 1024;
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Makes a directory that only its owner may enter, and says who that is: the owner of the
/// directory around it, if root makes it.
pub(super) fn make_directory(path: &Path) -> Result<(), String> {
    if path.is_dir() {
        return Ok(());
    }
    // The nearest directory there is tells whose this is. A relative path ends in the empty one.
    let there = |above: &&Path| above.is_dir() || above.as_os_str().is_empty();
    let around = path.ancestors().find(there).filter(|around| !around.as_os_str().is_empty());
    let around = around.unwrap_or(Path::new("."));
    let failed = |why: std::io::Error| format!("cannot make {}: {why}", path.display());
    let made: Vec<_> = path.ancestors().take_while(|above| !there(above)).collect();
    for directory in made.into_iter().rev() {
        match std::fs::DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
            Err(why) if why.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(why)),
            _ => {}
        }
        let directory = File::open(directory).map_err(failed)?;
        give_to_owner_of(around, &directory)?;
    }
    Ok(())
}

/// Refuses a directory in which others could replace keys.
pub(super) fn check_directory(path: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
    if !metadata.is_dir() {
        return Err(format!("{} is not a directory", path.display()));
    }
    if metadata.mode() & 0o022 != 0 {
        let (path, mode) = (path.display(), metadata.mode() & 0o777);
        return Err(format!("others may write to {path} (mode {mode:04o}); run: chmod go-rwx {path}"));
    }
    Ok(())
}

/// Reads a secret, if nobody but its owner can, and its owner is us or owns the directory.
pub(super) fn read_secret(path: &Path) -> Result<Vec<u8>, String> {
    let (file, metadata) = open(path)?;
    if metadata.mode() & 0o077 != 0 {
        let (path, mode) = (path.display(), metadata.mode() & 0o777);
        return Err(format!("others may read the key {path} (mode {mode:04o}); run: chmod 600 {path}"));
    }
    let us = rustix::process::geteuid().as_raw();
    let host = path.parent().and_then(|home| std::fs::metadata(home).ok()).map(|home| home.uid());
    let owner = metadata.uid();
    if owner != us && !(us == 0 && Some(owner) == host) {
        let expected = if us == 0 { host.unwrap_or(us) } else { us };
        let path = path.display();
        return Err(format!("the key {path} belongs to user {owner}; run: chown {expected} {path}"));
    }
    read_all(file, path)
}

/// Reads a file that is no secret; none if there is none.
pub(super) fn read_open(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match path.try_exists() {
        Ok(false) => Ok(None),
        _ => open(path).and_then(|(file, _)| read_all(file, path)).map(Some),
    }
}

fn open(path: &Path) -> Result<(File, std::fs::Metadata), String> {
    let failed = |why: std::io::Error| format!("cannot read {}: {why}", path.display());
    // Opening a FIFO would wait for somebody to write to it.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    Ok((file, metadata))
}

fn read_all(file: File, path: &Path) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let read = file.take(OCTETS_MAX + 1).read_to_end(&mut octets);
    read.map_err(|why| format!("cannot read {}: {why}", path.display()))?;
    if octets.len() as u64 > OCTETS_MAX {
        return Err(format!("{} is larger than {OCTETS_MAX} octets", path.display()));
    }
    Ok(octets)
}

/// Writes a file for its owner alone: whole and on the disk, or not at all.
pub(super) fn write(path: &Path, octets: &[u8]) -> Result<(), String> {
    let failed = |why: std::io::Error| format!("cannot write {}: {why}", path.display());
    let (home, name) = match (path.parent(), path.file_name()) {
        (Some(home), Some(name)) => (home, name),
        _ => return Err(format!("{} is not a file's name", path.display())),
    };
    let mut beside = name.to_owned();
    beside.push(".new");
    let beside = home.join(beside);
    let _ = std::fs::remove_file(&beside);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&beside).map_err(failed)?;
    // The umask may have taken more than it should.
    file.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(failed)?;
    give_to_owner_of(home, &file)?;
    file.write_all(octets).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)?;
    // The name itself is on the disk only with its directory.
    File::open(home).and_then(|home| home.sync_all()).map_err(failed)
}

/// A file for the lock; it holds nothing.
pub(super) fn lock_file(path: &Path) -> Result<File, String> {
    let failed = |why: std::io::Error| format!("cannot open {}: {why}", path.display());
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path);
    let file = file.map_err(failed)?;
    if let Some(home) = path.parent() {
        give_to_owner_of(home, &file)?;
    }
    Ok(file)
}

/// What root makes belongs to whoever owns the directory: the daemon's user.
fn give_to_owner_of(directory: &Path, file: &File) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let failed =
        |why: std::io::Error| format!("cannot give a file in {} to its owner: {why}", directory.display());
    let owner = std::fs::metadata(directory).map_err(failed)?;
    fchown(file, Some(owner.uid()), Some(owner.gid())).map_err(failed)
}
