//! Standings, verdicts and operators' words → health, duty, flips, and what each service answers.

mod assess;
mod bounds;
mod choice;
mod choose;
mod duty;
mod explain;
mod flip;
mod membership;
mod note;

pub use assess::{Assessment, CheckState, Why, assess};
pub use bounds::{Detection, Guarantee, JITTER, detection, guarantee, region_detection};
pub use choice::{Choice, Pick};
pub use choose::{Among, Dial, Rule, Scene, choose, initial_dial};
pub use duty::{Duty, Override, OverrideKind};
pub use explain::{Reason, reasons, rule_words};
pub use flip::{Flip, Known, RegionState};
pub use membership::{Membership, Seat};
pub use note::Note;
