//! Domain names in uncompressed wire form (RFC 1035 §3.1), lower-cased.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::raw::{self, append_labels, append_name};

/// A domain name is at most this long in wire form (RFC 1035 §2.3.4).
pub const NAME_OCTETS_MAX: usize = 255;
/// A label is at most this long (RFC 1035 §2.3.4).
pub const LABEL_OCTETS_MAX: usize = 63;

/// An absolute domain name. Upper-case letters are folded (RFC 4343), so that equality, order
/// and hash are those of the DNS.
#[derive(Clone)]
pub struct Name(Box<[u8]>);

/// Why a text is not a domain name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a name cannot be empty; the root is `.`")]
    Empty,
    /// Two dots in a row, or a dot at the start.
    #[error("a label cannot be empty")]
    EmptyLabel,
    /// Over 63 octets.
    #[error("a label is longer than {LABEL_OCTETS_MAX} octets")]
    LabelTooLong,
    /// Over 255 octets in all.
    #[error("the name is longer than {NAME_OCTETS_MAX} octets")]
    NameTooLong,
    /// `\` and nothing sensible after it.
    #[error("`\\` must be followed by a character or by three digits up to 255")]
    BadEscape,
    /// Wire form that is not a name.
    #[error("not a name in wire form")]
    BadWire,
}

impl Name {
    /// `.`
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Reads a name as people write it; taken as absolute whether or not it ends in a dot.
    /// Escapes are those of RFC 1035 §5.1 (`\.`, `\032`).
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        append_labels(text.as_bytes(), &mut wire)?;
        wire.push(0);
        Self::finish(wire)
    }

    /// Reads a name as a zone file writes it: relative to `origin` unless it ends in a dot;
    /// `@` is the origin itself.
    pub fn parse_relative(text: &str, origin: &Name) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(text.len() + 2 + origin.0.len());
        append_name(text.as_bytes(), &origin.0, &mut wire)?;
        Self::finish(wire)
    }

    /// Takes over an uncompressed name in wire form, folding its case.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        let mut at = 0;
        loop {
            match wire.get(at) {
                Some(0) if at + 1 == wire.len() => return Self::finish(wire.to_vec()),
                Some(&len) if len != 0 && usize::from(len) <= LABEL_OCTETS_MAX => at += usize::from(len) + 1,
                _ => return Err(NameError::BadWire),
            }
        }
    }

    fn finish(mut wire: Vec<u8>) -> Result<Self, NameError> {
        if wire.len() > NAME_OCTETS_MAX {
            return Err(NameError::NameTooLong);
        }
        // Length octets are below 64, outside the range of letters: folding all is safe.
        wire.make_ascii_lowercase();
        Ok(Self(wire.into_boxed_slice()))
    }

    /// The wire form, with its closing zero.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is `.`
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The labels from left to right, the root not counted.
    pub fn labels(&self) -> Labels<'_> {
        Labels { wire: &self.0 }
    }

    /// The name without its first label; `None` for the root.
    pub fn parent(&self) -> Option<Name> {
        match self.0[0] {
            0 => None,
            len => Some(Self(self.0[usize::from(len) + 1..].into())),
        }
    }

    /// Whether this name is `other` or lies below it.
    pub fn is_at_or_under(&self, other: &Name) -> bool {
        raw::is_at_or_under(&self.0, &other.0)
    }

    /// Whether the first label is `*` (RFC 4592 §2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// The name with one label put before it.
    pub fn child(&self, label: &[u8]) -> Result<Name, NameError> {
        match label.len() {
            0 => Err(NameError::EmptyLabel),
            1..=LABEL_OCTETS_MAX => {
                let mut wire = Vec::with_capacity(self.0.len() + label.len() + 1);
                wire.push(label.len() as u8);
                wire.extend_from_slice(label);
                wire.extend_from_slice(&self.0);
                Self::finish(wire)
            }
            _ => Err(NameError::LabelTooLong),
        }
    }
}

/// The labels of a name, left to right.
#[derive(Clone)]
pub struct Labels<'a> {
    wire: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.wire.split_first()?;
        if *len == 0 {
            return None;
        }
        let (label, rest) = rest.split_at_checked(usize::from(*len))?;
        self.wire = rest;
        Some(label)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Ord for Name {
    /// Canonical order: by labels from the right (RFC 4034 §6.1).
    fn cmp(&self, other: &Self) -> Ordering {
        let (mine, theirs): (Vec<_>, Vec<_>) = (self.labels().collect(), other.labels().collect());
        mine.iter().rev().cmp(theirs.iter().rev())
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Writes one label as zone files do, escaping what would not read back (RFC 1035 §5.1).
pub fn write_label(label: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    for &octet in label {
        match octet {
            b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", octet as char)?,
            b'!'..=b'~' => f.write_char(octet as char)?,
            _ => write!(f, "\\{octet:03}")?,
        }
    }
    Ok(())
}

impl fmt::Display for Name {
    /// Absolute, with its closing dot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&raw::ShowName(&self.0), f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Name::parse(&text)
            .map_err(|why| serde::de::Error::custom(format!("`{text}` is not a domain name: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn reads_and_writes() {
        assert_eq!(name("Www.Example.COM").to_string(), "www.example.com.");
        assert_eq!(name("www.example.com."), name("www.example.com"));
        assert_eq!(name(".").to_string(), ".");
        assert_eq!(name(r"a\.b.c").labels().collect::<Vec<_>>(), [&b"a.b"[..], b"c"]);
        assert_eq!(name(r"a\.b.c").to_string(), r"a\.b.c.");
        assert_eq!(name(r"sp\032ce").to_string(), r"sp\032ce.");
        assert_eq!(name(r"dot\.").labels().collect::<Vec<_>>(), [&b"dot."[..]]);
        assert_eq!(Name::parse_relative("@", &name("x")).unwrap(), name("x"));
        assert_eq!(Name::parse_relative("a", &name("x")).unwrap(), name("a.x"));
        assert_eq!(Name::parse_relative("a.", &name("x")).unwrap(), name("a"));
    }

    #[test]
    fn refuses_what_is_none() {
        assert_eq!(Name::parse(""), Err(NameError::Empty));
        assert_eq!(Name::parse("a..b"), Err(NameError::EmptyLabel));
        assert_eq!(Name::parse(".a"), Err(NameError::EmptyLabel));
        assert_eq!(Name::parse("a.."), Err(NameError::EmptyLabel));
        assert_eq!(Name::parse(&"a".repeat(64)), Err(NameError::LabelTooLong));
        assert_eq!(Name::parse(&"a.".repeat(128)), Err(NameError::NameTooLong));
        assert_eq!(Name::parse(r"a\25"), Err(NameError::BadEscape));
        assert_eq!(Name::parse(r"a\256"), Err(NameError::BadEscape));
        assert_eq!(Name::from_wire(b"\x01a"), Err(NameError::BadWire));
        assert_eq!(Name::from_wire(b"\x01a\x00\x00"), Err(NameError::BadWire));
        assert!(Name::parse(&"a.".repeat(127)).is_ok());
    }

    #[test]
    fn knows_what_lies_below() {
        assert!(name("a.b.c").is_at_or_under(&name("b.c")));
        assert!(name("b.c").is_at_or_under(&name("b.c")));
        assert!(name("b.c").is_at_or_under(&name(".")));
        assert!(!name("ab.c").is_at_or_under(&name("b.c")));
        // The octets match, the labels do not.
        assert!(!Name::from_wire(b"\x03x\x01c\x00").unwrap().is_at_or_under(&name("c")));
    }

    #[test]
    fn orders_canonically() {
        // The list of RFC 4034 §6.1.
        let ordered =
            ["example", "a.example", "yljkjljk.a.example", "Z.a.example", "zABC.a.EXAMPLE", "z.example"];
        let mut names: Vec<_> = ordered.iter().rev().map(|text| name(text)).collect();
        names.sort();
        assert_eq!(names, ordered.map(name));
    }
}
