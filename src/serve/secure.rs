//! TLS as DNS wants it, one configuration for each transport that runs over it.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::dns::Transport;
use crate::io::{Certificate, Clock};

/// How often the files of the certificate are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Makes what a handshake needs. What is said in it is the certificate's at that moment.
#[derive(Clone, Debug)]
pub(super) struct Secure {
    certificate: Arc<Certificate>,
}

impl Secure {
    pub(super) fn new(certificate: Arc<Certificate>) -> Self {
        Self { certificate }
    }

    /// For a transport over TCP; none for one without TLS, or if TLS cannot be had.
    pub(super) fn acceptor(&self, transport: Transport) -> Option<TlsAcceptor> {
        let config = match transport {
            Transport::Tls => self.config(b"dot"),
            Transport::Https => self.config(b"h2"),
            Transport::Udp | Transport::Tcp | Transport::Quic => return None,
        };
        config.map(|config| TlsAcceptor::from(Arc::new(config)))
    }

    /// For a protocol by its name in the handshake (ALPN): a connection that is meant for
    /// another one is refused there (RFC 9325 §3.7), one that names none is taken.
    pub(super) fn config(&self, protocol: &[u8]) -> Option<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            // 1.2 and 1.3 (RFC 8310 §9, RFC 9325 §3.1.1).
            .with_safe_default_protocol_versions()
            .inspect_err(|error| tracing::error!(%error, "TLS cannot be had"))
            .ok()?;
        let resolver = Arc::clone(&self.certificate);
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![protocol.to_vec()];
        // Sessions are resumed without memory for each (RFC 7858 §3.4). Early data is not taken:
        // it can be replayed.
        if let Ok(ticketer) = ring::Ticketer::new() {
            config.ticketer = ticketer;
        }
        config.send_tls13_tickets = 1;
        Some(config)
    }
}

/// Looks after the files of a certificate until told to stop.
pub(super) async fn look_after(certificate: Arc<Certificate>, stop: CancellationToken) {
    while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
        if stop.run_until_cancelled(renew(Arc::clone(&certificate))).await.is_none() {
            break;
        }
    }
}

/// Takes a certificate into use if its files have changed and are sound; logs it if they are not.
pub async fn renew(certificate: Arc<Certificate>) {
    // On a thread of its own: the files may lie on a mount that hangs.
    match spawn_blocking(move || certificate.refresh(Clock.now().wall)).await {
        Ok(Ok(Some(until))) => {
            tracing::info!(event = "certificate.renewed", %until, "a new certificate is in use, valid until {until}");
        }
        Ok(Err(why)) => {
            tracing::error!(event = "certificate.refused", "the certificate in use stays: {why}");
        }
        Ok(Ok(None)) | Err(_) => {}
    }
}
