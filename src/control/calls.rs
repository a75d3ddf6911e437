//! Calls to agents that are under way.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};
use tracing::{error, info};

use super::telemetry;
use crate::agent::Agents;
use crate::base::{Mono, show_span};
use crate::io::Clock;
use crate::workflow::{Act, Call, Outcome};

/// Calls, each in a task of its own, so that none waits for another.
pub(super) struct Calls {
    agents: Agents,
    tasks: JoinSet<Outcome>,
    under_way: HashMap<Id, (Call, Mono)>,
}

impl Calls {
    pub(super) fn new(agents: Agents) -> Self {
        Self { agents, tasks: JoinSet::new(), under_way: HashMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn perform(&mut self, call: Call) {
        let what = match call.act {
            Act::Apply => "is performed",
            Act::Observe => "is looked at",
        };
        info!(
            event = "workflow.call", execution = %call.execution, stage = %call.stage, attempt = call.attempt,
            token = %call.token, "{}/{} {what} (attempt {})", call.execution, call.stage, call.attempt
        );
        let (agents, task_call) = (self.agents.clone(), call.clone());
        let task = self.tasks.spawn(async move { agents.perform(&task_call).await });
        self.under_way.insert(task.id(), (call, Clock.mono()));
    }

    /// Waits for the next one that ends; none are under way: `None`. Dropped while it waits, it
    /// loses nothing.
    pub(super) async fn ended(&mut self) -> Option<(Call, Outcome)> {
        let (id, outcome) = match self.tasks.join_next_with_id().await? {
            Ok(ended) => ended,
            Err(broken) => {
                // A panic in an agent: it may have got as far as its target.
                let reason = format!("the agent broke: {broken}");
                error!(%reason, "an agent panicked");
                (broken.id(), Outcome::Unknown { reason })
            }
        };
        let (call, began) = self.under_way.remove(&id).expect("noted when its task was started");
        let (word, words) = outcome.words();
        let took = Clock.mono().since(began);
        telemetry::call(workflow_of(&call), &call.stage, word, took);
        info!(
            event = "workflow.outcome", execution = %call.execution, stage = %call.stage, attempt = call.attempt,
            outcome = word, "{}/{}: {word} after {}: {words}", call.execution, call.stage, show_span(took)
        );
        Some((call, outcome))
    }

    /// Ends all of them where they stand.
    pub(super) fn abort(&mut self) {
        self.tasks.abort_all();
    }
}

fn workflow_of(call: &Call) -> &str {
    // An id is the workflow's name, a number and a tag.
    call.execution.0.rsplitn(3, '-').last().unwrap_or_default()
}
