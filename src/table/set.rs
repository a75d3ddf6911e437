//! A set of records in the form in which it is sent.
//!
//! The records lie one after the other as they stand in a message whose question is their
//! owner: each starts with a pointer to offset 12, and the names in old types point into the
//! question or to names in the set itself (RFC 1035 §4.1.4). Such an answer is one copy. Where
//! the set goes elsewhere in a message, or answers for another name (a wildcard, the next link
//! of a chain, a glue record), the same octets are copied and its pointers moved.
//!
//! ```text
//! records   C0 0C  type class TTL length data   … once per record
//! tail      number of pointers in the data, 16 bits
//!           where each of them stands, counted from the first record, 16 bits each
//!           the node of each record's target, 32 bits each, 0 if it has none
//! ```
//! The tail is missing if there is neither; targets are listed for the types that have them
//! ([`RecordType::target_at`]), the numbers in it in the machine's own order.

use crate::wire::{Class, Field, RecordType, is_wildcard, name_len, parent, suffixes};

/// The question starts here in every message, so names in a reply can point to it.
pub const QUESTION_AT: usize = 12;
/// Owner, type, class, TTL and length of a record whose owner is a pointer.
pub const FRAME: usize = 12;
/// Where in a record the TTL stands, its owner being a pointer.
pub const TTL_AT: usize = 6;
/// A pointer has 14 bits for the offset (RFC 1035 §4.1.4).
pub const POINTER_MAX: usize = 0x3fff;

const POINTER: u16 = 0xc000;
/// Names that lie further into a set are not pointed to: what comes before it in a message can
/// move them past the reach of a pointer.
const TARGET_MAX: usize = 8192;
/// So many names in a set are remembered to point to.
const NAMES_MAX: usize = 64;

/// A set of records, ready to be copied into a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Set<'t> {
    /// Their type.
    pub rtype: RecordType,
    /// How many there are.
    pub count: u16,
    /// The records, see above.
    pub records: &'t [u8],
    tail: &'t [u8],
    /// The length of the name that the records were encoded for.
    owner_len: u16,
}

/// Where a set goes in a message, and whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// Where the first record goes.
    pub at: usize,
    /// Where the owner's name stands in full.
    pub owner_at: usize,
    /// Where that name ends.
    pub owner_end: usize,
}

impl<'t> Set<'t> {
    pub(super) fn new(
        rtype: RecordType,
        count: u16,
        records: &'t [u8],
        tail: &'t [u8],
        owner_len: usize,
    ) -> Self {
        Self { rtype, count, records, tail, owner_len: owner_len as u16 }
    }

    /// Records whose owner is the question and whose data holds no pointers.
    pub fn plain(rtype: RecordType, count: u16, records: &'t [u8]) -> Self {
        Self::new(rtype, count, records, &[], 0)
    }

    /// How much of the image it takes.
    pub(super) fn octets(&self) -> usize {
        self.records.len() + self.tail.len()
    }

    /// Whether the records can be copied as they are: the owner is the question, and no pointer
    /// in them leads elsewhere.
    #[inline]
    pub fn fits_as_it_is(&self, place: Placement) -> bool {
        let home = QUESTION_AT + usize::from(self.owner_len);
        place.owner_at == QUESTION_AT
            && (self.tail.is_empty() || (place.owner_end, place.at) == (home, home + 4))
    }

    /// Moves the pointers of a copy of the records that was put at `place`.
    pub fn relocate(&self, copy: &mut [u8], place: Placement) {
        let home = QUESTION_AT + usize::from(self.owner_len);
        let owner = POINTER | place.owner_at as u16;
        let mut at = 0;
        while let Some(&[_, _, _, _, _, _, _, _, _, _, high, low]) =
            self.records.get(at..).and_then(|rest| rest.first_chunk::<FRAME>())
        {
            put_short(copy, at, owner);
            at += FRAME + usize::from(u16::from_be_bytes([high, low]));
        }
        for at in self.pointers() {
            let stored = self.records.get(at..).and_then(|rest| rest.first_chunk());
            let stored = stored.map_or(0, |two| usize::from(u16::from_be_bytes(*two) & !POINTER));
            // Into the set itself, or into the owner's name.
            let moved = match stored.checked_sub(home + 4) {
                Some(inside) => place.at + inside,
                None => (place.owner_end + stored).saturating_sub(home),
            };
            put_short(copy, at, POINTER | moved as u16);
        }
    }

    /// Where in the records each target's name stands, and the node that it names, 0 if we have
    /// none.
    pub fn targets(&self) -> impl Iterator<Item = (usize, u32)> + use<'t> {
        let (records, target_at) = (self.records, self.rtype.target_at());
        let nodes = target_at.and_then(|_| self.tail.get(2 + self.pointer_count() * 2..)).unwrap_or_default();
        let mut at = 0;
        nodes.as_chunks().0.iter().map(move |node| {
            let target = at + FRAME + target_at.unwrap_or_default();
            let len = records.get(at + FRAME - 2..).and_then(|rest| rest.first_chunk());
            at += FRAME + len.map_or(0, |len| usize::from(u16::from_be_bytes(*len)));
            (target, u32::from_ne_bytes(*node))
        })
    }

    /// Where in the records each target's name stands, and that name, for a set whose names are
    /// written in full.
    pub fn target_names(&self) -> impl Iterator<Item = (usize, &'t [u8])> + use<'t> {
        let (records, target_at) = (self.records, self.rtype.target_at());
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = at + FRAME + target_at?;
            let data_len = records.get(at + FRAME - 2..)?.first_chunk()?;
            at += FRAME + usize::from(u16::from_be_bytes(*data_len));
            let name = records.get(start..at)?;
            Some((start, name.get(..name_len(name)?)?))
        })
    }

    /// The TTL, as it stands in each record.
    pub fn ttl(&self) -> [u8; 4] {
        let four = self.records.get(TTL_AT..).and_then(|rest| rest.first_chunk());
        four.copied().unwrap_or_default()
    }

    /// The data of the first record, its names as they stand there.
    pub fn first_data(&self) -> &'t [u8] {
        let len = self.records.get(FRAME - 2..).and_then(|rest| rest.first_chunk());
        let len = len.map_or(0, |len| usize::from(u16::from_be_bytes(*len)));
        self.records.get(FRAME..FRAME + len).unwrap_or_default()
    }

    /// Where each of the records starts.
    pub fn starts(&self) -> impl Iterator<Item = usize> + use<'t> {
        self.data_spans().map(|(at, _)| at - FRAME)
    }

    /// Where in the records the data of each one stands, and how long it is.
    pub fn data_spans(&self) -> impl Iterator<Item = (usize, usize)> + use<'t> {
        let records = self.records;
        let mut at = 0;
        std::iter::from_fn(move || {
            let len = records.get(at + FRAME - 2..).and_then(|rest| rest.first_chunk());
            let len = usize::from(u16::from_be_bytes(*len?));
            at += FRAME + len;
            Some((at - len, len))
        })
    }

    fn pointer_count(&self) -> usize {
        self.tail.first_chunk().map_or(0, |two| usize::from(u16::from_ne_bytes(*two)))
    }

    fn pointers(&self) -> impl Iterator<Item = usize> + use<'t> {
        let positions = self.tail.get(2..2 + self.pointer_count() * 2).unwrap_or_default();
        positions.as_chunks().0.iter().map(|two| usize::from(u16::from_ne_bytes(*two)))
    }
}

#[inline]
fn put_short(octets: &mut [u8], at: usize, value: u16) {
    if let Some(two) = octets.get_mut(at..at + 2) {
        two.copy_from_slice(&value.to_be_bytes());
    }
}

/// Appends a record whose owner is the question and whose data holds no names to compress.
/// The data comes in parts.
pub fn push_record(out: &mut Vec<u8>, rtype: RecordType, ttl: u32, rdata: &[&[u8]]) {
    push_frame(out, rtype, ttl);
    let len_at = out.len() - 2;
    rdata.iter().for_each(|part| out.extend_from_slice(part));
    let len = (out.len() - len_at - 2) as u16;
    out[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
}

/// Appends what comes before the data of a record, its length still zero.
fn push_frame(out: &mut Vec<u8>, rtype: RecordType, ttl: u32) {
    out.extend((POINTER | QUESTION_AT as u16).to_be_bytes());
    out.extend(rtype.0.to_be_bytes());
    out.extend(Class::IN.0.to_be_bytes());
    out.extend(ttl.to_be_bytes());
    out.extend([0, 0]);
}

/// How a set was encoded: what it takes to find its parts again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Encoded {
    pub(super) rtype: RecordType,
    pub(super) count: u16,
    pub(super) records_len: u16,
    pub(super) tail_len: u16,
}

/// Turns sets of records into the form in which they are sent. Kept from set to set for its
/// buffers' sake.
#[derive(Default)]
pub(super) struct Encoder {
    /// Names in the set so far, all their suffixes in full, one after the other.
    names: Vec<u8>,
    /// Of each suffix that can be pointed to: where it lies in `names`, its length, and where in
    /// the records it stands.
    known: Vec<(usize, usize, u16)>,
    pointers: Vec<u16>,
}

impl Encoder {
    /// Appends a set: records, and a tail that names no nodes yet. Names are uncompressed in
    /// the data handed in. Fails if there are too many records to count in 16 bits.
    pub(super) fn encode<'d>(
        &mut self,
        owner: &[u8],
        rtype: RecordType,
        ttl: u32,
        rdatas: impl Iterator<Item = &'d [u8]>,
        out: &mut Vec<u8>,
    ) -> Option<Encoded> {
        self.names.clear();
        self.known.clear();
        self.pointers.clear();
        // The star is not in the question that a wildcard answers.
        let basis = if is_wildcard(owner) { parent(owner).unwrap_or_default() } else { owner };
        let compressible = compressible_fields(rtype);
        let start = out.len();
        let mut count = 0u16;
        for rdata in rdatas {
            count = count.checked_add(1)?;
            push_frame(out, rtype, ttl);
            let len_at = out.len() - 2;
            let mut rest = rdata;
            for field in compressible {
                let (part, after) = rest.split_at_checked(field.len(rest)?)?;
                match field {
                    Field::OldName => self.name(part, basis, owner.len(), start, out),
                    _ => out.extend_from_slice(part),
                }
                rest = after;
            }
            out.extend_from_slice(rest);
            let len = u16::try_from(out.len() - len_at - 2).ok()?;
            out[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
        }
        let records_len = u16::try_from(out.len() - start).ok()?;
        if !self.pointers.is_empty() || rtype.target_at().is_some() {
            out.extend((self.pointers.len() as u16).to_ne_bytes());
            out.extend(self.pointers.iter().flat_map(|at| at.to_ne_bytes()));
            if rtype.target_at().is_some() {
                out.resize(out.len() + usize::from(count) * 4, 0);
            }
        }
        let tail_len = u16::try_from(out.len() - start - usize::from(records_len)).ok()?;
        Some(Encoded { rtype, count, records_len, tail_len })
    }

    /// Appends a name, the longest suffix that stands in the owner or in the set as a pointer.
    fn name(&mut self, name: &[u8], basis: &[u8], owner_len: usize, start: usize, out: &mut Vec<u8>) {
        let name_at = self.names.len();
        self.names.extend_from_slice(name);
        let here = out.len() - start;
        for suffix in suffixes(name) {
            let skipped = name.len() - suffix.len();
            // The root takes less than a pointer.
            let target = (suffix.len() > 1).then(|| {
                if suffixes(basis).any(|known| known == suffix) {
                    Some(QUESTION_AT + owner_len - suffix.len())
                } else {
                    self.find(suffix, owner_len)
                }
            });
            if let Some(target) = target.flatten() {
                out.extend_from_slice(&name[..skipped]);
                self.pointers.push((out.len() - start) as u16);
                out.extend((POINTER | target as u16).to_be_bytes());
                return;
            }
            if suffix.len() > 1 && self.known.len() < NAMES_MAX && here + skipped < TARGET_MAX {
                self.known.push((name_at + skipped, suffix.len(), (here + skipped) as u16));
            }
        }
        out.extend_from_slice(name);
    }

    /// Where a suffix stands in the set, as an offset in a message that this set answers.
    fn find(&self, suffix: &[u8], owner_len: usize) -> Option<usize> {
        let known = self.known.iter().find(|(at, len, _)| self.names[*at..at + len] == *suffix)?;
        Some(QUESTION_AT + owner_len + 4 + usize::from(known.2))
    }
}

/// The fields of a type that may hold compressed names. A CNAME's target is sent in full: the
/// records that follow it in a chain point into it, and then it must lie in one piece.
fn compressible_fields(rtype: RecordType) -> &'static [Field] {
    let fields = rtype.fields().unwrap_or_default();
    if rtype != RecordType::CNAME && fields.contains(&Field::OldName) { fields } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Message, Name, ShowName, ShowRdata, parse_rdata};

    fn encode(owner: &Name, rtype: RecordType, texts: &[&str]) -> (Vec<u8>, Encoded) {
        let rdatas: Vec<_> = texts
            .iter()
            .map(|text| {
                let words: Vec<_> =
                    text.split(' ').map(|word| crate::wire::Word::plain(word.as_bytes())).collect();
                let mut out = Vec::new();
                parse_rdata(rtype, &mut words.iter(), b"\x01x\x00", &mut out).unwrap();
                out
            })
            .collect();
        let mut out = Vec::new();
        let rdatas = rdatas.iter().map(Vec::as_slice);
        let encoded = Encoder::default().encode(owner.as_wire(), rtype, 300, rdatas, &mut out).unwrap();
        (out, encoded)
    }

    fn set<'t>(owner: &Name, (octets, encoded): &'t (Vec<u8>, Encoded)) -> Set<'t> {
        let (records, tail) = octets.split_at(usize::from(encoded.records_len));
        Set::new(encoded.rtype, encoded.count, records, tail, owner.as_wire().len())
    }

    /// Puts a set behind other octets, for the owner that stands at `owner_at` in full, and reads
    /// the message back.
    fn sent(set: &Set<'_>, qname: &Name, padding: &[u8], owner_at: usize, owner_len: usize) -> Vec<String> {
        let mut message = vec![0, 0, 0x84, 0, 0, 1, 0, set.count as u8, 0, 0, 0, 0];
        message.extend(qname.as_wire());
        message.extend([0, 1, 0, 1]);
        if !padding.is_empty() {
            message[7] += 1;
            message.extend(padding);
        }
        let at = message.len();
        let place = Placement { at, owner_at, owner_end: owner_at + owner_len };
        message.extend_from_slice(set.records);
        if !set.fits_as_it_is(place) {
            set.relocate(&mut message[at..], place);
        }
        let read = Message::read(&message).unwrap();
        read.sections[0][usize::from(!padding.is_empty())..]
            .iter()
            .map(|record| {
                let rdata = ShowRdata { rtype: record.rtype, rdata: &record.rdata };
                format!("{} {rdata}", ShowName(&record.owner))
            })
            .collect()
    }

    const SOA: &str = "ns1 host.master.elsewhere. 1 2 3 4 5";

    #[test]
    fn an_answer_to_its_own_name_is_one_copy() {
        let owner = Name::parse("a.x").unwrap();
        let encoded = encode(
            &owner,
            RecordType::MX,
            &["10 mail", "20 mail.a", "30 b.mail", "40 far.away.", "50 way.away."],
        );
        let set = set(&owner, &encoded);
        let lines = sent(&set, &owner, &[], 12, owner.as_wire().len());
        assert_eq!(
            lines,
            [
                "a.x. 10 mail.x.",
                "a.x. 20 mail.a.x.",
                "a.x. 30 b.mail.x.",
                "a.x. 40 far.away.",
                "a.x. 50 way.away."
            ]
        );
        // mail+x, mail+a.x, b+mail.x, far.away in full, way+away
        let data: usize = [2 + 5 + 2, 2 + 5 + 2, 2 + 2 + 2, 2 + 10, 2 + 4 + 2].iter().sum();
        assert_eq!(set.records.len(), 5 * FRAME + data);
        let home = QUESTION_AT + owner.as_wire().len();
        assert!(set.fits_as_it_is(Placement { at: home + 4, owner_at: 12, owner_end: home }));
    }

    #[test]
    fn moves_behind_other_records() {
        let owner = Name::parse("a.x").unwrap();
        let encoded = encode(&owner, RecordType::NS, &["ns1.far.", "ns2.far.", "ns.a"]);
        let padding = b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x00\x00\x02\x01!";
        let lines = sent(&set(&owner, &encoded), &owner, padding, 12, owner.as_wire().len());
        assert_eq!(lines, ["a.x. ns1.far.", "a.x. ns2.far.", "a.x. ns.a.x."]);
    }

    #[test]
    fn answers_for_an_ancestor_of_the_question() {
        // As the SOA record does in a negative answer, and the NS records in a referral.
        let (owner, qname) = (Name::parse("x").unwrap(), Name::parse("not.there.x").unwrap());
        let encoded = encode(&owner, RecordType::SOA, &[SOA]);
        let skipped = qname.as_wire().len() - owner.as_wire().len();
        let lines = sent(&set(&owner, &encoded), &qname, &[], 12 + skipped, owner.as_wire().len());
        assert_eq!(lines, ["x. ns1.x. host.master.elsewhere. 1 2 3 4 5"]);
    }

    #[test]
    fn a_wildcard_answers_for_names_of_any_length() {
        let owner = Name::parse("*.a.x").unwrap();
        let encoded = encode(&owner, RecordType::MX, &["1 mail.a", "2 *.a", "3 mail.b.c."]);
        for qname in ["b.a.x", "much.longer.than.the.star.a.x"] {
            let qname = Name::parse(qname).unwrap();
            let lines = sent(&set(&owner, &encoded), &qname, &[], 12, qname.as_wire().len());
            let expected = ["1 mail.a.x.", "2 *.a.x.", "3 mail.b.c."].map(|data| format!("{qname} {data}"));
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn a_cname_s_target_lies_in_one_piece() {
        let owner = Name::parse("a.x").unwrap();
        let encoded = encode(&owner, RecordType::CNAME, &["b"]);
        assert_eq!(set(&owner, &encoded).first_data(), b"\x01b\x01x\x00");
        assert_eq!(encoded.1.tail_len, 0);
    }

    #[test]
    fn knows_where_targets_stand() {
        let owner = Name::parse("a.x").unwrap();
        for (rtype, texts) in [
            (RecordType::SRV, ["0 0 1 b", "0 0 2 c"]),
            (RecordType::NS, ["b", "c"]),
            (RecordType::MX, ["1 b", "1 c"]),
            (RecordType::HTTPS, ["1 b port=1", "1 c"]),
        ] {
            let encoded = encode(&owner, rtype, &texts);
            let set = set(&owner, &encoded);
            let targets: Vec<_> = set.targets().map(|(at, node)| (set.records[at + 1], node)).collect();
            assert_eq!(targets, [(b'b', 0), (b'c', 0)], "{rtype}");
        }
        let encoded = encode(&owner, RecordType::A, &["192.0.2.1"]);
        assert_eq!(set(&owner, &encoded).targets().count(), 0);
        assert_eq!(encoded.1.tail_len, 0);
    }

    #[test]
    fn a_big_set_keeps_its_pointers_in_reach() {
        let owner = Name::parse("a.x").unwrap();
        let texts: Vec<_> = (0..1800).map(|n| format!("ns{n}.group{}.far.", n % 50)).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let encoded = encode(&owner, RecordType::NS, &texts);
        let set = set(&owner, &encoded);
        let mut message = vec![0; 12];
        message[5] = 1;
        message[6..8].copy_from_slice(&set.count.to_be_bytes());
        message.extend(b"\x05other\x01a\x01x\x00\x00\x01\x00\x01");
        let at = message.len();
        message.extend_from_slice(set.records);
        set.relocate(&mut message[at..], Placement { at, owner_at: 18, owner_end: 23 });
        let read = Message::read(&message).unwrap();
        for (record, text) in read.sections[0].iter().zip(texts) {
            assert_eq!(ShowName(&record.rdata).to_string(), text);
        }
    }
}
