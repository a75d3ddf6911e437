//! Flip → execution → calls: what to do, in which order, exactly once.

mod call;
mod file;
mod model;
mod op;
mod plan;

pub use call::{Act, Call, ExecutionId, Outcome, Owed, Retry, Token};
pub use file::parse;
pub use model::{Care, Form, Jitter, OnFailure, RetryPolicy, Shares, Side, Spec, Stage, Target, Workflow};
pub use op::{
    ApplicationOp, CapacityOp, DatabaseNode, DatabaseOp, DatabaseRole, DialOp, ExecOp, HttpObserve, HttpOp,
    NotifyOp, Op, Text, Until, WaitOp,
};
pub use plan::{Ends, Plan, PlannedStage, Unplannable, Wish};
