//! Why something out there could not be asked, classified once for everybody.
//!
//! The class decides what may be concluded. A refusal or silence speaks of the target. A
//! refused credential, a busy target, or an answer that is not what we came for says nothing
//! about its health. What failed on our own side says nothing about the target at all: taking
//! it for the target's failure is how a health checker with a broken uplink takes a whole
//! service down.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// What kind of failure it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Our own side: no route, no socket, no name resolution, no secret.
    Unmeasured,
    /// It knows us not, or has no time for us.
    Denied,
    /// It answered what makes no sense.
    Rubbish,
    /// No answer within the time.
    Silent,
    /// It refused the connection, or closed it before a word was said.
    Refused,
}

impl Class {
    /// As written in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unmeasured => "unmeasured",
            Self::Denied => "denied",
            Self::Rubbish => "rubbish",
            Self::Silent => "silent",
            Self::Refused => "refused",
        }
    }
}

/// Why something out there could not be asked, with words for a person.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{words}")]
pub struct Failure {
    /// What kind.
    pub class: Class,
    /// What happened, where.
    pub words: String,
}

impl Failure {
    /// Our own side.
    pub fn unmeasured(words: impl Into<String>) -> Self {
        Self { class: Class::Unmeasured, words: words.into() }
    }

    /// It knows us not, or has no time for us.
    pub fn denied(words: impl Into<String>) -> Self {
        Self { class: Class::Denied, words: words.into() }
    }

    /// It answered what makes no sense.
    pub fn rubbish(words: impl Into<String>) -> Self {
        Self { class: Class::Rubbish, words: words.into() }
    }

    /// No answer within the time.
    pub fn silent(words: impl Into<String>) -> Self {
        Self { class: Class::Silent, words: words.into() }
    }

    /// It refused.
    pub fn refused(words: impl Into<String>) -> Self {
        Self { class: Class::Refused, words: words.into() }
    }

    /// The failure of coming from an address: always our own side, whatever stands at the other.
    pub fn of_source(error: &io::Error, source: impl fmt::Display) -> Self {
        match error.kind() {
            io::ErrorKind::AddrNotAvailable => Self::unmeasured(format!(
                "cannot come from {source}: it is not an address of this machine (`source`)"
            )),
            _ => Self::unmeasured(format!("cannot come from {source}: {error}")),
        }
    }

    /// The failure of opening a connection to `peer`.
    pub fn of_connect(error: &io::Error, peer: impl fmt::Display) -> Self {
        use io::ErrorKind::{
            ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, TimedOut,
        };
        match error.kind() {
            ConnectionRefused => Self::refused(format!("connection refused by {peer}")),
            ConnectionReset | ConnectionAborted => Self::refused(format!("connection reset by {peer}")),
            TimedOut => Self::silent(format!("no answer from {peer}")),
            // What a host that is switched off looks like from its own network: nobody answers
            // ARP, and after three seconds the kernel says EHOSTUNREACH. Without a route of our
            // own the kernel says ENETUNREACH, which is not this.
            HostUnreachable => Self::silent(format!("nothing answers at {peer} (host unreachable)")),
            _ => Self::unmeasured(format!("cannot connect to {peer}: {error}")),
        }
    }

    /// The failure of talking to `peer` over an open connection, before (`heard` is false) or
    /// after it had said something.
    pub fn of_talk(error: &(dyn Error + 'static), peer: impl fmt::Display, heard: bool) -> Self {
        if let Some(tls) = find::<rustls::Error>(error) {
            return Self::of_tls(tls, peer);
        }
        let Some(io) = find::<io::Error>(error) else {
            return Self::rubbish(format!("{peer} answers what makes no sense: {}", innermost(error)));
        };
        match io.kind() {
            _ if heard => Self::rubbish(format!("{peer} broke off in the middle of its answer: {io}")),
            io::ErrorKind::TimedOut => Self::silent(format!("{peer} stopped answering")),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotConnected => {
                Self::refused(format!("{peer} closed the connection without an answer"))
            }
            io::ErrorKind::HostUnreachable => Self::silent(format!("{peer} can no longer be reached")),
            // Without a number of the system's it comes from whoever tried to read the answer.
            _ if io.raw_os_error().is_none() => {
                Self::rubbish(format!("{peer} answers what makes no sense: {io}"))
            }
            _ => Self::unmeasured(format!("cannot talk to {peer}: {io}")),
        }
    }

    /// The failure of TLS with `peer`.
    pub fn of_tls(error: &rustls::Error, peer: impl fmt::Display) -> Self {
        use AlertDescription as Alert;
        match error {
            // The peer does not like the certificate we showed, or misses one (RFC 8446 §6.2).
            // OpenSSL says DecryptError of one that a CA of the same name and another key has made.
            rustls::Error::AlertReceived(
                alert @ (Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::NoCertificate
                | Alert::UnknownCA
                | Alert::DecryptError
                | Alert::AccessDenied),
            ) => Self::denied(format!("{peer} does not accept our certificate (TLS alert {alert:?})")),
            rustls::Error::FailedToGetCurrentTime | rustls::Error::FailedToGetRandomBytes => {
                Self::unmeasured(format!("cannot talk TLS to {peer}: {error}"))
            }
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Self::rubbish(format!(
                "the certificate of {peer} is not accepted: it comes from a CA that is not trusted here \
                 (UnknownIssuer; `ca` names the file of one that is)"
            )),
            // As after a CA was made anew under its old name.
            rustls::Error::InvalidCertificate(CertificateError::BadSignature) => Self::rubbish(format!(
                "the certificate of {peer} is not accepted: a CA of the same name and another key has signed it \
                 (BadSignature; `ca` names the file of the right one)"
            )),
            rustls::Error::InvalidCertificate(why) => {
                Self::rubbish(format!("the certificate of {peer} is not accepted: {why}"))
            }
            // RFC 8446 §6.2: what the peer speaks is older than all that we do.
            rustls::Error::AlertReceived(Alert::ProtocolVersion) => {
                Self::rubbish(format!("{peer} speaks no TLS 1.2 or later"))
            }
            rustls::Error::AlertReceived(Alert::NoApplicationProtocol) => {
                Self::rubbish(format!("{peer} speaks none of what we offer over TLS (ALPN)"))
            }
            rustls::Error::InvalidMessage(_) => {
                Self::rubbish(format!("{peer} answers what is not TLS: {error}"))
            }
            _ => Self::rubbish(format!("TLS with {peer} fails: {error}")),
        }
    }
}

/// Whether an answer to clear text begins as an alert of TLS does (RFC 8446 §5.1; the version is that
/// of TLS 1.0 to 1.3): it speaks TLS there, and we do not.
pub(super) fn is_tls(answer: &[u8]) -> bool {
    matches!(answer, [0x15, 3, 0..=4, ..])
}

/// The first error of a kind in a chain of causes.
pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // An io::Error that wraps another error shows that one's cause as its source, not the
        // error itself.
        if let Some(wrapped) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(found) = find::<E>(wrapped)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The words at the end of a chain of causes: they are the ones that tell something.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(code: i32) -> Class {
        Failure::of_connect(&io::Error::from_raw_os_error(code), "x").class
    }

    #[test]
    fn only_the_targets_own_signs_speak_of_the_target() {
        assert_eq!(os(libc::ECONNREFUSED), Class::Refused);
        assert_eq!(os(libc::ECONNRESET), Class::Refused);
        assert_eq!(os(libc::ETIMEDOUT), Class::Silent);
        assert_eq!(os(libc::EHOSTUNREACH), Class::Silent);
        for ours in [
            libc::ENETUNREACH,
            libc::ENETDOWN,
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::EADDRNOTAVAIL,
            libc::EACCES,
            libc::EPERM,
            libc::EAFNOSUPPORT,
        ] {
            assert_eq!(os(ours), Class::Unmeasured, "errno {ours}");
        }
    }

    #[test]
    fn a_certificate_that_is_refused_is_a_credential() {
        let alert = |alert| Failure::of_tls(&rustls::Error::AlertReceived(alert), "x").class;
        assert_eq!(alert(AlertDescription::CertificateRequired), Class::Denied);
        assert_eq!(alert(AlertDescription::BadCertificate), Class::Denied);
        assert_eq!(alert(AlertDescription::DecryptError), Class::Denied);
        assert_eq!(alert(AlertDescription::HandshakeFailure), Class::Rubbish);
    }

    #[test]
    fn a_certificate_that_we_refuse_says_nothing_of_health_and_what_to_do() {
        let refused = |why| Failure::of_tls(&rustls::Error::InvalidCertificate(why), "x");
        for (why, words) in [
            (CertificateError::UnknownIssuer, "a CA that is not trusted here"),
            (CertificateError::BadSignature, "a CA of the same name and another key"),
            (CertificateError::Expired, "is not accepted"),
        ] {
            let failure = refused(why);
            assert_eq!(failure.class, Class::Rubbish, "{failure}");
            assert!(failure.words.contains(words), "{failure}");
        }
        // Clear text to a server of TLS: an alert, or something else.
        assert!(is_tls(&[0x15, 3, 3, 0, 2, 2, 50]) && is_tls(&[0x15, 3, 1]));
        assert!(!is_tls(b"HTTP/1.1") && !is_tls(&[0x15, 3]) && !is_tls(&[0, 0, 0, 21]));
    }

    #[test]
    fn finds_causes_inside_wrapped_errors() {
        let inner = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let error = io::Error::new(io::ErrorKind::InvalidData, inner);
        assert_eq!(Failure::of_talk(&error, "x", false).class, Class::Denied);
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(Failure::of_talk(&eof, "x", false).class, Class::Refused);
        assert_eq!(Failure::of_talk(&eof, "x", true).class, Class::Rubbish);
    }
}
