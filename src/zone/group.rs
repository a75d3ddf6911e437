//! Records as they come → the zone they make: one entry per owner, one per type, no record
//! twice, one TTL per set.

use std::sync::Arc;

use super::model::{OwnerEntry, RecordEntry, SetEntry, Zone, name_at, place};
use super::notes::Notes;
use crate::base::Source;
use crate::wire::{Name, NameIndex, RecordType, ShowName, hash_name};

/// A zone has at most so many octets of names, of data, and so many records; all are counted
/// in 32 bits.
const ZONE_MAX: usize = u32::MAX as usize;

/// Octets of text that a record takes, at the least, on the average. Only to make room ahead.
const RECORD_TEXT: usize = 24;

/// The records so far, in the order they stand.
pub(super) struct Gathered {
    pub(super) apex: Name,
    pub(super) names: Vec<u8>,
    pub(super) data: Vec<u8>,
    pub(super) files: Vec<Arc<Source>>,
    /// Where in `names` each owner starts.
    owners: Vec<u32>,
    index: NameIndex,
    drafts: Vec<Draft>,
    /// The owner interned last: the next one is often the same.
    last: Option<u32>,
}

struct Draft {
    owner: u32,
    ttl: u32,
    rtype: RecordType,
    record: RecordEntry,
}

impl Gathered {
    pub(super) fn new(apex: &Name) -> Self {
        Self {
            apex: apex.clone(),
            names: Vec::new(),
            data: Vec::new(),
            files: Vec::new(),
            owners: Vec::new(),
            index: NameIndex::default(),
            drafts: Vec::new(),
            last: None,
        }
    }

    /// Takes note of a file whose records follow, and makes room for them.
    pub(super) fn start_file(&mut self, source: &Arc<Source>) {
        let expected = source.text().len() / RECORD_TEXT;
        if self.files.is_empty() {
            self.index = NameIndex::with_capacity(expected);
            self.names.reserve(source.text().len());
            self.owners.reserve(expected);
            self.drafts.reserve(expected);
        }
        self.files.push(Arc::clone(source));
    }

    /// The number of the owner whose name was just appended to `names`; the name is taken back
    /// if it was there before.
    pub(super) fn intern(&mut self, start: usize) -> Result<u32, String> {
        let (before, name) = self.names.split_at(start);
        if let Some(last) = self.last
            && name_at(before, self.owners[last as usize]) == name
        {
            self.names.truncate(start);
            return Ok(last);
        }
        let hash = hash_name(name);
        let known = self.index.find(hash, |owner| name_at(before, self.owners[owner as usize]) == name);
        let owner = match known {
            Some(owner) => {
                self.names.truncate(start);
                owner
            }
            None => {
                if self.names.len() > ZONE_MAX {
                    return Err("the zone is too big: its names take more than 4 GiB".into());
                }
                let owner = self.owners.len() as u32;
                self.owners.push(start as u32);
                let (names, owners) = (&self.names, &self.owners);
                self.index.insert(hash, owner, |owner| hash_name(name_at(names, owners[owner as usize])));
                owner
            }
        };
        self.last = Some(owner);
        Ok(owner)
    }

    /// Takes in a record whose data was appended to `data` from `data_at` on.
    pub(super) fn push(
        &mut self,
        owner: u32,
        rtype: RecordType,
        ttl: u32,
        data_at: usize,
        file: u16,
        at: u32,
    ) -> Result<(), String> {
        let data_len = (self.data.len() - data_at) as u16;
        if self.data.len() > ZONE_MAX || self.drafts.len() >= ZONE_MAX {
            return Err("the zone is too big: its data take more than 4 GiB".into());
        }
        let record = RecordEntry { data_at: data_at as u32, data_len, file, at };
        self.drafts.push(Draft { owner, ttl, rtype, record });
        Ok(())
    }

    /// Makes the zone.
    pub(super) fn group(mut self, notes: &mut Notes) -> Zone {
        // Most files are in this order as they stand. Records of a set keep theirs.
        if !self.drafts.is_sorted_by_key(|draft| (draft.owner, draft.rtype)) {
            self.drafts.sort_by_key(|draft| (draft.owner, draft.rtype));
        }
        let mut zone = Zone {
            apex: self.apex,
            names: self.names,
            owners: Vec::with_capacity(self.owners.len()),
            index: self.index,
            sets: Vec::with_capacity(self.owners.len()),
            records: Vec::with_capacity(self.drafts.len()),
            data: self.data,
            files: self.files,
        };
        let mut drafts = &self.drafts[..];
        for (owner, name_at) in self.owners.into_iter().enumerate() {
            zone.owners.push(OwnerEntry { name_at, sets_at: zone.sets.len() as u32 });
            while let Some(first) = drafts.first().filter(|draft| draft.owner == owner as u32) {
                let same = |draft: &&Draft| (draft.owner, draft.rtype) == (first.owner, first.rtype);
                let len = drafts.iter().take_while(same).count();
                let (set, rest) = drafts.split_at(len);
                zone.push_set(set, notes);
                drafts = rest;
            }
        }
        zone.names.shrink_to_fit();
        zone
    }
}

impl Zone {
    fn push_set(&mut self, drafts: &[Draft], notes: &mut Notes) {
        let Some(first) = drafts.first() else { return };
        let records_at = self.records.len() as u32;
        let mut set = SetEntry { rtype: first.rtype, ttl: first.ttl, records_at };
        if let [only] = drafts {
            self.records.push(only.record);
            self.sets.push(set);
            return;
        }
        // By data, and among equals by place: all but the first of equals go.
        let mut order: Vec<_> = (0..drafts.len()).collect();
        order.sort_by_key(|nth| (drafts[*nth].record.data(&self.data), *nth));
        let mut repeats = vec![false; drafts.len()];
        for pair in order.windows(2) {
            let [a, b] = [pair[0], pair[1]].map(|nth| drafts[nth].record.data(&self.data));
            repeats[pair[1]] = a == b;
        }
        let mut told = false;
        for (draft, repeats) in drafts.iter().zip(repeats) {
            let place = || place(&self.files[usize::from(draft.record.file)], draft.record.at);
            if draft.ttl != set.ttl && !told {
                let shown = ShowName(name_at(&self.names, self.owners[draft.owner as usize].name_at));
                let message = format!("the {} records of {shown} have different TTLs", draft.rtype);
                let help = "all of one set have the same (RFC 2181 section 5.2); the lowest is taken";
                notes.warn(&place(), message, Some(help.into()));
                told = true;
            }
            set.ttl = set.ttl.min(draft.ttl);
            if repeats {
                notes.warn(&place(), "this record stands there twice", Some("the repeat is dropped".into()));
            } else {
                self.records.push(draft.record);
            }
        }
        self.sets.push(set);
    }
}
