//! Flip → execution → calls: what to do, in which order, exactly once.

mod call;
mod op;

pub use call::{Act, Call, ExecutionId, Outcome, Owed, Retry, Token};
pub use op::{
    ApplicationOp, CapacityOp, DatabaseNode, DatabaseOp, DatabaseRole, DialOp, ExecOp, HttpObserve, HttpOp,
    NotifyOp, Op, Text, Until, WaitOp,
};
