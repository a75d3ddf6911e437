//! The loop.
//!
//! Whatever comes in is folded; then everything is decided at once, the new table is published,
//! calls go out, and only then is told and written what happened. Nothing here waits for a
//! disk, a target or a client: what takes time runs elsewhere and sends its result.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{error, info, warn};

use super::calls::Calls;
use super::change::{databases, difference, needs_restart};
use super::handle::{Handle, MAIL_MAX, Mail, Running, Told};
use super::restore::{self, ALIVE, Opened};
use super::signatures::Signatures;
use super::telemetry::Durations;
use super::unmeasured::Unmeasured;
use super::{keys, telemetry, tell};
use crate::agent::Agents;
use crate::base::{Mono, Now, show_span};
use crate::cluster::NodeView;
use crate::config::Mode;
use crate::decide::{Daemon, Order, Restored, Said, Setup, Write};
use crate::dns::Counts;
use crate::io::{Certificate, Clock, Net, PemFiles};
use crate::notify::Notifier;
use crate::probe::{Inbox, Probes, Report};
use crate::serve::{Server, Sockets, renew};
use crate::sign::{ZoneKeys, ZoneView};
use crate::store::{self, Batch, Store, StoreError};
use crate::sys::{Succession, Successor, Systemd};
use crate::table::{Signed, Table};
use crate::workflow::{Call, Outcome, Receipt};

/// What the daemon is started with.
#[derive(Debug)]
pub struct Options {
    /// The configuration with everything it names.
    pub setup: Arc<Setup>,
    /// The signatures of its zones, if any is signed ([`sign`](super::sign)).
    pub signed: Option<Arc<Signed>>,
    /// Bound before anything else, so that an address in use is found out at once; none in mode
    /// `observe`.
    pub sockets: Option<Sockets>,
    /// Told of what happens, if anybody listens in.
    pub listener: Option<mpsc::UnboundedSender<Told>>,
    /// The service manager.
    pub systemd: Systemd,
    /// What it takes to hand over to another process; none: that cannot be asked for.
    pub succession: Option<Arc<Succession>>,
}

/// How a daemon ended that was not broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It was told to stop, or its log says why it stopped by itself.
    Stopped,
    /// Another process has taken over and serves.
    Succeeded,
}

/// Calls to agents that are under way get this long to end when the daemon stops. What is not
/// over by then is looked at again at the next start.
pub const STOP_WAIT: Duration = Duration::from_secs(5);
/// State that an earlier process left is served from at once if it is younger than this.
const FRESH: Duration = Duration::from_secs(300);
/// How often the store is given a sign of life.
const ALIVE_EVERY: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_secs(1);
/// A successor reads and compiles everything within this, signatures included.
const PREPARE_WAIT: Duration = Duration::from_secs(120);
/// A successor that has the store serves within this, and the time that the first round of checks
/// may take.
const TAKE_OVER_WAIT: Duration = Duration::from_secs(30);
/// The answer to whoever asked for an upgrade is on its way within this.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Reports that are folded before anything is decided.
const REPORTS_MAX: usize = 1024;

/// Starts the daemon; it runs until it is told to stop.
/// It ends at once, and its log says why, if another daemon owns the store. Without a store that can
/// be written to it does serve.
pub fn start(options: Options) -> (Handle, JoinHandle<End>) {
    let (mail, mut letters) = mpsc::channel(MAIL_MAX);
    let (serving, is_serving) = watch::channel(false);
    let inbox = Inbox::default();
    let handle = Handle { mail, inbox: inbox.clone(), serving: is_serving };
    tokio::spawn(keys::look_after(handle.clone()));
    let task = tokio::spawn(async move {
        let mut next = (options, None);
        loop {
            let (options, service) = next;
            let control = match Control::new(options, &inbox, serving.clone(), service).await {
                Ok((control, inputs)) => control.run(&mut letters, inputs).await,
                Err(why) => {
                    error!(event = "daemon.refused", "{why}");
                    return End::Stopped;
                }
            };
            match control {
                Ended::For(end) => return end,
                Ended::Again(options, service) => next = (*options, service),
            }
        }
    });
    (handle, task)
}

/// How the loop ended.
enum Ended {
    /// For good.
    For(End),
    /// A successor took the store and gave it back: everything is read from it anew, while the
    /// same threads go on answering.
    Again(Box<Options>, Option<Service>),
}

/// What answers queries, and from what.
struct Service {
    server: Server,
    table: Arc<ArcSwap<Table>>,
}

/// Where the answer to an order goes.
type Reply = oneshot::Sender<Result<String, String>>;

/// Where the loop's inputs come from, apart from mail.
struct Inputs {
    reports: mpsc::Receiver<Report>,
    stored: mpsc::UnboundedReceiver<store::Event>,
}

struct Control {
    daemon: Daemon,
    table: Arc<ArcSwap<Table>>,
    sockets: Option<Sockets>,
    server: Option<Server>,
    notifier: Option<Notifier>,
    counts: Counts,
    serving: watch::Sender<bool>,
    probes: Option<Probes>,
    durations: Durations,
    calls: Calls,
    signatures: Signatures,
    unmeasured: Unmeasured,
    store: Option<Store>,
    replies: BTreeMap<Receipt, Reply>,
    /// Orders that hold and are not written yet.
    unwritten: Vec<(String, u64, Reply)>,
    listener: Option<mpsc::UnboundedSender<Told>>,
    systemd: Systemd,
    /// DNS opens at the latest then, whatever the first round of checks has found.
    open_at: Mono,
    /// State of an earlier process, fresh enough to serve from.
    fresh: bool,
    alive_at: Mono,
    wake: Option<Mono>,
    /// It is stopping, and has stopped at the latest then.
    stop_at: Option<Mono>,
    succession: Option<Arc<Succession>>,
    /// A successor that prepares itself, and who asked for it.
    preparing: JoinSet<(Result<Successor, String>, Reply)>,
    /// A successor that waits for the store.
    successor: Option<(Successor, Reply)>,
}

impl Control {
    async fn new(
        options: Options,
        inbox: &Inbox,
        serving: watch::Sender<bool>,
        service: Option<Service>,
    ) -> Result<(Self, Inputs), StoreError> {
        telemetry::describe();
        telemetry::reload(true);
        let Options { setup, signed, sockets, listener, systemd, succession } = options;
        let now = Clock.now();
        let (tell_stored, stored) = mpsc::unbounded_channel();
        let directory = setup.config.state_directory().to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            // The writer's thread never waits for us: there is one write at a time.
            restore::open(&directory, move |event| drop(tell_stored.send(event)), now)
        });
        let opened = opened.await.unwrap_or_else(|why| {
            Ok(Opened { store: Err(why.to_string()), restored: Restored::nothing(), alive: None })
        });
        let Opened { store, restored, alive } = opened?;
        let (store, storeless) = match store {
            Ok(store) => (Some(store), None),
            Err(why) => {
                error!(%why, "no store to write to: DNS will be served, workflows are paused");
                (None, Some(why))
            }
        };
        let seed = u64::from_ne_bytes(
            ring::rand::generate::<[u8; 8]>(&ring::rand::SystemRandom::new())
                .map_or([7; 8], |random| random.expose()),
        );
        let mut daemon = Daemon::new(Arc::clone(&setup), restored, storeless, fastrand::Rng::with_seed(seed));
        let fresh = daemon.knows_every_region() && is_fresh(alive, now);
        let signatures = Signatures::of(signed.as_ref());
        daemon.sign(signed);
        let effects = daemon.conclude(now);
        let compiled = effects.publish.expect("the first conclusion always compiles a table");
        let (server, table) = match service {
            Some(Service { server, table }) => {
                publish(&table, compiled);
                (Some(server), table)
            }
            None => (None, Arc::new(ArcSwap::new(compiled))),
        };
        let net = Net::new();
        let durations = Durations::of(&setup.config);
        let (probes, reports) = Probes::start_with(&net, inbox, &setup.config);
        let control = Self {
            daemon,
            table,
            sockets,
            server,
            notifier: None,
            counts: Counts::default(),
            serving,
            probes: Some(probes),
            durations,
            calls: Calls::new(Agents::new(net)),
            signatures,
            unmeasured: Unmeasured::default(),
            store,
            replies: BTreeMap::new(),
            unwritten: Vec::new(),
            listener,
            systemd,
            open_at: now.mono + setup.config.dns.open_after,
            fresh,
            alive_at: now.mono,
            wake: None,
            stop_at: None,
            succession,
            preparing: JoinSet::new(),
            successor: None,
        };
        Ok((control, Inputs { reports, stored }))
    }

    async fn run(mut self, mail: &mut mpsc::Receiver<Mail>, mut inputs: Inputs) -> Ended {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reports = Vec::with_capacity(REPORTS_MAX);
        self.decide();
        self.open_if_due();
        self.notify_if_due();
        loop {
            let wake = self.wake.map(|at| at.since(Clock.mono()));
            let setup = Arc::clone(self.daemon.setup());
            tokio::select! {
                count = inputs.reports.recv_many(&mut reports, REPORTS_MAX), if !self.is_stopping() => {
                    if count == 0 {
                        self.give_up("probing has ended by itself");
                    }
                    let now = Clock.now();
                    for report in reports.drain(..) {
                        self.report(report, now);
                    }
                    if !self.daemon.has_news() {
                        continue;
                    }
                }
                Some(event) = inputs.stored.recv() => self.stored(event),
                Some((call, outcome)) = self.calls.ended() => self.call_ended(&call, outcome),
                Some(prepared) = self.preparing.join_next() => self.prepared(prepared).await,
                letter = mail.recv() => self.letter(letter.unwrap_or(Mail::Stop), &mut inputs).await,
                signed = self.signatures.made(&setup) => self.daemon.sign(signed),
                _ = tick.tick() => self.tick(),
                () = after(wake) => {}
            }
            self.decide();
            self.open_if_due();
            self.notify_if_due();
            if let Some(stop_at) = self.stop_at {
                let settled = self.calls.is_empty() && self.daemon.is_settled();
                if settled || Clock.mono() >= stop_at {
                    break;
                }
            }
        }
        match self.successor.take() {
            Some((successor, reply)) => self.hand_over(successor, reply, mail).await,
            None => {
                self.end().await;
                Ended::For(End::Stopped)
            }
        }
    }

    // ── what comes in ──

    fn report(&mut self, report: Report, now: Now) {
        let config = Arc::clone(&self.daemon.setup().config);
        match &report {
            Report::Sample(sample) => {
                self.durations.sample(sample);
                self.daemon.sample(sample, now);
            }
            Report::Round(round) => {
                self.durations.round(round);
                self.daemon.round(round, now);
            }
        }
        if let Some(listener) = &self.listener {
            let told = match report {
                Report::Sample(sample) => Told::Sample {
                    check: config.checks.name(sample.check).to_string(),
                    finding: sample.finding,
                },
                Report::Round(round) => {
                    let voters = round.views.iter().map(NodeView::word).collect();
                    Told::Round { group: config.groups.name(round.group).to_string(), voters }
                }
            };
            // Whoever listened may have left.
            let _ = listener.send(told);
        }
    }

    fn stored(&mut self, event: store::Event) {
        let now = Clock.now();
        match event {
            store::Event::Stored { first, .. } => self.daemon.stored(first, now),
            store::Event::Failed { why, .. } => {
                self.daemon.store_failed(&why, now);
                if let Some(store) = &mut self.store
                    && let Err(why) = store.resume()
                {
                    error!(%why, "the store cannot be resumed");
                }
            }
            store::Event::Trouble { why } => self.daemon.store_in_trouble(Some(why)),
            store::Event::Recovered => self.daemon.store_in_trouble(None),
        }
    }

    fn call_ended(&mut self, call: &Call, outcome: Outcome) {
        let (word, words) = outcome.words();
        self.told_call(call, Some(format!("{word}: {words}")));
        self.daemon.outcome(call, outcome);
    }

    async fn letter(&mut self, letter: Mail, inputs: &mut Inputs) {
        match letter {
            Mail::Look(look) => look(&self.daemon, &self.running()),
            Mail::Order(order, reply) => self.order(order, reply),
            Mail::ReloadFailed(why) => {
                telemetry::reload(false);
                error!(event = "daemon.reload_failed", "the configuration was not taken over: {why}");
            }
            Mail::Keys(setup, zones, keys) => self.keys(&setup, zones, keys),
            Mail::Reconfigure(setup, signed, reply) => {
                let said = self.reconfigure(setup, signed, inputs).await;
                // Whoever is told that it is taken over finds it served.
                self.decide();
                // Whoever asked may have gone meanwhile.
                let _ = reply.send(said);
            }
            Mail::Relocate(base, setup, reply) => {
                let fits = Arc::ptr_eq(&base, self.daemon.setup());
                if fits {
                    let words = databases(&setup);
                    self.daemon.relocate(setup, words);
                }
                // Whoever asked may have gone meanwhile.
                let _ = reply.send(fits);
            }
            Mail::GeoTrouble(why) => {
                if let Some(why) = &why {
                    error!(
                        event = "geo.reload_failed",
                        "clients are found by the data that were read before: {why}"
                    );
                }
                self.daemon.geo_in_trouble(why);
            }
            Mail::Upgrade(reply) => self.upgrade(reply),
            Mail::Stop => {
                if !self.is_stopping() {
                    self.systemd.stopping();
                    info!(event = "daemon.stopping", calls = self.calls.len(), "pointsman stops");
                }
                // Whoever asked for a successor is told by its end.
                self.successor = None;
                self.begin_to_stop().await;
            }
        }
    }

    fn order(&mut self, order: Order, reply: oneshot::Sender<Result<String, String>>) {
        match self.daemon.order(order, Clock.now()) {
            Ok(Said::Later(receipt)) => drop(self.replies.insert(receipt, reply)),
            Ok(Said::Done { words, ticket }) => self.unwritten.push((words, ticket, reply)),
            Err(why) => drop(reply.send(Err(why))),
        }
    }

    async fn reconfigure(
        &mut self,
        setup: Arc<Setup>,
        signed: Option<Arc<Signed>>,
        inputs: &mut Inputs,
    ) -> Result<String, String> {
        let old = Arc::clone(&self.daemon.setup().config);
        let fixed = needs_restart(&old, &setup.config);
        if !fixed.is_empty() {
            telemetry::reload(false);
            return Err(format!("{} cannot change while running: restart the daemon", fixed.join(", ")));
        }
        if let Some(why) = self.daemon.stranded(&setup.config) {
            telemetry::reload(false);
            return Err(why);
        }
        self.systemd.reloading();
        let same_config = Arc::ptr_eq(&old, &setup.config);
        let words = match same_config {
            true => zones_words(&setup.changed_zones(self.daemon.setup())),
            false => difference(&old, &setup.config),
        };
        let doubts = self.daemon.stale_zones(&setup);
        // A zone alone has nothing to do with what is probed.
        if !same_config && let Some(probes) = self.probes.take() {
            let (probes, reports) = probes.replace(&setup.config).await;
            self.probes = Some(probes);
            inputs.reports = reports;
        }
        if let (Some(certificate), Some(files)) = (self.certificate(), &setup.config.tls) {
            certificate.follow(PemFiles::from(files));
            // In the background: a file may lie on a mount that hangs.
            tokio::spawn(renew(Arc::clone(certificate)));
        }
        self.signatures = Signatures::of(signed.as_ref());
        if !same_config {
            self.durations = Durations::of(&setup.config);
        }
        self.daemon.reconfigure(setup, words.clone());
        self.daemon.sign(signed);
        telemetry::reload(true);
        self.systemd.ready();
        Ok(std::iter::once(words).chain(doubts).collect::<Vec<_>>().join("\n"))
    }

    /// Keys are looked after elsewhere, for the setup of that moment.
    fn keys(&mut self, setup: &Arc<Setup>, zones: Vec<ZoneView>, keys: Option<Vec<Arc<ZoneKeys>>>) {
        if !Arc::ptr_eq(setup, self.daemon.setup()) {
            return;
        }
        telemetry::keys(&zones, Clock.now().wall);
        self.daemon.show_keys(zones);
        if let Some(keys) = keys {
            self.signatures.set_keys(keys, setup);
        }
    }

    fn tick(&mut self) {
        if self.server.as_ref().is_some_and(Server::is_broken) {
            self.give_up("a DNS thread has ended");
        }
        self.systemd.alive();
        let now = Clock.now();
        let setup = Arc::clone(self.daemon.setup());
        self.signatures.renew(&setup, now.wall);
        self.unmeasured.look(&self.daemon, now.mono);
        if now.mono >= self.alive_at {
            self.daemon.keep(ALIVE, &now.wall);
            self.alive_at = now.mono + ALIVE_EVERY;
        }
    }

    // ── what goes out ──

    fn decide(&mut self) {
        let now = Clock.now();
        let effects = self.daemon.conclude(now);
        if let Some(table) = effects.publish {
            let zones = Arc::clone(table.zones());
            publish(&self.table, table);
            // After the table: who is told asks at once.
            if let Some(notifier) = &self.notifier {
                notifier.publish(&zones);
            }
            telemetry::concluded(Clock.mono().since(now.mono));
        }
        for call in effects.calls {
            self.perform(call);
        }
        let aftermath = self.daemon.aftermath(now);
        for event in aftermath.events {
            tell::log(&event);
            telemetry::event(&event);
            if let Some(listener) = &self.listener {
                let _ = listener.send(Told::Event(event));
            }
        }
        for over in self.daemon.take_settled() {
            telemetry::execution_over(&over.workflow, over.state);
            info!(event = "workflow.over", execution = %over.id, state = ?over.state, "{} is over: {:?}", over.id, over.state);
        }
        if let Some(write) = aftermath.write {
            self.write(write);
        }
        for (receipt, said) in aftermath.replies {
            if let Some(reply) = self.replies.remove(&receipt) {
                let _ = reply.send(said);
            }
        }
        for (words, ticket, reply) in std::mem::take(&mut self.unwritten) {
            match self.daemon.answer(&words, ticket) {
                // Whoever asked may have gone meanwhile; the order holds all the same.
                Some(words) => drop(reply.send(Ok(words))),
                None => self.unwritten.push((words, ticket, reply)),
            }
        }
        self.wake = aftermath.wake;
    }

    fn perform(&mut self, call: Call) {
        self.told_call(&call, None);
        self.calls.perform(call);
    }

    fn told_call(&self, call: &Call, outcome: Option<String>) {
        if let Some(listener) = &self.listener {
            let (execution, stage) = (call.execution.to_string(), call.stage.clone());
            let _ = listener.send(Told::Call { execution, stage, agent: call.op.agent(), outcome });
        }
    }

    fn write(&mut self, write: Write) {
        let mut batch = Batch::default();
        batch.workflow(write.entries);
        batch
            .puts
            .extend(write.state.into_iter().map(|(key, value)| (key, value.map(|value| value.to_string()))));
        let Some(store) = &mut self.store else { return };
        if let Err(why) = store.append(batch) {
            self.daemon.store_failed(&why.to_string(), Clock.now());
        }
    }

    // ── opening and ending ──

    /// DNS opens after one bounded round of checks, or at once on state that is fresh.
    fn open_if_due(&mut self) {
        if self.server.is_some() || self.is_stopping() || self.daemon.setup().config.mode == Mode::Observe {
            return;
        }
        let first_round = self.daemon.senses().first_round_over();
        let late = Clock.mono() >= self.open_at;
        if !(first_round || late || self.fresh) {
            return;
        }
        let Some(sockets) = self.sockets.take() else { return };
        let addresses = sockets.udp_addresses();
        let limits = self.daemon.setup().config.dns.clone();
        match Server::start(sockets, Arc::clone(&self.table), &limits) {
            Ok(server) => self.server = Some(server),
            Err(why) => return self.give_up(&format!("DNS cannot be served: {why}")),
        }
        let basis = match (first_round, self.fresh) {
            (true, _) => "after the first round of checks",
            (_, true) => "on the state that the process before this one left",
            _ => "although the first round of checks is not over",
        };
        let generation = self.table.load().generation();
        info!(event = "daemon.serving", ?addresses, table = generation.0, "DNS is served {basis}");
        if !first_round && !self.fresh {
            warn!("some checks have not answered yet; `pointsman status` shows which");
        }
        let _ = self.serving.send(true);
        self.systemd.ready();
        self.systemd.status(&format!("serving {} addresses", addresses.len()));
    }

    /// Secondary servers are told as soon as there is somebody to answer them: they come at once.
    fn notify_if_due(&mut self) {
        if self.notifier.is_none() && self.server.is_some() && !self.is_stopping() {
            let listen = &self.daemon.setup().config.listen;
            let local = listen.dns.iter().map(SocketAddr::ip).collect();
            self.notifier = Some(Notifier::start(Arc::clone(self.table.load().zones()), local));
        }
    }

    /// What clients are shown over TLS, or will be.
    fn certificate(&self) -> Option<&Arc<Certificate>> {
        let waiting = self.sockets.as_ref().and_then(Sockets::certificate);
        self.server.as_ref().and_then(Server::certificate).or(waiting)
    }

    fn running(&self) -> Running {
        let counts = self.server.as_ref().map_or(self.counts, Server::counts);
        let (notified, not_notified) = self.notifier.as_ref().map_or((0, 0), Notifier::counts);
        let certificate_ends = self.certificate().map(|certificate| certificate.ends());
        let serving = self.server.is_some();
        Running { now: Clock.now(), serving, counts, notified, not_notified, certificate_ends }
    }

    async fn begin_to_stop(&mut self) {
        self.stop_at.get_or_insert(Clock.mono() + STOP_WAIT);
        self.daemon.stop();
        self.daemon.keep(ALIVE, &Clock.now().wall);
        if let Some(probes) = self.probes.take() {
            probes.stop().await;
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop_at.is_some()
    }

    /// Something is broken that only a new process can mend. Whoever started this one will start
    /// it again, and that one serves from the state that this one leaves.
    fn give_up(&mut self, why: &str) {
        error!(event = "daemon.broken", "{why}; giving up, to be started again");
        self.stop_at.get_or_insert(Clock.mono() + STOP_WAIT);
        self.daemon.stop();
    }

    // ── handing over (see `sys::handover`) ──

    /// Starts a successor; nothing else changes until it is prepared.
    fn upgrade(&mut self, reply: Reply) {
        let refused = match &self.succession {
            _ if self.is_stopping() => "the daemon is stopping",
            _ if !self.preparing.is_empty() => "an upgrade is under way",
            None => "this daemon cannot hand over",
            Some(succession) => {
                info!(event = "daemon.upgrading", program = %succession.program().display(), "a successor is started");
                let succession = Arc::clone(succession);
                self.preparing.spawn_blocking(move || {
                    let program = succession.program().display();
                    let begun = succession.begin().map_err(|why| format!("cannot start {program}: {why}"));
                    let prepared = begun.and_then(|mut successor| {
                        successor.prepared(PREPARE_WAIT).map_err(|why| format!("{program}: {why}"))?;
                        Ok(successor)
                    });
                    (prepared, reply)
                });
                return;
            }
        };
        let _ = reply.send(Err(refused.to_owned()));
    }

    /// What a successor needs is prepared: what is under way is brought to an end.
    async fn prepared(&mut self, prepared: Result<(Result<Successor, String>, Reply), JoinError>) {
        match prepared {
            Ok((Ok(successor), reply)) if !self.is_stopping() => {
                info!(
                    event = "daemon.handing_over",
                    successor = successor.id(),
                    calls = self.calls.len(),
                    "process {} is prepared",
                    successor.id()
                );
                self.successor = Some((successor, reply));
                self.begin_to_stop().await;
            }
            Ok((Ok(_), reply)) => drop(reply.send(Err("the daemon is stopping".to_owned()))),
            Ok((Err(why), reply)) => not_succeeded(&why, reply),
            Err(broken) => error!(%broken, "the upgrade broke"),
        }
    }

    /// Lets the successor have the store. Until it serves, queries are answered here from the
    /// last table; if it never does, this process goes on from the store.
    async fn hand_over(
        mut self,
        mut successor: Successor,
        reply: Reply,
        mail: &mut mpsc::Receiver<Mail>,
    ) -> Ended {
        let began = Clock.mono();
        self.calls.abort();
        let store = self.store.take();
        let patience = self.daemon.setup().config.dns.open_after + TAKE_OVER_WAIT;
        let mut taking_over = tokio::task::spawn_blocking(move || {
            drop(store);
            (successor.serves(patience), successor.id())
        });
        let mut tick = interval(TICK);
        let mut asked_to_stop = false;
        let taken = loop {
            tokio::select! {
                taken = &mut taking_over => break taken,
                _ = tick.tick() => self.systemd.alive(),
                Some(letter) = mail.recv() => asked_to_stop |= self.answer_shortly(letter),
            }
        };
        let failed = match taken {
            Ok((Ok(()), id)) => {
                let took = show_span(Clock.mono().since(began));
                info!(event = "daemon.succeeded", successor = id, "process {id} serves; this one ends");
                self.systemd.succeeded_by(id);
                let _ =
                    reply.send(Ok(format!("process {id} has taken over; the store changed hands in {took}")));
                let server = self.server.take();
                let mut ending = tokio::spawn(async move {
                    tokio::time::sleep(LAST_WORDS).await;
                    // Threads are joined: not on this one.
                    tokio::task::spawn_blocking(move || drop(server)).await
                });
                // Whoever has reached this process and not the other one is still answered.
                loop {
                    tokio::select! {
                        _ = &mut ending => break,
                        Some(letter) = mail.recv() => drop(self.answer_shortly(letter)),
                    }
                }
                self.end().await;
                return Ended::For(End::Succeeded);
            }
            Ok((Err(why), id)) => format!("process {id} did not take over: {why}"),
            Err(broken) => format!("the upgrade broke: {broken}"),
        };
        not_succeeded(&failed, reply);
        if asked_to_stop {
            self.end().await;
            return Ended::For(End::Stopped);
        }
        let Self { daemon, table, server, sockets, listener, systemd, succession, .. } = self;
        let (setup, signed) = (Arc::clone(daemon.setup()), daemon.signed().cloned());
        let options = Options { setup, signed, sockets, listener, systemd, succession };
        Ended::Again(Box::new(options), server.map(|server| Service { server, table }))
    }

    /// While the state is another process's, it can be looked at and not changed; tells whether
    /// the word was to stop.
    fn answer_shortly(&self, letter: Mail) -> bool {
        match letter {
            Mail::Look(look) => look(&self.daemon, &self.running()),
            Mail::Order(_, reply) | Mail::Reconfigure(_, _, reply) | Mail::Upgrade(reply) => {
                let why = "the daemon hands over to another process: try again in a moment";
                let _ = reply.send(Err(why.to_owned()));
            }
            // The files are looked at again.
            Mail::Relocate(_, _, reply) => drop(reply.send(false)),
            Mail::ReloadFailed(_) | Mail::GeoTrouble(_) | Mail::Keys(..) => {}
            Mail::Stop => return true,
        }
        false
    }

    async fn end(mut self) {
        if !self.calls.is_empty() {
            warn!(
                calls = self.calls.len(),
                "calls are still under way; they are looked at again at the next start"
            );
        }
        self.calls.abort();
        // Threads are joined: not on this one.
        let (server, store) = (self.server.take(), self.store.take());
        let _ = tokio::task::spawn_blocking(move || {
            drop(server);
            drop(store);
        })
        .await;
        info!(event = "daemon.stopped", "pointsman has stopped");
    }
}

fn zones_words(changed: &[String]) -> String {
    match changed {
        [] => "no zone has changed".to_owned(),
        changed => format!("zones changed: {}", changed.join(", ")),
    }
}

fn not_succeeded(why: &str, reply: Reply) {
    error!(event = "daemon.upgrade_failed", "no upgrade: {why}; this process goes on");
    let _ = reply.send(Err(format!("{why}\nthe daemon that runs goes on")));
}

/// Swaps the table. A lower generation is impossible to apply.
fn publish(served: &ArcSwap<Table>, table: Arc<Table>) {
    let generation = served.load().generation();
    if table.generation() <= generation {
        let (served, offered) = (generation.0, table.generation().0);
        error!(served, offered, "a table that is not newer was refused");
        return;
    }
    served.store(table);
}

async fn after(span: Option<Duration>) {
    match span {
        Some(span) => sleep_until(tokio::time::Instant::now() + span).await,
        None => std::future::pending().await,
    }
}

fn is_fresh(alive: Option<crate::base::Timestamp>, now: Now) -> bool {
    let age = alive.and_then(|alive| Duration::try_from(now.wall.duration_since(alive)).ok());
    if let Some(age) = age {
        info!(age = %show_span(age), "the process before this one was last alive {} ago", show_span(age));
    }
    age.is_some_and(|age| age <= FRESH)
}
