//! The database agent against real PostgreSQL: one writer, whatever happens in between.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pointsman::agent::Agents;
use pointsman::base::{SecretRef, Token};
use pointsman::config::UnreachableWriter;
use pointsman::io::Net;
use pointsman::workflow::{
    Act, ApplicationOp, Call, DatabaseNode, DatabaseOp, DatabaseRole, ExecutionId, Op, Outcome, Owed, Retry,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use common::postgres::{Postgres, Write};
use common::servers::Server;
use common::{now, until, until_async};

const PROMOTE: &str = "promote-database";
const DEMOTE: &str = "demote-database";

/// A primary in `east` and a standby in `west`.
struct Pair {
    east: Postgres,
    west: Postgres,
}

impl Pair {
    fn start() -> Option<Self> {
        let east = Postgres::primary("east")?;
        let west = east.standby("west");
        east.wait_for(&west);
        Some(Self { east, west })
    }

    fn op(&self, role: DatabaseRole, region: &str) -> DatabaseOp {
        op(&[("east", &self.east), ("west", &self.west)], role, region)
    }

    fn writer(&self, region: &str) -> DatabaseOp {
        self.op(DatabaseRole::Writer, region)
    }

    fn reader(&self, region: &str) -> DatabaseOp {
        self.op(DatabaseRole::Reader, region)
    }
}

fn op(nodes: &[(&str, &Postgres)], role: DatabaseRole, region: &str) -> DatabaseOp {
    let first = nodes[0].1;
    DatabaseOp {
        cluster: "petstore-db".to_owned(),
        role,
        region: region.to_owned(),
        nodes: nodes
            .iter()
            .map(|(region, server)| DatabaseNode { region: (*region).to_owned(), target: server.target() })
            .collect(),
        password: Some(first.password("points", "points\n")),
        ca: None,
        application: ApplicationOp {
            roles: Vec::new(),
            proof: Some(("app".to_owned(), Some(first.password("app", "apples")))),
            database: None,
        },
        unreachable_writer: UnreachableWriter::Ask,
    }
}

/// A call of some stage; each has a newer token than the one before.
fn call(stage: &str, op: DatabaseOp) -> Call {
    static INDEX: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(100);
    Call {
        execution: ExecutionId("petstore-failover-1".to_owned()),
        stage: stage.to_owned(),
        attempt: 1,
        act: Act::Apply,
        token: Token { epoch: 3, index: INDEX.fetch_add(1, std::sync::atomic::Ordering::SeqCst) },
        op: Op::Database(op),
        timeout: Duration::from_secs(20),
        approved: false,
    }
}

async fn perform(call: Call) -> Outcome {
    let started = now();
    let outcome = Agents::new(Net::new()).perform(&call).await;
    assert!(now() - started < call.timeout + Duration::from_secs(1), "it ends in time: {outcome:?}");
    outcome
}

async fn apply(stage: &str, op: DatabaseOp) -> Outcome {
    perform(call(stage, op)).await
}

async fn observe(stage: &str, op: DatabaseOp) -> Outcome {
    perform(Call { act: Act::Observe, ..call(stage, op) }).await
}

struct Applied {
    detail: String,
    outputs: std::collections::BTreeMap<String, String>,
    owed: Option<Box<Owed>>,
}

#[track_caller]
fn applied(outcome: Outcome, words: &str) -> Applied {
    match outcome {
        Outcome::Applied { detail, outputs, owed } if detail.contains(words) => {
            Applied { detail, outputs, owed }
        }
        other => panic!("not applied with `{words}`: {other:#?}"),
    }
}

#[track_caller]
fn not_applied(outcome: Outcome, expected: Retry, words: &str) -> String {
    match outcome {
        Outcome::NotApplied { reason, retry } if retry == expected && reason.contains(words) => reason,
        other => panic!("not `not applied, {expected:?}, {words}`: {other:#?}"),
    }
}

#[track_caller]
fn asks(outcome: Outcome, words: &str) -> String {
    match outcome {
        Outcome::Ask { question } if question.contains(words) => question,
        other => panic!("does not ask with `{words}`: {other:#?}"),
    }
}

/// Roles that may log in, by name.
fn logins(server: &Postgres) -> String {
    server.sql("SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolcanlogin AND NOT rolsuper AND NOT rolreplication")
}

fn in_recovery(server: &Postgres) -> bool {
    server.sql("SELECT pg_is_in_recovery()") == "t"
}

fn nothing_changed(pair: &Pair) {
    assert_eq!(logins(&pair.east), "app pointsman web");
    assert!(in_recovery(&pair.west));
    assert_eq!(pair.east.sql("SELECT to_regnamespace('pointsman') IS NULL"), "t", "nothing was written");
}

fn notes(server: &Postgres) -> BTreeSet<String> {
    server.sql("SELECT note FROM orders").lines().map(str::to_owned).collect()
}

/// The last write that one side took was acknowledged before the first that the other took was
/// even sent.
#[track_caller]
fn never_two_writers(old: &[Write], new: &[Write]) {
    let (last, first) =
        (old.iter().map(|write| write.acknowledged).max(), new.iter().map(|write| write.sent).min());
    let (Some(last), Some(first)) = (last, first) else {
        panic!("both sides wrote: {} {}", old.len(), new.len())
    };
    // A write may be sent while it is still refused, and taken later; what counts is that no
    // write of the new side was acknowledged before the old side's last.
    let earliest = new.iter().map(|write| write.acknowledged).min().unwrap();
    assert!(earliest > last, "two writers at once, for {:?}", last - earliest);
    let _ = first;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_moves_without_a_moment_of_two_writers() {
    let Some(pair) = Pair::start() else { return };
    let (old, new) = (pair.east.writer("app"), pair.west.writer("app"));
    let (old_web, new_web) = (pair.east.writer_that_stays("web"), pair.west.writer("web"));
    tokio::time::sleep(Duration::from_millis(700)).await;

    let promotion = call(PROMOTE, pair.writer("west"));
    let done = applied(perform(promotion.clone()).await, "west was promoted, on timeline 2");
    assert!(done.detail.contains("a login as `app` is refused"), "{}", done.detail);
    assert!(done.detail.contains("a write as `app` succeeds"), "{}", done.detail);
    assert!(done.detail.contains("logins given back to app, web"), "{}", done.detail);
    assert_eq!(done.owed, None);
    assert_eq!((done.outputs["timeline"].as_str(), done.outputs["region"].as_str()), ("2", "west"));
    let seconds: f64 = done.outputs["seconds_without_writer"].parse().unwrap();
    assert!(seconds > 0.0 && seconds < 10.0, "{seconds}");
    tokio::time::sleep(Duration::from_millis(500)).await;

    let (old, new) = (old.stop().await, new.stop().await);
    let (old_web, new_web) = (old_web.stop().await, new_web.stop().await);
    assert!(old.len() > 20 && new.len() > 20 && old_web.len() > 20 && new_web.len() > 20);
    let (all_old, all_new) = ([old, old_web].concat(), [new, new_web].concat());
    never_two_writers(&all_old, &all_new);
    // Nothing that was acknowledged is lost.
    let there = notes(&pair.west);
    let lost: Vec<_> = all_old.iter().chain(&all_new).filter(|write| !there.contains(&write.note)).collect();
    assert!(lost.is_empty(), "{} acknowledged writes are lost: {:?}", lost.len(), lost.first());

    // Logins are as before there, and shut here; who never could log in still cannot.
    assert_eq!(
        (logins(&pair.west).as_str(), logins(&pair.east).as_str()),
        ("app pointsman web", "pointsman")
    );
    let record = "SELECT cluster, epoch, key, stage, region, timeline FROM pointsman.fence";
    assert_eq!(pair.west.sql(record), "petstore-db|3|petstore-failover-1/promote-database|writer|west|2");
    assert_eq!(pair.east.sql(record), "petstore-db|3|petstore-failover-1/promote-database|fenced|east|1");
    assert_eq!(pair.west.sql("SELECT count(*) FROM pointsman.fenced_role"), "0");
    let fence_lsn = &done.outputs["fence_lsn"];
    let order = format!("SELECT '{fence_lsn}'::pg_lsn <= '{}'::pg_lsn", done.outputs["promote_lsn"]);
    assert_eq!(pair.west.sql(&order), "t", "the fence was replayed before the promotion");

    // Again, as after a crash: done, and not done twice.
    let again = applied(observe(PROMOTE, pair.writer("west")).await, "west was promoted, on timeline 2");
    assert_eq!(again.owed, None);
    applied(
        apply(PROMOTE, pair.writer("west")).await,
        "west was promoted by an earlier attempt, on timeline 2",
    );
    // The token of the first attempt is an old one by now.
    let late = perform(promotion).await;
    assert!(
        matches!(&late, Outcome::Stale { reason } if reason.contains("west") || reason.contains("east")),
        "{late:?}"
    );

    // The demote that the workflow asks for is already done; it must be rewound to follow.
    let reader = applied(apply(DEMOTE, pair.reader("east")).await, "east is fenced at");
    assert!(
        reader.detail.contains("it must be rewound (pg_rewind) before it can follow"),
        "{}",
        reader.detail
    );
    applied(observe(DEMOTE, pair.reader("east")).await, "no application can write in east");
    // And back to where it is on an old timeline: never.
    not_applied(apply("back", pair.writer("east")).await, Retry::Never, "older timeline 1");
    assert_eq!(logins(&pair.west), "app pointsman web", "refused before anything was fenced");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fence_is_proven_as_well_as_it_can_be() {
    let Some(pair) = Pair::start() else { return };
    let with = |proof| {
        let mut op = pair.reader("east");
        op.application.proof = proof;
        op
    };
    // Without credentials: `web` needs no password, and is told that it may not log in.
    applied(apply(DEMOTE, with(None)).await, "a login as `web` is refused");
    applied(observe(DEMOTE, with(None)).await, "no application can write");
    // Where every role needs a password, the catalog must do, and the detail says so.
    pair.east.sql("ALTER ROLE app LOGIN; DROP OWNED BY web; DROP ROLE web");
    not_applied(observe(DEMOTE, with(None)).await, Retry::Backoff, "not fenced");
    let done = applied(apply(DEMOTE, with(None)).await, "by the catalog alone");
    assert!(done.detail.contains("wants a password of app"), "{}", done.detail);
    // A wrong password proves nothing either.
    pair.east.sql("ALTER ROLE app LOGIN");
    let wrong = Some(("app".to_owned(), Some(pair.east.password("wrong", "pears"))));
    let done = applied(apply(DEMOTE, with(wrong)).await, "by the catalog alone");
    assert!(done.detail.contains("password authentication failed"), "{}", done.detail);
    assert!(!done.detail.contains("pears"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_writer_is_asked_about_and_owed_a_fence() {
    let Some(mut pair) = Pair::start() else { return };
    let before = pair.east.writer("app");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = before.stop().await;
    pair.east.wait_for(&pair.west);
    pair.east.kill();

    // Nobody listens there: it may be started again at any moment.
    let question = asks(
        apply(PROMOTE, pair.writer("west")).await,
        "east cannot be reached to be fenced: connection refused",
    );
    for words in [
        "what they write is lost",
        "west has replayed everything it received",
        "the last transaction it has replayed was committed at",
        "Make west the writer of `petstore-db`?",
    ] {
        assert!(question.contains(words), "no `{words}` in: {question}");
    }
    assert!(in_recovery(&pair.west), "asking changes nothing");
    not_applied(observe(PROMOTE, pair.writer("west")).await, Retry::Backoff, "still a standby");

    let approved = Call { approved: true, ..call(PROMOTE, pair.writer("west")) };
    let done = applied(perform(approved).await, "west was promoted, on timeline 2");
    assert!(done.detail.contains("east could not be fenced"), "{}", done.detail);
    let owed = done.owed.expect("the old writer is owed a fence");
    assert_eq!(owed.region, "east");
    let Op::Database(debt) = owed.op else { panic!() };
    assert_eq!((debt.role, debt.region.as_str()), (DatabaseRole::Reader, "east"));
    // Roles were never shut out here: they can log in, and everything is there.
    assert_eq!(logins(&pair.west), "app pointsman web");
    let there = notes(&pair.west);
    assert!(before.iter().all(|write| there.contains(&write.note)));
    assert!(!done.outputs.contains_key("seconds_without_writer"), "nobody knows since when");

    // A crash right after the promotion: the observation still knows what is owed.
    let seen = applied(observe(PROMOTE, pair.writer("west")).await, "west was promoted");
    assert_eq!(seen.owed.unwrap().region, "east");

    // The debt cannot be paid while it is away.
    let away = apply("owed", debt.clone()).await;
    assert!(
        matches!(&away, Outcome::Unreachable { reason } if reason.contains("connection refused")),
        "{away:?}"
    );
    let away = observe("owed", debt.clone()).await;
    assert!(matches!(away, Outcome::Unreachable { .. }), "{away:?}");

    // It comes back as it was, and takes writes: that is the risk that was accepted.
    pair.east.start();
    let stray = pair.east.writer("app");
    tokio::time::sleep(Duration::from_millis(300)).await;
    not_applied(observe("owed", debt.clone()).await, Retry::Backoff, "a primary and not fenced");
    let paid = applied(apply("owed", debt.clone()).await, "east is fenced at");
    assert!(paid.detail.contains("on timeline 1 and the writer on 2: it must be rewound"), "{}", paid.detail);
    assert_eq!(paid.owed, None);
    let fenced_at = now();
    let stray = stray.stop().await;
    assert!(!stray.is_empty() && stray.iter().all(|write| write.acknowledged < fenced_at));
    assert_eq!(logins(&pair.west), "app pointsman web", "the writer is left alone");

    // Rewound, it follows; a reader is what it is.
    pair.east.shut_down();
    pair.east.rewind_to_follow(&pair.west);
    pair.east.start();
    applied(apply("owed", debt).await, "east is already a reader");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_writer_is_promoted_past_if_the_file_says_so() {
    let Some(pair) = Pair::start() else { return };
    let op = DatabaseOp { unreachable_writer: UnreachableWriter::Promote, ..pair.writer("west") };
    pair.east.pause();
    let started = now();
    let done = applied(apply(PROMOTE, op).await, "west was promoted, on timeline 2");
    assert!(now() - started > Duration::from_secs(3), "one lost packet does not make it unreachable");
    assert_eq!(done.owed.unwrap().region, "east");
    assert!(done.detail.contains("east could not be fenced: no answer within"), "{}", done.detail);
    applied(apply(PROMOTE, pair.writer("west")).await, "by an earlier attempt");
    pair.east.resume();
    // Another attempt reaches it now, and fences it.
    let done =
        applied(apply(PROMOTE, pair.writer("west")).await, "east is fenced: a login as `app` is refused");
    assert_eq!(done.owed, None);
    assert_eq!(
        (logins(&pair.west).as_str(), logins(&pair.east).as_str()),
        ("app pointsman web", "pointsman")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lost_connection_does_not_make_a_writer_unreachable() {
    let Some(pair) = Pair::start() else { return };
    // The first connection leads nowhere, as when a packet filter forgets its state.
    let port = pair.east.port;
    let first = Arc::new(AtomicBool::new(true));
    let flaky = Server::start(move |mut client: TcpStream| {
        let lost = first.swap(false, Ordering::SeqCst);
        async move {
            if lost {
                return tokio::time::sleep(Duration::from_secs(60)).await;
            }
            let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
    })
    .await;
    let mut op = DatabaseOp { unreachable_writer: UnreachableWriter::Promote, ..pair.writer("west") };
    op.nodes[0].target.address.port = flaky.port();
    let done = applied(apply(PROMOTE, op).await, "east is fenced");
    assert_eq!((done.owed, logins(&pair.east).as_str()), (None, "pointsman"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_fence_and_promotion_is_seen_and_mended() {
    let Some(pair) = Pair::start() else { return };
    // Replay lags by five seconds: time to die in between.
    pair.west.sql("ALTER SYSTEM SET recovery_min_apply_delay = '5s'");
    pair.west.sql("SELECT pg_reload_conf()");
    let first = call(PROMOTE, pair.writer("west"));
    {
        let agents = Agents::new(Net::new());
        let performing = agents.perform(&first);
        tokio::pin!(performing);
        until_async("the fence", Duration::from_secs(15), async || {
            tokio::select! {
                outcome = &mut performing => panic!("{outcome:?}"),
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
            logins(&pair.east) == "pointsman"
                && pair.east.sql("SELECT stage FROM pointsman.fence") == "fenced"
        })
        .await;
    }
    assert!(in_recovery(&pair.west));
    let why =
        not_applied(observe(PROMOTE, pair.writer("west")).await, Retry::Backoff, "west is still a standby");
    until("the fence to be replayed", Duration::from_secs(20), || {
        pair.west.sql("SELECT to_regclass('pointsman.fence') IS NOT NULL") == "t"
    });
    assert!(!why.contains("fenced at"), "it had not been replayed yet: {why}");
    let why =
        not_applied(observe(PROMOTE, pair.writer("west")).await, Retry::Backoff, "west is still a standby");
    assert!(why.contains("applications are without a writer: east was fenced at"), "{why}");
    assert_eq!(logins(&pair.east), "pointsman", "looking changes nothing");

    let done = applied(apply(PROMOTE, pair.writer("west")).await, "west was promoted, on timeline 2");
    // The time without a writer counts from the first attempt's fence.
    let seconds: f64 = done.outputs["seconds_without_writer"].parse().unwrap();
    assert!(seconds > 5.0, "{seconds}");
    assert_eq!(
        (logins(&pair.west).as_str(), logins(&pair.east).as_str()),
        ("app pointsman web", "pointsman")
    );
}

/// A primary writes its log out in whole pages, ahead of any commit. One that dies in the middle of
/// a long transaction leaves its standby with the beginning of a record that never goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_within_a_record_holds_nothing_up() {
    let Some(mut pair) = Pair::start() else { return };
    pair.east.sql("INSERT INTO orders (note) VALUES ('the last one')");
    let mut long = pair.east.psql(
        "BEGIN; INSERT INTO orders (note) SELECT repeat('x', 700) FROM generate_series(1, 3000); SELECT pg_sleep(600)",
    );
    let unreachable = |position: &str| {
        let waits = "wait_event IN ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval')";
        let look = format!(
            "SELECT {position} > pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_activity WHERE {waits})"
        );
        pair.west.sql(&look) == "t"
    };
    // Quite a part of the transaction's log has come, and ends where no record does.
    until("a log that ends within a record", Duration::from_secs(20), || {
        pair.west.sql("SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/3000000') > 1000000") == "t"
            && unreachable("pg_last_wal_receive_lsn()")
    });
    pair.east.kill();
    long.wait();
    assert!(unreachable("pg_last_wal_receive_lsn()"));
    let approved = Call { approved: true, ..call(PROMOTE, pair.writer("west")) };
    applied(perform(approved).await, "west was promoted, on timeline 2");
    assert_eq!(pair.west.sql("SELECT count(*) FROM orders WHERE note = 'the last one'"), "1");
    assert_eq!(pair.west.sql("SELECT count(*) FROM orders WHERE note LIKE 'x%'"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_lost_after_its_fence_is_asked_about_with_what_is_known() {
    let Some(mut pair) = Pair::start() else { return };
    // The fence goes through, the promotion cannot.
    pair.west.block_promotion(true);
    let why =
        not_applied(apply(PROMOTE, pair.writer("west")).await, Retry::Backoff, "west cannot be promoted");
    assert!(why.contains("Applications are without a writer"), "{why}");
    assert!(why.contains("on east: ALTER ROLE \"app\" LOGIN; ALTER ROLE \"web\" LOGIN"), "{why}");
    assert_eq!(logins(&pair.east), "pointsman");
    // Retries go on; when the cause is gone they get through. But now the old writer dies too.
    pair.east.kill();
    let question = asks(apply(PROMOTE, pair.writer("west")).await, "east was fenced at");
    assert!(question.contains("west has replayed that fence"), "{question}");
    pair.west.block_promotion(false);
    let approved = Call { approved: true, ..call(PROMOTE, pair.writer("west")) };
    let done = applied(perform(approved).await, "west was promoted");
    assert_eq!(done.owed.unwrap().region, "east");
    // What the fence took on the old writer is given back on the new one.
    assert_eq!(logins(&pair.west), "app pointsman web");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_is_refused_leaves_the_way_back_open() {
    let Some(pair) = Pair::start() else { return };
    pair.west.block_promotion(true);
    not_applied(
        apply(PROMOTE, pair.writer("west")).await,
        Retry::Backoff,
        "Applications are without a writer",
    );
    assert_eq!(logins(&pair.east), "pointsman");
    // Giving the role back to the old one is a writer stage like any other.
    let back =
        applied(apply("give-back", pair.writer("east")).await, "east was the writer already, on timeline 1");
    assert!(back.detail.contains("logins given back to app, web"), "{}", back.detail);
    assert_eq!(logins(&pair.east), "app pointsman web");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_end_well_is_refused_before_anything_is_changed() {
    let Some(mut pair) = Pair::start() else { return };
    let ask = async |op: DatabaseOp| apply(PROMOTE, op).await;

    // Even one that has nothing left to replay: it would not see the fence.
    pair.east.wait_for(&pair.west);
    pair.west.sql("SELECT pg_wal_replay_pause()");
    not_applied(ask(pair.writer("west")).await, Retry::Backoff, "replay is paused on west");
    pair.west.sql("SELECT pg_wal_replay_resume()");
    nothing_changed(&pair);

    // Rights that are missing are named before they are missed.
    pair.east.sql("REVOKE EXECUTE ON FUNCTION pg_promote(boolean, integer) FROM pointsman");
    pair.east.wait_for(&pair.west);
    not_applied(ask(pair.writer("west")).await, Retry::Backoff, "GRANT EXECUTE ON FUNCTION pg_promote");
    pair.east.sql("GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO pointsman; REVOKE pg_signal_backend FROM pointsman");
    pair.east.wait_for(&pair.west);
    not_applied(ask(pair.writer("west")).await, Retry::Backoff, "GRANT pg_signal_backend");
    pair.east.sql("GRANT pg_signal_backend TO pointsman; ALTER ROLE pointsman NOCREATEROLE");
    pair.east.wait_for(&pair.west);
    not_applied(ask(pair.writer("west")).await, Retry::Backoff, "CREATEROLE");
    pair.east.sql("ALTER ROLE pointsman CREATEROLE");
    pair.east.wait_for(&pair.west);

    // Roles that are named wrongly.
    let named = |roles: &[&str]| {
        let mut op = pair.writer("west");
        op.application.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        op
    };
    not_applied(ask(named(&["app", "ghost"])).await, Retry::Never, "no role `ghost`");
    not_applied(ask(named(&["app", "pointsman"])).await, Retry::Never, "would shut us out");
    not_applied(ask(named(&["web"])).await, Retry::Never, "`app` is to prove the fence");
    // A superuser's login is not ours to take.
    not_applied(
        ask(named(&["app", "postgres"])).await,
        Retry::Never,
        "cannot take the login of app, postgres",
    );
    nothing_changed(&pair);

    // Credentials.
    let wrong = DatabaseOp { password: Some(pair.east.password("wrong", "hunter2")), ..pair.writer("west") };
    not_applied(ask(wrong).await, Retry::Backoff, "password authentication failed");
    let missing =
        DatabaseOp { password: Some(SecretRef::File("/nonexistent".into())), ..pair.writer("west") };
    let outcome = ask(missing).await;
    assert!(
        matches!(&outcome, Outcome::Unreachable { reason } if reason.contains("/nonexistent")),
        "{outcome:?}"
    );
    let mut nowhere = pair.writer("west");
    nowhere.region = "south".to_owned();
    not_applied(ask(nowhere).await, Retry::Never, "no node in south");
    nothing_changed(&pair);

    // A standby that does not follow: it would never get the last writes.
    pair.west.sql("ALTER SYSTEM SET primary_conninfo = ''");
    pair.west.sql("SELECT pg_reload_conf()");
    until("the stream to end", Duration::from_secs(10), || {
        pair.west.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0"
    });
    let why = not_applied(ask(pair.writer("west")).await, Retry::Backoff, "receives nothing from east");
    assert!(why.contains("east was not fenced, and nothing was changed"), "{why}");
    pair.east.sql("INSERT INTO orders (note) VALUES ('more')");
    not_applied(
        ask(pair.writer("west")).await,
        Retry::Backoff,
        "east was not fenced, and nothing was changed",
    );
    nothing_changed(&pair);

    // It is away altogether.
    pair.west.kill();
    let outcome = ask(pair.writer("west")).await;
    assert!(
        matches!(&outcome, Outcome::Unreachable { reason } if reason.contains("west: connection refused")),
        "{outcome:?}"
    );
    assert_eq!(logins(&pair.east), "app pointsman web");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_never_promoted_nor_an_orphaned_timeline() {
    let (Some(pair), Some(stranger)) = (Pair::start(), Postgres::primary("stranger")) else { return };
    let standby = stranger.standby("follows-a-stranger");
    stranger.wait_for(&standby);
    let mixed = op(&[("east", &pair.east), ("west", &standby)], DatabaseRole::Writer, "west");
    not_applied(apply(PROMOTE, mixed).await, Retry::Never, "west is no standby of east");
    nothing_changed(&pair);

    // Both promoted from the same timeline: nobody can tell which is right.
    let third = pair.east.standby("third");
    pair.east.wait_for(&third);
    pair.west.sql("SELECT pg_promote()");
    third.sql("SELECT pg_promote()");
    let split = op(&[("west", &pair.west), ("third", &third)], DatabaseRole::Writer, "west");
    not_applied(apply(PROMOTE, split).await, Retry::Never, "a split brain");
    assert_eq!(logins(&third), "app pointsman web");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_keeps_us_out_is_never_promoted_past() {
    let Some(pair) = Pair::start() else { return };
    // The standby knows us, the old writer does not (any more): it is alive.
    let hba = pair.east.data().join("pg_hba.conf");
    let text = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, format!("host all pointsman 127.0.0.1/32 reject\n{text}")).unwrap();
    pair.east.sql("SELECT pg_reload_conf()");
    let op = DatabaseOp { unreachable_writer: UnreachableWriter::Promote, ..pair.writer("west") };
    let approved = Call { approved: true, ..call(PROMOTE, op) };
    let mut approved = approved;
    until_async("the server to read its file", Duration::from_secs(10), async || {
        approved.token.index += 1000;
        let reason = not_applied(perform(approved.clone()).await, Retry::Backoff, "east");
        reason.contains("may be the writer and cannot be fenced")
    })
    .await;
    assert!(in_recovery(&pair.west));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_somebody_opens_stops_the_promotion() {
    let Some(pair) = Pair::start() else { return };
    pair.west.sql("ALTER SYSTEM SET recovery_min_apply_delay = '4s'");
    pair.west.sql("SELECT pg_reload_conf()");
    let performing = tokio::spawn(apply(PROMOTE, pair.writer("west")));
    until_async("the fence", Duration::from_secs(15), async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        pair.east.try_sql("SELECT stage FROM pointsman.fence").is_ok_and(|stage| stage == "fenced")
    })
    .await;
    pair.east.sql("ALTER ROLE web LOGIN");
    not_applied(performing.await.unwrap(), Retry::Backoff, "somebody has let applications in again");
    assert!(in_recovery(&pair.west));
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_attempts_end_older_ones_and_older_ones_yield() {
    let Some(pair) = Pair::start() else { return };
    let hold = |server: &Postgres, name: &str| {
        let string = format!(
            "host=127.0.0.1 port={} user=pointsman password=points dbname=postgres application_name='{name}'",
            server.port
        );
        async move {
            let (client, connection) = tokio_postgres::connect(&string, tokio_postgres::NoTls).await.unwrap();
            let connection = tokio::spawn(connection);
            // The number that the agent takes for this cluster.
            client.execute("SELECT pg_advisory_lock($1)", &[&lock_of("petstore-db")]).await.unwrap();
            (client, connection)
        }
    };
    // A session of a newer attempt: ours is out of date.
    let newer = hold(&pair.west, "pointsman 9.1").await;
    let outcome = apply(PROMOTE, pair.writer("west")).await;
    assert!(matches!(&outcome, Outcome::Stale { reason } if reason.contains("9.1")), "{outcome:?}");
    // A stranger that happens to hold the lock is nobody that we may end.
    let stranger = hold(&pair.east, "psql").await;
    drop(newer);
    not_applied(apply(PROMOTE, pair.writer("west")).await, Retry::Backoff, "holds the lock of `petstore-db`");
    drop(stranger);
    // One of an older attempt that hangs, on both nodes: it is ended, and can do nothing more.
    let (east, west) = (hold(&pair.east, "pointsman 3.1").await, hold(&pair.west, "pointsman 3.1").await);
    applied(apply(PROMOTE, pair.writer("west")).await, "west was promoted");
    assert!(east.0.execute("SELECT 1", &[]).await.is_err() && west.0.execute("SELECT 1", &[]).await.is_err());
}

/// FNV-1a, as the agent counts it.
fn lock_of(cluster: &str) -> i64 {
    let text = format!("pointsman/{cluster}");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.cast_signed()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_at_once_end_in_one_promotion() {
    let Some(pair) = Pair::start() else { return };
    let (old, new) = (pair.east.writer("app"), pair.west.writer("app"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let calls: Vec<_> = (0..4).map(|_| tokio::spawn(apply(PROMOTE, pair.writer("west")))).collect();
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.unwrap());
    }
    // The newest may have been overtaken by nobody.
    let last = outcomes.pop().unwrap();
    if !matches!(last, Outcome::Applied { .. }) {
        applied(apply(PROMOTE, pair.writer("west")).await, "west was promoted");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    never_two_writers(&old.stop().await, &new.stop().await);
    assert_eq!(
        pair.west.sql("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"),
        "00000002",
        "{outcomes:#?}"
    );
    assert_eq!(
        (logins(&pair.west).as_str(), logins(&pair.east).as_str()),
        ("app pointsman web", "pointsman")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_covered_by_the_fence_is_told() {
    let Some(pair) = Pair::start() else { return };
    let session = |user: &str| {
        let string = format!("host=127.0.0.1 port={} user={user} dbname=postgres", pair.east.port);
        async move {
            let (client, connection) = tokio_postgres::connect(&string, tokio_postgres::NoTls).await.unwrap();
            (client, tokio::spawn(connection))
        }
    };
    let superuser = session("postgres").await;
    let web = session("web").await;
    pair.east.sql("BEGIN; INSERT INTO orders (note) VALUES ('prepared'); PREPARE TRANSACTION 'one'");
    // A role with a name that would break out of its quotes.
    pair.east.sql("CREATE ROLE \"o'dd\"\"; --\" LOGIN");
    let mut op = pair.writer("west");
    op.application.roles = vec!["app".to_owned(), "o'dd\"; --".to_owned(), "archive".to_owned()];
    let done = applied(apply(PROMOTE, op).await, "west was promoted");
    for words in [
        "superusers are logged in (postgres), whom no fence shuts out",
        "roles that were not to be shut out are logged in (web)",
        "1 prepared transactions are open",
    ] {
        assert!(done.detail.contains(words), "no `{words}` in: {}", done.detail);
    }
    assert!(web.0.execute("SELECT 1", &[]).await.is_ok(), "it was not to be shut out");
    drop((superuser, web));
    // Given back exactly to those that had it; the prepared transaction has come along.
    assert_eq!(logins(&pair.west), "app o'dd\"; -- pointsman web");
    assert_eq!(logins(&pair.east), "pointsman web");
    assert_eq!(pair.west.sql("SELECT gid FROM pg_prepared_xacts"), "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn demoting_first_gives_the_logins_back_at_the_new_writer() {
    let Some(pair) = Pair::start() else { return };
    // A standby is a reader as it is.
    applied(apply(DEMOTE, pair.reader("west")).await, "west is already a reader");
    applied(observe(DEMOTE, pair.reader("west")).await, "no application can write in west");
    not_applied(
        observe(DEMOTE, pair.reader("east")).await,
        Retry::Backoff,
        "east is a primary and not fenced",
    );
    let done = applied(apply(DEMOTE, pair.reader("east")).await, "east is fenced at");
    assert!(done.detail.contains("no other node that answers is a writer"), "{}", done.detail);
    assert_eq!(logins(&pair.east), "pointsman");
    // An older attempt is told so, even where it would have nothing to do.
    pair.east.wait_for(&pair.west);
    let mut old = call(DEMOTE, pair.reader("west"));
    old.token = Token { epoch: 2, index: 99_999 };
    let outcome = perform(old).await;
    assert!(
        matches!(&outcome, Outcome::Stale { reason } if reason.contains("west has seen 3.")),
        "{outcome:?}"
    );
    let done = applied(apply(PROMOTE, pair.writer("west")).await, "logins given back to app, web");
    assert_eq!(done.owed, None);
    assert_eq!(
        (logins(&pair.west).as_str(), logins(&pair.east).as_str()),
        ("app pointsman web", "pointsman")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_another_standby_has_is_not_given_up_unasked() {
    let Some(mut pair) = Pair::start() else { return };
    let third = pair.east.standby("third");
    pair.east.wait_for(&third);
    // `west` misses what `third` gets.
    pair.west.sql("ALTER SYSTEM SET primary_conninfo = ''");
    pair.west.sql("SELECT pg_reload_conf()");
    until("the stream to end", Duration::from_secs(10), || {
        pair.west.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0"
    });
    pair.east.sql("INSERT INTO orders (note) SELECT 'only third' FROM generate_series(1, 100)");
    pair.east.wait_for(&third);
    pair.east.kill();
    let nodes = [("east", &pair.east), ("west", &pair.west), ("third", &third)];
    // Accepting that the old writer may live on is not accepting this.
    let unasked = |region: &str| DatabaseOp {
        unreachable_writer: UnreachableWriter::Promote,
        ..op(&nodes, DatabaseRole::Writer, region)
    };
    asks(apply(PROMOTE, unasked("west")).await, "third has received");
    let done = applied(apply(PROMOTE, unasked("third")).await, "third was promoted");
    assert_eq!(done.owed.unwrap().region, "east");
    assert_eq!(third.sql("SELECT count(*) FROM orders"), "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_standby_elsewhere_does_not_hold_up_a_switch() {
    let Some(pair) = Pair::start() else { return };
    let mut third = pair.east.standby("third");
    pair.east.wait_for(&third);
    third.kill();
    let nodes = [("east", &pair.east), ("west", &pair.west), ("south", &third)];
    // The writer is known and answers: who is missing follows it, and is nobody's rival.
    let done = applied(apply(PROMOTE, op(&nodes, DatabaseRole::Writer, "west")).await, "west was promoted");
    assert_eq!(done.owed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_regions_away_is_asked_about_and_both_are_owed() {
    let Some(mut pair) = Pair::start() else { return };
    let mut third = pair.east.standby("third");
    pair.east.wait_for(&third);
    third.kill();
    pair.east.kill();
    let op = {
        let nodes = [("east", &pair.east), ("west", &pair.west), ("south", &third)];
        DatabaseOp {
            unreachable_writer: UnreachableWriter::Promote,
            ..op(&nodes, DatabaseRole::Writer, "west")
        }
    };
    let question = asks(apply(PROMOTE, op.clone()).await, "it may be we who are cut off");
    assert!(
        question.contains("east cannot be reached") && question.contains("south cannot be reached"),
        "{question}"
    );
    let done = applied(perform(Call { approved: true, ..call(PROMOTE, op) }).await, "west was promoted");
    let owed = done.owed.unwrap();
    assert_eq!(owed.region, "east");
    let Op::Database(debt) = owed.op else { panic!() };
    // Once it is paid, the next is owed.
    pair.east.start();
    let paid = applied(apply("owed", debt).await, "east is fenced");
    let owed = paid.owed.expect("south is still owed");
    assert_eq!(owed.region, "south");
    third.start();
    let Op::Database(debt) = owed.op else { panic!() };
    let paid = applied(apply("owed-2", debt).await, "south is already a reader");
    assert_eq!(paid.owed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debt_does_not_fence_who_has_become_the_writer_again() {
    let Some(mut pair) = Pair::start() else { return };
    pair.east.kill();
    let approved = Call { approved: true, ..call(PROMOTE, pair.writer("west")) };
    let Op::Database(debt) = applied(perform(approved).await, "west was promoted").owed.unwrap().op else {
        panic!()
    };
    // Somebody rewinds it, lets it follow, and makes it the writer again by hand.
    pair.east.start();
    pair.east.shut_down();
    pair.east.rewind_to_follow(&pair.west);
    pair.east.start();
    pair.west.wait_for(&pair.east);
    pair.west.shut_down();
    pair.east.sql("SELECT pg_promote()");
    applied(apply("owed", debt).await, "what was owed is settled");
    assert_eq!(logins(&pair.east), "app pointsman web");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_was_granted_just_before_the_fence_is_caught() {
    let Some(pair) = Pair::start() else { return };
    // It has passed the gate when the fence comes down, and takes three seconds to sit down.
    let string = format!(
        "host=127.0.0.1 port={} user=web dbname=postgres options='-c post_auth_delay=3'",
        pair.east.port
    );
    let late = tokio::spawn(async move {
        let (client, connection) = tokio_postgres::connect(&string, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        loop {
            client.execute("INSERT INTO orders (note) VALUES ('late')", &[]).await?;
        }
        #[allow(unreachable_code, reason = "gives the block its type")]
        Ok::<(), tokio_postgres::Error>(())
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let started = now();
    let done = applied(apply(DEMOTE, pair.reader("east")).await, "east is fenced at");
    assert!(now() - started > Duration::from_secs(2), "it was waited for");
    // Whatever it wrote lies before the fence; after it, nothing.
    let written = pair.east.sql("SELECT count(*) FROM orders");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pair.east.sql("SELECT count(*) FROM orders"), written, "{}", done.detail);
    assert!(late.await.unwrap().is_err());
}

/// What stands between us and a server: it sends logins of `app` to another one, as a pooler
/// might that keeps sessions open.
async fn pooler(server: u16, of_app: u16) -> Server {
    Server::start(move |mut client: TcpStream| async move {
        let mut startup = vec![0; 8192];
        let Ok(read) = client.read(&mut startup).await else { return };
        let app = startup[..read].windows(9).any(|bytes| bytes == b"user\0app\0");
        let port = if app { of_app } else { server };
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        if server.write_all(&startup[..read]).await.is_ok() {
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_does_not_hold_stops_everything() {
    let (Some(pair), Some(elsewhere)) = (Pair::start(), Postgres::primary("elsewhere")) else { return };
    let pooler = pooler(pair.east.port, elsewhere.port).await;
    let mut op = pair.writer("west");
    op.nodes[0].target.address.port = pooler.port();
    let why = not_applied(
        apply(PROMOTE, op).await,
        Retry::Backoff,
        "the fence does not hold: `app` can still log in",
    );
    assert!(why.contains("Applications are without a writer"), "{why}");
    assert!(in_recovery(&pair.west));
}

/// A call on behalf of a later execution.
fn later(stage: &str, op: DatabaseOp) -> Call {
    Call { execution: ExecutionId("petstore-failover-2".to_owned()), ..call(stage, op) }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_left_behind_is_not_taken_for_the_writer_again_unasked() {
    let Some(mut pair) = Pair::start() else { return };
    applied(apply(PROMOTE, pair.writer("west")).await, "west was promoted");
    // The writer cannot be asked; the old one is there, fenced, and out of date.
    pair.west.kill();
    let back = DatabaseOp { unreachable_writer: UnreachableWriter::Promote, ..pair.writer("east") };
    let question =
        asks(perform(later("back", back.clone())).await, "west cannot be asked: connection refused");
    assert!(question.contains("petstore-failover-1/promote-database fenced it at"), "{question}");
    assert!(question.contains("If west was made the writer since, east was left behind"), "{question}");
    assert_eq!(logins(&pair.east), "pointsman", "its fence still stands");
    let approved = Call { approved: true, ..later("back", back) };
    let done = applied(perform(approved).await, "east was the writer already");
    assert_eq!(
        (done.owed.unwrap().region.as_str(), logins(&pair.east).as_str()),
        ("west", "app pointsman web")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_was_fenced_before_vouches_for_nobody() {
    let Some(mut pair) = Pair::start() else { return };
    let mut third = pair.east.standby("third");
    pair.east.wait_for(&third);
    // `south` takes over past a dead `east`. That one comes back, and `west` follows it again.
    pair.east.kill();
    let make = |pair: &Pair, third: &Postgres, region: &str| {
        op(&[("east", &pair.east), ("west", &pair.west), ("south", third)], DatabaseRole::Writer, region)
    };
    let approved = Call { approved: true, ..call(PROMOTE, make(&pair, &third, "south")) };
    let owed = applied(perform(approved).await, "south was promoted").owed.unwrap();
    pair.east.start();
    let Op::Database(debt) = owed.op else { panic!() };
    applied(apply("owed", debt).await, "east is fenced");
    until("west to follow east again", Duration::from_secs(20), || {
        pair.west.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "1"
    });
    // Now `south` is away. `east` is a primary on the very timeline of `west`; the writer it is not.
    third.kill();
    let make = make(&pair, &third, "west");
    asks(perform(later(PROMOTE, make)).await, "south cannot be reached to be fenced");
    assert!(in_recovery(&pair.west));
}

#[tokio::test(flavor = "multi_thread")]
async fn synchronous_replication_holds_up_neither_fence_nor_truth() {
    let Some(pair) = Pair::start() else { return };
    // Commits wait for a standby that does not exist, on both sides.
    pair.west.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    pair.west.sql("SELECT pg_reload_conf()");
    pair.east.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    pair.east.sql("SELECT pg_reload_conf()");
    // Applications could not write at the new one, and that is what is said.
    let why = not_applied(
        apply(PROMOTE, pair.writer("west")).await,
        Retry::Backoff,
        "a write as `app` does not end",
    );
    assert!(why.contains("synchronous_standby_names") && why.contains("west is promoted"), "{why}");
    assert_eq!((in_recovery(&pair.west), logins(&pair.east).as_str()), (false, "pointsman"));
    // Without a role to write as, it is told all the same.
    let mut unproven = pair.writer("west");
    unproven.application.proof = None;
    applied(apply(PROMOTE, unproven).await, "commits wait for one");
    pair.west.sql("ALTER SYSTEM RESET synchronous_standby_names");
    pair.west.sql("SELECT pg_reload_conf()");
    until_async("applications to write", Duration::from_secs(20), async || {
        matches!(apply(PROMOTE, pair.writer("west")).await, Outcome::Applied { .. })
    })
    .await;
    // The same with a server that makes every transaction read-only.
    pair.west.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    pair.west.sql("SELECT pg_reload_conf()");
    until_async("the setting to hold", Duration::from_secs(20), async || {
        let outcome = apply(PROMOTE, pair.writer("west")).await;
        matches!(&outcome, Outcome::NotApplied { reason, .. } if reason.contains("gets read-only transactions"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_somebody_else_is_not_written_to() {
    let Some(pair) = Pair::start() else { return };
    pair.east.sql(
        "GRANT CREATE ON DATABASE postgres TO app; SET ROLE app; CREATE SCHEMA pointsman;
         CREATE TABLE pointsman.fence (cluster text); GRANT ALL ON SCHEMA pointsman TO PUBLIC;
         GRANT ALL ON pointsman.fence TO PUBLIC",
    );
    pair.east.wait_for(&pair.west);
    let outcome = apply(PROMOTE, pair.writer("west")).await;
    assert!(matches!(&outcome, Outcome::NotApplied { .. }), "{outcome:?}");
    assert_eq!(logins(&pair.east), "app pointsman web");
    assert!(in_recovery(&pair.west));
    pair.east.sql("DROP TABLE pointsman.fence");
    pair.east.wait_for(&pair.west);
    not_applied(apply(PROMOTE, pair.writer("west")).await, Retry::Never, "belongs to app");
    assert_eq!(logins(&pair.east), "app pointsman web");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_ends_in_time_whatever_hangs() {
    let Some(pair) = Pair::start() else { return };
    // The old writer stops in the middle of the attempt, its sessions open.
    pair.west.sql("ALTER SYSTEM SET recovery_min_apply_delay = '60s'");
    pair.west.sql("SELECT pg_reload_conf()");
    let short = Call { timeout: Duration::from_secs(6), ..call(PROMOTE, pair.writer("west")) };
    let performing = tokio::spawn(perform(short.clone()));
    tokio::time::sleep(Duration::from_millis(700)).await;
    pair.east.pause();
    let outcome = performing.await.unwrap();
    let known = matches!(&outcome, Outcome::NotApplied { retry: Retry::Backoff, .. } | Outcome::Ask { .. });
    assert!(known, "{outcome:?}");
    assert!(in_recovery(&pair.west));
    // The new one stops as well.
    pair.west.pause();
    for act in [Act::Apply, Act::Observe] {
        let outcome = perform(Call { act, token: Token { epoch: 4, index: 1 }, ..short.clone() }).await;
        assert!(matches!(&outcome, Outcome::Unreachable { .. }), "{outcome:?}");
    }
    pair.west.resume();
    pair.east.resume();
}
