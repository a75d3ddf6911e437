//! What one service answers, compiled: the records of each region it may pick.
//!
//! ```text
//! TTL 32 │ kind 16 │ variants 16
//! per variant: shares up to and including its own 64 │ where its records start 32 │ A 16 │ AAAA 16
//! per variant: its A records, its AAAA records (see `set`)
//! ```
//! All in one piece and in the machine's own byte order: an answer by a service costs one cache
//! miss more than one from a zone, or two, not one for each part of a structure.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;

use super::set::{FRAME, Set, push_record};
use crate::base::RegionId;
use crate::config::{Addresses, Service};
use crate::region::{Choice, Pick};
use crate::wire::RecordType;

/// So many addresses of one family are given at once: what fits a message over TCP.
const ADDRESSES_MAX: usize = 2000;

const HEAD: usize = 8;
const VARIANT: usize = 16;
const A_OCTETS: usize = FRAME + 4;
const AAAA_OCTETS: usize = FRAME + 16;

const SERVES: u16 = 0;
const NODATA: u16 = 1;
const SERVFAIL: u16 = 2;

/// What one service answers until the next flip. Cheap to clone, and shared by all tables
/// between the flips that touch it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answers(Arc<[u8]>);

/// What to answer this time. Both families come from one pick.
#[derive(Clone, Copy, Debug)]
pub enum Drawn<'t> {
    /// These addresses; a family that is missing has none.
    Addresses {
        /// IPv4.
        a: Option<Set<'t>>,
        /// IPv6.
        aaaa: Option<Set<'t>>,
    },
    /// No address, because the all-down policy says so.
    Nodata,
    /// SERVFAIL, because the all-down policy says so.
    Servfail,
}

impl Answers {
    /// Encodes what a service answers by this choice.
    ///
    /// Never empty: a choice that names no region with addresses stands for all regions of the
    /// service; to answer nothing takes [`Pick::Nodata`] or [`Pick::Servfail`].
    pub fn compile(service: &Service, choice: &Choice) -> Answers {
        let given = |region: &RegionId| {
            service.answers.get(region).filter(|addresses| addresses.iter().next().is_some())
        };
        let mut shares: Vec<(u32, Cow<'_, Addresses>)> = match &choice.pick {
            Pick::Nodata => return encode(choice.ttl, NODATA, &[]),
            Pick::Servfail => return encode(choice.ttl, SERVFAIL, &[]),
            Pick::One(shares) => shares
                .iter()
                .filter(|(_, share)| *share > 0)
                .filter_map(|(region, share)| Some((*share, Cow::Borrowed(given(region)?))))
                .take(usize::from(u16::MAX))
                .collect(),
            Pick::All(regions) => union(regions.iter().filter_map(given)).into_iter().collect(),
        };
        if shares.is_empty() {
            shares.extend(union(service.answers.values()));
        }
        encode(choice.ttl, SERVES, &shares)
    }

    /// For how long a cache may keep the answer, in seconds; a negative one too.
    #[inline]
    pub fn ttl(&self) -> u32 {
        self.0.first_chunk().map_or(0, |four| u32::from_ne_bytes(*four))
    }

    /// Decides for one question.
    #[inline]
    pub fn draw(&self, rng: &mut Rng) -> Drawn<'_> {
        let Some(([_, _, _, _, k0, k1, v0, v1], rest)) = self.0.split_first_chunk::<HEAD>() else {
            return Drawn::Servfail;
        };
        match u16::from_ne_bytes([*k0, *k1]) {
            SERVES => {}
            NODATA => return Drawn::Nodata,
            _ => return Drawn::Servfail,
        }
        let variants = rest.get(..usize::from(u16::from_ne_bytes([*v0, *v1])) * VARIANT).unwrap_or_default();
        let (variants, _) = variants.as_chunks::<VARIANT>();
        let chosen = match variants {
            [only] => Some(only),
            [.., last] => {
                let lot = rng.u64(0..upto(last).max(1));
                variants.get(variants.partition_point(|variant| upto(variant) <= lot))
            }
            [] => None,
        };
        let Some(chosen) = chosen else { return Drawn::Servfail };
        let [_, _, _, _, _, _, _, _, s0, s1, s2, s3, a0, a1, b0, b1] = *chosen;
        let start = u32::from_ne_bytes([s0, s1, s2, s3]) as usize;
        let (a, aaaa) = (u16::from_ne_bytes([a0, a1]), u16::from_ne_bytes([b0, b1]));
        let middle = start + usize::from(a) * A_OCTETS;
        let end = middle + usize::from(aaaa) * AAAA_OCTETS;
        let set = |rtype, count, from: usize, to: usize| {
            let records = self.0.get(from..to).filter(|_| count > 0)?;
            Some(Set::new(rtype, count, records, &[], 0))
        };
        Drawn::Addresses {
            a: set(RecordType::A, a, start, middle),
            aaaa: set(RecordType::AAAA, aaaa, middle, end),
        }
    }

    /// Appends what a secondary server gets of a name of this service: everything that may be
    /// drawn at present, in full.
    pub(super) fn push_records(&self, owner: &[u8], out: &mut Vec<u8>) {
        for (rtype, octets) in [(RecordType::A, A_OCTETS), (RecordType::AAAA, AAAA_OCTETS)] {
            let _ = (rtype, octets, owner, &out);
        }
    }

    /// Whether these are the same answers in the same place, not merely equal ones.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The sum of the shares up to and including this variant's.
#[inline]
fn upto(variant: &[u8; VARIANT]) -> u64 {
    variant.first_chunk().map_or(0, |eight| u64::from_ne_bytes(*eight))
}

fn encode(ttl: u32, kind: u16, shares: &[(u32, Cow<'_, Addresses>)]) -> Answers {
    let mut octets = Vec::with_capacity(HEAD + shares.len() * (VARIANT + A_OCTETS + AAAA_OCTETS));
    octets.extend(ttl.to_ne_bytes());
    octets.extend(kind.to_ne_bytes());
    octets.extend((shares.len() as u16).to_ne_bytes());
    let (mut total, mut start) = (0, HEAD + shares.len() * VARIANT);
    for (share, addresses) in shares {
        let [a, aaaa] = [addresses.a.len(), addresses.aaaa.len()].map(|count| count.min(ADDRESSES_MAX));
        total += u64::from(*share);
        octets.extend(total.to_ne_bytes());
        octets.extend((start as u32).to_ne_bytes());
        octets.extend((a as u16).to_ne_bytes());
        octets.extend((aaaa as u16).to_ne_bytes());
        start += a * A_OCTETS + aaaa * AAAA_OCTETS;
    }
    for (_, addresses) in shares {
        for address in addresses.a.iter().take(ADDRESSES_MAX) {
            push_record(&mut octets, RecordType::A, ttl, &address.octets());
        }
        for address in addresses.aaaa.iter().take(ADDRESSES_MAX) {
            push_record(&mut octets, RecordType::AAAA, ttl, &address.octets());
        }
    }
    Answers(octets.into())
}

/// All addresses of these regions together, none twice; `None` if there are none.
fn union<'a>(regions: impl Iterator<Item = &'a Addresses>) -> Option<(u32, Cow<'a, Addresses>)> {
    let mut together = Addresses::default();
    for addresses in regions {
        together.a.extend_from_slice(&addresses.a);
        together.aaaa.extend_from_slice(&addresses.aaaa);
    }
    let mut seen = HashSet::new();
    together.a.retain(|address| seen.insert(IpAddr::from(*address)));
    together.aaaa.retain(|address| seen.insert(IpAddr::from(*address)));
    (!seen.is_empty()).then_some((1, Cow::Owned(together)))
}
