//! Signatures over sets of records (RFC 4034 §3 and §6).
//!
//! What is signed is the head of the RRSIG record, then every record of the set in canonical
//! form and order. Names are lower-case in all that is served, in RDATA too, so that canonical
//! form (RFC 4034 §6.2, RFC 6840 §5.1) is what is there already, uncompressed.

use super::{Signature, SignatureTimes, ZoneKeys};
use crate::base::Timestamp;
use crate::wire::{Class, RecordType, is_wildcard, label_count};

/// Signatures hold from so long before they are made on: clocks of validators go wrong by as
/// much, and more often by whole hours than by less (RFC 6781 §4.4.2 asks for some).
const SKEW: u32 = 3600;
/// Signatures of one making end within the last one of so many parts of their time, each at
/// its own moment: a validator that lost its clock does not lose the whole zone at once.
const JITTER_PARTS: u32 = 20;
/// What an RRSIG's RDATA holds before the signer's name (RFC 4034 §3.1).
const HEAD: usize = 18;

/// When signatures hold, in seconds since 1970 modulo 2³² (RFC 4034 §3.1.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// From here on …
    pub inception: u32,
    /// … to here.
    pub expiration: u32,
}

impl Validity {
    /// Of signatures that are made now.
    pub fn from(now: Timestamp, times: SignatureTimes) -> Self {
        let now = now.as_second() as u32;
        let span = u32::try_from(times.validity.as_secs()).unwrap_or(u32::MAX).min(i32::MAX as u32);
        Self { inception: now.wrapping_sub(SKEW), expiration: now.wrapping_add(span) }
    }

    /// The same with a beginning and an end of its own for whatever `seed` stands for, never
    /// longer.
    #[must_use]
    fn jittered(self, seed: u64) -> Self {
        let span = self.expiration.wrapping_sub(self.inception).saturating_sub(SKEW);
        let early = (seed >> 32) as u32 % (span / JITTER_PARTS).max(1);
        Self {
            inception: self.inception.wrapping_sub(early),
            expiration: self.expiration.wrapping_sub(early),
        }
    }
}

/// What a set of records is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetName<'a> {
    /// Its owner in wire form, lower-cased.
    pub owner: &'a [u8],
    /// Its type.
    pub rtype: RecordType,
    /// Its TTL in the zone; what is sent may be less, and validates all the same (RFC 4034
    /// §3.1.4), never more.
    pub ttl: u32,
}

/// Signs sets of one zone's records. Kept from set to set for its buffer's sake.
#[derive(Debug, Default)]
pub struct Signer {
    message: Vec<u8>,
}

impl Signer {
    /// Signs a set with each key that signs such sets, and hands over the RDATA of each RRSIG
    /// record: all but the signature, and the signature. The data of the records come in
    /// canonical order, none twice ([`canonical`]).
    ///
    /// A wildcard's own name has one label less than it seems (RFC 4034 §3.1.3), so that its
    /// signature holds for every name that it stands for.
    pub fn sign<'d>(
        &mut self,
        keys: &ZoneKeys,
        set: SetName<'_>,
        rdatas: impl Iterator<Item = &'d [u8]>,
        validity: Validity,
        mut each: impl FnMut(&[u8], &Signature),
    ) {
        let apex = keys.zone().as_wire();
        let labels = label_count(set.owner) - usize::from(is_wildcard(set.owner));
        let validity = validity.jittered(crate::wire::hash_name(set.owner) ^ u64::from(set.rtype.0) << 40);
        let message = &mut self.message;
        message.clear();
        message.extend(set.rtype.0.to_be_bytes());
        message.extend([0, labels as u8]);
        message.extend(set.ttl.to_be_bytes());
        message.extend(validity.expiration.to_be_bytes());
        message.extend(validity.inception.to_be_bytes());
        message.extend([0, 0]);
        message.extend_from_slice(apex);
        let head = HEAD + apex.len();
        for rdata in rdatas {
            message.extend_from_slice(set.owner);
            message.extend(set.rtype.0.to_be_bytes());
            message.extend(Class::IN.0.to_be_bytes());
            message.extend(set.ttl.to_be_bytes());
            message.extend((rdata.len() as u16).to_be_bytes());
            message.extend_from_slice(rdata);
        }
        let signers = match set.rtype {
            RecordType::DNSKEY | RecordType::CDS | RecordType::CDNSKEY => keys.key_signers(),
            _ => keys.zone_signers(),
        };
        for key in signers {
            message[2] = key.algorithm().number();
            message[HEAD - 2..HEAD].copy_from_slice(&key.tag().to_be_bytes());
            each(&message[..head], &key.sign(message));
        }
    }
}

/// Puts the data of records in canonical order (RFC 4034 §6.3) and drops what is there twice.
pub fn canonical(rdatas: &mut Vec<&[u8]>) {
    rdatas.sort_unstable();
    rdatas.dedup();
}
