//! The promise as a whole: the shipped binary against real etcd, real PostgreSQL and a real
//! resolver. Regions break, the daemon finds out, moves roles and traffic, is killed in the
//! middle of it, and what it told beforehand (`pointsman check`) holds.
//!
//! Nothing here asserts speed. A bound that the daemon prints is asserted with [`SLACK`], which
//! is the machine's share: two cores that run everything at once.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "tests")]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use pointsman::base::{Health, Timestamp, show_span};
use pointsman::workflow::{ExecutionView, StageView, State};
use tokio::time::sleep;

use common::client::{Answer, Client, Seen, query};
use common::daemon::Daemon;
use common::etcd::Etcd;
use common::postgres::{Postgres, Write, Writer};
use common::shop::Shop;
use common::unbound::Unbound;
use common::{now, ports, until};

/// What the machine may add to a bound that the daemon prints.
const SLACK: Duration = Duration::from_secs(2);
/// Nothing that is merely waited for takes longer, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
/// What holds for etcd if nothing is said: longer than an election takes.
const TIME_TO_TRUTH: Duration = Duration::from_secs(5);
const FAILBACK_AFTER: Duration = Duration::from_secs(3);

const ZONE: &str = "gtm.example.com";
const STOREFRONT: &str = "storefront.gtm.example.com";
const PETSTORE: &str = "petstore.gtm.example.com";

// ── the world ──

/// Two regions with a web server each. Clusters come on top as a test needs them.
struct World {
    eu_shop: Shop,
    us_shop: Shop,
    daemon: Daemon,
    /// Where the daemon serves DNS: the resolver and clients go on asking there while it is down.
    dns: SocketAddr,
}

impl World {
    async fn new(name: &str) -> Self {
        let mut daemon = Daemon::prepare(name);
        daemon.http = Some(([127, 0, 0, 1], ports::free()).into());
        let dns = ([127, 0, 0, 1], ports::free_for_both()).into();
        Self { eu_shop: Shop::start().await, us_shop: Shop::start().await, daemon, dns }
    }

    fn configure(&self, clusters: &str, quorum: [&str; 2], workflow: &str) {
        self.daemon.write("pointsman.yaml", &self.configuration(clusters, quorum, workflow));
    }

    fn configuration(&self, clusters: &str, [eu_quorum, us_quorum]: [&str; 2], workflow: &str) -> String {
        let (dns, http) = (self.dns, self.daemon.http.unwrap());
        let (eu, us) = (self.eu_shop.address(), self.us_shop.address());
        let (hook, told) = (self.us_shop.url("/capacity"), self.us_shop.url("/told"));
        let after = show_span(FAILBACK_AFTER);
        format!(
            "version: 1
mode: act
site: {{name: here}}
listen: {{dns: [\"{dns}\"], http: \"{http}\", control: control.sock}}
zones:
  - {{name: {ZONE}, file: gtm.example.com.zone}}
defaults:
  check: {{interval: 1s, timeout: 800ms, fall: 2, rise: 2}}
{clusters}\
regions:
  eu-west:
    capacity_hook: {{url: \"{}\"}}
    layers:
      reach:   [{{tcp: {{address: \"{eu}\"}}}}]
      service: [{{http: {{url: \"http://{eu}/healthz\", status: [200]}}}}]
      quorum:  [{eu_quorum}]
  us-east:
    capacity_hook: {{url: \"{hook}\"}}
    layers:
      reach:   [{{tcp: {{address: \"{us}\"}}}}]
      service: [{{http: {{url: \"http://{us}/healthz\", status: [200]}}}}]
      quorum:  [{us_quorum}]
services:
  storefront:                   # stateless: its answers follow health
    names: [{STOREFRONT}]
    policy: {{failover: [eu-west, us-east]}}
    answers:
      eu-west: {{a: [192.0.2.10]}}
      us-east: {{a: [198.51.100.10]}}
    ttl: {{min: 1s, max: 5s}}
    failback: {{auto: {{after: {after}}}}}
  petstore:                     # writes to the database: a workflow moves it
    names: [{PETSTORE}]
    policy: {{failover: [eu-west, us-east]}}
    switched_by: workflow
    answers:
      eu-west: {{a: [192.0.2.20]}}
      us-east: {{a: [198.51.100.20]}}
    ttl: {{min: 1s, max: 5s}}
workflows:
  - {{file: {workflow}, when: {{region: eu-west, turns: [no_quorum, unreachable], for: 1s}}}}
aliases:
  petstore-front: {{service: petstore}}
  region-b: {{region: us-east}}
channels:
  oncall: {{webhook: {{url: \"{told}\"}}}}
store: {{embedded: {{path: state}}}}
",
            self.eu_shop.url("/capacity"),
        )
    }

    /// Starts the daemon, and waits until it has seen both regions healthy.
    fn start(&mut self) {
        self.daemon.start();
        assert_eq!(self.daemon.dns(), self.dns);
        for region in ["eu-west", "us-east"] {
            until("both regions to be healthy", PATIENCE, || self.daemon.health(region) == "healthy");
        }
    }

    /// Waits until the only execution there is has come so far.
    fn wait_for_stage(&self, stage: &str, state: &str) {
        until(&format!("{stage} to be {state}"), PATIENCE, || {
            let executions = self.daemon.executions();
            assert!(executions.len() <= 1, "one flip, one execution: {executions:#?}");
            let view =
                executions.first().and_then(|view| view.stages.iter().find(|s| s.name == stage).cloned());
            view.is_some_and(|view| view.state == state)
        });
    }

    /// Waits until the only execution there is has succeeded.
    fn wait_for_success(&self) -> ExecutionView {
        until("the workflow to be over", PATIENCE, || {
            self.daemon.executions().iter().any(|view| view.state.is_over())
        });
        let mut executions = self.daemon.executions();
        assert_eq!(executions.len(), 1, "one flip, one execution: {executions:#?}");
        let view = executions.remove(0);
        assert_eq!(view.state, State::Succeeded, "{view:#?}");
        view
    }

    /// The answers that a client gets right now from the daemon itself: storefront, petstore.
    fn answers(&self) -> [Option<Region>; 2] {
        [STOREFRONT, PETSTORE].map(|name| region(name, &query(self.dns, name)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Region {
    EuWest,
    UsEast,
}
use Region::{EuWest, UsEast};

/// Which region an answer leads to; none: it is anything else.
fn region(name: &str, answer: &Answer) -> Option<Region> {
    let last = match name {
        STOREFRONT => 10,
        _ => 20,
    };
    match answer {
        Answer::Address(address, _) if *address == Ipv4Addr::new(192, 0, 2, last) => Some(EuWest),
        Answer::Address(address, _) if *address == Ipv4Addr::new(198, 51, 100, last) => Some(UsEast),
        _ => None,
    }
}

fn etcd_cluster(regions: &[(&str, &Etcd)]) -> String {
    let inside: Vec<_> = regions
        .iter()
        .map(|(region, etcd)| {
            let urls: Vec<_> = etcd.urls().iter().map(|url| format!("\"{url}\"")).collect();
            format!("        {region}: [{}]\n", urls.join(", "))
        })
        .collect();
    format!(
        "  sessions:
    etcd:
      inside:
{}      time_to_truth: {}
",
        inside.concat(),
        show_span(TIME_TO_TRUTH)
    )
}

/// The workflow that moves the petstore, one stage after the other; with a gate, traffic is moved
/// only once its page answers 200.
fn petstore_failover(gate: Option<&str>) -> String {
    let (stage, before_dial) = match gate {
        Some(url) => (
            format!(
                "  gate:
    agent: wait
    needs: [promote]
    spec: {{until: {{http: {{url: \"{url}\"}}}}, interval: 200ms}}
"
            ),
            "gate",
        ),
        None => (String::new(), "promote"),
    };
    format!(
        "version: 1
name: petstore-failover
stages:
  prescale:
    agent: capacity
    needs: []
    spec: {{percent: 100}}
  promote:
    agent: database
    needs: [prescale]
    spec: {{cluster: petstore-db, role: writer}}
{stage}  dial:
    agent: dial
    needs: [{before_dial}]
    spec: {{service: petstore}}
  tell:
    agent: notify
    needs: [dial]
    on_failure: continue
    spec: {{channel: oncall, message: 'petstore has moved to ${{activate}}'}}
"
    )
}

/// A primary in eu-west that a standby in us-east follows, with an application on each side
/// that writes whenever it can.
struct Database {
    west: Postgres,
    east: Postgres,
}

struct Writers {
    west: [Writer; 2],
    east: Writer,
}

impl Database {
    fn start() -> Option<Self> {
        let west = Postgres::primary("eu-west")?;
        let east = west.standby("us-east");
        west.wait_for(&east);
        Some(Self { west, east })
    }

    fn cluster(&self) -> String {
        let [points, app] = [("points", "points"), ("app", "apples")].map(|(name, value)| {
            match self.west.password(name, value) {
                pointsman::base::SecretRef::File(path) => path.display().to_string(),
                other => panic!("not a file: {other}"),
            }
        });
        format!(
            "  petstore-db:
    postgres:
      across:
        eu-west: [\"host=127.0.0.1 port={} user=pointsman\"]
        us-east: [\"host=127.0.0.1 port={} user=pointsman\"]
      password: {{file: \"{points}\"}}
      application: {{proof: {{user: app, password: {{file: \"{app}\"}}}}}}
",
            self.west.port, self.east.port
        )
    }

    fn writers(&self) -> Writers {
        Writers {
            // One that connects anew, one whose connection must be cut.
            west: [self.west.writer("app"), self.west.writer_that_stays("app")],
            east: self.east.writer("app"),
        }
    }

    /// The writer role has moved to us-east, once, without a moment of two writers, and nothing
    /// that was acknowledged is lost.
    async fn moved_once(&self, writers: Writers) {
        let [west, stays] = writers.west;
        let (mut west, east) = (west.stop().await, writers.east.stop().await);
        west.extend(stays.stop().await);
        assert!(west.len() > 20 && east.len() > 20, "both sides wrote: {} {}", west.len(), east.len());
        let last = west.iter().map(|write| write.acknowledged).max().unwrap();
        let first = east.iter().map(|write| write.acknowledged).min().unwrap();
        assert!(first > last, "two writers at once, for {:?}", last - first);
        eprintln!("without a writer for {:?}, as applications saw it", first - last);

        // The same by the servers' own clock, which is one clock here.
        let from = |server: &Postgres| format!("note LIKE '{}-%'", server.port);
        let (old, new) = (from(&self.west), from(&self.east));
        let order = format!("SELECT max(at) FILTER (WHERE {old}) < min(at) FILTER (WHERE {new}) FROM orders");
        assert_eq!(self.east.sql(&order), "t", "a row was written in eu-west after one in us-east");

        let notes: std::collections::HashSet<String> =
            self.east.sql("SELECT note FROM orders").lines().map(str::to_owned).collect();
        let lost: Vec<&Write> =
            west.iter().chain(&east).filter(|write| !notes.contains(&write.note)).collect();
        assert!(lost.is_empty(), "{} acknowledged writes are lost: {:?}", lost.len(), lost.first());

        self.promoted_once();
    }

    fn promoted_once(&self) {
        assert_eq!((self.west.times_promoted(), self.east.times_promoted()), (0, 1));
        assert_eq!(self.east.histories(), ["00000002.history"]);
        until("the new timeline to be in the control file", PATIENCE, || {
            self.east.sql("SELECT timeline_id FROM pg_control_checkpoint()") == "2"
        });
        assert_eq!(self.west.sql("SELECT timeline_id FROM pg_control_checkpoint()"), "1");
        let app_may = "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'";
        assert_eq!((self.west.sql(app_may).as_str(), self.east.sql(app_may).as_str()), ("f", "t"));
    }
}

// ── what is asked of an execution ──

/// Every stage was applied, each one only after the one before was over.
#[track_caller]
fn one_after_the_other(view: &ExecutionView, stages: &[&str]) {
    let mut order: Vec<&StageView> = view.stages.iter().collect();
    assert!(order.iter().all(|stage| stage.state == "applied"), "{view:#?}");
    order.sort_by_key(|stage| stage.began);
    let names: Vec<_> = order.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, stages, "{view:#?}");
    for pair in order.windows(2) {
        let times: [Timestamp; 2] = [pair[0].ended.unwrap(), pair[1].began.unwrap()];
        assert!(times[0] <= times[1], "{} began before {} was over: {view:#?}", pair[1].name, pair[0].name);
    }
}

/// What became of each stage, and how often it was tried. (The daemon that saw it happen knows
/// the time to the nanosecond, one that reads it in the journal to the microsecond.)
fn outline(view: &ExecutionView) -> Vec<(&str, &str, u32)> {
    view.stages.iter().map(|stage| (stage.name.as_str(), stage.state.as_str(), stage.attempts)).collect()
}

/// `pointsman workflow show`, from the running daemon or from what it left on the disk.
fn show(daemon: &Daemon) -> ExecutionView {
    daemon.cli_json(&["workflow", "show", "petstore-failover"])
}

// ── what the configuration promises ──

/// What `pointsman check` prints of a service and of eu-west.
struct Promise {
    check: String,
    detection: Duration,
    staleness: Duration,
    ttl: Duration,
    dwell: Option<Duration>,
}

fn promises(daemon: &Daemon) -> [Promise; 2] {
    let guarantees: serde_json::Value = daemon.cli_json(&["check"]);
    let text = daemon.cli(&["check"]);
    assert_eq!(text.code, Some(0), "{text}");
    let span = |value: &serde_json::Value| {
        let part = |key: &str| value[key].as_u64().unwrap_or_else(|| panic!("not a span: {value}"));
        Duration::new(part("secs"), u32::try_from(part("nanos")).unwrap())
    };
    ["storefront", "petstore"].map(|service| {
        let of = guarantees.as_array().unwrap().iter().find(|of| of["service"] == service).unwrap();
        let detections = of["detection"].as_array().unwrap();
        let eu = &detections.iter().find(|pair| pair[0] == "eu-west").unwrap()[1];
        let promise = Promise {
            check: eu["check"].as_str().unwrap().to_owned(),
            detection: span(&eu["within"]),
            staleness: span(&of["staleness_max"]),
            ttl: span(&of["ttl"]),
            dwell: of.get("dwell_min").filter(|dwell| !dwell.is_null()).map(span),
        };
        // People are told the same.
        let line = text.out.lines().find(|line| line.contains("a broken eu-west is known within")).unwrap();
        assert!(line.contains(&show_span(promise.detection)), "{line}");
        assert!(line.contains(&promise.check), "{line}");
        promise
    })
}

// ── 1 and 3: quorum is lost, everything moves, and part of it moves back ──

/// How two of three members are taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// `kill -STOP` of the leader and of a follower: the kernel goes on accepting for them.
    Stopped,
    /// `kill -9` of both followers: connections are refused.
    Killed,
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_when_two_of_three_members_are_stopped() {
    quorum_is_lost(How::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_when_two_of_three_members_are_killed() {
    quorum_is_lost(How::Killed).await;
}

async fn quorum_is_lost(how: How) {
    if !Unbound::is_installed() {
        return;
    }
    let Some(mut eu_etcd) = Etcd::start(3) else { return };
    let Some(us_etcd) = Etcd::start(3) else { return };
    let Some(database) = Database::start() else { return };
    let mut world = World::new("failover").await;
    let sessions = etcd_cluster(&[("eu-west", &eu_etcd), ("us-east", &us_etcd)]);
    let clusters = format!("clusters:\n{sessions}{}", database.cluster());
    world.daemon.write("petstore-failover.yaml", &petstore_failover(None));
    world.configure(&clusters, ["sessions", "sessions"], "petstore-failover.yaml");
    let [storefront, petstore] = promises(&world.daemon);
    world.start();
    let Some(unbound) = Unbound::start(ZONE, world.dns) else { return };
    let client = Client::start(unbound.address, &[STOREFRONT, PETSTORE]);
    let writers = database.writers();
    sleep(Duration::from_secs(2)).await;

    let leader = eu_etcd.leader();
    let others: Vec<usize> = (0..3).filter(|n| *n != leader).collect();
    let victims = if how == How::Stopped { [leader, others[0]] } else { [others[0], others[1]] };
    let broken = now();
    for n in victims {
        match how {
            How::Stopped => eu_etcd.pause(n),
            How::Killed => eu_etcd.kill(n),
        }
    }
    let detected = wait_for_no_quorum(&world.daemon);
    let took = detected - broken;
    eprintln!("{how:?}: no_quorum after {took:?}, promised within {:?}", storefront.detection);
    assert!(took <= storefront.detection + SLACK, "{took:?} > {:?}", storefront.detection);
    if how == How::Stopped {
        // A region is not given up before its cluster had the time to elect another leader.
        assert!(took >= TIME_TO_TRUTH, "{took:?}");
    }
    // Scripts learn of it by the exit code.
    assert_eq!(world.daemon.cli(&["status"]).code, Some(1));

    let view = world.wait_for_success();
    let over = now();
    one_after_the_other(&view, &["prescale", "promote", "dial", "tell"]);
    assert_eq!((view.deactivate.as_str(), view.activate.as_str()), ("eu-west", "us-east"));
    sleep(petstore.ttl + SLACK).await;

    // ── and back ──
    let healing = now();
    for n in victims {
        match how {
            How::Stopped => eu_etcd.resume(n),
            How::Killed => eu_etcd.start_member(n),
        }
    }
    until("eu-west to be healthy again", PATIENCE, || world.daemon.health("eu-west") == "healthy");
    until("storefront to be back in eu-west", PATIENCE, || {
        client.newest(STOREFRONT).is_some_and(|answer| region(STOREFRONT, &answer) == Some(EuWest))
    });
    // Whatever else were to go back by itself would do so now.
    sleep(storefront.ttl + SLACK).await;
    let seen = client.stop();
    database.moved_once(writers).await;

    let turns = Turns { broken, detected, over, healing };
    story_of_the_client(&seen, &turns, [&storefront, &petstore]);
    assert_eq!((world.us_shop.times_asked_for_room(), world.eu_shop.times_asked_for_room()), (1, 0));
    told_once(&world.us_shop, &view);
    assert_eq!(show(&world.daemon), world.wait_for_success(), "the API and the command line agree");
    // The journal alone says the same.
    world.daemon.stop();
    assert_eq!(outline(&show(&world.daemon)), outline(&view));
}

/// Waits until the daemon says that eu-west has no quorum; when it first did. Until then it may
/// only be known not to be known, and us-east is as well as ever.
fn wait_for_no_quorum(daemon: &Daemon) -> Instant {
    until("eu-west to have no quorum", PATIENCE, || {
        let status = daemon.status();
        let [eu, us] = ["eu-west", "us-east"]
            .map(|name| status.regions.iter().find(|region| region.name == name).unwrap());
        assert!(eu.health != Health::Unreachable, "{eu:?}");
        assert!(!us.health.is_bad(), "{us:?}");
        eu.health == Health::NoQuorum
    });
    now()
}

#[track_caller]
fn told_once(shop: &Shop, view: &ExecutionView) {
    let told = shop.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["text"], "petstore has moved to us-east");
    assert_eq!(told[0]["execution"], view.id.0.as_str());
}

/// When what happened, as the test saw it.
struct Turns {
    broken: Instant,
    /// eu-west was known to have no quorum.
    detected: Instant,
    /// The workflow was.
    over: Instant,
    healing: Instant,
}

/// What a client behind the resolver lived through.
fn story_of_the_client(seen: &[Seen], turns: &Turns, [storefront, petstore]: [&Promise; 2]) {
    let &Turns { broken, detected, over, healing } = turns;
    // Never an error, never an address that is neither.
    let wrong: Vec<_> = seen.iter().filter(|seen| region(seen.name, &seen.answer).is_none()).collect();
    assert!(wrong.is_empty(), "{} of {} answers: {:?}", wrong.len(), seen.len(), wrong[0]);
    let of = |name: &str| -> Vec<(Instant, Instant, Region)> {
        let of = seen.iter().filter(|seen| seen.name == name);
        of.map(|seen| (seen.asked, seen.answered, region(name, &seen.answer).unwrap())).collect()
    };
    let (shop, pets) = (of(STOREFRONT), of(PETSTORE));
    for answers in [&shop, &pets] {
        let before: Vec<_> = answers.iter().filter(|(_, answered, _)| *answered < broken).collect();
        assert!(before.len() > 10 && before.iter().all(|(.., region)| *region == EuWest), "{before:?}");
    }

    // Health moves the storefront, within what was promised for the last client.
    let stale = shop.iter().filter(|(asked, _, region)| *asked < healing && *region == EuWest);
    let left = stale.map(|(asked, ..)| *asked).max().unwrap();
    assert!(left <= detected + storefront.ttl + SLACK, "{:?} after it was known", left - detected);
    let took = left.saturating_duration_since(broken);
    eprintln!("the last client left the storefront after {took:?}, promised {:?}", storefront.staleness);
    assert!(took <= storefront.staleness + SLACK, "{took:?} > {:?}", storefront.staleness);
    // The workflow moves the petstore: nobody is left there once it is over and the TTL is too.
    let stale = pets.iter().filter(|(.., region)| *region == EuWest).map(|(asked, ..)| *asked);
    let left = stale.max().unwrap();
    assert!(left <= over + petstore.ttl + SLACK, "{:?} after it was over", left - over);
    // It went there and stayed there: no answer of eu-west behind one of us-east.
    let first = pets.iter().position(|(.., region)| *region == UsEast).expect("the petstore has moved");
    assert!(pets[first..].iter().all(|(.., region)| *region == UsEast), "the petstore went back by itself");

    // The storefront went back, not before its time was over.
    let back = shop.iter().find(|(asked, _, region)| *asked > healing && *region == EuWest).unwrap();
    let out = back.1 - healing;
    let dwell = storefront.dwell.expect("it fails back by itself");
    eprintln!("the storefront was back {out:?} after healing began, promised no sooner than {dwell:?}");
    assert!(out >= dwell, "{out:?} < {dwell:?}");
    assert_eq!(shop.last().unwrap().2, EuWest);
    assert!(petstore.dwell.is_none(), "nothing takes the petstore back but a person or a workflow");
}

// ── 2: the daemon is killed in the middle ──

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_goes_on_where_it_was() {
    let Some(mut etcd) = Etcd::start(3) else { return };
    let Some(database) = Database::start() else { return };
    let mut world = World::new("killed").await;
    let clusters = format!("clusters:\n{}{}", etcd_cluster(&[("eu-west", &etcd)]), database.cluster());
    let gate = world.us_shop.url("/gate");
    world.daemon.write("petstore-failover.yaml", &petstore_failover(Some(&gate)));
    world.configure(&clusters, ["sessions", ""], "petstore-failover.yaml");
    world.start();
    let writers = database.writers();
    sleep(Duration::from_secs(1)).await;

    // Killed while the capacity hook has its request and has not answered.
    world.us_shop.set_stalled(true);
    etcd.kill(0);
    etcd.kill(1);
    until("the hook to be asked", PATIENCE, || world.us_shop.times_asked_for_room() == 1);
    assert_eq!(world.answers(), [Some(UsEast), Some(EuWest)]);
    world.daemon.kill();
    assert!(show(&world.daemon).stages.iter().all(|stage| stage.state != "applied"));
    world.us_shop.set_stalled(false);
    restart(&mut world, [UsEast, EuWest]);

    // Killed at some instant of the promotion: before the fence, behind it, or when all is done.
    until("the promotion to begin", PATIENCE, || {
        let executions = world.daemon.executions();
        executions[0].stages.iter().any(|stage| stage.name == "promote" && stage.began.is_some())
    });
    let instant = Duration::from_millis(fastrand::u64(..1500));
    sleep(instant).await;
    world.daemon.kill();
    let promotions = database.east.times_promoted();
    eprintln!("killed {instant:?} into the promotion, which had happened {promotions} time(s)");
    restart(&mut world, [UsEast, EuWest]);

    // Killed between the promotion and the dial.
    world.wait_for_stage("promote", "applied");
    world.wait_for_stage("gate", "running");
    database.promoted_once();
    world.daemon.kill();
    restart(&mut world, [UsEast, EuWest]);
    world.wait_for_stage("gate", "running");
    assert_eq!(world.answers(), [Some(UsEast), Some(EuWest)], "nobody dials before the gate is open");
    world.us_shop.open_gate();
    let view = world.wait_for_success();

    // Killed once all is over, and the region still broken: nothing begins again.
    world.daemon.kill();
    restart(&mut world, [UsEast, UsEast]);
    wait_for_no_quorum_or_word_of_it(&world.daemon);
    sleep(TIME_TO_TRUTH + SLACK).await;
    assert_eq!(outline(&world.wait_for_success()), outline(&view));
    assert_eq!(world.answers(), [Some(UsEast), Some(UsEast)]);

    one_after_the_other(&view, &["prescale", "promote", "gate", "dial", "tell"]);
    assert_eq!(world.us_shop.times_room_was_made(), 1, "the same key every time it was asked");
    assert_eq!(world.us_shop.times_asked_for_room(), 2, "once by each daemon that was interested");
    told_once(&world.us_shop, &view);
    database.moved_once(writers).await;
}

/// Starts the killed daemon again. It answers at once, from what the one before it left.
#[track_caller]
fn restart(world: &mut World, expected: [Region; 2]) {
    world.daemon.start();
    assert_eq!(world.answers(), expected.map(Some), "from persisted state");
    let log = world.daemon.log();
    assert!(log.contains("DNS is served on the state that the process before this one left"), "{log}");
}

/// A fresh process may not be able to tell by itself; then it has the old one's word.
fn wait_for_no_quorum_or_word_of_it(daemon: &Daemon) {
    until("eu-west to be known as before", PATIENCE, || {
        let status = daemon.status();
        let eu = status.regions.iter().find(|region| region.name == "eu-west").unwrap();
        eu.health == Health::NoQuorum || eu.last_known == Some(Health::NoQuorum)
    });
}

// ── 4: a workflow in the article's form ──

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_form_of_the_article_runs_in_its_order() {
    let mut world = World::new("article").await;
    let trace = world.daemon.directory().join("trace");
    world.daemon.write(
        "article.yaml",
        &format!(
            "\
stages:
  reserve:
    agent: \"http\"
    spec:
      method: \"PUT\"
      url: \"{}\"
      body: \"room for ${{deactivate}} in ${{activate}}\"
  announce:
    agent: \"exec\"
    spec:
      command: [\"/bin/sh\", \"-c\", \"echo ${{activate}} >> {}\"]
  settle:
    agent: \"wait\"
    spec:
      for: \"1s\"
  move:
    agent: \"dial\"
    spec:
      endpoint: \"petstore-front\"
      region: \"region-b\"
",
            world.us_shop.url("/put"),
            trace.display()
        ),
    );
    world.configure("", ["", ""], "article.yaml");
    world.start();
    assert_eq!(world.answers(), [Some(EuWest), Some(EuWest)]);

    world.eu_shop.set_healthy(false);
    let view = world.wait_for_success();
    assert_eq!(world.answers(), [Some(UsEast), Some(UsEast)]);
    assert_eq!(world.daemon.health("eu-west"), "unreachable");
    one_after_the_other(&view, &["reserve", "announce", "settle", "move"]);
    assert_eq!(view.workflow, "article");
    assert_eq!(world.us_shop.puts(), ["room for eu-west in us-east"]);
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "us-east\n");
    let settle = &view.stages[2];
    let waited = settle.ended.unwrap().duration_since(settle.began.unwrap());
    assert!(waited.as_millis() >= 1000, "{waited}");
}

// ── 5: a broken configuration never replaces a good one ──

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_configuration_changes_nothing() {
    let mut world = World::new("reload").await;
    world
        .daemon
        .write("petstore-failover.yaml", "stages: {move: {agent: dial, spec: {service: petstore}}}\n");
    world.configure("", ["", ""], "petstore-failover.yaml");
    world.start();
    let client = Client::start(world.dns, &[STOREFRONT, PETSTORE]);
    let good = std::fs::read_to_string(world.daemon.config()).unwrap();
    let other = "192.0.2.99";
    let reloaded = || world.daemon.metric("pointsman_config_reload_success");
    assert_eq!(reloaded(), Some(1.0));

    // One mistake is in a line that would also have changed the answers.
    let broken = good.replace("{a: [192.0.2.10]}", &format!("{{a: [{other}], b: [192.0.2.1]}}"));
    let line = broken.lines().position(|line| line.contains(other)).unwrap();
    let column = broken.lines().nth(line).unwrap().find("b: [").unwrap();
    let place = format!("pointsman.yaml:{}:{}", line + 1, column + 1);
    world.daemon.write("pointsman.yaml", &broken);
    let table = world.daemon.status().generation;
    // Where the socket is stands in the very file that is broken, and is found all the same.
    let said = world.daemon.cli(&["reload"]);
    assert_eq!(said.code, Some(1), "{said}");
    assert!(said.err.contains(&place), "no {place} in: {}", said.err);
    assert!(said.err.contains("the configuration that runs goes on"), "{}", said.err);
    assert_eq!(reloaded(), Some(0.0));
    assert_eq!(world.answers(), [Some(EuWest), Some(EuWest)]);
    let failures = || world.daemon.log().matches("daemon.reload_failed").count();
    assert_eq!(failures(), 1);
    assert!(world.daemon.log().contains(&place));

    // The same by signal.
    world.daemon.hang_up();
    until("the signal to be taken", PATIENCE, || failures() == 2);
    assert_eq!(reloaded(), Some(0.0));
    assert_eq!(world.answers(), [Some(EuWest), Some(EuWest)]);
    assert_eq!(world.daemon.status().generation, table, "the table is the one that it was");
    assert!(world.daemon.status().regions.iter().all(|region| region.health == Health::Healthy));
    sleep(Duration::from_secs(1)).await;
    let seen = client.stop();
    let wrong: Vec<_> = seen.iter().filter(|seen| region(seen.name, &seen.answer) != Some(EuWest)).collect();
    assert!(seen.len() > 10 && wrong.is_empty(), "{} of {}: {:?}", wrong.len(), seen.len(), wrong.first());

    // A good one is taken, by signal and by order, and no query is lost.
    let client = Client::start(world.dns, &[STOREFRONT, PETSTORE]);
    world.daemon.write("pointsman.yaml", &good.replace("192.0.2.10", other));
    world.daemon.hang_up();
    let answers = |address: &str| match query(world.dns, STOREFRONT) {
        Answer::Address(found, _) => found.to_string() == address,
        Answer::Other(why) => panic!("{why}"),
    };
    until("the new address to be answered", PATIENCE, || answers(other));
    assert_eq!(reloaded(), Some(1.0));
    assert!(world.daemon.status().generation > table);
    world.daemon.write("pointsman.yaml", &good);
    let said = world.daemon.cli(&["reload"]);
    assert_eq!(said.code, Some(0), "{said}");
    until("the old address to be answered", PATIENCE, || answers("192.0.2.10"));
    for n in 0..20 {
        let text = if n % 2 == 0 { good.replace("192.0.2.10", other) } else { good.clone() };
        world.daemon.write("pointsman.yaml", &text);
        world.daemon.hang_up();
        sleep(Duration::from_millis(100)).await;
    }
    let seen = client.stop();
    let lost: Vec<_> = seen.iter().filter(|seen| matches!(seen.answer, Answer::Other(_))).collect();
    assert!(seen.len() > 20 && lost.is_empty(), "{} of {}: {:?}", lost.len(), seen.len(), lost.first());
    assert!(world.daemon.executions().is_empty(), "no reload starts a workflow");
}
