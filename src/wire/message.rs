//! A whole message taken apart, for people and tests: allocates freely, trusts nothing.

use std::fmt;

use super::query::HEADER_OCTETS;
use super::{Class, Name, Opcode, Rcode, RecordType, ShowName, ShowRdata, expand_name, expand_rdata};

/// A message taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Chosen by the client.
    pub id: u16,
    /// The 16 bits behind it (RFC 1035 §4.1.1).
    pub flags: u16,
    /// What is asked: name in wire form, its case kept; type; class.
    pub questions: Vec<(Vec<u8>, RecordType, Class)>,
    /// Answer, authority and additional section, the OPT record left out.
    pub sections: [Vec<Record>; 3],
    /// The OPT record, if there is one.
    pub opt: Option<Opt>,
}

/// A record of a message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Record {
    /// Its owner in wire form, case kept.
    pub owner: Vec<u8>,
    /// Its type.
    pub rtype: RecordType,
    /// Its class.
    pub class: Class,
    /// For how long it may be kept, in seconds.
    pub ttl: u32,
    /// Its data, names uncompressed.
    pub rdata: Vec<u8>,
}

/// The OPT record (RFC 6891 §6.1.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opt {
    /// The largest UDP payload the sender takes.
    pub payload: u16,
    /// The upper eight bits of the response code.
    pub rcode_high: u8,
    /// The version of EDNS.
    pub version: u8,
    /// Flags, DO the highest.
    pub flags: u16,
    /// Options: code and value.
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Message {
    /// Takes a message apart.
    ///
    /// # Errors
    /// A sentence that says which part cannot be read.
    pub fn read(message: &[u8]) -> Result<Self, String> {
        let header = message.first_chunk::<HEADER_OCTETS>().ok_or("shorter than a header")?;
        let (shorts, _) = header.as_chunks();
        let &[id, flags, questions, answers, authorities, additionals] = shorts else {
            return Err("shorter than a header".into());
        };
        let mut reader = Reader { message, at: HEADER_OCTETS };
        let mut read = Self {
            id: u16::from_be_bytes(id),
            flags: u16::from_be_bytes(flags),
            questions: Vec::new(),
            sections: Default::default(),
            opt: None,
        };
        for n in 1..=u16::from_be_bytes(questions) {
            let question = reader.question().ok_or_else(|| format!("question {n} cannot be read"))?;
            read.questions.push(question);
        }
        let counts = [(answers, "answer"), (authorities, "authority"), (additionals, "additional")];
        for (section, (count, what)) in counts.into_iter().enumerate() {
            for n in 1..=u16::from_be_bytes(count) {
                let record = reader.record().ok_or_else(|| format!("{what} record {n} cannot be read"))?;
                if record.rtype != RecordType::OPT {
                    read.sections[section].push(record);
                    continue;
                }
                if section != 2 || record.owner != [0] {
                    return Err("the OPT record is out of its place".into());
                }
                let opt = Opt::read(&record).ok_or("the options cannot be read")?;
                if read.opt.replace(opt).is_some() {
                    return Err("there are two OPT records".into());
                }
            }
        }
        match message.len() - reader.at {
            0 => Ok(read),
            left => Err(format!("{left} octets are left over")),
        }
    }

    /// How it went, the upper bits from the OPT record.
    pub fn rcode(&self) -> Rcode {
        let high = self.opt.as_ref().map_or(0, |opt| u16::from(opt.rcode_high));
        Rcode(high << 4 | self.flags & 15)
    }

    /// What it asks for.
    pub fn opcode(&self) -> Opcode {
        Opcode((self.flags >> 11 & 15) as u8)
    }

    /// The flags that are set, as `dig` names them.
    pub fn flag_words(&self) -> impl Iterator<Item = &'static str> {
        const WORDS: [(u16, &str); 7] =
            [(15, "qr"), (10, "aa"), (9, "tc"), (8, "rd"), (7, "ra"), (5, "ad"), (4, "cd")];
        let flags = self.flags;
        WORDS.into_iter().filter(move |(bit, _)| flags >> bit & 1 != 0).map(|(_, word)| word)
    }
}

impl Opt {
    fn read(record: &Record) -> Option<Self> {
        let [rcode_high, version, high, low] = record.ttl.to_be_bytes();
        let mut options = Vec::new();
        let mut rest = &record.rdata[..];
        while !rest.is_empty() {
            let ([a, b, c, d], after) = rest.split_first_chunk()?;
            let (value, after) = after.split_at_checked(usize::from(u16::from_be_bytes([*c, *d])))?;
            options.push((u16::from_be_bytes([*a, *b]), value.to_vec()));
            rest = after;
        }
        let flags = u16::from_be_bytes([high, low]);
        Some(Self { payload: record.class.0, rcode_high, version, flags, options })
    }
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn question(&mut self) -> Option<(Vec<u8>, RecordType, Class)> {
        let name = self.name()?;
        Some((name, RecordType(self.short()?), Class(self.short()?)))
    }

    fn record(&mut self) -> Option<Record> {
        let owner = self.name()?;
        let (rtype, class) = (RecordType(self.short()?), Class(self.short()?));
        let ttl = u32::from(self.short()?) << 16 | u32::from(self.short()?);
        let len = usize::from(self.short()?);
        let mut rdata = Vec::with_capacity(len);
        expand_rdata(rtype, self.message, self.at, len, &mut rdata)?;
        self.at += len;
        Some(Record { owner, rtype, class, ttl, rdata })
    }

    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        self.at += expand_name(self.message, self.at, &mut name)?;
        Some(name)
    }

    fn short(&mut self) -> Option<u16> {
        let two = self.message.get(self.at..)?.first_chunk()?;
        self.at += 2;
        Some(u16::from_be_bytes(*two))
    }
}

/// What a query says by EDNS.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AskEdns {
    /// The largest UDP payload the client takes.
    pub payload: u16,
    /// Whether it wants signatures.
    pub dnssec_ok: bool,
    /// Options: code and value.
    pub options: Vec<(u16, Vec<u8>)>,
}

/// Writes a query: recursion not asked for, EDNS with this UDP payload if any.
pub fn ask(id: u16, name: &Name, rtype: RecordType, payload: Option<u16>) -> Vec<u8> {
    let edns = payload.map(|payload| AskEdns { payload, ..AskEdns::default() });
    ask_by_edns(id, name, rtype, edns.as_ref())
}

/// [`ask`] with all that EDNS can say. Options of more than 64 KiB are cut off.
pub fn ask_by_edns(id: u16, name: &Name, rtype: RecordType, edns: Option<&AskEdns>) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_OCTETS + name.as_wire().len() + 4 + 11);
    message.extend(id.to_be_bytes());
    message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
    message.extend_from_slice(name.as_wire());
    message.extend(rtype.0.to_be_bytes());
    message.extend(Class::IN.0.to_be_bytes());
    if let Some(edns) = edns {
        let mut options = Vec::new();
        for (code, value) in &edns.options {
            let after = options.len() + 4 + value.len();
            if after > usize::from(u16::MAX) {
                break;
            }
            options.extend(code.to_be_bytes());
            options.extend((value.len() as u16).to_be_bytes());
            options.extend(value);
        }
        message.push(0);
        message.extend(RecordType::OPT.0.to_be_bytes());
        message.extend(edns.payload.to_be_bytes());
        message.extend([0, 0, u8::from(edns.dnssec_ok) << 7, 0]);
        message.extend((options.len() as u16).to_be_bytes());
        message.extend(options);
    }
    message
}

impl fmt::Display for Record {
    /// As a line of a master file, tabs between the parts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rtype, class, ttl, .. } = self;
        let rdata = ShowRdata { rtype: *rtype, rdata: &self.rdata };
        write!(f, "{}\t{ttl}\t{class}\t{rtype}\t{rdata}", ShowName(&self.owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_part_is_broken() {
        let query = ask(1, &Name::parse("x").unwrap(), RecordType::A, Some(512));
        assert!(Message::read(&query).is_ok());
        for len in 0..query.len() {
            assert!(Message::read(&query[..len]).is_err(), "{len}");
        }
        let left = [&query[..], b"x"].concat();
        assert_eq!(Message::read(&left).unwrap_err(), "1 octets are left over");
        let mut answered = query.clone();
        answered[7] = 1;
        assert!(Message::read(&answered).unwrap_err().contains("OPT"));
    }

    #[test]
    fn a_code_above_fifteen_takes_both_halves() {
        let mut reply = ask(1, &Name::parse("x").unwrap(), RecordType::A, Some(512));
        let len = reply.len();
        reply[len - 6] = 1;
        assert_eq!(Message::read(&reply).unwrap().rcode(), Rcode::BADVERS);
    }
}
