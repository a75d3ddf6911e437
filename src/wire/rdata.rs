//! RDATA as text and back, driven by the table of fields.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::encoding::{Base64, from_base32, from_hex, write_base32, write_base64, write_hex};
use super::field::{Field, split_rdata};
use super::raw::{ShowName, append_name};
use super::svcb::write_octet;
use super::types::{read_bitmap, write_bitmap};
use super::words::{Word, WordKind, Words, seconds};
use super::{RecordType, location, svcb};

/// An RDATA is at most this long (RFC 1035 §3.2.1).
pub const RDATA_OCTETS_MAX: usize = 65_535;

/// Reads an RDATA as a master file writes it and appends its wire form, names uncompressed and
/// lower-cased. `\# length hex` is understood for every type, and must then be what the type
/// demands (RFC 3597 §5).
///
/// # Errors
/// A sentence about the word read last, or about one that is missing. The tail of `out` is then
/// undefined.
pub fn parse_rdata<'a>(
    rtype: RecordType,
    words: &mut impl Words<'a>,
    origin: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let start = out.len();
    let mut first = words.next_word()?;
    if let Some(Word { text: b"\\#", kind: WordKind::Plain }) = first {
        first = None;
        parse_generic(rtype, words, out)?;
    } else {
        let fields =
            rtype.fields().ok_or_else(|| format!("{rtype} can only be written as `\\# length hex`"))?;
        for field in fields {
            let mut words = Ahead { first: &mut first, rest: words };
            parse_field(*field, &mut words, origin, out)
                .map_err(|why| if why.is_empty() { missing(rtype, *field) } else { why })?;
        }
    }
    if let Some(word) = first.or(words.next_word()?) {
        return Err(format!("`{}` is too much: the {rtype} record ended before it", word.shown()));
    }
    match out.len() - start {
        0..=RDATA_OCTETS_MAX => Ok(()),
        _ => Err(format!("the data is longer than {RDATA_OCTETS_MAX} octets")),
    }
}

/// A word that was read to look at it, and those after it.
struct Ahead<'w, 'a, W> {
    first: &'w mut Option<Word<'a>>,
    rest: &'w mut W,
}

impl<'a, W: Words<'a>> Words<'a> for Ahead<'_, 'a, W> {
    fn next_word(&mut self) -> Result<Option<Word<'a>>, String> {
        self.first.take().map_or_else(|| self.rest.next_word(), |word| Ok(Some(word)))
    }
}

/// `\# 4 0A00 0001`
fn parse_generic<'a>(rtype: RecordType, words: &mut impl Words<'a>, out: &mut Vec<u8>) -> Result<(), String> {
    let start = out.len();
    let len = words.next_word()?.ok_or("a length must follow `\\#`")?;
    let len = usize::from(len.number(u16::MAX)?);
    while let Some(word) = words.next_word()? {
        if !from_hex(word.text, out) {
            return Err(format!("`{}` is not an even number of hexadecimal digits", word.shown()));
        }
    }
    if out.len() - start != len {
        return Err(format!("the length says {len} octets, but {} follow", out.len() - start));
    }
    if rtype.fields().is_some() {
        let parts = split_rdata(rtype, &out[start..]);
        let parts = parts.ok_or_else(|| format!("these octets are no {rtype} record"))?;
        // Names are kept folded, like those that were written as text.
        let mut at = start;
        let spans: Vec<_> = parts.iter().map(|(field, part)| (field.is_name(), part.len())).collect();
        for (is_name, len) in spans {
            if is_name {
                out[at..at + len].make_ascii_lowercase();
            }
            at += len;
        }
    }
    Ok(())
}

/// Reads one part. The empty sentence stands for a missing word.
fn parse_field<'a>(
    field: Field,
    words: &mut impl Words<'a>,
    origin: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let mut next = || words.next_word()?.ok_or_else(String::new);
    match field {
        Field::Ipv4 => {
            let word = next()?;
            let address = std::str::from_utf8(word.text).ok().and_then(|text| text.parse::<Ipv4Addr>().ok());
            let address = address.ok_or_else(|| format!("`{}` is not an IPv4 address", word.shown()))?;
            out.extend_from_slice(&address.octets());
        }
        Field::Ipv6 => {
            let word = next()?;
            let address = std::str::from_utf8(word.text).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
            let address = address.ok_or_else(|| format!("`{}` is not an IPv6 address", word.shown()))?;
            out.extend_from_slice(&address.octets());
        }
        Field::OldName | Field::Name => {
            let word = next()?;
            if word.kind != WordKind::Plain {
                return Err(format!("\"{}\" is quoted, which no name may be", word.shown()));
            }
            append_name(word.text, origin, out).map_err(|why| format!("`{}`: {why}", word.shown()))?;
        }
        Field::Octet => out.push(next()?.number(u8::MAX)?),
        Field::Short => out.extend(next()?.number(u16::MAX)?.to_be_bytes()),
        Field::Long => out.extend(next()?.number(u32::MAX)?.to_be_bytes()),
        Field::Span => {
            let word = next()?;
            let value = seconds(word.text)
                .ok_or_else(|| format!("`{}` is not a number of seconds like 3600 or 1h", word.shown()))?;
            out.extend(value.to_be_bytes());
        }
        Field::Moment => out.extend(moment(&next()?)?.to_be_bytes()),
        Field::Type => {
            let word = next()?;
            out.extend(record_type(&word)?.0.to_be_bytes());
        }
        Field::CertType => out.extend(numbered(&next()?, CERT_TYPES, u16::MAX)?.to_be_bytes()),
        Field::Algorithm => out.push(numbered(&next()?, ALGORITHMS, u8::MAX)?),
        Field::Text => character_string(&next()?, out)?,
        Field::Texts => {
            character_string(&next()?, out)?;
            while let Some(word) = words.next_word()? {
                character_string(&word, out)?;
            }
        }
        Field::LongText => next()?.octets(out)?,
        Field::Tag => {
            let word = next()?;
            if !(1..=15).contains(&word.text.len()) || !word.text.iter().all(u8::is_ascii_alphanumeric) {
                return Err(format!("`{}` is not a tag of 1 to 15 letters and digits", word.shown()));
            }
            out.push(word.text.len() as u8);
            out.extend_from_slice(word.text);
        }
        Field::Hex => {
            let mut word = Some(next()?);
            while let Some(digits) = word {
                if !from_hex(digits.text, out) {
                    return Err(format!("`{}` is not an even number of hexadecimal digits", digits.shown()));
                }
                word = words.next_word()?;
            }
        }
        Field::Base64 => {
            let (mut reader, mut word) = (Base64::default(), Some(next()?));
            while let Some(digits) = word {
                if !reader.push(digits.text, out) {
                    return Err(format!("`{}` is not base 64", digits.shown()));
                }
                word = words.next_word()?;
            }
            if !reader.finish() {
                return Err("the base 64 text is cut short".into());
            }
        }
        Field::Salt | Field::Hash => {
            let (word, length_at) = (next()?, out.len());
            out.push(0);
            let good = match field {
                Field::Salt => word.text == b"-" || from_hex(word.text, out),
                _ => from_base32(word.text, out) && out.len() > length_at + 1,
            };
            let len = u8::try_from(out.len() - length_at - 1).ok().filter(|_| good);
            out[length_at] = len.ok_or_else(|| match field {
                Field::Salt => {
                    format!("`{}` is neither `-` nor up to 255 octets in hexadecimal", word.shown())
                }
                _ => format!("`{}` is not a hash in base 32", word.shown()),
            })?;
        }
        Field::Types => {
            let mut types = Vec::new();
            while let Some(word) = words.next_word()? {
                types.push(record_type(&word)?);
            }
            write_bitmap(&mut types, out);
        }
        Field::Params => svcb::parse(words, out)?,
        Field::Eui48 => identifier::<6>(&next()?, out)?,
        Field::Eui64 => identifier::<8>(&next()?, out)?,
        Field::Locator => locator(&next()?, out)?,
        Field::Location => location::parse(words, out)?,
    }
    Ok(())
}

fn missing(rtype: RecordType, field: Field) -> String {
    let what = match field {
        Field::Octet | Field::Short | Field::Long => "a number",
        Field::Span => "a number of seconds",
        Field::Moment => "a time",
        Field::Type => "a type",
        Field::CertType => "a certificate type",
        Field::Algorithm => "an algorithm",
        Field::Ipv4 => "an IPv4 address",
        Field::Ipv6 => "an IPv6 address",
        Field::OldName | Field::Name => "a name",
        Field::Text | Field::Texts | Field::LongText => "a text",
        Field::Tag => "a tag",
        Field::Hex => "hexadecimal digits",
        Field::Salt => "a salt",
        Field::Base64 => "base 64 text",
        Field::Hash => "a hash",
        Field::Types => "types",
        Field::Params => "parameters",
        Field::Eui48 | Field::Eui64 => "an identifier",
        Field::Locator => "a locator",
        Field::Location => "a location",
    };
    format!("the {rtype} record is cut short: {what} must follow")
}

fn character_string(word: &Word<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let length_at = out.len();
    out.push(0);
    word.octets(out)?;
    out[length_at] = u8::try_from(out.len() - length_at - 1)
        .map_err(|_| "a text is longer than 255 octets; cut it into several in quotes")?;
    Ok(())
}

fn record_type(word: &Word<'_>) -> Result<RecordType, String> {
    RecordType::parse(word.text).ok_or_else(|| format!("`{}` is not a record type", word.shown()))
}

/// A number, or a word that stands for one.
fn numbered<N: TryFrom<u64> + Into<u64>>(
    word: &Word<'_>,
    named: &[(u16, &str)],
    max: N,
) -> Result<N, String> {
    match named.iter().find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(word.text)) {
        Some((value, _)) => Word::plain(value.to_string().as_bytes()).number(max),
        None => word.number(max),
    }
}

/// `20260102030405`, or seconds since 1970 (RFC 4034 §3.2).
fn moment(word: &Word<'_>) -> Result<u32, String> {
    let wrong = || format!("`{}` is not a time like 20260102030405", word.shown());
    if word.text.len() != 14 {
        return word.number(u32::MAX).map_err(|_| wrong());
    }
    let text = std::str::from_utf8(word.text).map_err(|_| wrong())?;
    let time = DateTime::strptime("%Y%m%d%H%M%S", text).ok();
    let time = time.and_then(|time| time.to_zoned(TimeZone::UTC).ok());
    time.and_then(|time| u32::try_from(time.timestamp().as_second()).ok()).ok_or_else(wrong)
}

fn identifier<const N: usize>(word: &Word<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let parts: Vec<_> = word.text.split(|octet| *octet == b'-').collect();
    let good = parts.len() == N && parts.iter().all(|part| part.len() == 2 && from_hex(part, out));
    if good { Ok(()) } else { Err(format!("`{}` is not {N} octets like 00-00-5e-00-53-2a", word.shown())) }
}

fn locator(word: &Word<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let groups: Vec<_> = word.text.split(|octet| *octet == b':').collect();
    let good = groups.len() == 4
        && groups.iter().all(|group| {
            let digits = [&b"0000"[group.len().min(4)..], group].concat();
            (1..=4).contains(&group.len()) && from_hex(&digits, out)
        });
    if good { Ok(()) } else { Err(format!("`{}` is not a locator like 2001:0db8:1140:1000", word.shown())) }
}

/// An uncompressed RDATA, to be printed as a master file writes it; in the generic form if it
/// is not what its type demands.
#[derive(Clone, Copy)]
pub struct ShowRdata<'a> {
    /// Its type.
    pub rtype: RecordType,
    /// The octets.
    pub rdata: &'a [u8],
}

impl fmt::Display for ShowRdata<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parts) = split_rdata(self.rtype, self.rdata) else {
            write!(f, "\\# {}", self.rdata.len())?;
            if !self.rdata.is_empty() {
                f.write_str(" ")?;
            }
            return write_hex(self.rdata, f);
        };
        for (n, (field, part)) in parts.into_iter().enumerate() {
            if n > 0 && !matches!(field, Field::Types | Field::Params) {
                f.write_str(" ")?;
            }
            write_field(field, part, f)?;
        }
        Ok(())
    }
}

fn write_field(field: Field, part: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let number = || part.iter().fold(0u32, |value, octet| value << 8 | u32::from(*octet));
    match field {
        Field::Octet | Field::Algorithm | Field::Short | Field::Long | Field::Span => {
            write!(f, "{}", number())
        }
        Field::Moment => match Timestamp::from_second(i64::from(number())) {
            Ok(time) => write!(f, "{}", time.strftime("%Y%m%d%H%M%S")),
            Err(_) => write!(f, "{}", number()),
        },
        Field::Type => write!(f, "{}", RecordType(number() as u16)),
        Field::CertType => match CERT_TYPES.iter().find(|(value, _)| u32::from(*value) == number()) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}", number()),
        },
        Field::Ipv4 => write!(f, "{}", Ipv4Addr::from(number())),
        Field::Ipv6 => part
            .first_chunk::<16>()
            .map_or(Err(fmt::Error), |octets| write!(f, "{}", Ipv6Addr::from(*octets))),
        Field::OldName | Field::Name => write!(f, "{}", ShowName(part)),
        Field::Text | Field::Texts => {
            let mut rest = part;
            while let Some((len, after)) = rest.split_first() {
                let (text, after) = after.split_at_checked(usize::from(*len)).ok_or(fmt::Error)?;
                write_quoted(text, f)?;
                rest = after;
                if !rest.is_empty() {
                    f.write_str(" ")?;
                }
            }
            Ok(())
        }
        Field::LongText => write_quoted(part, f),
        Field::Tag => part.iter().skip(1).try_for_each(|octet| write!(f, "{}", char::from(*octet))),
        Field::Hex => write_hex(part, f),
        Field::Salt if part.len() == 1 => f.write_str("-"),
        Field::Salt => write_hex(&part[1..], f),
        Field::Base64 => write_base64(part, f),
        Field::Hash => write_base32(&part[1..], f),
        Field::Types => read_bitmap(part).try_for_each(|rtype| write!(f, " {rtype}")),
        Field::Params => svcb::write(part, f),
        Field::Eui48 | Field::Eui64 => part.iter().enumerate().try_for_each(|(n, octet)| {
            let dash = if n > 0 { "-" } else { "" };
            write!(f, "{dash}{octet:02x}")
        }),
        Field::Locator => part.chunks(2).enumerate().try_for_each(|(n, two)| {
            let colon = if n > 0 { ":" } else { "" };
            f.write_str(colon)?;
            two.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
        }),
        Field::Location => location::write(part, f),
    }
}

fn write_quoted(text: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    text.iter().try_for_each(|octet| write_octet(*octet, f))?;
    f.write_str("\"")
}

/// IANA "DNS Security Algorithm Numbers", those that are still in use.
const ALGORITHMS: &[(u16, &str)] = &[
    (5, "RSASHA1"),
    (7, "RSASHA1-NSEC3-SHA1"),
    (8, "RSASHA256"),
    (10, "RSASHA512"),
    (13, "ECDSAP256SHA256"),
    (14, "ECDSAP384SHA384"),
    (15, "ED25519"),
    (16, "ED448"),
];

/// RFC 4398 §2.1.
const CERT_TYPES: &[(u16, &str)] = &[
    (1, "PKIX"),
    (2, "SPKI"),
    (3, "PGP"),
    (4, "IPKIX"),
    (5, "ISPKI"),
    (6, "IPGP"),
    (7, "ACPKIX"),
    (8, "IACPKIX"),
    (253, "URI"),
    (254, "OID"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts at spaces, quotes apart; good enough for one record on one line.
    fn words(text: &str) -> Vec<Word<'_>> {
        let mut words = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (word, after) = match rest.strip_prefix('"') {
                Some(quoted) => {
                    let mut ends = quoted.match_indices('"').map(|(at, _)| at);
                    let end = ends.find(|at| !quoted[..*at].ends_with('\\')).unwrap();
                    (Word { text: &quoted.as_bytes()[..end], kind: WordKind::Quoted }, &quoted[end + 1..])
                }
                None => {
                    let (text, after) = rest.split_once(' ').unwrap_or((rest, ""));
                    let kind = if text.contains('"') { WordKind::Pair } else { WordKind::Plain };
                    (Word { text: text.as_bytes(), kind }, after)
                }
            };
            words.push(word);
            rest = after.trim_start();
        }
        words
    }

    fn read(rtype: &str, text: &str) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let rtype = RecordType::parse(rtype.as_bytes()).unwrap();
        parse_rdata(rtype, &mut words(text).iter(), b"\x07example\x00", &mut out).map(|()| out)
    }

    /// One of each type, as it prints.
    const EACH: &[(&str, &str)] = &[
        ("A", "192.0.2.1"),
        ("AAAA", "2001:db8::1"),
        ("NS", "ns1.example."),
        ("CNAME", "other.example."),
        ("PTR", "host.example."),
        ("MX", "10 mail.example."),
        ("SOA", "ns1.example. host\\.master.example. 2026112101 3600 600 1209600 30"),
        ("TXT", r#""one" "two; \"three\" \\ \255""#),
        ("SPF", r#""v=spf1 -all""#),
        ("SRV", "0 5 5060 sip.example."),
        ("NAPTR", r#"100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" ."#),
        ("CAA", r#"0 issue "ca.example; account=1""#),
        ("TLSA", "3 1 1 D2ABDE240D7CD3EE6B4B28C54DF034B97983A1D16E8A410E4561CB106618E971"),
        ("SMIMEA", "3 0 0 00FF"),
        ("SSHFP", "4 2 123456789ABCDEF0"),
        ("DS", "60485 8 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A"),
        ("CDS", "0 0 0 00"),
        (
            "DNSKEY",
            "257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==",
        ),
        ("CDNSKEY", "0 3 0 AA=="),
        ("DNAME", "elsewhere.example."),
        ("SVCB", "1 svc.example. alpn=\"h2,h3\" port=8443"),
        ("HTTPS", "0 other.example."),
        ("LOC", "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m"),
        ("URI", r#"10 1 "https://www.example/path""#),
        ("HINFO", r#""RFC8482" """#),
        ("RP", "admin.example. ."),
        ("AFSDB", "1 afs.example."),
        ("OPENPGPKEY", "mQENBF=="),
        ("CERT", "PKIX 65535 8 AAAA"),
        ("NSEC", "host.example. A MX RRSIG NSEC TYPE1234"),
        ("NSEC3", "1 1 12 AABBCCDD 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR A RRSIG"),
        ("NSEC3PARAM", "1 0 0 -"),
        (
            "RRSIG",
            "A 13 3 86400 20260322173103 20260220173103 2642 example. oJB1W6WNGv+ldvQ3WDG0MQkg5IEhjRip8WTr",
        ),
        ("CSYNC", "66 3 A NS AAAA"),
        ("ZONEMD", "2018031500 1 1 FEBE3D4CE2EC2FFA4BA99D46CD69D6D29711E55217057BEE"),
        ("KX", "10 host.example."),
        ("DHCID", "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA="),
        ("NID", "10 0014:4fff:ff20:ee64"),
        ("L32", "10 10.1.2.0"),
        ("L64", "10 2001:0db8:1140:1000"),
        ("LP", "10 l64.example."),
        ("EUI48", "00-00-5e-00-53-2a"),
        ("EUI64", "00-00-5e-ef-10-00-00-2a"),
        ("TYPE65280", "\\# 3 ABCDEF"),
        ("TYPE65280", "\\# 0"),
    ];

    #[test]
    fn each_type_reads_back_as_it_prints() {
        for (rtype, text) in EACH {
            if *rtype == "OPENPGPKEY" {
                continue; // below
            }
            let wire = read(rtype, text).unwrap_or_else(|why| panic!("{rtype} {text}: {why}"));
            let rtype = RecordType::parse(rtype.as_bytes()).unwrap();
            assert_eq!(ShowRdata { rtype, rdata: &wire }.to_string(), *text);
            // … and in the generic form.
            let generic = ShowRdata { rtype: RecordType(65281), rdata: &wire }.to_string();
            assert_eq!(read(&rtype.to_string(), &generic).as_deref(), Ok(&wire[..]), "{rtype} {generic}");
        }
        assert_eq!(read("OPENPGPKEY", "mQEN BA==").unwrap(), [0x99, 0x01, 0x0d, 0x04]);
    }

    #[test]
    fn every_known_type_is_in_that_list() {
        for rtype in RecordType::mnemonics() {
            let known = RecordType::parse(rtype.as_bytes()).unwrap().fields().is_some();
            assert_eq!(known, EACH.iter().any(|(listed, _)| *listed == rtype), "{rtype}");
        }
    }

    #[test]
    fn reads_other_spellings() {
        assert_eq!(read("NS", "ns1"), read("NS", "NS1.Example."));
        assert_eq!(read("NS", "@").unwrap(), b"\x07example\x00");
        assert_eq!(read("SOA", "a b 1 1h 10m 2w 30s"), read("SOA", "a b 1 3600 600 1209600 30"));
        assert_eq!(read("TXT", "bare words"), read("TXT", r#""bare" "words""#));
        assert_eq!(read("DS", "1 ECDSAP256SHA256 2 AB CD"), read("DS", "1 13 2 abcd"));
        assert_eq!(read("CERT", "1 0 0 AAAA"), read("CERT", "pkix 0 0 AA AA"));
        assert_eq!(read("A", "\\# 4 C0 000201"), read("A", "192.0.2.1"));
        assert_eq!(read("NS", "\\# 5 0141 014200"), read("NS", "a.b."));
        assert_eq!(
            read("RRSIG", "A 13 3 1 1774200663 1771608663 1 . AAAA"),
            read("RRSIG", "A 13 3 1 20260322173103 20260220173103 1 . AAAA")
        );
        assert_eq!(read("TYPE1", "192.0.2.1"), read("A", "192.0.2.1"));
    }

    #[test]
    fn says_what_is_wrong() {
        for (rtype, text, expected) in [
            ("A", "192.0.2", "`192.0.2` is not an IPv4 address"),
            ("A", "192.0.2.1 x", "`x` is too much: the A record ended before it"),
            ("A", "", "the A record is cut short: an IPv4 address must follow"),
            ("AAAA", "192.0.2.1", "`192.0.2.1` is not an IPv6 address"),
            ("MX", "10", "the MX record is cut short: a name must follow"),
            ("MX", "mail 10", "`mail` is not a number from 0 to 65535"),
            ("NS", "a..b", "`a..b`: a label cannot be empty"),
            ("NS", "\"a\"", "\"a\" is quoted, which no name may be"),
            ("A", "\\# 4 C0000201 00", "the length says 4 octets, but 5 follow"),
            ("A", "\\# 3 C00002", "these octets are no A record"),
            ("A", "\\# 4 C000020", "`C000020` is not an even number of hexadecimal digits"),
            ("A", "\\#", "a length must follow `\\#`"),
            ("TYPE65280", "x", "TYPE65280 can only be written as `\\# length hex`"),
            ("DS", "1 8 2 abc", "`abc` is not an even number of hexadecimal digits"),
            ("DNSKEY", "256 3 8 A", "the base 64 text is cut short"),
            ("CAA", "0 is-sue x", "`is-sue` is not a tag of 1 to 15 letters and digits"),
            ("SOA", "a b 1 x 2 3 4", "`x` is not a number of seconds like 3600 or 1h"),
            (
                "RRSIG",
                "A 8 1 1 20261301000000 0 1 . AA==",
                "`20261301000000` is not a time like 20260102030405",
            ),
            ("NSEC", "a. A BLA", "`BLA` is not a record type"),
            ("EUI48", "00-00-5e-00-53", "`00-00-5e-00-53` is not 6 octets like 00-00-5e-00-53-2a"),
        ] {
            assert_eq!(read(rtype, text).unwrap_err(), expected, "{rtype} {text}");
        }
        let long = "x".repeat(256);
        assert!(read("TXT", &long).unwrap_err().contains("cut it into several"));
    }

    #[test]
    fn what_is_broken_prints_in_the_generic_form() {
        assert_eq!(ShowRdata { rtype: RecordType::A, rdata: &[1, 2] }.to_string(), "\\# 2 0102");
        assert_eq!(ShowRdata { rtype: RecordType::A, rdata: &[] }.to_string(), "\\# 0");
    }
}
