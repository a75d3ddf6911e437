//! etcd 3.4 and later, over its JSON gateway.
//!
//! The status of a member (`Maintenance/Status`) is local and never blocks; 1.5 to 2 seconds
//! after the leader is lost it drops `leader`. The linearizable read goes through the leader
//! and a majority; without one it hangs until etcd itself gives up after 7 seconds. `/health`
//! is not asked: it lies (`?serializable=true`), hangs like the linearizable read, or, in 3.4,
//! writes to the log on every call.

use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use reqwest::Url;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, de::DeserializeOwned};

use crate::cluster::{Facts, LinearizableResult, RaftFacts};
use crate::config::EtcdOptions;
use crate::io::http::{Answer, Request, authority, exchange};
use crate::io::{Class, Contact, Failure, Net, TrustFiles};

/// A status is a few hundred bytes, the list of alarms included.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Complaints of a member that are kept.
const ERRORS_MAX: usize = 16;
/// How much of an answer that is not etcd's is told.
const EXCERPT_CHARS_MAX: usize = 120;

/// What a member says of itself.
pub(super) async fn status(
    net: &Net,
    options: &EtcdOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let mut contact = Contact::new(timeout);
    let answer = call(net, options, url, "/v3/maintenance/status", "{}", &mut contact).await?;
    let place = place(url);
    if answer.status != StatusCode::OK {
        return Err(complaint(&answer, &place));
    }
    let status: Status = parse(&answer, &place)?;
    let header = status.header;
    // Some other service may answer any question with 200 and a JSON object.
    if header.cluster_id == 0 || header.member_id == 0 {
        return Err(Failure::rubbish(format!("{place} answers what is not etcd's: {}", excerpt(&answer))));
    }
    Ok(Facts::Raft(RaftFacts {
        cluster: header.cluster_id,
        member: header.member_id,
        leader: (status.leader != 0).then_some(status.leader),
        term: status.raft_term,
        index: status.raft_index,
        applied: status.raft_applied_index,
        learner: status.is_learner,
        errors: status.errors.into_iter().take(ERRORS_MAX).collect(),
    }))
}

/// Reads a key through the leader and a majority. The key need not exist.
pub(super) async fn linearizable(net: &Net, options: &EtcdOptions, url: &Url) -> LinearizableResult {
    // "health" in base64, as etcd's own health check reads it.
    const BODY: &str = r#"{"key":"aGVhbHRo","keys_only":true}"#;
    let mut contact = Contact::new(options.linearizable_timeout);
    let asked = call(net, options, url, "/v3/kv/range", BODY, &mut contact).await;
    let place = place(url);
    match asked {
        Ok(answer) if answer.status == StatusCode::OK => match parse::<Range>(&answer, &place) {
            Ok(range) if range.header.cluster_id != 0 => LinearizableResult::Passed,
            Ok(_) => LinearizableResult::Unmeasured(format!("{place} answers what is not etcd's")),
            Err(failure) => LinearizableResult::Unmeasured(failure.words),
        },
        Ok(answer) => match gateway_error(&answer) {
            Some(error) if error.for_want_of_a_quorum() => {
                LinearizableResult::NoQuorum(format!("{place} says: {}", error.message))
            }
            _ => LinearizableResult::Unmeasured(complaint(&answer, &place).words),
        },
        // Only a member that took the question can leave it hanging.
        Err(failure) if failure.class == Class::Silent && contact.phases.connected.is_some() => {
            LinearizableResult::Hung
        }
        Err(failure) => LinearizableResult::Unmeasured(failure.words),
    }
}

async fn call(
    net: &Net,
    options: &EtcdOptions,
    url: &Url,
    path: &str,
    body: &'static str,
    contact: &mut Contact,
) -> Result<Answer, Failure> {
    let trust = TrustFiles { ca: options.ca.clone(), identity: options.identity.clone() };
    let url = url.join(path).map_err(|why| Failure::unmeasured(format!("{url} is not a base URL: {why}")))?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request = Request {
        headers,
        body: body.into(),
        body_bytes_max: BODY_BYTES_MAX,
        ..Request::new(Method::POST, &url, &trust)
    };
    exchange(contact, net, request).await
}

fn place(url: &Url) -> String {
    authority(url).map_or_else(|| url.to_string(), |place| place.to_string())
}

fn parse<T: DeserializeOwned>(answer: &Answer, place: &str) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body)
        .map_err(|_| Failure::rubbish(format!("{place} answers what is not etcd's: {}", excerpt(answer))))
}

/// What an answer other than 200 means.
fn complaint(answer: &Answer, place: &str) -> Failure {
    let status = answer.status.as_u16();
    let error = gateway_error(answer);
    let said = error.as_ref().map_or_else(|| excerpt(answer), |error| error.message.clone());
    let words = format!("{place} answers {status}: {said}");
    match status {
        401 | 403 | 407 | 429 => Failure::denied(words),
        // With authentication switched on, a request without a name is "invalid".
        _ if error.is_some_and(|error| error.about_credentials()) => Failure::denied(words),
        _ => Failure::rubbish(words),
    }
}

fn excerpt(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let text: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(EXCERPT_CHARS_MAX).collect();
    if text.is_empty() { "(nothing)".to_owned() } else { text }
}

fn gateway_error(answer: &Answer) -> Option<GatewayError> {
    serde_json::from_slice(&answer.body).ok()
}

/// An error of the gateway: `{"code":14,"message":"etcdserver: request timed out"}`; 3.4 says
/// the same again as `error`.
#[derive(Deserialize, Debug)]
struct GatewayError {
    code: u32,
    message: String,
}

impl GatewayError {
    /// Whether etcd gave up because it found no quorum. Not so "leader changed": that one may
    /// be asked again at once.
    fn for_want_of_a_quorum(&self) -> bool {
        let message = &self.message;
        let tired = message.contains("request timed out") || message.contains("context deadline exceeded");
        tired || message.contains("no leader")
    }

    /// gRPC: 7 is PERMISSION_DENIED, 8 RESOURCE_EXHAUSTED, 16 UNAUTHENTICATED; 3 is
    /// INVALID_ARGUMENT, which etcd uses for "user name is empty".
    fn about_credentials(&self) -> bool {
        matches!(self.code, 7 | 8 | 16) || (self.code == 3 && self.message.contains("user name"))
    }
}

/// `StatusResponse`. In proto3's JSON a zero is left out, and 64-bit numbers are strings.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Status {
    header: Header,
    #[serde(default, deserialize_with = "number")]
    leader: u64,
    #[serde(default, deserialize_with = "number")]
    raft_index: u64,
    #[serde(default, deserialize_with = "number")]
    raft_term: u64,
    #[serde(default, deserialize_with = "number")]
    raft_applied_index: u64,
    #[serde(default)]
    errors: Vec<String>,
    #[serde(default)]
    is_learner: bool,
}

#[derive(Deserialize, Debug)]
struct Range {
    header: Header,
}

#[derive(Deserialize, Debug)]
struct Header {
    #[serde(default, deserialize_with = "number")]
    cluster_id: u64,
    #[serde(default, deserialize_with = "number")]
    member_id: u64,
}

/// A 64-bit number as a string, or as a number.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Number;
    impl Visitor<'_> for Number {
        type Value = u64;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number of 64 bits, as a string")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            text.parse().map_err(E::custom)
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }
    }
    deserializer.deserialize_any(Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
            cut: false,
        }
    }

    #[test]
    fn reads_what_etcd_says() {
        // As captured from 3.5.30, with and without a leader.
        let with = answer(
            200,
            r#"{"header":{"cluster_id":"4564998716957781660", "member_id":"578247564506015349", "revision":"1", "raft_term":"2"}, "version":"3.5.30", "dbSize":"20480", "leader":"578247564506015349", "raftIndex":"8", "raftTerm":"2", "raftAppliedIndex":"8", "dbSizeInUse":"16384"}"#,
        );
        let status: Status = parse(&with, "x").unwrap();
        assert_eq!((status.leader, status.raft_term, status.is_learner), (578_247_564_506_015_349, 2, false));
        let without = answer(
            200,
            r#"{"header":{"cluster_id":"4564998716957781660", "member_id":"8636923165178476656", "revision":"3", "raft_term":"5"}, "version":"3.5.30", "raftIndex":"18", "raftTerm":"5", "raftAppliedIndex":"18", "errors":["etcdserver: no leader"]}"#,
        );
        let status: Status = parse(&without, "x").unwrap();
        assert_eq!((status.leader, status.errors), (0, vec!["etcdserver: no leader".to_owned()]));
        let beyond_i64 = answer(200, r#"{"header":{"cluster_id":"18446744073709551615","member_id":7}}"#);
        assert_eq!(parse::<Status>(&beyond_i64, "x").unwrap().header.cluster_id, u64::MAX);
    }

    #[test]
    fn only_a_definite_answer_means_no_quorum() {
        for (message, definite) in [
            ("etcdserver: request timed out", true),
            ("etcdserver: request timed out, possibly due to previous leader failure", true),
            ("etcdserver: no leader", true),
            ("context deadline exceeded", true),
            ("etcdserver: leader changed", false),
            ("etcdserver: too many requests", false),
        ] {
            let error = GatewayError { code: 14, message: message.to_owned() };
            assert_eq!(error.for_want_of_a_quorum(), definite, "{message}");
        }
    }

    #[test]
    fn a_credential_is_not_health() {
        let class = |status, body| complaint(&answer(status, body), "x").class;
        assert_eq!(class(401, ""), Class::Denied);
        assert_eq!(class(403, "no"), Class::Denied);
        assert_eq!(class(429, ""), Class::Denied);
        assert_eq!(
            class(400, r#"{"error":"x","message":"etcdserver: user name is empty","code":3}"#),
            Class::Denied
        );
        assert_eq!(class(400, "Client sent an HTTP request to an HTTPS server."), Class::Rubbish);
        assert_eq!(class(404, "404 page not found"), Class::Rubbish);
        assert_eq!(class(503, "no healthy upstream"), Class::Rubbish);
    }
}
