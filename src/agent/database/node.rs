//! One node: a session of it, and what it says of itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, PgLsn};

use super::Task;
use super::record::{self, Record};
use crate::io::postgres::{Login, Session, SqlFailure};
use crate::io::{Class, Clock, Contact, Deadline, Failure};
use crate::workflow::DatabaseNode;

/// A node counts as unreachable after so many tries …
const TRIES: u32 = 3;
/// … with this long between them …
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(700);
/// … and all of them together no longer than this, or a quarter of the attempt's time.
const PATIENCE_MAX: Duration = Duration::from_secs(9);
/// What sessions of an attempt are called: this, and its token.
pub(super) const NAME: &str = "pointsman";
/// PostgreSQL 12 brought `pg_promote`.
const VERSION_MIN: i32 = 120_000;

/// A node that answers.
#[derive(Debug)]
pub(super) struct Node {
    pub spec: DatabaseNode,
    pub session: Session,
    pub facts: Facts,
    /// What is written down there, as it was when the node was first looked at.
    pub record: Option<Record>,
}

/// A node that does not.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    pub spec: DatabaseNode,
    pub failure: Failure,
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Facts {
    /// Identifies the database system: equal on a primary and its standbys.
    pub system: u64,
    pub in_recovery: bool,
    pub timeline: u32,
    /// Standby: replay is paused, or asked to pause.
    pub paused: bool,
    /// Standby: how far it has received the log. Primary: how far it is on disk.
    pub received: PgLsn,
    /// Standby: how far it has replayed it. Primary: as `received`.
    pub replayed: PgLsn,
    /// Standby: a process of it receives from a primary.
    pub receiving: bool,
    /// Standby: replay waits for more of the log than there is. Only a member of pg_monitor may see
    /// that.
    pub starved: bool,
    /// Standby: how far the primary was when it last said something.
    pub told: Option<PgLsn>,
    /// Standby: how long ago that was, in seconds.
    pub told_ago: Option<f64>,
    /// Standby: when the last transaction it has replayed was committed, as text.
    pub last_commit: Option<String>,
    /// We may take LOGIN from roles and give it back.
    pub may_alter_roles: bool,
    /// We may end other roles' sessions.
    pub may_end_sessions: bool,
    /// We may promote.
    pub may_promote: bool,
    /// Schema `pointsman` is there, or we may make it.
    pub may_write_down: bool,
}

/// The timeline of a primary is the one it writes; see the probe for why.
const QUESTION: &str = "
SELECT current_setting('server_version_num')::int AS version,
       (SELECT system_identifier FROM pg_control_system()) AS system,
       pg_is_in_recovery() AS in_recovery,
       CASE WHEN pg_is_in_recovery()
            THEN greatest((SELECT timeline_id FROM pg_control_checkpoint()),
                          (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
                          (SELECT max(received_tli) FROM pg_stat_wal_receiver))::bigint
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint
       END AS timeline,
       CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END AS paused,
       CASE WHEN pg_is_in_recovery()
            THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), '0/0'::pg_lsn)
            ELSE pg_current_wal_flush_lsn() END AS received,
       CASE WHEN pg_is_in_recovery()
            THEN coalesce(pg_last_wal_replay_lsn(), '0/0'::pg_lsn)
            ELSE pg_current_wal_flush_lsn() END AS replayed,
       EXISTS (SELECT FROM pg_stat_wal_receiver) AS receiving,
       (SELECT coalesce(bool_or(wait_event IN
                   ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval', 'RecoveryWalAll')), false)
          FROM pg_stat_activity WHERE backend_type = 'startup') AS starved,
       (SELECT max(latest_end_lsn) FROM pg_stat_wal_receiver) AS told,
       (SELECT max(extract(epoch FROM clock_timestamp() - last_msg_receipt_time))::float8
          FROM pg_stat_wal_receiver) AS told_ago,
       CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp()::text END AS last_commit,
       (rolsuper OR rolcreaterole) AS may_alter_roles,
       (rolsuper OR pg_has_role(rolname, 'pg_signal_backend', 'MEMBER')) AS may_end_sessions,
       (rolsuper OR has_function_privilege(rolname, 'pg_promote(boolean,integer)', 'EXECUTE')) AS may_promote,
       (to_regnamespace('pointsman') IS NOT NULL
           OR has_database_privilege(rolname, current_database(), 'CREATE')) AS may_write_down
  FROM pg_roles WHERE rolname = session_user";

/// Settings of a session: only those that the server knows. What hangs must end by itself; our
/// own commits wait for no standby, of which there may be none; and no function of somebody
/// else's may stand in for PostgreSQL's own.
const SETTINGS: &str = "
SELECT set_config(name, value, false)
  FROM (VALUES ('search_path', 'pg_catalog'), ('synchronous_commit', 'local'),
               ('default_transaction_read_only', 'off'), ('lock_timeout', '5s'),
               ('idle_in_transaction_session_timeout', '30s'), ('statement_timeout', $1::text),
               ('idle_session_timeout', $1::text), ('tcp_keepalives_idle', '5'),
               ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3'),
               ('client_connection_check_interval', '2s'))
       AS wanted (name, value)
  JOIN pg_settings USING (name)";

impl Node {
    /// Logs in and looks.
    pub(super) async fn open(task: &Task, spec: &DatabaseNode, budget: Duration) -> Result<Self, SqlFailure> {
        let target = &spec.target;
        let mut contact = Contact::new(task.deadline.left().min(budget));
        let login = Login {
            address: &target.address,
            pinned: None,
            user: &target.user,
            database: &target.database,
            tls: target.tls,
            ca: task.op.ca.as_deref(),
            password: task.op.password.as_ref(),
            application_name: &format!("{NAME} {}", task.call.token),
        };
        let session = Session::open(&mut contact, &task.net, &login).await?;
        // A little longer than the attempt, so that it is never the server that gives up first.
        let longest = format!("{}ms", (task.deadline.left() + Duration::from_secs(10)).as_millis());
        session.query(SETTINGS, &[&longest], contact.deadline()).await?;
        let facts = look(&session, spec, contact.deadline()).await?;
        let record = record::read(&session, &task.op.cluster, contact.deadline()).await?;
        Ok(Self { spec: spec.clone(), session, facts, record })
    }

    /// The same with patience: a lost packet does not make a node unreachable.
    pub(super) async fn open_patiently(task: &Task, spec: &DatabaseNode) -> Result<Self, Missing> {
        let patience = (task.call.timeout / 4).min(PATIENCE_MAX);
        let until = task.deadline.within(patience);
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match Self::open(task, spec, patience / TRIES).await {
                Ok(node) => return Ok(node),
                Err(error) => error,
            };
            let again = match &error.state {
                // Starting up, or without a connection to spare: it is there, and soon it may
                // have time for us.
                Some(state) if *state == SqlState::CANNOT_CONNECT_NOW || state.code().starts_with("53") => {
                    true
                }
                _ => tries < TRIES && !matches!(error.failure.class, Class::Denied | Class::Rubbish),
            };
            if !again || until.sleep(TRY_AGAIN_AFTER).await.is_err() {
                return Err(Missing { spec: spec.clone(), failure: error.failure });
            }
        }
    }

    /// The region it lies in.
    pub(super) fn region(&self) -> &str {
        &self.spec.region
    }

    /// Looks again.
    pub(super) async fn refresh(&mut self, deadline: Deadline) -> Result<&Facts, SqlFailure> {
        self.facts = look(&self.session, &self.spec, deadline).await?;
        Ok(&self.facts)
    }
}

/// Opens every one of these at once.
pub(super) async fn open_all(task: &Arc<Task>, specs: Vec<DatabaseNode>) -> (Vec<Node>, Vec<Missing>) {
    let mut opening = JoinSet::new();
    for (n, spec) in specs.iter().cloned().enumerate() {
        let task = Arc::clone(task);
        opening.spawn(async move { (n, Node::open_patiently(&task, &spec).await) });
    }
    let mut opened: Vec<Option<Result<Node, Missing>>> = specs.iter().map(|_| None).collect();
    while let Some(done) = opening.join_next().await {
        if let Ok((n, result)) = done {
            opened[n] = Some(result);
        }
    }
    let (mut nodes, mut missing) = (Vec::new(), Vec::new());
    for (spec, result) in specs.into_iter().zip(opened) {
        match result {
            Some(Ok(node)) => nodes.push(node),
            Some(Err(absent)) => missing.push(absent),
            None => missing
                .push(Missing { spec, failure: Failure::unmeasured("the attempt to log in broke off") }),
        }
    }
    (nodes, missing)
}

async fn look(session: &Session, spec: &DatabaseNode, deadline: Deadline) -> Result<Facts, SqlFailure> {
    let row = match session.row(QUESTION, &[], deadline).await {
        // Promoted between two parts of the question: ask again.
        Err(error) if error.is(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => {
            session.row(QUESTION, &[], deadline).await?
        }
        asked => asked?,
    };
    let place = &spec.target.address;
    if get::<i32>(&row, "version").is_some_and(|version| version < VERSION_MIN) {
        return Err(Failure::rubbish(format!("{place} is older than PostgreSQL 12")).into());
    }
    facts(&row).ok_or_else(|| Failure::rubbish(format!("{place} answers what PostgreSQL would not")).into())
}

fn facts(row: &Row) -> Option<Facts> {
    Some(Facts {
        system: get::<i64>(row, "system")?.cast_unsigned(),
        in_recovery: get(row, "in_recovery")?,
        timeline: u32::try_from(get::<i64>(row, "timeline")?).ok()?,
        paused: get(row, "paused")?,
        received: get(row, "received")?,
        replayed: get(row, "replayed")?,
        receiving: get(row, "receiving")?,
        starved: get(row, "starved")?,
        told: get(row, "told")?,
        told_ago: get(row, "told_ago")?,
        last_commit: get(row, "last_commit")?,
        may_alter_roles: get(row, "may_alter_roles")?,
        may_end_sessions: get(row, "may_end_sessions")?,
        may_promote: get(row, "may_promote")?,
        may_write_down: get(row, "may_write_down")?,
    })
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Option<T> {
    row.try_get(column).ok()
}

/// Waits a little between two looks.
pub(super) async fn pause(deadline: Deadline) -> bool {
    deadline.sleep(Duration::from_millis(30)).await.is_ok() && deadline.at() > Clock.mono()
}
