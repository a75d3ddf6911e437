//! Where connections come in, and what is spoken behind each door.
//!
//! ```text
//!          balancers only        tls, https
//! accept ──► PROXY header ──► TLS handshake ──► messages (stream) or requests (https)
//! ```
//!
//! Each step has a time and a place in the limits; whoever does not get through is gone.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ProtocolVersion;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::hall::{Broken, Hall, Seat};
use super::secure::Secure;
use super::stream::converse;
use super::{https, proxy};
use crate::base::Prefix;
use crate::config::Carries;
use crate::dns::{Asker, Counter, Transport};

/// After the system refused to hand out a connection, for lack of descriptors or memory.
const FAULT_PAUSE: Duration = Duration::from_millis(100);
/// A balancer writes its header together with the connection, and a client its first TLS message;
/// both come at once, give or take lost packets.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// A TLS connection that is over has this long to say so.
const GOODBYE_MAX: Duration = Duration::from_millis(200);

/// A socket that connections come in by.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) listener: TcpListener,
    pub(super) carries: Carries,
    /// Who may connect, on behalf of others; everybody, for themselves, if there is none.
    pub(super) balancers: Option<Arc<[Prefix]>>,
}

impl Door {
    fn transport(&self) -> Transport {
        match self.carries {
            Carries::Dns => Transport::Tcp,
            Carries::Tls => Transport::Tls,
            Carries::Https => Transport::Https,
        }
    }

    /// Lets connections in until told to stop.
    pub(super) async fn keep(self, hall: Rc<Hall>, secure: Option<Secure>, tasks: TaskTracker) {
        let (transport, balancers) = (self.transport(), self.balancers);
        let acceptor = secure.and_then(|secure| secure.acceptor(transport));
        if acceptor.is_none() && transport.is_encrypted() {
            // Better nobody is served than somebody in clear who asked for the opposite.
            return tracing::error!("a listener for TLS has no certificate");
        }
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "cannot listen over TCP"),
        };
        let stop = hall.stop.clone();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, peer)) => {
                    let peer = peer.ip().to_canonical();
                    if balancers.as_ref().is_some_and(|known| !known.iter().any(|known| known.contains(peer)))
                    {
                        hall.count(Counter::ProxyRefused);
                        continue;
                    }
                    let Some(seat) = hall.enter(transport) else { continue };
                    let visit = Visit {
                        stream,
                        peer,
                        transport,
                        acceptor: acceptor.clone(),
                        proxied: balancers.is_some(),
                    };
                    tasks.spawn_local(visit.serve(seat));
                }
                Err(error) => {
                    // The client was quicker to leave than we to accept.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        tracing::warn!(%error, "cannot accept a TCP connection");
                        sleep(FAULT_PAUSE).await;
                    }
                }
            }
        }
    }
}

/// A connection, from when it was accepted.
struct Visit {
    stream: TcpStream,
    peer: IpAddr,
    transport: Transport,
    acceptor: Option<TlsAcceptor>,
    proxied: bool,
}

impl Visit {
    async fn serve(mut self, seat: Seat) {
        // An answer is written at once: there is nothing to wait for. Without it, it still works.
        let _ = self.stream.set_nodelay(true);
        let client = match self.client(&seat.hall).await {
            Ok(client) => client,
            Err(Broken) => return seat.hall.count(Counter::ProxyRefused),
        };
        let Some(seat) = seat.taken_by(client) else { return };
        let asker = Asker { client, transport: self.transport };
        if self.converse(asker, &seat.hall).await.is_err() {
            seat.broken();
        }
    }

    /// For whom the connection is.
    async fn client(&mut self, hall: &Hall) -> Result<IpAddr, Broken> {
        if !self.proxied {
            return Ok(self.peer);
        }
        let header = timeout(HANDSHAKE_MAX, proxy::read(&mut self.stream));
        match hall.stop.run_until_cancelled(header).await {
            Some(Ok(told)) => Ok(told?.unwrap_or(self.peer)),
            _ => Err(Broken),
        }
    }

    async fn converse(mut self, asker: Asker, hall: &Rc<Hall>) -> Result<(), Broken> {
        let Some(acceptor) = self.acceptor else {
            return converse(&mut self.stream, asker, hall, false).await;
        };
        let handshake = timeout(HANDSHAKE_MAX, acceptor.accept(self.stream));
        let mut stream = match hall.stop.run_until_cancelled(handshake).await {
            None => return Ok(()),
            Some(Ok(Ok(stream))) => stream,
            Some(_) => return Err(Broken),
        };
        if asker.transport == Transport::Https {
            return https::serve(stream, asker, hall).await;
        }
        // Zones go out over TLS 1.3 only (RFC 9103 §7.2); questions may come over 1.2.
        let outdated = stream.get_ref().1.protocol_version() != Some(ProtocolVersion::TLSv1_3);
        let conversed = converse(&mut stream, asker, hall, outdated).await;
        // Without a goodbye the client could not tell an end from an attack (RFC 8446 §6.1).
        let _ = timeout(GOODBYE_MAX, tokio::io::AsyncWriteExt::shutdown(&mut stream)).await;
        conversed
    }
}
