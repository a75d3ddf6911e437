//! Names as bare octets: what is hot or stored by the million works on slices of uncompressed
//! wire form instead of on [`Name`](super::Name), and allocates nothing.
//!
//! The names handed in are well formed (they come from a [`Name`](super::Name), from
//! [`append_name`] or from [`name_len`]); on others the results are wrong, but nothing panics.

use std::fmt;

use super::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX, NameError, write_label};

/// Reads a name as a zone file writes it and appends its wire form, lower-cased: relative to
/// `origin` unless it ends in a dot; `@` is the origin itself. What was there stays; after an
/// error the tail is undefined.
pub fn append_name(text: &[u8], origin: &[u8], out: &mut Vec<u8>) -> Result<(), NameError> {
    let start = out.len();
    if text == b"@" {
        out.extend_from_slice(origin);
        return Ok(());
    }
    match append_labels(text, out)? {
        true => out.push(0),
        false => out.extend_from_slice(origin),
    }
    if out.len() - start > NAME_OCTETS_MAX { Err(NameError::NameTooLong) } else { Ok(()) }
}

/// Appends the labels of a text in wire form, lower-cased, without the root; tells whether the
/// text ended in a dot.
pub(super) fn append_labels(text: &[u8], out: &mut Vec<u8>) -> Result<bool, NameError> {
    match text {
        b"" => return Err(NameError::Empty),
        b"." => return Ok(true),
        _ => {}
    }
    let start = out.len();
    let mut at = 0;
    loop {
        let length_at = out.len();
        out.push(0);
        let ended_by_dot = loop {
            // Octets that stand for themselves are taken in one go.
            let rest = &text[at..];
            let plain = rest.iter().position(|octet| matches!(octet, b'.' | b'\\')).unwrap_or(rest.len());
            out.extend(rest[..plain].iter().map(u8::to_ascii_lowercase));
            at += plain;
            if out.len() - start > NAME_OCTETS_MAX {
                return Err(NameError::NameTooLong);
            }
            match text.get(at) {
                Some(b'.') => break true,
                Some(_) => {
                    let (octet, taken) = unescape(&text[at..]).ok_or(NameError::BadEscape)?;
                    out.push(octet.to_ascii_lowercase());
                    at += taken;
                }
                None => break false,
            }
        };
        match out.len() - length_at - 1 {
            0 => return Err(NameError::EmptyLabel),
            len @ 1..=LABEL_OCTETS_MAX => out[length_at] = len as u8,
            _ => return Err(NameError::LabelTooLong),
        }
        if !ended_by_dot {
            return Ok(false);
        }
        at += 1;
        if at == text.len() {
            return Ok(true);
        }
    }
}

/// Reads `\X` or `\DDD` (RFC 1035 §5.1): the octet it stands for, and how long it is.
pub(super) fn unescape(text: &[u8]) -> Option<(u8, usize)> {
    match *text.get(1)? {
        digit if digit.is_ascii_digit() => {
            let digits = text.get(1..4)?;
            let value = digits.iter().try_fold(0u16, |value, digit| {
                digit.is_ascii_digit().then(|| value * 10 + u16::from(digit - b'0'))
            })?;
            Some((u8::try_from(value).ok()?, 4))
        }
        octet => Some((octet, 2)),
    }
}

/// How many octets the uncompressed name at the start of these takes; `None` if there is none:
/// cut short, too long, or with a compression pointer in it.
#[inline]
pub fn name_len(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < NAME_OCTETS_MAX {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            len if usize::from(len) <= LABEL_OCTETS_MAX => at += usize::from(len) + 1,
            _ => return None,
        }
    }
    None
}

/// How many labels a name has, the root not counted.
pub fn label_count(name: &[u8]) -> usize {
    suffixes(name).count() - 1
}

/// The name, the name without its first label, and so on down to the root.
pub fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    std::iter::successors((!name.is_empty()).then_some(name), |name| parent(name))
}

/// The name without its first label; `None` for the root.
#[inline]
pub fn parent(name: &[u8]) -> Option<&[u8]> {
    match *name.first()? {
        0 => None,
        len => name.get(usize::from(len) + 1..),
    }
}

/// Whether a name is `ancestor` or lies below it.
pub fn is_at_or_under(name: &[u8], ancestor: &[u8]) -> bool {
    // The octets alone could match in the middle of a label.
    name.ends_with(ancestor) && suffixes(name).any(|suffix| suffix.len() == ancestor.len())
}

/// The octets of the longest name that both end in; 1 if it is but the root.
pub fn shared_suffix(a: &[u8], b: &[u8]) -> usize {
    let mut b_rest = b;
    for suffix in suffixes(a) {
        while b_rest.len() > suffix.len() {
            b_rest = parent(b_rest).unwrap_or_default();
        }
        if b_rest == suffix {
            return suffix.len();
        }
    }
    1
}

/// Whether the first label is `*` (RFC 4592 §2.1.1).
pub fn is_wildcard(name: &[u8]) -> bool {
    name.starts_with(b"\x01*")
}

/// A name in wire form, to be printed as text with its closing dot.
#[derive(Clone, Copy)]
pub struct ShowName<'a>(pub &'a [u8]);

impl fmt::Display for ShowName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.first() == Some(&0) {
            return f.write_str(".");
        }
        for suffix in suffixes(self.0) {
            let Some((&len, rest)) = suffix.split_first() else { break };
            if len > 0 {
                write_label(rest.get(..usize::from(len)).unwrap_or(rest), f)?;
                f.write_str(".")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        append_name(text.as_bytes(), b"\x07example\x00", &mut out).unwrap();
        out
    }

    #[test]
    fn appends_after_what_is_there() {
        let mut out = vec![255; 300];
        append_name(b"WWW", b"\x01x\x00", &mut out).unwrap();
        assert_eq!(out[300..], *b"\x03www\x01x\x00");
        append_name(b"@", b"\x01x\x00", &mut out).unwrap();
        assert_eq!(out[307..], *b"\x01x\x00");
    }

    #[test]
    fn a_relative_name_can_grow_too_long() {
        let origin = wire(&"o.".repeat(100));
        assert_eq!(append_name(&b"a.".repeat(30)[..59], &origin, &mut vec![]), Err(NameError::NameTooLong));
        assert_eq!(append_name(&b"a.".repeat(27)[..53], &origin, &mut vec![]), Ok(()));
    }

    #[test]
    fn measures_names() {
        assert_eq!(name_len(b"\x03www\x01x\x00rest"), Some(7));
        assert_eq!(name_len(b"\x00"), Some(1));
        assert_eq!(name_len(b""), None);
        assert_eq!(name_len(b"\x03ww"), None);
        assert_eq!(name_len(b"\xc0\x0c"), None);
        assert_eq!(name_len(b"\x40"), None);
        let longest = [[1, b'a'].repeat(127), vec![0]].concat();
        assert_eq!(name_len(&longest), Some(255));
        let too_long = [&[2, b'a', b'a'], &[1, b'a'].repeat(126)[..], &[0]].concat();
        assert_eq!(name_len(&too_long), None);
        assert_eq!(label_count(&wire("a.b.")), 2);
        assert_eq!(label_count(&[0]), 0);
    }

    #[test]
    fn finds_what_two_names_share() {
        let shared = |a: &str, b: &str| shared_suffix(&wire(a), &wire(b));
        assert_eq!(shared("a.b.c.", "x.b.c."), 5);
        assert_eq!(shared("b.c.", "x.y.b.c."), 5);
        assert_eq!(shared("x.y.b.c.", "b.c."), 5);
        assert_eq!(shared("a.", "b."), 1);
        // The octets match, the labels do not.
        assert_eq!(shared_suffix(b"\x03x\x01c\x00", b"\x01c\x00"), 1);
        assert!(!is_at_or_under(b"\x03x\x01c\x00", b"\x01c\x00"));
        assert!(is_at_or_under(&wire("a.b."), &wire("b.")));
        assert!(is_at_or_under(&wire("a.b."), &wire(".")));
        assert!(!is_at_or_under(&wire("b."), &wire("a.b.")));
    }

    #[test]
    fn shows_names() {
        assert_eq!(ShowName(&wire("a\\.b.c.")).to_string(), "a\\.b.c.");
        assert_eq!(ShowName(&[0]).to_string(), ".");
        assert_eq!(ShowName(b"\x05ab").to_string(), "ab.");
    }
}
