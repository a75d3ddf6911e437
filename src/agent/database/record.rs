//! What is written down in the database itself, in schema `pointsman`: who acted last and how
//! far it got, and which roles a fence has shut out. Being in the database it travels with the
//! log, and is on the standby exactly when that which it speaks of is.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::node::Node;
use super::{Task, not_applied, stopped};
use crate::agent::Step;
use crate::base::{Timestamp, Token};
use crate::io::postgres::{Session, SqlFailure};
use crate::io::{Clock, Deadline, Failure};
use crate::workflow::{Call, Outcome, Retry};

/// How far the one that acted last got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Application roles have lost their login; sessions may still be open.
    Fencing,
    /// The fence is proven.
    Fenced,
    /// This node was promoted.
    Writer,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::Fencing => "fencing",
            Self::Fenced => "fenced",
            Self::Writer => "writer",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Fencing, Self::Fenced, Self::Writer].into_iter().find(|stage| stage.word() == word)
    }
}

/// The fence record of a cluster on one node.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Record {
    pub token: Token,
    /// The idempotency key of the stage that acted.
    pub key: String,
    pub stage: Stage,
    /// The region of the node that it speaks of.
    pub region: String,
    /// The timeline of that node then.
    pub timeline: u32,
    /// The region whose old writer could not be fenced.
    pub owed: Option<String>,
    /// Fence: since when there is no writer, by our own clock. Writer: since when it is one.
    pub since: Timestamp,
}

impl Record {
    /// Whether a stage of the same execution wrote it.
    pub(super) fn is_of(&self, call: &Call) -> bool {
        let execution = self.key.rsplit_once('/').map_or(self.key.as_str(), |(execution, _)| execution);
        execution == call.execution.0
    }
}

/// Reads the record, if there is one.
pub(super) async fn read(
    session: &Session,
    cluster: &str,
    deadline: Deadline,
) -> Result<Option<Record>, SqlFailure> {
    const READ: &str = "
        SELECT epoch, index, key, stage, region, timeline, owed, extract(epoch FROM since)::float8
          FROM pointsman.fence WHERE cluster = $1";
    let rows = match session.query(READ, &[&cluster], deadline).await {
        // No such schema, no such table.
        Err(error) if error.is(&SqlState::INVALID_SCHEMA_NAME) || error.is(&SqlState::UNDEFINED_TABLE) => {
            return Ok(None);
        }
        rows => rows?,
    };
    let odd = || Failure::rubbish("the table pointsman.fence is not as we made it");
    rows.first().map(|row| record(row).ok_or_else(|| odd().into())).transpose()
}

fn record(row: &Row) -> Option<Record> {
    let number = |n: usize| row.try_get::<_, i64>(n).ok();
    let text = |n: usize| row.try_get::<_, String>(n).ok();
    Some(Record {
        token: Token { epoch: number(0)?.cast_unsigned(), index: number(1)?.cast_unsigned() },
        key: text(2)?,
        // A word that a later version may write counts as the most that can have happened.
        stage: Stage::from_word(&text(3)?).unwrap_or(Stage::Writer),
        region: text(4)?,
        timeline: u32::try_from(number(5)?).ok()?,
        owed: row.try_get(6).ok()?,
        since: timestamp(row.try_get(7).ok()?),
    })
}

fn timestamp(seconds: f64) -> Timestamp {
    let since_epoch = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Timestamp::UNIX_EPOCH.saturating_add(since_epoch).unwrap_or(Timestamp::MAX)
}

/// Refuses to go on where a newer token has been.
pub(super) fn not_stale(record: Option<&Record>, region: &str, task: &Task) -> Step<()> {
    match record {
        Some(record) if record.token > task.call.token => Err(stale(region, Some(record.token))),
        _ => Ok(()),
    }
}

fn stale(region: &str, token: Option<Token>) -> Outcome {
    let which = token.map_or_else(|| "a newer one".to_owned(), |token| token.to_string());
    Outcome::Stale {
        reason: format!("{region} has seen {which}: another attempt owns `pointsman.fence` there"),
    }
}

/// Makes sure that schema and tables are there and nobody else's. An application role that
/// owned them could put a trigger on them and have us run it.
pub(super) async fn prepare(node: &Node, task: &Task) -> Step<()> {
    let failed = |error: SqlFailure| {
        let doing = format!("{}: cannot prepare schema `pointsman` for the fence record", node.region());
        match error.is(&SqlState::INSUFFICIENT_PRIVILEGE) {
            true => {
                let cure = format!(
                    "GRANT CREATE ON DATABASE {} TO {}",
                    quoted(&node.spec.target.database),
                    quoted(&node.spec.target.user)
                );
                not_applied(format!("{doing}: {error}; {cure}"), Retry::Backoff)
            }
            false => stopped(&doing, &error),
        }
    };
    const THERE: &str =
        "SELECT to_regnamespace('pointsman') IS NOT NULL, to_regclass('pointsman.fence') IS NOT NULL,
                                to_regclass('pointsman.fenced_role') IS NOT NULL";
    let there = node.session.row(THERE, &[], task.statement()).await.map_err(failed)?;
    let creations = [
        "CREATE SCHEMA pointsman",
        "CREATE TABLE pointsman.fence (
             cluster text PRIMARY KEY,
             epoch bigint NOT NULL, index bigint NOT NULL, key text NOT NULL,
             stage text NOT NULL, region text NOT NULL, timeline bigint NOT NULL, owed text,
             since timestamptz NOT NULL)",
        "CREATE TABLE pointsman.fenced_role (cluster text, role text, PRIMARY KEY (cluster, role))",
    ];
    for (n, create) in creations.into_iter().enumerate() {
        if !there.get::<_, bool>(n) {
            node.session.simple(create, task.statement()).await.map_err(failed)?;
        }
    }
    const OWNERS: &str = "
        SELECT string_agg(DISTINCT pg_get_userbyid(owner), ', ')
          FROM (SELECT nspowner FROM pg_namespace WHERE nspname = 'pointsman'
                UNION ALL
                SELECT relowner FROM pg_class WHERE relnamespace = 'pointsman'::regnamespace) AS owned (owner)
         WHERE pg_get_userbyid(owner) <> current_user
           AND NOT (SELECT rolsuper FROM pg_roles WHERE oid = owner)";
    let row = node.session.row(OWNERS, &[], task.statement()).await.map_err(failed)?;
    match row.get::<_, Option<String>>(0) {
        None => Ok(()),
        Some(owner) => {
            let why = format!(
                "{}: schema `pointsman` belongs to {owner}; it must be {}'s own",
                node.region(),
                node.spec.target.user
            );
            Err(not_applied(why, Retry::Never))
        }
    }
}

/// What to write down.
pub(super) struct Entry<'a> {
    pub stage: Stage,
    pub region: &'a str,
    pub timeline: u32,
    pub owed: Option<&'a str>,
}

/// Writes the record, unless a newer token has been there. A fence that goes on, for the same
/// execution, keeps the time it began.
pub(super) async fn write(node: &Node, task: &Task, entry: &Entry<'_>) -> Step<()> {
    const WRITE: &str = "
        INSERT INTO pointsman.fence AS old (cluster, epoch, index, key, stage, region, timeline, owed, since)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::timestamptz)
        ON CONFLICT (cluster) DO UPDATE
           SET (epoch, index, key, stage, region, timeline, owed) =
               (excluded.epoch, excluded.index, excluded.key, excluded.stage, excluded.region,
                excluded.timeline, excluded.owed),
               since = CASE WHEN old.stage <> 'writer' AND excluded.stage <> 'writer'
                             AND regexp_replace(old.key, '/[^/]*$', '') = regexp_replace(excluded.key, '/[^/]*$', '')
                            THEN old.since ELSE excluded.since END
         WHERE (old.epoch, old.index) <= (excluded.epoch, excluded.index)
        RETURNING 1";
    let Task { call, op, .. } = task;
    let params: (i64, i64) = (call.token.epoch.cast_signed(), call.token.index.cast_signed());
    let (key, now) = (call.idempotency_key(), Clock.now().wall.to_string());
    let rows = node
        .session
        .query(
            WRITE,
            &[
                &op.cluster,
                &params.0,
                &params.1,
                &key,
                &entry.stage.word(),
                &entry.region,
                &i64::from(entry.timeline),
                &entry.owed,
                &now,
            ],
            task.statement(),
        )
        .await
        .map_err(|error| stopped(&format!("{}: cannot write the fence record", node.region()), &error))?;
    match rows.is_empty() {
        true => Err(stale(node.region(), None)),
        false => Ok(()),
    }
}

/// Roles that a fence has shut out and nobody has let in again.
pub(super) async fn fenced_roles(node: &Node, task: &Task) -> Result<Vec<String>, SqlFailure> {
    const ROLES: &str = "
        SELECT role FROM pointsman.fenced_role JOIN pg_roles ON rolname = role
         WHERE cluster = $1 ORDER BY role";
    match node.session.query(ROLES, &[&task.op.cluster], task.statement()).await {
        Err(error) if error.is(&SqlState::INVALID_SCHEMA_NAME) || error.is(&SqlState::UNDEFINED_TABLE) => {
            Ok(Vec::new())
        }
        rows => Ok(rows?.iter().map(|row| row.get(0)).collect()),
    }
}

/// Runs work in one transaction: all of it happens, or nothing.
pub(super) async fn in_transaction<T>(
    node: &Node,
    task: &Task,
    doing: &str,
    work: impl Future<Output = Step<T>>,
) -> Step<T> {
    let failed = |error: SqlFailure| stopped(&format!("{}: {doing}", node.region()), &error);
    let session: &Session = &node.session;
    session.simple("BEGIN", task.statement()).await.map_err(failed)?;
    let done = work.await;
    match done {
        Ok(value) => {
            session.simple("COMMIT", task.statement()).await.map_err(failed)?;
            Ok(value)
        }
        Err(outcome) => {
            // If this fails too, the session is gone, and the transaction with it.
            let _ = session.simple("ROLLBACK", task.statement()).await;
            Err(outcome)
        }
    }
}

/// An identifier, quoted for SQL.
pub(super) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_cannot_break_out() {
        assert_eq!(quoted("app"), "\"app\"");
        assert_eq!(quoted("a\"; DROP ROLE x; --"), "\"a\"\"; DROP ROLE x; --\"");
    }

    #[test]
    fn stages_read_back() {
        for stage in [Stage::Fencing, Stage::Fenced, Stage::Writer] {
            assert_eq!(Stage::from_word(stage.word()), Some(stage));
        }
    }
}
