//! A canary by MySQL's protocol: MySQL, MariaDB, Galera, TiDB, Aurora.
//!
//! One row for each site, upserted and read back. A commit that waits for a group goes on in the
//! server when we hang up; the next one then waits for the row's lock, and that wait the server
//! ends itself (`innodb_lock_wait_timeout`). So no more than one of them is ever left behind.

use std::time::Duration;

use super::{fresh, outcome};
use crate::cluster::{CanaryFacts, Facts};
use crate::config::{HostPort, MysqlCanary};
use crate::io::mysql::MysqlFailure;
use crate::io::{Clock, Contact, Failure, Net};
use crate::probe::cluster::mysql::open;

/// Writes, and reads back.
pub(in crate::probe::cluster) async fn status(
    net: &Net,
    canary: &MysqlCanary,
    address: &HostPort,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let contact = &mut Contact::new(timeout);
    let done = write_and_read(net, canary, address, contact).await;
    outcome(contact, done)
}

async fn write_and_read(
    net: &Net,
    canary: &MysqlCanary,
    address: &HostPort,
    contact: &mut Contact,
) -> Result<CanaryFacts, Failure> {
    let mut session = open(contact, net, &canary.login, address).await.map_err(|failed| failed.failure)?;
    let (table, site) = (&canary.row.table, text(&canary.row.site));
    let now = Clock.now().wall.as_millisecond();
    // In whole seconds, of which there is at least one.
    let patience = (contact.deadline().left().as_secs() * 3 / 4).max(1);
    let settings = format!(
        "SET SESSION autocommit = 1, innodb_lock_wait_timeout = {patience}, lock_wait_timeout = {patience}"
    );
    let upsert = format!(
        "INSERT INTO {table} (site, written_at_ms) VALUES ({site}, {now}) \
         ON DUPLICATE KEY UPDATE written_at_ms = {now}"
    );
    for statement in [settings, upsert] {
        if let Err(failed) = session.query(contact, &statement).await {
            return refusal(failed, "the write");
        }
    }
    // The key is unique: there is one row at most.
    let select = format!("SELECT written_at_ms FROM {table} WHERE site = {site} LIMIT 1");
    let rows = match session.query(contact, &select).await {
        Ok(rows) => rows,
        Err(failed) => return refusal(failed, "the read"),
    };
    let read = rows.first().and_then(|row| row.first()?.as_ref()?.parse().ok());
    Ok(fresh(&address.to_string(), now, read, contact.budget() / 2))
}

/// A literal; in MySQL a backslash is one more way out of it.
fn text(plain: &str) -> String {
    format!("'{}'", plain.replace('\\', "\\\\").replace('\'', "''"))
}

/// What the server says instead (MySQL, "Server Error Message Reference").
fn refusal(failed: MysqlFailure, what: &str) -> Result<CanaryFacts, Failure> {
    let words = format!("{what} fails: {}", failed.failure.words);
    match failed.code {
        // `read_only` and its kin, by server, by transaction, by InnoDB.
        Some(1290 | 1792 | 1836) => Ok(CanaryFacts::ReadOnly(words)),
        // Group Replication could not bring the write to a majority (3100); Galera is not part of
        // one (1047); no room on the disk, or the disk fails.
        Some(3100 | 1047 | 1021 | 1026 | 1030 | 1114 | 1180) => Ok(CanaryFacts::Failed(words)),
        // Another transaction was in the way: says nothing of the others behind it.
        Some(1213 | 3101) => Err(Failure::denied(words)),
        _ => Err(failed.failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Class;

    #[test]
    fn codes_tell_read_only_from_lost_from_unknown() {
        let refused = |code| {
            let failed = MysqlFailure { failure: Failure::rubbish("db says: m"), code: Some(code) };
            refusal(failed, "the write").map_err(|failure| failure.class)
        };
        let words = || "the write fails: db says: m".to_owned();
        for code in [1290, 1792, 1836] {
            assert_eq!(refused(code), Ok(CanaryFacts::ReadOnly(words())), "{code}");
        }
        for code in [3100, 1047, 1021, 1114] {
            assert_eq!(refused(code), Ok(CanaryFacts::Failed(words())), "{code}");
        }
        assert_eq!(refused(1213), Err(Class::Denied));
        // No such table, no such column: our own mistake.
        assert_eq!(refused(1146), Err(Class::Rubbish));
        assert_eq!(refused(1054), Err(Class::Rubbish));
    }

    #[test]
    fn a_name_cannot_break_out_of_its_quotes() {
        assert_eq!(text("fra1"), "'fra1'");
        assert_eq!(text(r"o\'hare"), r"'o\\''hare'");
    }
}
