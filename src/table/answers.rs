//! What one service answers, compiled: the records of each region it may pick.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;

use fastrand::Rng;

use super::set::{Set, push_record};
use crate::base::RegionId;
use crate::config::{Addresses, Service};
use crate::region::{Choice, Pick};
use crate::wire::RecordType;

/// So many addresses of one family are given at once: what fits a message over TCP.
const ADDRESSES_MAX: usize = 2000;

/// What one service answers until the next flip.
#[derive(Debug)]
pub struct Answers {
    ttl: u32,
    outcome: Outcome,
    /// All records, one after the other.
    octets: Box<[u8]>,
}

#[derive(Debug)]
enum Outcome {
    /// One of these, by lot.
    Regions {
        total: u64,
        variants: Box<[Variant]>,
    },
    Nodata,
    Servfail,
}

/// The addresses that are given together.
#[derive(Debug)]
struct Variant {
    /// The sum of the shares up to and including its own.
    upto: u64,
    a: Span,
    aaaa: Span,
}

/// Records of one type in `octets`.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    len: u16,
    count: u16,
}

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
        let empty = |outcome| Self { ttl: choice.ttl, outcome, octets: Box::default() };
        let given = |region: &RegionId| {
            service.answers.get(region).filter(|addresses| addresses.iter().next().is_some())
        };
        let mut shares: Vec<(u32, Cow<'_, Addresses>)> = match &choice.pick {
            Pick::Nodata => return empty(Outcome::Nodata),
            Pick::Servfail => return empty(Outcome::Servfail),
            Pick::One(shares) => shares
                .iter()
                .filter(|(_, share)| *share > 0)
                .filter_map(|(region, share)| Some((*share, Cow::Borrowed(given(region)?))))
                .collect(),
            Pick::All(regions) => union(regions.iter().filter_map(given)).into_iter().collect(),
        };
        if shares.is_empty() {
            shares.extend(union(service.answers.values()));
        }
        let (mut octets, mut total) = (Vec::new(), 0);
        let variants = shares.iter().map(|(share, addresses)| {
            total += u64::from(*share);
            let a = push(&mut octets, RecordType::A, choice.ttl, addresses.a.iter().map(|a| a.octets()));
            let aaaa =
                push(&mut octets, RecordType::AAAA, choice.ttl, addresses.aaaa.iter().map(|a| a.octets()));
            Variant { upto: total, a, aaaa }
        });
        let variants = variants.collect();
        Self { ttl: choice.ttl, outcome: Outcome::Regions { total, variants }, octets: octets.into() }
    }

    /// For how long a cache may keep the answer, in seconds; a negative one too.
    #[inline]
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// Decides for one question.
    #[inline]
    pub fn draw(&self, rng: &mut Rng) -> Drawn<'_> {
        let variants = match &self.outcome {
            Outcome::Regions { variants, .. } if variants.len() == 1 => variants.first(),
            Outcome::Regions { total, variants } => {
                let lot = rng.u64(0..*total);
                variants.get(variants.partition_point(|variant| variant.upto <= lot))
            }
            Outcome::Nodata => return Drawn::Nodata,
            Outcome::Servfail => return Drawn::Servfail,
        };
        let Some(Variant { a, aaaa, .. }) = variants else { return Drawn::Servfail };
        Drawn::Addresses { a: self.set(RecordType::A, *a), aaaa: self.set(RecordType::AAAA, *aaaa) }
    }

    #[inline]
    fn set(&self, rtype: RecordType, span: Span) -> Option<Set<'_>> {
        let start = span.start as usize;
        let records = self.octets.get(start..start + usize::from(span.len))?;
        (span.count > 0).then(|| Set::new(rtype, span.count, records, &[], 0))
    }
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

/// Appends the records of some addresses; past the limit the rest is left out.
fn push<A: AsRef<[u8]>>(
    octets: &mut Vec<u8>,
    rtype: RecordType,
    ttl: u32,
    addresses: impl Iterator<Item = A>,
) -> Span {
    let start = octets.len();
    let mut count = 0;
    for address in addresses.take(ADDRESSES_MAX) {
        push_record(octets, rtype, ttl, address.as_ref());
        count += 1;
    }
    Span { start: start as u32, len: (octets.len() - start) as u16, count }
}
