//! The TSIG record (RFC 8945 §4.2): found in a message, taken apart, written.
//!
//! What it is worth is for others to say (`transfer::signature`): here it is but octets.

use super::query::{HEADER_OCTETS, skip_name};
use super::{Class, RecordType, expand_name};

/// TTL and length, behind owner, type and class.
const FRAME_OCTETS: usize = 10;

/// A TSIG record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tsig {
    /// The name of the key, in lower-cased wire form.
    pub key: Vec<u8>,
    /// The name of the algorithm, in lower-cased wire form.
    pub algorithm: Vec<u8>,
    /// When it was signed, in seconds since 1970; 48 bits.
    pub time: u64,
    /// How many seconds the clocks may be apart.
    pub fudge: u16,
    /// The signature; none in some refusals.
    pub mac: Vec<u8>,
    /// The message's id when it was signed.
    pub original_id: u16,
    /// What was wrong with the signature that this one answers (RFC 8945 §3); 0: nothing.
    pub error: u16,
    /// The server's time, if `error` is BADTIME.
    pub other: Vec<u8>,
}

/// A TSIG record that is out of its place or cannot be read: FORMERR (RFC 8945 §5.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MalformedTsig;

impl Tsig {
    /// Finds the record, which ends its message, and tells where it starts.
    ///
    /// # Errors
    /// There is one elsewhere or in pieces, or the message cannot be read.
    pub fn find(message: &[u8]) -> Result<Option<(usize, Tsig)>, MalformedTsig> {
        let header = message.first_chunk::<HEADER_OCTETS>().ok_or(MalformedTsig)?;
        let (shorts, _) = header.as_chunks();
        let &[_, _, questions, answers, authorities, additionals] = shorts else {
            return Err(MalformedTsig);
        };
        let mut at = HEADER_OCTETS;
        for _ in 0..u16::from_be_bytes(questions) {
            at += message.get(at..).and_then(skip_name).ok_or(MalformedTsig)? + 4;
        }
        let count = |two: [u8; 2]| u32::from(u16::from_be_bytes(two));
        let records = count(answers) + count(authorities) + count(additionals);
        for nth in 1..=records {
            let start = at;
            let frame_at = at + message.get(at..).and_then(skip_name).ok_or(MalformedTsig)?;
            let frame = message.get(frame_at..).and_then(|rest| rest.first_chunk::<FRAME_OCTETS>());
            let [t_high, t_low, class_and_ttl @ .., l_high, l_low] = frame.ok_or(MalformedTsig)?;
            let data_at = frame_at + FRAME_OCTETS;
            let len = usize::from(u16::from_be_bytes([*l_high, *l_low]));
            let data = message.get(data_at..data_at + len).ok_or(MalformedTsig)?;
            at = data_at + len;
            if RecordType(u16::from_be_bytes([*t_high, *t_low])) != RecordType::TSIG {
                continue;
            }
            // Class ANY, TTL 0 (§4.2): they are not signed as they stand, but as these.
            let framed = *class_and_ttl == [0, Class::ANY.0 as u8, 0, 0, 0, 0];
            if nth < records || count(additionals) == 0 || at != message.len() || !framed {
                return Err(MalformedTsig);
            }
            return Self::read(message, start, data).map(|tsig| Some((start, tsig))).ok_or(MalformedTsig);
        }
        Ok(None)
    }

    fn read(message: &[u8], start: usize, data: &[u8]) -> Option<Self> {
        let (mut key, mut algorithm) = (Vec::new(), Vec::new());
        expand_name(message, start, &mut key)?;
        // Never compressed (RFC 8945 §4.2): read it from the data alone.
        let len = expand_name(data, 0, &mut algorithm)?;
        key.make_ascii_lowercase();
        algorithm.make_ascii_lowercase();
        let (time, rest) = data.get(len..)?.split_first_chunk::<6>()?;
        let ([f_high, f_low, m_high, m_low], rest) = rest.split_first_chunk()?;
        let (mac, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*m_high, *m_low])))?;
        let ([i_high, i_low, e_high, e_low, o_high, o_low], rest) = rest.split_first_chunk()?;
        let other = (rest.len() == usize::from(u16::from_be_bytes([*o_high, *o_low]))).then_some(rest)?;
        Some(Self {
            key,
            algorithm,
            time: time.iter().fold(0, |time, octet| time << 8 | u64::from(*octet)),
            fudge: u16::from_be_bytes([*f_high, *f_low]),
            mac: mac.to_vec(),
            original_id: u16::from_be_bytes([*i_high, *i_low]),
            error: u16::from_be_bytes([*e_high, *e_low]),
            other: other.to_vec(),
        })
    }

    /// Appends the record to a message and counts it there.
    pub fn append(&self, message: &mut Vec<u8>) {
        message.extend_from_slice(&self.key);
        message.extend(RecordType::TSIG.0.to_be_bytes());
        message.extend(Class::ANY.0.to_be_bytes());
        message.extend([0; 4]);
        let len = self.algorithm.len() + 6 + 2 + 2 + self.mac.len() + 2 + 2 + 2 + self.other.len();
        message.extend((len as u16).to_be_bytes());
        message.extend_from_slice(&self.algorithm);
        message.extend_from_slice(&self.timers());
        message.extend((self.mac.len() as u16).to_be_bytes());
        message.extend_from_slice(&self.mac);
        message.extend(self.original_id.to_be_bytes());
        message.extend(self.error.to_be_bytes());
        message.extend((self.other.len() as u16).to_be_bytes());
        message.extend_from_slice(&self.other);
        add_to_count(message, 1);
    }

    /// Time and fudge, as they are signed.
    pub fn timers(&self) -> [u8; 8] {
        let [_, _, a, b, c, d, e, f] = self.time.to_be_bytes();
        let [g, h] = self.fudge.to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// The message as it was signed: without the record that starts at `at`, its id as it was.
    pub fn stripped(&self, message: &[u8], at: usize) -> Vec<u8> {
        let mut stripped = message.get(..at).unwrap_or_default().to_vec();
        if let Some(id) = stripped.first_chunk_mut() {
            *id = self.original_id.to_be_bytes();
        }
        add_to_count(&mut stripped, -1);
        stripped
    }

    /// How long the record is with a signature of that many octets and no other data.
    pub fn octets(key: &[u8], algorithm: &[u8], mac: usize) -> usize {
        key.len() + FRAME_OCTETS + algorithm.len() + 16 + mac
    }
}

/// Moves the number of additional records.
fn add_to_count(message: &mut [u8], by: i16) {
    if let Some([high, low]) = message.get_mut(HEADER_OCTETS - 2..HEADER_OCTETS) {
        [*high, *low] = u16::from_be_bytes([*high, *low]).wrapping_add_signed(by).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Name, ask};

    fn tsig() -> Tsig {
        Tsig {
            key: b"\x03key\x00".to_vec(),
            algorithm: b"\x0bhmac-sha256\x00".to_vec(),
            time: 0x0102_0304_0506,
            fudge: 300,
            mac: vec![7; 32],
            original_id: 4711,
            error: 0,
            other: vec![1, 2],
        }
    }

    fn signed(payload: Option<u16>) -> (Vec<u8>, Vec<u8>) {
        let plain = ask(4711, &Name::parse("x").unwrap(), RecordType::SOA, payload);
        let mut message = plain.clone();
        tsig().append(&mut message);
        (plain, message)
    }

    #[test]
    fn what_was_written_is_found_and_taken_off() {
        for payload in [None, Some(1232)] {
            let (plain, mut message) = signed(payload);
            assert_eq!(Tsig::find(&plain), Ok(None));
            let (at, found) = Tsig::find(&message).unwrap().unwrap();
            assert_eq!((at, &found), (plain.len(), &tsig()));
            message[..2].copy_from_slice(&[9, 9]);
            assert_eq!(found.stripped(&message, at), plain);
            let without_other = Tsig::octets(&found.key, &found.algorithm, 32);
            assert_eq!(message.len() - plain.len(), without_other + 2);
        }
    }

    #[test]
    fn one_in_pieces_or_out_of_place_is_malformed() {
        let (plain, message) = signed(Some(1232));
        for len in plain.len()..message.len() {
            assert_eq!(Tsig::find(&message[..len]), Err(MalformedTsig), "{len}");
        }
        assert_eq!(Tsig::find(&[&message[..], b"x"].concat()), Err(MalformedTsig));
        // A second one behind the first, and one that is no additional record.
        let mut twice = message.clone();
        tsig().append(&mut twice);
        assert_eq!(Tsig::find(&twice), Err(MalformedTsig));
        let (_, mut answer) = signed(None);
        (answer[7], answer[11]) = (1, 0);
        assert_eq!(Tsig::find(&answer), Err(MalformedTsig));
    }
}
