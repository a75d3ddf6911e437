//! Node views → group verdict → each region's standing.
//!
//! A probe tells facts, never a verdict ([`NodeView`]). One pure judgement per group puts the
//! facts of all voters together.

mod standing;
mod view;

pub use standing::{Evidence, Judgement, Standing};
pub use view::{Facts, Linearizable, LinearizableResult, NodeView, PostgresFacts, RaftFacts, Round};
