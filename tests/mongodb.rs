//! Watching a MongoDB replica set through every state. No server can be had to run this against: the
//! members are stand-ins that speak its protocol with the BSON of its own driver, and log in with a
//! SCRAM of their own; that driver takes them for a replica set (the first test). What they claim is
//! what the vendor documents.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "tests")]

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pointsman::cluster::{
    Facts, Judgement, LinearizableResult, Memory, NodeView, RaftFacts, Round, Standing, judge,
};
use pointsman::config::Config;
use pointsman::io::{Clock, Net};
use pointsman::probe::cluster;
use rustix::process::Signal;
use serde_json::{Value, json};

use common::servers::certificates;
use common::{Program, Scratch, config, find, lacks, ports, until};

/// A login hashes some ten thousand times on either side, on a machine that has other things to do.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Seconds of the log where every story begins.
const START: u32 = 1_700_000_000;

/// Members of a replica set, each a process of its own.
struct Set {
    python: PathBuf,
    scratch: Scratch,
    ports: Vec<u16>,
    members: Vec<Option<Program>>,
    /// Server certificate, its key, and whether clients must show one.
    tls: Option<(PathBuf, PathBuf, Option<PathBuf>)>,
}

impl Set {
    fn find(name: &str, members: usize) -> Option<Self> {
        let package = PathBuf::from("/usr/lib/python3/dist-packages/pymongo");
        if !package.exists() {
            lacks("python3-pymongo");
            return None;
        }
        let python = find("python3", "python3", &["/usr/bin"]).map(|_| PathBuf::from("/usr/bin/python3"))?;
        let ports = (0..members).map(|_| ports::free()).collect();
        let members = (0..members).map(|_| None).collect();
        Some(Self { python, scratch: Scratch::new(name), ports, members, tls: None })
    }

    fn start(&mut self, member: usize) {
        let script = self.scratch.path().join("member.py");
        std::fs::write(&script, include_str!("common/mongodb.py")).unwrap();
        let mut command = Command::new(&self.python);
        command.arg(&script).arg(self.scratch.path().join("states.json")).arg(self.ports[member].to_string());
        match &self.tls {
            Some((certificate, key, ca)) => {
                command.arg(certificate).arg(key).arg(ca.clone().unwrap_or_default());
            }
            None => drop(command.args(["", "", ""])),
        }
        let log = self.scratch.path().join(format!("member-{member}.log"));
        self.members[member] = Some(Program::start(&mut command, "member", &log));
        let port = self.ports[member];
        until("a member to listen", Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    fn name(&self, member: usize) -> String {
        format!("127.0.0.1:{}", self.ports[member])
    }

    /// What every member claims from now on.
    fn tell(&self, members: &[Value]) {
        self.tell_more(members, json!({}));
    }

    fn tell_more(&self, members: &[Value], more: Value) {
        let mut state = json!({"members": members});
        for (key, value) in more.as_object().unwrap() {
            state[key] = value.clone();
        }
        let (new, old) = (self.scratch.path().join("states.new"), self.scratch.path().join("states.json"));
        std::fs::write(&new, state.to_string()).unwrap();
        std::fs::rename(new, old).unwrap();
    }

    /// A member in some state that names a primary, in a term.
    fn member(&self, member: usize, role: &str, primary: Option<usize>, term: u64) -> Value {
        let primary = primary.map(|primary| self.name(primary));
        json!({"name": self.name(member), "role": role, "primary": primary, "term": term, "log": START})
    }

    /// The first leads, the others follow.
    fn well(&self) -> Vec<Value> {
        (0..self.ports.len())
            .map(|n| self.member(n, if n == 0 { "PRIMARY" } else { "SECONDARY" }, Some(0), 5))
            .collect()
    }

    fn config(&self, more: &str) -> Arc<Config> {
        let directory = self.scratch.path();
        std::fs::write(directory.join("secret"), "pencil & paper\n").unwrap();
        std::fs::write(directory.join("pencil"), "pencil\n").unwrap();
        std::fs::write(directory.join("gtm.example.com.zone"), common::daemon::ZONE).unwrap();
        let regions: Vec<usize> = (0..self.ports.len()).collect();
        let lines = |line: &dyn Fn(usize) -> String| regions.iter().map(|n| line(*n)).collect::<String>();
        config(&format!(
            "version: 1
mode: act
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"]}}
zones: [{{name: gtm.example.com, file: {directory}/gtm.example.com.zone}}]
clusters:
  orders:
    mongodb:
      across:
{members}      time_to_truth: 600ms
{more}
regions:
{regions}services:
  shop:
    names: [shop.gtm.example.com]
    policy: {{failover: [r0]}}
    answers: {{r0: {{a: [192.0.2.1]}}}}
    all_down: serve_all
",
            directory = directory.display(),
            members = lines(&|n| format!("        r{n}: [\"localhost:{}\"]\n", self.ports[n])),
            regions = lines(&|n| format!("  r{n}: {{layers: {{quorum: [orders]}}}}\n")),
            more = more.replace("DIRECTORY", &directory.display().to_string()),
        ))
    }
}

const LOGIN: &str = "      user: pointsman\n      password: {file: DIRECTORY/secret}";

/// Somebody who watches.
struct Watcher {
    config: Arc<Config>,
    memory: Memory,
}

impl Watcher {
    fn new(config: Arc<Config>) -> Self {
        Self { config, memory: Memory::default() }
    }

    async fn ask(&self) -> Vec<NodeView> {
        let (_, group) = self.config.groups.iter().next().unwrap();
        cluster::views(&Net::new(), &self.config.clusters[group.cluster], group, TIMEOUT).await
    }

    async fn facts(&self) -> Vec<RaftFacts> {
        let facts = |view| match view {
            NodeView::Answered(Facts::Raft(facts)) => facts,
            other => panic!("{other:?}"),
        };
        self.ask().await.into_iter().map(facts).collect()
    }

    async fn linearizable(&self, member: usize) -> LinearizableResult {
        let (_, group) = self.config.groups.iter().next().unwrap();
        let kind = &self.config.clusters[group.cluster].kind;
        cluster::linearizable(&Net::new(), kind, &group.members[member]).await
    }

    async fn round(&mut self) -> Judgement {
        let (id, group) = self.config.groups.iter().next().unwrap();
        let round = Round { group: id, views: self.ask().await, linearizable: None, took: TIMEOUT };
        let cluster = &self.config.clusters[group.cluster];
        judge(cluster, group, &round, &mut self.memory, Clock.mono())
    }

    /// Rounds until the time to truth is well over.
    async fn settled(&mut self) -> Judgement {
        for _ in 0..8 {
            self.round().await;
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
        self.round().await
    }
}

fn standings(judgement: &Judgement) -> Vec<Standing> {
    judgement.regions.values().map(|(standing, _)| *standing).collect()
}

/// MongoDB's own driver, told where one member is, finds the others, logs in with either mechanism
/// (and only with the right password), and picks the primary of the later term.
#[test]
fn the_vendors_driver_takes_the_stand_ins_for_a_replica_set() {
    let Some(mut set) = Set::find("mongodb-driver", 3) else { return };
    set.tell(&set.well());
    (0..3).for_each(|member| set.start(member));
    let script = r#"
import sys, pymongo
from pymongo.errors import OperationFailure
port = int(sys.argv[1])
for user, password, mechanism in [("pointsman", "pencil & paper", "SCRAM-SHA-256"), ("pointsman", "pencil & paper", "SCRAM-SHA-1"),
                                  ("veteran", "pencil", "DEFAULT"), ("pointsman", "wrong", "DEFAULT")]:
    client = pymongo.MongoClient("127.0.0.1", port, replicaSet="rs0", username=user, password=password,
                                 authMechanism=mechanism, serverSelectionTimeoutMS=10000)
    try:
        status = client.admin.command("replSetGetStatus")
        print(client.primary[1] == port, sorted(p for _, p in client.secondaries), status["term"])
    except OperationFailure as why:
        print(why.code)
    client.close()
"#;
    let output = Command::new(&set.python).args(["-c", script, &set.ports[0].to_string()]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(lines[..3].iter().all(|line| line.starts_with("True ") && line.ends_with(" 5")), "{said}");
    assert_eq!(lines[3], "18", "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn through_every_state_of_three_members() {
    let Some(mut set) = Set::find("mongodb", 3) else { return };
    set.tell(&set.well());
    (0..3).for_each(|member| set.start(member));
    for more in ["", LOGIN] {
        let mut watcher = Watcher::new(set.config(more));
        let judged = watcher.settled().await;
        assert_eq!((judged.verdict, judged.evidence.term), (Standing::Quorum, Some(5)), "{}", judged.reason);
        assert!(judged.evidence.leader.as_deref().unwrap().starts_with("localhost:"));

        // Cut off from the others, and sure of itself: `isWritablePrimary: true`. The others have
        // elected another, whose first write has not reached all of them.
        let mut second = set.member(1, "PRIMARY", Some(1), 6);
        let mut third = set.member(2, "SECONDARY", Some(1), 6);
        second["log"] = json!(START + 1);
        third["log_term"] = json!(5);
        set.tell(&[set.member(0, "PRIMARY", Some(0), 5), second, third]);
        let judged = watcher.settled().await;
        assert_eq!(
            (judged.verdict, judged.evidence.term),
            (Standing::Degraded, Some(6)),
            "{}",
            judged.reason
        );
        use Standing::{Degraded, NoQuorum};
        assert_eq!(standings(&judged), [NoQuorum, Degraded, Degraded]);
        // Ten seconds later it has stepped down, and names nobody.
        let mut members = [0, 1, 2].map(|n| set.member(n, "SECONDARY", Some(1), 6));
        members[0] = set.member(0, "SECONDARY", None, 5);
        members[1]["role"] = json!("PRIMARY");
        set.tell(&members);
        assert_eq!(standings(&watcher.settled().await), [NoQuorum, Degraded, Degraded]);
        // Back, and behind.
        members[0] = set.member(0, "SECONDARY", Some(1), 6);
        (members[1]["log"], members[2]["log"]) = (json!(START + 9), json!(START + 9));
        set.tell(&members);
        let judged = watcher.settled().await;
        assert_eq!((standings(&judged)[0], judged.evidence.lag_max), (Standing::Recovering, Some(9_000_000)));
        members[0]["log"] = json!(START + 9);
        set.tell(&members);
        assert_eq!(standings(&watcher.settled().await), [Standing::Quorum; 3]);

        // A majority killed: the one that is left answers everything, and names nobody.
        members[2] = set.member(2, "SECONDARY", None, 6);
        set.tell(&members);
        set.members[0] = None;
        set.members[1] = None;
        let judged = watcher.settled().await;
        assert_eq!(judged.verdict, Standing::NoQuorum, "{}", judged.reason);
        set.tell(&set.well());
        set.start(0);
        set.start(1);
        assert_eq!(watcher.settled().await.verdict, Standing::Quorum);

        // Stopped where they stand: connections are still taken, and nobody answers.
        let signal = |signal| (0..2).for_each(|n| set.members[n].as_ref().unwrap().signal(signal));
        signal(Signal::STOP);
        set.tell(&[0, 1, 2].map(|n| set.member(n, "SECONDARY", None, 5)));
        let judged = watcher.round().await;
        assert_eq!(judged.evidence.reached, 1);
        tokio::time::sleep(Duration::from_millis(700)).await;
        // They may go on where only we cannot see them; the one that answers does not.
        let judged = watcher.round().await;
        assert_eq!(judged.verdict, Standing::Unknown, "{}", judged.reason);
        assert_eq!(standings(&judged), [Standing::Unknown, Standing::Unknown, Standing::NoQuorum]);
        signal(Signal::CONT);
        set.tell(&set.well());
        assert_eq!(watcher.settled().await.verdict, Standing::Quorum);
    }
}

/// An arbiter's vote keeps the primary where it is, and brings nothing to a majority.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_with_an_arbiter_alone() {
    let Some(mut set) = Set::find("mongodb-arbiter", 3) else { return };
    let mut members = [
        set.member(0, "PRIMARY", Some(0), 5),
        set.member(1, "SECONDARY", Some(0), 5),
        set.member(2, "ARBITER", Some(0), 5),
    ];
    set.tell(&members);
    (0..3).for_each(|member| set.start(member));
    let mut watcher = Watcher::new(set.config(LOGIN));
    let mut lenient = Watcher::new(set.config(&format!("{LOGIN}\n      majority_writes: false")));
    let judged = watcher.settled().await;
    assert_eq!((judged.verdict, judged.evidence.margin), (Standing::Degraded, 0), "{}", judged.reason);
    assert_eq!(lenient.settled().await.verdict, Standing::Quorum);
    assert_eq!(watcher.linearizable(0).await, LinearizableResult::Passed);
    let secondary = watcher.linearizable(1).await;
    assert!(matches!(&secondary, LinearizableResult::Unmeasured(why) if why.ends_with("is not the primary")));

    set.members[1] = None;
    members[0]["log"] = json!(START + 10);
    members[0]["majority"] = json!(START);
    set.tell(&members);
    let judged = watcher.settled().await;
    assert_eq!(judged.verdict, Standing::NoQuorum, "{}", judged.reason);
    assert_eq!(lenient.settled().await.verdict, Standing::Degraded);
    let read = watcher.linearizable(0).await;
    assert!(
        matches!(&read, LinearizableResult::NoQuorum(why) if why.contains("MaxTimeMSExpired")),
        "{read:?}"
    );
    // Frozen in the middle: only now does it hang, and only for as long as it may.
    set.start(1);
    set.members[0].as_ref().unwrap().signal(Signal::STOP);
    let read = watcher.linearizable(0).await;
    assert!(!matches!(read, LinearizableResult::Passed | LinearizableResult::NoQuorum(_)), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logins() {
    let Some(mut set) = Set::find("mongodb-login", 3) else { return };
    let mut members = set.well();
    members[1]["passive"] = json!(true);
    members[1]["hidden"] = json!(true);
    members[1]["votes"] = json!(0);
    members[2]["role"] = json!("RECOVERING");
    set.tell(&members);
    (0..3).for_each(|member| set.start(member));
    let asked = async |more: &str| Watcher::new(set.config(more)).ask().await;
    let veteran = "      user: veteran\n      password: {file: DIRECTORY/pencil}";
    let strict = format!("{LOGIN}\n      mechanism: scram_sha_1");
    for login in [LOGIN, veteran, &strict] {
        let facts = Watcher::new(set.config(login)).facts().await;
        // A follower's own term needs a login; a hidden member without a vote is found out by one;
        // one that recovers may not have the users yet, and is not logged in to.
        assert_eq!([0, 1, 2].map(|n: usize| facts[n].term_of_log), [false, false, true], "{login}");
        assert_eq!([0, 1, 2].map(|n: usize| facts[n].learner), [false, true, false]);
        assert_eq!([0, 1, 2].map(|n: usize| facts[n].syncing), [false, false, true]);
    }
    let facts = Watcher::new(set.config("")).facts().await;
    assert_eq!(
        [0, 1].map(|n: usize| (facts[n].term_of_log, facts[n].learner)),
        [(false, false), (true, false)]
    );
    // As configured, which needs no login.
    let without = format!("      without_vote: [\"localhost:{}\"]", set.ports[1]);
    assert!(Watcher::new(set.config(&without)).facts().await[1].learner);

    let denied = |views: &[NodeView]| matches!(&views[0], NodeView::Denied(why) if why.contains("Authentication failed"));
    let wrong = "      user: pointsman\n      password: {file: DIRECTORY/pencil}";
    assert!(denied(&asked(wrong).await));
    let elsewhere = format!("{LOGIN}\n      database: shop");
    assert!(denied(&asked(&elsewhere).await));
    // A mechanism that this user has not.
    let other = format!("{veteran}\n      mechanism: scram_sha_256");
    assert!(denied(&asked(&other).await));

    // Servers before 4.4 want one more exchange; one that does not know the password is none of ours.
    set.tell_more(&members, json!({"long_login": true}));
    assert!(matches!(asked(LOGIN).await[0], NodeView::Answered(_)));
    set.tell_more(&members, json!({"impostor": true}));
    let views = asked(LOGIN).await;
    assert!(matches!(&views[0], NodeView::Rubbish(why) if why.contains("does not prove")), "{views:?}");
    // Another set at the same place.
    set.tell_more(&members, json!({"set": "rs9"}));
    let views = asked("      set: rs0").await;
    assert!(matches!(&views[0], NodeView::Rubbish(why) if why.contains("`rs9`")), "{views:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_certificate_of_our_own() {
    let Some(mut set) = Set::find("mongodb-tls", 3) else { return };
    let made = certificates(set.scratch.path());
    set.tls = Some((made.server.0.clone(), made.server.1.clone(), Some(made.ca.clone())));
    set.tell(&set.well());
    (0..3).for_each(|member| set.start(member));
    let trust = format!("ca: {}", made.ca.display());
    let shown = format!("cert: {}, key: {}", made.client.0.display(), made.client.1.display());
    let x509 = format!("      mechanism: x509\n      tls: {{{trust}, {shown}}}");
    let facts = Watcher::new(set.config(&x509)).facts().await;
    assert!(facts.iter().all(|facts| !facts.term_of_log && facts.leader.is_some()));
    assert_eq!(Watcher::new(set.config(&x509)).linearizable(0).await, LinearizableResult::Passed);
    let both = format!("{LOGIN}\n      tls: {{{trust}, {shown}}}");
    assert!(Watcher::new(set.config(&both)).facts().await.iter().all(|facts| !facts.term_of_log));
    // Without it, in clear text, or not trusting the server: none of it says anything of its health.
    let asked = async |more: String| Watcher::new(set.config(&more)).ask().await.remove(0);
    assert!(matches!(asked(format!("      tls: {{{trust}}}")).await, NodeView::Denied(_)));
    let view = asked("      tls: {}".to_owned()).await;
    assert!(matches!(view, NodeView::Rubbish(_)), "{view:?}");
    let view = asked(String::new()).await;
    assert!(matches!(view, NodeView::Refused(_) | NodeView::Rubbish(_) | NodeView::Silent(_)), "{view:?}");
}
