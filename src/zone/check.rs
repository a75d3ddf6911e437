//! What only the whole zone can tell: whether it is one.

use std::time::Duration;

use super::model::{Owner, RecordSet, Zone};
use super::notes::Notes;
use crate::base::{Place, show_span};
use crate::wire::{RecordType, ShowName, is_at_or_under, is_wildcard, parent, suffixes};

/// A negative answer may be kept for this long before a warning says so: whoever got it does
/// not see a flip for as long.
const NEGATIVE_TTL_SANE: u32 = 3600;
/// The records of one set fit into one message, TCP included, with room for the rest of it.
const SET_OCTETS_MAX: usize = 64_000;
/// A name has sets of at most so many types; they are counted in 8 bits.
const TYPES_MAX: usize = 255;

/// Checks a zone that was read without errors. `whole` is the place of what is missing.
pub(super) fn check(zone: &Zone, whole: &Place, notes: &mut Notes) {
    check_apex(zone, whole, notes);
    for owner in zone.owners() {
        for set in owner.sets() {
            match set.rtype() {
                RecordType::SOA => check_soa(zone, owner, set, notes),
                RecordType::CNAME => check_cname(owner, set, notes),
                RecordType::DNAME => check_dname(zone, owner, set, notes),
                RecordType::NS => check_ns(zone, owner, set, notes),
                RecordType::MX | RecordType::SRV => check_targets(zone, set, notes),
                _ => {}
            }
            check_size(owner, set, notes);
        }
        if owner.sets().len() > TYPES_MAX
            && let Some(set) = owner.sets().next()
        {
            let message = format!("{} has records of more than {TYPES_MAX} types", ShowName(owner.name()));
            notes.error(&set.place(0), message, None);
        }
    }
    check_covered(zone, notes);
}

/// One SOA (RFC 1035 §5.2) and the zone's servers (RFC 1034 §4.2.1).
fn check_apex(zone: &Zone, whole: &Place, notes: &mut Notes) {
    let apex = zone.apex();
    let owner = zone.find(apex.as_wire());
    let has = |rtype| owner.is_some_and(|owner| owner.set(rtype).is_some());
    if !has(RecordType::SOA) {
        let help = format!("write `{apex} IN SOA ns1 hostmaster 1 1h 10m 2w 30s`");
        notes.error(whole, format!("the zone has no SOA record at {apex}"), Some(help));
    }
    if !has(RecordType::NS) {
        let help = "name its servers: `@ IN NS ns1`";
        notes.error(whole, format!("the zone has no NS record at {apex}"), Some(help.into()));
    }
}

fn check_soa(zone: &Zone, owner: Owner<'_>, soa: RecordSet<'_>, notes: &mut Notes) {
    if !owner.is_apex(zone) {
        let message =
            format!("an SOA record at {}: the zone starts at {}", ShowName(owner.name()), zone.apex());
        notes.error(&soa.place(0), message, None);
        return;
    }
    if soa.rdatas().len() > 1 {
        notes.error(&soa.place(1), "a second SOA record; a zone has exactly one", None);
    }
    let minimum = soa.rdatas().next().and_then(|rdata| rdata.last_chunk());
    let kept = minimum.map_or(0, |octets| u32::from_be_bytes(*octets)).min(soa.ttl());
    if kept > NEGATIVE_TTL_SANE {
        let span = show_span(Duration::from_secs(kept.into()));
        let help = "who asked too early does not see a flip for as long; lower the last number";
        notes.warn(&soa.place(0), format!("resolvers keep negative answers for {span}"), Some(help.into()));
    }
}

/// Alone (RFC 1034 §3.6.2, RFC 2181 §10.1), signatures and denials apart (RFC 4035 §2.5).
fn check_cname(owner: Owner<'_>, cname: RecordSet<'_>, notes: &mut Notes) {
    let shown = ShowName(owner.name());
    let beside = [RecordType::CNAME, RecordType::RRSIG, RecordType::NSEC];
    if let Some(other) = owner.sets().find(|set| !beside.contains(&set.rtype())) {
        let message = format!("{shown} has a CNAME and {} records; a CNAME stands alone", other.rtype());
        notes.error(&cname.place(0), message, None);
    }
    if cname.rdatas().len() > 1 {
        notes.error(&cname.place(1), format!("a second CNAME at {shown}; a name has at most one"), None);
    }
}

/// One, and not at a delegation (RFC 6672 §2.3, §2.4).
fn check_dname(zone: &Zone, owner: Owner<'_>, dname: RecordSet<'_>, notes: &mut Notes) {
    let shown = ShowName(owner.name());
    if dname.rdatas().len() > 1 {
        notes.error(&dname.place(1), format!("a second DNAME at {shown}; a name has at most one"), None);
    }
    if owner.is_cut(zone) {
        let message = format!("{shown} is delegated and has a DNAME, which belongs into the child zone");
        notes.error(&dname.place(0), message, None);
    }
    if is_wildcard(owner.name()) {
        // RFC 4592 §4.4: what it would do to the names below is not agreed upon.
        notes.warn(
            &dname.place(0),
            "a DNAME at a wildcard redirects nothing but what lies below `*` itself",
            None,
        );
    }
}

fn check_ns(zone: &Zone, owner: Owner<'_>, ns: RecordSet<'_>, notes: &mut Notes) {
    if is_wildcard(owner.name()) {
        // RFC 4592 §4.2: a cut at a wildcard has no meaning that servers agree upon.
        let message = format!("{} cannot be delegated: a wildcard is no zone", ShowName(owner.name()));
        notes.error(&ns.place(0), message, None);
    }
    check_targets(zone, ns, notes);
}

/// Where NS, MX and SRV records lead: to a name with addresses of its own (RFC 2181 §10.3).
fn check_targets(zone: &Zone, set: RecordSet<'_>, notes: &mut Notes) {
    let rtype = set.rtype();
    for (nth, rdata) in set.rdatas().enumerate() {
        let Some(target) = rtype.target_at().and_then(|at| rdata.get(at..)) else { continue };
        if !is_at_or_under(target, zone.apex().as_wire()) {
            continue;
        }
        let shown = ShowName(target);
        let answering = zone.answering(target);
        if answering.is_some_and(|owner| owner.set(RecordType::CNAME).is_some()) {
            let message = format!("{shown} is a CNAME, where no {rtype} record may lead");
            notes.warn(&set.place(nth), message, Some("name the host itself (RFC 2181 section 10.3)".into()));
        } else if rtype == RecordType::NS
            && !answering.is_some_and(|owner| owner.has_address())
            // Below another delegation its servers know the address.
            && zone.cover(target).is_none_or(|cover| cover.set(RecordType::NS).is_some_and(|cut| cut.leads_to(target)))
        {
            let message = format!("the name server {shown} has no address in this zone");
            notes.warn(&set.place(nth), message, Some("add an A or AAAA record for it".into()));
        }
    }
}

fn check_size(owner: Owner<'_>, set: RecordSet<'_>, notes: &mut Notes) {
    // Owner, type, class, TTL and length take twelve octets, the name compressed.
    let octets: usize = set.rdatas().map(|rdata| rdata.len() + 12).sum();
    if octets > SET_OCTETS_MAX {
        let (shown, rtype) = (ShowName(owner.name()), set.rtype());
        let message =
            format!("the {rtype} records of {shown} take {octets} octets, {SET_OCTETS_MAX} fit a message");
        notes.error(&set.place(0), message, None);
    }
}

/// What lies below a delegation or a DNAME is not answered, addresses of name servers apart.
fn check_covered(zone: &Zone, notes: &mut Notes) {
    let covers = |owner: Owner<'_>| owner.is_cut(zone) || owner.set(RecordType::DNAME).is_some();
    if !zone.owners().any(covers) {
        return;
    }
    for owner in zone.owners() {
        let (cover, speaks): (_, &[RecordType]) = match zone.cover(owner.name()) {
            Some(cover) if cover.is_cut(zone) => (cover, &[RecordType::A, RecordType::AAAA]),
            Some(cover) => (cover, &[]),
            None if owner.is_cut(zone) => (owner, &AT_A_CUT),
            None => continue,
        };
        let Some(idle) = owner.sets().find(|set| !speaks.contains(&set.rtype())) else { continue };
        let what = if cover.is_cut(zone) { "delegation of" } else { "DNAME at" };
        let (rtype, shown) = (idle.rtype(), ShowName(cover.name()));
        notes.warn(
            &idle.place(0),
            format!("this {rtype} record is never answered: the {what} {shown} covers it"),
            None,
        );
    }
}

/// What the parent has to say at a delegation: the cut itself, its proof (RFC 4035 §2.3, §2.4),
/// and the address of a server that is named like the child zone. A DNAME there is told elsewhere.
const AT_A_CUT: [RecordType; 7] = [
    RecordType::NS,
    RecordType::DS,
    RecordType::NSEC,
    RecordType::RRSIG,
    RecordType::A,
    RecordType::AAAA,
    RecordType::DNAME,
];

impl Zone {
    /// The highest delegation or DNAME that a name lies below.
    fn cover(&self, name: &[u8]) -> Option<Owner<'_>> {
        let apex = self.apex().as_wire();
        let above = suffixes(name).skip(1).take_while(|above| above.len() >= apex.len());
        let owners = above.filter_map(|above| self.find(above));
        owners.filter(|owner| owner.is_cut(self) || owner.set(RecordType::DNAME).is_some()).last()
    }

    /// Who answers for a name: itself, or the wildcard beside it.
    fn answering(&self, name: &[u8]) -> Option<Owner<'_>> {
        self.find(name).or_else(|| self.find(&[b"\x01*", parent(name)?].concat()))
    }
}

impl Owner<'_> {
    fn is_apex(&self, zone: &Zone) -> bool {
        self.name() == zone.apex().as_wire()
    }

    fn is_cut(&self, zone: &Zone) -> bool {
        self.set(RecordType::NS).is_some() && !self.is_apex(zone)
    }

    fn has_address(&self) -> bool {
        self.set(RecordType::A).is_some() || self.set(RecordType::AAAA).is_some()
    }
}

impl RecordSet<'_> {
    fn leads_to(&self, target: &[u8]) -> bool {
        self.rdatas().any(|rdata| rdata == target)
    }
}
