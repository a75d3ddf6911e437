//! Makes room in a region, through an HTTP hook.
//!
//! ```text
//!  POST ──► 2xx: there is room
//!       ──► 202: at work ──► GET, every second or as `Retry-After` says, until 200
//! ```
//! What the hook is asked to reach is a level, not a step: asking twice does no harm.

use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, Url};
use serde_json::json;

use super::web::{headers, post_json, retry_after, unexpected, url};
use super::{Step, applied, not_applied, unknown};
use crate::io::web::{Answer, Request, place, send};
use crate::io::{Deadline, Net};
use crate::workflow::{Act, Call, CapacityOp, Outcome, Retry};

/// Between two looks, if the hook does not say.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest time between two looks, whatever it says.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);
/// For how long one look may take.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);

pub(super) async fn perform(net: &Net, call: &Call, op: &CapacityOp, deadline: Deadline) -> Outcome {
    let performed = match call.act {
        Act::Apply => apply(net, call, op, deadline).await,
        Act::Observe => observe(net, call, op, deadline).await,
    };
    performed.unwrap_or_else(|outcome| outcome)
}

async fn apply(net: &Net, call: &Call, op: &CapacityOp, deadline: Deadline) -> Step<Outcome> {
    let url = url(&op.url, "the capacity hook")?;
    let headers = headers(call, &op.headers, deadline).await?;
    let body = json!({
        "region": op.region,
        "percent": op.percent,
        "capacity": op.capacity,
        "extra": op.extra,
    });
    let answer = post_json(net, url.clone(), headers.clone(), &body, deadline).await?;
    match answer.status.as_u16() {
        202 => wait(net, op, &status_url(&url, &answer), headers, retry_after(&answer), deadline).await,
        200..300 => Ok(there(op, &answer)),
        _ => Err(unexpected(&answer, call.attempt)),
    }
}

/// Where to ask how far it is: where the hook says, if that is on the same host.
fn status_url(url: &Url, answer: &Answer) -> Url {
    let said = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| url.join(to).ok());
    said.filter(|said| said.origin() == url.origin()).unwrap_or_else(|| url.clone())
}

async fn wait(
    net: &Net,
    op: &CapacityOp,
    url: &Url,
    headers: HeaderMap,
    mut pause: Option<Duration>,
    deadline: Deadline,
) -> Step<Outcome> {
    let mut last = "it answers 202".to_owned();
    loop {
        let pause_now = pause.take().unwrap_or(LOOK_EVERY).min(LOOK_EVERY_MAX);
        if deadline.sleep(pause_now).await.is_err() {
            return Err(unknown(format!("the hook is at work and not done in time ({last})")));
        }
        let request = Request { method: Method::GET, url: url.clone(), headers: headers.clone(), body: None };
        match send(net, request, deadline.within(LOOK_TIME_MAX)).await {
            Ok(answer) => match answer.status.as_u16() {
                200 => return Ok(there(op, &answer)),
                202 | 408 | 425 | 429 | 500.. => {
                    pause = retry_after(&answer);
                    last = format!("it answers {}", answer.status.as_u16());
                }
                status => {
                    let place = place(&answer.url);
                    return Err(unknown(format!("{place} took the request, and now answers {status}")));
                }
            },
            Err(none) => last = none.to_string(),
        }
    }
}

async fn observe(net: &Net, call: &Call, op: &CapacityOp, deadline: Deadline) -> Step<Outcome> {
    let url = url(&op.url, "the capacity hook").map_err(|_| unknown("the capacity hook is not a URL"))?;
    let headers = headers(call, &op.headers, deadline).await.map_err(|outcome| match outcome {
        Outcome::NotApplied { reason, .. } => unknown(reason),
        other => other,
    })?;
    let request = Request { method: Method::GET, url: url.clone(), headers: headers.clone(), body: None };
    let answer = send(net, request, deadline).await.map_err(|none| unknown(none.to_string()))?;
    let words = format!("{} answers {}", place(&answer.url), answer.status.as_u16());
    match answer.status.as_u16() {
        200 => Ok(there(op, &answer)),
        202 => wait(net, op, &status_url(&url, &answer), headers, retry_after(&answer), deadline).await,
        404 => Ok(not_applied(format!("{words}: it knows of no such request"), Retry::Backoff)),
        _ => Err(unknown(words)),
    }
}

fn there(op: &CapacityOp, answer: &Answer) -> Outcome {
    let (place, status) = (place(&answer.url), answer.status.as_u16());
    applied(format!("{} is at {} % of its capacity ({place} answers {status})", op.region, op.percent))
}
