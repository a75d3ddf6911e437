//! The lives of a zone's keys: who is published, who signs, who waits for what.
//!
//! ```text
//!            in the zone       caches know it      KSK, CSK: the parent      caches forgot what
//!            ┌───────────┐     keys_known()        points at it (ds_seen)    it signed, or the DS
//!            │           ▼           │             ZSK: at once              that named it
//!       generated ──► published ──► ready ───────► active ──► retired ──────────► removed ──► gone
//!                                                    │  a successor    data_known(),    30 days
//!                                                    │  is active      ds_known()
//!   DNSKEY                 ●            ●            ●          ●
//!   signs DNSKEY (K, C)    ●            ●            ●          ●
//!   signs data (Z, C)      ○            ○            ●                 ○ only where none is active: a
//!   CDS, CDNSKEY (K, C)                 ●            ○                   zone's first key
//! ```
//! A zone-signing key is published before it signs (pre-publication, RFC 7583 §3.2.1), and stays
//! until its signatures have left all caches. A key that the parent points at is published and
//! signs the DNSKEY set beside its predecessor (double-KSK, §3.3.1); only when all caches know it
//! is the parent asked for it, by CDS and CDNSKEY (RFC 7344), and only when the parent is seen to
//! point at it does the old one begin to leave. A combined key does both at once.
//! A zone's first key waits until unsigned answers have left all caches before the parent hears of it.
//!
//! Waits begin when a change is *in force*, that is, answered with: a daemon that is killed between
//! writing a change and serving it counts from the later moment. While a change is not in force,
//! nothing else changes.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    KEPT_AFTER_REMOVAL, KeyPolicy, KeyRecord, KeyState, KeyUse, Refused, Role, SigningKey, Timing, Turn,
    Unsign, Wait, WaitFor, ZoneKeys, ZoneKeysError,
};
use crate::base::Timestamp;
use crate::wire::Name;

/// All keys of a zone, and what becomes of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyRing {
    /// The keys, in the order in which they were made.
    pub keys: Vec<KeyRecord>,
    /// The zone is on its way back to unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsign: Option<Unsign>,
    /// The times that hold, and until when longer ones of an earlier configuration hold as well:
    /// what was served with a longer TTL is still in caches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// The longer times, and their end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<(Timing, Timestamp)>,
    /// Everything above is being answered with.
    #[serde(default)]
    pub in_force: bool,
}

impl KeyRing {
    /// No keys yet.
    pub fn new() -> Self {
        Self { keys: Vec::new(), unsign: None, timing: None, before: None, in_force: true }
    }

    /// The times that hold now: what was served under longer ones may still be in caches.
    pub fn timing(&self, policy: &KeyPolicy, now: Timestamp) -> Timing {
        let mut timing = policy.timing;
        if let Some(kept) = self.timing {
            timing = timing.max(kept);
        }
        self.longer_before(now).map_or(timing, |before| timing.max(before))
    }

    /// The longer times of before, as long as they hold. What is not replaced yet is still answered
    /// with under them.
    fn longer_before(&self, now: Timestamp) -> Option<Timing> {
        self.before.filter(|(_, until)| now < *until || !self.in_force).map(|(before, _)| before)
    }

    /// Takes over the times of the configuration. Shorter ones hold only when what was served under
    /// the longer ones has left all caches.
    fn keep_timing(&mut self, timing: Timing, now: Timestamp) {
        let before = self.longer_before(now);
        let Some(kept) = self.timing.filter(|kept| *kept != timing) else {
            self.timing = Some(timing);
            self.before = self.before.filter(|_| before.is_some());
            return;
        };
        let longer = before.map_or(kept, |before| before.max(kept));
        self.before = Some((longer, later(now, longer.longest())));
        self.timing = Some(timing);
        self.in_force = false;
    }

    /// Moves on whatever is due. Nothing moves while the last change is not in force.
    pub fn step(&mut self, policy: &KeyPolicy, now: Timestamp) -> Vec<Turn> {
        self.keep_timing(policy.timing, now);
        if !self.in_force {
            return Vec::new();
        }
        let timing = self.timing(policy, now);
        let mut turns = Vec::new();
        for at in 0..self.keys.len() {
            let due = self.wait(at, policy, &timing).is_some_and(|wait| {
                wait.what != WaitFor::Successor && wait.until.is_some_and(|until| now >= until)
            });
            if !due {
                continue;
            }
            let next = match self.keys[at].state().0 {
                // A zone's first keys are published together: one alone would leave data unsigned.
                KeyState::Generated if !self.is_complete(policy) => continue,
                KeyState::Generated => KeyState::Published,
                KeyState::Published => KeyState::Ready,
                KeyState::Retired => KeyState::Removed,
                // Ready and active keys move when something else happens; a removed one is forgotten below.
                KeyState::Ready | KeyState::Active | KeyState::Removed => continue,
            };
            self.turn(at, next, now, &mut turns);
            let zsk = self.keys[at].role == Role::Zsk;
            let first = zsk && next == KeyState::Published && !self.any_active(Role::Zsk);
            if first || (zsk && next == KeyState::Ready) {
                self.activate(at, now, &mut turns);
            }
        }
        self.keys.retain(|key| {
            let (state, since) = key.state();
            let forgotten =
                state == KeyState::Removed && !key.pending && now >= later(since, KEPT_AFTER_REMOVAL);
            if forgotten {
                turns.push(Turn { tag: key.tag, role: key.role, to: None });
            }
            !forgotten
        });
        turns
    }

    /// Everything is answered with since now: the waits begin.
    pub fn put_in_force(&mut self, now: Timestamp) {
        for key in self.keys.iter_mut().filter(|key| key.pending) {
            let (state, since) = key.state();
            key.enter(state, since.max(now));
            key.pending = false;
        }
        // Until this moment caches may have fetched what was before.
        if let Some((before, until)) = self.before.as_mut().filter(|_| !self.in_force) {
            *until = later(now, before.longest());
        }
        self.in_force = true;
    }

    fn turn(&mut self, at: usize, to: KeyState, now: Timestamp, turns: &mut Vec<Turn>) {
        let key = &mut self.keys[at];
        key.enter(to, now);
        turns.push(Turn { tag: key.tag, role: key.role, to: Some(to) });
        self.in_force = false;
    }

    /// It comes into use; whoever was, or was about to be, in use in its role retires.
    fn activate(&mut self, at: usize, now: Timestamp, turns: &mut Vec<Turn>) {
        let role = self.keys[at].role;
        for other in 0..self.keys.len() {
            let rival = matches!(self.keys[other].state().0, KeyState::Ready | KeyState::Active);
            if other != at && self.keys[other].role == role && rival {
                self.turn(other, KeyState::Retired, now, turns);
            }
        }
        if self.keys[at].life.ready.is_none() {
            self.keys[at].life.ready = Some(now);
        }
        self.turn(at, KeyState::Active, now, turns);
    }

    /// Whether there is a key for each role.
    fn is_complete(&self, policy: &KeyPolicy) -> bool {
        let of_role =
            |role| self.keys.iter().any(|key| key.role == role && key.state().0 < KeyState::Retired);
        policy.layout.roles().iter().all(|role| of_role(*role))
    }

    fn any_active(&self, role: Role) -> bool {
        self.keys.iter().any(|key| key.role == role && key.is(KeyState::Active))
    }

    /// What a key waits for.
    pub fn wait_of(&self, tag: u16, policy: &KeyPolicy, now: Timestamp) -> Option<Wait> {
        let at = self.keys.iter().position(|key| key.tag == tag)?;
        self.wait(at, policy, &self.timing(policy, now))
    }

    fn wait(&self, at: usize, policy: &KeyPolicy, timing: &Timing) -> Option<Wait> {
        let key = &self.keys[at];
        let (state, since) = key.state();
        if key.pending {
            return Some(Wait { what: WaitFor::Service, until: None });
        }
        let wait = |what, span| Some(Wait { what, until: Some(later(since, span)) });
        match state {
            KeyState::Generated => wait(WaitFor::Service, Duration::ZERO),
            KeyState::Published => {
                // Before the first key nothing was signed: that must be forgotten as well.
                let first = key.role.is_entry() && !self.was_entered_before(at);
                let data = if first { timing.data_known() } else { Duration::ZERO };
                wait(WaitFor::Caches, timing.keys_known().max(data))
            }
            KeyState::Ready => Some(Wait { what: WaitFor::Parent, until: None }),
            KeyState::Active => {
                let lifetime = policy.lifetimes.of(key.role)?;
                wait(WaitFor::Successor, lifetime.saturating_sub(timing.keys_known()))
            }
            KeyState::Retired => {
                let data = if key.role.signs_zone() { timing.data_known() } else { Duration::ZERO };
                let ds = if key.role.is_entry() { timing.ds_known() } else { Duration::ZERO };
                wait(WaitFor::Oblivion, data.max(ds))
            }
            KeyState::Removed => wait(WaitFor::Deletion, KEPT_AFTER_REMOVAL),
        }
    }

    /// Whether the parent has pointed at another key: the zone was signed before this one came.
    fn was_entered_before(&self, at: usize) -> bool {
        let before =
            |key: &KeyRecord| key.role.is_entry() && key.life.active.is_some() && !key.is(KeyState::Removed);
        self.keys.iter().enumerate().any(|(other, key)| other != at && before(key))
    }

    /// A role that needs a new key now: there is none, or the one in use comes of age.
    pub fn wants(&self, policy: &KeyPolicy, now: Timestamp) -> Option<Role> {
        let timing = self.timing(policy, now);
        policy.layout.roles().iter().copied().find(|role| {
            let of_role = |at: &usize| self.keys[*at].role == *role;
            let coming =
                (0..self.keys.len()).filter(of_role).any(|at| self.keys[at].state().0 < KeyState::Active);
            let active = (0..self.keys.len()).filter(of_role).find(|at| self.keys[*at].is(KeyState::Active));
            match active {
                _ if coming => false,
                None => true,
                Some(_) if self.unsign.is_some() => false,
                Some(at) => self.wait(at, policy, &timing).is_some_and(|wait| {
                    wait.what == WaitFor::Successor && wait.until.is_some_and(|until| now >= until)
                }),
            }
        })
    }

    /// Whether a key can be succeeded now.
    ///
    /// # Errors
    /// Why not.
    pub fn can_roll(&self, role: Role) -> Result<(), Refused> {
        if self.unsign.is_some() {
            return Err(Refused::Unsigning);
        }
        let of_role = || self.keys.iter().filter(move |key| key.role == role);
        if let Some(coming) = of_role().find(|key| key.state().0 < KeyState::Active) {
            let active = self.any_active(role);
            return Err(if active { Refused::UnderWay(coming.tag) } else { Refused::NothingToRoll(role) });
        }
        if self.any_active(role) { Ok(()) } else { Err(Refused::NothingToRoll(role)) }
    }

    /// The parent points at a key: every one of its servers, or an operator who has looked.
    ///
    /// # Errors
    /// It cannot be so, or must not.
    pub fn ds_seen(&mut self, tag: u16, now: Timestamp) -> Result<Vec<Turn>, Refused> {
        let at = self.keys.iter().position(|key| key.tag == tag).ok_or(Refused::NoSuchKey(tag))?;
        let key = &self.keys[at];
        if !key.role.is_entry() {
            return Err(Refused::NoEntry(tag));
        }
        if self.unsign.is_some() {
            return Err(Refused::Unsigning);
        }
        match key.state().0 {
            KeyState::Ready if !key.pending => {
                let mut turns = Vec::new();
                self.activate(at, now, &mut turns);
                Ok(turns)
            }
            // Known already.
            KeyState::Active => Ok(Vec::new()),
            state => Err(Refused::NotReady(tag, state)),
        }
    }

    /// The key whose DS is waited for.
    pub fn awaits_ds(&self) -> Option<&KeyRecord> {
        self.keys.iter().find(|key| key.is(KeyState::Ready) && key.role.is_entry() && !key.pending)
    }

    /// The keys that the parent should point at.
    pub fn entries(&self) -> impl Iterator<Item = &KeyRecord> {
        let coming = self.keys.iter().any(|key| key.role.is_entry() && key.is(KeyState::Ready));
        let wanted = if coming { KeyState::Ready } else { KeyState::Active };
        self.keys.iter().filter(move |key| key.role.is_entry() && key.is(wanted))
    }

    /// Whether a key signs the zone's data.
    pub fn signs_zone(&self, tag: u16) -> bool {
        let signer = |key: &&KeyRecord| key.role.signs_zone();
        let active = self.keys.iter().filter(signer).find(|key| key.is(KeyState::Active));
        // A zone's first key signs from the start: nobody relies on it yet.
        let first = || self.keys.iter().filter(signer).find(|key| key.state().0.is_published());
        active.or_else(first).is_some_and(|key| key.tag == tag)
    }

    /// What the signer takes: every key that is in the zone, with its work.
    ///
    /// # Errors
    /// There is none, or `find` does not find one.
    pub fn zone_keys(
        &self,
        zone: &Name,
        policy: &KeyPolicy,
        find: impl Fn(&KeyRecord) -> Option<Arc<SigningKey>>,
    ) -> Result<ZoneKeys, ZoneKeysError> {
        let mut uses = Vec::new();
        for record in self.keys.iter().filter(|key| key.state().0.is_published()) {
            uses.push(KeyUse {
                key: find(record).ok_or(ZoneKeysError::Missing(record.tag))?,
                published: true,
                signs_keys: record.role.is_entry(),
                signs_zone: self.signs_zone(record.tag),
                for_parent: self.entries().any(|entry| entry.tag == record.tag),
            });
        }
        let ttl = u32::try_from(policy.timing.dnskey_ttl.as_secs()).unwrap_or(u32::MAX);
        ZoneKeys::new(zone.clone(), &uses, self.unsign.is_some(), ttl, policy.signatures)
    }

    /// Begins the way back to an unsigned zone: the parent is asked to forget its keys.
    ///
    /// # Errors
    /// It has begun already, or there is nothing to go back from.
    pub fn unsign(&mut self, now: Timestamp) -> Result<(), Refused> {
        if self.unsign.is_some() {
            return Err(Refused::Unsigning);
        }
        self.unsign = Some(Unsign { asked: now, ds_gone: None });
        self.in_force = false;
        Ok(())
    }

    /// The parent has forgotten the zone's keys.
    ///
    /// # Errors
    /// It was not asked to.
    pub fn ds_gone(&mut self, now: Timestamp) -> Result<(), Refused> {
        let unsign = self.unsign.as_mut().ok_or(Refused::NotUnsigning)?;
        unsign.ds_gone.get_or_insert(now);
        Ok(())
    }

    /// The zone stays signed after all. If the parent has forgotten its keys, it is asked again for them.
    ///
    /// # Errors
    /// It was never otherwise.
    pub fn stay_signed(&mut self) -> Result<(), Refused> {
        let unsign = self.unsign.take().ok_or(Refused::NotUnsigning)?;
        if unsign.ds_gone.is_some() {
            for key in self.keys.iter_mut().filter(|key| key.role.is_entry() && key.is(KeyState::Active)) {
                key.life.active = None;
            }
        }
        self.in_force = false;
        Ok(())
    }

    /// From when on the zone may be served without signatures; none while that is not known.
    pub fn free_at(&self, policy: &KeyPolicy, now: Timestamp) -> Option<Timestamp> {
        Some(later(self.unsign?.ds_gone?, self.timing(policy, now).ds_known()))
    }
}

impl Default for KeyRing {
    fn default() -> Self {
        Self::new()
    }
}

fn later(at: Timestamp, span: Duration) -> Timestamp {
    at.saturating_add(span).unwrap_or(Timestamp::MAX)
}
