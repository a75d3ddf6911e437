//! gRPC health checks against a real server (gRPC's own core, by way of Python), and proxies that
//! answer in its place.

use std::process::Command;
use std::time::Duration;

use pointsman::config::{CheckKind, GrpcCheck};
use pointsman::health::Finding;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::servers::{Certificates, Server, certificates};
use crate::common::{Program, Scratch, find, ports, until};
use crate::nginx::Nginx;
use crate::{at, fails, passes, run, says, unknown};

/// A server whose answers go by the name of the service that is asked for.
const SERVER: &str = r#"
import sys, time
from concurrent import futures
import grpc

STATUS = {b"": 1, b"shop.Cart": 1, b"shop.Down": 2, b"shop.Unsure": 0}

def check(request, context):
    service = request[2:]
    if service == b"shop.Slow":
        time.sleep(30)
    if service == b"shop.Busy":
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "come back later")
    if service == b"shop.Private":
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
    if service == b"shop.Broken":
        context.abort(grpc.StatusCode.INTERNAL, "database is gone")
    if service not in STATUS:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    status = STATUS[service]
    return bytes([8, status]) if status else b""

def serve(port, credentials, with_health):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    if with_health:
        handler = grpc.unary_unary_rpc_method_handler(check)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),))
    if credentials:
        server.add_secure_port("127.0.0.1:%s" % port, credentials)
    else:
        server.add_insecure_port("127.0.0.1:%s" % port)
    server.start()
    return server

clear, secure, bare, mutual, certificate, key, ca = sys.argv[1:]
credentials = grpc.ssl_server_credentials([(open(key, "rb").read(), open(certificate, "rb").read())])
pair = (open(key, "rb").read(), open(certificate, "rb").read())
demanding = grpc.ssl_server_credentials([pair], open(ca, "rb").read(), True)
servers = [serve(clear, None, True), serve(secure, credentials, True), serve(bare, None, False)]
servers.append(serve(mutual, demanding, True))
servers[0].wait_for_termination()
"#;

struct Health {
    clear: u16,
    secure: u16,
    bare: u16,
    /// It demands a client's certificate.
    mutual: u16,
    certificates: Certificates,
    _program: Program,
    _scratch: Scratch,
}

fn start() -> Option<Health> {
    let python = find("python3", "python3", &[]).map(|_| "/usr/bin/python3")?;
    // Debian's own interpreter has Debian's own modules.
    let package = find("grpc/__init__.py", "python3-grpcio", &["/usr/lib/python3/dist-packages"]);
    package?;
    let scratch = Scratch::new("grpc");
    let certificates = certificates(scratch.path());
    let [clear, secure, bare, mutual] = std::array::from_fn(|_| ports::free());
    let mut command = Command::new(python);
    command.arg("-c").arg(SERVER).args([clear, secure, bare, mutual].map(|port| port.to_string()));
    command.arg(&certificates.server.0).arg(&certificates.server.1).arg(&certificates.ca);
    let program = Program::start(&mut command, "a gRPC server", &scratch.path().join("output"));
    until("a gRPC server", Duration::from_secs(30), || {
        [clear, secure, bare, mutual]
            .iter()
            .all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok())
    });
    Some(Health { clear, secure, bare, mutual, certificates, _program: program, _scratch: scratch })
}

fn check(url: &str, service: &str) -> GrpcCheck {
    let url = reqwest::Url::parse(url).unwrap();
    GrpcCheck { url, service: service.to_owned(), connect: None, ca: None, identity: None }
}

async fn see(check: GrpcCheck) -> Finding {
    run(CheckKind::Grpc(check)).await
}

#[tokio::test]
async fn every_health_of_a_real_server() {
    let Some(server) = start() else { return };
    let url = format!("http://127.0.0.1:{}", server.clear);
    passes(see(check(&url, "")).await, "the server is SERVING in ");
    passes(see(check(&url, "shop.Cart")).await, "`shop.Cart` is SERVING in ");
    fails(see(check(&url, "shop.Down")).await, "`shop.Down` is NOT_SERVING");
    fails(see(check(&url, "shop.Unsure")).await, "does not know its health");
    fails(
        see(check(&url, "shop.Nobody")).await,
        "`shop.Nobody` is not registered for health: unknown service",
    );
    fails(see(check(&url, "shop.Broken")).await, "grpc-status 13): database is gone");
    unknown(see(check(&url, "shop.Busy")).await, "throttles us (grpc-status 8): come back later");
    unknown(see(check(&url, "shop.Private")).await, "does not let us ask (grpc-status 16)");
    fails(see(check(&url, "shop.Slow")).await, "within 700ms");
    let bare = format!("http://127.0.0.1:{}", server.bare);
    unknown(see(check(&bare, "")).await, "does not offer grpc.health.v1");

    let ca = Some(server.certificates.ca.clone());
    let secure =
        GrpcCheck { ca: ca.clone(), ..check(&format!("https://localhost:{}", server.secure), "shop.Cart") };
    passes(see(secure).await, "`shop.Cart` is SERVING");
    // One that demands a client's certificate.
    let url = format!("https://localhost:{}", server.mutual);
    let stranger = GrpcCheck { ca: ca.clone(), ..check(&url, "shop.Cart") };
    // gRPC hangs up on who has none, and does not say why.
    fails(see(stranger.clone()).await, "closed the connection without an answer");
    let known = GrpcCheck { identity: Some(server.certificates.client.clone()), ..stranger };
    passes(see(known).await, "`shop.Cart` is SERVING");
    // Pinned: the name stays, and is verified.
    let connect = Some(at("127.0.0.1", server.secure));
    let pinned = GrpcCheck { ca: ca.clone(), connect: connect.clone(), ..check("https://localhost", "") };
    passes(see(pinned).await, "SERVING");
    let other = GrpcCheck { ca, connect, ..check("https://shop.example.com", "") };
    fails(see(other).await, "certificate of 127.0.0.1");
    // Without HTTP/2 there is no gRPC.
    fails(see(check(&format!("http://127.0.0.1:{}", ports::free()), "")).await, "connection refused");
}

#[tokio::test]
async fn what_answers_in_its_place_is_told_apart() {
    let Some(nginx) = Nginx::start() else { return };
    // A proxy that knows no such path: it says nothing of the service.
    let url = format!("http://127.0.0.1:{}", nginx.h2c);
    unknown(see(check(&url, "")).await, "does not offer grpc.health.v1 (status 404)");
    // HTTP/1.1 only.
    fails(see(check(&format!("http://127.0.0.1:{}", nginx.plain), "")).await, "does not speak it");

    let garbage = says(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    fails(see(check(&garbage.url("/"), "")).await, "does not speak it");
    let mute = Server::start(|mut stream: TcpStream| async move {
        let _ = stream.write_all(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00").await;
        while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    fails(see(check(&mute.url("/"), "")).await, "within 700ms");
}
