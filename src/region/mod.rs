//! Standings, verdicts and operators' words → health, duty, flips, and what each service answers.

mod choice;

pub use choice::{Choice, Pick};
