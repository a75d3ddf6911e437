//! The targets, and what was really done to them.

use std::collections::BTreeMap;
use std::time::Duration;

use pointsman::workflow::{Act, Call, DatabaseRole, Op, Outcome, Owed, Recovery, Retry, recovery};

/// How the world takes a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It does what is asked, and says so.
    Honest,
    /// It does it, and the answer says that it cannot tell.
    DoneUnknown,
    /// It does not do it, and the answer says that it cannot tell.
    IdleUnknown,
    /// It does not do it, and says so.
    Refused(Retry),
    /// It cannot be reached.
    Unreachable,
    /// It wants an operator's word, if it has not got it.
    Asks,
    /// It has seen a higher token.
    Stale,
    /// It does it, and leaves something owed.
    Owes,
}

#[derive(Default)]
pub struct World {
    /// How often each was done, by idempotency key.
    pub done: BTreeMap<String, u32>,
    /// The order of first doings, by stage.
    pub order: Vec<String>,
    /// What doings left owed, by idempotency key: an observer tells it too.
    owed: BTreeMap<String, Option<Box<Owed>>>,
}

impl World {
    /// Takes a call, and answers it.
    pub fn take(&mut self, call: &Call, fate: Fate) -> Outcome {
        let detail = || format!("{} {}", call.stage, call.token);
        match (call.act, fate) {
            (Act::Observe, Fate::IdleUnknown | Fate::DoneUnknown) => {
                Outcome::Unknown { reason: "cannot be told from here".into() }
            }
            (_, Fate::Unreachable) => Outcome::Unreachable { reason: "connection refused".into() },
            (Act::Observe, _) if self.was_done(call) => {
                let owed = self.owed.get(&call.idempotency_key()).cloned().flatten();
                Outcome::Applied { detail: detail(), outputs: BTreeMap::new(), owed }
            }
            (Act::Observe, _) => Outcome::NotApplied { reason: "not there".into(), retry: Retry::Backoff },
            (Act::Apply, Fate::IdleUnknown) => Outcome::Unknown { reason: "no answer in time".into() },
            (Act::Apply, Fate::DoneUnknown) => {
                self.apply(call);
                Outcome::Unknown { reason: "no answer in time".into() }
            }
            (Act::Apply, Fate::Refused(retry)) => Outcome::NotApplied { reason: "not now".into(), retry },
            (Act::Apply, Fate::Stale) => Outcome::Stale { reason: "someone is ahead".into() },
            (Act::Apply, Fate::Asks) if !call.approved => Outcome::Ask { question: "may I?".into() },
            (Act::Apply, Fate::Honest | Fate::Asks) => {
                self.apply(call);
                Outcome::Applied { detail: detail(), outputs: BTreeMap::new(), owed: None }
            }
            (Act::Apply, Fate::Owes) => {
                self.apply(call);
                let owed = match &call.op {
                    Op::Database(database) if database.role == DatabaseRole::Writer => {
                        let region = if database.region == "region-a" { "region-b" } else { "region-a" };
                        let mut op = database.clone();
                        (op.role, op.region) = (DatabaseRole::Reader, region.to_owned());
                        let what = format!("fence {region}");
                        Some(Box::new(Owed { region: region.into(), what, op: Op::Database(op) }))
                    }
                    _ => None,
                };
                self.owed.insert(call.idempotency_key(), owed.clone());
                Outcome::Applied { detail: detail(), outputs: BTreeMap::new(), owed }
            }
        }
    }

    /// A call whose sender is gone reaches its target all the same.
    pub fn land(&mut self, call: &Call, fate: Fate) {
        if call.act == Act::Apply {
            self.take(call, fate);
        }
    }

    /// The thing happens.
    pub fn apply(&mut self, call: &Call) {
        assert_eq!(call.act, Act::Apply);
        let times = self.done.entry(call.idempotency_key()).or_default();
        *times += 1;
        if *times == 1 {
            self.order.push(call.stage.clone());
        }
        let redo = matches!(recovery(&call.op), Recovery::Redo | Recovery::LookThenRedo);
        assert!(*times == 1 || redo, "S7: {} was done {times} times", call.idempotency_key());
    }

    pub fn was_done(&self, call: &Call) -> bool {
        self.done.contains_key(&call.idempotency_key())
    }

    pub fn has(&self, execution: &str, stage: &str) -> bool {
        self.done.contains_key(&format!("{execution}/{stage}"))
    }
}

/// A wait that is asked for by the target.
pub const AFTER: Retry = Retry::After(Duration::from_secs(7));
