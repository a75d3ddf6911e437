//! Client certificates, and TLS under what a TCP check talks, against servers that demand one:
//! OpenSSL's `s_server`, and nginx for what happens at a redirect.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pointsman::config::{CheckKind, HttpCheck, HttpExpect, Match, TcpCheck, TcpTls, TlsCheck, TlsVersion};

use crate::common::servers::{Certificates, certificates};
use crate::common::{Program, Scratch, find, ports, until};
use crate::nginx::Nginx;
use crate::{at, fails, http, passes, run, unknown};

type Pair = Option<(PathBuf, PathBuf)>;

/// Demands a certificate of its own CA, and says `HTTP/1.0 200 ok` to who has one.
struct Demanding {
    port: u16,
    _program: Program,
}

fn start(scratch: &Scratch, certificates: &Certificates, version: &str) -> Option<Demanding> {
    let openssl = find("openssl", "openssl", &[])?;
    let port = ports::free();
    let mut command = Command::new(openssl);
    command.args(["s_server", "-www", "-Verify", "1", "-verify_return_error", version]);
    command.args(["-accept", &format!("127.0.0.1:{port}")]);
    command.arg("-cert").arg(&certificates.server.0).arg("-key").arg(&certificates.server.1);
    command.arg("-CAfile").arg(&certificates.ca);
    let program = Program::start(&mut command, "s_server", &scratch.path().join("s_server.log"));
    until("s_server", Duration::from_secs(20), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(Demanding { port, _program: program })
}

#[tokio::test]
async fn a_server_that_demands_a_certificate_gets_it() {
    let [scratch, strange] = ["mutual", "mutual-strange"].map(Scratch::new);
    let own = certificates(scratch.path());
    // By a CA of the same name that nobody knows, as after a renewal.
    let stranger = certificates(strange.path()).client;
    for version in ["-tls1_2", "-tls1_3"] {
        let Some(server) = start(&scratch, &own, version) else { return };
        let port = server.port;
        let web = |identity: Pair| {
            let get = http(&format!("https://localhost:{port}/"));
            CheckKind::Http(HttpCheck { ca: Some(own.ca.clone()), identity, ..get })
        };
        let session = |identity: Pair| {
            CheckKind::Tls(TlsCheck {
                address: at("127.0.0.1", port),
                server_name: "localhost".to_owned(),
                ca: Some(own.ca.clone()),
                identity,
                min_validity: Duration::ZERO,
                min_version: TlsVersion::V1_2,
            })
        };
        let talk = |identity: Pair, name: &str, expect: Option<&str>| {
            let tls = TcpTls { server_name: name.to_owned(), ca: Some(own.ca.clone()), identity };
            CheckKind::Tcp(TcpCheck {
                address: at("127.0.0.1", port),
                send: expect.map_or(Vec::new(), |_| b"GET / HTTP/1.0\r\n\r\n".to_vec()),
                expect: expect.map(|text| Match::Contains(text.into())),
                tls: Some(Box::new(tls)),
            })
        };
        let ours = || Some(own.client.clone());
        passes(run(web(ours())).await, "status 200");
        passes(run(session(ours())).await, "certificate valid for");
        passes(run(talk(ours(), "localhost", Some("200 ok"))).await, "heard `200 ok`");
        passes(run(talk(ours(), "localhost", None)).await, "TLS established in ");
        fails(run(talk(ours(), "localhost", Some("HTTP/1.0 500"))).await, "it said `HTTP/1.0 200 ok");
        fails(run(talk(ours(), "other.example", None)).await, "is not accepted");
        for other in [None, Some(stranger.clone())] {
            let refused = "does not accept our certificate";
            // Who shows none in TLS 1.2 gets an alert that may mean anything (RFC 5246 §7.4.6).
            if other.is_none() && version == "-tls1_2" {
                fails(run(web(other.clone())).await, "HandshakeFailure");
                continue;
            }
            unknown(run(web(other.clone())).await, refused);
            unknown(run(talk(other.clone(), "localhost", Some("200 ok"))).await, refused);
            if other.is_some() {
                unknown(run(session(other.clone())).await, refused);
                unknown(run(talk(other, "localhost", None)).await, refused);
            }
        }
        // Our own trouble.
        let lost = Some((own.client.0.clone(), scratch.path().join("no.key")));
        unknown(run(web(lost.clone())).await, "cannot prepare TLS");
        unknown(run(talk(lost, "localhost", None)).await, "cannot prepare TLS");
        let mixed = Some((own.client.0.clone(), own.server.1.clone()));
        unknown(run(session(mixed)).await, "does not fit");
    }
}

#[tokio::test]
async fn what_does_not_speak_tls_is_no_server() {
    let Some(nginx) = Nginx::start() else { return };
    let tls = TcpTls {
        server_name: "localhost".to_owned(),
        ca: Some(nginx.certificates.ca.clone()),
        identity: None,
    };
    let talk = |port| {
        CheckKind::Tcp(TcpCheck {
            address: at("127.0.0.1", port),
            send: b"GET /healthz HTTP/1.0\r\n\r\n".to_vec(),
            expect: Some(Match::Contains(b"green".to_vec())),
            tls: Some(Box::new(tls.clone())),
        })
    };
    passes(run(talk(nginx.tls)).await, "heard `green`");
    fails(run(talk(nginx.plain)).await, "what is not TLS");
}

#[tokio::test]
async fn who_we_are_is_shown_to_the_one_it_was_meant_for() {
    let Some(nginx) = Nginx::start() else { return };
    let who = |port: u16, path: &str, identity: Pair, wanted: &str| {
        CheckKind::Http(HttpCheck {
            ca: Some(nginx.certificates.ca.clone()),
            identity,
            redirects: 1,
            expect: HttpExpect { body: Some(Match::Equals(wanted.to_owned())), ..HttpExpect::default() },
            ..http(&format!("https://127.0.0.1:{port}{path}"))
        })
    };
    let ours = || Some(nginx.certificates.client.clone());
    passes(run(who(nginx.asking, "/who", ours(), "SUCCESS")).await, "status 200");
    passes(run(who(nginx.asking, "/who", None, "NONE")).await, "status 200");
    passes(run(who(nginx.asking, "/ask", ours(), "SUCCESS")).await, "status 200");
    // To another origin it is not shown.
    passes(run(who(nginx.tls, "/ask", ours(), "NONE")).await, "status 200");
}
