//! Numbers of a zone's versions, which go round (RFC 1982).

use std::fmt;

/// The serial of an SOA record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Serial(pub u32);

impl Serial {
    /// Whether a secondary that has `other` would come for this one. Of two that are 2³¹ apart
    /// neither is newer (RFC 1982 §3.2).
    pub fn is_newer_than(self, other: Serial) -> bool {
        let ahead = self.0.wrapping_sub(other.0);
        ahead != 0 && ahead < 1 << 31
    }

    /// The one that many steps on.
    #[must_use]
    pub fn plus(self, steps: u32) -> Serial {
        Serial(self.0.wrapping_add(steps))
    }

    /// This one, if it is newer than `other`; else the one after that.
    #[must_use]
    pub fn at_least_after(self, other: Serial) -> Serial {
        if self.is_newer_than(other) { self } else { other.plus(1) }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_round() {
        let newer = |a, b| Serial(a).is_newer_than(Serial(b));
        assert!(newer(2, 1) && !newer(1, 2) && !newer(1, 1));
        assert!(newer(0, u32::MAX) && newer(5, u32::MAX - 5) && !newer(u32::MAX, 0));
        assert!(newer((1 << 31) - 1, 0) && !newer(1 << 31, 0) && !newer(0, 1 << 31));
        assert_eq!(Serial(7).at_least_after(Serial(9)), Serial(10));
        assert_eq!(Serial(70).at_least_after(Serial(9)), Serial(70));
        assert_eq!(Serial(u32::MAX).plus(1), Serial(0));
    }
}
