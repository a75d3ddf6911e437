//! Looking whether it was done, without changing anything.

use std::sync::Arc;
use std::time::Duration;

use super::fence::is_fenced;
use super::node::{Node, open_all, pause};
use super::record::{self, Record, Stage, fenced_roles};
use super::{Task, not_applied, out_of_reach, stopped, writer};
use crate::agent::{Step, applied, unknown};
use crate::io::Deadline;
use crate::io::postgres::SqlFailure;
use crate::workflow::{Outcome, Retry};

/// A promotion that was asked for right before somebody died shows within this time: all that
/// was received is replayed before it is asked for.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);
/// What an observation keeps of its time for the rest.
const RESERVE: Duration = Duration::from_millis(500);

pub(super) async fn writer(task: &Arc<Task>) -> Outcome {
    observe_writer(task).await.unwrap_or_else(|outcome| outcome)
}

pub(super) async fn reader(task: &Arc<Task>) -> Outcome {
    observe_reader(task).await.unwrap_or_else(|outcome| outcome)
}

async fn observe_writer(task: &Arc<Task>) -> Step<Outcome> {
    let (mut nodes, missing) = open_all(task, task.own_nodes().cloned().collect()).await;
    if let Some(first) = missing.first() {
        // Whatever was done there, the next attempt looks again before it does anything.
        return Err(out_of_reach(&first.spec.region, &first.failure));
    }
    let (settled, until) = (task.deadline.within(SETTLES_WITHIN), task.deadline.less(RESERVE));
    loop {
        let mut busy = None;
        for node in &mut nodes {
            let region = node.region().to_owned();
            let looked = node.refresh(task.statement()).await.map(|_| ());
            looked.map_err(|error| cannot_look(&region, &error))?;
            if node.others_at_work(task).await.map_err(|error| cannot_look(&region, &error))? {
                busy = Some(format!("{region}: a session of an earlier attempt is still at work"));
            }
        }
        if let Some(node) = nodes.iter().find(|node| !node.facts.in_recovery)
            && busy.is_none()
        {
            return primary(task, node).await;
        }
        // Nobody at work, still a standby, and no promotion on its way.
        if busy.is_none() && settled.over() {
            let regions = nodes.iter().map(Node::region).collect::<Vec<_>>().join(", ");
            let record = read(task, &nodes[0]).await?;
            return Ok(not_applied(
                format!("{regions} is still a standby{}", fence_words(record.as_ref())),
                Retry::Backoff,
            ));
        }
        if !pause_for(until).await {
            return Err(unknown(
                busy.unwrap_or_else(|| "it cannot be told in time whether it was promoted".to_owned()),
            ));
        }
    }
}

async fn read(task: &Task, node: &Node) -> Step<Option<Record>> {
    let record = record::read(&node.session, &task.op.cluster, task.statement()).await;
    record.map_err(|error| cannot_look(node.region(), &error))
}

async fn pause_for(until: Deadline) -> bool {
    until.sleep(Duration::from_millis(100)).await.is_ok() && pause(until).await
}

/// The node is out of recovery: is all done that belongs to it?
async fn primary(task: &Task, node: &Node) -> Step<Outcome> {
    let region = node.region();
    let looked = read(task, node).await?;
    let half =
        |what: &str| Ok(not_applied(format!("{region} is out of recovery, but {what}"), Retry::Backoff));
    let Some(record) = looked else { return half("no fence record is written there yet") };
    if record.key != task.call.idempotency_key() {
        return match record.token > task.call.token {
            true => Err(Outcome::Stale {
                reason: format!("{region} was taken over by {} ({})", record.key, record.token),
            }),
            false => half("its fence record is an older one"),
        };
    }
    if record.stage != Stage::Writer {
        return half("its fence record does not say so yet");
    }
    let shut = fenced_roles(node, task).await.map_err(|error| cannot_look(region, &error))?;
    if !shut.is_empty() {
        return half(&format!("{} cannot log in yet", shut.join(", ")));
    }
    let outputs =
        [("region".to_owned(), region.to_owned()), ("timeline".to_owned(), node.facts.timeline.to_string())];
    Ok(Outcome::Applied {
        detail: format!("{region} was promoted, on timeline {}", node.facts.timeline),
        outputs: outputs.into(),
        owed: record.owed.map(|region| Box::new(writer::owed(&task.op, &region))),
    })
}

fn fence_words(record: Option<&Record>) -> String {
    match record {
        Some(Record { stage: Stage::Fenced | Stage::Fencing, region, since, .. }) => {
            format!(
                "; applications are without a writer: {region} was fenced at {since}, and the next attempt goes on from there"
            )
        }
        _ => String::new(),
    }
}

async fn observe_reader(task: &Arc<Task>) -> Step<Outcome> {
    let (nodes, missing) = open_all(task, task.own_nodes().cloned().collect()).await;
    if let Some(first) = missing.first() {
        return Err(out_of_reach(&first.spec.region, &first.failure));
    }
    for node in &nodes {
        let region = node.region();
        if node.others_at_work(task).await.map_err(|error| cannot_look(region, &error))? {
            return Err(unknown(format!("{region}: a session of an earlier attempt is still at work")));
        }
        if !node.facts.in_recovery && !is_fenced(node, task).await? {
            return Ok(not_applied(format!("{region} is a primary and not fenced"), Retry::Backoff));
        }
    }
    Ok(applied(format!("no application can write in {}", task.op.region)))
}

fn cannot_look(region: &str, error: &SqlFailure) -> Outcome {
    // An observation that fails tells nothing.
    match stopped(&format!("cannot look at {region}"), error) {
        Outcome::NotApplied { reason, .. } => unknown(reason),
        other => other,
    }
}
