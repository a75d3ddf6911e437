//! What a master file says: owners, their sets of records, and where each record stands.
//!
//! Everything lies in a few long vectors, so that a million records cost a few dozen octets
//! each and no allocation of their own.

use std::fmt;
use std::sync::Arc;

use crate::base::{Place, Source};
use crate::wire::{Name, NameIndex, RecordType, ShowName, hash_name, name_len};

/// A zone as its master file has it.
pub struct Zone {
    pub(super) apex: Name,
    /// All owners, in the order they first appear; names one after the other.
    pub(super) names: Vec<u8>,
    pub(super) owners: Vec<OwnerEntry>,
    pub(super) index: NameIndex,
    pub(super) sets: Vec<SetEntry>,
    pub(super) records: Vec<RecordEntry>,
    pub(super) data: Vec<u8>,
    pub(super) files: Vec<Arc<Source>>,
}

pub(super) struct OwnerEntry {
    pub(super) name_at: u32,
    /// Its first set; they end where the next owner's begin.
    pub(super) sets_at: u32,
}

pub(super) struct SetEntry {
    pub(super) rtype: RecordType,
    pub(super) ttl: u32,
    /// Its first record; they end where the next set's begin.
    pub(super) records_at: u32,
}

#[derive(Clone, Copy)]
pub(super) struct RecordEntry {
    pub(super) data_at: u32,
    pub(super) data_len: u16,
    /// Which file it stands in, and where.
    pub(super) file: u16,
    pub(super) at: u32,
}

/// A name of a zone that has records.
#[derive(Clone, Copy)]
pub struct Owner<'z> {
    zone: &'z Zone,
    number: usize,
}

/// The records of one type at one name.
#[derive(Clone, Copy)]
pub struct RecordSet<'z> {
    zone: &'z Zone,
    number: usize,
}

impl Zone {
    /// Its highest name.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it has none; a zone that was parsed has at least an SOA.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All names that have records, in the order they first appear.
    pub fn owners(&self) -> impl ExactSizeIterator<Item = Owner<'_>> {
        (0..self.owners.len()).map(|number| Owner { zone: self, number })
    }

    /// A name that has records, by its lower-cased wire form.
    pub fn find(&self, name: &[u8]) -> Option<Owner<'_>> {
        let owner = |number: u32| Owner { zone: self, number: number as usize };
        self.index.find(hash_name(name), |number| owner(number).name() == name).map(owner)
    }

    /// The records of one type at one name.
    pub fn set(&self, name: &[u8], rtype: RecordType) -> Option<RecordSet<'_>> {
        self.find(name)?.set(rtype)
    }

    /// How many octets of memory it takes, the text apart.
    pub fn octets(&self) -> usize {
        self.names.capacity()
            + self.owners.capacity() * size_of::<OwnerEntry>()
            + self.index.octets()
            + self.sets.capacity() * size_of::<SetEntry>()
            + self.records.capacity() * size_of::<RecordEntry>()
            + self.data.capacity()
    }
}

impl<'z> Owner<'z> {
    /// The name in wire form, lower-cased.
    pub fn name(&self) -> &'z [u8] {
        name_at(&self.zone.names, self.zone.owners[self.number].name_at)
    }

    /// Its sets of records, by type, the lowest number first.
    pub fn sets(&self) -> impl ExactSizeIterator<Item = RecordSet<'z>> + use<'z> {
        let zone = self.zone;
        let start = zone.owners[self.number].sets_at as usize;
        let end = zone.owners.get(self.number + 1).map_or(zone.sets.len(), |next| next.sets_at as usize);
        (start..end).map(move |number| RecordSet { zone, number })
    }

    /// Its records of one type.
    pub fn set(&self, rtype: RecordType) -> Option<RecordSet<'z>> {
        self.sets().find(|set| set.rtype() == rtype)
    }
}

impl<'z> RecordSet<'z> {
    /// The type.
    pub fn rtype(&self) -> RecordType {
        self.zone.sets[self.number].rtype
    }

    /// The TTL of all of them, in seconds.
    pub fn ttl(&self) -> u32 {
        self.zone.sets[self.number].ttl
    }

    /// The data of each, in wire form, names uncompressed and lower-cased.
    pub fn rdatas(&self) -> impl ExactSizeIterator<Item = &'z [u8]> + use<'z> {
        let zone = self.zone;
        self.range().map(move |number| zone.records[number].data(&zone.data))
    }

    /// Where one of them stands; the first one, if there are fewer.
    pub fn place(&self, nth: usize) -> Place {
        let range = self.range();
        let number = if nth < range.len() { range.start + nth } else { range.start };
        let record = &self.zone.records[number];
        place(&self.zone.files[usize::from(record.file)], record.at)
    }

    fn range(&self) -> std::ops::Range<usize> {
        let sets = &self.zone.sets;
        let end = sets.get(self.number + 1).map_or(self.zone.records.len(), |next| next.records_at as usize);
        sets[self.number].records_at as usize..end
    }
}

impl RecordEntry {
    pub(super) fn data<'d>(&self, data: &'d [u8]) -> &'d [u8] {
        let start = self.data_at as usize;
        &data[start..start + usize::from(self.data_len)]
    }
}

/// From where a record starts to the end of that line.
pub(super) fn place(source: &Arc<Source>, at: u32) -> Place {
    let start = at as usize;
    let line = source.text()[start..].lines().next().unwrap_or_default();
    Place::new(source, start..start + line.trim_end().len())
}

/// The name that starts there.
pub(super) fn name_at(names: &[u8], at: u32) -> &[u8] {
    let rest = &names[at as usize..];
    &rest[..name_len(rest).unwrap_or_default()]
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({}, {} owners, {} records)", self.apex, self.owners.len(), self.records.len())
    }
}

impl fmt::Debug for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", ShowName(self.name()), self.sets().collect::<Vec<_>>())
    }
}

impl fmt::Debug for RecordSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} x{}", self.ttl(), self.rtype(), self.rdatas().len())
    }
}
