//! Role reader: no application can write at this region's node. A standby is fine as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fence::{Fence, fence};
use super::node::{Missing, Node, open_all};
use super::record::{Stage, not_stale};
use super::words::Progress;
use super::{Task, not_applied, out_of_reach, writer};
use crate::agent::Step;
use crate::workflow::{Outcome, Owed, Retry};

pub(super) async fn apply(task: &Arc<Task>) -> Outcome {
    let mut progress = Progress::default();
    match run(task, &mut progress).await {
        Ok(outcome) => outcome,
        Err(Outcome::NotApplied { reason, retry }) if !progress.begun.nodes.is_empty() => {
            let reason =
                format!("{reason}. The fence was begun: application roles may have lost their login");
            Outcome::NotApplied { reason, retry }
        }
        Err(outcome) => outcome,
    }
}

async fn run(task: &Arc<Task>, progress: &mut Progress) -> Step<Outcome> {
    let (nodes, missing) = open_all(task, task.op.nodes.clone()).await;
    for node in nodes.iter().filter(|node| node.region() == task.op.region) {
        not_stale(node.record.as_ref(), node.region(), task)?;
    }
    let newest = nodes.iter().filter(|node| !node.facts.in_recovery).map(|node| node.facts.timeline).max();

    let (mut words, mut fences) = (Vec::new(), Vec::new());
    for node in &nodes {
        let own = node.region() == task.op.region;
        let left_behind = newest.is_some_and(|newest| node.facts.timeline < newest);
        if node.facts.in_recovery {
            if own {
                words.push(reader_already(node));
            }
        } else if own && moved_on(node) {
            words.push(format!(
                "{} has followed the writer that took over from it, and was promoted again since: what was owed is settled",
                node.region()
            ));
        } else if own || left_behind {
            // One in another region that a promotion has left behind is nobody's writer any
            // more: whoever finds it shuts it.
            node.lock(task).await?;
            let fence = fence(node, task, &mut progress.begun).await?;
            words.push(fenced(&fence, left_behind, newest));
            fences.push(fence);
        }
    }
    if let Some(Missing { spec, failure }) =
        missing.iter().find(|missing| missing.spec.region == task.op.region)
    {
        return Err(out_of_reach(&spec.region, failure));
    }
    if words.is_empty() {
        return Err(not_applied(format!("{} has no node that answers", task.op.region), Retry::Backoff));
    }
    Ok(Outcome::Applied {
        detail: words.join("; "),
        outputs: outputs(&fences),
        owed: still_owed(task, &nodes, &missing),
    })
}

fn reader_already(node: &Node) -> String {
    match node.facts.receiving {
        true => format!("{} is already a reader", node.region()),
        false => format!("{} is already a reader; it follows nobody at the moment", node.region()),
    }
}

fn fenced(fence: &Fence, left_behind: bool, newest: Option<u32>) -> String {
    let Fence { region, lsn, timeline, words, .. } = fence;
    let rest = match (left_behind, newest) {
        (true, Some(newest)) => format!(
            "it is on timeline {timeline} and the writer on {newest}: it must be rewound (pg_rewind) before it can follow"
        ),
        _ => "no other node that answers is a writer".to_owned(),
    };
    format!("{region} is fenced at {lsn} ({words}); {rest}")
}

/// The node holds the very record of the promotion that owed it a fence, and has gone beyond it:
/// it was rewound, has followed, and is a writer again because somebody made it one.
fn moved_on(node: &Node) -> bool {
    node.record.as_ref().is_some_and(|record| {
        record.stage == Stage::Writer
            && record.region != node.region()
            && record.owed.as_deref() == Some(node.region())
            && node.facts.timeline > record.timeline
    })
}

/// A promotion past nodes in several regions owes all of them; one owes the next.
fn still_owed(task: &Task, nodes: &[Node], missing: &[Missing]) -> Option<Box<Owed>> {
    let promoted_past = nodes.iter().filter(|node| !node.facts.in_recovery).any(|node| {
        node.record.as_ref().is_some_and(|record| {
            record.stage == Stage::Writer && record.owed.as_deref() == Some(task.op.region.as_str())
        })
    });
    let next = missing.iter().find(|missing| missing.spec.region != task.op.region)?;
    promoted_past.then(|| Box::new(writer::owed(&task.op, &next.spec.region)))
}

fn outputs(fences: &[Fence]) -> BTreeMap<String, String> {
    let mut outputs = BTreeMap::new();
    for fence in fences {
        outputs.insert("fence_lsn".to_owned(), fence.lsn.to_string());
        outputs.insert("timeline".to_owned(), fence.timeline.to_string());
    }
    outputs
}
