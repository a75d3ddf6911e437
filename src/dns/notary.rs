//! Signatures over what only a question makes known: that a name does not exist, and what a
//! wildcard says for a name that it stands for (RFC 9824 §3.1, §3.3).
//!
//! They are made when they are asked for, on the thread that answers, and kept: an attack with
//! names at random costs no more signatures a second than the budget has, and a question that
//! comes again costs none. All memory is taken when the first signature is made; a server
//! without signed zones takes none.

use super::counts::{Counter, Counts};
use super::resolve::Stop;
use crate::sign::{NXNAME_BITMAP, SetName, Signer, push_nsec};
use crate::table::{Canonical, Set, SignedZone, push_record};
use crate::wire::RecordType;

/// Signatures that a thread makes in a second at the most, unless the configuration says otherwise.
/// On a processor of 2020 they take a fifth of the second.
const SIGNATURES: u32 = 10_000;
/// So many names are remembered by each thread. The memory: 2 MiB.
const SLOTS: usize = 4096;
/// What does not fit a slot is signed each time: names beyond 100 octets, under two keys at once.
const SLOT_OCTETS: usize = 480;

/// Signs on one thread.
#[derive(Debug)]
pub struct Notary {
    slots: Vec<Slot>,
    /// Nobody's to guess, so that nobody can ask for names that push one another out.
    keys: [u64; 3],
    /// Signatures that may still be made in this second.
    left: u32,
    second: u32,
    tools: Tools,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: Key,
    name_len: u8,
    nsec_len: u16,
    signatures: u16,
    len: u16,
    /// The name, the NSEC record if there is one, the signatures.
    octets: [u8; SLOT_OCTETS],
}

/// What a signature is about, apart from the name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key {
    epoch: u64,
    /// The node of the wildcard; 0 if there is none.
    wildcard: u32,
    zone: u16,
    rtype: u16,
}

/// Buffers.
#[derive(Debug, Default)]
struct Tools {
    signer: Signer,
    canonical: Canonical,
    rdata: Vec<u8>,
    records: Vec<u8>,
}

/// What is to be signed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claim<'t> {
    /// There is no such name.
    Absent,
    /// The name exists as this wildcard, and has the types of this bitmap.
    Lacking { wildcard: u32, bitmap: &'t [u8] },
    /// The name has this set, as the wildcard of this number and name has it.
    Expanded { wildcard: u32, owner: &'t [u8], set: Set<'t> },
}

/// What was signed: an NSEC record, unless it is a set that is at hand, and the signatures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed<'n> {
    pub(super) nsec: Option<Set<'n>>,
    pub(super) signatures: Set<'n>,
}

impl Notary {
    /// For one thread.
    pub fn new(rng: &mut fastrand::Rng) -> Self {
        let keys = [rng.u64(..) | 1, rng.u64(..) | 1, rng.u64(..) | 1];
        Self { slots: Vec::new(), keys, left: 0, second: 0, tools: Tools::default() }
    }

    /// Tells the time, in seconds since whenever: a new second has a new budget.
    #[inline]
    pub(super) fn tell_time(&mut self, now: u32, per_second: Option<u32>) {
        if now != self.second {
            self.second = now;
            self.left = per_second.unwrap_or(SIGNATURES);
        }
    }

    /// Signs a claim about a name, given lower-cased, or finds the signature made before.
    pub(super) fn seal(
        &mut self,
        (zone, number, epoch): (&SignedZone, u16, u64),
        name: &[u8],
        claim: Claim<'_>,
        counts: &mut Counts,
    ) -> Result<Sealed<'_>, Stop> {
        let (wildcard, rtype) = match claim {
            Claim::Absent => (0, RecordType::NSEC),
            Claim::Lacking { wildcard, .. } => (wildcard, RecordType::NSEC),
            Claim::Expanded { wildcard, set, .. } => (wildcard, set.rtype),
        };
        let key = Key { epoch, wildcard, zone: number, rtype: rtype.0 };
        let at = self.place(name, rtype);
        if self.slots.get(at).is_some_and(|slot| slot.is_about(key, name)) {
            counts.add(Counter::SealFound);
            return self.slots.get(at).map(Slot::sealed).ok_or(Stop::Unsigned);
        }
        let signers = zone.keys.zone_signers().len() as u32;
        let Some(left) = self.left.checked_sub(signers) else {
            counts.add(Counter::SealRefused);
            return Err(Stop::Overdrawn);
        };
        self.left = left;
        counts.add(Counter::SealMade);
        let (nsec_len, signatures) = self.tools.sign(zone, name, claim);
        // The one allocation on this path, once in a thread's life: most servers sign nothing.
        self.slots.resize(SLOTS, Slot::EMPTY);
        let records = &self.tools.records;
        if let Some(slot) = self.slots.get_mut(at)
            && let Some(octets) = slot.octets.get_mut(..name.len() + records.len())
        {
            let (front, back) = octets.split_at_mut(name.len());
            front.copy_from_slice(name);
            back.copy_from_slice(records);
            slot.key = key;
            slot.name_len = name.len() as u8;
            slot.nsec_len = nsec_len as u16;
            slot.signatures = signatures;
            slot.len = (name.len() + records.len()) as u16;
        }
        Ok(sealed(records, nsec_len, signatures))
    }
}

impl Notary {
    /// The slot for a name and type. Each step multiplies what the keys have already made of the
    /// name: which names meet depends on the keys, and is not to be found out by calculation.
    fn place(&self, name: &[u8], rtype: RecordType) -> usize {
        let [a, b, c] = self.keys;
        let fold = |x: u64, y: u64| {
            let product = u128::from(x) * u128::from(y);
            product as u64 ^ (product >> 64) as u64
        };
        let start = fold(u64::from(rtype.0) ^ a, b);
        let (words, rest) = name.as_chunks::<8>();
        let mut last = [0; 8];
        // A name ends where its root label is: octets after it make no other name of it.
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
        fold(words.fold(start, |hash, word| fold(hash ^ word, b)) ^ c, a) as usize % SLOTS
    }
}

impl Slot {
    const EMPTY: Self = Self {
        key: Key { epoch: 0, wildcard: 0, zone: 0, rtype: 0 },
        name_len: 0,
        nsec_len: 0,
        signatures: 0,
        len: 0,
        octets: [0; SLOT_OCTETS],
    };

    fn is_about(&self, key: Key, name: &[u8]) -> bool {
        self.key == key && self.octets.get(..usize::from(self.name_len)) == Some(name)
    }

    fn sealed(&self) -> Sealed<'_> {
        let records = self.octets.get(usize::from(self.name_len)..usize::from(self.len));
        sealed(records.unwrap_or_default(), usize::from(self.nsec_len), self.signatures)
    }
}

fn sealed(records: &[u8], nsec_len: usize, signatures: u16) -> Sealed<'_> {
    let (nsec, rest) = records.split_at_checked(nsec_len).unwrap_or_default();
    Sealed {
        nsec: (!nsec.is_empty()).then(|| Set::plain(RecordType::NSEC, 1, nsec)),
        signatures: Set::plain(RecordType::RRSIG, signatures, rest),
    }
}

impl Tools {
    /// Fills `records`; tells the length of the NSEC record and how many signatures follow it.
    fn sign(&mut self, zone: &SignedZone, name: &[u8], claim: Claim<'_>) -> (usize, u16) {
        let Self { signer, canonical, rdata, records } = self;
        records.clear();
        let mut count = 0;
        let nsec_len = match claim {
            Claim::Absent | Claim::Lacking { .. } => {
                let bitmap = match claim {
                    Claim::Lacking { bitmap, .. } => bitmap,
                    _ => &NXNAME_BITMAP,
                };
                let ttl = zone.negative_ttl;
                rdata.clear();
                push_nsec(name, bitmap, rdata);
                push_record(records, RecordType::NSEC, ttl, &[rdata]);
                let nsec_len = records.len();
                let set = SetName { owner: name, rtype: RecordType::NSEC, ttl };
                signer.sign(
                    &zone.keys,
                    set,
                    std::iter::once(&rdata[..]),
                    zone.validity,
                    |head, signature| {
                        push_record(records, RecordType::RRSIG, ttl, &[head, signature]);
                        count += 1;
                    },
                );
                nsec_len
            }
            Claim::Expanded { owner, set, .. } => {
                let ttl = u32::from_be_bytes(set.ttl());
                canonical.take(owner, &set);
                let signed = SetName { owner: name, rtype: set.rtype, ttl };
                signer.sign(&zone.keys, signed, canonical.rdatas(), zone.validity, |head, signature| {
                    push_record(records, RecordType::RRSIG, ttl, &[head, signature]);
                    count += 1;
                });
                0
            }
        };
        (nsec_len, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> Vec<u8> {
        format!("\x08{n:08}\x07example\x03com\x00").into_bytes()
    }

    /// Names that meet in one slot here meet nowhere else, and all are spread over all slots.
    #[test]
    fn which_names_meet_is_nobodys_to_guess() {
        let [one, other] = [1, 2].map(|seed| Notary::new(&mut fastrand::Rng::with_seed(seed)));
        let mut met = [0u32; SLOTS];
        let mut crowd = std::collections::BTreeSet::new();
        for n in 0..SLOTS * 32 {
            let at = one.place(&name(n), RecordType::NSEC);
            met[at] += 1;
            if at == 0 {
                crowd.insert(other.place(&name(n), RecordType::NSEC));
            }
        }
        // Poisson with mean 32.
        assert!(met.iter().all(|count| (4..80).contains(count)));
        assert!(crowd.len() as u32 >= met[0] - 2, "{} of {}", crowd.len(), met[0]);
    }
}
