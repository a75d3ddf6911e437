//! Role writer: fence every other node that may be one, promote this one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::PgLsn;

use super::fence::{Fence, fence, stands};
use super::node::{Missing, Node, open_all};
use super::record::{Record, Stage, not_stale, quoted};
use super::takeover::{TakenOver, paused, promote, replay, take_over};
use super::words::{Progress, question, question_primary};
use super::{Task, not_applied, out_of_reach, stopped};
use crate::agent::{Step, unknown};
use crate::base::Timestamp;
use crate::config::UnreachableWriter;
use crate::io::{Class, Clock, show};
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

/// The nodes as they were found.
struct Scene {
    target: Node,
    /// Other nodes that accept writes.
    primaries: Vec<Node>,
    /// Other nodes that do not.
    standbys: Vec<Node>,
    missing: Vec<Missing>,
}

async fn run(task: &Arc<Task>, progress: &mut Progress) -> Step<Outcome> {
    let mut scene = look_around(task).await?;
    if !scene.target.facts.in_recovery {
        return already(task, progress, &scene).await;
    }
    may_be_promoted(&scene)?;
    let suspects = suspects(task, &scene)?;

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

/// Looks at every node, and refuses what could not end well.
async fn look_around(task: &Arc<Task>) -> Step<Scene> {
    let (mut nodes, missing) = open_all(task, task.op.nodes.clone()).await;
    let Some(target) = choose(&nodes, &task.op.region) else {
        let own = missing.iter().find(|missing| missing.spec.region == task.op.region);
        return Err(own.map_or_else(
            || not_applied(format!("{} has no node that answers", task.op.region), Retry::Backoff),
            |own| out_of_reach(&own.spec.region, &own.failure),
        ));
    };
    let mut target = nodes.swap_remove(target);
    for node in std::iter::once(&target).chain(&nodes) {
        not_stale(node.record.as_ref(), node.region(), task)?;
    }
    target.lock(task).await?;
    // What was seen before the lock may have been in the middle of something.
    let refreshed = target.refresh(task.statement()).await.map(|_| ());
    refreshed.map_err(|error| stopped(&format!("cannot look at {}", target.region()), &error))?;
    for node in &nodes {
        let (new, other) = (target.region(), node.region());
        if node.facts.system != target.facts.system {
            let why = format!(
                "{new} and {other} are not of one database system ({} and {}): {new} is no standby of {other}",
                target.facts.system, node.facts.system
            );
            return Err(not_applied(why, Retry::Never));
        }
        if node.facts.timeline > target.facts.timeline {
            let why = format!(
                "{new} is on the older timeline {}, {other} on {}: what {new} has was left behind by a promotion; rewind it first (pg_rewind)",
                target.facts.timeline, node.facts.timeline
            );
            // A standby may yet follow to the newer one by itself; a primary never does.
            let retry = if target.facts.in_recovery { Retry::Backoff } else { Retry::Never };
            return Err(not_applied(why, retry));
        }
    }
    let (standbys, primaries) = nodes.into_iter().partition::<Vec<_>, _>(|node| node.facts.in_recovery);
    let rivals: Vec<&str> = primaries
        .iter()
        .filter(|node| node.facts.timeline == target.facts.timeline)
        .map(Node::region)
        .chain((!target.facts.in_recovery).then(|| target.region()))
        .collect();
    if rivals.len() > 1 {
        let (regions, timeline) = (rivals.join(" and "), target.facts.timeline);
        let why = format!(
            "{regions} are primaries on the same timeline {timeline}: a split brain, which only a person can judge"
        );
        return Err(not_applied(why, Retry::Never));
    }
    Ok(Scene { target, primaries, standbys, missing })
}

/// The region's node: the one that is the writer already, or else the one that has most.
fn choose(nodes: &[Node], region: &str) -> Option<usize> {
    let own = nodes.iter().enumerate().filter(|(_, node)| node.region() == region);
    own.max_by_key(|(n, node)| {
        let facts = &node.facts;
        (!facts.in_recovery, facts.timeline, facts.received, std::cmp::Reverse(*n))
    })
    .map(|(n, _)| n)
}

fn may_be_promoted(scene: &Scene) -> Step<()> {
    let Node { facts, spec, .. } = &scene.target;
    if facts.paused {
        return Err(not_applied(paused(&spec.region), Retry::Backoff));
    }
    let user = quoted(&spec.target.user);
    let missing = match (facts.may_promote, facts.may_alter_roles) {
        (true, true) if facts.may_write_down => return Ok(()),
        (true, true) => format!("GRANT CREATE ON DATABASE {} TO {user}", quoted(&spec.target.database)),
        (false, _) => format!("GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO {user}"),
        (true, false) => format!("ALTER ROLE {user} CREATEROLE"),
    };
    Err(not_applied(
        format!("{}: {user} has not the rights to promote it: {missing}", spec.region),
        Retry::Backoff,
    ))
}

/// Nodes that may be the writer and cannot be fenced, once it is settled that the promotion goes
/// on without that: because the file says so, or an operator.
fn suspects(task: &Task, scene: &Scene) -> Step<Vec<Missing>> {
    let facts = &scene.target.facts;
    let left_behind =
        |node: &Node| node.record.as_ref().is_some_and(|record| fenced_by_another(record, task));
    if scene.primaries.iter().any(|node| node.facts.timeline == facts.timeline && !left_behind(node)) {
        // The writer is known and answers; who is missing is a standby of it.
        return Ok(Vec::new());
    }
    never_denied(&scene.missing)?;
    let ahead = scene.standbys.iter().filter(|node| node.facts.received > facts.received);
    let ahead = ahead.max_by_key(|node| node.facts.received);
    match task.call.approved || (accepted(task, &scene.missing) && ahead.is_none()) {
        true => Ok(scene.missing.clone()),
        false => Err(Outcome::Ask { question: question(task, &scene.target, &scene.missing, ahead) }),
    }
}

/// A node that keeps us from fencing it is alive: nobody can accept that risk.
fn never_denied(suspects: &[Missing]) -> Step<()> {
    match suspects.iter().find(|missing| missing.failure.class == Class::Denied) {
        None => Ok(()),
        Some(Missing { spec, failure }) => {
            let why = format!("{} may be the writer and cannot be fenced: {}", spec.region, failure.words);
            Err(not_applied(why, Retry::Backoff))
        }
    }
}

/// What can be accepted beforehand (`unreachable_writer: promote`) is that the old writer may
/// live on: not that we may be blind, or be the ones who are cut off.
fn accepted(task: &Task, suspects: &[Missing]) -> bool {
    let Some(first) = suspects.first() else { return true };
    let away = |missing: &Missing| matches!(missing.failure.class, Class::Refused | Class::Silent);
    task.op.unreachable_writer == UnreachableWriter::Promote
        && suspects.iter().all(|missing| away(missing) && missing.spec.region == first.spec.region)
}

/// A fence that another execution put up there: that one may have made somebody else the writer.
fn fenced_by_another(record: &Record, task: &Task) -> bool {
    record.stage != Stage::Writer && !record.is_of(&task.call)
}

/// The region's node is a primary already. Is it the one, or was it left behind by a promotion
/// elsewhere? Only who is missing could tell.
fn undisputed(task: &Task, scene: &Scene) -> Step<()> {
    let (target, missing) = (&scene.target, &scene.missing);
    if missing.is_empty() {
        return Ok(());
    }
    // This execution has promoted it: it says so, or it has gone beyond the fence that this
    // execution put up before.
    let ours = target.record.as_ref().filter(|record| record.is_of(&task.call));
    if ours.is_some_and(|record| record.stage == Stage::Writer || target.facts.timeline > record.timeline) {
        return Ok(());
    }
    never_denied(missing)?;
    let doubt = target.record.as_ref().is_some_and(|record| fenced_by_another(record, task));
    match task.call.approved || (accepted(task, missing) && !doubt) {
        true => Ok(()),
        false => Err(Outcome::Ask { question: question_primary(task, target, missing) }),
    }
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
    may_be_promoted(scene)
}

/// The region is the writer already: promoted by an earlier attempt, or all along. What is not
/// done yet is done.
async fn already(task: &Arc<Task>, progress: &mut Progress, scene: &Scene) -> Step<Outcome> {
    undisputed(task, scene)?;
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
