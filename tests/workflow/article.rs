//! The article's file runs unchanged, in its order, also when it is killed at any point.

use pointsman::workflow::State;

use crate::flows::{flip, plan};
use crate::run::Run;
use crate::world::Fate;

const ARTICLE: &str = include_str!("article.yaml");

#[test]
fn runs_in_the_order_of_the_file() {
    let plan = plan(ARTICLE);
    let mut run = Run::new(1);
    run.start(&plan, flip(1)).unwrap();
    run.calm();
    assert_eq!(run.world.order, ["prescale", "promote-database", "demote-database", "dial"]);
    assert_eq!(run.engine.settled().next().unwrap().state, State::Succeeded);
}

#[test]
fn the_dead_region_delays_it_by_ten_seconds_and_is_owed() {
    let plan = plan(ARTICLE);
    let mut run = Run::new(1);
    run.start(&plan, flip(1)).unwrap();
    let began = run.now;
    for _ in 0..200 {
        run.advance();
        if run.batch.is_some() {
            run.stored();
        } else if let Some(call) = run.calls.first() {
            let fate = if call.stage.starts_with("demote") { Fate::Unreachable } else { Fate::Honest };
            run.perform(0, fate);
        } else if run.engine.is_empty() {
            break;
        } else {
            run.sleep_till_woken();
        }
    }
    let view = run.engine.settled().next().expect("it has ended").clone();
    assert_eq!(view.state, State::SucceededWithExceptions);
    assert_eq!(run.world.order, ["prescale", "promote-database", "dial"]);
    let took = run.now.mono.since(began.mono);
    assert!((10..11).contains(&took.as_secs()), "{took:?}");
    assert!(run.engine.owes("region-b"));
    // Until it is paid, nothing moves there.
    run.start(&plan, flip(2)).unwrap(); // region-b is left again, not moved to
    run.calm();
    assert!(!run.engine.owes("region-b"));
    assert!(run.world.order.iter().any(|stage| stage.starts_with("demote-database/owed-")));
}

#[test]
fn a_stage_that_fails_stops_it_there() {
    let plan = plan(ARTICLE);
    let mut run = Run::new(1);
    run.start(&plan, flip(1)).unwrap();
    for _ in 0..200 {
        run.advance();
        if run.batch.is_some() {
            run.stored();
        } else if let Some(call) = run.calls.first() {
            let never = pointsman::workflow::Retry::Never;
            let fate = if call.stage.starts_with("promote") { Fate::Refused(never) } else { Fate::Honest };
            run.perform(0, fate);
        } else if run.engine.is_empty() {
            break;
        } else {
            run.sleep_till_woken();
        }
    }
    let view = run.engine.settled().next().unwrap();
    assert_eq!(
        (view.state, view.why.as_deref()),
        (State::Failed, Some("stage `promote-database` failed: not now"))
    );
    assert_eq!(run.world.order, ["prescale"], "the dial was not reached");
}
