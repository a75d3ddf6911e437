//! Why an answer is what it is, for whoever reads along: extended DNS errors (RFC 8914). They
//! change nothing, and are left out where there is no room.

use crate::region::Note;

/// Something to say about an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Explanation {
    /// The name lies in none of our zones, or the class is not ours.
    NotAuthoritative,
    /// The operation or type is not spoken here.
    NotSupported,
    /// Not for this client.
    Prohibited,
    /// A service is answered as [`Note`] says.
    Service(Note),
}

impl Explanation {
    /// What there is to say of a service's answer.
    #[inline]
    pub(super) fn of(note: Note) -> Option<Self> {
        (note != Note::Plain).then_some(Self::Service(note))
    }

    /// The code, and words for a person: up to 40 octets.
    pub(super) fn told(self) -> (u16, &'static str) {
        match self {
            Self::Prohibited => (18, ""),
            Self::NotAuthoritative => (20, ""),
            Self::NotSupported => (21, ""),
            // What was last known is answered, and may be so no longer.
            Self::Service(Note::Held) => (3, "a region cannot be measured"),
            // No code fits: nothing is forged, nothing is missing (RFC 8914 §4.1).
            Self::Service(Note::Forced) => (0, "forced by an operator"),
            Self::Service(Note::Unfit) => (0, "no region is fit to serve"),
            Self::Service(Note::Plain) => (0, ""),
        }
    }
}
