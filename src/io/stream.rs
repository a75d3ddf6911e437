//! A connection to a server that speaks a protocol of its own, in clear text or over TLS: one
//! type for both, metered, so that a server that never stops talking is stopped.

use std::fmt;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Contact, Failure, Meter, Metered, Trust, failure};
use crate::config::HostPort;

/// Anything that bytes go through.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection, whatever is below.
pub(super) type Wire = Box<dyn Bytes>;

/// Puts a meter on a fresh connection.
pub(super) fn metered(stream: TcpStream, bytes_max: u64) -> (Wire, Meter) {
    let (stream, meter) = Metered::new(stream, bytes_max);
    (Box::new(stream), meter)
}

/// Goes on over TLS, the server's name verified.
pub(super) async fn secured(
    contact: &mut Contact,
    trust: &Trust,
    peer: &HostPort,
    wire: Wire,
) -> Result<Wire, Failure> {
    let name = ServerName::try_from(peer.host.clone())
        .map_err(|_| Failure::unmeasured(format!("{peer} is not a name that TLS can verify")))?;
    let connecting = TlsConnector::from(trust.config()).connect(name, wire);
    let stream = contact.bound(connecting).await?.map_err(|error| talk(&error, peer, false))?;
    contact.phases.secured = Some(contact.took());
    Ok(Box::new(stream))
}

/// The failure of talking over a connection.
pub(super) fn talk(error: &std::io::Error, peer: impl fmt::Display, heard: bool) -> Failure {
    match failure::find::<rustls::Error>(error) {
        Some(tls) => Failure::of_tls(tls, peer),
        None => Failure::of_talk(error, peer, heard),
    }
}
