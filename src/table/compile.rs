//! A choice → [`Answers`](super::Answers): which records, how likely, for whom. The form is
//! described there.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::answers::{
    Answers, Decision, ENTRY, HEAD, LOT_HEAD, PART, STICKY_HEAD, SetId, TAKES_SUBNETS, type_bit,
};
use super::buckets::{BUCKETS, Buckets};
use super::set::{FRAME, push_record};
use crate::base::RegionId;
use crate::config::{Records, Service};
use crate::region::{Audience, Choice, Pick, Sticky};
use crate::wire::RecordType;

/// So many records of one type are given at once: what fits a message over TCP.
const RECORDS_MAX: usize = 2000;

/// Makes answers. Kept from flip to flip for what it remembers.
#[derive(Debug, Default)]
pub struct Compiler {
    buckets: Buckets,
    scratch: Scratch,
}

/// What answers are put together from, emptied for each service: a flip makes thousands.
#[derive(Debug, Default)]
struct Scratch {
    entries: Vec<u8>,
    draws: Vec<u8>,
    records: Vec<u8>,
    /// Variants that are there already: where their regions stand, and what each is.
    variants: Vec<(std::ops::Range<usize>, Decision)>,
    regions: Vec<RegionId>,
    outcomes: Vec<Decision>,
    octets: Vec<u8>,
}

impl Scratch {
    fn clear(&mut self) {
        let Self { entries, draws, records, variants, regions, outcomes, octets } = self;
        [entries, draws, records, octets].into_iter().for_each(Vec::clear);
        variants.clear();
        regions.clear();
        outcomes.clear();
    }
}

impl Compiler {
    /// Encodes what a service answers by this choice, which was made for these clients.
    ///
    /// Never empty: a pick that names no region with records stands for all regions of the
    /// service; to answer nothing takes [`Pick::Nodata`] or [`Pick::Servfail`].
    pub fn answers(&mut self, service: &Service, audience: &Arc<Audience>, choice: &Choice) -> Answers {
        let octets = Encoding::new(self, service, choice.ttl).encode(choice);
        Answers::new(octets, (!choice.classes.is_empty()).then(|| Arc::clone(audience)))
    }
}

/// The answers of one service in the making.
struct Encoding<'s> {
    buckets: &'s mut Buckets,
    scratch: &'s mut Scratch,
    service: &'s Service,
    ttl: u32,
    next_union: u32,
}

impl<'s> Encoding<'s> {
    fn new(compiler: &'s mut Compiler, service: &'s Service, ttl: u32) -> Self {
        let next_union = service.answers.values().map(|records| records.sets().len() as u32).sum();
        let Compiler { buckets, scratch } = compiler;
        scratch.clear();
        Self { buckets, scratch, service, ttl, next_union }
    }

    fn encode(mut self, choice: &Choice) -> Arc<[u8]> {
        for outcome in &choice.outcomes {
            let decision = self.decide(&outcome.pick);
            self.scratch.outcomes.push(decision);
        }
        let Scratch { entries, draws, records, outcomes, octets, .. } = &mut *self.scratch;
        let root = match choice.classes.as_slice() {
            [] => outcomes.first().copied().unwrap_or(Decision::nothing(Decision::SERVFAIL)),
            classes => {
                let decision = Decision::draw(Decision::CLASSES, draws.len());
                let each = classes.iter().map(|outcome| outcomes[usize::from(*outcome)].0);
                draws.extend(each.flat_map(u32::to_ne_bytes));
                decision
            }
        };
        let given = self.service.answers.values().flat_map(Records::sets);
        // Addresses are always the service's to give, so that a name never has some of the zone's.
        let addresses = type_bit(RecordType::A) | type_bit(RecordType::AAAA);
        let mut types = given.fold(addresses, |types, (rtype, _)| types | type_bit(rtype));
        if self.service.ecs {
            types |= TAKES_SUBNETS;
        }
        let draws_at = HEAD + entries.len();
        let records_at = draws_at + draws.len();
        let sets = entries.len() / ENTRY;
        let head = [self.ttl, types, sets as u32, root.0, draws_at as u32, records_at as u32];
        octets.extend(head.map(u32::to_ne_bytes).as_flattened());
        [entries, draws, records].into_iter().for_each(|part| octets.extend_from_slice(part));
        Arc::from(octets.as_slice())
    }

    /// The decision of a pick. One without anything to give stands for all regions.
    fn decide(&mut self, pick: &Pick) -> Decision {
        self.given(pick).unwrap_or_else(|| {
            let all: Vec<_> = self.service.answers.keys().copied().collect();
            self.together(&all).unwrap_or(Decision::nothing(Decision::SERVFAIL))
        })
    }

    /// The decision of a pick; `None` if it has nothing to give.
    fn given(&mut self, pick: &Pick) -> Option<Decision> {
        match pick {
            Pick::Nodata => Some(Decision::nothing(Decision::NODATA)),
            Pick::Servfail => Some(Decision::nothing(Decision::SERVFAIL)),
            Pick::One(shares) => {
                let parts = shares.iter().filter(|(_, share)| *share > 0);
                let parts: Vec<_> =
                    parts.filter_map(|(region, share)| Some((*share, self.variant(&[*region])?))).collect();
                self.lot(&parts)
            }
            Pick::All(regions) => self.together(regions),
            Pick::Lot(parts) => {
                let parts = parts.iter().filter(|(_, share)| *share > 0);
                let parts: Vec<_> =
                    parts.filter_map(|(pick, share)| Some((*share, self.given(pick)?))).collect();
                self.lot(&parts)
            }
            Pick::Sticky(sticky) => self.sticky(sticky),
        }
    }

    /// What each client draws.
    fn sticky(&mut self, sticky: &Sticky) -> Option<Decision> {
        let among = sticky.among.iter().filter(|(_, weight, _)| *weight > 0);
        let (things, decisions): (Vec<_>, Vec<_>) =
            among.filter_map(|(name, weight, pick)| Some(((*name, *weight), self.given(pick)?))).unzip();
        if things.len() < 2 {
            return decisions.first().copied();
        }
        let buckets = self.buckets.of(&things);
        let decision = Decision::draw(Decision::STICKY, self.scratch.draws.len());
        self.scratch.draws.reserve(STICKY_HEAD + decisions.len() * 4 + BUCKETS);
        self.scratch.draws.extend(sticky.salt.to_ne_bytes());
        self.scratch.draws.extend([sticky.prefix.ipv4, sticky.prefix.ipv6]);
        self.scratch.draws.extend((decisions.len() as u16).to_ne_bytes());
        self.scratch.draws.extend(decisions.iter().flat_map(|decision| decision.0.to_ne_bytes()));
        self.scratch.draws.extend_from_slice(buckets.as_slice());
        Some(decision)
    }

    /// These regions at once. A name has one CNAME at most (RFC 1034 §3.6.2): several are given
    /// by lot.
    fn together(&mut self, regions: &[RegionId]) -> Option<Decision> {
        let mut regions: Vec<_> = regions.iter().copied().filter(|region| self.gives(*region)).collect();
        regions.sort_unstable();
        regions.dedup();
        let has_cname = |region: &RegionId| self.service.answers[region].set(RecordType::CNAME).is_some();
        if regions.iter().any(has_cname) {
            let parts: Vec<_> =
                regions.iter().filter_map(|region| Some((1, self.variant(&[*region])?))).collect();
            return self.lot(&parts);
        }
        self.variant(&regions)
    }

    fn gives(&self, region: RegionId) -> bool {
        self.service.answers.get(&region).is_some_and(|records| !records.is_empty())
    }

    /// One of these, by shares. What is certain needs no lot.
    fn lot(&mut self, parts: &[(u32, Decision)]) -> Option<Decision> {
        let [(_, first), rest @ ..] = parts else { return None };
        if rest.is_empty() {
            return Some(*first);
        }
        let decision = Decision::draw(Decision::LOT, self.scratch.draws.len());
        self.scratch.draws.reserve(LOT_HEAD + parts.len() * PART);
        self.scratch.draws.extend((parts.len() as u32).to_ne_bytes());
        let mut upto = 0u64;
        for (share, decision) in parts {
            upto += u64::from(*share);
            self.scratch.draws.extend(upto.to_ne_bytes());
            self.scratch.draws.extend([decision.0, 0].map(u32::to_ne_bytes).as_flattened());
        }
        Some(decision)
    }

    /// The records of these regions, in the order of their ids; `None` if they have none.
    fn variant(&mut self, regions: &[RegionId]) -> Option<Decision> {
        let Scratch { variants, regions: known, .. } = &*self.scratch;
        if let Some((_, there)) = variants.iter().find(|(those, _)| known[those.clone()] == *regions) {
            return Some(*there);
        }
        let first = self.scratch.entries.len() / ENTRY;
        match regions {
            [] => return None,
            [region] => {
                let service = self.service;
                let numbers = self.first_set(*region)..;
                for (id, (rtype, rdatas)) in numbers.zip(service.answers.get(region)?.sets()) {
                    self.set(rtype, rdatas.iter().map(|rdata| &**rdata), id);
                }
            }
            _ => {
                let service = self.service;
                let sets = regions.iter().filter_map(|region| service.answers.get(region));
                let types: BTreeSet<RecordType> =
                    sets.clone().flat_map(Records::sets).map(|(rtype, _)| rtype).collect();
                for rtype in types {
                    let mut seen = HashSet::new();
                    let rdatas = sets.clone().filter_map(|records| records.set(rtype)).flatten();
                    let id = self.next_union;
                    self.next_union += 1;
                    self.set(rtype, rdatas.map(|rdata| &**rdata).filter(|rdata| seen.insert(*rdata)), id);
                }
            }
        }
        let count = self.scratch.entries.len() / ENTRY - first;
        let decision = (count > 0).then(|| Decision::variant(first, count))?;
        let from = self.scratch.regions.len();
        self.scratch.regions.extend_from_slice(regions);
        self.scratch.variants.push((from..self.scratch.regions.len(), decision));
        Some(decision)
    }

    /// The number of a region's first set.
    fn first_set(&self, region: RegionId) -> u32 {
        let before = self.service.answers.range(..region);
        before.map(|(_, records)| records.sets().len() as u32).sum()
    }

    fn set<'r>(&mut self, rtype: RecordType, rdatas: impl Iterator<Item = &'r [u8]>, id: u32) {
        let start = self.scratch.records.len();
        let mut count = 0u16;
        for rdata in rdatas.take(RECORDS_MAX) {
            // A set must fit a message as a whole.
            if self.scratch.records.len() - start + FRAME + rdata.len() > usize::from(u16::MAX) {
                break;
            }
            push_record(&mut self.scratch.records, rtype, self.ttl, &[rdata]);
            count += 1;
        }
        self.scratch.entries.extend([rtype.0, count].map(u16::to_ne_bytes).as_flattened());
        let SetId(id) = SetId(id);
        let numbers = [id, start as u32, (self.scratch.records.len() - start) as u32];
        self.scratch.entries.extend(numbers.map(u32::to_ne_bytes).as_flattened());
    }
}
