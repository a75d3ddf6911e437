//! Runs a program, and takes its exit code for a verdict.
//!
//! A program that hangs has failed, as any target that is silent: what it asks hangs, most
//! likely, and that is what it was written to find out. One that is killed by somebody else, or
//! cannot be started, has told nothing.

use std::io::ErrorKind;

use super::finding;
use crate::config::{ExecCheck, ExitCodes, HeaderValue, shown};
use crate::health::Finding;
use crate::io::program::{Ended, NotRun, run};
use crate::io::{Contact, Failure, Net, read_secret, show};

pub(super) async fn probe(net: &Net, check: &ExecCheck, contact: &mut Contact) -> Finding {
    match launch(net, check, &[], contact).await {
        Ok(ended) => judge(check, &ended, contact),
        Err(failure) => finding(failure),
    }
}

/// Runs the program to its end, or to that of the contact; `more` goes into its environment.
pub(super) async fn launch(
    net: &Net,
    check: &ExecCheck,
    more: &[(&str, &str)],
    contact: &mut Contact,
) -> Result<Ended, Failure> {
    let Some((program, arguments)) = check.argv.split_first() else {
        return Err(Failure::unmeasured("there is no program to run"));
    };
    let mut environment: Vec<(String, String)> =
        more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for (name, value) in &check.env {
        let value = match value {
            HeaderValue::Plain(text) => text.clone(),
            HeaderValue::Secret(place) => read_secret(place, contact.deadline()).await?.reveal().to_owned(),
        };
        environment.push((name.clone(), value));
    }
    // Many programs at once are a load on this machine, not on the targets.
    let turn = contact.deadline().bound(net.turn_to_run()).await;
    let _turn =
        turn.map_err(|_| Failure::unmeasured("too many check programs run at once: it got no turn"))?;
    environment.push(("POINTSMAN_TIMEOUT".to_owned(), contact.deadline().left().as_secs_f64().to_string()));
    let budget = contact.budget();
    contact.note("run", || check.argv.join(" "));
    let ended = run(program, arguments, environment, contact.deadline()).await.map_err(|why| match why {
        NotRun::Start(why) if why.kind() == ErrorKind::NotFound => {
            Failure::unmeasured(format!("there is no program `{program}`"))
        }
        NotRun::Start(why) => Failure::unmeasured(format!("cannot run `{program}`: {why}")),
        NotRun::Wait(why) => Failure::unmeasured(format!("cannot tell how `{program}` ended: {why}")),
    })?;
    contact.note("end", || ended.words(budget));
    Ok(ended)
}

/// What an end means.
pub(super) fn judge(check: &ExecCheck, ended: &Ended, contact: &Contact) -> Finding {
    let name = &ended.name;
    let Some(status) = ended.status else {
        let budget = show(contact.budget());
        return Finding::Fail(format!(
            "`{name}` had not ended within {budget} and was killed{}",
            said(ended)
        ));
    };
    let Some(code) = status.code() else {
        return Finding::Unknown(ended.words(contact.budget()));
    };
    let words = format!("`{name}` exited with {code} after {}{}", show(contact.took()), said(ended));
    match (check.codes, code) {
        (ExitCodes::Plain, 0) | (ExitCodes::Nagios, 0 | 1) => Finding::Pass(words),
        (ExitCodes::Plain, 1) | (ExitCodes::Nagios, 2) => Finding::Fail(words),
        _ => Finding::Unknown(words),
    }
}

/// The first line that it said, without what plugins add for machines (behind a `|`).
fn said(ended: &Ended) -> String {
    let output = if ended.stdout.is_empty() { &ended.stderr } else { &ended.stdout };
    let line = output.lines().next().unwrap_or_default();
    match line.split('|').next().unwrap_or_default().trim() {
        "" => String::new(),
        line => format!(": {}", shown(line.as_bytes())),
    }
}
