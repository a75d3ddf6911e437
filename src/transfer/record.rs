//! Records one after the other, as a zone file would list them: owner in full, type, class, TTL,
//! length, data without compression. Equal records are equal octets.

use std::collections::HashMap;

use super::Serial;
use crate::wire::{Class, RecordType, name_len};

/// Type, class, TTL and length.
const FRAME: usize = 10;

/// A record in full.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Record<'a> {
    /// All of it.
    pub octets: &'a [u8],
    /// The length of its owner.
    owner_len: usize,
}

/// Records in full, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a>(pub &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let owner_len = name_len(self.0)?;
        let frame = self.0.get(owner_len..)?.first_chunk::<FRAME>()?;
        let [.., high, low] = frame;
        let len = owner_len + FRAME + usize::from(u16::from_be_bytes([*high, *low]));
        let (octets, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(Record { octets, owner_len })
    }
}

impl<'a> Record<'a> {
    /// Whose it is, in wire form.
    pub fn owner(&self) -> &'a [u8] {
        &self.octets[..self.owner_len]
    }

    /// Its type.
    pub fn rtype(&self) -> RecordType {
        let two = self.octets.get(self.owner_len..).and_then(|rest| rest.first_chunk());
        RecordType(two.map_or(0, |two| u16::from_be_bytes(*two)))
    }

    /// Type, class and TTL.
    pub fn frame(&self) -> &'a [u8] {
        &self.octets[self.owner_len..self.owner_len + FRAME - 2]
    }

    /// For how long it may be kept, in seconds.
    pub fn ttl(&self) -> u32 {
        self.frame().last_chunk().map_or(0, |four| u32::from_be_bytes(*four))
    }

    /// Its data, names in full.
    pub fn rdata(&self) -> &'a [u8] {
        &self.octets[self.owner_len + FRAME..]
    }

    /// The serial, if it is an SOA record.
    pub fn serial(&self) -> Option<Serial> {
        let five = self.rdata().last_chunk::<20>().filter(|_| self.rtype() == RecordType::SOA)?;
        let [a, b, c, d, ..] = *five;
        Some(Serial(u32::from_be_bytes([a, b, c, d])))
    }
}

/// Appends a record.
pub fn push_record(out: &mut Vec<u8>, owner: &[u8], rtype: RecordType, ttl: u32, rdata: &[u8]) {
    out.extend_from_slice(owner);
    out.extend(rtype.0.to_be_bytes());
    out.extend(Class::IN.0.to_be_bytes());
    out.extend(ttl.to_be_bytes());
    out.extend((rdata.len() as u16).to_be_bytes());
    out.extend_from_slice(rdata);
}

/// An SOA record, its serial replaced.
pub fn soa_with_serial(soa: &[u8], serial: Serial) -> Vec<u8> {
    let mut soa = soa.to_vec();
    let at = soa.len().saturating_sub(20);
    if let Some(four) = soa.get_mut(at..at + 4) {
        four.copy_from_slice(&serial.0.to_be_bytes());
    }
    soa
}

/// What is in the first records and not in the second, and the other way round; each record
/// counts as often as it is there.
pub fn difference(old: &[u8], new: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut count: HashMap<&[u8], i32> = HashMap::new();
    for record in Records(new) {
        *count.entry(record.octets).or_default() += 1;
    }
    let (mut deleted, mut added) = (Vec::new(), Vec::new());
    for record in Records(old) {
        match count.get_mut(record.octets) {
            Some(left) if *left > 0 => *left -= 1,
            _ => deleted.extend_from_slice(record.octets),
        }
    }
    // In their order, so that the same change always reads the same.
    for record in Records(new) {
        if let Some(left) = count.get_mut(record.octets).filter(|left| **left > 0) {
            *left -= 1;
            added.extend_from_slice(record.octets);
        }
    }
    (deleted, added)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(hosts: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for host in hosts {
            push_record(&mut out, &[1, *host, 0], RecordType::A, 300, &[192, 0, 2, *host]);
        }
        out
    }

    #[test]
    fn records_are_told_apart() {
        let both = records(b"ab");
        let read: Vec<_> = Records(&both).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[1].owner(), read[1].rtype()), (&b"\x01b\x00"[..], RecordType::A));
        assert_eq!((read[1].rdata(), read[1].frame().len()), (&[192, 0, 2, b'b'][..], 8));
        assert_eq!(read[0].serial(), None);
        // What is cut short is not there.
        assert_eq!(Records(&both[..both.len() - 1]).count(), 1);
    }

    #[test]
    fn a_serial_is_replaced_where_it_stands() {
        let mut soa = Vec::new();
        let data = [&b"\x01n\x00\x01h\x00"[..], &[0, 0, 0, 7], &[1; 16]].concat();
        push_record(&mut soa, b"\x01x\x00", RecordType::SOA, 60, &data);
        let moved = soa_with_serial(&soa, Serial(8));
        assert_eq!(Records(&moved).next().unwrap().serial(), Some(Serial(8)));
        assert_eq!(soa_with_serial(&moved, Serial(7)), soa);
    }

    #[test]
    fn a_difference_is_what_has_gone_and_what_has_come() {
        let (deleted, added) = difference(&records(b"abc"), &records(b"bdca"));
        assert_eq!((deleted, added), (vec![], records(b"d")));
        let (deleted, added) = difference(&records(b"aab"), &records(b"ba"));
        assert_eq!((deleted, added), (records(b"a"), vec![]));
    }
}
