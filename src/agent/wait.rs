//! Waits for a time, or for something to be so. Changes nothing.

use std::time::Duration;

use hyper::Method;

use super::web::url;
use super::{Step, applied, not_applied};
use crate::base::show_span;
use crate::io::http::{Request, exchange};
use crate::io::web::place;
use crate::io::{Close, Contact, Deadline, Failure, Net, TrustFiles};
use crate::workflow::{Act, Call, Outcome, Retry, Until, WaitOp};

/// For how long one look may take.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);
/// The shortest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

pub(super) async fn perform(net: &Net, call: &Call, op: &WaitOp, deadline: Deadline) -> Outcome {
    let waited = match &op.until {
        Until::Elapsed(span) => elapsed(call, *span).await,
        until => look(net, op, until, deadline).await,
    };
    waited.unwrap_or_else(|outcome| outcome)
}

async fn elapsed(call: &Call, span: Duration) -> Step<Outcome> {
    let words = show_span(span);
    if call.act == Act::Observe {
        return Err(not_applied(format!("nobody knows how much of {words} has passed"), Retry::Backoff));
    }
    if span > call.timeout {
        let most = show_span(call.timeout);
        let why = format!("an attempt ends after {most}, and never waits for {words}: raise attempt_timeout");
        return Err(not_applied(why, Retry::Never));
    }
    tokio::time::sleep(span).await;
    Ok(applied(format!("waited for {words}")))
}

/// Looks until enough looks in a row find it so.
async fn look(net: &Net, op: &WaitOp, until: &Until, deadline: Deadline) -> Step<Outcome> {
    let needed = op.consecutive.max(1);
    let mut in_a_row = 0;
    loop {
        let last = match once(net, until, deadline.within(LOOK_TIME_MAX)).await? {
            Ok(words) => {
                in_a_row += 1;
                if in_a_row >= needed {
                    return Ok(applied(words));
                }
                format!("{words}, {in_a_row} of {needed} times in a row")
            }
            Err(words) => {
                in_a_row = 0;
                words
            }
        };
        if deadline.sleep(op.interval.max(INTERVAL_MIN)).await.is_err() {
            return Err(not_applied(format!("it is not so yet: {last}"), Retry::Backoff));
        }
    }
}

/// One look: what is so, or what is not.
async fn once(net: &Net, until: &Until, deadline: Deadline) -> Step<Result<String, String>> {
    let mut contact = Contact::new(deadline.left());
    match until {
        Until::Elapsed(_) => Ok(Ok(String::new())),
        Until::Tcp { address } => match contact.connect(net, address, Close::Abruptly).await {
            Ok(_) => Ok(Ok(format!("{address} accepts connections"))),
            Err(Failure { words, .. }) => Ok(Err(words)),
        },
        Until::Http { url: text, status } => {
            let url = url(text, "`url`")?;
            let trust = TrustFiles::default();
            match exchange(&mut contact, net, Request::new(Method::GET, &url, &trust)).await {
                Ok(answer) => {
                    let code = answer.status.as_u16();
                    let words = format!("{} answers {code}", place(&url));
                    let passes = status.iter().any(|(first, last)| (*first..=*last).contains(&code));
                    Ok(if passes { Ok(words) } else { Err(words) })
                }
                Err(Failure { words, .. }) => Ok(Err(words)),
            }
        }
    }
}
