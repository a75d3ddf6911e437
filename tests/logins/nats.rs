//! NATS: TLS on the client port, after its first word and before it; users with rights, a token.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pointsman::config::HostPort;
use pointsman::io::wire::Wire;
use pointsman::io::{Contact, Net, TrustFiles};

use crate::common::{Program, find, find_foreign, ports, until, until_async};
use crate::{House, RIGHT, START, WRONG};

/// Three servers of one cluster on loopback.
struct Servers {
    _programs: Vec<Program>,
    watched: Vec<String>,
    /// The client port of the first: they differ, and the proof asks one.
    client: u16,
}

/// `who` says who may do what; `first` whether TLS begins with the first byte.
fn start(house: &House, program: &Path, who: &str, tls: &str) -> Servers {
    let routes = [(); 3].map(|()| ports::free());
    let clients = [(); 3].map(|()| ports::free());
    let watched = [(); 3].map(|()| ports::free());
    let peers: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
    let programs = (0..3).map(|n| {
        let text = format!(
            "server_name: m{n}\nhost: 0.0.0.0\nport: {client}\nhttps: \"0.0.0.0:{http}\"\n\
             tls {{cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, {tls}}}\n\
             jetstream {{store_dir: {store:?}}}\n\
             cluster {{name: q, host: 127.0.0.1, port: {route}, routes: [{peers}]}}\n{who}\n",
            client = clients[n],
            http = watched[n],
            cert = house.made.server.0,
            key = house.made.server.1,
            ca = house.made.ca,
            store = house.path(&format!("store{n}")),
            route = routes[n],
            peers = peers.join(", "),
        );
        let mut command = Command::new(program);
        command.arg("-c").arg(house.write(&format!("nats{n}.conf"), &text));
        Program::start(&mut command, "nats-server", &house.path(&format!("nats{n}.log")))
    });
    let programs = programs.collect();
    let watched = watched.iter().map(|port| format!("https://127.0.0.1:{port}")).collect();
    Servers { _programs: programs, watched, client: clients[0] }
}

/// A stream with three copies, made over the client port by somebody who may.
async fn make_stream(house: &House, port: u16, connect: &str, first: bool) {
    let files = TrustFiles { ca: Some(house.made.ca.clone()), identity: Some(house.made.client.clone()) };
    let to = HostPort { host: "127.0.0.1".to_owned(), port };
    until_async("the stream to be made", START, async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let contact = &mut Contact::new(Duration::from_secs(3));
        let asked = async {
            let net = Net::new();
            let mut wire = Wire::open(contact, &net, &to, first.then_some(&files), 1 << 20).await?;
            wire.line(contact).await?;
            if !first {
                wire = wire.secure(contact, &net, &files).await?;
            }
            let stream = r#"{"name":"PROBE","subjects":["pointsman.probe"],"num_replicas":3,"max_msgs":1}"#;
            let talk = format!(
                "CONNECT {connect}\r\nSUB in 1\r\nPUB $JS.API.STREAM.CREATE.PROBE in {}\r\n{stream}\r\n",
                stream.len()
            );
            wire.send(contact, talk.as_bytes()).await?;
            loop {
                let line = wire.line(contact).await?;
                if line.contains("\"PROBE\",\"s") {
                    return Ok::<_, pointsman::io::Failure>(());
                }
                assert!(!line.starts_with("-ERR"), "{line}");
            }
        };
        asked.await.is_ok()
    })
    .await;
}

const USERS: &str = r#"accounts {
  APP {
    jetstream: enabled
    users: [
      {user: admin, password: "s3cr3t-of-admin"}
      {user: pointsman, password: "s3cr3t-of-pointsman", permissions: {publish: ["pointsman.probe"], subscribe: ["_INBOX.>"]}}
      {user: mute, password: "s3cr3t-of-pointsman", permissions: {publish: ["nothing"], subscribe: ["_INBOX.>"]}}
      {user: deaf, password: "s3cr3t-of-pointsman", permissions: {publish: ["pointsman.probe"], subscribe: ["nothing"]}}
    ]
  }
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn nats_users_over_tls() {
    let Some(program) = find("nats-server", "nats-server", &["/usr/sbin"]) else { return };
    let house = House::new("nats-logins");
    let servers = start(&house, &program, USERS, "timeout: 5");
    let admin = r#"{"verbose":false,"user":"admin","pass":"s3cr3t-of-admin"}"#;
    make_stream(&house, servers.client, admin, false).await;
    let publish = |user: &str| {
        format!(
            "tls: {{CA}}\nlinearizable_timeout: 6s\npublish:\n  subject: pointsman.probe\n  port: {}\n  tls: after_info\n  \
             user: {user}\n  password: {{file: SECRETS/password}}",
            servers.client
        )
    };
    let door = |options: &str| house.door("nats", &servers.watched, options);
    let right = door(&publish("pointsman"));
    right.until_well().await;
    house.write("password", WRONG);
    right.ask().await.is_unproven("Authorization Violation");
    assert!(right.shown().contains("Authorization Violation"));
    house.write("password", RIGHT);
    right.well(&right.ask().await);
    assert!(right.shown().contains("a request that takes a quorum passes"));

    door(&publish("mute")).ask().await.is_unproven("Permissions Violation for Publish");
    door(&publish("deaf")).ask().await.is_unproven("Permissions Violation for Subscription");
    let nobody = publish("x").replace("\n  user: x\n  password: {file: SECRETS/password}", "");
    door(&nobody).ask().await.is_unproven("Authorization Violation");
    // In clear text, which the server does not want; and TLS from the first byte, which it wants later.
    let clear = publish("pointsman").replace("tls: after_info", "tls: none");
    door(&clear).ask().await.is_unproven("add `tls: after_info`");
    let first = publish("pointsman").replace("tls: after_info", "tls: first");
    door(&first).ask().await.is_unproven("is not TLS");

    // Where TLS is wanted of a server that does without, no password is told.
    let plain = ports::free();
    let mut command = Command::new(&program);
    command.args(["-a", "127.0.0.1", "-p", &plain.to_string()]);
    let _plain = Program::start(&mut command, "nats-server", &house.path("plain.log"));
    until("a server to listen", START, || std::net::TcpStream::connect(("127.0.0.1", plain)).is_ok());
    let bare = publish("pointsman").replace(&servers.client.to_string(), &plain.to_string());
    door(&bare).ask().await.is_unproven("offers no TLS, and `publish` wants it");

    let strange = publish("pointsman").replace("{CA}", "{STRANGE}");
    door(&strange).ask().await.is_unknown("a CA that is not trusted here");
    let elsewhere: Vec<String> =
        servers.watched.iter().map(|url| url.replace("127.0.0.1", "127.0.0.2")).collect();
    let asked = house.door("nats", &elsewhere, &publish("pointsman")).ask().await;
    asked.is_unknown("not valid for name \"127.0.0.2\"");
}

/// TLS with the first byte, and whom it does not know by a certificate it does not let in.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: part of `make test-long`"]
async fn nats_with_tls_first_and_a_token() {
    let Some(program) = find_foreign("nats-server-2.10", "nats-server 2.10 of Debian 13") else { return };
    let house = House::new("nats-first");
    let who = format!("authorization {{token: \"{RIGHT}\"}}");
    let servers = start(&house, &program, &who, "timeout: 15, verify: true, handshake_first: true");
    let admin = format!("{{\"verbose\":false,\"auth_token\":\"{RIGHT}\"}}");
    make_stream(&house, servers.client, &admin, true).await;
    let publish = format!(
        "tls: {{CA, IDENTITY}}\nlinearizable_timeout: 6s\npublish:\n  subject: pointsman.probe\n  port: {}\n  \
         tls: first\n  token: {{file: SECRETS/password}}",
        servers.client
    );
    let door = |options: &str| house.door("nats", &servers.watched, options);
    let right = door(&publish);
    right.until_well().await;
    house.write("password", WRONG);
    right.ask().await.is_unproven("Authorization Violation");
    right.shown();
    house.write("password", RIGHT);
    right.well(&right.ask().await);
    // Whoever waits for its first word waits in vain, which is no sign of a lost quorum.
    let later = publish.replace("tls: first", "tls: after_info");
    door(&later).ask().await.is_unproven("no answer within 6s");
    let nobody = publish.replace(", IDENTITY", "");
    door(&nobody).ask().await.is_unproven("does not accept our certificate");
}
