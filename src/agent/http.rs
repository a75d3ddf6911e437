//! Sends an HTTP request.

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};

use super::web::{ask, headers, unexpected, url};
use super::{Step, applied, not_applied, unknown};
use crate::io::web::{Answer, Request, place, send};
use crate::io::{Deadline, Net};
use crate::workflow::{Act, Call, HttpOp, Outcome, Retry};

pub(super) async fn perform(net: &Net, call: &Call, op: &HttpOp, deadline: Deadline) -> Outcome {
    let performed = match call.act {
        Act::Apply => apply(net, call, op, deadline).await,
        Act::Observe => observe(net, call, op, deadline).await,
    };
    performed.unwrap_or_else(|outcome| outcome)
}

async fn apply(net: &Net, call: &Call, op: &HttpOp, deadline: Deadline) -> Step<Outcome> {
    let url = url(&op.url, "`url`")?;
    let method = Method::from_bytes(op.method.as_bytes())
        .map_err(|_| not_applied(format!("`{}` is not a method", op.method), Retry::Never))?;
    let mut headers = headers(call, &op.headers, deadline).await?;
    if let Some(body) = &op.body {
        let json = serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok();
        let kind = if json { "application/json" } else { "text/plain; charset=utf-8" };
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
    }
    let answer = ask(net, Request { method, url, headers, body: op.body.clone() }, deadline).await?;
    match expected(op, &answer) {
        true => Ok(done(&answer)),
        false => Err(unexpected(&answer, call.attempt)),
    }
}

async fn observe(net: &Net, call: &Call, op: &HttpOp, deadline: Deadline) -> Step<Outcome> {
    let Some(observe) = &op.observe else {
        return Err(unknown("the stage says no way to look whether it has happened (`observe`)"));
    };
    let url = url(&observe.url, "`observe.url`").map_err(|_| unknown("`observe.url` is not a URL"))?;
    let headers = headers(call, &op.headers, deadline).await.map_err(cannot_tell)?;
    let request = Request { method: Method::GET, url, headers, body: None };
    let answer = send(net, request, deadline).await.map_err(|none| unknown(none.to_string()))?;
    let status = answer.status.as_u16();
    let words = format!("{} answers {status}", place(&answer.url));
    match status {
        _ if status == observe.applied => Ok(applied(format!("{words}: it has happened"))),
        _ if status == observe.not_applied => {
            Ok(not_applied(format!("{words}: it has not happened"), Retry::Backoff))
        }
        _ => Err(unknown(format!("{words}, which tells neither that it has happened nor that it has not"))),
    }
}

/// An observation that could not be made tells nothing, whatever kept it.
fn cannot_tell(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::NotApplied { reason, .. } => unknown(reason),
        other => other,
    }
}

fn expected(op: &HttpOp, answer: &Answer) -> bool {
    let status = answer.status.as_u16();
    op.expect.iter().any(|(first, last)| (*first..=*last).contains(&status))
}

fn done(answer: &Answer) -> Outcome {
    let status = answer.status.as_u16();
    Outcome::Applied {
        detail: format!("{} answers {status}", place(&answer.url)),
        outputs: [("status".to_owned(), status.to_string())].into(),
        owed: None,
    }
}
