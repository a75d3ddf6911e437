//! The directory of one zone's keys.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use ring::rand::SystemRandom;

use super::{files, pem};
use crate::base::Timestamp;
use crate::config::Dnssec;
use crate::io::Clock;
use crate::sign::{
    Algorithm, Flags, KeyRecord, KeyRing, KeyState, Layout, Pkcs8, Role, SigningKey, ZoneKeys,
};
use crate::wire::Name;

const RING: &str = "keys.json";
const KEY_ENDING: &str = "pem";
const LOCK: &str = "lock";
/// Whoever holds the lock writes a few small files; longer than this, something is wrong.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Tags are drawn from 65 536, and a zone has a handful of keys.
const DRAWS_MAX: usize = 64;

/// The directory of one zone's keys, locked: nobody else changes it meanwhile.
#[derive(Debug)]
pub struct KeyDirectory {
    path: PathBuf,
    _lock: File,
}

impl KeyDirectory {
    /// Locks a directory, and makes it if it is not there.
    ///
    /// # Errors
    /// A sentence with the cure: it cannot be made, others may write to it, or somebody else holds it.
    pub fn lock(path: &Path) -> Result<Self, String> {
        files::make_directory(path)?;
        files::check_directory(path)?;
        let lock = files::lock_file(&path.join(LOCK))?;
        let late = Clock.mono() + LOCK_WAIT;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path: path.to_owned(), _lock: lock }),
                Err(TryLockError::WouldBlock) if Clock.mono() < late => sleep(Duration::from_millis(10)),
                Err(TryLockError::WouldBlock) => {
                    return Err(format!("another process keeps changing the keys in {}", path.display()));
                }
                Err(TryLockError::Error(why)) => {
                    return Err(format!("cannot lock {}: {why}", path.display()));
                }
            }
        }
    }

    /// The state of the keys in a directory, as it stands; none if there never were any.
    ///
    /// # Errors
    /// It cannot be read, is not what it should be, or is gone while keys are there.
    pub fn peek(path: &Path) -> Result<Option<KeyRing>, String> {
        if !path.exists() {
            return Ok(None);
        }
        files::check_directory(path)?;
        match (read_ring(path)?, any_key_file(path)?) {
            (Some(ring), _) => Ok(Some(ring)),
            (None, None) => Ok(None),
            // Keys made beside these would sign a zone whose parent points at one of these.
            (None, Some(key)) => Err(format!(
                "{} is there, but {RING} beside it is gone, which says what that key is for: put {RING} back \
                 from a copy; or, if no parent has ever pointed at the zone's keys, move them out of {}",
                key.display(),
                path.display()
            )),
        }
    }

    /// The state of the keys.
    ///
    /// # Errors
    /// As for [`KeyDirectory::peek`].
    pub fn ring(&self) -> Result<KeyRing, String> {
        Ok(Self::peek(&self.path)?.unwrap_or_default())
    }

    /// Writes the state of the keys, and deletes the files of keys that it has forgotten.
    ///
    /// # Errors
    /// It cannot be written; then what was written before stays.
    pub fn save(&self, ring: &KeyRing) -> Result<(), String> {
        let before = read_ring(&self.path)?.unwrap_or_default();
        let mut text = serde_json::to_vec_pretty(ring).expect("states are texts and numbers");
        text.push(b'\n');
        files::write(&self.path.join(RING), &text)?;
        for gone in before.keys.iter().filter(|key| ring.keys.iter().all(|kept| kept.tag != key.tag)) {
            let file = key_file(&self.path, gone.algorithm, gone.tag);
            std::fs::remove_file(&file).map_err(|why| format!("cannot delete {}: {why}", file.display()))?;
        }
        Ok(())
    }

    /// Makes a key for a ring, and writes its private half. It is the zone's once the ring is saved.
    ///
    /// # Errors
    /// It cannot be written, or there is nothing random.
    pub fn generate(
        &self,
        ring: &mut KeyRing,
        algorithm: Algorithm,
        role: Role,
        now: Timestamp,
    ) -> Result<u16, String> {
        // A key file without any ring looks like a ring that was lost; whoever is killed between
        // the two must not leave that behind.
        if read_ring(&self.path)?.is_none() {
            self.save(&KeyRing::new())?;
        }
        for _ in 0..DRAWS_MAX {
            let (key, document) = SigningKey::generate(algorithm, role.flags(), &SystemRandom::new())
                .map_err(|why| why.to_string())?;
            // Two keys with one tag make validators try both, and people err.
            if ring.keys.iter().all(|other| other.tag != key.tag()) {
                self.take_in(ring, &document, KeyRecord::new(key.tag(), algorithm, role, now))?;
                return Ok(key.tag());
            }
        }
        Err("no key with a tag of its own was found; is there randomness?".to_owned())
    }

    fn take_in(&self, ring: &mut KeyRing, document: &Pkcs8, record: KeyRecord) -> Result<(), String> {
        let file = key_file(&self.path, record.algorithm, record.tag);
        files::write(&file, pem::write(document).as_bytes())?;
        ring.keys.push(record);
        Ok(())
    }

    /// Takes in a key of BIND or ldns, named by its `.private` or `.key` file, or by both without
    /// an ending. It counts as in use: the parent points at it, and caches know it.
    ///
    /// # Errors
    /// It is none that can sign here, or is here already.
    pub fn import(
        &self,
        ring: &mut KeyRing,
        layout: Layout,
        file: &Path,
        now: Timestamp,
    ) -> Result<KeyRecord, String> {
        let text = file.to_string_lossy();
        let stem = text.strip_suffix(".private").or_else(|| text.strip_suffix(".key")).unwrap_or(&text);
        let read = |ending: &str| {
            let path = format!("{stem}.{ending}");
            std::fs::read_to_string(&path).map_err(|why| format!("cannot read {path}: {why}"))
        };
        let foreign =
            pem::read_foreign(&read("private")?, &read("key")?).map_err(|why| format!("{stem}: {why}"))?;
        let role = match (foreign.flags, layout) {
            (Flags::Zone, _) => Role::Zsk,
            (Flags::SecureEntryPoint, Layout::Csk) => Role::Csk,
            (Flags::SecureEntryPoint, Layout::KskZsk) => Role::Ksk,
        };
        if !layout.roles().contains(&role) {
            return Err(format!("{stem} is a zone-signing key; write `keys: ksk_zsk` to have two keys"));
        }
        let key = SigningKey::from_pkcs8(foreign.algorithm, foreign.flags, foreign.key.reveal())
            .map_err(|why| format!("{stem}: {why}"))?;
        if ring.keys.iter().any(|other| other.tag == key.tag()) {
            return Err(format!("there is a key {} already", key.tag()));
        }
        // Two in use at once would be two that nobody ever rolls.
        let held = |other: &&KeyRecord| other.role == role && other.state().0 < KeyState::Retired;
        if let Some(other) = ring.keys.iter().find(held) {
            return Err(format!(
                "there is a {role} already, {}: keys are taken in before the zone has its own, into an empty directory",
                other.tag
            ));
        }
        let mut record = KeyRecord::new(key.tag(), key.algorithm(), role, now);
        record.life.published = Some(now);
        record.life.ready = Some(now);
        record.life.active = Some(now);
        record.pending = true;
        ring.in_force = false;
        self.take_in(ring, &foreign.key, record.clone())?;
        Ok(record)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads one private key.
///
/// # Errors
/// A sentence with the cure.
pub fn signing_key(directory: &Path, record: &KeyRecord) -> Result<SigningKey, String> {
    let file = key_file(directory, record.algorithm, record.tag);
    let text = files::read_secret(&file)?;
    let named = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let document = pem::read(&text).map_err(|why| named(&why))?;
    let key = SigningKey::from_pkcs8(record.algorithm, record.role.flags(), document.reveal());
    let key = key.map_err(|why| named(&why))?;
    match key.tag() == record.tag {
        true => Ok(key),
        false => Err(named(&format_args!("its tag is {}: another key than {RING} says", key.tag()))),
    }
}

/// What the signer takes, read from a directory.
///
/// # Errors
/// A sentence with the cure.
pub fn zone_keys(zone: &Name, dnssec: &Dnssec, ring: &KeyRing) -> Result<ZoneKeys, String> {
    let mut found = Vec::new();
    for record in ring.keys.iter().filter(|key| key.state().0.is_published()) {
        found.push(Arc::new(signing_key(&dnssec.directory, record)?));
    }
    let find = |record: &KeyRecord| found.iter().find(|key| key.tag() == record.tag).cloned();
    ring.zone_keys(zone, &dnssec.policy, find)
        .map_err(|why| format!("the keys in {} do not sign {zone}: {why}", dnssec.directory.display()))
}

fn read_ring(directory: &Path) -> Result<Option<KeyRing>, String> {
    let file = directory.join(RING);
    let Some(text) = files::read_open(&file)? else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).map_err(|why| format!("{}: {why}", file.display()))
}

fn any_key_file(directory: &Path) -> Result<Option<PathBuf>, String> {
    let failed = |why: std::io::Error| format!("cannot read {}: {why}", directory.display());
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == KEY_ENDING) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn key_file(directory: &Path, algorithm: Algorithm, tag: u16) -> PathBuf {
    directory.join(format!("{}-{tag:05}.{KEY_ENDING}", algorithm.number()))
}
