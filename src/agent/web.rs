//! What the agents that speak HTTP share: headers, and what an answer means.
//!
//! | what came back | outcome |
//! |---|---|
//! | nothing was sent: refused, no connection, bad certificate | not applied, again |
//! | sent, and no answer: timeout, reset | unknown |
//! | expected status | applied |
//! | 3xx, 4xx, 501, 505 | not applied, never again |
//! | 408, 425 | not applied, again |
//! | 409 to a later attempt | unknown: the earlier one may still be running |
//! | 412 with a problem of type `…/stale-token` (RFC 9457) | stale |
//! | 429, 503 | not applied, after `Retry-After` if it is given |
//! | any other 2xx, 5xx | unknown |

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, Url};

use super::{Step, not_applied, unknown};
use crate::io::web::{Answer, NoAnswer, Request, place, send};
use crate::io::{Clock, Deadline, Failure, Net, read_secret};
use crate::workflow::{Call, Outcome, Retry, Text};

/// The longest wait that a target may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// How much of an answer's body is told.
const EXCERPT_CHARS_MAX: usize = 200;

/// Reads a text where it is kept.
pub(super) async fn text(text: &Text, deadline: Deadline) -> Step<String> {
    match text {
        Text::Plain(text) => Ok(text.clone()),
        Text::Secret(secret) => match read_secret(secret, deadline).await {
            Ok(secret) => Ok(secret.reveal().to_owned()),
            Err(failure) => Err(not_applied(failure.words, Retry::Backoff)),
        },
    }
}

/// A URL from a workflow file. It may hold a secret, so it is not repeated.
pub(super) fn url(text: &str, what: &str) -> Step<Url> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(not_applied(format!("{what} is not a URL of the form https://host/path"), Retry::Never)),
    }
}

/// The headers of a request: those of the file, and those by which the target does the thing
/// once and in the right order.
pub(super) async fn headers(
    call: &Call,
    further: &BTreeMap<String, Text>,
    deadline: Deadline,
) -> Step<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in further {
        let unfit =
            |what: &str| not_applied(format!("{what} cannot be sent as the header `{name}`"), Retry::Never);
        let name = HeaderName::try_from(name.as_str()).map_err(|_| unfit("this name"))?;
        let secret = matches!(value, Text::Secret(_));
        let text = text(value, deadline).await?;
        let mut value = HeaderValue::from_str(&text).map_err(|_| unfit("its value"))?;
        value.set_sensitive(secret);
        headers.append(name, value);
    }
    for (name, value) in
        [("idempotency-key", call.idempotency_key()), ("fence-token", call.token.to_string())]
    {
        let value = HeaderValue::from_str(&value).map_err(|_| {
            not_applied(format!("the names in `{value}` cannot be sent as a header"), Retry::Never)
        })?;
        headers.entry(name).or_insert(value);
    }
    Ok(headers)
}

/// Sends a JSON body.
pub(super) async fn post_json(
    net: &Net,
    url: Url,
    mut headers: HeaderMap,
    body: &serde_json::Value,
    deadline: Deadline,
) -> Step<Answer> {
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    ask(net, Request { method: Method::POST, url, headers, body: Some(body.to_string()) }, deadline).await
}

/// Sends a request that changes something.
pub(super) async fn ask(net: &Net, request: Request, deadline: Deadline) -> Step<Answer> {
    send(net, request, deadline).await.map_err(|none| match none {
        NoAnswer::NotSent(Failure { words, .. }) => not_applied(words, Retry::Backoff),
        NoAnswer::Lost(Failure { words, .. }) => unknown(words),
    })
}

/// What an answer means that is not the one hoped for.
pub(super) fn unexpected(answer: &Answer, attempt: u32) -> Outcome {
    let status = answer.status.as_u16();
    let said = excerpt(answer);
    let words = format!("{} answers {status}{said}", place(&answer.url));
    match status {
        412 if is_stale_token(answer) => Outcome::Stale { reason: words },
        409 if attempt > 1 => unknown(format!("{words}; an earlier attempt may still be running")),
        408 | 425 => not_applied(words, Retry::Backoff),
        429 | 503 => not_applied(words, retry_after(answer).map_or(Retry::Backoff, Retry::After)),
        300..=399 => {
            let to = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            let to = answer.url.join(to).map_or_else(|_| "elsewhere".to_owned(), |url| place(&url));
            let cure = "a request that changes something is not carried elsewhere; give the final URL";
            not_applied(format!("{words}, a redirect to {to}: {cure}"), Retry::Never)
        }
        400..=499 | 501 | 505 => not_applied(words, Retry::Never),
        200..=299 => unknown(format!("{words}, which is not what was expected: it may be at work")),
        _ => unknown(words),
    }
}

/// ": the first words of the body", on one line.
fn excerpt(answer: &Answer) -> String {
    let one_line = answer.body.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = one_line.chars().filter(|c| !c.is_control()).take(EXCERPT_CHARS_MAX).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

fn is_stale_token(answer: &Answer) -> bool {
    #[derive(serde::Deserialize)]
    struct Problem {
        r#type: String,
    }
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/problem+json")
        && serde_json::from_str::<Problem>(&answer.body)
            .is_ok_and(|problem| problem.r#type.rsplit(['/', ':', '#']).next() == Some("stale-token"))
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date.
pub(super) fn retry_after(answer: &Answer) -> Option<Duration> {
    let text = answer.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let then = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(then.duration_since(Clock.now().wall)).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect(),
            body: body.to_owned(),
            url: Url::parse("https://user.example.com/path?key=secret").unwrap(),
        }
    }

    fn kind(outcome: &Outcome) -> String {
        match outcome {
            Outcome::NotApplied { retry, .. } => format!("{retry:?}"),
            Outcome::Unknown { .. } => "Unknown".to_owned(),
            Outcome::Stale { .. } => "Stale".to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn every_status_has_its_outcome() {
        for (status, expected) in [
            (202, "Unknown"),
            (301, "Never"),
            (308, "Never"),
            (400, "Never"),
            (401, "Never"),
            (404, "Never"),
            (408, "Backoff"),
            (409, "Never"),
            (412, "Never"),
            (422, "Never"),
            (425, "Backoff"),
            (429, "Backoff"),
            (500, "Unknown"),
            (501, "Never"),
            (502, "Unknown"),
            (503, "Backoff"),
            (504, "Unknown"),
            (507, "Unknown"),
        ] {
            assert_eq!(kind(&unexpected(&answer(status, &[], ""), 1)), expected, "{status}");
        }
        // The first attempt may still be at it.
        assert_eq!(kind(&unexpected(&answer(409, &[], ""), 2)), "Unknown");
    }

    #[test]
    fn a_stale_token_is_told_by_its_problem_type() {
        let problem = [("content-type", "application/problem+json")];
        let stale = r#"{"type":"https://example.com/problems/stale-token","highest":"8.420"}"#;
        assert_eq!(kind(&unexpected(&answer(412, &problem, stale), 1)), "Stale");
        assert_eq!(kind(&unexpected(&answer(412, &problem, r#"{"type":"about:blank"}"#), 1)), "Never");
        assert_eq!(kind(&unexpected(&answer(412, &[], stale), 1)), "Never");
        assert_eq!(kind(&unexpected(&answer(400, &problem, stale), 1)), "Never");
    }

    #[test]
    fn waits_as_long_as_it_is_asked_to() {
        let after = |text: &'static str| retry_after(&answer(503, &[("retry-after", text)], ""));
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(after("Thu, 31 Dec 2099 23:59:59 GMT"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("soon"), None);
        let outcome = unexpected(&answer(429, &[("retry-after", "7")], ""), 1);
        assert_eq!(kind(&outcome), "After(7s)");
    }

    #[test]
    fn words_never_show_a_path_or_query() {
        let outcome = format!("{:?}", unexpected(&answer(404, &[], "not\n here"), 1));
        assert!(outcome.contains("https://user.example.com answers 404: not here"), "{outcome}");
        assert!(!outcome.contains("secret"), "{outcome}");
    }
}
