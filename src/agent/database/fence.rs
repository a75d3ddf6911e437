//! Fencing one primary: no application can write there any more, and that is proven.
//!
//! ```text
//!  roles lose LOGIN, and are written down (one transaction)
//!    └► sessions of theirs are ended, until two looks in a row find none
//!         └► a login as one of them is refused: proof
//!              └► `fenced` is written down: all that applications ever wrote lies before it
//! ```

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::PgLsn;

use super::node::{Node, pause};
use super::proof::{self, ShutOut};
use super::record::{self, Entry, Stage, fenced_roles, in_transaction, quoted};
use super::{Task, not_applied, stopped};
use crate::agent::Step;
use crate::base::Timestamp;
use crate::io::postgres::SqlFailure;
use crate::workflow::Retry;

/// Roles that one fence shuts out.
const ROLES_MAX: usize = 1000;
/// For how long sessions may take to end once they were told to.
const SESSIONS_END_MAX: Duration = Duration::from_secs(15);
/// Between the two looks that must both find no session.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(200);
/// Logins that are under way when the fence is put up are left to end by themselves this long.
const LOGINS_END_BY_THEMSELVES: Duration = Duration::from_secs(2);

/// A fence that stands.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    pub region: String,
    /// Roles that were shut out, now or by an earlier attempt.
    pub roles: Vec<String>,
    /// Everything that applications wrote lies before this.
    pub lsn: PgLsn,
    pub timeline: u32,
    /// Since when there is no writer.
    pub since: Timestamp,
    /// How it was proven, and what it does not cover.
    pub words: String,
}

/// A fence that is being built: what must be told if the rest fails.
#[derive(Clone, Default, Debug)]
pub(super) struct Begun {
    /// Region and roles of each node whose roles have, or may have, lost their login.
    pub nodes: Vec<(String, Vec<String>)>,
}

/// Fences a primary. The caller holds its lock.
pub(super) async fn fence(node: &Node, task: &Task, begun: &mut Begun) -> Step<Fence> {
    let region = node.region();
    if !node.facts.may_alter_roles || !node.facts.may_end_sessions {
        let user = quoted(&node.spec.target.user);
        let why = format!(
            "{region}: {user} cannot fence applications off: ALTER ROLE {user} CREATEROLE; GRANT pg_signal_backend TO {user}"
        );
        return Err(not_applied(why, Retry::Backoff));
    }
    let roles = choose(node, task).await?;

    let mut shut: Vec<String> = roles.iter().map(|role| role.name.clone()).collect();
    shut.extend(fenced_roles(node, task).await.map_err(|error| unread(node, &error))?);
    shut.sort();
    shut.dedup();
    check_proof_role(task, &shut)?;

    // From here on applications may be without a writer, whatever becomes of us.
    begun.nodes.push((region.to_owned(), shut.clone()));
    let taking = take_logins(node, task, &roles);
    let taken = in_transaction(node, task, "cannot take the application roles' login", taking).await;
    if let Err(outcome) = taken {
        // Rolled back, if the server can still say so.
        if let Ok(false) = any_lost(node, task, &roles).await {
            begun.nodes.pop();
        }
        return Err(outcome);
    }
    tracing::info!(region, roles = shut.join(", "), "application roles have lost their login");
    end_sessions(node, task, &shut).await?;
    // Those that had a login to lose prove more than those that never had one.
    let lost = fenced_roles(node, task).await.map_err(|error| unread(node, &error))?;
    let candidates = if lost.is_empty() { &shut } else { &lost };
    let mut words = match proof::shut_out(node, task, candidates).await {
        ShutOut::Proven { role } => format!("a login as `{role}` is refused"),
        ShutOut::Broken { role } => {
            let why = format!(
                "{region}: the fence does not hold: `{role}` can still log in at {}",
                node.spec.target.address
            );
            return Err(not_applied(why, Retry::Backoff));
        }
        ShutOut::Unproven { why } => {
            format!("by the catalog alone: no application role may log in, and none is logged in ({why})")
        }
    };
    let fenced = Entry { stage: Stage::Fenced, region, timeline: node.facts.timeline, owed: None };
    record::write(node, task, &fenced).await?;
    let lsn = position(node, task).await.map_err(|error| unread(node, &error))?;
    let record = record::read(&node.session, &task.op.cluster, task.statement()).await;
    let record = record.map_err(|error| unread(node, &error))?;
    for remark in remarks(node, task, &shut).await.map_err(|error| unread(node, &error))? {
        words.push_str("; ");
        words.push_str(&remark);
    }
    let since = record.map_or(Timestamp::MIN, |record| record.since);
    tracing::info!(region, %lsn, proof = words, "fenced");
    Ok(Fence { region: region.to_owned(), roles: shut, lsn, timeline: node.facts.timeline, since, words })
}

/// Whether a fence still stands: nobody has given a login back, nobody is logged in.
pub(super) async fn stands(node: &Node, task: &Task, roles: &[String]) -> Result<bool, SqlFailure> {
    const LOOK: &str = "
        SELECT (SELECT count(*) FROM pg_roles WHERE rolcanlogin AND rolname = ANY ($1::text[])),
               (SELECT count(*) FROM pg_stat_activity WHERE usename = ANY ($1::text[]))";
    let row = node.session.row(LOOK, &[&roles], task.statement()).await?;
    Ok(row.get::<_, i64>(0) == 0 && row.get::<_, i64>(1) == 0)
}

/// Whether every application role is shut out here, and some were there to be shut out or none
/// has ever been.
pub(super) async fn is_fenced(node: &Node, task: &Task) -> Step<bool> {
    let mut roles: Vec<String> = choose(node, task).await?.into_iter().map(|role| role.name).collect();
    roles.extend(fenced_roles(node, task).await.map_err(|error| unread(node, &error))?);
    let proven = node
        .record
        .as_ref()
        .is_some_and(|record| record.stage == Stage::Fenced && record.region == node.region());
    Ok(proven && stands(node, task, &roles).await.map_err(|error| unread(node, &error))?)
}

fn unread(node: &Node, error: &SqlFailure) -> crate::workflow::Outcome {
    stopped(&format!("{}: cannot look at the fence", node.region()), error)
}

struct Role {
    name: String,
    can_login: bool,
}

/// The roles to shut out: those that are named, or all that can log in apart from superusers,
/// replication roles and our own.
async fn choose(node: &Node, task: &Task) -> Step<Vec<Role>> {
    const NAMED: &str = "
        SELECT rolname::text, rolcanlogin, rolname IN (session_user, current_user)
          FROM pg_roles WHERE rolname = ANY ($1::text[]) ORDER BY rolname";
    const ALL: &str = "
        SELECT rolname::text, rolcanlogin, false
          FROM pg_roles
         WHERE rolcanlogin AND NOT rolsuper AND NOT rolreplication
           AND rolname NOT IN (session_user, current_user) AND cardinality($1::text[]) = 0
         ORDER BY rolname";
    let (region, wanted) = (node.region(), &task.op.application.roles);
    let question = if wanted.is_empty() { ALL } else { NAMED };
    let rows = node.session.query(question, &[wanted], task.statement()).await;
    let rows =
        rows.map_err(|error| stopped(&format!("{region}: cannot list the application roles"), &error))?;
    let mut roles = Vec::new();
    for row in &rows {
        let role = Role { name: row.get(0), can_login: row.get(1) };
        if row.get(2) {
            let why = format!(
                "`{}` is an application role and the one we act as: the fence would shut us out",
                role.name
            );
            return Err(not_applied(why, Retry::Never));
        }
        roles.push(role);
    }
    if let Some(missing) = wanted.iter().find(|name| !roles.iter().any(|role| role.name == **name)) {
        return Err(not_applied(format!("{region} has no role `{missing}` to shut out"), Retry::Never));
    }
    match roles.len() > ROLES_MAX {
        true => {
            Err(not_applied(format!("{region} has more than {ROLES_MAX} application roles"), Retry::Never))
        }
        false => Ok(roles),
    }
}

/// A proof as a role that is not shut out would prove nothing.
fn check_proof_role(task: &Task, shut: &[String]) -> Step<()> {
    match &task.op.application.proof {
        Some((role, _)) if !shut.contains(role) => {
            let why = format!("`{role}` is to prove the fence, and is not among the roles that it shuts out");
            Err(not_applied(why, Retry::Never))
        }
        _ => Ok(()),
    }
}

/// In a transaction: takes the roles' LOGIN, and writes down from whom.
async fn take_logins(node: &Node, task: &Task, roles: &[Role]) -> Step<()> {
    let region = node.region();
    record::prepare(node, task).await?;
    let begun = Entry { stage: Stage::Fencing, region, timeline: node.facts.timeline, owed: None };
    record::write(node, task, &begun).await?;
    for role in roles.iter().filter(|role| role.can_login) {
        const WRITE_DOWN: &str =
            "INSERT INTO pointsman.fenced_role (cluster, role) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let failed = |error: SqlFailure| {
            let doing = format!("{region}: cannot take the login of `{}`", role.name);
            // The same role with the same rights would fail the same way.
            match error.is(&SqlState::INSUFFICIENT_PRIVILEGE) {
                true => not_applied(format!("{doing}: {error}"), Retry::Never),
                false => stopped(&doing, &error),
            }
        };
        node.session
            .query(WRITE_DOWN, &[&task.op.cluster, &role.name], task.statement())
            .await
            .map_err(failed)?;
        let alter = format!("ALTER ROLE {} NOLOGIN", quoted(&role.name));
        node.session.simple(&alter, task.statement()).await.map_err(failed)?;
    }
    Ok(())
}

/// Whether any of the roles that had a login has lost it.
async fn any_lost(node: &Node, task: &Task, roles: &[Role]) -> Result<bool, SqlFailure> {
    const LOST: &str = "SELECT count(*) FROM pg_roles WHERE NOT rolcanlogin AND rolname = ANY ($1::text[])";
    let names: Vec<&str> =
        roles.iter().filter(|role| role.can_login).map(|role| role.name.as_str()).collect();
    Ok(node.session.row(LOST, &[&names], task.statement()).await?.get::<_, i64>(0) > 0)
}

/// Ends the sessions of the roles, until two looks in a row find none, and no login that may
/// have been granted before the fence is still being set up.
async fn end_sessions(node: &Node, task: &Task, roles: &[String]) -> Step<()> {
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

async fn position(node: &Node, task: &Task) -> Result<PgLsn, SqlFailure> {
    // Our own commit has just been flushed, and with it all that lies before it.
    Ok(node.session.row("SELECT pg_current_wal_flush_lsn()", &[], task.statement()).await?.get(0))
}

/// Who could still write, and is not covered by the fence.
async fn remarks(node: &Node, task: &Task, shut: &[String]) -> Result<Vec<String>, SqlFailure> {
    const OTHERS: &str = "
        SELECT (SELECT string_agg(DISTINCT usename::text, ', ')
                  FROM pg_stat_activity JOIN pg_roles ON pg_roles.oid = usesysid
                 WHERE rolsuper AND pid <> pg_backend_pid() AND application_name NOT LIKE 'pointsman %'
                   AND coalesce(backend_type, 'client backend') = 'client backend'),
               (SELECT string_agg(DISTINCT usename::text, ', ')
                  FROM pg_stat_activity JOIN pg_roles ON pg_roles.oid = usesysid
                 WHERE NOT rolsuper AND NOT rolreplication AND pid <> pg_backend_pid()
                   AND application_name NOT LIKE 'pointsman %' AND NOT usename = ANY ($1::text[])),
               (SELECT count(*) FROM pg_prepared_xacts),
               (SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL)";
    let row = node.session.row(OTHERS, &[&shut], task.statement()).await?;
    let mut remarks = Vec::new();
    if shut.is_empty() {
        remarks.push(
            "there is no application role: only superusers could write, whom no fence shuts out".to_owned(),
        );
    }
    if let Some(superusers) = row.get::<_, Option<String>>(0) {
        remarks.push(format!("superusers are logged in ({superusers}), whom no fence shuts out"));
    }
    if let Some(others) = row.get::<_, Option<String>>(1) {
        remarks.push(format!("roles that were not to be shut out are logged in ({others})"));
    }
    match row.get::<_, i64>(2) {
        0 => {}
        n => remarks.push(format!(
            "{n} prepared transactions are open; they travel with the log and end at the new writer"
        )),
    }
    match row.get::<_, i64>(3) {
        0 => {}
        n => remarks.push(format!("{n} subscriptions go on writing there")),
    }
    Ok(remarks)
}
