//! Every input the daemon has × the present → everything it decides, as one fold.
//!
//! `sense` turns samples into flips, `traffic` turns flips and operators' words into choices,
//! `trigger` starts workflows, `daemon` puts them together with the workflow engine and the
//! table, and `view` shows it. Nothing here waits, and nothing here has a clock.

mod conclude;
mod daemon;
mod event;
mod journal;
mod order;
mod obey;
mod sense;
mod setup;
mod show;
mod traffic;
mod trigger;
pub mod view;
mod zones;

pub use daemon::{Aftermath, Daemon, Effects, Restored, Said};
pub use event::{Answer, Event};
pub use journal::Write;
pub use order::{OVERRIDE_SPAN_MAX, Order, What};
pub use sense::{Change, GroupState, Senses};
pub use setup::Setup;
pub use traffic::{Moved, Outside, ServiceMemory, Traffic};
pub use trigger::{TriggerState, objection, target_objection};
