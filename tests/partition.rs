//! Networks that break between some and not between others, made with network namespaces: three
//! regions with one voter of a real etcd cluster and a front end each, and the daemon on a host
//! of its own that reaches them all.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::daemon::{BINARY, Daemon};
use common::net::Net;
use common::{Program, find, now, until};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const ADDRESSES: [&str; 3] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
/// The host of the daemon; the regions' have the numbers before.
const SITE: usize = 3;
const ETCD: u16 = 2379;
const PEERS: u16 = 2380;
const FRONT_END: u16 = 8080;
/// Elections, checks and hold-downs together take some five seconds; machines may be slow.
const PATIENCE: Duration = Duration::from_secs(40);
/// A change that must not come would have come by now.
const LONG_ENOUGH: Duration = Duration::from_secs(6);

const WORKFLOW: &str = "\
version: 1
name: ledger-failover
stages:
  dial:
    agent: dial
    needs: []
    spec: {service: ledger}
";

/// Where everything runs. Programs go before the hosts that they run on; the daemon, whose
/// directory they all use, goes behind the others.
struct Scene {
    voters: Vec<Option<Program>>,
    _front_ends: Vec<Program>,
    daemon: Daemon,
    net: Net,
    dig: std::path::PathBuf,
}

impl Scene {
    /// Everything up and every region healthy. `None`: something is missing, and was named.
    fn start(name: &str) -> Option<Self> {
        let etcd = find("etcd", "etcd-server", &[])?;
        let dig = find("dig", "bind9-dnsutils", &[])?;
        let net = Net::start(REGIONS.len() + 1)?;
        let mut daemon = Daemon::prepare(name);
        let directory = daemon.directory();
        let front_ends = (0..REGIONS.len()).map(|region| front_end(&net, region, directory)).collect();
        let voters = (0..REGIONS.len()).map(|region| Some(voter(&net, region, &etcd, directory))).collect();
        daemon.write("ledger-failover.yaml", WORKFLOW);
        daemon.write("pointsman.yaml", &configuration(&net));
        daemon.start_by(net.on(SITE, BINARY));
        let scene = Self { voters, _front_ends: front_ends, daemon, net, dig };
        until("every region to be healthy", PATIENCE, || {
            REGIONS.iter().all(|region| scene.daemon.health(region) == "healthy")
        });
        Some(scene)
    }

    /// What a client on the daemon's host gets for a name, sorted: a real query over UDP.
    fn dig(&self, service: &str) -> Vec<String> {
        let mut dig = self.net.on(SITE, self.dig.to_str().unwrap());
        let port = self.daemon.dns().port().to_string();
        dig.args(["+short", "+tries=1", "+time=2", "-p", &port, "@127.0.0.1"]);
        let output = dig.arg(format!("{service}.gtm.example.com")).arg("A").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut addresses: Vec<_> =
            String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        addresses.sort();
        addresses
    }

    /// How often a region has flipped, over all time.
    fn flips(&self, region: &str) -> f64 {
        self.daemon.metric(&format!("pointsman_region_generation{{region=\"{region}\"}}")).unwrap()
    }

    fn executions(&self) -> usize {
        self.daemon.executions().len()
    }
}

fn configuration(net: &Net) -> String {
    let (mut voters, mut regions, mut answers) = (String::new(), String::new(), String::new());
    for (n, name) in REGIONS.iter().enumerate() {
        let host = net.address(n);
        voters += &format!("        {name}: [\"http://{host}:{ETCD}\"]\n");
        regions += &format!(
            "  {name}:
    layers:
      reach:   [{{tcp: {{address: \"{host}:{FRONT_END}\"}}}}]
      service: [{{http: {{url: \"http://{host}:{FRONT_END}/healthz\", status: [200]}}}}]
      quorum:  [ledger-store]
"
        );
        answers += &format!("      {name}: {{a: [{}]}}\n", ADDRESSES[n]);
    }
    let service = |name: &str, policy: &str, switched_by: &str| {
        format!(
            "  {name}:
    names: [{name}.gtm.example.com]
    policy: {{{policy}: [eu-west, us-east, ap-south]}}
    switched_by: {switched_by}
    answers:
{answers}    ttl: {{min: 1s, max: 5s}}
    all_down: serve_all
"
        )
    };
    format!(
        "version: 1
mode: act
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"], control: control.sock}}
zones: [{{name: gtm.example.com, file: gtm.example.com.zone}}]
defaults: {{check: {{interval: 300ms, timeout: 250ms, fall: 2, rise: 2}}}}
clusters:
  ledger-store:                 # one group of voters, a third of it in each region
    etcd:
      across:
{voters}      time_to_truth: 2s
regions:
{regions}services:
{everywhere}    failback: {{auto: {{after: 1s}}}}
{first}    failback: {{auto: {{after: 1s}}}}
{ledger}    failback: manual
workflows:
  - {{file: ledger-failover.yaml, activate: us-east, when: {{region: eu-west, turns: [no_quorum, unreachable], for: 500ms}}}}
store: {{embedded: {{path: state}}}}
",
        everywhere = service("everywhere", "all", "health"),
        first = service("first", "failover", "health"),
        ledger = service("ledger", "failover", "workflow"),
    )
}

fn voter(net: &Net, region: usize, etcd: &Path, directory: &Path) -> Program {
    let url = |host: usize, port: u16| format!("http://{}:{port}", net.address(host));
    let cluster: Vec<_> = (0..REGIONS.len()).map(|n| format!("m{n}={}", url(n, PEERS))).collect();
    let (client, peer) = (url(region, ETCD), url(region, PEERS));
    let mut command = net.on(region, etcd.to_str().unwrap());
    command
        .env_remove("ETCDCTL_API")
        .args(["--name", &format!("m{region}")])
        .arg("--data-dir")
        .arg(directory.join(format!("m{region}")))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-token", "ledger"])
        .args(["--heartbeat-interval", "100", "--election-timeout", "1000"])
        .args(["--logger", "zap", "--log-level", "warn", "--unsafe-no-fsync"]);
    Program::start(&mut command, "etcd", &directory.join(format!("m{region}.log")))
}

/// The front end of a region: this program once more, on the region's host.
fn front_end(net: &Net, region: usize, directory: &Path) -> Program {
    let program = std::env::current_exe().unwrap();
    let mut command: Command = net.on(region, program.to_str().unwrap());
    command.args(["--exact", "serves_as_a_front_end", "--ignored", "--nocapture"]);
    command.env(LISTEN, format!("{}:{FRONT_END}", net.address(region)));
    Program::start(&mut command, "the front end", &directory.join(format!("front-end-{region}.log")))
}

/// Tells a front end where to listen.
const LISTEN: &str = "POINTSMAN_TEST_FRONT_END";

/// Not a test: what runs on the hosts of the regions, until it is killed.
#[test]
#[ignore = "the front ends of the other tests"]
fn serves_as_a_front_end() {
    let Ok(address) = std::env::var(LISTEN) else { return };
    // Nothing is left behind, however the test that started it ends.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
    let listener = TcpListener::bind(&address).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        // A check of `reach` says nothing and goes.
        if stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n");
        }
    }
}

/// A datacenter loses its lines to the other two. Its front end goes on answering, its etcd
/// port too; its voter has lost the group, which goes on without it.
#[test]
fn a_region_cut_off_from_the_others_leaves_dns_alone_and_returns() {
    let Some(scene) = Scene::start("cut-off") else { return };
    let daemon = &scene.daemon;
    assert_eq!(scene.dig("everywhere"), ADDRESSES);
    assert_eq!(scene.dig("ledger"), ADDRESSES[..1]);

    scene.net.cut(0, 1);
    scene.net.cut(0, 2);
    until("eu-west to leave", PATIENCE, || {
        let answered = scene.dig("everywhere");
        let others = |address: &&str| answered.iter().any(|answered| answered == address);
        assert!(ADDRESSES[1..].iter().all(others), "others left too: {answered:?}");
        answered.len() == 2
    });
    let eu_west = daemon.region("eu-west");
    assert_eq!(eu_west["health"], "no_quorum", "{eu_west}");
    let why = eu_west["why"].as_str().unwrap();
    assert!(why.contains("ledger-store") && why.contains("cut off from the leader"), "{why}");
    let checks = eu_west["checks"].as_array().unwrap();
    let verdict = |layer: &str| {
        let check = checks.iter().find(|check| check["name"].as_str().unwrap().contains(layer)).unwrap();
        check["verdict"].as_str().unwrap()
    };
    assert_eq!((verdict("reach"), verdict("service"), verdict("quorum")), ("pass", "pass", "fail"));
    // The group goes on; it cannot spare another voter, and that is all there is to say of it.
    for other in &REGIONS[1..] {
        until("the others to be told degraded", PATIENCE, || daemon.health(other) == "degraded");
    }
    assert_eq!(scene.dig("first"), ADDRESSES[1..2]);
    until("the ledger to be moved", PATIENCE, || scene.dig("ledger") == ADDRESSES[1..2]);
    assert_eq!(scene.executions(), 1);

    scene.net.heal(0);
    until("eu-west to return", PATIENCE, || scene.dig("everywhere") == ADDRESSES);
    until("every region to be healthy", PATIENCE, || {
        REGIONS.iter().all(|region| daemon.health(region) == "healthy")
    });
    until("the first choice to be the first again", PATIENCE, || scene.dig("first") == ADDRESSES[..1]);
    assert_eq!(scene.dig("ledger"), ADDRESSES[1..2], "what a workflow moved, health does not move back");
    let lost = "pointsman_flips_total{region=\"eu-west\",to=\"no_quorum\"}";
    assert_eq!(daemon.metric(lost), Some(1.0));
    assert_eq!(scene.executions(), 1);
}

/// One voter cannot be reached by us, and by us alone: a firewall rule went wrong. The others
/// see it, clients are served; what we could not measure moves nothing.
#[test]
fn a_voter_that_only_we_cannot_reach_flips_nothing() {
    let Some(scene) = Scene::start("blind-spot") else { return };
    let daemon = &scene.daemon;
    let flips = scene.flips("eu-west");
    scene.net.cut_port(SITE, 0, ETCD);
    until("eu-west to be unknown", PATIENCE, || {
        assert_eq!(scene.dig("everywhere"), ADDRESSES);
        daemon.health("eu-west") == "unknown"
    });
    let start = now();
    while now() - start < LONG_ENOUGH {
        assert_eq!(scene.dig("everywhere"), ADDRESSES);
        assert_eq!(scene.dig("first"), ADDRESSES[..1]);
        assert_eq!(scene.dig("ledger"), ADDRESSES[..1]);
        for other in &REGIONS[1..] {
            assert!(["healthy", "degraded", "unknown"].contains(&daemon.health(other).as_str()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let eu_west = daemon.region("eu-west");
    assert_eq!((&eu_west["health"], &eu_west["last_known"]), (&"unknown".into(), &"healthy".into()));
    assert_eq!(scene.flips("eu-west"), flips);
    assert_eq!(scene.executions(), 0);

    scene.net.heal(SITE);
    until("every region to be healthy", PATIENCE, || {
        REGIONS.iter().all(|region| daemon.health(region) == "healthy")
    });
    assert_eq!(scene.flips("eu-west"), flips);
}

/// Two of three voters die: nobody has a quorum, and no region is any better than another.
/// Moving roles would mend nothing; names stay answered as their all-down policy says.
#[test]
fn a_group_lost_as_a_whole_moves_no_role_and_empties_no_name() {
    let Some(mut scene) = Scene::start("lost") else { return };
    scene.voters[1] = None;
    scene.voters[2] = None;
    let never_empty = |scene: &Scene| {
        let answered = scene.dig("everywhere");
        assert!(!answered.is_empty(), "never empty");
        answered == ADDRESSES
    };
    until("every region to be without quorum", PATIENCE, || {
        never_empty(&scene);
        REGIONS.iter().all(|region| scene.daemon.health(region) == "no_quorum")
    });
    until("the workflow's trigger to be due", PATIENCE, || {
        never_empty(&scene);
        let state = "pointsman_trigger{workflow=\"ledger-failover\",state=\"blocked\"}";
        scene.daemon.metric(state) == Some(1.0)
    });
    let status = scene.daemon.get("/v1/status");
    let words = status["workflows"][0]["words"].as_str().unwrap();
    assert!(words.contains("that of a whole cluster (eu-west/quorum/ledger-store"), "{words}");
    let start = now();
    while now() - start < LONG_ENOUGH / 2 {
        assert!(never_empty(&scene), "serve_all");
        assert_eq!(scene.dig("ledger"), ADDRESSES[..1], "nobody dialled it");
        assert_eq!(scene.executions(), 0);
        std::thread::sleep(Duration::from_millis(100));
    }

    let (net, directory) = (&scene.net, scene.daemon.directory().to_owned());
    let etcd = find("etcd", "etcd-server", &[]).unwrap();
    let again = [1, 2].map(|region| voter(net, region, &etcd, &directory));
    for (region, program) in [1, 2].into_iter().zip(again) {
        scene.voters[region] = Some(program);
    }
    until("every region to be healthy", PATIENCE, || {
        never_empty(&scene);
        REGIONS.iter().all(|region| scene.daemon.health(region) == "healthy")
    });
    until("everything to be as before", PATIENCE, || {
        scene.dig("first") == ADDRESSES[..1] && scene.dig("everywhere") == ADDRESSES
    });
    assert_eq!(scene.executions(), 0);
}
