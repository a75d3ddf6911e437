//! Telling secondary servers that there is another version of a zone (NOTIFY, RFC 1996).
//!
//! ```text
//! another version ─► told ──answer──► done
//!                     │ ▲
//!               silence └─ again, twice as late each time; TRIES_MAX times
//! ```
//! Each server of each zone is told by itself, so that none waits for another one that is down.
//! A version that comes while the one before is still being told takes its place. Who is never
//! reached finds out by itself when it next asks for the SOA record (RFC 1996 §3.6, RFC 1035 §3.3.13).

mod message;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::config::NotifyTarget;
use crate::io::Clock;
use crate::transfer::{Signer, TsigKeys, ZoneState, Zones};
use crate::wire::Name;

/// A server is told so often until it answers: after 2, 4, 8, 16 and 32 seconds again (RFC 1996
/// §3.6 suggests five retries).
const TRIES_MAX: u32 = 6;
/// How long the first answer is waited for.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// So many servers are told at the same time.
const AT_ONCE_MAX: usize = 64;
/// An answer is a header, a question, perhaps a record and a signature.
const ANSWER_OCTETS_MAX: usize = 1232;

/// What became of it all.
#[derive(Debug, Default)]
struct Tally {
    told: AtomicU64,
    failed: AtomicU64,
}

/// Tells secondary servers, in a task of its own, until it is dropped.
#[derive(Debug)]
pub struct Notifier {
    zones: watch::Sender<Arc<Zones>>,
    tally: Arc<Tally>,
    task: AbortHandle,
}

impl Notifier {
    /// Tells the servers of all zones, and then of each zone that changes. `local` are our own
    /// addresses that others ask: servers know us by them.
    pub fn start(zones: Arc<Zones>, local: Vec<IpAddr>) -> Self {
        Self::with_patience(zones, local, FIRST_WAIT)
    }

    fn with_patience(zones: Arc<Zones>, local: Vec<IpAddr>, first_wait: Duration) -> Self {
        let (sender, receiver) = watch::channel(zones);
        let tally = Arc::<Tally>::default();
        let crier = Crier {
            local: local.into(),
            first_wait,
            tally: Arc::clone(&tally),
            turns: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            told: HashMap::new(),
            errands: BTreeMap::new(),
        };
        let task = tokio::spawn(crier.run(receiver)).abort_handle();
        Self { zones: sender, tally, task }
    }

    /// These are the newest versions.
    pub fn publish(&self, zones: &Arc<Zones>) {
        self.zones.send_if_modified(|known| {
            let other = !Arc::ptr_eq(known, zones);
            if other {
                *known = Arc::clone(zones);
            }
            other
        });
    }

    /// How often a server took notice of another version, and how often none could be told.
    pub fn counts(&self) -> (u64, u64) {
        (self.tally.told.load(Ordering::Relaxed), self.tally.failed.load(Ordering::Relaxed))
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who walks about and tells.
struct Crier {
    local: Arc<[IpAddr]>,
    first_wait: Duration,
    tally: Arc<Tally>,
    turns: Arc<Semaphore>,
    /// The version of each zone that is being told or was.
    told: HashMap<Name, Vec<u8>>,
    /// Who is still being told.
    errands: BTreeMap<(Name, SocketAddr), AbortHandle>,
}

impl Crier {
    async fn run(mut self, mut zones: watch::Receiver<Arc<Zones>>) {
        let mut running = JoinSet::new();
        loop {
            let newest = Arc::clone(&zones.borrow_and_update());
            for zone in newest.iter() {
                self.look(zone, newest.keys(), &mut running);
            }
            self.errands.retain(|_, errand| !errand.is_finished());
            tokio::select! {
                changed = zones.changed() => if changed.is_err() { return },
                Some(_) = running.join_next() => {}
            }
        }
    }

    /// Sends somebody to each server of a zone that has changed.
    fn look(&mut self, zone: &Arc<ZoneState>, keys: &Arc<TsigKeys>, running: &mut JoinSet<()>) {
        if zone.rules.notify.is_empty()
            || zone.withheld.is_some()
            || self.told.get(&zone.name) == Some(&zone.soa)
        {
            return;
        }
        self.told.insert(zone.name.clone(), zone.soa.clone());
        for target in &zone.rules.notify {
            let errand = Errand {
                zone: Arc::clone(zone),
                target: target.clone(),
                keys: Arc::clone(keys),
                local: Arc::clone(&self.local),
                first_wait: self.first_wait,
                tally: Arc::clone(&self.tally),
            };
            let turns = Arc::clone(&self.turns);
            let handle = running.spawn(async move { errand.run(&turns).await });
            if let Some(before) = self.errands.insert((zone.name.clone(), target.address), handle) {
                before.abort();
            }
        }
    }
}

/// One server to be told of one version.
struct Errand {
    zone: Arc<ZoneState>,
    target: NotifyTarget,
    keys: Arc<TsigKeys>,
    local: Arc<[IpAddr]>,
    first_wait: Duration,
    tally: Arc<Tally>,
}

impl Errand {
    async fn run(self, turns: &Semaphore) {
        let (zone, serial, server) = (&self.zone.name, self.zone.serial, self.target.address);
        let mut wait = self.first_wait;
        let mut last = String::new();
        for attempt in 1..=TRIES_MAX {
            let told = {
                // Nobody closes it: it lives as long as those who wait for it.
                let _turn = turns.acquire().await;
                timeout(wait, self.tell()).await
            };
            match told {
                Ok(Ok(())) => {
                    self.tally.told.fetch_add(1, Ordering::Relaxed);
                    info!(event = "notify.told", %zone, serial = serial.0, %server, "{server} knows of {zone} version {serial}");
                    return;
                }
                Ok(Err(Trouble::Refused(why))) => return self.fail(&why),
                Ok(Err(Trouble::Silent(why))) => {
                    last = why;
                    debug!(%zone, %server, attempt, "not told: {last}");
                    tokio::time::sleep(wait).await;
                }
                Err(_) => last = "no answer".to_owned(),
            }
            wait *= 2;
        }
        self.fail(&last);
    }

    fn fail(&self, why: &str) {
        self.tally.failed.fetch_add(1, Ordering::Relaxed);
        let (zone, serial, server) = (&self.zone.name, self.zone.serial, self.target.address);
        warn!(event = "notify.failed", %zone, serial = serial.0, %server, "{server} could not be told of {zone} version {serial}: {why}");
    }

    async fn tell(&self) -> Result<(), Trouble> {
        let silent = |why: std::io::Error| Trouble::Silent(why.to_string());
        let socket = self.socket().await.map_err(silent)?;
        socket.connect(self.target.address).await.map_err(silent)?;
        let id = fastrand::u16(..);
        let mut notice = message::notice(id, &self.zone.name, &self.zone.soa);
        let signer = match &self.target.key {
            None => None,
            Some(name) => {
                let key = self.keys.find(name.as_wire());
                let key = key.ok_or_else(|| Trouble::Refused(format!("there is no key {name}")))?;
                let mut signer = Signer::of_request(key);
                signer.sign(&mut notice, u64::from(Clock.seconds()));
                Some(signer)
            }
        };
        socket.send(&notice).await.map_err(silent)?;
        let mut answer = [0; ANSWER_OCTETS_MAX];
        loop {
            let len = socket.recv(&mut answer).await.map_err(silent)?;
            let answer = &answer[..len];
            // Anything else may be somebody's attempt to keep the server from hearing of it.
            if !message::answers(answer, id) {
                continue;
            }
            if let Some(signer) = &signer
                && let Err(why) = signer.verify(answer, u64::from(Clock.seconds()))
            {
                return Err(Trouble::Refused(why));
            }
            return message::verdict(answer).map_err(Trouble::Refused);
        }
    }

    /// From one of our own addresses, if it can lead there: the server lists who may tell it.
    async fn socket(&self) -> std::io::Result<UdpSocket> {
        let to = self.target.address.ip();
        let fits = |from: &&IpAddr| {
            (from.is_ipv4(), from.is_loopback()) == (to.is_ipv4(), to.is_loopback()) && !from.is_unspecified()
        };
        if let Some(from) = self.local.iter().find(fits)
            && let Ok(socket) = UdpSocket::bind((*from, 0)).await
        {
            return Ok(socket);
        }
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        UdpSocket::bind((any, 0)).await
    }
}

/// Why a server was not told.
enum Trouble {
    /// It may hear the next time.
    Silent(String),
    /// It has heard, and will not do it.
    Refused(String),
}
