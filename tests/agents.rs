//! Agents against real servers and programs: what is claimed about an outcome is what happened.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use pointsman::agent::Agents;
use pointsman::base::{SecretRef, Token};
use pointsman::config::HostPort;
use pointsman::io::Net;
use pointsman::workflow::{
    Act, Call, CapacityOp, DialOp, ExecOp, ExecutionId, HttpObserve, HttpOp, NotifyOp, Op, Outcome, Retry,
    Text, Until, WaitOp,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use common::servers::Server;
use common::{Scratch, now, ports, until};

fn call(op: Op) -> Call {
    Call {
        execution: ExecutionId("petstore-failover-7".to_owned()),
        stage: "prescale".to_owned(),
        attempt: 1,
        act: Act::Apply,
        token: Token { epoch: 3, index: 412 },
        op,
        timeout: Duration::from_secs(2),
        approved: false,
    }
}

async fn perform(call: &Call) -> Outcome {
    let started = now();
    let outcome = Agents::new(Net::new()).perform(call).await;
    assert!(now() - started < call.timeout + Duration::from_millis(1500), "it ends in time: {outcome:?}");
    outcome
}

async fn apply(op: Op) -> Outcome {
    perform(&call(op)).await
}

async fn observe(op: Op) -> Outcome {
    perform(&Call { act: Act::Observe, ..call(op) }).await
}

#[track_caller]
fn is_applied(outcome: &Outcome, words: &str) {
    assert!(matches!(outcome, Outcome::Applied { detail, .. } if detail.contains(words)), "{outcome:?}");
}

#[track_caller]
fn is_not_applied(outcome: &Outcome, expected: Retry, words: &str) {
    let fits = matches!(outcome, Outcome::NotApplied { reason, retry } if *retry == expected && reason.contains(words));
    assert!(fits, "{outcome:?}, not {expected:?} {words}");
}

#[track_caller]
fn is_unknown(outcome: &Outcome, words: &str) {
    assert!(matches!(outcome, Outcome::Unknown { reason } if reason.contains(words)), "{outcome:?}");
}

/// Requests that a server has seen: method, path, headers, body.
type Seen = Arc<Mutex<Vec<(Method, String, HeaderMap, String)>>>;

/// A server that answers by the path, and remembers what it was asked.
async fn server<F>(answer: F) -> (Server, Seen)
where
    F: Fn(&str, usize) -> Response + Clone + Send + Sync + 'static,
{
    let seen: Seen = Arc::default();
    let handle =
        move |State(seen): State<Seen>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let answer = answer.clone();
            async move {
                let n = {
                    let mut seen = seen.lock().unwrap();
                    seen.push((
                        method,
                        uri.path().to_owned(),
                        headers,
                        String::from_utf8_lossy(&body).into_owned(),
                    ));
                    seen.len()
                };
                answer(uri.path(), n)
            }
        };
    let router = Router::new().fallback(handle).with_state(Arc::clone(&seen));
    (Server::http(router).await, seen)
}

fn http(url: &str) -> HttpOp {
    HttpOp {
        method: "POST".to_owned(),
        url: url.to_owned(),
        headers: BTreeMap::new(),
        body: Some("{\"x\":1}".to_owned()),
        expect: vec![(200, 299)],
        observe: None,
        idempotent: false,
    }
}

// ── http ──

#[tokio::test]
async fn http_sends_what_makes_it_happen_once() {
    let (server, seen) = server(|_, _| StatusCode::CREATED.into_response()).await;
    let scratch = Scratch::new("secret");
    let token = scratch.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let headers = [
        ("authorization".to_owned(), Text::Secret(SecretRef::File(token.clone()))),
        ("x-plain".to_owned(), Text::Plain("yes".to_owned())),
    ];
    let op = Op::Http(HttpOp { headers: headers.into(), ..http(&server.url("/things?a=b")) });
    is_applied(&apply(op.clone()).await, "answers 201");
    // Another attempt: the same key, a higher token.
    let again = Call { attempt: 2, token: Token { epoch: 4, index: 1 }, ..call(op.clone()) };
    is_applied(&perform(&again).await, "answers 201");
    let seen = seen.lock().unwrap().clone();
    let keys: Vec<_> =
        seen.iter().map(|(.., headers, _)| headers["idempotency-key"].to_str().unwrap()).collect();
    assert_eq!(keys, ["petstore-failover-7/prescale"; 2]);
    assert_eq!(seen[0].2["fence-token"], "3.412");
    assert_eq!(seen[1].2["fence-token"], "4.1");
    assert_eq!(
        (seen[0].2["authorization"].to_str().unwrap(), &seen[0].2["x-plain"]),
        ("s3cret", &"yes".parse().unwrap())
    );
    assert_eq!(
        (seen[0].2["content-type"].to_str().unwrap(), seen[0].3.as_str()),
        ("application/json", "{\"x\":1}")
    );

    // A secret that cannot be read: nothing was sent.
    std::fs::remove_file(&token).unwrap();
    is_not_applied(&apply(op).await, Retry::Backoff, "cannot read the secret");
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn http_nothing_sent_is_not_applied() {
    let port = ports::free();
    let refused = apply(Op::Http(http(&format!("http://127.0.0.1:{port}/")))).await;
    is_not_applied(&refused, Retry::Backoff, &format!("connection refused by http://127.0.0.1:{port}"));
    let unresolved = apply(Op::Http(http("http://no-such-host.invalid/"))).await;
    is_not_applied(&unresolved, Retry::Backoff, "cannot resolve no-such-host.invalid");
    for (url, words) in [("ftp://x/", "not a URL"), ("nonsense", "not a URL"), ("http://", "not a URL")] {
        is_not_applied(&apply(Op::Http(http(url))).await, Retry::Never, words);
    }
    let odd = HttpOp { method: "GE T".to_owned(), ..http("http://127.0.0.1/") };
    is_not_applied(&apply(Op::Http(odd)).await, Retry::Never, "not a method");

    // A certificate that is not accepted: the request never left.
    let scratch = Scratch::new("tls");
    let certificates = common::servers::certificates(scratch.path());
    let acceptor = common::servers::acceptor(&certificates.server);
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let tls = Server::start(move |stream| {
        let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await
                && stream.read(&mut [0; 64]).await.is_ok_and(|n| n > 0)
            {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let outcome = apply(Op::Http(http(&format!("https://localhost:{}/", tls.port())))).await;
    is_not_applied(&outcome, Retry::Backoff, "certificate");
    assert_eq!(requests.load(Ordering::SeqCst), 0);

    // A TLS handshake that hangs: neither.
    let hangs = Server::start(|mut stream: TcpStream| async move {
        while stream.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {}
    })
    .await;
    let outcome = apply(Op::Http(http(&format!("https://127.0.0.1:{}/", hangs.port())))).await;
    is_not_applied(&outcome, Retry::Backoff, "no connection to");
}

#[tokio::test]
async fn http_sent_and_not_answered_is_unknown() {
    // What the server does with a request that it has read.
    let then = |what: &'static str| {
        Server::start(move |mut stream: TcpStream| async move {
            let _ = stream.read(&mut [0; 4096]).await;
            match what {
                "hangs" => while stream.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {},
                "closes" => {}
                "garbage" => drop(stream.write_all(b"what?\r\n\r\n").await),
                "half" => drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncont").await),
                _ => {
                    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                }
            }
        })
    };
    for what in ["hangs", "closes", "garbage", "half", "reset"] {
        let server = then(what).await;
        let outcome = apply(Op::Http(http(&server.url("/")))).await;
        assert!(matches!(outcome, Outcome::Unknown { .. }), "{what}: {outcome:?}");
        assert_eq!(server.connections(), 1, "{what}: sent once, and not again behind our back");
    }
    // Trickling headers without end: its time is up.
    let slow = Server::start(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    is_unknown(&apply(Op::Http(http(&slow.url("/")))).await, "did not answer in time");
    // The status has come and the body has no end: it is applied, and read to a bound.
    let endless = Server::start(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'a'; 16384]).await.is_ok() {}
    })
    .await;
    is_applied(&apply(Op::Http(http(&endless.url("/")))).await, "answers 200");
}

#[tokio::test]
async fn http_answers_mean_what_they_say() {
    let (server, _) = server(|path, _| {
        let problem = [(header::CONTENT_TYPE, "application/problem+json")];
        match path {
            "/gateway" => StatusCode::BAD_GATEWAY.into_response(),
            "/timeout" => StatusCode::GATEWAY_TIMEOUT.into_response(),
            "/broken" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            "/bad" => (StatusCode::BAD_REQUEST, "no such\nthing").into_response(),
            "/busy" => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "17")]).into_response(),
            "/limit" => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "3")]).into_response(),
            "/stale" => (StatusCode::PRECONDITION_FAILED, problem, r#"{"type":"https://x/stale-token"}"#)
                .into_response(),
            _ => StatusCode::ACCEPTED.into_response(),
        }
    })
    .await;
    let ask = async |path: &str| apply(Op::Http(http(&server.url(path)))).await;
    for path in ["/gateway", "/timeout", "/broken"] {
        is_unknown(&ask(path).await, "answers 50");
    }
    is_not_applied(&ask("/bad").await, Retry::Never, "answers 400: no such thing");
    is_not_applied(&ask("/busy").await, Retry::After(Duration::from_secs(17)), "503");
    is_not_applied(&ask("/limit").await, Retry::After(Duration::from_secs(3)), "429");
    assert!(matches!(ask("/stale").await, Outcome::Stale { .. }));
    // A success that is not the expected one may be at work.
    let strict = HttpOp { expect: vec![(200, 200)], ..http(&server.url("/else")) };
    is_unknown(&apply(Op::Http(strict)).await, "202");
}

#[tokio::test]
async fn http_follows_no_redirect_that_changes_the_request() {
    let (elsewhere, seen_elsewhere) = server(|_, _| StatusCode::OK.into_response()).await;
    let target = elsewhere.url("/");
    let (server, seen) = server(move |path, _| {
        let to = |status: StatusCode, to: &str| (status, [(header::LOCATION, to.to_owned())]).into_response();
        match path {
            "/away" => to(StatusCode::TEMPORARY_REDIRECT, &target),
            "/slash" => to(StatusCode::PERMANENT_REDIRECT, "/slash/"),
            "/found" => to(StatusCode::FOUND, "/slash/"),
            "/loop" => to(StatusCode::TEMPORARY_REDIRECT, "/loop"),
            _ => StatusCode::OK.into_response(),
        }
    })
    .await;
    let ask = async |path: &str| apply(Op::Http(http(&server.url(path)))).await;
    is_not_applied(&ask("/away").await, Retry::Never, &format!("redirect to {}", elsewhere.url("")));
    assert!(seen_elsewhere.lock().unwrap().is_empty(), "it never reached the other host");
    // On the same host, and the method stays.
    is_applied(&ask("/slash").await, "200");
    assert_eq!(seen.lock().unwrap().last().unwrap().0, Method::POST);
    // A POST that would become a GET.
    is_not_applied(&ask("/found").await, Retry::Never, "302");
    let before = seen.lock().unwrap().len();
    is_not_applied(&ask("/loop").await, Retry::Never, "307");
    assert!(seen.lock().unwrap().len() - before < 6, "a loop ends");
}

#[tokio::test]
async fn http_observes_without_changing() {
    let (server, seen) = server(|path, _| match path {
        "/there" => StatusCode::OK.into_response(),
        "/gone" => StatusCode::NOT_FOUND.into_response(),
        _ => StatusCode::IM_A_TEAPOT.into_response(),
    })
    .await;
    let with = |path: &str| {
        let look = HttpObserve { url: server.url(path), applied: 200, not_applied: 404 };
        Op::Http(HttpOp { observe: Some(look), ..http(&server.url("/things")) })
    };
    is_applied(&observe(with("/there")).await, "it has happened");
    is_not_applied(&observe(with("/gone")).await, Retry::Backoff, "it has not happened");
    is_unknown(&observe(with("/odd")).await, "tells neither");
    is_unknown(&observe(Op::Http(http(&server.url("/things")))).await, "no way to look");
    let nobody =
        HttpObserve { url: format!("http://127.0.0.1:{}/", ports::free()), applied: 200, not_applied: 404 };
    let unreachable = Op::Http(HttpOp { observe: Some(nobody), ..http(&server.url("/things")) });
    is_unknown(&observe(unreachable).await, "refused");
    assert!(seen.lock().unwrap().iter().all(|(method, ..)| method == Method::GET));
}

// ── notify ──

#[tokio::test]
async fn notify_tells_with_a_key_against_doubles() {
    let (server, seen) = server(|path, _| match path {
        "/hook" => StatusCode::OK.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let scratch = Scratch::new("hook");
    let place = scratch.path().join("url");
    std::fs::write(&place, server.url("/hook")).unwrap();
    let op = |url: Text| {
        Op::Notify(NotifyOp {
            channel: "ops".to_owned(),
            url,
            headers: BTreeMap::new(),
            message: "eu-west is \"out\"".to_owned(),
        })
    };
    let secret = op(Text::Secret(SecretRef::File(place.clone())));
    is_applied(&apply(secret.clone()).await, "`ops` was told");
    let (_, _, headers, body) = seen.lock().unwrap()[0].clone();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["text"], "eu-west is \"out\"");
    assert_eq!(body["dedup_key"], "petstore-failover-7/prescale");
    assert_eq!(headers["idempotency-key"], "petstore-failover-7/prescale");
    is_not_applied(&apply(op(Text::Plain(server.url("/none")))).await, Retry::Never, "404");
    is_unknown(&observe(secret.clone()).await, "nobody can tell");
    // The address is a secret: no outcome shows it.
    std::fs::write(&place, "not-a-url-but-secret").unwrap();
    let outcome = apply(secret).await;
    is_not_applied(&outcome, Retry::Never, "the address of channel `ops`");
    assert!(!format!("{outcome:?}").contains("but-secret"));
}

// ── capacity ──

fn capacity(url: &str) -> Op {
    Op::Capacity(CapacityOp {
        region: "us-east".to_owned(),
        percent: 150,
        capacity: Some(100),
        url: url.to_owned(),
        headers: BTreeMap::new(),
        extra: [("namespace".to_owned(), serde_json::json!("shop"))].into(),
    })
}

#[tokio::test]
async fn capacity_asks_until_there_is_room() {
    let (server, seen) = server(|path, n| match path {
        "/now" => StatusCode::NO_CONTENT.into_response(),
        // At work: where to ask, after two more looks it is done, with trouble in between.
        "/later" => (StatusCode::ACCEPTED, [(header::LOCATION, "/status/1"), (header::RETRY_AFTER, "0")])
            .into_response(),
        "/status/1" if n < 4 => {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "0")]).into_response()
        }
        "/status/1" => StatusCode::OK.into_response(),
        "/away" => {
            (StatusCode::ACCEPTED, [(header::LOCATION, "http://127.0.0.1:1/"), (header::RETRY_AFTER, "0")])
                .into_response()
        }
        "/forgets" if n == 1 => (StatusCode::ACCEPTED, [(header::RETRY_AFTER, "0")]).into_response(),
        _ => StatusCode::GONE.into_response(),
    })
    .await;
    is_applied(&apply(capacity(&server.url("/now"))).await, "us-east is at 150 % of its capacity");
    let (method, _, headers, body) = seen.lock().unwrap()[0].clone();
    assert_eq!(
        (method, headers["idempotency-key"].to_str().unwrap()),
        (Method::POST, "petstore-failover-7/prescale")
    );
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({"region": "us-east", "percent": 150, "capacity": 100, "extra": {"namespace": "shop"}});
    assert_eq!(body, expected);

    seen.lock().unwrap().clear();
    is_applied(&apply(capacity(&server.url("/later"))).await, "answers 200");
    let asked: Vec<String> =
        seen.lock().unwrap().iter().map(|(method, path, ..)| format!("{method} {path}")).collect();
    assert_eq!(asked, ["POST /later", "GET /status/1", "GET /status/1", "GET /status/1"]);

    // The hook took it and then forgets it: nobody knows.
    seen.lock().unwrap().clear();
    is_unknown(&apply(capacity(&server.url("/forgets"))).await, "took the request, and now answers 410");
    // A status on another host is not asked.
    seen.lock().unwrap().clear();
    let outcome = apply(capacity(&server.url("/away"))).await;
    is_unknown(&outcome, "at work and not done in time");
    assert!(
        seen.lock()
            .unwrap()
            .iter()
            .skip(1)
            .all(|(method, path, ..)| method == Method::GET && path == "/away")
    );
}

#[tokio::test]
async fn capacity_observes() {
    let (server, _) = server(|path, _| match path {
        "/there" => StatusCode::OK.into_response(),
        "/none" => StatusCode::NOT_FOUND.into_response(),
        "/at-work" => (StatusCode::ACCEPTED, [(header::RETRY_AFTER, "0")]).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
    .await;
    is_applied(&observe(capacity(&server.url("/there"))).await, "us-east");
    is_not_applied(&observe(capacity(&server.url("/none"))).await, Retry::Backoff, "no such request");
    is_unknown(&observe(capacity(&server.url("/at-work"))).await, "not done in time");
    is_unknown(&observe(capacity(&server.url("/broken"))).await, "500");
}

// ── wait ──

fn wait(until: Until, consecutive: u32) -> Op {
    Op::Wait(WaitOp { until, interval: Duration::from_millis(50), consecutive })
}

#[tokio::test]
async fn wait_waits() {
    let started = now();
    is_applied(&apply(wait(Until::Elapsed(Duration::from_millis(300)), 1)).await, "waited for 300ms");
    assert!(now() - started >= Duration::from_millis(300));
    let long = apply(wait(Until::Elapsed(Duration::from_secs(60)), 1)).await;
    is_not_applied(&long, Retry::Never, "raise attempt_timeout");
    assert!(now() - started < Duration::from_secs(2), "it does not wait for what cannot be");

    let (server, seen) = server(|_, n| match n {
        1 | 2 | 4 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let until = Until::Http { url: server.url("/healthz"), status: vec![(200, 200)] };
    is_applied(&apply(wait(until.clone(), 3)).await, "answers 200");
    // 503 503 200 503 200 200 200: three in a row.
    assert_eq!(seen.lock().unwrap().len(), 7);

    let never = Until::Http { url: server.url("/"), status: vec![(299, 299)] };
    is_not_applied(&apply(wait(never, 1)).await, Retry::Backoff, "not so yet: ");
    let nobody = HostPort { host: "127.0.0.1".to_owned(), port: ports::free() };
    is_not_applied(&apply(wait(Until::Tcp { address: nobody }, 1)).await, Retry::Backoff, "refused");
    let somebody = HostPort { host: "127.0.0.1".to_owned(), port: server.port() };
    is_applied(&apply(wait(Until::Tcp { address: somebody }, 2)).await, "accepts connections");
}

// ── exec ──

fn exec(script: &str) -> ExecOp {
    ExecOp {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        env: BTreeMap::new(),
        observe: None,
        idempotent: false,
    }
}

fn gone(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[tokio::test]
async fn exec_exit_codes_have_their_meaning() {
    is_applied(&apply(Op::Exec(exec("echo done; exit 0"))).await, "exited with 0; stdout: done");
    is_not_applied(
        &apply(Op::Exec(exec("echo later >&2; exit 75"))).await,
        Retry::Backoff,
        "75; stderr: later",
    );
    is_not_applied(&apply(Op::Exec(exec("exit 78"))).await, Retry::Never, "78");
    is_unknown(&apply(Op::Exec(exec("exit 1"))).await, "exited with 1");
    is_unknown(&apply(Op::Exec(exec("kill -9 $$"))).await, "killed by signal 9");
    let missing = ExecOp { argv: vec!["/no/such/program".to_owned()], ..exec("") };
    is_not_applied(&apply(Op::Exec(missing)).await, Retry::Never, "cannot run `/no/such/program`");
    let nothing = ExecOp { argv: Vec::new(), ..exec("") };
    is_not_applied(&apply(Op::Exec(nothing)).await, Retry::Never, "no program");
}

#[tokio::test]
async fn exec_needs_no_shell_and_passes_words_as_they_are() {
    let words = ["$(id)", "; rm -rf /", "two words", "*"];
    let mut argv = vec!["/usr/bin/printf".to_owned(), "<%s>".to_owned()];
    argv.extend(words.map(str::to_owned));
    let outcome = apply(Op::Exec(ExecOp { argv, ..exec("") })).await;
    is_applied(&outcome, "<$(id)><; rm -rf /><two words><*>");
}

#[tokio::test]
async fn exec_gets_a_clean_environment_with_what_it_needs() {
    let scratch = Scratch::new("exec");
    let secret = scratch.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    let mut op = exec("env");
    op.env.insert("MINE".to_owned(), Text::Plain("yes".to_owned()));
    op.env.insert("PASSWORD".to_owned(), Text::Secret(SecretRef::File(secret)));
    let Outcome::Applied { outputs, .. } = apply(Op::Exec(op.clone())).await else { panic!() };
    let environment: BTreeMap<&str, &str> =
        outputs["stdout"].lines().filter_map(|line| line.split_once('=')).collect();
    for (name, value) in [
        ("POINTSMAN_EXECUTION", "petstore-failover-7"),
        ("POINTSMAN_STAGE", "prescale"),
        ("POINTSMAN_ATTEMPT", "1"),
        ("POINTSMAN_IDEMPOTENCY_KEY", "petstore-failover-7/prescale"),
        ("POINTSMAN_FENCE_TOKEN", "3.412"),
        ("POINTSMAN_TIMEOUT", "2"),
        ("MINE", "yes"),
        ("PASSWORD", "hunter2"),
    ] {
        assert_eq!(environment.get(name), Some(&value), "{name}");
    }
    assert!(environment.contains_key("PATH"));
    // Cargo sets it for this process; the program must not inherit what is in ours.
    assert!(
        std::env::var_os("CARGO_MANIFEST_DIR").is_some() && !environment.contains_key("CARGO_MANIFEST_DIR")
    );
    op.env.insert("A=B".to_owned(), Text::Plain(String::new()));
    is_not_applied(&apply(Op::Exec(op)).await, Retry::Never, "not the name of a variable");
}

#[tokio::test]
async fn exec_dies_as_a_group_at_the_deadline() {
    let scratch = Scratch::new("group");
    let file = scratch.path().join("pids");
    // A child and a grandchild; neither heeds SIGTERM.
    let script = format!(
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >> {0}; sleep 60' & echo $$ >> {0}; echo at work; wait",
        file.display()
    );
    let outcome = apply(Op::Exec(exec(&script))).await;
    is_unknown(&outcome, "was killed after 2s: its time was up; stdout: at work");
    let pids = std::fs::read_to_string(&file).unwrap();
    assert_eq!(pids.lines().count(), 2);
    until("both to be gone", Duration::from_secs(5), || pids.lines().all(gone));
}

#[tokio::test]
async fn exec_dies_when_the_caller_gives_up() {
    let scratch = Scratch::new("dropped");
    let file = scratch.path().join("pids");
    let script = format!("sh -c 'echo $$ >> {0}; sleep 60' & echo $$ >> {0}; wait", file.display());
    let call = Call { timeout: Duration::from_secs(60), ..call(Op::Exec(exec(&script))) };
    let agents = Agents::new(Net::new());
    let performing = tokio::time::timeout(Duration::from_millis(500), agents.perform(&call));
    assert!(performing.await.is_err());
    let pids = std::fs::read_to_string(&file).unwrap();
    assert_eq!(pids.lines().count(), 2);
    until("both to be gone", Duration::from_secs(5), || pids.lines().all(gone));
}

#[tokio::test]
async fn exec_output_is_bounded_and_never_holds_it_up() {
    let outcome = apply(Op::Exec(exec("head -c 3000000 /dev/zero | tr '\\0' a; echo; echo the end"))).await;
    let Outcome::Applied { detail, outputs, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(
        outputs["stdout"].ends_with("the end") && outputs["stdout"].len() <= 4096,
        "the last bytes are kept"
    );
    assert!(detail.len() < 5000);
    // Something left behind holds the output open: the program has ended all the same.
    let started = now();
    let outcome = apply(Op::Exec(exec("sleep 30 & echo started; exit 0"))).await;
    is_applied(&outcome, "stdout: started");
    assert!(now() - started < Duration::from_secs(1));
}

#[tokio::test]
async fn exec_observes() {
    let with = |script: &str| Op::Exec(ExecOp { observe: Some(exec(script).argv), ..exec("exit 9") });
    is_applied(&observe(with("exit 0")).await, "exited with 0");
    is_not_applied(&observe(with("exit 1")).await, Retry::Backoff, "exited with 1");
    is_unknown(&observe(with("exit 75")).await, "exited with 75");
    is_unknown(&observe(with("sleep 60")).await, "time was up");
    is_unknown(&observe(Op::Exec(exec("exit 0"))).await, "names no program");
    let missing = ExecOp { observe: Some(vec!["/no/such".to_owned()]), ..exec("") };
    is_unknown(&observe(Op::Exec(missing)).await, "cannot run");
}

// ── the rest ──

#[tokio::test]
async fn dial_is_not_an_agents_business() {
    let op = Op::Dial(DialOp { service: "shop".to_owned(), shares: BTreeMap::new() });
    is_not_applied(&apply(op).await, Retry::Never, "the daemon itself");
}

#[tokio::test]
async fn no_proxy_is_taken_from_the_environment() {
    let Ok(url) = std::env::var("POINTSMAN_TEST_TARGET") else {
        let (server, _) = server(|_, _| StatusCode::OK.into_response()).await;
        let mut again = tokio::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "no_proxy_is_taken_from_the_environment"]);
        again.env("POINTSMAN_TEST_TARGET", server.url("/"));
        for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"] {
            again.env(name, "http://127.0.0.1:1");
        }
        let output = again.kill_on_drop(true).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    is_applied(&apply(Op::Http(http(&url))).await, "200");
}
