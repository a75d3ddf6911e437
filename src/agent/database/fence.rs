//! Fencing one primary: no application can write there any more, and that is proven.
//!
//! ```text
//!  roles lose LOGIN, and are written down (one transaction)
//!    └► sessions of theirs are ended, until two looks in a row find none
//!         └► a login as one of them is refused: proof
//!              └► `fenced` is written down: all that applications ever wrote lies before it
//! ```

use tokio_postgres::error::SqlState;
use tokio_postgres::types::PgLsn;

use super::node::Node;
use super::proof::{self, ShutOut};
use super::record::{self, Entry, Stage, fenced_roles, in_transaction, quoted};
use super::{Task, not_applied, sessions, stopped};
use crate::agent::Step;
use crate::base::Timestamp;
use crate::io::postgres::SqlFailure;
use crate::workflow::{Outcome, Retry};

/// Roles that one fence shuts out.
const ROLES_MAX: usize = 1000;
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
    sessions::end(node, task, &shut).await?;
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

/// Whether a fence still stands: nobody has given a login back or made a new role with one, and
/// nobody is logged in.
pub(super) async fn stands(node: &Node, task: &Task, roles: &[String]) -> Step<bool> {
    const LOOK: &str = "
        SELECT (SELECT count(*) FROM pg_roles WHERE rolcanlogin AND rolname = ANY ($1::text[])),
               (SELECT count(*) FROM pg_stat_activity WHERE usename = ANY ($1::text[]))";
    if choose(node, task).await?.iter().any(|role| role.can_login) {
        return Ok(false);
    }
    let row = node.session.row(LOOK, &[&roles], task.statement()).await;
    let row = row.map_err(|error| unread(node, &error))?;
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
    Ok(proven && stands(node, task, &roles).await?)
}

fn unread(node: &Node, error: &SqlFailure) -> Outcome {
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
        SELECT rolname::text, rolcanlogin, rolname IN (session_user, current_user),
               EXISTS (SELECT FROM pg_stat_replication WHERE usename = rolname)
          FROM pg_roles WHERE rolname = ANY ($1::text[]) ORDER BY rolname";
    const ALL: &str = "
        SELECT rolname::text, rolcanlogin, false, false
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
        let unfit = match (row.get(2), row.get(3)) {
            (true, _) => "is also the one we act as: the fence would shut us out",
            (_, true) => "is also the one that a standby replicates as: the fence would cut it off",
            _ => "",
        };
        if !unfit.is_empty() {
            let why = format!("{region}: application role `{}` {unfit}", role.name);
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
    let names: Vec<&str> = with_login(roles).collect();
    if names.is_empty() {
        return Ok(());
    }
    const WRITE_DOWN: &str = "
        INSERT INTO pointsman.fenced_role (cluster, role) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING";
    let failed = |error: SqlFailure| {
        let doing = format!("{region}: cannot take the login of {}", names.join(", "));
        // The same roles with the same rights would fail the same way.
        match error.is(&SqlState::INSUFFICIENT_PRIVILEGE) {
            true => not_applied(format!("{doing}: {error}"), Retry::Never),
            false => stopped(&doing, &error),
        }
    };
    let written = node.session.query(WRITE_DOWN, &[&task.op.cluster, &names], task.statement()).await;
    written.map_err(failed)?;
    let alter: String = names.iter().map(|name| format!("ALTER ROLE {} NOLOGIN;", quoted(name))).collect();
    node.session.simple(&alter, task.statement()).await.map_err(failed)?;
    Ok(())
}

fn with_login(roles: &[Role]) -> impl Iterator<Item = &str> {
    roles.iter().filter(|role| role.can_login).map(|role| role.name.as_str())
}

/// Whether any of the roles that had a login has lost it.
async fn any_lost(node: &Node, task: &Task, roles: &[Role]) -> Result<bool, SqlFailure> {
    const LOST: &str = "SELECT count(*) FROM pg_roles WHERE NOT rolcanlogin AND rolname = ANY ($1::text[])";
    let names: Vec<&str> = with_login(roles).collect();
    Ok(node.session.row(LOST, &[&names], task.statement()).await?.get::<_, i64>(0) > 0)
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
