//! Ending the sessions of roles that have lost their login.

use std::time::Duration;

use super::node::{Node, pause};
use super::{Task, not_applied, stopped};
use crate::agent::Step;
use crate::io::postgres::SqlFailure;
use crate::workflow::Retry;

/// For how long sessions may take to end once they were told to.
const SESSIONS_END_MAX: Duration = Duration::from_secs(15);
/// Between the two looks that must both find no session.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(200);
/// Logins that are under way when the fence is put up are left to end by themselves this long.
const LOGINS_END_BY_THEMSELVES: Duration = Duration::from_secs(2);

/// Ends the sessions of the roles, until two looks in a row find none, and no login that may
/// have been granted before the fence is still being set up.
pub(super) async fn end(node: &Node, task: &Task, roles: &[String]) -> Step<()> {
    const END: &str = "
        SELECT pid, usename::text, pg_terminate_backend(pid)
          FROM pg_stat_activity WHERE usename = ANY ($1::text[]) AND pid <> pg_backend_pid()";
    let (region, until) = (node.region(), task.deadline.within(SESSIONS_END_MAX));
    let failed =
        |error: SqlFailure| stopped(&format!("{region}: cannot end the applications' sessions"), &error);
    let hurry = task.deadline.within(LOGINS_END_BY_THEMSELVES);
    let mut under_way = logins_under_way(node, task).await.map_err(failed)?;
    let mut found_none = false;
    loop {
        let rows = node.session.query(END, &[&roles], task.statement()).await.map_err(failed)?;
        let left = match (rows.first(), under_way.first()) {
            (None, None) if found_none => return Ok(()),
            (None, None) => "the last of them".to_owned(),
            (Some(row), _) => format!("session {} of `{}`", row.get::<_, i32>(0), row.get::<_, String>(1)),
            (None, Some(login)) => format!("a login under way, process {}", login.pid),
        };
        found_none = rows.is_empty() && under_way.is_empty();
        let goes_on = match found_none {
            true => until.sleep(SECOND_LOOK_AFTER).await.is_ok(),
            false => pause(until).await,
        };
        if !goes_on {
            let why =
                format!("{region}: the applications' sessions do not end in time ({left} is still there)");
            return Err(not_applied(why, Retry::Backoff));
        }
        if !under_way.is_empty() {
            let now = logins_under_way(node, task).await.map_err(failed)?;
            under_way.retain(|login| now.contains(login));
            if hurry.over() {
                end_logins(node, task, &under_way).await;
            }
        }
    }
}

/// A process that is letting somebody in.
#[derive(PartialEq, Eq, Debug)]
struct Login {
    pid: i32,
    /// The transaction it sets its session up in.
    transaction: String,
}

/// Logins that may have been granted and do not show as sessions yet.
///
/// A new process looks whether its role may log in, reads its settings, and only then appears
/// in `pg_stat_activity`; all of that in one transaction, whose lock it holds (InitPostgres in
/// postinit.c). One that holds such a lock and is no session may have looked before the fence:
/// it must become one, and be ended, or go away. One that begins after the fence sees it.
async fn logins_under_way(node: &Node, task: &Task) -> Result<Vec<Login>, SqlFailure> {
    const UNDER_WAY: &str = "
        SELECT pid, virtualtransaction FROM pg_locks
         WHERE locktype = 'virtualxid' AND pid <> pg_backend_pid()
           AND pid NOT IN (SELECT pid FROM pg_stat_activity)";
    let rows = node.session.query(UNDER_WAY, &[], task.statement()).await?;
    Ok(rows.iter().map(|row| Login { pid: row.get(0), transaction: row.get(1) }).collect())
}

/// A client that dawdles over its password keeps its login under way. Not every server lets
/// every role end one; then it is waited for.
async fn end_logins(node: &Node, task: &Task, logins: &[Login]) {
    for Login { pid, .. } in logins {
        let _ = node.session.query("SELECT pg_terminate_backend($1)", &[pid], task.statement()).await;
    }
}
