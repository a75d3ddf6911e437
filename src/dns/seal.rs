//! What a signed zone adds to an answer for clients that ask for it (DO, RFC 3225): the
//! signatures over every set, and the proof of what is not there.
//!
//! No set leaves a signed zone without its signature: if one is missing, the answer is SERVFAIL,
//! and what does not fit is left out with it.

use super::notary::{Claim, Sealed};
use super::reply::{Owner, Section};
use super::resolve::{Outcome, Stop, Walk};
use crate::table::{Apex, Block, Node, Set, SetId, Signed, SignedZone, TTL_AT};
use crate::wire::{RecordType, is_wildcard, name_len};

/// What is not there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Denied<'t> {
    /// The name.
    Name,
    /// The type asked for, at a name that exists, or that a wildcard stands for.
    Type(Node<'t>),
}

impl<'t> Walk<'_, '_, 't> {
    /// Adds the signatures over a set that was just put.
    #[inline]
    pub(super) fn seal(&mut self, section: Section, node: &Node<'t>, set: &Set<'t>, owner: Owner) -> Outcome {
        match self.signed {
            None => Ok(()),
            Some(signed) => self.seal_static(signed, section, node, set, owner),
        }
    }

    /// The same for a set of a service.
    #[inline]
    pub(super) fn seal_drawn(&mut self, node: &Node<'t>, id: SetId, set: &Set<'t>) -> Outcome {
        let Some(signed) = self.signed else { return Ok(()) };
        if signed.zone(node.zone()).is_none() {
            return Ok(());
        }
        let union = || node.service().and_then(|service| self.table.unions(service)?.block(node)?.drawn(id));
        let signatures = signed.block(node).and_then(|block| block.drawn(id)).or_else(union);
        let ttl = u32::from_be_bytes(set.ttl());
        self.put_signatures(Section::Answer, signatures, self.owner, ttl)
    }

    /// Whether what is put for this name goes with signatures.
    #[inline]
    pub(super) fn is_sealed(&self, node: &Node<'t>) -> bool {
        self.signed.is_some_and(|signed| signed.zone(node.zone()).is_some())
    }

    fn seal_static(
        &mut self,
        signed: &'t Signed,
        section: Section,
        node: &Node<'t>,
        set: &Set<'t>,
        owner: Owner,
    ) -> Outcome {
        let Some(zone) = signed.zone(node.zone()) else { return Ok(()) };
        let Some(name) = self.expanded(node) else {
            let signatures = signed.block(node).and_then(|block| block.signature(set.rtype));
            return self.put_signatures(section, signatures, owner, u32::MAX);
        };
        let claim = Claim::Expanded { wildcard: node.number(), owner: node.name(), set: *set };
        let of = (zone, node.zone(), signed.epoch());
        if self.is_withheld() {
            return Err(Stop::Withheld);
        }
        let Sealed { signatures, .. } = self.notary.seal(of, name.get(self.name), claim, self.counts)?;
        self.reply.put_set(section, &signatures, owner).ok_or(Stop::Truncated).map(|_| ())
    }

    /// The length of the name that is answered now if a wildcard stands for it.
    fn expanded(&self, node: &Node<'t>) -> Option<Expanded> {
        let len = self.owner.end - self.owner.at;
        let name = Expanded(len);
        (is_wildcard(node.name()) && name.get(self.name) != node.name()).then_some(name)
    }

    /// Puts signatures with a TTL no higher than that of the set.
    fn put_signatures(
        &mut self,
        section: Section,
        signatures: Option<Set<'_>>,
        owner: Owner,
        ttl_max: u32,
    ) -> Outcome {
        let signatures = signatures.ok_or(Stop::Unsigned)?;
        self.put_within(section, &signatures, owner, ttl_max).map(drop)
    }

    fn put_within(
        &mut self,
        section: Section,
        set: &Set<'_>,
        owner: Owner,
        ttl_max: u32,
    ) -> Result<usize, Stop> {
        let at = self.reply.put_set(section, set, owner).ok_or(Stop::Truncated)?;
        if ttl_max < u32::from_be_bytes(set.ttl()) {
            for start in set.starts() {
                self.reply.patch(at + start + TTL_AT, &ttl_max.to_be_bytes());
            }
        }
        Ok(at)
    }

    /// Answers questions for records that a zone has only because it is signed: keys to everybody,
    /// signatures to whoever asks for them.
    pub(super) fn put_own(&mut self, signed: &'t Signed, node: &Node<'t>) -> Result<bool, Stop> {
        if self.expanded(node).is_some() {
            return Ok(false);
        }
        let Some(block) = signed.block(node) else { return Ok(false) };
        let set = match self.rtype {
            RecordType::RRSIG => block.some_signature(),
            rtype => block.set(rtype),
        };
        let Some(set) = set else { return Ok(false) };
        self.reply.put_set(Section::Answer, &set, self.owner).ok_or(Stop::Truncated)?;
        if self.signed.is_some() && self.rtype != RecordType::RRSIG {
            self.put_signatures(Section::Answer, block.signature(set.rtype), self.owner, u32::MAX)?;
        }
        Ok(true)
    }

    /// Says that something is not there: the SOA record tells for how long (RFC 2308 §3), and an
    /// NSEC record proves it, neither of them for longer than `ttl_max`.
    pub(super) fn deny(&mut self, apex: &Apex<'t>, ttl_max: u32, denied: Denied<'t>) -> Outcome {
        let owner = self.owner.ancestor(apex.len);
        let ttl = ttl_max.min(u32::from_be_bytes(apex.negative.ttl()));
        let zone = self.signed.and_then(|signed| Some((signed, signed.zone(apex.zone)?)));
        let Some((signed, zone)) = zone else {
            let at = self.put_within(Section::Authority, &apex.negative, owner, ttl)?;
            self.renumber(apex.zone, &apex.negative, at);
            return Ok(());
        };
        let (nsec, section) = (self.rtype == RecordType::NSEC, Section::Authority);
        if nsec {
            // The proof is the answer.
            return self.prove(signed, zone, apex, denied, Section::Answer, ttl);
        }
        self.put_within(section, &apex.negative, owner, ttl)?;
        let soa = signed.block(&apex.node).and_then(|block| block.signature(RecordType::SOA));
        self.put_signatures(section, soa, owner, ttl)?;
        self.prove(signed, zone, apex, denied, section, ttl)
    }

    fn prove(
        &mut self,
        signed: &'t Signed,
        zone: &'t SignedZone,
        apex: &Apex<'t>,
        denied: Denied<'t>,
        section: Section,
        ttl: u32,
    ) -> Outcome {
        let of = (zone, apex.zone, signed.epoch());
        let len = self.owner.end - self.owner.at;
        let (name, claim) = match denied {
            Denied::Name => {
                // The name exists as far as DNSSEC is concerned, and its only type says that it
                // does not; who understands that gets the code that says the same (RFC 9824 §5.1).
                self.reply.set_compact();
                (Expanded(len), Claim::Absent)
            }
            Denied::Type(node) => {
                let block = signed.block(&node);
                let Some(name) = self.expanded(&node) else {
                    let (nsec, signatures) =
                        block.and_then(|block| block.denial(self.rtype)).ok_or(Stop::Unsigned)?;
                    self.put_within(section, &nsec, self.owner, ttl)?;
                    return self.put_within(section, &signatures, self.owner, ttl).map(drop);
                };
                let bitmap = block.and_then(bitmap).ok_or(Stop::Unsigned)?;
                (name, Claim::Lacking { wildcard: node.number(), bitmap })
            }
        };
        if self.is_withheld() {
            return Err(Stop::Withheld);
        }
        let Sealed { nsec, signatures } = self.notary.seal(of, name.get(self.name), claim, self.counts)?;
        for set in nsec.iter().chain([&signatures]) {
            let at = self.reply.put_set(section, set, self.owner).ok_or(Stop::Truncated)?;
            if ttl < u32::from_be_bytes(set.ttl()) {
                for start in set.starts() {
                    self.reply.patch(at + start + TTL_AT, &ttl.to_be_bytes());
                }
            }
        }
        Ok(())
    }

    /// What the side above has to say about a delegation: the keys of the zone below, or that
    /// they are nobody's to check (RFC 4035 §3.1.4, RFC 9824 §3.4).
    pub(super) fn seal_cut(&mut self, cut: &Node<'t>, owner: Owner) -> Outcome {
        let Some(signed) = self.signed.filter(|signed| signed.zone(cut.zone()).is_some()) else {
            return Ok(());
        };
        let block = signed.block(cut).ok_or(Stop::Unsigned)?;
        let (set, signatures) = match cut.set(RecordType::DS) {
            Some(ds) => (ds, block.signature(RecordType::DS).ok_or(Stop::Unsigned)?),
            None => block.denial(RecordType::DS).ok_or(Stop::Unsigned)?,
        };
        self.put_within(Section::Authority, &set, owner, u32::MAX)?;
        self.put_within(Section::Authority, &signatures, owner, u32::MAX).map(drop)
    }

    /// Adds the signatures over addresses that were just put beside an answer, unless they are
    /// another zone's and need none. `None` if they do not fit.
    pub(super) fn seal_beside(&mut self, node: &Node<'t>, rtype: RecordType, at: usize) -> Option<()> {
        let Some(block) = self.signed.and_then(|signed| signed.block(node)) else { return Some(()) };
        match block.signature(rtype) {
            Some(signatures) => self.reply.put_glue(&signatures, at, node.name()),
            None => Some(()),
        }
    }
}

/// How much of [`Walk::name`] is the name.
#[derive(Clone, Copy)]
struct Expanded(usize);

impl Expanded {
    fn get(self, name: &[u8]) -> &[u8] {
        name.get(..self.0).unwrap_or_default()
    }
}

/// What the NSEC record that stands at a name says of its types.
fn bitmap(block: Block<'_>) -> Option<&[u8]> {
    let nsec = block.set(RecordType::NSEC)?.first_data();
    nsec.get(name_len(nsec)?..)
}
