//! A canary by PostgreSQL's protocol: PostgreSQL itself, CockroachDB, YugabyteDB, Aurora, or a
//! pooler in front of any.
//!
//! One row for each site, upserted and read back in two transactions. Everything goes in simple
//! queries with `SET LOCAL`, so that a pooler that lends a session for one transaction at a time
//! serves as well. A commit that waits for others goes on in the server when we hang up; the next
//! one then waits for the row's lock, and that wait the server ends itself (`lock_timeout`). So
//! no more than one of them is ever left behind.

use std::time::Duration;

use super::{fresh, outcome};
use crate::cluster::{CanaryFacts, Facts};
use crate::config::{PostgresCanary, PostgresTarget};
use crate::io::postgres::{Login, Session, SqlFailure};
use crate::io::{Clock, Contact, Failure, Net};

/// Writes, and reads back.
pub(in crate::probe::cluster) async fn status(
    net: &Net,
    canary: &PostgresCanary,
    target: &PostgresTarget,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let contact = &mut Contact::new(timeout);
    let done = write_and_read(net, canary, target, contact).await;
    outcome(contact, done)
}

async fn write_and_read(
    net: &Net,
    canary: &PostgresCanary,
    target: &PostgresTarget,
    contact: &mut Contact,
) -> Result<CanaryFacts, Failure> {
    let login = Login {
        address: &target.address,
        pinned: None,
        user: &target.user,
        database: &target.database,
        tls: target.tls,
        ca: canary.ca.as_deref(),
        password: canary.password.as_ref(),
        application_name: "pointsman canary",
    };
    let session = Session::open(contact, net, &login).await.map_err(|failed| failed.failure)?;
    let (table, site) = (&canary.row.table, text(&canary.row.site));
    let now = Clock.now().wall.as_millisecond();
    // Before our own deadline, so that it is the server that gives up, and says why.
    let patience = contact.deadline().left().as_millis() * 3 / 4;
    let upsert = format!(
        "BEGIN; SET LOCAL lock_timeout = {patience}; SET LOCAL statement_timeout = {patience}; \
         INSERT INTO {table} (site, written_at_ms) VALUES ({site}, {now}) \
         ON CONFLICT (site) DO UPDATE SET written_at_ms = excluded.written_at_ms; COMMIT"
    );
    if let Err(failed) = session.simple(&upsert, contact.deadline()).await {
        return refusal(failed, "the write");
    }
    // The key is unique: there is one row at most.
    let select = format!("SELECT written_at_ms FROM {table} WHERE site = {site}");
    let rows = match session.simple(&select, contact.deadline()).await {
        Ok(rows) => rows,
        Err(failed) => return refusal(failed, "the read"),
    };
    let read = rows.first().and_then(|row| row.try_get(0).ok()??.parse().ok());
    Ok(fresh(&target.address.to_string(), now, read, contact.budget() / 2))
}

/// A literal.
fn text(plain: &str) -> String {
    format!("'{}'", plain.replace('\'', "''"))
}

/// What the server says instead (PostgreSQL, appendix A).
fn refusal(failed: SqlFailure, what: &str) -> Result<CanaryFacts, Failure> {
    let words = format!("{what} fails: {}", failed.failure.words);
    match failed.state.as_ref().map(|state| state.code()) {
        // A standby, or one whose transactions are read-only by default.
        Some("25006") => Ok(CanaryFacts::ReadOnly(words)),
        // No room on its disk; its system, or it itself, fails (58000 and 58C00 are also
        // CockroachDB's words for ranges that lack a majority).
        Some(code) if code == "53100" || code.starts_with("58") || code.starts_with("XX") => {
            Ok(CanaryFacts::Failed(words))
        }
        // Another transaction was in the way: says nothing of the others behind it.
        Some(code) if code.starts_with("40") => Err(Failure::denied(words)),
        _ => Err(failed.failure),
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::error::SqlState;

    use super::*;
    use crate::io::Class;

    #[test]
    fn codes_tell_read_only_from_lost_from_unknown() {
        let refused = |code: &str| {
            let failure = Failure::rubbish("db says: m");
            let failed = SqlFailure { failure, state: Some(SqlState::from_code(code)), routine: None };
            refusal(failed, "the write").map_err(|failure| failure.class)
        };
        let words = || "the write fails: db says: m".to_owned();
        assert_eq!(refused("25006"), Ok(CanaryFacts::ReadOnly(words())));
        for code in ["53100", "58030", "58C00", "XX000", "XXUUU"] {
            assert_eq!(refused(code), Ok(CanaryFacts::Failed(words())), "{code}");
        }
        for code in ["40001", "40P01"] {
            assert_eq!(refused(code), Err(Class::Denied), "{code}");
        }
        // The table is missing, or has no such key: our own mistake.
        for code in ["42P01", "42P10", "42703"] {
            assert_eq!(refused(code), Err(Class::Rubbish), "{code}");
        }
    }

    #[test]
    fn a_name_cannot_break_out_of_its_quotes() {
        assert_eq!(text("fra1"), "'fra1'");
        assert_eq!(text("o'hare"), "'o''hare'");
    }
}
