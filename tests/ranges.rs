//! CockroachDB, YugabyteDB, TiKV and Nomad, of which no server can be had to run this against: members on
//! loopback that answer what the vendors' source answers in each state.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman::cluster::{Judgement, LinearizableResult, Memory, NodeView, Round, Standing, judge};
use pointsman::config::Config;
use pointsman::io::{Clock, Net};
use pointsman::probe::cluster;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use Standing::{Degraded, Electing, NoQuorum, Quorum, Unknown};
use common::postgres::Postgres;
use common::{config, until_async};

const TIMEOUT: Duration = Duration::from_millis(600);

/// What a member answers, by path; nothing: it takes the question and leaves it hanging.
type Answers = BTreeMap<&'static str, Option<(u16, String)>>;

/// Members on loopback.
struct Members {
    ports: Vec<u16>,
    answers: Arc<Mutex<Vec<Answers>>>,
}

impl Members {
    async fn start(members: usize) -> Self {
        let answers = Arc::new(Mutex::new(vec![Answers::new(); members]));
        let mut ports = Vec::new();
        for member in 0..members {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ports.push(listener.local_addr().unwrap().port());
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let answers = Arc::clone(&answers);
                    tokio::spawn(async move {
                        let mut request = vec![0; 4096];
                        let n = stream.read(&mut request).await.unwrap_or(0);
                        let text = String::from_utf8_lossy(&request[..n]).into_owned();
                        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                        let answer = answers.lock().unwrap()[member].get(path.as_str()).cloned();
                        let (status, body) = match answer {
                            Some(Some(answer)) => answer,
                            Some(None) => return tokio::time::sleep(Duration::from_secs(5)).await,
                            None => (404, "no such page".to_owned()),
                        };
                        // Nomad's answers tell the state of its log; the others' readers look at no header.
                        let head = format!(
                            "HTTP/1.1 {status} X\r\nx-nomad-index: 7\r\ncontent-length: {}\r\n\r\n",
                            body.len()
                        );
                        let _ = stream.write_all((head + &body).as_bytes()).await;
                    });
                }
            });
        }
        Self { ports, answers }
    }

    fn tell(&self, answers: Vec<Answers>) {
        *self.answers.lock().unwrap() = answers;
    }

    /// Each in a region of its own; told to be somewhere where nobody listens: refused.
    fn watcher(&self, system: &str) -> Watcher {
        self.watcher_with(system, "")
    }

    /// The same, with further keys.
    fn watcher_with(&self, system: &str, keys: &str) -> Watcher {
        let regions: Vec<usize> = (0..self.ports.len()).collect();
        let lines = |line: &dyn Fn(usize) -> String| regions.iter().map(|n| line(*n)).collect::<String>();
        let config = config(&format!(
            "version: 1
mode: observe
site: {{name: fra1}}
sites: [fra1]
listen: {{dns: [\"127.0.0.1:5353\"]}}
clusters:
  ledger:
    {system}:
      across:
{members}      time_to_truth: 400ms
{keys}regions:
{regions}store: {{embedded: {{path: /tmp/none}}}}
",
            members = lines(&|n| format!("        r{n}: [\"http://127.0.0.1:{}\"]\n", self.ports[n])),
            regions = lines(&|n| format!("  r{n}: {{layers: {{quorum: [ledger]}}}}\n")),
        ));
        Watcher { config, memory: Memory::default() }
    }
}

struct Watcher {
    config: Arc<Config>,
    memory: Memory,
}

impl Watcher {
    async fn round(&mut self) -> Judgement {
        let (id, group) = self.config.groups.iter().next().unwrap();
        let of = &self.config.clusters[group.cluster];
        let views = cluster::views(&Net::new(), of, group, TIMEOUT).await;
        let odd = views.iter().find(|view| matches!(view, NodeView::Rubbish(_)));
        assert!(odd.is_none(), "{odd:?}");
        let round = Round { group: id, views, linearizable: None, took: TIMEOUT };
        judge(of, group, &round, &mut self.memory, Clock.mono())
    }

    async fn settled(&mut self) -> Judgement {
        for _ in 0..6 {
            self.round().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.round().await
    }
}

fn standings(judgement: &Judgement) -> Vec<Standing> {
    judgement.regions.values().map(|(standing, _)| *standing).collect()
}

fn parts(judgement: &Judgement) -> Option<(u64, u64, u64)> {
    let evidence = &judgement.evidence;
    Some((evidence.parts_total?, evidence.parts_lost?, evidence.parts_critical?))
}

/// A CockroachDB node: how many are live by its word, and its ranges, those unavailable, those with
/// too few replicas. Its health is always good.
fn node(live: u64, ranges: u64, unavailable: u64, under: u64) -> Answers {
    let vars = format!(
        "# TYPE liveness_livenodes gauge\nliveness_livenodes {live}\n\
         ranges{{store=\"1\"}} {ranges}\nranges_unavailable{{store=\"1\"}} {unavailable}\n\
         ranges_underreplicated{{store=\"1\"}} {under}\n"
    );
    let ready = Some((200, "{}".to_owned()));
    [("/_status/vars", Some((200, vars))), ("/health?ready=1", ready.clone()), ("/health", ready)].into()
}

#[tokio::test(flavor = "multi_thread")]
async fn cockroachdb_in_every_state() {
    let nodes = Members::start(3).await;
    let mut watcher = nodes.watcher("cockroachdb");
    nodes.tell(vec![node(3, 20, 0, 0), node(3, 22, 0, 0), node(3, 22, 0, 0)]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, parts(&judged)), (Quorum, Some((64, 0, 0))), "{}", judged.reason);

    // One node parted from the others, its health as good as ever. They miss it for all ranges.
    nodes.tell(vec![node(0, 0, 0, 0), node(2, 32, 0, 32), node(2, 32, 0, 32)]);
    let judged = watcher.round().await;
    assert_eq!((standings(&judged), parts(&judged)), (vec![Electing, Degraded, Degraded], Some((64, 0, 64))));
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, standings(&judged)), (Degraded, vec![NoQuorum, Degraded, Degraded]));

    // Two of three gone: the one that is left counts no range as unavailable, for it counts none.
    let silent: Answers = [("/_status/vars", None)].into();
    nodes.tell(vec![silent.clone(), silent.clone(), node(0, 0, 0, 0)]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, parts(&judged)), (Unknown, None), "{}", judged.reason);
    assert_eq!(standings(&judged), [Unknown, Unknown, NoQuorum]);
    // All parted from each other.
    nodes.tell(vec![node(0, 0, 0, 0); 3]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, standings(&judged)), (NoQuorum, vec![NoQuorum; 3]));
    // Back.
    nodes.tell(vec![node(3, 20, 0, 0), node(3, 22, 0, 0), node(3, 22, 0, 0)]);
    assert_eq!(standings(&watcher.settled().await), [Quorum; 3]);

    // Ranges that live on fewer nodes: one in a hundred is tolerated, more than ten are not.
    nodes.tell(vec![node(3, 200, 0, 0), node(3, 200, 4, 9), node(3, 200, 0, 0)]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, parts(&judged)), (Degraded, Some((600, 4, 5))), "{}", judged.reason);
    assert!(judged.reason.starts_with("4 of 600 ranges cannot take a write"), "{}", judged.reason);
    nodes.tell(vec![node(3, 200, 40, 40), node(3, 200, 21, 40), node(3, 200, 0, 0)]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, parts(&judged)), (NoQuorum, Some((600, 61, 19))), "{}", judged.reason);
    assert_eq!(standings(&judged), [NoQuorum; 3]);
}

/// A node that is live has reached a quorum of the system's ranges, so that a minority of the nodes
/// that once were can go on.
#[tokio::test(flavor = "multi_thread")]
async fn cockroachdb_with_a_minority_of_its_nodes() {
    let nodes = Members::start(5).await;
    let mut watcher = nodes.watcher("cockroachdb");
    nodes.tell(vec![node(5, 20, 0, 0); 5]);
    assert_eq!(watcher.settled().await.verdict, Quorum);
    let silent: Answers = [("/_status/vars", None)].into();
    let (one, none) = (node(2, 50, 0, 0), silent);
    nodes.tell(vec![one.clone(), one, none.clone(), none.clone(), none]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, judged.evidence.margin), (Degraded, 0), "{}", judged.reason);
    assert_eq!(standings(&judged), [Degraded, Degraded, Unknown, Unknown, Unknown]);
    assert!(judged.reason.starts_with("2 of 5 nodes are live"), "{}", judged.reason);
}

/// A YugabyteDB master: whether it holds the lease, and the roles that it lists; nothing of one that
/// it could not ask.
fn master(ports: &[u16], lease: bool, roles: &[Option<&str>]) -> Answers {
    let entry = |(port, role): (&u16, &Option<&str>)| match role {
        Some(role) => json!({
            "instance_id": {"permanent_uuid": format!("{port:032}"), "instance_seqno": 1},
            "registration": {"private_rpc_addresses": [{"host": "127.0.0.1", "port": 7100}],
                             "http_addresses": [{"host": "127.0.0.1", "port": port}]},
            "role": role}),
        None => json!({"error": {"code": "TIMED_OUT", "message": "GetMasterRegistration RPC timed out"}}),
    };
    let listed: Vec<_> = ports.iter().zip(roles).map(entry).collect();
    let is_leader = if lease { (200, r#"{"STATUS":"OK"}"#.to_owned()) } else { (503, "{".to_owned()) };
    let page = Some((200, "<html>YugabyteDB</html>".to_owned()));
    [
        ("/api/v1/is-leader", Some(is_leader)),
        ("/api/v1/masters", Some((200, json!({"masters": listed}).to_string()))),
        ("/", page),
    ]
    .into()
}

/// The same with tablets: led, without a leader, with too few replicas.
fn with_tablets(mut master: Answers, led: u64, leaderless: usize, under: usize) -> Answers {
    let tablets = |n: usize| (0..n).map(|n| format!("tablet-{n}")).collect::<Vec<_>>();
    let lost: Vec<_> = tablets(leaderless)
        .iter()
        .map(|tablet| json!({"table_uuid": "t", "tablet_uuid": tablet, "reason": "No valid leader reported"}))
        .collect();
    let health =
        json!({"dead_nodes": [], "most_recent_uptime": 261, "under_replicated_tablets": tablets(under)});
    let servers = json!({"": {"127.0.0.1:9000": {"status": "ALIVE", "user_tablets_leaders": led,
                                                 "system_tablets_leaders": 0}}});
    let replication = json!({"leaderless_tablets": lost});
    master.insert("/api/v1/tablet-replication", Some((200, replication.to_string())));
    master.insert("/api/v1/health-check", Some((200, health.to_string())));
    master.insert("/api/v1/tablet-servers", Some((200, servers.to_string())));
    master
}

#[tokio::test(flavor = "multi_thread")]
async fn yugabytedb_in_every_state() {
    let masters = Members::start(3).await;
    let ports = masters.ports.clone();
    let (leads, follows) = (Some("LEADER"), Some("FOLLOWER"));
    let roles = [leads, follows, follows];
    let leader = || master(&ports, true, &roles);
    let follower = || master(&ports, false, &roles);
    let mut watcher = masters.watcher("yugabytedb");
    masters.tell(vec![with_tablets(leader(), 60, 0, 0), follower(), follower()]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, parts(&judged)), (Quorum, Some((60, 0, 0))), "{}", judged.reason);
    assert_eq!(judged.evidence.leader, Some(format!("http://127.0.0.1:{}", ports[0])));

    // The leader parted from the others. It goes on calling itself the leader; its lease is over.
    let new = [None, leads, follows];
    masters.tell(vec![
        master(&ports, false, &[leads, None, None]),
        with_tablets(master(&ports, true, &new), 60, 0, 20),
        master(&ports, false, &new),
    ]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, parts(&judged)), (Degraded, Some((60, 0, 20))), "{}", judged.reason);
    assert_eq!(standings(&judged), [NoQuorum, Degraded, Degraded]);

    // Without the majority: a follower that hears of nobody, and the old leader alone.
    let silent: Answers = [("/api/v1/is-leader", None)].into();
    masters.tell(vec![master(&ports, false, &[leads, None, None]), silent.clone(), silent.clone()]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, standings(&judged)), (Unknown, vec![NoQuorum, Unknown, Unknown]));
    masters.tell(vec![silent.clone(), silent, master(&ports, false, &[None, None, follows])]);
    assert_eq!(standings(&watcher.settled().await), [Unknown, Unknown, NoQuorum]);

    // All there, and tablets without a leader: a few, and too many.
    masters.tell(vec![with_tablets(leader(), 58, 2, 4), follower(), follower()]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, parts(&judged)), (Degraded, Some((60, 2, 2))), "{}", judged.reason);
    assert!(judged.reason.starts_with("2 of 60 tablets cannot take a write (tablet-0, tablet-1)"));
    masters.tell(vec![with_tablets(leader(), 50, 10, 10), follower(), follower()]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, standings(&judged)), (NoQuorum, vec![NoQuorum; 3]), "{}", judged.reason);
}

/// A Nomad server: whom it takes for the leader, in which term.
fn nomad(n: usize, leader: Option<usize>, term: u64) -> Answers {
    let voter = |n: usize| format!("{{Suffrage:Voter ID:id-{n} Address:10.0.0.{n}:4647}}");
    let own = json!({
        "config": {"Datacenter": "dc1", "Region": "global"},
        "member": {"Name": format!("n{n}.global"), "Tags": {"id": format!("id-{n}"), "region": "global",
                   "rpc_addr": format!("10.0.0.{n}"), "port": "4647"}},
        "stats": {
            "nomad": {"server": "true", "leader_addr": leader.map_or(String::new(), |n| format!("10.0.0.{n}:4647"))},
            "raft": {"state": if leader == Some(n) { "Leader" } else { "Follower" }, "term": term.to_string(),
                     "commit_index": "90", "applied_index": "90", "last_contact": "12ms",
                     "latest_configuration": format!("[{}]", [0, 1, 2].map(voter).join(" "))}
        }
    });
    [("/v1/agent/self", Some((200, own.to_string())))].into()
}

#[tokio::test]
async fn nomad_in_every_state() {
    let servers = Members::start(3).await;
    let mut watcher = servers.watcher("nomad");
    servers.tell((0..3).map(|n| nomad(n, Some(1), 3)).collect());
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, judged.evidence.term), (Quorum, Some(3)), "{}", judged.reason);
    // By the endpoint that is configured, not by the address that raft knows.
    assert_eq!(judged.evidence.leader, Some(format!("http://127.0.0.1:{}", servers.ports[1])));

    // The leader parted from the others, which have another in the next term.
    servers.tell(vec![nomad(0, Some(2), 4), nomad(1, Some(1), 3), nomad(2, Some(2), 4)]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, standings(&judged)), (Degraded, vec![Degraded, NoQuorum, Degraded]));

    // Two that hang, and the third knows of nobody: they may go on out of sight. Not so with two that
    // know of nobody.
    let silent: Answers = [("/v1/agent/self", None)].into();
    servers.tell(vec![nomad(0, None, 5), silent.clone(), silent.clone()]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, standings(&judged)), (Unknown, vec![NoQuorum, Unknown, Unknown]));
    servers.tell(vec![nomad(0, None, 5), nomad(1, None, 6), silent]);
    assert_eq!(watcher.settled().await.verdict, NoQuorum);

    // A token that is refused says nothing of health.
    let denied: Answers = [("/v1/agent/self", Some((403, "Permission denied".to_owned())))].into();
    servers.tell(vec![denied; 3]);
    assert_eq!(watcher.settled().await.verdict, Unknown);
}

#[tokio::test]
async fn nomads_write_is_the_proof() {
    let servers = Members::start(3).await;
    let keys = "      variable: pointsman\n      timeout: 600ms\n      linearizable_timeout: 700ms\n";
    let watcher = servers.watcher_with("nomad", keys);
    let (_, group) = watcher.config.groups.iter().next().unwrap();
    let kind = &watcher.config.clusters[group.cluster].kind;
    let written = async |answer| {
        servers.tell(vec![[("/v1/var/pointsman", answer)].into(); 3]);
        cluster::linearizable(&Net::new(), kind, &group.members[0]).await
    };
    assert_eq!(written(Some((200, "null".to_owned()))).await, LinearizableResult::Passed);
    let lost = written(Some((500, "No cluster leader".to_owned()))).await;
    assert!(matches!(lost, LinearizableResult::NoQuorum(_)), "{lost:?}");
    let hung = written(None).await;
    assert_eq!(hung, LinearizableResult::Hung);
    let denied = written(Some((403, "Permission denied".to_owned()))).await;
    assert!(matches!(denied, LinearizableResult::Unmeasured(_)), "{denied:?}");
}

/// A PD: the etcd in it, whom that follows, and in the leader the stores by state and the regions of
/// each by the stores of their voters.
fn pd(n: u64, leader: Option<u64>, term: u64, stores: &[&str], regions: &[[u64; 3]]) -> Answers {
    let header = json!({"cluster_id": "77", "member_id": n.to_string(), "raft_term": term.to_string()});
    let mut status = json!({"header": header, "version": "3.4.31", "raftIndex": "90", "raftTerm": term.to_string(),
                            "raftAppliedIndex": "90"});
    match leader {
        Some(leader) => status["leader"] = json!(leader.to_string()),
        None => status["errors"] = json!(["etcdserver: no leader"]),
    }
    let mut answers: Answers = [("/v3/maintenance/status", Some((200, status.to_string())))].into();
    if !stores.is_empty() {
        let on = |store: u64| regions.iter().filter(move |voters| voters.contains(&store)).count();
        let listed: Vec<_> = (1..)
            .zip(stores)
            .map(|(id, state)| {
                json!({"store": {"id": id, "address": format!("tikv-{id}:20160"), "state_name": state},
                       "status": {"leader_count": 1, "region_count": on(id)}})
            })
            .collect();
        let of = |store: u64| {
            let peers = |voters: &[u64; 3]| voters.map(|store| json!({"id": store + 100, "store_id": store}));
            let listed: Vec<_> = (1u64..)
                .zip(regions)
                .filter(|(_, voters)| voters.contains(&store))
                .map(|(id, voters)| json!({"id": id, "peers": peers(voters)}))
                .collect();
            Some((200, json!({"count": listed.len(), "regions": listed}).to_string()))
        };
        let told = |body: serde_json::Value| Some((200, body.to_string()));
        answers.insert("/pd/api/v1/stores", told(json!({"count": stores.len(), "stores": listed})));
        answers.insert("/pd/api/v1/stats/region", told(json!({"count": regions.len()})));
        answers
            .insert("/pd/api/v1/config/replicate", told(json!({"max-replicas": 3, "location-labels": ""})));
        answers.insert("/pd/api/v1/regions/store/1", of(1));
        answers.insert("/pd/api/v1/regions/store/2", of(2));
        answers.insert("/pd/api/v1/regions/store/3", of(3));
        answers.insert("/pd/api/v1/regions/store/4", of(4));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn tikv_in_every_state() {
    let drivers = Members::start(3).await;
    let mut watcher = drivers.watcher("tikv");
    let regions = [[1, 2, 3], [1, 2, 4], [1, 3, 4], [2, 3, 4]];
    let well = ["Up"; 4];
    let follower = |n| pd(n, Some(1), 5, &[], &[]);
    drivers.tell(vec![pd(1, Some(1), 5, &well, &regions), follower(2), follower(3)]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, parts(&judged)), (Quorum, Some((4, 0, 0))), "{}", judged.reason);
    // Apart from that, a read of the etcd in it takes a quorum.
    let (_, group) = watcher.config.groups.iter().next().unwrap();
    let kind = &watcher.config.clusters[group.cluster].kind;
    assert_eq!(cluster::linearizable_budget(kind), Some(Duration::from_secs(8)));
    let range = json!({"header": {"cluster_id": "77", "member_id": "1"}});
    let mut reads = pd(1, Some(1), 5, &well, &regions);
    reads.insert("/v3/kv/range", Some((200, range.to_string())));
    drivers.tell(vec![reads, follower(2), follower(3)]);
    let read = cluster::linearizable(&Net::new(), kind, &group.members[0]).await;
    assert_eq!(read, LinearizableResult::Passed);

    // One store away: three regions have none to spare. Two: each region that has both is lost.
    let one = ["Up", "Disconnected", "Up", "Up"];
    drivers.tell(vec![pd(1, Some(1), 5, &one, &regions), follower(2), follower(3)]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, parts(&judged)), (Degraded, Some((4, 0, 3))), "{}", judged.reason);
    let two = ["Up", "Disconnected", "Down", "Up"];
    drivers.tell(vec![pd(1, Some(1), 5, &two, &regions), follower(2), follower(3)]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, parts(&judged)), (NoQuorum, Some((4, 2, 2))), "{}", judged.reason);
    assert!(judged.reason.starts_with("2 of 4 regions of TiKV cannot take a write"), "{}", judged.reason);
    // The same two stores, and no region with replicas on both: nothing is lost.
    let zones = [[1, 2, 4], [1, 3, 4]];
    drivers.tell(vec![pd(1, Some(1), 5, &two, &zones), follower(2), follower(3)]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, parts(&judged)), (Degraded, Some((2, 0, 2))), "{}", judged.reason);

    // PD itself: the old leader cut off, and then the majority gone.
    drivers.tell(vec![
        pd(1, None, 5, &[], &[]),
        pd(2, Some(2), 6, &well, &regions),
        pd(3, Some(2), 6, &[], &[]),
    ]);
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, standings(&judged)), (Degraded, vec![NoQuorum, Degraded, Degraded]));
    let silent: Answers = [("/v3/maintenance/status", None)].into();
    drivers.tell(vec![pd(1, None, 7, &[], &[]), silent.clone(), silent]);
    assert_eq!(standings(&watcher.settled().await), [NoQuorum, Unknown, Unknown]);
}

/// CockroachDB speaks PostgreSQL's protocol: what becomes of the read, against that.
#[tokio::test(flavor = "multi_thread")]
async fn cockroachdbs_read_over_sql() {
    let Some(postgres) = Postgres::primary("ranges-sql") else { return };
    postgres.sql("CREATE TABLE canary (id int); GRANT SELECT, INSERT ON canary TO web");
    let target = postgres.target_as("web");
    let asked_for = async |read: &str, user: &str, timeout: &str| {
        let keys = format!(
            "      sql: {{port: {}, user: {user}, database: {}, read: \"{read}\", tls: false, timeout: {timeout}}}",
            target.address.port, target.database
        );
        let members = format!("inside: {{here: [\"http://{}:1\"]}}", target.address.host);
        let config = config(&format!(
            "version: 1\nmode: observe\nsite: {{name: here}}\nsites: [here]\n\
             listen: {{dns: [\"127.0.0.1:5353\"]}}\n\
             clusters:\n  subject:\n    cockroachdb:\n{keys}\n      {members}\n\
             regions: {{here: {{layers: {{quorum: [subject]}}}}}}\n\
             store: {{embedded: {{path: /tmp/none}}}}\n"
        ));
        let (_, group) = config.groups.iter().next().unwrap();
        let kind = &config.clusters[group.cluster].kind;
        cluster::linearizable(&Net::new(), kind, &group.members[0]).await
    };
    let asked = async |read: &str, user: &str| asked_for(read, user, "10s").await;
    let unmeasured = |result: &LinearizableResult, words: &str| matches!(result, LinearizableResult::Unmeasured(why) if why.contains(words));
    assert_eq!(asked("SELECT count(*) FROM canary", "web").await, LinearizableResult::Passed);
    let written = asked("INSERT INTO canary VALUES (1)", "web").await;
    assert!(unmeasured(&written, "read-only"), "{written:?}");
    let missing = asked("SELECT * FROM no_such_table", "web").await;
    assert!(unmeasured(&missing, "no_such_table"), "{missing:?}");
    let stranger = asked("SELECT 1", "stranger").await;
    assert!(unmeasured(&stranger, "stranger"), "{stranger:?}");
    // Somebody has the table: the server's own limit ends the read.
    let _locked = postgres.psql("BEGIN; LOCK TABLE canary; SELECT pg_sleep(20)");
    until_async("a read that hangs", Duration::from_secs(20), async || {
        asked_for("SELECT count(*) FROM canary", "web", "3s").await == LinearizableResult::Hung
    })
    .await;
}
