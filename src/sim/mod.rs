//! A scenario on virtual time, run through the daemon's own decisions.
//!
//! `scenario` reads the file, `world` models what the daemon would find out there, and `run`
//! moves the clock from event to event. Nothing is simulated of the daemon itself: the fold is
//! the one in [`crate::decide`].

mod run;
mod scenario;
mod world;

pub use run::{Load, run};
pub use scenario::{Scenario, parse};
