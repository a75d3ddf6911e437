//! What one service answers, compiled.
//!
//! ```text
//! head        TTL 32 │ types given 32 │ sets 32 │ root 32 │ lots start 32 │ records start 32
//! sets        type 16 │ count 16 │ set id 32 │ start 32 │ length 32       … once per set
//! lots        parts 32, then per part: shares up to and including its own 64 │ decision 32 │ 0 32
//! records     as in `set`, set after set
//! ```
//! All in one piece and in the machine's own byte order: an answer by a service costs one cache
//! miss more than one from a zone, or two, not one for each part of a structure.
//!
//! A decision is 32 bits: the kind in the highest three, then what it leads to. A ready-made
//! variant is a run of sets (how many in five bits, the first in 24); a lot is where it starts.
//! The root is the decision for everybody; following decisions ends at a variant, or at a
//! decision to answer nothing.

use std::sync::Arc;

use fastrand::Rng;

use super::compile::Compiler;
use super::set::Set;
use crate::config::Service;
use crate::region::Choice;
use crate::wire::RecordType;

pub(super) const HEAD: usize = 6 * 4;
pub(super) const ENTRY: usize = 16;
pub(super) const PART: usize = 16;
pub(super) const LOT_HEAD: usize = 4;

/// Decisions lead to decisions no deeper than this; policies are refused sooner.
pub(super) const DEPTH_MAX: usize = 16;

/// What one service answers until the next flip. Cheap to clone, and shared by all tables
/// between the flips that touch it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answers(Arc<[u8]>);

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
    /// Encodes what a service answers by this choice.
    ///
    /// Never empty: a choice that names no region with records stands for all regions of the
    /// service; to answer nothing takes [`Pick::Nodata`](crate::region::Pick) or
    /// [`Pick::Servfail`](crate::region::Pick).
    pub fn compile(service: &Service, choice: &Choice) -> Answers {
        Answers(Compiler::new(service, choice.ttl).compile(choice))
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
            RecordType::ANY => u32::MAX,
            rtype => type_bit(rtype),
        };
        self.head()[1] & (asked | CNAME_BIT) != 0
    }

    /// Decides for one question.
    #[inline]
    pub fn draw(&self, rng: &mut Rng) -> Drawn<'_> {
        let [_, _, _, root, lots, _] = self.head();
        let mut decision = Decision(root);
        for _ in 0..DEPTH_MAX {
            decision = match decision.kind() {
                Decision::VARIANT => {
                    let (first, count) = decision.run();
                    let Variant { entries, records } = self.all();
                    let entries = entries.get(first..first + count).unwrap_or_default();
                    return Drawn::Sets(Variant { entries, records });
                }
                Decision::LOT => {
                    let parts = self.0.get(lots as usize + decision.offset()..).unwrap_or_default();
                    cast(parts, rng).unwrap_or(Decision::nothing(Decision::SERVFAIL))
                }
                Decision::NODATA => return Drawn::Nodata,
                _ => return Drawn::Servfail,
            }
        }
        Drawn::Servfail
    }

    /// Every set that may be drawn, each once.
    pub fn sets(&self) -> impl Iterator<Item = (SetId, Set<'_>)> {
        self.all().sets()
    }

    /// Whether these are the same answers in the same place, not merely equal ones.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    #[inline]
    fn head(&self) -> [u32; HEAD / 4] {
        let head = self.0.first_chunk::<HEAD>().copied().unwrap_or_default();
        let (numbers, _) = head.as_chunks();
        std::array::from_fn(|nth| numbers.get(nth).map_or(0, |four| u32::from_ne_bytes(*four)))
    }

    #[inline]
    fn all(&self) -> Variant<'_> {
        let [_, _, sets, _, _, records] = self.head();
        let entries = self.0.get(HEAD..HEAD + sets as usize * ENTRY).unwrap_or_default();
        Variant {
            entries: entries.as_chunks().0,
            records: self.0.get(records as usize..).unwrap_or_default(),
        }
    }
}

/// Casts a lot: one of its parts, each as likely as its share says.
#[inline]
fn cast(lots: &[u8], rng: &mut Rng) -> Option<Decision> {
    let (count, rest) = lots.split_first_chunk::<LOT_HEAD>()?;
    let count = u32::from_ne_bytes(*count) as usize;
    let (parts, _) = rest.get(..count * PART)?.as_chunks::<PART>();
    let lot = rng.u64(0..upto(parts.last()?).max(1));
    let [.., a, b, c, d, _, _, _, _] = *parts.get(parts.partition_point(|part| upto(part) <= lot))?;
    Some(Decision(u32::from_ne_bytes([a, b, c, d])))
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
    pub(super) const NODATA: u32 = 3;
    pub(super) const SERVFAIL: u32 = 4;

    const KIND_AT: u32 = 29;
    const COUNT_AT: u32 = 24;

    pub(super) fn variant(first: usize, count: usize) -> Self {
        debug_assert!(first < 1 << Self::COUNT_AT && count < 1 << (Self::KIND_AT - Self::COUNT_AT));
        Self(Self::VARIANT << Self::KIND_AT | (count as u32) << Self::COUNT_AT | first as u32)
    }

    pub(super) fn lot(offset: usize) -> Self {
        debug_assert!(offset < 1 << Self::KIND_AT);
        Self(Self::LOT << Self::KIND_AT | offset as u32)
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
