//! One stage of a running execution.
//!
//! ```text
//!                          ┌──────────────◄ again ◄────────────────┐
//!                          ▼                                        │
//!  Waiting ──intent──► Running ──not applied, unreachable──► Backoff ──time is up──► failing
//!                       │ │ │ │                                ▲ ▲ ▲
//!      ┌──── applied ◄──┘ │ │ └── asks ──► Asking ──approve────┘ │ │
//!      │                  │ │                 │ decline          │ │
//!      │     fails ◄──────┘ │                 ▼                  │ │
//!      │       │            │              Declined ──approve────┘ │
//!      │       ▼            └── unknown ─► Uncertain ◄─┐           │
//!      │    failing                         │          │ cannot tell
//!      │     ├ continue, abort              └ look ─► Looking ─────┤ not applied
//!      │     └ pause ─► Failed ─ retry ─► Backoff      │ │         │
//!      │                  │ skip                       │ └─► Unresolved ── resolve not applied
//!      ▼                  ▼                            ▼          │
//!   Settled ◄───────────────────────────── applied ◄───┴──────────┘ resolve applied
//! ```
//! From *uncertain* nothing leads on but an observation or an operator. `Fenced` (someone else
//! owns the target) waits for an operator as `Failed` does; `skip` leads from every state in
//! which nothing is under way to `Settled`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::judge::{self, Case, DEFER_AFTER, deferrable};
use super::record::{Answer, Then, Word};
use super::{Act, Call, DatabaseRole, OnFailure, Op, Outcome, PlannedStage, Token};
use crate::base::{Mono, Timestamp};

/// Where a stage stands.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Phase {
    /// Not begun.
    Waiting,
    /// A call to do it is on its way, or is about to be.
    Running { intent: Token },
    /// The last attempt did nothing; the next one comes then.
    Backoff { until: Mono },
    /// The last attempt, whose intent has this index, may have done it. The next look comes then.
    Uncertain { apply: u64, until: Mono },
    /// A call to look whether it was done is on its way.
    Looking { apply: u64, intent: Token },
    /// Nobody but an operator can tell whether it was done.
    Unresolved { apply: u64 },
    /// The agent must not go on without an operator's word.
    Asking { question: String },
    /// An operator has said no, and must say what else.
    Declined,
    /// Someone else owns the target now.
    Fenced,
    /// Given up, and an operator must say what next.
    Failed,
    /// Over.
    Settled(Settled),
}

/// How a stage is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Settled {
    /// Done.
    Applied,
    /// Done, says an operator.
    Vouched,
    /// Not needed, says an operator.
    Skipped,
    /// Owed.
    Deferred,
    /// Given up.
    Failed,
}

/// Something that cannot follow on what there is. Never happens to records that this program
/// wrote; a journal that holds one is not to be trusted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Illegal(pub String);

/// One stage of a running execution.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub plan: PlannedStage,
    pub phase: Phase,
    /// Calls to do it, all of them.
    pub attempts: u32,
    /// Of those, the ones that count against `max_attempts`.
    tries: u32,
    /// Looks in a row that could not tell.
    looks: u32,
    /// An operator has approved what the agent asked.
    pub approved: bool,
    /// The target has been reached at least once.
    contacted: bool,
    /// When its time began to run.
    pub clock: Option<Mono>,
    /// When its first call was made.
    pub began: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// The last thing that was heard of it.
    pub words: String,
    pub outputs: BTreeMap<String, String>,
    /// Regions that may still have a writer, for all that is known: an operator has vouched
    /// for the promotion, and cannot vouch for its fence.
    pub unfenced: Vec<String>,
    /// What this process knows beyond the journal; gone after a restart.
    pub air: Air,
}

/// An agent that has not answered so long after the end of its time never will.
const OVERDUE_AFTER: Duration = Duration::from_secs(5);

/// Calls that were handed out, and answers that are not in the journal yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Air {
    /// The intent of the call that was handed out, and when its answer is overdue.
    sent: Option<(u64, Mono)>,
    /// An answer, and the intent it answers.
    heard: Option<(u64, Outcome)>,
    /// The intent of a call to do it that nobody waits for any more.
    given_up: Option<u64>,
}

impl Air {
    /// A call is handed out; tells when its answer is overdue.
    pub fn send(&mut self, call: &Call, now: Mono) -> Mono {
        let overdue = now + call.timeout + OVERDUE_AFTER;
        self.sent = Some((call.token.index, overdue));
        overdue
    }

    /// When the answer to this intent is overdue; `None` if its call was not handed out.
    pub fn overdue(&self, intent: u64) -> Option<Mono> {
        self.sent.filter(|(sent, _)| *sent == intent).map(|(_, overdue)| overdue)
    }

    /// The answer to this intent.
    pub fn answer(&self, intent: u64) -> Option<&Outcome> {
        self.heard.as_ref().filter(|(heard, _)| *heard == intent).map(|(_, outcome)| outcome)
    }

    /// Takes in the answer to an intent that is waited for, the first time it comes.
    pub fn hear(&mut self, intent: u64, outcome: &Outcome) -> bool {
        let certain = matches!(outcome, Outcome::Applied { .. } | Outcome::NotApplied { .. });
        // An answer to a call that was given up counts only if it can tell.
        if self.answer(intent).is_some() || (self.overdue(intent).is_none() && !certain) {
            return false;
        }
        self.heard = Some((intent, outcome.clone()));
        true
    }

    /// The answer is in the journal.
    fn clear(&mut self, intent: u64, act: Act) {
        if act == Act::Apply {
            let unheard = self.overdue(intent).is_some() && self.answer(intent).is_none();
            self.given_up = unheard.then_some(intent);
        }
        (self.sent, self.heard) = (None, None);
    }

    /// Whether a call to do it was given up, and has not been heard of since. Tells it once.
    pub fn take_given_up(&mut self, intent: u64) -> bool {
        self.given_up.take_if(|given_up| *given_up == intent).is_some()
    }

    /// Everything is in the journal.
    pub fn settle(&mut self) {
        (self.sent, self.heard) = (None, None);
    }
}

impl Stage {
    pub fn new(plan: PlannedStage) -> Self {
        Self {
            plan,
            phase: Phase::Waiting,
            attempts: 0,
            tries: 0,
            looks: 0,
            approved: false,
            contacted: false,
            clock: None,
            began: None,
            ended: None,
            words: String::new(),
            outputs: BTreeMap::new(),
            unfenced: Vec::new(),
            air: Air::default(),
        }
    }

    // ── what it is ──

    /// Whether stages that need it may start.
    pub fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Settled(_))
    }

    /// Whether something may still happen that nobody would hear of.
    pub fn is_open(&self) -> bool {
        match self.phase {
            Phase::Running { .. }
            | Phase::Uncertain { .. }
            | Phase::Looking { .. }
            | Phase::Unresolved { .. } => true,
            Phase::Waiting
            | Phase::Backoff { .. }
            | Phase::Asking { .. }
            | Phase::Declined
            | Phase::Fenced
            | Phase::Failed
            | Phase::Settled(_) => false,
        }
    }

    /// Whether the whole execution stands still until an operator speaks.
    pub fn holds_all(&self) -> bool {
        matches!(self.phase, Phase::Declined | Phase::Fenced | Phase::Failed)
    }

    /// Whether an operator must speak before this stage can go on.
    pub fn waits_for_operator(&self) -> bool {
        self.holds_all() || matches!(self.phase, Phase::Asking { .. } | Phase::Unresolved { .. })
    }

    /// When its time is up, once it has begun to run.
    pub fn deadline(&self) -> Option<Mono> {
        self.clock.map(|clock| clock + self.plan.care.timeout)
    }

    /// The number of the attempt that a call belongs to.
    pub fn attempt_of(&self, act: Act) -> u32 {
        match act {
            Act::Apply => self.attempts + 1,
            Act::Observe => self.attempts,
        }
    }

    /// For how long an agent may try.
    pub fn call_timeout(&self, act: Act, now: Mono) -> Duration {
        const CALL_MIN: Duration = Duration::from_secs(1);
        let whole = self.plan.care.attempt_timeout;
        let Some(clock) = self.clock else { return whole };
        let elapsed = now.since(clock);
        let mut timeout = match act {
            Act::Apply => whole.min(self.plan.care.timeout.saturating_sub(elapsed)),
            Act::Observe => whole,
        };
        if deferrable(&self.plan.op) && !self.contacted {
            // A dead address that swallows packets must not use up more than its share.
            timeout = timeout.min(DEFER_AFTER.saturating_sub(elapsed));
        }
        timeout.max(CALL_MIN.min(whole))
    }

    /// What follows from an outcome.
    pub fn judge(&self, act: Act, outcome: &Outcome, lost: bool, now: Mono, rng: &mut fastrand::Rng) -> Then {
        let elapsed = self.clock.map_or(Duration::ZERO, |clock| now.since(clock));
        let case = Case {
            op: &self.plan.op,
            retry: &self.plan.care.retry,
            act,
            tries: self.tries,
            looks: self.looks,
            elapsed,
            left: self.plan.care.timeout.saturating_sub(elapsed),
            lost,
        };
        judge::judge(&case, outcome, rng)
    }

    // ── what becomes of it ──

    /// A call is about to be made.
    pub fn intend(
        &mut self,
        act: Act,
        attempt: u32,
        token: Token,
        at: Timestamp,
        now: Mono,
    ) -> Result<(), Illegal> {
        if attempt != self.attempt_of(act) {
            return Err(self.illegal(&format!("attempt {attempt} of it cannot come after {}", self.attempts)));
        }
        match (act, &self.phase) {
            (Act::Apply, Phase::Waiting | Phase::Backoff { .. }) => {
                self.attempts += 1;
                self.tries += 1;
                self.clock.get_or_insert(now);
                self.began.get_or_insert(at);
                self.phase = Phase::Running { intent: token };
            }
            (Act::Observe, Phase::Uncertain { apply, .. }) => {
                self.phase = Phase::Looking { apply: *apply, intent: token };
            }
            _ => return Err(self.illegal("no call can follow")),
        }
        Ok(())
    }

    /// Which call an answer to this intent belongs to, if it is still of interest.
    pub fn awaits(&self, intent: u64) -> Option<Act> {
        match &self.phase {
            Phase::Running { intent: running } if running.index == intent => Some(Act::Apply),
            Phase::Looking { intent: look, .. } if look.index == intent => Some(Act::Observe),
            // The agent itself can tell after all.
            Phase::Uncertain { apply, .. } | Phase::Looking { apply, .. } | Phase::Unresolved { apply }
                if *apply == intent =>
            {
                Some(Act::Apply)
            }
            _ => None,
        }
    }

    /// A call has ended.
    pub fn answer(&mut self, answer: &Answer, at: Timestamp, now: Mono) -> Result<(), Illegal> {
        let Some(act) = self.awaits(answer.intent) else {
            return Err(self.illegal(&format!("no answer to {} is awaited", answer.intent)));
        };
        let fits = match (&answer.outcome, &answer.then) {
            (Outcome::Applied { .. }, then) | (_, then @ Then::Done) => {
                matches!((&answer.outcome, then), (Outcome::Applied { .. }, Then::Done))
            }
            (Outcome::Ask { .. }, Then::Ask) => true,
            (_, Then::Ask) => false,
            (Outcome::Unreachable { .. }, Then::Defer(_)) => true,
            (_, Then::Defer(_)) => false,
            // What may have happened is never simply given up, unless doing it again is safe.
            _ => true,
        };
        if !fits {
            return Err(self.illegal("the decision does not fit the outcome"));
        }
        let apply = match &self.phase {
            Phase::Running { intent } => intent.index,
            Phase::Uncertain { apply, .. } | Phase::Looking { apply, .. } | Phase::Unresolved { apply } => {
                *apply
            }
            _ => answer.intent,
        };
        judge::words(&answer.outcome).clone_into(&mut self.words);
        let reached = !matches!(answer.outcome, Outcome::Unreachable { .. }) && !answer.lost;
        self.contacted |= reached;
        // An attempt that our own end cut short does not count, nor one that reached nobody
        // and may be owed.
        let free = answer.lost || (!reached && deferrable(&self.plan.op));
        if act == Act::Apply && free {
            self.tries = self.tries.saturating_sub(1);
        }
        let told = act == Act::Apply || matches!(answer.outcome, Outcome::NotApplied { .. });
        self.looks = match (told, answer.lost) {
            (true, _) => 0,
            (false, true) => self.looks,
            (false, false) => self.looks + 1,
        };
        if let Outcome::Applied { outputs, .. } = &answer.outcome {
            self.outputs.clone_from(outputs);
        }
        match &answer.then {
            Then::Done => self.settle(Settled::Applied, at),
            Then::Again { after } => self.phase = Phase::Backoff { until: now + *after },
            Then::Look { after } => self.phase = Phase::Uncertain { apply, until: now + *after },
            Then::Ask => self.phase = Phase::Asking { question: self.words.clone() },
            Then::Unresolved => self.phase = Phase::Unresolved { apply },
            Then::Fenced => self.phase = Phase::Fenced,
            Then::Fail { why } => {
                why.clone_into(&mut self.words);
                self.fail(at);
            }
            Then::Defer(owed) => {
                owed.what.clone_into(&mut self.words);
                self.settle(Settled::Deferred, at);
            }
        }
        self.air.clear(answer.intent, act);
        Ok(())
    }

    /// Its time is up between two attempts.
    pub fn expire(&mut self, at: Timestamp) -> Result<(), Illegal> {
        if !matches!(self.phase, Phase::Backoff { .. }) {
            return Err(self.illegal("its time cannot be up"));
        }
        self.words = format!(
            "its time of {} was up: {}",
            crate::base::show_span(self.plan.care.timeout),
            if self.words.is_empty() { "nothing was heard" } else { &self.words }
        );
        self.fail(at);
        Ok(())
    }

    fn fail(&mut self, at: Timestamp) {
        match self.plan.care.on_failure {
            OnFailure::Pause => self.phase = Phase::Failed,
            OnFailure::Continue | OnFailure::Abort => self.settle(Settled::Failed, at),
        }
    }

    fn settle(&mut self, how: Settled, at: Timestamp) {
        self.phase = Phase::Settled(how);
        self.ended = Some(at);
    }

    /// Whether an operator may say this of it now, and if not, why not.
    pub fn may(&self, what: Word) -> Result<(), String> {
        let (name, state) = (&self.plan.name, self.state());
        let fits = match what {
            Word::Approve => matches!(self.phase, Phase::Asking { .. } | Phase::Declined),
            Word::Decline => matches!(self.phase, Phase::Asking { .. }),
            Word::Retry => matches!(
                self.phase,
                Phase::Failed
                    | Phase::Fenced
                    | Phase::Backoff { .. }
                    | Phase::Unresolved { .. }
                    | Phase::Uncertain { .. }
            ),
            Word::Skip => !self.is_open() && !self.is_settled(),
            Word::Applied | Word::NotApplied => matches!(
                self.phase,
                Phase::Uncertain { .. } | Phase::Looking { .. } | Phase::Unresolved { .. }
            ),
            Word::Pause | Word::Resume | Word::Cancel => {
                return Err(format!("{what} is said to an execution, not to a stage"));
            }
        };
        if fits {
            return Ok(());
        }
        let choices: Vec<_> = self.choices().iter().map(|choice| format!("`{choice}`")).collect();
        Err(match choices.as_slice() {
            [] => format!("stage `{name}` is {state}: there is nothing to {what}"),
            choices => format!("stage `{name}` is {state}: it takes {}", choices.join(", ")),
        })
    }

    /// What an operator may say of it now.
    pub fn choices(&self) -> &'static [Word] {
        match self.phase {
            Phase::Waiting => &[Word::Skip],
            Phase::Running { .. } | Phase::Settled(_) => &[],
            Phase::Backoff { .. } | Phase::Fenced | Phase::Failed => &[Word::Retry, Word::Skip],
            Phase::Uncertain { .. } | Phase::Unresolved { .. } => {
                &[Word::Retry, Word::Applied, Word::NotApplied]
            }
            Phase::Looking { .. } => &[Word::Applied, Word::NotApplied],
            Phase::Asking { .. } => &[Word::Approve, Word::Decline, Word::Skip],
            Phase::Declined => &[Word::Approve, Word::Skip],
        }
    }

    /// An operator has spoken.
    pub fn order(&mut self, what: Word, by: &str, at: Timestamp, now: Mono) -> Result<(), Illegal> {
        self.may(what).map_err(Illegal)?;
        match (what, &self.phase) {
            (Word::Retry, Phase::Unresolved { apply } | Phase::Uncertain { apply, .. }) => {
                self.looks = 0;
                self.clock = self.clock.map(|_| now);
                self.phase = Phase::Uncertain { apply: *apply, until: now };
            }
            (Word::Approve | Word::Retry | Word::NotApplied, _) => {
                self.approved |= what == Word::Approve;
                // Everything it may use up is given to it once more.
                (self.tries, self.looks, self.clock) = (0, 0, None);
                self.phase = Phase::Backoff { until: now };
            }
            (Word::Decline, _) => {
                self.approved = false;
                self.words = format!("declined by {by}");
                self.phase = Phase::Declined;
            }
            (Word::Skip, _) => {
                self.words = format!("skipped by {by}");
                self.settle(Settled::Skipped, at);
            }
            (Word::Applied, _) => {
                self.words = format!("done, says {by}");
                if let Op::Database(database) = &self.plan.op
                    && database.role == DatabaseRole::Writer
                {
                    let regions = database.nodes.iter().map(|node| node.region.clone());
                    self.unfenced = regions.filter(|region| *region != database.region).collect();
                }
                self.settle(Settled::Vouched, at);
            }
            (Word::Pause | Word::Resume | Word::Cancel, _) => {}
        }
        Ok(())
    }

    /// In one word.
    pub fn state(&self) -> &'static str {
        match &self.phase {
            Phase::Waiting => "waiting",
            Phase::Running { .. } => "running",
            Phase::Backoff { .. } => "backing_off",
            Phase::Uncertain { .. } => "uncertain",
            Phase::Looking { .. } => "looking",
            Phase::Unresolved { .. } => "unresolved",
            Phase::Asking { .. } => "asking",
            Phase::Declined => "declined",
            Phase::Fenced => "fenced",
            Phase::Failed | Phase::Settled(Settled::Failed) => "failed",
            Phase::Settled(Settled::Applied) => "applied",
            Phase::Settled(Settled::Vouched) => "vouched",
            Phase::Settled(Settled::Skipped) => "skipped",
            Phase::Settled(Settled::Deferred) => "deferred",
        }
    }

    fn illegal(&self, what: &str) -> Illegal {
        Illegal(format!("stage `{}` is {}: {what}", self.plan.name, self.state()))
    }
}
