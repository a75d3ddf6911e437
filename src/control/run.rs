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
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{error, info, warn};

use super::calls::Calls;
use super::change::{difference, needs_restart};
use super::handle::{Handle, MAIL_MAX, Mail, Running, Told};
use super::restore::{self, ALIVE, Opened};
use super::{telemetry, tell};
use crate::agent::Agents;
use crate::base::{Mono, Now, show_span};
use crate::cluster::NodeView;
use crate::config::Mode;
use crate::decide::{Daemon, Order, Restored, Said, Setup, Write};
use crate::dns::Counts;
use crate::io::{Clock, Net};
use crate::notify::Notifier;
use crate::probe::{Probes, Report};
use crate::serve::{Server, Sockets};
use crate::store::{self, Batch, Store, StoreError};
use crate::sys::Systemd;
use crate::table::Table;
use crate::workflow::{Call, Outcome, Receipt};

/// What the daemon is started with.
#[derive(Debug)]
pub struct Options {
    /// The configuration with everything it names.
    pub setup: Arc<Setup>,
    /// Bound before anything else, so that an address in use is found out at once; none in mode
    /// `observe`.
    pub sockets: Option<Sockets>,
    /// Told of what happens, if anybody listens in.
    pub listener: Option<mpsc::UnboundedSender<Told>>,
    /// The service manager.
    pub systemd: Systemd,
}

/// Calls to agents that are under way get this long to end when the daemon stops. What is not
/// over by then is looked at again at the next start.
pub const STOP_WAIT: Duration = Duration::from_secs(5);
/// State that an earlier process left is served from at once if it is younger than this.
const FRESH: Duration = Duration::from_secs(300);
/// How often the store is given a sign of life.
const ALIVE_EVERY: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_secs(1);
/// Reports that are folded before anything is decided.
const REPORTS_MAX: usize = 1024;

/// Starts the daemon; it runs until it is told to stop.
/// It ends at once, and its log says why, if another daemon owns the store. Without a store that can
/// be written to it does serve.
pub fn start(options: Options) -> (Handle, JoinHandle<()>) {
    let (mail, letters) = mpsc::channel(MAIL_MAX);
    let (serving, is_serving) = watch::channel(false);
    let handle = Handle { mail, serving: is_serving };
    let task = tokio::spawn(async move {
        match Control::new(options, serving).await {
            Ok((control, inputs)) => control.run(letters, inputs).await,
            Err(why) => error!(event = "daemon.refused", "{why}"),
        }
    });
    (handle, task)
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
    calls: Calls,
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
}

impl Control {
    async fn new(options: Options, serving: watch::Sender<bool>) -> Result<(Self, Inputs), StoreError> {
        telemetry::describe();
        telemetry::reload(true);
        let Options { setup, sockets, listener, systemd } = options;
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
        let effects = daemon.conclude(now);
        let table = effects.publish.expect("the first conclusion always compiles a table");
        let net = Net::new();
        let (probes, reports) = Probes::start(&net, &setup.config);
        let control = Self {
            daemon,
            table: Arc::new(ArcSwap::new(table)),
            sockets,
            server: None,
            notifier: None,
            counts: Counts::default(),
            serving,
            probes: Some(probes),
            calls: Calls::new(Agents::new(net)),
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
        };
        Ok((control, Inputs { reports, stored }))
    }

    async fn run(mut self, mut mail: mpsc::Receiver<Mail>, mut inputs: Inputs) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reports = Vec::with_capacity(REPORTS_MAX);
        self.decide();
        self.open_if_due();
        loop {
            let wake = self.wake.map(|at| at.since(Clock.mono()));
            tokio::select! {
                count = inputs.reports.recv_many(&mut reports, REPORTS_MAX), if !self.is_stopping() => {
                    if count == 0 {
                        self.give_up("probing has ended by itself");
                    }
                    let now = Clock.now();
                    for report in reports.drain(..) {
                        self.report(report, now);
                    }
                }
                Some(event) = inputs.stored.recv() => self.stored(event),
                Some((call, outcome)) = self.calls.ended() => self.call_ended(&call, outcome),
                letter = mail.recv() => self.letter(letter.unwrap_or(Mail::Stop), &mut inputs).await,
                _ = tick.tick() => self.tick(),
                () = after(wake) => {}
            }
            self.decide();
            self.open_if_due();
            if let Some(stop_at) = self.stop_at {
                let settled = self.calls.is_empty() && self.daemon.is_settled();
                if settled || Clock.mono() >= stop_at {
                    break;
                }
            }
        }
        self.end().await;
    }

    // ── what comes in ──

    fn report(&mut self, report: Report, now: Now) {
        let config = Arc::clone(&self.daemon.setup().config);
        match &report {
            Report::Sample(sample) => {
                telemetry::sample(&config, sample);
                self.daemon.sample(sample, now);
            }
            Report::Round(round) => {
                telemetry::round(config.groups.name(round.group), round.took);
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
            Mail::Reconfigure(setup, reply) => {
                let said = self.reconfigure(setup, inputs).await;
                // Whoever asked may have gone meanwhile.
                let _ = reply.send(said);
            }
            Mail::Stop => self.begin_to_stop().await,
        }
    }

    fn order(&mut self, order: Order, reply: oneshot::Sender<Result<String, String>>) {
        match self.daemon.order(order, Clock.now()) {
            Ok(Said::Later(receipt)) => drop(self.replies.insert(receipt, reply)),
            Ok(Said::Done { words, ticket }) => self.unwritten.push((words, ticket, reply)),
            Err(why) => drop(reply.send(Err(why))),
        }
    }

    async fn reconfigure(&mut self, setup: Arc<Setup>, inputs: &mut Inputs) -> Result<String, String> {
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
        // A zone alone has nothing to do with what is probed.
        if !same_config && let Some(probes) = self.probes.take() {
            let (probes, reports) = probes.replace(&setup.config).await;
            self.probes = Some(probes);
            inputs.reports = reports;
        }
        self.daemon.reconfigure(setup, words.clone());
        telemetry::reload(true);
        self.systemd.ready();
        Ok(words)
    }

    fn tick(&mut self) {
        if self.server.as_ref().is_some_and(Server::is_broken) {
            self.give_up("a DNS thread has ended");
        }
        self.systemd.alive();
        let now = Clock.now();
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
            self.publish(table);
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

    /// Swaps the table. A lower generation is impossible to apply.
    fn publish(&self, table: Arc<Table>) {
        let served = self.table.load().generation();
        if table.generation() <= served {
            error!(
                served = served.0,
                offered = table.generation().0,
                "a table that is not newer was refused"
            );
            return;
        }
        let zones = Arc::clone(table.zones());
        self.table.store(table);
        // After the table: who is told asks at once.
        if let Some(notifier) = &self.notifier {
            notifier.publish(&zones);
        }
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
            Ok(server) => {
                self.server = Some(server);
                // Who is told comes to fetch: not before there is somebody to answer.
                let local = addresses.iter().map(SocketAddr::ip).collect();
                self.notifier = Some(Notifier::start(Arc::clone(self.table.load().zones()), local));
            }
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

    fn running(&self) -> Running {
        let counts = self.server.as_ref().map_or(self.counts, Server::counts);
        let (notified, not_notified) = self.notifier.as_ref().map_or((0, 0), Notifier::counts);
        Running { now: Clock.now(), serving: self.server.is_some(), counts, notified, not_notified }
    }

    async fn begin_to_stop(&mut self) {
        if !self.is_stopping() {
            self.systemd.stopping();
            info!(event = "daemon.stopping", calls = self.calls.len(), "pointsman stops");
        }
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
