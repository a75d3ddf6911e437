//! Interleavings by chance: outcomes of every kind, repetitions, late answers, orders, kills,
//! failing stores, closed gates, rival workflows. Then calm, in which everything must end.

use std::time::Duration;

use pointsman::workflow::{Gate, ObligationId, Plan, Retry, Subject, Word};
use proptest::prelude::*;

use crate::flows::{APART, EVENTFUL, RIVAL, by, flip, plan};
use crate::run::{Run, automation_off};
use crate::times::times;
use crate::world::{AFTER, Fate};

const WORDS: [Word; 9] = [
    Word::Approve,
    Word::Decline,
    Word::Pause,
    Word::Resume,
    Word::Cancel,
    Word::Retry,
    Word::Skip,
    Word::Applied,
    Word::NotApplied,
];

#[derive(Clone, Copy, Debug)]
enum Move {
    Advance,
    Stored,
    /// The batch becomes durable, and the process is killed before it hears of it.
    StoredUnheard,
    StoreFails,
    Perform(u8, u8),
    /// An answer comes once more, or after its call was given up.
    Repeat(u8),
    /// A call is forgotten, done or not.
    Forget(u8, bool),
    Sleep(u8),
    SleepLong,
    Order(u8, u8, u8),
    /// What an operator who knows the world would say.
    Wise,
    Start(u8, u8),
    Gate(u8),
    Kill(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        12 => Just(Move::Advance),
        12 => Just(Move::Stored),
        1 => Just(Move::StoredUnheard),
        1 => Just(Move::StoreFails),
        14 => (any::<u8>(), any::<u8>()).prop_map(|(call, fate)| Move::Perform(call, fate)),
        2 => any::<u8>().prop_map(Move::Repeat),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(call, done)| Move::Forget(call, done)),
        5 => any::<u8>().prop_map(Move::Sleep),
        1 => Just(Move::SleepLong),
        3 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| Move::Order(a, b, c)),
        3 => Just(Move::Wise),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(flow, generation)| Move::Start(flow, generation)),
        1 => any::<u8>().prop_map(Move::Gate),
        2 => any::<u8>().prop_map(Move::Kill),
    ];
    proptest::collection::vec(one, 1..220)
}

fn fate(byte: u8) -> Fate {
    match byte % 16 {
        0..6 => Fate::Honest,
        6 => Fate::DoneUnknown,
        7 => Fate::IdleUnknown,
        8 => Fate::Refused(Retry::Backoff),
        9 => Fate::Refused(AFTER),
        10 => Fate::Refused(Retry::Never),
        11 | 12 => Fate::Unreachable,
        13 => Fate::Asks,
        14 => Fate::Stale,
        _ => Fate::Owes,
    }
}

fn play(run: &mut Run, plans: &[Plan], step: Move) {
    match step {
        Move::Advance => run.advance(),
        Move::Stored => run.stored(),
        Move::StoredUnheard => {
            if run.commit().is_some() {
                run.crash(0, |_| Fate::Honest);
            }
        }
        Move::StoreFails => run.store_failed(),
        Move::Perform(call, byte) => {
            if !run.calls.is_empty() {
                run.perform(usize::from(call) % run.calls.len(), fate(byte));
            }
        }
        Move::Repeat(which) => {
            if !run.past.is_empty() {
                let (call, outcome) = run.past[usize::from(which) % run.past.len()].clone();
                run.engine.outcome(&call, outcome);
            }
        }
        Move::Forget(which, done) => {
            if !run.calls.is_empty() {
                let call = run.calls.remove(usize::from(which) % run.calls.len());
                let fate = if done { Fate::Honest } else { Fate::Refused(Retry::Backoff) };
                // Its answer may still come, after the engine has given it up.
                let outcome = run.world.take(&call, fate);
                run.past.push((call, outcome));
            }
        }
        Move::Sleep(tenths) => run.sleep(Duration::from_millis(u64::from(tenths) * 100)),
        Move::SleepLong => run.sleep(Duration::from_secs(3 * 3600)),
        Move::Order(which, stage, word) => {
            let word = WORDS[usize::from(word) % WORDS.len()];
            if let Some(of) = anyone(run, which, stage) {
                // A word that claims to know must be true; the rest may be as foolish as it gets.
                if matches!(word, Word::Applied | Word::NotApplied)
                    && let Subject::Stage { execution, stage } = &of
                    && (run.world.has(&execution.0, stage) != (word == Word::Applied)
                        || (word == Word::NotApplied && run.may_still_happen(&of)))
                {
                    return;
                }
                let _ = run.order(of, word);
            }
        }
        Move::Wise => {
            if let Some((of, decision)) = run.decisions().into_iter().next() {
                let word = run.wise_word(&of, &decision);
                // Who says that a thing was not done has made sure that it no longer can be.
                if word != Word::NotApplied || !run.may_still_happen(&of) {
                    let _ = run.order(of, word);
                }
            }
        }
        Move::Start(flow, generation) => {
            let plan = &plans[usize::from(flow) % plans.len()];
            let cause = match generation % 8 {
                0 => pointsman::workflow::Cause::Person(by("by hand")),
                n => flip(u64::from(n)),
            };
            let _ = run.start(plan, cause);
        }
        Move::Gate(which) => {
            run.gate = match which % 4 {
                0 => automation_off(),
                1 if run.batch.is_none() => Gate::StoreFailing("no space left on device".into()),
                _ => Gate::Open,
            }
        }
        Move::Kill(landing) => {
            run.crash(usize::from(landing % 4), |call| fate(call.token.index as u8 ^ landing))
        }
    }
}

/// An execution, a stage of one, or an obligation.
fn anyone(run: &Run, which: u8, stage: u8) -> Option<Subject> {
    let obligations: Vec<_> = run.engine.obligations(run.now).map(|o| Subject::Obligation(o.id)).collect();
    let executions: Vec<_> = run.engine.executions(run.now).collect();
    let all = executions.len() + obligations.len();
    if all == 0 {
        return Some(Subject::Obligation(ObligationId(9999)));
    }
    let Some(execution) = executions.get(usize::from(which) % all) else {
        return obligations.get(usize::from(which) % all - executions.len()).cloned();
    };
    if stage.is_multiple_of(4) {
        return Some(Subject::Execution(execution.id.clone()));
    }
    let stage = &execution.stages[usize::from(stage / 4) % execution.stages.len()];
    Some(Subject::Stage { execution: execution.id.clone(), stage: stage.name.clone() })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: times(400),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_no_rule_is_broken_and_it_ends(seed in any::<u64>(), moves in moves()) {
        let plans = [plan(EVENTFUL), plan(RIVAL), plan(APART)];
        let mut run = Run::new(seed);
        let _ = run.start(&plans[0], flip(1));
        for step in moves {
            play(&mut run, &plans, step);
        }
        // A batch that is with the store when calm begins becomes durable.
        run.stored();
        run.calm();
        run.check_ends();
    }
}
