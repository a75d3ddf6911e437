//! Role writer: fence every other node that may be one, promote this one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::PgLsn;

use super::fence::{Fence, fence, stands};
use super::node::{Missing, Node};
use super::record::{Record, Stage};
use super::scene::Scene;
use super::takeover::{TakenOver, promote, replay, take_over};
use super::words::Progress;
use super::{Task, not_applied, stopped};
use crate::agent::{Step, unknown};
use crate::base::Timestamp;
use crate::io::{Clock, show};
use crate::workflow::{DatabaseOp, DatabaseRole, Op, Outcome, Owed, Retry};

/// For how long a standby may take to catch up with a live writer before that one is fenced.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);
/// For how long an old writer that was silent is tried again, right before the promotion.
const LAST_TRY: Duration = Duration::from_secs(1);
/// The part of an attempt's time that is kept for the promotion itself.
const PROMOTION_SHARE: u32 = 3;
/// How much later than its deadline an attempt may end, should a step not heed it.
const GRACE: Duration = Duration::from_millis(500);

pub(super) async fn apply(task: &Arc<Task>) -> Outcome {
    let mut progress = Progress::default();
    let done = tokio::time::timeout(task.deadline.left() + GRACE, run(task, &mut progress)).await;
    let outcome = match done {
        Ok(Ok(done)) => return done,
        Ok(Err(outcome)) => outcome,
        Err(_) if progress.promoting => unknown("the time is up in the middle of the promotion"),
        Err(_) => not_applied("the time is up", Retry::Backoff),
    };
    progress.explain(task, outcome)
}

async fn run(task: &Arc<Task>, progress: &mut Progress) -> Step<Outcome> {
    let mut scene = Scene::look(task).await?;
    if !scene.target.facts.in_recovery {
        return already(task, progress, &scene).await;
    }
    scene.may_be_promoted()?;
    let suspects = scene.suspects(task)?;

    // Before anything is taken from anybody: can this end well?
    let writer = scene.primaries.iter().find(|node| node.facts.timeline == scene.target.facts.timeline);
    match writer.map(|writer| (writer.region().to_owned(), writer.facts.received)) {
        Some((writer, position)) => catch_up(task, &mut scene.target, &writer, position).await?,
        None => {
            let received = scene.target.facts.received;
            replay(&mut scene.target, task, received, before_promotion(task)).await?;
        }
    }

    let fences = fence_all(task, progress, &scene.primaries).await?;
    // An older primary has gone its own way: only the writer's log is the target's.
    let behind = fences.iter().find(|fence| fence.timeline == scene.target.facts.timeline);
    if let Some(fence) = behind {
        replay(&mut scene.target, task, fence.lsn, before_promotion(task)).await?;
    }
    last_look(task, &mut scene, &fences, &suspects).await?;

    progress.promoting = true;
    let promoted_at = promote(&mut scene.target, task).await?;
    progress.promoted = true;
    let owed = owed_to(&suspects);
    let taken = take_over(&scene.target, task, owed.as_deref()).await?;
    Ok(done(task, &scene, &fences, &taken, Some(promoted_at), &suspects, "was promoted"))
}

/// By when everything must be ready for the promotion.
fn before_promotion(task: &Task) -> crate::io::Deadline {
    task.deadline.less(task.call.timeout / PROMOTION_SHARE)
}

/// Waits until the standby follows the live writer closely: once that one is fenced, every
/// second of catching up is a second without a writer.
async fn catch_up(task: &Task, target: &mut Node, writer: &str, position: PgLsn) -> Step<()> {
    let until = task.deadline.within(CATCH_UP_MAX.min(task.call.timeout / PROMOTION_SHARE));
    let nothing = |outcome: Outcome| match outcome {
        Outcome::NotApplied { reason, retry } => Outcome::NotApplied {
            reason: format!("{reason} {writer} was not fenced, and nothing was changed"),
            retry,
        },
        other => other,
    };
    replay(target, task, position, until).await.map_err(nothing)?;
    while !target.facts.receiving {
        let region = target.region().to_owned();
        if !super::node::pause(until).await {
            let why = format!("{region} receives nothing from {writer}: it would never get the last writes.");
            return Err(nothing(not_applied(why, Retry::Backoff)));
        }
        let refreshed = target.refresh(task.statement()).await.map(|_| ());
        refreshed.map_err(|error| nothing(stopped(&format!("cannot look at {region}"), &error)))?;
    }
    Ok(())
}

async fn fence_all(task: &Task, progress: &mut Progress, primaries: &[Node]) -> Step<Vec<Fence>> {
    let mut fences = Vec::new();
    for primary in primaries {
        primary.lock(task).await?;
        let fenced = fence(primary, task, &mut progress.begun).await?;
        progress.since = Some(progress.since.map_or(fenced.since, |since| since.min(fenced.since)));
        fences.push(fenced);
    }
    Ok(fences)
}

/// Right before the promotion: is all still as it must be?
async fn last_look(task: &Task, scene: &mut Scene, fences: &[Fence], suspects: &[Missing]) -> Step<()> {
    for (primary, fence) in scene.primaries.iter().zip(fences) {
        // One that no longer answers has not lost its fence: that was on its disk before the
        // standby could replay it.
        if let Ok(false) = stands(primary, task, &fence.roles).await {
            let why = format!("{}: somebody has let applications in again", fence.region);
            return Err(not_applied(why, Retry::Backoff));
        }
    }
    for suspect in suspects {
        if Node::open(task, &suspect.spec, LAST_TRY).await.is_ok() {
            let why = format!("{} answers again: it is fenced first", suspect.spec.region);
            return Err(not_applied(why, Retry::Backoff));
        }
    }
    let received = scene.target.facts.received;
    replay(&mut scene.target, task, received, before_promotion(task)).await?;
    scene.may_be_promoted()
}

/// The region is the writer already: promoted by an earlier attempt, or all along. What is not
/// done yet is done.
async fn already(task: &Arc<Task>, progress: &mut Progress, scene: &Scene) -> Step<Outcome> {
    scene.undisputed(task)?;
    progress.promoted = true;
    let ours = scene.target.record.as_ref().filter(|record| record.key == task.call.idempotency_key());
    let fences = fence_all(task, progress, &scene.primaries).await?;
    let owed = owed_to(&scene.missing);
    let taken = take_over(&scene.target, task, owed.as_deref()).await?;
    let words = if ours.is_some() { "was promoted by an earlier attempt" } else { "was the writer already" };
    Ok(done(task, scene, &fences, &taken, None, &scene.missing, words))
}

fn owed_to(suspects: &[Missing]) -> Option<String> {
    suspects.first().map(|suspect| suspect.spec.region.clone())
}

fn done(
    task: &Task,
    scene: &Scene,
    fences: &[Fence],
    taken: &TakenOver,
    promoted_at: Option<PgLsn>,
    suspects: &[Missing],
    how: &str,
) -> Outcome {
    let facts = &scene.target.facts;
    let mut detail = format!("{} {how}, on timeline {}; {}", task.op.region, facts.timeline, taken.words);
    let mut outputs: BTreeMap<String, String> =
        [("region".to_owned(), task.op.region.clone()), ("timeline".to_owned(), facts.timeline.to_string())]
            .into();
    for fence in fences {
        detail.push_str(&format!("; {} is fenced: {}", fence.region, fence.words));
        outputs.insert("fence_lsn".to_owned(), fence.lsn.to_string());
    }
    if let Some(position) = promoted_at {
        outputs.insert("promote_lsn".to_owned(), position.to_string());
    }
    if !taken.roles.is_empty() {
        detail.push_str(&format!("; logins given back to {}", taken.roles.join(", ")));
    }
    if let Some(seconds) = without_writer(fences, scene.target.record.as_ref(), promoted_at) {
        detail.push_str(&format!(
            "; applications were without a writer for {}",
            show(Duration::from_secs_f64(seconds))
        ));
        outputs.insert("seconds_without_writer".to_owned(), format!("{seconds:.3}"));
    }
    for suspect in suspects {
        detail.push_str(&format!("; {} could not be fenced: {}", suspect.spec.region, suspect.failure.words));
    }
    let owed = suspects.first().map(|suspect| Box::new(owed(&task.op, &suspect.spec.region)));
    Outcome::Applied { detail, outputs, owed }
}

/// From the fence to now, by our own clock, if this attempt or an earlier one has fenced.
fn without_writer(fences: &[Fence], record: Option<&Record>, promoted_at: Option<PgLsn>) -> Option<f64> {
    let earlier = record.filter(|record| promoted_at.is_some() && record.stage == Stage::Fenced);
    let since: Timestamp =
        fences.iter().map(|fence| fence.since).chain(earlier.map(|record| record.since)).min()?;
    Some(Clock.now().wall.duration_since(since).as_secs_f64().max(0.0))
}

/// The fence that an old writer is owed.
pub(super) fn owed(op: &DatabaseOp, region: &str) -> Owed {
    Owed {
        region: region.to_owned(),
        what: format!(
            "fence the old writer of `{}` in {region}, and rewind it to follow {}",
            op.cluster, op.region
        ),
        op: Op::Database(DatabaseOp { role: DatabaseRole::Reader, region: region.to_owned(), ..op.clone() }),
    }
}
