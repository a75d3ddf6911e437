//! Which region each service answers: places, dials and operators' words, folded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Senses;
use crate::base::{Health, IdSet, Index, Mono, Named, Now, RegionId, ServiceId, Timestamp};
use crate::config::{Config, Service};
use crate::region::{
    Audience, Choice, Dial, Duty, Membership, Note, Override, OverrideKind, Reason, Scene, Seat, Serving,
    choose, reasons, rule_words,
};

/// Everything that moves traffic.
#[derive(Debug)]
pub struct Traffic {
    services: Named<ServiceId, ServiceState>,
    overrides: BTreeMap<RegionId, Override>,
    seats: Named<RegionId, Seat>,
    /// The same for services that have layers of their own.
    own_seats: BTreeMap<ServiceId, Named<RegionId, Seat>>,
    /// Something other than the seats has changed since the last step.
    touched: bool,
}

/// A service as it stands.
#[derive(Debug, Default, Clone)]
struct ServiceState {
    members: BTreeMap<RegionId, Membership>,
    dial: Option<Dial>,
    chosen: Option<Choice>,
    /// The regions that were answered under the configuration before this one.
    before: Vec<RegionId>,
    /// Regions that had their place and lost it, and are not in the policy now.
    elsewhere: BTreeSet<String>,
    /// A workflow that will dial it is running, or about to.
    change_ahead: bool,
    /// What is out of the ordinary about it.
    note: Note,
}

/// Services that are otherwise than before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Moved {
    /// They answer otherwise, be it only with another TTL.
    pub answers: IdSet<ServiceId>,
    /// They answer other regions, or for another reason.
    pub picks: IdSet<ServiceId>,
    /// Their answers are the same, and something else is out of the ordinary about them.
    pub notes: IdSet<ServiceId>,
    /// A region has lost its place or got it back.
    pub places: IdSet<ServiceId>,
}

impl Moved {
    /// Takes in what moved later.
    pub fn extend(&mut self, later: &Moved) {
        self.answers.extend(&later.answers);
        self.picks.extend(&later.picks);
        self.notes.extend(&later.notes);
        self.places.extend(&later.places);
    }
}

/// What outlives the process of a service's state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ServiceMemory {
    /// The shares dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial: Option<Dial>,
    /// Regions that had their place and lost it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out: Vec<String>,
}

/// What others decide that traffic depends on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outside {
    /// Regions that owe an obligation.
    pub quarantined: BTreeSet<RegionId>,
    /// Services that a workflow will dial which runs, or waits to.
    pub dialling: BTreeSet<ServiceId>,
}

impl Traffic {
    /// Where an earlier process left off.
    pub fn new(
        config: &Config,
        overrides: BTreeMap<RegionId, Override>,
        mut memory: impl FnMut(&str) -> Option<ServiceMemory>,
    ) -> Self {
        let services = config.services.map(|id, _| {
            ServiceState::restored(config, id, memory(config.services.name(id)).unwrap_or_default())
        });
        Self { services, overrides, seats: Named::default(), own_seats: BTreeMap::new(), touched: true }
    }

    /// Goes on under a new configuration: dials, places and overrides are kept by name.
    /// `words` and `memory`: what was said of regions, and what was kept of services, that the
    /// old one did not have.
    pub fn reconfigured(
        &self,
        old: &Config,
        new: &Config,
        mut words: impl FnMut(&str) -> Option<Override>,
        mut memory: impl FnMut(&str) -> Option<ServiceMemory>,
    ) -> Self {
        let services = new.services.map(|id, service| {
            let name = new.services.name(id);
            let Some(before) = old.services.id(name) else {
                return ServiceState::restored(new, id, memory(name).unwrap_or_default());
            };
            let state = &self.services[before];
            let mut next = ServiceState::restored(new, id, self.memory(old, before));
            let region = |before: RegionId| new.regions.id(old.regions.name(before));
            for (id, member) in &state.members {
                if let Some(id) = region(*id).filter(|id| service.regions.contains(id)) {
                    next.members.insert(id, member.clone());
                }
            }
            let before = state.chosen.as_ref().map_or_else(|| state.before.clone(), Choice::regions);
            next.before = before.into_iter().filter_map(region).collect();
            next
        });
        let overrides = new.regions.ids().filter_map(|id| {
            let name = new.regions.name(id);
            let word = match old.regions.id(name) {
                Some(before) => self.overrides.get(&before).cloned(),
                None => words(name),
            };
            Some((id, word?))
        });
        Self {
            services,
            overrides: overrides.collect(),
            seats: Named::default(),
            own_seats: BTreeMap::new(),
            touched: true,
        }
    }

    /// Clients are told apart otherwise than before.
    pub fn relocated(&mut self, config: &Config) {
        for (id, state) in self.services.iter_mut() {
            if config.services[id].policy.asks_where()
                && let Some(choice) = state.chosen.take()
            {
                state.before = choice.regions();
            }
        }
        self.touched = true;
    }

    /// Decides anew; tells what is otherwise than before. `audiences`: the clients of each service.
    pub fn step(
        &mut self,
        config: &Config,
        audiences: &[Arc<Audience>],
        senses: &Senses,
        outside: &Outside,
        now: Now,
    ) -> Moved {
        let seats = config.regions.map(|region, _| self.seat(senses, outside, region));
        let own = own_seats(config, senses, &seats);
        let same = |old: &Named<RegionId, Seat>, new: &Named<RegionId, Seat>| {
            old.len() == new.len() && old.values().eq(new.values())
        };
        let unchanged = same(&self.seats, &seats)
            && self.own_seats.len() == own.len()
            && self.own_seats.iter().zip(&own).all(|(old, new)| old.0 == new.0 && same(old.1, new.1));
        (self.seats, self.own_seats) = (seats, own);
        // Nothing but time has passed: only places that time gives back can change.
        let only_time = unchanged && !self.touched;
        self.touched = false;
        let mut moved = Moved::default();
        for (id, service) in config.services.iter() {
            let state = &mut self.services[id];
            let ahead = outside.dialling.contains(&id);
            let waits = state.members.values().any(Membership::is_held);
            if only_time && !waits && state.change_ahead == ahead {
                continue;
            }
            state.change_ahead = ahead;
            let seats = self.own_seats.get(&id).unwrap_or(&self.seats);
            if state.step(service, seats, now.mono) {
                moved.places.insert(id);
            }
            let scene = state.scene(config, seats, now.mono);
            let chosen = choose(service, audiences[id.position()].trees(), &scene);
            let before = state.chosen.as_ref();
            if !before.is_some_and(|before| before.answers_like(&chosen)) {
                moved.answers.insert(id);
            }
            let same =
                |before: &Choice| (&before.outcomes, &before.classes) == (&chosen.outcomes, &chosen.classes);
            if !before.is_some_and(same) {
                moved.picks.insert(id);
            }
            let note = Note::on(&chosen, seats);
            if note != state.note {
                moved.notes.insert(id);
            }
            state.note = note;
            state.chosen = Some(chosen);
        }
        moved
    }

    fn seat(&self, senses: &Senses, outside: &Outside, region: RegionId) -> Seat {
        let state = &senses.regions[region];
        let word = self.overrides.get(&region).map(|word| word.kind);
        Seat {
            known: state.known_health(),
            veiled: state.unknown_since().is_some() || !state.measured(),
            drained: word == Some(OverrideKind::Drain),
            forced: word == Some(OverrideKind::Force),
            held: word == Some(OverrideKind::Hold),
            quarantined: outside.quarantined.contains(&region),
            could_change_in: senses.could_change_in(region),
        }
    }

    /// What decides about a region's place.
    pub fn seat_of(&self, region: RegionId) -> Option<&Seat> {
        (region.0 as usize).lt(&self.seats.len()).then(|| &self.seats[region])
    }

    /// What decides about the places of a service.
    fn seats_of(&self, service: ServiceId) -> &Named<RegionId, Seat> {
        self.own_seats.get(&service).unwrap_or(&self.seats)
    }

    /// What is out of the ordinary about each service's answers, in the order of their ids.
    pub fn notes(&self) -> Vec<Note> {
        self.services.values().map(|state| state.note).collect()
    }

    /// What a service answers.
    pub fn choice(&self, service: ServiceId) -> Option<&Choice> {
        self.services[service].chosen.as_ref()
    }

    /// The shares that were dialled.
    pub fn dial(&self, service: ServiceId) -> Option<&Dial> {
        self.services[service].dial.as_ref()
    }

    /// Sets the shares of a service.
    ///
    /// # Errors
    /// A stale token: somebody with a higher one has dialled since.
    pub fn set_dial(&mut self, config: &Config, service: ServiceId, dial: Dial) -> Result<(), Dial> {
        let state = &mut self.services[service];
        if let Some(before) = state.dial.as_ref().filter(|before| before.token > dial.token) {
            return Err(before.clone());
        }
        state.dial = Some(dial);
        self.touched = true;
        // Where traffic is sent on purpose, nothing is held back any more.
        let dial = state.dial.as_ref().expect("it was just set");
        for (region, member) in &mut state.members {
            if dial.share(config.regions.name(*region)) > 0 {
                member.release();
            }
        }
        Ok(())
    }

    /// An operator's word on a region, if there is one.
    pub fn override_of(&self, region: RegionId) -> Option<&Override> {
        self.overrides.get(&region)
    }

    /// Takes an operator's word; the newest counts.
    pub fn set_override(&mut self, region: RegionId, word: Override) {
        self.overrides.insert(region, word);
        self.touched = true;
    }

    /// Takes an operator's word back, and lets held places go.
    pub fn release(&mut self, region: RegionId) -> Option<Override> {
        for (_, state) in self.services.iter_mut() {
            if let Some(member) = state.members.get_mut(&region) {
                member.release();
            }
        }
        self.touched = true;
        self.overrides.remove(&region)
    }

    /// Takes out the overrides that have expired.
    pub fn expire(&mut self, now: Timestamp) -> Vec<(RegionId, Override)> {
        let over: Vec<RegionId> =
            self.overrides.iter().filter(|(_, word)| word.expires <= now).map(|(id, _)| *id).collect();
        self.touched |= !over.is_empty();
        over.into_iter().filter_map(|region| Some((region, self.overrides.remove(&region)?))).collect()
    }

    /// What operators and rules say of each region.
    pub fn duties(&self, config: &Config) -> Named<RegionId, Duty> {
        let members = self.services.values().flat_map(|state| &state.members);
        let held: IdSet<RegionId> =
            members.filter(|(_, member)| member.is_held()).map(|(region, _)| *region).collect();
        config.regions.map(|region, _| {
            let Some(seat) = self.seat_of(region) else { return Duty::Active };
            if seat.quarantined {
                Duty::Quarantined
            } else if seat.drained {
                Duty::Drained
            } else if seat.forced {
                Duty::Forced
            } else if held.contains(region) {
                Duty::Held
            } else {
                Duty::Active
            }
        })
    }

    /// Services in which a region is healthy again and not let back.
    pub fn held_services(&self, region: RegionId) -> impl Iterator<Item = ServiceId> + '_ {
        self.services
            .iter()
            .filter(move |(_, state)| state.members.get(&region).is_some_and(Membership::is_held))
            .map(|(id, _)| id)
    }

    /// Services that follow health and would be left without any fit region if this one went, be
    /// it for some of their clients only.
    pub fn would_empty(
        &self,
        config: &Config,
        audiences: &[Arc<Audience>],
        region: RegionId,
    ) -> Vec<ServiceId> {
        // Drains that were given since the last step count too.
        let drained =
            |other: RegionId| self.overrides.get(&other).is_some_and(|word| word.kind == OverrideKind::Drain);
        let stays = |service: ServiceId, other: RegionId| {
            let seats = self.seats_of(service);
            let is_known = (other.0 as usize) < seats.len();
            other != region && !drained(other) && is_known && seats[other].fit()
        };
        let emptied = config.services.iter().filter(|(id, service)| {
            service.switched_by == crate::config::SwitchedBy::Health
                && service.regions.contains(&region)
                && audiences[id.position()].trees().iter().any(|tree| {
                    let regions = tree.regions();
                    regions.contains(&region) && !regions.into_iter().any(|other| stays(*id, other))
                })
        });
        emptied.map(|(id, _)| id).collect()
    }

    /// The rule that decided what a class of a service's clients is answered, and for each region
    /// why it is answered or not.
    pub fn explain(
        &self,
        config: &Config,
        senses: &Senses,
        service: ServiceId,
        audience: &Audience,
        class: u16,
        now: Mono,
    ) -> Option<(String, Vec<Reason>)> {
        let state = &self.services[service];
        let outcome = state.chosen.as_ref()?.outcome(class)?;
        let tree = audience.trees().get(usize::from(class))?;
        let spec = &config.services[service];
        let scene = state.scene(config, self.seats_of(service), now);
        let mut reasons = reasons(spec, tree, &scene, outcome);
        for (region, reason) in spec.regions.iter().zip(&mut reasons) {
            let Some(place) = senses.places.get(&(service, *region)) else { continue };
            if place.health() != Health::Healthy {
                reason.words.push_str(&format!(
                    "; the service's own checks: {}: {}",
                    place.health(),
                    place.why()
                ));
            }
        }
        Some((rule_words(spec, &scene, outcome.rule), reasons))
    }

    /// What of a service must outlive the process.
    pub fn memory(&self, config: &Config, service: ServiceId) -> ServiceMemory {
        let state = &self.services[service];
        let out = state.members.iter().filter(|(_, member)| member.had_place_and_lost_it());
        let out = out.map(|(region, _)| config.regions.name(*region).to_string());
        ServiceMemory { dial: state.dial.clone(), out: out.chain(state.elsewhere.iter().cloned()).collect() }
    }
}

/// What decides about the places of services that have layers of their own: what is worse of the
/// region's health and of the service's own there.
fn own_seats(
    config: &Config,
    senses: &Senses,
    seats: &Named<RegionId, Seat>,
) -> BTreeMap<ServiceId, Named<RegionId, Seat>> {
    let mut own: BTreeMap<ServiceId, Named<RegionId, Seat>> = BTreeMap::new();
    for (&(service, region), state) in &senses.places {
        let seats = own.entry(service).or_insert_with(|| seats.clone());
        let seat = &mut seats[region];
        // A region of which nothing is known and one that is known to be bad: bad.
        seat.known = match (seat.known, state.known_health()) {
            (Some(region), Some(place)) => Some(region.max(place)),
            (one, other) => one.or(other).filter(|health| health.is_bad()),
        };
        seat.veiled |= state.unknown_since().is_some() || !state.measured();
        let span = senses.place_could_change_in(config, service, region);
        seat.could_change_in = seat.could_change_in.min(span.unwrap_or(Duration::MAX));
    }
    own
}

impl ServiceState {
    /// Going on from what was kept of it.
    fn restored(config: &Config, id: ServiceId, memory: ServiceMemory) -> Self {
        let policy = &config.services[id].regions;
        let mut state = Self { dial: memory.dial, ..Self::default() };
        for name in memory.out {
            match config.regions.id(&name).filter(|region| policy.contains(region)) {
                Some(region) => drop(state.members.insert(region, Membership::restored_out())),
                None => drop(state.elsewhere.insert(name)),
            }
        }
        state
    }

    /// Moves the places of its regions on; tells whether one was lost or got back.
    fn step(&mut self, service: &Service, seats: &Named<RegionId, Seat>, now: Mono) -> bool {
        let mut fully_fit = 0u32;
        service.regions.iter().for_each(|region| fully_fit += u32::from(seats[*region].fully_fit()));
        let mut moved = false;
        let members = &mut self.members;
        for &region in &service.regions {
            let seat = &seats[region];
            let alone = fully_fit == u32::from(seat.fully_fit());
            let member = members.entry(region).or_insert_with(|| Membership::initial(seat));
            let before = member.is_in();
            member.step(seat, service.failback, alone, now);
            moved |= before != member.is_in();
        }
        moved
    }

    fn scene<'a>(&'a self, config: &'a Config, seats: &'a Named<RegionId, Seat>, now: Mono) -> Scene<'a> {
        Scene {
            regions: &config.regions,
            seats,
            members: &self.members,
            dial: self.dial.as_ref(),
            serving: match &self.chosen {
                Some(choice) => Serving::Choice(choice),
                None => Serving::Regions(&self.before),
            },
            change_ahead: self.change_ahead,
            now,
        }
    }
}
