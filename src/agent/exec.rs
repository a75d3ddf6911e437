//! Runs a program: an argument vector, no shell, in a process group of its own that dies as a
//! whole at the deadline.
//!
//! The program gets a clean environment (see `io::program`): what the file adds, and
//! `POINTSMAN_EXECUTION`, `_STAGE`, `_ATTEMPT`, `_IDEMPOTENCY_KEY`, `_FENCE_TOKEN` (epoch.index)
//! and `_TIMEOUT` (seconds).

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;

use super::web::text;
use super::{Step, applied, not_applied, unknown};
use crate::io::Deadline;
use crate::io::program::{self, Ended, NotRun};
use crate::workflow::{Act, Call, ExecOp, Outcome, Retry};

/// Not applied, try again (sysexits.h, EX_TEMPFAIL).
const EXIT_TEMPORARY: i32 = 75;
/// Not applied, do not try again (sysexits.h, EX_CONFIG).
const EXIT_CONFIGURATION: i32 = 78;

pub(super) async fn perform(call: &Call, op: &ExecOp, deadline: Deadline) -> Outcome {
    let performed = match (call.act, &op.observe) {
        (Act::Apply, _) => apply(call, op, deadline).await,
        (Act::Observe, Some(argv)) => observe(call, op, argv, deadline).await,
        (Act::Observe, None) => {
            Err(unknown("the stage names no program that tells whether it has happened (`observe`)"))
        }
    };
    performed.unwrap_or_else(|outcome| outcome)
}

async fn apply(call: &Call, op: &ExecOp, deadline: Deadline) -> Step<Outcome> {
    let ended = run(call, op, &op.argv, deadline).await?;
    let words = ended.words(call.timeout);
    Ok(match ended.status.map(|status| (status.code(), status.signal())) {
        Some((Some(0), _)) => {
            let outputs = [("stdout".to_owned(), ended.stdout)].into();
            Outcome::Applied { detail: words, outputs, owed: None }
        }
        Some((Some(EXIT_TEMPORARY), _)) => not_applied(words, Retry::Backoff),
        Some((Some(EXIT_CONFIGURATION), _)) => not_applied(words, Retry::Never),
        _ => unknown(words),
    })
}

async fn observe(call: &Call, op: &ExecOp, argv: &[String], deadline: Deadline) -> Step<Outcome> {
    let ended = run(call, op, argv, deadline).await.map_err(|outcome| match outcome {
        Outcome::NotApplied { reason, .. } => unknown(reason),
        other => other,
    })?;
    let words = ended.words(call.timeout);
    Ok(match ended.status.and_then(|status| status.code()) {
        Some(0) => applied(words),
        Some(1) => not_applied(words, Retry::Backoff),
        _ => unknown(words),
    })
}

async fn run(call: &Call, op: &ExecOp, argv: &[String], deadline: Deadline) -> Step<Ended> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(not_applied("there is no program to run", Retry::Never));
    };
    let environment = environment(call, op, deadline).await?;
    program::run(program, arguments, environment, deadline).await.map_err(|why| match why {
        NotRun::Start(why) => {
            let retry = match why.kind() {
                ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InvalidInput => Retry::Never,
                _ => Retry::Backoff,
            };
            not_applied(format!("cannot run `{program}`: {why}"), retry)
        }
        NotRun::Wait(why) => unknown(format!("cannot tell how `{program}` ended: {why}")),
    })
}

async fn environment(call: &Call, op: &ExecOp, deadline: Deadline) -> Step<Vec<(String, String)>> {
    let mut environment = Vec::new();
    for (name, value) in &op.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(not_applied(format!("`{name}` is not the name of a variable"), Retry::Never));
        }
        environment.push((name.clone(), text(value, deadline).await?));
    }
    let seconds = call.timeout.as_secs_f64();
    for (name, value) in [
        ("EXECUTION", call.execution.to_string()),
        ("STAGE", call.stage.clone()),
        ("ATTEMPT", call.attempt.to_string()),
        ("IDEMPOTENCY_KEY", call.idempotency_key()),
        ("FENCE_TOKEN", call.token.to_string()),
        ("TIMEOUT", seconds.to_string()),
    ] {
        environment.push((format!("POINTSMAN_{name}"), value));
    }
    Ok(environment)
}
