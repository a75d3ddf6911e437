//! EDNS options of a query (RFC 6891 §6.1.2), looked at in place and once.
//!
//! Options that we do not know, and second ones of a kind that may come once, are passed over.
//! An option that we know and that breaks its own rules makes the whole query malformed, where
//! its RFC says so:
//!
//! | option | code | malformed, so FORMERR | passed over |
//! |---|---|---|---|
//! | NSID (RFC 5001 §2.1) | 3 | | whatever is in it |
//! | client subnet (RFC 7871 §7.1.2) | 8 | family, lengths or address that do not fit together, bits set after the prefix, a scope | |
//! | cookie (RFC 7873 §5.2.2) | 10 | a length other than 8 or 16 to 40 | |
//! | keepalive (RFC 7828 §3.2.1) | 11 | | one that is not empty; all over UDP |
//! | padding (RFC 7830 §3) | 12 | | whatever is in it: refusing octets that are not 0 is optional |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::Prefix;

/// The number of an EDNS option (IANA "DNS EDNS0 Option Codes (OPT)").
#[allow(missing_docs, reason = "the names are those of the registry")]
pub mod option_code {
    pub const NSID: u16 = 3;
    pub const CLIENT_SUBNET: u16 = 8;
    pub const COOKIE: u16 = 10;
    pub const KEEPALIVE: u16 = 11;
    pub const PADDING: u16 = 12;
    pub const EXTENDED_ERROR: u16 = 15;
}

/// A client's cookie has this many octets (RFC 7873 §4).
pub const CLIENT_COOKIE_OCTETS: usize = 8;
/// A server's cookie has so many (RFC 7873 §4); ours have 16 (RFC 9018 §4).
const SERVER_COOKIE_OCTETS: std::ops::RangeInclusive<usize> = 8..=32;

/// The options of a query that mean something to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options<'a> {
    /// For whom a resolver asks.
    pub subnet: Option<ClientSubnet<'a>>,
    /// By what the client and we know each other.
    pub cookie: Option<Cookie<'a>>,
    /// Whether it wants to know which server this is.
    pub nsid: bool,
    /// Whether it would keep its connection open.
    pub keepalive: bool,
    /// Whether it pads its messages, and takes padded ones.
    pub padding: bool,
}

/// The network that a resolver asks for (RFC 7871 §6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientSubnet<'a> {
    /// The network; one of length 0 says nothing of the client (§7.1.2): the resolver's own address
    /// decides then, and the scope told is 0.
    pub prefix: Prefix,
    /// The option's data as sent: they go back, the scope filled in (§7.2.1).
    octets: &'a [u8],
}

/// A cookie of the client and, from the second time on, the one that we gave it (RFC 7873 §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cookie<'a> {
    /// The client's own.
    pub client: [u8; CLIENT_COOKIE_OCTETS],
    /// The server's, if it has one: 8 to 32 octets.
    pub server: &'a [u8],
}

/// An option list that is none, or an option that breaks its own rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl<'a> Options<'a> {
    /// Reads the data of an OPT record.
    ///
    /// # Errors
    /// [`Malformed`]: the query is answered with FORMERR.
    #[inline]
    pub fn read(mut octets: &'a [u8]) -> Result<Self, Malformed> {
        let mut options = Self::default();
        while let Some(([code_high, code_low, len_high, len_low], rest)) = octets.split_first_chunk() {
            let len = usize::from(u16::from_be_bytes([*len_high, *len_low]));
            let (data, after) = rest.split_at_checked(len).ok_or(Malformed)?;
            octets = after;
            match u16::from_be_bytes([*code_high, *code_low]) {
                option_code::CLIENT_SUBNET => {
                    let subnet = ClientSubnet::read(data)?;
                    options.subnet.get_or_insert(subnet);
                }
                option_code::COOKIE => {
                    let cookie = Cookie::read(data)?;
                    // RFC 7873 §5.2: all but the first are ignored.
                    options.cookie.get_or_insert(cookie);
                }
                option_code::NSID => options.nsid = true,
                option_code::KEEPALIVE => options.keepalive |= data.is_empty(),
                option_code::PADDING => options.padding = true,
                _ => {}
            }
        }
        if octets.is_empty() { Ok(options) } else { Err(Malformed) }
    }
}

impl<'a> ClientSubnet<'a> {
    #[inline]
    fn read(octets: &'a [u8]) -> Result<Self, Malformed> {
        let ([family_high, family_low, source, scope], address) =
            octets.split_first_chunk::<4>().ok_or(Malformed)?;
        let fits = *scope == 0 && address.len() == usize::from(source.div_ceil(8)) && {
            // Bits of the last octet that are not of the prefix.
            let spare = source.wrapping_neg() & 7;
            address.last().is_none_or(|last| last & !(u8::MAX << spare) == 0)
        };
        if !fits {
            return Err(Malformed);
        }
        let address: IpAddr = match u16::from_be_bytes([*family_high, *family_low]) {
            // Asked for nobody, a family need not be named.
            0 if *source == 0 => Ipv4Addr::UNSPECIFIED.into(),
            1 => {
                let mut whole = [0; 4];
                whole.get_mut(..address.len()).ok_or(Malformed)?.copy_from_slice(address);
                Ipv4Addr::from(whole).into()
            }
            2 => {
                let mut whole = [0; 16];
                whole.get_mut(..address.len()).ok_or(Malformed)?.copy_from_slice(address);
                Ipv6Addr::from(whole).into()
            }
            _ => return Err(Malformed),
        };
        Ok(Self { prefix: Prefix::around(address, *source), octets })
    }

    /// How long the option's data are, in a query and in its reply.
    #[inline]
    pub fn octets_len(&self) -> usize {
        self.octets.len()
    }

    /// The data that go back, up to the scope, and from behind it.
    ///
    /// `scope` is counted in the family of [`ClientSubnet::prefix`]. A resolver that asked for an
    /// IPv4 network in IPv6 clothes (RFC 4291 §2.5.5.2) is told in the family that it used.
    #[inline]
    pub fn echo(&self, scope: u8) -> Option<([u8; 4], &'a [u8])> {
        let ([family_high, family_low, source, _], address) = self.octets.split_first_chunk::<4>()?;
        let clothed = *family_low == 2 && self.prefix.is_ipv4();
        let scope = if clothed && scope > 0 { scope.saturating_add(96) } else { scope };
        Some(([*family_high, *family_low, *source, scope], address))
    }
}

impl<'a> Cookie<'a> {
    #[inline]
    fn read(octets: &'a [u8]) -> Result<Self, Malformed> {
        let (client, server) = octets.split_first_chunk().ok_or(Malformed)?;
        if server.is_empty() || SERVER_COOKIE_OCTETS.contains(&server.len()) {
            Ok(Self { client: *client, server })
        } else {
            Err(Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(code: u16, data: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
    }

    fn subnet(data: &[u8]) -> Option<String> {
        let octets = option(option_code::CLIENT_SUBNET, data);
        let options = Options::read(&octets).ok()?;
        Some(options.subnet.unwrap().prefix.to_string())
    }

    #[test]
    fn reads_the_network_a_resolver_asks_for() {
        for (data, expected) in [
            (&[0, 1, 24, 0, 192, 0, 2][..], "192.0.2.0/24"),
            (&[0, 1, 0, 0], "0.0.0.0/0"),
            (&[0, 0, 0, 0], "0.0.0.0/0"),
            (&[0, 2, 0, 0], "::/0"),
            (&[0, 1, 32, 0, 192, 0, 2, 1], "192.0.2.1/32"),
            (&[0, 1, 20, 0, 192, 0, 0xf0], "192.0.240.0/20"),
            (&[0, 2, 33, 0, 0x20, 1, 0xd, 0xb8, 0x80], "2001:db8:8000::/33"),
        ] {
            assert_eq!(subnet(data).as_deref(), Some(expected), "{data:?}");
        }
    }

    #[test]
    fn refuses_what_rfc_7871_calls_malformed() {
        for (data, why) in [
            (&[][..], "empty"),
            (&[0, 1, 24], "cut short"),
            (&[0, 1, 24, 0, 192, 0], "an octet too few"),
            (&[0, 1, 24, 0, 192, 0, 2, 0], "an octet too many"),
            (&[0, 1, 0, 0, 0], "an address with length 0"),
            (&[0, 1, 33, 0, 192, 0, 2, 1, 0], "longer than IPv4"),
            (&[0, 2, 129, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0], "longer than IPv6"),
            (&[0, 1, 20, 0, 192, 0, 0xf8], "bits after the prefix"),
            (&[0, 1, 23, 0, 192, 0, 1], "a bit right after the prefix"),
            (&[0, 1, 24, 24, 192, 0, 2], "a scope in a query"),
            (&[0, 0, 8, 0, 10], "no family"),
            (&[0, 3, 8, 0, 10], "an unknown family"),
            (&[1, 1, 8, 0, 10], "an unknown family"),
            (&[0, 3, 0, 0], "an unknown family"),
        ] {
            assert_eq!(subnet(data), None, "{why}");
        }
    }

    #[test]
    fn a_scope_goes_back_in_the_family_that_was_used() {
        let octets = option(option_code::CLIENT_SUBNET, &[0, 1, 24, 0, 192, 0, 2]);
        let subnet = Options::read(&octets).unwrap().subnet.unwrap();
        assert_eq!(subnet.echo(16), Some(([0, 1, 24, 16], &[192, 0, 2][..])));
        let mut mapped = vec![0, 2, 120, 0];
        mapped.extend([0; 10]);
        mapped.extend([0xff, 0xff, 192, 0, 2]);
        let octets = option(option_code::CLIENT_SUBNET, &mapped);
        let subnet = Options::read(&octets).unwrap().subnet.unwrap();
        assert_eq!(subnet.prefix.to_string(), "192.0.2.0/24");
        assert_eq!(subnet.echo(16).unwrap().0, [0, 2, 120, 112]);
        assert_eq!(subnet.echo(0).unwrap().0, [0, 2, 120, 0]);
    }

    #[test]
    fn a_cookie_has_the_lengths_that_rfc_7873_gives_it() {
        for len in 0..60 {
            let octets = option(option_code::COOKIE, &vec![7; len]);
            let expected = len == 8 || (16..=40).contains(&len);
            assert_eq!(Options::read(&octets).is_ok(), expected, "{len}");
        }
        let octets = option(option_code::COOKIE, b"clientsOserversO");
        let cookie = Options::read(&octets).unwrap().cookie.unwrap();
        assert_eq!((&cookie.client, cookie.server), (b"clientsO", &b"serversO"[..]));
    }

    #[test]
    fn the_first_of_a_kind_counts_and_all_must_be_sound() {
        let one = option(option_code::CLIENT_SUBNET, &[0, 1, 8, 0, 10]);
        let two = option(option_code::CLIENT_SUBNET, &[0, 1, 8, 0, 11]);
        let both = [one.clone(), two].concat();
        assert_eq!(Options::read(&both).unwrap().subnet.unwrap().prefix.to_string(), "10.0.0.0/8");
        let bad = [one, option(option_code::CLIENT_SUBNET, &[0, 1, 8, 0])].concat();
        assert_eq!(Options::read(&bad), Err(Malformed));
    }

    #[test]
    fn options_are_whole_and_unknown_ones_do_no_harm() {
        let all = [
            option(65001, b"whatever"),
            option(option_code::NSID, b"ignored"),
            option(option_code::KEEPALIVE, b""),
            option(option_code::PADDING, b"\0\0\0"),
        ]
        .concat();
        let options = Options::read(&all).unwrap();
        assert!(options.nsid && options.keepalive && options.padding);
        assert!(!Options::read(&option(option_code::KEEPALIVE, b"\0\x64")).unwrap().keepalive);
        assert_eq!(Options::read(&[]), Ok(Options::default()));
        for len in 1..4 {
            assert_eq!(Options::read(&all[..len]), Err(Malformed), "{len}");
        }
        assert_eq!(Options::read(&option(3, b"abc")[..6]), Err(Malformed));
    }
}
