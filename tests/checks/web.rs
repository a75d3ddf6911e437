//! HTTP and TLS checks against a real nginx, and bodies that are not what they should be.

use std::time::Duration;

use pointsman::base::SecretRef;
use pointsman::config::{
    CheckKind, HeaderValue, HttpCheck, HttpExpect, HttpMethod, HttpVersion, JsonTest, JsonWanted, Match,
    TlsCheck, TlsVersion,
};
use pointsman::health::Finding;
use regex::bytes::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::servers::Server;
use crate::common::{Program, Scratch, find, ports, until};
use crate::nginx::Nginx;
use crate::{at, fails, http, passes, run, says, says_forever, unknown};

/// 4096 bytes of a chunked body.
static LONG_CHUNK: &[u8] = &{
    let mut chunk = [b'x'; 4104];
    [chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5]] = *b"1000\r\n";
    [chunk[4102], chunk[4103]] = *b"\r\n";
    chunk
};

async fn see(check: HttpCheck) -> Finding {
    run(CheckKind::Http(check)).await
}

fn expecting(check: HttpCheck, text: &str) -> HttpCheck {
    let body = Some(Match::Contains(text.as_bytes().to_vec()));
    HttpCheck { expect: HttpExpect { body, json: Vec::new() }, ..check }
}

fn json(check: HttpCheck, pointer: &str, wanted: serde_json::Value) -> HttpCheck {
    let test = JsonTest { pointer: pointer.to_owned(), wanted: JsonWanted::Scalar(wanted) };
    HttpCheck { expect: HttpExpect { body: None, json: vec![test] }, ..check }
}

#[tokio::test]
async fn speaks_the_version_it_is_told() {
    let Some(nginx) = Nginx::start() else { return };
    let clear =
        |port: u16, version| HttpCheck { version, ..http(&format!("http://127.0.0.1:{port}/protocol")) };
    let ca = Some(nginx.certificates.ca.clone());
    let secure = |port: u16, version| HttpCheck {
        version,
        ca: ca.clone(),
        ..http(&format!("https://localhost:{port}/protocol"))
    };
    use HttpVersion::{Auto, V1_1, V2};
    for (check, spoken) in [
        (clear(nginx.plain, Auto), "HTTP/1.1"),
        (clear(nginx.plain, V1_1), "HTTP/1.1"),
        (clear(nginx.h2c, V2), "HTTP/2.0"),
        (secure(nginx.tls, Auto), "HTTP/2.0"),
        (secure(nginx.tls, V1_1), "HTTP/1.1"),
        (secure(nginx.tls, V2), "HTTP/2.0"),
        (secure(nginx.old, Auto), "HTTP/1.1"),
        (secure(nginx.old, V1_1), "HTTP/1.1"),
    ] {
        let (url, version) = (check.url.clone(), check.version);
        let finding = see(expecting(check, spoken)).await;
        assert!(matches!(finding, Finding::Pass(_)), "{url} {version:?}: {finding:?}, not {spoken}");
    }
    fails(see(secure(nginx.old, V2)).await, "(ALPN)");
    fails(see(clear(nginx.plain, V2)).await, "does not speak it");
    fails(see(clear(nginx.h2c, V1_1)).await, "not HTTP");
    // The phases are told.
    let Finding::Pass(words) = see(secure(nginx.tls, V2)).await else { panic!() };
    for phase in ["connect ", "TLS ", "first byte "] {
        assert!(words.contains(phase), "{words}");
    }
}

#[tokio::test]
async fn asks_as_it_is_told() {
    let Some(nginx) = Nginx::start() else { return };
    for port in [nginx.plain, nginx.h2c] {
        let version = if port == nginx.h2c { HttpVersion::V2 } else { HttpVersion::Auto };
        let check = HttpCheck { version, ..http(&format!("http://127.0.0.1:{port}/method")) };
        let post = HttpCheck {
            method: HttpMethod::Post,
            body: b"{\"deep\":true}".to_vec(),
            headers: [("content-type".to_owned(), HeaderValue::Plain("application/json".to_owned()))].into(),
            ..check.clone()
        };
        passes(see(expecting(post, "POST application/json 13")).await, "status 200");
        for (method, word) in
            [(HttpMethod::Options, "OPTIONS"), (HttpMethod::Put, "PUT"), (HttpMethod::Delete, "DELETE")]
        {
            passes(see(expecting(HttpCheck { method, ..check.clone() }, word)).await, "status 200");
        }
        // Pinned: to another address than the name's, which stays.
        let pinned = HttpCheck {
            url: reqwest::Url::parse("http://shop.example.com/host").unwrap(),
            connect: Some(at("127.0.0.1", port)),
            version,
            ..check
        };
        passes(see(expecting(pinned, "shop.example.com")).await, "status 200");
    }
}

#[tokio::test]
async fn judges_what_is_said() {
    let Some(nginx) = Nginx::start() else { return };
    let check = |path: &str| http(&format!("http://127.0.0.1:{}{path}", nginx.plain));
    passes(see(expecting(check("/healthz"), "\"green\"")).await, "status 200 in ");
    // A page of excuses with status 200 is what a status alone falls for.
    passes(see(check("/maintenance")).await, "status 200");
    fails(
        see(expecting(check("/maintenance"), "\"green\"")).await,
        "status 200, but there is no `\"green\"`: the body begins with `We are sorry: maintenance`",
    );
    let matches = |pattern: &str| {
        let body = Some(Match::Regex(Regex::new(pattern).unwrap().into()));
        HttpCheck { expect: HttpExpect { body, json: Vec::new() }, ..check("/healthz") }
    };
    passes(see(matches("\"status\":\"(green|yellow)\"")).await, "status 200");
    fails(see(matches("\"status\":\"red\"")).await, "no a match of");

    passes(see(json(check("/healthz"), "/status", "green".into())).await, "status 200");
    passes(see(json(check("/healthz"), "/shards/lost", 0.into())).await, "status 200");
    passes(see(json(check("/healthz"), "/nodes/0/role", "leader".into())).await, "status 200");
    fails(
        see(json(check("/healthz"), "/status", "red".into())).await,
        "`/status` is \"green\", wanted \"red\"",
    );
    fails(see(json(check("/healthz"), "/gone", 1.into())).await, "there is no `/gone`");
    fails(see(json(check("/maintenance"), "/status", "green".into())).await, "its body is not JSON");
    // Unasked for, and never unpacked.
    let packed = HttpCheck {
        headers: [("accept-encoding".to_owned(), HeaderValue::Plain("gzip".to_owned()))].into(),
        ..check("/packed")
    };
    passes(see(packed.clone()).await, "status 200");
    fails(see(expecting(packed, "plain")).await, "its body is packed (gzip)");
    passes(see(expecting(check("/packed"), "plain")).await, "status 200");
}

#[tokio::test]
async fn follows_redirects_only_if_asked_and_so_far() {
    let Some(nginx) = Nginx::start() else { return };
    let base = format!("http://127.0.0.1:{}", nginx.plain);
    let check = |path: &str, redirects| HttpCheck { redirects, ..http(&format!("{base}{path}")) };
    fails(see(check("/twice", 0)).await, "status 301 (to ");
    fails(see(check("/twice", 1)).await, "more than 1 redirects; the next is http://127.0.0.1:");
    let found = see(expecting(check("/twice", 2), "green")).await;
    passes(found, &format!("(redirected from {base}/twice to {base}/away)"));
    fails(see(check("/circle", 5)).await, "redirects in a circle");
    // The phases that are told are the last hop's own.
    let target = format!("{base}/healthz");
    let slow = Server::start(move |mut stream: TcpStream| {
        let answer = format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.read(&mut [0; 16]).await;
        }
    })
    .await;
    let Finding::Pass(words) = see(HttpCheck { redirects: 1, ..http(&slow.url("/")) }).await else {
        panic!()
    };
    assert!(words.contains("(connect ") && !words.contains("resolve "), "{words}");
    fails(see(check("/nowhere", 5)).await, "connection refused by 127.0.0.1:1 (redirected there by ");
    fails(see(check("/odd", 5)).await, "neither http:// nor https://");
    // A status that is asked for is an answer, not a way.
    let wanted = vec![pointsman::config::StatusRange { first: 302, last: 302 }];
    passes(see(HttpCheck { status: wanted, ..check("/nowhere", 5) }).await, "status 302");

    // 303 turns into GET, 308 keeps the method and the body.
    let post = |path: &str| HttpCheck { method: HttpMethod::Post, body: b"abc".to_vec(), ..check(path, 1) };
    passes(see(expecting(post("/see-other"), "GET")).await, "status 200");
    passes(see(expecting(post("/kept"), "POST  3")).await, "status 200");

    // From https to http nothing is followed.
    let secure = HttpCheck {
        ca: Some(nginx.certificates.ca.clone()),
        redirects: 5,
        ..http(&format!("https://localhost:{}/down", nginx.tls))
    };
    fails(see(secure).await, "from https to plain http");
}

#[tokio::test]
async fn secrets_stay_at_home() {
    let Some(nginx) = Nginx::start() else { return };
    let scratch = Scratch::new("secret-header");
    let token = scratch.path().join("token");
    std::fs::write(&token, "s3cret").unwrap();
    let check = |path: &str| HttpCheck {
        redirects: 1,
        headers: [("x-token".to_owned(), HeaderValue::Secret(SecretRef::File(token.clone())))].into(),
        ..http(&format!("http://127.0.0.1:{}{path}", nginx.plain))
    };
    passes(see(expecting(check("/host"), "s3cret")).await, "status 200");
    // Another host gets no secret of ours, even if it lives at the same address.
    let body = Some(Match::Equals("localhost".to_owned()));
    let away = HttpCheck { expect: HttpExpect { body, json: Vec::new() }, ..check("/stranger") };
    passes(see(away).await, "(redirected from ");
}

#[tokio::test]
async fn tls_has_a_floor() {
    let Some(nginx) = Nginx::start() else { return };
    let check = |port, min_version| {
        CheckKind::Tls(TlsCheck {
            address: at("127.0.0.1", port),
            server_name: "localhost".to_owned(),
            ca: Some(nginx.certificates.ca.clone()),
            identity: None,
            min_validity: Duration::ZERO,
            min_version,
        })
    };
    passes(run(check(nginx.tls, TlsVersion::V1_3)).await, "certificate valid");
    passes(run(check(nginx.old, TlsVersion::V1_2)).await, "certificate valid");
    fails(run(check(nginx.old, TlsVersion::V1_3)).await, "speaks TLS 1.2 at best, wanted TLS 1.3");

    // What is older still we do not speak, and say so.
    let Some(openssl) = find("openssl", "openssl", &[]) else { return };
    let scratch = Scratch::new("openssl");
    let port = ports::free();
    let mut command = std::process::Command::new(openssl);
    command.args(["s_server", "-quiet", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", "-accept"]);
    command.arg(format!("127.0.0.1:{port}"));
    command.arg("-cert").arg(&nginx.certificates.server.0).arg("-key").arg(&nginx.certificates.server.1);
    let _server = Program::start(&mut command, "openssl s_server", &scratch.path().join("output"));
    until("openssl s_server", Duration::from_secs(10), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    fails(run(check(port, TlsVersion::V1_2)).await, "speaks no TLS 1.2 or later");
}

#[tokio::test]
async fn bodies_are_bounded_in_time_and_memory() {
    let expect = |server: &Server| expecting(http(&server.url("/")), "wanted");
    // Endless and fast: cut at the limit, and what is not in it is not there.
    let endless =
        says_forever(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", LONG_CHUNK, Duration::ZERO)
            .await;
    fails(see(expect(&endless)).await, "in the first 65536 bytes");
    let early = says_forever(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nwanted\r\n",
        LONG_CHUNK,
        Duration::ZERO,
    )
    .await;
    passes(see(expect(&early)).await, "status 200");
    let document = json(http(&endless.url("/")), "/a", 1.into());
    fails(see(document).await, "its body is longer than 65536 bytes");
    // Endless and slow.
    let loris = says_forever(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n",
        Duration::from_millis(50),
    )
    .await;
    fails(see(expect(&loris)).await, "no complete answer within 700ms");
    // Less than was promised.
    let short = says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nwant").await;
    fails(see(expect(&short)).await, "broke off in the middle");
    // It says that it is packed, and is not.
    let rubbish = says(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 6\r\n\r\nwanted").await;
    fails(see(expect(&rubbish)).await, "its body is packed (gzip)");
    // JSON as deep as a well.
    let deep = format!("HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n{}", "[".repeat(50_000));
    let deep = says(Box::leak(deep.into_bytes().into_boxed_slice())).await;
    fails(see(json(http(&deep.url("/")), "/0", 1.into())).await, "its body is not JSON (recursion limit");
}

#[tokio::test]
async fn http2_with_hostile_servers() {
    let check = |server: &Server| HttpCheck { version: HttpVersion::V2, ..http(&server.url("/")) };
    let settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    // Settings, and then nothing.
    let mute = Server::start(move |mut stream: TcpStream| async move {
        let _ = stream.write_all(settings).await;
        while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    fails(see(check(&mute)).await, "no complete answer within 700ms");
    // Settings without end.
    let flood = says_forever(b"", settings, Duration::ZERO).await;
    assert!(matches!(see(check(&flood)).await, Finding::Fail(_)));
    // A frame that is longer than any may be.
    let long = says(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01").await;
    fails(see(check(&long)).await, "does not speak it");
    // It goes away (GOAWAY, ENHANCE_YOUR_CALM).
    let away = says(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0b").await;
    assert!(matches!(see(check(&away)).await, Finding::Fail(_)));
    let closed = says(b"").await;
    assert!(matches!(see(check(&closed)).await, Finding::Fail(_)));
    // Someone who wants HTTP/1.1 after all, over and over.
    let rubbish = says_forever(b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", Duration::from_millis(10)).await;
    fails(see(check(&rubbish)).await, "does not speak it");
    unknown(
        see(HttpCheck { version: HttpVersion::V2, ..http("http://no-such-host.invalid/") }).await,
        "cannot resolve",
    );
}
