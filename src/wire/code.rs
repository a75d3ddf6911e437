//! The numbers of the DNS and their names: record types, classes, opcodes, response codes
//! (IANA "Domain Name System (DNS) Parameters").

use std::fmt;

/// A record type. Any number is one; those without a mnemonic here print as `TYPE65280`
/// (RFC 3597 §5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

/// A class. We serve `IN` alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u16);

/// What a message asks for (RFC 1035 §4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opcode(pub u8);

/// How it went; above 15 it needs EDNS to be told (RFC 6891 §6.1.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rcode(pub u16);

macro_rules! mnemonics {
    ($kind:ident { $($name:ident = $value:literal $text:literal,)* }) => {
        #[allow(missing_docs, reason = "the mnemonic is the documentation")]
        impl $kind {
            $(pub const $name: Self = Self($value);)*

            /// Its mnemonic, if it has one.
            pub fn mnemonic(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($text),)*
                    _ => None,
                }
            }

            /// All that have a mnemonic, with it.
            pub const NAMED: &'static [($kind, &'static str)] = &[$((Self::$name, $text),)*];
        }
    };
}

// The first ones are the commonest: text is matched against this list from the top.
mnemonics! { RecordType {
    A = 1 "A", AAAA = 28 "AAAA", CNAME = 5 "CNAME", NS = 2 "NS", TXT = 16 "TXT", MX = 15 "MX",
    PTR = 12 "PTR", SRV = 33 "SRV", SOA = 6 "SOA",
    HINFO = 13 "HINFO", RP = 17 "RP", AFSDB = 18 "AFSDB", LOC = 29 "LOC", NAPTR = 35 "NAPTR", KX = 36 "KX",
    CERT = 37 "CERT", DNAME = 39 "DNAME", OPT = 41 "OPT", DS = 43 "DS", SSHFP = 44 "SSHFP",
    RRSIG = 46 "RRSIG", NSEC = 47 "NSEC", DNSKEY = 48 "DNSKEY", DHCID = 49 "DHCID", NSEC3 = 50 "NSEC3",
    NSEC3PARAM = 51 "NSEC3PARAM", TLSA = 52 "TLSA", SMIMEA = 53 "SMIMEA", CDS = 59 "CDS",
    CDNSKEY = 60 "CDNSKEY", OPENPGPKEY = 61 "OPENPGPKEY", CSYNC = 62 "CSYNC", ZONEMD = 63 "ZONEMD",
    SVCB = 64 "SVCB", HTTPS = 65 "HTTPS", SPF = 99 "SPF", NID = 104 "NID", L32 = 105 "L32", L64 = 106 "L64", LP = 107 "LP", EUI48 = 108 "EUI48", EUI64 = 109 "EUI64",
    NXNAME = 128 "NXNAME", TKEY = 249 "TKEY", TSIG = 250 "TSIG", IXFR = 251 "IXFR", AXFR = 252 "AXFR",
    MAILB = 253 "MAILB", MAILA = 254 "MAILA", ANY = 255 "ANY", URI = 256 "URI", CAA = 257 "CAA",
} }

mnemonics! { Class { IN = 1 "IN", CH = 3 "CH", HS = 4 "HS", NONE = 254 "NONE", ANY = 255 "ANY", } }

mnemonics! { Opcode {
    QUERY = 0 "QUERY", IQUERY = 1 "IQUERY", STATUS = 2 "STATUS", NOTIFY = 4 "NOTIFY", UPDATE = 5 "UPDATE",
    DSO = 6 "DSO",
} }

mnemonics! { Rcode {
    NOERROR = 0 "NOERROR", FORMERR = 1 "FORMERR", SERVFAIL = 2 "SERVFAIL", NXDOMAIN = 3 "NXDOMAIN",
    NOTIMP = 4 "NOTIMP", REFUSED = 5 "REFUSED", YXDOMAIN = 6 "YXDOMAIN", YXRRSET = 7 "YXRRSET",
    NXRRSET = 8 "NXRRSET", NOTAUTH = 9 "NOTAUTH", NOTZONE = 10 "NOTZONE", BADVERS = 16 "BADVERS",
    BADCOOKIE = 23 "BADCOOKIE",
} }

impl RecordType {
    /// Reads `AAAA`, `aaaa` or `TYPE28`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        find(Self::NAMED, text).or_else(|| numbered(text, b"TYPE").map(Self))
    }

    /// Types that exist only in messages, never in a zone (RFC 6895 §3.1): `OPT`, and those
    /// from 128 to 255, which are meta types and questions about several types.
    pub fn is_meta(self) -> bool {
        self == Self::OPT || (128..=255).contains(&self.0)
    }

    /// All types that have a mnemonic, for "did you mean".
    pub fn mnemonics() -> impl Iterator<Item = &'static str> {
        Self::NAMED.iter().map(|(_, text)| *text)
    }
}

impl Class {
    /// Reads `IN`, `in` or `CLASS1`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        find(Self::NAMED, text).or_else(|| numbered(text, b"CLASS").map(Self))
    }
}

fn find<T: Copy>(named: &[(T, &str)], text: &[u8]) -> Option<T> {
    named.iter().find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(text)).map(|(value, _)| *value)
}

/// The number in `TYPE65280` or `CLASS32` (RFC 3597 §5).
fn numbered(text: &[u8], prefix: &[u8]) -> Option<u16> {
    let (head, digits) = text.split_at_checked(prefix.len())?;
    if !head.eq_ignore_ascii_case(prefix) || digits.is_empty() || digits.len() > 5 {
        return None;
    }
    digits.iter().try_fold(0u16, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

macro_rules! shown {
    ($($kind:ident $prefix:literal;)*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.mnemonic() {
                    Some(text) => f.pad(text),
                    None => f.pad(&format!("{}{}", $prefix, self.0)),
                }
            }
        }

        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

shown! { RecordType "TYPE"; Class "CLASS"; Opcode "OPCODE"; Rcode "RCODE"; }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mnemonics_read_back() {
        for (rtype, text) in RecordType::NAMED {
            assert_eq!(RecordType::parse(text.as_bytes()), Some(*rtype));
            assert_eq!(rtype.to_string(), *text);
        }
        assert_eq!(RecordType::parse(b"aaaa"), Some(RecordType::AAAA));
        assert_eq!(Class::parse(b"in"), Some(Class::IN));
        assert_eq!(Class::parse(b"CLASS32"), Some(Class(32)));
    }

    #[test]
    fn unknown_types_have_numbers() {
        assert_eq!(RecordType::parse(b"TYPE65280"), Some(RecordType(65280)));
        assert_eq!(RecordType::parse(b"type1"), Some(RecordType::A));
        assert_eq!(RecordType(65280).to_string(), "TYPE65280");
        for bad in ["TYPE", "TYPE65536", "TYPE-1", "TYPE1x", "TYPE000001", "B", ""] {
            assert_eq!(RecordType::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn knows_types_that_no_zone_holds() {
        assert!(RecordType::OPT.is_meta() && RecordType::AXFR.is_meta() && RecordType::NXNAME.is_meta());
        assert!(!RecordType::A.is_meta() && !RecordType::URI.is_meta() && !RecordType(65280).is_meta());
    }
}
