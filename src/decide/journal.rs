//! What waits to be written: facts for the journal and values for the state, in order.
//!
//! One write is under way at a time. While the store takes nothing, what happens is kept here
//! and written later; nothing that moves traffic waits for it. Only the oldest facts are given
//! up, and counted, when the store stays away for too long; values never, because a newer one
//! replaces the older.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;

use super::Event;
use crate::base::{Mono, Timestamp};
use crate::workflow::{Entry, ExecutionView, Record};

/// Facts that wait at most; the workflow engine's records are not among them.
const WAITING_MAX: usize = 20_000;
/// How long to leave a store alone that has failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One write: all or nothing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Write {
    /// Records for the journal, in order; the engine's come first.
    pub entries: Vec<Entry>,
    /// State keys and their new values; none removes a key.
    pub state: Vec<(String, Option<Value>)>,
}

/// Facts and values on their way to the store.
#[derive(Debug, Default)]
pub struct Outbox {
    facts: VecDeque<(Timestamp, Event)>,
    state: BTreeMap<String, Option<Value>>,
    /// The engine's batch, if it waits for its turn.
    engine: Option<Vec<Entry>>,
    under_way: Option<UnderWay>,
    failing: Option<(String, Mono)>,
    trouble: Option<String>,
    given_up: u64,
    /// Writes that have been begun, and the newest of them that is durable.
    begun: u64,
    durable: u64,
}

/// What is with the store.
#[derive(Debug)]
struct UnderWay {
    facts: Vec<(Timestamp, Event)>,
    state: Vec<(String, Option<Value>)>,
    engine: bool,
    entries: u64,
    settled: Vec<ExecutionView>,
}

/// What became of a write.
#[derive(Clone, PartialEq, Debug)]
pub struct Written {
    /// The engine's batch was part of it.
    pub engine: bool,
    /// How many journal records it held.
    pub entries: u64,
    /// Executions whose end it records.
    pub settled: Vec<ExecutionView>,
}

impl Outbox {
    /// A fact for the journal.
    pub fn fact(&mut self, at: Timestamp, event: Event) {
        if self.facts.len() >= WAITING_MAX {
            self.facts.pop_front();
            self.given_up += 1;
        }
        self.facts.push_back((at, event));
    }

    /// A value for the state; the newest counts.
    pub fn put(&mut self, key: String, value: &impl serde::Serialize) {
        let value = serde_json::to_value(value).expect("keys are texts and numbers are finite");
        self.state.insert(key, Some(value));
    }

    /// Removes a value from the state.
    pub fn remove(&mut self, key: String) {
        self.state.insert(key, None);
    }

    /// The engine's records, which go out with the next write.
    pub fn engine(&mut self, entries: Vec<Entry>) {
        self.engine = Some(entries);
    }

    /// The next write, if there is anything to write and nothing under way.
    pub fn next(&mut self, now: Mono) -> Option<Write> {
        if self.under_way.is_some() || self.failing.as_ref().is_some_and(|(_, until)| now < *until) {
            return None;
        }
        let nothing = self.facts.is_empty() && self.state.is_empty() && self.engine.is_none();
        if nothing && self.failing.is_none() {
            return None;
        }
        let engine = self.engine.take();
        let facts: Vec<_> = self.facts.drain(..).collect();
        let state: Vec<_> = std::mem::take(&mut self.state).into_iter().collect();
        let mut entries = engine.clone().unwrap_or_default();
        let ended = entries.iter().filter(|entry| entry.kind == "workflow.settled");
        let settled = ended.filter_map(|entry| match Record::read(entry.kind, &entry.body)?.ok()? {
            Record::Settled(view) => Some(*view),
            _ => None,
        });
        let settled = settled.collect();
        entries.extend(facts.iter().map(|(at, event)| Entry {
            at: *at,
            kind: event.kind(),
            body: serde_json::to_string(event).expect("keys are texts and numbers are finite"),
            threads: Vec::new(),
            mark: None,
        }));
        self.begun += 1;
        self.under_way = Some(UnderWay {
            facts,
            state: state.clone(),
            engine: engine.is_some(),
            entries: entries.len() as u64,
            settled,
        });
        Some(Write { entries, state })
    }

    /// The write is durable. `None` if none was under way.
    pub fn stored(&mut self) -> Option<Written> {
        self.failing = None;
        let done = self.under_way.take()?;
        self.durable = self.begun;
        Some(Written { engine: done.engine, entries: done.entries, settled: done.settled })
    }

    /// Nothing of the write is durable. What it held waits again, apart from the engine's
    /// records: the engine makes those anew.
    pub fn failed(&mut self, why: &str, now: Mono) -> Option<Written> {
        self.failing = Some((why.to_owned(), now + RETRY_AFTER));
        let lost = self.under_way.take()?;
        for (key, value) in lost.state {
            self.state.entry(key).or_insert(value);
        }
        for fact in lost.facts.into_iter().rev() {
            self.facts.push_front(fact);
        }
        while self.facts.len() > WAITING_MAX {
            self.facts.pop_front();
            self.given_up += 1;
        }
        Some(Written { engine: lost.engine, entries: lost.entries, settled: Vec::new() })
    }

    /// There is no word of what is under way, for this reason; none: the trouble is over.
    pub fn trouble(&mut self, why: Option<String>) {
        self.trouble = why;
    }

    /// Why the store takes nothing, if it does not.
    pub fn failing(&self) -> Option<&str> {
        self.trouble.as_deref().or(self.failing.as_ref().map(|(why, _)| why.as_str()))
    }

    /// When the store is tried again.
    pub fn retry_at(&self) -> Option<Mono> {
        self.failing.as_ref().filter(|_| self.under_way.is_none()).map(|(_, until)| *until)
    }

    /// Facts that were given up because the store stayed away.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// The write that will hold what is put now.
    pub fn ticket(&self) -> u64 {
        self.begun + 1
    }

    /// Whether what was put under a ticket has been written.
    pub fn has_written(&self, ticket: u64) -> bool {
        self.durable >= ticket || self.is_settled()
    }

    /// Nothing waits and nothing is under way.
    pub fn is_settled(&self) -> bool {
        self.under_way.is_none() && self.facts.is_empty() && self.state.is_empty() && self.engine.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(Duration::from_secs(100));

    /// An order is answered when the write that holds it is durable, not one before it.
    #[test]
    fn a_ticket_is_written_with_its_own_write() {
        let mut outbox = Outbox::default();
        outbox.put("first".to_owned(), &1);
        assert!(outbox.next(NOW).is_some());
        let ticket = outbox.ticket();
        outbox.put("second".to_owned(), &2);
        assert_eq!(outbox.next(NOW), None, "one at a time");
        outbox.stored();
        assert!(!outbox.has_written(ticket), "that was the one before");
        assert!(outbox.next(NOW).is_some());
        // It fails, and what it held goes out with the next one.
        outbox.failed("disk full", NOW);
        assert!(!outbox.has_written(ticket));
        assert!(outbox.next(NOW + RETRY_AFTER).is_some());
        assert!(!outbox.has_written(ticket));
        outbox.stored();
        assert!(outbox.has_written(ticket));
    }
}
