//! The words that RDATA is written with.

use super::raw::unescape;

/// One word of a master file (RFC 1035 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word<'a> {
    /// As it stands, escapes and all; without the quotes if it is quoted.
    pub text: &'a [u8],
    /// How it is written.
    pub kind: WordKind,
}

/// How a word is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WordKind {
    /// Bare.
    Plain,
    /// Between quotes.
    Quoted,
    /// A key with a quoted value, `key="value"`, as service parameters may be (RFC 9460 §2.1).
    Pair,
}

/// Where the words of a record come from, one after the other.
pub trait Words<'a> {
    /// The next word; `None` at the end of the record.
    ///
    /// # Errors
    /// A sentence: something stands there that is not a word.
    fn next_word(&mut self) -> Result<Option<Word<'a>>, String>;
}

impl<'a> Words<'a> for std::slice::Iter<'_, Word<'a>> {
    fn next_word(&mut self) -> Result<Option<Word<'a>>, String> {
        Ok(self.next().copied())
    }
}

impl<'a> Word<'a> {
    /// A bare word.
    pub fn plain(text: &'a [u8]) -> Self {
        Self { text, kind: WordKind::Plain }
    }

    /// What stands there, for messages.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(self.text).into_owned()
    }

    /// Appends what the word stands for, its escapes resolved.
    ///
    /// # Errors
    /// A sentence: an escape is not one, or a quote stands in the middle.
    pub fn octets(&self, out: &mut Vec<u8>) -> Result<(), String> {
        if self.kind == WordKind::Pair {
            return Err(format!("`{}` has a quote in the middle; put all of it in quotes", self.shown()));
        }
        unescape_all(self.text, out)
    }

    /// The value of a decimal number.
    ///
    /// # Errors
    /// A sentence with the range.
    pub fn number<N: TryFrom<u64> + Into<u64>>(&self, max: N) -> Result<N, String> {
        let max = max.into();
        decimal(self.text)
            .filter(|value| *value <= max)
            .and_then(|value| N::try_from(value).ok())
            .ok_or_else(|| format!("`{}` is not a number from 0 to {max}", self.shown()))
    }
}

/// Appends a text with its escapes resolved.
pub(super) fn unescape_all(text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = text;
    while let Some(plain) = rest.iter().position(|octet| *octet == b'\\') {
        out.extend_from_slice(&rest[..plain]);
        let (octet, taken) = unescape(&rest[plain..])
            .ok_or("`\\` must be followed by a character or by three digits up to 255")?;
        out.push(octet);
        rest = &rest[plain + taken..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// The value of decimal digits, and nothing but digits.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 10 {
        return None;
    }
    text.iter()
        .try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}

/// Seconds, as digits or with units: `3600`, `1h`, `1d12h`, `2W`.
pub fn seconds(text: &[u8]) -> Option<u32> {
    if let Some(value) = decimal(text) {
        return u32::try_from(value).ok();
    }
    let (mut total, mut rest) = (0u64, text);
    while !rest.is_empty() {
        let digits = rest.iter().position(|octet| !octet.is_ascii_digit())?;
        let unit = match rest[digits].to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86400,
            b'w' => 7 * 86400,
            _ => return None,
        };
        total += decimal(&rest[..digits])? * unit;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then(|| u32::try_from(total).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_seconds() {
        assert_eq!(seconds(b"3600"), Some(3600));
        assert_eq!(seconds(b"1h30M"), Some(5400));
        assert_eq!(seconds(b"2w1d"), Some(15 * 86400));
        for bad in ["", "h", "1", "1h1", "1x", "-1", "5000000000", "7102w"] {
            assert_eq!(
                seconds(bad.as_bytes()),
                decimal(bad.as_bytes()).filter(|n| *n < 9).map(|n| n as u32),
                "{bad}"
            );
        }
    }

    #[test]
    fn resolves_escapes() {
        let mut out = Vec::new();
        Word::plain(br#"a\"b\032\\"#).octets(&mut out).unwrap();
        assert_eq!(out, b"a\"b \\");
        assert!(Word::plain(b"a\\").octets(&mut out).is_err());
        assert!(Word::plain(b"a\\25").octets(&mut out).is_err());
        assert!(Word { text: b"a=\"b\"", kind: WordKind::Pair }.octets(&mut out).is_err());
    }

    #[test]
    fn numbers_have_a_range() {
        assert_eq!(Word::plain(b"255").number(u8::MAX), Ok(255));
        assert!(Word::plain(b"256").number(u8::MAX).unwrap_err().contains("0 to 255"));
        assert!(Word::plain(b"1h").number(u32::MAX).is_err());
        assert!(Word::plain(b"").number(u32::MAX).is_err());
    }
}
