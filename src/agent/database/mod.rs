//! Gives the writer role of a PostgreSQL cluster to a region, or takes it away. Never are two
//! nodes writable for applications at once while the old one can be reached.
//!
//! ```text
//!  look at every node ─► refuse what could not end well, before anything is changed
//!   │
//!   ├─ the old writer answers ───► fence it ─► wait until the standby has replayed the fence ─┐
//!   │                                                                                         ▼
//!   └─ it does not ─► ask, or go on if told to ─► wait until all that came is replayed ──► promote
//!                     (and owe it the fence)                                                  │
//!                                         done ◄─ prove a write ◄─ give logins back ◄─ verify ┘
//! ```
//! The fence: application roles lose LOGIN, their sessions are ended until none is left, and an
//! attempt to log in as one of them is refused. (`default_transaction_read_only` is no fence:
//! any session can switch it off.) `ALTER ROLE` is written to the log like everything else, and
//! travels to the standby with it. So the names of the roles that were shut out are written
//! down beside it, in the same transaction, and the promotion gives their LOGIN back on the new
//! writer in one transaction with the fence record. If the old writer was lost before its fence
//! reached the standby, nothing is written down there and there is nothing to give back.
//! Between the two, applications that only read at a standby cannot log in there either.
//!
//! Every step is idempotent. A later attempt finds what an earlier one has done and goes on
//! from there; an attempt with a newer token ends the sessions of an older one first.

mod fence;
mod lock;
mod node;
mod observe;
mod proof;
mod reader;
mod record;
mod scene;
mod sessions;
mod takeover;
mod words;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use crate::io::postgres::SqlFailure;
use crate::io::{Class, Deadline, Failure, Net};
use crate::workflow::{Act, Call, DatabaseNode, DatabaseOp, DatabaseRole, Outcome, Retry};

use super::not_applied;

/// For how long one statement may take.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(10);

/// What every step needs to know.
#[derive(Debug)]
struct Task {
    net: Net,
    call: Call,
    op: DatabaseOp,
    deadline: Deadline,
}

impl Task {
    /// By when a statement must be done.
    fn statement(&self) -> Deadline {
        self.deadline.within(STATEMENT_TIME_MAX)
    }

    /// The nodes of the region that is meant.
    fn own_nodes(&self) -> impl Iterator<Item = &DatabaseNode> {
        self.op.nodes.iter().filter(|node| node.region == self.op.region)
    }
}

pub(super) async fn perform(net: &Net, call: &Call, op: &DatabaseOp, deadline: Deadline) -> Outcome {
    let task = Arc::new(Task { net: net.clone(), call: call.clone(), op: op.clone(), deadline });
    if task.own_nodes().next().is_none() {
        let why = format!("`{}` has no node in {}", op.cluster, op.region);
        return not_applied(why, Retry::Never);
    }
    match (call.act, op.role) {
        (Act::Apply, DatabaseRole::Writer) => writer::apply(&task).await,
        (Act::Apply, DatabaseRole::Reader) => reader::apply(&task).await,
        (Act::Observe, DatabaseRole::Writer) => observe::writer(&task).await,
        (Act::Observe, DatabaseRole::Reader) => observe::reader(&task).await,
    }
}

/// The outcome of a statement that failed before the thing was done.
fn stopped(doing: &str, error: &SqlFailure) -> Outcome {
    not_applied(format!("{doing}: {error}"), Retry::Backoff)
}

/// The outcome for a node that cannot be talked to, before anything was sent to it.
fn out_of_reach(region: &str, failure: &Failure) -> Outcome {
    let reason = format!("{region}: {}", failure.words);
    match failure.class {
        Class::Refused | Class::Silent | Class::Unmeasured => Outcome::Unreachable { reason },
        Class::Denied | Class::Rubbish => not_applied(reason, Retry::Backoff),
    }
}
