//! Who answers here: `id.server`, `version.server` and what BIND calls them (RFC 4892), as TXT
//! records of the class CHAOS. What the operator does not tell is refused.

use crate::config::Chaos;
use crate::wire::{Class, Question, RecordType};

/// The text that answers a question in the class CHAOS, if it is told.
#[cold]
pub(super) fn identity<'t>(question: &Question<'_>, chaos: &'t Chaos) -> Option<&'t str> {
    let asks_for_text = matches!(question.rtype, RecordType::TXT | RecordType::ANY);
    if question.class != Class::CH || !asks_for_text {
        return None;
    }
    let is = |name: &[u8]| question.name.eq_ignore_ascii_case(name);
    if is(b"\x02id\x06server\0") || is(b"\x08hostname\x04bind\0") {
        chaos.id.as_deref()
    } else if is(b"\x07version\x06server\0") || is(b"\x07version\x04bind\0") {
        chaos.version.as_deref()
    } else {
        None
    }
}
