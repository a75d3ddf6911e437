//! Whom we trust, and who we are: TLS client configurations, kept until their files change.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use super::{Clock, Deadline, Failure};
use crate::base::{Mono, Timestamp};

/// Certificates in one PEM file.
const CERTIFICATES_MAX: usize = 2048;
/// Configurations kept at once. Each names files of the configuration, so there are few.
const KEPT_MAX: usize = 256;
/// For how long the system's roots are used before they are read again.
const SYSTEM_ROOTS_FRESH: Duration = Duration::from_secs(3600);

/// The files that say whom to trust and who we are.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct TrustFiles {
    /// CA certificates, as PEM; the system's roots if there is none.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, as PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TrustFiles {
    /// A CA file, or the system's roots.
    pub fn ca(ca: Option<&Path>) -> Self {
        Self { ca: ca.map(Path::to_owned), identity: None }
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca.iter().chain(identity).map(PathBuf::as_path)
    }
}

/// Whom we trust and who we are, read and ready.
#[derive(Debug)]
pub struct Trust {
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
}

impl Trust {
    /// For a TLS handshake.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Whether a chain of certificates that is valid now would still be at `moment`.
    ///
    /// # Errors
    /// It would not, or was not to begin with.
    pub fn valid_at(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        moment: Timestamp,
    ) -> Result<(), CertificateError> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(CertificateError::BadEncoding);
        };
        let since_epoch = Duration::from_secs(u64::try_from(moment.as_second()).unwrap_or(0));
        let moment = UnixTime::since_unix_epoch(since_epoch);
        match self.verifier.verify_server_cert(leaf, intermediates, name, &[], moment) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(why)) => Err(why),
            Err(_) => Err(CertificateError::BadEncoding),
        }
    }

    fn new(files: &TrustFiles) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let verifier = verifier(files.ca.as_deref(), &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| why.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier));
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|why| format!("{} does not fit {}: {why}", key.display(), certificate.display()))?,
        };
        // A resumed session shows no certificate: every check must see the one in use today.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), verifier })
    }
}

fn verifier(
    ca: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let Some(path) = ca else {
        return match rustls_platform_verifier::Verifier::new(Arc::clone(provider)) {
            Ok(system) => Ok(Arc::new(system)),
            Err(why) => Err(format!("the system's CA certificates: {why}")),
        };
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|why| format!("{}: {why}", path.display()))?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|why| format!("{}: {why}", path.display()))
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|why| fail(&why))? {
        found.push(certificate.map_err(|why| fail(&why))?);
        if found.len() > CERTIFICATES_MAX {
            return Err(fail(&format!("more than {CERTIFICATES_MAX} certificates")));
        }
    }
    match found.is_empty() {
        true => Err(fail(&"no certificate in it")),
        false => Ok(found),
    }
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    // The error of a PEM reader speaks of lines, never of what stands in them.
    PrivateKeyDer::from_pem_file(path).map_err(|why| format!("{}: {why}", path.display()))
}

/// What tells that a file has changed: modified at (seconds, nanoseconds), bytes, inode.
pub(super) type Stamp = (i64, i64, u64, u64);

#[derive(Debug)]
struct Kept {
    stamps: Vec<Stamp>,
    read_at: Mono,
    trust: Arc<Trust>,
}

/// Configurations by their files. Each use looks whether a file has changed, so that a rotated
/// certificate needs no restart.
#[derive(Clone, Default, Debug)]
pub(super) struct Trusts {
    kept: Arc<Mutex<HashMap<TrustFiles, Kept>>>,
}

impl Trusts {
    pub(super) async fn get(&self, files: &TrustFiles, deadline: Deadline) -> Result<Arc<Trust>, Failure> {
        // On a thread of its own: the files may lie on a mount that hangs.
        let (this, owned) = (self.clone(), files.clone());
        let fail = |why: &str| Failure::unmeasured(format!("cannot prepare TLS: {why}"));
        match deadline.bound(tokio::task::spawn_blocking(move || this.get_now(&owned))).await {
            Ok(Ok(trust)) => trust.map_err(|why| fail(&why)),
            Ok(Err(why)) => Err(fail(&why.to_string())),
            Err(_) => Err(fail("reading the certificates takes too long")),
        }
    }

    pub(super) fn get_now(&self, files: &TrustFiles) -> Result<Arc<Trust>, String> {
        let stamps = files.paths().map(stamp).collect::<Result<Vec<_>, _>>()?;
        let now = Clock.mono();
        if let Some(kept) = self.lock().get(files) {
            let fresh = files.ca.is_some() || now.since(kept.read_at) < SYSTEM_ROOTS_FRESH;
            if kept.stamps == stamps && fresh {
                return Ok(Arc::clone(&kept.trust));
            }
        }
        // Read without the lock: others need not wait for this one's files.
        let trust = Arc::new(Trust::new(files)?);
        let mut kept = self.lock();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(files.clone(), Kept { stamps, read_at: now, trust: Arc::clone(&trust) });
        Ok(trust)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TrustFiles, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn stamp(path: &Path) -> Result<Stamp, String> {
    let metadata = std::fs::metadata(path).map_err(|why| format!("{}: {why}", path.display()))?;
    if !metadata.is_file() {
        return Err(format!("{}: not a regular file", path.display()));
    }
    Ok((metadata.mtime(), metadata.mtime_nsec(), metadata.len(), metadata.ino()))
}

/// When a certificate ends (`notAfter`, RFC 5280 §4.1.2.5), read from its DER; `None` if it
/// makes no sense.
///
/// ```text
/// Certificate ::= SEQUENCE { tbsCertificate SEQUENCE {
///     version [0] OPTIONAL, serialNumber, signature, issuer, validity SEQUENCE { notBefore, notAfter }, …
/// ```
pub fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    let (tag, _, after) = element(rest)?;
    if tag == 0xa0 {
        rest = after;
    }
    for _serial_signature_issuer in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    let text = std::str::from_utf8(time).ok()?;
    let text = match tag {
        // UTCTime: two digits of the year, 50 to 99 are of the last century.
        0x17 if text.get(..2)? < "50" => format!("20{text}"),
        0x17 => format!("19{text}"),
        0x18 => text.to_owned(),
        _ => return None,
    };
    let digits = text.strip_suffix('Z').filter(|digits| digits.len() == 14)?;
    let parse = |range: std::ops::Range<usize>| digits.get(range)?.parse::<i8>().ok();
    let year = digits.get(..4)?.parse::<i16>().ok()?;
    jiff::civil::DateTime::new(
        year,
        parse(4..6)?,
        parse(6..8)?,
        parse(8..10)?,
        parse(10..12)?,
        parse(12..14)?,
        0,
    )
    .ok()?
    .to_zoned(jiff::tz::TimeZone::UTC)
    .ok()
    .map(|zoned| zoned.timestamp())
}

/// The first DER element: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certificate(not_after: (i32, u8, u8)) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1975, 1, 1);
        params.not_after = rcgen::date_time_ymd(not_after.0, not_after.1, not_after.2);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap(), key)
    }

    #[test]
    fn reads_the_end_of_certificates() {
        for (date, text) in [
            ((2031, 2, 3), "2031-02-03T00:00:00Z"),
            ((2049, 12, 31), "2049-12-31T00:00:00Z"),
            ((2050, 1, 1), "2050-01-01T00:00:00Z"), // from here on GeneralizedTime
            ((1999, 5, 6), "1999-05-06T00:00:00Z"),
        ] {
            let (made, _) = certificate(date);
            assert_eq!(not_after(made.der()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn rubbish_has_no_end_and_does_no_harm() {
        let (made, _) = certificate((2031, 2, 3));
        for cut in 0..made.der().len() {
            let _ = not_after(&made.der()[..cut]);
        }
        assert_eq!(not_after(&[]), None);
        assert_eq!(not_after(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(not_after(&[0x30, 0x80]), None);
    }

    #[test]
    fn files_are_read_again_when_they_change() {
        let directory = std::env::temp_dir().join(format!("pointsman-tls-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("ca.pem");
        let files = TrustFiles::ca(Some(&path));
        let trusts = Trusts::default();
        assert!(trusts.get_now(&files).unwrap_err().contains("ca.pem"));

        std::fs::write(&path, certificate((2031, 1, 1)).0.pem()).unwrap();
        let first = trusts.get_now(&files).unwrap();
        assert!(Arc::ptr_eq(&first, &trusts.get_now(&files).unwrap()));
        // Renewed by renaming, as cert-manager and certbot do.
        std::fs::write(directory.join("new"), certificate((2032, 1, 1)).0.pem()).unwrap();
        std::fs::rename(directory.join("new"), &path).unwrap();
        assert!(!Arc::ptr_eq(&first, &trusts.get_now(&files).unwrap()));

        std::fs::write(&path, "nothing").unwrap();
        assert!(trusts.get_now(&files).unwrap_err().contains("no certificate"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
