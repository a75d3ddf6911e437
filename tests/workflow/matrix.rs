//! One eventful execution, killed at every point, and at every pair of points.

use std::sync::LazyLock;
use std::time::Duration;

use pointsman::workflow::{Act, Call, Intent, Plan, Record, Retry, State, Subject, Word};

use crate::flows::{EVENTFUL, flip, plan};
use crate::run::Run;
use crate::world::{AFTER, Fate};

/// How the eventful world takes each call: by stage and by how often it was asked.
fn fate(call: &Call, region_is_back: bool) -> Fate {
    match (call.stage.as_str(), call.act, call.attempt) {
        ("prescale", Act::Apply, 1) => Fate::Refused(Retry::Backoff),
        ("prescale", Act::Apply, 2) => Fate::Refused(AFTER),
        ("demote", ..) if !region_is_back => Fate::Unreachable,
        (stage, ..) if stage.starts_with("demote/owed-") && !region_is_back => Fate::Unreachable,
        ("promote", Act::Apply, _) if !call.approved => Fate::Asks,
        ("promote", Act::Apply, _) => Fate::Owes,
        // A look from here cannot tell at first.
        ("promote", Act::Observe, 2) => Fate::IdleUnknown,
        ("warm", Act::Apply, 1) => Fate::IdleUnknown,
        ("warm", Act::Apply, 2) => Fate::DoneUnknown,
        ("flush", Act::Apply, 1) => Fate::DoneUnknown,
        ("dial", Act::Apply, 1) => Fate::Unreachable,
        ("tell", Act::Apply, 1) => Fate::DoneUnknown,
        _ => Fate::Honest,
    }
}

/// Where the process is killed: after so many points, and how.
#[derive(Clone, Copy, Debug)]
struct Kill {
    after: usize,
    /// Of the calls under way, so many still reach their target.
    landing: usize,
}

struct Killed;

/// Counts the points at which a process can be killed.
struct Fuse {
    kills: Vec<Kill>,
    passed: usize,
}

impl Fuse {
    fn point(&mut self) -> Result<(), Killed> {
        self.passed += 1;
        match self.kills.first() {
            Some(kill) if self.passed > kill.after => Err(Killed),
            _ => Ok(()),
        }
    }
}

/// Runs until everything is over, and tells how many points there were.
fn run(kills: &[Kill]) -> (Run, usize) {
    let mut run = Run::new(7);
    run.thorough = kills.len() < 2 && kills.iter().all(|kill| kill.landing == 1);
    let mut fuse = Fuse { kills: kills.to_vec(), passed: 0 };
    static PLAN: LazyLock<Plan> = LazyLock::new(|| plan(EVENTFUL));
    let mut idle = 0;
    for _ in 0..4000 {
        match turn(&mut run, &mut fuse, &PLAN, &mut idle) {
            Ok(true) => return (run, fuse.passed),
            Ok(false) => {}
            Err(Killed) => {
                let kill = fuse.kills.remove(0);
                fuse.passed = 0;
                run.crash(kill.landing, |call| fate(call, false));
            }
        }
    }
    let views: Vec<_> = run.engine.executions(run.now).collect();
    panic!("it never ends: {kills:?} {views:#?}");
}

/// One turn of the owner's loop; tells whether everything is over.
fn turn(run: &mut Run, fuse: &mut Fuse, plan: &Plan, idle: &mut u32) -> Result<bool, Killed> {
    fuse.point()?;
    // The owner offers the flip for as long as it stands.
    let begun = run.engine.ran(&plan.workflow, "region-b").is_some();
    assert!(run.start(plan, flip(4)).is_err() || !begun, "S2: once for each flip");
    run.advance();
    if run.batch.is_some() {
        fuse.point()?;
        let first = run.commit().unwrap();
        fuse.point()?;
        run.acknowledge(first);
    } else if !run.calls.is_empty() {
        fuse.point()?;
        let region_is_back = run.engine.is_empty();
        let call = run.calls.remove(0);
        let outcome = run.world.take(&call, fate(&call, region_is_back));
        fuse.point()?;
        run.answer(call, outcome);
    } else if run.engine.is_empty() && run.engine.obligations(run.now).next().is_none() {
        return Ok(true);
    } else if let Some((of, decision)) = run.decisions().into_iter().next() {
        let word = run.wise_word(&of, &decision);
        run.order(of, word).unwrap();
    } else {
        *idle += 1;
        assert!(*idle < 500, "it only waits");
        run.sleep_till_woken();
    }
    Ok(false)
}

fn check(run: &Run, kills: &[Kill]) {
    assert_eq!(run.auditor.settled, 1, "S2, S3: one execution, whatever happens: {kills:?}");
    run.check_ends();
    let view = run.engine.settled().next().unwrap();
    assert_eq!(view.state, State::SucceededWithExceptions, "{kills:?} {view:#?}");
    assert_eq!(view.why.as_deref(), Some("`demote` deferred"), "{kills:?}");
    for stage in ["prescale", "promote", "warm", "flush", "dial", "tell"] {
        assert!(run.world.has(&view.id.0, stage), "{stage} was never done: {kills:?}");
    }
    for once in ["promote", "warm", "flush", "dial"] {
        assert_eq!(run.world.done[&format!("{}/{once}", view.id)], 1, "{once}: {kills:?}");
    }
    let position = |stage: &str| run.world.order.iter().position(|done| done == stage).unwrap();
    for (before, after) in [("promote", "warm"), ("warm", "dial"), ("prescale", "dial"), ("dial", "tell")] {
        assert!(position(before) < position(after), "{before} before {after}: {kills:?}");
    }
    // What the dead region owed was paid when it came back.
    assert!(run.world.order.iter().any(|stage| stage.starts_with("demote/owed-")), "{kills:?}");
    assert!(run.world.order.iter().any(|stage| stage.starts_with("promote/owed-")), "{kills:?}");
}

#[test]
fn undisturbed_it_ends_with_one_exception() {
    let (run, points) = run(&[]);
    check(&run, &[]);
    assert!(points > 100, "{points}: eventful enough");
    // Without a kill nothing is done twice but what was told to be unknown.
    let twice: Vec<_> = run.world.done.iter().filter(|(_, times)| **times > 1).collect();
    assert_eq!(twice.len(), 1, "{twice:?}");
    assert!(twice[0].0.ends_with("/tell"));
}

#[test]
fn killed_at_every_point_it_ends_the_same() {
    let (_, points) = run(&[]);
    for after in 0..points {
        for landing in [0, 1, usize::MAX] {
            let kills = [Kill { after, landing }];
            let (run, _) = run(&kills);
            check(&run, &kills);
        }
    }
}

#[test]
fn killed_again_while_it_recovers_it_ends_the_same() {
    let (_, points) = run(&[]);
    for after in (0..points).step_by(4) {
        for again in 0..14 {
            for landing in [0, usize::MAX] {
                let kills = [Kill { after, landing }, Kill { after: again, landing }];
                let (run, _) = run(&kills);
                check(&run, &kills);
            }
        }
    }
}

#[test]
fn killed_at_every_point_with_nobody_there_it_waits_with_a_reason() {
    let (_, points) = run(&[]);
    for after in 0..points {
        let mut run = Run::new(7);
        let mut fuse = Fuse { kills: vec![Kill { after, landing: usize::MAX }], passed: 0 };
        let plan = plan(EVENTFUL);
        let _ = run.start(&plan, flip(4));
        let (mut idle, mut quiet) = (0, false);
        for _ in 0..1500 {
            if !run.decisions().is_empty() && run.batch.is_none() && run.calls.is_empty() {
                run.advance();
                if run.batch.is_none() && run.calls.is_empty() {
                    quiet = true;
                    break;
                }
            }
            // `turn` would speak for the operator; here nobody does.
            match silent_turn(&mut run, &mut fuse, &plan, &mut idle) {
                Ok(()) => {}
                Err(Killed) => {
                    fuse.kills.clear();
                    run.crash(usize::MAX, |call| fate(call, false));
                }
            }
        }
        assert!(quiet, "killed after {after}: it neither ends nor waits");
        for (_, decision) in run.decisions() {
            assert!(!decision.what.is_empty() && decision.choices.contains(&Word::Cancel), "{decision:?}");
        }
        let view = run.engine.executions(run.now).next().unwrap();
        assert_eq!(view.state, State::Paused);
        assert!(view.why.is_some(), "{view:?}");
        // Whenever somebody comes back, it goes on.
        run.calm();
        run.check_ends();
    }
}

fn silent_turn(run: &mut Run, fuse: &mut Fuse, plan: &Plan, idle: &mut u32) -> Result<(), Killed> {
    fuse.point()?;
    if run.engine.ran(&plan.workflow, "region-b").is_none() {
        let _ = run.start(plan, flip(4));
    }
    run.advance();
    if run.batch.is_some() {
        fuse.point()?;
        let first = run.commit().unwrap();
        fuse.point()?;
        run.acknowledge(first);
    } else if !run.calls.is_empty() {
        fuse.point()?;
        let call = run.calls.remove(0);
        let outcome = run.world.take(&call, fate(&call, false));
        fuse.point()?;
        run.answer(call, outcome);
    } else if run.engine.wake().is_some() && *idle < 100 {
        *idle += 1;
        run.sleep_till_woken();
    }
    Ok(())
}

#[test]
fn a_backoff_is_waited_in_full_after_a_restart_and_never_cut_short() {
    let mut run = Run::new(3);
    let plan = plan(EVENTFUL);
    run.start(&plan, flip(4)).unwrap();
    let prescales = |record: &Record| matches!(record, Record::Intent(Intent { of: Subject::Stage { stage, .. }, .. }) if stage == "prescale");
    let asked = |run: &Run| run.journal.records.iter().filter(|(_, record, _)| prescales(record)).count();
    while asked(&run) < 1 || !run.calls.iter().any(|call| call.stage == "prescale") {
        run.advance();
        run.stored();
    }
    let at = run.calls.iter().position(|call| call.stage == "prescale").unwrap();
    run.perform(at, Fate::Refused(AFTER));
    run.advance();
    run.stored();
    // Almost over …
    run.sleep(Duration::from_millis(6900));
    run.crash(0, |_| Fate::Honest);
    run.advance();
    run.stored();
    let before = asked(&run);
    // … and all of it again.
    run.sleep(Duration::from_millis(6900));
    run.advance();
    run.stored();
    assert_eq!(asked(&run), before, "not before the full wait is over");
    run.sleep(Duration::from_millis(200));
    run.advance();
    run.stored();
    assert_eq!(asked(&run), before + 1);
}
