//! Zones as secondary servers see them: which version there is, and how it came to be.
//!
//! Where a zone counts its own versions (`serial: increment` or `unixtime`), the count outlives
//! the process. A secondary must never see two contents under one serial, nor a newer one under
//! a lower serial. So a process reserves serials ahead in the store, and the next one starts
//! above what was reserved, unless the one before has ended in order and nothing has changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Setup;
use super::event::Event;
use super::journal::Outbox;
use crate::base::Now;
use crate::config::{Config, DynamicNames, SerialPolicy, ZoneFile};
use crate::table::{Change, Image, Table};
use crate::transfer::{
    History, Records, Serial, Step, TsigKeys, ZoneState, Zones, difference, soa_with_serial,
};
use crate::wire::Name;

/// So many serials are reserved with one write.
const SERIALS_RESERVED: u32 = 64;

/// What is kept of a zone that counts its own versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Counter {
    serial: Serial,
    /// No serial above this one has been told to anybody.
    ceiling: Serial,
    /// Of all records of that version, see [`digest`].
    digest: u64,
    /// The process that wrote this has ended, and nothing came after.
    sealed: bool,
}

/// Where counts are kept: behind this, by the zone's name.
const KEY: &str = "zone/";

fn key(zone: &Name) -> String {
    format!("{KEY}{zone}")
}

/// One zone.
#[derive(Clone, Debug)]
struct Life {
    state: Arc<ZoneState>,
    /// The count, if this zone counts its own versions, and here.
    counter: Option<Counter>,
    policy: SerialPolicy,
    /// What services answered in the version that is told.
    dynamic: Vec<u8>,
    /// What became of the file since.
    pending: Option<Pending>,
}

/// Another file than the version that is told was made from.
#[derive(Clone, Debug)]
struct Pending {
    change: Change,
    soa: Vec<u8>,
    /// It was not there before this process.
    new: bool,
}

/// All zones, over flips and reloads.
#[derive(Clone, Debug, Default)]
pub(super) struct ZoneKeeper {
    lives: Vec<Life>,
    keys: Arc<TsigKeys>,
    /// The newest counts, of zones that are gone too: they may be back with the next reload.
    kept: BTreeMap<String, Counter>,
    /// What the table has.
    published: Arc<Zones>,
    moved: bool,
}

impl ZoneKeeper {
    /// Goes on from what the store has.
    pub(super) fn new(state: &BTreeMap<String, Value>) -> Self {
        let counter = |value: &Value| serde_json::from_value(value.clone()).ok();
        let counts = state.range(KEY.to_owned()..).take_while(|(key, _)| key.starts_with(KEY));
        let kept = counts.filter_map(|(key, value)| Some((key.clone(), counter(value)?))).collect();
        Self { kept, ..Self::default() }
    }

    /// Takes over the zones of a setup; those that were there before go on from what they were.
    /// `storeless`: nothing can be kept.
    pub(super) fn take_over(&mut self, setup: &Setup, storeless: bool) {
        let (config, image) = (&setup.config, &setup.image);
        let before = std::mem::take(&mut self.lives);
        let lives = config.zones.iter().enumerate().map(|(nth, zone)| {
            let soa = image.zone(zone.name.as_wire()).map(|number| image.soa(number)).unwrap_or_default();
            let counts = counts_here(config, zone);
            let old = before.iter().find(|life| life.state.name == zone.name);
            // A zone that counts otherwise than before is another one to its secondaries.
            let old =
                old.filter(|old| (old.policy, old.counter.is_some()) == (zone.serial, counts && !storeless));
            let change = setup.changes.get(nth).cloned().unwrap_or(Change::Whole);
            let mut life = match old {
                Some(old) => old.clone(),
                None => Life {
                    state: Arc::new(ZoneState::new(
                        zone.name.clone(),
                        Arc::clone(&zone.transfer),
                        soa.clone(),
                    )),
                    counter: None,
                    policy: zone.serial,
                    dynamic: Vec::new(),
                    pending: None,
                },
            };
            life.pending = Some(Pending { change, soa, new: old.is_none() });
            if counts && !storeless && life.counter.is_none() {
                let fresh = Counter {
                    serial: life.state.serial,
                    ceiling: life.state.serial,
                    digest: 0,
                    sealed: false,
                };
                life.counter = Some(self.kept.get(&key(&zone.name)).copied().unwrap_or(fresh));
            }
            let state = Arc::make_mut(&mut life.state);
            state.rules = Arc::clone(&zone.transfer);
            state.withheld = withheld(config, zone, counts, storeless);
            life
        });
        self.lives = lives.collect();
        self.keys = Arc::clone(&setup.tsig);
        self.moved = true;
    }

    /// Makes the newest versions, given the table to come; what has changed is told.
    pub(super) fn settle(
        &mut self,
        table: &Table,
        now: Now,
        outbox: &mut Outbox,
        events: &mut Vec<Event>,
    ) -> Arc<Zones> {
        for life in &mut self.lives {
            if life.settle(table, now, events) {
                self.moved = true;
                if let Some(counter) = life.counter {
                    outbox.put(key(&life.state.name), &counter);
                    self.kept.insert(key(&life.state.name), counter);
                }
            }
        }
        if std::mem::take(&mut self.moved) {
            let list = self.lives.iter().map(|life| Arc::clone(&life.state)).collect();
            self.published = Arc::new(Zones::new(list, Arc::clone(&self.keys)));
        }
        Arc::clone(&self.published)
    }

    /// What is to be said of zones whose file has changed under a serial that is not newer than the
    /// one that is told, each with its name: nobody who has the zone will fetch it.
    pub(super) fn stale<'s>(&'s self, setup: &'s Setup) -> impl Iterator<Item = String> + 's {
        let zones = setup.config.zones.iter().zip(&setup.changes);
        zones.filter_map(|(zone, change)| {
            let life = self.lives.iter().find(|life| life.state.name == zone.name)?;
            let soa = setup.image.soa(setup.image.zone(zone.name.as_wire())?);
            let (serial, told) = (serial_of(&soa)?, life.state.serial);
            let goes_on = life.counter.is_none() && life.policy == zone.serial;
            let same = soa == life.state.soa && *change == Change::None;
            (goes_on && !same && !serial.is_newer_than(told))
                .then(|| format!("{}: {}", zone.name, stale(serial, told)))
        })
    }

    /// The counts as the next process may go on from them: this one changes nothing any more.
    pub(super) fn seal(&mut self, outbox: &mut Outbox) {
        for life in &mut self.lives {
            if let Some(counter) = &mut life.counter {
                counter.sealed = true;
                outbox.put(key(&life.state.name), counter);
            }
        }
    }
}

fn stale(serial: Serial, told: Serial) -> String {
    format!(
        "the serial in its file is {serial}, which is not newer than {told}: secondary servers keep what they have"
    )
}

/// Whether a zone's versions are counted, and at this site.
fn counts_here(config: &Config, zone: &ZoneFile) -> bool {
    zone.serial != SerialPolicy::Keep
        && zone.primary.as_ref().is_none_or(|primary| *primary == config.site.name)
}

/// Why nobody may fetch a zone here, if so.
fn withheld(config: &Config, zone: &ZoneFile, counts: bool, storeless: bool) -> Option<String> {
    if zone.dnssec.is_some() && !zone.transfer.unsigned {
        let why = "it is signed as it is answered, and has no chain of NSEC records to hand out: \
                   `unsigned: true` gives it unsigned to a server that signs it";
        return Some(why.to_owned());
    }
    if zone.serial == SerialPolicy::Keep {
        return None;
    }
    if !counts {
        let primary = zone.primary.as_deref().unwrap_or_default();
        return Some(format!("site {primary} keeps its serial, and {} does not", config.site.name));
    }
    storeless.then(|| "its serial cannot be kept: there is no store to write to".to_owned())
}

impl Life {
    fn follows_services(&self) -> bool {
        self.counter.is_some() && self.state.rules.dynamic_names == DynamicNames::CurrentAnswer
    }

    /// Makes the newest version; whether it is another one.
    fn settle(&mut self, table: &Table, now: Now, events: &mut Vec<Event>) -> bool {
        let image = table.image();
        let Some(number) = image.zone(self.state.name.as_wire()) else { return false };
        if self.pending.is_none() && !self.follows_services() {
            return false;
        }
        let dynamic = match self.follows_services() {
            true => table.dynamic_records(number),
            false => Vec::new(),
        };
        let pending = self.pending.take();
        match &self.counter {
            Some(_) => self.count(image, number, pending, dynamic, now, events),
            None => self.follow(pending, events),
        }
    }

    /// The serial is the file's.
    fn follow(&mut self, pending: Option<Pending>, events: &mut Vec<Event>) -> bool {
        let Some(Pending { change, soa, new }) = pending else { return false };
        let old = Arc::clone(&self.state);
        if new || (soa == old.soa && change == Change::None) {
            return new;
        }
        let state = Arc::make_mut(&mut self.state);
        *state = ZoneState {
            withheld: state.withheld.take(),
            ..ZoneState::new(state.name.clone(), Arc::clone(&state.rules), soa)
        };
        let is_newer = state.serial.is_newer_than(old.serial);
        let records = change_counts(&change);
        if is_newer {
            state.history = Arc::new(extended(&old, state, change));
        }
        let problem = (!is_newer).then(|| stale(state.serial, old.serial));
        events.push(told(state, Some(old.serial), records, problem));
        true
    }

    /// The serial is ours.
    fn count(
        &mut self,
        image: &Image,
        number: u16,
        pending: Option<Pending>,
        dynamic: Vec<u8>,
        now: Now,
        events: &mut Vec<Event>,
    ) -> bool {
        let Some(mut counter) = self.counter else { return false };
        let old = Arc::clone(&self.state);
        let wanted = pending.as_ref().and_then(|pending| serial_of(&pending.soa)).unwrap_or(old.serial);
        let next_after = |serial: Serial| match self.policy {
            SerialPolicy::Unixtime => {
                let seconds = Serial(now.wall.as_second() as u32);
                seconds.at_least_after(wanted.at_least_after(serial).plus(u32::MAX))
            }
            _ => wanted.at_least_after(serial),
        };
        let soa = pending.as_ref().map_or(&old.soa, |pending| &pending.soa).clone();
        if pending.as_ref().is_some_and(|pending| pending.new) {
            let digest = digest(image, number, &soa, &dynamic);
            let same = counter.sealed && counter.digest == digest && !wanted.is_newer_than(counter.serial);
            let is_first = counter.digest == 0 && counter.serial == wanted;
            if !same {
                counter.serial = match (is_first, self.policy) {
                    (true, SerialPolicy::Increment) => wanted,
                    _ => next_after(counter.ceiling),
                };
            }
            (counter.digest, counter.sealed) = (digest, false);
            counter.ceiling = counter.serial.plus(SERIALS_RESERVED);
            self.tell(counter, &soa, History::default());
            self.dynamic = dynamic;
            events.push(told(&self.state, None, None, None));
            return true;
        }
        let (mut deleted, mut added) = difference(&self.dynamic, &dynamic);
        let mut whole = false;
        if let Some(pending) = &pending {
            match &pending.change {
                Change::None => {}
                Change::Records { deleted: gone, added: come } => {
                    deleted.extend_from_slice(gone);
                    added.extend_from_slice(come);
                }
                Change::Whole => whole = true,
            }
        }
        let soa_differs = soa_with_serial(&soa, old.serial) != old.soa;
        let same = deleted.is_empty() && added.is_empty() && !whole && !soa_differs;
        if same && !wanted.is_newer_than(old.serial) {
            return false;
        }
        counter.serial = next_after(old.serial);
        counter.sealed = false;
        if counter.serial.is_newer_than(counter.ceiling) {
            counter.ceiling = counter.serial.plus(SERIALS_RESERVED);
        }
        counter.digest = match whole {
            true => digest(image, number, &soa, &dynamic),
            false => (counter.digest)
                .wrapping_add(sum(&added))
                .wrapping_sub(sum(&deleted))
                .wrapping_add(sum(&soa_with_serial(&soa, Serial(0))))
                .wrapping_sub(sum(&soa_with_serial(&old.soa, Serial(0)))),
        };
        self.tell(counter, &soa, History::default());
        let change = if whole { Change::Whole } else { Change::Records { deleted, added } };
        let records = change_counts(&change);
        let history = extended(&old, &self.state, change);
        Arc::make_mut(&mut self.state).history = Arc::new(history);
        self.dynamic = dynamic;
        events.push(told(&self.state, Some(old.serial), records, None));
        true
    }

    fn tell(&mut self, counter: Counter, soa: &[u8], history: History) {
        self.counter = Some(counter);
        let state = Arc::make_mut(&mut self.state);
        state.moved = serial_of(soa) != Some(counter.serial);
        state.serial = counter.serial;
        state.soa = soa_with_serial(soa, counter.serial);
        state.history = Arc::new(history);
    }
}

/// The history of a zone with one step more.
fn extended(old: &ZoneState, new: &ZoneState, change: Change) -> History {
    let (deleted, added) = match change {
        Change::None => (Vec::new(), Vec::new()),
        Change::Records { deleted, added } => (deleted, added),
        Change::Whole => return History::default(),
    };
    let mut history = (*old.history).clone();
    history.push(Step {
        from: old.serial,
        to: new.serial,
        old_soa: old.soa.clone(),
        new_soa: new.soa.clone(),
        deleted,
        added,
    });
    history
}

fn change_counts(change: &Change) -> Option<(usize, usize)> {
    match change {
        Change::None => Some((0, 0)),
        Change::Records { deleted, added } => Some((Records(deleted).count(), Records(added).count())),
        Change::Whole => None,
    }
}

fn told(
    state: &ZoneState,
    from: Option<Serial>,
    records: Option<(usize, usize)>,
    problem: Option<String>,
) -> Event {
    Event::Zone {
        zone: state.name.to_string(),
        from: from.map(|serial| serial.0),
        serial: state.serial.0,
        records,
        problem,
    }
}

fn serial_of(soa: &[u8]) -> Option<Serial> {
    Records(soa).next()?.serial()
}

/// Stands for all records of a version, in whatever order: the sum of the hashes of each. The
/// serial does not count.
fn digest(image: &Image, number: u16, soa: &[u8], dynamic: &[u8]) -> u64 {
    let mut digest = sum(&soa_with_serial(soa, Serial(0))).wrapping_add(sum(dynamic));
    let (mut walk, mut records) = (image.contents(number), Vec::new());
    while let Some(node) = walk.next(image) {
        records.clear();
        node.push_records(&mut records);
        digest = digest.wrapping_add(sum(&records));
    }
    digest
}

/// The sum of the hashes of records.
fn sum(records: &[u8]) -> u64 {
    let hash = |octets: &[u8]| {
        let digest = ring::digest::digest(&ring::digest::SHA256, octets);
        digest.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    };
    Records(records).fold(0, |sum, record| sum.wrapping_add(hash(record.octets)))
}
