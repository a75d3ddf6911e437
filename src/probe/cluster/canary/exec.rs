//! A canary by a program: whatever knows how to write to a system and read back.
//!
//! The same contract as the check `exec`, and the same program may serve. One that hangs is a
//! canary that hangs; one that cannot tell has told nothing.

use std::time::Duration;

use crate::cluster::{CanaryFacts, Facts};
use crate::config::ExecCheck;
use crate::health::Finding;
use crate::io::{Contact, Failure, Net};
use crate::probe::exec;

/// What stands for the member in an argument.
const MEMBER: &str = "{member}";
/// The same as a variable.
const VARIABLE: &str = "POINTSMAN_MEMBER";

/// Runs the program for one member.
pub(in crate::probe::cluster) async fn status(
    net: &Net,
    check: &ExecCheck,
    member: &str,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let contact = &mut Contact::new(timeout);
    let argv = check.argv.iter().map(|argument| argument.replace(MEMBER, member)).collect();
    let check = ExecCheck { argv, ..check.clone() };
    let ended = exec::launch(net, &check, &[(VARIABLE, member)], contact).await?;
    let facts = match exec::judge(&check, &ended, contact) {
        Finding::Pass(_) | Finding::Hold(_) => CanaryFacts::Passed,
        Finding::Fail(_) if ended.status.is_none() => CanaryFacts::Hung,
        Finding::Fail(why) => CanaryFacts::Failed(why),
        Finding::Unknown(why) => return Err(Failure::unmeasured(why)),
    };
    Ok(Facts::Canary(facts))
}
