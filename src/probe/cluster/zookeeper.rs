//! ZooKeeper 3.5.3 and later, over its client port.
//!
//! `srvr` is the one of the four-letter words that is allowed by default, and the one that does
//! not lie: a server without a quorum says that it is not serving, a follower at once and the
//! leader after `syncLimit` ticks. It tells the epoch and counter of the last transaction
//! (zxid), and whether it follows, but not whom: the judgement puts that together.
//!
//! Not asked: `ruok` says `imok` for ever, and AdminServer answers everything with 200.
//!
//! Opening a session is a transaction that a majority must accept, so it proves a quorum. A
//! `sync` or a read on top of it would prove no more: the leader answers them by itself.

use std::time::Duration;

use super::unanswered;
use crate::cluster::{Facts, LinearizableResult, RaftFacts};
use crate::config::{HostPort, ZooKeeperOptions};
use crate::io::wire::Wire;
use crate::io::{Contact, Failure, Net, TrustFiles};

/// `srvr` is ten short lines.
const ANSWER_BYTES_MAX: usize = 4096;
/// A session that we leave behind ends by itself after this long.
const SESSION_TIMEOUT_MS: i32 = 10_000;
/// `ConnectResponse` is 37 bytes and its length.
const RESPONSE_BYTES_MAX: usize = 256;

/// What a server says of itself.
pub(super) async fn status(
    net: &Net,
    options: &ZooKeeperOptions,
    to: &HostPort,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let mut contact = Contact::new(timeout);
    let mut wire = open(&mut contact, net, options, to, ANSWER_BYTES_MAX).await?;
    // Without a newline: the server would find it unread when it closes, and take back what it said.
    wire.send(&contact, b"srvr").await?;
    let answer = wire.rest(&mut contact).await?;
    facts(&to.to_string(), &String::from_utf8_lossy(answer)).map(Facts::Raft)
}

async fn open<'a>(
    contact: &mut Contact,
    net: &Net,
    options: &ZooKeeperOptions,
    to: &'a HostPort,
    bytes_max: usize,
) -> Result<Wire<'a>, Failure> {
    let access = &options.access;
    let trust = TrustFiles { ca: access.ca.clone(), identity: access.identity.clone() };
    Wire::open(contact, net, to, options.tls.then_some(&trust), bytes_max).await
}

/// What `srvr` tells of the server at a place.
fn facts(place: &str, answer: &str) -> Result<RaftFacts, Failure> {
    let odd = || {
        let excerpt: String = answer.chars().filter(|c| !c.is_control()).take(80).collect();
        Failure::rubbish(format!("{place} answers what is not ZooKeeper's: {excerpt}"))
    };
    let member = place.to_owned();
    if answer.starts_with("This ZooKeeper instance is not currently serving requests") {
        let errors = vec!["not currently serving requests".to_owned()];
        return Ok(RaftFacts { member, errors, ..RaftFacts::default() });
    }
    if answer.starts_with("srvr is not executed") {
        return Err(Failure::denied(format!(
            "{place} does not answer `srvr`: add it to 4lw.commands.whitelist"
        )));
    }
    if !answer.starts_with("Zookeeper version:") {
        return Err(odd());
    }
    let value = |key: &str| answer.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let zxid = value("Zxid: 0x").and_then(|zxid| u64::from_str_radix(zxid, 16).ok()).ok_or_else(odd)?;
    // Followers and observers do not tell whom they follow.
    let leader = match value("Mode:").ok_or_else(odd)? {
        "leader" | "standalone" => Some(member.clone()),
        "follower" | "observer" => Some(String::new()),
        "read-only" => None,
        _ => return Err(odd()),
    };
    Ok(RaftFacts {
        member,
        leader,
        term: zxid >> 32,
        index: zxid & 0xffff_ffff,
        applied: zxid & 0xffff_ffff,
        learner: value("Mode:") == Some("observer"),
        ..RaftFacts::default()
    })
}

/// Opens a session and closes it.
pub(super) async fn linearizable(net: &Net, options: &ZooKeeperOptions, to: &HostPort) -> LinearizableResult {
    let mut contact = Contact::new(options.linearizable_timeout);
    match session(&mut contact, net, options, to).await {
        Ok(true) => LinearizableResult::Passed,
        Ok(false) => LinearizableResult::Unmeasured(format!("{to} opens no session for us")),
        Err(failure) => unanswered(failure, &contact),
    }
}

/// Whether a session could be opened.
async fn session(
    contact: &mut Contact,
    net: &Net,
    options: &ZooKeeperOptions,
    to: &HostPort,
) -> Result<bool, Failure> {
    let mut wire = open(contact, net, options, to, RESPONSE_BYTES_MAX).await?;
    wire.send(contact, &connect_request()).await?;
    let length = wire.take(contact, 4).await?;
    let length = length.try_into().map_or(0, i32::from_be_bytes);
    // A server in read-only mode answers with the bare header of an error (16 bytes).
    if !(36..=64).contains(&length) {
        return Ok(false);
    }
    let response = wire.take(contact, usize::try_from(length).unwrap_or_default()).await?;
    // protocol version (4), time-out (4), session (8), password: no time-out, no session.
    let opened = response[4..8].iter().any(|byte| *byte != 0);
    if opened {
        // closeSession: length, xid, type -11. Without an answer it ends by its time-out.
        wire.send(contact, &[0, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xf5]).await?;
        let _ = wire.take(contact, 4).await;
    }
    Ok(opened)
}

/// `ConnectRequest` (zookeeper.jute): a new session, not a read-only one.
fn connect_request() -> Vec<u8> {
    const PASSWORD_BYTES: i32 = 16;
    let mut body = Vec::with_capacity(49);
    body.extend(45i32.to_be_bytes());
    body.extend([0; 4]); // protocol version
    body.extend([0; 8]); // last zxid seen
    body.extend(SESSION_TIMEOUT_MS.to_be_bytes());
    body.extend([0; 8]); // session
    body.extend(PASSWORD_BYTES.to_be_bytes());
    body.extend([0; PASSWORD_BYTES as usize]);
    body.push(0); // read-only
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Class;

    fn read(answer: &str) -> Result<RaftFacts, Failure> {
        facts("zk1.example:2181", answer)
    }

    /// As captured from 3.8.0.
    fn srvr(zxid: &str, mode: &str) -> String {
        format!(
            "Zookeeper version: 3.8.0-${{mvngit.commit.id}}, built on 2024-12-29 17:54 UTC\n\
             Latency min/avg/max: 0/0.0/0\nReceived: 2\nSent: 1\nConnections: 1\nOutstanding: 0\n\
             Zxid: {zxid}\nMode: {mode}\nNode count: 5\nProposal sizes last/min/max: 48/48/100\n"
        )
    }

    #[test]
    fn reads_what_a_server_says() {
        let leads = read(&srvr("0x10000000a", "leader")).unwrap();
        assert_eq!((leads.term, leads.index, leads.applied, leads.learner), (1, 10, 10, false));
        assert_eq!(leads.leader.as_deref(), Some("zk1.example:2181"));
        assert_eq!(leads.member, "zk1.example:2181");
        // It follows somebody; it has seen nothing of the new epoch yet.
        let follows = read(&srvr("0x0", "follower")).unwrap();
        assert_eq!((follows.leader.as_deref(), follows.term), (Some(""), 0));
        assert!(read(&srvr("0x2000000ff", "observer")).unwrap().learner);
    }

    #[test]
    fn what_lies_elsewhere_is_told_here() {
        let lost = read("This ZooKeeper instance is not currently serving requests\n").unwrap();
        assert_eq!((lost.leader, lost.errors.len()), (None, 1));
        // With read-only mode an isolated server serves on, and its `ruok` has no error.
        let read_only = "Zookeeper version: 3.8.0-${mvngit.commit.id}, built on 2024-12-29 17:54 UTC\n\
             READ-ONLY mode; serving only read-only clients\nLatency min/avg/max: 0/0.0/0\n\
             Received: 276\nSent: 206\nConnections: 1\nOutstanding: 0\nZxid: 0x100000028\n\
             Mode: read-only\nNode count: 5\n";
        assert_eq!(read(read_only).unwrap().leader, None);
        // These say that a process is there, and no more.
        for no_answer in ["imok", "rw", "null", "", "HTTP/1.1 200 OK", "Zookeeper version: 3\nMode: leader\n"]
        {
            assert_eq!(read(no_answer).unwrap_err().class, Class::Rubbish, "{no_answer}");
        }
        let denied = read("srvr is not executed because it is not in the whitelist.\n").unwrap_err();
        assert_eq!(denied.class, Class::Denied);
    }

    #[test]
    fn asks_for_a_session_as_clients_do() {
        let hex: String = connect_request().iter().map(|byte| format!("{byte:02x}")).collect();
        // As captured from a client that a server gave a session.
        let captured = "0000002d000000000000000000000000000027100000000000000000000000100000000000000000000000000000000000";
        assert_eq!(hex, captured);
    }
}
