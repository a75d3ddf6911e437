//! A canary over HTTP: PUT of a value that says when, then a GET that must bring it back.
//!
//! One fixed key, so that nothing piles up. Several sites may share it: what is read may be
//! another's value, as long as it is no older than the one just written, give or take clocks.

use std::time::Duration;

use hyper::{Method, StatusCode};
use reqwest::Url;

use super::{fresh, outcome};
use crate::cluster::{CanaryFacts, Facts};
use crate::config::{CanaryMethod, CanaryOptions};
use crate::io::http::Answer;
use crate::io::{Clock, Contact, Failure, Net};
use crate::probe::cluster::api::{Api, excerpt};

/// What comes back is what was sent, and perhaps some JSON around it.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// By how much sites' clocks may differ.
pub(super) const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(60);
const MARK: &str = "pointsman-";

/// Writes, and reads back.
pub(in crate::probe::cluster) async fn status(
    net: &Net,
    options: &CanaryOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let contact = &mut Contact::new(timeout);
    let done = write_and_read(net, options, url, contact).await;
    outcome(contact, done)
}

async fn write_and_read(
    net: &Net,
    options: &CanaryOptions,
    url: &Url,
    contact: &mut Contact,
) -> Result<CanaryFacts, Failure> {
    let api =
        Api { net, access: &options.access, base: url, system: "the store", body_bytes_max: BODY_BYTES_MAX };
    let now = Clock.now().wall.as_millisecond();
    let value = format!("{MARK}{now}");
    let body = options.body.replace("{value}", &value);
    let method = match options.method {
        CanaryMethod::Put => Method::PUT,
        CanaryMethod::Post => Method::POST,
    };
    let written = api.send(contact, method, url, body).await?;
    if !written.status.is_success() {
        return refusal(&api, &written, "the write");
    }
    let mut from = url.clone();
    if let Some(query) = &options.read_query {
        from.set_query(Some(query));
    }
    let read = api.send(contact, Method::GET, &from, String::new()).await?;
    if read.status != StatusCode::OK {
        return refusal(&api, &read, "the read");
    }
    Ok(compare(&api.place(), now, &String::from_utf8_lossy(&read.body)))
}

/// A status that is no success. A server's own trouble is a definite answer: it could not.
fn refusal(api: &Api<'_>, answer: &Answer, what: &str) -> Result<CanaryFacts, Failure> {
    match answer.status.is_server_error() {
        true => Ok(CanaryFacts::Failed(format!(
            "{} refuses {what} with {}: {}",
            api.place(),
            answer.status.as_u16(),
            excerpt(answer)
        ))),
        false => Err(api.complaint(answer, &excerpt(answer))),
    }
}

fn compare(place: &str, written: i64, read: &str) -> CanaryFacts {
    let digits = read
        .split(MARK)
        .nth(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse::<i64>());
    fresh(place, written, digits.and_then(Result::ok), CLOCKS_DIFFER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_must_be_as_new_as_what_was_written() {
        let failed = |read: &str| match compare("kv", 1_700_000_100_000, read) {
            CanaryFacts::Failed(why) => why,
            other => format!("{other:?}"),
        };
        assert_eq!(failed("pointsman-1700000100000"), "Passed");
        assert_eq!(failed(r#"{"value":"pointsman-1700000100001"}"#), "Passed");
        // Another site, whose clock is behind.
        assert_eq!(failed("pointsman-1700000041000"), "Passed");
        assert_eq!(
            failed("pointsman-1700000000000"),
            "kv takes a write and brings back what was written 100s before"
        );
        for nothing in ["", "[]", "pointsman-", "pointsman-x", "1700000100000"] {
            assert_eq!(failed(nothing), "kv takes a write and does not bring it back", "{nothing}");
        }
    }
}
