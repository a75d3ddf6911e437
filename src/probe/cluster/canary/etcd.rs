//! A canary in etcd: a put, and a linearizable read of what was put. It finds what the reads of
//! the `etcd` check cannot: a member that is out of space (`NOSPACE`) and takes no write.

use std::time::Duration;

use hyper::StatusCode;
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;

use super::{fresh, outcome};
use crate::cluster::{CanaryFacts, Facts};
use crate::config::EtcdCanary;
use crate::io::{Clock, Contact, Failure, Net};
use crate::probe::cluster::etcd::{api, complaint, gateway_error, user};
use crate::wire::{Base64, write_base64};

/// Writes, and reads back.
pub(in crate::probe::cluster) async fn status(
    net: &Net,
    canary: &EtcdCanary,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let contact = &mut Contact::new(timeout);
    let done = write_and_read(net, canary, url, contact).await;
    outcome(contact, done)
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    value: String,
}

async fn write_and_read(
    net: &Net,
    canary: &EtcdCanary,
    url: &Url,
    contact: &mut Contact,
) -> Result<CanaryFacts, Failure> {
    let api = api(net, &canary.options, url);
    let now = Clock.now().wall.as_millisecond();
    let key = base64(&canary.key);
    let put = json!({ "key": key, "value": base64(&now.to_string()) }).to_string();
    let range = json!({ "key": key, "limit": 1 }).to_string();
    let mut read = None;
    for (path, body, what) in [("/v3/kv/put", put, "the write"), ("/v3/kv/range", range, "the read")] {
        let answer = user::post(&api, canary.options.user.as_ref(), contact, path, &body).await?;
        if answer.status != StatusCode::OK {
            return match gateway_error(&answer) {
                Some(error) if error.for_want_of_a_quorum() || error.for_want_of_space() => {
                    Ok(CanaryFacts::Failed(format!("{} refuses {what}: {}", api.place(), error.message)))
                }
                _ => Err(complaint(&api, &answer)),
            };
        }
        let range: Range = api.parse(&answer)?;
        read = range.kvs.first().and_then(|pair| plain(&pair.value)?.parse().ok());
    }
    Ok(fresh(&api.place(), now, read, contact.budget() / 2))
}

fn base64(text: &str) -> String {
    let mut out = String::new();
    write_base64(text.as_bytes(), &mut out).expect("a string takes any text");
    out
}

fn plain(base64: &str) -> Option<String> {
    let (mut reader, mut out) = (Base64::default(), Vec::new());
    let sound = reader.push(base64.as_bytes(), &mut out);
    (sound || base64.ends_with('=')).then_some(())?;
    reader.finish().then(|| String::from_utf8(out).ok()).flatten()
}
