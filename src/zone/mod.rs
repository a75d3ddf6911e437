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
use crate::wire::Name;

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

#[cfg(test)]
mod tests;
