//! The OPT record of a reply (RFC 6891 §6.1): what it will hold is known when the reply starts,
//! so that room is kept for it, and it is written when all else is.

use crate::wire::{ClientSubnet, Edns, Rcode, RecordType, Writer, option_code};

use super::reply::UDP_PAYLOAD;

/// An OPT record without options.
const BARE_OCTETS: usize = 11;
/// What stands before an option's data: code and length.
const HEAD_OCTETS: usize = 4;
/// Replies are padded to a multiple of so many octets (RFC 8467 §4.1).
pub(super) const PADDING_BLOCK: usize = 468;

/// What a reply's OPT record holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opt<'a> {
    pub(super) dnssec_ok: bool,
    /// Whether the client understands a compact denial that says NXDOMAIN (RFC 9824 §5.1) …
    compact_ok: bool,
    /// … and the reply is by a server that gives such.
    pub(super) compact: bool,
    /// Goes back as it came …
    subnet: Option<ClientSubnet<'a>>,
    /// … with the network that the answer holds for.
    scope: u8,
    /// Fill the message up to a whole number of blocks.
    pub(super) padded: bool,
}

impl<'a> Opt<'a> {
    /// What a client gets back that said this.
    #[inline]
    pub(super) fn to(edns: &Edns<'a>) -> Self {
        let Edns { dnssec_ok, compact_ok, options, .. } = *edns;
        Self { dnssec_ok, compact_ok, compact: false, subnet: options.subnet, scope: 0, padded: false }
    }

    /// Says that the zone gives compact denials; tells whether the client understands them.
    pub(super) fn set_compact(&mut self) -> bool {
        self.compact = true;
        self.compact_ok
    }

    /// For whom a resolver asks.
    #[inline]
    #[allow(dead_code, reason = "for policies that look at it")]
    pub(super) fn subnet(&self) -> Option<&ClientSubnet<'a>> {
        self.subnet.as_ref()
    }

    /// Says that the answer is the same for all clients of the network of this length
    /// around the one that was asked for; 0, as it is at first, means for everybody.
    #[inline]
    #[allow(dead_code, reason = "for policies that look at it")]
    pub(super) fn set_scope(&mut self, scope: u8) {
        self.scope = scope;
    }

    /// The room that it takes: padding takes what is left.
    #[inline]
    pub(super) fn octets(&self) -> usize {
        let subnet = self.subnet.map_or(0, |subnet| HEAD_OCTETS + subnet.octets_len());
        BARE_OCTETS + subnet
    }

    /// Appends it. `None` if room was not kept.
    #[inline]
    pub(super) fn write(&self, writer: &mut Writer<'_>, rcode: Rcode) -> Option<()> {
        // Name, type, our payload, upper code, version, DO as it came (RFC 3225 §3), length.
        let [high, low] = UDP_PAYLOAD.to_be_bytes();
        let upper = (rcode.0 >> 4) as u8;
        let flags = u8::from(self.dnssec_ok) << 7 | u8::from(self.compact && self.compact_ok) << 6;
        writer.put(&[0, 0, RecordType::OPT.0 as u8, high, low, upper, 0, flags, 0, 0, 0])?;
        let start = writer.len();
        // RFC 7871 §7.2.1: family, source and address as they came. A query that is malformed
        // may have no network that could go back.
        if let Some(subnet) = &self.subnet {
            let (front, address) = subnet.echo(self.scope)?;
            put_head(writer, option_code::CLIENT_SUBNET, front.len() + address.len())?;
            writer.put(&front)?;
            writer.put(address)?;
        }
        if self.padded {
            pad(writer);
        }
        let len = (writer.len() - start) as u16;
        if len > 0 {
            writer.patch(start - 2, &len.to_be_bytes());
        }
        Some(())
    }
}

#[inline]
fn put_head(writer: &mut Writer<'_>, code: u16, len: usize) -> Option<()> {
    let [a, b] = code.to_be_bytes();
    let [c, d] = (len as u16).to_be_bytes();
    writer.put(&[a, b, c, d])
}

/// Fills the message up to a whole number of blocks; a message too long for that stays as it is.
fn pad(writer: &mut Writer<'_>) {
    let bare = writer.len() + HEAD_OCTETS;
    let len = bare.next_multiple_of(PADDING_BLOCK) - bare;
    if HEAD_OCTETS + len <= writer.room()
        && put_head(writer, option_code::PADDING, len).is_some()
        && let Some(gap) = writer.gap(len)
    {
        // The buffer may hold an older message, which is nobody's to see.
        gap.fill(0);
    }
}
