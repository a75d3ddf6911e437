//! The static part of a table: every name of every zone, compiled for looking up.

use std::fmt;

use super::node::{Flags, Node};
use super::set::Set;
use crate::base::ServiceId;
use crate::wire::{NAME_OCTETS_MAX, Name, NameIndex, hash_name, label_count, suffixes};

/// Every name of every zone. Built once per load and shared by all tables of that load.
pub struct Image {
    /// Node after node.
    pub(super) octets: Vec<u8>,
    pub(super) index: NameIndex,
    pub(super) zones: Vec<ZoneEntry>,
    /// No name has more labels than this, so none with more is looked for.
    pub(super) labels_max: usize,
    /// The nodes of services' names.
    pub(super) dynamic: Vec<u32>,
}

/// What a zone needs to say no.
pub(super) struct ZoneEntry {
    pub(super) apex: u32,
    pub(super) apex_len: u8,
    /// The node of the same name in the zone above, if that is ours too: its DS records are
    /// asked for there (RFC 4035 §3.1.4.1).
    pub(super) above: Option<u32>,
    /// The SOA record as negative answers carry it: records, tail.
    pub(super) negative: (Vec<u8>, Vec<u8>),
    /// Where its nodes lie, but for those of services that are no names of its file.
    pub(super) span: (u32, u32),
    /// How many records its file has.
    pub(super) records: u32,
}

/// What there is to say about a name.
#[derive(Clone, Copy, Debug)]
pub enum Found<'t> {
    /// The name exists, or a wildcard answers for it.
    Node(Node<'t>),
    /// It is delegated, or lies below a delegation: this one.
    Cut(Node<'t>),
    /// It lies below a name that redirects.
    Dname(Node<'t>),
    /// It does not exist in this zone.
    Missing(Apex<'t>),
    /// It lies in none of our zones.
    Elsewhere,
}

/// A zone, as negative answers need it.
#[derive(Clone, Copy, Debug)]
pub struct Apex<'t> {
    /// Its number among the zones of the image.
    pub zone: u16,
    /// Its highest name.
    pub node: Node<'t>,
    /// The length of that name.
    pub len: usize,
    /// Its SOA record with the TTL of negative answers, min(TTL, MINIMUM) (RFC 2308 §3).
    pub negative: Set<'t>,
}

impl Image {
    /// Finds out about a name, given in lower-cased wire form: one probe if it exists. With
    /// `above_cuts` the side above a delegation answers, as it does for DS records.
    #[inline]
    pub fn locate(&self, name: &[u8], above_cuts: bool) -> Found<'_> {
        match self.find(name) {
            Some(node) if !node.flags().has(Flags::CUT | Flags::COVERED | Flags::APEX) => Found::Node(node),
            Some(node) => self.special(node, above_cuts),
            None => self.closest(name),
        }
    }

    /// The node of exactly this name.
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<Node<'_>> {
        let at = self.index.find(hash_name(name), |at| self.node(at).name() == name)?;
        Some(self.node(at))
    }

    fn special<'t>(&'t self, node: Node<'t>, above_cuts: bool) -> Found<'t> {
        let flags = node.flags();
        if flags.has(Flags::COVERED) {
            return self.covered(node);
        }
        if above_cuts {
            let above = self.zones.get(usize::from(node.zone())).and_then(|zone| zone.above);
            return Found::Node(
                above.filter(|_| flags.has(Flags::APEX)).map_or(node, |above| self.node(above)),
            );
        }
        if flags.has(Flags::CUT) { Found::Cut(node) } else { Found::Node(node) }
    }

    fn covered<'t>(&'t self, node: Node<'t>) -> Found<'t> {
        let cover = self.node(node.link());
        if cover.is_cut() { Found::Cut(cover) } else { Found::Dname(cover) }
    }

    /// What answers for a name that has no node: its closest encloser (RFC 4592 §3.3.1) tells.
    fn closest(&self, name: &[u8]) -> Found<'_> {
        let too_deep = label_count(name).saturating_sub(self.labels_max + 1);
        let encloser = suffixes(name).skip(1 + too_deep).find_map(|suffix| self.find(suffix));
        let Some(encloser) = encloser else { return Found::Elsewhere };
        let flags = encloser.flags();
        if flags.has(Flags::COVERED) {
            return self.covered(encloser);
        }
        if flags.has(Flags::CUT) {
            return Found::Cut(encloser);
        }
        if flags.has(Flags::DNAME) {
            return Found::Dname(encloser);
        }
        if flags.has(Flags::WILD)
            && let Some(wildcard) = self.wildcard_below(encloser.name())
        {
            return Found::Node(wildcard);
        }
        match self.apex(&encloser) {
            Some(apex) => Found::Missing(apex),
            None => Found::Elsewhere,
        }
    }

    /// The source of synthesis (RFC 4592 §3.3.1): `*` below the closest encloser.
    fn wildcard_below(&self, encloser: &[u8]) -> Option<Node<'_>> {
        let mut name = [0; NAME_OCTETS_MAX];
        let name = name.get_mut(..encloser.len() + 2)?;
        let (star, rest) = name.split_first_chunk_mut()?;
        *star = *b"\x01*";
        rest.copy_from_slice(encloser);
        self.find(name)
    }

    /// The node of a name whose addresses may be told beside an answer: what lies below a
    /// delegation is not ours to tell.
    pub fn told(&self, name: &[u8]) -> Option<Node<'_>> {
        self.find(name).filter(|node| !node.flags().has(Flags::COVERED | Flags::CUT))
    }

    /// The zone of a node.
    #[inline]
    pub fn apex(&self, node: &Node<'_>) -> Option<Apex<'_>> {
        self.apex_of(node.zone())
    }

    /// A zone by its number.
    #[inline]
    pub(super) fn apex_of(&self, number: u16) -> Option<Apex<'_>> {
        let zone = self.zones.get(usize::from(number))?;
        let len = usize::from(zone.apex_len);
        let (records, tail) = &zone.negative;
        let negative = Set::new(crate::wire::RecordType::SOA, 1, records, tail, len);
        Some(Apex { zone: number, node: self.node(zone.apex), len, negative })
    }

    /// Every node there is, also of names that another zone answers for.
    pub(super) fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        let mut at = 1;
        std::iter::from_fn(move || {
            (at < self.octets.len()).then(|| {
                let node = self.node(at as u32);
                at += node.len();
                node
            })
        })
    }

    /// A node by its number.
    #[inline]
    pub fn node(&self, at: u32) -> Node<'_> {
        Node::new(&self.octets, at)
    }

    /// The service that answers for a name, if it is the name of one.
    pub fn service(&self, name: &Name) -> Option<ServiceId> {
        self.find(name.as_wire())?.service()
    }

    /// Whether a name lies in one of the zones.
    pub fn covers(&self, name: &Name) -> bool {
        !matches!(self.locate(name.as_wire(), false), Found::Elsewhere)
    }

    /// The zones' highest names.
    pub fn apexes(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.zones.iter().map(|zone| self.node(zone.apex).name())
    }

    /// The number of the zone with this highest name, given in lower-cased wire form.
    pub fn zone(&self, apex: &[u8]) -> Option<u16> {
        self.find(apex).filter(|node| node.flags().has(Flags::APEX)).map(|node| node.zone())
    }

    /// How many names there are, those included that merely have others below them.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none: no zone at all.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// How many octets of memory it takes.
    pub fn octets(&self) -> usize {
        self.octets.capacity() + self.index.octets()
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} zones, {} names, {} octets)", self.zones.len(), self.len(), self.octets())
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets: Vec<_> = self.sets().map(|set| set.rtype).collect();
        write!(f, "{} {sets:?}", crate::wire::ShowName(self.name()))
    }
}
