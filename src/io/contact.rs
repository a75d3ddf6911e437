//! One contact with a target: a budget that starts when it starts, and the phases it got through.
//!
//! Every phase (resolve, connect, secure, hear) is bounded by the one deadline, so that a target
//! that dawdles in each of them takes no longer than one that hangs in the first.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Class, Clock, Deadline, Failure, Net, Trust, failure};
use crate::base::{Mono, show_span};
use crate::config::HostPort;

/// How far a contact got, each as time since its start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Phases {
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
}

impl Contact {
    /// Starts the clock.
    pub fn new(budget: Duration) -> Self {
        let started = Clock.mono();
        Self { started, budget, deadline: Clock.deadline(budget), phases: Phases::default() }
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
        let mut failures: Vec<Failure> = Vec::new();
        for (n, address) in addresses.iter().enumerate() {
            // Each gets its share of the time left, so that one that is silent does not hide
            // one that answers.
            let share = self.deadline.left() / u32::try_from(addresses.len() - n).unwrap_or(1);
            match self.connect_to(*address, share, close).await {
                Ok(stream) => {
                    self.phases.connected = Some(self.took());
                    return Ok(stream);
                }
                Err(failure) => failures.push(failure),
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
        peer: SocketAddr,
        share: Duration,
        close: Close,
    ) -> Result<TcpStream, Failure> {
        let connect = async {
            let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if close == Close::Abruptly {
                socket.set_zero_linger()?;
            }
            let stream = socket.connect(peer).await?;
            // Requests are small and sent whole; they must not wait for each other's ACK.
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        match self.deadline.within(share).bound(connect).await {
            Ok(connected) => connected.map_err(|error| Failure::of_connect(&error, peer)),
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
        let connector = TlsConnector::from(trust.config());
        let stream = self.bound(connector.connect(name, stream)).await?;
        let stream = stream.map_err(|error| match failure::find::<rustls::Error>(&error) {
            Some(tls) => Failure::of_tls(tls, peer),
            None => Failure::of_talk(&error, format!("{peer} (TLS)"), false),
        })?;
        self.phases.secured = Some(self.took());
        Ok(stream)
    }
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
