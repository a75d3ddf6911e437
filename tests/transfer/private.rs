//! Zones over TLS (RFC 9103), to `dig` and `kdig`, and to NSD and BIND as secondaries.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pointsman::wire::{Message, Name, Rcode, RecordType, ask};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::common::daemon::Daemon;
use crate::common::ports;
use crate::secondaries::{Secondary, bind_zones, in_sync, nsd_zones};
use crate::world::{SECRET, configuration, dig, tool, with_key, write_key, zone};

const HOST: &str = "ns1.example.com";

/// A daemon with a zone for whoever has the key and for loopback, and its address for TLS.
fn start(name: &str, notify: &[u16]) -> (Daemon, SocketAddr) {
    let mut daemon = Daemon::prepare(name);
    write_key(&daemon);
    let params = rcgen::CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    daemon.write("server.pem", &params.self_signed(&key).unwrap().pem());
    daemon.write("server.key", &key.serialize_pem());
    daemon.write("a.zone", &zone("a.test", 1, 2000, ""));
    let tls = SocketAddr::from(([127, 0, 0, 1], ports::free_for_both()));
    let notify: Vec<_> =
        notify.iter().map(|port| format!("{{address: \"127.0.0.1:{port}\", key: transfer-key}}")).collect();
    let zones = format!(
        "  - {{name: a.test, file: a.zone, transfer: {{allow: [{{key: transfer-key}}, {{prefix: 127.0.0.0/8}}], notify: [{}]}}}}\n",
        notify.join(", ")
    );
    let text = configuration(&zones, "tls: {certificate: server.pem, key: server.key}\n");
    daemon.write("pointsman.yaml", &text.replace("listen: {", &format!("listen: {{tls: [\"{tls}\"], ")));
    daemon.start();
    (daemon, tls)
}

/// A connection in this version of TLS.
fn secured(
    daemon: &Daemon,
    tls: SocketAddr,
    version: &'static SupportedProtocolVersion,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(daemon.directory().join("server.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"dot".to_vec()];
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from(HOST).unwrap()).unwrap();
    let stream = TcpStream::connect(tls).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    StreamOwned::new(client, stream)
}

fn say(stream: &mut impl Write, query: &[u8]) {
    stream.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat()).unwrap();
}

fn hear(stream: &mut impl Read) -> Message {
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).unwrap();
    Message::read(&message).unwrap()
}

#[test]
fn zones_go_out_over_tls() {
    let (daemon, tls) = start("private", &[]);
    let ca = daemon.directory().join("server.pem").display().to_string();
    let key = with_key("transfer-key", "hmac-sha256", SECRET);
    let (ca, host) = (format!("+tls-ca={ca}"), format!("+tls-hostname={HOST}"));
    let Some(said) = dig(tls, &["+tls", &ca, &host, "a.test", "AXFR", "-y", &key]) else { return };
    assert!(said.contains("XFR size: 2004 records") && said.contains("host1999.a.test."), "{said}");
    daemon.write("a.zone", &zone("a.test", 2, 2001, ""));
    assert!(daemon.cli(&["reload"]).succeeded());
    let said = dig(tls, &["+tls", &ca, &host, "a.test", "IXFR=1", "-y", &key]).unwrap();
    assert!(said.contains("XFR size: 5 records") && said.contains("host2000.a.test."), "{said}");
    let Some(mut kdig): Option<Command> = tool("kdig", "knot-dnsutils") else { return };
    let port = tls.port().to_string();
    kdig.args(["@127.0.0.1", "-p", &port, "+tls", &ca, &host, "-y", &key, "a.test", "AXFR"]);
    let said = String::from_utf8_lossy(&kdig.output().unwrap().stdout).into_owned();
    assert!(said.contains("host2000.a.test.") && !said.contains(";; ERROR"), "{said}");
    // Questions are answered over TLS 1.2 too, zones are not (RFC 9103 §7.2).
    let name = Name::parse("a.test").unwrap();
    for (version, rcode) in [(&TLS12, Rcode::REFUSED), (&TLS13, Rcode::NOERROR)] {
        let mut stream = secured(&daemon, tls, version);
        say(&mut stream, &ask(1, &name, RecordType::NS, None));
        assert_eq!(hear(&mut stream).sections[0].len(), 1);
        say(&mut stream, &ask(2, &name, RecordType::AXFR, None));
        let first = hear(&mut stream);
        assert_eq!((first.rcode(), first.sections[0].is_empty()), (rcode, rcode == Rcode::REFUSED));
    }
    assert!(daemon.log().contains("zones go out over TLS 1.3"), "{}", daemon.log());
}

#[test]
fn nsd_and_bind_fetch_over_tls() {
    let peers: [u16; 2] = std::array::from_fn(|_| ports::free_for_both());
    let (daemon, tls) = start("private-secondaries", &peers);
    let ca = daemon.directory().join("server.pem").display().to_string();
    let port = tls.port();
    let [nsd, bind] = peers;
    let secondaries: Vec<_> = [
        Secondary::nsd(nsd, |at| {
            let from = format!("127.0.0.1@{port} transfer-key primary");
            let auth = format!("tls-auth:\n    name: primary\n    auth-domain-name: {HOST}\n");
            let server = format!("    tls-cert-bundle: \"{ca}\"\n{auth}");
            nsd_zones(at, nsd, &server, [("a.test", &from)])
        }),
        Secondary::bind(bind, |at| {
            let from = format!("127.0.0.1 port {port} key transfer-key tls primary");
            let more = format!("tls primary {{ ca-file \"{ca}\"; remote-hostname \"{HOST}\"; }};\n");
            bind_zones(at, bind, &more, [("a.test", &from)])
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if secondaries.is_empty() {
        return;
    }
    in_sync(&daemon, &secondaries, "a.test", 1);
    daemon.write("a.zone", &zone("a.test", 2, 1990, "more IN TXT \"more\"\n"));
    assert!(daemon.cli(&["reload"]).succeeded());
    in_sync(&daemon, &secondaries, "a.test", 2);
    let metric =
        |event: &str| daemon.metric(&format!("pointsman_query_events_total{{event=\"{event}\"}}")).unwrap();
    assert_eq!(metric("transfer_ixfr"), secondaries.len() as f64, "{}", daemon.log());
    assert_eq!(metric("tls_broken"), 0.0);
}
