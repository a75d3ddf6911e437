//! Every input the daemon has × the present → everything it decides, as one fold.

mod sense;

pub use sense::{Change, GroupState, Senses};
