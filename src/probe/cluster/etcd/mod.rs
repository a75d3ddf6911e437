//! etcd 3.4 and later, over its JSON gateway.
//!
//! The status of a member (`Maintenance/Status`) is local and never blocks; 1.5 to 2 seconds
//! after the leader is lost it drops `leader`. The linearizable read goes through the leader
//! and a majority; without one it hangs until etcd itself gives up after 7 seconds. `/health`
//! is not asked: it lies (`?serializable=true`), hangs like the linearizable read, or, in 3.4,
//! writes to the log on every call.

mod certificate;
pub(super) mod user;

use std::time::Duration;

use hyper::StatusCode;
use reqwest::Url;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use self::certificate::for_want_of_a_name;
use super::api::{Api, excerpt};
use super::unanswered;
use crate::cluster::{Facts, LinearizableResult, RaftFacts};
use crate::config::EtcdOptions;
use crate::io::http::Answer;
use crate::io::{Contact, Failure, Net};

/// A status is a few hundred bytes, the list of alarms included.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Complaints of a member that are kept.
const ERRORS_MAX: usize = 16;

/// What a member says of itself.
pub(super) async fn status(
    net: &Net,
    options: &EtcdOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    facts(&api(net, options, url), &mut Contact::new(timeout)).await.map(Facts::Raft)
}

/// The same of any server that has an etcd in it.
pub(super) async fn facts(api: &Api<'_>, contact: &mut Contact) -> Result<RaftFacts, Failure> {
    let answer = api.post(contact, "/v3/maintenance/status", "{}").await?;
    let status: Status = match answer.status {
        StatusCode::OK => api.parse(&answer)?,
        _ if certificate::is_wanted(api, &answer) => certificate::status(api, contact).await?,
        _ => return Err(complaint(api, &answer)),
    };
    let header = status.header;
    // Some other service may answer any question with 200 and a JSON object.
    if header.cluster_id == 0 || header.member_id == 0 {
        return Err(api.odd(&answer));
    }
    Ok(RaftFacts {
        cluster: id(header.cluster_id),
        member: id(header.member_id),
        leader: (status.leader != 0).then(|| id(status.leader)),
        term: status.raft_term,
        index: status.raft_index,
        applied: status.raft_applied_index,
        learner: status.is_learner,
        errors: status.errors.into_iter().take(ERRORS_MAX).collect(),
        ..RaftFacts::default()
    })
}

/// As `etcdctl` writes ids.
fn id(number: u64) -> String {
    format!("{number:x}")
}

/// Reads a key through the leader and a majority. The key need not exist.
pub(super) async fn linearizable(net: &Net, options: &EtcdOptions, url: &Url) -> LinearizableResult {
    // "health" in base64, as etcd's own health check reads it.
    const BODY: &str = r#"{"key":"aGVhbHRo","keys_only":true}"#;
    let contact = &mut Contact::new(options.linearizable_timeout);
    let api = api(net, options, url);
    let asked = user::post(&api, options.user.as_ref(), contact, "/v3/kv/range", BODY).await;
    match asked {
        Ok(answer) if certificate::is_wanted(&api, &answer) => certificate::linearizable(&api, contact).await,
        Ok(answer) if answer.status == StatusCode::OK => match api.parse::<Range>(&answer) {
            Ok(range) if range.header.cluster_id != 0 => LinearizableResult::Passed,
            Ok(_) => LinearizableResult::Unmeasured(api.odd(&answer).words),
            Err(failure) => LinearizableResult::Unmeasured(failure.words),
        },
        Ok(answer) => match gateway_error(&answer) {
            Some(error) if error.for_want_of_a_quorum() => {
                LinearizableResult::NoQuorum(format!("{} says: {}", api.place(), error.message))
            }
            _ => LinearizableResult::Unmeasured(complaint(&api, &answer).words),
        },
        Err(failure) => unanswered(failure, contact),
    }
}

pub(super) fn api<'a>(net: &'a Net, options: &'a EtcdOptions, base: &'a Url) -> Api<'a> {
    Api { net, access: &options.access, base, system: "etcd", body_bytes_max: BODY_BYTES_MAX }
}

/// What an answer other than 200 means.
pub(super) fn complaint(api: &Api<'_>, answer: &Answer) -> Failure {
    match gateway_error(answer) {
        // With authentication switched on, a request without a name is "invalid".
        Some(error) if error.about_credentials() => {
            Failure::denied(format!("{} answers {}: {}", api.place(), answer.status.as_u16(), error.message))
        }
        Some(error) => api.complaint(answer, &error.message),
        None if for_want_of_a_name(&excerpt(answer)) => Failure::denied(format!(
            "{} answers {}: {}",
            api.place(),
            answer.status.as_u16(),
            excerpt(answer)
        )),
        None => api.complaint(answer, &excerpt(answer)),
    }
}

pub(super) fn gateway_error(answer: &Answer) -> Option<GatewayError> {
    serde_json::from_slice(&answer.body).ok()
}

/// An error of the gateway: `{"code":14,"message":"etcdserver: request timed out"}`; 3.4 says
/// the same again as `error`.
#[derive(Deserialize, Debug)]
pub(super) struct GatewayError {
    code: u32,
    pub(super) message: String,
}

impl GatewayError {
    /// Whether etcd gave up because it found no quorum. Not so "leader changed": that one may
    /// be asked again at once.
    pub(super) fn for_want_of_a_quorum(&self) -> bool {
        let message = &self.message;
        let tired = message.contains("request timed out") || message.contains("context deadline exceeded");
        tired || message.contains("no leader")
    }

    /// Whether it has no room for a write: a definite answer, and no throttling.
    pub(super) fn for_want_of_space(&self) -> bool {
        self.message.contains("database space exceeded")
    }

    /// gRPC: 7 is PERMISSION_DENIED, 8 RESOURCE_EXHAUSTED, 16 UNAUTHENTICATED; 3 is
    /// INVALID_ARGUMENT, which etcd uses for "user name is empty" and for a wrong password.
    fn about_credentials(&self) -> bool {
        let named = for_want_of_a_name(&self.message) || self.message.contains("authentication failed");
        matches!(self.code, 7 | 8 | 16) || (self.code == 3 && named) || self.about_the_token()
    }

    /// Whether the token is no longer good: another may be.
    fn about_the_token(&self) -> bool {
        self.message.contains("invalid auth token") || self.message.contains("revision of auth store is old")
    }
}

/// `StatusResponse`. In proto3's JSON a zero is left out, and 64-bit numbers are strings.
#[derive(Deserialize, Debug, Default)]
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

#[derive(Deserialize, Debug, Default)]
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
    use super::super::api;
    use super::*;
    use crate::io::Class;

    fn with_api<T>(of: impl FnOnce(&Api<'_>) -> T) -> T {
        let (net, options) = (Net::new(), EtcdOptions::default());
        let base = "http://etcd.example:2379".parse().unwrap();
        of(&api(&net, &options, &base))
    }

    fn parse(answer: &Answer) -> Status {
        with_api(|api| api.parse(answer)).unwrap()
    }

    fn answer(status: u16, body: &str) -> Answer {
        api::answer(status, &[], body)
    }

    #[test]
    fn reads_what_etcd_says() {
        // As captured from 3.5.30, with and without a leader.
        let with = answer(
            200,
            r#"{"header":{"cluster_id":"4564998716957781660", "member_id":"578247564506015349", "revision":"1", "raft_term":"2"}, "version":"3.5.30", "dbSize":"20480", "leader":"578247564506015349", "raftIndex":"8", "raftTerm":"2", "raftAppliedIndex":"8", "dbSizeInUse":"16384"}"#,
        );
        let status = parse(&with);
        assert_eq!((status.leader, status.raft_term, status.is_learner), (578_247_564_506_015_349, 2, false));
        let without = answer(
            200,
            r#"{"header":{"cluster_id":"4564998716957781660", "member_id":"8636923165178476656", "revision":"3", "raft_term":"5"}, "version":"3.5.30", "raftIndex":"18", "raftTerm":"5", "raftAppliedIndex":"18", "errors":["etcdserver: no leader"]}"#,
        );
        let status = parse(&without);
        assert_eq!((status.leader, status.errors), (0, vec!["etcdserver: no leader".to_owned()]));
        let beyond_i64 = answer(200, r#"{"header":{"cluster_id":"18446744073709551615","member_id":7}}"#);
        assert_eq!(parse(&beyond_i64).header.cluster_id, u64::MAX);
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
        let class = |status, body| with_api(|api| complaint(api, &answer(status, body)).class);
        assert_eq!(class(401, ""), Class::Denied);
        assert_eq!(class(403, "no"), Class::Denied);
        assert_eq!(class(429, ""), Class::Denied);
        assert_eq!(
            class(400, r#"{"error":"x","message":"etcdserver: user name is empty","code":3}"#),
            Class::Denied
        );
        for body in [
            "CommonName of client sending a request against gateway will be ignored and not used as expected",
            r#"{"code":16,"message":"etcdserver: invalid auth token"}"#,
            r#"{"code":3,"message":"etcdserver: revision of auth store is old"}"#,
            r#"{"code":3,"message":"etcdserver: authentication failed, invalid user ID or password"}"#,
            r#"{"code":7,"message":"etcdserver: permission denied"}"#,
        ] {
            assert_eq!(class(400, body), Class::Denied, "{body}");
        }
        assert_eq!(class(400, "Client sent an HTTP request to an HTTPS server."), Class::Rubbish);
        assert_eq!(class(404, "404 page not found"), Class::Rubbish);
        assert_eq!(class(503, "no healthy upstream"), Class::Rubbish);
    }
}
