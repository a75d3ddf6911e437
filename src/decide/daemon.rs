//! The whole daemon as one fold: what it is told × the present → what it does.
//!
//! ```text
//!   samples, rounds ─► Senses ─► flips ─┐
//!   orders ─────────────────────────────┼─► Traffic ─► choices ─► Table ─► publish
//!   the store's word, outcomes ─► Engine ◄─ triggers              facts ─► write
//!                                   └─► calls
//! ```
//! Inputs only change the state; [`Daemon::conclude`] decides once for all that came in, and
//! compiles at most one table. The daemon, the simulator and the tests run this same code.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::journal::{Outbox, Write};
use super::sense::Change;
use super::trigger::{TriggerState, objection};
use super::{Event, OVERRIDE_SPAN_MAX, Order, Outside, Senses, ServiceMemory, Setup, Traffic, What, view};
use crate::base::{Generation, Mono, Named, Now, RegionId, ServiceId, Timestamp, show_span};
use crate::cluster::Round;
use crate::config::{Config, Mode};
use crate::health::Sample;
use crate::region::{Dial, Duty, Known, Override};
use crate::table::{Answers, Table};
use crate::workflow::{
    Act, By, Call, Cause, DialOp, Engine, ExecutionView, Gate, Heard, ObligationView, Op, Outcome, Receipt,
    Refusal, Retry, Spec, Step, Token, Wish,
};

/// What an earlier process left in the store.
#[derive(Debug)]
pub struct Restored {
    /// This process's number; grows with each.
    pub epoch: u64,
    /// The index of the newest journal record.
    pub head: u64,
    /// State keys and their values.
    pub state: BTreeMap<String, Value>,
    /// Executions and obligations.
    pub engine: Engine,
}

/// What is to be done, all decided at once.
#[derive(Debug, Default)]
pub struct Effects {
    /// A new table to serve.
    pub publish: Option<Arc<Table>>,
    /// To be written; then [`Daemon::stored`] or [`Daemon::store_failed`].
    pub write: Option<Write>,
    /// To be performed by agents; then [`Daemon::outcome`].
    pub calls: Vec<Call>,
    /// What happened.
    pub events: Vec<Event>,
    /// Orders that have come to something: what to tell who gave them.
    pub replies: Vec<(Receipt, Result<String, String>)>,
    /// When to conclude again, if nothing comes in before.
    pub wake: Option<Mono>,
}

/// What became of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// It holds.
    Done(String),
    /// It was taken, and holds once it is written; the reply comes with the effects.
    Later(Receipt),
}

/// Automation was switched off.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Off {
    owner: String,
    reason: String,
    expires: Timestamp,
}

/// A workflow's trigger, and the start that is on its way to the journal.
#[derive(Clone, Debug, Default)]
struct Watch {
    state: TriggerState,
    starting: Option<Receipt>,
}

/// Everything the daemon knows, and everything it decides.
#[derive(Debug)]
pub struct Daemon {
    setup: Arc<Setup>,
    senses: Senses,
    traffic: Traffic,
    watches: Vec<Watch>,
    engine: Engine,
    epoch: u64,
    head: u64,
    off: Option<Off>,
    /// Why there is no store at all.
    storeless: Option<String>,
    outbox: Outbox,
    table: Option<Arc<Table>>,
    answers: Vec<Arc<Answers>>,
    generation: Generation,
    ceiling: u64,
    duties: Named<RegionId, Duty>,
    /// What of each region was last handed to the store.
    kept: Named<RegionId, Option<Known>>,
    outside: Outside,
    engine_moved: bool,
    /// Starts that triggers asked for: which workflow, and which turn of its region.
    asked: BTreeMap<Receipt, (usize, u64)>,
    events: Vec<Event>,
    replies: Vec<(Receipt, Result<String, String>)>,
    was_failing: bool,
    rng: fastrand::Rng,
}

/// Table generations are reserved in the store this many at a time: one write for many tables.
const GENERATIONS_RESERVED: u64 = 1000;
/// Conclusions wait for each other at most this often per call of [`Daemon::conclude`].
const ROUNDS_MAX: usize = 64;
const CEILING: &str = "table/ceiling";
const AUTOMATION: &str = "automation";

impl Daemon {
    /// Goes on from what the store has kept; `Err` is why there is no store.
    pub fn new(setup: Arc<Setup>, restored: Result<Restored, String>, rng: fastrand::Rng) -> Self {
        let config = &setup.config;
        let (restored, storeless) = match restored {
            Ok(restored) => (restored, None),
            Err(why) => {
                let engine = Engine::new(0);
                (Restored { epoch: 0, head: 0, state: BTreeMap::new(), engine }, Some(why))
            }
        };
        let Restored { epoch, head, state, engine } = restored;
        let senses = Senses::new(config, |region| value(&state, &format!("region/{region}")));
        let overrides = config.regions.ids().filter_map(|region| {
            let word: Override = value(&state, &format!("override/{}", config.regions.name(region)))?;
            Some((region, word))
        });
        let traffic = Traffic::new(config, overrides.collect(), |service| {
            value::<ServiceMemory>(&state, &format!("service/{service}"))
        });
        let ceiling: u64 = value(&state, CEILING).unwrap_or(0);
        let mut daemon = Self {
            watches: vec![Watch::default(); setup.workflows.len()],
            duties: config.regions.map(|_, _| Duty::Active),
            kept: config.regions.map(|id, _| senses.regions[id].known().cloned()),
            senses,
            traffic,
            engine,
            epoch,
            head,
            off: value(&state, AUTOMATION),
            storeless,
            outbox: Outbox::default(),
            table: None,
            answers: Vec::new(),
            generation: Generation(ceiling),
            ceiling,
            outside: Outside::default(),
            engine_moved: true,
            asked: BTreeMap::new(),
            events: Vec::new(),
            replies: Vec::new(),
            was_failing: false,
            rng,
            setup,
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        daemon.events.push(Event::Started { version, epoch: (epoch > 0).then_some(epoch) });
        daemon
    }

    // ── what comes in ──

    /// The result of one probe.
    pub fn sample(&mut self, sample: &Sample, now: Now) {
        let change = self.senses.sample(sample, now);
        self.changes(change);
    }

    /// What one round of a group has brought.
    pub fn round(&mut self, round: &Round, now: Now) {
        let config = Arc::clone(&self.setup.config);
        let changes = self.senses.round(&config, round, now);
        self.changes(changes);
    }

    fn changes(&mut self, changes: impl IntoIterator<Item = Change>) {
        let config = &self.setup.config;
        for change in changes {
            self.events.push(match change {
                Change::Verdict { check, from, to } => Event::Verdict {
                    check: config.checks.name(check).to_string(),
                    from,
                    to,
                    reason: self.senses.checks[check].reason().to_owned(),
                },
                Change::Standing { group, from, to } => {
                    let judgement =
                        self.senses.groups[group].judgement.as_ref().map(|(judgement, _)| judgement);
                    Event::Standing {
                        group: config.groups.name(group).to_string(),
                        from,
                        to,
                        reason: judgement.map_or(String::new(), |judgement| judgement.reason.clone()),
                        evidence: judgement
                            .map_or_else(Default::default, |judgement| judgement.evidence.clone()),
                    }
                }
            });
        }
    }

    /// How a call has ended.
    pub fn outcome(&mut self, call: &Call, outcome: Outcome) -> Heard {
        self.engine_moved = true;
        self.engine.outcome(call, outcome)
    }

    /// The write that was asked for last is durable; its first record has this index.
    pub fn stored(&mut self, first: u64, now: Now) {
        let Some(written) = self.outbox.stored() else { return };
        self.head = self.head.max((first + written.entries).saturating_sub(1));
        if !written.engine {
            return;
        }
        self.engine_moved = true;
        match self.engine.stored(first, now.mono) {
            Ok(done) => {
                for done in done {
                    let words = done.execution.map_or("done".to_owned(), |execution| execution.to_string());
                    match self.asked.remove(&done.receipt) {
                        Some((workflow, occasion)) => {
                            if let Some(watch) = self.watches.get_mut(workflow) {
                                watch.starting = None;
                                watch.state.ran(occasion);
                            }
                        }
                        None => self.replies.push((done.receipt, Ok(words))),
                    }
                }
            }
            Err(fault) => self.events.push(Event::Store { healthy: false, reason: fault.to_string() }),
        }
    }

    /// The write that was asked for last came to nothing.
    pub fn store_failed(&mut self, why: &str, now: Now) {
        let Some(written) = self.outbox.failed(why, now.mono) else { return };
        if written.engine {
            self.engine_moved = true;
            for receipt in self.engine.store_failed(why, now.mono, &mut self.rng) {
                self.refused(receipt, &Refusal::NotStored(why.to_owned()));
            }
        }
    }

    fn refused(&mut self, receipt: Receipt, refusal: &Refusal) {
        match self.asked.remove(&receipt) {
            Some((workflow, _)) => {
                if let Some(watch) = self.watches.get_mut(workflow) {
                    watch.starting = None;
                    watch.state.block(refusal.to_string());
                }
            }
            None => self.replies.push((receipt, Err(refusal.to_string()))),
        }
    }

    /// An operator's order.
    ///
    /// # Errors
    /// Why it is refused, and what would be accepted.
    pub fn order(&mut self, order: Order, now: Now) -> Result<Said, String> {
        if order.reason.trim().is_empty() || order.owner.trim().is_empty() {
            return Err("an order needs an owner and a reason".to_owned());
        }
        let by = By { who: order.owner.clone(), why: order.reason.clone() };
        match order.what {
            What::Override { region, kind, expires, even_if_empty } => {
                let id = self.region(&region)?;
                expiry(expires, now)?;
                if kind == crate::region::OverrideKind::Drain && !even_if_empty {
                    self.refuse_to_empty(id, &region)?;
                }
                let word =
                    Override { kind, owner: order.owner, reason: order.reason, since: now.wall, expires };
                self.outbox.put(format!("override/{region}"), &word);
                self.events.push(Event::Overridden {
                    region: region.clone(),
                    word: kind.word().to_owned(),
                    owner: word.owner.clone(),
                    reason: word.reason.clone(),
                    expires,
                });
                let said = format!("{region}: {word}");
                self.traffic.set_override(id, word);
                Ok(Said::Done(said))
            }
            What::Release { region } => {
                let id = self.region(&region)?;
                let held: Vec<_> = self.traffic.held_services(id).collect();
                let word = self.traffic.release(id);
                if word.is_none() && held.is_empty() {
                    return Err(format!(
                        "nothing holds {region}: no override, and no service waits to have it back"
                    ));
                }
                self.outbox.remove(format!("override/{region}"));
                self.events.push(Event::Released {
                    region: region.clone(),
                    word: word.as_ref().map(|word| word.kind.word().to_owned()),
                    owner: Some(order.owner),
                    reason: order.reason,
                });
                let names: Vec<_> =
                    held.iter().map(|id| self.setup.config.services.name(*id).to_string()).collect();
                let mut said = format!("{region} is released");
                if let Some(word) = word {
                    said.push_str(&format!("; it was: {word}"));
                }
                if !names.is_empty() {
                    said.push_str(&format!("; it returns to {}", names.join(", ")));
                }
                Ok(Said::Done(said))
            }
            What::Dial { service, shares } => {
                // Above every intent that is in the journal, below every one still to come.
                let token = Token { epoch: self.epoch, index: self.head + 1 };
                let dial = Dial { shares: shares.clone(), token, by: order.owner, reason: order.reason };
                self.dial(&DialOp { service: service.clone(), shares }, dial)?;
                Ok(Said::Done(format!("{service} is dialled")))
            }
            What::AutomationOff { expires } => {
                expiry(expires, now)?;
                let off = Off { owner: order.owner, reason: order.reason, expires };
                self.outbox.put(AUTOMATION.to_owned(), &off);
                let (owner, reason) = (Some(off.owner.clone()), off.reason.clone());
                self.events.push(Event::Automation { enabled: false, owner, reason });
                self.off = Some(off);
                let until = expires.strftime("%Y-%m-%dT%H:%M:%SZ");
                Ok(Said::Done(format!(
                    "automation is off until {until}: no workflow starts or goes on; answers still follow health"
                )))
            }
            What::AutomationOn => {
                if self.off.take().is_none() {
                    return Err("automation is on already".to_owned());
                }
                self.outbox.remove(AUTOMATION.to_owned());
                let (owner, reason) = (Some(order.owner), order.reason);
                self.events.push(Event::Automation { enabled: true, owner, reason });
                let held: Vec<_> = self.pending().collect();
                Ok(Said::Done(match held.is_empty() {
                    true => "automation is on".to_owned(),
                    false => format!("automation is on; this may start now: {}", held.join(", ")),
                }))
            }
            What::Run { workflow, activate, deactivate } => {
                self.run(&workflow, activate.as_deref(), &deactivate, by)
            }
            What::Steer { of, word } => {
                self.engine_moved = true;
                self.engine.order(of, word, by).map(Said::Later).map_err(|refusal| refusal.to_string())
            }
        }
    }

    /// Workflows whose trigger is held or blocked.
    fn pending(&self) -> impl Iterator<Item = String> + '_ {
        let waits = |watch: &Watch| {
            matches!(watch.state, TriggerState::Holding { .. } | TriggerState::Blocked { .. })
        };
        self.setup
            .workflows
            .iter()
            .zip(&self.watches)
            .filter(move |(_, watch)| waits(watch))
            .map(|(workflow, _)| workflow.name.clone())
    }

    fn region(&self, name: &str) -> Result<RegionId, String> {
        let regions = &self.setup.config.regions;
        regions.id(name).ok_or_else(|| {
            let names: Vec<_> = regions.names().collect();
            format!("there is no region `{name}`; there are {}", names.join(", "))
        })
    }

    /// The guard rail of every drain: somebody must be left to serve.
    fn refuse_to_empty(&self, region: RegionId, name: &str) -> Result<(), String> {
        let emptied: Vec<_> = self
            .traffic
            .would_empty(&self.setup.config, region)
            .into_iter()
            .map(|id| self.setup.config.services.name(id).to_string())
            .collect();
        match emptied.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "without {name} there would be no fit region for {}; say --even-if-empty if you must",
                emptied.join(", ")
            )),
        }
    }

    fn run(&mut self, name: &str, activate: Option<&str>, deactivate: &str, by: By) -> Result<Said, String> {
        let setup = Arc::clone(&self.setup);
        let workflow = setup.workflows.iter().find(|workflow| workflow.name == name).ok_or_else(|| {
            let names: Vec<_> = setup.workflows.iter().map(|workflow| workflow.name.as_str()).collect();
            format!("there is no workflow `{name}`; there are {}", names.join(", "))
        })?;
        let wish = Wish {
            activate: activate.map(|name| self.region(name)).transpose()?,
            deactivate: Some(self.region(deactivate)?),
        };
        let fit = |region: RegionId| self.traffic.seat_of(region).is_some_and(|seat| seat.fully_fit());
        let ends = workflow.ends(&setup.config, wish, &fit).map_err(|why| why.to_string())?;
        let plan = workflow.plan(&setup.config, ends).map_err(|why| why.to_string())?;
        let gate = self.gate();
        self.engine_moved = true;
        let receipt = self.engine.start(plan, Cause::Person(by), &gate, &mut self.rng);
        receipt.map(Said::Later).map_err(|refusal| refusal.to_string())
    }

    /// Sets the shares of a service, after every rule that guards them.
    fn dial(&mut self, op: &DialOp, dial: Dial) -> Result<(), String> {
        let config = Arc::clone(&self.setup.config);
        let id =
            config.services.id(&op.service).ok_or_else(|| format!("there is no service `{}`", op.service))?;
        let regions = config.services[id].policy.regions();
        for (name, share) in &op.shares {
            let region = config.regions.id(name).filter(|region| regions.contains(region));
            let region =
                region.ok_or_else(|| format!("region `{name}` is not in the policy of `{}`", op.service))?;
            if *share > 0 && self.outside.quarantined.contains(&region) {
                return Err(format!("{name} is quarantined: it owes an obligation and must not serve"));
            }
        }
        if op.shares.values().all(|share| *share == 0) {
            return Err(format!("`{}` would be left without any share: never empty", op.service));
        }
        let event = Event::Dialled {
            service: op.service.clone(),
            shares: op.shares.clone(),
            by: dial.by.clone(),
            reason: dial.reason.clone(),
        };
        self.traffic.set_dial(id, dial).map_err(|newer| {
            format!("stale: dialled meanwhile by {} with token {}", newer.by, newer.token)
        })?;
        self.keep_service(id);
        self.events.push(event);
        Ok(())
    }

    /// Takes over another configuration. What has the same name keeps its state.
    pub fn reconfigure(&mut self, setup: Arc<Setup>, words: String) {
        let (old, new) = (Arc::clone(&self.setup.config), Arc::clone(&setup.config));
        self.senses = self.senses.reconfigured(&old, &new);
        self.traffic = self.traffic.reconfigured(&old, &new);
        let watches = setup.workflows.iter().map(|workflow| {
            let before = self.setup.workflows.iter().position(|before| before.name == workflow.name);
            before.map_or_else(Watch::default, |before| self.watches[before].clone())
        });
        self.watches = watches.collect();
        // Starts that are on their way find their workflow again by its name.
        let find = |workflow: usize| {
            let name = &self.setup.workflows[workflow].name;
            setup.workflows.iter().position(|workflow| workflow.name == *name)
        };
        self.asked = std::mem::take(&mut self.asked)
            .into_iter()
            .map(|(receipt, (workflow, occasion))| {
                (receipt, (find(workflow).unwrap_or(usize::MAX), occasion))
            })
            .collect();
        self.duties = new.regions.map(|id, _| {
            old.regions.id(new.regions.name(id)).map_or(Duty::Active, |before| self.duties[before])
        });
        self.kept = new.regions.map(|id, _| self.senses.regions[id].known().cloned());
        self.setup = setup;
        // Every answer is compiled anew: addresses may have changed under the same choice.
        self.answers.clear();
        self.engine_moved = true;
        self.events.push(Event::Reloaded { words });
    }

    // ── what goes out ──

    /// Decides, for all that has come in.
    pub fn conclude(&mut self, now: Now) -> Effects {
        let mut effects = Effects::default();
        self.flips(now);
        self.expire(now);
        let mut changed = BTreeSet::new();
        for _ in 0..ROUNDS_MAX {
            self.look_outside(now);
            let config = Arc::clone(&self.setup.config);
            let services = self.traffic.step(&config, &self.senses, &self.outside, now);
            for id in &services {
                self.keep_service(*id);
            }
            changed.extend(services);
            self.pull_triggers(now);
            if !self.drive_engine(now, &mut effects) {
                break;
            }
        }
        self.compile(&changed, now, &mut effects);
        self.tell_duties();
        self.tell_store();
        effects.events = std::mem::take(&mut self.events);
        if self.storeless.is_none() {
            for event in &effects.events {
                self.outbox.fact(now.wall, event.clone());
            }
            effects.write = self.outbox.next(now.mono);
        }
        effects.replies = std::mem::take(&mut self.replies);
        effects.wake = self.wake(now);
        effects
    }

    fn flips(&mut self, now: Now) {
        let config = Arc::clone(&self.setup.config);
        for flip in self.senses.flips(&config, now) {
            let region = config.regions.name(flip.region).to_string();
            if flip.from.is_bad() && flip.to.serves() {
                self.engine.nudge(&region);
                self.engine_moved = true;
            }
            self.events.push(Event::Flip {
                region,
                from: flip.from,
                to: flip.to,
                generation: flip.generation,
                why: flip.why,
            });
        }
        for region in config.regions.ids() {
            let known = self.senses.regions[region].known();
            let differs = match (known, &self.kept[region]) {
                (Some(known), Some(kept)) => {
                    (known.health, known.generation, known.armed)
                        != (kept.health, kept.generation, kept.armed)
                }
                (known, kept) => known.is_some() != kept.is_some(),
            };
            if let Some(known) = known.filter(|_| differs) {
                self.outbox.put(format!("region/{}", config.regions.name(region)), known);
                self.kept[region] = Some(known.clone());
            }
        }
    }

    fn expire(&mut self, now: Now) {
        for (region, word) in self.traffic.expire(now.wall) {
            let region = self.setup.config.regions.name(region).to_string();
            self.outbox.remove(format!("override/{region}"));
            self.events.push(Event::Released {
                region,
                word: Some(word.kind.word().to_owned()),
                owner: None,
                reason: format!("expired: {}", word.reason),
            });
        }
        if let Some(off) = self.off.take_if(|off| off.expires <= now.wall) {
            self.outbox.remove(AUTOMATION.to_owned());
            let reason = format!("expired: {}", off.reason);
            self.events.push(Event::Automation { enabled: true, owner: None, reason });
        }
    }

    /// What the engine's state means for traffic.
    fn look_outside(&mut self, now: Now) {
        if !std::mem::take(&mut self.engine_moved) {
            return;
        }
        let config = &self.setup.config;
        let owes = |region: &RegionId| self.engine.owes(config.regions.name(*region));
        let mut dialling = BTreeSet::new();
        for execution in self.engine.executions(now) {
            let Some(workflow) = self.setup.workflows.iter().find(|known| known.name == execution.workflow)
            else {
                continue;
            };
            let ahead =
                execution.stages.iter().filter(|stage| stage.agent == "dial" && stage.ended.is_none());
            for stage in ahead {
                let spec =
                    workflow.stages.iter().find(|known| known.name == stage.name).map(|stage| &stage.spec);
                if let Some(Spec::Dial { service, .. }) = spec {
                    dialling.insert(*service);
                }
            }
        }
        self.outside = Outside { quarantined: config.regions.ids().filter(owes).collect(), dialling };
    }

    fn gate(&self) -> Gate {
        if let Some(why) = &self.storeless {
            return Gate::StoreFailing(why.clone());
        }
        if let Some(why) = self.outbox.failing() {
            return Gate::StoreFailing(why.to_owned());
        }
        match (&self.off, self.setup.config.mode) {
            (Some(off), Mode::Act) => {
                let until = off.expires.strftime("%Y-%m-%dT%H:%M:%SZ");
                Gate::AutomationOff(By {
                    who: off.owner.clone(),
                    why: format!("{}, until {until}", off.reason),
                })
            }
            (None, Mode::Act) => Gate::Open,
            (_, mode) => Gate::Mode(mode),
        }
    }

    /// Starts the workflows that are due.
    fn pull_triggers(&mut self, now: Now) {
        let setup = Arc::clone(&self.setup);
        for (position, (workflow, use_)) in setup.workflows.iter().zip(&setup.config.workflows).enumerate() {
            let Some(trigger) = &use_.when else { continue };
            let before = self.watches[position].state.clone();
            let region = &self.senses.regions[trigger.region];
            let due = self.watches[position].state.step(trigger, region, now.mono);
            if let Some(occasion) = due.filter(|_| self.watches[position].starting.is_none()) {
                match self.start(position, occasion) {
                    Ok(receipt) => {
                        self.asked.insert(receipt, (position, occasion));
                        self.watches[position].starting = Some(receipt);
                        self.engine_moved = true;
                    }
                    Err(Refusal::AlreadyRan { .. }) => self.watches[position].state.ran(occasion),
                    Err(refusal) => self.watches[position].state.block(refusal.to_string()),
                }
            }
            if self.watches[position].state != before {
                let (state, words) = self.trigger_words(position, now.mono);
                self.events.push(Event::Trigger { workflow: workflow.name.clone(), state, words });
            }
        }
    }

    fn start(&mut self, position: usize, occasion: u64) -> Result<Receipt, Refusal> {
        let setup = Arc::clone(&self.setup);
        let (workflow, use_) = (&setup.workflows[position], &setup.config.workflows[position]);
        let trigger = use_.when.as_ref().expect("only workflows with a trigger are due");
        let unfit = |why: String| Refusal::Unfit(why);
        let leaves = trigger.turns.iter().all(|health| health.is_bad());
        let wish = Wish {
            activate: use_.activate.or((!leaves).then_some(trigger.region)),
            deactivate: use_.deactivate.or(leaves.then_some(trigger.region)),
        };
        let fit = |region: RegionId| self.traffic.seat_of(region).is_some_and(|seat| seat.fully_fit());
        let ends = workflow.ends(&setup.config, wish, &fit).map_err(|why| unfit(why.to_string()))?;
        let region = &self.senses.regions[trigger.region];
        let seat =
            self.traffic.seat_of(ends.activate).expect("traffic was stepped before triggers are pulled");
        if let Some(why) = objection(&setup.config, trigger, region, ends.activate, seat) {
            return Err(unfit(why));
        }
        let plan = workflow.plan(&setup.config, ends).map_err(|why| unfit(why.to_string()))?;
        let known = region.known().expect("a region that turned is known");
        let cause = Cause::Flip {
            region: setup.config.regions.name(trigger.region).to_string(),
            health: known.health,
            generation: occasion,
            why: known.why.to_string(),
        };
        let gate = self.gate();
        self.engine.start(plan, cause, &gate, &mut self.rng)
    }

    /// Lets the engine do what is due; tells whether something came of it that must be looked
    /// at again.
    fn drive_engine(&mut self, now: Now, effects: &mut Effects) -> bool {
        let gate = self.gate();
        let mut again = false;
        for step in self.engine.advance(now, &gate, &mut self.rng) {
            match step {
                Step::Append(entries) => self.outbox.engine(entries),
                Step::Refuse(receipt, refusal) => self.refused(receipt, &refusal),
                Step::Perform(call) => match &call.op {
                    Op::Dial(op) => {
                        let outcome = self.perform_dial(&call, &op.clone());
                        self.outcome(&call, outcome);
                        again = true;
                    }
                    _ => effects.calls.push(*call),
                },
            }
        }
        again
    }

    /// The dial is ours: the table is.
    fn perform_dial(&mut self, call: &Call, op: &DialOp) -> Outcome {
        let key = call.idempotency_key();
        let applied =
            |words: String| Outcome::Applied { detail: words, outputs: BTreeMap::new(), owed: None };
        let dialled = self.setup.config.services.id(&op.service).and_then(|id| self.traffic.dial(id));
        if dialled.is_some_and(|dial| dial.by == key && dial.shares == op.shares) {
            return applied(format!("{} is dialled", op.service));
        }
        match call.act {
            Act::Observe => Outcome::NotApplied {
                reason: format!("{} is dialled otherwise", op.service),
                retry: Retry::Backoff,
            },
            Act::Apply => {
                let dial = Dial {
                    shares: op.shares.clone(),
                    token: call.token,
                    by: key,
                    reason: "a workflow's stage".to_owned(),
                };
                match self.dial(op, dial) {
                    Ok(()) => applied(format!("{} is dialled: {}", op.service, shares_words(&op.shares))),
                    Err(reason) if reason.starts_with("stale") => Outcome::Stale { reason },
                    Err(reason) => Outcome::NotApplied { reason, retry: Retry::Backoff },
                }
            }
        }
    }

    /// Compiles one table for everything that changed.
    fn compile(&mut self, changed: &BTreeSet<ServiceId>, now: Now, effects: &mut Effects) {
        let config = Arc::clone(&self.setup.config);
        let anew = self.answers.len() != config.services.len() || self.table.is_none();
        if changed.is_empty() && !anew {
            return;
        }
        let compiled = |id: ServiceId| {
            let choice = self.traffic.choice(id).expect("traffic was stepped before the table is compiled");
            Arc::new(Answers::compile(&config.services[id], choice))
        };
        let next = self.generation.next();
        if anew {
            self.answers = config.services.ids().map(compiled).collect();
        } else {
            let fresh: Vec<_> = changed.iter().map(|id| (*id, compiled(*id))).collect();
            for (id, answers) in fresh {
                self.answers[id.0 as usize] = answers;
            }
        }
        if next.0 > self.ceiling {
            self.ceiling = next.0 + GENERATIONS_RESERVED;
            let ceiling = self.ceiling;
            self.outbox.put(CEILING.to_owned(), &ceiling);
        }
        self.generation = next;
        let table = Arc::new(Table::new(next, Arc::clone(&self.setup.image), self.answers.clone()));
        self.table = Some(Arc::clone(&table));
        effects.publish = Some(table);
        let tell: Vec<ServiceId> =
            if anew { config.services.ids().collect() } else { changed.iter().copied().collect() };
        for id in tell {
            let view = view::service(&config, &self.traffic, &self.outside, id, now);
            self.events.push(Event::Answers {
                service: view.name,
                regions: view.answers,
                rule: view.rule,
                table: next,
            });
        }
    }

    fn keep_service(&mut self, id: ServiceId) {
        let config = &self.setup.config;
        let key = format!("service/{}", config.services.name(id));
        let memory = self.traffic.memory(config, id);
        match memory == ServiceMemory::default() {
            true => self.outbox.remove(key),
            false => self.outbox.put(key, &memory),
        }
    }

    fn tell_duties(&mut self) {
        let config = Arc::clone(&self.setup.config);
        for region in config.regions.ids() {
            let (from, to) = (self.duties[region], self.traffic.duty(region));
            if from != to {
                self.duties[region] = to;
                let region = config.regions.name(region).to_string();
                self.events.push(Event::Duty { region, from, to });
            }
        }
    }

    fn tell_store(&mut self) {
        let failing = self.storeless.as_deref().or(self.outbox.failing()).map(str::to_owned);
        if failing.is_some() != self.was_failing {
            self.was_failing = failing.is_some();
            let healthy = failing.is_none();
            self.events.push(Event::Store { healthy, reason: failing.unwrap_or_default() });
        }
    }

    fn wake(&self, now: Now) -> Option<Mono> {
        let waits = self.watches.iter().zip(&self.setup.config.workflows);
        let triggers = waits.filter_map(|(watch, use_)| {
            let due = watch.state.due_in(use_.when.as_ref()?, now.mono)?;
            Some(now.mono + due)
        });
        triggers.chain(self.engine.wake()).chain(self.outbox.retry_at()).min()
    }

    // ── what can be seen ──

    /// What it is set up to do.
    pub fn setup(&self) -> &Arc<Setup> {
        &self.setup
    }

    /// What it senses.
    pub fn senses(&self) -> &Senses {
        &self.senses
    }

    /// What moves its traffic.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The table that is served; none before the first conclusion.
    pub fn table(&self) -> Option<&Arc<Table>> {
        self.table.as_ref()
    }

    /// The number of the newest table.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What keeps workflows from starting and going on.
    pub fn automation(&self) -> view::Automation {
        let because: Vec<String> =
            self.gate().reason().into_iter().chain(self.engine.held().map(str::to_owned)).collect();
        let mut seen = BTreeSet::new();
        let because: Vec<String> = because.into_iter().filter(|why| seen.insert(why.clone())).collect();
        view::Automation { enabled: because.is_empty(), because }
    }

    /// Why the store takes nothing, if it does not.
    pub fn store_trouble(&self) -> Option<&str> {
        self.storeless.as_deref().or(self.outbox.failing())
    }

    /// Facts that never reached the journal because the store stayed away for too long.
    pub fn facts_given_up(&self) -> u64 {
        self.outbox.given_up()
    }

    /// Everything that was to be written is written.
    pub fn is_settled(&self) -> bool {
        self.storeless.is_some() || self.outbox.is_settled()
    }

    /// Executions that are not over, and the newest that are.
    pub fn executions(&self, now: Now, settled_max: usize) -> Vec<ExecutionView> {
        let mut views: Vec<_> = self.engine.settled().rev().take(settled_max).cloned().collect();
        views.reverse();
        views.extend(self.engine.executions(now));
        views
    }

    /// One execution, by its id or as much of it as is without doubt.
    pub fn execution(&self, name: &str, now: Now) -> Option<ExecutionView> {
        self.engine.execution(name, now)
    }

    /// What is owed.
    pub fn obligations(&self, now: Now) -> Vec<ObligationView> {
        self.engine.obligations(now).collect()
    }

    /// How the trigger of a workflow stands: in one word, and in words.
    pub fn trigger_words(&self, workflow: usize, now: Mono) -> (String, String) {
        let use_ = &self.setup.config.workflows[workflow];
        let Some(trigger) = &use_.when else {
            return ("manual".to_owned(), "started by a person".to_owned());
        };
        let state = &self.watches[workflow].state;
        let region = self.setup.config.regions.name(trigger.region);
        let words = match state {
            TriggerState::Idle => String::new(),
            TriggerState::Holding { .. } => {
                let left = state.due_in(trigger, now).unwrap_or_default();
                match left.is_zero() {
                    true => format!("{region} turned; it starts as soon as {region} can be measured"),
                    false => format!("{region} turned; it starts in {}", show_span(round_up(left))),
                }
            }
            TriggerState::Blocked { why, .. } => why.clone(),
            TriggerState::Ran { .. } => format!("it has run for this turn of {region}"),
        };
        (state.word().to_owned(), words)
    }

    /// Everything, at one moment.
    pub fn status(&self, serving: bool, now: Now) -> view::Status {
        let config: &Config = &self.setup.config;
        let owed: Vec<ObligationView> = self.obligations(now);
        let obligations = |region: &str| -> Vec<String> {
            let here = owed.iter().filter(|obligation| obligation.region == region);
            here.map(|obligation| format!("{} (obligation {})", obligation.what, obligation.id)).collect()
        };
        view::Status {
            site: config.site.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: now.wall,
            mode: config.mode,
            generation: self.generation,
            serving,
            automation: self.automation(),
            regions: view::regions(config, &self.senses, &self.traffic, obligations, now),
            groups: view::groups(config, &self.senses),
            services: config
                .services
                .ids()
                .map(|id| view::service(config, &self.traffic, &self.outside, id, now))
                .collect(),
            workflows: self
                .setup
                .workflows
                .iter()
                .enumerate()
                .map(|(position, workflow)| {
                    let (state, words) = self.trigger_words(position, now.mono);
                    let use_ = &config.workflows[position];
                    let trigger = use_.when.as_ref().map(|trigger| {
                        let turns: Vec<_> = trigger.turns.iter().map(|health| health.word()).collect();
                        let region = config.regions.name(trigger.region);
                        format!("{region} turns {} for {}", turns.join(" or "), show_span(trigger.hold))
                    });
                    view::WorkflowView { name: workflow.name.clone(), trigger, state, words }
                })
                .collect(),
        }
    }

    /// One service, as it stands, by one of its names or by its own.
    pub fn explain(&self, name: &str, now: Now) -> Option<view::ServiceView> {
        let by_name = crate::wire::Name::parse(name).ok().and_then(|name| self.setup.service_of(&name));
        let id = by_name.or_else(|| self.setup.config.services.id(name))?;
        Some(view::service(&self.setup.config, &self.traffic, &self.outside, id, now))
    }
}

fn value<T: serde::de::DeserializeOwned>(state: &BTreeMap<String, Value>, key: &str) -> Option<T> {
    // What a later version wrote and we cannot read is as if it were not there: the daemon
    // finds out for itself.
    serde_json::from_value(state.get(key)?.clone()).ok()
}

fn expiry(expires: Timestamp, now: Now) -> Result<(), String> {
    let span = Duration::try_from(expires.duration_since(now.wall)).unwrap_or(Duration::ZERO);
    if span.is_zero() {
        return Err("it would be over before it began".to_owned());
    }
    if span > OVERRIDE_SPAN_MAX {
        return Err(format!(
            "at most {} at a time: what nobody remembers must not bind for ever",
            show_span(OVERRIDE_SPAN_MAX)
        ));
    }
    Ok(())
}

fn shares_words(shares: &BTreeMap<String, u32>) -> String {
    let parts: Vec<_> = shares.iter().map(|(region, share)| format!("{region} {share}")).collect();
    parts.join(", ")
}

fn round_up(span: Duration) -> Duration {
    Duration::from_secs(span.as_millis().div_ceil(1000) as u64)
}
