//! What follows from an outcome. Every such decision is taken here, once, and journaled.

use std::time::Duration;

use super::{Act, DatabaseRole, Jitter, Op, Outcome, Owed, Retry, RetryPolicy, Then};
use crate::base::show_span;

/// A database node that shall become a reader and cannot be reached is tried for this long;
/// then the rest goes on, and its demotion is owed. Its region is most likely the one that
/// died: a failover that waits for it waits for the disaster to be over.
pub const DEFER_AFTER: Duration = Duration::from_secs(10);
/// So many looks in a row may fail to tell even when the stage's time is up; then an operator
/// is asked.
const LOOKS_MIN: u32 = 5;
/// How an obligation is retried, for as long as it takes.
pub(super) const OBLIGATION_RETRY: RetryPolicy = RetryPolicy {
    max_attempts: u32::MAX,
    initial_interval: Duration::from_secs(1),
    multiplier: 2.0,
    max_interval: Duration::from_secs(60),
    jitter: Jitter::Full,
};

/// What to do about an outcome that nobody knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recovery {
    /// Do it again, under the same idempotency key.
    Redo,
    /// Look whether it was done. If that cannot tell, do it again.
    LookThenRedo,
    /// Look whether it was done. If that cannot tell, ask an operator.
    LookThenAsk,
    /// There is no way to look: ask an operator.
    Ask,
}

/// What to do about an unknown outcome of each op, and why that is safe.
pub fn recovery(op: &Op) -> Recovery {
    match op {
        // Changes nothing.
        Op::Wait(_) => Recovery::Redo,
        // Told twice is better than not told; the receiver has a key to drop the second by.
        Op::Notify(_) => Recovery::Redo,
        // The hook's contract is to do the same thing once for the same key.
        Op::Capacity(_) => Recovery::Redo,
        Op::Database(database) => match database.role {
            // A fence that holds can be seen, and a second one changes nothing.
            DatabaseRole::Reader => Recovery::LookThenRedo,
            // A promotion cannot be taken back, and a second one may meet another world.
            DatabaseRole::Writer => Recovery::LookThenAsk,
        },
        // The table is our own, so it can always be told. Doing it again unseen could undo
        // what an operator dialled in between.
        Op::Dial(_) => Recovery::LookThenAsk,
        Op::Exec(exec) => by_hand(exec.observe.is_some(), exec.idempotent),
        Op::Http(http) => by_hand(http.observe.is_some(), http.idempotent),
    }
}

/// Where the workflow's author knows what we cannot.
fn by_hand(observable: bool, idempotent: bool) -> Recovery {
    match (observable, idempotent) {
        (true, true) => Recovery::LookThenRedo,
        (true, false) => Recovery::LookThenAsk,
        (false, true) => Recovery::Redo,
        (false, false) => Recovery::Ask,
    }
}

/// Whether a stage may be left owed when its target cannot be reached.
pub(super) fn deferrable(op: &Op) -> bool {
    matches!(op, Op::Database(database) if database.role == DatabaseRole::Reader)
}

/// What an outcome is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub op: &'a Op,
    pub retry: &'a RetryPolicy,
    /// To do it, or to look.
    pub act: Act,
    /// Attempts so far that count, this one too.
    pub tries: u32,
    /// Looks in a row that could not tell, this one not counted.
    pub looks: u32,
    /// Since the first call of the stage.
    pub elapsed: Duration,
    /// Until the stage's time is up.
    pub left: Duration,
    /// Nobody answered, because the process that waited was gone.
    pub lost: bool,
}

/// What follows from an outcome.
pub(super) fn judge(case: &Case<'_>, outcome: &Outcome, rng: &mut fastrand::Rng) -> Then {
    match outcome {
        Outcome::Applied { .. } => Then::Done,
        _ if case.act == Act::Observe => look(case, outcome, rng),
        Outcome::NotApplied { reason, retry: Retry::Never } => Then::Fail { why: reason.clone() },
        Outcome::NotApplied { reason, retry: Retry::Backoff } => again(case, reason, Duration::ZERO, rng),
        Outcome::NotApplied { reason, retry: Retry::After(asked) } => again(case, reason, *asked, rng),
        Outcome::Unreachable { reason } if deferrable(case.op) => unreachable(case, reason, rng),
        Outcome::Unreachable { reason } => again(case, reason, Duration::ZERO, rng),
        Outcome::Unknown { reason } => match recovery(case.op) {
            Recovery::Redo => again(case, &format!("outcome unknown: {reason}"), Duration::ZERO, rng),
            Recovery::LookThenRedo | Recovery::LookThenAsk => Then::Look { after: Duration::ZERO },
            Recovery::Ask => Then::Unresolved,
        },
        Outcome::Stale { .. } => Then::Fenced,
        Outcome::Ask { .. } => Then::Ask,
    }
}

/// Another attempt, if there is one left and time for it.
fn again(case: &Case<'_>, reason: &str, asked: Duration, rng: &mut fastrand::Rng) -> Then {
    if case.lost {
        // The attempt was cut short by our own end, not by the target: it does not count.
        return Then::Again { after: Duration::ZERO };
    }
    if case.tries >= case.retry.max_attempts {
        let attempts = if case.tries == 1 { "attempt" } else { "attempts" };
        return Then::Fail { why: format!("given up after {} {attempts}: {reason}", case.tries) };
    }
    let after = case.retry.wait(case.tries, rng).max(asked);
    if after >= case.left {
        return Then::Fail { why: format!("no time left for another attempt: {reason}") };
    }
    Then::Again { after }
}

/// The target of a stage that may be owed cannot be reached.
fn unreachable(case: &Case<'_>, reason: &str, rng: &mut fastrand::Rng) -> Then {
    let patience = DEFER_AFTER.min(case.elapsed.saturating_add(case.left)).saturating_sub(case.elapsed);
    if patience.is_zero() {
        let Op::Database(database) = case.op else {
            return again(case, reason, Duration::ZERO, rng);
        };
        let tried = show_span(case.elapsed);
        let what = format!(
            "`{}` in {} must become a reader (not reached in {tried}: {reason})",
            database.cluster, database.region
        );
        return Then::Defer(Box::new(Owed { region: database.region.clone(), what, op: case.op.clone() }));
    }
    Then::Again { after: case.retry.wait(case.tries, rng).min(patience) }
}

/// A look found that it was not done, or could not tell.
fn look(case: &Case<'_>, outcome: &Outcome, rng: &mut fastrand::Rng) -> Then {
    let after = case.retry.wait(case.looks + 1, rng);
    let redo = recovery(case.op) == Recovery::LookThenRedo;
    match outcome {
        // Whatever the look says of trying again: the next attempt finds out.
        Outcome::NotApplied { reason, .. } => again(case, reason, Duration::ZERO, rng),
        // A dead target tells as little as it does.
        Outcome::Unreachable { reason } if deferrable(case.op) => unreachable(case, reason, rng),
        _ if case.lost => Then::Look { after: Duration::ZERO },
        _ if case.looks + 1 < LOOKS_MIN => Then::Look { after },
        _ if redo => again(case, &format!("outcome unknown: {}", words(outcome)), Duration::ZERO, rng),
        // The other way out is to wake somebody: look for as long as there is time.
        _ if after < case.left => Then::Look { after },
        _ => Then::Unresolved,
    }
}

/// What an outcome says.
pub(super) fn words(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Applied { detail, .. } => detail,
        Outcome::NotApplied { reason, .. }
        | Outcome::Unreachable { reason }
        | Outcome::Unknown { reason }
        | Outcome::Stale { reason } => reason,
        Outcome::Ask { question } => question,
    }
}

/// What follows for an obligation: it is tried until it is paid.
pub(super) fn judge_owed(
    op: &Op,
    act: Act,
    attempt: u32,
    outcome: &Outcome,
    rng: &mut fastrand::Rng,
) -> Then {
    let after = OBLIGATION_RETRY.wait(attempt, rng);
    match (outcome, recovery(op)) {
        (Outcome::Applied { .. }, _) => Then::Done,
        (Outcome::NotApplied { .. }, _) | (_, Recovery::Redo) => Then::Again { after },
        (Outcome::Unknown { .. }, Recovery::Ask) => Then::Unresolved,
        (Outcome::Unknown { .. }, _) => Then::Look { after },
        // A look that was not answered leaves it as unknown as before.
        _ if act == Act::Observe => Then::Look { after },
        _ => Then::Again { after },
    }
}
