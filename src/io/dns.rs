//! Asking a name server, one question at a time: over UDP, and over TCP where that is not enough.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::Deadline;
use crate::wire::{Message, Name, RecordType, ask};

/// What fits into a packet anywhere (DNS flag day 2020).
const PAYLOAD: u16 = 1232;
/// UDP is given this long before TCP is tried.
const DATAGRAM_WAIT: Duration = Duration::from_secs(2);
/// Resolvers of the system that are used, as resolv.conf(5) has it.
const RESOLVERS_MAX: usize = 3;
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
    let id = u16::from_ne_bytes(
        ring::rand::generate::<[u8; 2]>(&ring::rand::SystemRandom::new())
            .map_err(|_| "no random octets".to_owned())?
            .expose(),
    );
    let mut query = ask(id, name, rtype, Some(PAYLOAD));
    if recursion {
        query[2] |= RECURSION_DESIRED;
    }
    let fits = |message: &Message| {
        message.id == id
            && message.flags & RESPONSE != 0
            && message
                .questions
                .iter()
                .any(|(owner, asked, _)| owner.eq_ignore_ascii_case(name.as_wire()) && *asked == rtype)
    };
    let late = |_| format!("{server} does not answer in time");
    match deadline.within(DATAGRAM_WAIT).bound(datagram(server, &query, fits)).await {
        Ok(Ok(message)) if message.flags & TRUNCATED == 0 => return Ok(message),
        // Truncated, lost, or refused by a middlebox: TCP tells.
        _ => {}
    }
    let answer = deadline.bound(stream(server, &query)).await.map_err(late)?;
    let message = answer.map_err(|why| format!("{server}: {why}"))?;
    if fits(&message) { Ok(message) } else { Err(format!("{server} answers something else than was asked")) }
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

async fn stream(server: SocketAddr, query: &[u8]) -> Result<Message, String> {
    let words = |why: std::io::Error| why.to_string();
    let mut stream = TcpStream::connect(server).await.map_err(words)?;
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
