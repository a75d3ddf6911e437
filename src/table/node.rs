//! One name of the image, and how it lies in memory.
//!
//! ```text
//! flags  8 │ sets 8 │ length of the name 8 │ zone 16 │ link 32
//! the name in wire form, lower-cased
//! per set: type 16 │ count 16 │ length of the records 16 │ length of the tail 16
//! per set: the records, the tail (see `set`)
//! ```
//! All in one piece and in the machine's own byte order: a name with one address takes 60 to
//! 70 octets, so that a question about one of a million costs two or three cache misses, that
//! of the index included.

use super::set::{Encoded, Set};
use crate::base::{Index, ServiceId};
use crate::wire::RecordType;

/// What is known of a name before its records are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Flags(pub(super) u8);

impl Flags {
    /// The highest name of its zone.
    pub(super) const APEX: u8 = 1;
    /// Delegated: its NS records lead to another zone.
    pub(super) const CUT: u8 = 2;
    /// Has a DNAME, which redirects what lies below.
    pub(super) const DNAME: u8 = 4;
    /// A service answers; the link is its number and which of its names this is.
    pub(super) const SERVICE: u8 = 8;
    /// Lies below a delegation or a DNAME; the link leads to that node.
    pub(super) const COVERED: u8 = 16;
    /// The parent of a wildcard.
    pub(super) const WILD: u8 = 32;
    /// Has a CNAME.
    pub(super) const CNAME: u8 = 64;

    #[inline]
    pub(super) fn has(self, any: u8) -> bool {
        self.0 & any != 0
    }
}

/// The link of a service's name has so many bits for which name it is, the rest for the service.
const NAME_BITS: u32 = 12;
/// A service has no more names than this …
pub(super) const SERVICE_NAMES_MAX: usize = 1 << NAME_BITS;
/// … and there are no more services than this.
pub(super) const SERVICES_MAX: usize = 1 << (32 - NAME_BITS);

const HEAD: usize = 9;
const FLAGS_AT: usize = 0;
const LINK_AT: usize = 5;
const ENTRY: usize = 8;

/// A name of the image: one with records, with a service, or one that merely has others below it.
#[derive(Clone, Copy)]
pub struct Node<'t> {
    /// From where it starts to the end of the image.
    octets: &'t [u8],
    at: u32,
}

impl<'t> Node<'t> {
    #[inline]
    pub(super) fn new(image: &'t [u8], at: u32) -> Self {
        Self { octets: image.get(at as usize..).unwrap_or_default(), at }
    }

    /// Which one it is: the same number, the same node.
    #[inline]
    pub fn number(&self) -> u32 {
        self.at
    }

    #[inline]
    fn head(&self) -> [u8; HEAD] {
        self.octets.first_chunk().copied().unwrap_or_default()
    }

    #[inline]
    pub(super) fn flags(&self) -> Flags {
        Flags(self.head()[FLAGS_AT])
    }

    /// The zone that it belongs to.
    #[inline]
    pub fn zone(&self) -> u16 {
        let [_, _, _, a, b, ..] = self.head();
        u16::from_ne_bytes([a, b])
    }

    #[inline]
    pub(super) fn link(&self) -> u32 {
        let [.., a, b, c, d] = self.head();
        u32::from_ne_bytes([a, b, c, d])
    }

    /// The name in wire form, lower-cased.
    #[inline]
    pub fn name(&self) -> &'t [u8] {
        let [_, _, len, ..] = self.head();
        self.octets.get(HEAD..HEAD + usize::from(len)).unwrap_or_default()
    }

    /// Whether it is delegated: its NS records lead to another zone.
    #[inline]
    pub fn is_cut(&self) -> bool {
        self.flags().has(Flags::CUT)
    }

    /// Whether it has a CNAME record.
    #[inline]
    pub fn has_cname(&self) -> bool {
        self.flags().has(Flags::CNAME)
    }

    /// How much of the image it takes.
    pub(super) fn len(&self) -> usize {
        let [_, sets, len, ..] = self.head();
        let bodies: usize = self.sets().map(|set| set.octets()).sum();
        HEAD + usize::from(len) + usize::from(sets) * ENTRY + bodies
    }

    /// The service that answers for it, if one does.
    #[inline]
    pub fn service(&self) -> Option<ServiceId> {
        let is_one = self.flags().has(Flags::SERVICE);
        is_one.then(|| ServiceId::from_position((self.link() >> NAME_BITS) as usize))
    }

    /// Which of the service's names it is, in the order of the configuration: signatures of a
    /// service's sets are kept by this and by [`SetId`](super::SetId).
    #[inline]
    pub fn service_name(&self) -> usize {
        (self.link() & ((1 << NAME_BITS) - 1)) as usize
    }

    /// Whether it lies at this delegation or below it.
    #[inline]
    pub fn is_within(&self, cut: &Node<'_>) -> bool {
        self.at == cut.at || (self.flags().has(Flags::COVERED) && self.link() == cut.at)
    }

    /// Its records of one type.
    #[inline]
    pub fn set(&self, rtype: RecordType) -> Option<Set<'t>> {
        self.sets().find(|set| set.rtype == rtype)
    }

    /// All its sets, the lowest type first.
    #[inline]
    pub fn sets(&self) -> impl Iterator<Item = Set<'t>> + use<'t> {
        let [_, sets, len, ..] = self.head();
        let entries_at = HEAD + usize::from(len);
        let bodies_at = entries_at + usize::from(sets) * ENTRY;
        let entries = self.octets.get(entries_at..bodies_at).unwrap_or_default();
        let bodies = self.octets.get(bodies_at..).unwrap_or_default();
        let mut start = 0;
        entries.as_chunks::<ENTRY>().0.iter().map(move |entry| {
            let [rtype, count, records, tail] = read_entry(entry);
            let middle = start + usize::from(records);
            let end = middle + usize::from(tail);
            let (records, tail) = (bodies.get(start..middle), bodies.get(middle..end));
            start = end;
            Set::new(
                RecordType(rtype),
                count,
                records.unwrap_or_default(),
                tail.unwrap_or_default(),
                usize::from(len),
            )
        })
    }
}

#[inline]
fn read_entry(entry: &[u8; ENTRY]) -> [u16; 4] {
    let [a, b, c, d, e, f, g, h] = *entry;
    [[a, b], [c, d], [e, f], [g, h]].map(u16::from_ne_bytes)
}

/// Starts a node at the end of the image: everything but the bodies of its sets. Its entries
/// are filled in with [`fill_entry`].
pub(super) fn push_node(image: &mut Vec<u8>, name: &[u8], zone: u16, flags: Flags, sets: u8) -> u32 {
    let at = image.len() as u32;
    image.extend([flags.0, sets, name.len() as u8]);
    image.extend(zone.to_ne_bytes());
    image.extend(0u32.to_ne_bytes());
    image.extend_from_slice(name);
    image.resize(image.len() + usize::from(sets) * ENTRY, 0);
    at
}

/// Says how the set was encoded whose body was appended as the `nth` of this node.
pub(super) fn fill_entry(image: &mut [u8], node: u32, nth: usize, encoded: Encoded) {
    let at = node as usize + HEAD + usize::from(image[node as usize + 2]) + nth * ENTRY;
    let Encoded { rtype, count, records_len, tail_len } = encoded;
    let values = [rtype.0, count, records_len, tail_len].map(u16::to_ne_bytes);
    image[at..at + ENTRY].copy_from_slice(values.as_flattened());
}

/// Adds flags to a node.
pub(super) fn add_flags(image: &mut [u8], node: u32, flags: u8) {
    image[node as usize + FLAGS_AT] |= flags;
}

/// Sets the link of a node.
pub(super) fn set_link(image: &mut [u8], node: u32, link: u32) {
    let at = node as usize + LINK_AT;
    image[at..at + 4].copy_from_slice(&link.to_ne_bytes());
}

/// Makes a node the name of a service: the `nth` of its names.
pub(super) fn link_service(image: &mut [u8], node: u32, service: ServiceId, nth: usize) {
    set_link(image, node, (service.position() << NAME_BITS | nth) as u32);
    add_flags(image, node, Flags::SERVICE);
}

/// Names the node of each target of the `nth` set: the last part of its tail.
pub(super) fn set_targets(image: &mut [u8], node: u32, nth: usize, targets: &[u32]) {
    let here = node as usize;
    let (sets, len) = (usize::from(image[here + 1]), usize::from(image[here + 2]));
    let entries_at = here + HEAD + len;
    let mut end = entries_at + sets * ENTRY;
    for entry in image[entries_at..].as_chunks::<ENTRY>().0.iter().take(nth + 1) {
        let [_, _, records, tail] = read_entry(entry);
        end += usize::from(records) + usize::from(tail);
    }
    let start = end - targets.len() * 4;
    for (four, target) in image[start..end].as_chunks_mut().0.iter_mut().zip(targets) {
        *four = target.to_ne_bytes();
    }
}
