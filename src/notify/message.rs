//! The message that tells of another version, and its answer (RFC 1996 §3).

use crate::transfer::Records;
use crate::wire::{Class, HEADER_OCTETS, Name, Opcode, Rcode, RecordType};

const QR: u8 = 0x80;
const AA: u8 = 0x04;

/// Tells of a version of a zone, given its SOA record in full.
pub(super) fn notice(id: u16, zone: &Name, soa: &[u8]) -> Vec<u8> {
    let answers = u8::from(Records(soa).next().is_some());
    let mut notice = id.to_be_bytes().to_vec();
    notice.extend([Opcode::NOTIFY.0 << 3 | AA, 0, 0, 1, 0, answers, 0, 0, 0, 0]);
    notice.extend_from_slice(zone.as_wire());
    notice.extend(RecordType::SOA.0.to_be_bytes());
    notice.extend(Class::IN.0.to_be_bytes());
    // A hint: the server still asks for itself (§3.7).
    notice.extend_from_slice(soa);
    notice
}

/// Whether this is an answer to the notice with this id.
pub(super) fn answers(answer: &[u8], id: u16) -> bool {
    let Some(&[high, low, flags, ..]) = answer.first_chunk::<HEADER_OCTETS>() else { return false };
    u16::from_be_bytes([high, low]) == id && flags & QR != 0 && Opcode(flags >> 3 & 15) == Opcode::NOTIFY
}

/// Whether the server took notice.
pub(super) fn verdict(answer: &[u8]) -> Result<(), String> {
    let rcode = Rcode(u16::from(answer.get(3).copied().unwrap_or_default() & 15));
    match rcode {
        Rcode::NOERROR => Ok(()),
        rcode => Err(format!("it answers {rcode}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::push_record;
    use crate::wire::Message;

    #[test]
    fn a_notice_names_zone_and_version() {
        let zone = Name::parse("example.com").unwrap();
        let mut soa = Vec::new();
        let data = [&b"\x01n\x00\x01h\x00"[..], &[0, 0, 0, 7], &[0; 16]].concat();
        push_record(&mut soa, zone.as_wire(), RecordType::SOA, 60, &data);
        let message = Message::read(&notice(7, &zone, &soa)).unwrap();
        assert_eq!((message.id, message.opcode()), (7, Opcode::NOTIFY));
        assert_eq!(message.questions[0].1, RecordType::SOA);
        assert_eq!(message.sections[0].len(), 1);
        assert_eq!(message.flag_words().collect::<Vec<_>>(), ["aa"]);
    }

    #[test]
    fn only_its_own_answer_counts() {
        let mut answer = notice(7, &Name::parse("x").unwrap(), &[]);
        assert!(!answers(&answer, 7), "the notice itself is none");
        answer[2] |= QR;
        assert!(answers(&answer, 7) && !answers(&answer, 8) && !answers(&answer[..11], 7));
        assert_eq!(verdict(&answer), Ok(()));
        answer[3] = Rcode::NOTAUTH.0 as u8;
        assert_eq!(verdict(&answer), Err("it answers NOTAUTH".to_owned()));
        answer[2] = QR;
        assert!(!answers(&answer, 7), "an answer to a question");
    }
}
