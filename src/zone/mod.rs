//! Master file text → [`Zone`] (RFC 1035 §5).
//!
//! `lex` cuts the text into entries and words, `read` makes records of them, `group` brings
//! the records of a name together, and `check` looks at the whole. All mistakes come at once,
//! each with its file, line and column. Nothing here reads a file: the caller hands them over.

mod check;
mod group;
mod lex;
mod model;
mod notes;
mod read;
mod single;

use std::sync::Arc;

pub use model::{Owner, RecordSet, Zone};
pub use read::Include;
pub use single::parse_rdata;

use crate::base::{Mistakes, Place, Source};
use crate::wire::{Name, RecordType};

/// Reads a zone from its master file. `origin` is the zone's apex, and what the first relative
/// names are relative to. `include` hands over the files that `$INCLUDE` names; it is asked for
/// paths below the zone's directory only, never for absolute ones nor through `..`.
///
/// The warnings and the zone itself keep the texts alive, for places in them.
///
/// # Errors
/// Every mistake in it. Warnings come with the zone.
pub fn parse(
    source: &Arc<Source>,
    origin: &Name,
    include: &mut Include<'_>,
) -> Result<(Zone, Mistakes), Mistakes> {
    let mut reader = read::Reader::new(origin, include);
    reader.file(source, origin.as_wire().to_vec());
    let read::Reader { gathered, mut notes, .. } = reader;
    let mut zone = None;
    if !notes.are_fatal() {
        let grouped = gathered.group(&mut notes);
        check::check(&grouped, &Place::whole(source), &mut notes);
        zone = Some(grouped);
    }
    notes.into_mistakes().unless_fatal(zone)
}

/// A zone from records that were read before: sound, and none of them twice.
pub fn restore<'r>(
    origin: &Name,
    records: impl Iterator<Item = (&'r [u8], RecordType, u32, &'r [u8])>,
) -> Zone {
    let mut gathered = group::Gathered::new(origin);
    gathered.start_file(&Source::new(format!("{origin} as it is served"), ""));
    for (owner, rtype, ttl, rdata) in records {
        let (name_at, data_at) = (gathered.names.len(), gathered.data.len());
        gathered.names.extend_from_slice(owner);
        gathered.data.extend_from_slice(rdata);
        // It was no bigger when it was read.
        if let Ok(owner) = gathered.intern(name_at) {
            let _ = gathered.push(owner, rtype, ttl, data_at, 0, 0);
        }
    }
    gathered.group(&mut notes::Notes::default())
}

#[cfg(test)]
mod tests;
