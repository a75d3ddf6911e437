//! Watching real etcd clusters: what each voter says in every state that quorum loss has.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use pointsman::base::{Place, RegionId, SecretRef, Source};
use pointsman::cluster::{Facts, LinearizableResult, Memory, NodeView, RaftFacts, Round, Standing, judge};
use pointsman::config::{
    Access, Cluster, ClusterKind, Config, Endpoint, EtcdOptions, EtcdUser, Group, Member, Schedule,
    SilentMeans,
};
use pointsman::io::{Clock, Net};
use pointsman::probe::{Probes, Report, cluster};

use common::etcd::Etcd;
use common::servers::Server;
use common::{Scratch, find_foreign, now, ports, until_async};

const TIMEOUT: Duration = Duration::from_millis(1000);

fn options(etcd: &Etcd) -> EtcdOptions {
    let linearizable_timeout = Duration::from_secs(8);
    let access = etcd.tls().map_or_else(Access::default, |tls| Access {
        ca: Some(tls.ca.clone()),
        identity: Some(tls.client.clone()),
        credential: None,
    });
    EtcdOptions { access, linearizable_timeout, user: None }
}

fn a_cluster(options: EtcdOptions) -> Cluster {
    Cluster {
        kind: ClusterKind::Etcd(options),
        groups: Vec::new(),
        schedule: Schedule {
            interval: Duration::from_secs(1),
            timeout: TIMEOUT / 2,
            rise: 2,
            fall: 2,
            ..Schedule::DEFAULT
        },
        time_to_truth: Duration::from_secs(3),
        silent_means: SilentMeans::Unknown,
        place: Place::whole(&Source::new("test", "")),
    }
}

fn group(urls: &[String]) -> Group {
    let members = urls.iter().map(|url| Member {
        region: RegionId(0),
        endpoint: Endpoint::Http(reqwest::Url::parse(url).unwrap()),
    });
    Group { cluster: pointsman::base::ClusterId(0), inside: Some(RegionId(0)), members: members.collect() }
}

async fn ask(etcd: &Etcd) -> Vec<NodeView> {
    let started = now();
    let views = cluster::views(&Net::new(), &a_cluster(options(etcd)), &group(&etcd.urls()), TIMEOUT).await;
    assert!(now() - started < TIMEOUT + Duration::from_millis(500), "a round never outlives its timeout");
    views
}

/// Waits until every member knows of a leader.
async fn until_all_follow(etcd: &Etcd) {
    until_async("a leader", Duration::from_secs(30), async || {
        let views = ask(etcd).await;
        views
            .iter()
            .all(|view| matches!(view, NodeView::Answered(Facts::Raft(facts)) if facts.leader.is_some()))
    })
    .await;
}

async fn read(etcd: &Etcd, n: usize) -> LinearizableResult {
    let group = group(&etcd.urls());
    cluster::linearizable(&Net::new(), &ClusterKind::Etcd(options(etcd)), &group.members[n]).await
}

#[track_caller]
fn facts(view: &NodeView) -> &RaftFacts {
    match view {
        NodeView::Answered(Facts::Raft(facts)) => facts,
        other => panic!("{other:?}"),
    }
}

fn leader_of(views: &[NodeView]) -> usize {
    let leader = facts(&views[0]).leader.clone().unwrap();
    views.iter().position(|view| facts(view).member == leader).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_healthy_to_lost_and_back() {
    let Some(mut etcd) = Etcd::start(3) else { return };

    // Healthy: all name one leader in one term, and one of them is it.
    let views = ask(&etcd).await;
    let first = facts(&views[0]).clone();
    for view in &views {
        let facts = facts(view);
        assert_eq!((&facts.cluster, &facts.leader, facts.term), (&first.cluster, &first.leader, first.term));
        assert!(!facts.cluster.is_empty() && facts.term > 0 && facts.applied > 0 && !facts.learner);
        assert!(facts.errors.is_empty(), "{facts:?}");
    }
    let leader = leader_of(&views);
    assert_eq!(read(&etcd, (leader + 1) % 3).await, LinearizableResult::Passed);

    // One killed: it refuses; the others go on.
    let (gone, left) = ((leader + 1) % 3, (leader + 2) % 3);
    etcd.kill(gone);
    let views = ask(&etcd).await;
    assert!(matches!(&views[gone], NodeView::Refused(why) if why.contains("refused")), "{views:?}");
    assert!(facts(&views[left]).leader.is_some());
    assert_eq!(read(&etcd, left).await, LinearizableResult::Passed);

    // Two killed: the one that is left drops its leader, within two seconds.
    etcd.kill(leader);
    until_async("the survivor to notice", Duration::from_secs(5), async || {
        let views = ask(&etcd).await;
        facts(&views[left]).leader.is_none()
    })
    .await;
    let views = ask(&etcd).await;
    assert!(facts(&views[left]).errors.iter().any(|error| error.contains("no leader")), "{views:?}");
    let started = now();
    let result = read(&etcd, left).await;
    assert!(matches!(&result, LinearizableResult::NoQuorum(why) if why.contains("timed out")), "{result:?}");
    assert!(now() - started > Duration::from_secs(5), "it is etcd's own word after its own timeout");
    let result = read(&etcd, gone).await;
    assert!(matches!(result, LinearizableResult::Unmeasured(_)), "{result:?}");

    // Back again.
    etcd.start_member(gone);
    etcd.start_member(leader);
    until_all_follow(&etcd).await;
    assert_eq!(read(&etcd, left).await, LinearizableResult::Passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_members_are_silent_not_refusing() {
    let Some(etcd) = Etcd::start(3) else { return };
    let leader = leader_of(&ask(&etcd).await);
    let (stopped, left) = ((leader + 1) % 3, (leader + 2) % 3);
    // Two stopped where they stand, the leader among them: TCP still connects to them.
    etcd.pause(leader);
    etcd.pause(stopped);
    until_async("the survivor to notice", Duration::from_secs(6), async || {
        facts(&ask(&etcd).await[left]).leader.is_none()
    })
    .await;
    let views = ask(&etcd).await;
    for n in [leader, stopped] {
        let words = "no answer within 1s (connected after";
        assert!(matches!(&views[n], NodeView::Silent(why) if why.contains(words)), "{views:?}");
    }
    // A member that hangs cannot tell by hanging: only its own time is used up.
    let started = now();
    assert_eq!(read(&etcd, stopped).await, LinearizableResult::Hung);
    assert!(now() - started < Duration::from_secs(9));

    // All stopped.
    etcd.pause(left);
    let views = ask(&etcd).await;
    assert!(views.iter().all(|view| matches!(view, NodeView::Silent(_))), "{views:?}");

    for n in 0..3 {
        etcd.resume(n);
    }
    until_all_follow(&etcd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_client_certificates() {
    let Some(etcd) = Etcd::start_tls(1) else { return };
    let with = options(&etcd);
    let ask = async |access: Access, url: String| {
        let options = EtcdOptions { access, ..with.clone() };
        let mut views = cluster::views(&Net::new(), &a_cluster(options), &group(&[url]), TIMEOUT).await;
        views.remove(0)
    };
    let view = ask(with.access.clone(), etcd.url(0)).await;
    assert!(facts(&view).leader.is_some(), "{view:?}");
    assert_eq!(read(&etcd, 0).await, LinearizableResult::Passed);

    // Without our certificate we are denied, which says nothing about its health.
    let view = ask(Access { identity: None, ..with.access.clone() }, etcd.url(0)).await;
    assert!(matches!(&view, NodeView::Denied(why) if why.contains("certificate")), "{view:?}");
    // A CA that we do not trust: TLS that fails.
    let wrong = with.access.identity.clone().unwrap().0;
    let view = ask(Access { ca: Some(wrong), ..with.access.clone() }, etcd.url(0)).await;
    assert!(matches!(&view, NodeView::Rubbish(why) if why.contains("certificate")), "{view:?}");
    // Clear text to a TLS port: 3.4 hangs up, later ones say what they would rather have.
    let view = ask(with.access.clone(), etcd.url(0).replace("https", "http")).await;
    assert!(matches!(&view, NodeView::Refused(_) | NodeView::Rubbish(_)), "{view:?}");
    // A file that is missing is our own side.
    let view =
        ask(Access { ca: Some("/nonexistent/ca.pem".into()), ..with.access.clone() }, etcd.url(0)).await;
    assert!(matches!(&view, NodeView::Unmeasured(why) if why.contains("ca.pem")), "{view:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_authentication_switched_on() {
    let Some(etcd) = Etcd::start(1) else { return };
    assert!(etcd.ctl(0, &["user", "add", "root:secret"]).0);
    etcd.ctl(0, &["user", "grant-role", "root", "root"]);
    assert!(etcd.ctl(0, &["auth", "enable"]).0);
    // The status stays open to all; the read is denied, and that is not a lost quorum.
    assert!(facts(&ask(&etcd).await[0]).leader.is_some());
    let result = read(&etcd, 0).await;
    assert!(
        matches!(&result, LinearizableResult::Unmeasured(why) if why.contains("user name")),
        "{result:?}"
    );
}

/// Reads as a user; the net keeps tokens.
async fn read_as(etcd: &Etcd, net: &Net, n: usize, user: Option<EtcdUser>) -> LinearizableResult {
    let kind = ClusterKind::Etcd(EtcdOptions { user, ..options(etcd) });
    cluster::linearizable(net, &kind, &group(&etcd.urls()).members[n]).await
}

#[track_caller]
fn unmeasured(result: &LinearizableResult, because: &str) {
    let as_told = matches!(result, LinearizableResult::Unmeasured(why) if why.contains(because) && !why.contains("points"));
    assert!(as_told, "{result:?}");
}

async fn users(mut etcd: Etcd) {
    let scratch = Scratch::new("etcd-users");
    let file = scratch.path().join("password");
    std::fs::write(&file, "points\n").unwrap();
    let user = |name: &str| Some(EtcdUser { name: name.to_owned(), password: SecretRef::File(file.clone()) });
    // A name and a password before authentication is switched on: nobody asks for them.
    let net = Net::new();
    assert_eq!(read_as(&etcd, &net, 0, user("probe")).await, LinearizableResult::Passed);
    etcd.enable_auth(&["probe:points"], "read", "health");

    // One token for each member, however many reads.
    let before: Vec<u64> = (0..3).map(|n| etcd.logins(n)).collect();
    let given = now();
    for n in [0, 1, 2, 0, 1, 2, 0, 1, 2, 0] {
        assert_eq!(read_as(&etcd, &net, n, user("probe")).await, LinearizableResult::Passed);
    }
    for (n, before) in before.into_iter().enumerate() {
        assert_eq!(etcd.logins(n), before + 1, "member {n}");
        // The status needs nobody.
        assert!(facts(&ask(&etcd).await[n]).leader.is_some());
    }
    // Nobody without a name; nobody by a wrong password, who is not tried again and again either.
    unmeasured(&read_as(&etcd, &net, 0, None).await, "user name is empty");
    std::fs::write(&file, "wrong").unwrap();
    let (another, before) = (Net::new(), etcd.logins(0));
    for _ in 0..5 {
        let result = read_as(&etcd, &another, 0, user("probe")).await;
        unmeasured(&result, "does not let `probe` log in: etcdserver: authentication failed");
    }
    assert_eq!(etcd.logins(0), before + 1);
    // A user who may not read that key; a password that is rotated is tried at once.
    std::fs::write(&file, "points").unwrap();
    let root = |arguments: &[&str]| {
        let whole: Vec<&str> =
            ["--user", "root:secret"].into_iter().chain(arguments.iter().copied()).collect();
        assert!(etcd.ctl(0, &whole).0, "{arguments:?}");
    };
    root(&["user", "add", "nobody:points"]);
    unmeasured(&read_as(&etcd, &net, 0, user("nobody")).await, "permission denied");
    assert_eq!(read_as(&etcd, &another, 0, user("probe")).await, LinearizableResult::Passed);

    // A token dies with its member; one that did not last is not asked for again at once.
    let left = Duration::from_secs(11).saturating_sub(now() - given);
    tokio::time::sleep(left).await;
    root(&["user", "delete", "nobody"]);
    etcd.kill(1);
    etcd.start_member(1);
    until_all_follow(&etcd).await;
    assert_eq!(read_as(&etcd, &net, 1, user("probe")).await, LinearizableResult::Passed);

    // Without a quorum: those who have a token, and those who would have to log in.
    etcd.kill(1);
    etcd.kill(2);
    until_async("the survivor to notice", Duration::from_secs(5), async || {
        facts(&ask(&etcd).await[0]).leader.is_none()
    })
    .await;
    let fresh = Net::new();
    let (with, without) =
        tokio::join!(read_as(&etcd, &net, 0, user("probe")), read_as(&etcd, &fresh, 0, user("probe")));
    let lost = |result: &LinearizableResult| matches!(result, LinearizableResult::NoQuorum(why) if why.contains("timed out"));
    assert!(lost(&with), "{with:?}");
    assert!(lost(&without) || without == LinearizableResult::Hung, "{without:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_users_and_their_tokens() {
    let Some(etcd) = Etcd::start(3) else { return };
    users(etcd).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: part of `make test-long`"]
async fn with_users_and_their_tokens_of_3_5() {
    let Some(binary) = find_foreign("etcd-3.5", "etcd 3.5 of Debian 13") else { return };
    let Some(etcd) = Etcd::start_of(3, binary) else { return };
    users(etcd).await;
}

/// The common name of a certificate is a user over gRPC alone: the gateway has one of its own.
async fn by_certificate(etcd: Etcd) {
    etcd.enable_auth(&["client", "--no-password"], "read", "health");
    let net = Net::new();
    let view = ask(&etcd).await.remove(0);
    let facts = facts(&view);
    assert!(facts.leader.as_ref() == Some(&facts.member) && facts.term > 0 && facts.applied > 0, "{view:?}");
    assert_eq!(read_as(&etcd, &net, 0, None).await, LinearizableResult::Passed);
    let tls = etcd.tls().unwrap().clone();
    // Whoever has another name is nobody.
    let mut other = options(&etcd);
    other.access.identity = Some(tls.server);
    let member = &group(&etcd.urls()).members[0];
    let result = cluster::linearizable(&net, &ClusterKind::Etcd(other), member).await;
    unmeasured(&result, "permission denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_users_by_certificate() {
    let Some(etcd) = Etcd::start_tls(1) else { return };
    by_certificate(etcd).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: part of `make test-long`"]
async fn with_users_by_certificate_of_3_5() {
    let Some(binary) = find_foreign("etcd-3.5", "etcd 3.5 of Debian 13") else { return };
    let Some(etcd) = Etcd::start_tls_of(1, binary) else { return };
    by_certificate(etcd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_etcd_is_rubbish() {
    let servers = [
        Server::saying(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await,
        Server::saying(b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"header\":{}}").await,
        Server::saying(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await,
        Server::saying(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await,
        Server::saying(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await,
        Server::saying(b"HTTP/1.1 429 Slow Down\r\ncontent-length: 0\r\n\r\n").await,
        Server::saying(b"SSH-2.0-OpenSSH_9.2\r\n").await,
        Server::saying(b"").await,
    ];
    let mut urls: Vec<String> = servers.iter().map(|server| server.url("")).collect();
    urls.push(format!("http://127.0.0.1:{}", ports::free()));
    urls.push("http://no-such-host.invalid:2379".to_owned());
    let cluster = a_cluster(EtcdOptions { linearizable_timeout: TIMEOUT, ..EtcdOptions::default() });
    let views = cluster::views(&Net::new(), &cluster, &group(&urls), TIMEOUT).await;
    let kinds: Vec<&str> = views.iter().map(NodeView::word).collect();
    let expected = [
        "rubbish",
        "rubbish",
        "rubbish",
        "rubbish",
        "denied",
        "denied",
        "rubbish",
        "refused",
        "refused",
        "not asked",
    ];
    assert_eq!(kinds, expected, "{views:#?}");
    for member in &group(&urls).members {
        let result = cluster::linearizable(&Net::new(), &cluster.kind, member).await;
        assert!(matches!(result, LinearizableResult::Unmeasured(_)), "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_another_cluster_tells_its_own_id() {
    let (Some(one), Some(other)) = (Etcd::start(1), Etcd::start(1)) else { return };
    let urls = [one.url(0), other.url(0)];
    let views = cluster::views(&Net::new(), &a_cluster(options(&one)), &group(&urls), TIMEOUT).await;
    assert_ne!(facts(&views[0]).cluster, facts(&views[1]).cluster);
}

fn config(etcd: &Etcd) -> Arc<Config> {
    let urls: Vec<String> = etcd.urls().iter().map(|url| format!("{url:?}")).collect();
    let text = format!(
        "version: 1\nmode: observe\nsite: {{name: here}}\nsites: [here]\n\
         listen: {{dns: [\"127.0.0.1:5353\"]}}\n\
         clusters:\n  sessions:\n    etcd:\n      interval: 500ms\n      timeout: 400ms\n      linearizable_timeout: 8s\n      \
         time_to_truth: 3s\n      inside: {{here: [{}]}}\n\
         regions:\n  here:\n    layers: {{quorum: [sessions]}}\n\
         store: {{embedded: {{path: /tmp/none}}}}\n",
        urls.join(", ")
    );
    common::config(&text)
}

/// The rounds as the daemon gets them, and what is made of them.
#[tokio::test(flavor = "multi_thread")]
async fn rounds_lead_to_the_right_verdicts() {
    let Some(mut etcd) = Etcd::start(3) else { return };
    let config = config(&etcd);
    let (id, group) = config.groups.iter().next().unwrap();
    let cluster = &config.clusters[group.cluster];
    let (probes, mut reports) = Probes::start(&Net::new(), &config);
    let mut memory = Memory::default();
    let mut seen: Vec<Round> = Vec::new();
    let mut next = async |wanted: Standing, within: Duration| {
        let started = now();
        loop {
            let report = tokio::time::timeout(Duration::from_secs(5), reports.recv()).await.unwrap().unwrap();
            let Report::Round(round) = report else { panic!("{report:?}") };
            assert_eq!(round.group, id);
            assert!(round.took < Duration::from_millis(900), "{round:?}");
            let judgement = judge(cluster, group, &round, &mut memory, Clock.mono());
            seen.push(round);
            if judgement.verdict == wanted {
                return seen.last().unwrap().clone();
            }
            assert!(now() - started < within, "not {wanted:?} but {judgement:?} of {:?}", seen.last());
        }
    };
    let round = next(Standing::Quorum, Duration::from_secs(5)).await;
    let leader = leader_of(&round.views);
    // The linearizable probe comes along, and goes around.
    let mut through = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let round = next(Standing::Quorum, Duration::from_secs(5)).await;
        let read = round.linearizable.unwrap();
        assert_eq!(read.result, LinearizableResult::Passed);
        assert!(Clock.mono().since(read.at) < Duration::from_millis(700), "fresh");
        through.insert(read.member);
    }
    assert_eq!(through.len(), 3, "{through:?}");

    etcd.kill((leader + 1) % 3);
    next(Standing::Degraded, Duration::from_secs(5)).await;
    etcd.pause(leader);
    // Stopped and killed: only one is left, and says that it knows of no leader.
    next(Standing::NoQuorum, Duration::from_secs(15)).await;
    etcd.resume(leader);
    etcd.start_member((leader + 1) % 3);
    next(Standing::Quorum, Duration::from_secs(40)).await;
    probes.stop().await;
}
