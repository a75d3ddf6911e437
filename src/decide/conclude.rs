//! Deciding, once, for all that has come in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::daemon::{
    AUTOMATION, Aftermath, CEILING, Ceiling, Daemon, Effects, GENERATIONS_RESERVED, ROUNDS_MAX,
};
use super::event::Answer;
use super::sense::place_name;
use super::traffic::Moved;
use super::trigger::{leaves, objection, target_objection};
use super::{Event, Outside, ServiceMemory, Setup, view};
use crate::base::{IdSet, Index, Mono, Now, RegionId, ServiceId};
use crate::config::Mode;
use crate::region::{Dial, Known, OverrideKind, UNKNOWN};
use crate::table::Table;
use crate::workflow::{
    Act, By, Call, Cause, DialOp, Ends, Gate, Op, Outcome, Receipt, Refusal, Retry, Spec, Step, Wish,
    Workflow,
};

/// So many answers to clients elsewhere are told of one service.
const ELSEWHERE_MAX: usize = 16;

impl Daemon {
    /// Decides, for all that has come in. What comes of it must be done first, because clients
    /// wait for the table; then [`Daemon::aftermath`] tells what happened.
    pub fn conclude(&mut self, now: Now) -> Effects {
        let mut effects = Effects::default();
        self.flips(now);
        self.expire(now);
        let mut moved = Moved::default();
        for _ in 0..ROUNDS_MAX {
            self.look_outside(now);
            let config = Arc::clone(&self.setup.config);
            moved.extend(&self.traffic.step(
                &config,
                &self.setup.audiences,
                &self.senses,
                &self.outside,
                now,
            ));
            let waits = self.pull_triggers(now);
            if !self.drive_engine(now, &mut effects) && !waits {
                break;
            }
        }
        self.compile(&moved, now, &mut effects);
        self.moved.extend(&moved);
        effects
    }

    /// What happened since the last time, and what is to be written of it.
    pub fn aftermath(&mut self, now: Now) -> Aftermath {
        let moved = std::mem::take(&mut self.moved);
        for id in moved.places.iter() {
            self.keep_service(id);
        }
        let mut told = moved.answers;
        told.extend(&moved.picks);
        self.tell_answers(&told, now);
        self.tell_duties();
        self.tell_store();
        let events = std::mem::take(&mut self.events);
        let mut write = None;
        if self.storeless.is_none() {
            for event in &events {
                self.outbox.fact(now.wall, event.clone());
            }
            write = self.outbox.next(now.mono);
        }
        Aftermath { events, write, replies: std::mem::take(&mut self.replies), wake: self.wake(now) }
    }

    fn flips(&mut self, now: Now) {
        let config = Arc::clone(&self.setup.config);
        let (turned, changes) = self.senses.settle(now.mono);
        self.changes(changes);
        if turned {
            let blind = self.senses.sight.blind();
            let words = blind.map_or_else(|| "enough answers again".to_owned(), |blind| blind.words.clone());
            let blind = blind.is_some();
            self.events.push(Event::Blind { blind, words });
            self.engine_moved = true;
        }
        let turns = self.senses.turns(&config, now);
        for flip in turns.regions {
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
        for (service, flip) in turns.places {
            self.events.push(Event::Place {
                service: config.services.name(service).to_string(),
                region: config.regions.name(flip.region).to_string(),
                from: flip.from,
                to: flip.to,
                why: flip.why,
            });
        }
        for (place, state) in &self.senses.places {
            let kept = self.kept_places.entry(*place).or_default();
            if let Some(known) = state.known().filter(|known| differs(Some(known), kept.as_ref())) {
                self.outbox.put(format!("place/{}", place_name(&config, place.0, place.1)), known);
                *kept = Some(known.clone());
            }
        }
        for region in config.regions.ids() {
            let known = self.senses.regions[region].known();
            let differs = differs(known, self.kept[region].as_ref());
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
                dialling.extend(spec.and_then(dialled));
            }
        }
        // Workflows that are about to start: who asks now should ask again soon.
        for (workflow, _) in
            self.setup.workflows.iter().zip(&self.watches).filter(|(_, watch)| watch.state.waits())
        {
            dialling.extend(workflow.stages.iter().filter_map(|stage| dialled(&stage.spec)));
        }
        self.outside = Outside { quarantined: config.regions.ids().filter(owes).collect(), dialling };
    }

    pub(super) fn gate(&self) -> Gate {
        if self.stopping {
            let who = "the daemon".to_owned();
            return Gate::AutomationOff(By { who, why: "it is stopping".to_owned() });
        }
        if let Some(why) = &self.storeless {
            return Gate::StoreFailing(why.clone());
        }
        if let Some(why) = self.outbox.failing() {
            return Gate::StoreFailing(why.to_owned());
        }
        if let Some(blind) = self.senses.sight.blind().filter(|_| self.setup.config.mode == Mode::Act) {
            return Gate::Blind(blind.words.clone());
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
    /// Lets triggers look at their regions; tells whether one has begun or ceased to wait.
    fn pull_triggers(&mut self, now: Now) -> bool {
        let mut others_wait = false;
        let setup = Arc::clone(&self.setup);
        for (position, (workflow, use_)) in setup.workflows.iter().zip(&setup.config.workflows).enumerate() {
            let Some(trigger) = &use_.when else { continue };
            let before = self.watches[position].state.clone();
            let region = &self.senses.regions[trigger.region];
            // While somebody's silence is undecided it may be our own.
            let wavers = self.senses.mends(&setup.config, trigger.region) || self.senses.waiting() > 0;
            let due = self.watches[position].state.step(trigger, region, wavers, now.mono);
            if self.watches[position].state.is_of_turn_0()
                && let Some(why) = objection(&setup.config, trigger, region)
            {
                self.watches[position].state.block(why);
            }
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
            if self.watches[position].state.waits() != before.waits() {
                self.engine_moved = true;
                others_wait = true;
            }
            if self.watches[position].state != before {
                let (state, words) = self.trigger_words(position, now.mono);
                self.events.push(Event::Trigger { workflow: workflow.name.clone(), state, words });
            }
        }
        others_wait
    }

    fn start(&mut self, position: usize, occasion: u64) -> Result<Receipt, Refusal> {
        let setup = Arc::clone(&self.setup);
        let (workflow, use_) = (&setup.workflows[position], &setup.config.workflows[position]);
        let trigger = use_.when.as_ref().expect("only workflows with a trigger are due");
        let unfit = |why: String| Refusal::Unfit(why);
        let leaves = leaves(trigger);
        let wish = Wish {
            activate: use_.activate.or((!leaves).then_some(trigger.region)),
            deactivate: use_.deactivate.or(leaves.then_some(trigger.region)),
        };
        let region = &self.senses.regions[trigger.region];
        if let Some(why) = objection(&setup.config, trigger, region) {
            return Err(unfit(why));
        }
        let ends = self.ends(workflow, wish).map_err(unfit)?;
        if let Some(word) =
            self.traffic.override_of(ends.deactivate).filter(|word| word.kind == OverrideKind::Force)
        {
            let name = setup.config.regions.name(ends.deactivate);
            return Err(unfit(format!(
                "{name} is kept in service ({word}); `pointsman region release {name}` lets the workflow start"
            )));
        }
        let seat =
            self.traffic.seat_of(ends.activate).expect("traffic was stepped before triggers are pulled");
        if let Some(why) = target_objection(&setup.config, ends.activate, seat) {
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

    /// The ends of a move: to a healthy region, or to a degraded one if there is no healthy one.
    pub(super) fn ends(&self, workflow: &Workflow, wish: Wish) -> Result<Ends, String> {
        let config = &self.setup.config;
        let seat = |region: RegionId| self.traffic.seat_of(region);
        let healthy = |region: RegionId| seat(region).is_some_and(|seat| seat.fully_fit());
        let serves = |region: RegionId| {
            seat(region).is_some_and(|seat| target_objection(config, region, seat).is_none())
        };
        let ends = workflow.ends(config, wish, &healthy).or_else(|_| workflow.ends(config, wish, &serves));
        ends.map_err(|why| why.to_string())
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
    fn compile(&mut self, moved: &Moved, now: Now, effects: &mut Effects) {
        let changed = &moved.answers;
        let config = Arc::clone(&self.setup.config);
        // Each load has an image of its own; it is to be served even if no service asks for that.
        let loaded = |table: &Arc<Table>| Arc::ptr_eq(table.image(), &self.setup.image);
        let anew = self.answers.len() != config.services.len() || !self.table.as_ref().is_some_and(loaded);
        let signed_anew = std::mem::take(&mut self.signed_anew);
        if changed.is_empty() && moved.notes.is_empty() && !anew && !signed_anew {
            return;
        }
        let mut compiled = |id: ServiceId| {
            let choice = self.traffic.choice(id).expect("traffic was stepped before the table is compiled");
            self.compiler.answers(&config.services[id], &self.setup.audiences[id.position()], choice)
        };
        let next = self.generation.next();
        if anew {
            self.answers = config.services.ids().map(compiled).collect();
        } else {
            for id in changed.iter() {
                self.answers[id.position()] = compiled(id);
            }
        }
        self.seal(changed, anew || signed_anew);
        if next.0 > self.ceiling {
            self.ceiling = self.generation.0 + GENERATIONS_RESERVED;
            let ceiling = Ceiling { epoch: self.epoch, number: self.ceiling };
            self.outbox.put(CEILING.to_owned(), &ceiling);
        }
        self.generation = next;
        let mut table = Table::new(next, Arc::clone(&self.setup.image), self.answers.clone())
            .with_manners(Arc::clone(&self.setup.manners))
            .with_notes(self.traffic.notes());
        let zones = self.zones.settle(&table, now, &mut self.outbox, &mut self.events);
        table = table.with_zones(zones);
        if let Some(signed) = &self.signed {
            table = table.with_signatures(Arc::clone(signed), self.sealed.clone());
        }
        let table = Arc::new(table);
        self.table = Some(Arc::clone(&table));
        effects.publish = Some(table);
    }

    /// Signs what no signature was made ahead for.
    fn seal(&mut self, changed: &IdSet<ServiceId>, anew: bool) {
        let Some(signed) = self.signed.as_ref() else {
            self.sealed = Vec::new();
            return;
        };
        let Setup { config, image, .. } = &*self.setup;
        let (answers, unions) = (&self.answers, &mut self.unions);
        let mut sealed =
            |id: ServiceId| unions.compile(image, signed, &config.services[id], &answers[id.0 as usize]);
        if anew || self.sealed.len() != answers.len() {
            self.sealed = config.services.ids().map(sealed).collect();
        } else {
            for id in changed.iter() {
                self.sealed[id.position()] = sealed(id);
            }
        }
    }

    fn tell_answers(&mut self, services: &IdSet<ServiceId>, now: Now) {
        if services.is_empty() {
            return;
        }
        let config = &self.setup.config;
        let services = services.iter().map(|id| {
            let audience = &self.setup.audiences[id.position()];
            let (rule, _) = self
                .traffic
                .explain(config, &self.senses, id, audience, UNKNOWN, now.mono)
                .unwrap_or_default();
            let choice = self.traffic.choice(id);
            Answer {
                service: config.services.name(id).to_string(),
                regions: view::answers(config, choice, UNKNOWN),
                elsewhere: view::elsewhere(config, choice, UNKNOWN)
                    .into_iter()
                    .take(ELSEWHERE_MAX)
                    .map(|elsewhere| elsewhere.answers)
                    .collect(),
                rule,
                ttl: choice.map_or(0, |choice| choice.ttl),
            }
        });
        self.events.push(Event::Answers { table: self.generation, services: services.collect() });
    }

    pub(super) fn keep_service(&mut self, id: ServiceId) {
        let config = &self.setup.config;
        let key = format!("service/{}", config.services.name(id));
        let memory = self.traffic.memory(config, id);
        match memory == ServiceMemory::default() {
            true => self.outbox.remove(key),
            false => self.outbox.put(key, &memory),
        }
    }

    fn tell_duties(&mut self) {
        let config = &self.setup.config;
        let duties = self.traffic.duties(config);
        for (region, to) in duties.iter() {
            let from = std::mem::replace(&mut self.duties[region], *to);
            if from != *to {
                let region = config.regions.name(region).to_string();
                self.events.push(Event::Duty { region, from, to: *to });
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
}

/// Whether what is known is to be kept anew.
fn differs(known: Option<&Known>, kept: Option<&Known>) -> bool {
    match (known, kept) {
        (Some(known), Some(kept)) => {
            (known.health, known.generation, known.armed) != (kept.health, kept.generation, kept.armed)
        }
        (known, kept) => known.is_some() != kept.is_some(),
    }
}

/// The service that a stage dials.
fn dialled(spec: &Spec) -> Option<ServiceId> {
    match spec {
        Spec::Dial { service, .. } => Some(*service),
        _ => None,
    }
}

pub(super) fn shares_words(shares: &BTreeMap<String, u32>) -> String {
    let parts: Vec<_> = shares.iter().map(|(region, share)| format!("{region} {share}")).collect();
    parts.join(", ")
}
