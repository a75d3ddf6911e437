//! Every input the daemon has × the present → everything it decides, as one fold.

mod sense;
mod traffic;

pub use sense::{Change, GroupState, Senses};
pub use traffic::{Outside, ServiceMemory, Traffic};
