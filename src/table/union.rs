//! Signatures over sets that unite several regions of a service: the answers of `all`, and of
//! `serve_all` when all are down.
//!
//! Which regions those are, a flip decides; so they are looked up by content when answers are
//! compiled, among those signed ahead and those made before, and only what never was there is
//! signed then.

use std::collections::HashMap;
use std::sync::Arc;

use ring::digest::{Context, SHA256};

use super::answers::{Answers, SetId};
use super::image::Image;
use super::set::{Set, push_record};
use super::sign::Canonical;
use super::signed::{BlockWriter, Kind, Part, SetDigest, Signed, SignedZone};
use crate::config::{Records, Service};
use crate::sign::{SetName, Signer};
use crate::wire::RecordType;

/// So many sets are remembered beyond those signed ahead; then all are forgotten, and signed when
/// they are needed again. At 150 octets each, 15 MB.
const MADE_MAX: usize = 100_000;

/// Remembers signatures over united sets.
#[derive(Debug, Default)]
pub struct Unions {
    made: HashMap<SetDigest, Box<[u8]>>,
    /// Of the signatures that these go with.
    epoch: u64,
    signer: UnionSigner,
}

impl Unions {
    /// The signatures over those sets of these answers that unite regions, at each name of the
    /// service; `None` if there are none to have.
    pub fn compile(
        &mut self,
        image: &Image,
        signed: &Signed,
        service: &Service,
        answers: &Answers,
    ) -> Option<Arc<Part>> {
        unions(service, answers).next()?;
        if self.epoch != signed.epoch() || self.made.len() > MADE_MAX {
            self.made.clear();
            self.epoch = signed.epoch();
        }
        let ttl = original_ttl(service);
        let (mut part, mut block) = (Part::default(), BlockWriter::default());
        let mut nodes: Vec<_> =
            service.names.iter().filter_map(|(name, _)| image.find(name.as_wire())).collect();
        nodes.sort_unstable_by_key(|node| node.number());
        for node in nodes {
            let Some(zone) = signed.zone(node.zone()) else { continue };
            block.clear();
            for (id, set) in unions(service, answers) {
                let Ok(id) = u16::try_from(id.0) else { continue };
                let digest = self.signer.take(node.name(), ttl, &set);
                let signer = &mut self.signer;
                let records = signed.union(&digest).unwrap_or_else(|| {
                    self.made.entry(digest).or_insert_with(|| signer.sign(zone, node.name(), ttl, set.rtype))
                });
                block.entry(Kind::Drawn, id, records, zone.keys.zone_signers().len() as u16);
            }
            part.push(node.number(), &block);
        }
        (!part.is_empty()).then(|| Arc::new(part))
    }
}

/// The TTL that the signatures of a service carry: the highest that it ever has.
pub(super) fn original_ttl(service: &Service) -> u32 {
    u32::try_from(service.ttl.max.as_secs()).unwrap_or(u32::MAX)
}

/// The sets of answers that unite regions. Those of one region come first in the numbers of
/// sets.
pub(super) fn unions<'a>(
    service: &Service,
    answers: &'a Answers,
) -> impl Iterator<Item = (SetId, Set<'a>)> + use<'a> {
    let single: usize = service.answers.values().map(|records: &Records| records.sets().len()).sum();
    answers.sets().filter(move |(id, _)| id.0 as usize >= single)
}

/// Signs united sets. Kept for its buffers' sake.
#[derive(Debug, Default)]
pub(super) struct UnionSigner {
    canonical: Canonical,
    signer: Signer,
}

impl UnionSigner {
    /// Takes a set in; what comes back stands for it.
    pub(super) fn take(&mut self, owner: &[u8], ttl: u32, set: &Set<'_>) -> SetDigest {
        self.canonical.take(owner, set);
        let mut digest = Context::new(&SHA256);
        digest.update(owner);
        digest.update(&set.rtype.0.to_be_bytes());
        digest.update(&ttl.to_be_bytes());
        for rdata in self.canonical.rdatas() {
            digest.update(&(rdata.len() as u16).to_be_bytes());
            digest.update(rdata);
        }
        digest.finish().as_ref().try_into().expect("SHA-256 has 32 octets")
    }

    /// The RRSIG records of the set that was taken in last.
    pub(super) fn sign(&mut self, zone: &SignedZone, owner: &[u8], ttl: u32, rtype: RecordType) -> Box<[u8]> {
        let mut records = Vec::new();
        let name = SetName { owner, rtype, ttl };
        self.signer.sign(&zone.keys, name, self.canonical.rdatas(), zone.validity, |head, signature| {
            push_record(&mut records, RecordType::RRSIG, ttl, &[head, signature]);
        });
        records.into()
    }
}
