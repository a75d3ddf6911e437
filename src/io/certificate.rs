//! Who we are to those who connect: a certificate and its key, taken from files that change.
//!
//! Certificates are renewed every few weeks, by programs that know nothing of us. So the files
//! are looked at again and again; a pair that is sound replaces the one in use from the next
//! handshake on, and one that is not never does:
//!
//! ```text
//!            files changed, pair sound
//!   ┌────────────────────────────────────┐
//!   ▼                                    │
//! in use ── files changed, not sound ──► in use, and the fault told once
//! ```

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::tls::{Stamp, certificates, not_after, private_key, stamp};
use crate::base::Timestamp;
use crate::config::CertificateFiles;

/// Bits of a file's mode that let everybody read or write it.
const EVERYBODY: u32 = 0o006;

/// Where a certificate and its key are, both as PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PemFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl From<&CertificateFiles> for PemFiles {
    fn from(files: &CertificateFiles) -> Self {
        Self { certificate: files.certificate.clone(), key: files.key.clone() }
    }
}

/// A certificate and its key, read and found to belong together.
#[derive(Debug)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    ends: Timestamp,
}

/// Why a certificate and its key cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unusable {
    /// The file with the certificate is at fault: missing, unreadable, no PEM, no certificate.
    #[error("{0}")]
    Certificate(String),
    /// The file with the key is at fault, or it is the key of another certificate.
    #[error("{0}")]
    Key(String),
}

impl Identity {
    /// Reads both files.
    ///
    /// # Errors
    /// Which of the files is at fault, and why.
    pub fn read(files: &PemFiles) -> Result<Self, Unusable> {
        let chain = certificates(&files.certificate).map_err(Unusable::Certificate)?;
        let ends = chain.first().and_then(|own| not_after(own)).ok_or_else(|| {
            Unusable::Certificate(format!(
                "{}: does not say until when it is valid",
                files.certificate.display()
            ))
        })?;
        let key = private_key(&files.key).map_err(Unusable::Key)?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|why| match why {
            rustls::Error::InconsistentKeys(_) => Unusable::Key(format!(
                "{} is not the key of the certificate in {}",
                files.key.display(),
                files.certificate.display()
            )),
            // Of the key all that can be told is its kind; the chain was read before.
            rustls::Error::InvalidCertificate(why) => {
                Unusable::Certificate(format!("{}: {why}", files.certificate.display()))
            }
            why => Unusable::Key(format!("{}: {why}", files.key.display())),
        })?;
        Ok(Self { key: Arc::new(key), ends })
    }

    /// Until when it is valid.
    pub fn ends(&self) -> Timestamp {
        self.ends
    }
}

/// Whether everybody on the machine can read, or even write, a key; `false` if that cannot be told.
pub fn is_open_to_everybody(key: &Path) -> bool {
    std::fs::metadata(key).is_ok_and(|metadata| metadata.mode() & EVERYBODY != 0)
}

/// The certificate in use. Handshakes take it as it is at that moment.
pub struct Certificate {
    current: ArcSwap<Identity>,
    watched: Mutex<Watched>,
}

struct Watched {
    files: PemFiles,
    /// What the files were like when they were read last, for better or worse; none if one of
    /// them was not there.
    stamps: Option<[Stamp; 2]>,
}

impl Certificate {
    /// Takes a certificate into use.
    ///
    /// # Errors
    /// Which of the files is at fault, and why.
    pub fn open(files: PemFiles) -> Result<Arc<Self>, Unusable> {
        let stamps = stamps(&files);
        let current = ArcSwap::from_pointee(Identity::read(&files)?);
        Ok(Arc::new(Self { current, watched: Mutex::new(Watched { files, stamps }) }))
    }

    /// Looks whether the files have changed, and takes what is there now; tells until when that
    /// is valid. Blocks: call it where waiting for a file does no harm.
    ///
    /// # Errors
    /// What is there now cannot be used, told once for each change. What was in use stays.
    pub fn refresh(&self, now: Timestamp) -> Result<Option<Timestamp>, String> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at before reading: a change in between is a change at the next look.
        let stamps = stamps(&watched.files);
        if stamps == watched.stamps {
            return Ok(None);
        }
        watched.stamps = stamps;
        let new = Identity::read(&watched.files).map_err(|why| why.to_string())?;
        let in_use = self.ends();
        if new.ends <= now && in_use > now {
            let path = watched.files.certificate.display();
            return Err(format!("{path}: expired at {}; the one in use lasts until {in_use}", new.ends));
        }
        let ends = new.ends;
        self.current.store(Arc::new(new));
        Ok(Some(ends))
    }

    /// From now on watches other files; [`refresh`](Self::refresh) reads them.
    pub fn follow(&self, files: PemFiles) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.files != files {
            *watched = Watched { files, stamps: None };
        }
    }

    /// Until when the certificate in use is valid.
    pub fn ends(&self) -> Timestamp {
        self.current.load().ends
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // One name server, one certificate, whatever name the client knows it by.
        Some(Arc::clone(&self.current.load().key))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("ends", &self.ends()).finish_non_exhaustive()
    }
}

fn stamps(files: &PemFiles) -> Option<[Stamp; 2]> {
    Some([stamp(&files.certificate).ok()?, stamp(&files.key).ok()?])
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pointsman-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn files(&self) -> PemFiles {
            PemFiles { certificate: self.0.join("server.pem"), key: self.0.join("server.key") }
        }

        /// As certbot and cert-manager do: written elsewhere, then renamed.
        fn put(&self, name: &str, text: &str) {
            std::fs::write(self.0.join("new"), text).unwrap();
            std::fs::rename(self.0.join("new"), self.0.join(name)).unwrap();
        }

        fn put_pair(&self, until: i32) {
            let (certificate, key) = pair(until);
            self.put("server.pem", &certificate);
            self.put("server.key", &key);
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn pair(until: i32) -> (String, String) {
        let mut params = CertificateParams::new(vec!["ns1.example.com".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1999, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn year(year: i16) -> Timestamp {
        format!("{year}-01-01T00:00:00Z").parse().unwrap()
    }

    #[test]
    fn says_which_file_is_at_fault() {
        let directory = Directory::new("identity");
        let read = || Identity::read(&directory.files()).map(|identity| identity.ends());
        assert!(matches!(read(), Err(Unusable::Certificate(why)) if why.contains("server.pem")));
        directory.put_pair(2031);
        assert_eq!(read(), Ok(year(2031)));
        directory.put("server.key", &pair(2031).1);
        assert!(matches!(read(), Err(Unusable::Key(why)) if why.contains("is not the key of")));
        directory.put("server.key", "rubbish");
        assert!(matches!(read(), Err(Unusable::Key(why)) if why.contains("server.key")));
        directory.put("server.pem", &pair(2031).1);
        assert!(matches!(read(), Err(Unusable::Certificate(why)) if why.contains("no certificate")));
    }

    #[test]
    fn only_a_sound_pair_replaces_the_one_in_use() {
        let (directory, now) = (Directory::new("certificate"), year(2026));
        directory.put_pair(2031);
        let certificate = Certificate::open(directory.files()).unwrap();
        assert_eq!(certificate.refresh(now), Ok(None));

        // Renewed, one file after the other: between the two they do not fit.
        let (chain, key) = pair(2032);
        directory.put("server.pem", &chain);
        assert!(certificate.refresh(now).unwrap_err().contains("is not the key of"));
        assert_eq!(certificate.refresh(now), Ok(None), "a fault is told once");
        assert_eq!(certificate.ends(), year(2031));
        directory.put("server.key", &key);
        assert_eq!(certificate.refresh(now), Ok(Some(year(2032))));

        directory.put_pair(2020);
        assert!(certificate.refresh(now).unwrap_err().contains("expired at 2020"));
        std::fs::remove_file(directory.files().key).unwrap();
        assert!(certificate.refresh(now).unwrap_err().contains("server.key"));
        assert_eq!(certificate.ends(), year(2032));

        // An expired one gives way to any other.
        directory.put_pair(2025);
        assert_eq!(certificate.refresh(year(2040)), Ok(Some(year(2025))));
    }

    #[test]
    fn follows_other_files() {
        let (before, after) = (Directory::new("before"), Directory::new("after"));
        before.put_pair(2031);
        after.put_pair(2033);
        let certificate = Certificate::open(before.files()).unwrap();
        certificate.follow(after.files());
        assert_eq!(certificate.refresh(year(2026)), Ok(Some(year(2033))));
    }

    #[test]
    fn sees_keys_that_everybody_can_read() {
        use std::os::unix::fs::PermissionsExt;
        let directory = Directory::new("mode");
        directory.put_pair(2031);
        let key = directory.files().key;
        for (mode, open) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true)] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_open_to_everybody(&key), open, "{mode:o}");
        }
    }
}
