//! The rules, checked on what is durable and on every call that leaves the engine.

use std::collections::{BTreeMap, BTreeSet};

use pointsman::workflow::{
    Act, Call, Cause, ExecutionId, OnFailure, Op, Outcome, Plan, Record, Recovery, Stamp, Subject, Then,
    Word, recovery,
};

#[derive(Default)]
struct StageFacts {
    settled: bool,
    /// A call whose answer is not durable: its intent.
    open: Option<u64>,
    /// The intent of a call that may have done it.
    unknown: Option<u64>,
    approved: bool,
    attempts: u32,
}

struct ExecutionFacts {
    plan: Plan,
    stages: Vec<StageFacts>,
    ending: bool,
}

/// Reads the journal as it grows. Panics when a rule is broken, naming it.
#[derive(Default)]
pub struct Auditor {
    live: BTreeMap<u64, ExecutionFacts>,
    next: u64,
    epoch: u64,
    flips: BTreeSet<(String, String, u64)>,
    intents: BTreeMap<u64, (u64, Subject, Act, u32)>,
    called: BTreeSet<u64>,
    pub obligations: BTreeSet<u64>,
    pub settled: u64,
}

impl Auditor {
    pub fn record(&mut self, stamp: Stamp, record: &Record) {
        let index = stamp.token.index;
        assert_eq!(index, self.next, "S5: indices have no gaps");
        assert!(stamp.token.epoch >= self.epoch, "S5: epochs never fall");
        (self.next, self.epoch) = (index + 1, stamp.token.epoch);
        match record {
            Record::Started(started) => {
                if let Cause::Flip { region, generation, .. } = &started.cause {
                    let flip = (started.plan.workflow.clone(), region.clone(), *generation);
                    assert!(self.flips.insert(flip.clone()), "S2: a second execution for {flip:?}");
                }
                let clusters: BTreeSet<&str> = started.plan.clusters().collect();
                for other in self.live.values() {
                    assert_ne!(
                        other.plan.workflow, started.plan.workflow,
                        "S3: two executions of one workflow"
                    );
                    let shared = other.plan.clusters().any(|cluster| clusters.contains(cluster));
                    assert!(!shared, "S3: two executions on one cluster");
                }
                let stages = started.plan.stages.iter().map(|_| StageFacts::default()).collect();
                self.live.insert(index, ExecutionFacts { plan: started.plan.clone(), stages, ending: false });
            }
            Record::Intent(intent) => {
                self.intents
                    .insert(index, (stamp.token.epoch, intent.of.clone(), intent.act, intent.attempt));
                if let Subject::Obligation(id) = &intent.of {
                    assert!(self.obligations.contains(&id.0), "an obligation that is not open is tried");
                    return;
                }
                let (execution, at) = self.stage(&intent.of);
                let needs = execution.plan.stages[at].needs.clone();
                let op = execution.plan.stages[at].op.clone();
                if intent.act == Act::Apply {
                    assert!(
                        needs.iter().all(|need| execution.stages[*need].settled),
                        "S10: {intent:?} before its needs"
                    );
                    assert!(!execution.ending, "a new attempt while the execution is ending");
                }
                let stage = &mut execution.stages[at];
                assert!(!stage.settled, "{intent:?}: it is settled");
                assert_eq!(stage.open, None, "{intent:?}: a call is under way");
                match intent.act {
                    Act::Apply => {
                        let harmless = stage.unknown.is_none() || may_redo(&op);
                        assert!(harmless, "S12: {intent:?} guesses what is unknown");
                        stage.attempts += 1;
                        assert_eq!(intent.attempt, stage.attempts, "attempts count from 1 without gaps");
                    }
                    Act::Observe => assert!(stage.unknown.is_some(), "{intent:?}: nothing is unknown"),
                }
                stage.open = Some(index);
            }
            Record::Answer(answer) => {
                let owed = matches!(&answer.outcome, Outcome::Applied { owed: Some(_), .. });
                if owed || matches!(answer.then, Then::Defer(_)) {
                    self.obligations.insert(index);
                }
                if let Subject::Obligation(id) = &answer.of {
                    if answer.then == Then::Done {
                        assert!(self.obligations.remove(&id.0), "an obligation is paid twice");
                    }
                    return;
                }
                let act = self.intents[&answer.intent].2;
                let (execution, at) = self.stage(&answer.of);
                let on_failure = execution.plan.stages[at].care.on_failure;
                let stage = &mut execution.stages[at];
                let known = stage.open == Some(answer.intent) || stage.unknown == Some(answer.intent);
                assert!(known, "an answer to {}, which nobody waits for", answer.intent);
                stage.open = None;
                match (&answer.outcome, act) {
                    (Outcome::Applied { .. } | Outcome::NotApplied { .. }, _) => stage.unknown = None,
                    (Outcome::Unknown { .. }, Act::Apply) => stage.unknown = Some(answer.intent),
                    (_, Act::Apply) => stage.unknown = None,
                    (_, Act::Observe) => {}
                }
                match &answer.then {
                    Then::Done | Then::Defer(_) => stage.settled = true,
                    // Only what is safe to do again may be given up without being told.
                    Then::Fail { .. } => {
                        stage.unknown = None;
                        stage.settled = on_failure != OnFailure::Pause;
                        execution.ending |= on_failure == OnFailure::Abort;
                    }
                    _ => {}
                }
            }
            Record::Order(order) => match (&order.of, order.what) {
                (Subject::Obligation(id), Word::Applied) => {
                    assert!(self.obligations.remove(&id.0), "an obligation is paid twice");
                }
                (Subject::Obligation(_), _) => {}
                (Subject::Execution(id), word) => {
                    let ending = &mut self.execution(id).ending;
                    *ending |= word == Word::Cancel;
                }
                (of, word) => {
                    let (execution, at) = self.stage(of);
                    let redo = may_redo(&execution.plan.stages[at].op);
                    let stage = &mut execution.stages[at];
                    match word {
                        Word::Skip => {
                            assert!(stage.open.is_none(), "skipped while it is under way");
                            assert!(stage.unknown.is_none() || redo, "skipped while it may happen");
                            stage.settled = true;
                        }
                        Word::Applied => (stage.settled, stage.unknown, stage.open) = (true, None, None),
                        Word::NotApplied => (stage.unknown, stage.open) = (None, None),
                        Word::Approve => stage.approved = true,
                        Word::Decline => stage.approved = false,
                        _ => {}
                    }
                }
            },
            Record::Expired(expired) => {
                if let Subject::Stage { .. } = &expired.of {
                    let (execution, at) = self.stage(&expired.of);
                    let on_failure = execution.plan.stages[at].care.on_failure;
                    execution.stages[at].settled = on_failure != OnFailure::Pause;
                    execution.ending |= on_failure == OnFailure::Abort;
                }
            }
            Record::Owes(_) => drop(self.obligations.insert(index)),
            Record::Settled(view) => {
                let number = view.id.number().unwrap();
                let facts = self.live.remove(&number).expect("what is not live cannot end");
                for (stage, planned) in facts.stages.iter().zip(&facts.plan.stages) {
                    let name = &planned.name;
                    assert!(stage.open.is_none(), "S26: ended while `{name}` is under way");
                    let harmless = stage.unknown.is_none() || may_redo(&planned.op);
                    assert!(harmless, "S26: ended while `{name}` may happen");
                    assert!(stage.settled || facts.ending, "ended before `{name}` was settled");
                }
                self.settled += 1;
            }
        }
    }

    /// A call has left the engine.
    pub fn call(&mut self, call: &Call, epoch: u64) {
        let index = call.token.index;
        let Some((of_epoch, of, act, attempt)) = self.intents.get(&index).cloned() else {
            panic!("S4: {call:?} has no durable intent");
        };
        assert_eq!(call.token.epoch, of_epoch, "S4: the token is the intent's");
        assert_eq!(of_epoch, epoch, "S6: a call for the intent of an earlier process");
        assert!(self.called.insert(index), "S4: one intent, two calls");
        assert_eq!((call.act, call.attempt), (act, attempt), "S4: the call is the intent's");
        if let Subject::Stage { execution, stage } = &of {
            assert_eq!((&call.execution, &call.stage), (execution, stage), "S4: the call is the intent's");
            let (facts, at) = self.stage(&of);
            let mut frozen = facts.plan.stages[at].op.clone();
            named(&mut frozen, execution);
            assert_eq!(call.op, frozen, "S9: the target is the one of the admission");
            assert_eq!(
                call.approved, facts.stages[at].approved,
                "S20: approved by an operator, or not at all"
            );
        }
    }

    fn execution(&mut self, id: &ExecutionId) -> &mut ExecutionFacts {
        self.live.get_mut(&id.number().unwrap()).unwrap_or_else(|| panic!("{id} is not live"))
    }

    fn stage(&mut self, of: &Subject) -> (&mut ExecutionFacts, usize) {
        let Subject::Stage { execution, stage } = of else { panic!("{of} is no stage") };
        let facts = self.execution(execution);
        let at = facts.plan.stages.iter().position(|planned| planned.name == *stage).unwrap();
        (facts, at)
    }
}

/// Whether it does no harm if it happens once more.
fn may_redo(op: &Op) -> bool {
    matches!(recovery(op), Recovery::Redo | Recovery::LookThenRedo)
}

/// The id in the texts of our own test workflows.
fn named(op: &mut Op, execution: &ExecutionId) {
    let fill = |text: &mut String| *text = text.replace("${execution}", &execution.0);
    match op {
        Op::Exec(exec) => exec.argv.iter_mut().for_each(fill),
        Op::Notify(notify) => fill(&mut notify.message),
        _ => {}
    }
}
