//! Engine and store together, in a process that is killed (`kill -9`) again and again. Its
//! targets are lines in a file, so they remember what was really done.

#![allow(clippy::disallowed_methods, reason = "processes are killed on real time")]

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

use pointsman::base::{Mono, Now, Timestamp};
use pointsman::store::{Batch, Event, Opened, Reader, Store, marks, workflow_records};
use pointsman::workflow::{
    Act, Call, Engine, ExecutionView, Gate, Outcome, Record, Recovery, Retry, State, Step, Subject, Word,
    recovery,
};

use crate::auditor::Auditor;
use crate::flows::{by, flip, plan};
use crate::times::times;

const DIRECTORY: &str = "POINTSMAN_TEST_ENGINE";
const EXECUTIONS: u32 = 6;
const KILLS_MAX: u32 = 60;

const FLOW: &str = r#"
version: 1
name: brisk
defaults: {retry: {max_attempts: 9, initial_interval: 100ms, max_interval: 100ms}}
stages:
  prescale: {agent: capacity, needs: []}
  promote: {agent: database, needs: [], spec: {cluster: petstore, role: writer}}
  flush: {agent: exec, needs: [promote], spec: {command: [flush]}}
  warm: {agent: exec, needs: [promote], spec: {command: [warm], observe: [is-warm]}}
  dial: {agent: dial, needs: [prescale, warm, flush], spec: {service: petstore}}
  demote: {agent: database, needs: [dial], spec: {cluster: petstore, role: reader}}
  tell: {agent: notify, needs: [demote], spec: {channel: on-call, message: done}}
"#;

/// A target's own memory: one line for each time that something was done.
struct Log(PathBuf);

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn add(&self, line: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.0).unwrap();
        // One write: a kill leaves all of it or nothing.
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// The child: not a test of its own. Runs until its execution is over.
#[test]
fn runs_until_it_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let directory = PathBuf::from(directory);
    let log = Log(directory.join("targets"));
    let mut rng = fastrand::Rng::new();
    let started = SystemTime::now();
    let now = || Now {
        mono: Mono(started.elapsed().unwrap()),
        wall: Timestamp::try_from(SystemTime::now()).unwrap(),
    };
    let (sender, events) = channel();
    let Opened { mut store, replay, state } =
        Store::open(&directory, move |event| drop(sender.send(event))).unwrap();
    let state = state.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let records = workflow_records(&replay).unwrap();
    let mut engine = Engine::restore(store.epoch(), marks(state), records, now().mono).unwrap();
    let plan = plan(FLOW);
    let gate = Gate::Open;
    for _ in 0..10_000 {
        let _ = engine.start(plan.clone(), flip(1), &gate, &mut rng);
        let steps = engine.advance(now(), &gate, &mut rng);
        if steps.is_empty() {
            let views: Vec<_> = engine.executions(now()).collect();
            if views.is_empty() {
                return;
            }
            match views.iter().find_map(|view| Some((view, view.decisions.first()?))) {
                Some((view, decision)) => {
                    let stage = decision.stage.clone().unwrap();
                    let done = log.lines().contains(&format!("{}/{stage}", view.id));
                    let word = if done { Word::Applied } else { Word::NotApplied };
                    let of = Subject::Stage { execution: view.id.clone(), stage };
                    engine.order(of, word, by("I looked")).unwrap();
                }
                None => std::thread::sleep(Duration::from_millis(3)),
            }
            continue;
        }
        for step in steps {
            match step {
                Step::Append(entries) => {
                    let mut batch = Batch::default();
                    batch.workflow(entries);
                    store.append(batch).unwrap();
                    match events.recv().unwrap() {
                        Event::Stored { first, .. } => drop(engine.stored(first, now().mono).unwrap()),
                        other => panic!("{other:?}"),
                    }
                }
                Step::Perform(call) => {
                    let outcome = perform(&log, &call, &mut rng);
                    engine.outcome(&call, outcome);
                }
                Step::Refuse(..) => {}
            }
        }
    }
    panic!("it never ends");
}

fn perform(log: &Log, call: &Call, rng: &mut fastrand::Rng) -> Outcome {
    let key = call.idempotency_key();
    let pause = |rng: &mut fastrand::Rng| std::thread::sleep(Duration::from_micros(rng.u64(..1500)));
    let applied =
        || Outcome::Applied { detail: call.token.to_string(), outputs: BTreeMap::new(), owed: None };
    pause(rng);
    if call.act == Act::Observe {
        let done = log.lines().contains(&key);
        return if done {
            applied()
        } else {
            Outcome::NotApplied { reason: "not there".into(), retry: Retry::Backoff }
        };
    }
    if rng.u8(..6) == 0 {
        return Outcome::NotApplied { reason: "not now".into(), retry: Retry::Backoff };
    }
    log.add(&key);
    pause(rng);
    if rng.u8(..6) == 0 {
        return Outcome::Unknown { reason: "no answer in time".into() };
    }
    applied()
}

struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn killed_at_any_instant_it_ends_and_nothing_is_done_twice() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut kills = 0;
    for round in 0..times(EXECUTIONS) {
        let name = format!("pointsman-engine-{}-{round}", std::process::id());
        let scratch = Scratch(std::env::temp_dir().join(name));
        let mut over = false;
        for _ in 0..KILLS_MAX {
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "killed::runs_until_it_is_killed", "--nocapture", "--test-threads=1"])
                .env(DIRECTORY, &scratch.0)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut child = Child(child);
            // Long enough to get on, too short to get through; in the end it may.
            let patience = Duration::from_micros(rng.u64(20_000..160_000)) * (1 + kills / 40);
            let since = SystemTime::now();
            while since.elapsed().unwrap() < patience && !over {
                if let Some(status) = child.0.try_wait().unwrap() {
                    assert!(status.success(), "round {round}: the child failed");
                    over = true;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            drop(child);
            if over {
                break;
            }
            kills += 1;
        }
        if !over {
            // Nobody kills it any more.
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "killed::runs_until_it_is_killed", "--nocapture", "--test-threads=1"])
                .env(DIRECTORY, &scratch.0)
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert!(status.success(), "round {round}: the child failed");
        }
        check(&scratch.0, round);
    }
    assert!(kills >= EXECUTIONS, "{kills} kills: too few to mean anything");
}

fn check(directory: &Path, round: u32) {
    let reader = Reader::open(directory).unwrap();
    reader.verify().unwrap();
    let mut auditor = Auditor::default();
    let mut last: Option<ExecutionView> = None;
    for record in reader.records(0, usize::MAX).unwrap() {
        let stamp = pointsman::workflow::Stamp {
            token: pointsman::workflow::Token { epoch: record.epoch, index: record.index },
            at: record.at,
        };
        let record = Record::read(&record.kind, &record.body).unwrap().unwrap();
        auditor.record(stamp, &record);
        if let Record::Settled(view) = record {
            last = Some(*view);
        }
    }
    let view = last.unwrap_or_else(|| panic!("round {round}: it never ended"));
    assert_eq!(auditor.settled, 1, "round {round}");
    assert_eq!(view.state, State::Succeeded, "round {round}: {view:#?}");
    let done = Log(directory.join("targets")).lines();
    let key = |stage: &str| format!("{}/{stage}", view.id);
    for stage in plan(FLOW).stages {
        let times = done.iter().filter(|line| **line == key(&stage.name)).count();
        let redo = matches!(recovery(&stage.op), Recovery::Redo | Recovery::LookThenRedo);
        assert!(times == 1 || (times > 1 && redo), "round {round}: `{}` was done {times} times", stage.name);
    }
    let first = |stage: &str| done.iter().position(|line| *line == key(stage)).unwrap();
    let last = |stage: &str| done.iter().rposition(|line| *line == key(stage)).unwrap();
    for (before, after) in
        [("promote", "flush"), ("warm", "dial"), ("prescale", "dial"), ("dial", "demote"), ("demote", "tell")]
    {
        assert!(last(before) < first(after), "round {round}: {before} before {after}: {done:?}");
    }
}
