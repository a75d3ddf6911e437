//! Looking after the keys of signed zones, aside from the loop.
//!
//! ```text
//!            ┌───────────────── every few seconds ─────────────────┐
//!            ▼                                                     │
//!   what is in the table? ─► in force? note it ─► step ─► write ─► sign with others
//!   what says the parent? ─► DS seen? note it ──┘
//! ```
//! The files are the truth: orders come by `pointsman keys`, which changes them under the same lock.
//! A step is written before it is served, and counts only from when it is served. With several
//! sites nothing is written here: what an operator distributes is served.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{error, info, warn};

use super::handle::{Handle, Mail};
use super::parent::ask_parent;
use crate::base::{Mono, Now, Timestamp};
use crate::config::{Config, Dnssec, Mode};
use crate::decide::Setup;
use crate::io::Clock;
use crate::probe::Inbox;
use crate::sign::{KeyRing, ParentSays, ParentView, SigningKey, Turn, ZoneKeys, ZoneView};
use crate::sys::{self, KeyDirectory, Moved};
use crate::wire::Name;

/// How soon an order on the files is noticed.
const EVERY: Duration = Duration::from_secs(5);
/// How soon it is looked whether a change is served.
const SOON: Duration = Duration::from_millis(250);

/// Looks after keys until the daemon is gone.
pub(super) async fn look_after(handle: Handle) {
    // Whoever waits for the last handle to go must not wait for this one.
    let Handle { mail, inbox, serving } = handle;
    let way = Way { mail: mail.downgrade(), inbox, serving };
    drop(mail);
    let mut keeper = Keeper::default();
    while let Some(pause) = keeper.round(&way).await {
        tokio::time::sleep(pause).await;
    }
}

/// The way to the daemon, as long as anybody else has one.
struct Way {
    mail: mpsc::WeakSender<Mail>,
    inbox: Inbox,
    serving: watch::Receiver<bool>,
}

impl Way {
    fn handle(&self) -> Option<Handle> {
        let (inbox, serving) = (self.inbox.clone(), self.serving.clone());
        Some(Handle { mail: self.mail.upgrade()?, inbox, serving })
    }
}

/// What is remembered from round to round.
#[derive(Default)]
struct Keeper {
    /// What the parents said, and when.
    parents: HashMap<Name, (ParentSays, Timestamp)>,
    /// When they are asked again.
    asked: HashMap<Name, Mono>,
    /// Those that are being asked.
    asking: JoinSet<(Name, ParentSays)>,
    /// What was read last, so that keys are read again only if something has changed.
    read: HashMap<Name, (KeyRing, Arc<ZoneKeys>)>,
    /// What was complained of, once.
    troubles: HashMap<Name, String>,
    /// For which setup.
    setup: Option<Arc<Setup>>,
}

/// What a round has found of a zone.
struct Tended {
    view: ZoneView,
    keys: Option<Arc<ZoneKeys>>,
    ring: Option<KeyRing>,
    made: Vec<(u16, crate::sign::Role)>,
    turns: Vec<Turn>,
}

impl Keeper {
    /// One round; how long to wait for the next. None if the daemon is gone.
    async fn round(&mut self, way: &Way) -> Option<Duration> {
        let handle = way.handle()?;
        let look = handle
            .look(|daemon, running| (Arc::clone(daemon.setup()), daemon.keys_in_force(), running.serving));
        let (setup, in_force, serving) = look.await.ok()?;
        // No handle is held while parents and disks take their time.
        drop(handle);
        if !self.setup.as_ref().is_some_and(|known| Arc::ptr_eq(known, &setup)) {
            self.read.clear();
            self.asked.clear();
            self.setup = Some(Arc::clone(&setup));
        }
        if sys::signed_zones(&setup.config).next().is_none() || setup.config.mode == Mode::Observe {
            return Some(EVERY);
        }
        self.ask_parents(&setup.config);
        let now = Clock.now();
        let mut zones = Vec::new();
        for (zone, dnssec) in sys::signed_zones(&setup.config) {
            let tending = Tending {
                zone: zone.name.clone(),
                dnssec: dnssec.clone(),
                in_force: in_force.iter().find(|keys| *keys.zone() == zone.name).cloned(),
                says: self.parents.get(&zone.name).cloned(),
                read: self.read.get(&zone.name).cloned(),
                // What is not served must not count as served, and what others serve is not ours to move.
                moves: serving && setup.config.sites.len() == 1,
                now,
            };
            let tended = spawn_blocking(move || tending.tend()).await.ok()?;
            zones.push(self.tell(tended));
        }
        let wanted: Vec<_> = zones.iter().filter_map(|tended| tended.keys.clone()).collect();
        let same = wanted.len() == in_force.len() && wanted.iter().all(|keys| in_force.contains(keys));
        let views: Vec<_> = zones.into_iter().map(|tended| tended.view).collect();
        let settled = same && self.asking.is_empty() && views.iter().all(|view| view.in_force || !serving);
        let next = views.iter().filter_map(|view| view.next).min();
        let due = next.and_then(|next| Duration::try_from(next.duration_since(now.wall)).ok());
        way.handle()?.keys(setup, views, (!same).then_some(wanted)).await.ok()?;
        Some(if settled { due.unwrap_or(EVERY).clamp(SOON, EVERY) } else { SOON })
    }

    /// Asks those parents that are due, and takes in what others have answered meanwhile.
    fn ask_parents(&mut self, config: &Config) {
        let now = Clock.now();
        while let Some(answered) = self.asking.try_join_next() {
            // A task that broke is asked again when it is due.
            let Ok((zone, says)) = answered else { continue };
            self.parents.insert(zone, (says, now.wall));
        }
        for (zone, dnssec) in sys::signed_zones(config) {
            let due = self.asked.get(&zone.name).is_none_or(|next| now.mono >= *next);
            if due && !zone.name.is_root() {
                self.asked.insert(zone.name.clone(), now.mono + dnssec.ask_every);
                let (name, dnssec) = (zone.name.clone(), dnssec.clone());
                self.asking.spawn(async move {
                    let says = ask_parent(&name, &dnssec).await;
                    (name, says)
                });
            }
        }
    }

    /// Says what has happened, once.
    fn tell(&mut self, mut tended: Tended) -> Tended {
        let zone = tended.view.zone.clone();
        for (tag, role) in &tended.made {
            info!(event = "dnssec.key_made", %zone, tag, %role, "{zone} has a new key: {role} {tag}");
        }
        for Turn { tag, role, to } in &tended.turns {
            let state = to.map_or("forgotten", |state| state.word());
            info!(event = "dnssec.key", %zone, tag, %role, state, "{role} {tag} of {zone} is {state} now");
        }
        if let (Some(ring), Some(keys)) = (tended.ring.take(), &tended.keys) {
            self.read.insert(zone.clone(), (ring, Arc::clone(keys)));
        }
        let differs = match &tended.view.parent {
            ParentView::Differs { why, .. } => Some(why.clone()),
            _ => None,
        };
        let trouble = tended.view.trouble.clone().or(differs);
        match (&trouble, self.troubles.get(&zone)) {
            (Some(why), before) if before != Some(why) => match tended.view.trouble {
                Some(_) => error!(event = "dnssec.keys_stuck", %zone, "{zone}: {why}"),
                None => warn!(event = "dnssec.parent_differs", %zone, "{why}"),
            },
            (None, Some(_)) => info!(event = "dnssec.keys_well", %zone, "the keys of {zone} are well again"),
            _ => {}
        }
        match trouble {
            Some(why) => drop(self.troubles.insert(zone, why)),
            None => drop(self.troubles.remove(&zone)),
        }
        tended
    }
}

/// One zone in one round, on a thread that may wait for disks.
struct Tending {
    zone: Name,
    dnssec: Dnssec,
    in_force: Option<Arc<ZoneKeys>>,
    says: Option<(ParentSays, Timestamp)>,
    read: Option<(KeyRing, Arc<ZoneKeys>)>,
    moves: bool,
    now: Now,
}

impl Tending {
    fn tend(self) -> Tended {
        let result = self.advance().and_then(|moved| Ok((self.keys(&moved.ring)?, moved)));
        let wall = self.now.wall;
        match result {
            Ok((keys, Moved { made, turns, ring })) => {
                let mut view = ZoneView::of(&self.zone, &ring, &self.dnssec.policy, wall);
                if let Some((says, at)) = &self.says {
                    let entries: Vec<&SigningKey> = keys.key_signers().iter().map(AsRef::as_ref).collect();
                    view.parent = says.compare(&self.zone, &ring, &entries, *at);
                }
                Tended { view, keys: Some(keys), ring: Some(ring), made, turns }
            }
            // What is served goes on being served.
            Err(why) => {
                let ring = self.read.map_or_else(KeyRing::new, |(ring, _)| ring);
                let mut view = ZoneView::of(&self.zone, &ring, &self.dnssec.policy, wall);
                view.trouble = Some(why);
                Tended { view, keys: self.in_force, ring: None, made: Vec::new(), turns: Vec::new() }
            }
        }
    }

    fn advance(&self) -> Result<Moved, String> {
        if !self.moves {
            let ring = KeyDirectory::peek(&self.dnssec.directory)?;
            let ring =
                ring.ok_or_else(|| format!("there are no keys in {}", self.dnssec.directory.display()))?;
            return Ok(Moved { made: Vec::new(), turns: Vec::new(), ring });
        }
        // Looked at before it is locked, which would make it.
        let there = KeyDirectory::peek(&self.dnssec.directory)?.is_some_and(|ring| !ring.keys.is_empty());
        if self.in_force.is_some() && !there {
            return Err(sys::lost_keys(&self.zone, &self.dnssec.directory));
        }
        let directory = KeyDirectory::lock(&self.dnssec.directory)?;
        let before = directory.ring()?;
        let mut ring = before.clone();
        let mut turns = Vec::new();
        let wall = self.now.wall;
        let is_served = |keys: &ZoneKeys| self.in_force.as_deref() == Some(keys);
        if !ring.in_force && is_served(&*self.keys(&ring)?) {
            ring.put_in_force(wall);
        }
        // Whoever was only asked for the word of a resolver does not know all servers.
        if let Some((says, _)) = self.says.as_ref().filter(|(says, _)| says.all) {
            if let Some(record) = ring.awaits_ds().cloned() {
                let key = sys::signing_key(&self.dnssec.directory, &record)?;
                if says.all_name(&self.zone, &key) {
                    turns = ring.ds_seen(record.tag, wall).map_err(|why| why.to_string())?;
                }
            }
            let waits = ring.unsign.is_some_and(|unsign| unsign.ds_gone.is_none());
            if waits && says.all_are_without() {
                ring.ds_gone(wall).map_err(|why| why.to_string())?;
            }
        }
        if ring != before {
            directory.save(&ring)?;
        }
        let mut moved = sys::step_keys(&directory, &self.dnssec.policy, wall)?;
        turns.append(&mut moved.turns);
        Ok(Moved { turns, ..moved })
    }

    /// What the signer takes, read again only if it can have changed.
    fn keys(&self, ring: &KeyRing) -> Result<Arc<ZoneKeys>, String> {
        match &self.read {
            Some((read, keys)) if read == ring => Ok(Arc::clone(keys)),
            _ => sys::zone_keys(&self.zone, &self.dnssec, ring).map(Arc::new),
        }
    }
}
