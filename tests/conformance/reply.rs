//! A reply as far as its meaning goes: code, flags, and sections as sets, names lower-cased.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use pointsman::base::{Generation, Mistakes, Named, Source};
use pointsman::dns::{Asker, Desk, Transport, answer};
use pointsman::table::{Image, Table};
use pointsman::wire::{Message, Name, Rcode, Record, RecordType, ask};
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

/// A record in one spelling: lower-cased, one blank between words.
fn line(record: &Record) -> String {
    one_spelling(&record.to_string())
}

/// The same for a line that somebody else wrote.
pub fn one_spelling(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase()
}

/// A single zone, compiled.
pub fn table(apex: &Name, text: &str) -> Result<Table, Mistakes> {
    let mut no_files = |_: &Path| Err("no files here".to_owned());
    let (zone, _) = zone::parse(&Source::new("zone", text), apex, &mut no_files)?;
    let (image, _): (Arc<Image>, _) = Image::with_services(&[zone], &Named::default())?;
    Ok(Table::new(Generation(1), image, Vec::new()))
}

/// What the engine answers over a stream.
pub fn ours(table: &Table, name: &Name, rtype: RecordType) -> Message {
    let asker = Asker { client: [127, 0, 0, 1].into(), transport: Transport::Tcp };
    let (mut out, mut desk) = (vec![0; 65_535], Desk::new(fastrand::Rng::with_seed(1), 0));
    let query = ask(1, name, rtype, None);
    let len = answer(&query, &mut out, table, &asker, &mut desk).expect("it answers");
    Message::read(&out[..len]).expect("the answer reads back")
}
