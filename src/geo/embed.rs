//! IPv6 addresses that IPv4 clients have: they are where the IPv4 address is.
//!
//! A database has no better word on a 6to4 or NAT64 client than what it says of the IPv4 address
//! inside. All of these are sound for a shortened address too: then the leading bits decide, and
//! the rest is taken as zeros, as with any client subnet.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A range of IPv6 addresses with an IPv4 address inside.
pub(super) struct Embedding {
    /// The first address of the range.
    pub(super) first: u128,
    /// The length of the range's prefix.
    pub(super) len: u8,
    /// The bits before the IPv4 address.
    pub(super) skip: u8,
    /// The IPv4 address is written with all its bits turned.
    pub(super) inverted: bool,
}

/// All of them. IPv4-mapped addresses are IPv4 before they come here ([`crate::base::Prefix`]); they
/// are listed so that no other network's scope covers them.
pub(super) const EMBEDDINGS: [Embedding; 4] = [
    // IPv4-mapped, RFC 4291 §2.5.5.2.
    Embedding { first: 0xffff << 32, len: 96, skip: 96, inverted: false },
    // NAT64 and SIIT-DC, RFC 6052 §2.1: in SIIT-DC (RFC 7755) it is the client's address.
    Embedding { first: 0x64_ff9b << 96, len: 96, skip: 96, inverted: false },
    // Teredo, RFC 4380 §4: the client's address behind its server's, flags and port, inverted.
    // Databases alias the range by the bits after the prefix, and those are the server's.
    Embedding { first: 0x2001_0000 << 96, len: 32, skip: 96, inverted: true },
    // 6to4, RFC 3056 §2.
    Embedding { first: 0x2002 << 112, len: 16, skip: 16, inverted: false },
];

impl Embedding {
    /// The last address of the range.
    pub(super) fn last(&self) -> u128 {
        self.first | (u128::MAX >> self.len)
    }

    /// The IPv4 address in one of the range.
    pub(super) fn inner(&self, address: u128) -> u32 {
        let bits = (address >> (96 - self.skip)) as u32;
        if self.inverted { !bits } else { bits }
    }
}

/// The IPv4 address in an IPv6 address, if there is one.
pub(super) fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let address = address.to_bits();
    let embedding = EMBEDDINGS.iter().find(|range| (range.first..=range.last()).contains(&address))?;
    Some(Ipv4Addr::from_bits(embedding.inner(address)))
}
