//! Octets as text: base 16, base 32 with the extended hex alphabet, base 64 (RFC 4648).

use std::fmt;

/// Appends what hexadecimal digits stand for; tells whether they were well formed and even in number.
pub fn from_hex(text: &[u8], out: &mut Vec<u8>) -> bool {
    let digit = |octet: u8| char::from(octet).to_digit(16).map(|value| value as u8);
    let (pairs, rest) = text.as_chunks::<2>();
    rest.is_empty()
        && pairs.iter().all(|[high, low]| match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => {
                out.push(high << 4 | low);
                true
            }
            _ => false,
        })
}

/// Reads base 64 that may be cut into words anywhere.
#[derive(Default)]
pub struct Base64 {
    bits: u32,
    held: u32,
    padding: u8,
}

impl Base64 {
    /// Takes in one word; tells whether it was well formed so far.
    pub fn push(&mut self, word: &[u8], out: &mut Vec<u8>) -> bool {
        word.iter().all(|octet| {
            let value = match octet {
                b'A'..=b'Z' => octet - b'A',
                b'a'..=b'z' => octet - b'a' + 26,
                b'0'..=b'9' => octet - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => {
                    self.padding += 1;
                    return self.padding <= 2;
                }
                _ => return false,
            };
            self.bits = self.bits << 6 | u32::from(value);
            self.held += 6;
            if self.held >= 8 {
                self.held -= 8;
                out.push((self.bits >> self.held) as u8);
                self.bits &= (1 << self.held) - 1;
            }
            self.padding == 0
        })
    }

    /// Whether the text ended where it may: padded, with no stray bits (RFC 4648 §3.5).
    pub fn finish(self) -> bool {
        self.bits == 0 && matches!((self.held, self.padding), (0, 0) | (4, 2) | (2, 1))
    }
}

/// Appends what base 32 hex digits stand for, without padding (RFC 5155 §3.3).
pub fn from_base32(text: &[u8], out: &mut Vec<u8>) -> bool {
    let (mut bits, mut held) = (0u32, 0);
    for octet in text {
        let Some(value) = char::from(*octet).to_digit(32) else { return false };
        bits = bits << 5 | value;
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    held < 5 && bits == 0
}

/// Writes octets in hexadecimal.
pub fn write_hex(octets: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    octets.iter().try_for_each(|octet| write!(f, "{octet:02X}"))
}

/// Writes octets in base 64.
pub fn write_base64(octets: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in octets.chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let shown = digit <= three.len();
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            f.write_char(if shown { char::from(DIGITS[value]) } else { '=' })?;
        }
    }
    Ok(())
}

/// Writes octets in base 32 hex, without padding.
pub fn write_base32(octets: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    let (mut bits, mut held) = (0u32, 0);
    for octet in octets {
        bits = bits << 8 | u32::from(*octet);
        held += 8;
        while held >= 5 {
            held -= 5;
            f.write_char(char::from(DIGITS[(bits >> held) as usize & 31]))?;
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        f.write_char(char::from(DIGITS[(bits << (5 - held)) as usize & 31]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        let vectors = [
            ("", "", ""),
            ("f", "Zg==", "CO"),
            ("fo", "Zm8=", "CPNG"),
            ("foo", "Zm9v", "CPNMU"),
            ("foob", "Zm9vYg==", "CPNMUOG"),
            ("fooba", "Zm9vYmE=", "CPNMUOJ1"),
            ("foobar", "Zm9vYmFy", "CPNMUOJ1E8"),
        ];
        for (plain, base64, base32) in vectors {
            let mut text = String::new();
            write_base64(plain.as_bytes(), &mut text).unwrap();
            assert_eq!(text, base64);
            let (mut out, mut reader) = (Vec::new(), Base64::default());
            // In words of one octet each.
            assert!(base64.as_bytes().chunks(1).all(|word| reader.push(word, &mut out)) && reader.finish());
            assert_eq!(out, plain.as_bytes());

            let mut text = String::new();
            write_base32(plain.as_bytes(), &mut text).unwrap();
            assert_eq!(text, base32);
            let mut out = Vec::new();
            assert!(from_base32(base32.to_lowercase().as_bytes(), &mut out));
            assert_eq!(out, plain.as_bytes());
        }
    }

    #[test]
    fn refuses_what_is_not_base_64() {
        for bad in ["Z", "Zg", "Zg=", "Zg===", "Zh==", "Zg==Zg==", "Z*==", "Zm9=", "=", "Zm9v="] {
            let (mut out, mut reader) = (Vec::new(), Base64::default());
            assert!(!(reader.push(bad.as_bytes(), &mut out) && reader.finish()), "{bad}");
        }
    }

    #[test]
    fn refuses_what_is_not_hex_or_base_32() {
        let mut out = Vec::new();
        assert!(from_hex(b"00fF", &mut out));
        assert_eq!(out, [0, 255]);
        assert!(!from_hex(b"0", &mut out));
        assert!(!from_hex(b"0g", &mut out));
        assert!(!from_base32(b"W", &mut out));
        assert!(!from_base32(b"1", &mut out));
    }
}
