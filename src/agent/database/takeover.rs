//! The new writer's side: catch up, be promoted, take over.

use std::time::Duration;

use tokio_postgres::types::PgLsn;

use super::node::{Node, pause};
use super::record::{self, Entry, Stage, fenced_roles, in_transaction, quoted};
use super::words::{bytes_between, lag};
use super::{Task, not_applied, proof, stopped};
use crate::agent::{Step, unknown};
use crate::io::Deadline;
use crate::io::postgres::SqlFailure;
use crate::workflow::{Outcome, Retry};

/// For how long a lost session of a node that is being promoted is waited for, each time.
const OPEN_TIME_MAX: Duration = Duration::from_secs(3);
/// What is left of an attempt's time when the promotion must be confirmed.
const CONFIRM_TIME: Duration = Duration::from_secs(2);
/// The longest time that `pg_promote` itself is told to wait.
const PROMOTE_TIME_MAX: Duration = Duration::from_secs(300);

/// So many looks in a row must find replay waiting where it was, with all of the log received: it
/// may have been about to be woken.
const STARVED_LOOKS: u32 = 4;

/// Waits until a standby has replayed every record of the log that ends before a position.
///
/// The position itself may never be reached. A primary writes its log out in whole pages, ahead of
/// any commit, so that a position can lie within a record; the rest of that record never comes if
/// the primary is gone. Replay then waits for it, with all that is complete behind it.
pub(super) async fn replay(target: &mut Node, task: &Task, to: PgLsn, until: Deadline) -> Step<()> {
    let region = target.region().to_owned();
    let (mut last, mut starved_looks) = (None, 0);
    loop {
        let facts = target.refresh(task.statement()).await;
        let facts = facts.map_err(|error| stopped(&format!("{region}: cannot see how far it is"), &error))?;
        let seen = Some((facts.replayed, facts.received));
        let starved = facts.starved && facts.received >= to && seen == last;
        starved_looks = if starved { starved_looks + 1 } else { 0 };
        last = seen;
        if !facts.in_recovery {
            let why = format!("{region} was promoted by somebody else meanwhile");
            return Err(not_applied(why, Retry::Backoff));
        }
        if facts.replayed >= to || starved_looks >= STARVED_LOOKS {
            return Ok(());
        }
        if facts.paused {
            return Err(not_applied(paused(&region), Retry::Backoff));
        }
        if !pause(until).await {
            let behind = bytes_between(facts.replayed, to);
            let why = format!(
                "{region} is {behind} bytes short of {to} and has not caught up: {}",
                lag(&region, facts)
            );
            return Err(not_applied(why, Retry::Backoff));
        }
    }
}

/// Why a standby whose replay is paused is not promoted: a promotion would end the pause, and
/// with it whatever somebody is keeping it for.
pub(super) fn paused(region: &str) -> String {
    format!("replay is paused on {region}: SELECT pg_wal_replay_resume() there, if nobody needs the pause")
}

/// Promotes a standby; tells the position at which it took over.
pub(super) async fn promote(target: &mut Node, task: &Task) -> Step<PgLsn> {
    let (region, before) = (target.region().to_owned(), target.facts.timeline);
    let wait = task.deadline.less(CONFIRM_TIME).left().min(PROMOTE_TIME_MAX);
    let seconds = i32::try_from(wait.as_secs()).unwrap_or(i32::MAX).max(1);
    tracing::info!(region, "promoting");
    let asked = target
        .session
        .row("SELECT pg_promote(true, $1)", &[&seconds], task.deadline.less(CONFIRM_TIME / 2))
        .await;
    // An error that the server itself reports before it has done anything. Its own end (class
    // 57) says nothing; "recovery is not in progress" (55000) says that it was done before.
    let refused = asked.as_ref().err().filter(|error| {
        error.state.as_ref().is_some_and(|state| !state.code().starts_with("57") && state.code() != "55000")
    });
    let refused =
        refused.map(|error| not_applied(format!("{region} cannot be promoted: {error}"), Retry::Backoff));
    confirm(target, task, before, refused).await?;
    let row = target
        .session
        .row("SELECT coalesce(pg_last_wal_replay_lsn(), pg_current_wal_flush_lsn())", &[], task.statement())
        .await;
    Ok(row.map_or(target.facts.replayed, |row| row.get(0)))
}

/// Looks until the node is out of recovery and on a newer timeline.
async fn confirm(target: &mut Node, task: &Task, before: u32, mut refused: Option<Outcome>) -> Step<()> {
    let region = target.region().to_owned();
    let mut last;
    loop {
        match target.refresh(task.statement()).await {
            Ok(facts) if !facts.in_recovery && facts.timeline > before => return Ok(()),
            Ok(facts) if !facts.in_recovery => {
                last = format!("it is out of recovery on timeline {}, where it was before", facts.timeline);
            }
            Ok(_) => {
                if let Some(outcome) = refused.take() {
                    return Err(outcome);
                }
                last = "it is still in recovery".to_owned();
            }
            Err(error) => {
                last = error.to_string();
                // The session may be gone, with the lock.
                if let Ok(again) = Node::open(task, &target.spec, OPEN_TIME_MAX).await {
                    again.lock(task).await?;
                    *target = again;
                }
            }
        }
        if !pause(task.deadline.less(CONFIRM_TIME / 4)).await {
            return Err(unknown(format!(
                "{region} was told to become the writer, and nobody knows whether it has: {last}"
            )));
        }
    }
}

/// What a new writer has taken over.
pub(super) struct TakenOver {
    /// Roles that have their login back.
    pub roles: Vec<String>,
    /// How it was proven that applications can write.
    pub words: String,
}

/// Makes a promoted node the writer for applications: writes the record, gives logins back,
/// proves a write. Does no harm when it was done before.
pub(super) async fn take_over(target: &Node, task: &Task, owed: Option<&str>) -> Step<TakenOver> {
    let region = target.region();
    let failed = |error: SqlFailure| stopped(&format!("{region}: cannot give logins back"), &error);
    let entry = Entry { stage: Stage::Writer, region, timeline: target.facts.timeline, owed };
    let roles = in_transaction(target, task, "cannot give logins back", async {
        record::prepare(target, task).await?;
        record::write(target, task, &entry).await?;
        let roles = fenced_roles(target, task).await.map_err(failed)?;
        let alter: String = roles.iter().map(|role| format!("ALTER ROLE {} LOGIN;", quoted(role))).collect();
        if !roles.is_empty() {
            target.session.simple(&alter, task.statement()).await.map_err(failed)?;
        }
        const FORGET: &str = "DELETE FROM pointsman.fenced_role WHERE cluster = $1";
        target.session.query(FORGET, &[&task.op.cluster], task.statement()).await.map_err(failed)?;
        Ok(roles)
    })
    .await?;
    let read_back =
        record::read(&target.session, &task.op.cluster, task.statement()).await.map_err(failed)?;
    if !read_back.is_some_and(|record| record.token == task.call.token && record.stage == Stage::Writer) {
        return Err(not_applied(
            format!("{region}: the fence record does not read back as it was written"),
            Retry::Backoff,
        ));
    }
    tracing::info!(region, roles = roles.join(", "), "application roles have their login back");
    let mut words = match &task.op.application.proof {
        Some((role, _)) => match proof::can_write(target, task, role).await {
            Ok(()) => format!("a write as `{role}` succeeds"),
            Err(why) => {
                let why = format!("{region} is the writer, but applications cannot write: {why}");
                return Err(not_applied(why, Retry::Backoff));
            }
        },
        None => "application roles may log in, by the catalog; no `proof` role is configured to write as"
            .to_owned(),
    };
    for remark in remarks(target, task).await.map_err(failed)? {
        words.push_str("; ");
        words.push_str(remark);
    }
    Ok(TakenOver { roles, words })
}

/// What may keep applications from writing although they may log in.
async fn remarks(target: &Node, task: &Task) -> Result<Vec<&'static str>, SqlFailure> {
    // Our own session has its own value; `reset_val` is what others start with.
    const LOOK: &str = "
        SELECT (SELECT reset_val = 'on' FROM pg_settings WHERE name = 'default_transaction_read_only'),
               current_setting('synchronous_standby_names') <> ''
                   AND NOT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))";
    let row = target.session.row(LOOK, &[], task.statement()).await?;
    let read_only = row.get::<_, Option<bool>>(0) == Some(true);
    let waits = row.get::<_, Option<bool>>(1) == Some(true);
    let mut remarks = Vec::new();
    if read_only {
        remarks.push("default_transaction_read_only is on there");
    }
    if waits {
        remarks
            .push("synchronous_standby_names is set and no such standby is connected: commits wait for one");
    }
    Ok(remarks)
}
