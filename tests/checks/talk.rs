//! TCP checks that talk, and what servers may do to them.

use std::time::Duration;

use pointsman::config::{CheckKind, Match, TcpCheck};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::servers::Server;
use crate::nginx::Nginx;
use crate::{at, fails, passes, run, says, says_forever};

fn talk(port: u16, send: &str, expect: &str) -> CheckKind {
    let expect = Some(Match::Contains(expect.as_bytes().to_vec()));
    CheckKind::Tcp(TcpCheck {
        address: at("127.0.0.1", port),
        send: send.as_bytes().to_vec(),
        expect,
        tls: None,
    })
}

#[tokio::test]
async fn hears_what_it_expects_from_a_real_server() {
    let Some(nginx) = Nginx::start() else { return };
    let ask = "GET /healthz HTTP/1.0\r\n\r\n";
    passes(run(talk(nginx.plain, ask, "200 OK")).await, "heard `200 OK` in ");
    let regex = regex::bytes::Regex::new("(?s)^HTTP/1\\.[01] 200 .*\"green\"").unwrap();
    let expect = Some(Match::Regex(Box::new(regex)));
    let address = at("127.0.0.1", nginx.plain);
    let check = TcpCheck { address, send: ask.as_bytes().to_vec(), expect, tls: None };
    passes(run(CheckKind::Tcp(check)).await, "heard a match of ");
    fails(
        run(talk(nginx.plain, "GET /none HTTP/1.0\r\n\r\n", "200 OK")).await,
        "no `200 OK` before the connection was closed: it said `HTTP/1.1 404",
    );
}

#[tokio::test]
async fn waits_for_all_of_it_and_no_longer_than_its_time() {
    // A banner without being asked, in two pieces.
    let banner = Server::start(|mut stream: TcpStream| async move {
        let _ = stream.write_all(b"220 mail.exam").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _ = stream.write_all(b"ple.com ESMTP\r\n").await;
        let _ = stream.read(&mut [0; 16]).await;
    })
    .await;
    passes(run(talk(banner.port(), "", "mail.example.com")).await, "heard `mail.example.com`");

    // One that takes the connection and says nothing, as a stopped process does.
    let stopped = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stopped.local_addr().unwrap().port();
    fails(run(talk(port, "PING\r\n", "PONG")).await, "no answer within 700ms (connected after ");
    // To connect is no proof against it: that is what `expect` is for.
    passes(run(crate::tcp("127.0.0.1", port)).await, "connected");

    // Byte by byte, without end.
    let loris = says_forever(b"", b"x", Duration::from_millis(20)).await;
    fails(run(talk(loris.port(), "PING\r\n", "PONG")).await, "no `PONG` within 7");
    // As fast as it can, without end.
    let endless = says_forever(b"", &[b'x'; 4096], Duration::ZERO).await;
    fails(run(talk(endless.port(), "PING\r\n", "PONG")).await, "no `PONG` in the first 16384 bytes");
}

#[tokio::test]
async fn tells_what_it_heard_instead() {
    let wrong = says(b"-ERR max number of clients reached\r\n").await;
    fails(
        run(talk(wrong.port(), "PING\r\n", "+PONG")).await,
        "no `+PONG` before the connection was closed: it said `-ERR max number of clients reached`",
    );
    let mute = says(b"").await;
    fails(run(talk(mute.port(), "PING\r\n", "+PONG")).await, "closed the connection without a word");
    // Half open: it has closed its side and goes on listening.
    let half = Server::start(|mut stream: TcpStream| async move {
        let _ = stream.shutdown().await;
        let _ = stream.read(&mut [0; 4096]).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    fails(run(talk(half.port(), "PING\r\n", "+PONG")).await, "closed the connection without a word");
    // Reset instead of an answer.
    let reset = Server::start(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 16]).await;
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    })
    .await;
    fails(run(talk(reset.port(), "PING\r\n", "+PONG")).await, "closed the connection without an answer");
    // It says what is expected, and is reset at once: it has said it.
    let said = Server::start(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 16]).await;
        let _ = stream.write_all(b"+PONG\r\n").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    })
    .await;
    passes(run(talk(said.port(), "PING\r\n", "+PONG")).await, "heard `+PONG`");
}
