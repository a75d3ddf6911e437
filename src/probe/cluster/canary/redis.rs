//! A canary in Redis: SET, WAIT and GET of a key of the site's own.
//!
//! A master that is cut off takes a SET for ever and gives it back (see `redis_sentinel`): alone
//! that proves nothing. WAIT brings how many replicas have the write, which a master that is cut
//! off from them cannot get. It does not make the write durable: Redis has no majority.

use std::time::Duration;

use super::{fresh, outcome};
use crate::cluster::{CanaryFacts, Facts};
use crate::config::{HostPort, RedisCanary};
use crate::io::redis::{Login, Reply, ask};
use crate::io::{Clock, Contact, Failure, Net, TrustFiles};

/// Errors of one that is what we expect, and cannot take a write: its replicas are gone
/// (`min-replicas-to-write`), it cannot save, is no longer its slots' owner's majority, is loading,
/// has no room, or is held up by a script (Redis, `server.c`, "shared objects").
const FAILURES: [&str; 7] = ["NOREPLICAS", "MISCONF", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "OOM", "BUSY"];

/// Writes, and reads back.
pub(in crate::probe::cluster) async fn status(
    net: &Net,
    canary: &RedisCanary,
    address: &HostPort,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let contact = &mut Contact::new(timeout);
    let done = write_and_read(net, canary, address, contact).await;
    outcome(contact, done)
}

async fn write_and_read(
    net: &Net,
    canary: &RedisCanary,
    address: &HostPort,
    contact: &mut Contact,
) -> Result<CanaryFacts, Failure> {
    let tls = canary
        .tls
        .as_ref()
        .map(|access| TrustFiles { ca: access.ca.clone(), identity: access.identity.clone() });
    let login = Login {
        address,
        user: canary.login.user.as_deref(),
        password: canary.login.password.as_ref(),
        tls: tls.as_ref(),
    };
    let now = Clock.now().wall.as_millisecond();
    let (value, replicas) = (now.to_string(), canary.replicas.to_string());
    // It brings what it has by then; 0 would wait for ever.
    let patience = (contact.budget().as_millis() / 2).max(1).to_string();
    let mut commands: Vec<&[&str]> = Vec::new();
    let (set, wait, get) =
        (["SET", &canary.key, &value], ["WAIT", &replicas, &patience], ["GET", &canary.key]);
    commands.push(&set);
    if canary.replicas > 0 {
        commands.push(&wait);
    }
    commands.push(&get);
    let replies = ask(contact, net, &login, &commands).await?;
    judge(&address.to_string(), canary.replicas, now, &replies, contact.budget() / 2)
}

fn judge(
    place: &str,
    wanted: u32,
    now: i64,
    replies: &[Reply],
    differ: Duration,
) -> Result<CanaryFacts, Failure> {
    for reply in replies {
        if let Reply::Error(words) = reply {
            let told = format!("{place} says: {words}");
            let kind = words.split(' ').next().unwrap_or_default();
            return match kind {
                "READONLY" => Ok(CanaryFacts::ReadOnly(told)),
                kind if FAILURES.contains(&kind) => Ok(CanaryFacts::Failed(told)),
                // MOVED, too: the key lives elsewhere, and this member is not the one to ask.
                _ => Err(Failure::rubbish(told)),
            };
        }
    }
    let odd = || Failure::rubbish(format!("{place} answers what Redis would not"));
    let (Some(Reply::Text(set)), Some(get)) = (replies.first(), replies.last()) else { return Err(odd()) };
    if set != "OK" {
        return Err(odd());
    }
    if wanted > 0 {
        let Some(Reply::Number(have)) = replies.get(1) else { return Err(odd()) };
        if *have < i64::from(wanted) {
            let words = format!("{place} takes a write, and {have} of {wanted} replicas have it in time");
            return Ok(CanaryFacts::Failed(words));
        }
    }
    let read = match get {
        Reply::Text(text) => text.parse().ok(),
        _ => None,
    };
    Ok(fresh(place, now, read, differ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Class;

    #[test]
    fn a_write_that_no_replica_has_is_none() {
        let text = |text: &str| Reply::Text(text.to_owned());
        let second = Duration::from_secs(1);
        let judged = |wanted, replies: &[Reply]| {
            judge("r", wanted, 5_000, replies, second).map_err(|failure| failure.class)
        };
        let well = [text("OK"), Reply::Number(2), text("5000")];
        assert_eq!(judged(1, &well), Ok(CanaryFacts::Passed));
        assert_eq!(judged(2, &well), Ok(CanaryFacts::Passed));
        let short = "r takes a write, and 2 of 3 replicas have it in time".to_owned();
        assert_eq!(judged(3, &well), Ok(CanaryFacts::Failed(short)));
        assert_eq!(judged(0, &[text("OK"), text("5000")]), Ok(CanaryFacts::Passed));
        assert!(matches!(judged(0, &[text("OK"), text("1000")]), Ok(CanaryFacts::Failed(_))));
        assert!(matches!(judged(0, &[text("OK"), Reply::Nil]), Ok(CanaryFacts::Failed(_))));
        assert_eq!(judged(1, &[text("OK"), text("5000")]), Err(Class::Rubbish));
        assert_eq!(judged(0, &[text("QUEUED"), text("5000")]), Err(Class::Rubbish));
        assert_eq!(judged(0, &[]), Err(Class::Rubbish));
    }

    #[test]
    fn errors_tell_read_only_from_lost_from_unknown() {
        let judged = |words: &str| {
            let replies = [Reply::Error(words.to_owned()), Reply::Number(0), Reply::Nil];
            judge("r", 1, 5_000, &replies, Duration::from_secs(1)).map_err(|failure| failure.class)
        };
        let words = "READONLY You can't write against a read only replica.";
        assert_eq!(judged(words), Ok(CanaryFacts::ReadOnly(format!("r says: {words}"))));
        for words in ["NOREPLICAS Not enough good replicas to write.", "CLUSTERDOWN The cluster is down"] {
            assert_eq!(judged(words), Ok(CanaryFacts::Failed(format!("r says: {words}"))));
        }
        assert_eq!(judged("MOVED 3999 127.0.0.1:6381"), Err(Class::Rubbish));
        assert_eq!(judged("ERR unknown command"), Err(Class::Rubbish));
    }
}
