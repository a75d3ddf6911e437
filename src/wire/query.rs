//! A query as it came off the wire: looked at in place, nothing copied, nothing allocated.
//!
//! What is no proper query is sorted here, once and exactly:
//!
//! | message | verdict |
//! |---|---|
//! | shorter than a header, or a response (QR=1) | silence: an answer could start a loop |
//! | another opcode than QUERY | NOTIMP (RFC 1035 §4.1.1), header alone: what follows is not known |
//! | no question, or more than one | FORMERR (RFC 9619 §4), header alone |
//! | a question that cannot be read | FORMERR, header alone |
//! | records before the additional section (IXFR's one SOA apart) | FORMERR |
//! | records that cannot be read, octets left over | FORMERR |
//! | something behind a TSIG record | FORMERR (RFC 8945 §5.1) |
//! | two OPT records, one not at the root, options cut short | FORMERR (RFC 6891 §6.1.1) |
//! | EDNS version above 0 | BADVERS (RFC 6891 §6.1.3) |

use super::{Class, Opcode, Rcode, RecordType, name_len};

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
    pub signed: bool,
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
    /// Options: well formed, unless this is part of a [`Fault`].
    pub options: &'a [u8],
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
        if Opcode(flags >> 3 & 15) != Opcode::QUERY {
            return Err(told(Rcode::NOTIMP, None, None));
        }
        if (qd_high, qd_low) != (0, 1) {
            return Err(told(Rcode::FORMERR, None, None));
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
        let mut edns: Option<(Edns<'a>, u8)> = None;
        let mut signed = false;
        for _ in 0..u16::from_be_bytes([ar_high, ar_low]) {
            let told_edns = edns.map(|(edns, _)| edns);
            let (record, after) = Record::read(records).ok_or(malformed(told_edns))?;
            records = after;
            // Nothing comes behind a signature (RFC 8945 §5.1).
            if signed {
                return Err(malformed(told_edns));
            }
            if record.rtype == RecordType::OPT {
                if told_edns.is_some() || !record.at_root {
                    return Err(malformed(told_edns));
                }
                let [_, version, flags, _] = record.ttl;
                let dnssec_ok = flags & 0x80 != 0;
                edns = Some((Edns { payload: record.class, dnssec_ok, options: record.data }, version));
            } else {
                signed = record.rtype == RecordType::TSIG;
            }
        }
        let Some((edns, version)) = edns else {
            return if records.is_empty() {
                Ok(Query { question, edns: None, signed })
            } else {
                Err(malformed(None))
            };
        };
        if !records.is_empty() {
            return Err(malformed(Some(edns)));
        }
        if version > 0 {
            return Err(told(Rcode::BADVERS, Some(question), Some(edns)));
        }
        if !are_options(edns.options) {
            return Err(malformed(Some(edns)));
        }
        Ok(Query { question, edns: Some(edns), signed })
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

/// Whether these octets are options from the first to the last (RFC 6891 §6.1.2).
#[inline]
fn are_options(mut octets: &[u8]) -> bool {
    while let Some(([_, _, high, low], rest)) = octets.split_first_chunk() {
        match rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) {
            Some(after) => octets = after,
            None => return false,
        }
    }
    octets.is_empty()
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
        assert_eq!(query.edns, Some(Edns { payload: 4096, dnssec_ok: true, options: &[] }));
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
        assert_eq!(rcode(&[(11, 1)], &[QUESTION, &options(b"\x00\x0a\x00\x02ab")]), Some(Rcode::NOERROR));
        assert_eq!(rcode(&[(11, 1)], &[QUESTION, &options(b"\x00\x0a\x00\x03ab")]), Some(Rcode::FORMERR));
        assert_eq!(rcode(&[(11, 1)], &[QUESTION, &options(b"\x00\x0a\x00")]), Some(Rcode::FORMERR));
        // What the client says of itself is told even with the fault, so that the reply has an OPT.
        let message = message(&[(11, 1)], &[QUESTION, &other]);
        let fault = Query::read(&message).unwrap_err();
        assert!(matches!(fault, Fault::Told { edns: Some(_), question: Some(_), .. }));
    }
}
