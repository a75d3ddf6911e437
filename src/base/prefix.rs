//! A network: an address and how many of its leading bits count.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network. The bits after its length are zero, so that equal networks are equal values.
///
/// An IPv4-mapped IPv6 network (`::ffff:192.0.2.0/120`, RFC 4291 §2.5.5.2) is the IPv4 network
/// that it stands for: a socket bound to `::` must not make a client another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    // The order of the fields makes the order of networks: IPv4 first, by address, wide before narrow.
    address: IpAddr,
    len: u8,
}

/// Why a text or an address with a length is no network.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PrefixError {
    /// Not an address before the slash.
    #[error("`{0}` is not an IP address")]
    Address(String),
    /// Not a length after the slash, or more bits than the address has.
    #[error("`/{length}` is not a length: {family} has 0 to {max}")]
    Length {
        /// What stands after the slash.
        length: String,
        /// The family of the address.
        family: &'static str,
        /// The bits of such an address.
        max: u8,
    },
    /// Bits are set after the length.
    #[error("{address}/{} has bits set after its length: the network is {right}", right.len())]
    HostBits {
        /// The address as written.
        address: IpAddr,
        /// The network that it lies in.
        right: Prefix,
    },
}

impl Prefix {
    /// The network of this length that an address lies in; a length beyond the address's bits
    /// is the address alone.
    pub fn around(address: IpAddr, len: u8) -> Self {
        let len = len.min(bits_of(address));
        match address {
            IpAddr::V4(v4) => Self { address: Ipv4Addr::from_bits(v4.to_bits() & mask_v4(len)).into(), len },
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) if len >= 96 => Self::around(v4.into(), len - 96),
                _ => Self { address: Ipv6Addr::from_bits(v6.to_bits() & mask_v6(len)).into(), len },
            },
        }
    }

    /// The network of exactly this address and length.
    ///
    /// # Errors
    /// [`PrefixError::Length`] and [`PrefixError::HostBits`].
    pub fn exact(address: IpAddr, len: u8) -> Result<Self, PrefixError> {
        if len > bits_of(address) {
            return Err(PrefixError::length(&len.to_string(), address));
        }
        let right = Self::around(address, len);
        if right.first() == address.to_canonical() {
            Ok(right)
        } else {
            Err(PrefixError::HostBits { address, right })
        }
    }

    /// The network of one address.
    pub fn host(address: IpAddr) -> Self {
        Self::around(address, u8::MAX)
    }

    /// Its first address.
    pub fn first(&self) -> IpAddr {
        self.address
    }

    /// Its last address.
    pub fn last(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() | !mask_v4(self.len)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() | !mask_v6(self.len)).into(),
        }
    }

    /// How many bits count: up to 32 for IPv4, up to 128 for IPv6.
    #[allow(clippy::len_without_is_empty, reason = "the length of a prefix, not of a collection")]
    pub fn len(&self) -> u8 {
        self.len
    }

    /// The bits of an address of its family.
    pub fn len_max(&self) -> u8 {
        bits_of(self.address)
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether an address lies in it. An IPv4-mapped address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.covers(&Self::host(address))
    }

    /// Whether all of another network lies in it; it covers itself.
    pub fn covers(&self, other: &Prefix) -> bool {
        match (self.address, other.address) {
            (IpAddr::V4(mine), IpAddr::V4(theirs)) => {
                self.len <= other.len && (mine.to_bits() ^ theirs.to_bits()) & mask_v4(self.len) == 0
            }
            (IpAddr::V6(mine), IpAddr::V6(theirs)) => {
                self.len <= other.len && (mine.to_bits() ^ theirs.to_bits()) & mask_v6(self.len) == 0
            }
            _ => false,
        }
    }

    /// The network of this length that covers it; itself, if it is no longer than that.
    #[must_use]
    pub fn shortened(&self, len: u8) -> Self {
        Self::around(self.address, len.min(self.len))
    }
}

impl PrefixError {
    fn length(length: &str, address: IpAddr) -> Self {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        Self::Length { length: length.to_owned(), family, max: bits_of(address) }
    }
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The leading `len` bits. A shift by all bits of a word is none at all, hence `checked_shl`.
fn mask_v4(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

fn mask_v6(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// `192.0.2.0/24`, `2001:db8::/32`; a bare address stands for itself alone.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address(address.to_owned()))?;
        let Some(length) = length else { return Ok(Self::host(address)) };
        // `parse` alone takes "+8" too.
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        match length.parse() {
            Ok(len) if digits => Self::exact(address, len),
            _ => Err(PrefixError::length(length, address)),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn wrong(text: &str) -> String {
        text.parse::<Prefix>().unwrap_err().to_string()
    }

    #[test]
    fn texts_are_read_and_written_back() {
        for text in ["192.0.2.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32", "192.0.2.1/32", "10.0.0.0/7"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(prefix("192.0.2.1").to_string(), "192.0.2.1/32");
        assert_eq!(prefix("2001:db8::1").to_string(), "2001:db8::1/128");
        assert_eq!(prefix("::ffff:192.0.2.0/120"), prefix("192.0.2.0/24"));
        assert_eq!(prefix("::ffff:192.0.2.1"), prefix("192.0.2.1"));
        // Wider than the mapped addresses: not all of it is IPv4.
        assert_eq!(prefix("::/80").to_string(), "::/80");
    }

    #[test]
    fn mistakes_name_what_is_right() {
        assert_eq!(
            wrong("192.0.2.1/24"),
            "192.0.2.1/24 has bits set after its length: the network is 192.0.2.0/24"
        );
        assert_eq!(
            wrong("2001:db8::1/32"),
            "2001:db8::1/32 has bits set after its length: the network is 2001:db8::/32"
        );
        assert_eq!(wrong("192.0.2.0/33"), "`/33` is not a length: IPv4 has 0 to 32");
        assert_eq!(wrong("::/129"), "`/129` is not a length: IPv6 has 0 to 128");
        assert_eq!(wrong("::/300"), "`/300` is not a length: IPv6 has 0 to 128");
        assert_eq!(wrong("10.0.0.0/+8"), "`/+8` is not a length: IPv4 has 0 to 32");
        assert_eq!(wrong("10.0.0.0/"), "`/` is not a length: IPv4 has 0 to 32");
        assert_eq!(wrong("10.0.0/8"), "`10.0.0` is not an IP address");
        assert_eq!(wrong(""), "`` is not an IP address");
        assert!(wrong("::ffff:192.0.2.1/120").ends_with("the network is 192.0.2.0/24"));
    }

    #[test]
    fn first_and_last_span_the_network() {
        let span = |text: &str| (prefix(text).first().to_string(), prefix(text).last().to_string());
        assert_eq!(span("192.0.2.0/24"), ("192.0.2.0".into(), "192.0.2.255".into()));
        assert_eq!(span("0.0.0.0/0"), ("0.0.0.0".into(), "255.255.255.255".into()));
        assert_eq!(span("2001:db8::/127"), ("2001:db8::".into(), "2001:db8::1".into()));
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
            any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
            any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).to_ipv6_mapped().into()),
        ]
    }

    proptest! {
        #[test]
        fn a_network_holds_what_lies_between_its_ends(a in address(), b in address(), len in 0u8..=128) {
            let network = Prefix::around(a, len);
            // A mapped address is an IPv4 address, and lies in no wider IPv6 network.
            prop_assert!(network.contains(a) || a.to_canonical().is_ipv4() != network.is_ipv4());
            prop_assert_eq!(network.to_string().parse::<Prefix>(), Ok(network));
            let b = b.to_canonical();
            let between = b.is_ipv4() == network.is_ipv4() && network.first() <= b && b <= network.last();
            prop_assert_eq!(network.contains(b), between);
            let other = Prefix::around(b, len);
            prop_assert_eq!(network.covers(&other), between && other.len() >= network.len());
            let last = network.last();
            prop_assert!(network.contains(last) || last.to_canonical() != last);
        }

        #[test]
        fn a_shorter_one_covers_it(a in address(), len in 0u8..=128, shorter in 0u8..=128) {
            let network = Prefix::around(a, len);
            let wide = network.shortened(shorter);
            prop_assert!(wide.covers(&network));
            prop_assert_eq!(wide.len(), network.len().min(shorter));
            prop_assert_eq!(network.covers(&wide), wide == network);
        }
    }
}
