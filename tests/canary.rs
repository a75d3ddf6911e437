//! Canaries: over HTTP against a store whose moods the test chooses and against a real Consul, by SQL,
//! in Redis and in etcd against real servers, by a program, against Google's in-memory fake of
//! Spanner and small endpoints that know its words, and against a local DynamoDB (dynalite, from npm).
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "tests")]

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman::cluster::{CanaryFacts, Facts, NodeView};
use pointsman::config::Config;
use pointsman::io::{Clock, Net};
use pointsman::probe::cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use common::etcd::Etcd;
use common::postgres::Postgres;
use common::{Program, Scratch, config, find, find_foreign, lacks, ports, until, until_async};

const TIMEOUT: Duration = Duration::from_millis(800);

fn configured(system: &str, directory: &std::path::Path) -> Arc<Config> {
    std::fs::write(directory.join("secret"), "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n").unwrap();
    std::fs::write(directory.join("gtm.example.com.zone"), common::daemon::ZONE).unwrap();
    config(&format!(
        "version: 1
mode: act
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"]}}
zones: [{{name: gtm.example.com, file: {}/gtm.example.com.zone}}]
clusters:
  watched:
{system}
regions: {{eu: {{layers: {{quorum: [watched]}}}}}}
services:
  shop:
    names: [shop.gtm.example.com]
    policy: {{failover: [eu]}}
    answers: {{eu: {{a: [192.0.2.1]}}}}
    all_down: serve_all
",
        directory.display()
    ))
}

async fn ask(config: &Config) -> NodeView {
    let (_, group) = config.groups.iter().next().unwrap();
    cluster::views(&Net::new(), &config.clusters[group.cluster], group, TIMEOUT).await.remove(0)
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Well,
    NoMajority,
    Hangs,
    Forgets,
    Stale,
    Denies,
}

/// A store with one key, which wants a token.
async fn store(mood: Arc<Mutex<Mood>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut value = String::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let (head, body) = loop {
                let mut bytes = [0; 4096];
                let n = stream.read(&mut bytes).await.unwrap_or(0);
                request.extend_from_slice(&bytes[..n]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    assert!(n > 0);
                    continue;
                };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    break (head.to_owned(), body.to_owned());
                }
            };
            assert!(head.contains("authorization: Bearer wJalr"), "{head}");
            let mood = *mood.lock().unwrap();
            let (status, told) = match (mood, head.starts_with("PUT /v1/kv/canary HTTP")) {
                (Mood::Hangs, _) => {
                    std::mem::forget(stream);
                    continue;
                }
                (Mood::NoMajority, true) => ("503 Service Unavailable", "no leader".to_owned()),
                (Mood::Denies, _) => ("403 Forbidden", "no".to_owned()),
                (Mood::Forgets | Mood::Stale, true) => ("200 OK", "true".to_owned()),
                (Mood::Forgets, false) => ("200 OK", String::new()),
                (Mood::Stale, false) => ("200 OK", "pointsman-1000".to_owned()),
                (_, true) => {
                    value = body.strip_prefix("{\"v\":\"").unwrap().trim_end_matches("\"}").to_owned();
                    ("200 OK", "true".to_owned())
                }
                (_, false) => {
                    assert!(head.starts_with("GET /v1/kv/canary?consistent HTTP"), "{head}");
                    ("200 OK", format!("[{{\"Value\":\"{value}\"}}]"))
                }
            };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{told}", told.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_every_mood() {
    let scratch = Scratch::new("canary");
    let mood = Arc::new(Mutex::new(Mood::Well));
    let port = store(Arc::clone(&mood)).await;
    let system = format!(
        "    canary:
      inside: {{eu: [\"http://127.0.0.1:{port}/v1/kv/canary\"]}}
      body: '{{\"v\":\"{{value}}\"}}'
      read_query: consistent
      token: {{file: {}/secret}}",
        scratch.path().display()
    );
    let config = configured(&system, scratch.path());
    let canary = |facts| NodeView::Answered(Facts::Canary(facts));
    let within = async |now: Mood| {
        *mood.lock().unwrap() = now;
        ask(&config).await
    };
    assert_eq!(within(Mood::Well).await, canary(CanaryFacts::Passed));
    let failed = |view: NodeView| match view {
        NodeView::Answered(Facts::Canary(CanaryFacts::Failed(why))) => why,
        other => panic!("{other:?}"),
    };
    assert!(failed(within(Mood::NoMajority).await).contains("refuses the write with 503: no leader"));
    assert!(failed(within(Mood::Forgets).await).contains("does not bring it back"));
    assert!(failed(within(Mood::Stale).await).contains("brings back what was written"));
    // Silence of one that took the question is a fact; a denial says nothing.
    assert_eq!(within(Mood::Hangs).await, canary(CanaryFacts::Hung));
    assert!(matches!(within(Mood::Denies).await, NodeView::Denied(_)));
    assert_eq!(within(Mood::Well).await, canary(CanaryFacts::Passed));
}

/// A local DynamoDB, or `None` with the reason told.
fn dynalite(port: u16, scratch: &Scratch) -> Option<Program> {
    let node = find("node", "nodejs", &[])?;
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let home = cache.unwrap_or_else(std::env::temp_dir).join("pointsman-tests/dynalite");
    let program = home.join("node_modules/dynalite/cli.js");
    if !program.exists() {
        let npm = find("npm", "npm", &[])?;
        std::fs::create_dir_all(&home).unwrap();
        let mut install = Command::new(npm);
        install.current_dir(&home).args(["install", "--silent", "--no-audit", "--no-fund", "dynalite@4.0.0"]);
        if !install.output().unwrap().status.success() {
            lacks("dynalite, which npm could not fetch");
            return None;
        }
    }
    let mut command = Command::new(node);
    command.arg(program).args(["--port", &port.to_string(), "--host", "127.0.0.1", "--createTableMs", "0"]);
    Some(Program::start(&mut command, "dynalite", &scratch.path().join("dynalite.log")))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: part of `make test-long`"]
async fn a_local_dynamodb() {
    let scratch = Scratch::new("dynamodb");
    let port = ports::free();
    let Some(mut dynalite) = dynalite(port, &scratch) else { return };
    let system = format!(
        "    dynamodb:
      inside: {{eu: [\"http://127.0.0.1:{port}\"]}}
      region: eu-west-1
      table: canaries
      access_key_id: {{file: {0}/secret}}
      secret_access_key: {{file: {0}/secret}}",
        scratch.path().display()
    );
    let config = configured(&system, scratch.path());
    until("dynalite to listen", Duration::from_secs(30), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    // Without its table: our own mistake, which says nothing of its health.
    let view = ask(&config).await;
    assert!(matches!(&view, NodeView::Rubbish(why) if why.contains("ResourceNotFound")), "{view:?}");
    let table = r#"{"TableName":"canaries","AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}],"KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],"BillingMode":"PAY_PER_REQUEST"}"#;
    let made = Command::new("curl")
        .args(["-s", "-d", table, &format!("http://127.0.0.1:{port}/")])
        .args(["-H", "content-type: application/x-amz-json-1.0"])
        .args(["-H", "x-amz-target: DynamoDB_20120810.CreateTable"])
        .args(["-H", "x-amz-date: 20260101T000000Z"])
        .args(["-H", "authorization: AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/dynamodb/aws4_request, SignedHeaders=host, Signature=a"])
        .output()
        .unwrap();
    eprintln!("{}", String::from_utf8_lossy(&made.stdout));
    let passed = NodeView::Answered(Facts::Canary(CanaryFacts::Passed));
    until_async("the table to be there", Duration::from_secs(10), async || ask(&config).await == passed)
        .await;
    assert_eq!(ask(&config).await, passed);
    dynalite.signal(rustix::process::Signal::STOP);
    assert_eq!(ask(&config).await, NodeView::Answered(Facts::Canary(CanaryFacts::Hung)));
    dynalite.signal(rustix::process::Signal::CONT);
    until_async("dynalite to go on", Duration::from_secs(10), async || ask(&config).await == passed).await;
    dynalite.kill();
    assert!(matches!(ask(&config).await, NodeView::Refused(_)));
}

// ── what all of them share ──

fn passed() -> NodeView {
    NodeView::Answered(Facts::Canary(CanaryFacts::Passed))
}

fn hung() -> NodeView {
    NodeView::Answered(Facts::Canary(CanaryFacts::Hung))
}

#[track_caller]
fn failed(view: &NodeView, because: &str) {
    let as_told =
        matches!(view, NodeView::Answered(Facts::Canary(CanaryFacts::Failed(why))) if why.contains(because));
    assert!(as_told, "{view:?}");
}

#[track_caller]
fn read_only(view: &NodeView, because: &str) {
    let as_told = matches!(view, NodeView::Answered(Facts::Canary(CanaryFacts::ReadOnly(why))) if why.contains(because));
    assert!(as_told, "{view:?}");
}

#[track_caller]
fn denied(view: &NodeView, because: &str) {
    assert!(matches!(view, NodeView::Denied(why) if why.contains(because)), "{view:?}");
}

async fn until_passed(config: &Config) {
    until_async("the canary to pass", Duration::from_secs(20), async || ask(config).await == passed()).await;
}

fn secret(scratch: &Scratch, name: &str, value: &str) -> String {
    let file = scratch.path().join(name);
    std::fs::write(&file, value).unwrap();
    format!("{{file: {}}}", file.display())
}

// ── by PostgreSQL's protocol ──

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_in_every_state() {
    let Some(mut server) = Postgres::primary("canary") else { return };
    let scratch = Scratch::new("canary-postgres");
    let system = |port: u16| {
        format!(
            "    canary_postgres:
      inside: {{eu: [\"host=127.0.0.1 port={port} user=pointsman dbname=postgres\"]}}
      password: {}",
            secret(&scratch, "points", "points")
        )
    };
    let config = configured(&system(server.port), scratch.path());
    // Our own mistakes.
    let view = ask(&config).await;
    assert!(matches!(&view, NodeView::Rubbish(why) if why.contains("pointsman_canary")), "{view:?}");
    server.sql("CREATE TABLE pointsman_canary (site text PRIMARY KEY, written_at_ms bigint NOT NULL)");
    denied(&ask(&config).await, "permission denied");
    server.sql("GRANT SELECT, INSERT, UPDATE ON pointsman_canary TO pointsman");
    for _ in 0..3 {
        assert_eq!(ask(&config).await, passed());
    }
    assert_eq!(server.sql("SELECT count(*), min(site) FROM pointsman_canary").trim(), "1|fra1");

    // A standby brings back what the primary wrote, and takes no writes.
    let standby = server.standby("standby");
    server.wait_for(&standby);
    let there = configured(&system(standby.port), scratch.path());
    read_only(&ask(&there).await, "read-only transaction");
    drop(standby);

    // A commit that waits for a standby that is not there hangs; what it leaves behind is bounded.
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    server.sql("SELECT pg_reload_conf()");
    until_async("the commit to hang", Duration::from_secs(10), async || ask(&config).await == hung()).await;
    for _ in 0..4 {
        assert_eq!(ask(&config).await, hung());
    }
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pointsman canary'";
    until("the server to give up on all but one", Duration::from_secs(5), || server.sql(left).trim() == "1");
    server.sql("ALTER SYSTEM RESET synchronous_standby_names");
    server.sql("SELECT pg_reload_conf()");
    until_passed(&config).await;

    // Somebody else holds the row.
    let holder = server.psql("BEGIN; UPDATE pointsman_canary SET written_at_ms = 0; SELECT pg_sleep(60)");
    until_async("the row to be held", Duration::from_secs(10), async || ask(&config).await == hung()).await;
    drop(holder);
    server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()",
    );
    until_passed(&config).await;

    // A trigger that puts an old value in: what is brought back is old.
    server.sql(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql
         AS 'BEGIN NEW.written_at_ms = NEW.written_at_ms - 5000; RETURN NEW; END';
         CREATE TRIGGER keep BEFORE UPDATE ON pointsman_canary FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    failed(&ask(&config).await, "brings back what was written 5s before");
    server.sql("DROP TRIGGER keep ON pointsman_canary");
    assert_eq!(ask(&config).await, passed());

    server.sql("ALTER ROLE pointsman PASSWORD 'other'");
    denied(&ask(&config).await, "password authentication failed");
    server.sql("ALTER ROLE pointsman PASSWORD 'points'");
    server.pause();
    assert_eq!(ask(&config).await, hung());
    server.resume();
    until_passed(&config).await;
    server.kill();
    assert!(matches!(ask(&config).await, NodeView::Refused(_)));
}

// ── by MySQL's protocol ──

struct Mariadb {
    program: Program,
    client: PathBuf,
    scratch: Scratch,
    port: u16,
}

impl Mariadb {
    /// A server of its own with a user. `None`: not installed.
    fn start() -> Option<Self> {
        let server = find("mariadbd", "mariadb-server", &["/usr/sbin"])?;
        let client = find("mariadb", "mariadb-client", &[])?;
        let install = find("mariadb-install-db", "mariadb-server", &[])?;
        let (scratch, port) = (Scratch::new("mariadb"), ports::free());
        let data = format!("--datadir={}/data", scratch.path().display());
        let installed = Command::new(install)
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(["--user=root", &data])
            .output()
            .unwrap();
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let mut command = Command::new(server);
        command.args([
            "--no-defaults",
            "--user=root",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            &data,
        ]);
        command.args([
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=16M",
            &format!("--port={port}"),
        ]);
        command.arg(format!("--socket={}/s", scratch.path().display()));
        command.arg(format!("--pid-file={}/pid", scratch.path().display()));
        let program = Program::start(&mut command, "mariadbd", &scratch.path().join("log"));
        let mariadb = Self { program, client, scratch, port };
        until("MariaDB to answer", Duration::from_secs(60), || mariadb.try_sql("SELECT 1"));
        mariadb.sql("CREATE DATABASE pointsman; CREATE USER canary@'%' IDENTIFIED BY 'tw33t'");
        Some(mariadb)
    }

    fn command(&self, sql: &str) -> Command {
        let mut command = Command::new(&self.client);
        command.args(["--no-defaults", "-uroot", "-Nse", sql]);
        command.arg(format!("--socket={}/s", self.scratch.path().display()));
        command
    }

    fn try_sql(&self, sql: &str) -> bool {
        self.command(sql).output().unwrap().status.success()
    }

    fn sql(&self, sql: &str) -> String {
        let output = self.command(sql).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_in_every_state() {
    let Some(mut server) = Mariadb::start() else { return };
    let scratch = Scratch::new("canary-mysql");
    let system = format!(
        "    canary_mysql:
      inside: {{eu: [\"127.0.0.1:{}\"]}}
      user: canary
      password: {}
      table: pointsman.canary",
        server.port,
        secret(&scratch, "password", "tw33t")
    );
    let config = configured(&system, scratch.path());
    denied(&ask(&config).await, "1142");
    server.sql("CREATE TABLE pointsman.canary (site varchar(63) PRIMARY KEY, written_at_ms bigint NOT NULL)");
    server.sql("GRANT SELECT, INSERT, UPDATE ON pointsman.canary TO canary@'%'");
    for _ in 0..3 {
        assert_eq!(ask(&config).await, passed());
    }
    assert_eq!(server.sql("SELECT count(*), min(site) FROM pointsman.canary"), "1\tfra1");

    server.sql("SET GLOBAL read_only = 1");
    read_only(&ask(&config).await, "error 1290");
    server.sql("SET GLOBAL read_only = 0");
    assert_eq!(ask(&config).await, passed());

    // Somebody else holds the row, as a commit that waits for a group does.
    let hold = "BEGIN; UPDATE pointsman.canary SET written_at_ms = 0; SELECT sleep(60)";
    let holder = Program::start(&mut server.command(hold), "mariadb", &scratch.path().join("holder"));
    until_async("the row to be held", Duration::from_secs(10), async || ask(&config).await == hung()).await;
    for _ in 0..3 {
        assert_eq!(ask(&config).await, hung());
    }
    // The server gives up, by itself, on those who hung up.
    let left = "SELECT count(*) FROM information_schema.processlist WHERE user = 'canary'";
    until("no session to be left", Duration::from_secs(10), || server.sql(left) == "0");
    let id = server.sql("SELECT id FROM information_schema.processlist WHERE info LIKE '%sleep(60)'");
    server.sql(&format!("KILL {id}"));
    drop(holder);
    until_passed(&config).await;

    server.sql("SET PASSWORD FOR canary@'%' = PASSWORD('other')");
    denied(&ask(&config).await, "Access denied");
    server.sql("SET PASSWORD FOR canary@'%' = PASSWORD('tw33t')");
    server.program.signal(rustix::process::Signal::STOP);
    assert_eq!(ask(&config).await, hung());
    server.program.signal(rustix::process::Signal::CONT);
    until_passed(&config).await;
    server.program.kill();
    assert!(matches!(ask(&config).await, NodeView::Refused(_)));
}

// ── in Redis ──

fn redis(scratch: &Scratch, port: u16, more: &[&str]) -> Option<Program> {
    let server = find("redis-server", "redis-server", &[])?;
    let directory = scratch.path().join(port.to_string());
    std::fs::create_dir_all(&directory).unwrap();
    let mut command = Command::new(server);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(&directory);
    command.args(["--requirepass", "s3cret", "--masterauth", "s3cret", "--repl-diskless-sync-delay", "0"]);
    command.args(more);
    let program = Program::start(&mut command, "redis", &directory.join("log"));
    until("Redis to listen", Duration::from_secs(10), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    Some(program)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_with_and_without_its_replica() {
    let scratch = Scratch::new("canary-redis");
    let (first, second) = (ports::free(), ports::free());
    let Some(mut master) = redis(&scratch, first, &[]) else { return };
    let replica = redis(&scratch, second, &["--replicaof", "127.0.0.1", &first.to_string()]).unwrap();
    let of = |port: u16, replicas: u32| {
        let system = format!(
            "    canary_redis:
      inside: {{eu: [\"127.0.0.1:{port}\"]}}
      replicas: {replicas}
      password: {}",
            secret(&scratch, "password", "s3cret")
        );
        configured(&system, scratch.path())
    };
    let (with, without) = (of(first, 1), of(first, 0));
    until_passed(&with).await;
    read_only(&ask(&of(second, 1)).await, "READONLY");
    // The replica is cut off: the master goes on saying OK and gives back what it took.
    replica.signal(rustix::process::Signal::STOP);
    failed(&ask(&with).await, "0 of 1 replicas");
    assert_eq!(ask(&without).await, passed(), "this is what `replicas: 0` is worth");
    replica.signal(rustix::process::Signal::CONT);
    until_passed(&with).await;
    // One that is told to take no writes without replicas says so itself.
    let cli = |words: &[&str]| {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &first.to_string(), "-a", "s3cret", "--no-auth-warning"]).args(words);
        assert!(command.output().unwrap().status.success(), "{words:?}");
    };
    cli(&["CONFIG", "SET", "min-replicas-to-write", "3"]);
    failed(&ask(&with).await, "NOREPLICAS");
    cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    until_passed(&with).await;
    std::fs::write(scratch.path().join("password"), "wrong").unwrap();
    denied(&ask(&with).await, "WRONGPASS");
    std::fs::write(scratch.path().join("password"), "s3cret").unwrap();
    master.signal(rustix::process::Signal::STOP);
    assert_eq!(ask(&with).await, hung());
    master.signal(rustix::process::Signal::CONT);
    until_passed(&with).await;
    master.kill();
    assert!(matches!(ask(&with).await, NodeView::Refused(_)));
}

// ── in etcd ──

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_with_users_and_without_room() {
    let Some(mut etcd) = Etcd::start_small(3) else { return };
    etcd.enable_auth(&["probe:points"], "readwrite", "pointsman/canary/fra1");
    let scratch = Scratch::new("canary-etcd");
    let system = format!(
        "    canary_etcd:
      inside: {{eu: [{:?}]}}
      username: probe
      password: {}",
        etcd.url(0),
        secret(&scratch, "password", "points")
    );
    let config = configured(&system, scratch.path());
    let (_, group) = config.groups.iter().next().unwrap();
    let net = Net::new();
    let ask = async || {
        let patience = Duration::from_secs(3);
        cluster::views(&net, &config.clusters[group.cluster], group, patience).await.remove(0)
    };
    let before = etcd.logins(0);
    for _ in 0..4 {
        assert_eq!(ask().await, passed());
    }
    assert_eq!(etcd.logins(0), before + 1, "one token for all");
    // Without room for a write it still reads, and says that it is well.
    let ballast = "x".repeat(100_000);
    let root = |words: &[&str]| {
        let whole: Vec<&str> = ["--user", "root:secret"].into_iter().chain(words.iter().copied()).collect();
        etcd.ctl(0, &whole).0
    };
    let full = (0..200).any(|n| !root(&["put", &format!("ballast{n}"), &ballast]));
    assert!(full && root(&["get", "ballast0", "--keys-only"]));
    failed(&ask().await, "database space exceeded");
    // The others are gone.
    etcd.kill(1);
    etcd.kill(2);
    until_async("the write to fail, or to hang", Duration::from_secs(15), async || {
        matches!(ask().await, NodeView::Answered(Facts::Canary(CanaryFacts::Hung)))
    })
    .await;
}

// ── by a program ──

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_tells_by_its_end() {
    let scratch = Scratch::new("canary-exec");
    let program = scratch.path().join("canary.sh");
    std::fs::write(
        &program,
        "#!/bin/sh\n[ \"$1\" = \"$POINTSMAN_MEMBER\" ] || exit 3\ncase $1 in\nwell) ;;\n\
         lost) echo 'no majority'; exit 1 ;;\nhangs) sleep 30 ;;\n*) echo 'no idea'; exit 3 ;;\nesac\n",
    )
    .unwrap();
    let of = |member: &str| {
        let system = format!(
            "    canary_exec:
      inside: {{eu: [{member:?}]}}
      argv: [/bin/sh, {:?}, \"{{member}}\"]",
            program.display()
        );
        configured(&system, scratch.path())
    };
    assert_eq!(ask(&of("well")).await, passed());
    failed(&ask(&of("lost")).await, "exited with 1");
    failed(&ask(&of("lost")).await, "no majority");
    assert_eq!(ask(&of("hangs")).await, hung());
    for odd in ["odd", "; exit 0", "$(true)"] {
        let view = ask(&of(odd)).await;
        assert!(matches!(&view, NodeView::Unmeasured(why) if why.contains("no idea")), "{odd}: {view:?}");
    }
}

// ── over HTTP, in a real store ──

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: part of `make test-long`"]
async fn a_key_of_consul() {
    let Some(consul) = find_foreign("consul", "consul 1.8.7 of Debian 11") else { return };
    let scratch = Scratch::new("canary-consul");
    let [http, server, serf] = [ports::free(), ports::free(), ports::free()].map(|port| port.to_string());
    let mut command = Command::new(consul);
    command.args(["agent", "-server", "-bootstrap-expect", "1", "-bind", "127.0.0.1", "-dns-port", "-1"]);
    command.args(["-http-port", &http, "-server-port", &server, "-serf-lan-port", &serf]);
    command.args(["-serf-wan-port", "-1", "-data-dir"]).arg(scratch.path().join("data"));
    let server = Program::start(&mut command, "consul", &scratch.path().join("log"));
    let system = format!(
        "    canary:
      inside: {{eu: [\"http://127.0.0.1:{http}/v1/kv/pointsman\"]}}
      read_query: consistent&raw"
    );
    let config = configured(&system, scratch.path());
    until_passed(&config).await;
    server.signal(rustix::process::Signal::STOP);
    assert_eq!(ask(&config).await, hung());
    server.signal(rustix::process::Signal::CONT);
    until_passed(&config).await;
}

// ── Spanner ──

const SPANNER: &str = "projects/p/instances/i/databases/d";
const SPANNER_TABLE: &str = "CREATE TABLE pointsman_canary (site STRING(63) NOT NULL, \
                             written_at_ms INT64 NOT NULL) PRIMARY KEY (site)";

/// Google's in-memory fake of Spanner behind a gateway that speaks REST. `None`: there is no Go, or
/// it could not be built, which was said.
fn spanner_fake(scratch: &Scratch, port: u16) -> Option<Program> {
    let go = find("go", "golang", &["/usr/local/go/bin"])?;
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let program = cache.unwrap_or_else(std::env::temp_dir).join("pointsman-tests/bin/spanner-gateway");
    if !program.exists() {
        let mut build = Command::new(go);
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/spanner"));
        build.arg("build").arg("-o").arg(&program).arg(".");
        if !build.output().unwrap().status.success() {
            lacks("the gateway to Google's fake of Spanner, which Go could not build");
            return None;
        }
    }
    let mut command = Command::new(program);
    command.args([&format!("127.0.0.1:{port}"), SPANNER_TABLE]);
    let fake = Program::start(&mut command, "spanner", &scratch.path().join("spanner.log"));
    until("the fake to listen", Duration::from_secs(30), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    Some(fake)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: part of `make test-long`"]
async fn a_spanner_and_its_sessions() {
    let (scratch, port) = (Scratch::new("spanner"), ports::free());
    let Some(mut fake) = spanner_fake(&scratch, port) else { return };
    let of = |table: &str| {
        let system = format!(
            "    spanner:
      inside: {{eu: [\"http://127.0.0.1:{port}\"]}}
      database: {SPANNER}
      table: {table}
      anonymous: true"
        );
        configured(&system, scratch.path())
    };
    let curl = |words: &[&str], path: &str| {
        let url = format!("http://127.0.0.1:{port}{path}");
        let output = Command::new("curl").arg("-s").args(words).arg(url).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (config, net) = (of("pointsman_canary"), Net::new());
    let (_, group) = config.groups.iter().next().unwrap();
    let ask = async || cluster::views(&net, &config.clusters[group.cluster], group, TIMEOUT).await.remove(0);
    // One session, however many rounds.
    until_async("the canary to pass", Duration::from_secs(20), async || ask().await == passed()).await;
    for _ in 0..4 {
        assert_eq!(ask().await, passed());
    }
    assert_eq!(curl(&[], "/sessions"), "1");
    // It is given back at the end.
    net.farewells().say(Clock.deadline(Duration::from_secs(2))).await;
    assert_eq!(curl(&[], "/sessions"), "0");
    // That it is gone is noticed, and another is made; not again and again.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(ask().await, passed());
    assert_eq!(curl(&[], "/sessions"), "1");
    // A table that is missing is our own mistake.
    let other = of("no_such_table");
    let view = self::ask(&other).await;
    assert!(matches!(view, NodeView::Rubbish(_) | NodeView::Answered(_)), "{view:?}");
    assert_ne!(view, passed());

    fake.signal(rustix::process::Signal::STOP);
    assert_eq!(ask().await, hung());
    fake.signal(rustix::process::Signal::CONT);
    until_async("the fake to go on", Duration::from_secs(10), async || ask().await == passed()).await;
    fake.kill();
    assert!(matches!(ask().await, NodeView::Refused(_)));
}

/// What a small endpoint of Spanner, or of tokens, was asked, and what it is to answer.
#[derive(Default)]
struct Desk {
    asked: Vec<String>,
    answers: std::collections::VecDeque<(u16, &'static str)>,
}

impl Desk {
    fn next(&mut self, request: &str) -> (u16, &'static str) {
        self.asked.push(request.to_owned());
        self.answers.pop_front().unwrap_or((500, "nobody told it what to say"))
    }
}

async fn serve(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    desk: Arc<Mutex<Desk>>,
) {
    let mut request = Vec::new();
    loop {
        let mut bytes = [0; 8192];
        let n = stream.read(&mut bytes).await.unwrap_or(0);
        request.extend_from_slice(&bytes[..n]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            body.len() >= length.map_or(0, |length| length.parse().unwrap())
        });
        if whole || n == 0 {
            break;
        }
    }
    let (status, body) = desk.lock().unwrap().next(&String::from_utf8_lossy(&request));
    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// A desk at a port of its own, over TLS if there is an acceptor.
async fn desk(tls: Option<tokio_rustls::TlsAcceptor>) -> (u16, Arc<Mutex<Desk>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let desk = Arc::new(Mutex::new(Desk::default()));
    let sitting = Arc::clone(&desk);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (desk, tls) = (Arc::clone(&sitting), tls.clone());
            tokio::spawn(async move {
                match tls {
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, desk).await;
                        }
                    }
                    None => serve(stream, desk).await,
                }
            });
        }
    });
    (port, desk)
}

const SESSION: (u16, &str) = (200, r#"{"name":"projects/p/instances/i/databases/d/sessions/s"}"#);
const COMMITTED: (u16, &str) = (200, r#"{"commitTimestamp":"2026-01-01T00:00:00Z"}"#);
/// Far ahead: it is no older than what was written.
const ROW: (u16, &str) = (200, r#"{"metadata":{},"rows":[["9999999999999"]]}"#);
const GIVEN: (u16, &str) = (200, r#"{"access_token":"ya29.t0ken","expires_in":3599,"token_type":"Bearer"}"#);

/// A service account's key that openssl made, and its public half.
fn service_account(scratch: &Scratch, token_uri: &str) -> Option<(PathBuf, Vec<u8>)> {
    let openssl = find("openssl", "openssl", &[])?;
    let [key, public] = ["sa.key", "sa.pub"].map(|name| scratch.path().join(name));
    let run = |arguments: &[&str]| {
        let output = Command::new(&openssl).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let (key, public) = (key.to_str().unwrap(), public.to_str().unwrap());
    run(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key]);
    // PKCS #1, which is what verifies want: SubjectPublicKeyInfo without its wrapping.
    run(&["rsa", "-in", key, "-RSAPublicKey_out", "-outform", "DER", "-out", public]);
    let account = serde_json::json!({
        "type": "service_account",
        "client_email": "pointsman@p.iam.gserviceaccount.com",
        "private_key_id": "k1",
        "private_key": std::fs::read_to_string(key).unwrap(),
        "token_uri": token_uri,
    });
    let file = scratch.path().join("sa.json");
    std::fs::write(&file, account.to_string()).unwrap();
    Some((file, std::fs::read(public).unwrap()))
}

fn from_base64url(text: &str) -> Vec<u8> {
    let (mut reader, mut out) = (pointsman::wire::Base64::default(), Vec::new());
    reader.push(text.replace('-', "+").replace('_', "/").as_bytes(), &mut out);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spanner_that_wants_to_know_who_we_are() {
    let scratch = Scratch::new("spanner-account");
    let certificates = common::servers::certificates(scratch.path());
    let (token_port, tokens) = desk(Some(common::servers::acceptor(&certificates.server))).await;
    let (port, spanner) = desk(None).await;
    let token_uri = format!("https://127.0.0.1:{token_port}/token");
    let Some((account, public)) = service_account(&scratch, &token_uri) else { return };
    let system = format!(
        "    spanner:
      inside: {{eu: [\"http://127.0.0.1:{port}\"]}}
      database: {SPANNER}
      service_account: {{file: {}}}
      tls: {{ca: {}}}",
        account.display(),
        certificates.ca.display()
    );
    let config = configured(&system, scratch.path());
    let (_, group) = config.groups.iter().next().unwrap();
    let net = Net::new();
    let views = async |answers: &[(u16, &'static str)]| {
        spanner.lock().unwrap().answers = answers.iter().copied().collect();
        cluster::views(&net, &config.clusters[group.cluster], group, TIMEOUT).await.remove(0)
    };
    // The token endpoint is out of order: that says nothing of Spanner.
    tokens.lock().unwrap().answers = [(503, "")].into();
    let view = views(&[]).await;
    assert!(matches!(&view, NodeView::Unmeasured(why) if why.contains("no token")), "{view:?}");

    // One token, one session.
    tokens.lock().unwrap().answers = [GIVEN].into();
    assert_eq!(views(&[SESSION, COMMITTED, ROW]).await, passed());
    assert_eq!(views(&[COMMITTED, ROW]).await, passed());
    assert_eq!(tokens.lock().unwrap().asked.len(), 2);
    {
        let spanner = spanner.lock().unwrap();
        assert!(spanner.asked.iter().all(|asked| asked.contains("authorization: Bearer ya29.t0ken")));
        let lines: Vec<&str> = spanner.asked.iter().map(|asked| asked.lines().next().unwrap()).collect();
        let base = "POST /v1/projects/p/instances/i/databases/d/sessions";
        let (commit, read) = (format!("{base}/s:commit HTTP/1.1"), format!("{base}/s:read HTTP/1.1"));
        assert_eq!(lines, [&*format!("{base} HTTP/1.1"), &*commit, &*read, &*commit, &*read]);
        assert!(spanner.asked[1].contains(r#""singleUseTransaction":{"readWrite":{}}"#));
        assert!(spanner.asked[2].contains(r#""singleUse":{"readOnly":{"strong":true}}"#));
    }
    // What was signed is what Google verifies.
    let asked = tokens.lock().unwrap().asked[1].clone();
    let (_, body) = asked.split_once("\r\n\r\n").unwrap();
    let assertion =
        body.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    let (signed, signature) = assertion.unwrap().rsplit_once('.').unwrap();
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, &public);
    key.verify(signed.as_bytes(), &from_base64url(signature)).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header: serde_json::Value = serde_json::from_slice(&from_base64url(header)).unwrap();
    assert_eq!(header, serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let claims: serde_json::Value = serde_json::from_slice(&from_base64url(claims)).unwrap();
    assert_eq!(
        (claims["aud"].as_str(), claims["iss"].as_str()),
        (Some(&*token_uri), Some("pointsman@p.iam.gserviceaccount.com"))
    );
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/spanner.data");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);

    // Liars and others.
    failed(
        &views(&[COMMITTED, (200, r#"{"metadata":{},"rows":[["1000"]]}"#)]).await,
        "brings back what was written",
    );
    failed(&views(&[COMMITTED, (200, r#"{"metadata":{}}"#)]).await, "does not bring it back");
    let unavailable = r#"{"error":{"code":503,"message":"no","status":"UNAVAILABLE"}}"#;
    failed(&views(&[(503, unavailable)]).await, "refuses the commit with 503 UNAVAILABLE");
    let late = r#"{"error":{"code":504,"message":"Deadline expired","status":"DEADLINE_EXCEEDED"}}"#;
    failed(&views(&[COMMITTED, (504, late)]).await, "refuses the strong read with 504");
    let aborted = r#"{"error":{"code":409,"message":"no","status":"ABORTED"}}"#;
    denied(&views(&[(409, aborted)]).await, "ABORTED");
    let quota = r#"{"error":{"code":429,"message":"no","status":"RESOURCE_EXHAUSTED"}}"#;
    denied(&views(&[(429, quota)]).await, "RESOURCE_EXHAUSTED");
    let unknown = r#"{"error":{"code":401,"message":"no","status":"UNAUTHENTICATED"}}"#;
    denied(&views(&[(401, unknown)]).await, "UNAUTHENTICATED");
    // The token was just given: another is not asked for at once.
    denied(&views(&[]).await, "the next login is in");
    assert_eq!(tokens.lock().unwrap().asked.len(), 2);
    // Denied a token: not asked for again and again, but by another key at once.
    let another = std::fs::read_to_string(&account).unwrap().replace("\"k1\"", "\"k2\"");
    assert!(another.contains("\"k2\""));
    std::fs::write(&account, another).unwrap();
    tokens.lock().unwrap().answers = [(400, r#"{"error":"invalid_grant","error_description":"bad"}"#)].into();
    for _ in 0..3 {
        denied(&views(&[]).await, "400 invalid_grant bad");
    }
    assert_eq!(tokens.lock().unwrap().asked.len(), 3);
    // Neither an endpoint without TLS nor what is no key gets anything.
    for (key, complaint) in [
        (std::fs::read_to_string(&account).unwrap().replace("https://", "http://"), "without TLS"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2".to_owned(), "not such a key's JSON file"),
    ] {
        std::fs::write(&account, key).unwrap();
        let view = views(&[]).await;
        let told =
            matches!(&view, NodeView::Unmeasured(why) if why.contains(complaint) && !why.contains("hunter2"));
        assert!(told, "{view:?}");
    }
    // The session is given back at the end, as far as we may.
    let before = spanner.lock().unwrap().asked.len();
    net.farewells().say(Clock.deadline(Duration::from_secs(2))).await;
    assert_eq!(spanner.lock().unwrap().asked.len(), before, "nobody lets us in any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spanner_asked_by_a_machine() {
    let scratch = Scratch::new("spanner-machine");
    let ((metadata_port, metadata), (port, spanner)) = (desk(None).await, desk(None).await);
    let system = format!(
        "    spanner:
      inside: {{eu: [\"http://127.0.0.1:{port}\"]}}
      database: {SPANNER}
      metadata_server: \"http://127.0.0.1:{metadata_port}\""
    );
    let config = configured(&system, scratch.path());
    let (_, group) = config.groups.iter().next().unwrap();
    let net = Net::new();
    metadata.lock().unwrap().answers = [GIVEN].into();
    let lost = r#"{"error":{"code":404,"message":"Session not found: s","status":"NOT_FOUND"}}"#;
    spanner.lock().unwrap().answers = [SESSION, COMMITTED, ROW, (200, "{}")].into();
    let ask = async || cluster::views(&net, &config.clusters[group.cluster], group, TIMEOUT).await.remove(0);
    assert_eq!(ask().await, passed());
    let asked = metadata.lock().unwrap().asked.join("");
    assert!(
        asked.starts_with("GET /computeMetadata/v1/instance/service-accounts/default/token HTTP"),
        "{asked}"
    );
    assert!(asked.contains("metadata-flavor: Google"), "{asked}");
    // A session that does not last is not made anew at once.
    spanner.lock().unwrap().answers = [(404, lost), (200, "{}")].into();
    denied(&ask().await, "Session not found");
    // Given back at the end, once.
    for _ in 0..2 {
        net.farewells().say(Clock.deadline(Duration::from_secs(2))).await;
    }
    let spanner = spanner.lock().unwrap();
    let deleted: Vec<&String> = spanner.asked.iter().filter(|asked| asked.starts_with("DELETE ")).collect();
    assert_eq!(deleted.len(), 1);
    assert!(deleted[0].starts_with("DELETE /v1/projects/p/instances/i/databases/d/sessions/s HTTP"));
}
