//! DynamoDB: a PutItem, then a GetItem with a consistent read, of one item.
//!
//! DynamoDB tells nothing of its quorum. In one region, or in a global table with strong
//! consistency (MRSC), the consistent read succeeds only where the region is part of a majority;
//! eventually consistent reads go on elsewhere, and are not asked for. In a global table with
//! eventual consistency each region writes alone, and the canary says no more than that it can.
//! `DescribeTable` is the control plane's word and lies in outages.

use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;

use super::http::CLOCKS_DIFFER_MAX;
use super::{fresh, outcome};
use crate::cluster::{CanaryFacts, Facts};
use crate::config::DynamodbOptions;
use crate::io::http::{Answer, Request, authority, exchange};
use crate::io::sigv4::{Signed, Signer};
use crate::io::{Clock, Contact, Failure, Net, TrustFiles, read_secret};

/// One small item.
const BODY_BYTES_MAX: usize = 64 * 1024;
const JSON: &str = "application/x-amz-json-1.0";
/// The item's key and the attribute that says when.
const ITEM: &str = "pointsman";
const AT: &str = "written_at_ms";

/// Writes, and reads back.
pub(in crate::probe::cluster) async fn status(
    net: &Net,
    options: &DynamodbOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let contact = &mut Contact::new(timeout);
    let done = write_and_read(net, options, url, contact).await;
    outcome(contact, done)
}

async fn write_and_read(
    net: &Net,
    options: &DynamodbOptions,
    url: &Url,
    contact: &mut Contact,
) -> Result<CanaryFacts, Failure> {
    let now = Clock.now().wall.as_millisecond();
    let key = json!({ &options.key: { "S": ITEM } });
    let mut item = key.clone();
    item[AT] = json!({ "N": now.to_string() });
    let put = json!({ "TableName": options.table, "Item": item });
    let place = authority(url).map_or_else(|| url.to_string(), |place| place.to_string());
    let written = call(net, options, url, contact, "PutItem", &put.to_string()).await?;
    if written.status != StatusCode::OK {
        return refusal(&place, &written, "the write");
    }
    let get = json!({ "TableName": options.table, "Key": key, "ConsistentRead": true });
    let read = call(net, options, url, contact, "GetItem", &get.to_string()).await?;
    if read.status != StatusCode::OK {
        return refusal(&place, &read, "the consistent read");
    }
    let read: Result<Got, _> = serde_json::from_slice(&read.body);
    let at = read.ok().and_then(|got| got.item?.at.n.parse().ok());
    Ok(fresh(&place, now, at, CLOCKS_DIFFER_MAX))
}

async fn call(
    net: &Net,
    options: &DynamodbOptions,
    url: &Url,
    contact: &mut Contact,
    operation: &str,
    body: &str,
) -> Result<Answer, Failure> {
    let secret = read_secret(&options.secret, contact.deadline()).await?;
    let key_id = read_secret(&options.key_id, contact.deadline()).await?;
    let token = match &options.session_token {
        Some(place) => Some(read_secret(place, contact.deadline()).await?),
        None => None,
    };
    let date = Clock.now().wall.strftime("%Y%m%dT%H%M%SZ").to_string();
    let target = format!("DynamoDB_20120810.{operation}");
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let mut headers = vec![("content-type", JSON), ("host", &*host), ("x-amz-date", &*date)];
    if let Some(token) = &token {
        headers.push(("x-amz-security-token", token.reveal()));
    }
    headers.push(("x-amz-target", &*target));
    let signer =
        Signer { key_id: key_id.reveal(), secret: &secret, region: &options.region, service: "dynamodb" };
    let authorization = signer.authorization(&Signed {
        method: "POST",
        path: "/",
        query: "",
        headers: &headers,
        body: body.as_bytes(),
        date: &date,
    });
    let mut map = HeaderMap::new();
    map.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.push(("authorization", &*authorization));
    for (name, value) in headers.iter().filter(|(name, _)| *name != "host" && *name != "content-type") {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| Failure::unmeasured("a credential cannot be sent in a header".to_owned()))?;
        value.set_sensitive(true);
        let name = HeaderName::from_bytes(name.as_bytes()).expect("these are names of headers");
        map.insert(name, value);
    }
    let trust = TrustFiles { ca: options.access.ca.clone(), identity: options.access.identity.clone() };
    let request = Request {
        headers: map,
        body: body.to_owned().into(),
        body_bytes_max: BODY_BYTES_MAX,
        ..Request::new(Method::POST, url, &trust)
    };
    exchange(contact, net, request).await
}

/// `{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"…"}`
#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Trouble {
    #[serde(rename = "__type")]
    kind: String,
    #[serde(alias = "Message")]
    message: String,
}

fn refusal(place: &str, answer: &Answer, what: &str) -> Result<CanaryFacts, Failure> {
    let trouble: Trouble = serde_json::from_slice(&answer.body).unwrap_or_default();
    let kind = trouble.kind.rsplit('#').next().unwrap_or_default();
    let status = answer.status.as_u16();
    let words = format!("{place} refuses {what} with {status} {kind}: {}", trouble.message);
    match kind {
        // It has no time for us, or another site wrote at the same moment.
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "ReplicatedWriteConflictException"
        | "TransactionConflictException" => Err(Failure::denied(words)),
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "IncompleteSignatureException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken"
        | "KMSAccessDeniedException" => Err(Failure::denied(words)),
        _ if matches!(status, 401 | 403 | 429) => Err(Failure::denied(words)),
        _ if answer.status.is_server_error() => Ok(CanaryFacts::Failed(words)),
        _ => Err(Failure::rubbish(words)),
    }
}

#[derive(Deserialize, Debug)]
struct Got {
    #[serde(rename = "Item")]
    item: Option<Item>,
}

#[derive(Deserialize, Debug)]
struct Item {
    #[serde(rename = "written_at_ms")]
    at: Number,
}

#[derive(Deserialize, Debug)]
struct Number {
    #[serde(rename = "N")]
    n: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Class;

    fn refused(status: u16, kind: &str) -> Result<CanaryFacts, Class> {
        let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{kind}","message":"m"}}"#);
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.into(),
            cut: false,
        };
        refusal("ddb", &answer, "the write").map_err(|failure| failure.class)
    }

    /// By AWS's documentation of errors ("Error handling with DynamoDB").
    #[test]
    fn only_the_servers_own_trouble_is_a_failure() {
        for (status, kind) in [(500, "InternalServerError"), (503, "ServiceUnavailable")] {
            let words = format!("ddb refuses the write with {status} {kind}: m");
            assert_eq!(refused(status, kind), Ok(CanaryFacts::Failed(words)));
        }
        for kind in [
            "ProvisionedThroughputExceededException",
            "ThrottlingException",
            "RequestLimitExceeded",
            "ReplicatedWriteConflictException",
            "AccessDeniedException",
            "UnrecognizedClientException",
            "ExpiredTokenException",
        ] {
            assert_eq!(refused(400, kind), Err(Class::Denied), "{kind}");
        }
        assert_eq!(refused(400, "ResourceNotFoundException"), Err(Class::Rubbish));
        assert_eq!(refused(400, "ValidationException"), Err(Class::Rubbish));
    }
}
