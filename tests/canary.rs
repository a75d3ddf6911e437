//! Canaries: over HTTP against a store whose moods the test chooses, and against a local DynamoDB
//! (dynalite, from npm).
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "tests")]

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman::cluster::{CanaryFacts, Facts, NodeView};
use pointsman::config::Config;
use pointsman::io::Net;
use pointsman::probe::cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use common::{Program, Scratch, config, find, lacks, ports, until};

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
    common::until_async("the table to be there", Duration::from_secs(10), async || {
        ask(&config).await == passed
    })
    .await;
    assert_eq!(ask(&config).await, passed);
    dynalite.signal(rustix::process::Signal::STOP);
    assert_eq!(ask(&config).await, NodeView::Answered(Facts::Canary(CanaryFacts::Hung)));
    dynalite.signal(rustix::process::Signal::CONT);
    common::until_async("dynalite to go on", Duration::from_secs(10), async || ask(&config).await == passed)
        .await;
    dynalite.kill();
    assert!(matches!(ask(&config).await, NodeView::Refused(_)));
}
