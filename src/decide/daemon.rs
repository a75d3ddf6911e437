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

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::journal::{Outbox, Write};
use super::sense::{Change, place_name};
use super::traffic::Moved;
use super::trigger::TriggerState;
use super::zones::ZoneKeeper;
use super::{Event, Outside, Senses, ServiceMemory, Setup, Traffic};
use crate::base::{Generation, Mono, Named, Now, RegionId, ServiceId, Timestamp};
use crate::cluster::Round;
use crate::config::{Config, SwitchedBy};
use crate::health::Sample;
use crate::region::{Duty, Known, Override};
use crate::sign::{ZoneKeys, ZoneView};
use crate::table::{Answers, Compiler, Part, Signed, Table, Unions};
use crate::workflow::{Call, Engine, ExecutionView, Heard, Outcome, Receipt, Refusal};

/// What an earlier process left in the store.
#[derive(Debug)]
pub struct Restored {
    /// This process's number; grows with each that can write to the store.
    pub epoch: u64,
    /// The index of the newest journal record.
    pub head: u64,
    /// State keys and their values.
    pub state: BTreeMap<String, Value>,
    /// Executions and obligations.
    pub engine: Engine,
}

impl Restored {
    /// Nothing was left, or nothing can be read.
    pub fn nothing() -> Self {
        Self { epoch: 0, head: 0, state: BTreeMap::new(), engine: Engine::new(0) }
    }
}

/// Up to which number tables are reserved, and by which process. Those after it have each
/// reserved as many again: perhaps they were killed before the store got to hear of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Ceiling {
    pub(super) epoch: u64,
    pub(super) number: u64,
}

impl Ceiling {
    /// Below everything that this process may publish, and not below anything that an earlier
    /// one has. A process without a store leaves no trace: what comes after it may repeat its
    /// numbers.
    fn seen_by(self, epoch: u64) -> u64 {
        self.number + GENERATIONS_RESERVED * epoch.saturating_sub(self.epoch + 1)
    }
}

/// What is to be done at once.
#[derive(Debug, Default)]
pub struct Effects {
    /// A new table to serve.
    pub publish: Option<Arc<Table>>,
    /// To be performed by agents; then [`Daemon::outcome`].
    pub calls: Vec<Call>,
}

/// What happened, and what is to be written of it.
#[derive(Debug)]
pub struct Aftermath {
    /// What happened.
    pub events: Vec<Event>,
    /// To be written; then [`Daemon::stored`] or [`Daemon::store_failed`].
    pub write: Option<Write>,
    /// Orders that have come to something: what to tell who gave them.
    pub replies: Vec<(Receipt, Result<String, String>)>,
    /// When to conclude again, if nothing comes in before.
    pub wake: Option<Mono>,
}

/// What became of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// It holds, and the words may be said once that is written ([`Daemon::answer`]).
    Done {
        /// What is said.
        words: String,
        /// Of the write.
        ticket: u64,
    },
    /// It was taken, and holds once it is written; the reply comes with the effects.
    Later(Receipt),
}

/// Automation was switched off.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Off {
    pub(super) owner: String,
    pub(super) reason: String,
    pub(super) expires: Timestamp,
}

/// A workflow's trigger, and the start that is on its way to the journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    pub(super) state: TriggerState,
    pub(super) starting: Option<Receipt>,
}

/// Everything the daemon knows, and everything it decides.
#[derive(Debug)]
pub struct Daemon {
    pub(super) setup: Arc<Setup>,
    pub(super) senses: Senses,
    pub(super) traffic: Traffic,
    pub(super) watches: Vec<Watch>,
    pub(super) engine: Engine,
    pub(super) epoch: u64,
    pub(super) head: u64,
    pub(super) off: Option<Off>,
    /// Why there is no store to write to.
    pub(super) storeless: Option<String>,
    pub(super) outbox: Outbox,
    pub(super) table: Option<Arc<Table>>,
    pub(super) answers: Vec<Answers>,
    pub(super) zones: ZoneKeeper,
    /// The signatures of the zones that are signed, made elsewhere …
    pub(super) signed: Option<Arc<Signed>>,
    /// … and not in the table yet.
    pub(super) signed_anew: bool,
    /// How keys stand, as somebody else has last seen it.
    pub(super) signed_zones: Vec<ZoneView>,
    /// Those that depend on which regions serve together, service by service.
    pub(super) sealed: Vec<Option<Arc<Part>>>,
    pub(super) unions: Unions,
    pub(super) compiler: Compiler,
    pub(super) generation: Generation,
    pub(super) ceiling: u64,
    pub(super) duties: Named<RegionId, Duty>,
    /// State of regions and services that the configuration does not have, by its key: if a
    /// reload brings them back they go on from it.
    pub(super) parked: BTreeMap<String, Value>,
    /// What of each region was last handed to the store.
    pub(super) kept: Named<RegionId, Option<Known>>,
    /// The same of services' places.
    pub(super) kept_places: BTreeMap<(ServiceId, RegionId), Option<Known>>,
    pub(super) outside: Outside,
    /// Services that moved since the last aftermath.
    pub(super) moved: Moved,
    pub(super) engine_moved: bool,
    /// Starts that triggers asked for: which workflow, and which turn of its region.
    pub(super) asked: BTreeMap<Receipt, (usize, u64)>,
    pub(super) events: Vec<Event>,
    pub(super) replies: Vec<(Receipt, Result<String, String>)>,
    pub(super) was_failing: bool,
    pub(super) stopping: bool,
    /// Why newer data on where clients are cannot be taken over.
    pub(super) geo_trouble: Option<String>,
    /// Ended and not told yet.
    pub(super) settled: Vec<ExecutionView>,
    pub(super) rng: fastrand::Rng,
}

/// Table generations are reserved in the store this many at a time: one write for many tables.
pub(super) const GENERATIONS_RESERVED: u64 = 1000;
/// Conclusions wait for each other at most this often per call of [`Daemon::conclude`].
pub(super) const ROUNDS_MAX: usize = 64;
pub(super) const CEILING: &str = "table/ceiling";
pub(super) const AUTOMATION: &str = "automation";

impl Daemon {
    /// Goes on from what the store has kept. `storeless`: why it cannot be written to. Then no
    /// workflow starts or goes on; what was dialled, drained and owed holds all the same.
    pub fn new(setup: Arc<Setup>, restored: Restored, storeless: Option<String>, rng: fastrand::Rng) -> Self {
        let config = &setup.config;
        let Restored { epoch, head, state, engine } = restored;
        let senses = Senses::new(
            config,
            |region| value(&state, &format!("region/{region}")),
            |group| value(&state, &format!("group/{group}")),
            |place| value(&state, &format!("place/{place}")),
        );
        let overrides = config.regions.ids().filter_map(|region| {
            let word: Override = value(&state, &format!("override/{}", config.regions.name(region)))?;
            Some((region, word))
        });
        let traffic = Traffic::new(config, overrides.collect(), |service| {
            value::<ServiceMemory>(&state, &format!("service/{service}"))
        });
        let ceiling = value::<Ceiling>(&state, CEILING).unwrap_or_default().seen_by(epoch);
        let off = value(&state, AUTOMATION);
        let mut zones = ZoneKeeper::new(&state);
        zones.take_over(&setup, storeless.is_some());
        let parked = state.into_iter().filter(|(key, _)| is_about_nobody(config, key)).collect();
        let mut daemon = Self {
            watches: vec![Watch::default(); setup.workflows.len()],
            duties: config.regions.map(|_, _| Duty::Active),
            kept: config.regions.map(|id, _| senses.regions[id].known().cloned()),
            kept_places: kept_places(&senses),
            senses,
            traffic,
            engine,
            epoch,
            head,
            off,
            parked,
            storeless,
            outbox: Outbox::default(),
            table: None,
            answers: Vec::new(),
            zones,
            signed: None,
            signed_anew: false,
            signed_zones: Vec::new(),
            sealed: Vec::new(),
            unions: Unions::default(),
            compiler: Compiler::default(),
            generation: Generation(ceiling),
            ceiling,
            outside: Outside::default(),
            moved: Moved::default(),
            engine_moved: true,
            asked: BTreeMap::new(),
            events: Vec::new(),
            replies: Vec::new(),
            was_failing: false,
            stopping: false,
            geo_trouble: None,
            settled: Vec::new(),
            rng,
            setup,
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let epoch = daemon.storeless.is_none().then_some(epoch);
        daemon.events.push(Event::Started { version, epoch });
        daemon
    }

    // ── what comes in ──

    /// The result of one probe.
    pub fn sample(&mut self, sample: &Sample, now: Now) {
        let change = self.senses.sample(sample, now);
        self.changes(change);
    }

    /// Whether what probes have brought may change what was decided. If not it can wait for
    /// whatever else makes the daemon decide.
    pub fn has_news(&self) -> bool {
        self.senses.has_news()
    }

    /// What one round of a group has brought.
    pub fn round(&mut self, round: &Round, now: Now) {
        let config = Arc::clone(&self.setup.config);
        let changes = self.senses.round(&config, round, now);
        self.changes(changes);
        if let Some(well) = self.senses.groups[round.group].take_well(&config.groups[round.group]) {
            self.outbox.put(format!("group/{}", config.groups.name(round.group)), &well);
        }
    }

    pub(super) fn changes(&mut self, changes: impl IntoIterator<Item = Change>) {
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
        self.settled.extend(written.settled);
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

    pub(super) fn refused(&mut self, receipt: Receipt, refusal: &Refusal) {
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

    /// The store's file cannot even be opened anew, so that there is no word of the last write;
    /// none: it can again.
    pub fn store_in_trouble(&mut self, why: Option<String>) {
        self.outbox.trouble(why);
    }

    /// Keeps a value that the rim needs at the next start.
    pub fn keep(&mut self, key: &str, value: &impl Serialize) {
        self.outbox.put(key.to_owned(), value);
    }

    /// Takes over signatures that were made for the image of the present setup; the next table
    /// has them.
    pub fn sign(&mut self, signed: Option<Arc<Signed>>) {
        self.signed = signed;
        self.signed_anew = true;
    }

    /// The signatures that stand in the table, or will in the next one.
    pub fn signed(&self) -> Option<&Arc<Signed>> {
        self.signed.as_ref()
    }

    /// The keys of the signatures in the table.
    pub fn keys_in_force(&self) -> Vec<Arc<ZoneKeys>> {
        let signed = self.signed.as_ref().filter(|_| !self.signed_anew);
        signed.into_iter().flat_map(|signed| signed.keys()).cloned().collect()
    }

    /// Takes down how the keys of signed zones stand, for whoever asks.
    pub fn show_keys(&mut self, zones: Vec<ZoneView>) {
        self.signed_zones = zones;
    }

    /// How the keys of signed zones stand.
    pub fn signed_zones(&self) -> &[ZoneView] {
        &self.signed_zones
    }

    /// The process is about to end: nothing new begins.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.zones.seal(&mut self.outbox);
    }

    /// Executions that have come to their end since this was last asked.
    pub fn take_settled(&mut self) -> Vec<ExecutionView> {
        std::mem::take(&mut self.settled)
    }

    /// What stands against another configuration: a service that a workflow has moved to a region
    /// which is not in its policy there. It would go to the policy's first region without a word,
    /// where the writer may be one no longer.
    pub fn stranded(&self, new: &Config) -> Option<String> {
        let old = &self.setup.config;
        old.services.iter().find_map(|(id, _)| {
            let name = old.services.name(id);
            let service = &new.services[new.services.id(name)?];
            let dial = self.traffic.dial(id)?;
            let regions = &service.regions;
            let kept = regions.iter().any(|region| dial.share(new.regions.name(*region)) > 0);
            let dialled: Vec<&str> = dial.shares.keys().map(String::as_str).collect();
            (service.switched_by == SwitchedBy::Workflow && !kept).then(|| {
                format!(
                    "{name} is dialled to {}, which its new policy does not name: dial it elsewhere first, or keep the region",
                    dialled.join(", ")
                )
            })
        })
    }

    /// What whoever reloads zones ought to know: files that have changed under an old serial.
    pub fn stale_zones(&self, new: &Setup) -> Vec<String> {
        self.zones.stale(new).collect()
    }

    /// Takes over another configuration. What has the same name keeps its state.
    pub fn reconfigure(&mut self, setup: Arc<Setup>, words: String) {
        let (old, new) = (Arc::clone(&self.setup.config), Arc::clone(&setup.config));
        self.park(&old, &new);
        let parked = &self.parked;
        self.senses = self.senses.reconfigured(
            &old,
            &new,
            |region| value(parked, &format!("region/{region}")),
            |place| value(parked, &format!("place/{place}")),
        );
        self.traffic = self.traffic.reconfigured(
            &old,
            &new,
            |region| value(parked, &format!("override/{region}")),
            |service| value(parked, &format!("service/{service}")),
        );
        self.parked.retain(|key, _| is_about_nobody(&new, key));
        // A trigger that waits for something else now has seen nothing of it yet.
        let watched = |setup: &Setup, workflow: usize| {
            let name = setup.workflows.get(workflow)?.name.clone();
            let when = setup.config.workflows.get(workflow)?.when.as_ref();
            Some((
                name,
                when.map(|when| (setup.config.regions.name(when.region).to_string(), when.turns.clone())),
            ))
        };
        let find = |from: &Setup, to: &Setup, workflow: usize| {
            let wanted = watched(from, workflow)?;
            (0..to.workflows.len()).find(|there| watched(to, *there).as_ref() == Some(&wanted))
        };
        let watches = (0..setup.workflows.len()).map(|workflow| {
            let before = find(&setup, &self.setup, workflow);
            before.map_or_else(Watch::default, |before| self.watches[before].clone())
        });
        self.watches = watches.collect();
        // Starts that are on their way find their workflow again.
        self.asked = std::mem::take(&mut self.asked)
            .into_iter()
            .map(|(receipt, (workflow, occasion))| {
                (receipt, (find(&self.setup, &setup, workflow).unwrap_or(usize::MAX), occasion))
            })
            .collect();
        self.duties = new.regions.map(|id, _| {
            old.regions.id(new.regions.name(id)).map_or(Duty::Active, |before| self.duties[before])
        });
        self.kept = new.regions.map(|id, _| self.senses.regions[id].known().cloned());
        self.kept_places = kept_places(&self.senses);
        self.zones.take_over(&setup, self.storeless.is_some());
        self.setup = setup;
        self.geo_trouble = None;
        // They were made for another image.
        self.signed = None;
        // Every answer is compiled anew: addresses may have changed under the same choice.
        self.answers.clear();
        self.engine_moved = true;
        self.events.push(Event::Reloaded { words });
    }

    /// Takes over the same configuration with other data on where clients are: answers move, and
    /// nothing else does.
    pub fn relocate(&mut self, setup: Arc<Setup>, words: String) {
        debug_assert!(Arc::ptr_eq(&self.setup.config, &setup.config));
        self.setup = setup;
        self.traffic.relocated(&self.setup.config);
        self.geo_trouble = None;
        self.answers.clear();
        self.events.push(Event::Relocated { words });
    }

    /// Notes why newer data on where clients are cannot be taken over; none: they are what is on
    /// disk.
    pub fn geo_in_trouble(&mut self, why: Option<String>) {
        self.geo_trouble = why;
    }

    /// Keeps what is known of regions and services that a new configuration does not have, as
    /// the store does: it may be back with the next one, and must not begin anew.
    fn park(&mut self, old: &Config, new: &Config) {
        let mut park = |key: String, value: serde_json::Result<Value>| {
            self.parked.insert(key, value.expect("keys are texts and numbers are finite"));
        };
        for region in old.regions.ids() {
            let name = old.regions.name(region);
            if new.regions.id(name).is_some() {
                continue;
            }
            if let Some(known) = self.senses.regions[region].known() {
                park(format!("region/{name}"), serde_json::to_value(known));
            }
            if let Some(word) = self.traffic.override_of(region) {
                park(format!("override/{name}"), serde_json::to_value(word));
            }
        }
        for (&(service, region), state) in &self.senses.places {
            let place = place_name(old, service, region);
            let stays = !is_about_nobody(new, &format!("place/{place}"));
            if let Some(known) = state.known().filter(|_| !stays) {
                park(format!("place/{place}"), serde_json::to_value(known));
            }
        }
        for service in old.services.ids().filter(|id| new.services.id(old.services.name(*id)).is_none()) {
            let memory = self.traffic.memory(old, service);
            park(format!("service/{}", old.services.name(service)), serde_json::to_value(memory));
        }
    }
}

/// Whether a state key is about a region or a service that the configuration does not have.
fn is_about_nobody(config: &Config, key: &str) -> bool {
    match key.split_once('/') {
        Some(("region" | "override", name)) => config.regions.id(name).is_none(),
        Some(("service", name)) => config.services.id(name).is_none(),
        Some(("place", place)) => {
            let (service, region) = place.split_once('/').unwrap_or((place, ""));
            let service = config.services.id(service).map(|id| &config.services[id]);
            let there = config.regions.id(region).zip(service);
            !there.is_some_and(|(region, service)| service.layers.contains_key(&region))
        }
        _ => false,
    }
}

fn kept_places(senses: &Senses) -> BTreeMap<(ServiceId, RegionId), Option<Known>> {
    senses.places.iter().map(|(place, state)| (*place, state.known().cloned())).collect()
}

fn value<T: serde::de::DeserializeOwned>(state: &BTreeMap<String, Value>, key: &str) -> Option<T> {
    // What a later version wrote and we cannot read is as if it were not there: the daemon
    // finds out for itself.
    serde_json::from_value(state.get(key)?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each process publishes as much as it has reserved, and any of them may be killed before
    /// the store has taken its word for it.
    #[test]
    fn table_numbers_never_go_back() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let (mut kept, mut published) = (Ceiling::default(), 0);
            for epoch in 1..20 {
                let base = kept.seen_by(epoch);
                assert!(base >= published, "epoch {epoch}: {base} after {published}");
                published = base + GENERATIONS_RESERVED;
                if rng.bool() {
                    kept = Ceiling { epoch, number: published };
                }
            }
        }
    }
}
