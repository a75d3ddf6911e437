//! Zones × configuration → image, with everything checked that takes both.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::image::{Found, Image, ZoneEntry};
use super::node::{
    Flags, Node, SERVICE_NAMES_MAX, SERVICES_MAX, add_flags, fill_entry, link_service, push_node, set_link,
    set_targets,
};
use super::set::{Encoder, QUESTION_AT};
use crate::base::{Index, Mistakes, Named, Place, ServiceId};
use crate::config::{Config, Records, Service};
use crate::wire::{
    NameIndex, RecordType, ShowName, expand_name, hash_name, is_wildcard, label_count, parent, suffixes,
};
use crate::zone::{Owner, Zone};

/// Zones are counted in 16 bits.
const ZONES_MAX: usize = u16::MAX as usize;
/// Nodes are found by where they start, in 32 bits.
const OCTETS_MAX: usize = u32::MAX as usize;

impl Image {
    /// Compiles zones and the names of services. The zones are not needed afterwards.
    ///
    /// # Errors
    /// Every mistake: a zone twice, a zone below another's DNAME, names of services that are
    /// wildcards, lie outside the zones or below a delegation, or have addresses of their own.
    pub fn build(zones: &[Zone], config: &Config) -> Result<(Arc<Image>, Mistakes), Mistakes> {
        Self::with_services(zones, &config.services)
    }

    /// [`Image::build`] with the only part of the configuration that it takes.
    pub fn with_services(
        zones: &[Zone],
        services: &Named<ServiceId, Service>,
    ) -> Result<(Arc<Image>, Mistakes), Mistakes> {
        let mut builder = Builder::new(zones);
        builder.zones();
        if !builder.mistakes.fatal() {
            builder.services(services);
        }
        builder.finish()
    }
}

struct Builder<'z> {
    zones: &'z [Zone],
    image: Image,
    encoder: Encoder,
    mistakes: Mistakes,
    /// Nodes and the numbers of their sets that have targets.
    leading: Vec<(u32, usize)>,
    full: bool,
}

impl<'z> Builder<'z> {
    fn new(zones: &'z [Zone]) -> Self {
        // What each name and record takes at the least; memory that is not used is not touched.
        let octets = zones.iter().map(|zone| zone.octets() + zone.len() * 16).sum::<usize>().min(OCTETS_MAX);
        let names = zones.iter().map(|zone| zone.owners().len()).sum();
        let mut image = Image {
            octets: Vec::with_capacity(octets),
            index: NameIndex::with_capacity(names),
            zones: Vec::with_capacity(zones.len()),
            labels_max: 0,
            dynamic: Vec::new(),
        };
        // No node starts at 0, so that 0 can stand for none.
        image.octets.push(0);
        let (encoder, mistakes, leading) = Default::default();
        Self { zones, image, encoder, mistakes, leading, full: false }
    }

    fn zones(&mut self) {
        let apexes: HashSet<&[u8]> = self.zones.iter().map(|zone| zone.apex().as_wire()).collect();
        if apexes.len() < self.zones.len() || self.zones.len() > ZONES_MAX {
            self.refuse_zones();
            return;
        }
        // Names that lie in another of our zones, further down, and their nodes in this one.
        let mut shadowed = Vec::new();
        for (number, zone) in self.zones.iter().enumerate() {
            self.zone(zone, number as u16, &apexes, &mut shadowed);
        }
        for (name, at) in shadowed {
            if let Some(apex) = self.image.find(name).filter(|node| node.flags().has(Flags::APEX)) {
                let zone = usize::from(apex.zone());
                self.image.zones[zone].above = Some(at);
            }
        }
        for zone in self.zones {
            self.check_above(zone);
        }
        self.resolve_targets();
    }

    fn refuse_zones(&mut self) {
        let mut seen = HashSet::new();
        for zone in self.zones {
            if !seen.insert(zone.apex()) {
                self.mistakes.error(&apex_place(zone), format!("the zone {} is loaded twice", zone.apex()));
            } else if seen.len() == ZONES_MAX + 1 {
                self.mistakes.error(&apex_place(zone), format!("more than {ZONES_MAX} zones"));
            }
        }
    }

    fn zone(
        &mut self,
        zone: &'z Zone,
        number: u16,
        apexes: &HashSet<&[u8]>,
        shadowed: &mut Vec<(&'z [u8], u32)>,
    ) {
        let start = self.image.octets.len();
        let apex = zone.apex().as_wire();
        let negative = self.negative(zone);
        let span = (start as u32, start as u32);
        self.image.zones.push(ZoneEntry {
            apex: 0,
            apex_len: apex.len() as u8,
            above: None,
            negative,
            span,
            records: zone.len() as u32,
        });
        let mut covers = false;
        let mut deep = Vec::new();
        for owner in zone.owners() {
            let (name, at) = (owner.name(), self.owner(zone, number, owner));
            covers |= self.image.node(at).flags().has(Flags::CUT | Flags::DNAME);
            let mut above = suffixes(name).take_while(|above| above.len() > apex.len());
            let is_deep = above.clone().nth(1).is_some();
            if name == apex {
                self.image.zones[usize::from(number)].apex = at;
            } else if apexes.len() > 1 && above.any(|above| apexes.contains(above)) {
                // That zone answers; here it is but the other side of a cut.
                shadowed.push((name, at));
                continue;
            }
            self.index(name, at);
            if is_deep || is_wildcard(name) {
                deep.push(name);
            }
        }
        for name in deep {
            self.fill_above(name, number);
        }
        if covers {
            self.cover(start);
        }
        self.image.zones[usize::from(number)].span.1 = self.image.octets.len() as u32;
    }

    /// Appends a name with its records.
    fn owner(&mut self, zone: &Zone, number: u16, owner: Owner<'_>) -> u32 {
        let name = owner.name();
        let at_apex = name == zone.apex().as_wire();
        let flags = owner.sets().fold(if at_apex { Flags::APEX } else { 0 }, |flags, set| {
            flags
                | match set.rtype() {
                    RecordType::NS if !at_apex => Flags::CUT,
                    RecordType::DNAME => Flags::DNAME,
                    RecordType::CNAME => Flags::CNAME,
                    _ => 0,
                }
        });
        let at = push_node(&mut self.image.octets, name, number, Flags(flags), owner.sets().len() as u8);
        for (nth, set) in owner.sets().enumerate() {
            let out = &mut self.image.octets;
            match self.encoder.encode(name, set.rtype(), set.ttl(), set.rdatas(), out) {
                Some(encoded) => fill_entry(out, at, nth, encoded),
                None => {
                    let message =
                        format!("the {} records of {} do not fit a message", set.rtype(), ShowName(name));
                    self.mistakes.error(&set.place(0), message);
                }
            }
            if set.rtype().target_at().is_some() {
                self.leading.push((at, nth));
            }
        }
        if self.image.octets.len() > OCTETS_MAX && !self.full {
            self.full = true;
            self.mistakes
                .error(&apex_place(zone), "the zones are too big: together they take more than 4 GiB");
        }
        at
    }

    /// The SOA record of negative answers: kept no longer than its last number says (RFC 2308 §3).
    fn negative(&mut self, zone: &Zone) -> (Vec<u8>, Vec<u8>) {
        let apex = zone.apex().as_wire();
        let Some(soa) = zone.set(apex, RecordType::SOA) else { return Default::default() };
        let minimum = soa.rdatas().next().and_then(|rdata| rdata.last_chunk());
        let ttl = soa.ttl().min(minimum.map_or(0, |octets| u32::from_be_bytes(*octets)));
        let mut records = Vec::new();
        let encoded = self.encoder.encode(apex, RecordType::SOA, ttl, soa.rdatas(), &mut records);
        let tail = records.split_off(encoded.map_or(0, |encoded| usize::from(encoded.records_len)));
        (records, tail)
    }

    fn index(&mut self, name: &[u8], at: u32) {
        let Image { index, octets, labels_max, .. } = &mut self.image;
        index.insert(hash_name(name), at, |at| hash_name(Node::new(octets, at).name()));
        *labels_max = (*labels_max).max(label_count(name));
    }

    /// Gives every name a node that merely has this one below it (an empty non-terminal,
    /// RFC 8499 §7), and tells the parents of wildcards that they are. A wildcard may be such an
    /// empty name itself (RFC 4592 §2.2.2).
    fn fill_above(&mut self, name: &[u8], zone: u16) {
        let apex_len = usize::from(self.image.zones[usize::from(zone)].apex_len);
        let mut wildcards = Vec::new();
        for here in suffixes(name).take_while(|here| here.len() > apex_len) {
            if here != name {
                if self.image.find(here).is_some() {
                    break;
                }
                let at = push_node(&mut self.image.octets, here, zone, Flags(0), 0);
                self.index(here, at);
            }
            if is_wildcard(here) {
                wildcards.push(here);
            }
        }
        for parent in wildcards.into_iter().filter_map(parent) {
            if let Some(parent) = self.image.find(parent).map(|node| node.number()) {
                add_flags(&mut self.image.octets, parent, Flags::WILD);
            }
        }
    }

    /// Tells every name of the zone that starts here of the highest delegation or DNAME that it
    /// lies below.
    fn cover(&mut self, start: usize) {
        let mut at = start;
        while at < self.image.octets.len() {
            let node = self.image.node(at as u32);
            let (number, zone) = (node.number(), node.zone());
            at += node.len();
            let apex_len = usize::from(self.image.zones[usize::from(zone)].apex_len);
            let above = suffixes(node.name()).skip(1).take_while(|above| above.len() >= apex_len);
            let above = above.filter_map(|above| self.image.find(above));
            if let Some(cover) = above.filter(|above| above.flags().has(Flags::CUT | Flags::DNAME)).last() {
                let cover = cover.number();
                set_link(&mut self.image.octets, number, cover);
                add_flags(&mut self.image.octets, number, Flags::COVERED);
            }
        }
    }

    /// A zone of ours that lies in another one of ours.
    fn check_above(&mut self, zone: &Zone) {
        let Some(above) = parent(zone.apex().as_wire()) else { return };
        let place = apex_place(zone);
        match self.image.locate(above, false) {
            Found::Dname(dname) => {
                // RFC 6672 §2.4: such a zone ought to be refused.
                let message =
                    format!("the zone {} lies below the DNAME at {}", zone.apex(), ShowName(dname.name()));
                self.mistakes.error(&place, message).help("its names are redirected: drop one of the two");
            }
            Found::Node(node) if node.flags().has(Flags::DNAME) => {
                let message =
                    format!("the zone {} lies below the DNAME at {}", zone.apex(), ShowName(node.name()));
                self.mistakes.error(&place, message).help("its names are redirected: drop one of the two");
            }
            _ => {}
        }
    }

    /// Names the nodes to which NS, MX and such records lead, for the additional section.
    fn resolve_targets(&mut self) {
        for (at, nth) in std::mem::take(&mut self.leading) {
            let node = self.image.node(at);
            let (owner, zone) = (node.name().to_vec(), node.zone());
            let Some(set) = node.sets().nth(nth) else { continue };
            // The set as it answers its owner, so that names in it can be followed.
            let mut message = vec![0; QUESTION_AT];
            message.extend_from_slice(&owner);
            message.extend([0; 4]);
            let records_at = message.len();
            message.extend_from_slice(set.records);
            let targets: Vec<_> = set
                .targets()
                .map(|(target_at, _)| {
                    let mut target = Vec::new();
                    expand_name(&message, records_at + target_at, &mut target)?;
                    let found = self.image.find(&target)?;
                    // What lies below a cut is not ours to tell, but for the servers of the zone.
                    let ours = !found.flags().has(Flags::COVERED | Flags::CUT)
                        || (set.rtype == RecordType::NS && found.zone() == zone);
                    let has_address =
                        [RecordType::A, RecordType::AAAA].iter().any(|rtype| found.set(*rtype).is_some());
                    (ours && has_address).then_some(found.number())
                })
                .map(Option::unwrap_or_default)
                .collect();
            set_targets(&mut self.image.octets, at, nth, &targets);
        }
    }

    fn services(&mut self, services: &Named<ServiceId, Service>) {
        for (id, service) in services.iter() {
            if id.position() >= SERVICES_MAX {
                self.mistakes.error(&service.place, format!("more than {SERVICES_MAX} services"));
                return;
            }
            if let Some((_, place)) = service.names.get(SERVICE_NAMES_MAX) {
                self.mistakes
                    .error(place, format!("more than {SERVICE_NAMES_MAX} names of one service"))
                    .help("lead the others here with CNAME records");
                continue;
            }
            let types = given_types(service);
            for (nth, (name, place)) in service.names.iter().enumerate() {
                if let Some(at) = self.service_node(name.as_wire(), &types, place) {
                    link_service(&mut self.image.octets, at, id, nth);
                    self.image.dynamic.push(at);
                }
            }
        }
    }

    /// The node of a service's name, made if there is none; `None` if the name cannot be one.
    fn service_node(&mut self, name: &[u8], given: &BTreeSet<RecordType>, place: &Place) -> Option<u32> {
        let shown = ShowName(name);
        if is_wildcard(name) {
            let message = format!("{shown} is a wildcard, which a service cannot be");
            self.mistakes
                .error(place, message)
                .help("list the names, or lead a CNAME from the wildcard to one of them");
            return None;
        }
        match self.image.locate(name, false) {
            Found::Elsewhere => {
                let message = format!("{shown} lies in none of the zones");
                self.mistakes.error(place, message).help("add its zone under `zones:`");
                None
            }
            Found::Cut(cut) => {
                let message =
                    format!("{shown} lies at or below {}, which is delegated", ShowName(cut.name()));
                self.mistakes
                    .error(place, message)
                    .help("its name servers answer for it: configure the service there");
                None
            }
            Found::Dname(dname) => {
                let message = format!("{shown} lies below the DNAME at {}", ShowName(dname.name()));
                self.mistakes.error(place, message).help("the DNAME redirects it: choose another name");
                None
            }
            Found::Node(node) if node.name() == name => {
                let at = node.number();
                if node.flags().has(Flags::SERVICE) {
                    self.mistakes.error(place, format!("{shown} already belongs to a service"));
                    return None;
                }
                let leads = given.contains(&RecordType::CNAME);
                if leads && node.flags().has(Flags::APEX) {
                    // RFC 2181 §10.1: a CNAME excludes all else, and an apex has a SOA record.
                    let message = format!("{shown} is the apex of a zone, which cannot have a CNAME");
                    self.mistakes
                        .error(place, message)
                        .help("give addresses, or an `https` record in alias form: \"0 target.\"");
                    return None;
                }
                let zone = &self.zones[usize::from(node.zone())];
                let mut stands = zone.find(name).into_iter().flat_map(|owner| owner.sets());
                let clashes =
                    |rtype: RecordType| leads || rtype == RecordType::CNAME || given.contains(&rtype);
                if let Some(set) = stands.find(|set| clashes(set.rtype())) {
                    let message = format!("{shown} has a record of type {} at {}", set.rtype(), set.place(0));
                    let help = match leads {
                        true => "delete that record: the service gives a CNAME, which stands alone",
                        false => "delete that record: the service gives this type",
                    };
                    self.mistakes.error(place, message).help(help);
                    return None;
                }
                Some(at)
            }
            // A wildcard answers so far, or nothing.
            Found::Node(Node { .. }) | Found::Missing(_) => {
                let encloser = suffixes(name).skip(1).find_map(|above| self.image.find(above))?;
                let zone = encloser.zone();
                let at = push_node(&mut self.image.octets, name, zone, Flags(0), 0);
                self.index(name, at);
                self.fill_above(name, zone);
                Some(at)
            }
        }
    }

    fn finish(mut self) -> Result<(Arc<Image>, Mistakes), Mistakes> {
        self.image.octets.shrink_to_fit();
        self.mistakes.unless_fatal(Some(Arc::new(self.image)))
    }
}

/// The types that a service answers for, in one region or another. Addresses are always among
/// them: a name's addresses are the service's to give, or nobody's.
fn given_types(service: &Service) -> BTreeSet<RecordType> {
    let given = service.answers.values().flat_map(Records::sets).map(|(rtype, _)| rtype);
    [RecordType::A, RecordType::AAAA].into_iter().chain(given).collect()
}

/// Where the zone says what it is.
fn apex_place(zone: &Zone) -> Place {
    let soa = zone.set(zone.apex().as_wire(), RecordType::SOA);
    soa.expect("a zone that was parsed has an SOA record").place(0)
}
