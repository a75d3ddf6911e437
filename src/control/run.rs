//! The loop.
//!
//! Whatever comes in is folded; then everything is decided at once, the new table is published,
//! calls go out, and only then is told and written what happened. Nothing here waits for a
//! disk, a target or a client: what takes time runs elsewhere and sends its result.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{error, info, warn};

use super::handle::{Handle, MAIL_MAX, Mail, Running, Told};
use super::restore::{self, ALIVE, Opened};
use super::{telemetry, tell};
use crate::agent::Agents;
use crate::base::{Mono, Now, show_span};
use crate::cluster::NodeView;
use crate::config::{Config, Mode};
use crate::decide::{Daemon, Order, Restored, Said, Setup, Write};
use crate::dns::Counts;
use crate::io::{Clock, Net};
use crate::probe::{Probes, Report};
use crate::serve::{Server, Sockets};
use crate::store::{self, Batch, Store};
use crate::sys::Systemd;
use crate::table::Table;
use crate::workflow::{Act, Call, Outcome, Receipt};

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
///
/// # Errors
/// Nothing that the daemon could go on without: a store that cannot be opened is not fatal.
pub fn start(options: Options) -> (Handle, JoinHandle<()>) {
    let (mail, letters) = mpsc::channel(MAIL_MAX);
    let (serving, is_serving) = watch::channel(false);
    let handle = Handle { mail, serving: is_serving };
    let task = tokio::spawn(async move {
        let (control, inputs) = Control::new(options, serving).await;
        control.run(letters, inputs).await;
    });
    (handle, task)
}

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
    counts: Counts,
    serving: watch::Sender<bool>,
    probes: Option<Probes>,
    agents: Agents,
    calls: JoinSet<Outcome>,
    under_way: HashMap<Id, (Call, Mono)>,
    store: Option<Store>,
    replies: BTreeMap<Receipt, oneshot::Sender<Result<String, String>>>,
    listener: Option<mpsc::UnboundedSender<Told>>,
    systemd: Systemd,
    /// DNS opens at the latest then, whatever the first round of checks has found.
    open_at: Mono,
    /// State of an earlier process, fresh enough to serve from.
    fresh: bool,
    alive_at: Mono,
    wake: Option<Mono>,
    stopping: bool,
}

impl Control {
    async fn new(options: Options, serving: watch::Sender<bool>) -> (Self, Inputs) {
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
        let Opened { store, restored, alive } = opened.await.unwrap_or_else(|why| Opened {
            store: Err(why.to_string()),
            restored: Restored::nothing(),
            alive: None,
        });
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
            counts: Counts::default(),
            serving,
            probes: Some(probes),
            agents: Agents::new(net),
            calls: JoinSet::new(),
            under_way: HashMap::new(),
            store,
            replies: BTreeMap::new(),
            listener,
            systemd,
            open_at: now.mono + setup.config.dns.open_after,
            fresh,
            alive_at: now.mono,
            wake: None,
            stopping: false,
        };
        (control, Inputs { reports, stored })
    }

    async fn run(mut self, mut mail: mpsc::Receiver<Mail>, mut inputs: Inputs) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reports = Vec::with_capacity(REPORTS_MAX);
        let mut stop_at = None;
        self.decide();
        self.open_if_due();
        loop {
            let wake = self.wake.map(|at| at.since(Clock.mono()));
            tokio::select! {
                count = inputs.reports.recv_many(&mut reports, REPORTS_MAX), if !self.stopping => {
                    if count == 0 {
                        error!("probing has ended by itself");
                        self.stopping = true;
                    }
                    let now = Clock.now();
                    for report in reports.drain(..) {
                        self.report(report, now);
                    }
                }
                Some(event) = inputs.stored.recv() => self.stored(event),
                Some(ended) = self.calls.join_next_with_id() => self.call_ended(ended),
                letter = mail.recv() => match letter {
                    Some(Mail::Stop) | None => {
                        self.begin_to_stop().await;
                        stop_at.get_or_insert(Clock.mono() + STOP_WAIT);
                    }
                    Some(Mail::Reconfigure(setup, reply)) => {
                        let said = self.reconfigure(setup, &mut inputs).await;
                        let _ = reply.send(said);
                    }
                    Some(letter) => self.letter(letter),
                },
                _ = tick.tick() => self.tick(),
                () = after(wake) => {}
            }
            self.decide();
            self.open_if_due();
            if let Some(stop_at) = stop_at {
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

    fn call_ended(&mut self, ended: Result<(Id, Outcome), tokio::task::JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(broken) => {
                // A panic in an agent: it may have got as far as its target.
                let reason = format!("the agent broke: {broken}");
                error!(%reason, "an agent panicked");
                (broken.id(), Outcome::Unknown { reason })
            }
        };
        let Some((call, began)) = self.under_way.remove(&id) else { return };
        let (word, words) = outcome_words(&outcome);
        let took = Clock.mono().since(began);
        telemetry::call(workflow_of(&call), &call.stage, word, took);
        info!(
            event = "workflow.outcome", execution = %call.execution, stage = %call.stage, attempt = call.attempt,
            outcome = word, "{}/{}: {word} after {}: {words}", call.execution, call.stage, show_span(took)
        );
        self.told_call(&call, Some(format!("{word}: {words}")));
        self.daemon.outcome(&call, outcome);
    }

    fn letter(&mut self, letter: Mail) {
        match letter {
            Mail::Look(look) => look(&self.daemon, &self.running()),
            Mail::Order(order, reply) => self.order(order, reply),
            Mail::ReloadFailed(why) => {
                telemetry::reload(false);
                error!(event = "daemon.reload_failed", "the configuration was not taken over: {why}");
            }
            Mail::Reconfigure(..) | Mail::Stop => unreachable!("handled where it is received"),
        }
    }

    fn order(&mut self, order: Order, reply: oneshot::Sender<Result<String, String>>) {
        match self.daemon.order(order, Clock.now()) {
            Ok(Said::Later(receipt)) => drop(self.replies.insert(receipt, reply)),
            // Whoever asked may have gone meanwhile; the order holds all the same.
            Ok(Said::Done(words)) => drop(reply.send(Ok(words))),
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
        self.systemd.reloading();
        let words = difference(&old, &setup.config);
        if let Some(probes) = self.probes.take() {
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
        self.table.store(table);
    }

    fn perform(&mut self, call: Call) {
        let what = match call.act {
            Act::Apply => "is performed",
            Act::Observe => "is looked at",
        };
        info!(
            event = "workflow.call", execution = %call.execution, stage = %call.stage, attempt = call.attempt,
            token = %call.token, "{}/{} {what} (attempt {})", call.execution, call.stage, call.attempt
        );
        self.told_call(&call, None);
        let (agents, task_call) = (self.agents.clone(), call.clone());
        let task = self.calls.spawn(async move { agents.perform(&task_call).await });
        self.under_way.insert(task.id(), (call, Clock.mono()));
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
        if self.server.is_some() || self.stopping || self.daemon.setup().config.mode == Mode::Observe {
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
            Err(why) => {
                error!(%why, "DNS cannot be served");
                self.stopping = true;
                return;
            }
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
        Running { now: Clock.now(), serving: self.server.is_some(), counts }
    }

    async fn begin_to_stop(&mut self) {
        if !self.stopping {
            self.systemd.stopping();
            info!(event = "daemon.stopping", calls = self.calls.len(), "pointsman stops");
        }
        self.stopping = true;
        self.daemon.stop();
        if let Some(probes) = self.probes.take() {
            probes.stop().await;
        }
    }

    async fn end(mut self) {
        if !self.calls.is_empty() {
            warn!(
                calls = self.calls.len(),
                "calls are still under way; they are looked at again at the next start"
            );
        }
        self.calls.abort_all();
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

fn workflow_of(call: &Call) -> &str {
    // An id is the workflow's name, a number and a tag.
    call.execution.0.rsplitn(3, '-').last().unwrap_or_default()
}

fn outcome_words(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Applied { detail, .. } => ("applied", detail),
        Outcome::NotApplied { reason, .. } => ("not_applied", reason),
        Outcome::Unreachable { reason } => ("unreachable", reason),
        Outcome::Unknown { reason } => ("unknown", reason),
        Outcome::Stale { reason } => ("stale", reason),
        Outcome::Ask { question } => ("ask", question),
    }
}

/// What a running daemon cannot change.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut fixed = Vec::new();
    let mut check = |name: &'static str, same: bool| {
        if !same {
            fixed.push(name);
        }
    };
    check("`listen`", old.listen == new.listen);
    check("`dns`", old.dns == new.dns);
    check("`site`", old.site.name == new.site.name);
    check("`store`", old.state_directory() == new.state_directory());
    check("`mode` from or to `observe`", (old.mode == Mode::Observe) == (new.mode == Mode::Observe));
    fixed
}

/// What is new in a configuration, in words.
fn difference(old: &Config, new: &Config) -> String {
    let names = |what: &str, old: Vec<&str>, new: Vec<&str>| {
        let added: Vec<_> = new.iter().filter(|name| !old.contains(name)).copied().collect();
        let gone: Vec<_> = old.iter().filter(|name| !new.contains(name)).copied().collect();
        let mut words = Vec::new();
        if !added.is_empty() {
            words.push(format!("{what} added: {}", added.join(", ")));
        }
        if !gone.is_empty() {
            words.push(format!("{what} gone: {}", gone.join(", ")));
        }
        words
    };
    let parts = [
        names("regions", old.regions.names().collect(), new.regions.names().collect()),
        names("clusters", old.clusters.names().collect(), new.clusters.names().collect()),
        names("services", old.services.names().collect(), new.services.names().collect()),
        names("checks", old.checks.names().collect(), new.checks.names().collect()),
    ];
    let words = parts.concat();
    match words.is_empty() {
        true => "the same regions, clusters, services and checks".to_owned(),
        false => words.join("; "),
    }
}
