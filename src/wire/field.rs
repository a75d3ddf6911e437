//! What the RDATA of each type is made of: one table for reading, writing, checking and
//! compressing records.

use super::{NAME_OCTETS_MAX, RecordType, name_len};

/// One part of an RDATA. The kinds that reach to the end come last in a type's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// An unsigned number of 8 bits.
    Octet,
    /// An unsigned number of 16 bits.
    Short,
    /// An unsigned number of 32 bits.
    Long,
    /// Seconds, 32 bits; text may use units (`1h30m`), as every server reads them.
    Span,
    /// A moment, 32 bits: `YYYYMMDDHHmmSS` (RFC 4034 §3.2).
    Moment,
    /// A record type by mnemonic, 16 bits.
    Type,
    /// A certificate type: number or mnemonic, 16 bits (RFC 4398 §2.1).
    CertType,
    /// A DNSSEC algorithm: number or mnemonic, 8 bits (RFC 4034 appendix A.1).
    Algorithm,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A name that may be compressed in a message: types of RFC 1035 alone (RFC 3597 §4).
    OldName,
    /// A name that is sent in full.
    Name,
    /// A character string of up to 255 octets (RFC 1035 §3.3).
    Text,
    /// One character string or more, to the end.
    Texts,
    /// Text to the end, without a length (CAA, URI).
    LongText,
    /// The tag of a CAA record: a character string of letters and digits (RFC 8659 §4.1).
    Tag,
    /// Octets in hexadecimal, to the end, at least one.
    Hex,
    /// Octets in hexadecimal with a length before them; `-` for none (RFC 5155 §4.3).
    Salt,
    /// Octets in base 64, to the end, at least one.
    Base64,
    /// A hash in base 32 with a length before it (RFC 5155 §3.3).
    Hash,
    /// A set of types as a bitmap, to the end (RFC 4034 §4.1.2).
    Types,
    /// Service parameters, to the end (RFC 9460 §2.2).
    Params,
    /// An identifier of 6 octets, `00-00-5e-00-53-2a` (RFC 7043).
    Eui48,
    /// An identifier of 8 octets (RFC 7043).
    Eui64,
    /// A locator or node identifier of 8 octets, `2001:0db8:1140:1000` (RFC 6742 §2).
    Locator,
    /// A place on the globe, 16 octets (RFC 1876).
    Location,
}

impl RecordType {
    /// The parts of its RDATA; `None` for a type we know nothing about (RFC 3597).
    pub fn fields(self) -> Option<&'static [Field]> {
        use Field::*;
        Some(match self {
            Self::A => &[Ipv4],
            Self::AAAA => &[Ipv6],
            Self::NS | Self::CNAME | Self::PTR => &[OldName],
            Self::MX => &[Short, OldName],
            Self::SOA => &[OldName, OldName, Long, Span, Span, Span, Span],
            Self::TXT | Self::SPF => &[Texts],
            Self::SRV => &[Short, Short, Short, Name],
            Self::HINFO => &[Text, Text],
            Self::RP => &[Name, Name],
            Self::AFSDB | Self::KX | Self::LP => &[Short, Name],
            Self::NID | Self::L64 => &[Short, Locator],
            Self::L32 => &[Short, Ipv4],
            Self::LOC => &[Location],
            Self::NAPTR => &[Short, Short, Text, Text, Text, Name],
            Self::CERT => &[CertType, Short, Algorithm, Base64],
            Self::DNAME => &[Name],
            Self::DS | Self::CDS => &[Short, Algorithm, Octet, Hex],
            Self::SSHFP => &[Octet, Octet, Hex],
            Self::RRSIG => &[Type, Algorithm, Octet, Long, Moment, Moment, Short, Name, Base64],
            Self::NSEC => &[Name, Types],
            Self::DNSKEY | Self::CDNSKEY => &[Short, Octet, Algorithm, Base64],
            Self::NSEC3 => &[Octet, Octet, Short, Salt, Hash, Types],
            Self::NSEC3PARAM => &[Octet, Octet, Short, Salt],
            Self::TLSA | Self::SMIMEA => &[Octet, Octet, Octet, Hex],
            Self::OPENPGPKEY | Self::DHCID => &[Base64],
            Self::CSYNC => &[Long, Short, Types],
            Self::ZONEMD => &[Long, Octet, Octet, Hex],
            Self::SVCB | Self::HTTPS => &[Short, Name, Params],
            Self::EUI48 => &[Eui48],
            Self::EUI64 => &[Eui64],
            Self::URI => &[Short, Short, LongText],
            Self::CAA => &[Octet, Tag, LongText],
            _ => return None,
        })
    }

    /// Where in the RDATA the name starts whose addresses go into the additional section:
    /// NS (RFC 1035 §3.3.11), MX (§3.3.9), SRV (RFC 2782), SVCB and HTTPS (RFC 9460 §4.1).
    pub fn target_at(self) -> Option<usize> {
        match self {
            Self::NS => Some(0),
            Self::MX | Self::SVCB | Self::HTTPS => Some(2),
            Self::SRV => Some(6),
            _ => None,
        }
    }
}

impl Field {
    /// How many octets this part takes at the start of `rest`, which reaches to the end of the
    /// RDATA; `None` if they are not what they should be.
    pub fn len(self, rest: &[u8]) -> Option<usize> {
        let prefixed = || rest.first().map(|len| usize::from(*len) + 1);
        let len = match self {
            Self::Octet | Self::Algorithm => 1,
            Self::Short | Self::Type | Self::CertType => 2,
            Self::Long | Self::Span | Self::Moment | Self::Ipv4 => 4,
            Self::Eui48 => 6,
            Self::Eui64 | Self::Locator => 8,
            Self::Ipv6 => 16,
            Self::Location => super::location::wire_len(rest)?,
            Self::OldName | Self::Name => name_len(rest)?,
            Self::Text | Self::Salt => prefixed()?,
            Self::Hash => prefixed().filter(|len| *len > 1)?,
            Self::Tag => {
                let len = prefixed().filter(|len| (2..=16).contains(len))?;
                rest.get(1..len)?.iter().all(u8::is_ascii_alphanumeric).then_some(len)?
            }
            Self::Texts => {
                let mut at = 0;
                while at < rest.len() {
                    at += usize::from(rest[at]) + 1;
                }
                (at > 0).then_some(at)?
            }
            Self::LongText => rest.len(),
            Self::Hex | Self::Base64 => (!rest.is_empty()).then_some(rest.len())?,
            Self::Types => super::types::is_bitmap(rest).then_some(rest.len())?,
            Self::Params => super::svcb::are_params(rest).then_some(rest.len())?,
        };
        (len <= rest.len()).then_some(len)
    }

    /// Whether it is a name.
    pub fn is_name(self) -> bool {
        matches!(self, Self::OldName | Self::Name)
    }
}

/// Splits an RDATA, its names uncompressed, into its parts; `None` if it is not a whole RDATA
/// of this type, or if the type is unknown.
pub fn split_rdata(rtype: RecordType, rdata: &[u8]) -> Option<Vec<(Field, &[u8])>> {
    let mut parts = Vec::new();
    let mut rest = rdata;
    for field in rtype.fields()? {
        let (part, after) = rest.split_at_checked(field.len(rest)?)?;
        parts.push((*field, part));
        rest = after;
    }
    rest.is_empty().then_some(parts)
}

/// Rewrites an RDATA from inside a message with its names uncompressed. Only names that old
/// types may hold are followed: other types are sent in full, and unknown ones are opaque.
///
/// `None` if it is not a whole RDATA of this type, or a name in it cannot be read.
pub fn expand_rdata(
    rtype: RecordType,
    message: &[u8],
    at: usize,
    len: usize,
    out: &mut Vec<u8>,
) -> Option<()> {
    let end = at.checked_add(len)?;
    let rdata = message.get(at..end)?;
    let Some(fields) = rtype.fields() else {
        out.extend_from_slice(rdata);
        return Some(());
    };
    let mut at = at;
    for field in fields {
        let taken = if field.is_name() {
            expand_name(message, at, out)?
        } else {
            let len = field.len(message.get(at..end)?)?;
            out.extend_from_slice(message.get(at..at + len)?);
            len
        };
        at += taken;
    }
    (at == end).then_some(())
}

/// Follows a name in a message and appends it uncompressed, its case as it stands; tells how
/// many octets it takes where it starts. Pointers must point backwards, so that every walk ends
/// (RFC 1035 §4.1.4: "a prior occurrence").
pub fn expand_name(message: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let start = out.len();
    let (mut here, mut taken) = (at, None);
    // Each pointer must lead before the place where the labels read last began.
    let mut before = at;
    loop {
        match *message.get(here)? {
            0 => {
                out.push(0);
                let whole = out.len() - start <= NAME_OCTETS_MAX;
                return whole.then(|| taken.unwrap_or_else(|| here + 1 - at));
            }
            len @ 1..=63 => {
                out.extend_from_slice(message.get(here..here + usize::from(len) + 1)?);
                here += usize::from(len) + 1;
                if out.len() - start > NAME_OCTETS_MAX {
                    return None;
                }
            }
            high @ 0xc0.. => {
                let target = usize::from(high & 0x3f) << 8 | usize::from(*message.get(here + 1)?);
                taken = taken.or_else(|| Some(here + 2 - at));
                if target >= before {
                    return None;
                }
                (here, before) = (target, target);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_types_compress() {
        for rtype in RecordType::mnemonics().filter_map(|text| RecordType::parse(text.as_bytes())) {
            let compresses = rtype.fields().is_some_and(|fields| fields.contains(&Field::OldName));
            let old = matches!(
                rtype,
                RecordType::NS | RecordType::CNAME | RecordType::PTR | RecordType::MX | RecordType::SOA
            );
            assert_eq!(compresses, old, "{rtype}");
        }
    }

    #[test]
    fn a_target_starts_where_the_table_says() {
        for rtype in [RecordType::NS, RecordType::MX, RecordType::SRV, RecordType::SVCB, RecordType::HTTPS] {
            let mut at = 0;
            for field in rtype.fields().unwrap() {
                if field.is_name() {
                    break;
                }
                at += field.len(&[0; 16]).unwrap();
            }
            assert_eq!(rtype.target_at(), Some(at), "{rtype}");
        }
    }

    #[test]
    fn splits_whole_rdata_only() {
        assert_eq!(split_rdata(RecordType::A, &[1, 2, 3, 4]).unwrap().len(), 1);
        assert!(split_rdata(RecordType::A, &[1, 2, 3]).is_none());
        assert!(split_rdata(RecordType::A, &[1, 2, 3, 4, 5]).is_none());
        assert!(split_rdata(RecordType::MX, b"\x00\x01\x01a\x00").is_some());
        assert!(split_rdata(RecordType::MX, b"\x00\x01\x01a").is_none());
        assert!(split_rdata(RecordType::TXT, b"").is_none());
        assert!(split_rdata(RecordType::TXT, b"\x01a\x00").is_some());
        assert!(split_rdata(RecordType::TXT, b"\x02a").is_none());
        assert!(split_rdata(RecordType::CAA, b"\x00\x05issueca.example").is_some());
        assert!(split_rdata(RecordType::CAA, b"\x00\x05iss-eca.example").is_none());
    }

    #[test]
    fn follows_pointers_backwards_only() {
        let message = b"\x01a\x01b\x00\x01c\xc0\x02\xc0\x09";
        let mut out = Vec::new();
        assert_eq!(expand_name(message, 5, &mut out), Some(4));
        assert_eq!(out, b"\x01c\x01b\x00");
        // A pointer to itself, and one that runs into itself.
        assert_eq!(expand_name(message, 9, &mut Vec::new()), None);
        assert_eq!(expand_name(b"\x01a\xc0\x00", 0, &mut Vec::new()), None);
        assert_eq!(expand_name(b"\x01a", 0, &mut Vec::new()), None);
        assert_eq!(expand_name(b"\x40a\x00", 0, &mut Vec::new()), None);
    }
}
