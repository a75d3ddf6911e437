//! Opens a TLS session and judges the certificate.

use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ProtocolVersion};

use super::finding;
use crate::base::Timestamp;
use crate::config::{TlsCheck, TlsVersion};
use crate::health::Finding;
use crate::io::{Clock, Close, Contact, Failure, Net, TrustFiles, not_after, show};

pub(super) async fn probe(net: &Net, check: &TlsCheck, contact: &mut Contact) -> Finding {
    judge(net, check, contact).await.unwrap_or_else(finding)
}

async fn judge(net: &Net, check: &TlsCheck, contact: &mut Contact) -> Result<Finding, Failure> {
    let name = ServerName::try_from(check.server_name.clone()).map_err(|_| {
        Failure::unmeasured(format!("`{}` is not a name that TLS can verify", check.server_name))
    })?;
    let trust = net.trust(&TrustFiles::ca(check.ca.as_deref()), contact.deadline()).await?;
    let stream = contact.connect(net, &check.address, Close::Abruptly).await?;
    let stream = contact.secure(&trust, name.clone(), &check.address, stream).await?;

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
