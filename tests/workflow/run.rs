//! An engine, its journal and its world, moved one small step at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pointsman::base::{Mono, Now, Timestamp};
use pointsman::workflow::{
    Act, By, Call, Cause, Decision, Engine, Entry, Gate, Heard, Mark, ObligationId, Outcome, Plan, Receipt,
    Record, Refusal, Replayed, Stamp, State, Step, Subject, Thread, Token, Word,
};

use crate::auditor::Auditor;
use crate::flows::by;
use crate::world::{Fate, World};

/// What a store keeps, and what it reads back.
#[derive(Default, Clone)]
pub struct Journal {
    pub records: Vec<(Stamp, Record, Vec<Thread>)>,
    marks: BTreeMap<String, u64>,
}

impl Journal {
    fn append(&mut self, epoch: u64, entry: Entry) -> (Stamp, Record) {
        let stamp = Stamp { token: Token { epoch, index: self.records.len() as u64 }, at: entry.at };
        let record = Record::read(entry.kind, &entry.body).unwrap().unwrap();
        assert_eq!(record.body(), entry.body, "a record comes back as it was written");
        if let Some(mark) = entry.mark {
            self.marks.insert(mark.key(), mark.generation);
        }
        self.records.push((stamp, record.clone(), entry.threads));
        (stamp, record)
    }

    pub fn replay(&self) -> Vec<Replayed> {
        let mut live: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut kept: BTreeSet<u64> = BTreeSet::new();
        for (index, (_, _, threads)) in (0u64..).zip(&self.records) {
            for thread in threads {
                match thread {
                    Thread::Opens => drop(live.insert(index, vec![index])),
                    // Of a thread that is over nothing is read back but its last record.
                    Thread::Continues(of) => {
                        live.get_mut(of).into_iter().for_each(|records| records.push(index))
                    }
                    Thread::Replaces(of) => {
                        let records = live.get_mut(of).expect("the thread is open");
                        records.truncate(1);
                        records.push(index);
                    }
                    Thread::Closes(of) => {
                        live.remove(of).expect("the thread is open");
                        kept.insert(index);
                    }
                    Thread::Ends(of) => drop(live.remove(of).expect("the thread is open")),
                }
            }
        }
        let open: BTreeSet<u64> = live.keys().copied().collect();
        kept.extend(live.into_values().flatten());
        kept.into_iter()
            .map(|index| {
                let (stamp, record, _) = self.records[index as usize].clone();
                Replayed { stamp, record, open: open.contains(&index) }
            })
            .collect()
    }

    pub fn marks(&self) -> Vec<Mark> {
        self.marks.iter().map(|(key, value)| Mark::read(key, *value).unwrap()).collect()
    }
}

pub struct Run {
    pub engine: Engine,
    pub journal: Journal,
    pub auditor: Auditor,
    pub world: World,
    pub now: Now,
    pub epoch: u64,
    pub gate: Gate,
    pub batch: Option<Vec<Entry>>,
    /// Handed out, not answered.
    pub calls: Vec<Call>,
    /// Answered already.
    pub past: Vec<(Call, Outcome)>,
    pub refused: Vec<(Receipt, Refusal)>,
    pub rng: fastrand::Rng,
    /// Whether to compare with a restart after every batch.
    pub thorough: bool,
}

impl Run {
    pub fn new(seed: u64) -> Self {
        let wall: Timestamp = "2026-11-21T09:00:00Z".parse().unwrap();
        Self {
            engine: Engine::new(1),
            journal: Journal::default(),
            auditor: Auditor::default(),
            world: World::default(),
            now: Now { mono: Mono(Duration::from_secs(1)), wall },
            epoch: 1,
            gate: Gate::Open,
            batch: None,
            calls: Vec::new(),
            past: Vec::new(),
            refused: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            thorough: true,
        }
    }

    pub fn start(&mut self, plan: &Plan, cause: Cause) -> Result<Receipt, Refusal> {
        self.engine.start(plan.clone(), cause, &self.gate, &mut self.rng)
    }

    pub fn order(&mut self, of: Subject, what: Word) -> Result<Receipt, Refusal> {
        self.engine.order(of, what, by("because"))
    }

    /// Asks what is to be done.
    pub fn advance(&mut self) {
        for step in self.engine.advance(self.now, &self.gate, &mut self.rng) {
            match step {
                Step::Append(entries) => {
                    assert!(!matches!(self.gate, Gate::StoreFailing(_)), "nothing can be recorded");
                    assert!(self.batch.replace(entries).is_none(), "two batches with the store at once");
                }
                Step::Perform(call) => {
                    assert_eq!(self.gate, Gate::Open, "nothing new while the gate is closed");
                    assert!(call.timeout > Duration::ZERO);
                    self.auditor.call(&call, self.epoch);
                    self.calls.push(*call);
                }
                Step::Refuse(receipt, refusal) => self.refused.push((receipt, refusal)),
            }
        }
    }

    /// The batch becomes durable; the engine does not know yet.
    pub fn commit(&mut self) -> Option<u64> {
        let entries = self.batch.take()?;
        let first = self.journal.records.len() as u64;
        for entry in entries {
            let (stamp, record) = self.journal.append(self.epoch, entry);
            self.auditor.record(stamp, &record);
        }
        Some(first)
    }

    /// The batch becomes durable, and the engine hears of it.
    pub fn stored(&mut self) {
        let Some(first) = self.commit() else { return };
        self.acknowledge(first);
    }

    pub fn acknowledge(&mut self, first: u64) {
        self.engine.stored(first, self.now.mono).unwrap_or_else(|fault| panic!("{fault}"));
        self.same_after_restart();
    }

    pub fn store_failed(&mut self) {
        if self.batch.take().is_some() {
            self.engine.store_failed("no space left on device", self.now.mono, &mut self.rng);
        }
    }

    /// A call is performed and answered.
    pub fn perform(&mut self, position: usize, fate: Fate) -> Heard {
        let call = self.calls.remove(position);
        let outcome = self.world.take(&call, fate);
        self.answer(call, outcome)
    }

    pub fn answer(&mut self, call: Call, outcome: Outcome) -> Heard {
        let heard = self.engine.outcome(&call, outcome.clone());
        self.past.push((call, outcome));
        heard
    }

    /// The process is killed and another one takes over. Of the calls that are under way, the
    /// first so many still reach their target.
    pub fn crash(&mut self, landing: usize, fate: impl Fn(&Call) -> Fate) {
        for call in std::mem::take(&mut self.calls).into_iter().take(landing) {
            self.world.land(&call, fate(&call));
        }
        (self.batch, self.past) = (None, Vec::new());
        self.epoch += 1;
        self.now = self.now.after(Duration::from_secs(2));
        // The new process's clock knows nothing of the old one's.
        self.now.mono = Mono(Duration::from_millis(10));
        self.engine = self.restored(self.epoch);
    }

    fn restored(&self, epoch: u64) -> Engine {
        Engine::restore(epoch, self.journal.marks(), self.journal.replay(), self.now.mono)
            .unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// What is durable makes the same state, whether it came live or is read back.
    fn same_after_restart(&self) {
        if !self.thorough {
            return;
        }
        let restored = self.restored(self.epoch + 1);
        let seen = |engine: &Engine| {
            let mut executions: Vec<_> = engine.executions(self.now).collect();
            for execution in &mut executions {
                // A gate is not in the journal, and waits begin anew.
                (execution.state, execution.why) = (State::Running, None);
                execution.stages.iter_mut().for_each(|stage| stage.next = None);
            }
            let mut obligations: Vec<_> = engine.obligations(self.now).collect();
            obligations.iter_mut().for_each(|obligation| obligation.next = None);
            (executions, obligations, engine.settled().cloned().collect::<Vec<_>>())
        };
        let (live, read_back) = (seen(&self.engine), seen(&restored));
        for (live, read_back) in live.0.iter().zip(&read_back.0) {
            assert_eq!(live, read_back);
        }
        assert_eq!(live.1, read_back.1);
        assert_eq!(live.2, read_back.2);
        let open: BTreeSet<u64> = self.engine.obligations(self.now).map(|o| o.id.0).collect();
        assert_eq!(open, self.auditor.obligations, "what is owed");
    }

    pub fn sleep(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    pub fn decisions(&self) -> Vec<(Subject, Decision)> {
        let executions: Vec<_> = self.engine.executions(self.now).collect();
        let mut decisions = Vec::new();
        for execution in executions {
            for decision in execution.decisions {
                let of = match &decision.stage {
                    None => Subject::Execution(execution.id.clone()),
                    Some(stage) => Subject::Stage { execution: execution.id.clone(), stage: stage.clone() },
                };
                decisions.push((of, decision));
            }
        }
        decisions
    }

    /// What an operator who knows the world says about it.
    pub fn wise_word(&self, of: &Subject, decision: &Decision) -> Word {
        let has = |word| decision.choices.contains(&word);
        if let Subject::Stage { execution, stage } = of
            && has(Word::Applied)
        {
            let done = self.world.has(&execution.0, stage);
            return if done { Word::Applied } else { Word::NotApplied };
        }
        [Word::Approve, Word::Resume, Word::Retry]
            .into_iter()
            .find(|word| has(*word))
            .unwrap_or_else(|| panic!("{of} waits, and nothing helpful can be said: {decision:?}"))
    }

    /// From here on the world is honest and the operator wise: everything must come to an end.
    pub fn calm(&mut self) {
        self.gate = Gate::Open;
        for _ in 0..3000 {
            self.advance();
            if self.batch.is_some() {
                self.stored();
            } else if !self.calls.is_empty() {
                self.perform(0, Fate::Honest);
            } else if self.engine.is_empty() && self.engine.obligations(self.now).next().is_none() {
                return;
            } else if self.engine.held().is_some() {
                self.sleep_till_woken();
            } else if let Some((of, decision)) = self.decisions().into_iter().next() {
                let word = self.wise_word(&of, &decision);
                self.order(of, word).unwrap();
            } else if let Some(stuck) = self.stuck_obligation() {
                self.order(Subject::Obligation(stuck), Word::Retry).unwrap();
            } else {
                self.sleep_till_woken();
            }
        }
        let views: Vec<_> = self.engine.executions(self.now).collect();
        panic!("L4: it never ends: {views:#?}");
    }

    /// A call to do it is still on its way to its target, whether or not the engine waits for it.
    pub fn may_still_happen(&self, of: &Subject) -> bool {
        let Subject::Stage { execution, stage } = of else { return false };
        self.calls
            .iter()
            .any(|call| call.act == Act::Apply && call.execution == *execution && call.stage == *stage)
    }

    pub fn stuck_obligation(&self) -> Option<ObligationId> {
        self.engine.obligations(self.now).find(|o| o.waits_for_operator).map(|o| o.id)
    }

    pub fn sleep_till_woken(&mut self) {
        let Some(wake) = self.engine.wake() else {
            let views: Vec<_> = self.engine.executions(self.now).collect();
            panic!("L4: nothing is under way, nobody is asked, and nothing will happen: {views:#?}");
        };
        assert!(wake > self.now.mono, "it wants to be woken at once, and did nothing just now");
        self.sleep(wake.since(self.now.mono));
    }

    /// Every execution that says it succeeded has done everything.
    pub fn check_ends(&self) {
        for view in self.engine.settled() {
            let unmet = view.stages.iter().find(|stage| !self.world.has(&view.id.0, &stage.name));
            match view.state {
                State::Succeeded => {
                    assert!(unmet.is_none(), "S11: {unmet:?} was never done");
                    assert!(view.stages.iter().all(|s| s.state == "applied" || s.state == "vouched"));
                }
                State::SucceededWithExceptions => {
                    for stage in view.stages.iter().filter(|s| s.state == "applied" || s.state == "vouched") {
                        assert!(self.world.has(&view.id.0, &stage.name), "S11: {stage:?} was never done");
                    }
                    assert!(view.why.is_some());
                }
                State::Failed | State::Cancelled => assert!(view.why.is_some()),
                state => panic!("{state:?} is no end"),
            }
            assert!(view.ended.is_some() && view.decisions.is_empty());
        }
    }
}

pub fn automation_off() -> Gate {
    Gate::AutomationOff(By { who: "ada".into(), why: "maintenance".into() })
}
