//! Canaries: a small write and a read back, by whatever way leads to a system. What they have in
//! common is what becomes of them.
//!
//! What is written is the moment of writing, so that an old value that is brought back is told
//! from the one just written. Where each site has a key of its own, the read must bring what this
//! site wrote in this round.

pub(super) mod dynamodb;
pub(super) mod etcd;
pub(super) mod exec;
pub(super) mod http;
pub(super) mod mysql;
pub(super) mod postgres;
pub(super) mod redis;
pub(super) mod spanner;

use std::time::Duration;

use crate::cluster::{CanaryFacts, Facts};
use crate::config::{Canary, Endpoint, Member};
use crate::io::{Class, Contact, Failure, Net};

/// Writes to one member, and reads back.
pub(super) async fn status(
    net: &Net,
    canary: &Canary,
    member: &Member,
    timeout: Duration,
) -> Result<Facts, Failure> {
    match (canary, &member.endpoint) {
        (Canary::Http(options), Endpoint::Http(url)) => http::status(net, options, url, timeout).await,
        (Canary::Dynamodb(options), Endpoint::Http(url)) => {
            dynamodb::status(net, options, url, timeout).await
        }
        (Canary::Exec(check), Endpoint::Named(name)) => exec::status(net, check, name, timeout).await,
        (Canary::Postgres(canary), Endpoint::Postgres(target)) => {
            postgres::status(net, canary, target, timeout).await
        }
        (Canary::Mysql(canary), Endpoint::Port(address)) => {
            mysql::status(net, canary, address, timeout).await
        }
        (Canary::Redis(canary), Endpoint::Port(address)) => {
            redis::status(net, canary, address, timeout).await
        }
        (Canary::Etcd(canary), Endpoint::Http(url)) => etcd::status(net, canary, url, timeout).await,
        (Canary::Spanner(canary), Endpoint::Http(url)) => spanner::status(net, canary, url, timeout).await,
        _ => Err(Failure::unmeasured(format!("{} is not a way for a {}", member.endpoint, canary.word()))),
    }
}

/// What it comes to: silence of one that took the question is a canary that hangs.
fn outcome(contact: &Contact, done: Result<CanaryFacts, Failure>) -> Result<Facts, Failure> {
    match done {
        Err(failure) if failure.class == Class::Silent && contact.phases.connected.is_some() => {
            Ok(Facts::Canary(CanaryFacts::Hung))
        }
        done => done.map(Facts::Canary),
    }
}

/// Whether what was read is no older than what was written, give or take; both in ms since 1970.
fn fresh(place: &str, written: i64, read: Option<i64>, differ: Duration) -> CanaryFacts {
    let differ = i64::try_from(differ.as_millis()).unwrap_or(i64::MAX);
    match read {
        None => CanaryFacts::Failed(format!("{place} takes a write and does not bring it back")),
        Some(read) if read >= written.saturating_sub(differ) => CanaryFacts::Passed,
        Some(read) => {
            let before = written.saturating_sub(read) / 1000;
            CanaryFacts::Failed(format!(
                "{place} takes a write and brings back what was written {before}s before"
            ))
        }
    }
}
