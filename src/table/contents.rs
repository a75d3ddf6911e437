//! The records of a zone, read back out of its image: for transfers, for comparing two versions,
//! and for compiling a zone anew that nobody has read again.

use std::collections::{HashMap, HashSet};

use super::Table;
use super::image::Image;
use super::node::Node;
use super::set::{FRAME, QUESTION_AT, Set};
use crate::config::DynamicNames;
use crate::transfer::{Record, Records, Serial, ZoneState, difference, push_record};
use crate::wire::{Name, RecordType, ShowName, expand_rdata};
use crate::zone::{self, Zone};

/// Two versions whose difference takes more octets than this are told apart as wholes.
const CHANGE_OCTETS_MAX: usize = 1 << 20;

/// A walk over the names of a zone that stand in its file, occluded ones included.
#[derive(Clone, Copy, Debug)]
pub struct Contents {
    at: u32,
    end: u32,
}

/// What became of a zone's records from one image to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing, the SOA record apart.
    None,
    /// These are gone and these have come, the SOA record apart.
    Records {
        /// As [`Records`] reads them.
        deleted: Vec<u8>,
        /// As [`Records`] reads them.
        added: Vec<u8>,
    },
    /// Too much to list, or there is nothing to compare with.
    Whole,
}

impl Image {
    /// Starts at the first name of a zone.
    pub fn contents(&self, zone: u16) -> Contents {
        let (at, end) = self.zones.get(usize::from(zone)).map_or((0, 0), |zone| zone.span);
        Contents { at, end }
    }

    /// The SOA record of a zone, in full.
    pub fn soa(&self, zone: u16) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(entry) = self.zones.get(usize::from(zone)) {
            let node = self.node(entry.apex);
            if let Some(soa) = node.set(RecordType::SOA) {
                push_set(node.name(), &soa, &mut out);
            }
        }
        out
    }

    /// How many records a zone's file has.
    pub fn records(&self, zone: u16) -> usize {
        self.zones.get(usize::from(zone)).map_or(0, |zone| zone.records as usize)
    }

    /// A zone as its file would have it that is served now, comments and places apart.
    pub fn restored(&self, apex: &Name) -> Zone {
        let mut records = Vec::new();
        if let Some(zone) = self.zone(apex.as_wire()) {
            records = self.soa(zone);
            let mut walk = self.contents(zone);
            while let Some(node) = walk.next(self) {
                node.push_records(&mut records);
            }
        }
        let parts =
            Records(&records).map(|record| (record.owner(), record.rtype(), record.ttl(), record.rdata()));
        zone::restore(apex, parts)
    }

    /// What became of a zone since an older image.
    pub fn changed_since(&self, zone: u16, old: &Image, old_zone: u16) -> Change {
        let (mut deleted, mut added) = (Vec::new(), Vec::new());
        let (before, now) = (Names::of(old, old_zone), Names::of(self, zone));
        let (mut mine, mut theirs) = (self.contents(zone), old.contents(old_zone));
        while let Some(node) = mine.next(self) {
            match before.find(node.name()) {
                Some(other) if same(&node, &other) => {}
                other => {
                    let (mut here, mut there) = (Vec::new(), Vec::new());
                    push_node_records(&node, &mut here);
                    if let Some(other) = other {
                        push_node_records(&other, &mut there);
                    }
                    let (gone, come) = difference(&there, &here);
                    deleted.extend(gone);
                    added.extend(come);
                }
            }
            if deleted.len() + added.len() > CHANGE_OCTETS_MAX {
                return Change::Whole;
            }
        }
        while let Some(node) = theirs.next(old) {
            if now.find(node.name()).is_none() {
                push_node_records(&node, &mut deleted);
            }
            if deleted.len() + added.len() > CHANGE_OCTETS_MAX {
                return Change::Whole;
            }
        }
        match deleted.is_empty() && added.is_empty() {
            true => Change::None,
            false => Change::Records { deleted, added },
        }
    }
}

impl Table {
    /// What services answer in a zone at present: for each name all that any client may be given.
    pub fn dynamic_records(&self, zone: u16) -> Vec<u8> {
        let mut out = Vec::new();
        let image = self.image();
        for node in image.dynamic.iter().map(|at| image.node(*at)).filter(|node| node.zone() == zone) {
            let Some(service) = node.service() else { continue };
            let Some(answers) = self.answers(service) else { continue };
            // A name has one CNAME (RFC 2181 §10.1), whatever regions lead elsewhere.
            let cname = answers.sets().find(|(_, set)| set.rtype == RecordType::CNAME);
            let mut here = Vec::new();
            match cname {
                Some((_, set)) => {
                    push_set(node.name(), &set, &mut here);
                    let first = Records(&here).next().map_or(0, |record| record.octets.len());
                    here.truncate(first);
                }
                None => answers.sets().for_each(|(_, set)| push_set(node.name(), &set, &mut here)),
            }
            // Regions may share an address, and sets of several regions repeat those of each.
            let mut seen = HashSet::new();
            let once = Records(&here).filter(|record| seen.insert(record.octets));
            once.for_each(|record| out.extend_from_slice(record.octets));
        }
        out
    }

    /// The serial of a zone as it is told.
    pub fn serial(&self, zone: u16) -> Option<Serial> {
        match self.zones().get(zone) {
            Some(state) => Some(state.serial),
            None => Records(&self.image().soa(zone)).next()?.serial(),
        }
    }
}

impl ZoneState {
    /// What secondary servers get of services' names in this zone, which has this number.
    pub fn dynamic_records(&self, table: &Table, zone: u16) -> Vec<u8> {
        match self.rules.dynamic_names {
            DynamicNames::LeaveOut => Vec::new(),
            DynamicNames::CurrentAnswer => table.dynamic_records(zone),
        }
    }
}

impl Contents {
    /// The next name that has records.
    pub fn next<'t>(&mut self, image: &'t Image) -> Option<Node<'t>> {
        while self.at < self.end {
            let node = image.node(self.at);
            self.at += (node.len() as u32).max(1);
            if node.sets().next().is_some() {
                return Some(node);
            }
        }
        None
    }
}

/// The names of a zone, to be found. Those that lie in another zone of ours are not in the index.
struct Names<'t> {
    image: &'t Image,
    zone: u16,
    strays: HashMap<&'t [u8], u32>,
}

impl<'t> Names<'t> {
    fn of(image: &'t Image, zone: u16) -> Self {
        let mut strays = HashMap::new();
        if image.zones.len() > 1 {
            let mut walk = image.contents(zone);
            while let Some(node) = walk.next(image) {
                if image.find(node.name()).is_none_or(|found| found.number() != node.number()) {
                    strays.insert(node.name(), node.number());
                }
            }
        }
        Self { image, zone, strays }
    }

    fn find(&self, name: &[u8]) -> Option<Node<'t>> {
        let (start, end) = self.image.zones.get(usize::from(self.zone))?.span;
        // A name that a service has added is none of the zone's file.
        let ours = |node: &Node<'_>| (start..end).contains(&node.number()) && node.sets().next().is_some();
        let found = self.image.find(name).filter(ours);
        found.or_else(|| self.strays.get(name).map(|at| self.image.node(*at)))
    }
}

/// Whether two nodes have the same records, as far as a glance can tell; SOA records do not count.
fn same(a: &Node<'_>, b: &Node<'_>) -> bool {
    let sets = |node: &Node<'_>| node.sets().filter(|set| set.rtype != RecordType::SOA).count();
    sets(a) == sets(b)
        && a.sets()
            .filter(|set| set.rtype != RecordType::SOA)
            .zip(b.sets().filter(|set| set.rtype != RecordType::SOA))
            .all(|(a, b)| (a.rtype, a.records) == (b.rtype, b.records))
}

/// Appends the records of a name in full, its SOA record apart.
pub(super) fn push_node_records(node: &Node<'_>, out: &mut Vec<u8>) {
    for set in node.sets().filter(|set| set.rtype != RecordType::SOA) {
        push_set(node.name(), &set, out);
    }
}

impl Node<'_> {
    /// Appends its records in full, the SOA record apart.
    pub fn push_records(&self, out: &mut Vec<u8>) {
        push_node_records(self, out);
    }
}

/// Appends a set of records in full.
pub(super) fn push_set(owner: &[u8], set: &Set<'_>, out: &mut Vec<u8>) {
    // As it answers its owner, so that names in it can be followed.
    let mut message = vec![0; QUESTION_AT];
    message.extend_from_slice(owner);
    message.extend([0; 4]);
    let mut at = message.len();
    message.extend_from_slice(set.records);
    let ttl = u32::from_be_bytes(set.ttl());
    let mut rdata = Vec::new();
    while let Some([.., high, low]) = message.get(at..).and_then(|rest| rest.first_chunk::<FRAME>()) {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        at += FRAME;
        rdata.clear();
        if expand_rdata(set.rtype, &message, at, len, &mut rdata).is_none() {
            debug_assert!(false, "{} {} cannot be read back", ShowName(owner), set.rtype);
            return;
        }
        push_record(out, owner, set.rtype, ttl, &rdata);
        at += len;
    }
}

/// Records in full, as lines of a zone file would have them; for tests and for people.
pub fn lines(records: &[u8]) -> Vec<String> {
    let line = |record: Record<'_>| {
        let rdata = crate::wire::ShowRdata { rtype: record.rtype(), rdata: record.rdata() };
        format!("{} {} {} {rdata}", ShowName(record.owner()), record.ttl(), record.rtype())
    };
    Records(records).map(line).collect()
}
