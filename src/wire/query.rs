//! A query as it came off the wire: looked at in place, nothing copied, nothing allocated.
//!
//! What is no proper query is sorted here, once and exactly:
//!
//! | message | verdict |
//! |---|---|
//! | shorter than a header, or a response (QR=1) | silence: an answer could start a loop |
//! | another opcode than QUERY | NOTIMP (RFC 1035 §4.1.1), with the question and OPT if such can be read |
//! | no question, but a cookie | NOERROR: the client wants ours (RFC 7873 §5.4) |
//! | no question, or more than one | FORMERR (RFC 9619 §4), header and OPT |
//! | a question that cannot be read | FORMERR, header alone |
//! | records before the additional section (IXFR's one SOA apart) | FORMERR |
//! | records that cannot be read, octets left over | FORMERR |
//! | something behind a TSIG record | FORMERR (RFC 8945 §5.1) |
//! | two OPT records, one not at the root, options cut short | FORMERR (RFC 6891 §6.1.1) |
//! | an option that breaks its own rules | FORMERR, see [`Options`] |
//! | EDNS version above 0 | BADVERS (RFC 6891 §6.1.3) |

use super::{Class, Opcode, Options, Rcode, RecordType, name_len};

/// A DNS message starts with this many octets (RFC 1035 §4.1.1).
pub const HEADER_OCTETS: usize = 12;

/// A question with nothing wrong in its form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query<'a> {
    /// What is asked.
    pub question: Question<'a>,
    /// EDNS, if the client speaks it.
    pub edns: Option<Edns<'a>>,
    /// The last record is a TSIG record; it has not been looked at.
    pub has_tsig: bool,
}

/// What is asked. It stands right behind the header, so a name in a reply can point to its
/// octets at offset 12.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question<'a> {
    /// The whole question: name, type, class, as asked.
    pub octets: &'a [u8],
    /// The name in wire form, its case as asked.
    pub name: &'a [u8],
    /// The type.
    pub rtype: RecordType,
    /// The class.
    pub class: Class,
}

/// What the client says about itself (RFC 6891 §6.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edns<'a> {
    /// The largest UDP payload it takes.
    pub payload: u16,
    /// Whether it wants signatures (RFC 3225).
    pub dnssec_ok: bool,
    /// Whether it takes NXDOMAIN from a compact denial (RFC 9824 §5.1).
    pub compact_ok: bool,
    /// What it says in options; nothing, if they cannot be read or are of a version of EDNS that
    /// we do not know.
    pub options: Options<'a>,
}

/// Why a message gets no proper answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault<'a> {
    /// It gets none at all.
    Silence,
    /// It gets a header that says so.
    Told {
        /// How.
        rcode: Rcode,
        /// The question, as far as it could be read.
        question: Option<Question<'a>>,
        /// EDNS, as far as it could be read.
        edns: Option<Edns<'a>>,
    },
}

impl<'a> Query<'a> {
    /// Looks at a message.
    ///
    /// # Errors
    /// What to do with one that is not a proper query.
    #[inline]
    pub fn read(message: &'a [u8]) -> Result<Self, Fault<'a>> {
        let Some((header, rest)) = message.split_first_chunk::<HEADER_OCTETS>() else {
            return Err(Fault::Silence);
        };
        let [_, _, flags, _, qd_high, qd_low, an_high, an_low, ns_high, ns_low, ar_high, ar_low] = *header;
        if flags & 0x80 != 0 {
            return Err(Fault::Silence);
        }
        let told = |rcode, question, edns| Fault::Told { rcode, question, edns };
        if Opcode(flags >> 3 & 15) != Opcode::QUERY || (qd_high, qd_low) != (0, 1) {
            return Err(strange(header, rest));
        }
        let question = Question::read(rest).ok_or(told(Rcode::FORMERR, None, None))?;
        let malformed = |edns| told(Rcode::FORMERR, Some(question), edns);

        let mut records = &rest[question.octets.len()..];
        // The client's version of the zone travels here (RFC 1995 §3).
        let authority = u16::from_be_bytes([ns_high, ns_low]);
        if (an_high, an_low) != (0, 0) || authority > u16::from(question.rtype == RecordType::IXFR) {
            return Err(malformed(None));
        }
        if authority > 0 {
            records = Record::read(records).ok_or(malformed(None))?.1;
        }
        let mut edns: Option<(Edns<'a>, Record<'a>)> = None;
        let mut has_tsig = false;
        for _ in 0..u16::from_be_bytes([ar_high, ar_low]) {
            let told_edns = edns.map(|(edns, _)| edns);
            let (record, after) = Record::read(records).ok_or(malformed(told_edns))?;
            records = after;
            // Nothing comes behind a signature (RFC 8945 §5.1).
            if has_tsig {
                return Err(malformed(told_edns));
            }
            if record.rtype == RecordType::OPT {
                if told_edns.is_some() || !record.at_root {
                    return Err(malformed(told_edns));
                }
                edns = Some((Edns::without_options(&record), record));
            } else {
                has_tsig = record.rtype == RecordType::TSIG;
            }
        }
        let Some((mut edns, opt)) = edns else {
            return if records.is_empty() {
                Ok(Query { question, edns: None, has_tsig })
            } else {
                Err(malformed(None))
            };
        };
        if !records.is_empty() {
            return Err(malformed(Some(edns)));
        }
        if opt.edns_version() > 0 {
            return Err(told(Rcode::BADVERS, Some(question), Some(edns)));
        }
        edns.options = Options::read(opt.data).map_err(|_| malformed(Some(edns)))?;
        Ok(Query { question, edns: Some(edns), has_tsig })
    }
}

/// What to say to another opcode, or to another number of questions than one. The reply has the
/// question and EDNS as far as they stand where every message has them.
#[cold]
fn strange<'a>(header: &[u8; HEADER_OCTETS], rest: &'a [u8]) -> Fault<'a> {
    let [_, _, flags, _, qd_high, qd_low, counts @ ..] = *header;
    let questions = u16::from_be_bytes([qd_high, qd_low]);
    let question = if questions == 1 { Question::read(rest) } else { None };
    let mut records = match (questions, question) {
        (0, _) => rest,
        (_, Some(question)) => &rest[question.octets.len()..],
        // Where records start is not known.
        (_, None) => &[],
    };
    let mut edns = None;
    let count: u32 = counts.chunks_exact(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
    for _ in 0..count {
        let Some((record, after)) = Record::read(records) else { break };
        records = after;
        if record.rtype == RecordType::OPT && record.at_root {
            edns = Some(Edns::read(&record));
            break;
        }
    }
    let has_cookie = edns.is_some_and(|edns| edns.options.cookie.is_some());
    let rcode = if Opcode(flags >> 3 & 15) != Opcode::QUERY {
        Rcode::NOTIMP
    } else if questions == 0 && has_cookie {
        Rcode::NOERROR
    } else {
        Rcode::FORMERR
    };
    Fault::Told { rcode, question, edns }
}

impl<'a> Edns<'a> {
    /// What the fixed part of an OPT record says.
    #[inline]
    fn without_options(record: &Record<'a>) -> Self {
        let dnssec_ok = record.ttl[2] & 0x80 != 0;
        let compact_ok = record.ttl[2] & 0x40 != 0;
        Self { payload: record.class, dnssec_ok, compact_ok, options: Options::default() }
    }

    /// What all of it says, as far as that is understood.
    fn read(record: &Record<'a>) -> Self {
        let options =
            if record.edns_version() == 0 { Options::read(record.data) } else { Ok(Options::default()) };
        Self { options: options.unwrap_or_default(), ..Self::without_options(record) }
    }
}

impl<'a> Question<'a> {
    #[inline]
    fn read(rest: &'a [u8]) -> Option<Self> {
        // Nothing stands before it that a pointer could lead to: the name is in full.
        let len = name_len(rest)?;
        let octets = rest.get(..len + 4)?;
        let (name, [t_high, t_low, c_high, c_low]) = octets.split_last_chunk()?;
        let rtype = RecordType(u16::from_be_bytes([*t_high, *t_low]));
        Some(Self { octets, name, rtype, class: Class(u16::from_be_bytes([*c_high, *c_low])) })
    }
}

/// A record of which only the frame matters.
#[derive(Clone, Copy)]
struct Record<'a> {
    at_root: bool,
    rtype: RecordType,
    class: u16,
    ttl: [u8; 4],
    data: &'a [u8],
}

impl<'a> Record<'a> {
    #[inline]
    fn read(octets: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let at_root = octets.first() == Some(&0);
        let frame = octets.get(skip_name(octets)?..)?;
        let ([t_high, t_low, c_high, c_low, ttl @ .., l_high, l_low], rest) =
            frame.split_first_chunk::<10>()?;
        let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*l_high, *l_low])))?;
        let rtype = RecordType(u16::from_be_bytes([*t_high, *t_low]));
        let class = u16::from_be_bytes([*c_high, *c_low]);
        Some((Self { at_root, rtype, class, ttl: *ttl, data }, rest))
    }

    /// The version of EDNS, of an OPT record (RFC 6891 §6.1.3).
    #[inline]
    fn edns_version(&self) -> u8 {
        self.ttl[1]
    }
}

/// How long a name is that may end in a pointer; where it leads does not matter.
#[inline]
pub(super) fn skip_name(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            len @ 1..=63 => at += usize::from(len) + 1,
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 12] = [0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    const QUESTION: &[u8] = b"\x03wWw\x01x\x00\x00\x01\x00\x01";
    const OPT: &[u8] = b"\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x00";

    fn message(change: &[(usize, u8)], parts: &[&[u8]]) -> Vec<u8> {
        let mut message = [&HEADER[..], &parts.concat()].concat();
        for (at, value) in change {
            message[*at] = *value;
        }
        message
    }

    fn rcode(change: &[(usize, u8)], parts: &[&[u8]]) -> Option<Rcode> {
        match Query::read(&message(change, parts)) {
            Ok(_) => Some(Rcode::NOERROR),
            Err(Fault::Told { rcode, .. }) => Some(rcode),
            Err(Fault::Silence) => None,
        }
    }

    #[test]
    fn reads_a_question_as_it_was_asked() {
        let message = message(&[(11, 1)], &[QUESTION, OPT]);
        let query = Query::read(&message).unwrap();
        assert_eq!(query.question.name, b"\x03wWw\x01x\x00");
        assert_eq!(query.question.octets, QUESTION);
        assert_eq!((query.question.rtype, query.question.class), (RecordType::A, Class::IN));
        assert_eq!(
            query.edns,
            Some(Edns { payload: 4096, dnssec_ok: true, compact_ok: false, options: Options::default() })
        );
    }

    #[test]
    fn is_silent_to_what_could_start_a_loop() {
        assert_eq!(Query::read(&HEADER[..11]), Err(Fault::Silence));
        assert_eq!(rcode(&[(2, 0x81)], &[QUESTION]), None);
        assert_eq!(rcode(&[(2, 0xa8)], &[]), None);
    }

    #[test]
    fn other_opcodes_are_not_implemented() {
        for opcode in 1..16 {
            assert_eq!(rcode(&[(2, opcode << 3)], &[b"rubbish"]), Some(Rcode::NOTIMP));
        }
    }

    #[test]
    fn what_can_be_read_of_other_opcodes_is() {
        let told = |change: &[(usize, u8)], parts: &[&[u8]]| match Query::read(&message(change, parts)) {
            Err(Fault::Told { question, edns, .. }) => (question.is_some(), edns.is_some()),
            other => panic!("{other:?}"),
        };
        let update = (2, 5 << 3);
        let record = b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x01a";
        assert_eq!(told(&[update], &[QUESTION]), (true, false));
        assert_eq!(told(&[update, (9, 1), (11, 1)], &[QUESTION, record, OPT]), (true, true));
        assert_eq!(told(&[update, (9, 1), (11, 1)], &[QUESTION, &record[..12], OPT]), (true, false));
        assert_eq!(told(&[update, (5, 0), (11, 1)], &[OPT]), (false, true));
        assert_eq!(told(&[update, (5, 2), (11, 1)], &[QUESTION, QUESTION, OPT]), (false, false));
        // The next version may have its options in another form.
        let mut next = OPT.to_vec();
        for (version, has_cookie) in [(0, true), (1, false)] {
            next[6] = version;
            let message =
                message(&[update, (5, 0), (11, 1)], &[&next[..9], b"\x00\x0c\x00\x0a\x00\x08clientsO"]);
            let Err(Fault::Told { edns: Some(edns), .. }) = Query::read(&message) else {
                panic!("{message:?}")
            };
            assert_eq!(edns.options.cookie.is_some(), has_cookie);
        }
    }

    #[test]
    fn no_question_but_a_cookie_asks_for_a_cookie() {
        let with = [&OPT[..9], b"\x00\x0c\x00\x0a\x00\x08clientsO"].concat();
        assert_eq!(rcode(&[(5, 0), (11, 1)], &[&with]), Some(Rcode::NOERROR));
        assert_eq!(rcode(&[(5, 0), (11, 1)], &[OPT]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[(5, 2), (11, 1)], &[QUESTION, QUESTION, &with]), Some(Rcode::FORMERR));
    }

    #[test]
    fn one_question_and_no_other_number() {
        assert_eq!(rcode(&[], &[QUESTION]), Some(Rcode::NOERROR));
        assert_eq!(rcode(&[(5, 0)], &[]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[(5, 2)], &[QUESTION, QUESTION]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[(4, 1)], &[QUESTION]), Some(Rcode::FORMERR));
    }

    #[test]
    fn a_question_stands_there_in_full() {
        for bad in [
            &b""[..],
            b"\x03ww",
            b"\x00\x00\x01\x00",
            b"\xc0\x0c\x00\x01\x00\x01",
            b"\x01a\xc0\x0c\x00\x01\x00\x01",
            b"\x41\x00\x00\x01\x00\x01",
        ] {
            assert_eq!(rcode(&[], &[bad]), Some(Rcode::FORMERR), "{bad:?}");
        }
        let too_long = [&b"\x01a".repeat(128)[..], b"\x00\x00\x01\x00\x01"].concat();
        assert_eq!(rcode(&[], &[&too_long]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[], &[&too_long[2..]]), Some(Rcode::NOERROR));
    }

    #[test]
    fn nothing_stands_before_or_behind_the_additional_section() {
        let record = b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x01a";
        assert_eq!(rcode(&[(7, 1)], &[QUESTION, record]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[(9, 1)], &[QUESTION, record]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[(11, 1)], &[QUESTION, record]), Some(Rcode::NOERROR));
        assert_eq!(rcode(&[(11, 1)], &[QUESTION, &record[..12]]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[], &[QUESTION, b"x"]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[(11, 1)], &[QUESTION, OPT, b"x"]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[(11, 2)], &[QUESTION, OPT]), Some(Rcode::FORMERR));
        // IXFR tells which version the client has.
        let ixfr = b"\x01x\x00\x00\xfb\x00\x01";
        assert_eq!(rcode(&[(9, 1)], &[ixfr, record]), Some(Rcode::NOERROR));
        assert_eq!(rcode(&[(9, 2)], &[ixfr, record, record]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[(9, 1)], &[ixfr]), Some(Rcode::FORMERR));
    }

    #[test]
    fn edns_as_rfc_6891_wants_it() {
        assert_eq!(rcode(&[(11, 2)], &[QUESTION, OPT, OPT]), Some(Rcode::FORMERR));
        let mut other = OPT.to_vec();
        other[6] = 1;
        assert_eq!(rcode(&[(11, 1)], &[QUESTION, &other]), Some(Rcode::BADVERS));
        assert_eq!(rcode(&[(11, 2)], &[QUESTION, &other, OPT]), Some(Rcode::FORMERR));
        let elsewhere = [&b"\x01x"[..], OPT].concat();
        assert_eq!(rcode(&[(11, 1)], &[QUESTION, &elsewhere]), Some(Rcode::FORMERR));
        let options = |data: &[u8]| [&OPT[..10], &[data.len() as u8], data].concat();
        assert_eq!(rcode(&[(11, 1)], &[QUESTION, &options(b"\xfd\xe9\x00\x02ab")]), Some(Rcode::NOERROR));
        assert_eq!(rcode(&[(11, 1)], &[QUESTION, &options(b"\xfd\xe9\x00\x03ab")]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[(11, 1)], &[QUESTION, &options(b"\x00\x0a\x00")]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[(11, 1)], &[QUESTION, &options(b"\x00\x0a\x00\x02ab")]), Some(Rcode::FORMERR));
        // What the client says of itself is told even with the fault, so that the reply has an OPT.
        let message = message(&[(11, 1)], &[QUESTION, &other]);
        let fault = Query::read(&message).unwrap_err();
        assert!(matches!(fault, Fault::Told { edns: Some(_), question: Some(_), .. }));
    }
}
