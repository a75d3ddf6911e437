//! What one service answers, compiled.
//!
//! ```text
//! head        TTL 32 │ types given 32 │ sets 32 │ root 32 │ draws start 32 │ records start 32
//! sets        type 16 │ count 16 │ set id 32 │ start 32 │ length 32        … once per set
//! draws       by class:  decision 32 of each class
//!             by lot:    parts 32, then per part: shares up to and including its own 64 │
//!                        decision 32 │ 0 32
//!             sticky:    salt 64 │ IPv4 bits 8 │ IPv6 bits 8 │ things 16 │ decision 32 of each
//!                        thing │ the thing of each bucket 8 (see `buckets`)
//! records     as in `set`, set after set
//! ```
//! All in one piece and in the machine's own byte order: an answer by a service costs one cache
//! miss more than one from a zone, or two, not one for each part of a structure. Only where
//! clients are told apart by where they are, their class is looked up elsewhere.
//!
//! A decision is 32 bits: the kind in the highest three, then what it leads to. A ready-made
//! variant is a run of sets (how many in five bits, the first in 24); a draw is where it starts.
//! The root is the decision for everybody; following decisions ends at a variant, or at a
//! decision to answer nothing.

use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;

use super::buckets::{BUCKETS, bucket_of};
use super::compile::Compiler;
use super::set::Set;
use crate::base::Prefix;
use crate::config::{Service, StickyPrefix};
use crate::region::{Audience, Choice};
use crate::wire::RecordType;

pub(super) const HEAD: usize = 6 * 4;
pub(super) const ENTRY: usize = 16;
pub(super) const PART: usize = 16;
pub(super) const LOT_HEAD: usize = 4;
pub(super) const STICKY_HEAD: usize = 12;

/// Decisions lead to decisions no deeper than this; policies are refused sooner.
pub(super) const DEPTH_MAX: usize = 16;

/// What one service answers until the next flip. Cheap to clone, and shared by all tables
/// between the flips that touch it.
#[derive(Clone, Debug)]
pub struct Answers {
    octets: Arc<[u8]>,
    /// Who tells the classes of clients apart, where they make a difference.
    audience: Option<Arc<Audience>>,
}

/// Who is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// Who asks: mostly a resolver.
    pub address: IpAddr,
    /// For whom it asks, if it says so (RFC 7871).
    pub told: Option<Prefix>,
}

/// What to answer this time. All types come from one pick.
#[derive(Clone, Copy, Debug)]
pub enum Drawn<'t> {
    /// These sets of records; a type that is missing has none.
    Sets(Variant<'t>),
    /// No records, because the all-down policy says so.
    Nodata,
    /// SERVFAIL, because the all-down policy says so.
    Servfail,
}

/// Which of the sets of a service: what signatures are kept by.
///
/// The sets of a single region have the same number in all answers of a service, whatever the
/// choice: they are counted through region by region, in the order of `Service::answers`, each
/// region's lowest type first. Sets that unite several regions are counted on from there, and
/// hold for these answers only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SetId(pub u32);

/// What a decision comes to: records of one region, or of several together.
#[derive(Clone, Copy, Debug)]
pub struct Variant<'t> {
    entries: &'t [[u8; ENTRY]],
    records: &'t [u8],
}

impl<'t> Variant<'t> {
    /// The set of one type.
    #[inline]
    pub fn set(&self, rtype: RecordType) -> Option<(SetId, Set<'t>)> {
        let entry = self.entries.iter().find(|entry| entry_type(entry) == rtype)?;
        Some(read_entry(entry, self.records))
    }

    /// All sets, the lowest type first.
    pub fn sets(&self) -> impl Iterator<Item = (SetId, Set<'t>)> + use<'t> {
        let records = self.records;
        self.entries.iter().map(move |entry| read_entry(entry, records))
    }
}

impl Answers {
    /// Encodes what a service answers by this choice: [`Compiler::answers`] for once.
    pub fn compile(service: &Service, audience: &Arc<Audience>, choice: &Choice) -> Answers {
        Compiler::default().answers(service, audience, choice)
    }

    pub(super) fn new(octets: Arc<[u8]>, audience: Option<Arc<Audience>>) -> Self {
        Self { octets, audience }
    }

    /// For how long a cache may keep the answer, in seconds; a negative one too.
    #[inline]
    pub fn ttl(&self) -> u32 {
        self.head()[0]
    }

    /// Whether the service answers for this type: in one of its regions at least, or because it
    /// answers everything with a CNAME.
    #[inline]
    pub fn gives(&self, rtype: RecordType) -> bool {
        let asked = match rtype {
            RecordType::ANY => !TAKES_SUBNETS,
            rtype => type_bit(rtype),
        };
        self.head()[1] & (asked | CNAME_BIT) != 0
    }

    /// Decides for one question. Tells besides for how large a network around the client that a
    /// resolver asks for this decision holds, as a length of prefix; 0 if it holds for everybody.
    #[inline]
    pub fn draw(&self, client: &Client, rng: &mut Rng) -> (Drawn<'_>, u8) {
        let [_, types, _, root, draws, _] = self.head();
        let mut decision = Decision(root);
        let mut told = Told { client, takes_subnets: types & TAKES_SUBNETS != 0, scope: 0 };
        for _ in 0..DEPTH_MAX {
            let draw = || self.octets.get(draws as usize + decision.offset()..).unwrap_or_default();
            decision = match decision.kind() {
                Decision::VARIANT => {
                    let (first, count) = decision.run();
                    let Variant { entries, records } = self.all();
                    let entries = entries.get(first..first + count).unwrap_or_default();
                    return (Drawn::Sets(Variant { entries, records }), told.scope);
                }
                Decision::LOT => cast(draw(), rng),
                Decision::STICKY => bound(draw(), &mut told),
                Decision::CLASSES => self.class(draw(), &mut told),
                Decision::NODATA => return (Drawn::Nodata, told.scope),
                _ => return (Drawn::Servfail, told.scope),
            }
            .unwrap_or(Decision::nothing(Decision::SERVFAIL));
        }
        (Drawn::Servfail, told.scope)
    }

    /// The decision for the class that a client is of.
    #[inline]
    fn class(&self, decisions: &[u8], told: &mut Told<'_>) -> Option<Decision> {
        let class = self.audience.as_ref()?.class_of(&told.network());
        told.widen(class.scope);
        decision_at(decisions, usize::from(class.number))
    }

    /// Every set that may be drawn, each once.
    pub fn sets(&self) -> impl Iterator<Item = (SetId, Set<'_>)> {
        self.all().sets()
    }

    /// Whether these are the same answers in the same place, not merely equal ones.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.octets, &other.octets)
    }

    #[inline]
    fn head(&self) -> [u32; HEAD / 4] {
        let head = self.octets.first_chunk::<HEAD>().copied().unwrap_or_default();
        let (numbers, _) = head.as_chunks();
        std::array::from_fn(|nth| numbers.get(nth).map_or(0, |four| u32::from_ne_bytes(*four)))
    }

    #[inline]
    fn all(&self) -> Variant<'_> {
        let [_, _, sets, _, _, records] = self.head();
        let entries = self.octets.get(HEAD..HEAD + sets as usize * ENTRY).unwrap_or_default();
        Variant {
            entries: entries.as_chunks().0,
            records: self.octets.get(records as usize..).unwrap_or_default(),
        }
    }
}

/// What a decision takes of a client, and what it says of how many others it holds for.
struct Told<'c> {
    client: &'c Client,
    takes_subnets: bool,
    scope: u8,
}

impl Told<'_> {
    /// Where the client is: the network that a resolver asks for, if it asks for one and the
    /// service listens; else who asks. A network of no bits is how a resolver says that its
    /// client wants to stay unknown (RFC 7871 §7.1.2).
    #[inline]
    fn network(&self) -> Prefix {
        let told = self.client.told.filter(|told| self.takes_subnets && told.len() > 0);
        told.unwrap_or_else(|| Prefix::host(self.client.address))
    }

    /// The decision depends on so many bits of the client's network. Where it was made for the
    /// resolver it holds for all whom that answers (RFC 7871 §7.2.1).
    #[inline]
    fn widen(&mut self, scope: u8) {
        if self.takes_subnets && self.client.told.is_some_and(|told| told.len() > 0) {
            self.scope = self.scope.max(scope);
        }
    }
}

/// Casts a lot: one of its parts, each as likely as its share says.
#[inline]
fn cast(draw: &[u8], rng: &mut Rng) -> Option<Decision> {
    let (count, rest) = draw.split_first_chunk::<LOT_HEAD>()?;
    let count = u32::from_ne_bytes(*count) as usize;
    let (parts, _) = rest.get(..count * PART)?.as_chunks::<PART>();
    let lot = rng.u64(0..upto(parts.last()?).max(1));
    let [_, _, _, _, _, _, _, _, a, b, c, d, _, _, _, _] =
        *parts.get(parts.partition_point(|part| upto(part) <= lot))?;
    Some(Decision(u32::from_ne_bytes([a, b, c, d])))
}

/// What a client is bound to.
#[inline]
fn bound(draw: &[u8], told: &mut Told<'_>) -> Option<Decision> {
    let (head, rest) = draw.split_first_chunk::<STICKY_HEAD>()?;
    let [s0, s1, s2, s3, s4, s5, s6, s7, ipv4, ipv6, t0, t1] = *head;
    let salt = u64::from_ne_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let things = usize::from(u16::from_ne_bytes([t0, t1]));
    let network = told.network();
    told.widen(if network.is_ipv4() { ipv4 } else { ipv6 });
    let bucket = bucket_of(&network, StickyPrefix { ipv4, ipv6 }, salt);
    let thing = *rest.get(things * 4..things * 4 + BUCKETS)?.get(bucket)?;
    decision_at(rest.get(..things * 4)?, usize::from(thing))
}

#[inline]
fn decision_at(decisions: &[u8], nth: usize) -> Option<Decision> {
    let four = decisions.get(nth * 4..)?.first_chunk()?;
    Some(Decision(u32::from_ne_bytes(*four)))
}

/// The sum of the shares up to and including this part's.
#[inline]
fn upto(part: &[u8; PART]) -> u64 {
    part.first_chunk().map_or(0, |eight| u64::from_ne_bytes(*eight))
}

#[inline]
fn entry_type(entry: &[u8; ENTRY]) -> RecordType {
    let [a, b, ..] = *entry;
    RecordType(u16::from_ne_bytes([a, b]))
}

#[inline]
fn read_entry<'t>(entry: &[u8; ENTRY], records: &'t [u8]) -> (SetId, Set<'t>) {
    let [_, _, c0, c1, i0, i1, i2, i3, s0, s1, s2, s3, l0, l1, l2, l3] = *entry;
    let [id, start, len] = [[i0, i1, i2, i3], [s0, s1, s2, s3], [l0, l1, l2, l3]].map(u32::from_ne_bytes);
    let records = records.get(start as usize..start as usize + len as usize).unwrap_or_default();
    let count = u16::from_ne_bytes([c0, c1]);
    (SetId(id), Set::new(entry_type(entry), count, records, &[], 0))
}

/// What to do next: see above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Decision(pub(super) u32);

impl Decision {
    pub(super) const VARIANT: u32 = 0;
    pub(super) const LOT: u32 = 1;
    pub(super) const STICKY: u32 = 2;
    pub(super) const CLASSES: u32 = 3;
    pub(super) const NODATA: u32 = 4;
    pub(super) const SERVFAIL: u32 = 5;

    const KIND_AT: u32 = 29;
    const COUNT_AT: u32 = 24;

    pub(super) fn variant(first: usize, count: usize) -> Self {
        debug_assert!(first < 1 << Self::COUNT_AT && count < 1 << (Self::KIND_AT - Self::COUNT_AT));
        Self(Self::VARIANT << Self::KIND_AT | (count as u32) << Self::COUNT_AT | first as u32)
    }

    pub(super) fn draw(kind: u32, offset: usize) -> Self {
        debug_assert!(offset < 1 << Self::KIND_AT);
        Self(kind << Self::KIND_AT | offset as u32)
    }

    pub(super) fn nothing(kind: u32) -> Self {
        Self(kind << Self::KIND_AT)
    }

    #[inline]
    fn kind(self) -> u32 {
        self.0 >> Self::KIND_AT
    }

    #[inline]
    fn run(self) -> (usize, usize) {
        let count = self.0 >> Self::COUNT_AT & 31;
        ((self.0 & ((1 << Self::COUNT_AT) - 1)) as usize, count as usize)
    }

    #[inline]
    fn offset(self) -> usize {
        (self.0 & ((1 << Self::KIND_AT) - 1)) as usize
    }
}

const CNAME_BIT: u32 = 4;
/// Beside the types: for whom a resolver asks makes a difference.
pub(super) const TAKES_SUBNETS: u32 = 1 << 31;

/// Types that services give, as bits.
#[inline]
pub(super) fn type_bit(rtype: RecordType) -> u32 {
    match rtype {
        RecordType::A => 1,
        RecordType::AAAA => 2,
        RecordType::CNAME => CNAME_BIT,
        RecordType::TXT => 8,
        RecordType::SRV => 16,
        RecordType::HTTPS => 32,
        _ => 0,
    }
}
