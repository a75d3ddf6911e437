//! All executions and obligations: a fold over the journal, and what is to be done next.
//!
//! ```text
//!   flips, orders ─► start, order ─┐                        ┌─► Append ─► store ─► stored ─┐
//!   agents ────────► outcome ──────┼─► advance(now, gate) ──┤                              │
//!   timers ────────────────────────┘           ▲            └─► Perform ─► agents          │
//!                                              └────────── fold of what is durable ◄───────┘
//! ```
//! The rules that make it safe:
//! - Nothing is believed before it is durable: state changes in [`Engine::stored`] alone.
//! - No call is handed out before its intent is durable, and each intent is handed out once.
//! - At most one batch is with the store, so every batch rests on all the ones before it.
//! - What is to be done is computed from the state; a restart computes the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use super::execution::{Around, Execution, Next};
use super::obligation::Obligation;
use super::record::{
    By, Cause, ObligationId, Order, Owes, Record, Replayed, Stamp, Started, Subject, Thread, Word,
};
use super::view::{ExecutionView, ObligationView};
use super::{Call, ExecutionId, Outcome, Plan, Token};
use crate::base::{Mono, Now, Timestamp};
use crate::config::Mode;

/// Executions that are not over, at once.
pub const EXECUTIONS_MAX: usize = 20_000;
/// Executions that are over and still shown. The store keeps as many.
pub const SETTLED_MAX: usize = 10_000;
/// Records that are written at once: enough to share a sync among thousands, few enough that
/// the first of them is not kept waiting for the last.
const BATCH_MAX: usize = 1024;
/// What agents say is cut off past this many bytes: all of it is kept in the journal.
const WORDS_MAX: usize = 4096;
const OUTPUTS_MAX: usize = 64;
/// How long to leave a store alone that has failed.
const STORE_RETRY: super::RetryPolicy = super::RetryPolicy {
    max_attempts: u32::MAX,
    initial_interval: Duration::from_millis(100),
    multiplier: 2.0,
    max_interval: Duration::from_secs(5),
    jitter: super::Jitter::None,
};

/// Whether anything new may be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gate {
    /// It may.
    Open,
    /// An operator switched automation off.
    AutomationOff(By),
    /// The daemon may only observe, or answer.
    Mode(Mode),
    /// The store cannot be written to: nothing can be recorded either.
    StoreFailing(String),
    /// This site cannot see: what it would do next might be wrong, and it could not tell.
    Blind(String),
}

impl Gate {
    /// Why not; `None` if it may.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Open => None,
            Self::AutomationOff(by) => Some(format!("automation is off ({by})")),
            Self::Mode(Mode::Observe) => Some("the mode is `observe`".to_owned()),
            Self::Mode(Mode::Answer) => Some("the mode is `answer`".to_owned()),
            Self::Mode(Mode::Act) => None,
            Self::StoreFailing(why) => Some(format!("the store fails: {why}")),
            Self::Blind(why) => Some(format!("this site is blind: {why}")),
        }
    }
}

/// What the owner is to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// Write these records, all or none, then call [`Engine::stored`] or
    /// [`Engine::store_failed`]. There may be none at all: then it is only tried whether the
    /// store, which has failed, takes anything again.
    Append(Vec<Entry>),
    /// Have an agent perform this call, or perform it yourself (`dial`), then call
    /// [`Engine::outcome`].
    Perform(Box<Call>),
    /// Tell whoever holds the receipt that it came to nothing.
    Refuse(Receipt, Refusal),
}

/// A record as the store takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What kind of record.
    pub kind: &'static str,
    /// Its JSON.
    pub body: String,
    /// How it hangs together with others.
    pub threads: Vec<Thread>,
    /// A value to be kept beside it, for good.
    pub mark: Option<Mark>,
}

/// The newest flip of a region that a workflow has run for. Outlives the execution, so that
/// no flip is ever acted on twice.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mark {
    /// The workflow's name.
    pub workflow: String,
    /// The region.
    pub region: String,
    /// The region's count of flips.
    pub generation: u64,
}

impl Mark {
    /// All keys begin like this.
    pub const PREFIX: &str = "workflow.ran/";

    /// Under which key it is kept.
    pub fn key(&self) -> String {
        format!("{}{}/{}", Self::PREFIX, self.workflow, self.region)
    }

    /// Reads one back from its key and value. `None` if it is none.
    pub fn read(key: &str, value: u64) -> Option<Self> {
        let (workflow, region) = key.strip_prefix(Self::PREFIX)?.split_once('/')?;
        Some(Self { workflow: workflow.to_owned(), region: region.to_owned(), generation: value })
    }
}

/// For something that was accepted and is not durable yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Receipt(pub u64);

/// Something that was accepted, and is durable now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// Whose.
    pub receipt: Receipt,
    /// The execution it started, or was about.
    pub execution: Option<ExecutionId>,
}

/// Why something is not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// It ran for this flip already, or for a later one.
    #[error("`{workflow}` has run for generation {generation} of {region} already")]
    AlreadyRan {
        /// The workflow.
        workflow: String,
        /// The region that flipped.
        region: String,
        /// Its newest generation that the workflow ran for.
        generation: u64,
    },
    /// Another execution is in the way.
    #[error("{what} is in the hands of `{execution}`, which is not over")]
    Busy {
        /// The workflow or the cluster.
        what: String,
        /// The other execution; a workflow's name while it has no id yet.
        execution: String,
    },
    /// A region that would be put to use owes something.
    #[error("{region} still owes (obligation {obligation}): {what}")]
    Owes {
        /// The region.
        region: String,
        /// What it owes.
        what: String,
        /// Which obligation that is.
        obligation: ObligationId,
    },
    /// Nothing new may be done at present.
    #[error("{0}")]
    Closed(String),
    /// There are too many.
    #[error("there are {EXECUTIONS_MAX} executions that are not over")]
    Full,
    /// There is none of that name.
    #[error("there is no execution `{0}` that is not over")]
    NoSuchExecution(String),
    /// There is none of that number.
    #[error("there is no obligation {0}")]
    NoSuchObligation(ObligationId),
    /// It does not fit how things stand.
    #[error("{0}")]
    Unfit(String),
    /// It could not be written down.
    #[error("it could not be stored: {0}")]
    NotStored(String),
}

/// Whether an outcome was of use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// It was waited for.
    Taken,
    /// Nobody waits for it: a repetition, or an answer to a call that was given up.
    Late,
}

/// The journal says something that cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("journal record {index} does not follow from the ones before it: {why}")]
pub struct Implausible {
    /// The record.
    pub index: u64,
    /// Why not.
    pub why: String,
}

/// All executions and obligations.
#[derive(Debug)]
pub struct Engine {
    epoch: u64,
    executions: BTreeMap<u64, Execution>,
    settled: BTreeMap<u64, ExecutionView>,
    obligations: BTreeMap<ObligationId, Obligation>,
    ran: BTreeMap<(String, String), u64>,
    /// What executions have in their hands, in words: workflows and clusters.
    claims: BTreeMap<String, Claim>,
    /// Obligations that a late answer left, not in the journal yet.
    late: Vec<Owes>,
    /// Starts and orders that are not with the store yet, in the order they came.
    asked: VecDeque<(Receipt, Record)>,
    receipts: u64,
    /// Executions that were accepted and are not durable yet.
    starting: usize,
    /// What is with the store.
    batch: Option<Vec<(Option<Receipt>, Timestamp, Record)>>,
    store: StoreHealth,
    /// Why nothing new may be done, and since when.
    held: Option<(String, Mono)>,
    /// The owner has said that nothing can be recorded.
    mute: bool,
    /// When it was last asked what is to be done.
    advanced: Mono,
    /// The journal and this engine disagree: nothing is done any more.
    fault: Option<Implausible>,
}

/// Who has a workflow or a cluster in hands.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Claim {
    /// An execution of this workflow that is not durable yet.
    Starting(String),
    /// An execution that is not over.
    Execution(ExecutionId),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum StoreHealth {
    Fine,
    Failing { why: String, failures: u32, until: Mono },
}

impl Engine {
    /// An engine that remembers nothing. `epoch` grows with each process that owns the store.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            executions: BTreeMap::new(),
            settled: BTreeMap::new(),
            obligations: BTreeMap::new(),
            ran: BTreeMap::new(),
            late: Vec::new(),
            asked: VecDeque::new(),
            receipts: 0,
            starting: 0,
            batch: None,
            store: StoreHealth::Fine,
            held: None,
            mute: false,
            advanced: Mono::default(),
            claims: BTreeMap::new(),
            fault: None,
        }
    }

    /// An engine that goes on from what the store has kept: the marks, and the records of open
    /// threads and the last ones of closed threads, in order. Waits begin anew, so that
    /// nothing comes too early.
    ///
    /// # Errors
    /// When the records do not make sense together.
    pub fn restore(
        epoch: u64,
        marks: impl IntoIterator<Item = Mark>,
        records: impl IntoIterator<Item = Replayed>,
        now: Mono,
    ) -> Result<Self, Implausible> {
        let mut engine = Self::new(epoch);
        for mark in marks {
            engine.mark(mark);
        }
        for Replayed { stamp, record, open } in records {
            let index = stamp.token.index;
            if stamp.token.epoch >= epoch {
                let why = format!("it is of epoch {}, and this process is {epoch}", stamp.token.epoch);
                return Err(Implausible { index, why });
            }
            engine.fold(stamp, record, open, now).map_err(|why| Implausible { index, why })?;
        }
        Ok(engine)
    }

    // ── what comes in ──

    /// Admits an execution. It exists once its record is durable.
    ///
    /// For a flip this may, and should, be asked again for as long as the flip stands: it is
    /// refused once the execution exists, and a request that a failing store has lost is
    /// forgotten.
    ///
    /// # Errors
    /// Why not.
    pub fn start(
        &mut self,
        plan: Plan,
        cause: Cause,
        gate: &Gate,
        rng: &mut fastrand::Rng,
    ) -> Result<Receipt, Refusal> {
        if let Some(why) = self.closed(gate) {
            return Err(Refusal::Closed(why));
        }
        if let Cause::Flip { region, generation, .. } = &cause
            && let Some(ran) = self.ran(&plan.workflow, region).filter(|ran| ran >= generation)
        {
            let (workflow, region) = (plan.workflow, region.clone());
            return Err(Refusal::AlreadyRan { workflow, region, generation: ran });
        }
        self.free(&plan)?;
        if self.executions.len() + self.starting >= EXECUTIONS_MAX {
            return Err(Refusal::Full);
        }
        for what in claimed(&plan) {
            self.claims.insert(what, Claim::Starting(plan.workflow.clone()));
        }
        self.starting += 1;
        let tag = (0..4).map(|_| char::from(TAG_LETTERS[rng.usize(..TAG_LETTERS.len())])).collect();
        Ok(self.ask(Record::Started(Box::new(Started { cause, plan, tag }))))
    }

    /// Takes an operator's word. It holds once its record is durable.
    ///
    /// # Errors
    /// Why not.
    pub fn order(&mut self, of: Subject, what: Word, by: By) -> Result<Receipt, Refusal> {
        if let Some(fault) = &self.fault {
            return Err(Refusal::Closed(fault.to_string()));
        }
        let order = Order { of, what, by };
        self.fits(&order)?;
        Ok(self.ask(Record::Order(order)))
    }

    /// Takes the outcome of a call. It counts once it is durable.
    pub fn outcome(&mut self, call: &Call, outcome: Outcome) -> Heard {
        let outcome = clipped(outcome);
        let intent = call.token.index;
        if call.token.epoch != self.epoch {
            return Heard::Late;
        }
        let paying = self.obligations.values_mut().find(|obligation| obligation.awaits(intent));
        if let Some(obligation) = paying {
            obligation.look_at = Mono::default();
            return if obligation.air.hear(intent, &outcome) { Heard::Taken } else { Heard::Late };
        }
        let execution = call.execution.number().and_then(|number| self.executions.get_mut(&number));
        let Some(execution) = execution.filter(|execution| execution.id == call.execution) else {
            return Heard::Late;
        };
        let stage = execution.stages.iter_mut().find(|stage| stage.plan.name == call.stage);
        let Some(stage) = stage else { return Heard::Late };
        if stage.awaits(intent).is_some() && stage.air.hear(intent, &outcome) {
            execution.look_at = Mono::default();
            return Heard::Taken;
        }
        // Too late for the stage; but what it left is owed all the same.
        if let Outcome::Applied { owed: Some(owed), .. } = outcome
            && stage.awaits(intent).is_none()
            && stage.air.take_given_up(intent)
        {
            let (execution, stage) = (call.execution.clone(), call.stage.clone());
            self.late.push(Owes { of: Subject::Stage { execution, stage }, owed: *owed });
        }
        Heard::Late
    }

    // ── what goes out ──

    /// What is to be done now.
    pub fn advance(&mut self, now: Now, gate: &Gate, rng: &mut fastrand::Rng) -> Vec<Step> {
        let mono = now.mono;
        self.hold(gate, mono);
        self.mute = matches!(gate, Gate::StoreFailing(_));
        self.advanced = mono;
        let open = self.held.is_none();
        let may_append = self.batch.is_none() && self.may_append(mono);
        // A store that has failed is tried with whatever is due next; if it takes that, all
        // is well again.
        let plan = open || (may_append && gate.reason().is_none());
        let mut steps = Vec::new();
        let mut batch = Vec::new();
        if may_append {
            self.take_asked(&mut batch, &mut steps, now.wall);
            let late = self.late.drain(..).map(|owes| Record::Owes(Box::new(owes)));
            batch.extend(late.map(|record| (None, now.wall, record)));
        }
        let spoken: BTreeSet<Subject> = batch.iter().filter_map(|(_, _, record)| whole(record)).collect();
        let mut around = Around { now: mono, epoch: self.epoch, plan, open, rng };
        if self.fault.is_none() {
            for execution in self.executions.values_mut() {
                // What an operator has just said comes before what follows without it.
                if execution.look_at > mono || spoken.contains(&Subject::Execution(execution.id.clone())) {
                    continue;
                }
                let Next { records, calls, mut wake } = execution.next(&mut around);
                for (position, call) in calls {
                    let overdue = execution.stages[position].air.send(&call, mono);
                    wake = Some(wake.map_or(overdue, |wake| wake.min(overdue)));
                    steps.push(Step::Perform(Box::new(call)));
                }
                execution.look_at = if records.is_empty() { wake.unwrap_or(NEVER) } else { Mono::default() };
                if may_append && batch.len() < BATCH_MAX {
                    batch.extend(records.into_iter().map(|record| (None, now.wall, record)));
                }
            }
            for obligation in self.obligations.values_mut() {
                if obligation.look_at > mono || spoken.contains(&Subject::Obligation(obligation.id)) {
                    continue;
                }
                let Next { records, calls, mut wake } = obligation.next(&mut around);
                for (_, call) in calls {
                    wake = Some(obligation.air.send(&call, mono));
                    steps.push(Step::Perform(Box::new(call)));
                }
                obligation.look_at = if records.is_empty() { wake.unwrap_or(NEVER) } else { Mono::default() };
                if may_append && batch.len() < BATCH_MAX {
                    batch.extend(records.into_iter().map(|record| (None, now.wall, record)));
                }
            }
        }
        // With nothing to write, a store that has failed is tried with an empty batch.
        let trial = may_append && self.store != StoreHealth::Fine;
        if !batch.is_empty() || trial {
            steps.push(Step::Append(batch.iter().map(|(_, at, record)| entry(*at, record)).collect()));
            self.batch = Some(batch);
        }
        steps
    }

    /// The batch is durable; its first record has this index.
    ///
    /// # Errors
    /// When it does not make sense: then this engine does nothing any more.
    pub fn stored(&mut self, first: u64, now: Mono) -> Result<Vec<Done>, Implausible> {
        self.store = StoreHealth::Fine;
        let mut done = Vec::new();
        for (offset, (receipt, at, record)) in (0..).zip(self.batch.take().unwrap_or_default()) {
            let index = first + offset;
            let stamp = Stamp { token: Token { epoch: self.epoch, index }, at };
            let about = match &record {
                Record::Started(started) => {
                    Some(ExecutionId::new(&started.plan.workflow, index, &started.tag))
                }
                Record::Order(Order {
                    of: Subject::Execution(id) | Subject::Stage { execution: id, .. },
                    ..
                }) => Some(id.clone()),
                _ => None,
            };
            if let Err(why) = self.fold(stamp, record, true, now) {
                let fault = Implausible { index, why };
                self.fault = Some(fault.clone());
                return Err(fault);
            }
            done.extend(receipt.map(|receipt| Done { receipt, execution: about }));
        }
        Ok(done)
    }

    /// Nothing of the batch is durable, nor will be. What was computed is computed again
    /// after a while; what was asked for is forgotten, and refused with these receipts.
    pub fn store_failed(&mut self, why: &str, now: Mono, rng: &mut fastrand::Rng) -> Vec<Receipt> {
        let failures = match &self.store {
            StoreHealth::Fine => 1,
            StoreHealth::Failing { failures, .. } => failures.saturating_add(1),
        };
        let until = now + STORE_RETRY.wait(failures, rng);
        self.store = StoreHealth::Failing { why: why.to_owned(), failures, until };
        let mut receipts = Vec::new();
        for (receipt, _, record) in self.batch.take().unwrap_or_default() {
            receipts.extend(receipt);
            // A vouched promotion says again what it owes; a late answer comes only once.
            if let Record::Owes(owes) = record
                && !self.still_says(&owes)
            {
                self.late.push(*owes);
            }
        }
        receipts.extend(self.asked.drain(..).map(|(receipt, _)| receipt));
        self.claims.retain(|_, claim| matches!(claim, Claim::Execution(_)));
        self.starting = 0;
        self.touch_all();
        receipts
    }

    /// When [`Engine::advance`] must be called again, if nothing comes in before.
    pub fn wake(&self) -> Option<Mono> {
        if self.fault.is_some() {
            return None;
        }
        let looks = self.executions.values().map(|execution| execution.look_at);
        let looks = looks.chain(self.obligations.values().map(|obligation| obligation.look_at));
        let asked = (!self.asked.is_empty() || !self.late.is_empty()).then_some(Mono::default());
        if self.batch.is_some() || self.mute {
            // What is due waits for the store; only what is not due yet has a time of its own.
            return looks.filter(|at| *at > Mono::default() && *at < NEVER).min();
        }
        match &self.store {
            StoreHealth::Failing { until, .. } if *until > self.advanced => Some(*until),
            _ => looks.chain(asked).filter(|at| *at < NEVER).min(),
        }
    }

    // ── inside ──

    fn ask(&mut self, record: Record) -> Receipt {
        self.receipts += 1;
        let receipt = Receipt(self.receipts);
        self.asked.push_back((receipt, record));
        receipt
    }

    /// Why nothing new may be done.
    fn closed(&self, gate: &Gate) -> Option<String> {
        if let Some(fault) = &self.fault {
            return Some(fault.to_string());
        }
        match &self.store {
            StoreHealth::Failing { why, .. } => Gate::StoreFailing(why.clone()).reason(),
            StoreHealth::Fine => gate.reason(),
        }
    }

    fn may_append(&self, now: Mono) -> bool {
        let rested = match &self.store {
            StoreHealth::Fine => true,
            StoreHealth::Failing { until, .. } => now >= *until,
        };
        rested && self.fault.is_none() && !self.mute
    }

    /// Notes whether anything new may be done. Time in which nothing may is excused.
    fn hold(&mut self, gate: &Gate, now: Mono) {
        match (self.closed(gate), self.held.take()) {
            (Some(why), held) => {
                let since = held.as_ref().map_or(now, |(_, since)| *since);
                if held.is_none() {
                    self.touch_all();
                }
                self.held = Some((why, since));
            }
            (None, Some((_, since))) => {
                for execution in self.executions.values_mut() {
                    execution.excuse(now.since(since));
                }
                self.touch_all();
            }
            (None, None) => {}
        }
    }

    fn still_says(&self, owes: &Owes) -> bool {
        let Subject::Stage { execution, stage } = &owes.of else { return false };
        let execution = execution.number().and_then(|number| self.executions.get(&number));
        let stage = execution.and_then(|execution| Some(&execution.stages[execution.position(stage)?]));
        stage.is_some_and(|stage| stage.unfenced.contains(&owes.owed.region))
    }

    fn touch_all(&mut self) {
        self.executions.values_mut().for_each(|execution| execution.look_at = Mono::default());
        self.obligations.values_mut().for_each(|obligation| obligation.look_at = Mono::default());
    }

    /// Moves what was asked for into the batch: all starts, and one order for each execution,
    /// so that each is judged by what the ones before it have made of the state.
    fn take_asked(
        &mut self,
        batch: &mut Vec<(Option<Receipt>, Timestamp, Record)>,
        steps: &mut Vec<Step>,
        at: Timestamp,
    ) {
        let mut spoken = BTreeSet::new();
        let mut later = VecDeque::new();
        while let Some((receipt, record)) = self.asked.pop_front() {
            let about = whole(&record);
            let waits = about.as_ref().is_some_and(|about| spoken.contains(about));
            if waits || batch.len() >= BATCH_MAX {
                later.push_back((receipt, record));
                continue;
            }
            if let Record::Order(order) = &record
                && let Err(refusal) = self.fits(order)
            {
                steps.push(Step::Refuse(receipt, refusal));
                continue;
            }
            spoken.extend(about);
            batch.push((Some(receipt), at, record));
        }
        self.asked = later;
    }

    /// Whether an operator's word fits how things stand.
    fn fits(&self, order: &Order) -> Result<(), Refusal> {
        match &order.of {
            Subject::Obligation(id) => {
                let obligation = self.obligations.get(id).ok_or(Refusal::NoSuchObligation(*id))?;
                obligation.may(order.what).map_err(Refusal::Unfit)
            }
            Subject::Execution(id) | Subject::Stage { execution: id, .. } => {
                let execution = id.number().and_then(|number| self.executions.get(&number));
                let execution = execution.filter(|execution| execution.id == *id);
                let execution = execution.ok_or_else(|| Refusal::NoSuchExecution(id.to_string()))?;
                execution.may(&order.of, order.what).map_err(Refusal::Unfit)
            }
        }
    }

    /// Whether nothing is in the way of a plan: no execution of the same workflow or on the
    /// same cluster, and nothing owed by a region that it would put to use.
    fn free(&self, plan: &Plan) -> Result<(), Refusal> {
        for what in claimed(plan) {
            let execution = match self.claims.get(&what) {
                None => continue,
                Some(Claim::Starting(workflow)) => workflow.clone(),
                Some(Claim::Execution(execution)) => execution.to_string(),
            };
            return Err(Refusal::Busy { what, execution });
        }
        for region in plan.uses() {
            if let Some(open) = self.obligations.values().find(|open| open.owed.region == region) {
                let (region, what) = (region.to_owned(), open.owed.what.clone());
                return Err(Refusal::Owes { region, what, obligation: open.id });
            }
        }
        Ok(())
    }

    fn mark(&mut self, mark: Mark) {
        let ran = self.ran.entry((mark.workflow, mark.region)).or_insert(mark.generation);
        *ran = mark.generation.max(*ran);
    }

    /// Takes in one durable record. `open`: what it opens has not come to its end since.
    fn fold(&mut self, stamp: Stamp, record: Record, open: bool, now: Mono) -> Result<(), String> {
        if let Some((owed, of)) = record.owed().filter(|_| open) {
            let (execution, stage) = match of {
                Subject::Stage { execution, stage } => (execution.clone(), stage.clone()),
                Subject::Obligation(id) => match self.obligations.get(id) {
                    Some(paid) => (paid.execution.clone(), paid.stage.clone()),
                    None => return Err(format!("there is no {of}")),
                },
                Subject::Execution(_) => return Err("an execution as a whole owes nothing".to_owned()),
            };
            let obligation = Obligation::new(owed, execution, stage, stamp, now);
            self.obligations.insert(obligation.id, obligation);
        }
        let of = match &record {
            Record::Started(_) | Record::Settled(_) => None,
            Record::Intent(intent) => Some(intent.of.clone()),
            Record::Answer(answer) => Some(answer.of.clone()),
            Record::Order(order) => Some(order.of.clone()),
            Record::Expired(expired) => Some(expired.of.clone()),
            Record::Owes(owes) => Some(owes.of.clone()),
        };
        match (of, record) {
            (None, Record::Started(started)) => {
                if let Some(mark) = mark_of(&started) {
                    self.mark(mark);
                }
                let execution = Execution::new(*started, stamp, now);
                for what in claimed(&execution.plan) {
                    let claim = Claim::Execution(execution.id.clone());
                    if let Some(Claim::Execution(other)) = self.claims.insert(what, claim) {
                        return Err(format!("`{}` began while `{other}` was not over", execution.id));
                    }
                }
                self.starting = self.starting.saturating_sub(1);
                self.executions.insert(stamp.token.index, execution);
                Ok(())
            }
            (None, Record::Settled(view)) => self.settle(*view, stamp.at),
            (Some(Subject::Obligation(id)), record) => {
                let Some(obligation) = self.obligations.get_mut(&id) else {
                    return Err(format!("there is no obligation {id}"));
                };
                if obligation.fold(stamp, &record, now).map_err(|illegal| illegal.to_string())? {
                    self.obligations.remove(&id);
                }
                Ok(())
            }
            (Some(Subject::Execution(id) | Subject::Stage { execution: id, .. }), record) => {
                let number = id.number().unwrap_or_default();
                match self.executions.get_mut(&number) {
                    Some(execution) if execution.id == id => {
                        execution.fold(stamp, &record, now).map_err(|illegal| illegal.to_string())
                    }
                    // An obligation outlives the execution that left it, and is read back
                    // without it.
                    _ if record.owed().is_some() => Ok(()),
                    _ => Err(format!("there is no execution `{id}`")),
                }
            }
            (None, record) => Err(format!("a {} is about nothing", record.kind())),
        }
    }

    fn settle(&mut self, mut view: ExecutionView, at: Timestamp) -> Result<(), String> {
        let number = view.id.number().ok_or_else(|| format!("`{}` is not an id", view.id))?;
        if let Some(execution) = self.executions.remove(&number) {
            if !execution.is_over() {
                return Err(format!("`{}` is not over", execution.id));
            }
            for what in claimed(&execution.plan) {
                self.claims.remove(&what);
            }
        }
        view.ended = Some(at);
        self.settled.insert(number, view);
        while self.settled.len() > SETTLED_MAX {
            self.settled.pop_first();
        }
        Ok(())
    }

    // ── what can be seen ──

    /// The newest flip of a region that a workflow has run for.
    pub fn ran(&self, workflow: &str, region: &str) -> Option<u64> {
        self.ran.get(&(workflow.to_owned(), region.to_owned())).copied()
    }

    /// Why nothing new is done at present, as of the last [`Engine::advance`].
    pub fn held(&self) -> Option<&str> {
        self.held.as_ref().map(|(why, _)| why.as_str())
    }

    /// Executions that are not over, oldest first.
    pub fn executions(&self, now: Now) -> impl Iterator<Item = ExecutionView> {
        self.executions.values().map(move |execution| execution.view(Some((now, self.held()))))
    }

    /// Executions that are over, oldest first.
    pub fn settled(&self) -> impl DoubleEndedIterator<Item = &ExecutionView> {
        self.settled.values()
    }

    /// One execution, by its id, or by as much of it as is without doubt: `petstore-failover-417`,
    /// or the workflow's name for its newest.
    pub fn execution(&self, name: &str, now: Now) -> Option<ExecutionView> {
        let fits = |id: &ExecutionId, workflow: &str| {
            id.0 == name || id.0.rsplit_once('-').is_some_and(|(head, _)| head == name) || workflow == name
        };
        let live =
            self.executions.values().rev().find(|execution| fits(&execution.id, &execution.plan.workflow));
        if let Some(execution) = live {
            return Some(execution.view(Some((now, self.held()))));
        }
        self.settled.values().rev().find(|view| fits(&view.id, &view.workflow)).cloned()
    }

    /// What is owed, oldest first.
    pub fn obligations(&self, now: Now) -> impl Iterator<Item = ObligationView> {
        self.obligations.values().map(move |obligation| obligation.view(now))
    }

    /// Whether a region owes anything.
    pub fn owes(&self, region: &str) -> bool {
        self.obligations.values().any(|obligation| obligation.owed.region == region)
    }

    /// Tries everything that a region owes now: it seems to be back.
    pub fn nudge(&mut self, region: &str) {
        for obligation in self.obligations.values_mut().filter(|open| open.owed.region == region) {
            obligation.nudge();
        }
    }

    /// How many executions are not over.
    pub fn len(&self) -> usize {
        self.executions.len()
    }

    /// Whether all executions are over.
    pub fn is_empty(&self) -> bool {
        self.executions.is_empty()
    }
}

/// Later than anything.
const NEVER: Mono = Mono(Duration::MAX);

/// Letters and digits that nobody mistakes for each other.
const TAG_LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// What an execution of a plan has in its hands for as long as it is not over.
fn claimed(plan: &Plan) -> Vec<String> {
    let clusters: BTreeSet<&str> = plan.clusters().collect();
    let clusters = clusters.into_iter().map(|cluster| format!("cluster `{cluster}`"));
    std::iter::once(format!("workflow `{}`", plan.workflow)).chain(clusters).collect()
}

/// The whole that a record is about: orders are taken one at a time for each.
fn whole(record: &Record) -> Option<Subject> {
    match record {
        Record::Order(order) => Some(match &order.of {
            Subject::Stage { execution, .. } => Subject::Execution(execution.clone()),
            whole => whole.clone(),
        }),
        _ => None,
    }
}

fn mark_of(started: &Started) -> Option<Mark> {
    let Cause::Flip { region, generation, .. } = &started.cause else { return None };
    Some(Mark { workflow: started.plan.workflow.clone(), region: region.clone(), generation: *generation })
}

fn entry(at: Timestamp, record: &Record) -> Entry {
    let mark = match record {
        Record::Started(started) => mark_of(started),
        _ => None,
    };
    Entry { at, kind: record.kind(), body: record.body(), threads: record.threads(), mark }
}

/// All of it is kept in the journal: not more than a person would read.
fn clipped(mut outcome: Outcome) -> Outcome {
    let clip = |text: &mut String| {
        if text.len() > WORDS_MAX {
            let cut = (0..=WORDS_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
            text.truncate(cut);
            text.push('…');
        }
    };
    match &mut outcome {
        Outcome::Applied { detail, outputs, owed } => {
            clip(detail);
            while outputs.len() > OUTPUTS_MAX {
                outputs.pop_last();
            }
            outputs.values_mut().for_each(clip);
            owed.iter_mut().for_each(|owed| clip(&mut owed.what));
        }
        Outcome::NotApplied { reason, .. }
        | Outcome::Unreachable { reason }
        | Outcome::Unknown { reason }
        | Outcome::Stale { reason } => clip(reason),
        Outcome::Ask { question } => clip(question),
    }
    outcome
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
