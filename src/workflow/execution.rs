//! One execution: its stages, and what is to be done next.
//!
//! ```text
//!                        ┌────────── resume, or an operator's word to the stage ─┐
//!                        ▼                                                       │
//!  started ──────────► Running ──operator, time is up, a stage that holds all──► Paused
//!                        │ │ │                                                   │
//!         all settled ◄──┘ │ └── a stage fails and aborts ─► Failing             │ cancel
//!              │           └──── cancel ──────────────────► Cancelling ◄─────────┘
//!              ▼                                               │ nothing is under way,
//!   Succeeded, or with exceptions                              ▼ and nothing uncertain
//!                                                     Failed, or Cancelled
//! ```
//! While it is paused, nothing new is done; what is under way ends, and looks go on, because
//! they change nothing. What comes next is computed from this state each time, and kept
//! nowhere else.

use super::record::{By, Cause, Expired, Intent, Order, Owes, Record, Stamp, Started, Subject, Then, Word};
use super::stage::{Illegal, Phase, Settled, Stage};
use super::{Act, Answer, Call, DatabaseRole, ExecutionId, OnFailure, Op, Outcome, Owed, Plan, Retry, Token};
use crate::base::{Mono, Timestamp};
use std::time::Duration;

/// One execution that is not over.
#[derive(Clone, Debug)]
pub(super) struct Execution {
    pub id: ExecutionId,
    pub cause: Cause,
    pub plan: Plan,
    pub started: Timestamp,
    pub stages: Vec<Stage>,
    pub hold: Option<Hold>,
    pub ending: Option<Ending>,
    /// Since when its time runs.
    clock: Mono,
    /// When it must be looked at again; in the past when it must be looked at now.
    pub look_at: Mono,
}

/// Why a whole execution stands still.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// An operator said so.
    Operator(By),
    /// Its time was up.
    Timeout,
}

/// How an execution is going to end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// This stage failed.
    Failed { stage: String, why: String },
    /// An operator said so.
    Cancelled(By),
}

/// What surrounds a decision.
pub(super) struct Around<'a> {
    pub now: Mono,
    /// The epoch of this process: intents of an earlier one are nobody's any more.
    pub epoch: u64,
    /// New calls may be planned: their intents may be written.
    pub plan: bool,
    /// New calls may be made, and time counts.
    pub open: bool,
    pub rng: &'a mut fastrand::Rng,
}

/// What is to be done next.
#[derive(Debug, Default)]
pub(super) struct Next {
    pub records: Vec<Record>,
    pub calls: Vec<(usize, Call)>,
    pub wake: Option<Mono>,
}

impl Next {
    pub fn wake(&mut self, at: Mono) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Execution {
    pub fn new(started: Started, stamp: Stamp, now: Mono) -> Self {
        let Started { cause, mut plan, tag } = started;
        let id = ExecutionId::new(&plan.workflow, stamp.token.index, &tag);
        plan.name(&id);
        let stages = plan.stages.iter().cloned().map(Stage::new).collect();
        Self {
            id,
            cause,
            plan,
            started: stamp.at,
            stages,
            hold: None,
            ending: None,
            clock: now,
            look_at: now,
        }
    }

    // ── what it is ──

    /// Whether everything stands still until an operator speaks.
    pub fn held(&self) -> bool {
        self.hold.is_some() || self.stages.iter().any(Stage::holds_all)
    }

    /// Whether an operator must speak before all of it can go on.
    pub fn waits_for_operator(&self) -> bool {
        self.hold.is_some() || self.stages.iter().any(Stage::waits_for_operator)
    }

    fn all_settled(&self) -> bool {
        self.stages.iter().all(Stage::is_settled)
    }

    /// Whether it is over but for the record that says so.
    pub fn is_over(&self) -> bool {
        let done = self.all_settled() || (self.ending.is_some() && !self.stages.iter().any(Stage::is_open));
        done && self.stages.iter().all(|stage| stage.unfenced.is_empty())
    }

    /// Whether everything that a stage needs is settled.
    fn may_start(&self, stage: &Stage) -> bool {
        stage.plan.needs.iter().all(|need| self.stages[*need].is_settled())
    }

    pub fn position(&self, stage: &str) -> Option<usize> {
        self.stages.iter().position(|candidate| candidate.plan.name == stage)
    }

    fn subject(&self, stage: &Stage) -> Subject {
        Subject::Stage { execution: self.id.clone(), stage: stage.plan.name.clone() }
    }

    // ── what is to be done next ──

    /// Computed from the state alone. Records come in layers: what was heard first, then times
    /// that are up, then the end, then new calls; each layer is taken in before the next one
    /// is computed, so that no record rests on one that may not become durable.
    pub fn next(&self, around: &mut Around<'_>) -> Next {
        let mut next = Next::default();
        self.hear(around, &mut next);
        self.owe(&mut next);
        if next.records.is_empty() && around.open {
            self.expire(around, &mut next);
        }
        if next.records.is_empty() && self.is_over() {
            next.records.push(Record::Settled(Box::new(self.view(None))));
        }
        if next.records.is_empty() && around.plan {
            self.intend(around, &mut next);
        }
        if around.open {
            self.call(around, &mut next);
        }
        next
    }

    /// Answers that are not in the journal yet, and answers that will never come.
    fn hear(&self, around: &mut Around<'_>, next: &mut Next) {
        for stage in &self.stages {
            let (intent, act) = match &stage.phase {
                Phase::Running { intent } => (*intent, Act::Apply),
                Phase::Looking { apply, intent } => {
                    if let Some(outcome) = stage.air.answer(*apply) {
                        next.records.push(self.answer(
                            stage,
                            *apply,
                            Act::Apply,
                            outcome.clone(),
                            false,
                            around,
                        ));
                        continue;
                    }
                    (*intent, Act::Observe)
                }
                Phase::Uncertain { apply, .. } | Phase::Unresolved { apply } => {
                    if let Some(outcome) = stage.air.answer(*apply) {
                        next.records.push(self.answer(
                            stage,
                            *apply,
                            Act::Apply,
                            outcome.clone(),
                            false,
                            around,
                        ));
                    }
                    continue;
                }
                _ => continue,
            };
            if intent.epoch != around.epoch {
                let reason = "the daemon was restarted before the answer came".to_owned();
                let outcome = Outcome::Unknown { reason };
                next.records.push(self.answer(stage, intent.index, act, outcome, true, around));
            } else if let Some(outcome) = stage.air.answer(intent.index) {
                next.records.push(self.answer(stage, intent.index, act, outcome.clone(), false, around));
            } else if let Some(overdue) = stage.air.overdue(intent.index) {
                if around.now >= overdue {
                    let outcome = Outcome::Unknown { reason: "the agent has never answered".to_owned() };
                    next.records.push(self.answer(stage, intent.index, act, outcome, false, around));
                } else {
                    next.wake(overdue);
                }
            } else if self.ending.is_some() && act == Act::Apply {
                // Never handed out, and known for certain not to be: no process but this one
                // could have.
                let reason = "not begun: the execution is ending".to_owned();
                let outcome = Outcome::NotApplied { reason, retry: Retry::Backoff };
                next.records.push(self.answer(stage, intent.index, act, outcome, true, around));
            }
        }
    }

    /// What a promotion owes that nobody has seen fence anyone.
    fn owe(&self, next: &mut Next) {
        for stage in &self.stages {
            for owed in stage.unfenced.iter().filter_map(|region| fence(&stage.plan.op, region)) {
                next.records.push(Record::Owes(Box::new(Owes { of: self.subject(stage), owed })));
            }
        }
    }

    fn answer(
        &self,
        stage: &Stage,
        intent: u64,
        act: Act,
        outcome: Outcome,
        lost: bool,
        around: &mut Around<'_>,
    ) -> Record {
        let then = stage.judge(act, &outcome, lost, around.now, around.rng);
        Record::Answer(Box::new(Answer { of: self.subject(stage), intent, outcome, then, lost }))
    }

    /// Times that are up. They stand still while an operator is waited for.
    fn expire(&self, around: &Around<'_>, next: &mut Next) {
        if self.ending.is_some() || self.held() || self.all_settled() {
            return;
        }
        for stage in &self.stages {
            let (Phase::Backoff { .. }, Some(deadline)) = (&stage.phase, stage.deadline()) else { continue };
            if around.now >= deadline {
                next.records.push(Record::Expired(Expired { of: self.subject(stage) }));
            } else {
                next.wake(deadline);
            }
        }
        if !next.records.is_empty() || self.waits_for_operator() {
            return;
        }
        let deadline = self.clock + self.plan.timeout;
        if around.now >= deadline {
            next.records.push(Record::Expired(Expired { of: Subject::Execution(self.id.clone()) }));
        } else {
            next.wake(deadline);
        }
    }

    /// Calls that may be made now, once their intent is durable.
    fn intend(&self, around: &Around<'_>, next: &mut Next) {
        let (ending, held) = (self.ending.is_some(), self.held());
        for stage in &self.stages {
            let act = match &stage.phase {
                Phase::Waiting if !ending && !held && self.may_start(stage) => Act::Apply,
                Phase::Backoff { until } if !ending && !held => {
                    if around.now < *until {
                        next.wake(*until);
                        continue;
                    }
                    Act::Apply
                }
                // A look changes nothing, and an end waits for it.
                Phase::Uncertain { until, .. } => {
                    if around.now < *until {
                        next.wake(*until);
                        continue;
                    }
                    Act::Observe
                }
                _ => continue,
            };
            let attempt = stage.attempt_of(act);
            let (of, heard) = (self.subject(stage), String::new());
            next.records.push(Record::Intent(Intent { of, act, attempt, heard }));
        }
    }

    /// Calls whose intent is durable, and that nobody has been given yet.
    fn call(&self, around: &Around<'_>, next: &mut Next) {
        for (position, stage) in self.stages.iter().enumerate() {
            let (intent, act) = match &stage.phase {
                Phase::Running { intent } if self.ending.is_none() && !self.held() => (*intent, Act::Apply),
                Phase::Looking { intent, .. } => (*intent, Act::Observe),
                _ => continue,
            };
            if intent.epoch != around.epoch || stage.air.overdue(intent.index).is_some() {
                continue;
            }
            let call = Call {
                execution: self.id.clone(),
                stage: stage.plan.name.clone(),
                attempt: stage.attempts,
                act,
                token: intent,
                op: stage.plan.op.clone(),
                timeout: stage.call_timeout(act, around.now),
                approved: stage.approved,
            };
            next.calls.push((position, call));
        }
    }

    // ── what becomes of it ──

    /// Takes in a record about it.
    pub fn fold(&mut self, stamp: Stamp, record: &Record, now: Mono) -> Result<(), Illegal> {
        let (waited, held) = (self.waits_for_operator(), self.held());
        match record {
            Record::Intent(intent) => {
                let token = stamp.token;
                self.may_intend(intent, token)?;
                self.stage_mut(&intent.of)?.intend(intent.act, intent.attempt, token, stamp.at, now)?;
            }
            Record::Answer(answer) => {
                self.stage_mut(&answer.of)?.answer(answer, stamp.at, now)?;
                if matches!(answer.then, Then::Fail { .. }) {
                    self.failed(&answer.of);
                }
            }
            Record::Order(order) => self.order(order, stamp.at, now)?,
            Record::Expired(Expired { of: Subject::Execution(_) }) => {
                if self.hold.is_some() || self.ending.is_some() {
                    return Err(Illegal(format!("the time of `{}` cannot be up", self.id)));
                }
                self.hold = Some(Hold::Timeout);
            }
            Record::Expired(Expired { of }) => {
                self.stage_mut(of)?.expire(stamp.at)?;
                self.failed(of);
            }
            Record::Owes(owes) => {
                self.stage_mut(&owes.of)?.unfenced.retain(|region| *region != owes.owed.region);
            }
            Record::Started(_) | Record::Settled(_) => {
                return Err(Illegal(format!("`{}` is under way", self.id)));
            }
        }
        if (waited && !self.waits_for_operator()) || (held && !self.held()) {
            // Time stood still while an operator was waited for. Nobody can tell by how much
            // after a restart, so it begins anew.
            self.restart_clocks(now);
        }
        self.look_at = Mono::default();
        Ok(())
    }

    /// Order is what a workflow is for: checked once more where nothing can get past it.
    fn may_intend(&self, intent: &Intent, token: Token) -> Result<(), Illegal> {
        let Subject::Stage { stage: name, .. } = &intent.of else {
            return Err(Illegal(format!("intent {token} names no stage")));
        };
        let stage = self.position(name).map(|at| &self.stages[at]);
        let stage = stage.ok_or_else(|| Illegal(format!("`{}` has no stage `{name}`", self.id)))?;
        if intent.act == Act::Apply {
            if let Some(need) = stage.plan.needs.iter().find(|need| !self.stages[**need].is_settled()) {
                let need = &self.stages[*need].plan.name;
                return Err(Illegal(format!("`{name}` cannot begin before `{need}` is settled")));
            }
            if self.ending.is_some() {
                return Err(Illegal(format!("`{name}` cannot begin: `{}` is ending", self.id)));
            }
        }
        Ok(())
    }

    fn failed(&mut self, of: &Subject) {
        let Subject::Stage { stage, .. } = of else { return };
        let Some(failed) = self.stages.iter().find(|candidate| candidate.plan.name == *stage) else { return };
        if failed.plan.care.on_failure == OnFailure::Abort {
            let (stage, why) = (stage.clone(), failed.words.clone());
            self.ending.get_or_insert(Ending::Failed { stage, why });
        }
    }

    /// Whether an operator may say this now, and if not, why not.
    pub fn may(&self, of: &Subject, what: Word) -> Result<(), String> {
        if self.is_over() {
            return Err(format!("`{}` is over", self.id));
        }
        match of {
            Subject::Execution(_) => match what {
                Word::Pause if self.ending.is_some() => Err(format!("`{}` is ending", self.id)),
                Word::Pause => match &self.hold {
                    None => Ok(()),
                    Some(hold) => Err(format!("`{}` is paused already ({hold})", self.id)),
                },
                Word::Resume if self.hold.is_some() => Ok(()),
                Word::Resume => Err(match self.stages.iter().find(|stage| stage.waits_for_operator()) {
                    None => format!("`{}` is not paused", self.id),
                    Some(stage) => {
                        let choices: Vec<_> =
                            stage.choices().iter().map(|word| format!("`{word}`")).collect();
                        let (name, state) = (&stage.plan.name, stage.state());
                        format!(
                            "`{}` waits for a word about stage `{name}`, which is {state}: {}",
                            self.id,
                            choices.join(", ")
                        )
                    }
                }),
                Word::Cancel => match &self.ending {
                    None => Ok(()),
                    Some(Ending::Cancelled(by)) => Err(format!("`{}` is being cancelled ({by})", self.id)),
                    Some(Ending::Failed { stage, .. }) => {
                        Err(format!("`{}` is ending, because stage `{stage}` failed", self.id))
                    }
                },
                what => Err(format!("{what} is said to a stage: name one of `{}`", self.id)),
            },
            Subject::Stage { stage: name, .. } => {
                let Some(at) = self.position(name) else {
                    let names: Vec<_> = self.stages.iter().map(|stage| stage.plan.name.as_str()).collect();
                    return Err(format!("`{}` has no stage `{name}`, only {}", self.id, names.join(", ")));
                };
                // What may have happened must still be told, or looked at again.
                let telling = matches!(what, Word::Applied | Word::NotApplied)
                    || (what == Word::Retry && self.stages[at].is_open());
                if self.ending.is_some() && !telling {
                    return Err(format!("`{}` is ending", self.id));
                }
                self.stages[at].may(what)
            }
            Subject::Obligation(id) => Err(format!("{id} is an obligation, not an execution")),
        }
    }

    fn order(&mut self, order: &Order, at: Timestamp, now: Mono) -> Result<(), Illegal> {
        self.may(&order.of, order.what).map_err(Illegal)?;
        match (&order.of, order.what) {
            (Subject::Stage { .. }, what) => {
                let by = order.by.to_string();
                self.stage_mut(&order.of)?.order(what, &by, at, now)?;
            }
            (_, Word::Pause) => self.hold = Some(Hold::Operator(order.by.clone())),
            (_, Word::Resume) => self.hold = None,
            (_, Word::Cancel) => {
                self.hold = None;
                self.ending = Some(Ending::Cancelled(order.by.clone()));
            }
            _ => {}
        }
        Ok(())
    }

    fn stage_mut(&mut self, of: &Subject) -> Result<&mut Stage, Illegal> {
        let Subject::Stage { stage, .. } = of else {
            return Err(Illegal(format!("{of} is not a stage")));
        };
        match self.position(stage) {
            Some(at) => Ok(&mut self.stages[at]),
            None => Err(Illegal(format!("`{}` has no stage `{stage}`", self.id))),
        }
    }

    fn restart_clocks(&mut self, now: Mono) {
        self.clock = now;
        for stage in &mut self.stages {
            stage.clock = stage.clock.map(|_| now);
        }
    }

    /// Time that does not count, because nothing was allowed to happen in it.
    pub fn excuse(&mut self, span: Duration) {
        self.clock = self.clock + span;
        for stage in &mut self.stages {
            stage.clock = stage.clock.map(|clock| clock + span);
        }
    }

    /// Whether a stage ended otherwise than by being done.
    pub fn exceptions(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter().filter(|stage| {
            matches!(stage.phase, Phase::Settled(Settled::Skipped | Settled::Deferred | Settled::Failed))
        })
    }
}

/// To fence a region's node of the database that an op moves.
fn fence(op: &Op, region: &str) -> Option<Owed> {
    let Op::Database(database) = op else { return None };
    let what = format!(
        "`{}` in {region} must become a reader (an operator has vouched for the promotion in {})",
        database.cluster, database.region
    );
    let mut fence = database.clone();
    (fence.role, fence.region) = (DatabaseRole::Reader, region.to_owned());
    Some(Owed { region: region.to_owned(), what, op: Op::Database(fence) })
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operator(by) => by.fmt(f),
            Self::Timeout => f.write_str("its time was up"),
        }
    }
}
