//! The message that goes back: header, question as it was asked, whole sets of records, OPT.

use fastrand::Rng;

use crate::table::{FRAME, POINTER_MAX, Placement, QUESTION_AT, Set};
use crate::wire::{Class, ClientSubnet, HEADER_OCTETS, Rcode, RecordType, Writer};

use super::counts::{Counter, Counts};
use super::explain::Explanation;
use super::limit::Kind;
use super::opt::Opt;

/// The largest UDP message we send or take: it crosses every path that IPv6 does without being
/// cut up (RFC 9715 §3, DNS flag day 2020).
pub const UDP_PAYLOAD: u16 = 1232;
/// The largest UDP message without EDNS (RFC 1035 §2.3.4).
pub const PLAIN_UDP_PAYLOAD: u16 = 512;

const QR: u16 = 1 << 15;
const AA: u16 = 1 << 10;
const TC: u16 = 1 << 9;
const RD: u16 = 1 << 8;
const OPCODE: u16 = 0x7800;

/// Sections that records go into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Section {
    Answer,
    Authority,
    Additional,
}

/// Where the name stands in the message that is answered now, in full: at first the question,
/// then the target of each CNAME.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    pub(super) at: usize,
    pub(super) end: usize,
}

impl Owner {
    /// The ancestor of that many octets, in the same place.
    #[inline]
    pub(super) fn ancestor(self, len: usize) -> Self {
        Self { at: self.end.saturating_sub(len), end: self.end }
    }
}

/// A point in a reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    at: usize,
    records: [u16; 3],
}

/// A reply in the making.
pub(super) struct Reply<'a> {
    writer: Writer<'a>,
    /// Id and flags of the query, of which some are given back.
    id: [u8; 2],
    flags: u16,
    rcode: Rcode,
    records: [u16; 3],
    question_end: usize,
    has_question: bool,
    /// If the client speaks EDNS.
    opt: Option<Opt<'a>>,
    /// What it has in common with others that count together.
    about: (Kind, u32),
}

impl<'a> Reply<'a> {
    /// Starts a reply: header, question. `None` if not even that fits.
    #[inline]
    pub(super) fn start(
        query: &[u8],
        question: &[u8],
        opt: Option<Opt<'a>>,
        out: &'a mut [u8],
        limit: usize,
    ) -> Option<Self> {
        let [id_high, id_low, flags_high, _] = *query.first_chunk()?;
        let flags = u16::from_be_bytes([flags_high, 0]) & (OPCODE | RD) | QR;
        let mut writer = Writer::new(out, limit);
        writer.gap(HEADER_OCTETS)?;
        writer.put(question)?;
        if opt.as_ref().is_some_and(|opt| !writer.reserve(opt.octets())) {
            return None;
        }
        Some(Self {
            question_end: writer.len(),
            writer,
            id: [id_high, id_low],
            flags,
            rcode: Rcode::NOERROR,
            records: [0; 3],
            has_question: !question.is_empty(),
            opt,
            about: (Kind::Error, 0),
        })
    }

    /// The name of the question.
    #[inline]
    pub(super) fn question(&self) -> Owner {
        Owner { at: QUESTION_AT, end: self.question_end.saturating_sub(4) }
    }

    /// What stands there so far of the name of an owner, its case as asked.
    #[inline]
    pub(super) fn name(&self, owner: Owner) -> &[u8] {
        self.writer.written().get(owner.at..owner.end).unwrap_or_default()
    }

    /// Says what the answer is about: of answers alike a client gets only so many.
    #[inline]
    pub(super) fn set_about(&mut self, kind: Kind, subject: u32) {
        self.about = (kind, subject);
    }

    /// What it is about; errors are all alike.
    #[inline]
    pub(super) fn about(&self) -> (Kind, u32) {
        match self.rcode {
            Rcode::NOERROR | Rcode::NXDOMAIN | Rcode::YXDOMAIN => self.about,
            _ => (Kind::Error, 0),
        }
    }

    /// Says why, if the client speaks EDNS and there is room in the end.
    pub(super) fn explain(&mut self, explanation: Explanation) {
        if let Some(opt) = &mut self.opt {
            opt.explanation = Some(explanation);
        }
    }

    /// For whom a resolver asks, if it says so (RFC 7871).
    #[inline]
    pub(super) fn subnet(&self) -> Option<&ClientSubnet<'a>> {
        self.opt.as_ref()?.subnet()
    }

    /// Says that the answer is the same for all clients in the network of this length around the
    /// one that [`Reply::subnet`] names; 0, as it is at first, means for everybody.
    #[inline]
    pub(super) fn set_scope(&mut self, scope: u8) {
        if let Some(opt) = &mut self.opt {
            opt.set_scope(scope);
        }
    }

    /// Says that we have authority over the first name (RFC 1035 §4.1.1).
    #[inline]
    pub(super) fn set_authoritative(&mut self) {
        self.flags |= AA;
    }

    /// Says that there is more than fits.
    pub(super) fn set_truncated(&mut self) {
        self.flags |= TC;
    }

    #[inline]
    pub(super) fn set_rcode(&mut self, rcode: Rcode) {
        self.rcode = rcode;
    }

    /// Whether the client wants signatures (RFC 3225 §3).
    #[inline]
    pub(super) fn wants_signatures(&self) -> bool {
        self.opt.as_ref().is_some_and(|opt| opt.dnssec_ok)
    }

    /// Says that the zone denies compactly: a name that does not exist is NOERROR, but for those
    /// who understand (RFC 9824 §5.1).
    pub(super) fn set_compact(&mut self) {
        if !self.opt.as_mut().is_some_and(Opt::set_compact) {
            self.rcode = Rcode::NOERROR;
        }
    }

    /// Where the next record goes, for [`Reply::go_back`].
    pub(super) fn mark(&self) -> Mark {
        Mark { at: self.writer.len(), records: self.records }
    }

    /// Takes back what was put since.
    pub(super) fn go_back(&mut self, mark: Mark) {
        self.writer.rewind(mark.at);
        self.records = mark.records;
    }

    /// Takes all records back: what is left of a signed answer that does not fit proves nothing.
    pub(super) fn clear(&mut self) {
        self.writer.rewind(self.question_end);
        self.records = [0; 3];
    }

    /// Takes everything back and says only this.
    pub(super) fn fail(&mut self, rcode: Rcode) {
        self.writer.rewind(self.question_end);
        self.records = [0; 3];
        self.flags &= !(AA | TC);
        self.rcode = rcode;
    }

    /// Takes everything back and sends the client to TCP.
    pub(super) fn cut_short(&mut self) {
        self.fail(Rcode::NOERROR);
        self.set_truncated();
    }

    /// Appends a text of the class CHAOS to answer the question. It is nobody's to keep.
    pub(super) fn put_chaos(&mut self, text: &str) -> Option<()> {
        let text_len = u8::try_from(text.len()).ok()?;
        let [a, b] = (0xc000 | QUESTION_AT as u16).to_be_bytes();
        let [c, d] = RecordType::TXT.0.to_be_bytes();
        let [e, f] = Class::CH.0.to_be_bytes();
        let [g, h] = (u16::from(text_len) + 1).to_be_bytes();
        let gap = self.writer.gap(FRAME + 1 + text.len())?;
        let (frame, rest) = gap.split_first_chunk_mut::<{ FRAME + 1 }>()?;
        *frame = [a, b, c, d, e, f, 0, 0, 0, 0, g, h, text_len];
        rest.copy_from_slice(text.as_bytes());
        self.records[Section::Answer as usize] += 1;
        Some(())
    }

    /// Appends a set of records and tells where; `None` if it does not fit as a whole.
    #[inline]
    pub(super) fn put_set(&mut self, section: Section, set: &Set<'_>, owner: Owner) -> Option<usize> {
        self.put_rotated(section, set, owner, 0)
    }

    /// Appends a set of addresses that starts with any of them, so that clients that take the
    /// first one spread.
    #[inline]
    pub(super) fn put_addresses(&mut self, set: &Set<'_>, owner: Owner, rng: &mut Rng) -> Option<usize> {
        let first = if set.count > 1 { usize::from(rng.u16(0..set.count)) } else { 0 };
        self.put_rotated(Section::Answer, set, owner, first)
    }

    /// `first` records go last; they must all be of one length, unless it is 0.
    #[inline]
    fn put_rotated(&mut self, section: Section, set: &Set<'_>, owner: Owner, first: usize) -> Option<usize> {
        let place = Placement { at: self.writer.len(), owner_at: owner.at, owner_end: owner.end };
        if place.owner_at > POINTER_MAX {
            return None;
        }
        let copy = self.writer.gap(set.records.len())?;
        if first == 0 {
            copy.copy_from_slice(set.records);
        } else {
            let (last, rest) = set.records.split_at(set.records.len() / usize::from(set.count) * first);
            let (front, back) = copy.split_at_mut(rest.len());
            front.copy_from_slice(rest);
            back.copy_from_slice(last);
        }
        if !set.fits_as_it_is(place) {
            set.relocate(copy, place);
        }
        self.records[section as usize] += set.count;
        Some(place.at)
    }

    /// Appends a set of addresses to the additional section, for a name that stands at `at`; it
    /// is written out again if no pointer reaches that far.
    pub(super) fn put_glue(&mut self, set: &Set<'_>, at: usize, name: &[u8]) -> Option<()> {
        if at <= POINTER_MAX {
            // Such sets hold no pointers but to their owner: where it ends does not matter.
            return self.put_set(Section::Additional, set, Owner { at, end: at }).map(|_| ());
        }
        let before = self.writer.len();
        let len = set.records.len() / usize::from(set.count.max(1));
        for record in set.records.chunks_exact(len.max(1)) {
            let rest = record.get(2..)?;
            if self.writer.put(name).and_then(|()| self.writer.put(rest)).is_none() {
                self.writer.rewind(before);
                return None;
            }
        }
        self.records[Section::Additional as usize] += set.count;
        Some(())
    }

    /// Appends a CNAME record that leads from `owner` to the name made of these two parts, and
    /// tells where that name stands.
    pub(super) fn put_cname(
        &mut self,
        owner: Owner,
        ttl: [u8; 4],
        prefix: &[u8],
        rest: &[u8],
    ) -> Option<Owner> {
        let at = self.writer.len();
        let len = prefix.len() + rest.len();
        let gap = self.writer.gap(FRAME + len)?;
        let (frame, name) = gap.split_first_chunk_mut::<FRAME>()?;
        let [a, b] = (0xc000 | owner.at as u16).to_be_bytes();
        let [c, d] = RecordType::CNAME.0.to_be_bytes();
        let [e, f, g, h] = ttl;
        let [i, j] = (len as u16).to_be_bytes();
        *frame = [a, b, c, d, 0, 1, e, f, g, h, i, j];
        let (front, back) = name.split_at_mut(prefix.len());
        front.copy_from_slice(prefix);
        back.copy_from_slice(rest);
        self.records[Section::Answer as usize] += 1;
        Some(Owner { at: at + FRAME, end: at + FRAME + len })
    }

    /// Overwrites octets that are there.
    pub(super) fn patch(&mut self, at: usize, octets: &[u8]) {
        self.writer.patch(at, octets);
    }

    /// Completes the reply and tells its length.
    #[inline]
    pub(super) fn finish(mut self, counts: &mut Counts) -> Option<usize> {
        if let Some(opt) = self.opt {
            self.writer.release(opt.octets());
            opt.write(&mut self.writer, self.rcode)?;
            self.records[Section::Additional as usize] += 1;
        }
        let [a, b] = self.id;
        let [c, d] = (self.flags | self.rcode.0 & 15).to_be_bytes();
        let [[e, f], [g, h], [i, j]] = self.records.map(u16::to_be_bytes);
        self.writer.patch(0, &[a, b, c, d, 0, u8::from(self.has_question), e, f, g, h, i, j]);
        counts.add_rcode(self.rcode);
        if self.flags & TC != 0 {
            counts.add(Counter::Truncated);
        }
        Some(self.writer.len())
    }
}
