//! Opens a TLS session and judges the certificate.

use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ProtocolVersion};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::finding;
use crate::base::Timestamp;
use crate::config::{HostPort, TlsCheck, TlsVersion};
use crate::health::Finding;
use crate::io::{Clock, Close, Contact, Failure, Late, Net, Phases, TrustFiles, not_after, show};

/// A peer takes so long to look at our certificate, beside the way there and back.
const REFUSAL_WAIT: Duration = Duration::from_millis(100);

pub(super) async fn probe(net: &Net, check: &TlsCheck, contact: &mut Contact) -> Finding {
    judge(net, check, contact).await.unwrap_or_else(finding)
}

async fn judge(net: &Net, check: &TlsCheck, contact: &mut Contact) -> Result<Finding, Failure> {
    let name = server_name(&check.server_name)?;
    let files = TrustFiles { ca: check.ca.clone(), identity: check.identity.clone() };
    let trust = net.trust(&files, contact.deadline()).await?;
    let stream = contact.connect(net, &check.address, Close::Abruptly).await?;
    let mut stream = contact.secure(&trust, name.clone(), &check.address, stream).await?;
    if check.identity.is_some() {
        hear_refusal(&mut stream, &check.address, contact).await?;
    }
    let (_, session) = stream.get_ref();
    // Only these two are ever offered.
    let is_newest = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    if check.min_version == TlsVersion::V1_3 && !is_newest {
        return Ok(Finding::Fail("speaks TLS 1.2 at best, wanted TLS 1.3".to_owned()));
    }
    let chain = session.peer_certificates().unwrap_or_default();
    let end = chain.first().and_then(|leaf| not_after(leaf));
    let Some(end) = end else {
        return Err(Failure::rubbish(format!("{} shows a certificate without an end", check.address)));
    };
    let now = Clock.now().wall;
    let left = Duration::try_from(end.duration_since(now)).unwrap_or_default();
    if left < check.min_validity {
        let wanted = coarse(check.min_validity);
        return Ok(Finding::Fail(format!("certificate expires in {}, wanted {wanted}", coarse(left))));
    }
    // The certificates that vouch for it may end before it does.
    let then = now.saturating_add(check.min_validity).unwrap_or(Timestamp::MAX);
    if let Err(CertificateError::Expired | CertificateError::ExpiredContext { .. }) =
        trust.valid_at(chain, &name, then)
    {
        let wanted = coarse(check.min_validity);
        return Ok(Finding::Fail(format!("a certificate that vouches for it expires within {wanted}")));
    }
    let took = show(contact.took());
    let version = if is_newest { "TLS 1.3" } else { "TLS 1.2" };
    Ok(Finding::Pass(format!("certificate valid for {} ({version} established in {took})", coarse(left))))
}

/// The name that a certificate is looked through for.
pub(super) fn server_name(text: &str) -> Result<ServerName<'static>, Failure> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| Failure::unmeasured(format!("`{text}` is not a name that TLS can verify")))
}

/// Listens whether our certificate is refused. In TLS 1.3 the handshake is over for us before the
/// peer has looked at it (RFC 8446 §4.4.2.4): a refusal comes a way back later, and nothing has to
/// come if all is well.
pub(super) async fn hear_refusal(
    stream: &mut TlsStream<TcpStream>,
    peer: &HostPort,
    contact: &Contact,
) -> Result<(), Failure> {
    let Phases { connected, secured, .. } = contact.phases;
    let there_and_back = secured.unwrap_or_default().saturating_sub(connected.unwrap_or_default());
    let deadline = contact.deadline().within(there_and_back + REFUSAL_WAIT);
    match deadline.bound(stream.read(&mut [0; 1])).await {
        Ok(Err(error)) => Err(Failure::of_talk(&error, format!("{peer} (TLS)"), false)),
        // Closed without a word, or something said: neither is about our certificate.
        Ok(Ok(_)) | Err(Late) => Ok(()),
    }
}

/// A span for a person who thinks of certificates: in days, or what is left of one.
fn coarse(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        172_800.. => format!("{}d", seconds / 86_400),
        7_200.. => format!("{}h", seconds / 3_600),
        120.. => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_coarse() {
        let spans = [0, 119, 120, 7_199, 7_200, 172_799, 172_800, 604_800];
        let words = spans.map(|seconds| coarse(Duration::from_secs(seconds)));
        assert_eq!(words, ["0s", "119s", "2m", "119m", "2h", "47h", "2d", "7d"]);
    }
}
