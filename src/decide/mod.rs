//! Every input the daemon has × the present → everything it decides, as one fold.

mod event;
mod order;
mod sense;
mod traffic;
mod trigger;
pub mod view;

pub use event::Event;
pub use order::{OVERRIDE_SPAN_MAX, Order, Steer, What};
pub use sense::{Change, GroupState, Senses};
pub use traffic::{Outside, ServiceMemory, Traffic};
pub use trigger::{TriggerState, objection};
