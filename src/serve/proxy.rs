//! What a load balancer says first, on behalf of whom it connects: the PROXY protocol, version 2
//! (haproxy.org/download/2.9/doc/proxy-protocol.txt §2.2).
//!
//! ```text
//! octets  0–11  a signature that no DNS message and no TLS record starts with
//!        12     version 2, command: LOCAL (the balancer itself, a health check) or PROXY
//!        13     family and protocol of the addresses
//!        14–15  length of what follows: addresses, then TLVs, which are passed over
//! ```
//!
//! Version 1, a line of text, is not taken: it has no length, and every balancer speaks 2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::hall::Broken;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const HEAD_OCTETS: usize = 16;
/// Addresses and TLVs. The addresses take 36 octets; the rest is what balancers tell about TLS,
/// of which the longest is a certificate's name.
const REST_OCTETS_MAX: usize = 2048;

/// Reads what the balancer says, and no octet more: the client's address, or none if the balancer
/// speaks for itself.
///
/// # Errors
/// The stream ends before that, or something else was said.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<IpAddr>, Broken> {
    let mut head = [0; HEAD_OCTETS];
    stream.read_exact(&mut head).await.map_err(|_| Broken)?;
    let len = rest_octets(&head)?;
    let mut rest = vec![0; len];
    stream.read_exact(&mut rest).await.map_err(|_| Broken)?;
    client(&head, &rest)
}

fn rest_octets(head: &[u8; HEAD_OCTETS]) -> Result<usize, Broken> {
    let [.., high, low] = *head;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if head.starts_with(&SIGNATURE) && len <= REST_OCTETS_MAX { Ok(len) } else { Err(Broken) }
}

fn client(head: &[u8; HEAD_OCTETS], rest: &[u8]) -> Result<Option<IpAddr>, Broken> {
    let [.., command, family, _, _] = *head;
    match (command, family) {
        // LOCAL: whatever addresses there are mean nothing.
        (0x20, _) => Ok(None),
        // PROXY for a connection whose addresses the balancer cannot tell.
        (0x21, 0x00) => Ok(None),
        // TCP over IPv4: source, destination, ports.
        (0x21, 0x11) => match rest.get(..12).and_then(<[u8]>::first_chunk::<4>) {
            Some(source) => Ok(Some(Ipv4Addr::from(*source).into())),
            None => Err(Broken),
        },
        // The same over IPv6.
        (0x21, 0x21) => match rest.get(..36).and_then(<[u8]>::first_chunk::<16>) {
            Some(source) => Ok(Some(IpAddr::from(Ipv6Addr::from(*source)).to_canonical())),
            None => Err(Broken),
        },
        // Another version or command, datagrams, Unix sockets.
        _ => Err(Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, rest].concat()
    }

    /// What is made of these octets, and how many are left.
    fn read_all(mut octets: &[u8]) -> (Result<Option<IpAddr>, Broken>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let told = runtime.block_on(read(&mut octets));
        (told, octets.len())
    }

    fn told(octets: &[u8]) -> Result<Option<String>, ()> {
        let (told, _) = read_all(octets);
        told.map(|client| client.map(|client| client.to_string())).map_err(|_| ())
    }

    const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0, 53];

    fn ipv6(source: &str) -> Vec<u8> {
        let source: Ipv6Addr = source.parse().unwrap();
        [&source.octets()[..], &[0; 16], &[0x30, 0x39, 0, 53]].concat()
    }

    #[test]
    fn takes_the_client_from_it() {
        assert_eq!(told(&header(0x21, 0x11, &IPV4)), Ok(Some("192.0.2.7".into())));
        assert_eq!(told(&header(0x21, 0x21, &ipv6("2001:db8::7"))), Ok(Some("2001:db8::7".into())));
        assert_eq!(told(&header(0x21, 0x21, &ipv6("::ffff:192.0.2.7"))), Ok(Some("192.0.2.7".into())));
    }

    #[test]
    fn a_balancer_may_speak_for_itself() {
        assert_eq!(told(&header(0x20, 0x00, &[])), Ok(None));
        assert_eq!(told(&header(0x20, 0x11, &IPV4)), Ok(None));
        assert_eq!(told(&header(0x21, 0x00, b"whatever")), Ok(None));
    }

    #[test]
    fn passes_over_what_follows_the_addresses_and_no_more() {
        let tlvs = [&IPV4[..], b"\x04\x00\x03abc"].concat();
        let octets = [&header(0x21, 0x11, &tlvs)[..], b"\0\x0cquery"].concat();
        assert_eq!(told(&octets), Ok(Some("192.0.2.7".into())));
        assert_eq!(read_all(&octets).1, 7);
        let long = [&IPV4[..], &vec![0; REST_OCTETS_MAX - IPV4.len()]].concat();
        assert!(told(&header(0x21, 0x11, &long)).is_ok());
        assert!(told(&header(0x21, 0x11, &[&long[..], b"x"].concat())).is_err());
    }

    #[test]
    fn anything_else_is_refused() {
        for (command, family, rest) in [
            (0x11, 0x11, &IPV4[..]),   // version 1
            (0x22, 0x11, &IPV4),       // a command that is not known
            (0x21, 0x12, &IPV4),       // datagrams
            (0x21, 0x31, &[0; 216]),   // Unix sockets
            (0x21, 0x11, &IPV4[..11]), // addresses cut short
            (0x21, 0x21, &[0; 35]),
            (0x21, 0x21, &IPV4), // those of the other family
        ] {
            assert!(told(&header(command, family, rest)).is_err(), "{command:x} {family:x}");
        }
        let good = header(0x21, 0x11, &IPV4);
        for at in 0..12 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(told(&bad).is_err(), "octet {at} of the signature");
        }
        for len in 0..good.len() {
            assert!(told(&good[..len]).is_err(), "cut after {len}");
        }
        assert!(told(b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 53\r\n").is_err());
    }
}
