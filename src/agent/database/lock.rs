//! One attempt at a time acts on a node: an advisory lock of the server's, which ends with the
//! session that holds it. Sessions carry the token of their attempt in their name, so that a
//! newer attempt can tell an older one, and end it.

use std::time::Duration;

use super::node::{NAME, Node};
use super::{Task, not_applied, stopped};
use crate::agent::Step;
use crate::base::Token;
use crate::io::Deadline;
use crate::io::postgres::{Session, SqlFailure};
use crate::workflow::{Outcome, Retry};

/// For how long an older attempt's session is waited for, once it was told to end.
const LOCK_TIME_MAX: Duration = Duration::from_secs(5);
impl Node {
    /// Takes the lock by which one attempt at a time acts on this node. It ends with the
    /// session. A session of an older attempt that still holds it is ended: what that one would
    /// yet have done is this one's to do or not to do.
    pub(super) async fn lock(&self, task: &Task) -> Step<()> {
        let key = lock_key(&task.op.cluster);
        let until = task.deadline.within(LOCK_TIME_MAX);
        let failed = |error: SqlFailure| stopped(&format!("cannot lock {}", self.region()), &error);
        loop {
            let row = self.session.row("SELECT pg_try_advisory_lock($1)", &[&key], task.statement()).await;
            if row.map_err(failed)?.get(0) {
                return Ok(());
            }
            for holder in holders(&self.session, key, task.statement()).await.map_err(failed)? {
                match holder.token {
                    Some(token) if token > task.call.token => {
                        let reason = format!("{}: a newer attempt ({token}) is at work", self.region());
                        return Err(Outcome::Stale { reason });
                    }
                    Some(token) if token < task.call.token => {
                        let end = "SELECT pg_terminate_backend($1)";
                        self.session.query(end, &[&holder.pid], task.statement()).await.map_err(failed)?;
                    }
                    _ => {
                        let (region, pid) = (self.region(), holder.pid);
                        let why = format!("{region}: session {pid} holds the lock of `{}`", task.op.cluster);
                        return Err(not_applied(why, Retry::Backoff));
                    }
                }
            }
            if until.sleep(Duration::from_millis(50)).await.is_err() {
                let why = format!("{}: an older attempt's session does not end", self.region());
                return Err(not_applied(why, Retry::Backoff));
            }
        }
    }

    /// Whether a session of another attempt is at work there.
    pub(super) async fn others_at_work(&self, task: &Task) -> Result<bool, SqlFailure> {
        let key = lock_key(&task.op.cluster);
        Ok(!holders(&self.session, key, task.statement()).await?.is_empty())
    }
}

/// A session that holds the lock.
struct Holder {
    pid: i32,
    /// Of its attempt, if it is one.
    token: Option<Token>,
}

async fn holders(session: &Session, key: i64, deadline: Deadline) -> Result<Vec<Holder>, SqlFailure> {
    // A bigint key is shown in two halves (PostgreSQL, "pg_locks").
    const HOLDERS: &str = "
        SELECT a.pid, a.application_name
          FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
           AND (l.classid::bigint << 32 | l.objid::bigint) = $1
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND a.pid <> pg_backend_pid()";
    let rows = session.query(HOLDERS, &[&key], deadline).await?;
    Ok(rows
        .iter()
        .map(|row| Holder { pid: row.get(0), token: row.get::<_, Option<&str>>(1).and_then(token_of) })
        .collect())
}

/// The token in a session's name.
fn token_of(application_name: &str) -> Option<Token> {
    let (epoch, index) = application_name.strip_prefix(NAME)?.strip_prefix(' ')?.split_once('.')?;
    Some(Token { epoch: epoch.parse().ok()?, index: index.parse().ok()? })
}

/// A number for the lock of a cluster (FNV-1a, 64 bits).
fn lock_key(cluster: &str) -> i64 {
    let hash =
        NAME.bytes().chain(*b"/").chain(cluster.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_carry_their_token() {
        assert_eq!(token_of("pointsman 3.412"), Some(Token { epoch: 3, index: 412 }));
        for other in
            ["pointsman", "pointsman watch", "psql", "", "pointsman 3", "pointsman x.y", "pointsman3.4"]
        {
            assert_eq!(token_of(other), None, "{other}");
        }
        assert_ne!(lock_key("one"), lock_key("two"));
    }
}
