//! Moves the clock from event to event, and writes down what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::scenario::{Act, Scenario};
use super::world::{World, show};
use crate::base::{CheckId, GroupId, Mono, Now, Timestamp};
use crate::decide::{Daemon, Event, Order, Restored, Said, Setup, What, Write};
use crate::region::OverrideKind;
use crate::workflow::{
    Call, Engine, Entry, Mark, ObligationId, Outcome, Record, Replayed, Stamp, Subject, Thread, Token, Word,
};

/// What a sync of the store takes.
const SYNC_TAKES: Duration = Duration::from_millis(5);
/// Virtual seconds between looks, as the daemon's own tick.
const TICK: Duration = Duration::from_secs(1);
/// Events of one run; more, and it runs in circles.
const EVENTS_MAX: usize = 2_000_000;

/// Reads a configuration that a script reloads, by the path that the script gives it.
pub type Load<'a> = &'a dyn Fn(&Path) -> Result<Arc<Setup>, String>;

/// Runs a scenario; the trace of what happened, line by line. `load`: what it reloads.
///
/// # Errors
/// What in the script makes no sense.
pub fn run(scenario: &Scenario, setup: &Arc<Setup>, load: Load<'_>) -> Result<String, String> {
    let mut run = Run::new(scenario, setup, load);
    run.go()?;
    Ok(run.trace)
}

/// What is due at some moment.
#[derive(Debug)]
enum Due {
    Script(usize),
    Probe(CheckId),
    Round(GroupId),
    Outcome(Box<Call>, Box<Outcome>),
    Stored(Write),
    /// The daemon's own tick, again and again.
    Tick,
    /// The daemon asked to be woken.
    Wake,
}

/// What the store has kept.
#[derive(Default)]
struct Kept {
    entries: Vec<(Token, Entry)>,
    state: BTreeMap<String, serde_json::Value>,
    epoch: u64,
    fails: Option<String>,
}

struct Run<'a> {
    scenario: &'a Scenario,
    load: Load<'a>,
    setup: Arc<Setup>,
    world: World,
    kept: Kept,
    daemon: Daemon,
    /// Everything that is due, by time and then in the order it was planned.
    queue: BTreeMap<(Mono, u64), Due>,
    planned: u64,
    now: Now,
    trace: String,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, setup: &Arc<Setup>, load: Load<'a>) -> Self {
        let now = Now { mono: Mono::default(), wall: Timestamp::UNIX_EPOCH };
        let mut kept = Kept::default();
        let daemon = begin(setup, &mut kept, now);
        Self {
            scenario,
            load,
            setup: Arc::clone(setup),
            world: World::default(),
            kept,
            daemon,
            queue: BTreeMap::new(),
            planned: 0,
            now,
            trace: String::new(),
        }
    }

    fn go(&mut self) -> Result<(), String> {
        for (position, act) in self.scenario.script.iter().enumerate() {
            self.plan(Mono(act.value.at.0), Due::Script(position));
        }
        self.probe_everything();
        // As the daemon does: a result that changes nothing waits for the next tick.
        let mut decides = true;
        for _ in 0..EVENTS_MAX {
            let Some((&(at, order), _)) = self.queue.first_key_value() else { break };
            if at.0 > self.scenario.until.0 {
                break;
            }
            let due = self.queue.remove(&(at, order)).expect("it was just seen");
            self.now = self.now.after(at.since(self.now.mono));
            decides |= !matches!(due, Due::Probe(_));
            self.take(due)?;
            decides |= self.daemon.has_news();
            // What else is due at this very moment comes in before anything is decided.
            let more = self.queue.first_key_value().is_some_and(|(&(next, _), _)| next == at);
            if !more && std::mem::take(&mut decides) {
                self.decide();
            }
        }
        for key in self.world.applied_twice() {
            let _ = writeln!(self.trace, "VIOLATION: {key} was applied more than once");
        }
        Ok(())
    }

    fn plan(&mut self, at: Mono, due: Due) {
        self.planned += 1;
        self.queue.insert((at, self.planned), due);
    }

    fn probe_everything(&mut self) {
        let config = Arc::clone(&self.setup.config);
        for check in config.checks.ids() {
            if !matches!(config.checks[check].kind, crate::config::CheckKind::Cluster(_)) {
                self.plan(self.now.mono, Due::Probe(check));
            }
        }
        for group in config.groups.ids() {
            self.plan(self.now.mono, Due::Round(group));
        }
        self.plan(self.now.mono + TICK, Due::Tick);
    }

    fn take(&mut self, due: Due) -> Result<(), String> {
        let config = Arc::clone(&self.setup.config);
        match due {
            Due::Script(position) => {
                let act = &self.scenario.script[position];
                self.act(&act.value).map_err(|why| format!("{}: {why}", act.place))?;
            }
            Due::Probe(check) => {
                let sample = self.world.sample(&config, check);
                self.daemon.sample(&sample, self.now);
                self.plan(self.now.mono + config.checks[check].schedule.interval, Due::Probe(check));
            }
            Due::Round(group) => {
                let round = self.world.round(&config, group, self.now.mono);
                self.daemon.round(&round, self.now);
                let cluster = &config.clusters[config.groups[group].cluster];
                self.plan(self.now.mono + cluster.schedule.interval, Due::Round(group));
            }
            Due::Outcome(call, outcome) => {
                self.line("outcome", &format!("{}: {}", call.stage, outcome_words(&outcome)));
                self.daemon.outcome(&call, *outcome);
            }
            Due::Stored(write) => self.store(write),
            Due::Tick => self.plan(self.now.mono + TICK, Due::Tick),
            Due::Wake => {}
        }
        Ok(())
    }

    fn decide(&mut self) {
        let effects = self.daemon.conclude(self.now);
        for call in effects.calls {
            let what = match call.act {
                crate::workflow::Act::Apply => "call",
                crate::workflow::Act::Observe => "look",
            };
            let approved = if call.approved { ", approved" } else { "" };
            self.line(
                what,
                &format!("{} ({}), attempt {}{approved}", call.stage, call.op.agent(), call.attempt),
            );
            if let Some((takes, outcome)) = self.world.call(&call) {
                self.plan(self.now.mono + takes, Due::Outcome(Box::new(call), Box::new(outcome)));
            }
        }
        let aftermath = self.daemon.aftermath(self.now);
        for event in aftermath.events {
            if let Some((what, words)) = event_words(&event) {
                self.line(what, &words);
            }
        }
        for (_, reply) in aftermath.replies {
            match reply {
                Ok(words) => self.line("reply", &words),
                Err(why) => self.line("refused", &why),
            }
        }
        if let Some(write) = aftermath.write {
            self.plan(self.now.mono + SYNC_TAKES, Due::Stored(write));
        }
        if let Some(wake) = aftermath.wake {
            let at = wake.max(self.now.mono + Duration::from_millis(1));
            let planned = self.queue.range((at, 0)..).next().is_some_and(|((next, _), _)| *next == at);
            if !planned {
                self.plan(at, Due::Wake);
            }
        }
    }

    fn store(&mut self, write: Write) {
        if let Some(why) = self.kept.fails.clone() {
            self.daemon.store_failed(&why, self.now);
            return;
        }
        let first = self.kept.entries.len() as u64 + 1;
        for (offset, entry) in (0..).zip(write.entries) {
            if entry.kind.starts_with("workflow.settled") {
                let id = serde_json::from_str::<serde_json::Value>(&entry.body).unwrap_or_default();
                let word = |key: &str| id[key].as_str().unwrap_or_default().to_owned();
                self.line("over", &format!("{} {}", word("workflow"), word("state")));
            }
            self.kept.entries.push((Token { epoch: self.kept.epoch, index: first + offset }, entry));
        }
        for (key, value) in write.state {
            match value {
                Some(value) => drop(self.kept.state.insert(key, value)),
                None => drop(self.kept.state.remove(&key)),
            }
        }
        self.daemon.stored(first, self.now);
    }

    fn act(&mut self, act: &Act) -> Result<(), String> {
        let config = Arc::clone(&self.setup.config);
        for (check, finds) in &act.checks {
            config.checks.id(check).ok_or_else(|| format!("there is no check `{check}`"))?;
            self.world.check(check, finds);
            self.line("world", &format!("{check} finds {finds}"));
        }
        for (group, letters) in &act.voters {
            config.groups.id(group).ok_or_else(|| format!("there is no group `{group}`"))?;
            self.world.group(group, letters);
            self.line("world", &format!("{group} is {letters}"));
        }
        for (stage, ends) in &act.agents {
            self.world.agent(stage, ends);
        }
        if let Some(why) = &act.store_fails {
            self.kept.fails = (!why.is_empty()).then(|| why.clone());
            self.line(
                "world",
                if why.is_empty() { "the store takes writes again" } else { "the store fails" },
            );
        }
        let offered = act.reload.as_ref().map(|path| (self.load)(path)).transpose()?;
        if act.restart {
            self.setup = offered.unwrap_or_else(|| Arc::clone(&self.setup));
            self.restart();
        } else if let (Some(setup), Some(path)) = (offered, &act.reload) {
            match self.daemon.stranded(&setup.config) {
                Some(why) => self.line("refused", &why),
                None => self.reload(setup, path),
            }
        }
        if let Some(order) = &act.order {
            self.line("order", order);
            let order = self.order(order)?;
            match self.daemon.order(order, self.now) {
                Ok(Said::Done { words, ticket }) => {
                    let said = self.daemon.answer(&words, ticket).unwrap_or(words);
                    self.line("reply", &said);
                }
                Ok(Said::Later(_)) => {}
                Err(why) => self.line("refused", &why),
            }
        }
        Ok(())
    }

    fn restart(&mut self) {
        self.line("world", "the process is killed and started again");
        self.queue.retain(|_, due| matches!(due, Due::Script(_)));
        self.daemon = begin(&self.setup, &mut self.kept, self.now);
        self.probe_everything();
    }

    fn reload(&mut self, setup: Arc<Setup>, path: &Path) {
        self.setup = setup;
        self.line("world", &format!("{} is taken over", path.display()));
        // Probes begin anew; what is with the store and with agents goes on.
        self.queue.retain(|_, due| !matches!(due, Due::Probe(_) | Due::Round(_) | Due::Tick));
        self.daemon.reconfigure(Arc::clone(&self.setup), String::new());
        // Whoever looks before the next round of checks must get an answer too.
        let _ = self.daemon.status(true, self.now);
        self.probe_everything();
    }

    /// An order, as on the command line.
    fn order(&self, text: &str) -> Result<Order, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let span = |text: &str| crate::base::parse_span(text);
        let expires = |text: &str| Ok::<_, String>(self.now.after(span(text)?).wall);
        let steer = |word: Word, of: Subject| What::Steer { of, word };
        let subject = |execution: &str, stage: Option<&&str>| -> Result<Subject, String> {
            if let Ok(number) = execution.parse() {
                return Ok(Subject::Obligation(ObligationId(number)));
            }
            let view = self.daemon.execution(execution, self.now);
            let execution = view.ok_or_else(|| format!("there is no execution of `{execution}`"))?.id;
            Ok(match stage {
                Some(stage) => Subject::Stage { execution, stage: (*stage).to_owned() },
                None => Subject::Execution(execution),
            })
        };
        let what = match words.as_slice() {
            [word @ ("drain" | "force" | "hold"), region, span, rest @ ..] => What::Override {
                region: (*region).to_owned(),
                kind: match *word {
                    "drain" => OverrideKind::Drain,
                    "force" => OverrideKind::Force,
                    _ => OverrideKind::Hold,
                },
                expires: expires(span)?,
                even_if_empty: rest.contains(&"--even-if-empty"),
            },
            ["release", region] => What::Release { region: (*region).to_owned() },
            ["dial", service, shares @ ..] => What::Dial {
                service: (*service).to_owned(),
                shares: shares
                    .iter()
                    .filter_map(|share| share.split_once('='))
                    .filter_map(|(region, share)| Some((region.to_owned(), share.parse().ok()?)))
                    .collect(),
            },
            ["automation", "off", span] => What::AutomationOff { expires: expires(span)? },
            ["automation", "on"] => What::AutomationOn,
            ["run", workflow, from, to @ ..] => What::Run {
                workflow: (*workflow).to_owned(),
                activate: to.first().map(|to| (*to).to_owned()),
                deactivate: (*from).to_owned(),
            },
            [word, execution, rest @ ..] => {
                let word = match *word {
                    "approve" => Word::Approve,
                    "decline" => Word::Decline,
                    "pause" => Word::Pause,
                    "resume" => Word::Resume,
                    "cancel" => Word::Cancel,
                    "retry" => Word::Retry,
                    "skip" => Word::Skip,
                    "applied" => Word::Applied,
                    "not-applied" => Word::NotApplied,
                    other => return Err(format!("`{other}` is not an order")),
                };
                steer(word, subject(execution, rest.first())?)
            }
            _ => return Err(format!("`{text}` is not an order")),
        };
        Ok(Order { owner: "alice".to_owned(), reason: "scenario".to_owned(), what })
    }

    fn line(&mut self, what: &str, words: &str) {
        let _ = writeln!(self.trace, "{:<10} {what:<8} {words}", show(self.now.mono));
    }
}

/// A daemon that goes on from what the store has kept.
fn begin(setup: &Arc<Setup>, kept: &mut Kept, now: Now) -> Daemon {
    kept.epoch += 1;
    let closed: BTreeSet<u64> = kept
        .entries
        .iter()
        .flat_map(|(_, entry)| &entry.threads)
        .filter_map(|thread| match thread {
            Thread::Closes(thread) | Thread::Ends(thread) => Some(*thread),
            _ => None,
        })
        .collect();
    let marks = kept.entries.iter().filter_map(|(_, entry)| entry.mark.clone());
    let marks: Vec<Mark> = marks.collect();
    let records = kept.entries.iter().filter_map(|(token, entry)| {
        let record = Record::read(entry.kind, &entry.body)?.expect("we wrote it ourselves");
        let threads: Vec<u64> = entry
            .threads
            .iter()
            .filter_map(|thread| match thread {
                Thread::Continues(thread) | Thread::Replaces(thread) | Thread::Ends(thread) => Some(*thread),
                Thread::Opens | Thread::Closes(_) => None,
            })
            .collect();
        // Of a closed thread only the last record counts.
        let open = !closed.contains(&token.index);
        let opens = entry.threads.contains(&Thread::Opens);
        let closes = entry.threads.iter().any(|thread| matches!(thread, Thread::Closes(_)));
        let needed = closes || (opens && open) || threads.iter().any(|thread| !closed.contains(thread));
        needed.then_some(Replayed { stamp: Stamp { token: *token, at: entry.at }, record, open })
    });
    let engine = Engine::restore(kept.epoch, marks, records, now.mono).expect("what we wrote makes sense");
    let restored =
        Restored { epoch: kept.epoch, head: kept.entries.len() as u64, state: kept.state.clone(), engine };
    Daemon::new(Arc::clone(setup), restored, None, fastrand::Rng::with_seed(kept.epoch))
}

fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Applied { detail, .. } => format!("applied, {detail}"),
        Outcome::NotApplied { reason, .. } => format!("not applied, {reason}"),
        Outcome::Unreachable { reason } => format!("unreachable, {reason}"),
        Outcome::Unknown { reason } => format!("unknown, {reason}"),
        Outcome::Stale { reason } => format!("stale, {reason}"),
        Outcome::Ask { question } => format!("asks: {question}"),
    }
}

/// The events that a trace shows.
fn region_words(regions: &[(String, Option<u32>)]) -> String {
    let words = regions.iter().map(|(region, share)| match share {
        Some(share) if regions.len() > 1 => format!("{region} {share}"),
        _ => region.clone(),
    });
    words.collect::<Vec<_>>().join(" + ")
}

fn event_words(event: &Event) -> Option<(&'static str, String)> {
    Some(match event {
        Event::Flip { region, from, to, generation, why } => {
            ("flip", format!("{region} {from} -> {to} (generation {generation}): {why}"))
        }
        Event::Blind { blind: true, words } => ("blind", words.clone()),
        Event::Blind { blind: false, words } => ("sighted", words.clone()),
        Event::Place { service, region, from, to, why } => {
            ("place", format!("{service} in {region} {from} -> {to}: {why}"))
        }
        Event::Duty { region, from, to } => ("duty", format!("{region} {} -> {}", from.word(), to.word())),
        Event::Answers { table, services } => {
            let each = services.iter().map(|answer| {
                let regions = region_words(&answer.regions);
                let elsewhere: Vec<_> =
                    answer.elsewhere.iter().map(|regions| region_words(regions)).collect();
                let elsewhere = match elsewhere.is_empty() {
                    true => String::new(),
                    false => format!(", elsewhere {}", elsewhere.join(" or ")),
                };
                format!("{} = {regions}{elsewhere} for {}s ({})", answer.service, answer.ttl, answer.rule)
            });
            let each: Vec<_> = each.collect();
            ("answers", format!("table {table}: {}", each.join("; ")))
        }
        Event::Trigger { workflow, state, words } if words.is_empty() => {
            ("trigger", format!("{workflow} {state}"))
        }
        Event::Trigger { workflow, state, words } => ("trigger", format!("{workflow} {state}: {words}")),
        Event::Store { healthy: true, .. } => ("store", "takes everything again".to_owned()),
        Event::Store { healthy: false, reason } => ("store", format!("takes nothing: {reason}")),
        // The model world has no secondary servers.
        Event::Zone { .. } => return None,
        Event::Automation { enabled, reason, .. } => {
            ("automation", format!("{}: {reason}", if *enabled { "on" } else { "off" }))
        }
        Event::Released { region, owner: None, reason, .. } => ("released", format!("{region}: {reason}")),
        Event::Started { .. }
        | Event::Reloaded { .. }
        | Event::Relocated { .. }
        | Event::Verdict { .. }
        | Event::Standing { .. }
        | Event::Dialled { .. }
        | Event::Overridden { .. }
        | Event::Released { .. } => return None,
    })
}
