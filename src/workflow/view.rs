//! What people and scripts see of executions and obligations.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ExecutionId;
use super::execution::{Ending, Execution, Hold};
use super::obligation::Obligation;
use super::record::{Cause, ObligationId, Word};
use super::stage::{Phase, Stage};
use crate::base::{Now, Timestamp};

/// How an execution stands, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Something is under way, or will be by itself.
    Running,
    /// It waits, for an operator or because nothing may be done at present.
    Paused,
    /// A stage failed; it ends once nothing is under way.
    Failing,
    /// An operator cancelled it; it ends once nothing is under way.
    Cancelling,
    /// Over: everything was done.
    Succeeded,
    /// Over: some stage was skipped, is owed, or failed without stopping the rest.
    SucceededWithExceptions,
    /// Over: a stage failed.
    Failed,
    /// Over: an operator cancelled it.
    Cancelled,
}

impl State {
    /// Whether it is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::SucceededWithExceptions | Self::Failed | Self::Cancelled)
    }
}

/// One execution.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ExecutionView {
    /// Its id.
    pub id: ExecutionId,
    /// The workflow's name.
    pub workflow: String,
    /// The hash of its file as it was when this began.
    pub hash: String,
    /// Why it was started.
    pub cause: Cause,
    /// The region that is moved to.
    pub activate: String,
    /// The region that is left.
    pub deactivate: String,
    /// How it stands.
    pub state: State,
    /// Why it stands so, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What an operator must decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// When it was admitted.
    pub started: Timestamp,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Its stages, in the order of the file.
    pub stages: Vec<StageView>,
}

/// Something that an operator must decide.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// About which stage; `None`: about the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// What it is about.
    pub what: String,
    /// What may be said.
    pub choices: Vec<Word>,
}

/// One stage.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StageView {
    /// Its name.
    pub name: String,
    /// Who does it.
    pub agent: String,
    /// How it stands: `waiting`, `running`, `backing_off`, `uncertain`, `looking`, `unresolved`,
    /// `asking`, `declined`, `fenced`, `failed`, `applied`, `vouched` (done, says an operator),
    /// `skipped`, `deferred`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The last thing that was heard of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Stages that must be settled before it begins, and are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// When its first call was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// When it is tried, or looked at, again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// What it left for the report.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
}

/// Something owed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ObligationView {
    /// Its id.
    pub id: ObligationId,
    /// The region that is kept out until it is paid.
    pub region: String,
    /// What is owed.
    pub what: String,
    /// The execution that left it.
    pub execution: ExecutionId,
    /// The stage that left it.
    pub stage: String,
    /// Since when.
    pub since: Timestamp,
    /// How often it was tried to be paid.
    pub attempts: u32,
    /// The last thing that was heard of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// It takes an operator's word.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits_for_operator: bool,
}

impl Execution {
    /// How it stands. With `held` nothing may be done at present, for this reason.
    pub fn view(&self, present: Option<(Now, Option<&str>)>) -> ExecutionView {
        let (state, why) = self.state(present.and_then(|(_, held)| held));
        ExecutionView {
            id: self.id.clone(),
            workflow: self.plan.workflow.clone(),
            hash: self.plan.hash.clone(),
            cause: self.cause.clone(),
            activate: self.plan.activate.clone(),
            deactivate: self.plan.deactivate.clone(),
            state,
            why,
            decisions: if state.is_over() { Vec::new() } else { self.decisions() },
            started: self.started,
            ended: None,
            stages: self
                .stages
                .iter()
                .map(|stage| self.stage_view(stage, present.map(|(now, _)| now)))
                .collect(),
        }
    }

    fn state(&self, held: Option<&str>) -> (State, Option<String>) {
        let exceptions: Vec<String> =
            self.exceptions().map(|stage| format!("`{}` {}", stage.plan.name, stage.state())).collect();
        match (&self.ending, self.is_over()) {
            (Some(Ending::Failed { stage, why }), over) => {
                let state = if over { State::Failed } else { State::Failing };
                (state, Some(format!("stage `{stage}` failed: {why}")))
            }
            (Some(Ending::Cancelled(by)), true) => (State::Cancelled, Some(by.to_string())),
            (Some(Ending::Cancelled(by)), false) => (State::Cancelling, Some(by.to_string())),
            (None, true) if exceptions.is_empty() => (State::Succeeded, None),
            (None, true) => (State::SucceededWithExceptions, Some(exceptions.join(", "))),
            (None, false) => match (held, &self.hold) {
                (Some(held), _) => (State::Paused, Some(held.to_owned())),
                (None, Some(Hold::Operator(by))) => (State::Paused, Some(by.to_string())),
                (None, Some(Hold::Timeout)) => {
                    let time = crate::base::show_span(self.plan.timeout);
                    (State::Paused, Some(format!("its time of {time} was up")))
                }
                (None, None) => match self.stages.iter().find(|stage| stage.waits_for_operator()) {
                    Some(stage) => {
                        let why =
                            format!("stage `{}` is {}: {}", stage.plan.name, stage.state(), stage.words);
                        (State::Paused, Some(why))
                    }
                    None => (State::Running, None),
                },
            },
        }
    }

    fn decisions(&self) -> Vec<Decision> {
        let whole = self.hold.as_ref().map(|hold| Decision {
            stage: None,
            what: format!("paused ({hold})"),
            choices: vec![Word::Resume, Word::Cancel],
        });
        let ending = self.ending.is_some();
        let stages = self.stages.iter().filter(|stage| {
            // While it ends, only what may have happened still takes a word.
            stage.waits_for_operator() && (!ending || stage.is_open())
        });
        let stages = stages.map(|stage| {
            let mut choices: Vec<Word> = stage.choices().to_vec();
            if !ending {
                choices.push(Word::Cancel);
            }
            Decision {
                stage: Some(stage.plan.name.clone()),
                what: format!("{}: {}", stage.state(), stage.words),
                choices,
            }
        });
        whole.into_iter().chain(stages).collect()
    }

    fn stage_view(&self, stage: &Stage, now: Option<Now>) -> StageView {
        let until = match &stage.phase {
            Phase::Backoff { until } | Phase::Uncertain { until, .. } => Some(*until),
            _ => None,
        };
        let next = now.zip(until).map(|(now, until)| now.after(until.since(now.mono)).wall);
        let waits_for = match stage.phase {
            Phase::Waiting => {
                let needs = stage.plan.needs.iter().map(|need| &self.stages[*need]);
                needs.filter(|need| !need.is_settled()).map(|need| need.plan.name.clone()).collect()
            }
            _ => Vec::new(),
        };
        StageView {
            name: stage.plan.name.clone(),
            agent: stage.plan.op.agent().to_owned(),
            state: stage.state().to_owned(),
            attempts: stage.attempts,
            why: stage.words.clone(),
            waits_for,
            began: stage.began,
            ended: stage.ended,
            next,
            outputs: stage.outputs.clone(),
        }
    }
}

impl Obligation {
    /// How it stands.
    pub fn view(&self, now: Now) -> ObligationView {
        let next = self.next_try().map(|until| now.after(until.since(now.mono)).wall);
        ObligationView {
            id: self.id,
            region: self.owed.region.clone(),
            what: self.owed.what.clone(),
            execution: self.execution.clone(),
            stage: self.stage.clone(),
            since: self.since,
            attempts: self.attempts,
            why: self.words.clone(),
            next,
            waits_for_operator: self.waits_for_operator(),
        }
    }
}

impl ExecutionView {
    /// From its admission to its end, on the wall clock.
    pub fn took(&self) -> Option<Duration> {
        Duration::try_from(self.ended?.duration_since(self.started)).ok()
    }
}
