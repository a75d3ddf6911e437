//! Call → outcome: one file per agent.
//!
//! The honesty of the outcome is the product. What could not be sent did not happen; what was
//! sent and not answered may have happened, and says so, whatever the target's health. Nothing
//! is retried here: whoever calls decides, with the outcome in its journal.

mod capacity;
mod database;
mod exec;
mod http;
mod notify;
mod wait;
mod web;

use std::collections::BTreeMap;

use crate::io::{Clock, Net};
use crate::workflow::{Call, Op, Outcome, Retry};

/// All agents of this process.
#[derive(Clone, Debug)]
pub struct Agents {
    net: Net,
}

impl Agents {
    /// Agents that reach out through this.
    pub fn new(net: Net) -> Self {
        Self { net }
    }

    /// Performs a call. Ends by the call's timeout, give or take a goodbye; dropping it breaks
    /// off, and the outcome is unknown.
    pub async fn perform(&self, call: &Call) -> Outcome {
        let deadline = Clock.deadline(call.timeout);
        match &call.op {
            Op::Capacity(op) => capacity::perform(&self.net, call, op, deadline).await,
            Op::Exec(op) => exec::perform(call, op, deadline).await,
            Op::Http(op) => http::perform(&self.net, call, op, deadline).await,
            Op::Notify(op) => notify::perform(&self.net, call, op, deadline).await,
            Op::Wait(op) => wait::perform(&self.net, call, op, deadline).await,
            Op::Database(op) => database::perform(&self.net, call, op, deadline).await,
            Op::Dial(_) => {
                not_applied("the daemon itself sets the shares of traffic; no agent does", Retry::Never)
            }
        }
    }
}

/// What a step has brought, or the outcome that was reached before the end.
type Step<T> = Result<T, Outcome>;

fn applied(detail: impl Into<String>) -> Outcome {
    Outcome::Applied { detail: detail.into(), outputs: BTreeMap::new(), owed: None }
}

fn not_applied(reason: impl Into<String>, retry: Retry) -> Outcome {
    Outcome::NotApplied { reason: reason.into(), retry }
}

fn unknown(reason: impl Into<String>) -> Outcome {
    Outcome::Unknown { reason: reason.into() }
}
