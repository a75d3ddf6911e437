//! Standings, verdicts and operators' words → health, duty, flips, and what each service answers.

mod assess;
mod audience;
mod bounds;
mod choice;
mod choose;
mod duty;
mod explain;
mod flip;
mod idle;
mod layers;
mod membership;
mod note;
mod outlook;
mod sight;
mod tree;

pub use assess::{Assessment, CheckState, Why, assess};
pub use audience::{Audience, UNKNOWN};
pub use bounds::{Detection, Guarantee, JITTER, detection, guarantee, place_detection};
pub use choice::{Choice, Outcome, Pick, Sticky};
pub use choose::{Among, Dial, Rule, Scene, Serving, choose, initial};
pub use duty::{Duty, Override, OverrideKind};
pub use explain::{Reason, branch, reasons, rule_words, share};
pub use flip::{Flip, Known, RegionState};
pub use idle::idle_rules;
pub use layers::{Tally, breaks_in, mends_in};
pub use membership::{Membership, Seat};
pub use note::Note;
pub use outlook::{CONFIRM_MAX, Outlook};
pub use sight::{Blindness, Sight, Source};
pub use tree::Tree;
