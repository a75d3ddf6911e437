//! What a person must read before deciding, or when something stopped halfway.

use tokio_postgres::types::PgLsn;

use super::Task;
use super::fence::Begun;
use super::node::{Facts, Missing, Node};
use super::record::{Stage, quoted};
use crate::base::show_span;
use crate::io::Clock;
use crate::workflow::Outcome;

/// How many bytes of log lie between two positions; zero if `to` lies before.
pub(super) fn bytes_between(from: PgLsn, to: PgLsn) -> u64 {
    u64::from(to).saturating_sub(u64::from(from))
}

/// The residual risk of promoting while old writers cannot be reached.
pub(super) fn question(task: &Task, target: &Node, suspects: &[Missing], ahead: Option<&Node>) -> String {
    let new = target.region();
    let mut words = Vec::new();
    for Missing { spec, failure } in suspects {
        words.push(format!("{} cannot be reached to be fenced: {}.", spec.region, failure.words));
    }
    if let [first, ..] = suspects {
        let known = target.record.as_ref().filter(|record| {
            record.stage == Stage::Fenced
                && suspects.iter().any(|suspect| suspect.spec.region == record.region)
        });
        words.push(match known {
            Some(record) => format!(
                "{} was fenced at {}, and {new} has replayed that fence: unless somebody has given its applications their login back since, nothing can be written there and nothing is lost.",
                record.region, record.since
            ),
            None => format!(
                "If it is alive, applications that reach it go on writing there until it is fenced, and what they write is lost when {} follows {new}.",
                first.spec.region
            ),
        });
    }
    if suspects.iter().any(|suspect| suspect.spec.region != suspects[0].spec.region) {
        words.push(
            "Nodes in more than one region cannot be reached: it may be we who are cut off.".to_owned(),
        );
    }
    words.push(lag(new, &target.facts));
    if let Some(ahead) = ahead {
        let more = bytes_between(target.facts.received, ahead.facts.received);
        words.push(format!(
            "{} has received {more} bytes more of the log than {new}: promoting {new} loses them.",
            ahead.region()
        ));
    }
    words.push(format!("Make {new} the writer of `{}`?", task.op.cluster));
    words.join(" ")
}

/// The risk of taking a primary for the writer while others cannot be asked.
pub(super) fn question_primary(task: &Task, target: &Node, missing: &[Missing]) -> String {
    let region = target.region();
    let mut words: Vec<String> = missing
        .iter()
        .map(|Missing { spec, failure }| format!("{} cannot be asked: {}.", spec.region, failure.words))
        .collect();
    words.push(format!("{region} is a primary, on timeline {}.", target.facts.timeline));
    if let Some(record) = target.record.as_ref().filter(|record| record.stage != Stage::Writer) {
        words.push(format!(
            "{} fenced it at {}: applications cannot write there now.",
            record.key, record.since
        ));
    }
    words.push(format!(
        "If {} was made the writer since, {region} was left behind: what is written there then is lost, and what was written elsewhere is missing.",
        missing[0].spec.region
    ));
    words.push(format!("Take {region} for the writer of `{}`?", task.op.cluster));
    words.join(" ")
}

/// How far a standby is behind, as far as it can know.
pub(super) fn lag(region: &str, facts: &Facts) -> String {
    let waiting = bytes_between(facts.replayed, facts.received);
    let mut words = match waiting {
        0 => format!("{region} has replayed everything it received ({})", facts.received),
        n => format!("{region} has received up to {} and has {n} bytes of it yet to replay", facts.received),
    };
    if let (Some(told), Some(ago)) = (facts.told, facts.told_ago) {
        let missing = bytes_between(facts.received, told);
        words.push_str(&format!("; {ago:.0}s ago the writer was {missing} bytes ahead of that"));
    } else if facts.receiving {
        words.push_str("; how far the writer was, only a member of pg_monitor may see");
    } else {
        words.push_str("; it has no connection to the writer");
    }
    if let Some(commit) = &facts.last_commit {
        words.push_str(&format!("; the last transaction it has replayed was committed at {commit}"));
    }
    words.push('.');
    words
}

/// What has been begun and must be told, whatever else an outcome says.
#[derive(Clone, Default, Debug)]
pub(super) struct Progress {
    /// Nodes whose applications have lost their login.
    pub begun: Begun,
    /// Since when they are without a writer.
    pub since: Option<crate::base::Timestamp>,
    /// The promotion was asked for; it may happen even if nobody waits for it.
    pub promoting: bool,
    /// It is done.
    pub promoted: bool,
}

impl Progress {
    /// Adds to an outcome that the applications are without a writer, and the way back.
    pub(super) fn explain(&self, task: &Task, outcome: Outcome) -> Outcome {
        let Some(more) = self.words(task) else { return outcome };
        let add = |reason: String| format!("{reason}. {more}");
        match outcome {
            Outcome::NotApplied { reason, retry } => Outcome::NotApplied { reason: add(reason), retry },
            Outcome::Unreachable { reason } => Outcome::Unreachable { reason: add(reason) },
            Outcome::Unknown { reason } => Outcome::Unknown { reason: add(reason) },
            Outcome::Stale { reason } => Outcome::Stale { reason: add(reason) },
            Outcome::Ask { question } => Outcome::Ask { question: format!("{more} {question}") },
            done @ Outcome::Applied { .. } => done,
        }
    }

    fn words(&self, task: &Task) -> Option<String> {
        let region = &task.op.region;
        if self.promoted {
            return Some(format!(
                "{region} is promoted; what is left to do there is done by the next attempt"
            ));
        }
        if self.begun.nodes.is_empty() {
            return None;
        }
        let since = self.since.map_or_else(String::new, |since| {
            let ago =
                std::time::Duration::try_from(Clock.now().wall.duration_since(since)).unwrap_or_default();
            format!(" for {}", show_span(std::time::Duration::from_secs(ago.as_secs())))
        });
        let ways_back: Vec<String> = self
            .begun
            .nodes
            .iter()
            .map(|(region, roles)| {
                let alters: Vec<_> =
                    roles.iter().map(|role| format!("ALTER ROLE {} LOGIN", quoted(role))).collect();
                format!("on {region}: {}", alters.join("; "))
            })
            .collect();
        Some(format!(
            "Applications are without a writer{since}. Another attempt goes on from here; to give the old writer back instead, {}",
            ways_back.join(". And ")
        ))
    }
}
