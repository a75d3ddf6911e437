//! PostgreSQL: one short session per member and round, one question.
//!
//! The role that watches needs no rights beyond logging in. With `pg_monitor` it also sees the
//! state of replication connections; without, that they exist.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::FromSql;

use crate::cluster::{Facts, PostgresFacts};
use crate::config::{PostgresOptions, PostgresTarget};
use crate::io::postgres::{Login, Session, SqlFailure};
use crate::io::{Contact, Failure, Net};

/// The timeline of a primary is the one it writes (the first eight digits of the segment's
/// name); `pg_control_checkpoint` lags behind it until the first checkpoint after a promotion.
/// That of a standby is the newest it has been told of.
const QUESTION: &str = "
SELECT (SELECT system_identifier FROM pg_control_system()) AS system,
       pg_is_in_recovery() AS in_recovery,
       current_setting('default_transaction_read_only') = 'on' AS read_only,
       CASE WHEN pg_is_in_recovery()
            THEN greatest((SELECT timeline_id FROM pg_control_checkpoint()),
                          (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
                          (SELECT max(received_tli) FROM pg_stat_wal_receiver))::bigint
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint
       END AS timeline,
       (CASE WHEN pg_is_in_recovery()
             THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), '0/0'::pg_lsn)
             ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn)::text AS received,
       (CASE WHEN pg_is_in_recovery()
             THEN coalesce(pg_last_wal_replay_lsn(), '0/0'::pg_lsn)
             ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn)::text AS replayed,
       CASE WHEN pg_is_in_recovery()
            THEN EXISTS (SELECT FROM pg_stat_wal_receiver WHERE coalesce(status, 'streaming') = 'streaming')
            ELSE EXISTS (SELECT FROM pg_stat_replication WHERE coalesce(state, 'streaming') = 'streaming')
       END AS streaming,
       (SELECT count(*) FROM pg_roles WHERE rolname = ANY ($1::text[])) AS listed,
       (SELECT count(*) FROM pg_roles WHERE rolcanlogin
           AND CASE WHEN cardinality($1::text[]) > 0 THEN rolname = ANY ($1::text[])
                    ELSE NOT rolsuper AND NOT rolreplication AND rolname <> session_user END) AS free,
       to_regclass('pointsman.fenced_role') IS NOT NULL AS has_fence";

/// What a server says of itself.
pub(super) async fn status(
    net: &Net,
    options: &PostgresOptions,
    target: &PostgresTarget,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let mut contact = Contact::new(timeout);
    let asked = ask(net, options, target, &mut contact).await;
    asked.map(Facts::Postgres).map_err(|error| error.failure)
}

async fn ask(
    net: &Net,
    options: &PostgresOptions,
    target: &PostgresTarget,
    contact: &mut Contact,
) -> Result<PostgresFacts, SqlFailure> {
    let login = Login {
        address: &target.address,
        pinned: None,
        user: &target.user,
        database: &target.database,
        tls: target.tls,
        ca: options.ca.as_deref(),
        password: options.password.as_ref(),
        application_name: "pointsman watch",
    };
    let session = Session::open(contact, net, &login).await?;
    let roles = &options.application.roles;
    let row = match session.row(QUESTION, &[roles], contact.deadline()).await {
        // It was promoted between two parts of the question: ask again.
        Err(error) if error.is(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => {
            session.row(QUESTION, &[roles], contact.deadline()).await?
        }
        asked => asked?,
    };
    let fenced = fenced(&session, &row, !roles.is_empty(), contact).await?;
    facts(&row, fenced).ok_or_else(|| odd(target).into())
}

/// It speaks the protocol, and is something else.
fn odd(target: &PostgresTarget) -> Failure {
    Failure::rubbish(format!("{} answers what PostgreSQL would not", target.address))
}

/// Whether no application role may log in, where there are some: those that are listed, or
/// those that a fence has shut out.
async fn fenced(
    session: &Session,
    row: &Row,
    listed: bool,
    contact: &Contact,
) -> Result<Option<bool>, SqlFailure> {
    let (Some(free), Some(in_recovery), Some(found), Some(has_fence)) = (
        get::<i64>(row, "free"),
        get::<bool>(row, "in_recovery"),
        get::<i64>(row, "listed"),
        get::<bool>(row, "has_fence"),
    ) else {
        return Ok(None);
    };
    if free > 0 || in_recovery {
        return Ok(Some(false));
    }
    if listed || !has_fence {
        return Ok(Some(listed && found > 0));
    }
    let asked = session
        .row("SELECT EXISTS (SELECT FROM pointsman.fenced_role) AS any", &[], contact.deadline())
        .await;
    match asked {
        Ok(row) => Ok(get(&row, "any")),
        // The role that watches need not be the one that fences.
        Err(error) if error.is(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(Some(false)),
        Err(error) => Err(error),
    }
}

fn facts(row: &Row, fenced: Option<bool>) -> Option<PostgresFacts> {
    let position = |column: &str| get::<&str>(row, column)?.parse::<u64>().ok();
    Some(PostgresFacts {
        // Shown by the server as if it had a sign.
        system: get::<i64>(row, "system")?.cast_unsigned(),
        in_recovery: get(row, "in_recovery")?,
        read_only: get(row, "read_only")?,
        fenced: fenced?,
        timeline: u32::try_from(get::<i64>(row, "timeline")?).ok()?,
        received: position("received")?,
        replayed: position("replayed")?,
        streaming: get(row, "streaming")?,
    })
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Option<T> {
    row.try_get(column).ok()
}
