//! Echo requests (RFC 792, RFC 4443) without privileges where the kernel lets us, else with a raw
//! socket.
//!
//! Linux has datagram sockets that do nothing but ping, for groups within
//! `net.ipv4.ping_group_range` (IPv6 too); the kernel then sets the identifier and hands out only
//! our own replies. A raw socket (CAP_NET_RAW) hears every ICMP message from the peer, so each
//! request carries a random token that its reply must bring back.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::Failure;

/// Type, code, checksum, identifier, sequence number.
const HEADER_OCTETS: usize = 8;
/// What makes a request ours.
const TOKEN_OCTETS: usize = 16;
const MESSAGE_OCTETS: usize = HEADER_OCTETS + TOKEN_OCTETS;
/// Replies are as long as requests; an IPv4 header before them has at most 60 octets. Longer
/// messages are somebody else's, and cut.
const RECEIVED_OCTETS_MAX: usize = 512;

const ECHO_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// A socket that pings one peer.
#[derive(Debug)]
pub struct Echo {
    socket: UdpSocket,
    peer: IpAddr,
    kind: Kind,
    identifier: u16,
    token: [u8; TOKEN_OCTETS],
}

/// How the kernel lets us ping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A socket for pings alone, which needs no privilege.
    Datagram,
    /// All of ICMP, which does.
    Raw,
}

impl Kind {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Datagram => "unprivileged socket",
            Self::Raw => "raw socket",
        }
    }
}

impl Echo {
    /// Opens a socket that pings `peer`, from an address of ours.
    ///
    /// # Errors
    /// Neither kind of socket is allowed, with the cure; there is no such source, or no route.
    pub async fn open(peer: IpAddr, source: Option<IpAddr>) -> Result<Self, Failure> {
        let random = ring::rand::generate::<[u8; TOKEN_OCTETS]>(&ring::rand::SystemRandom::new())
            .map_err(|_| Failure::unmeasured("cannot ping: no random octets"))?;
        let token = random.expose();
        let (socket, kind) = open(peer)?;
        let fail = |why: &std::io::Error| Failure::unmeasured(format!("cannot ping {peer}: {why}"));
        socket.set_nonblocking(true).map_err(|why| fail(&why))?;
        if let Some(source) = source {
            socket
                .bind(&SocketAddr::new(source, 0).into())
                .map_err(|why| Failure::of_source(&why, source))?;
        }
        // What counts is only that it is a datagram socket to the one who reads and writes it.
        let socket = UdpSocket::from_std(socket.into()).map_err(|why| fail(&why))?;
        // Connected: the kernel drops what comes from elsewhere, and tells when there is no way.
        let connected = socket.connect(SocketAddr::new(peer, 0)).await;
        connected.map_err(|why| Failure::of_connect(&why, peer))?;
        let identifier = u16::from_be_bytes([token[0], token[1]]);
        Ok(Self { socket, peer, kind, identifier, token })
    }

    /// How the kernel lets us ping.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Sends one request.
    ///
    /// # Errors
    /// It did not get out.
    pub async fn send(&self, sequence: u16) -> Result<(), Failure> {
        let mut message = [0; MESSAGE_OCTETS];
        message[0] = if self.peer.is_ipv4() { ECHO_V4 } else { ECHO_V6 };
        message[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        message[6..8].copy_from_slice(&sequence.to_be_bytes());
        message[HEADER_OCTETS..].copy_from_slice(&self.token);
        // Of ICMPv6 the kernel makes it: it covers addresses that the kernel chooses.
        if self.peer.is_ipv4() {
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let sent = self.socket.send(&message).await;
        sent.map(drop).map_err(|why| Failure::of_connect(&why, self.peer))
    }

    /// Waits for a reply to one of our requests, and tells its sequence number.
    ///
    /// # Errors
    /// The way to the peer is closed, and somebody says so.
    pub async fn reply(&self) -> Result<u16, Failure> {
        let mut octets = [0; RECEIVED_OCTETS_MAX];
        loop {
            let received = self.socket.recv(&mut octets).await;
            let length = received.map_err(|why| Failure::of_connect(&why, self.peer))?;
            let with_header = self.kind == Kind::Raw && self.peer.is_ipv4();
            if let Some(sequence) = read(&octets[..length], self.peer.is_ipv4(), with_header, &self.token) {
                return Ok(sequence);
            }
        }
    }
}

/// The sequence number of a reply that brings the token back; `None` if it is anything else.
fn read(octets: &[u8], is_v4: bool, with_ip_header: bool, token: &[u8; TOKEN_OCTETS]) -> Option<u16> {
    let message = match with_ip_header {
        // Its length in words of four octets (RFC 791 §3.1).
        true => octets.get(usize::from(octets.first()? & 0x0f) * 4..)?,
        false => octets,
    };
    let (header, payload) = message.split_first_chunk::<HEADER_OCTETS>()?;
    let wanted = if is_v4 { ECHO_REPLY_V4 } else { ECHO_REPLY_V6 };
    (header[0] == wanted && header[1] == 0 && payload == token)
        .then(|| u16::from_be_bytes([header[6], header[7]]))
}

fn open(peer: IpAddr) -> Result<(Socket, Kind), Failure> {
    let (domain, protocol) = match peer {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let refused = |why: &std::io::Error| why.kind() == ErrorKind::PermissionDenied;
    match Socket::new(domain, Type::DGRAM, Some(protocol)) {
        Ok(socket) => return Ok((socket, Kind::Datagram)),
        Err(why) if refused(&why) => {}
        Err(why) => return Err(Failure::unmeasured(format!("cannot ping {peer}: {why}"))),
    }
    match Socket::new(domain, Type::RAW, Some(protocol)) {
        Ok(socket) => Ok((socket, Kind::Raw)),
        Err(why) if refused(&why) => Err(Failure::unmeasured(format!(
            "cannot ping {peer}: the daemon may not. Allow its group (sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"), \
             or add CAP_NET_RAW to AmbientCapabilities= and CapabilityBoundingSet= of its unit"
        ))),
        Err(why) => Err(Failure::unmeasured(format!("cannot ping {peer}: {why}"))),
    }
}

/// The Internet checksum (RFC 1071) of a message whose checksum is zero.
fn checksum(message: &[u8; MESSAGE_OCTETS]) -> u16 {
    let (words, _) = message.as_chunks::<2>();
    let sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reply_with_our_token_is_one() {
        let token = [7; TOKEN_OCTETS];
        let mut reply = vec![ECHO_REPLY_V4, 0, 0, 0, 1, 2, 0, 9];
        reply.extend(token);
        assert_eq!(read(&reply, true, false, &token), Some(9));
        // A raw socket hands the IPv4 header out too, with its options.
        for words in [5_u8, 6, 15] {
            let packet = [vec![0x40 | words; usize::from(words) * 4], reply.clone()].concat();
            assert_eq!(read(&packet, true, true, &token), Some(9), "{words} words");
        }
        // Our own request, as loopback shows it; another's reply; an error; rubbish.
        let mut request = reply.clone();
        request[0] = ECHO_V4;
        assert_eq!(read(&request, true, false, &token), None);
        assert_eq!(read(&reply, true, false, &[8; TOKEN_OCTETS]), None);
        assert_eq!(read(&reply, false, false, &token), None);
        for length in 0..reply.len() {
            assert_eq!(read(&reply[..length], true, false, &token), None);
            assert_eq!(read(&reply[..length], true, true, &token), None);
        }
    }

    #[test]
    fn checksums_add_up() {
        let mut message = [0xff; MESSAGE_OCTETS];
        (message[2], message[3]) = (0, 0);
        let sum = checksum(&message).to_be_bytes();
        (message[2], message[3]) = (sum[0], sum[1]);
        // With its checksum in place, a message adds up to nothing.
        assert_eq!(checksum(&message), 0);
    }
}
