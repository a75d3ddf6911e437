//! Connections of all kinds against the clients that people use: TCP, TLS, HTTPS, QUIC, and
//! balancers before them.
#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(clippy::disallowed_methods, reason = "a test reads the clock")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pointsman::base::Prefix;
use pointsman::config::{Carries, DnsLimits};
use pointsman::dns::{Counter, Counts};
use pointsman::io::{Certificate, PemFiles};
use pointsman::serve::{Server, Sockets};
use pointsman::wire::{Message, Name, Rcode, RecordType, ask};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use common::daemon::Daemon;
use common::unbound::Unbound;
use common::{Program, Scratch, find, ports, until};

mod common;
mod zoo;

/// For what is to happen at once, on a machine under load.
const PATIENCE: Duration = Duration::from_secs(10);
/// The name in certificates.
const HOST: &str = "ns1.example.com";
/// Octets that no query starts with.
const RUBBISH: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

// ── a server with all of it ──

struct Served {
    server: Server,
    pki: Pki,
    tcp: SocketAddr,
    tls: SocketAddr,
    https: SocketAddr,
    quic: SocketAddr,
    /// Behind a balancer on loopback: DNS, TLS, HTTPS.
    proxied: [SocketAddr; 3],
}

fn limits() -> DnsLimits {
    DnsLimits { tcp_idle: PATIENCE, ..zoo::config(zoo::CONFIG).dns }
}

fn serve(limits: &DnsLimits) -> Served {
    serve_for(limits, "127.0.0.0/8")
}

fn serve_for(limits: &DnsLimits, balancers: &str) -> Served {
    let pki = Pki::new();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let balancers: [Prefix; 1] = [balancers.parse().unwrap()];
    let mut sockets = Sockets::bind(&[any], 1).unwrap();
    for carries in [Carries::Dns, Carries::Tls, Carries::Https] {
        if carries != Carries::Dns {
            sockets.add_door(any, carries, None, None).unwrap();
        }
        sockets.add_door(any, carries, Some(&balancers), None).unwrap();
    }
    sockets.add_quic(any, None).unwrap();
    sockets.show(Certificate::open(pki.files()).unwrap());
    let (tcp, quic) = (sockets.tcp_addresses()[0], sockets.quic_addresses()[0]);
    let tls = sockets.addresses(Carries::Tls, false)[0];
    let https = sockets.addresses(Carries::Https, false)[0];
    let proxied =
        [Carries::Dns, Carries::Tls, Carries::Https].map(|carries| sockets.addresses(carries, true)[0]);
    let table = Arc::new(ArcSwap::from_pointee(zoo::table()));
    let server = Server::start(sockets, table, limits).unwrap();
    Served { server, pki, tcp, tls, https, quic, proxied }
}

impl Served {
    /// Waits until something was counted so often.
    #[track_caller]
    fn counted(&self, counter: Counter, times: u64) {
        let counts = || -> Counts { self.server.counts() };
        until(&format!("{counter:?} to be {times}, in {:?}", counts()), PATIENCE, || {
            counts()[counter] >= times
        });
        assert_eq!(counts()[counter], times, "{counter:?}");
    }
}

/// A certificate that lies in files, and clients that trust it alone.
struct Pki {
    scratch: Scratch,
}

impl Pki {
    fn new() -> Self {
        let pki = Self { scratch: Scratch::new("pki") };
        pki.renew(2040);
        pki
    }

    fn files(&self) -> PemFiles {
        PemFiles { certificate: self.path("server.pem"), key: self.path("server.key") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn renew(&self, until: i32) {
        let mut params =
            rcgen::CertificateParams::new(vec![HOST.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        for (name, text) in [("server.pem", certificate.pem()), ("server.key", key.serialize_pem())] {
            std::fs::write(self.path("new"), text).unwrap();
            std::fs::rename(self.path("new"), self.path(name)).unwrap();
        }
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path("server.pem")).unwrap()
    }

    fn client(&self, protocol: &str) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        if !protocol.is_empty() {
            config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        }
        config
    }

    fn secure(&self, stream: TcpStream, protocol: &str) -> Secured {
        let name = ServerName::try_from(HOST).unwrap();
        let client = ClientConnection::new(Arc::new(self.client(protocol)), name).unwrap();
        StreamOwned::new(client, stream)
    }
}

type Secured = StreamOwned<ClientConnection, TcpStream>;

// ── messages ──

fn query(id: u16, name: &str, rtype: RecordType) -> Vec<u8> {
    ask(id, &Name::parse(&format!("{name}.example.com")).unwrap(), rtype, Some(1232))
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

fn read_frame(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether a question on this connection is answered.
fn works(stream: &mut (impl Read + Write)) -> bool {
    let asked = stream.write_all(&frame(&query(7, "host", RecordType::A))).and_then(|()| stream.flush());
    asked.is_ok() && read_frame(stream).is_ok_and(|answer| Message::read(&answer).unwrap().id == 7)
}

/// Whether the other side closes, waited for.
fn is_closed(stream: &mut impl Read) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match stream.read(&mut [0; 1]) {
        Ok(len) => len == 0,
        Err(error) => !matches!(error.kind(), WouldBlock | TimedOut),
    }
}

fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

// ── the clients that people use ──

#[test]
fn kdig_is_answered_over_every_transport() {
    let Some(kdig) = find("kdig", "knot-dnsutils", &[]) else { return };
    let served = serve(&limits());
    let ca = format!("+tls-ca={}", served.pki.path("server.pem").display());
    let host = format!("+tls-hostname={HOST}");
    let mut ways = vec![
        (served.tcp, vec!["+tcp"]),
        (served.tls, vec!["+tls", &ca, &host]),
        (served.https, vec!["+https=ns1.example.com/dns-query", &ca, &host]),
        (served.https, vec!["+https=ns1.example.com/dns-query", "+https-get", &ca, &host]),
    ];
    // Debian 12 has it without QUIC, although its help speaks of it.
    let speaks_quic = run(Path::new("ldd"), &[kdig.to_str().unwrap()]).contains("ngtcp2");
    if speaks_quic {
        ways.push((served.quic, vec!["+quic", &ca, &host]));
    }
    for (address, how) in &ways {
        for (name, rtype, wanted) in [
            ("storefront.example.com", "A", "192.0.2.10"),
            ("shop.example.com", "AAAA", "2001:db8:"),
            ("big.example.com", "TXT", "a1234567890"),
            ("none.example.com", "A", "NXDOMAIN"),
        ] {
            let port = address.port().to_string();
            let shared = ["@127.0.0.1", "-p", &port, "+time=5", "+retry=0", name, rtype];
            let said = run(&kdig, &[&shared, &how[..]].concat());
            assert!(said.contains(wanted) && !said.contains("WARNING"), "{how:?} {name} {rtype}:\n{said}");
        }
    }
    let counts = served.server.stop();
    let asked = [Counter::Tcp, Counter::Tls, Counter::Https, Counter::Quic].map(|counter| counts[counter]);
    assert_eq!(asked, [4, 4, 8, if speaks_quic { 4 } else { 0 }]);
    assert_eq!(
        (counts[Counter::TlsBroken], counts[Counter::HttpsBroken], counts[Counter::QuicBroken]),
        (0, 0, 0)
    );
}

#[test]
fn dig_is_answered_over_tls_and_https() {
    let Some(dig) = find("dig", "bind9-dnsutils", &[]) else { return };
    let served = serve(&limits());
    let ca = format!("+tls-ca={}", served.pki.path("server.pem").display());
    let host = format!("+tls-hostname={HOST}");
    for (address, how) in [(served.tls, "+tls"), (served.https, "+https"), (served.https, "+https-get")] {
        let port = address.port().to_string();
        let shared = ["@127.0.0.1", "-p", &port, "+norec", "+time=5", "+tries=1", how, &ca, &host];
        let said = run(&dig, &[&shared[..], &["+short", "shop.example.com", "A"]].concat());
        assert_eq!(said, "storefront.example.com.\n192.0.2.10\n", "{how}");
        // Everything in the answer is ours, the OPT record and the case of the name too.
        let said = run(
            &dig,
            &[&shared[..], &["+cookie", "+nsid", "+padding=128", "HoSt.example.com", "TXT"]].concat(),
        );
        assert!(said.contains("HoSt.example.com.") && said.contains("udp: 1232"), "{how}: {said}");
        assert!(!said.contains("malformed") && !said.to_lowercase().contains("warning"), "{how}: {said}");
    }
}

/// Another implementation's idea of RFC 7858, 8484 and 9250.
#[test]
fn hickorys_clients_are_answered() {
    use hickory_proto::op::{DnsRequest, DnsRequestOptions, Message, Query};
    use hickory_server::net::h2::HttpsClientStream;
    use hickory_server::net::quic::QuicClientStream;
    use hickory_server::net::runtime::TokioRuntimeProvider;
    use hickory_server::net::tls::tls_exchange;
    use hickory_server::net::xfer::{DnsExchange, DnsHandle, FirstAnswer};

    let served = serve(&limits());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // What runs in the background ends with the last copy of this.
        let provider = TokioRuntimeProvider::new();
        let name = ServerName::try_from(HOST).unwrap();
        let tls = tls_exchange(served.tls, name, served.pki.client("dot"), PATIENCE, None, provider.clone());
        let https = HttpsClientStream::builder(Arc::new(served.pki.client("h2")), provider.clone());
        let quic = QuicClientStream::builder().crypto_config(served.pki.client("doq"));
        let (quic, background) =
            DnsExchange::from_stream(quic.build(served.quic, HOST.into()).await.unwrap());
        tokio::spawn(background);
        let https = https.exchange(served.https, HOST.into(), "/dns-query".into()).await.unwrap();
        for exchange in [tls.await.unwrap(), https, quic] {
            for (name, count) in
                [("host.example.com.", 1), ("many.example.com.", 3), ("none.example.com.", 0)]
            {
                let mut message = Message::query();
                message.add_query(Query::query(name.parse().unwrap(), hickory_proto::rr::RecordType::A));
                let request = DnsRequest::new(message, DnsRequestOptions::default());
                let answer = exchange.send(request).first_answer().await.unwrap();
                assert_eq!(answer.answers.len(), count, "{answer:?}");
            }
        }
    });
    let counts = served.server.stop();
    assert_eq!((counts[Counter::Tls], counts[Counter::Https], counts[Counter::Quic]), (3, 3, 3));
}

#[test]
fn unbound_forwards_to_us_over_tls() {
    if !Unbound::is_installed() {
        return;
    }
    let served = serve(&limits());
    let unbound =
        Unbound::start_forwarding("example.com", served.tls, HOST, &served.pki.path("server.pem")).unwrap();
    let seen = common::client::addresses(unbound.address, "storefront.example.com");
    assert_eq!(seen, ["192.0.2.10"]);
    let counts = served.server.stop();
    assert!(counts[Counter::Tls] > 0 && counts[Counter::Tcp] + counts[Counter::Udp] == 0, "{counts:?}");
}

#[test]
fn https_says_what_is_wrong_with_a_request() {
    let Some(curl) = find("curl", "curl", &[]) else { return };
    let served = serve(&limits());
    let (ca, port) = (served.pki.path("server.pem"), served.https.port());
    let base = format!("https://{HOST}:{port}");
    let resolve = format!("{HOST}:{port}:127.0.0.1");
    let body = served.pki.path("query");
    std::fs::write(&body, query(0, "storefront", RecordType::A)).unwrap();
    std::fs::write(served.pki.path("long"), vec![0; 5000]).unwrap();
    let data = |name: &str| format!("@{}", served.pki.path(name).display());
    let ask = |path: &str, more: &[&str]| {
        let url = format!("{base}{path}");
        let shared = ["--silent", "--max-time", "10", "--http2", "--resolve", &resolve, "--cacert"];
        let output = ["--output", "/dev/null", "--dump-header", "-"];
        run(&curl, &[&shared[..], &[ca.to_str().unwrap()], &output, more, &[&url]].concat()).to_lowercase()
    };
    let (query, long) = (data("query"), data("long"));
    let posted = ["--data-binary", &query, "--header", "content-type: application/dns-message"];
    let said = ask("/dns-query", &posted);
    assert!(
        said.starts_with("http/2 200") && said.contains("content-type: application/dns-message"),
        "{said}"
    );
    // The service's TTL, and nobody's but this client's.
    assert!(said.contains("cache-control: private, max-age=20\r\n"), "{said}");
    // As RFC 8484 §4.1.1 has it: no content type, for there is no content.
    let get = "/dns-query?dns=AAABAAABAAAAAAAABGhvc3QHZXhhbXBsZQNjb20AAAEAAQ";
    let said = ask(get, &["--header", "accept: application/dns-message"]);
    assert!(said.starts_with("http/2 200") && said.contains("max-age=300"), "{said}");
    let unfit = [
        ("/", &posted[..], 404),
        ("/dns-query", &["--request", "PUT"], 405),
        ("/dns-query", &["--data-binary", &query], 415),
        ("/dns-query", &["--data-binary", &long, "--header", "content-type: application/dns-message"], 413),
        ("/dns-query", &["--data-binary", "short", "--header", "content-type: application/dns-message"], 400),
        ("/dns-query", &[], 400),
        ("/dns-query?dns=rubbish!", &[], 400),
    ];
    for (path, more, status) in unfit {
        let said = ask(path, more);
        assert!(said.starts_with(&format!("http/2 {status}")), "{path} {more:?}: {said}");
    }
    served.counted(Counter::HttpsUnfit, unfit.len() as u64);
    // The body, octet by octet.
    let answer = served.pki.path("answer");
    let url = format!("{base}/dns-query");
    let shared = ["--silent", "--max-time", "10", "--resolve", &resolve, "--cacert", ca.to_str().unwrap()];
    run(&curl, &[&shared[..], &["--output", answer.to_str().unwrap()], &posted, &[&url]].concat());
    let mut tcp = connect(served.tcp);
    tcp.write_all(&frame(&std::fs::read(body).unwrap())).unwrap();
    assert_eq!(std::fs::read(answer).unwrap(), read_frame(&mut tcp).unwrap());
}

// ── one engine ──

#[test]
fn all_transports_say_the_same() {
    let served = serve(&limits());
    let (mut tcp, mut tls) = (connect(served.tcp), served.pki.secure(connect(served.tls), "dot"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let quic = quic(&served.pki, served.quic).await.unwrap();
        for name in zoo::NAMES {
            for rtype in [RecordType::A, RecordType::TXT, RecordType::ANY, RecordType(65_280)] {
                let mut query = query(0, name, rtype);
                // An option that nobody knows must not disturb.
                let len = query.len();
                query[len - 1] = 6;
                query.extend([0xfd, 0xe9, 0, 2, 1, 2]);
                tcp.write_all(&frame(&query)).unwrap();
                let wanted = read_frame(&mut tcp).unwrap();
                tls.write_all(&frame(&query)).unwrap();
                let over_tls = read_frame(&mut tls).unwrap();
                let over_quic = over_quic(&quic, &frame(&query)).await.unwrap();
                let same = |one: &[u8], other: &[u8]| match *name {
                    // Drawn anew each time: an order, or a region.
                    "many" | "spread" | "together" => one[..4] == other[..4],
                    _ => one == other,
                };
                assert!(same(&over_tls, &wanted), "{name} {rtype}");
                assert!(over_quic.len() > 2 && same(&over_quic[2..], &wanted), "{name} {rtype}");
            }
        }
    });
}

#[test]
fn who_has_finished_asking_is_still_answered() {
    let served = serve(&limits());
    // As `nc -N` does: all questions, then the end of what will be said.
    let questions: Vec<u8> = (0..50).flat_map(|id| frame(&query(id, "big", RecordType::TXT))).collect();
    let mut tcp = connect(served.tcp);
    tcp.write_all(&questions).unwrap();
    tcp.shutdown(Shutdown::Write).unwrap();
    for id in 0..50 {
        assert_eq!(Message::read(&read_frame(&mut tcp).unwrap()).unwrap().id, id);
    }
    assert!(is_closed(&mut tcp));
    // The same within TLS.
    let mut tls = served.pki.secure(connect(served.tls), "dot");
    tls.write_all(&questions).unwrap();
    tls.conn.send_close_notify();
    tls.flush().unwrap();
    for id in 0..50 {
        assert_eq!(Message::read(&read_frame(&mut tls).unwrap()).unwrap().id, id);
    }
    assert!(matches!(tls.read(&mut [0; 1]), Ok(0)), "it says goodbye");
    assert_eq!(served.server.counts()[Counter::TcpBroken] + served.server.counts()[Counter::TlsBroken], 0);
}

// ── TLS ──

#[test]
fn what_is_meant_for_another_protocol_is_refused() {
    let served = serve(&limits());
    // A client may leave it open (RFC 7858 §3.1)…
    assert!(works(&mut served.pki.secure(connect(served.tls), "")));
    // … but one that says otherwise is in the wrong place.
    for (address, protocol) in [(served.tls, "h2"), (served.https, "dot"), (served.https, "http/1.1")] {
        let mut stream = served.pki.secure(connect(address), protocol);
        assert!(stream.write_all(RUBBISH).and_then(|()| stream.read(&mut [0; 1])).is_err(), "{protocol}");
    }
    // No TLS at all, and rubbish within TLS.
    for address in [served.tls, served.https] {
        let mut stream = connect(address);
        stream.write_all(&frame(&query(7, "host", RecordType::A))).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 20, "an alert at most: {rest:x?}");
        let mut stream = served.pki.secure(connect(address), "");
        stream.write_all(RUBBISH).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 60, "the settings of HTTP/2 and a goodbye at most: {rest:x?}");
    }
    served.counted(Counter::TlsBroken, 3);
    served.counted(Counter::HttpsBroken, 4);
}

#[test]
fn a_renewed_certificate_is_shown_from_the_next_handshake_on() {
    let served = serve(&DnsLimits { tcp_idle: Duration::from_secs(60), ..limits() });
    let shown = || {
        let mut stream = served.pki.secure(connect(served.tls), "dot");
        // Trusts the certificate that is in the files now: fails until that one is shown.
        works(&mut stream).then(|| stream.conn.peer_certificates().unwrap()[0].clone().into_owned())
    };
    let first = shown().unwrap();
    let mut before = served.pki.secure(connect(served.tls), "dot");
    assert!(works(&mut before));

    // A pair that does not fit never replaces the one in use.
    let pem = std::fs::read(served.pki.path("server.pem")).unwrap();
    let broken = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let good = std::fs::read(served.pki.path("server.key")).unwrap();
    std::fs::write(served.pki.path("server.key"), broken).unwrap();
    thread::sleep(Duration::from_secs(6));
    assert_eq!(shown().as_ref(), Some(&first));
    std::fs::write(served.pki.path("server.key"), good).unwrap();

    served.pki.renew(2041);
    assert_ne!(std::fs::read(served.pki.path("server.pem")).unwrap(), pem);
    until("the new certificate to be shown", Duration::from_secs(20), || shown().is_some());
    assert_eq!(shown(), Some(served.pki.certificate()));
    assert_ne!(shown(), Some(first));
    assert!(works(&mut before), "connections go on");
}

// ── limits ──

#[test]
fn seats_are_limited_over_all_encrypted_transports_and_apart_from_tcp() {
    let limits = DnsLimits { tcp_connections_max: 3, ..limits() };
    let served = serve(&limits);
    let mut open: Vec<_> = (0..3).map(|_| served.pki.secure(connect(served.tls), "dot")).collect();
    assert!(open.iter_mut().all(works));
    let mut fourth = served.pki.secure(connect(served.tls), "dot");
    assert!(!works(&mut fourth));
    assert!(is_closed(&mut connect(served.https)));
    served.counted(Counter::TlsRefused, 1);
    served.counted(Counter::HttpsRefused, 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(runtime.block_on(quic(&served.pki, served.quic)).is_err());
    served.counted(Counter::QuicRefused, 1);
    // Whoever comes in clear has a place.
    assert!(works(&mut connect(served.tcp)));
    open.pop();
    until("a place to become free", PATIENCE, || works(&mut served.pki.secure(connect(served.tls), "dot")));
}

#[test]
fn who_begins_and_does_not_go_on_is_not_waited_for() {
    let limits = DnsLimits { tcp_idle: Duration::from_millis(500), ..limits() };
    let served = serve(&limits);
    let started = Instant::now();
    // A handshake that is not begun: on every door that wants one.
    let mut silent: Vec<_> =
        [served.tls, served.https, served.proxied[0], served.proxied[1]].map(connect).into_iter().collect();
    // One that is over, and no query; one that has asked once; one that says hello in HTTP/2, and
    // goes on with nothing but pings.
    let mut mute = served.pki.secure(connect(served.tls), "dot");
    mute.flush().unwrap();
    let mut idle = served.pki.secure(connect(served.tls), "dot");
    assert!(works(&mut idle) && is_closed(&mut idle));
    assert!(is_closed(&mut mute));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let mut pinging = served.pki.secure(connect(served.https), "h2");
    pinging.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let pinged = Instant::now();
    pinging.sock.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    loop {
        assert!(pinged.elapsed() < PATIENCE, "it is kept alive by pings");
        if pinging.write_all(&ping).and_then(|()| pinging.flush()).is_err() {
            break;
        }
        match pinging.read(&mut [0; 4096]) {
            Ok(0) => break,
            Err(error) if !matches!(error.kind(), std::io::ErrorKind::WouldBlock) => break,
            _ => {}
        }
    }
    assert!(silent.iter_mut().all(is_closed));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn stops_while_connections_of_all_kinds_are_open() {
    let served = serve(&limits());
    let mut tls = served.pki.secure(connect(served.tls), "dot");
    assert!(works(&mut tls));
    let _begun = [served.tls, served.https, served.proxied[2]].map(connect);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _quic = runtime.block_on(quic(&served.pki, served.quic)).unwrap();
    let started = Instant::now();
    served.server.stop();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(is_closed(&mut tls));
}

// ── QUIC ──

async fn quic(pki: &Pki, address: SocketAddr) -> Result<quinn::Connection, quinn::ConnectionError> {
    let tls = QuicClientConfig::try_from(pki.client("doq")).unwrap();
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0u8; 16].into() };
    let mut endpoint = quinn::Endpoint::client(SocketAddr::new(any, 0)).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
    endpoint.connect(address, HOST).unwrap().await
}

/// Sends octets on a stream of their own and reads what comes back, to its end.
async fn over_quic(connection: &quinn::Connection, octets: &[u8]) -> Option<Vec<u8>> {
    let (mut send, mut receive) = connection.open_bi().await.ok()?;
    send.write_all(octets).await.ok()?;
    send.finish().ok()?;
    receive.read_to_end(70_000).await.ok()
}

#[test]
fn quic_answers_each_query_on_its_stream() {
    let served = serve(&limits());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = quic(&served.pki, served.quic).await.unwrap();
        // One that does not come to an end holds nobody up.
        let (mut begun, _unread) = connection.open_bi().await.unwrap();
        begun.write_all(&[0, 40, 0]).await.unwrap();
        for _ in 0..150 {
            let answer = over_quic(&connection, &frame(&query(0, "host", RecordType::A))).await.unwrap();
            let message = Message::read(&answer[2..]).unwrap();
            assert_eq!((message.id, message.rcode(), message.sections[0].len()), (0, Rcode::NOERROR, 1));
        }
        // One that the client gives up is no fault of the connection.
        begun.reset(3u32.into()).unwrap();
        assert!(over_quic(&connection, &frame(&query(0, "host", RecordType::A))).await.is_some());
        connection.close(0u32.into(), b"");
    });
    let counts = served.server.stop();
    assert_eq!(
        (counts[Counter::Quic], counts[Counter::QuicAccepted], counts[Counter::QuicBroken]),
        (151, 1, 0)
    );
}

#[test]
fn quic_closes_on_what_rfc_9250_forbids() {
    let served = serve(&limits());
    let good = query(0, "host", RecordType::A);
    let keepalive = {
        let mut query = good.clone();
        let len = query.len();
        query[len - 1] = 4;
        [&query[..], &[0, 11, 0, 0]].concat()
    };
    let forbidden = [
        frame(&query(7, "host", RecordType::A)),
        frame(&keepalive),
        [frame(&good), frame(&good)].concat(),
        frame(&good)[..20].to_vec(),
        vec![0],
        frame(&vec![0; 5000]),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for octets in &forbidden {
        runtime.block_on(async {
            let connection = quic(&served.pki, served.quic).await.unwrap();
            assert_eq!(over_quic(&connection, octets).await, None, "{octets:x?}");
            let why = tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
            let quinn::ConnectionError::ApplicationClosed(close) = why else { panic!("{why}") };
            assert_eq!(close.error_code, 2u32.into(), "DOQ_PROTOCOL_ERROR");
        });
    }
    served.counted(Counter::QuicBroken, forbidden.len() as u64);
}

/// Passes datagrams on between one client and a server; tells how many from the server were
/// Retry packets (RFC 9000 §17.2.5).
async fn relay(server: SocketAddr, retries: Arc<AtomicUsize>) -> SocketAddr {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let outside = tokio::net::UdpSocket::bind(any).await.unwrap();
    let inside = tokio::net::UdpSocket::bind(any).await.unwrap();
    inside.connect(server).await.unwrap();
    let address = outside.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut from_client, mut from_server) = ([0; 2048], [0; 2048]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((len, from)) = outside.recv_from(&mut from_client) => {
                    client = Some(from);
                    let _ = inside.send(&from_client[..len]).await;
                }
                Ok(len) = inside.recv(&mut from_server) => {
                    retries.fetch_add(usize::from(from_server[0] >> 4 == 0xf), Ordering::Relaxed);
                    let _ = outside.send_to(&from_server[..len], client.unwrap()).await;
                }
            }
        }
    });
    address
}

#[test]
fn quic_clients_show_where_they_are_once_seats_are_short() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for limits in [
        DnsLimits { tcp_connections_max: 4, ..limits() },
        DnsLimits { tcp_connections_per_client_max: 4, ..limits() },
    ] {
        let served = serve(&limits);
        runtime.block_on(async {
            let mut open = Vec::new();
            // Three come while at most half of the seats are taken; the last one has to come twice.
            for retried in [0, 0, 0, 1] {
                let retries = Arc::new(AtomicUsize::new(0));
                let address = relay(served.quic, Arc::clone(&retries)).await;
                open.push(quic(&served.pki, address).await.unwrap());
                assert_eq!(retries.load(Ordering::Relaxed), retried, "client {}", open.len());
            }
            for connection in &open {
                assert!(over_quic(connection, &frame(&query(0, "host", RecordType::A))).await.is_some());
            }
            assert!(quic(&served.pki, served.quic).await.is_err());
        });
        served.counted(Counter::QuicAccepted, 4);
        served.counted(Counter::QuicRefused, 1);
    }
}

/// Runs in a network namespace of its own, where the loopback device has several addresses.
#[test]
fn quic_answers_from_the_address_that_was_asked() {
    const THIS: &str = "quic_answers_from_the_address_that_was_asked";
    const INSIDE: &str = "POINTSMAN_TEST_IN_NAMESPACE";
    if std::env::var_os(INSIDE).is_none() {
        if find("unshare", "util-linux", &[]).is_none() || find("ip", "iproute2", &["/sbin"]).is_none() {
            return;
        }
        let this = std::env::current_exe().unwrap();
        let script = format!(
            "ip link set lo up && ip -6 addr add fd00::1/128 dev lo nodad && ip -6 addr add fd00::2/128 dev lo nodad && \
             ip addr add 10.0.0.1/32 dev lo && ip addr add 10.0.0.2/32 dev lo && exec {} --exact {THIS}",
            this.display()
        );
        let said =
            Command::new("unshare").args(["-rn", "sh", "-c", &script]).env(INSIDE, "1").output().unwrap();
        let out = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && out.contains("1 passed"), "{out}");
        return;
    }
    let pki = Pki::new();
    let mut sockets = Sockets::default();
    for any in ["0.0.0.0:0", "[::]:0"] {
        sockets.add_quic(any.parse().unwrap(), None).unwrap();
    }
    let ports: Vec<_> = sockets.quic_addresses().iter().map(SocketAddr::port).collect();
    sockets.show(Certificate::open(pki.files()).unwrap());
    let table = Arc::new(ArcSwap::from_pointee(zoo::table()));
    let _server = Server::start(sockets, table, &limits()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (address, port) in [
            ("10.0.0.1", ports[0]),
            ("10.0.0.2", ports[0]),
            ("127.0.0.7", ports[0]),
            ("fd00::1", ports[1]),
            ("fd00::2", ports[1]),
        ] {
            // Whoever answers from another address is not heard.
            let asked = SocketAddr::new(address.parse().unwrap(), port);
            let connection = quic(&pki, asked).await.unwrap_or_else(|why| panic!("{asked}: {why}"));
            assert!(over_quic(&connection, &frame(&query(0, "host", RecordType::A))).await.is_some());
        }
    });
}

// ── balancers ──

/// What a balancer says first: for a client over TCP, or for itself.
fn proxied(client: Option<Ipv4Addr>) -> Vec<u8> {
    let signature = &b"\r\n\r\n\0\r\nQUIT\n"[..];
    match client {
        Some(client) => {
            [signature, &[0x21, 0x11, 0, 12], &client.octets(), &[127, 0, 0, 1, 0x30, 0x39, 0, 53]].concat()
        }
        None => [signature, &[0x20, 0, 0, 0]].concat(),
    }
}

#[test]
fn balancers_say_for_whom_they_connect() {
    let limits = DnsLimits { tcp_connections_per_client_max: 2, ..limits() };
    let served = serve(&limits);
    let [dns, tls, _] = served.proxied;
    let for_client = |address: SocketAddr, client: Option<Ipv4Addr>| {
        let mut stream = connect(address);
        stream.write_all(&proxied(client)).unwrap();
        stream
    };
    let one = Some(Ipv4Addr::new(192, 0, 2, 1));
    // Two seats for each client, however many come by one balancer.
    let mut open = Vec::new();
    for last in 1..=4 {
        for _ in 0..2 {
            open.push(for_client(dns, Some(Ipv4Addr::new(192, 0, 2, last))));
        }
    }
    assert!(open.iter_mut().all(works));
    let mut third = for_client(dns, one);
    assert!(!works(&mut third));
    served.counted(Counter::TcpRefused, 1);
    // Before TLS, too, where seats are counted anew.
    let mut secured = [(); 2].map(|()| served.pki.secure(for_client(tls, one), "dot"));
    assert!(secured.iter_mut().all(works));
    assert!(!works(&mut served.pki.secure(for_client(tls, one), "dot")));
    // A health check.
    assert!(works(&mut for_client(dns, None)));
    // Without the header, nobody.
    let mut bare = connect(dns);
    bare.write_all(&frame(&query(7, "host", RecordType::A))).unwrap();
    assert!(is_closed(&mut bare));
    served.counted(Counter::ProxyRefused, 1);
}

#[test]
fn nobody_but_balancers_may_say_so() {
    let served = serve_for(&limits(), "192.0.2.0/24");
    for address in served.proxied {
        let mut stream = connect(address);
        let _ = stream.write_all(&proxied(Some(Ipv4Addr::new(192, 0, 2, 1))));
        assert!(is_closed(&mut stream));
    }
    served.counted(Counter::ProxyRefused, 3);
}

#[test]
fn haproxy_balances_before_us() {
    let Some(haproxy) = find("haproxy", "haproxy", &["/usr/sbin"]) else { return };
    let limits = DnsLimits { tcp_connections_per_client_max: 1, ..limits() };
    let served = serve(&limits);
    let scratch = Scratch::new("haproxy");
    let [plain, secure] = [ports::free(), ports::free()];
    let [dns, tls, _] = served.proxied;
    let config = format!(
        "global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend plain
  bind 127.0.0.1:{plain}
  default_backend dns
frontend secure
  bind 127.0.0.1:{secure}
  default_backend tls
backend dns
  server one {dns} send-proxy-v2 check inter 100ms
backend tls
  server one {tls} send-proxy-v2 check check-send-proxy inter 100ms
"
    );
    let file = scratch.path().join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(haproxy);
    command.arg("-db").arg("-f").arg(&file);
    let mut program = Program::start(&mut command, "haproxy", &scratch.path().join("haproxy.log"));
    let plain = SocketAddr::from(([127, 0, 0, 1], plain));
    let secure = SocketAddr::from(([127, 0, 0, 1], secure));
    until("haproxy to balance", PATIENCE, || {
        assert!(!program.has_ended(), "{:?}", std::fs::read_to_string(scratch.path().join("haproxy.log")));
        TcpStream::connect(plain).is_ok()
    });
    // From two addresses of loopback: haproxy tells which, so that each has its seat.
    let from = |last: u8, to: SocketAddr| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 1, last], 0)).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let (mut one, mut other) = (from(1, plain), from(2, plain));
    assert!(works(&mut one) && works(&mut other));
    assert!(!works(&mut from(1, plain)));
    assert!(works(&mut served.pki.secure(from(1, secure), "dot")));
    program.kill();
}

// ── the daemon ──

#[test]
fn the_daemon_takes_a_renewed_certificate_and_tells_until_when() {
    let pki = Pki::new();
    let mut daemon = Daemon::prepare("streams");
    let [dns, tls, https, quic, http] = [(); 5].map(|()| ports::free_for_both());
    daemon.http = Some(SocketAddr::from(([127, 0, 0, 1], http)));
    daemon.write(
        "pointsman.yaml",
        &format!(
            "version: 1
mode: answer
site: {{name: here}}
listen:
  dns: [\"127.0.0.1:{dns}\"]
  tls: [\"127.0.0.1:{tls}\"]
  https: [\"127.0.0.1:{https}\"]
  quic: [\"127.0.0.1:{quic}\"]
  http: \"127.0.0.1:{http}\"
  control: control.sock
tls: {{certificate: {}, key: {}}}
zones: [{{name: gtm.example.com, file: gtm.example.com.zone}}]
store: {{embedded: {{path: state}}}}
",
            pki.path("server.pem").display(),
            pki.path("server.key").display()
        ),
    );
    daemon.start();
    let expiry = "pointsman_tls_certificate_expiry_timestamp_seconds";
    let year =
        |year: i16| format!("{year}-01-01T00:00:00Z").parse::<jiff::Timestamp>().unwrap().as_second() as f64;
    assert_eq!(daemon.metric(expiry), Some(year(2040)));
    let tls = SocketAddr::from(([127, 0, 0, 1], tls));
    assert!(works(&mut pki.secure(connect(tls), "dot")));
    // Asked to look, it looks at once.
    pki.renew(2041);
    daemon.hang_up();
    until("the renewed certificate", PATIENCE, || daemon.metric(expiry) == Some(year(2041)));
    assert!(works(&mut pki.secure(connect(tls), "dot")));
    assert_eq!(daemon.metric("pointsman_query_events_total{event=\"tls\"}"), Some(2.0));
    // A pair that does not fit is told like any other mistake, and changes nothing.
    std::fs::write(pki.path("server.key"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let said = daemon.cli(&["check"]);
    assert!(!said.succeeded() && said.to_string().contains("is not the key of the certificate"), "{said}");
    assert!(said.to_string().contains("pointsman.yaml:11:"), "{said}");
    daemon.hang_up();
    until("the reload to be refused", PATIENCE, || {
        daemon.log().contains("is not the key of the certificate")
    });
    assert_eq!(daemon.metric(expiry), Some(year(2041)));
    assert!(works(&mut pki.secure(connect(tls), "dot")));
    daemon.stop();
}
