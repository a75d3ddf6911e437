//! Something that could not be done and is still owed: most often, to fence the old writer in
//! a region that was dead when its database moved. Tried until it is paid, across restarts;
//! until then the region is not to serve.
//!
//! ```text
//!  opened ──► Idle ──intent──► Running ──applied──► paid
//!              ▲                │  │
//!              └── not applied, │  └─ nobody can tell ─► Unresolved ── operator: applied ─► paid
//!                  unreachable, unknown                      └──────── operator: retry ───► Idle
//! ```

use std::time::Duration;

use super::execution::{Around, Next};
use super::judge::{judge_owed, words};
use super::record::{Answer, Intent, ObligationId, Order, Record, Stamp, Subject, Then, Word};
use super::stage::{Air, Illegal};
use super::{Act, Call, ExecutionId, Outcome, Owed, Token};
use crate::base::{Mono, Timestamp};

/// For how long an agent may try to pay.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, PartialEq, Debug)]
enum Phase {
    Idle { act: Act, until: Mono },
    Running { act: Act, intent: Token },
    Unresolved,
}

/// Something owed.
#[derive(Clone, Debug)]
pub(super) struct Obligation {
    pub id: ObligationId,
    pub owed: Owed,
    /// Who left it, and in which stage.
    pub execution: ExecutionId,
    pub stage: String,
    pub since: Timestamp,
    /// Attempts to pay it so far.
    pub attempts: u32,
    /// The last thing that was heard of it.
    pub words: String,
    phase: Phase,
    pub air: Air,
    /// When it must be looked at again.
    pub look_at: Mono,
}

impl Obligation {
    /// `None` if whoever left it is neither a stage nor an obligation.
    pub fn new(owed: &Owed, execution: ExecutionId, stage: String, stamp: Stamp, now: Mono) -> Self {
        Self {
            id: ObligationId(stamp.token.index),
            owed: owed.clone(),
            execution,
            stage,
            since: stamp.at,
            attempts: 0,
            words: String::new(),
            phase: Phase::Idle { act: Act::Apply, until: now },
            air: Air::default(),
            look_at: now,
        }
    }

    fn subject(&self) -> Subject {
        Subject::Obligation(self.id)
    }

    pub fn waits_for_operator(&self) -> bool {
        self.phase == Phase::Unresolved
    }

    /// When it will be tried again, while nothing is under way.
    pub fn next_try(&self) -> Option<Mono> {
        match self.phase {
            Phase::Idle { until, .. } => Some(until),
            Phase::Running { .. } | Phase::Unresolved => None,
        }
    }

    pub fn next(&self, around: &mut Around<'_>) -> Next {
        let mut next = Next::default();
        match &self.phase {
            Phase::Idle { act, until } if around.plan => {
                if around.now < *until {
                    next.wake(*until);
                } else {
                    let attempt = self.attempts + u32::from(*act == Act::Apply);
                    let (of, heard) = (self.subject(), self.words.clone());
                    next.records.push(Record::Intent(Intent { of, act: *act, attempt, heard }));
                }
            }
            Phase::Running { act, intent } => {
                if intent.epoch != around.epoch {
                    let reason = "the daemon was restarted before the answer came".to_owned();
                    next.records.push(self.answer(
                        *act,
                        intent.index,
                        Outcome::Unknown { reason },
                        true,
                        around,
                    ));
                } else if let Some(outcome) = self.air.answer(intent.index) {
                    next.records.push(self.answer(*act, intent.index, outcome.clone(), false, around));
                } else if let Some(overdue) = self.air.overdue(intent.index) {
                    if around.now >= overdue {
                        let reason = "the agent has never answered".to_owned();
                        next.records.push(self.answer(
                            *act,
                            intent.index,
                            Outcome::Unknown { reason },
                            false,
                            around,
                        ));
                    } else {
                        next.wake(overdue);
                    }
                } else if around.open {
                    next.calls.push((0, self.call(*act, *intent)));
                }
            }
            Phase::Idle { .. } | Phase::Unresolved => {}
        }
        next
    }

    fn answer(&self, act: Act, intent: u64, outcome: Outcome, lost: bool, around: &mut Around<'_>) -> Record {
        let then = judge_owed(&self.owed.op, act, self.attempts, &outcome, around.rng);
        Record::Answer(Box::new(Answer { of: self.subject(), intent, outcome, then, lost }))
    }

    fn call(&self, act: Act, token: Token) -> Call {
        Call {
            execution: self.execution.clone(),
            // Apart from the stage that left it: a target that remembers keys must not take
            // the payment for the promotion it was left by.
            stage: format!("{}/owed-{}", self.stage, self.id),
            attempt: self.attempts,
            act,
            token,
            op: self.owed.op.clone(),
            timeout: CALL_TIMEOUT,
            approved: false,
        }
    }

    /// Tries it now. Not a decision, so nothing for the journal.
    pub fn nudge(&mut self) {
        if let Phase::Idle { until, .. } = &mut self.phase {
            *until = Mono::default();
            self.look_at = Mono::default();
        }
    }

    /// Whether an answer to this intent is still of interest.
    pub fn awaits(&self, intent: u64) -> bool {
        matches!(self.phase, Phase::Running { intent: running, .. } if running.index == intent)
    }

    /// Whether an operator may say this now, and if not, why not.
    pub fn may(&self, what: Word) -> Result<(), String> {
        match (what, &self.phase) {
            (Word::Retry | Word::Applied, Phase::Running { .. }) => {
                Err(format!("obligation {} is being tried right now: wait for its answer", self.id))
            }
            (Word::Retry | Word::Applied, _) => Ok(()),
            _ => Err(format!("obligation {} takes `{}` or `{}`", self.id, Word::Retry, Word::Applied)),
        }
    }

    /// Takes in a record about it; tells whether it is paid.
    pub fn fold(&mut self, stamp: Stamp, record: &Record, now: Mono) -> Result<bool, Illegal> {
        self.look_at = Mono::default();
        match record {
            Record::Intent(intent) => {
                // What came before is not read back after a restart, so the record says it all.
                let Phase::Idle { .. } = self.phase else {
                    return Err(Illegal(format!("{} is not idle", self.subject())));
                };
                self.attempts = intent.attempt;
                intent.heard.clone_into(&mut self.words);
                self.phase = Phase::Running { act: intent.act, intent: stamp.token };
            }
            Record::Answer(answer) => {
                let Phase::Running { intent, .. } = self.phase else {
                    return Err(Illegal(format!("{} awaits no answer", self.subject())));
                };
                if intent.index != answer.intent {
                    return Err(Illegal(format!("{} awaits no answer to {}", self.subject(), answer.intent)));
                }
                words(&answer.outcome).clone_into(&mut self.words);
                self.air.settle();
                self.phase = match &answer.then {
                    Then::Done => return Ok(true),
                    Then::Again { after } => Phase::Idle { act: Act::Apply, until: now + *after },
                    Then::Look { after } => Phase::Idle { act: Act::Observe, until: now + *after },
                    Then::Unresolved => Phase::Unresolved,
                    Then::Ask | Then::Fenced | Then::Fail { .. } | Then::Defer(_) => {
                        return Err(Illegal(format!("{} is only ever tried again", self.subject())));
                    }
                };
            }
            Record::Order(Order { what, .. }) => {
                self.may(*what).map_err(Illegal)?;
                if *what == Word::Applied {
                    return Ok(true);
                }
                let act = match self.phase {
                    Phase::Idle { act, .. } => act,
                    Phase::Running { .. } | Phase::Unresolved => Act::Apply,
                };
                self.phase = Phase::Idle { act, until: now };
            }
            _ => return Err(Illegal(format!("{} takes no such record", self.subject()))),
        }
        Ok(false)
    }
}
