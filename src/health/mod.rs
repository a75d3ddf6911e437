//! Samples → verdicts: how many results in a row make a check pass or fail.

mod sample;
mod window;

pub use sample::{Finding, Sample};
pub use window::{Verdict, Window};
