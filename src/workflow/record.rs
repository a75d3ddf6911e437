//! What the journal says of executions: the only thing that outlives the process.
//!
//! A record states a fact and the decision taken on it; replaying records never decides
//! anew. So a later version of the program, another draw of the lot or a slower clock cannot
//! make yesterday's journal mean something else.
//!
//! Records of one execution form a *thread*, opened by its first record. Only threads that
//! are still open are read back at a restart, and of a closed one its last record.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::view::ExecutionView;
use super::{Act, ExecutionId, Outcome, Owed, Plan, Token};
use crate::base::{Health, Timestamp};

/// Where and when the journal took a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The epoch of the process that wrote it, and its index.
    pub token: Token,
    /// The wall clock at that time; for people.
    pub at: Timestamp,
}

/// One fact.
#[derive(Clone, PartialEq, Debug)]
pub enum Record {
    /// An execution was admitted. Opens its thread; its id holds this record's index.
    Started(Box<Started>),
    /// A call is about to be made.
    Intent(Intent),
    /// A call has ended, and what follows from that.
    Answer(Box<Answer>),
    /// An operator has spoken.
    Order(Order),
    /// A time is up.
    Expired(Expired),
    /// Something is owed beyond what answers have told.
    Owes(Box<Owes>),
    /// An execution has ended. Closes its thread.
    Settled(Box<ExecutionView>),
}

/// An execution was admitted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Started {
    /// Why.
    pub cause: Cause,
    /// What it will do, with every target chosen.
    pub plan: Plan,
    /// Part of its id, drawn by lot: a store that was lost or restored counts its indices
    /// anew, and a target that remembers idempotency keys must not take this execution for
    /// an older one.
    pub tag: String,
}

/// Why an execution was started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A region flipped.
    Flip {
        /// Which.
        region: String,
        /// What it turned.
        health: Health,
        /// The region's count of flips: one execution for each, at most.
        generation: u64,
        /// What was found, in words.
        why: String,
    },
    /// A person asked for it.
    Person(By),
}

/// Who says so, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct By {
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.who, self.why)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip { region, health, generation, why } => {
                write!(f, "{region} turned {health} (generation {generation}): {why}")
            }
            Self::Person(by) => by.fmt(f),
        }
    }
}

/// Names an obligation: the index of the record that opened it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObligationId(pub u64);

impl fmt::Display for ObligationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whom a record is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A whole execution.
    Execution(ExecutionId),
    /// One stage of it.
    Stage {
        /// The execution.
        execution: ExecutionId,
        /// The stage's name.
        stage: String,
    },
    /// Something owed.
    Obligation(ObligationId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Execution(execution) => execution.fmt(f),
            Self::Stage { execution, stage } => write!(f, "{execution}/{stage}"),
            Self::Obligation(id) => write!(f, "obligation {id}"),
        }
    }
}

/// A call is about to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// For whom.
    pub of: Subject,
    /// To do it, or to look.
    pub act: Act,
    /// Counts attempts to do it from 1; a look has the number of the attempt it asks about.
    pub attempt: u32,
    /// What was heard last. Of obligations only, whose earlier records are not read back.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub heard: String,
}

/// A call has ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// For whom it was made.
    pub of: Subject,
    /// The index of its intent.
    pub intent: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What follows.
    pub then: Then,
    /// Nobody answered, because the process that waited was gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// What follows from an outcome. Decided once, by `super::judge`, and kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It is done.
    Done,
    /// Another attempt.
    Again {
        /// After this long, counted from now or from a restart.
        after: Duration,
    },
    /// A look whether it was done.
    Look {
        /// After this long, counted from now or from a restart.
        after: Duration,
    },
    /// An operator is asked.
    Ask,
    /// Nobody but an operator can tell whether it was done.
    Unresolved,
    /// Someone else owns the target now.
    Fenced,
    /// No further attempt.
    Fail {
        /// Why not.
        why: String,
    },
    /// It counts as settled, and is owed.
    Defer(Box<Owed>),
}

/// An operator has spoken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// About whom.
    pub of: Subject,
    /// What.
    pub what: Word,
    /// Who says so, and why.
    pub by: By,
}

/// What an operator may say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// To a stage that asks: go on.
    Approve,
    /// To a stage that asks: do not.
    Decline,
    /// To an execution: start nothing new.
    Pause,
    /// To a paused execution: go on.
    Resume,
    /// To an execution: end, as soon as nothing is under way.
    Cancel,
    /// To a stage that failed: try again. To one that nobody can tell of: look again.
    Retry,
    /// To a stage: go on without it.
    Skip,
    /// To a stage that nobody can tell of: it was done. To an obligation: it is paid.
    Applied,
    /// To a stage that nobody can tell of: it was not done, and cannot happen any more.
    NotApplied,
}

impl Word {
    /// As written on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Decline => "decline",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Skip => "skip",
            Self::Applied => "resolve applied",
            Self::NotApplied => "resolve not-applied",
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A time is up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Expired {
    /// An execution, or a stage between two attempts.
    pub of: Subject,
}

/// Something is owed beyond what answers have told: a call was answered when nobody waited for
/// it any more, or an operator has vouched for a promotion that nobody has seen fence anyone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Owes {
    /// By which stage.
    pub of: Subject,
    /// What.
    pub owed: Owed,
}

/// A record as it is read back at a restart.
#[derive(Clone, PartialEq, Debug)]
pub struct Replayed {
    /// Where it stands.
    pub stamp: Stamp,
    /// What it says.
    pub record: Record,
    /// Whether the thread that it opened is still open. A record may be read back as part of
    /// another thread, and what it once opened be over.
    pub open: bool,
}

/// How a record hangs together with others. Tells the store what must be read back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thread {
    /// The first record of a thread, which is named by this record's index.
    Opens,
    /// A further record. If the thread is over by now, it is none.
    Continues(u64),
    /// A further record that makes all but the first one irrelevant.
    Replaces(u64),
    /// The last record, which sums up the thread.
    Closes(u64),
    /// The last record; nothing of the thread is needed any more.
    Ends(u64),
}

impl Record {
    /// All kinds begin like this.
    pub const PREFIX: &str = "workflow.";

    /// Its name in the journal.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started(_) => "workflow.started",
            Self::Intent(_) => "workflow.intent",
            Self::Answer(_) => "workflow.answer",
            Self::Order(_) => "workflow.order",
            Self::Expired(_) => "workflow.expired",
            Self::Owes(_) => "workflow.owes",
            Self::Settled(_) => "workflow.settled",
        }
    }

    /// Its JSON.
    pub fn body(&self) -> String {
        let json = match self {
            Self::Started(started) => serde_json::to_string(started),
            Self::Intent(intent) => serde_json::to_string(intent),
            Self::Answer(answer) => serde_json::to_string(answer),
            Self::Order(order) => serde_json::to_string(order),
            Self::Expired(expired) => serde_json::to_string(expired),
            Self::Owes(owes) => serde_json::to_string(owes),
            Self::Settled(view) => serde_json::to_string(view),
        };
        json.expect("keys are texts and numbers are finite, so it always serialises")
    }

    /// Reads one back. `None` if it is none of ours.
    ///
    /// # Errors
    /// When its JSON is not what this program writes.
    pub fn read(kind: &str, body: &str) -> Option<Result<Self, String>> {
        let read = match kind.strip_prefix(Self::PREFIX)? {
            "started" => serde_json::from_str(body).map(Self::Started),
            "intent" => serde_json::from_str(body).map(Self::Intent),
            "answer" => serde_json::from_str(body).map(Self::Answer),
            "order" => serde_json::from_str(body).map(Self::Order),
            "expired" => serde_json::from_str(body).map(Self::Expired),
            "owes" => serde_json::from_str(body).map(Self::Owes),
            "settled" => serde_json::from_str(body).map(Self::Settled),
            other => return Some(Err(format!("`{other}` is a kind of a later version"))),
        };
        Some(read.map_err(|why| why.to_string()))
    }

    /// What it leaves owed, and by whom.
    pub(super) fn owed(&self) -> Option<(&Owed, &Subject)> {
        match self {
            Self::Answer(answer) => match (&answer.outcome, &answer.then) {
                (Outcome::Applied { owed: Some(owed), .. }, Then::Done) => Some((owed, &answer.of)),
                (_, Then::Defer(owed)) => Some((owed, &answer.of)),
                _ => None,
            },
            Self::Owes(owes) => Some((&owes.owed, &owes.of)),
            _ => None,
        }
    }

    /// How it hangs together with others.
    pub fn threads(&self) -> Vec<Thread> {
        let obligation = |id: &ObligationId| id.0;
        let mut threads = match self {
            Self::Started(_) => vec![Thread::Opens],
            Self::Settled(view) => view.id.number().map(Thread::Closes).into_iter().collect(),
            Self::Intent(Intent { of: Subject::Obligation(id), .. }) => {
                vec![Thread::Replaces(obligation(id))]
            }
            Self::Answer(answer) => match (&answer.of, &answer.then) {
                (Subject::Obligation(id), Then::Done) => vec![Thread::Ends(obligation(id))],
                (of, _) => of.thread().into_iter().collect(),
            },
            Self::Order(order) => match (&order.of, order.what) {
                (Subject::Obligation(id), Word::Applied) => vec![Thread::Ends(obligation(id))],
                (of, _) => of.thread().into_iter().collect(),
            },
            Self::Intent(Intent { of, .. }) | Self::Expired(Expired { of }) => {
                of.thread().into_iter().collect()
            }
            Self::Owes(owes) => owes.of.thread().into_iter().collect(),
        };
        if self.owed().is_some() {
            threads.push(Thread::Opens);
        }
        threads
    }
}

impl Subject {
    fn thread(&self) -> Option<Thread> {
        match self {
            Self::Execution(execution) | Self::Stage { execution, .. } => {
                execution.number().map(Thread::Continues)
            }
            Self::Obligation(id) => Some(Thread::Continues(id.0)),
        }
    }
}
