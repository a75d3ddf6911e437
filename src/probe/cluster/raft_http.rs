//! Any system that elects a leader and tells of it in JSON over HTTP: where to ask, and where in
//! the answer each fact is, come from the configuration.

use std::time::Duration;

use hyper::StatusCode;
use reqwest::Url;
use serde_json::Value;

use super::api::{Api, excerpt};
use super::unanswered;
use crate::cluster::{Facts, LinearizableResult, RaftFacts};
use crate::config::{Pointers, RaftHttpOptions, RaftHttpQuorum};
use crate::io::http::Answer;
use crate::io::{Contact, Failure, Net};

/// Systems that tell their whole configuration along with it take some 100 kB.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What a member says of itself.
pub(super) async fn status(
    net: &Net,
    options: &RaftHttpOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let api = api(net, options, url);
    let mut contact = Contact::new(timeout);
    let answer = ask(&api, &mut contact, &options.path, options.body.as_deref()).await?;
    facts(&api, options, &answer).map(Facts::Raft)
}

async fn ask(
    api: &Api<'_>,
    contact: &mut Contact,
    path: &str,
    body: Option<&str>,
) -> Result<Answer, Failure> {
    match body {
        Some(body) => api.post(contact, path, body).await,
        None => api.get(contact, path).await,
    }
}

fn api<'a>(net: &'a Net, options: &'a RaftHttpOptions, base: &'a Url) -> Api<'a> {
    let system = "the configured system";
    Api { net, access: &options.access, base, system, body_bytes_max: BODY_BYTES_MAX }
}

fn contains(answer: &Answer, text: &str) -> bool {
    String::from_utf8_lossy(&answer.body).contains(text)
}

fn facts(api: &Api<'_>, options: &RaftHttpOptions, answer: &Answer) -> Result<RaftFacts, Failure> {
    let told: Value = api.json(answer)?;
    if options.expect.as_ref().is_some_and(|text| !contains(answer, text)) {
        return Err(api.odd(answer));
    }
    let Pointers { cluster, member, leader, term, index, applied, learner, voter } = &options.pointers;
    let at = |pointer: &Option<String>| pointer.as_ref().and_then(|pointer| told.pointer(pointer));
    // What is named in the configuration and not in the answer is no fact. The leader alone may
    // be missing, which many systems mean for "none"; but then something else must be there, or
    // any JSON of anybody's would count for a member without a leader.
    let named = [cluster, member, term, index, applied, voter];
    if named.into_iter().any(|pointer| pointer.is_some() && at(pointer).is_none())
        || (named.iter().all(|pointer| pointer.is_none())
            && options.expect.is_none()
            && told.pointer(leader).is_none())
    {
        return Err(api.odd(answer));
    }
    let number = |pointer| match at(pointer) {
        None => Ok(0),
        Some(value) => whole(value).ok_or_else(|| api.odd(answer)),
    };
    let flag = |pointer| match at(pointer) {
        None => Ok(None),
        Some(value) => truth(value).map(Some).ok_or_else(|| api.odd(answer)),
    };
    let learns = flag(learner)?.unwrap_or(false) || flag(voter)? == Some(false);
    Ok(RaftFacts {
        cluster: at(cluster).map_or_else(String::new, name),
        member: at(member).map_or_else(String::new, name),
        leader: told.pointer(leader).map(name).filter(|leader| !leader.is_empty() && leader != "0"),
        term: number(term)?,
        index: number(index)?,
        applied: number(applied)?,
        learner: learns,
        ..RaftFacts::default()
    })
}

/// A name: a text, or a number. Anything else names nobody.
fn name(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// A whole number, or one in a text, as those are written that do not fit into a float.
fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.to_ascii_lowercase().parse().ok(),
        Value::Null => Some(false),
        _ => None,
    }
}

/// Asks for what takes a quorum, as the configuration says.
pub(super) async fn linearizable(net: &Net, options: &RaftHttpOptions, url: &Url) -> LinearizableResult {
    let Some(quorum) = &options.linearizable else {
        return LinearizableResult::Unmeasured("no request that takes a quorum is configured".to_owned());
    };
    let api = api(net, options, url);
    let mut contact = Contact::new(options.linearizable_timeout);
    match ask(&api, &mut contact, &quorum.path, quorum.body.as_deref()).await {
        Ok(answer) => proof(&api, quorum, &answer),
        Err(failure) => unanswered(failure, &contact),
    }
}

fn proof(api: &Api<'_>, quorum: &RaftHttpQuorum, answer: &Answer) -> LinearizableResult {
    if quorum.no_quorum.as_ref().is_some_and(|text| contains(answer, text)) {
        return LinearizableResult::NoQuorum(format!("{} says: {}", api.place(), excerpt(answer)));
    }
    let status = answer.status.as_u16();
    if !quorum.status.iter().any(|range| (range.first..=range.last).contains(&status)) {
        return LinearizableResult::Unmeasured(api.complaint(answer, &excerpt(answer)).words);
    }
    match quorum.expect.as_ref().is_none_or(|text| contains(answer, text)) {
        true => LinearizableResult::Passed,
        false if answer.status == StatusCode::OK => LinearizableResult::Unmeasured(api.odd(answer).words),
        false => LinearizableResult::Unmeasured(api.complaint(answer, &excerpt(answer)).words),
    }
}

#[cfg(test)]
mod tests {
    use super::super::api;
    use super::*;
    use crate::config::StatusRange;
    use crate::io::Class;

    fn options() -> RaftHttpOptions {
        let at = |pointer: &str| Some(pointer.to_owned());
        RaftHttpOptions {
            pointers: Pointers {
                cluster: None,
                member: at("/id"),
                leader: "/raft/leader".to_owned(),
                term: at("/raft/term"),
                index: None,
                applied: None,
                learner: at("/raft/learner"),
                voter: None,
            },
            ..RaftHttpOptions::default()
        }
    }

    fn read(options: &RaftHttpOptions, status: u16, body: &str) -> Result<RaftFacts, Failure> {
        let net = Net::new();
        let base = "http://ledger.example:80".parse().unwrap();
        facts(&api(&net, options, &base), options, &answer(status, body))
    }

    fn answer(status: u16, body: &str) -> Answer {
        api::answer(status, &[], body)
    }

    #[test]
    fn takes_facts_from_where_it_is_told() {
        let facts = read(&options(), 200, r#"{"id":"a","raft":{"leader":"b","term":"7"}}"#).unwrap();
        assert_eq!((facts.member.as_str(), facts.leader.as_deref(), facts.term), ("a", Some("b"), 7));
        let learns = r#"{"id":3,"raft":{"leader":4,"term":7,"learner":"True"}}"#;
        let facts = read(&options(), 200, learns).unwrap();
        assert_eq!((facts.member.as_str(), facts.leader.as_deref(), facts.learner), ("3", Some("4"), true));
        for nobody in ["", r#""leader":null,"#, r#""leader":"","#, r#""leader":0,"#, r#""leader":"0","#] {
            let body = format!(r#"{{"id":"a","raft":{{{nobody}"term":7}}}}"#);
            assert_eq!(read(&options(), 200, &body).unwrap().leader, None, "{nobody}");
        }
    }

    #[test]
    fn what_is_not_there_is_no_fact() {
        let class = |status, body| read(&options(), status, body).unwrap_err().class;
        assert_eq!(class(200, "{}"), Class::Rubbish);
        assert_eq!(class(200, r#"{"status":"ok"}"#), Class::Rubbish);
        assert_eq!(class(200, r#"{"id":"a","raft":{"leader":"b","term":"seven"}}"#), Class::Rubbish);
        assert_eq!(class(200, "ok"), Class::Rubbish);
        assert_eq!(class(403, r#"{"id":"a","raft":{"leader":"b","term":7}}"#), Class::Denied);
        assert_eq!(class(503, r#"{"id":"a","raft":{"leader":"b","term":7}}"#), Class::Rubbish);
        let strict = RaftHttpOptions { expect: Some("ledgerd".to_owned()), ..options() };
        assert!(read(&strict, 200, r#"{"id":"a","raft":{"leader":"b","term":7}}"#).is_err());
        let bare = Pointers { leader: "/leader".to_owned(), ..Pointers::default() };
        let bare = RaftHttpOptions { pointers: bare, ..RaftHttpOptions::default() };
        assert!(read(&bare, 200, "{}").is_err());
        assert_eq!(read(&bare, 200, r#"{"leader":""}"#).unwrap().leader, None);
    }

    #[test]
    fn a_quorum_is_proven_as_configured() {
        let quorum = RaftHttpQuorum {
            path: "/read".to_owned(),
            body: None,
            status: vec![StatusRange { first: 200, last: 204 }],
            expect: Some("revision".to_owned()),
            no_quorum: Some("no leader".to_owned()),
        };
        let (net, options) = (Net::new(), options());
        let base = "http://ledger.example:80".parse().unwrap();
        let result = |status, body| proof(&api(&net, &options, &base), &quorum, &answer(status, body));
        assert_eq!(result(200, r#"{"revision":7}"#), LinearizableResult::Passed);
        assert!(matches!(result(200, "{}"), LinearizableResult::Unmeasured(_)));
        assert!(matches!(result(503, "raft: no leader"), LinearizableResult::NoQuorum(_)));
        assert!(matches!(result(200, "no leader, revision 6"), LinearizableResult::NoQuorum(_)));
        assert!(matches!(result(503, "busy"), LinearizableResult::Unmeasured(_)));
    }
}
