//! Image × keys → [`Signed`]: everything in it that stands still is signed ahead of all questions.
//!
//! What a service answers is signed where its answers are compiled; names that do not exist
//! are signed when they are asked for. This here is the rest, and with a million records it
//! takes a while: it comes apart into pieces of work that know nothing of one another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::answers::Answers;
use super::image::Image;
use super::node::{Flags, Node};
use super::set::{QUESTION_AT, Set};
use super::signed::{BlockWriter, Kind, Part, Signed, SignedZone};
use super::union::{UnionSigner, original_ttl, unions};
use crate::base::{Index, Named, ServiceId, Timestamp};
use crate::config::{Records, Service};
use crate::region::{Audience, Choice, Pick};
use crate::sign::{SetName, SignatureTimes, Signer, Validity, ZoneKeys, push_bitmap, push_nsec};
use crate::wire::{RecordType, expand_rdata};

/// Of services with up to so many regions the sets are signed that stand for all but one.
const BUT_ONE_MAX: usize = 8;

/// Signatures are made anew no more often than this, whatever the configuration says.
const RENEWAL_MIN: Duration = Duration::from_secs(1);

/// A piece of work: what is to be signed, by which keys, and from when on.
pub struct Signing<'a> {
    image: &'a Image,
    services: &'a Named<ServiceId, Service>,
    zones: Vec<Option<SignedZone>>,
    nodes: Vec<u32>,
    epoch: u64,
    made_at: Timestamp,
    renew_at: Timestamp,
}

impl<'a> Signing<'a> {
    /// Prepares to sign those zones for which there are keys; `None` if there are none for any.
    pub fn new(
        image: &'a Image,
        services: &'a Named<ServiceId, Service>,
        keys: &[Arc<ZoneKeys>],
        now: Timestamp,
    ) -> Option<Self> {
        let zones: Vec<_> = (0..image.zones.len() as u16)
            .map(|number| {
                let apex = image.apex_of(number)?;
                let keys = keys.iter().find(|keys| keys.zone().as_wire() == apex.node.name())?;
                let validity = Validity::from(now, keys.times());
                let negative_ttl = u32::from_be_bytes(apex.negative.ttl());
                Some(SignedZone { keys: Arc::clone(keys), validity, negative_ttl })
            })
            .collect();
        zones.iter().any(Option::is_some).then(|| Self {
            image,
            services,
            nodes: image.nodes().map(|node| node.number()).collect(),
            epoch: now.as_nanosecond() as u64,
            made_at: now,
            renew_at: renew_at(&zones, now),
            zones,
        })
    }

    /// Signs one of so many pieces. They may be signed at the same time.
    pub fn part(&self, nth: usize, of: usize) -> Part {
        let each = self.nodes.len().div_ceil(of.max(1)).max(1);
        let mut work = Work {
            signing: self,
            part: Part::default(),
            block: BlockWriter::default(),
            tools: Tools::default(),
        };
        for number in self.nodes.chunks(each).nth(nth).unwrap_or_default() {
            work.node(&self.image.node(*number));
        }
        work.part.octets.shrink_to_fit();
        work.part
    }

    /// Puts the pieces together, in their order.
    pub fn finish(self, parts: Vec<Part>) -> Signed {
        let mut parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let unions = parts.iter_mut().flat_map(|part| std::mem::take(&mut part.unions)).collect();
        Signed {
            parts,
            zones: self.zones,
            unions,
            epoch: self.epoch,
            made_at: self.made_at,
            renew_at: self.renew_at,
        }
    }
}

/// When the first of these zones is to be signed anew.
fn renew_at(zones: &[Option<SignedZone>], now: Timestamp) -> Timestamp {
    let spans = zones.iter().flatten().map(|zone| {
        let SignatureTimes { validity, refresh } = zone.keys.times();
        validity.saturating_sub(refresh).max(RENEWAL_MIN)
    });
    spans.min().and_then(|span| now.checked_add(span).ok()).unwrap_or(Timestamp::MAX)
}

/// The types that a service may ever give.
fn dynamic_types(service: &Service) -> BTreeSet<RecordType> {
    service.answers.values().flat_map(Records::sets).map(|(rtype, _)| rtype).collect()
}

struct Work<'s, 'a> {
    signing: &'s Signing<'a>,
    part: Part,
    block: BlockWriter,
    tools: Tools,
}

/// Buffers.
#[derive(Default)]
struct Tools {
    signer: Signer,
    canonical: Canonical,
    nsec: Vec<u8>,
    types: Vec<RecordType>,
    union: UnionSigner,
}

impl Work<'_, '_> {
    fn node(&mut self, node: &Node<'_>) {
        let Some(zone) = self.signing.zones.get(usize::from(node.zone())).and_then(Option::as_ref) else {
            return;
        };
        let flags = node.flags();
        // Below a delegation or a DNAME nothing is ours to say (RFC 4035 §2.2).
        if flags.has(Flags::COVERED) {
            return;
        }
        self.block.clear();
        let mut types = std::mem::take(&mut self.tools.types);
        types.clear();
        for set in node.sets() {
            let is_ours = !flags.has(Flags::CUT) || set.rtype == RecordType::DS;
            if is_ours {
                self.set(zone, node, &set);
            }
            if is_ours || set.rtype == RecordType::NS {
                types.push(set.rtype);
            }
        }
        if flags.has(Flags::APEX) {
            self.keys(zone, node, &mut types);
        }
        let service = node.service().filter(|id| id.position() < self.signing.services.len());
        let service = service.map(|id| &self.signing.services[id]);
        if let Some(service) = service {
            self.service(zone, node, service);
        }
        self.denials(zone, node, service, &mut types);
        self.tools.types = types;
        self.part.push(node.number(), &self.block);
    }

    fn set(&mut self, zone: &SignedZone, node: &Node<'_>, set: &Set<'_>) {
        let name = SetName { owner: node.name(), rtype: set.rtype, ttl: u32::from_be_bytes(set.ttl()) };
        let Tools { signer, canonical, .. } = &mut self.tools;
        canonical.take(node.name(), set);
        self.block.begin(Kind::Signature, set.rtype);
        let block = &mut self.block;
        signer.sign(&zone.keys, name, canonical.rdatas(), zone.validity, |head, signature| {
            block.record(RecordType::RRSIG, name.ttl, &[head, signature]);
        });
    }

    /// The sets that make the keys known.
    fn keys(&mut self, zone: &SignedZone, node: &Node<'_>, types: &mut Vec<RecordType>) {
        let keys = &zone.keys;
        for (rtype, rdatas) in [
            (RecordType::DNSKEY, keys.dnskeys()),
            (RecordType::CDS, keys.cds()),
            (RecordType::CDNSKEY, keys.cdnskeys()),
        ] {
            if rdatas.is_empty() {
                continue;
            }
            types.push(rtype);
            let name = SetName { owner: node.name(), rtype, ttl: keys.dnskey_ttl() };
            let block = &mut self.block;
            block.begin(Kind::Set, rtype);
            for rdata in rdatas {
                block.record(rtype, name.ttl, &[rdata]);
            }
            block.begin(Kind::Signature, rtype);
            let rdatas = rdatas.iter().map(|rdata| &**rdata);
            self.tools.signer.sign(keys, name, rdatas, zone.validity, |head, signature| {
                block.record(RecordType::RRSIG, name.ttl, &[head, signature]);
            });
        }
    }

    /// What a service may give, region by region, so that no flip waits for a signature. The sets
    /// that unite regions are too many to sign them all: those of all regions together are, and
    /// those of all but one.
    fn service(&mut self, zone: &SignedZone, node: &Node<'_>, service: &Service) {
        let regions: Vec<_> = service.answers.keys().copied().collect();
        let ttl = original_ttl(service);
        let audience = Audience::unlocated(service);
        for region in &regions {
            let answers = Answers::compile(service, &audience, &Choice::of(Pick::certain(*region), ttl));
            for (id, set) in answers.sets() {
                let Ok(id) = u16::try_from(id.0) else { continue };
                let name = SetName { owner: node.name(), rtype: set.rtype, ttl };
                let Tools { signer, canonical, .. } = &mut self.tools;
                canonical.take(node.name(), &set);
                let block = &mut self.block;
                block.begin(Kind::Drawn, RecordType(id));
                signer.sign(&zone.keys, name, canonical.rdatas(), zone.validity, |head, signature| {
                    block.record(RecordType::RRSIG, ttl, &[head, signature]);
                });
            }
        }
        let but_one = regions.iter().filter(|_| (3..=BUT_ONE_MAX).contains(&regions.len()));
        let but_one = but_one.map(|out| regions.iter().copied().filter(|region| region != out).collect());
        for together in but_one.chain([regions.clone()]) {
            let answers = Answers::compile(service, &audience, &Choice::of(Pick::All(together), ttl));
            for (_, set) in unions(service, &answers) {
                let Tools { union, .. } = &mut self.tools;
                let digest = union.take(node.name(), ttl, &set);
                let records = union.sign(zone, node.name(), ttl, set.rtype);
                self.part.unions.push((digest, records));
            }
        }
    }

    /// What is not there. A name of a service has each type that it may ever give, but for the
    /// one that a question finds missing: what a cache concludes about the others holds after
    /// the next flip too, and what it concludes about this one holds no longer than the TTL of
    /// the service. CNAME is never among them: with it the record would prove nothing about other
    /// types (RFC 6840 §4.3).
    fn denials(
        &mut self,
        zone: &SignedZone,
        node: &Node<'_>,
        service: Option<&Service>,
        types: &mut Vec<RecordType>,
    ) {
        let dynamic = service.map_or_else(BTreeSet::new, dynamic_types);
        types.extend(dynamic.iter().filter(|rtype| **rtype != RecordType::CNAME));
        self.denial(zone, node, types, (Kind::Set, Kind::Signature, RecordType::NSEC));
        for lacking in dynamic.into_iter().filter(|rtype| *rtype != RecordType::CNAME) {
            let mut types: Vec<_> = types.iter().copied().filter(|rtype| *rtype != lacking).collect();
            self.denial(zone, node, &mut types, (Kind::Lack, Kind::LackSignature, lacking));
        }
    }

    fn denial(
        &mut self,
        zone: &SignedZone,
        node: &Node<'_>,
        types: &mut Vec<RecordType>,
        (kind, signature_kind, rtype): (Kind, Kind, RecordType),
    ) {
        let Tools { signer, nsec, .. } = &mut self.tools;
        let mut bitmap = Vec::new();
        push_bitmap(types, &mut bitmap);
        nsec.clear();
        push_nsec(node.name(), &bitmap, nsec);
        let name = SetName { owner: node.name(), rtype: RecordType::NSEC, ttl: zone.negative_ttl };
        let block = &mut self.block;
        block.begin(kind, rtype);
        block.record(RecordType::NSEC, name.ttl, &[nsec]);
        block.begin(signature_kind, rtype);
        signer.sign(&zone.keys, name, std::iter::once(&nsec[..]), zone.validity, |head, signature| {
            block.record(RecordType::RRSIG, name.ttl, &[head, signature]);
        });
    }
}

/// The data of a set's records in canonical form and order. Kept for its buffers' sake.
#[derive(Debug, Default)]
pub struct Canonical {
    /// The set as it answers its owner, so that names in it can be followed.
    message: Vec<u8>,
    data: Vec<u8>,
    spans: Vec<(usize, usize)>,
}

impl Canonical {
    /// Takes a set that was encoded for `owner`.
    pub fn take(&mut self, owner: &[u8], set: &Set<'_>) {
        let Self { message, data, spans } = self;
        message.clear();
        data.clear();
        spans.clear();
        message.resize(QUESTION_AT, 0);
        message.extend_from_slice(owner);
        message.extend([0; 4]);
        let base = message.len();
        message.extend_from_slice(set.records);
        for (at, len) in set.data_spans() {
            let start = data.len();
            if expand_rdata(set.rtype, message, base + at, len, data).is_none() {
                // Not what its type should be (RFC 3597 allows it to be loaded): as it stands.
                data.truncate(start);
                data.extend_from_slice(set.records.get(at..at + len).unwrap_or_default());
            }
            spans.push((start, data.len()));
        }
        spans.sort_unstable_by(|a, b| data[a.0..a.1].cmp(&data[b.0..b.1]));
        spans.dedup_by(|a, b| data[a.0..a.1] == data[b.0..b.1]);
    }

    /// The data, in order, none twice.
    pub fn rdatas(&self) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().map(|(start, end)| &self.data[*start..*end])
    }
}
