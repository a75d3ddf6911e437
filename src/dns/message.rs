//! A message of a transfer: as many records as fit, owners and names of the zone compressed.

use super::reply::UDP_PAYLOAD;
use crate::table::{POINTER_MAX, QUESTION_AT};
use crate::transfer::Record;
use crate::wire::{Field, HEADER_OCTETS, Rcode, RecordType, is_at_or_under};

/// An OPT record without options.
const OPT_OCTETS: usize = 11;
const POINTER: u16 = 0xc000;

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
    pub(super) fn reserve_edns(&mut self, edns: bool) {
        self.limit = self.limit.saturating_sub(if edns { OPT_OCTETS } else { 0 });
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

    /// Completes the message.
    pub(super) fn finish(mut self, edns: bool) -> Vec<u8> {
        let [high, low] = self.answers.to_be_bytes();
        (self.octets[6], self.octets[7]) = (high, low);
        if edns {
            let [high, low] = UDP_PAYLOAD.to_be_bytes();
            self.octets.extend([0, 0, RecordType::OPT.0 as u8, high, low, 0, 0, 0, 0, 0, 0]);
            self.octets[11] = 1;
        }
        self.octets
    }
}
