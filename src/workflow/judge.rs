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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::UnreachableWriter;
    use crate::workflow::{
        ApplicationOp, CapacityOp, DatabaseOp, DialOp, ExecOp, HttpObserve, HttpOp, NotifyOp, Text, Until,
        WaitOp,
    };

    fn database(role: DatabaseRole) -> Op {
        Op::Database(DatabaseOp {
            cluster: "petstore".into(),
            role,
            region: "eu".into(),
            nodes: vec![],
            password: None,
            ca: None,
            application: ApplicationOp::default(),
            unreachable_writer: UnreachableWriter::Ask,
        })
    }

    fn exec(observable: bool, idempotent: bool) -> Op {
        let observe = observable.then(|| vec!["look".to_owned()]);
        Op::Exec(ExecOp { argv: vec!["do".into()], env: BTreeMap::new(), observe, idempotent })
    }

    fn http(observable: bool, idempotent: bool) -> Op {
        let observe =
            observable.then(|| HttpObserve { url: "http://h".into(), applied: 200, not_applied: 404 });
        Op::Http(HttpOp {
            method: "POST".into(),
            url: "http://h".into(),
            headers: BTreeMap::new(),
            body: None,
            expect: vec![(200, 299)],
            observe,
            idempotent,
        })
    }

    fn capacity() -> Op {
        Op::Capacity(CapacityOp {
            region: "eu".into(),
            percent: 100,
            capacity: None,
            url: "http://h".into(),
            headers: BTreeMap::new(),
            extra: BTreeMap::new(),
        })
    }

    #[test]
    fn every_op_has_its_way_out_of_not_knowing() {
        let wait = WaitOp {
            until: Until::Elapsed(Duration::ZERO),
            interval: Duration::from_secs(1),
            consecutive: 1,
        };
        let url = Text::Plain("http://h".into());
        let notify = NotifyOp { channel: "c".into(), url, headers: BTreeMap::new(), message: "m".into() };
        let dial = DialOp { service: "s".into(), shares: BTreeMap::new() };
        let table = [
            (Op::Wait(wait), Recovery::Redo),
            (Op::Notify(notify), Recovery::Redo),
            (capacity(), Recovery::Redo),
            (database(DatabaseRole::Reader), Recovery::LookThenRedo),
            (database(DatabaseRole::Writer), Recovery::LookThenAsk),
            (Op::Dial(dial), Recovery::LookThenAsk),
            (exec(true, true), Recovery::LookThenRedo),
            (exec(true, false), Recovery::LookThenAsk),
            (exec(false, true), Recovery::Redo),
            (exec(false, false), Recovery::Ask),
            (http(true, true), Recovery::LookThenRedo),
            (http(true, false), Recovery::LookThenAsk),
            (http(false, true), Recovery::Redo),
            (http(false, false), Recovery::Ask),
        ];
        for (op, expected) in table {
            assert_eq!(recovery(&op), expected, "{op:?}");
        }
    }

    #[test]
    fn what_follows_from_each_outcome() {
        let seconds = Duration::from_secs;
        let retry = RetryPolicy { jitter: Jitter::None, max_attempts: 3, ..RetryPolicy::DEFAULT };
        let why = || "r".to_owned();
        let no = |retry| Outcome::NotApplied { reason: why(), retry };
        let dead = || Outcome::Unreachable { reason: why() };
        let unknown = || Outcome::Unknown { reason: why() };
        let applied = || Outcome::Applied { detail: why(), outputs: BTreeMap::new(), owed: None };
        let again = |after| Then::Again { after };
        let look = |after| Then::Look { after };
        let fail = |why: &str| Then::Fail { why: why.to_owned() };
        let (writer, reader) = (database(DatabaseRole::Writer), database(DatabaseRole::Reader));
        let (blind, redo, seen) = (exec(false, false), exec(false, true), exec(true, true));
        let base = Case {
            op: &writer,
            retry: &retry,
            act: Act::Apply,
            tries: 1,
            looks: 0,
            elapsed: seconds(1),
            left: seconds(599),
            lost: false,
        };
        let observe = Case { act: Act::Observe, ..base };
        let table = [
            (base, applied(), Then::Done),
            (observe, applied(), Then::Done),
            // not applied
            (base, no(Retry::Backoff), again(seconds(1))),
            (Case { tries: 2, ..base }, no(Retry::Backoff), again(seconds(2))),
            (Case { tries: 3, ..base }, no(Retry::Backoff), fail("given up after 3 attempts: r")),
            (base, no(Retry::After(seconds(7))), again(seconds(7))),
            (Case { tries: 2, ..base }, no(Retry::After(seconds(1))), again(seconds(2))),
            (
                Case { left: seconds(1), ..base },
                no(Retry::Backoff),
                fail("no time left for another attempt: r"),
            ),
            (base, no(Retry::After(seconds(600))), fail("no time left for another attempt: r")),
            (base, no(Retry::Never), fail("r")),
            (Case { tries: 3, lost: true, ..base }, no(Retry::Backoff), again(seconds(0))),
            // unreachable
            (base, dead(), again(seconds(1))),
            (Case { tries: 3, ..base }, dead(), fail("given up after 3 attempts: r")),
            (Case { op: &reader, tries: 3, ..base }, dead(), again(seconds(4))),
            (Case { op: &reader, elapsed: seconds(8), tries: 3, ..base }, dead(), again(seconds(2))),
            // unknown
            (base, unknown(), look(seconds(0))),
            (Case { op: &seen, ..base }, unknown(), look(seconds(0))),
            (Case { op: &redo, ..base }, unknown(), again(seconds(1))),
            (
                Case { op: &redo, tries: 3, ..base },
                unknown(),
                fail("given up after 3 attempts: outcome unknown: r"),
            ),
            (Case { op: &redo, tries: 3, lost: true, ..base }, unknown(), again(seconds(0))),
            (Case { op: &blind, ..base }, unknown(), Then::Unresolved),
            (Case { op: &blind, lost: true, ..base }, unknown(), Then::Unresolved),
            // looks
            (observe, no(Retry::Never), again(seconds(1))),
            (Case { tries: 3, ..observe }, no(Retry::Backoff), fail("given up after 3 attempts: r")),
            (observe, unknown(), look(seconds(1))),
            (observe, dead(), look(seconds(1))),
            (observe, Outcome::Ask { question: why() }, look(seconds(1))),
            (observe, Outcome::Stale { reason: why() }, look(seconds(1))),
            (Case { looks: 9, lost: true, left: seconds(0), ..observe }, unknown(), look(seconds(0))),
            (Case { looks: 4, ..observe }, unknown(), look(seconds(16))),
            (Case { looks: 3, left: seconds(0), ..observe }, unknown(), look(seconds(8))),
            (Case { looks: 4, left: seconds(16), ..observe }, unknown(), Then::Unresolved),
            (Case { op: &seen, looks: 4, ..observe }, unknown(), again(seconds(1))),
            (Case { op: &reader, looks: 4, ..observe }, dead(), again(seconds(1))),
            // the rest
            (base, Outcome::Ask { question: why() }, Then::Ask),
            (base, Outcome::Stale { reason: why() }, Then::Fenced),
        ];
        let mut rng = fastrand::Rng::with_seed(1);
        for (case, outcome, expected) in table {
            assert_eq!(judge(&case, &outcome, &mut rng), expected, "{case:?} {outcome:?}");
        }
        for case in [
            Case { op: &reader, elapsed: seconds(10), ..base },
            Case { op: &reader, elapsed: seconds(10), ..observe },
            // A shorter time of the stage's own comes first.
            Case { op: &reader, elapsed: seconds(5), left: seconds(0), ..base },
        ] {
            let Then::Defer(owed) = judge(&case, &dead(), &mut rng) else { panic!("{case:?}") };
            assert_eq!((owed.region.as_str(), &owed.op), ("eu", &reader));
            assert!(owed.what.contains("`petstore` in eu must become a reader"), "{}", owed.what);
        }
    }

    #[test]
    fn an_obligation_is_only_ever_tried_again_or_asked_about() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut then = |op: &Op, act, outcome: &Outcome| judge_owed(op, act, 20, outcome, &mut rng);
        let reason = || "r".to_owned();
        let outcomes = [
            Outcome::NotApplied { reason: reason(), retry: Retry::Never },
            Outcome::Unreachable { reason: reason() },
            Outcome::Unknown { reason: reason() },
            Outcome::Stale { reason: reason() },
            Outcome::Ask { question: reason() },
        ];
        for op in
            [database(DatabaseRole::Reader), database(DatabaseRole::Writer), capacity(), exec(false, false)]
        {
            for act in [Act::Apply, Act::Observe] {
                for outcome in &outcomes {
                    match then(&op, act, outcome) {
                        Then::Again { after } | Then::Look { after } => {
                            assert!(after <= OBLIGATION_RETRY.max_interval, "{op:?} {outcome:?}");
                        }
                        Then::Unresolved => assert_eq!(recovery(&op), Recovery::Ask),
                        other => panic!("{op:?} {act:?} {outcome:?} {other:?}"),
                    }
                }
            }
        }
    }
}
