//! Checks against real servers, and against small hostile ones.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod dns;
mod grpc;
mod local;
mod mutual;
mod nginx;
mod shown;
mod talk;
mod web;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use axum::{Json, Router};
use pointsman::base::{CheckId, SecretRef};
use pointsman::config::{
    CheckKind, HeaderValue, HostPort, HttpCheck, HttpMethod, Match, Source, StatusRange, TcpCheck, TlsCheck,
    TlsVersion,
};
use pointsman::health::{Finding, Sample};
use pointsman::io::Net;
use pointsman::probe;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use common::servers::{self, Server};
use common::{Scratch, now, ports};

const TIMEOUT: Duration = Duration::from_millis(700);

async fn run(kind: CheckKind) -> Finding {
    let started = now();
    let sample: Sample = probe::check(&Net::new(), CheckId(7), &kind, TIMEOUT).await.unwrap();
    assert_eq!(sample.check, CheckId(7));
    // Whatever the target does, a probe does not outlive its timeout.
    assert!(now() - started < TIMEOUT + Duration::from_millis(500), "{sample:?}");
    assert!(sample.took <= TIMEOUT + Duration::from_millis(500), "{sample:?}");
    sample.finding
}

#[track_caller]
fn fails(finding: Finding, words: &str) {
    assert!(matches!(&finding, Finding::Fail(found) if found.contains(words)), "{finding:?}, not {words}");
}

#[track_caller]
fn passes(finding: Finding, words: &str) {
    assert!(matches!(&finding, Finding::Pass(found) if found.contains(words)), "{finding:?}, not {words}");
}

#[track_caller]
fn unknown(finding: Finding, words: &str) {
    assert!(matches!(&finding, Finding::Unknown(found) if found.contains(words)), "{finding:?}, not {words}");
}

fn at(host: &str, port: u16) -> HostPort {
    HostPort { host: host.to_owned(), port }
}

fn tcp(host: &str, port: u16) -> CheckKind {
    CheckKind::Tcp(TcpCheck { address: at(host, port), send: Vec::new(), expect: None, tls: None })
}

fn http(url: &str) -> HttpCheck {
    let status = vec![StatusRange { first: 200, last: 200 }];
    HttpCheck { status, ..HttpCheck::get(reqwest::Url::parse(url).unwrap()) }
}

/// A server that reads a request and answers with these bytes.
async fn says(answer: &'static [u8]) -> Server {
    Server::start(move |mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await
}

/// A server that reads a request, begins with `start`, and repeats `more` without end.
async fn says_forever(start: &'static [u8], more: &'static [u8], pause: Duration) -> Server {
    Server::start(move |mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(start).await;
        while stream.write_all(more).await.is_ok() {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    })
    .await
}

// ── TCP ──

#[tokio::test]
async fn tcp_tells_who_listens() {
    let server = Server::start(|_| async {}).await;
    passes(run(tcp("127.0.0.1", server.port())).await, "connected in ");
    passes(run(tcp("localhost", server.port())).await, "connected in ");

    let port = ports::free();
    let refused = run(tcp("127.0.0.1", port)).await;
    assert_eq!(refused, Finding::Fail(format!("connection refused by 127.0.0.1:{port}")));
}

#[tokio::test]
async fn tcp_trouble_of_our_own_is_unknown() {
    unknown(run(tcp("no-such-host.invalid", 80)).await, "cannot resolve no-such-host.invalid");
    // No route: documentation addresses of IPv6, on a machine without a default route for it.
    if std::fs::read_to_string("/proc/net/ipv6_route").is_ok_and(|routes| {
        !routes
            .lines()
            .any(|line| line.starts_with(&"0".repeat(32)) && line.contains(" 00 ") && !line.ends_with("lo"))
    }) {
        unknown(run(tcp("2001:db8::1", 80)).await, "cannot connect to [2001:db8::1]:80");
    }
}

#[tokio::test]
async fn tcp_silence_fails_within_the_timeout() {
    // A listener whose backlog is full drops the handshake, as a packet filter would.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..8 {
        let connect = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address));
        held.push(connect.await);
    }
    assert!(held.iter().any(Result::is_err), "the backlog must be full");
    fails(run(tcp("127.0.0.1", address.port())).await, "no connection within 700ms");
}

#[tokio::test]
async fn tcp_checks_leave_no_time_wait_behind() {
    let server = Server::start(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 16]).await;
    })
    .await;
    for _ in 0..50 {
        passes(run(tcp("127.0.0.1", server.port())).await, "connected");
    }
    let port = format!(":{:04X} ", server.port());
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // State 06 is TIME_WAIT.
    let waiting = sockets.lines().filter(|line| line.contains(&port) && line.contains(" 06 ")).count();
    assert_eq!(waiting, 0, "closing with RST leaves none");
}

#[tokio::test]
async fn probes_come_from_where_they_are_told() {
    let server = Server::start(|mut stream: TcpStream| async move {
        let peer = stream.peer_addr().unwrap().ip().to_string();
        let _ = stream.write_all(peer.as_bytes()).await;
        let _ = stream.read(&mut [0; 16]).await;
    })
    .await;
    let from = |v4: &str| Net::new().from(Source { v4: Some(v4.parse().unwrap()), v6: None });
    let run = async |net: Net, check: &CheckKind| {
        probe::check(&net, CheckId(7), check, TIMEOUT).await.unwrap().finding
    };
    let hears = |text: &str| {
        let expect = Some(Match::Contains(text.as_bytes().to_vec()));
        CheckKind::Tcp(TcpCheck {
            address: at("127.0.0.1", server.port()),
            send: Vec::new(),
            expect,
            tls: None,
        })
    };
    // All of 127/8 is ours.
    passes(run(from("127.9.8.7"), &hears("127.9.8.7")).await, "heard `127.9.8.7`");
    passes(run(Net::new(), &hears("127.0.0.1")).await, "heard `127.0.0.1`");
    // An address that has gone from this machine is our trouble, whatever the target does.
    let away = "cannot come from 203.0.113.9: it is not an address of this machine";
    unknown(run(from("203.0.113.9"), &hears("")).await, away);
    let refusing = tcp("127.0.0.1", ports::free());
    unknown(run(from("203.0.113.9"), &refusing).await, away);
}

// ── TLS ──

async fn tls_server(
    directory: &std::path::Path,
    not_after: (i32, u8, u8),
) -> (Server, servers::Certificates) {
    let certificates = servers::certificates_until(directory, not_after);
    let acceptor = servers::acceptor(&certificates.server);
    let server = Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
            }
        }
    })
    .await;
    (server, certificates)
}

fn in_days(days: i64) -> (i32, u8, u8) {
    #[allow(clippy::disallowed_methods, reason = "certificates end on the real calendar")]
    let date = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days))
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    (date.year().into(), date.month().cast_unsigned(), date.day().cast_unsigned())
}

fn tls(port: u16, name: &str, ca: Option<&std::path::Path>, days: u64) -> CheckKind {
    CheckKind::Tls(TlsCheck {
        address: at("127.0.0.1", port),
        server_name: name.to_owned(),
        ca: ca.map(Into::into),
        identity: None,
        min_validity: Duration::from_secs(days * 86_400),
        min_version: TlsVersion::V1_2,
    })
}

#[tokio::test]
async fn tls_judges_the_certificate() {
    let scratch = Scratch::new("tls");
    let (server, certificates) = tls_server(scratch.path(), in_days(11)).await;
    let (port, ca) = (server.port(), Some(certificates.ca.as_path()));
    passes(run(tls(port, "localhost", ca, 7)).await, "certificate valid for 10d");
    passes(run(tls(port, "127.0.0.1", ca, 0)).await, "certificate valid for 10d");
    fails(run(tls(port, "localhost", ca, 30)).await, "certificate expires in 10d, wanted 30d");
    fails(run(tls(port, "example.com", ca, 0)).await, "not valid for");
    // Whom the system trusts does not include the CA of this test.
    let untrusted = run(tls(port, "localhost", None, 0)).await;
    assert!(!matches!(untrusted, Finding::Pass(_)), "{untrusted:?}");
    // A CA file that is missing is our own trouble.
    unknown(run(tls(port, "localhost", Some(&scratch.path().join("none")), 0)).await, "none: No such file");
}

#[tokio::test]
async fn tls_sees_a_certificate_that_has_ended() {
    let scratch = Scratch::new("tls-old");
    let (server, certificates) = tls_server(scratch.path(), in_days(-1)).await;
    fails(run(tls(server.port(), "localhost", Some(&certificates.ca), 0)).await, "expired");
}

#[tokio::test]
async fn tls_with_hostile_servers() {
    let scratch = Scratch::new("tls-hostile");
    let ca = servers::certificates(scratch.path()).ca;
    let check = |server: &Server| tls(server.port(), "localhost", Some(&ca), 0);
    let garbage = says(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    fails(run(check(&garbage)).await, "not TLS");
    let endless = says_forever(b"", &[0x16; 4096], Duration::ZERO).await;
    let finding = run(check(&endless)).await;
    assert!(matches!(finding, Finding::Fail(_)), "{finding:?}");
    let closing = says(b"").await;
    fails(run(check(&closing)).await, "closed the connection without an answer");
    let silent = Server::start(|mut stream: TcpStream| async move {
        loop {
            if stream.read(&mut [0; 4096]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    fails(run(check(&silent)).await, "no answer within 700ms (connected after ");
}

// ── HTTP ──

#[tokio::test]
async fn http_judges_the_status() {
    let router = Router::new()
        .route("/ok", get(|| async { "fine" }))
        .route("/down", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "no") }))
        .route("/busy", get(|| async { StatusCode::TOO_MANY_REQUESTS }))
        .route("/private", get(|| async { StatusCode::FORBIDDEN }))
        .route("/moved", get(|| async { (StatusCode::FOUND, [(header::LOCATION, "http://127.0.0.1:1/")]) }))
        .route(
            "/echo",
            get(|headers: HeaderMap| async move {
                let host = headers[header::HOST].to_str().unwrap().to_owned();
                let fine = host == "shop.example.com"
                    && headers["x-token"] == "s3cret"
                    && headers["x-plain"] == "yes";
                if fine { StatusCode::NO_CONTENT } else { StatusCode::BAD_REQUEST }
            }),
        );
    let server = Server::http(router).await;
    let check = |path: &str| http(&server.url(path));
    passes(run(CheckKind::Http(check("/ok"))).await, "status 200 in ");
    passes(run(CheckKind::Http(HttpCheck { method: HttpMethod::Head, ..check("/ok") })).await, "status 200");
    fails(run(CheckKind::Http(check("/down"))).await, "status 503, expected 200");
    fails(run(CheckKind::Http(check("/none"))).await, "status 404, expected 200");
    // Redirects are not followed: what is at the other end is another target.
    fails(run(CheckKind::Http(check("/moved"))).await, "status 302 (to http://127.0.0.1:1/), expected 200");
    unknown(run(CheckKind::Http(check("/busy"))).await, "throttles");
    let expected = HttpCheck { status: vec![StatusRange { first: 400, last: 499 }], ..check("/busy") };
    passes(run(CheckKind::Http(expected)).await, "status 429");

    // Without a credential of ours, being turned away is the service's own doing.
    fails(run(CheckKind::Http(check("/private"))).await, "status 403, expected 200");
    let scratch = Scratch::new("token");
    let token = scratch.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let secret = ("x-token".to_owned(), HeaderValue::Secret(SecretRef::File(token.clone())));
    let with_secret = HttpCheck { headers: [secret.clone()].into(), ..check("/private") };
    unknown(run(CheckKind::Http(with_secret.clone())).await, "credential");
    std::fs::remove_file(&token).unwrap();
    unknown(run(CheckKind::Http(with_secret)).await, "cannot read the secret in file");

    std::fs::write(&token, "s3cret\n").unwrap();
    let headers = [
        secret,
        ("x-plain".to_owned(), HeaderValue::Plain("yes".to_owned())),
        ("host".to_owned(), HeaderValue::Plain("shop.example.com".to_owned())),
    ];
    let range = StatusRange { first: 204, last: 204 };
    let echo = HttpCheck { headers: headers.into(), status: vec![range], ..check("/echo") };
    passes(run(CheckKind::Http(echo)).await, "status 204");
}

#[tokio::test]
async fn http_connects_where_it_is_told_and_keeps_the_name() {
    let scratch = Scratch::new("https");
    let (server, certificates) = tls_server(scratch.path(), (2045, 1, 1)).await;
    let connect = Some(at("127.0.0.1", server.port()));
    let check = HttpCheck { connect, ca: Some(certificates.ca.clone()), ..http("https://localhost/") };
    passes(run(CheckKind::Http(check.clone())).await, "status 200");
    let other = HttpCheck { url: reqwest::Url::parse("https://example.com/").unwrap(), ..check.clone() };
    fails(run(CheckKind::Http(other)).await, "certificate of 127.0.0.1");
    let untrusted = HttpCheck { ca: None, ..check };
    let finding = run(CheckKind::Http(untrusted)).await;
    assert!(!matches!(finding, Finding::Pass(_)), "{finding:?}");
}

#[tokio::test]
async fn every_check_sees_the_certificate_of_today() {
    let scratch = Scratch::new("resumption");
    let certificates = servers::certificates(scratch.path());
    let acceptor = servers::acceptor(&certificates.server);
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kinds);
    let server = Server::start(move |stream| {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                seen.lock().unwrap().push(stream.get_ref().1.handshake_kind());
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let url = format!("https://localhost:{}/", server.port());
    let check = CheckKind::Http(HttpCheck { ca: Some(certificates.ca), ..http(&url) });
    let net = Net::new();
    for _ in 0..3 {
        let sample = probe::check(&net, CheckId(7), &check, TIMEOUT).await.unwrap();
        passes(sample.finding, "status 200");
    }
    // A session that is resumed shows none.
    assert_eq!(*kinds.lock().unwrap(), [Some(rustls::HandshakeKind::Full); 3]);
}

#[tokio::test]
async fn http_with_hostile_servers() {
    let check = |server: &Server| CheckKind::Http(http(&server.url("/")));
    let garbage = says(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    fails(run(check(&garbage)).await, "not HTTP");
    let closing = says(b"").await;
    fails(run(check(&closing)).await, "closed the connection without an answer");
    let broken = says(b"HTTP/1.1 200 OK\r\ncontent-").await;
    fails(run(check(&broken)).await, "broke off in the middle");
    let big = says_forever(b"HTTP/1.1 200 OK\r\nx: ", &[b'a'; 4096], Duration::ZERO).await;
    fails(run(check(&big)).await, "header of more than 16384 bytes");
    // One that ends, and is too long all the same: what is kept of an answer is bounded.
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    let long = says(Box::leak(long.into_bytes().into_boxed_slice())).await;
    fails(run(check(&long)).await, "header of more than 16384 bytes");
    let lines = says_forever(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n", Duration::ZERO).await;
    let finding = run(check(&lines)).await;
    assert!(matches!(finding, Finding::Fail(_)), "{finding:?}");
    let slow = says_forever(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n", Duration::from_millis(30)).await;
    fails(run(check(&slow)).await, "no complete answer within 700ms (first byte after ");
    let patient = says_forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", Duration::from_micros(100)).await;
    fails(run(check(&patient)).await, "no complete answer within 700ms");
    // A body without end is not read: the status is what was asked for.
    let body = says_forever(b"HTTP/1.1 200 OK\r\n\r\n", &[b'a'; 16384], Duration::ZERO).await;
    passes(run(check(&body)).await, "status 200");
    let silent = Server::start(|mut stream: TcpStream| async move {
        while stream.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {}
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    fails(run(check(&silent)).await, "no answer within 700ms (connected after ");
    assert_eq!(silent.connections(), 1, "one request, one connection");
}

#[tokio::test]
async fn no_proxy_is_taken_from_the_environment() {
    // Cargo runs this test; its environment is set before, in a process of its own.
    let Ok(port) = std::env::var("POINTSMAN_TEST_TARGET") else {
        let server = Server::http(Router::new().route("/", get(|| async { Json(1) }))).await;
        let port = server.port().to_string();
        let mut again = tokio::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "no_proxy_is_taken_from_the_environment"]).env("POINTSMAN_TEST_TARGET", port);
        for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"] {
            again.env(name, "http://127.0.0.1:1");
        }
        let output = again.kill_on_drop(true).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    passes(run(CheckKind::Http(http(&format!("http://127.0.0.1:{port}/")))).await, "status 200");
}
