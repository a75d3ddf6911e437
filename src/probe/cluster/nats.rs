//! NATS JetStream, over the monitoring port of every server.
//!
//! The meta group places streams and answers the JetStream API; `/varz` tells whom a server takes
//! for its leader, and the leader how its replicas do; `/raftz` (2.11 and later) the term and how
//! far the log is applied. Each stream has a group of its own, which `/jsz` tells of.
//!
//! Not asked: `/healthz`, which is fine for 11 to 14 s on a leader that is cut off and, after one
//! of three is killed, is not on the others; its variants, `/routez` and PING, which are fine for
//! ever; `$JS.API.INFO`, which a leader that is cut off answers by itself. A message into a
//! replicated stream is acknowledged once a majority has it: that proves a quorum, of its stream.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::StatusCode;
use reqwest::Url;
use serde::Deserialize;

use super::api::Api;
use super::unanswered;
use crate::cluster::{Facts, LinearizableResult, Part, RaftFacts, Scope, Shards};
use crate::config::{HostPort, NatsOptions, NatsPublish, NatsTls};
use crate::io::http::authority;
use crate::io::wire::Wire;
use crate::io::{Contact, Failure, Net, TrustFiles, read_secret};

/// `/jsz` has a kilobyte for each stream that a server keeps; the others are small.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a client port says until it acknowledges one message; `INFO` may list many servers.
const TALK_BYTES_MAX: usize = 64 * 1024;
/// Lines until then.
const LINES_MAX: usize = 64;
/// A replica that the leader has not heard of for this long is gone. They speak every second.
const REPLICA_QUIET_MAX: Duration = Duration::from_secs(5);

/// What a server says of the meta group, and of the streams that it keeps.
pub(super) async fn status(
    net: &Net,
    options: &NatsOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let api = Api { net, access: &options.access, base: url, system: "NATS", body_bytes_max: BODY_BYTES_MAX };
    let mut contact = Contact::new(timeout);
    let server: Varz = api.json(&api.get(&mut contact, "/varz").await?)?;
    let Some(meta) = server.jetstream.meta else {
        return Err(Failure::unmeasured(format!("{} is in no JetStream cluster", api.place())));
    };
    let mut facts = meta.facts(server.server_name);
    let raft = api.get(&mut contact, "/raftz?acc=%24SYS&group=_meta_").await?;
    // Before 2.11 there is no such page, and no term to be had.
    if raft.status == StatusCode::OK {
        api.parse::<Raftz>(&raft)?.add_to(&mut facts);
    }
    if options.streams_lost_max.is_some() {
        let jsz: Jsz = api.json(&api.get(&mut contact, "/jsz?streams=true&config=true").await?)?;
        facts.shards = Some(jsz.shards(&facts.member));
    }
    Ok(Facts::Raft(facts))
}

#[derive(Deserialize, Debug)]
struct Varz {
    server_name: String,
    #[serde(default)]
    jetstream: JetStream,
}

#[derive(Deserialize, Debug, Default)]
struct JetStream {
    meta: Option<Meta>,
}

/// The meta group as a server sees it.
#[derive(Deserialize, Debug)]
struct Meta {
    name: String,
    #[serde(default)]
    leader: String,
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Deserialize, Debug)]
struct Replica {
    name: String,
    #[serde(default)]
    current: bool,
    #[serde(default)]
    offline: bool,
    /// How long ago it was heard, in nanoseconds; 0: never.
    #[serde(default)]
    active: u64,
}

impl Replica {
    fn is_there(&self) -> bool {
        let recent = self.active > 0 && Duration::from_nanos(self.active) < REPLICA_QUIET_MAX;
        self.current || (recent && !self.offline)
    }
}

/// A leader and so many of its replicas are more than half of them all.
fn is_majority(replicas: &[Replica]) -> bool {
    let there = replicas.iter().filter(|replica| replica.is_there()).count();
    there + 1 > replicas.len().div_ceil(2)
}

impl Meta {
    fn facts(self, member: String) -> RaftFacts {
        let mut leader = Some(self.leader).filter(|leader| !leader.is_empty());
        let mut errors = Vec::new();
        // Only the leader knows how its replicas do. It goes on calling itself one for a while
        // after it has lost them, and knows better.
        if leader.as_ref() == Some(&member) && !is_majority(&self.replicas) {
            let gone = self.replicas.iter().filter(|replica| !replica.is_there());
            let gone: Vec<&str> = gone.map(|replica| replica.name.as_str()).collect();
            errors.push(format!("it leads and has lost {}", gone.join(", ")));
            leader = None;
        }
        RaftFacts { cluster: self.name, member, leader, errors, ..RaftFacts::default() }
    }
}

/// `/raftz`, by account and group.
#[derive(Deserialize, Debug)]
struct Raftz(BTreeMap<String, BTreeMap<String, Raft>>);

#[derive(Deserialize, Debug)]
struct Raft {
    term: u64,
    committed: u64,
    applied: u64,
}

impl Raftz {
    fn add_to(&self, facts: &mut RaftFacts) {
        if let Some(raft) = self.0.values().find_map(|groups| groups.get("_meta_")) {
            (facts.term, facts.index, facts.applied) = (raft.term, raft.committed, raft.applied);
        }
    }
}

#[derive(Deserialize, Debug)]
struct Jsz {
    #[serde(default)]
    account_details: Vec<Account>,
}

#[derive(Deserialize, Debug)]
struct Account {
    name: String,
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Deserialize, Debug)]
struct Stream {
    name: String,
    cluster: Option<StreamGroup>,
    config: Option<StreamConfig>,
}

#[derive(Deserialize, Debug)]
struct StreamGroup {
    #[serde(default)]
    leader: String,
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Deserialize, Debug)]
struct StreamConfig {
    num_replicas: u64,
}

impl Jsz {
    /// The replicated streams that this server keeps.
    fn shards(self, member: &str) -> Shards {
        let streams = self.account_details.into_iter().flat_map(|account| {
            let of = account.name;
            account.stream_detail.into_iter().filter_map(move |stream| {
                let replicated = stream.config.is_some_and(|config| config.num_replicas > 1);
                let group = stream.cluster.filter(|_| replicated)?;
                Some((format!("{of}/{}", stream.name), group))
            })
        });
        Shards::count(Scope::Whole, streams.map(|(name, group)| (name, group.part(member))))
    }
}

impl StreamGroup {
    fn part(&self, member: &str) -> Part {
        let there = self.replicas.iter().filter(|replica| replica.is_there()).count() + 1;
        let majority = self.replicas.len().div_ceil(2) + 1;
        match self.leader.as_str() {
            "" => Part::Lost,
            // Only the leader of a stream knows how its replicas do.
            leader if leader == member && !is_majority(&self.replicas) => Part::Lost,
            leader if leader == member && there <= majority => Part::Critical,
            _ => Part::Safe,
        }
    }
}

/// Publishes a message into a replicated stream, and waits until a majority has it.
pub(super) async fn linearizable(net: &Net, options: &NatsOptions, url: &Url) -> LinearizableResult {
    let Some(publish) = &options.publish else {
        return LinearizableResult::Unmeasured("no subject to publish to is configured".to_owned());
    };
    let Some(place) = authority(url) else {
        return LinearizableResult::Unmeasured(format!("{url} has no host"));
    };
    let to = HostPort { host: place.host, port: publish.port };
    let mut contact = Contact::new(options.linearizable_timeout);
    let wire = match log_in(&mut contact, net, options, publish, &to).await {
        Ok(wire) => wire,
        // Not even asked: a port that says nothing, or not to us, does not tell of a quorum.
        Err(failure) => return LinearizableResult::Unmeasured(failure.words),
    };
    match acknowledged(&mut contact, wire, publish, &to).await {
        Ok(result) => result,
        Err(failure) => unanswered(failure, &contact),
    }
}

/// The client protocol (NATS, "Client Protocol"): a few lines of text.
async fn log_in<'a>(
    contact: &mut Contact,
    net: &Net,
    options: &NatsOptions,
    publish: &NatsPublish,
    to: &'a HostPort,
) -> Result<Wire<'a>, Failure> {
    let login = login(publish, contact).await?;
    let trust = TrustFiles { ca: options.access.ca.clone(), identity: options.access.identity.clone() };
    let first = (publish.tls == NatsTls::First).then_some(&trust);
    let mut wire = Wire::open(contact, net, to, first, TALK_BYTES_MAX).await?;
    let info = wire.line(contact).await?;
    let Some(info) = info.strip_prefix("INFO ") else {
        return Err(Failure::rubbish(format!("{to} answers what is not the NATS protocol")));
    };
    let info: Info = serde_json::from_str(info)
        .map_err(|why| Failure::rubbish(format!("{to} introduces itself with what is no JSON: {why}")))?;
    match publish.tls {
        NatsTls::None if info.tls_required => {
            return Err(Failure::denied(format!("{to} wants TLS: add `tls: after_info` to `publish`")));
        }
        // Nobody gets our password because he leaves a word out.
        NatsTls::AfterInfo if !info.tls_required && !info.tls_available => {
            return Err(Failure::denied(format!("{to} offers no TLS, and `publish` wants it")));
        }
        NatsTls::AfterInfo => wire = wire.secure(contact, net, &trust).await?,
        NatsTls::None | NatsTls::First => {}
    }
    wire.send(contact, format!("CONNECT {login}\r\nPING\r\n").as_bytes()).await?;
    for _ in 0..LINES_MAX {
        let line = wire.line(contact).await?;
        match line.split_whitespace().next() {
            Some("PONG") => return Ok(wire),
            Some("PING") => wire.send(contact, b"PONG\r\n").await?,
            Some("-ERR") => return Err(Failure::denied(format!("{to} says: {line}"))),
            _ => {}
        }
    }
    Err(talks_on(to))
}

fn talks_on(to: &HostPort) -> Failure {
    Failure::rubbish(format!("{to} talks on and does not answer"))
}

async fn acknowledged(
    contact: &mut Contact,
    mut wire: Wire<'_>,
    publish: &NatsPublish,
    to: &HostPort,
) -> Result<LinearizableResult, Failure> {
    const PAYLOAD: &str = "pointsman";
    let (subject, inbox) = (&publish.subject, format!("_INBOX.pointsman.{:016x}", fastrand::u64(..)));
    let talk = format!("SUB {inbox} 1\r\nPUB {subject} {inbox} {}\r\n{PAYLOAD}\r\nPING\r\n", PAYLOAD.len());
    wire.send(contact, talk.as_bytes()).await?;
    for _ in 0..LINES_MAX {
        let line = wire.line(contact).await?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["PING"] => wire.send(contact, b"PONG\r\n").await?,
            ["-ERR", ..] => return Err(Failure::denied(format!("{to} says: {line}"))),
            // No responders: nobody takes the subject.
            ["HMSG", ..] => {
                return Ok(LinearizableResult::NoQuorum(format!("no stream with a leader takes {subject}")));
            }
            ["MSG", .., length] => {
                let length = length.parse().unwrap_or(usize::MAX).min(TALK_BYTES_MAX);
                let body = String::from_utf8_lossy(wire.take(contact, length).await?).into_owned();
                return Ok(ack(to, &body));
            }
            _ => {}
        }
    }
    Err(talks_on(to))
}

#[derive(Deserialize, Debug)]
struct Info {
    #[serde(default)]
    tls_required: bool,
    #[serde(default)]
    tls_available: bool,
}

/// What a stream says to a message.
fn ack(to: &HostPort, body: &str) -> LinearizableResult {
    #[derive(Deserialize)]
    struct Ack {
        stream: Option<String>,
        seq: Option<u64>,
        error: Option<Complaint>,
    }
    #[derive(Deserialize)]
    struct Complaint {
        code: u16,
        description: String,
    }
    match serde_json::from_str(body) {
        Ok(Ack { error: Some(Complaint { code: 503, description }), .. }) => {
            LinearizableResult::NoQuorum(format!("{to} says: {description}"))
        }
        Ok(Ack { error: Some(Complaint { code, description }), .. }) => {
            LinearizableResult::Unmeasured(format!("{to} says {code}: {description}"))
        }
        Ok(Ack { stream: Some(_), seq: Some(_), error: None }) => LinearizableResult::Passed,
        _ => {
            let excerpt: String = body.chars().filter(|c| !c.is_control()).take(80).collect();
            LinearizableResult::Unmeasured(format!("{to} acknowledges with {excerpt}: is there a stream?"))
        }
    }
}

/// The options of `CONNECT`.
async fn login(publish: &NatsPublish, contact: &Contact) -> Result<serde_json::Value, Failure> {
    let mut login = serde_json::json!({
        "verbose": false, "pedantic": false, "headers": true, "no_responders": true,
        "name": "pointsman", "lang": "rust", "version": env!("CARGO_PKG_VERSION"), "protocol": 1,
    });
    if let Some(user) = &publish.user {
        login["user"] = user.as_str().into();
    }
    let secrets = [("pass", &publish.password), ("auth_token", &publish.token)];
    for (key, place) in secrets {
        if let Some(place) = place {
            login[key] = read_secret(place, contact.deadline()).await?.reveal().into();
        }
    }
    Ok(login)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(text: &str) -> RaftFacts {
        let meta: Meta = serde_json::from_str(text).unwrap();
        meta.facts("n1".to_owned())
    }

    #[test]
    fn reads_whom_a_server_takes_for_the_leader() {
        // As captured from 2.9.10, a follower and the leader.
        let follows = meta(r#"{"name":"q","leader":"n3","peer":"BXScrY9i","cluster_size":3}"#);
        assert_eq!((follows.leader.as_deref(), follows.term), (Some("n3"), 0));
        let leads = meta(
            r#"{"name":"q","leader":"n1","peer":"fjFyEjc1","replicas":[{"name":"n2","current":true,"active":714198812,"peer":"a"},{"name":"n3","current":false,"active":0,"peer":"b"}],"cluster_size":3}"#,
        );
        assert_eq!((leads.member.as_str(), leads.leader.as_deref()), ("n1", Some("n1")));
        // Since 2.15 a follower tells of replicas too, and does not know how they do.
        let follows = meta(
            r#"{"name":"q","leader":"n2","peer":"x","replicas":[{"name":"n2","current":false,"active":9775201507,"peer":"a"},{"name":"n3","current":false,"active":0,"peer":"b"}],"cluster_size":3}"#,
        );
        assert_eq!(follows.leader.as_deref(), Some("n2"));
    }

    #[test]
    fn a_leader_that_has_lost_its_replicas_leads_nobody() {
        // Captured 10 s after it was cut off; `/healthz` was "ok" for 2 s more.
        let alone = meta(
            r#"{"name":"q","leader":"n1","peer":"fjFyEjc1","replicas":[{"name":"n2","current":false,"active":10120000000,"peer":"a"},{"name":"n3","current":false,"active":10050000000,"peer":"b"}],"cluster_size":3}"#,
        );
        assert_eq!((alone.leader, alone.errors), (None, vec!["it leads and has lost n2, n3".to_owned()]));
        // And later, from 2.15.1: its own row is among the replicas.
        let lost = meta(
            r#"{"name":"q","replicas":[{"name":"n1","current":true,"active":302372349,"peer":"f"},{"name":"n2","current":false,"active":0,"peer":"a"},{"name":"n3","current":false,"active":0,"peer":"b"}],"cluster_size":3}"#,
        );
        assert_eq!(lost.leader, None);
    }

    #[test]
    fn takes_the_term_where_it_is_told() {
        // As captured from 2.15.1, a candidate that was the leader.
        let raftz: Raftz = serde_json::from_str(
            r#"{"$SYS":{"_meta_":{"id":"fjFyEjc1","state":"CANDIDATE","size":3,"quorum_needed":2,"committed":5,"applied":5,"ever_had_leader":true,"term":7,"voted_for":"fjFyEjc1","pterm":5,"pindex":5,"peers":{"44jzkV9D":{"name":"n2","known":true}}}}}"#,
        )
        .unwrap();
        let mut facts = RaftFacts::default();
        raftz.add_to(&mut facts);
        assert_eq!((facts.term, facts.index, facts.applied, facts.leader), (7, 5, 5, None));
    }

    #[test]
    fn tells_lost_and_critical_streams() {
        let jsz = |streams: &str| -> Shards {
            let text = format!(r#"{{"account_details":[{{"name":"$G","stream_detail":[{streams}]}}]}}"#);
            serde_json::from_str::<Jsz>(&text).unwrap().shards("n1")
        };
        let stream = |leader: &str, replicas: u8, others: [(bool, u64); 2]| {
            let [(a, x), (b, y)] = others;
            format!(
                r#"{{"name":"Q","cluster":{{"name":"q"{leader},"replicas":[{{"name":"n2","current":{a},"active":{x}}},{{"name":"n3","current":{b},"active":{y}}}]}},"config":{{"num_replicas":{replicas}}}}}"#
            )
        };
        let (us, them) = (r#","leader":"n1""#, r#","leader":"n2""#);
        let (on, off) = ((true, 12), (false, 0));
        let counts = |shards: Shards| (shards.total, shards.lost, shards.critical);
        assert_eq!(counts(jsz(&stream(us, 3, [on, on]))), (1, 0, 0));
        assert_eq!(counts(jsz(&stream(us, 3, [on, off]))), (1, 0, 1));
        assert_eq!(counts(jsz(&stream(us, 3, [off, off]))), (1, 1, 0));
        assert_eq!(counts(jsz(&stream(them, 3, [off, off]))), (1, 0, 0));
        assert_eq!(jsz(&stream("", 3, [on, off])).names, ["$G/Q"]);
        // One copy alone is no quorum's business.
        assert_eq!(counts(jsz(&stream("", 1, [on, off]))), (0, 0, 0));
    }

    #[test]
    fn only_an_acknowledged_message_proves_a_quorum() {
        let at = HostPort { host: "n1".to_owned(), port: 4222 };
        assert_eq!(ack(&at, r#"{"stream":"Q","seq":1}"#), LinearizableResult::Passed);
        // What the API says of itself, alone or not, is not asked for; here it proves nothing.
        let unavailable = r#"{"type":"io.nats.jetstream.api.v1.account_info_response","error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}"#;
        assert!(matches!(ack(&at, unavailable), LinearizableResult::NoQuorum(_)));
        let info = r#"{"type":"io.nats.jetstream.api.v1.account_info_response","memory":0,"storage":0}"#;
        assert!(matches!(ack(&at, info), LinearizableResult::Unmeasured(_)));
        let full = r#"{"error":{"code":400,"err_code":10077,"description":"maximum messages exceeded"},"stream":"Q","seq":0}"#;
        assert!(matches!(ack(&at, full), LinearizableResult::Unmeasured(_)));
    }
}
