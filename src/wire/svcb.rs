//! Service parameters of SVCB and HTTPS records (RFC 9460 §2.1, §2.2, §7).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::encoding::{Base64, write_base64};
use super::words::{Word, WordKind, Words, decimal, unescape_all};

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6HINT: u16 = 6;
const DOHPATH: u16 = 7;
const OHTTP: u16 = 8;

/// Keys by number (IANA "DNS Service Bindings"; dohpath is RFC 9461, ohttp RFC 9540).
const KEYS: [&str; 9] =
    ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];

/// Reads parameters to the end of the record, and writes them in the order of their keys.
pub(super) fn parse<'a>(words: &mut impl Words<'a>, out: &mut Vec<u8>) -> Result<(), String> {
    let mut params: Vec<(u16, Vec<u8>)> = Vec::new();
    while let Some(word) = words.next_word()? {
        let (name, value) = split(&word)?;
        let key = key_number(name)
            .ok_or_else(|| format!("`{}` is not a service parameter", String::from_utf8_lossy(name)))?;
        let mut wire = Vec::new();
        parse_value(key, value, &mut wire).map_err(|why| format!("`{}`: {why}", word.shown()))?;
        params.push((key, wire));
    }
    params.sort();
    if let Some(pair) = params.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("the parameter {} stands there twice", ShowKey(pair[0].0)));
    }
    let has = |key| params.iter().any(|(known, _)| *known == key);
    if has(NO_DEFAULT_ALPN) && !has(ALPN) {
        return Err("no-default-alpn needs alpn beside it".into());
    }
    if let Some((MANDATORY, listed)) = params.first()
        && let Some(missing) = shorts(listed).find(|key| !has(*key))
    {
        return Err(format!("the mandatory parameter {} is missing", ShowKey(missing)));
    }
    for (key, value) in params {
        let len = u16::try_from(value.len()).map_err(|_| "a parameter is too long")?;
        out.extend(key.to_be_bytes());
        out.extend(len.to_be_bytes());
        out.extend(value);
    }
    Ok(())
}

/// Writes parameters as they are read, each after a space.
pub(super) fn write(octets: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    for (key, value) in Params(octets) {
        write!(f, " {}", ShowKey(key))?;
        match key {
            MANDATORY => write_list(f, shorts(value).map(ShowKey))?,
            ALPN => {
                f.write_str("=\"")?;
                for (n, id) in strings(value).enumerate() {
                    let comma = if n > 0 { "," } else { "" };
                    f.write_str(comma)?;
                    for octet in id {
                        // Escaped once for the list, and once more for the quotes (appendix A.1).
                        match octet {
                            b',' | b'\\' => write!(f, "\\\\{}", if *octet == b',' { "," } else { "\\\\" })?,
                            octet => write_octet(*octet, f)?,
                        }
                    }
                }
                f.write_str("\"")?;
            }
            PORT => write!(f, "={}", shorts(value).next().unwrap_or_default())?,
            IPV4HINT => write_list(f, value.as_chunks().0.iter().map(|octets| Ipv4Addr::from(*octets)))?,
            IPV6HINT => {
                write_list(f, value.as_chunks::<16>().0.iter().map(|octets| Ipv6Addr::from(*octets)))?;
            }
            ECH => {
                f.write_str("=\"")?;
                write_base64(value, f)?;
                f.write_str("\"")?;
            }
            _ if value.is_empty() => {}
            _ => {
                f.write_str("=\"")?;
                value.iter().try_for_each(|octet| write_octet(*octet, f))?;
                f.write_str("\"")?;
            }
        }
    }
    Ok(())
}

/// Whether these octets are parameters: keys in order, none twice, known values well formed.
pub(super) fn are_params(octets: &[u8]) -> bool {
    let (mut last, mut len) = (None, 0);
    for (key, value) in Params(octets) {
        if last >= Some(key) || key == u16::MAX || !is_value(key, value) {
            return false;
        }
        last = Some(key);
        len += value.len() + 4;
    }
    len == octets.len()
}

fn is_value(key: u16, value: &[u8]) -> bool {
    match key {
        MANDATORY => {
            let keys: Vec<_> = shorts(value).collect();
            value.len().is_multiple_of(2)
                && keys.first().is_some_and(|key| *key != 0)
                && keys.is_sorted_by(|a, b| a < b)
        }
        ALPN => {
            let taken: usize = strings(value).map(|id| id.len() + 1).sum();
            taken == value.len() && taken > 0 && strings(value).all(|id| !id.is_empty())
        }
        NO_DEFAULT_ALPN | OHTTP => value.is_empty(),
        PORT => value.len() == 2,
        IPV4HINT => !value.is_empty() && value.len().is_multiple_of(4),
        IPV6HINT => !value.is_empty() && value.len().is_multiple_of(16),
        _ => true,
    }
}

fn split<'a>(word: &Word<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), String> {
    if word.kind == WordKind::Quoted {
        return Err(format!("\"{}\" is not a service parameter; write key=\"value\"", word.shown()));
    }
    let Some(equals) = word.text.iter().position(|octet| *octet == b'=') else {
        return Ok((word.text, None));
    };
    let (name, value) = (&word.text[..equals], &word.text[equals + 1..]);
    Ok((name, Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))))
}

fn key_number(name: &[u8]) -> Option<u16> {
    if let Some(known) = KEYS.iter().position(|key| key.as_bytes().eq_ignore_ascii_case(name)) {
        return Some(known as u16);
    }
    let digits = name.strip_prefix(b"key")?;
    let plain = digits.len() == 1 || digits.first() != Some(&b'0');
    decimal(digits).filter(|key| plain && *key < u64::from(u16::MAX)).map(|key| key as u16)
}

fn parse_value(key: u16, text: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), String> {
    if matches!(key, NO_DEFAULT_ALPN | OHTTP) {
        return if text.is_none() { Ok(()) } else { Err("takes no value".into()) };
    }
    if key > OHTTP && text.is_none() {
        return Ok(());
    }
    let mut value = Vec::new();
    unescape_all(text.ok_or("lacks a value")?, &mut value)?;
    match key {
        MANDATORY => {
            let keys = value.split(|octet| *octet == b',').map(key_number);
            let mut keys = keys.collect::<Option<Vec<_>>>().ok_or("is not a list of keys")?;
            keys.sort_unstable();
            out.extend(keys.iter().flat_map(|key| key.to_be_bytes()));
        }
        ALPN => {
            for id in list(&value)? {
                let len = u8::try_from(id.len()).map_err(|_| "a protocol is longer than 255 octets")?;
                out.push(len);
                out.extend(id);
            }
        }
        PORT => out.extend(Word::plain(&value).number(u16::MAX)?.to_be_bytes()),
        IPV4HINT => {
            for address in addresses::<Ipv4Addr>(&value)? {
                out.extend(address.octets());
            }
        }
        IPV6HINT => {
            for address in addresses::<Ipv6Addr>(&value)? {
                out.extend(address.octets());
            }
        }
        ECH => {
            let mut reader = Base64::default();
            if !(reader.push(&value, out) && reader.finish()) {
                return Err("is not base 64".into());
            }
        }
        DOHPATH if std::str::from_utf8(&value).is_err() => return Err("is not UTF-8".into()),
        _ => out.extend(value),
    }
    if is_value(key, out) { Ok(()) } else { Err("has not the form that its key demands".into()) }
}

/// Splits a list at its commas; `\,` and `\\` are not separators (RFC 9460 appendix A.1).
fn list(value: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut items = vec![Vec::new()];
    let mut octets = value.iter();
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b',' => {
                items.push(Vec::new());
                continue;
            }
            b'\\' => match octets.next() {
                Some(escaped @ (b',' | b'\\')) => escaped,
                _ => return Err("only a comma and a backslash may be escaped in a list".into()),
            },
            octet => octet,
        };
        items.last_mut().expect("it starts with one").push(*octet);
    }
    Ok(items)
}

fn addresses<A: std::str::FromStr>(value: &[u8]) -> Result<Vec<A>, String> {
    let text = std::str::from_utf8(value).map_err(|_| "is not a list of addresses")?;
    text.split(',').map(|one| one.parse().map_err(|_| format!("`{one}` is not such an address"))).collect()
}

struct Params<'a>(&'a [u8]);

impl<'a> Iterator for Params<'a> {
    type Item = (u16, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let ([a, b, c, d], rest) = self.0.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*c, *d])))?;
        self.0 = rest;
        Some((u16::from_be_bytes([*a, *b]), value))
    }
}

fn shorts(value: &[u8]) -> impl Iterator<Item = u16> {
    value.as_chunks().0.iter().map(|two| u16::from_be_bytes(*two))
}

fn strings(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first()?;
        let (text, after) = after.split_at_checked(usize::from(*len))?;
        rest = after;
        Some(text)
    })
}

struct ShowKey(u16);

impl fmt::Display for ShowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KEYS.get(usize::from(self.0)) {
            Some(key) => f.write_str(key),
            None => write!(f, "key{}", self.0),
        }
    }
}

fn write_list<T: fmt::Display>(f: &mut impl fmt::Write, items: impl Iterator<Item = T>) -> fmt::Result {
    for (n, item) in items.enumerate() {
        write!(f, "{}{item}", if n == 0 { "=" } else { "," })?;
    }
    Ok(())
}

/// One octet as it stands between quotes.
pub(super) fn write_octet(octet: u8, f: &mut impl fmt::Write) -> fmt::Result {
    match octet {
        b'"' | b'\\' => write!(f, "\\{}", char::from(octet)),
        b' '..=b'~' => f.write_char(char::from(octet)),
        _ => write!(f, "\\{octet:03}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u8>, String> {
        let words: Vec<_> = text
            .split_whitespace()
            .map(|word| {
                let kind = if word.ends_with('"') { WordKind::Pair } else { WordKind::Plain };
                Word { text: word.as_bytes(), kind }
            })
            .collect();
        let mut out = Vec::new();
        parse(&mut words.iter(), &mut out).map(|()| out)
    }

    fn shown(wire: &[u8]) -> String {
        let mut text = String::new();
        write(wire, &mut text).unwrap();
        text
    }

    #[test]
    fn the_vectors_of_rfc_9460_appendix_d() {
        assert_eq!(read("port=53").unwrap(), b"\x00\x03\x00\x02\x00\x35");
        assert_eq!(read("key667=hello").unwrap(), b"\x02\x9b\x00\x05hello");
        assert_eq!(read(r#"key667="hello\210qoo""#).unwrap(), b"\x02\x9b\x00\x09hello\xd2qoo");
        assert_eq!(
            read(r#"ipv6hint="2001:db8::1,2001:db8::53:1""#).unwrap(),
            [
                &b"\x00\x06\x00\x20\x20\x01\x0d\xb8"[..],
                &[0; 11],
                b"\x01\x20\x01\x0d\xb8",
                &[0; 8],
                b"\x00\x53\x00\x01"
            ]
            .concat()
        );
        assert_eq!(
            read("alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1").unwrap(),
            b"\x00\x00\x00\x04\x00\x01\x00\x04\x00\x01\x00\x09\x02h2\x05h3-19\x00\x04\x00\x04\xc0\x00\x02\x01"
        );
        // Two spellings of the same list.
        let expected = b"\x00\x01\x00\x0c\x08f\\oo,bar\x02h2";
        assert_eq!(read(r#"alpn="f\\\\oo\\,bar,h2""#).unwrap(), expected);
        assert_eq!(read(r"alpn=f\\\092oo\092,bar,h2").unwrap(), expected);
        assert_eq!(shown(expected), r#" alpn="f\\\\oo\\,bar,h2""#);
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in [
            "mandatory=alpn,port alpn=\"h2,h3\" no-default-alpn port=8443 ipv4hint=192.0.2.1,192.0.2.2",
            "ech=\"AEn+DQ==\" ipv6hint=2001:db8::1 dohpath=\"/dns-query{?dns}\" ohttp key65000=\"a\\255\"",
            "key9",
        ] {
            let wire = read(text).unwrap();
            assert_eq!(shown(&wire), format!(" {text}"));
            assert!(are_params(&wire));
        }
    }

    #[test]
    fn refuses_what_rfc_9460_refuses() {
        for bad in [
            "port=1 port=2",
            "port=65536",
            "port",
            "alpn",
            "alpn=",
            "alpn=h2,,h3",
            "no-default-alpn",
            "no-default-alpn=1 alpn=h2",
            "mandatory=port",
            "mandatory=mandatory",
            "mandatory=port,port port=1",
            "ipv4hint=",
            "ipv4hint=2001:db8::1",
            "ipv6hint=192.0.2.1",
            "ech=A",
            "key65535=x",
            "key01=x",
            "colour=red",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(!are_params(b"\x00\x03\x00\x01\x00"));
        assert!(!are_params(b"\x00\x03\x00\x02\x00"));
        assert!(!are_params(b"\x00\x03\x00\x02\x00\x35\x00\x01\x00\x03\x02h2"));
    }
}
