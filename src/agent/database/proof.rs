//! Proving as an application role: that it is shut out, or that it can write again.

use std::time::Duration;

use super::Task;
use super::node::Node;
use crate::io::Contact;
use crate::io::postgres::{Login, Session, SqlFailure};

/// For how long one login may take.
const LOGIN_TIME_MAX: Duration = Duration::from_secs(5);

/// Roles that are tried without a password: where one needs it, another may not.
const ROLES_TRIED_MAX: usize = 3;

/// What an attempt to log in as an application role has shown.
pub(super) enum ShutOut {
    /// The server said: not permitted to log in.
    Proven { role: String },
    /// It let us in: the fence does not hold.
    Broken { role: String },
    /// Something else kept us out, which proves nothing.
    Unproven { why: String },
}

/// Tries to log in where applications would: as the proof role, if one is configured, else as
/// some of those that were shut out, without a password.
pub(super) async fn shut_out(node: &Node, task: &Task, fenced: &[String]) -> ShutOut {
    let roles = match &task.op.application.proof {
        Some((role, _)) => std::slice::from_ref(role),
        None => &fenced[..fenced.len().min(ROLES_TRIED_MAX)],
    };
    let mut why = "there is no application role".to_owned();
    for role in roles {
        match log_in(node, task, role).await {
            Ok(_) => return ShutOut::Broken { role: role.clone() },
            Err(error) if error.not_permitted_to_log_in() => return ShutOut::Proven { role: role.clone() },
            Err(error) => why = error.to_string(),
        }
    }
    ShutOut::Unproven { why }
}

/// Writes as the proof role: a transaction with a number of its own, committed as the
/// application's would be.
///
/// # Errors
/// Why it could not, in words.
pub(super) async fn can_write(node: &Node, task: &Task, role: &str) -> Result<(), String> {
    // A large object, made and removed: a write that any role may do, needs no table, fails on a
    // standby, and is waited for like any other at commit. (A transaction that only takes a
    // number for itself is committed without waiting.)
    const WRITE: &str = "SELECT current_setting('transaction_read_only') = 'on', lo_unlink(lo_create(0))";
    let cannot = |error: SqlFailure| error.to_string();
    let session = log_in(node, task, role).await.map_err(cannot)?;
    let deadline = task.deadline.within(LOGIN_TIME_MAX);
    let rows = session.query(WRITE, &[], deadline).await.map_err(|error| {
        let cure = "is synchronous_standby_names set, and no standby connected?";
        format!("a write as `{role}` does not end: {error}; {cure}")
    })?;
    match rows.first().is_some_and(|row| row.try_get(0).unwrap_or(true)) {
        true => Err(format!("`{role}` gets read-only transactions: default_transaction_read_only is on")),
        false => Ok(()),
    }
}

async fn log_in(node: &Node, task: &Task, role: &str) -> Result<Session, SqlFailure> {
    let target = &node.spec.target;
    let application = &task.op.application;
    let password = application.proof.as_ref().filter(|(proof, _)| proof == role);
    let mut contact = Contact::new(task.deadline.left().min(LOGIN_TIME_MAX));
    let login = Login {
        address: &target.address,
        // A name with several addresses must not lead to another server now.
        pinned: Some(node.session.peer()),
        user: role,
        database: application.database.as_deref().unwrap_or(&target.database),
        tls: target.tls,
        ca: task.op.ca.as_deref(),
        password: password.and_then(|(_, password)| password.as_ref()),
        application_name: "pointsman proof",
    };
    Session::open(&mut contact, &task.net, &login).await
}
