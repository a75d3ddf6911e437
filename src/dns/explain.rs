//! Why an answer is what it is, for whoever reads along: extended DNS errors (RFC 8914). They
//! change nothing, and are left out where there is no room.

/// Something to say about an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Explanation {
    /// The name lies in none of our zones, or the class is not ours.
    NotAuthoritative,
    /// The operation or type is not spoken here.
    NotSupported,
    /// Not for this client.
    Prohibited,
}

impl Explanation {
    /// The code, and words for a person: up to 40 octets.
    pub(super) fn told(self) -> (u16, &'static str) {
        match self {
            Self::Prohibited => (18, ""),
            Self::NotAuthoritative => (20, ""),
            Self::NotSupported => (21, ""),
        }
    }
}
