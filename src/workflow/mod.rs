//! Flip → execution → calls: what to do, in which order, exactly once.
//!
//! A file becomes a [`Workflow`] ([`parse`]), a workflow between two regions a [`Plan`], and a
//! plan an execution in the [`Engine`], which folds the journal's [`Record`]s and tells what to
//! write and whom to call next. `judge` decides what follows from an outcome, `stage`,
//! `execution` and `obligation` are the state machines, `view` is what people see.

mod call;
mod engine;
mod execution;
mod file;
mod judge;
mod model;
mod obligation;
mod op;
mod plan;
mod record;
mod stage;
mod view;

pub use call::{Act, Call, ExecutionId, Outcome, Owed, Retry, Token};
pub use engine::{
    Done, EXECUTIONS_MAX, Engine, Entry, Gate, Heard, Implausible, Mark, Receipt, Refusal, SETTLED_MAX, Step,
};
pub use file::parse;
pub use judge::{DEFER_AFTER, Recovery, recovery};
pub use model::{Care, Form, Jitter, OnFailure, RetryPolicy, Shares, Side, Spec, Stage, Target, Workflow};
pub use op::{
    ApplicationOp, CapacityOp, DatabaseNode, DatabaseOp, DatabaseRole, DialOp, ExecOp, HttpObserve, HttpOp,
    NotifyOp, Op, Text, Until, WaitOp,
};
pub use plan::{Ends, Plan, PlannedStage, Unplannable, Wish};
pub use record::{
    Answer, By, Cause, Expired, Intent, ObligationId, Order, Owes, Record, Replayed, Stamp, Started, Subject,
    Then, Thread, Word,
};
pub use view::{Decision, ExecutionView, ObligationView, StageView, State};
