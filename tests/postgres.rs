//! Watching real PostgreSQL servers: what each says in every state that a failover goes through.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use pointsman::base::{ClusterId, Place, RegionId, SecretRef, Source};
use pointsman::cluster::{Facts, Memory, NodeView, PostgresFacts, Round, Standing, judge};
use pointsman::config::{
    Application, Cluster, ClusterKind, Endpoint, Group, Member, PostgresOptions, PostgresTarget, PostgresTls,
    Schedule, SilentMeans, UnreachableWriter,
};
use pointsman::io::{Clock, Net};
use pointsman::probe::cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use common::postgres::Postgres;
use common::servers::{self, Server};
use common::{now, ports, until_async};

const TIMEOUT: Duration = Duration::from_millis(1500);

fn options(password: Option<SecretRef>) -> PostgresOptions {
    PostgresOptions {
        password,
        ca: None,
        unreachable_writer: UnreachableWriter::Ask,
        application: Application::default(),
    }
}

fn a_cluster(options: PostgresOptions) -> Cluster {
    Cluster {
        kind: ClusterKind::Postgres(options),
        groups: Vec::new(),
        schedule: Schedule {
            interval: Duration::from_secs(5),
            timeout: TIMEOUT,
            rise: 2,
            fall: 2,
            ..Schedule::DEFAULT
        },
        time_to_truth: Duration::from_secs(10),
        silent_means: SilentMeans::Unknown,
        place: Place::whole(&Source::new("test", "")),
    }
}

fn group(targets: impl IntoIterator<Item = PostgresTarget>) -> Group {
    let members = targets.into_iter().enumerate().map(|(n, target)| Member {
        region: RegionId(u16::try_from(n).unwrap()),
        endpoint: Endpoint::Postgres(target),
    });
    Group { cluster: ClusterId(0), inside: None, members: members.collect() }
}

async fn ask(options: &PostgresOptions, targets: &[PostgresTarget]) -> Vec<NodeView> {
    let started = now();
    let group = group(targets.iter().cloned());
    let views = cluster::views(&Net::new(), &a_cluster(options.clone()), &group, TIMEOUT).await;
    assert!(now() - started < TIMEOUT + Duration::from_millis(500), "a round never outlives its timeout");
    views
}

async fn ask_one(options: &PostgresOptions, target: PostgresTarget) -> NodeView {
    ask(options, &[target]).await.remove(0)
}

#[track_caller]
fn facts(view: &NodeView) -> &PostgresFacts {
    match view {
        NodeView::Answered(Facts::Postgres(facts)) => facts,
        other => panic!("{other:?}"),
    }
}

fn verdict(options: &PostgresOptions, targets: &[PostgresTarget], views: &[NodeView]) -> Standing {
    let round = Round {
        group: pointsman::base::GroupId(0),
        views: views.to_vec(),
        linearizable: None,
        took: Duration::ZERO,
    };
    let group = group(targets.iter().cloned());
    judge(&a_cluster(options.clone()), &group, &round, &mut Memory::default(), Clock.mono()).verdict
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_and_its_standby() {
    let Some(mut primary) = Postgres::primary("east") else { return };
    let mut standby = primary.standby("west");
    let options = options(Some(primary.password("points", "points\n")));
    let targets = [primary.target(), standby.target()];

    primary.wait_for(&standby);
    let views = ask(&options, &targets).await;
    let (writer, follower) = (facts(&views[0]), facts(&views[1]));
    assert_eq!(
        (writer.in_recovery, writer.read_only, writer.fenced, writer.timeline),
        (false, false, false, 1)
    );
    assert!(writer.streaming && writer.received > 0 && writer.received == writer.replayed, "{writer:?}");
    assert_eq!((follower.in_recovery, follower.fenced, follower.timeline), (true, false, 1));
    assert!(follower.streaming && follower.system == writer.system && writer.system != 0);
    assert!(follower.replayed >= writer.received - 1_000_000, "{follower:?}");
    assert_eq!(verdict(&options, &targets, &views), Standing::Quorum);

    // Replay that is paused shows as a gap between received and replayed.
    standby.sql("SELECT pg_wal_replay_pause()");
    primary.sql("INSERT INTO orders (note) SELECT repeat('x', 500) FROM generate_series(1, 1000)");
    until_async("the gap", Duration::from_secs(10), async || {
        let view = ask_one(&options, standby.target()).await;
        facts(&view).received > facts(&view).replayed + 100_000
    })
    .await;
    standby.sql("SELECT pg_wal_replay_resume()");

    primary.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    primary.sql("SELECT pg_reload_conf()");
    until_async("the setting", Duration::from_secs(10), async || {
        facts(&ask_one(&options, primary.target()).await).read_only
    })
    .await;

    // Killed: refused. The standby stays in recovery and follows nobody.
    primary.kill();
    let views = ask(&options, &targets).await;
    assert!(matches!(&views[0], NodeView::Refused(why) if why.contains("connection refused")), "{views:?}");
    until_async("the stream to end", Duration::from_secs(10), async || {
        !facts(&ask_one(&options, standby.target()).await).streaming
    })
    .await;

    // Promoted: the new timeline shows at once, before any checkpoint.
    standby.sql("SELECT pg_promote()");
    let view = ask_one(&options, standby.target()).await;
    assert_eq!((facts(&view).in_recovery, facts(&view).timeline), (false, 2));
    assert!(!facts(&view).streaming, "nobody follows it");

    // Stopped where it stands: silent, though TCP connects.
    standby.pause();
    let view = ask_one(&options, standby.target()).await;
    let words = "no answer within 1s500ms (connected after";
    assert!(matches!(&view, NodeView::Silent(why) if why.contains(words)), "{view:?}");
    standby.resume();
    standby.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fenced_shows() {
    let Some(primary) = Postgres::primary("east") else { return };
    let mut options = options(Some(primary.password("points", "points")));
    let fenced = async |options: &PostgresOptions| facts(&ask_one(options, primary.target()).await).fenced;
    assert!(!fenced(&options).await);
    // All that can log in are shut out, and it is written down that a fence did it.
    primary.sql("ALTER ROLE app NOLOGIN; ALTER ROLE web NOLOGIN");
    assert!(!fenced(&options).await, "a database without application roles is not fenced");
    primary.sql(
        "CREATE SCHEMA pointsman AUTHORIZATION pointsman;
         CREATE TABLE pointsman.fenced_role (cluster text, role text)",
    );
    assert!(!fenced(&options).await, "a table that the role may not read is no proof");
    primary.sql("ALTER TABLE pointsman.fenced_role OWNER TO pointsman");
    assert!(!fenced(&options).await);
    primary.sql("INSERT INTO pointsman.fenced_role VALUES ('db', 'app')");
    assert!(fenced(&options).await);
    // With the roles named, they alone decide.
    options.application.roles = vec!["app".to_owned()];
    primary.sql("ALTER ROLE web LOGIN");
    assert!(fenced(&options).await);
    primary.sql("ALTER ROLE app LOGIN");
    assert!(!fenced(&options).await);
    options.application.roles = vec!["nobody".to_owned()];
    assert!(!fenced(&options).await, "a role that is not there proves nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_let_us_in_is_not_down() {
    let Some(primary) = Postgres::primary_with("east", &["superuser_reserved_connections = 3"]) else {
        return;
    };
    let right = options(Some(primary.password("points", "points")));
    let wrong = options(Some(primary.password("wrong", "hunter2")));
    let view = ask_one(&wrong, primary.target()).await;
    assert!(
        matches!(&view, NodeView::Denied(why) if why.contains("password authentication failed")),
        "{view:?}"
    );
    assert!(!format!("{view:?}").contains("hunter2"));
    let view = ask_one(&options(None), primary.target()).await;
    assert!(
        matches!(&view, NodeView::Denied(why) if why.contains("wants a password of pointsman")),
        "{view:?}"
    );
    let missing = SecretRef::File(primary.directory().join("none"));
    let view = ask_one(&options(Some(missing)), primary.target()).await;
    assert!(matches!(&view, NodeView::Unmeasured(why) if why.contains("none")), "{view:?}");
    let elsewhere = PostgresTarget { database: "nowhere".to_owned(), ..primary.target() };
    let view = ask_one(&right, elsewhere).await;
    assert!(matches!(&view, NodeView::Denied(why) if why.contains("nowhere")), "{view:?}");
    // Verified TLS to a server without it.
    let secure = PostgresTarget { tls: PostgresTls::Require, ..primary.target() };
    let view = ask_one(&right, secure).await;
    assert!(matches!(&view, NodeView::Rubbish(why) if why.contains("TLS")), "{view:?}");

    // No connection left for us.
    let mut held = Vec::new();
    while held.len() < 60 {
        let string = format!("host=127.0.0.1 port={} user=web dbname=postgres", primary.port);
        match tokio_postgres::connect(&string, tokio_postgres::NoTls).await {
            Ok((client, connection)) => held.push((client, tokio::spawn(connection))),
            Err(_) => break,
        }
    }
    let view = ask_one(&right, primary.target()).await;
    assert!(matches!(view, NodeView::Denied(_)), "{view:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_up_and_shutting_down_are_told() {
    let Some(mut primary) = Postgres::primary("east") else { return };
    let options = options(Some(primary.password("points", "points")));
    // A smart shutdown lets nobody in and waits for those who are.
    let string = format!("host=127.0.0.1 port={} user=web dbname=postgres", primary.port);
    let (client, connection) = tokio_postgres::connect(&string, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    primary.smart_shut_down();
    until_async("the shutdown", Duration::from_secs(10), async || {
        let view = ask_one(&options, primary.target()).await;
        matches!(&view, NodeView::Refused(why) if why.contains("shutting down"))
    })
    .await;
    drop(client);
    connection.await.unwrap().unwrap();
    primary.kill();

    // Recovery that waits for a file of the archive: up, and not yet open.
    std::fs::write(primary.data().join("recovery.signal"), "").unwrap();
    primary.add_settings(&["restore_command = 'sleep 5; false'", "hot_standby = off"]);
    primary.launch();
    until_async("the start", Duration::from_secs(10), async || {
        let view = ask_one(&options, primary.target()).await;
        matches!(&view, NodeView::Refused(why) if why.contains("starting up") || why.contains("not accepting"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_postgresql_is_rubbish() {
    let endless = Server::start(|mut stream: TcpStream| async move {
        // A message that claims two gigabytes, and delivers.
        let _ = stream.write_all(b"R\x7f\xff\xff\xff").await;
        while stream.write_all(&[0; 16384]).await.is_ok() {}
    })
    .await;
    let silent = Server::start(|mut stream: TcpStream| async move {
        while stream.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {}
    })
    .await;
    let servers = [
        Server::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
        Server::saying(b"\0\0\0\0\0\0\0\0").await,
        Server::saying(b"").await,
        endless,
        silent,
    ];
    let mut targets: Vec<PostgresTarget> = servers
        .iter()
        .map(|server| PostgresTarget {
            address: pointsman::config::HostPort { host: "127.0.0.1".to_owned(), port: server.port() },
            user: "pointsman".to_owned(),
            database: "postgres".to_owned(),
            tls: PostgresTls::Disable,
        })
        .collect();
    let mut refused = targets[0].clone();
    refused.address.port = ports::free();
    targets.push(refused);
    let views = ask(&options(None), &targets).await;
    let kinds: Vec<&str> = views.iter().map(NodeView::word).collect();
    assert_eq!(kinds, ["rubbish", "rubbish", "refused", "rubbish", "silent", "refused"], "{views:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_the_name_verified() {
    let Some(mut primary) = Postgres::primary("east") else { return };
    let certificates = servers::certificates(primary.directory());
    primary.use_certificate(&certificates.server);
    let mut options = options(Some(primary.password("points", "points")));
    options.ca = Some(certificates.ca.clone());
    let secure = |host: &str| {
        let mut target = PostgresTarget { tls: PostgresTls::Require, ..primary.target() };
        target.address.host = host.to_owned();
        target
    };
    for host in ["127.0.0.1", "localhost"] {
        let view = ask_one(&options, secure(host)).await;
        assert_eq!(facts(&view).timeline, 1, "{view:?}");
    }
    // A password is read anew for every question.
    primary.password("points", "hunter2");
    let view = ask_one(&options, secure("localhost")).await;
    let denied = |view: &NodeView, words: &str| matches!(view, NodeView::Denied(why) if why.contains(words) && !why.contains("hunter2"));
    assert!(denied(&view, "password authentication failed"), "{view:?}");
    primary.password("points", "points");
    let view = ask_one(&options, secure("localhost")).await;
    assert_eq!(facts(&view).timeline, 1, "{view:?}");
    // The server lets nobody in without TLS (`hostssl`).
    let view = ask_one(&options, primary.target()).await;
    assert!(denied(&view, "no encryption"), "{view:?}");
    // The name is verified: the certificate is for localhost and 127.0.0.1.
    let view = ask_one(&options, secure("127.0.0.2")).await;
    assert!(matches!(&view, NodeView::Rubbish(why) if why.contains("certificate")), "{view:?}");
    options.ca = Some(certificates.client.0);
    let view = ask_one(&options, secure("localhost")).await;
    assert!(matches!(&view, NodeView::Rubbish(why) if why.contains("certificate")), "{view:?}");
}
