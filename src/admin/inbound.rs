//! What comes in by itself: reports of targets, and what Alertmanager tells of alerts.
//!
//! The token is looked at before anything of the body is read, and compared in constant time. A name
//! that nobody has and a token that is wrong get the same answer.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics::counter;
use ring::hmac;
use serde_json::json;

use super::api::{Shared, problem};
use crate::base::SecretRef;
use crate::io::{Clock, read_secret};
use crate::probe::{Inbox, Notification, Refusal, Said};

/// Octets of a report.
const REPORT_BYTES_MAX: usize = 16 * 1024;
/// Octets of a notification: a group may have thousands of alerts.
const NOTIFICATION_BYTES_MAX: usize = 4 << 20;
/// A body that was announced is here within this.
const BODY_WAIT: Duration = Duration::from_secs(5);
/// A secret is a file at hand.
const SECRET_WAIT: Duration = Duration::from_secs(2);

/// Why something is not taken in.
struct Refused {
    status: StatusCode,
    /// In one word, for labels.
    word: &'static str,
    words: String,
}

impl Refused {
    fn new(status: StatusCode, word: &'static str, words: impl Into<String>) -> Self {
        Self { status, word, words: words.into() }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Unexpected => StatusCode::UNAUTHORIZED,
            Refusal::Closed | Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::TooSoon => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Replayed { .. } => StatusCode::CONFLICT,
        };
        Self::new(status, refusal.word(), refusal.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = problem(self.status, &self.words);
        let headers = response.headers_mut();
        match self.status {
            // RFC 6750 §3.
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// A target reports itself.
pub(super) async fn push(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let inbox = shared.handle.inbox();
    match take(inbox, &name, request).await {
        Ok(()) => Json(json!({"said": format!("{name}: the report is taken in")})).into_response(),
        Err(refused) => {
            counter!("pointsman_push_refused_total", "to" => "push", "why" => refused.word).increment(1);
            inbox.refused(&name, &refused.words, Clock.mono());
            refused.into_response()
        }
    }
}

async fn take(inbox: &Inbox, name: &str, request: Request<Body>) -> Result<(), Refused> {
    let place = inbox.token_of(name);
    authorize(request.headers(), place.as_ref()).await?;
    let place = place.ok_or(Refusal::Unexpected)?;
    let body = body(request, REPORT_BYTES_MAX).await?;
    let said = Said::read(&body).map_err(|why| Refused::new(StatusCode::BAD_REQUEST, "rubbish", why))?;
    Ok(inbox.report(name, &place, said, Clock.mono())?)
}

/// Alertmanager tells of alerts.
pub(super) async fn alertmanager(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let inbox = shared.handle.inbox();
    let place = inbox.token_of_alertmanager(&name);
    let (refused, missed) = match authorize(request.headers(), place.as_ref()).await {
        Err(refused) => (refused, false),
        Ok(()) => match hear(inbox, &name, place, request).await {
            Ok(()) => return Json(json!({"said": format!("{name}: taken in")})).into_response(),
            Err(refused) => (refused, true),
        },
    };
    counter!("pointsman_push_refused_total", "to" => "alertmanager", "why" => refused.word).increment(1);
    inbox.not_notified(&name, &refused.words, missed, Clock.mono());
    refused.into_response()
}

async fn hear(
    inbox: &Inbox,
    name: &str,
    place: Option<SecretRef>,
    request: Request<Body>,
) -> Result<(), Refused> {
    let place = place.ok_or(Refusal::Unexpected)?;
    let body = body(request, NOTIFICATION_BYTES_MAX).await?;
    let told =
        Notification::read(&body).map_err(|why| Refused::new(StatusCode::BAD_REQUEST, "rubbish", why))?;
    Ok(inbox.notify(name, &place, told, Clock.mono())?)
}

/// Whether the token is the one that is kept there; nowhere: no token is the right one.
async fn authorize(headers: &HeaderMap, place: Option<&SecretRef>) -> Result<(), Refused> {
    let denied = |words: &str| Err(Refused::new(StatusCode::UNAUTHORIZED, "denied", words));
    let Some(shown) = bearer(headers) else {
        return denied("no token: send it as `Authorization: Bearer TOKEN`");
    };
    let wrong = "this name and this token do not belong together";
    let Some(place) = place else { return denied(wrong) };
    let kept = read_secret(place, Clock.deadline(SECRET_WAIT)).await;
    let kept = kept.map_err(|why| {
        tracing::error!(event = "push.no_token", "nothing can be taken in: {why}");
        Refused::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_token",
            "the daemon cannot read the token to compare with; its log says why",
        )
    })?;
    match is_same(shown.as_bytes(), kept.reveal().as_bytes()) {
        true => Ok(()),
        false => denied(wrong),
    }
}

/// The token of a request (RFC 6750 §2.1); the scheme is written in any case (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// Compares in a time that tells nothing of where two texts differ, nor of their lengths: by tags
/// under a key that nobody knows.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let Ok(key) = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new()) else {
        return false;
    };
    hmac::verify(&key, one, hmac::sign(&key, other).as_ref()).is_ok()
}

async fn body(request: Request<Body>, bytes_max: usize) -> Result<Bytes, Refused> {
    let late = |_| Refused::new(StatusCode::REQUEST_TIMEOUT, "late", "the body did not come in time");
    let read = tokio::time::timeout(BODY_WAIT, to_bytes(request.into_body(), bytes_max)).await;
    read.map_err(late)?.map_err(|_| {
        let words = format!("the body is cut off, or larger than {bytes_max} bytes");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", words)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_same_or_not() {
        assert!(is_same(b"hunter2", b"hunter2"));
        assert!(!is_same(b"hunter2", b"hunter3") && !is_same(b"hunter2", b"hunter") && !is_same(b"", b"x"));
    }

    #[test]
    fn a_token_follows_its_scheme() {
        let token = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(token("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(token("bearer  abc "), Some("abc".to_owned()));
        for none in ["Basic abc", "Bearer", "Bearer ", "abc"] {
            assert_eq!(token(none), None, "{none}");
        }
    }
}
