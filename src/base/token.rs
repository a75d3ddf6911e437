//! The fencing token.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The fencing token: the store's epoch, and the journal index of the intent. A target that
/// has seen a higher one refuses a lower one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Token {
    /// Grows with every start of the daemon that owns the store.
    pub epoch: u64,
    /// Grows with every record of the journal.
    pub index: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.index)
    }
}
