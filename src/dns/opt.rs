//! The OPT record of a reply (RFC 6891 §6.1): what it will hold is known when the reply starts,
//! so that room is kept for it, and it is written when all else is.

use crate::wire::{ClientSubnet, Edns, Rcode, RecordType, Writer, option_code};

use super::cookie::COOKIE_OCTETS;
use super::explain::Explanation;
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
    /// The client's cookie and ours.
    pub(super) cookie: Option<[u8; COOKIE_OCTETS]>,
    /// Who we are; empty: not told.
    pub(super) nsid: &'a str,
    /// For how long the connection may be idle, in units of 100 ms.
    pub(super) keepalive: Option<u16>,
    /// Why the answer is what it is, if there is room to say so.
    pub(super) explanation: Option<Explanation>,
    /// Fill the message up to a whole number of blocks.
    pub(super) padded: bool,
}

impl<'a> Opt<'a> {
    /// What a client gets back that said this.
    #[inline]
    pub(super) fn to(edns: &Edns<'a>) -> Self {
        Self {
            dnssec_ok: edns.dnssec_ok,
            compact_ok: edns.compact_ok,
            compact: false,
            subnet: edns.options.subnet,
            scope: 0,
            cookie: None,
            nsid: "",
            keepalive: None,
            explanation: None,
            padded: false,
        }
    }

    /// Says that the zone gives compact denials; tells whether the client understands them.
    pub(super) fn set_compact(&mut self) -> bool {
        self.compact = true;
        self.compact_ok
    }

    /// For whom a resolver asks.
    #[inline]
    pub(super) fn subnet(&self) -> Option<&ClientSubnet<'a>> {
        self.subnet.as_ref()
    }

    /// Says that the answer is the same for all clients of the network of this length
    /// around the one that was asked for; 0, as it is at first, means for everybody.
    #[inline]
    pub(super) fn set_scope(&mut self, scope: u8) {
        self.scope = scope;
    }

    /// The room that it takes: explanation and padding take what is left.
    #[inline]
    pub(super) fn octets(&self) -> usize {
        let subnet = self.subnet.map_or(0, |subnet| HEAD_OCTETS + subnet.octets_len());
        let cookie = self.cookie.map_or(0, |cookie| HEAD_OCTETS + cookie.len());
        let nsid = if self.nsid.is_empty() { 0 } else { HEAD_OCTETS + self.nsid.len() };
        let keepalive = self.keepalive.map_or(0, |units| HEAD_OCTETS + size_of_val(&units));
        BARE_OCTETS + subnet + cookie + nsid + keepalive
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
        if let Some(cookie) = &self.cookie {
            put_option(writer, option_code::COOKIE, cookie)?;
        }
        if !self.nsid.is_empty() {
            put_option(writer, option_code::NSID, self.nsid.as_bytes())?;
        }
        if let Some(units) = self.keepalive {
            put_option(writer, option_code::KEEPALIVE, &units.to_be_bytes())?;
        }
        if let Some(explanation) = self.explanation {
            explain(writer, explanation);
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

#[inline]
fn put_option(writer: &mut Writer<'_>, code: u16, data: &[u8]) -> Option<()> {
    put_head(writer, code, data.len())?;
    writer.put(data)
}

/// RFC 8914 §3: it must not be what makes an answer too long.
#[cold]
fn explain(writer: &mut Writer<'_>, explanation: Explanation) {
    let (code, words) = explanation.told();
    let len = 2 + words.len();
    if HEAD_OCTETS + len <= writer.room()
        && put_head(writer, option_code::EXTENDED_ERROR, len).is_some()
        && writer.put(&code.to_be_bytes()).is_some()
    {
        // There is room: it was looked at before.
        let _ = writer.put(words.as_bytes());
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Message, Name, Options, ask};

    /// Words and padding take what room there is, and never half of what they need (RFC 8914 §3).
    #[test]
    fn what_does_not_fit_is_left_out() {
        let query = ask(1, &Name::root(), RecordType::A, None);
        let options = Options::default();
        let mut opt = Opt::to(&Edns { payload: 1232, dnssec_ok: false, compact_ok: false, options });
        opt.explanation = Some(Explanation::NotAuthoritative);
        opt.padded = true;
        let least = query.len() + BARE_OCTETS;
        let mut seen = std::collections::BTreeSet::new();
        for room in least..=PADDING_BLOCK + 1 {
            let mut out = [0xee; 512];
            let mut writer = Writer::new(&mut out, room);
            writer.put(&query).unwrap();
            opt.write(&mut writer, Rcode::REFUSED).unwrap();
            let len = writer.len();
            out[11] = 1;
            let message = Message::read(&out[..len]).unwrap_or_else(|why| panic!("{room}: {why}"));
            let options: Vec<_> = message.opt.unwrap().options.iter().map(|(code, _)| *code).collect();
            assert!(len <= room && (!options.contains(&option_code::PADDING) || len == PADDING_BLOCK));
            seen.insert(options);
        }
        let (words, padding) = (option_code::EXTENDED_ERROR, option_code::PADDING);
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [vec![], vec![words], vec![words, padding]]);
    }
}
