//! A reply as far as its meaning goes: code, flags, and sections as sets, names lower-cased.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use pointsman::base::{Generation, Mistakes, Named, Source};
use pointsman::dns::{Asker, Desk, Transport, answer};
use pointsman::table::{Image, Table};
use pointsman::wire::{Field, Message, Name, Rcode, Record, RecordType, ask, split_rdata};
use pointsman::zone;

/// What counts of a reply.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    pub rcode: Rcode,
    /// AA, TC, …: every flag but those that a server copies from the query.
    pub flags: BTreeSet<String>,
    /// Answer, authority, additional: each record as a line of a master file.
    pub sections: [BTreeSet<String>; 3],
}

pub const ANSWER: usize = 0;
pub const AUTHORITY: usize = 1;
pub const ADDITIONAL: usize = 2;

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.rcode, self.flags)?;
        for section in &self.sections {
            f.write_str("\n  --")?;
            section.iter().try_for_each(|record| write!(f, "\n  {record}"))?;
        }
        Ok(())
    }
}

impl Default for Reply {
    fn default() -> Self {
        Self { rcode: Rcode::NOERROR, flags: BTreeSet::new(), sections: Default::default() }
    }
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        let kept = |word: &&str| !matches!(*word, "rd" | "ra" | "cd");
        Self {
            rcode: message.rcode(),
            flags: message.flag_words().filter(kept).map(str::to_owned).collect(),
            sections: message.sections.map(|section| section.iter().map(line).collect()),
        }
    }
}

/// A record as a line of a master file, its names lower-cased (RFC 4343).
fn line(record: &Record) -> String {
    let mut record = record.clone();
    // Octets of length are below 64, outside the range of letters.
    record.owner.make_ascii_lowercase();
    if let Some(parts) = split_rdata(record.rtype, &record.rdata) {
        let folded = |(field, part): &(Field, &[u8])| {
            if field.is_name() { part.to_ascii_lowercase() } else { part.to_vec() }
        };
        record.rdata = parts.iter().flat_map(folded).collect();
    }
    record.to_string()
}

/// A single zone, compiled.
pub fn table(apex: &Name, text: &str) -> Result<Table, Mistakes> {
    let mut no_files = |_: &Path| Err("no files here".to_owned());
    let (zone, _) = zone::parse(&Source::new("zone", text), apex, &mut no_files)?;
    let (image, _): (Arc<Image>, _) = Image::with_services(&[zone], &Named::default())?;
    Ok(Table::new(Generation(1), image, Vec::new()))
}

/// What the engine answers to a message; `None`: nothing.
pub fn engine(table: &Table, query: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
    let transport = if over_tcp { Transport::Tcp } else { Transport::Udp };
    let asker = Asker { client: [127, 0, 0, 1].into(), transport };
    let (mut out, mut desk) = (vec![0; 65_535], Desk::new(fastrand::Rng::with_seed(1), 0));
    let len = answer(query, &mut out, table, &asker, &mut desk)?;
    out.truncate(len);
    Some(out)
}

/// What the engine answers over a stream.
pub fn ours(table: &Table, name: &Name, rtype: RecordType) -> Message {
    let reply = engine(table, &ask(1, name, rtype, None), true).expect("it answers");
    Message::read(&reply).expect("the answer reads back")
}
