//! Tells people, through a webhook: a JSON object whose `text` is what chat systems show.
//!
//! It may be sent twice; `dedup_key` stays the same, and lets the receiver show it once.

use serde_json::json;

use super::web::{headers, post_json, text, unexpected, url};
use super::{Step, applied, unknown};
use crate::io::web::place;
use crate::io::{Deadline, Net};
use crate::workflow::{Act, Call, NotifyOp, Outcome};

pub(super) async fn perform(net: &Net, call: &Call, op: &NotifyOp, deadline: Deadline) -> Outcome {
    match call.act {
        Act::Apply => tell(net, call, op, deadline).await.unwrap_or_else(|outcome| outcome),
        Act::Observe => unknown(format!("nobody can tell whether `{}` got the message", op.channel)),
    }
}

async fn tell(net: &Net, call: &Call, op: &NotifyOp, deadline: Deadline) -> Step<Outcome> {
    let url = text(&op.url, deadline).await?;
    let url = self::url(&url, &format!("the address of channel `{}`", op.channel))?;
    let headers = headers(call, &op.headers, deadline).await?;
    let body = json!({
        "text": op.message,
        "execution": call.execution.0,
        "stage": call.stage,
        "dedup_key": call.idempotency_key(),
    });
    let answer = post_json(net, url, headers, &body, deadline).await?;
    match answer.status.is_success() {
        true => Ok(applied(format!(
            "`{}` was told ({} answers {})",
            op.channel,
            place(&answer.url),
            answer.status.as_u16()
        ))),
        false => Err(unexpected(&answer, call.attempt)),
    }
}
