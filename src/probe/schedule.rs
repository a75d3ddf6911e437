//! Runs every probe at its time, and hands what they find to the owner.
//!
//! One task keeps the timetable and starts a short task for each probe that is due. So a
//! target costs a line in a heap while it waits, and a small future while it is probed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Gauge, counter, gauge};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinHandle, JoinSet};

use super::timetable::{Pace, Phase, Slot, Timetable};
use super::{Inbox, cluster};
use crate::base::{CheckId, GroupId};
use crate::cluster::{Linearizable, NodeView, Round};
use crate::config::{CheckKind, Config, Schedule};
use crate::health::{Finding, Sample};
use crate::io::{Clock, Net, show};

/// Connections that probes hold open at once. Probes beyond it wait for their turn.
const IN_FLIGHT_MAX: usize = 8192;
/// Reports that wait for the owner.
const REPORTS_MAX: usize = 4096;
/// For how long a probe tries to hand in its report. Then it is dropped: the next one brings
/// news, and nothing is concluded from what was not reported.
const REPORT_WAIT_MAX: Duration = Duration::from_secs(1);
/// For how long a round waits for a linearizable probe once the voters have answered: as long
/// as they took, and within these bounds. A healthy system answers both at once, and then the
/// round has all its evidence; one that hangs must not hold up what the voters said.
const LINEARIZABLE_WAIT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(20)..=Duration::from_millis(250);

/// For how long servers may take to hear that we go.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// What probing one target has brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// A check's.
    Sample(Sample),
    /// A group's.
    Round(Round),
}

/// All probes of one configuration, running. Dropping it stops them.
#[derive(Debug)]
pub struct Probes {
    net: Net,
    inbox: Inbox,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Carried>,
}

impl Probes {
    /// Starts probing everything that a configuration names. The reports speak of it by its
    /// ids; they end when the probes are stopped.
    pub fn start(net: &Net, config: &Arc<Config>) -> (Self, mpsc::Receiver<Report>) {
        Self::start_with(net, &Inbox::default(), config)
    }

    /// The same, with what others tell by themselves.
    pub fn start_with(net: &Net, inbox: &Inbox, config: &Arc<Config>) -> (Self, mpsc::Receiver<Report>) {
        Self::resume(net, inbox, config, Carried::default())
    }

    /// Goes on under a new configuration. What stays the same keeps its rhythm. The old
    /// receiver must be thrown away: its reports may carry ids of the old configuration.
    pub async fn replace(self, config: &Arc<Config>) -> (Self, mpsc::Receiver<Report>) {
        let (net, inbox) = (self.net.clone(), self.inbox.clone());
        let carried = self.finish().await;
        Self::resume(&net, &inbox, config, carried)
    }

    /// Stops for good; when it returns, no probe is under way, and servers keep nothing for us.
    pub async fn stop(self) {
        let net = self.net.clone();
        self.finish().await;
        net.farewells().say(Clock.deadline(FAREWELL_MAX)).await;
    }

    fn resume(
        net: &Net,
        inbox: &Inbox,
        config: &Arc<Config>,
        carried: Carried,
    ) -> (Self, mpsc::Receiver<Report>) {
        let (reports, receiver) = mpsc::channel(REPORTS_MAX);
        let (stop, stopped) = oneshot::channel();
        inbox.open(config, &reports, Clock.mono());
        let running = Running::new(net, inbox, config, reports, carried);
        let task = tokio::spawn(running.run(stopped));
        (Self { net: net.clone(), inbox: inbox.clone(), stop, task }, receiver)
    }

    async fn finish(self) -> Carried {
        drop(self.stop);
        // It ends by itself; only a runtime that shuts down could have aborted it.
        self.task.await.unwrap_or_default()
    }
}

/// What a new configuration takes over from the one before, by the target's description.
#[derive(Default, Debug)]
struct Carried {
    phases: HashMap<String, Vec<Phase>>,
    linearizable: HashMap<String, Linearizable>,
}

#[derive(Debug)]
struct Target {
    what: What,
    timeout: Duration,
    /// Connections that a probe of it holds open.
    weight: usize,
}

#[derive(Clone, Debug)]
enum What {
    Check(CheckId),
    Group(GroupId, Arc<Mutex<Linear>>),
}

/// The linearizable probe of one group, which has a budget and a pace of its own.
#[derive(Default, Debug)]
struct Linear {
    under_way: bool,
    newest: Option<Linearizable>,
    /// The member whose turn it was last.
    turn: usize,
    /// Members that answered in the last round.
    answered: Vec<usize>,
}

impl Linear {
    /// The next member in turn, of those that answer: only one that answers a local question
    /// can tell something by hanging at this one.
    fn next(&mut self, members: usize) -> usize {
        let candidates: Vec<usize> = match self.answered.is_empty() {
            true => (0..members).collect(),
            false => self.answered.clone(),
        };
        self.turn = *candidates.iter().find(|member| **member > self.turn).unwrap_or(&candidates[0]);
        self.turn
    }
}

fn lock(linear: &Mutex<Linear>) -> std::sync::MutexGuard<'_, Linear> {
    linear.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Running {
    net: Net,
    inbox: Inbox,
    config: Arc<Config>,
    reports: mpsc::Sender<Report>,
    targets: Vec<Target>,
    table: Timetable,
    rng: fastrand::Rng,
    probing: JoinSet<()>,
    slots: HashMap<Id, Slot>,
    in_flight: usize,
    shown: Gauge,
    /// The limit holds up a probe that is due; counted once until it no longer does.
    held_up: bool,
    linearizing: JoinSet<()>,
}

impl Running {
    fn new(
        net: &Net,
        inbox: &Inbox,
        config: &Arc<Config>,
        reports: mpsc::Sender<Report>,
        mut carried: Carried,
    ) -> Self {
        let mut rng = fastrand::Rng::new();
        let checks = config.checks.iter().filter(|(_, check)| !matches!(check.kind, CheckKind::Cluster(_)));
        let checks = checks.map(|(id, check)| Target {
            what: What::Check(id),
            timeout: check.schedule.timeout,
            weight: 1,
        });
        let groups = config.groups.iter().map(|(id, group)| {
            let newest = carried.linearizable.remove(&describe_group(config, id));
            let linear = Linear { newest, turn: group.members.len(), ..Linear::default() };
            Target {
                what: What::Group(id, Arc::new(Mutex::new(linear))),
                timeout: config.clusters[group.cluster].schedule.timeout,
                weight: group.members.len(),
            }
        });
        let targets: Vec<Target> = checks.chain(groups).collect();
        let phases = targets.iter().map(|target| {
            let phase = carried.phases.get_mut(&describe(config, &target.what)).and_then(Vec::pop);
            (pace(config, &target.what), phase)
        });
        let table = Timetable::new(phases.collect::<Vec<_>>(), Clock.mono(), &mut rng);
        Self {
            net: net.clone(),
            inbox: inbox.clone(),
            config: Arc::clone(config),
            reports,
            targets,
            table,
            rng,
            probing: JoinSet::new(),
            slots: HashMap::new(),
            in_flight: 0,
            shown: gauge!("pointsman_probes_in_flight"),
            held_up: false,
            linearizing: JoinSet::new(),
        }
    }

    async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> Carried {
        loop {
            self.start_due();
            let wait = match self.table.next_due() {
                Some(due) if !self.held_up => due.since(Clock.mono()),
                // Whatever ends next wakes us.
                _ => Duration::MAX,
            };
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                Some(ended) = self.probing.join_next_with_id() => {
                    self.ended(ended.map(|(id, ())| id));
                    while let Some(ended) = self.probing.try_join_next_with_id() {
                        self.ended(ended.map(|(id, ())| id));
                    }
                }
                Some(_) = self.linearizing.join_next() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.probing.shutdown().await;
        self.linearizing.shutdown().await;
        self.shown.set(0.0);
        self.carry()
    }

    fn start_due(&mut self) {
        let now = Clock.mono();
        while self.table.is_due(now) {
            if self.in_flight >= IN_FLIGHT_MAX {
                if !self.held_up {
                    counter!("pointsman_probe_limit_hits_total").increment(1);
                    tracing::warn!(IN_FLIGHT_MAX, "too many probes under way: those that are due wait");
                }
                self.held_up = true;
                break;
            }
            self.held_up = false;
            let Some(slot) = self.table.take_due(now) else { break };
            self.start(slot);
        }
        self.shown.set(self.in_flight as f64);
    }

    fn start(&mut self, slot: Slot) {
        let Target { what, timeout, weight } = &self.targets[slot];
        self.in_flight += weight;
        let net = self.net.from(schedule(&self.config, what).source);
        let (config, reports) = (Arc::clone(&self.config), self.reports.clone());
        let (what, timeout) = (what.clone(), *timeout);
        if let What::Group(group, linear) = &what {
            self.linearize(*group, linear);
        }
        let inbox = self.inbox.clone();
        let task = match what {
            What::Check(id) if config.checks[id].kind.is_told() => self.probing.spawn(async move {
                if let Some(sample) = inbox.look(id, Clock.mono()) {
                    deliver(&reports, Report::Sample(sample)).await;
                }
            }),
            What::Check(id) => self.probing.spawn(async move {
                let kind = &config.checks[id].kind;
                if let Some(sample) = super::check(&net, id, kind, timeout).await {
                    deliver(&reports, Report::Sample(sample)).await;
                }
            }),
            What::Group(id, linear) => self.probing.spawn(async move {
                let round = round(&net, &config, id, &linear, timeout).await;
                deliver(&reports, Report::Round(round)).await;
            }),
        };
        self.slots.insert(task.id(), slot);
    }

    /// Starts the linearizable probe of a group, unless one is under way.
    fn linearize(&mut self, group: GroupId, linear: &Arc<Mutex<Linear>>) {
        let config = Arc::clone(&self.config);
        let kind = &config.clusters[config.groups[group].cluster].kind;
        if cluster::linearizable_budget(kind).is_none() {
            return;
        }
        let members = config.groups[group].members.len();
        let member = {
            let mut linear = lock(linear);
            if std::mem::replace(&mut linear.under_way, true) {
                return;
            }
            linear.next(members)
        };
        let net = self.net.from(config.clusters[config.groups[group].cluster].schedule.source);
        let (config, linear) = (Arc::clone(&self.config), Arc::clone(linear));
        self.linearizing.spawn(async move {
            // Also when it breaks off: else there would never be another.
            let _over = Over(&linear);
            let of = &config.groups[group];
            let kind = &config.clusters[of.cluster].kind;
            let result = cluster::linearizable(&net, kind, &of.members[member]).await;
            lock(&linear).newest = Some(Linearizable { at: Clock.mono(), member, result });
        });
    }

    fn ended(&mut self, ended: Result<Id, tokio::task::JoinError>) {
        let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |id| *id);
        let Some(slot) = self.slots.remove(&id) else { return };
        let target = &self.targets[slot];
        self.in_flight -= target.weight;
        self.held_up = false;
        self.table.done(slot, Clock.mono(), &mut self.rng);
        if let Err(why) = ended {
            let words = "the probe broke off: this is a defect of the daemon";
            tracing::error!(%why, target = describe(&self.config, &target.what), words);
            if let What::Check(check) = target.what {
                let finding = Finding::Unknown(words.to_owned());
                let sample = Sample { check, finding, heard: false, took: Duration::ZERO };
                let _ = self.reports.try_send(Report::Sample(sample));
            }
        }
    }

    fn carry(&self) -> Carried {
        let mut carried = Carried::default();
        for (slot, target) in self.targets.iter().enumerate() {
            let described = describe(&self.config, &target.what);
            if let What::Group(_, linear) = &target.what
                && let Some(newest) = lock(linear).newest.clone()
            {
                carried.linearizable.insert(described.clone(), newest);
            }
            carried.phases.entry(described).or_default().push(self.table.phase(slot));
        }
        carried
    }
}

/// Marks the linearizable probe of a group as over when dropped.
struct Over<'a>(&'a Mutex<Linear>);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        lock(self.0).under_way = false;
    }
}

/// Asks every voter of a group once.
async fn round(net: &Net, config: &Config, id: GroupId, linear: &Mutex<Linear>, timeout: Duration) -> Round {
    let started = Clock.mono();
    let group = &config.groups[id];
    let views = cluster::views(net, &config.clusters[group.cluster], group, timeout).await;
    let took = Clock.mono().since(started);
    lock(linear).answered = views
        .iter()
        .enumerate()
        .filter(|(_, view)| matches!(view, NodeView::Answered(_)))
        .map(|(position, _)| position)
        .collect();
    let patience = Clock.deadline(took.clamp(*LINEARIZABLE_WAIT.start(), *LINEARIZABLE_WAIT.end()));
    while lock(linear).under_way && !patience.over() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let linearizable = lock(linear).newest.clone();
    Round { group: id, views, linearizable, took }
}

/// Hands a report to the owner, unless it has been too busy for too long.
async fn deliver(reports: &mpsc::Sender<Report>, report: Report) {
    // Without a timer where there is room, as there nearly always is.
    let Err(TrySendError::Full(report)) = reports.try_send(report) else { return };
    if reports.send_timeout(report, REPORT_WAIT_MAX).await.is_err() && !reports.is_closed() {
        counter!("pointsman_probe_reports_dropped_total").increment(1);
        tracing::warn!("the report of a probe was dropped: nobody took it for {}", show(REPORT_WAIT_MAX));
    }
}

fn schedule(config: &Config, what: &What) -> Schedule {
    match what {
        What::Check(id) => config.checks[*id].schedule,
        What::Group(id, _) => config.clusters[config.groups[*id].cluster].schedule,
    }
}

fn pace(config: &Config, what: &What) -> Pace {
    let Schedule { interval, jitter, .. } = schedule(config, what);
    Pace { interval, jitter: jitter.of(interval) }
}

/// A target by what it is, whatever its name or number.
fn describe(config: &Config, what: &What) -> String {
    match what {
        What::Check(id) => format!("{:?}", config.checks[*id].kind),
        What::Group(id, _) => describe_group(config, *id),
    }
}

fn describe_group(config: &Config, id: GroupId) -> String {
    let group = &config.groups[id];
    let endpoints: Vec<String> = group.members.iter().map(|member| member.endpoint.to_string()).collect();
    format!("{} {}", config.clusters[group.cluster].kind.word(), endpoints.join(" "))
}
