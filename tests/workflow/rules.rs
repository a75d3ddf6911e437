//! One rule at a time.

use std::time::Duration;

use pointsman::workflow::{
    Cause, Engine, ExecutionView, Gate, Heard, ObligationId, Op, Outcome, Plan, Refusal, Retry, State, Step,
    Subject, Word,
};

use crate::flows::{APART, EVENTFUL, RIVAL, by, flip, plan, plan_to};
use crate::run::{Run, automation_off};
use crate::world::{AFTER, Fate};

const SECOND: Duration = Duration::from_secs(1);

/// Stores and advances until nothing moves by itself.
fn settle(run: &mut Run) {
    for _ in 0..50 {
        run.advance();
        if run.batch.is_none() {
            return;
        }
        run.stored();
    }
    panic!("it never rests");
}

fn begun(text: &str) -> Run {
    let mut run = Run::new(5);
    run.start(&plan(text), flip(1)).unwrap();
    settle(&mut run);
    run
}

fn stages(run: &Run) -> Vec<&str> {
    run.calls.iter().map(|call| call.stage.as_str()).collect()
}

fn perform(run: &mut Run, stage: &str, fate: Fate) {
    let at = run
        .calls
        .iter()
        .position(|call| call.stage == stage)
        .unwrap_or_else(|| panic!("{stage} is not called: {:?}", stages(run)));
    run.perform(at, fate);
    settle(run);
}

fn view(run: &Run) -> ExecutionView {
    run.engine.executions(run.now).next().expect("one is under way")
}

fn state(run: &Run, stage: &str) -> String {
    let view = view(run);
    view.stages.into_iter().find(|view| view.name == stage).unwrap().state
}

fn of(run: &Run, stage: &str) -> Subject {
    Subject::Stage { execution: view(run).id, stage: stage.into() }
}

fn whole(run: &Run) -> Subject {
    Subject::Execution(view(run).id)
}

fn say(run: &mut Run, of: Subject, word: Word) {
    run.order(of, word).unwrap();
    settle(run);
}

fn refused(run: &mut Run, of: Subject, word: Word) -> String {
    run.order(of, word).unwrap_err().to_string()
}

#[test]
fn stages_without_needs_run_beside_each_other() {
    let run = begun(EVENTFUL);
    assert_eq!(stages(&run), ["prescale", "demote", "promote"]);
    assert!(run.calls.iter().all(|call| call.attempt == 1 && !call.approved));
    let keys: Vec<_> = run.calls.iter().map(|call| call.idempotency_key()).collect();
    assert!(keys[0].starts_with("eventful-0-") && keys[0].ends_with("/prescale"), "{keys:?}");
    // The token is the epoch and the index of the intent.
    assert_eq!((run.calls[0].token.epoch, run.calls[0].token.index), (1, 1));
}

#[test]
fn a_flip_is_run_for_once_also_after_a_restart_and_long_after() {
    let mut run = Run::new(5);
    let plan = plan(EVENTFUL);
    run.start(&plan, flip(4)).unwrap();
    // Asked again before it is even stored.
    assert!(matches!(run.start(&plan, flip(4)), Err(Refusal::Busy { .. })));
    settle(&mut run);
    for generation in [4, 3] {
        let refusal = run.start(&plan, flip(generation)).unwrap_err();
        assert_eq!(refusal.to_string(), "`eventful` has run for generation 4 of region-b already");
    }
    let refusal = run.start(&plan, flip(5)).unwrap_err().to_string();
    assert!(refusal.starts_with("workflow `eventful` is in the hands of `eventful-0-"), "{refusal}");
    run.calm();
    run.crash(0, |_| Fate::Honest);
    assert!(matches!(run.start(&plan, flip(4)), Err(Refusal::AlreadyRan { generation: 4, .. })));
    // Nothing is left of it in the journal but the mark.
    let marks = run.journal.marks();
    let mut engine = Engine::restore(9, marks, [], run.now.mono).unwrap();
    let again = engine.start(plan.clone(), flip(4), &Gate::Open, &mut run.rng);
    assert!(matches!(again, Err(Refusal::AlreadyRan { .. })));
    assert!(run.start(&plan, flip(5)).is_ok());
    // A person may always ask.
    run.calm();
    assert!(run.start(&plan, Cause::Person(by("drill"))).is_ok());
}

#[test]
fn one_execution_at_a_time_for_each_workflow_and_each_cluster() {
    let mut run = begun(EVENTFUL);
    let refusal = run.start(&plan(RIVAL), flip(1)).unwrap_err().to_string();
    assert!(refusal.starts_with("cluster `petstore` is in the hands of `eventful-0-"), "{refusal}");
    run.start(&plan(APART), flip(1)).unwrap();
    settle(&mut run);
    assert_eq!(run.engine.len(), 2);
    run.calm();
    assert!(run.start(&plan(RIVAL), flip(1)).is_ok());
}

#[test]
fn what_cannot_be_stored_is_forgotten_and_may_be_asked_again() {
    let mut run = Run::new(5);
    let plan = plan(EVENTFUL);
    let receipt = run.start(&plan, flip(1)).unwrap();
    run.advance();
    run.batch = None;
    assert_eq!(run.engine.store_failed("no space left", run.now.mono, &mut run.rng), [receipt]);
    let refusal = run.start(&plan, flip(1)).unwrap_err();
    assert_eq!(refusal, Refusal::Closed("the store fails: no space left".into()));
    // It tries the store by itself, later and later.
    let wake = run.engine.wake().unwrap();
    assert_eq!(wake.since(run.now.mono), Duration::from_millis(100));
    run.advance();
    assert!(run.batch.is_none(), "not before");
    run.sleep_till_woken();
    run.advance();
    assert_eq!(run.batch.as_ref().map(Vec::len), Some(0), "with nothing to write, an empty batch");
    run.store_failed();
    assert_eq!(run.engine.wake().unwrap().since(run.now.mono), Duration::from_millis(200));
    run.sleep_till_woken();
    run.advance();
    run.stored();
    run.start(&plan, flip(1)).unwrap();
    run.calm();
    assert_eq!(run.auditor.settled, 1);
}

#[test]
fn an_outcome_that_cannot_be_stored_is_not_lost() {
    let mut run = begun(EVENTFUL);
    let at = run.calls.iter().position(|call| call.stage == "prescale").unwrap();
    run.perform(at, Fate::Honest);
    run.advance();
    run.store_failed();
    run.advance();
    assert_eq!(state(&run, "prescale"), "running", "not believed before it is durable");
    assert_eq!(view(&run).state, State::Paused);
    assert_eq!(view(&run).why.as_deref(), Some("the store fails: no space left on device"));
    run.sleep_till_woken();
    settle(&mut run);
    assert_eq!(state(&run, "prescale"), "applied");
    assert_eq!(view(&run).state, State::Running);
}

#[test]
fn behind_a_closed_gate_nothing_new_begins_and_no_time_passes() {
    let mut run = begun(EVENTFUL);
    run.gate = automation_off();
    settle(&mut run);
    assert_eq!(view(&run).state, State::Paused);
    assert_eq!(view(&run).why.as_deref(), Some("automation is off (ada: maintenance)"));
    let refusal = run.start(&plan(APART), flip(1)).unwrap_err();
    assert_eq!(refusal.to_string(), "automation is off (ada: maintenance)");
    // What is under way ends, and is recorded; nothing follows from it.
    perform(&mut run, "promote", Fate::Honest);
    perform(&mut run, "prescale", Fate::Refused(Retry::Backoff));
    assert_eq!((state(&run, "promote").as_str(), state(&run, "warm").as_str()), ("applied", "waiting"));
    assert_eq!(stages(&run), ["demote"]);
    run.sleep(5 * 3600 * SECOND);
    perform(&mut run, "demote", Fate::Honest);
    assert_eq!(state(&run, "prescale"), "backing_off", "its time is not up");
    run.gate = Gate::Open;
    settle(&mut run);
    assert_eq!(view(&run).state, State::Running);
    assert_eq!(stages(&run), ["prescale", "warm", "flush"]);
}

#[test]
fn an_execution_whose_time_is_up_waits_for_an_operator() {
    let text = r#"
version: 1
name: slow
timeout: 1m
stages:
  it: {agent: capacity, timeout: 1h, retry: {max_attempts: 50, initial_interval: 25s, max_interval: 25s, jitter: none}}
"#;
    let mut run = begun(text);
    for _ in 0..3 {
        perform(&mut run, "it", Fate::Refused(Retry::Backoff));
        run.sleep_till_woken();
        settle(&mut run);
    }
    assert_eq!((view(&run).state, stages(&run).len()), (State::Paused, 0));
    let why = view(&run).why.unwrap();
    assert_eq!(why, "its time of 1m was up");
    let decision = view(&run).decisions.remove(0);
    assert_eq!((decision.stage, decision.choices), (None, vec![Word::Resume, Word::Cancel]));
    let of = whole(&run);
    say(&mut run, of, Word::Resume);
    assert_eq!(view(&run).state, State::Running);
    run.calm();
    run.check_ends();
}

#[test]
fn pause_lets_end_what_is_under_way_and_begins_nothing() {
    let mut run = begun(EVENTFUL);
    let of = whole(&run);
    say(&mut run, of.clone(), Word::Pause);
    perform(&mut run, "promote", Fate::Honest);
    assert!(!stages(&run).contains(&"warm"));
    assert!(refused(&mut run, of.clone(), Word::Pause).contains("is paused already (ada: because)"));
    say(&mut run, of.clone(), Word::Resume);
    assert!(stages(&run).contains(&"warm"));
    assert!(refused(&mut run, of, Word::Resume).contains("is not paused"));
}

#[test]
fn cancel_waits_until_nothing_is_under_way_and_nothing_unknown() {
    let mut run = begun(EVENTFUL);
    let of = whole(&run);
    say(&mut run, of.clone(), Word::Cancel);
    assert_eq!(view(&run).state, State::Cancelling);
    perform(&mut run, "prescale", Fate::Refused(Retry::Backoff));
    perform(&mut run, "demote", Fate::Honest);
    assert!(refused(&mut run, of, Word::Cancel).contains("is being cancelled (ada: because)"));
    // It may have happened: looked after first.
    perform(&mut run, "promote", Fate::DoneUnknown);
    assert_eq!((view(&run).state, stages(&run)), (State::Cancelling, vec!["promote"]));
    perform(&mut run, "promote", Fate::Honest);
    let over = run.engine.settled().next().unwrap();
    assert_eq!((over.state, over.why.as_deref()), (State::Cancelled, Some("ada: because")));
    let states: Vec<_> = over.stages.iter().map(|stage| stage.state.as_str()).collect();
    assert_eq!(states[..4], ["backing_off", "applied", "applied", "waiting"]);
}

#[test]
fn an_intent_that_was_never_handed_out_does_not_hold_up_a_cancel() {
    let mut run = Run::new(5);
    run.start(&plan(APART), flip(1)).unwrap();
    run.advance();
    run.stored();
    run.advance();
    run.stored();
    // Durable, but the gate closes before anybody is called.
    run.gate = automation_off();
    settle(&mut run);
    assert!(run.calls.is_empty());
    let of = whole(&run);
    say(&mut run, of, Word::Cancel);
    assert_eq!(run.engine.settled().next().unwrap().state, State::Cancelled);
}

#[test]
fn a_failed_stage_holds_aborts_or_is_passed_over() {
    // pause
    let mut run = begun(EVENTFUL);
    perform(&mut run, "promote", Fate::Refused(Retry::Never));
    assert_eq!((view(&run).state, state(&run, "promote").as_str()), (State::Paused, "failed"));
    assert_eq!(view(&run).why.as_deref(), Some("stage `promote` is failed: not now"));
    assert_eq!(view(&run).decisions[0].choices, [Word::Retry, Word::Skip, Word::Cancel]);
    let of_whole = whole(&run);
    let refusal = refused(&mut run, of_whole, Word::Resume);
    assert!(
        refusal.ends_with("waits for a word about stage `promote`, which is failed: `retry`, `skip`"),
        "{refusal}"
    );
    let of_promote = of(&run, "promote");
    say(&mut run, of_promote, Word::Retry);
    assert_eq!(run.calls.last().map(|call| (call.stage.as_str(), call.attempt)), Some(("promote", 2)));
    // continue
    for _ in 0..4 {
        perform(&mut run, "prescale", Fate::Refused(Retry::Backoff));
        run.sleep(30 * SECOND);
        settle(&mut run);
    }
    assert_eq!(state(&run, "prescale"), "failed");
    assert_eq!(view(&run).state, State::Running);
    run.calm();
    let over = run.engine.settled().next().unwrap();
    assert_eq!(
        (over.state, over.why.as_deref()),
        (State::SucceededWithExceptions, Some("`prescale` failed"))
    );
    assert_eq!(over.stages[0].why, "given up after 4 attempts: not now");
    // abort
    let mut run = begun(APART);
    perform(&mut run, "one", Fate::Refused(Retry::Never));
    assert_eq!(view(&run).state, State::Failing);
    assert_eq!(stages(&run), ["two"], "what is under way ends first");
    perform(&mut run, "two", Fate::Honest);
    let over = run.engine.settled().next().unwrap();
    assert_eq!((over.state, over.why.as_deref()), (State::Failed, Some("stage `one` failed: not now")));
    assert_eq!(over.stages[2].state, "waiting");
}

#[test]
fn a_stage_whose_time_is_up_is_given_up_between_two_attempts() {
    let text = r#"
version: 1
name: short
stages:
  it: {agent: capacity, timeout: 10s, attempt_timeout: 4s, retry: {max_attempts: 50, initial_interval: 3s, jitter: none}}
"#;
    let mut run = begun(text);
    assert_eq!(run.calls[0].timeout, 4 * SECOND);
    run.sleep(4 * SECOND);
    perform(&mut run, "it", Fate::Refused(Retry::Backoff));
    run.sleep(3 * SECOND);
    settle(&mut run);
    assert_eq!(run.calls[0].timeout, 3 * SECOND, "no longer than the stage has got");
    run.sleep(2 * SECOND);
    perform(&mut run, "it", Fate::Refused(Retry::Backoff));
    assert_eq!(state(&run, "it"), "failed");
    assert_eq!(view(&run).stages[0].why, "no time left for another attempt: not now");
    // What the target asks for counts, too.
    let mut run = begun(text);
    perform(&mut run, "it", Fate::Refused(AFTER));
    run.sleep(6 * SECOND);
    settle(&mut run);
    assert_eq!(state(&run, "it"), "backing_off", "7 s were asked for");
    // While it is held, its time does not run; afterwards it begins anew.
    let of = whole(&run);
    say(&mut run, of.clone(), Word::Pause);
    run.sleep(100 * SECOND);
    settle(&mut run);
    assert_eq!(state(&run, "it"), "backing_off");
    say(&mut run, of, Word::Resume);
    assert_eq!(stages(&run), ["it"]);
    // Between attempts the time is up while the process sleeps.
    perform(&mut run, "it", Fate::Refused(Retry::Backoff));
    run.sleep(60 * SECOND);
    settle(&mut run);
    assert_eq!(view(&run).stages[0].why, "its time of 10s was up: not now");
}

#[test]
fn an_approval_is_for_the_stage_that_asked() {
    let mut run = begun(EVENTFUL);
    perform(&mut run, "promote", Fate::Asks);
    assert_eq!(state(&run, "promote"), "asking");
    assert_eq!(view(&run).why.as_deref(), Some("stage `promote` is asking: may I?"));
    assert_eq!(view(&run).decisions[0].choices, [Word::Approve, Word::Decline, Word::Skip, Word::Cancel]);
    // The others go on meanwhile, those that need it do not.
    perform(&mut run, "prescale", Fate::Honest);
    assert_eq!(stages(&run), ["demote"]);
    let asking = of(&run, "promote");
    assert!(refused(&mut run, asking.clone(), Word::Retry).contains("takes `approve`, `decline`, `skip`"));
    say(&mut run, asking.clone(), Word::Decline);
    assert_eq!((state(&run, "promote").as_str(), view(&run).state), ("declined", State::Paused));
    assert_eq!(view(&run).decisions[0].choices, [Word::Approve, Word::Skip, Word::Cancel]);
    say(&mut run, asking, Word::Approve);
    let call = run.calls.iter().find(|call| call.stage == "promote").unwrap();
    assert!(call.approved && call.attempt == 2);
    assert!(!run.calls.iter().any(|call| call.stage != "promote" && call.approved));
    // Also after a restart, and in later attempts.
    perform(&mut run, "promote", Fate::Refused(Retry::Backoff));
    run.crash(0, |_| Fate::Honest);
    run.sleep(10 * SECOND);
    settle(&mut run);
    assert!(run.calls.iter().find(|call| call.stage == "promote").unwrap().approved);
}

#[test]
fn an_unknown_outcome_is_looked_after_then_asked_about() {
    let mut run = begun(EVENTFUL);
    perform(&mut run, "promote", Fate::DoneUnknown);
    assert_eq!(state(&run, "promote"), "looking");
    let looking = of(&run, "promote");
    assert!(
        refused(&mut run, looking.clone(), Word::Skip)
            .contains("takes `resolve applied`, `resolve not-applied`")
    );
    for _ in 0..2000 {
        if stages(&run).contains(&"promote") {
            perform(&mut run, "promote", Fate::IdleUnknown);
        } else if state(&run, "promote") == "unresolved" {
            break;
        } else {
            run.sleep_till_woken();
            settle(&mut run);
        }
    }
    assert_eq!(state(&run, "promote"), "unresolved", "when its time is up, an operator is asked");
    assert!(view(&run).decisions.iter().any(|decision| decision.stage.as_deref() == Some("promote")));
    assert!(!run.engine.owes("region-b"));
    say(&mut run, looking, Word::Applied);
    assert_eq!(state(&run, "promote"), "vouched");
    // Nobody has seen the old writer fenced, so that is owed.
    assert!(run.engine.owes("region-b"));
    let owed = run.calls.iter().find(|call| call.stage.starts_with("promote/owed-")).unwrap();
    let Op::Database(fence) = &owed.op else { panic!() };
    assert_eq!(fence.region, "region-b");
}

#[test]
fn what_nobody_can_look_at_is_asked_about_at_once() {
    let mut run = begun(EVENTFUL);
    perform(&mut run, "promote", Fate::Honest);
    perform(&mut run, "flush", Fate::IdleUnknown);
    assert_eq!(state(&run, "flush"), "unresolved");
    let of_flush = of(&run, "flush");
    say(&mut run, of_flush, Word::NotApplied);
    assert_eq!(run.calls.iter().find(|call| call.stage == "flush").map(|call| call.attempt), Some(2));
}

#[test]
fn a_target_that_someone_else_owns_stops_everything() {
    let mut run = begun(EVENTFUL);
    perform(&mut run, "promote", Fate::Stale);
    assert_eq!((state(&run, "promote").as_str(), view(&run).state), ("fenced", State::Paused));
    perform(&mut run, "prescale", Fate::Refused(Retry::Backoff));
    run.sleep(60 * SECOND);
    settle(&mut run);
    assert_eq!(state(&run, "prescale"), "backing_off", "nothing new begins");
}

#[test]
fn an_agent_that_never_answers_is_given_up_and_heard_if_it_answers_late() {
    let mut run = begun(EVENTFUL);
    let at = run.calls.iter().position(|call| call.stage == "promote").unwrap();
    let call = run.calls.remove(at);
    run.sleep(call.timeout + 4 * SECOND);
    settle(&mut run);
    assert_eq!(state(&run, "promote"), "running");
    run.sleep(2 * SECOND);
    settle(&mut run);
    assert_eq!(state(&run, "promote"), "looking", "given up, and looked after");
    let outcome = run.world.take(&call, Fate::Owes);
    // Only what can tell is of use now.
    let unknown = Outcome::Unknown { reason: "?".into() };
    assert_eq!(run.engine.outcome(&call, unknown), Heard::Late);
    assert_eq!(run.engine.outcome(&call, outcome.clone()), Heard::Taken);
    assert_eq!(run.engine.outcome(&call, outcome.clone()), Heard::Late, "once");
    settle(&mut run);
    assert_eq!(state(&run, "promote"), "applied");
    assert!(run.engine.owes("region-b"));
    run.calm();
    // Paid is paid, however often the answer comes again.
    assert_eq!(run.engine.outcome(&call, outcome), Heard::Late);
    settle(&mut run);
    assert!(!run.engine.owes("region-b"));
}

#[test]
fn what_a_late_answer_left_is_owed_although_the_stage_is_settled() {
    let mut run = begun(EVENTFUL);
    let at = run.calls.iter().position(|call| call.stage == "promote").unwrap();
    let call = run.calls.remove(at);
    run.sleep(call.timeout + 6 * SECOND);
    settle(&mut run);
    // The look finds it done, but cannot know what was left undone.
    let at = run.calls.iter().position(|call| call.stage == "promote").unwrap();
    run.world.apply(&call);
    run.perform(at, Fate::Honest);
    settle(&mut run);
    assert_eq!((state(&run, "promote").as_str(), run.engine.owes("region-b")), ("applied", false));
    let mut world = crate::world::World::default();
    let outcome = world.take(&call, Fate::Owes);
    assert_eq!(run.engine.outcome(&call, outcome.clone()), Heard::Late);
    assert_eq!(run.engine.outcome(&call, outcome), Heard::Late);
    settle(&mut run);
    assert_eq!(run.engine.obligations(run.now).count(), 1);
}

#[test]
fn a_demotion_that_reaches_nobody_is_deferred_after_ten_seconds() {
    let mut run = begun(EVENTFUL);
    let began = run.now.mono;
    while state(&run, "demote") != "deferred" {
        if let Some(call) = run.calls.iter().find(|call| call.stage == "demote") {
            let left = Duration::from_secs(10).saturating_sub(run.now.mono.since(began)).max(SECOND);
            assert!(call.timeout <= left, "a dead address does not use up more than its share");
            perform(&mut run, "demote", Fate::Unreachable);
        } else {
            run.sleep_till_woken();
            settle(&mut run);
        }
        assert!(run.now.mono.since(began) <= 11 * SECOND);
    }
    assert!(run.now.mono.since(began) >= 10 * SECOND);
    let owed: Vec<_> = run.engine.obligations(run.now).collect();
    assert_eq!((owed.len(), owed[0].region.as_str(), owed[0].stage.as_str()), (1, "region-b", "demote"));
    // Reached once, it gets all the time it is allowed.
    let mut run = begun(EVENTFUL);
    perform(&mut run, "demote", Fate::IdleUnknown);
    perform(&mut run, "demote", Fate::Honest);
    run.sleep(5 * SECOND);
    settle(&mut run);
    let call = run.calls.iter().find(|call| call.stage == "demote").unwrap();
    assert_eq!(call.timeout, 120 * SECOND);
}

#[test]
fn an_obligation_is_tried_until_it_is_paid_and_keeps_its_region_out() {
    let mut run = Run::new(5);
    let back = plan_to(EVENTFUL, "region-b");
    let forth = plan(EVENTFUL);
    run.start(&back, flip(1)).unwrap();
    settle(&mut run);
    while !run.engine.owes("region-a") {
        match run.calls.iter().position(|call| call.stage == "demote") {
            Some(at) => drop(run.perform(at, Fate::Unreachable)),
            None => run.sleep_till_woken(),
        }
        settle(&mut run);
    }
    for _ in 0..400 {
        settle(&mut run);
        let next = run.calls.iter().position(|call| !call.stage.contains("owed"));
        match next {
            Some(at) => drop(run.perform(at, Fate::Honest)),
            None if run.engine.is_empty() => break,
            None => run.sleep_till_woken(),
        }
    }
    let refusal = run.start(&forth, flip(2)).unwrap_err().to_string();
    assert!(refusal.starts_with("region-a still owes (obligation "), "{refusal}");
    // Dead for an hour, restarts included: ever later, but never later than a minute.
    let (mut tries, began) = (0, run.now.wall);
    let mut longest = Duration::ZERO;
    let mut last = run.now.mono;
    while run.now.wall.duration_since(began).as_secs() < 3600 {
        settle(&mut run);
        match run.calls.iter().position(|call| call.stage.contains("owed")) {
            Some(at) => {
                tries += 1;
                longest = longest.max(run.now.mono.since(last));
                last = run.now.mono;
                run.perform(at, Fate::Unreachable);
                if tries % 20 == 0 {
                    settle(&mut run);
                    run.crash(0, |_| Fate::Honest);
                    last = run.now.mono;
                }
            }
            None => run.sleep_till_woken(),
        }
    }
    assert!((60..400).contains(&tries), "{tries}");
    assert!(longest <= 60 * SECOND, "{longest:?}");
    let owed = run.engine.obligations(run.now).next().unwrap();
    assert_eq!((owed.attempts, owed.why.as_str()), (tries, "connection refused"));
    // What is read back at a restart does not grow with the tries.
    let open = run.journal.replay().iter().filter(|replayed| replayed.open).count();
    assert_eq!(open, 1);
    assert!(run.journal.replay().len() <= 8, "{}", run.journal.replay().len());
    // The region is back.
    settle(&mut run);
    run.engine.nudge("region-a");
    settle(&mut run);
    let at = run.calls.iter().position(|call| call.stage.contains("owed")).expect("tried at once");
    run.perform(at, Fate::Honest);
    settle(&mut run);
    assert!(!run.engine.owes("region-a"));
    assert!(run.start(&forth, flip(2)).is_ok());
}

#[test]
fn an_operator_may_write_an_obligation_off() {
    let mut run = begun(EVENTFUL);
    perform(&mut run, "promote", Fate::Owes);
    let id = run.engine.obligations(run.now).next().unwrap().id;
    let of = Subject::Obligation(id);
    let refusal = refused(&mut run, of.clone(), Word::Applied);
    assert!(refusal.contains("is being tried right now"), "{refusal}");
    let stage = format!("promote/owed-{id}");
    perform(&mut run, &stage, Fate::Unreachable);
    assert!(refused(&mut run, of.clone(), Word::Skip).contains("takes `retry` or `resolve applied`"));
    say(&mut run, of.clone(), Word::Applied);
    assert!(!run.engine.owes("region-b"));
    assert_eq!(refused(&mut run, of, Word::Retry), format!("there is no obligation {id}"));
    assert_eq!(
        refused(&mut run, Subject::Obligation(ObligationId(77)), Word::Retry),
        "there is no obligation 77"
    );
}

#[test]
fn words_that_do_not_fit_are_refused_with_what_would() {
    let mut run = begun(EVENTFUL);
    let id = view(&run).id;
    let unknown = Subject::Execution(pointsman::workflow::ExecutionId("eventful-7-xxxx".into()));
    assert!(refused(&mut run, unknown, Word::Pause).contains("there is no execution `eventful-7-xxxx`"));
    let nowhere = Subject::Stage { execution: id.clone(), stage: "promot".into() };
    assert!(refused(&mut run, nowhere, Word::Skip).contains("has no stage `promot`, only prescale, demote"));
    let running = of(&run, "promote");
    assert_eq!(
        refused(&mut run, running.clone(), Word::Retry),
        "stage `promote` is running: there is nothing to retry"
    );
    assert!(refused(&mut run, running, Word::Pause).contains("said to an execution"));
    let of_whole = whole(&run);
    assert!(refused(&mut run, of_whole, Word::Approve).contains("said to a stage"));
    // Two words at once: the second is judged by what the first has made of it.
    let dial = of(&run, "dial");
    let first = run.order(dial.clone(), Word::Skip).unwrap();
    let second = run.order(dial, Word::Skip).unwrap();
    settle(&mut run);
    assert_eq!(run.refused.len(), 1);
    assert!(first < second && run.refused[0].0 == second);
    assert!(run.refused[0].1.to_string().contains("is skipped"), "{:?}", run.refused);
}

#[test]
fn executions_are_found_by_what_people_type() {
    let mut run = begun(EVENTFUL);
    let id = view(&run).id;
    for name in ["eventful", "eventful-0", id.0.as_str()] {
        assert_eq!(run.engine.execution(name, run.now).map(|view| view.id), Some(id.clone()), "{name}");
    }
    assert!(run.engine.execution("event", run.now).is_none());
    run.calm();
    assert_eq!(run.engine.execution("eventful-0", run.now).unwrap().state, State::Succeeded);
}

#[test]
fn a_journal_that_cannot_be_is_refused_with_its_index() {
    let mut run = begun(APART);
    run.calm();
    let replay = |skip: usize| -> Vec<_> {
        let records = run.journal.records.iter().enumerate().filter(|(n, _)| *n != skip);
        records
            .map(|(_, (stamp, record, _))| pointsman::workflow::Replayed {
                stamp: *stamp,
                record: record.clone(),
                open: true,
            })
            .collect()
    };
    assert!(Engine::restore(2, [], replay(usize::MAX), run.now.mono).is_ok());
    for (gone, named) in [(0, 1), (1, 3)] {
        let fault = Engine::restore(2, [], replay(gone), run.now.mono).unwrap_err();
        assert_eq!(fault.index, named, "{fault}");
    }
    let fault = Engine::restore(1, [], replay(usize::MAX), run.now.mono).unwrap_err();
    assert!(fault.to_string().contains("it is of epoch 1, and this process is 1"), "{fault}");
}

/// The engine's share of "5 000 executions on one flip admitted within 5 s".
#[test]
fn thousands_of_executions_are_admitted_within_seconds() {
    let mut run = Run::new(5);
    let one = plan(APART);
    let plans: Vec<Plan> = (0..5000)
        .map(|n| {
            let mut plan = one.clone();
            plan.workflow = format!("w{n}");
            plan.stages.truncate(2);
            plan
        })
        .collect();
    let began = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    for plan in &plans {
        run.start(plan, flip(1)).unwrap();
    }
    let (mut index, mut calls, mut batches) = (0, 0, 0);
    while calls < 10_000 {
        let mut batch = None;
        for step in run.engine.advance(run.now, &run.gate, &mut run.rng) {
            match step {
                Step::Append(entries) => batch = Some(entries.len() as u64),
                Step::Perform(_) => calls += 1,
                Step::Refuse(..) => panic!("nothing is refused"),
            }
        }
        if let Some(len) = batch {
            run.engine.stored(index, run.now.mono).unwrap();
            (index, batches) = (index + len, batches + 1);
        }
    }
    let took = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() - began;
    assert!(took < Duration::from_secs(10), "{took:?} without optimisation");
    assert!(batches < 30, "{batches} syncs");
}
