//! One contact with a target: a budget that starts when it starts, and the phases it got through.
//!
//! Every phase (resolve, connect, secure, hear) is bounded by the one deadline, so that a target
//! that dawdles in each of them takes no longer than one that hangs in the first.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Class, Clock, Deadline, Failure, Net, Trust, failure, not_after};
use crate::base::{Mono, show_span};
use crate::config::HostPort;

/// How far a contact got, each as time since its start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Phases {
    /// When they began: later than the contact where a redirect was followed.
    pub begun: Duration,
    /// The name was resolved.
    pub resolved: Option<Duration>,
    /// The TCP connection was open.
    pub connected: Option<Duration>,
    /// The TLS session was established.
    pub secured: Option<Duration>,
    /// The first byte of an answer came.
    pub heard: Option<Duration>,
    /// The connection was refused.
    pub refused: Option<Duration>,
}

impl Phases {
    /// Something came back from there, be it a refusal.
    pub fn is_answered(&self) -> bool {
        self.connected.or(self.heard).or(self.refused).is_some()
    }
}

impl Phases {
    /// How long each phase took by itself: "connect 2ms, TLS 11ms, first byte 3ms". What took no
    /// time worth a word is left out, as is a name that needed no lookup.
    pub fn words(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut before = self.begun;
        for (name, at, least) in [
            ("resolve", self.resolved, Duration::from_millis(1)),
            ("connect", self.connected, Duration::ZERO),
            ("TLS", self.secured, Duration::ZERO),
            ("first byte", self.heard, Duration::ZERO),
        ] {
            let Some(at) = at else { continue };
            let span = at.saturating_sub(before);
            if span >= least {
                words.push(format!("{name} {}", show(span)));
            }
            before = at;
        }
        words.join(", ")
    }
}

/// Something that a contact saw, for those who look over its shoulder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// When, since the contact's start.
    pub at: Duration,
    /// Which phase it is of.
    pub phase: &'static str,
    /// What was seen.
    pub words: String,
}

/// How a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// With FIN, as usual.
    Gracefully,
    /// With RST. It leaves no TIME_WAIT behind, of which 30 000 checks every ten seconds would
    /// pile up more than there are ports; HAProxy ends its checks the same way.
    Abruptly,
}

/// One contact with a target.
#[derive(Debug)]
pub struct Contact {
    started: Mono,
    budget: Duration,
    deadline: Deadline,
    /// How far it got.
    pub phases: Phases,
    /// What it saw; kept only where somebody looks.
    notes: Option<Vec<Note>>,
}

/// Notes that one contact keeps: as many phases as redirects and packets can have.
const NOTES_MAX: usize = 200;

impl Contact {
    /// Starts the clock.
    pub fn new(budget: Duration) -> Self {
        let started = Clock.mono();
        let deadline = Clock.deadline(budget);
        Self { started, budget, deadline, phases: Phases::default(), notes: None }
    }

    /// Starts the clock, and keeps notes of what is seen.
    pub fn noting(budget: Duration) -> Self {
        Self { notes: Some(Vec::new()), ..Self::new(budget) }
    }

    /// Something was seen. The words are only made where somebody looks.
    pub fn note(&mut self, phase: &'static str, words: impl FnOnce() -> String) {
        let at = self.took();
        if let Some(notes) = self.notes.as_mut().filter(|notes| notes.len() < NOTES_MAX) {
            notes.push(Note { at, phase, words: words() });
        }
    }

    /// What was seen.
    pub fn notes(self) -> Vec<Note> {
        self.notes.unwrap_or_default()
    }

    /// How long it may take.
    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// When it must be over.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// How long it has taken so far.
    pub fn took(&self) -> Duration {
        Clock.mono().since(self.started)
    }

    /// The target has said something at this moment. Only the first time counts.
    pub fn heard_at(&mut self, moment: Mono) {
        self.phases.heard.get_or_insert(moment.since(self.started));
    }

    /// The budget is used up: silence, with how far it got.
    pub fn silence(&self) -> Failure {
        let budget = show_span(self.budget);
        Failure::silent(match self.phases {
            Phases { heard: Some(after), .. } => {
                format!("no complete answer within {budget} (first byte after {})", show(after))
            }
            Phases { secured: Some(after), .. } => {
                format!("no answer within {budget} (TLS established after {})", show(after))
            }
            Phases { connected: Some(after), .. } => {
                format!("no answer within {budget} (connected after {})", show(after))
            }
            _ => format!("no connection within {budget}"),
        })
    }

    /// Waits for `work` as long as the budget lasts.
    ///
    /// # Errors
    /// The budget is used up.
    pub async fn bound<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        self.deadline.bound(work).await.map_err(|_| self.silence())
    }

    /// Resolves a name and opens a connection, to the first of its addresses that takes one.
    ///
    /// # Errors
    /// None of them does, or not in time.
    pub async fn connect(&mut self, net: &Net, to: &HostPort, close: Close) -> Result<TcpStream, Failure> {
        let addresses = net.resolver().resolve(&to.host, to.port, self.deadline).await?;
        self.phases.resolved = Some(self.took());
        if to.host.parse::<IpAddr>().is_err() {
            self.note("resolve", || {
                let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
                format!("{} → {}", to.host, shown.join(", "))
            });
        }
        let mut failures: Vec<Failure> = Vec::new();
        for (n, address) in addresses.iter().enumerate() {
            // Each gets its share of the time left, so that one that is silent does not hide
            // one that answers.
            let share = self.deadline.left() / u32::try_from(addresses.len() - n).unwrap_or(1);
            match self.connect_to(net.source().towards(address.ip()), *address, share, close).await {
                Ok(stream) => {
                    self.phases.connected = Some(self.took());
                    self.note("connect", || match stream.local_addr() {
                        Ok(from) => format!("to {address} from {from}"),
                        Err(_) => format!("to {address}"),
                    });
                    return Ok(stream);
                }
                Err(failure) => {
                    self.note("connect", || failure.words.clone());
                    failures.push(failure);
                }
            }
        }
        // What speaks of the target tells more than that we have, say, no IPv6.
        let told = failures.iter().position(|failure| failure.class != Class::Unmeasured).unwrap_or(0);
        let failure = failures.swap_remove(told);
        if failure.class == Class::Refused {
            self.phases.refused = Some(self.took());
        }
        Err(failure)
    }

    async fn connect_to(
        &self,
        source: Option<IpAddr>,
        peer: SocketAddr,
        share: Duration,
        close: Close,
    ) -> Result<TcpStream, Failure> {
        let connect = async {
            let of_connect = |error: std::io::Error| Failure::of_connect(&error, peer);
            let socket = if peer.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
            let socket = socket.map_err(of_connect)?;
            if close == Close::Abruptly {
                socket.set_zero_linger().map_err(of_connect)?;
            }
            if let Some(source) = source {
                socket.bind((source, 0).into()).map_err(|error| Failure::of_source(&error, source))?;
            }
            let stream = socket.connect(peer).await.map_err(of_connect)?;
            // Requests are small and sent whole; they must not wait for each other's ACK.
            stream.set_nodelay(true).map_err(of_connect)?;
            Ok(stream)
        };
        match self.deadline.within(share).bound(pin!(connect)).await {
            Ok(connected) => connected,
            Err(_) if self.deadline.over() => Err(self.silence()),
            Err(_) => Err(Failure::silent(format!("no connection to {peer} within {}", show(share)))),
        }
    }

    /// Establishes TLS over a connection.
    ///
    /// # Errors
    /// The peer does not talk TLS, its certificate is not accepted, or not in time.
    pub async fn secure(
        &mut self,
        trust: &Trust,
        name: ServerName<'static>,
        peer: impl fmt::Display,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        self.secure_for(trust, name, peer, stream, &[]).await
    }

    /// The same, with the protocols that may be spoken over it, the best first (ALPN, RFC 7301).
    ///
    /// # Errors
    /// The same.
    pub async fn secure_for(
        &mut self,
        trust: &Trust,
        name: ServerName<'static>,
        peer: impl fmt::Display,
        stream: TcpStream,
        protocols: &[&[u8]],
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let mut config = trust.config();
        if !protocols.is_empty() {
            let mut own = ClientConfig::clone(&config);
            own.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            config = Arc::new(own);
        }
        let connector = TlsConnector::from(config);
        let stream = self.bound(connector.connect(name, stream)).await?;
        let stream = stream.map_err(|error| match failure::find::<rustls::Error>(&error) {
            Some(tls) => Failure::of_tls(tls, peer),
            None => Failure::of_talk(&error, format!("{peer} (TLS)"), false),
        })?;
        self.phases.secured = Some(self.took());
        self.note("TLS", || session_words(stream.get_ref().1));
        Ok(stream)
    }
}

/// What was agreed on, and until when the certificate is valid.
fn session_words(session: &ClientConnection) -> String {
    let version = session.protocol_version().and_then(|version| Some(version.as_str()?.replace('_', ".")));
    let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str().map(str::to_owned));
    let protocol = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    let end = session.peer_certificates().and_then(|chain| not_after(chain.first()?));
    let certificate = end.map(|end| format!("certificate until {end}"));
    [version, suite, protocol, certificate].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A duration for a person: whole milliseconds once it has any.
pub fn show(span: Duration) -> String {
    show_span(if span < Duration::from_millis(1) {
        Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
    } else {
        Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> HostPort {
        HostPort { host: host.to_owned(), port }
    }

    #[tokio::test]
    async fn words_tell_how_far_it_got() {
        let net = Net::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut contact = Contact::new(Duration::from_millis(100));
        let stream = contact.connect(&net, &at("127.0.0.1", port), Close::Gracefully).await.unwrap();
        let failure = contact.bound(std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(failure.class, Class::Silent);
        assert!(failure.words.starts_with("no answer within 100ms (connected after "), "{failure}");
        drop(stream);

        drop(listener);
        let mut contact = Contact::new(Duration::from_secs(2));
        let failure = contact.connect(&net, &at("127.0.0.1", port), Close::Abruptly).await.unwrap_err();
        assert_eq!(failure, Failure::refused(format!("connection refused by 127.0.0.1:{port}")));
    }

    #[tokio::test]
    async fn tries_every_address_of_a_name() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let net = Net::new();
        let connect = async |addresses: [&str; 2]| {
            net.resolver().remember("both.example", &addresses.map(|address| address.parse().unwrap()));
            let mut contact = Contact::new(Duration::from_secs(2));
            contact.connect(&net, &at("both.example", port), Close::Gracefully).await
        };
        // One refuses, or is on a network that we have no route to, and the other answers.
        assert!(connect(["127.0.0.9", "127.0.0.1"]).await.is_ok());
        assert!(connect(["255.255.255.255", "127.0.0.1"]).await.is_ok());
        // None answers: what speaks of the target tells more than our own trouble.
        let failure = connect(["255.255.255.255", "127.0.0.9"]).await.unwrap_err();
        assert_eq!(failure, Failure::refused(format!("connection refused by 127.0.0.9:{port}")));
        let failure = connect(["255.255.255.255", "255.255.255.255"]).await.unwrap_err();
        assert_eq!(failure.class, Class::Unmeasured);
    }
}
