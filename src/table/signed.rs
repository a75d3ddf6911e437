//! The signatures of an image, beside it: an image lives as long as a configuration, its
//! signatures until they are made anew.
//!
//! ```text
//! node 32 │ entries 16
//! per entry: kind 16 │ type 16 │ count 16 │ length of the records 16
//! per entry: the records, as they are sent (see `set`); no names in them are compressed
//! ```
//! Unsigned zones have nothing here, and a table without a signed one has none of this at all.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::answers::SetId;
use super::node::Node;
use super::set::{Set, push_record};
use crate::base::Timestamp;
use crate::sign::{Validity, ZoneKeys};
use crate::wire::{NameIndex, RecordType};

const HEAD: usize = 6;
const ENTRY: usize = 8;

/// What the records of an entry are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Those of the type itself: keys, and the NSEC record that stands there.
    Set,
    /// Signatures over the set of the type, whether it is here or in the image.
    Signature,
    /// The NSEC record for a question about a type that is there at other times.
    Lack,
    /// Signatures over that one.
    LackSignature,
    /// Signatures over one of the sets of a service: the number of the set is in the place of
    /// the type.
    Drawn,
}

/// What is no signature.
const UNSIGNED: [u16; 2] = [Kind::Set as u16, Kind::Lack as u16];

/// What makes signed zones of zones: signatures, keys, and NSEC records at each name.
pub struct Signed {
    /// In the order of the nodes they are about.
    pub(super) parts: Vec<Part>,
    pub(super) zones: Vec<Option<SignedZone>>,
    pub(super) unions: HashMap<SetDigest, Box<[u8]>>,
    pub(super) epoch: u64,
    pub(super) made_at: Timestamp,
    pub(super) renew_at: Timestamp,
}

/// What identifies a set with its owner, type, TTL and data: SHA-256 over its canonical form.
pub(super) type SetDigest = [u8; 32];

/// What it takes to sign in a zone as long as these signatures last.
#[derive(Clone, Debug)]
pub struct SignedZone {
    /// With these keys.
    pub keys: Arc<ZoneKeys>,
    /// For so long.
    pub validity: Validity,
    /// The TTL of NSEC records: min(TTL, MINIMUM) of the SOA record (RFC 9077).
    pub negative_ttl: u32,
}

/// The signatures of some nodes that follow one another.
#[derive(Default)]
pub struct Part {
    pub(super) octets: Vec<u8>,
    index: NameIndex,
    /// The last node it knows.
    last: u32,
    pub(super) unions: Vec<(SetDigest, Box<[u8]>)>,
}

/// What is signed at one name.
#[derive(Clone, Copy)]
pub struct Block<'t> {
    entries: &'t [[u8; ENTRY]],
    bodies: &'t [u8],
}

impl Signed {
    /// The keys that everything was signed with.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<ZoneKeys>> {
        self.zones.iter().flatten().map(|zone| &zone.keys)
    }

    /// How one of the image's zones is signed, if it is.
    #[inline]
    pub fn zone(&self, number: u16) -> Option<&SignedZone> {
        self.zones.get(usize::from(number))?.as_ref()
    }

    /// What is signed at a name.
    #[inline]
    pub fn block(&self, node: &Node<'_>) -> Option<Block<'_>> {
        let number = node.number();
        self.parts.get(self.parts.partition_point(|part| part.last < number))?.block(node)
    }

    /// No two makings have the same number.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Signatures over sets that unite regions of a service, by what is signed ([`SetDigest`]).
    pub(super) fn union(&self, digest: &SetDigest) -> Option<&[u8]> {
        self.unions.get(digest).map(|records| &**records)
    }

    /// When all of this was made.
    pub fn made_at(&self) -> Timestamp {
        self.made_at
    }

    /// When all of this is to be made anew.
    pub fn renew_at(&self) -> Timestamp {
        self.renew_at
    }

    /// How many octets of memory it takes.
    pub fn octets(&self) -> usize {
        self.parts.iter().map(|part| part.octets.capacity() + part.index.octets()).sum()
    }

    /// How many signatures there are.
    pub fn len(&self) -> usize {
        let blocks = self.parts.iter().flat_map(Part::blocks);
        let entries = blocks.flat_map(|block| block.entries.iter().map(read_entry));
        entries.filter(|[kind, ..]| !UNSIGNED.contains(kind)).map(|[_, _, count, _]| usize::from(count)).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.octets.is_empty())
    }
}

impl<'t> Block<'t> {
    fn get(&self, kind: Kind, rtype: RecordType) -> Option<Set<'t>> {
        let mut start = 0;
        for entry in self.entries {
            let [here, covered, count, len] = read_entry(entry);
            let end = start + usize::from(len);
            if here == kind as u16 && covered == rtype.0 {
                let what = match kind {
                    Kind::Set => rtype,
                    Kind::Lack => RecordType::NSEC,
                    Kind::Signature | Kind::LackSignature | Kind::Drawn => RecordType::RRSIG,
                };
                return Some(Set::new(what, count, self.bodies.get(start..end)?, &[], 0));
            }
            start = end;
        }
        None
    }

    /// A set of records that only a signed zone has: DNSKEY, CDS, CDNSKEY, NSEC.
    pub fn set(&self, rtype: RecordType) -> Option<Set<'t>> {
        self.get(Kind::Set, rtype)
    }

    /// The signatures over the set of a type.
    #[inline]
    pub fn signature(&self, rtype: RecordType) -> Option<Set<'t>> {
        self.get(Kind::Signature, rtype)
    }

    /// The signatures over one of the sets of a service.
    #[inline]
    pub fn drawn(&self, id: SetId) -> Option<Set<'t>> {
        self.get(Kind::Drawn, RecordType(u16::try_from(id.0).ok()?))
    }

    /// One of the signatures, for who asks for any (RFC 8482 applies to such questions as well).
    pub fn some_signature(&self) -> Option<Set<'t>> {
        let first = self.entries.iter().map(read_entry).find(|[kind, ..]| *kind == Kind::Signature as u16);
        self.signature(RecordType(first?[1]))
    }

    /// The NSEC record that says that a type is not there, and its signatures.
    pub fn denial(&self, rtype: RecordType) -> Option<(Set<'t>, Set<'t>)> {
        self.get(Kind::Lack, rtype).zip(self.get(Kind::LackSignature, rtype)).or_else(|| {
            let nsec = RecordType::NSEC;
            self.set(nsec).zip(self.signature(nsec))
        })
    }
}

impl Part {
    pub(super) fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    pub(super) fn push(&mut self, node: u32, block: &BlockWriter) {
        let at = self.octets.len() as u32;
        self.octets.extend(node.to_ne_bytes());
        self.octets.extend((block.entries.len() as u16).to_ne_bytes());
        self.octets.extend(block.entries.iter().flatten().flat_map(|value| value.to_ne_bytes()));
        self.octets.extend_from_slice(&block.bodies);
        let Self { octets, index, .. } = self;
        index.insert(hash_node(node), at, |at| hash_node(node_at(octets, at)));
        self.last = node;
    }

    /// What is signed at a name.
    #[inline]
    pub fn block(&self, node: &Node<'_>) -> Option<Block<'_>> {
        let number = node.number();
        self.block_at(self.index.find(hash_node(number), |at| self.node_at(at) == number)?)
    }

    fn node_at(&self, at: u32) -> u32 {
        node_at(&self.octets, at)
    }

    fn block_at(&self, at: u32) -> Option<Block<'_>> {
        let ([_, _, _, _, a, b], rest) = self.octets.get(at as usize..)?.split_first_chunk::<HEAD>()?;
        let (entries, bodies) = rest.split_at_checked(usize::from(u16::from_ne_bytes([*a, *b])) * ENTRY)?;
        Some(Block { entries: entries.as_chunks().0, bodies })
    }

    fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let block = self.block_at(at)?;
            let bodies: usize = block.entries.iter().map(|entry| usize::from(read_entry(entry)[3])).sum();
            at += (HEAD + block.entries.len() * ENTRY + bodies) as u32;
            Some(block)
        })
    }
}

fn node_at(octets: &[u8], at: u32) -> u32 {
    octets.get(at as usize..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_ne_bytes(*four))
}

fn hash_node(node: u32) -> u64 {
    // The golden ratio spreads numbers that follow one another.
    u64::from(node).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline]
fn read_entry(entry: &[u8; ENTRY]) -> [u16; 4] {
    let [a, b, c, d, e, f, g, h] = *entry;
    [[a, b], [c, d], [e, f], [g, h]].map(u16::from_ne_bytes)
}

/// Collects what is signed at one name.
#[derive(Default)]
pub(super) struct BlockWriter {
    entries: Vec<[u16; 4]>,
    bodies: Vec<u8>,
}

impl BlockWriter {
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bodies.clear();
    }

    /// Adds an entry that is there already: records of one length each.
    pub(super) fn entry(&mut self, kind: Kind, rtype: u16, records: &[u8], count: u16) {
        self.entries.push([kind as u16, rtype, count, records.len() as u16]);
        self.bodies.extend_from_slice(records);
    }

    /// Begins an entry.
    pub(super) fn begin(&mut self, kind: Kind, rtype: RecordType) {
        self.entries.push([kind as u16, rtype.0, 0, 0]);
    }

    /// Adds a record to the entry that was begun last, its data in parts.
    pub(super) fn record(&mut self, rtype: RecordType, ttl: u32, rdata: &[&[u8]]) {
        let before = self.bodies.len();
        push_record(&mut self.bodies, rtype, ttl, rdata);
        if let Some([_, _, count, len]) = self.entries.last_mut() {
            *count += 1;
            // Keys are few and signatures fewer.
            *len += (self.bodies.len() - before) as u16;
        }
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zones = self.zones.iter().flatten().count();
        write!(f, "Signed({zones} zones, {} octets)", self.octets())
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({} names)", self.index.len())
    }
}

impl fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(read_entry)).finish()
    }
}
