//! A validator of one zone's answers, written from RFC 4035 §5 and RFC 9824 alone: it shares no
//! code with the signer but the reading of messages.

use std::collections::BTreeMap;

use pointsman::wire::{Message, Rcode, Record, RecordType, ShowName, read_bitmap};
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};

/// What an answer proves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Proof {
    Positive,
    Nodata,
    Nxdomain,
    /// The chain leads out of the zone.
    Elsewhere,
    /// To a zone that is signed, or to one that is proven not to be.
    SecureReferral,
    InsecureReferral,
}

/// The zone and what its signatures are checked against.
pub struct Validator {
    pub apex: Vec<u8>,
    /// The RDATA of its DNSKEY records.
    pub keys: Vec<Vec<u8>>,
    /// Names that are delegated: addresses at and below them are nobody's to sign here.
    pub cuts: Vec<Vec<u8>>,
    /// Seconds since 1970.
    pub now: u32,
}

/// A chain of more links than this is the resolver's to follow.
const LINKS_MAX: usize = 7;

type Sets<'m> = BTreeMap<(Vec<u8>, RecordType), Vec<&'m Record>>;

impl Validator {
    /// Whether an answer to a question with DO proves what it says.
    pub fn check(&self, message: &Message, qname: &[u8], qtype: RecordType) -> Result<Proof, String> {
        let [answers, authorities, additionals] = &message.sections;
        let signatures: Vec<&Record> =
            message.sections.iter().flatten().filter(|record| record.rtype == RecordType::RRSIG).collect();
        let answer = sets(answers);
        let authority = sets(authorities);
        let cut = authority
            .keys()
            .find(|(owner, rtype)| *rtype == RecordType::NS && *owner != self.apex)
            .map(|(owner, _)| owner.clone());
        let mut dnames = Vec::new();
        for ((owner, rtype), set) in answer.iter().chain(&authority) {
            let delegation = *rtype == RecordType::NS && Some(owner) == cut.as_ref();
            let synthesised = *rtype == RecordType::CNAME
                && answer.iter().any(|((above, rtype), dname)| {
                    *rtype == RecordType::DNAME
                        && is_below(owner, above)
                        && set[0].rdata.ends_with(&dname[0].rdata)
                });
            if *rtype == RecordType::DNAME {
                dnames.push(owner.clone());
            }
            if !delegation && (!synthesised || self.is_signed(owner, *rtype, set, &signatures)?) {
                self.must_be_signed(owner, *rtype, set, &signatures)?;
            }
        }
        for ((owner, rtype), set) in &sets(additionals) {
            let glue = cut.is_some() && self.cuts.iter().any(|cut| owner.ends_with(cut));
            if !glue {
                self.must_be_signed(owner, *rtype, set, &signatures)?;
            }
        }
        // No signature without what it signs.
        for record in &signatures {
            let covered = RecordType(u16::from_be_bytes([record.rdata[0], record.rdata[1]]));
            let owner = lower(&record.owner);
            let here = |section: &[Record]| {
                section.iter().any(|other| lower(&other.owner) == owner && other.rtype == covered)
            };
            if qtype != RecordType::RRSIG && !message.sections.iter().any(|section| here(section)) {
                return Err(format!("a signature over no {covered} of {}", ShowName(&owner)));
            }
        }
        self.conclude(message, qname, qtype, &answer, &authority, cut)
    }

    fn conclude(
        &self,
        message: &Message,
        qname: &[u8],
        qtype: RecordType,
        answer: &Sets<'_>,
        authority: &Sets<'_>,
        cut: Option<Vec<u8>>,
    ) -> Result<Proof, String> {
        let mut name = lower(qname);
        let mut passed = Vec::new();
        loop {
            if passed.contains(&name) || passed.len() > LINKS_MAX {
                // A circle, or a longer chain than is followed at once: all of it was signed.
                return Ok(Proof::Positive);
            }
            passed.push(name.clone());
            if qtype == RecordType::ANY && answer.keys().any(|(owner, _)| *owner == name) {
                return Ok(Proof::Positive);
            }
            if answer.contains_key(&(name.clone(), qtype)) || qtype == RecordType::RRSIG {
                return Ok(Proof::Positive);
            }
            match answer.get(&(name.clone(), RecordType::CNAME)) {
                Some(cname) => name = lower(&cname[0].rdata),
                None => break,
            }
        }
        if !name.ends_with(&self.apex) {
            return Ok(Proof::Elsewhere);
        }
        if message.rcode() == Rcode::YXDOMAIN {
            return Ok(Proof::Positive);
        }
        if let Some(cut) = cut {
            if authority.contains_key(&(cut.clone(), RecordType::DS)) {
                return Ok(Proof::SecureReferral);
            }
            let nsec =
                authority.get(&(cut.clone(), RecordType::NSEC)).ok_or("a referral without DS or proof")?;
            let types = types(&nsec[0].rdata);
            let proves = types.contains(&RecordType::NS)
                && ![RecordType::DS, RecordType::SOA].iter().any(|rtype| types.contains(rtype));
            return if proves { Ok(Proof::InsecureReferral) } else { Err(format!("no proof: {types:?}")) };
        }
        if !authority.contains_key(&(self.apex.clone(), RecordType::SOA)) {
            return Err("a negative answer without SOA".into());
        }
        let nsec = authority
            .get(&(name.clone(), RecordType::NSEC))
            .ok_or_else(|| format!("nothing says that {} has no {qtype}", ShowName(&name)))?;
        let types = types(&nsec[0].rdata);
        if types.contains(&qtype) || types.contains(&RecordType::CNAME) {
            return Err(format!("{types:?} denies no {qtype}"));
        }
        // At a cut the side above denies nothing but DS (RFC 4035 §5.2).
        if qtype == RecordType::DS && types.contains(&RecordType::SOA) && name != self.apex {
            return Err("the wrong side of a cut".into());
        }
        if types.contains(&RecordType::NXNAME) {
            return Ok(Proof::Nxdomain);
        }
        Ok(Proof::Nodata)
    }

    fn must_be_signed(
        &self,
        owner: &[u8],
        rtype: RecordType,
        set: &[&Record],
        signatures: &[&Record],
    ) -> Result<(), String> {
        match self.is_signed(owner, rtype, set, signatures)? {
            true => Ok(()),
            false => Err(format!("unsigned: {} {rtype}", ShowName(owner))),
        }
    }

    /// Whether one of the signatures over a set is there; it must hold, and so must all others.
    fn is_signed(
        &self,
        owner: &[u8],
        rtype: RecordType,
        set: &[&Record],
        signatures: &[&Record],
    ) -> Result<bool, String> {
        let shown = format!("{} {rtype}", ShowName(owner));
        let mut found = false;
        for signature in signatures {
            if lower(&signature.owner) != owner || signature.rdata[..2] != rtype.0.to_be_bytes() {
                continue;
            }
            if set.iter().any(|record| record.ttl != signature.ttl) {
                return Err(format!("{shown}: its TTL is not that of its signature"));
            }
            self.verify(owner, rtype, set, &signature.rdata).map_err(|why| format!("{shown}: {why}"))?;
            found = true;
        }
        Ok(found)
    }

    fn verify(&self, owner: &[u8], rtype: RecordType, set: &[&Record], rrsig: &[u8]) -> Result<(), String> {
        let four = |at: usize| u32::from_be_bytes([rrsig[at], rrsig[at + 1], rrsig[at + 2], rrsig[at + 3]]);
        let (labels, ttl, expiration, inception) = (usize::from(rrsig[3]), four(4), four(8), four(12));
        if (self.now.wrapping_sub(inception) as i32) < 0 || (expiration.wrapping_sub(self.now) as i32) < 0 {
            return Err(format!("holds from {inception} to {expiration}, and it is {}", self.now));
        }
        if set.iter().any(|record| record.ttl > ttl) {
            return Err(format!("the TTL is above the original one, {ttl}"));
        }
        let signer_end = 18 + self.apex.len();
        if rrsig.get(18..signer_end) != Some(&self.apex) {
            return Err("signed by another zone".into());
        }
        // A signature that holds for a wildcard would take the proof that no closer name is there.
        let own = count_labels(owner) - usize::from(owner.starts_with(b"\x01*"));
        if labels != own {
            return Err(format!("signed for {labels} labels, not {own}"));
        }
        let (head, signature) = rrsig.split_at(signer_end);
        let mut rdatas: Vec<_> = set.iter().map(|record| &record.rdata[..]).collect();
        rdatas.sort();
        let before = rdatas.len();
        rdatas.dedup();
        if rdatas.len() < before {
            return Err("a record twice".into());
        }
        let mut signed = head.to_vec();
        for rdata in rdatas {
            signed.extend_from_slice(owner);
            signed.extend(rtype.0.to_be_bytes());
            signed.extend([0, 1]);
            signed.extend(ttl.to_be_bytes());
            signed.extend((rdata.len() as u16).to_be_bytes());
            signed.extend_from_slice(rdata);
        }
        let tag = u16::from_be_bytes([rrsig[16], rrsig[17]]);
        let fits = |key: &&Vec<u8>| key_tag(key) == tag && key[3] == rrsig[2];
        let holds = self.keys.iter().filter(fits).any(|key| match key[3] {
            13 => {
                let point = [&[4], &key[4..]].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(&signed, signature).is_ok()
            }
            _ => UnparsedPublicKey::new(&ED25519, &key[4..]).verify(&signed, signature).is_ok(),
        });
        if holds { Ok(()) } else { Err("the signature does not hold".into()) }
    }
}

fn sets(section: &[Record]) -> Sets<'_> {
    let mut sets = Sets::new();
    for record in section.iter().filter(|record| record.rtype != RecordType::RRSIG) {
        sets.entry((lower(&record.owner), record.rtype)).or_default().push(record);
    }
    sets
}

fn types(nsec: &[u8]) -> Vec<RecordType> {
    let next = pointsman::wire::name_len(nsec).expect("the next name is in full");
    read_bitmap(&nsec[next..]).collect()
}

fn lower(name: &[u8]) -> Vec<u8> {
    name.to_ascii_lowercase()
}

fn is_below(name: &[u8], above: &[u8]) -> bool {
    name.len() > above.len() && name.ends_with(above)
}

fn count_labels(name: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while name[at] != 0 {
        at += usize::from(name[at]) + 1;
        count += 1;
    }
    count
}

fn key_tag(key: &[u8]) -> u16 {
    let sum: u32 = key
        .iter()
        .enumerate()
        .map(|(at, octet)| if at % 2 == 0 { u32::from(*octet) << 8 } else { u32::from(*octet) })
        .sum();
    (sum + (sum >> 16)) as u16
}
