//! A message of a transfer: as many records as fit, owners and names of the zone compressed.

use super::opt::PADDING_BLOCK;
use super::reply::UDP_PAYLOAD;
use crate::table::{POINTER_MAX, QUESTION_AT};
use crate::transfer::Record;
use crate::wire::{Edns, Field, HEADER_OCTETS, Rcode, RecordType, is_at_or_under, option_code};

/// An OPT record without options.
const OPT_OCTETS: usize = 11;
/// What stands before an option's data: code and length.
const OPTION_HEAD: usize = 4;
const POINTER: u16 = 0xc000;

/// The OPT record that ends a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// There is none.
    Plain,
    /// With nothing in it.
    Edns,
    /// It fills the message up to a whole number of blocks.
    Padded,
}

impl Ending {
    /// For a client that said this. What others could read all the same is not padded (RFC 7830 §4).
    pub(super) fn to(edns: Option<&Edns<'_>>, is_encrypted: bool) -> Self {
        match edns {
            None => Self::Plain,
            Some(edns) if edns.options.padding && is_encrypted => Self::Padded,
            Some(_) => Self::Edns,
        }
    }
}

/// A message in the making.
pub(super) struct Packer {
    octets: Vec<u8>,
    limit: usize,
    answers: u16,
    /// The name of the question: the zone's apex.
    apex: Vec<u8>,
    /// The owner of the record before, and where it stands.
    last: (Vec<u8>, usize),
    head_octets: usize,
}

impl Packer {
    /// Starts with header and question; the message will be no longer than `limit`.
    pub(super) fn new(head: &[u8], limit: usize) -> Self {
        let name = head.get(HEADER_OCTETS..head.len().saturating_sub(4)).unwrap_or_default();
        Self {
            octets: head.to_vec(),
            limit,
            answers: 0,
            apex: name.to_ascii_lowercase(),
            last: Default::default(),
            head_octets: head.len(),
        }
    }

    /// Keeps room for an OPT record.
    pub(super) fn reserve(&mut self, ending: Ending) {
        let octets = if ending == Ending::Plain { 0 } else { OPT_OCTETS };
        self.limit = self.limit.saturating_sub(octets);
    }

    pub(super) fn set_rcode(&mut self, rcode: Rcode) {
        if let Some(flags) = self.octets.get_mut(3) {
            *flags = *flags & 0xf0 | rcode.0 as u8 & 15;
        }
        // We have authority over nothing that we refuse.
        if let Some(flags) = self.octets.get_mut(2) {
            *flags &= !0x04;
        }
    }

    /// Whether there is no record in it yet.
    pub(super) fn is_empty(&self) -> bool {
        self.octets.len() == self.head_octets
    }

    /// Appends a record; `false`, and nothing is appended, if it does not fit.
    pub(super) fn push(&mut self, record: Record<'_>) -> bool {
        let start = self.octets.len();
        let owner = record.owner();
        let (last, last_at) = &self.last;
        match *last == owner && (1..=POINTER_MAX).contains(last_at) {
            true => self.octets.extend((POINTER | *last_at as u16).to_be_bytes()),
            false => {
                self.name(owner);
                self.last.0.clear();
                self.last.0.extend_from_slice(owner);
                self.last.1 = start;
            }
        }
        self.octets.extend_from_slice(record.frame());
        let len_at = self.octets.len();
        self.octets.extend([0, 0]);
        self.rdata(record.rtype(), record.rdata());
        let len = self.octets.len() - len_at - 2;
        if self.octets.len() > self.limit || self.answers == u16::MAX {
            self.octets.truncate(start);
            self.last = Default::default();
            return false;
        }
        self.octets[len_at..len_at + 2].copy_from_slice(&(len as u16).to_be_bytes());
        self.answers += 1;
        true
    }

    /// Appends a name, what it has of the apex as a pointer into the question.
    fn name(&mut self, name: &[u8]) {
        let prefix = name.len().saturating_sub(self.apex.len());
        match self.apex.len() > 1 && is_at_or_under(name, &self.apex) {
            true => {
                self.octets.extend_from_slice(&name[..prefix]);
                self.octets.extend((POINTER | QUESTION_AT as u16).to_be_bytes());
            }
            false => self.octets.extend_from_slice(name),
        }
    }

    /// Appends data, names in types of RFC 1035 compressed (RFC 3597 §4 allows no others).
    fn rdata(&mut self, rtype: RecordType, rdata: &[u8]) {
        let mut rest = rdata;
        for field in rtype.fields().unwrap_or_default() {
            let Some((part, after)) = field.len(rest).and_then(|len| rest.split_at_checked(len)) else {
                break;
            };
            match field {
                Field::OldName => self.name(part),
                _ => self.octets.extend_from_slice(part),
            }
            rest = after;
        }
        self.octets.extend_from_slice(rest);
    }

    /// Completes the message, apart from a signature of so many octets.
    pub(super) fn finish(mut self, ending: Ending, signature: usize) -> Vec<u8> {
        let [high, low] = self.answers.to_be_bytes();
        (self.octets[6], self.octets[7]) = (high, low);
        if ending == Ending::Plain {
            return self.octets;
        }
        let [high, low] = UDP_PAYLOAD.to_be_bytes();
        self.octets.extend([0, 0, RecordType::OPT.0 as u8, high, low, 0, 0, 0, 0, 0, 0]);
        self.octets[11] = 1;
        let least = self.octets.len() + OPTION_HEAD + signature;
        let whole = least.next_multiple_of(PADDING_BLOCK);
        // The longest message there is stays as it is.
        if ending == Ending::Padded && whole <= usize::from(u16::MAX) {
            let padding = whole - least;
            let len_at = self.octets.len() - 2;
            self.octets[len_at..].copy_from_slice(&((OPTION_HEAD + padding) as u16).to_be_bytes());
            self.octets.extend(option_code::PADDING.to_be_bytes());
            self.octets.extend((padding as u16).to_be_bytes());
            self.octets.resize(whole - signature, 0);
        }
        self.octets
    }
}
