//! Asking a name server, one question at a time: over UDP, and over TCP where that is not enough.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::{Clock, Close, Contact, Deadline, Failure, Net};
use crate::config::HostPort;
use crate::wire::{Message, Name, RecordType, ask};

/// What fits into a packet anywhere (DNS flag day 2020).
const PAYLOAD: u16 = 1232;
/// UDP is given this long before TCP is tried.
const DATAGRAM_WAIT: Duration = Duration::from_secs(2);
/// Resolvers of the system that are used, as resolv.conf(5) has it.
const RESOLVERS_MAX: usize = 3;
/// A question of a check is sent so often at most.
const SENDS_MAX: u32 = 3;
const RECURSION_DESIRED: u8 = 1;
/// Flags of a message (RFC 1035 §4.1.1).
const RESPONSE: u16 = 1 << 15;
const TRUNCATED: u16 = 1 << 9;

/// Asks one server one question. Nothing is tried twice.
///
/// # Errors
/// In words: no sound answer in time.
pub async fn ask_server(
    server: SocketAddr,
    name: &Name,
    rtype: RecordType,
    recursion: bool,
    deadline: Deadline,
) -> Result<Message, String> {
    let id = random_id()?;
    let mut query = ask(id, name, rtype, Some(PAYLOAD));
    if recursion {
        query[2] |= RECURSION_DESIRED;
    }
    let fits = |message: &Message| is_answer(message, id, name, rtype);
    let late = |_| format!("{server} does not answer in time");
    match deadline.within(DATAGRAM_WAIT).bound(datagram(server, &query, fits)).await {
        Ok(Ok(message)) if message.flags & TRUNCATED == 0 => return Ok(message),
        // Truncated, lost, or refused by a middlebox: TCP tells.
        _ => {}
    }
    let connected = deadline.bound(TcpStream::connect(server)).await.map_err(late)?;
    let connection = connected.map_err(|why| format!("{server}: {why}"))?;
    let answer = deadline.bound(stream(connection, &query)).await.map_err(late)?;
    let message = answer.map_err(|why| format!("{server}: {why}"))?;
    if fits(&message) { Ok(message) } else { Err(format!("{server} answers something else than was asked")) }
}

/// An answer that a check got, and over what.
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub message: Message,
    /// It did not fit into a datagram.
    pub over_tcp: bool,
}

/// Asks one server one question, for a check: over UDP, and over TCP only if the answer was
/// truncated, as resolvers do. A datagram may be lost: the question is sent again twice.
///
/// # Errors
/// No answer to the question in time, or somebody says that nobody listens there.
pub async fn query(
    contact: &mut Contact,
    net: &Net,
    server: &HostPort,
    (name, rtype): (&Name, RecordType),
    recursion: bool,
) -> Result<Answered, Failure> {
    let addresses = net.resolver().resolve(&server.host, server.port, contact.deadline()).await?;
    let address =
        *addresses.first().ok_or_else(|| Failure::unmeasured(format!("{server} has no address")))?;
    contact.phases.resolved = Some(contact.took());
    if server.host.parse::<IpAddr>().is_err() {
        contact.note("resolve", || format!("{} → {}", server.host, address.ip()));
    }
    let id = random_id().map_err(Failure::unmeasured)?;
    let mut query = ask(id, name, rtype, Some(PAYLOAD));
    if recursion {
        query[2] |= RECURSION_DESIRED;
    }
    let source = net.source().towards(address.ip());
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let of_connect = |why: std::io::Error| Failure::of_connect(&why, address);
    let socket = UdpSocket::bind((source.unwrap_or(any), 0)).await.map_err(|why| match source {
        Some(source) => Failure::of_source(&why, source),
        None => of_connect(why),
    })?;
    socket.connect(address).await.map_err(of_connect)?;
    let again = contact.deadline().left() / SENDS_MAX;
    let mut octets = [0; PAYLOAD as usize];
    for turn in 1..=SENDS_MAX {
        socket.send(&query).await.map_err(of_connect)?;
        contact.note("ask", || match socket.local_addr() {
            Ok(from) => format!("{address} from {from} over UDP: {name} {rtype}"),
            Err(_) => format!("{address} over UDP: {name} {rtype}"),
        });
        let pause = contact.deadline().within(again);
        let end = if turn == SENDS_MAX { contact.deadline() } else { pause };
        while let Ok(received) = end.bound(socket.recv(&mut octets)).await {
            let length = received.map_err(of_connect)?;
            match Message::read(&octets[..length]) {
                Ok(message) if is_answer(&message, id, name, rtype) => {
                    contact.heard_at(Clock.mono());
                    if message.flags & TRUNCATED == 0 {
                        return Ok(Answered { message, over_tcp: false });
                    }
                    contact.note("hear", || "truncated: once more over TCP".to_owned());
                    return query_over_tcp(contact, net, server, &query, (id, name, rtype)).await;
                }
                // Not to this question: somebody guesses, or does not speak DNS.
                _ => contact.note("hear", || format!("{length} bytes that are no answer to this")),
            }
        }
    }
    Err(match contact.phases.heard {
        Some(_) => contact.silence(),
        None => Failure::silent(format!("no answer from {address} to {SENDS_MAX} queries over UDP")),
    })
}

async fn query_over_tcp(
    contact: &mut Contact,
    net: &Net,
    server: &HostPort,
    query: &[u8],
    (id, name, rtype): (u16, &Name, RecordType),
) -> Result<Answered, Failure> {
    let connection = contact.connect(net, server, Close::Abruptly).await?;
    let answer = contact.bound(stream(connection, query)).await?;
    let message = answer.map_err(|why| Failure::rubbish(format!("{server} over TCP: {why}")))?;
    if !is_answer(&message, id, name, rtype) {
        return Err(Failure::rubbish(format!("{server} answers something else than was asked over TCP")));
    }
    Ok(Answered { message, over_tcp: true })
}

fn random_id() -> Result<u16, String> {
    let random = ring::rand::generate::<[u8; 2]>(&ring::rand::SystemRandom::new());
    Ok(u16::from_ne_bytes(random.map_err(|_| "no random octets".to_owned())?.expose()))
}

fn is_answer(message: &Message, id: u16, name: &Name, rtype: RecordType) -> bool {
    message.id == id
        && message.flags & RESPONSE != 0
        && message
            .questions
            .iter()
            .any(|(owner, asked, _)| owner.eq_ignore_ascii_case(name.as_wire()) && *asked == rtype)
}

async fn datagram(
    server: SocketAddr,
    query: &[u8],
    fits: impl Fn(&Message) -> bool,
) -> std::io::Result<Message> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connected: the kernel drops what comes from elsewhere.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut octets = [0; PAYLOAD as usize];
    loop {
        let length = socket.recv(&mut octets).await?;
        match Message::read(&octets[..length]) {
            Ok(message) if fits(&message) => return Ok(message),
            // Somebody guesses, or an answer to an earlier question of another socket.
            _ => {}
        }
    }
}

async fn stream(mut stream: TcpStream, query: &[u8]) -> Result<Message, String> {
    let words = |why: std::io::Error| why.to_string();
    let length = u16::try_from(query.len()).expect("a question has a few hundred octets");
    let framed = [&length.to_be_bytes()[..], query].concat();
    stream.write_all(&framed).await.map_err(words)?;
    let length = stream.read_u16().await.map_err(words)?;
    let mut octets = vec![0; usize::from(length)];
    stream.read_exact(&mut octets).await.map_err(words)?;
    Message::read(&octets)
}

/// The resolvers that this system uses (resolv.conf(5)); none if that says none.
pub fn system_resolvers() -> Vec<SocketAddr> {
    resolvers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

fn resolvers(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    });
    servers.take(RESOLVERS_MAX).map(|address| (address, 53).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_systems_resolvers() {
        let text = "# by hand\nsearch example\nnameserver 192.0.2.1\nnameserver  ::1 \nnameserver x\noptions ndots:2\n";
        assert_eq!(resolvers(text), ["192.0.2.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert!(resolvers("").is_empty());
    }
}
