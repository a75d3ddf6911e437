//! What clients may say with EDNS, what they are told, and what becomes of those who ask too much:
//! the shipped binary over UDP and TCP, asked with octets of our own and with dig; and the engine
//! alone for what takes thousands of messages.
#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(clippy::print_stderr, reason = "a test says why it is skipped")]
#![allow(clippy::disallowed_methods, reason = "a test reads the clock")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::daemon::{Daemon, binary};
use pointsman::base::{Generation, Named};
use pointsman::dns::{Asker, Counter, Desk, Transport, UDP_PAYLOAD, answer};
use pointsman::table::{Image, Table};
use pointsman::wire::{Message, Name, Opcode, Rcode, RecordType, ask};

mod common;
mod zoo;

const APEX: &str = "gtm.example.com";
const PATIENCE: Duration = Duration::from_secs(10);
const NSID: u16 = 3;
const SUBNET: u16 = 8;
const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const PADDING: u16 = 12;
const EXPLANATION: u16 = 15;

/// The daemon with this `dns:` section, in the form `{…}`.
fn serve(name: &str, dns: &str) -> Daemon {
    let mut daemon = Daemon::prepare(name);
    configure(&daemon, dns);
    daemon.start();
    daemon
}

fn configure(daemon: &Daemon, dns: &str) {
    let text = format!(
        "version: 1\nmode: answer\nsite: {{name: test1}}\n\
         listen: {{dns: [\"127.0.0.1:0\"], control: control.sock}}\ndns: {dns}\n\
         zones: [{{name: {APEX}, file: {APEX}.zone}}]\nstore: {{embedded: {{path: state}}}}\n"
    );
    daemon.write("pointsman.yaml", &text);
}

/// Takes over another `dns:` section, as a running daemon does.
fn reconfigure(daemon: &Daemon, dns: &str) {
    configure(daemon, dns);
    let said = daemon.cli(&["reload"]);
    assert!(said.succeeded(), "{said}");
}

fn udp(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server).unwrap();
    socket
}

fn over_udp(server: SocketAddr, query: &[u8]) -> Message {
    let (socket, mut buffer) = (udp(server), [0; 2048]);
    socket.send(query).unwrap();
    let len = socket.recv(&mut buffer).expect("it answers");
    Message::read(&buffer[..len]).unwrap_or_else(|why| panic!("{why}: {:x?}", &buffer[..len]))
}

fn over_tcp(server: SocketAddr, query: &[u8]) -> Message {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&(query.len() as u16).to_be_bytes()).unwrap();
    stream.write_all(query).unwrap();
    let mut len = [0; 2];
    stream.read_exact(&mut len).expect("it answers");
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply).unwrap();
    Message::read(&reply).unwrap_or_else(|why| panic!("{why}: {reply:x?}"))
}

fn apex_query(options: &[(u16, &[u8])]) -> Vec<u8> {
    zoo::with_options(ask(7, &Name::parse(APEX).unwrap(), RecordType::SOA, Some(1232)), options)
}

fn option(message: &Message, code: u16) -> Option<Vec<u8>> {
    let options = &message.opt.as_ref()?.options;
    options.iter().find(|(other, _)| *other == code).map(|(_, data)| data.clone())
}

/// `RCODE flags`, with ` edns` and its flags if there is an OPT record, and the types of answers.
fn gist(message: &Message) -> String {
    let mut words = vec![message.rcode().to_string()];
    words.extend(message.flag_words().filter(|word| *word != "qr").map(str::to_owned));
    if let Some(opt) = &message.opt {
        assert_eq!(opt.version, 0, "RFC 6891 §6.1.3: the highest version that we speak");
        words.push(format!("edns:{:04x}", opt.flags));
    }
    words.extend(message.sections[0].iter().map(|record| record.rtype.to_string()));
    words.join(" ")
}

fn has_dig() -> bool {
    let has = Command::new("dig").arg("-v").output().is_ok();
    if !has {
        assert!(std::env::var_os("POINTSMAN_TEST_REQUIRE").is_none(), "needs dig (bind9-dnsutils)");
        eprintln!("ignored: needs dig (bind9-dnsutils)");
    }
    has
}

/// What dig says, its warnings among it.
fn dig(server: SocketAddr, arguments: &str) -> String {
    let port = server.port().to_string();
    let output = Command::new("dig")
        .args(["@127.0.0.1", "-p", &port, "+time=5", "+tries=1", "-r"])
        .args(arguments.split(' '))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

// ── RFC 8906 §8: what every server must be able to take ──

type Options = &'static [(u16, &'static [u8])];

/// A probe, and what comes back: over UDP and TCP the same.
struct Probe {
    section: &'static str,
    rtype: u16,
    /// Octets 2 and 3 of the header.
    flags: [u8; 2],
    header_only: bool,
    /// Version, flags and options.
    edns: Option<(u8, u16, Options)>,
    expected: &'static str,
}

const SOA: u16 = 6;

impl Probe {
    fn new(section: &'static str, expected: &'static str) -> Self {
        Self { section, rtype: SOA, flags: [0, 0], header_only: false, edns: None, expected }
    }

    fn octets(&self) -> Vec<u8> {
        let mut query = ask(7, &Name::parse(APEX).unwrap(), RecordType(self.rtype), self.edns.map(|_| 1232));
        if let Some((version, [high, low], options)) =
            self.edns.map(|(version, flags, options)| (version, flags.to_be_bytes(), options))
        {
            let at = query.len() - 5;
            query[at..at + 3].copy_from_slice(&[version, high, low]);
            query = zoo::with_options(query, options);
        }
        query[2..4].copy_from_slice(&self.flags);
        if self.header_only {
            query.drain(12..query.len() - if self.edns.is_some() { 11 } else { 0 });
            query[5] = 0;
        }
        query
    }
}

fn probes() -> Vec<Probe> {
    let plain = Probe::new;
    let edns = |section, version, flags, options, expected| Probe {
        edns: Some((version, flags, options)),
        ..Probe::new(section, expected)
    };
    const UNKNOWN: &[(u16, &[u8])] = &[(100, b"")];
    vec![
        plain("8.1.1 SOA", "NOERROR aa SOA"),
        Probe { rtype: 1000, ..plain("8.1.2 unknown type", "NOERROR aa") },
        Probe { flags: [0, 0x10], ..plain("8.1.3.1 CD", "NOERROR aa SOA") },
        Probe { flags: [0, 0x20], ..plain("8.1.3.2 AD", "NOERROR aa SOA") },
        Probe { flags: [0, 0x40], ..plain("8.1.3.3 Z", "NOERROR aa SOA") },
        Probe { flags: [1, 0], ..plain("8.1.3.4 RD", "NOERROR aa rd SOA") },
        Probe { flags: [15 << 3, 0], header_only: true, ..plain("8.1.4 unknown opcode", "NOTIMP") },
        edns("8.2.1 EDNS", 0, 0, &[], "NOERROR aa edns:0000 SOA"),
        edns("8.2.2 EDNS version 1", 1, 0, &[], "BADVERS edns:0000"),
        edns("8.2.3 unknown option", 0, 0, UNKNOWN, "NOERROR aa edns:0000 SOA"),
        edns("8.2.4 unknown flags", 0, 0x0040, &[], "NOERROR aa edns:0000 SOA"),
        edns("8.2.5 version 1, unknown flags", 1, 0x0040, &[], "BADVERS edns:0000"),
        edns("8.2.6 version 1, unknown option", 1, 0, UNKNOWN, "BADVERS edns:0000"),
        edns("8.2.8 DO", 0, 0x8000, &[], "NOERROR aa edns:8000 SOA"),
        edns("8.2.9 version 1, DO", 1, 0x8000, &[], "BADVERS edns:8000"),
        edns(
            "8.2.10 several defined options",
            0,
            0,
            &[(NSID, b""), (SUBNET, &[0, 1, 0, 0]), (COOKIE, b"clientsO"), (9, b"")],
            "NOERROR aa edns:0000 SOA",
        ),
        // Beyond that list: what else there is of flags, opcodes and numbers of questions.
        edns("all flags", 0, 0xffff, &[], "NOERROR aa edns:8000 SOA"),
        Probe { flags: [0x07, 0xff], ..plain("all other flags", "NOERROR aa rd SOA") },
        Probe { flags: [5 << 3, 0], ..edns("UPDATE", 0, 0, &[], "NOTIMP edns:0000") },
        Probe { flags: [2 << 3, 0], ..plain("STATUS", "NOTIMP") },
        Probe { flags: [6 << 3, 0], header_only: true, ..plain("DSO", "NOTIMP") },
        Probe { header_only: true, ..plain("no question", "FORMERR") },
        Probe { header_only: true, ..edns("no question, EDNS", 0, 0, &[], "FORMERR edns:0000") },
        Probe { rtype: 41, ..plain("OPT asked for", "FORMERR") },
        Probe { rtype: 255, ..edns("ANY", 0, 0, &[], "NOERROR aa edns:0000 NS") },
    ]
}

#[test]
fn takes_every_probe_of_rfc_8906() {
    let daemon = serve("rfc8906", "{}");
    for probe in probes() {
        let query = probe.octets();
        for message in [over_udp(daemon.dns(), &query), over_tcp(daemon.dns(), &query)] {
            assert_eq!(gist(&message), probe.expected, "{}: {message}", probe.section);
            assert_eq!(message.opcode(), Opcode(probe.flags[0] >> 3 & 15), "{}", probe.section);
            assert_eq!(message.questions.len(), usize::from(!probe.header_only), "{}", probe.section);
            assert_eq!(option(&message, 100), None, "{}", probe.section);
        }
    }
    // A response gets none: two servers could go on for ever.
    let socket = udp(daemon.dns());
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut response = Probe::new("", "").octets();
    response[2] = 0x80;
    socket.send(&response).unwrap();
    assert!(socket.recv(&mut [0; 512]).is_err(), "it answered a response");
}

/// The same in the words of the RFC, by the tool that it was written with.
#[test]
fn dig_finds_nothing_to_complain_of() {
    if !has_dig() {
        return;
    }
    let daemon = serve("dig", "{nsid: test1}");
    for (arguments, status, also) in [
        ("+noedns +noad +norec soa", "NOERROR", "flags: qr aa;"),
        ("+noedns +noad +norec type1000", "NOERROR", "ANSWER: 0"),
        ("+noedns +noad +norec +cd soa", "NOERROR", "flags: qr aa;"),
        ("+noedns +norec +ad soa", "NOERROR", "flags: qr aa;"),
        ("+noedns +noad +norec +zflag soa", "NOERROR", "flags: qr aa;"),
        ("+noedns +noad +rec soa", "NOERROR", "flags: qr aa rd;"),
        ("+noedns +noad +norec +opcode=15 +header-only", "NOTIMP", "QUERY: 0, ANSWER: 0"),
        ("+noedns +noad +norec +tcp soa", "NOERROR", "flags: qr aa;"),
        ("+edns=0 +nocookie +noad +norec soa", "NOERROR", "EDNS: version: 0, flags:; udp: 1232"),
        ("+edns=1 +nocookie +noednsneg +noad +norec soa", "BADVERS", "EDNS: version: 0"),
        ("+edns=0 +nocookie +noad +norec +ednsopt=100 soa", "NOERROR", "EDNS: version: 0, flags:; udp: 1232"),
        (
            "+edns=0 +nocookie +noad +norec +ednsflags=0x40 soa",
            "NOERROR",
            "EDNS: version: 0, flags:; udp: 1232",
        ),
        ("+edns=1 +nocookie +noednsneg +noad +norec +ednsflags=0x40 soa", "BADVERS", "flags:; udp: 1232"),
        ("+edns=1 +nocookie +noednsneg +noad +norec +ednsopt=100 soa", "BADVERS", "EDNS: version: 0"),
        ("+edns=0 +nocookie +noad +norec +dnssec soa", "NOERROR", "flags: do; udp: 1232"),
        ("+edns=1 +nocookie +noednsneg +noad +norec +dnssec soa", "BADVERS", "EDNS: version: 0"),
        ("+edns +cookie +noad +norec soa", "NOERROR", "(good)"),
        ("+edns=0 +noad +norec +subnet=198.51.100.0/24 soa", "NOERROR", "CLIENT-SUBNET: 198.51.100.0/24/0"),
        ("+edns=0 +noad +norec +subnet=2001:db8::/33 soa", "NOERROR", "CLIENT-SUBNET: 2001:db8::/33/0"),
        ("+edns=0 +noad +norec +subnet=0 soa", "NOERROR", "/0/0"),
        ("+edns=0 +noad +norec +nsid soa", "NOERROR", "(\"test1\")"),
        ("+tcp +keepalive +noad +norec soa", "NOERROR", "TCP KEEPALIVE: 10.0 secs"),
        ("+noad +norec +nsid +expire +cookie +keepalive +padding=64 soa", "NOERROR", "(good)"),
        ("+noad +norec +ednsopt=cookie:0102 soa", "FORMERR", "flags: qr;"),
        ("+noad +norec +nocookie +ednsopt=8:000118186433 soa", "FORMERR", "flags: qr;"),
        ("+noad +norec any", "NOERROR", "ANSWER: 1"),
        ("+noad +norec +tcp any", "NOERROR", "ANSWER: 1"),
        ("+noad +norec axfr +tcp", "Transfer failed", ""),
    ] {
        let said = dig(daemon.dns(), &format!("{arguments} {APEX}"));
        let expected = if status.contains(' ') { status.to_owned() } else { format!("status: {status}") };
        assert!(said.contains(&expected) && said.contains(also), "{arguments}: {said}");
        let said = said.replace("WARNING: recursion requested but not available", "");
        for complaint in ["Warning", "WARNING", "mismatch", "malformed packet", "bad packet", "timed out"] {
            assert!(!said.contains(complaint), "{arguments}: {said}");
        }
    }
    let said = dig(daemon.dns(), "+noad +norec a elsewhere.example.org");
    assert!(said.contains("status: REFUSED") && said.contains("EDE: 20 (Not Authoritative)"), "{said}");
}

// ── options and their answers ──

#[test]
fn a_subnet_goes_back_with_the_scope_of_everybody_unless_it_is_malformed() {
    let daemon = serve("subnet", "{}");
    for network in [&[0, 1, 24, 0, 192, 0, 2][..], &[0, 2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 1], &[0, 1, 0, 0]]
    {
        for (query, rcode) in [
            (apex_query(&[(SUBNET, network)]), Rcode::NOERROR),
            (
                zoo::with_options(
                    ask(1, &Name::parse("no.gtm.example.com").unwrap(), RecordType::A, Some(1232)),
                    &[(SUBNET, network)],
                ),
                Rcode::NXDOMAIN,
            ),
            (
                zoo::with_options(
                    ask(1, &Name::parse("elsewhere").unwrap(), RecordType::A, Some(1232)),
                    &[(SUBNET, network)],
                ),
                Rcode::REFUSED,
            ),
        ] {
            let message = over_udp(daemon.dns(), &query);
            assert_eq!((message.rcode(), option(&message, SUBNET).as_deref()), (rcode, Some(network)));
        }
    }
    // Without one there is none; and nothing goes back of one that cannot be read.
    assert_eq!(option(&over_udp(daemon.dns(), &apex_query(&[])), SUBNET), None);
    for bad in
        [&[0, 1, 24, 0, 192, 0][..], &[0, 1, 24, 24, 192, 0, 2], &[0, 1, 23, 0, 192, 0, 1], &[0, 9, 8, 0, 1]]
    {
        let message = over_udp(daemon.dns(), &apex_query(&[(SUBNET, bad)]));
        assert_eq!((message.rcode(), option(&message, SUBNET)), (Rcode::FORMERR, None), "{bad:?}");
    }
}

#[test]
fn who_answers_is_told_as_configured_and_no_more() {
    let quiet = serve("quiet", "{}");
    let chaos = |name: &str, rtype: RecordType| {
        let mut query = ask(7, &Name::parse(name).unwrap(), rtype, Some(1232));
        let class_at = query.len() - 12;
        query[class_at] = 3;
        // A name is the same in whatever case.
        query[13].make_ascii_uppercase();
        query
    };
    let names = ["id.server", "HostName.Bind", "version.server", "version.bind"];
    assert_eq!(option(&over_udp(quiet.dns(), &apex_query(&[(NSID, b"")])), NSID), None);
    for name in names {
        let message = over_udp(quiet.dns(), &chaos(name, RecordType::TXT));
        assert_eq!(gist(&message), "REFUSED edns:0000", "{name}");
    }
    // It takes no restart to tell more.
    reconfigure(&quiet, "{nsid: fra1, chaos: {id: fra1, version: pointsman 1}}");
    let told = quiet;
    assert_eq!(option(&over_udp(told.dns(), &apex_query(&[(NSID, b"")])), NSID).unwrap(), b"fra1");
    assert_eq!(option(&over_udp(told.dns(), &apex_query(&[])), NSID), None, "only to those who ask");
    for (name, text) in names.iter().zip(["fra1", "fra1", "pointsman 1", "pointsman 1"]) {
        for message in [
            over_udp(told.dns(), &chaos(name, RecordType::TXT)),
            over_tcp(told.dns(), &chaos(name, RecordType::ANY)),
        ] {
            let record = &message.sections[0][0];
            assert_eq!(
                (gist(&message).as_str(), record.class.0, record.ttl),
                ("NOERROR aa edns:0000 TXT", 3, 0)
            );
            assert_eq!(record.rdata, [&[text.len() as u8], text.as_bytes()].concat(), "{name}");
        }
    }
    for (name, rtype) in
        [("id.server", RecordType::A), ("authors.bind", RecordType::TXT), ("server", RecordType::TXT)]
    {
        assert_eq!(gist(&over_udp(told.dns(), &chaos(name, rtype))), "REFUSED edns:0000", "{name}");
    }
    // In the class of the internet these are names like any other.
    let message = over_udp(told.dns(), &ask(7, &Name::parse("id.server").unwrap(), RecordType::TXT, None));
    assert_eq!(gist(&message), "REFUSED");
}

#[test]
fn how_long_a_connection_may_be_idle_is_told_where_there_is_one() {
    let daemon = serve("keepalive", "{tcp_idle: 25s}");
    let query = apex_query(&[(KEEPALIVE, b"")]);
    assert_eq!(option(&over_tcp(daemon.dns(), &query), KEEPALIVE).unwrap(), 250u16.to_be_bytes());
    assert_eq!(option(&over_udp(daemon.dns(), &query), KEEPALIVE), None, "RFC 7828 §3.2.1");
    assert_eq!(option(&over_tcp(daemon.dns(), &apex_query(&[])), KEEPALIVE), None);
    // In the clear, padding hides nothing.
    assert_eq!(option(&over_tcp(daemon.dns(), &apex_query(&[(PADDING, &[0; 9])])), PADDING), None);
}

#[test]
fn a_refusal_says_why_to_those_who_understand() {
    let daemon = serve("explain", "{}");
    let code = |message: &Message| option(message, EXPLANATION).map(|data| data[1]);
    let elsewhere = Name::parse("elsewhere").unwrap();
    assert_eq!(code(&over_udp(daemon.dns(), &ask(7, &elsewhere, RecordType::A, Some(1232)))), Some(20));
    assert_eq!(code(&over_udp(daemon.dns(), &ask(7, &elsewhere, RecordType::A, None))), None);
    let mailb = ask(7, &Name::parse(APEX).unwrap(), RecordType::MAILB, Some(1232));
    assert_eq!(code(&over_udp(daemon.dns(), &mailb)), Some(21));
    assert_eq!(code(&over_udp(daemon.dns(), &apex_query(&[]))), None, "nothing to say");
}

#[test]
fn an_answer_that_is_not_as_usual_says_so() {
    let mut daemon = Daemon::prepare("note");
    // Bound and given back: nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    configure(&daemon, "{}");
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    daemon.write(
        "pointsman.yaml",
        &format!(
            "{text}defaults: {{check: {{interval: 200ms, timeout: 150ms, fall: 2, rise: 2}}}}\n\
             regions: {{eu: {{layers: {{reach: [{{tcp: {{address: \"{closed}\"}}}}]}}}}}}\n\
             services:\n  shop:\n    names: [shop.{APEX}]\n    policy: {{failover: [eu]}}\n    \
             answers: {{eu: {{a: [192.0.2.1]}}}}\n"
        ),
    );
    daemon.start();
    let query = ask(7, &Name::parse(&format!("shop.{APEX}")).unwrap(), RecordType::A, Some(1232));
    let told = || {
        let message = over_udp(daemon.dns(), &query);
        assert_eq!(message.sections[0].len(), 1, "{message}");
        let data = option(&message, EXPLANATION)?;
        Some((u16::from_be_bytes([data[0], data[1]]), String::from_utf8(data[2..].to_vec()).unwrap()))
    };
    let expect = |code: u16, words: &str| {
        let expected = Some((code, words.to_owned()));
        common::until(words, PATIENCE, || told() == expected);
    };
    expect(0, "no region is fit to serve");
    let said = daemon.cli(&["region", "force", "eu", "--reason", "test", "--expires", "1h"]);
    assert!(said.succeeded(), "{said}");
    expect(0, "forced by an operator");
    // Without EDNS there is nowhere to say it.
    let plain =
        over_udp(daemon.dns(), &ask(7, &Name::parse(&format!("shop.{APEX}")).unwrap(), RecordType::A, None));
    assert_eq!((plain.sections[0].len(), plain.opt), (1, None));
}

// ── cookies ──

const OWN: &[u8; 8] = b"clientsO";

#[test]
fn cookies_outlive_a_restart_and_the_change_of_their_secret() {
    let (first, second) = ("00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100");
    let mut daemon = Daemon::prepare("cookies");
    daemon.write("first", first);
    daemon.write("second", &format!("{second}\n"));
    configure(&daemon, "{cookies: {handling: require, secrets: [{file: first}]}}");
    daemon.start();
    let asks =
        |daemon: &Daemon, cookie: &[u8]| gist(&over_udp(daemon.dns(), &apex_query(&[(COOKIE, cookie)])));
    let (good, bad) = ("NOERROR aa edns:0000 SOA", "BADCOOKIE edns:0000");
    let old = over_udp(daemon.dns(), &apex_query(&[(COOKIE, OWN)]));
    assert_eq!(gist(&old), bad);
    let old = option(&old, COOKIE).unwrap();
    assert_eq!(asks(&daemon, &old), good);
    // What is not ours, and what somebody else was given.
    let mut forged = old.clone();
    forged[23] ^= 1;
    assert_eq!(asks(&daemon, &forged), bad);
    let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&apex_query(&[(COOKIE, &old)]), daemon.dns()).unwrap();
    let mut buffer = [0; 512];
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(Message::read(&buffer[..len]).unwrap().rcode(), Rcode::BADCOOKIE);
    // Another server of the address has the same secret.
    daemon.stop();
    daemon.start();
    assert_eq!(asks(&daemon, &old), good);
    let cookie = option(&over_udp(daemon.dns(), &apex_query(&[(COOKIE, OWN)])), COOKIE).unwrap();
    assert!(cookie.len() == 24 && cookie.starts_with(OWN) && cookie[8..12] == [1, 0, 0, 0], "{cookie:x?}");
    // The secret is replaced in two steps, and nobody notices before the second.
    reconfigure(&daemon, "{cookies: {handling: require, secrets: [{file: second}, {file: first}]}}");
    assert_eq!(asks(&daemon, &old), good);
    let new = option(&over_udp(daemon.dns(), &apex_query(&[(COOKIE, &old)])), COOKIE).unwrap();
    assert_ne!(new, old, "it is renewed with the first secret");
    reconfigure(&daemon, "{cookies: {handling: require, secrets: [{file: second}]}}");
    assert_eq!((asks(&daemon, &old).as_str(), asks(&daemon, &new).as_str()), (bad, good));
    // A secret is read again on reload, from the same file too.
    daemon.write("second", first);
    reconfigure(&daemon, "{cookies: {handling: require, secrets: [{file: second}]}}");
    assert_eq!((asks(&daemon, &old).as_str(), asks(&daemon, &new).as_str()), (good, bad));
    // One that cannot be read, or is none, replaces nothing.
    daemon.write("second", "not a secret");
    let said = daemon.cli(&["reload"]);
    assert!(!said.succeeded() && said.err.contains("is not 32 hexadecimal digits"), "{said}");
    assert!(said.err.contains("pointsman.yaml:5:") && !said.err.contains("not a secret"), "{said}");
    std::fs::remove_file(daemon.directory().join("second")).unwrap();
    assert!(daemon.cli(&["reload"]).err.contains("No such file"));
    assert_eq!(asks(&daemon, &old), good);
    // What is shown of a configuration needs none of its secrets.
    assert!(daemon.cli(&["check"]).succeeded());
}

#[test]
fn who_must_show_a_cookie_gets_an_answer_all_the_same() {
    let daemon = serve("require", "{cookies: {handling: require}}");
    // Without cookies at all: over TCP.
    let query = apex_query(&[]);
    assert_eq!(gist(&over_udp(daemon.dns(), &query)), "NOERROR tc edns:0000");
    assert_eq!(gist(&over_tcp(daemon.dns(), &query)), "NOERROR aa edns:0000 SOA");
    let plain = ask(7, &Name::parse(APEX).unwrap(), RecordType::SOA, None);
    assert_eq!(gist(&over_udp(daemon.dns(), &plain)), "NOERROR tc");
    // A malformed one is malformed.
    assert_eq!(gist(&over_udp(daemon.dns(), &apex_query(&[(COOKIE, b"short")]))), "FORMERR edns:0000");
    // One may ask for a cookie alone (RFC 7873 §5.4).
    let mut alone = Probe { header_only: true, edns: Some((0, 0, &[])), ..Probe::new("", "") }.octets();
    alone = zoo::with_options(alone, &[(COOKIE, OWN)]);
    let message = over_udp(daemon.dns(), &alone);
    assert_eq!((gist(&message).as_str(), message.questions.len()), ("NOERROR edns:0000", 0));
    assert_eq!(option(&message, COOKIE).unwrap().len(), 24);
    if has_dig() {
        let said = dig(daemon.dns(), &format!("+cookie +norec soa {APEX}"));
        assert!(said.contains("BADCOOKIE, retrying") && said.contains("status: NOERROR"), "{said}");
        let said = dig(daemon.dns(), &format!("+nocookie +norec soa {APEX}"));
        assert!(said.contains("retrying in TCP mode") && said.contains("status: NOERROR"), "{said}");
    }
    // They may be left out, where others who share the address do not have our secret.
    reconfigure(&daemon, "{cookies: {handling: off}}");
    let message = over_udp(daemon.dns(), &apex_query(&[(COOKIE, OWN)]));
    assert_eq!((gist(&message).as_str(), option(&message, COOKIE)), ("NOERROR aa edns:0000 SOA", None));
}

#[test]
fn a_random_secret_stays_over_a_reload() {
    let daemon = serve("random", "{cookies: {handling: require}}");
    let given = option(&over_udp(daemon.dns(), &apex_query(&[(COOKIE, OWN)])), COOKIE).unwrap();
    reconfigure(&daemon, "{nsid: other, cookies: {handling: require}}");
    assert_eq!(over_udp(daemon.dns(), &apex_query(&[(COOKIE, &given)])).rcode(), Rcode::NOERROR);
}

// ── too much ──

/// Of so many answers to one client: how many were whole, and how many said to come over TCP.
fn flood(server: SocketAddr, query: &[u8], count: usize) -> (usize, usize) {
    let (socket, mut buffer) = (udp(server), [0; 2048]);
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let (mut whole, mut slipped) = (0, 0);
    // A few at a time: none is to be lost for lack of room in the socket.
    for _ in 0..count / 50 {
        for _ in 0..50 {
            socket.send(query).unwrap();
        }
        for _ in 0..50 {
            let Ok(len) = socket.recv(&mut buffer) else { break };
            let message = Message::read(&buffer[..len]).unwrap();
            match message.flag_words().any(|word| word == "tc") {
                true => slipped += 1,
                false => whole += 1,
            }
        }
    }
    (whole, slipped)
}

#[test]
fn a_flood_is_limited_and_whoever_is_there_is_answered() {
    let daemon = serve(
        "flood",
        // One flow meets one thread, and gets the whole rate all the same.
        "{udp_threads: 4, rate_limit: {responses_per_second: 10, slip: 2, exempt: [127.0.0.9/32]}}",
    );
    let query = apex_query(&[]);
    let started = Instant::now();
    let (whole, slipped) = flood(daemon.dns(), &query, 200);
    // A machine that dawdles lets some seconds' worth through, never all of it.
    let seconds = started.elapsed().as_secs() as usize + 2;
    assert!(
        (10..=10 * seconds).contains(&whole) && whole < 150,
        "{whole} whole, {slipped} slipped, {seconds} s"
    );
    // One in two of what is withheld, as chance will have it.
    assert!((40..=150).contains(&slipped), "{slipped}");
    // Over TCP, and with a cookie, there is no limit; nor for what is exempt.
    assert_eq!(over_tcp(daemon.dns(), &query).rcode(), Rcode::NOERROR);
    let cookie = std::iter::from_fn(|| {
        let socket = udp(daemon.dns());
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket.send(&apex_query(&[(COOKIE, OWN)])).unwrap();
        let mut buffer = [0; 512];
        let answer = socket.recv(&mut buffer).map(|len| Message::read(&buffer[..len]).unwrap());
        Some(answer.ok().and_then(|answer| option(&answer, COOKIE)))
    });
    let cookie = cookie.take(50).flatten().next().expect("one of two says come over TCP, with the cookie");
    assert_eq!(flood(daemon.dns(), &apex_query(&[(COOKIE, &cookie)]), 200), (200, 0));
    let other = UdpSocket::bind("127.0.0.9:0").unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..50 {
        other.send_to(&query, daemon.dns()).unwrap();
        other.recv(&mut [0; 512]).expect("it is exempt");
    }
    let metric = |what: &str| daemon.metric(&format!("pointsman_dns_messages_total{{what=\"{what}\"}}"));
    assert!(
        metric("rate_dropped").or_else(|| metric_like(&daemon, "rate_dropped")).is_some_and(|n| n > 10.0)
    );
    assert!(metric_like(&daemon, "rate_slipped").is_some_and(|count| count as usize >= slipped));
    assert!(metric_like(&daemon, "cookie_known").is_some_and(|count| count == 200.0));
    // It ends with a reload.
    reconfigure(&daemon, "{udp_threads: 4}");
    assert_eq!(flood(daemon.dns(), &query, 200), (200, 0));
}

/// The value of the metric whose name or label has this word.
fn metric_like(daemon: &Daemon, word: &str) -> Option<f64> {
    let metrics = daemon.metrics();
    let line = metrics.lines().find(|line| !line.starts_with('#') && line.contains(word))?;
    line.split(' ').next_back()?.parse().ok()
}

#[test]
fn mistakes_are_shown_with_their_places() {
    let daemon = Daemon::prepare("mistakes");
    configure(
        &daemon,
        "{nsid: \"\", chaos: {id: \"0123456789012345678901234567890123456789012345678901234567890123456789\"},\n\
         cookies: {handling: off, secrets: [{file: a}]}, unverified_udp_max: 100,\n\
         rate_limit: {responses_per_second: 0, all_per_second: 0, slip: 101, window: 1500ms, ipv4_prefix: 33, exempt: [192.0.2.1/24]}}",
    );
    let said = daemon.cli(&["check"]);
    assert!(!said.succeeded());
    for (place, words) in [
        ("5:13", "this has 0 octets, not 1 to 64"),
        ("5:29", "this has 70 octets"),
        ("6:36", "a secret, and `handling: off`"),
        ("6:69", "100 is not between 512 and 1232"),
        ("7:36", "0 is not between 1 and 1000000"),
        ("7:55", "0 is not between 1 and 10000000"),
        ("7:64", "101 is not between 0 and 100"),
        ("7:77", "the window is not a number of seconds"),
        ("7:98", "33 is not between 8 and 32"),
        ("7:111", "bits set after its length: the network is 192.0.2.0/24"),
    ] {
        let line = said.err.lines().any(|line| line.contains(&format!("pointsman.yaml:{place}")));
        assert!(line && said.err.contains(words), "{place} {words}: {said}");
    }
    assert!(binary().arg("--version").output().unwrap().status.success());
    configure(&daemon, "{rate_limit: {responses_per_second: 100, all_per_second: 99}}");
    let said = daemon.cli(&["check"]);
    assert!(said.err.contains("99 answers in all are fewer than the 100 of one kind"), "{said}");
    assert!(said.err.contains("1000 or so"), "{said}");
}

/// Whether secrets are there is looked at by whoever asks for it.
#[test]
fn check_says_that_secrets_were_not_read() {
    let daemon = Daemon::prepare("secrets");
    configure(&daemon, "{cookies: {secrets: [{file: a}, {file: b}]}}");
    let said = daemon.cli(&["check"]);
    assert!(said.succeeded() && said.out.contains("2 secrets named, and not read"), "{said}");
    daemon.write("a", "0123456789abcdef0123456789abcdef");
    let said = daemon.cli(&["check", "--secrets"]);
    assert!(said.code == Some(1) && said.err.contains("1 secret cannot be read"), "{said}");
    assert!(said.err.contains(daemon.directory().join("b").to_str().unwrap()), "{said}");
    daemon.write("b", "0123456789abcdef0123456789abcdef");
    let said = daemon.cli(&["check", "--secrets"]);
    assert!(said.succeeded() && said.out.contains("2 secrets can be read"), "{said}");
    assert!(!said.out.contains("0123456789abcdef"), "{said}");
}

// ── the engine alone ──

const NOW: u32 = 1_800_000_000;
/// `QUERY . NS` with EDNS is the shortest question that may be answered at length.
const SHORTEST_QUERY_OCTETS: usize = 12 + 1 + 4 + 11;

struct Engine {
    table: Table,
    desk: Desk,
}

impl Engine {
    fn new(handling: &str, limit: &str) -> Self {
        let manners = Arc::new(zoo::manners(handling, limit));
        Self { table: zoo::table().with_manners(manners), desk: Desk::new(fastrand::Rng::with_seed(7), NOW) }
    }

    fn octets(&mut self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        // Half a page of an older message, none of which may show.
        let mut out = vec![0xee; 65_535];
        let asker = Asker { client: [192, 0, 2, 200].into(), transport };
        let len = answer(query, &mut out, &self.table, &asker, &mut self.desk)?;
        out.truncate(len);
        Some(out)
    }
}

#[test]
fn no_answer_over_udp_is_longer_than_its_bound() {
    let known = zoo::cookie([192, 0, 2, 200].into(), NOW);
    let mut longest = [0; 3];
    let mut engines = [Engine::new("offer", ""), Engine::new("offer", "unverified_udp_max: 512")];
    for name in zoo::NAMES.iter().chain(&["@"]) {
        let name = if *name == "@" { "example.com".to_owned() } else { format!("{name}.example.com") };
        for rtype in [1, 2, 5, 6, 15, 16, 28, 33, 64, 65, 255, 257] {
            let query = ask(1, &Name::parse(&name).unwrap(), RecordType(rtype), Some(65_535));
            let plain = ask(1, &Name::parse(&name).unwrap(), RecordType(rtype), None);
            for engine in &mut engines {
                let len = engine.octets(&plain, Transport::Udp).unwrap().len();
                longest[0] = longest[0].max(len);
            }
            let len = engines[0].octets(&query, Transport::Udp).unwrap().len();
            longest[1] = longest[1].max(len);
            let len = engines[1].octets(&query, Transport::Udp).unwrap().len();
            longest[2] = longest[2].max(len);
        }
    }
    assert!(longest[0] <= 512 && longest[1] <= usize::from(UDP_PAYLOAD) && longest[2] <= 512, "{longest:?}");
    // The bound: forty-four octets for one, and eighteen where the operator wants it so.
    assert_eq!(usize::from(UDP_PAYLOAD) / SHORTEST_QUERY_OCTETS, 44);
    // With our cookie a client gets what it takes, and else it is told that there is more.
    let name = Name::parse("big.example.com").unwrap();
    let big = ask(1, &name, RecordType::TXT, Some(1232));
    for query in [big.clone(), zoo::with_options(big.clone(), &[(COOKIE, OWN)])] {
        let message = Message::read(&engines[1].octets(&query, Transport::Udp).unwrap()).unwrap();
        assert!(message.flag_words().any(|word| word == "tc"));
    }
    // What lies between the two bounds is what a cookie decides about.
    let texts: String = (10..16).map(|n| format!("@ TXT \"{n}{}\"\n", "x".repeat(100))).collect();
    let zone =
        zoo::zone("example.com", &format!("$TTL 300\n@ SOA ns h 1 2 3 4 60\n@ NS ns.elsewhere.\n{texts}"));
    let (image, _) = Image::with_services(&[zone], &Named::default()).unwrap();
    let manners = zoo::manners("offer", "unverified_udp_max: 512");
    engines[0].table = Table::new(Generation(1), image, Vec::new()).with_manners(Arc::new(manners));
    let medium = ask(1, &Name::parse("example.com").unwrap(), RecordType::TXT, Some(1232));
    for (cookie, transport, whole) in
        [(&OWN[..], Transport::Udp, false), (&known, Transport::Udp, true), (OWN, Transport::Tcp, true)]
    {
        let query = zoo::with_options(medium.clone(), &[(COOKIE, cookie)]);
        let octets = engines[0].octets(&query, transport).unwrap();
        let message = Message::read(&octets).unwrap();
        assert_eq!(message.sections[0].len(), if whole { 6 } else { 0 }, "{transport:?}");
        assert_eq!(message.flag_words().any(|word| word == "tc"), !whole);
        assert_eq!(octets.len() > 512, whole);
    }
    engines[0] = Engine::new("offer", "");
    // The whole set over TCP, whoever asks.
    assert!(engines[1].octets(&big, Transport::Tcp).unwrap().len() > usize::from(UDP_PAYLOAD));
    // ANY is one set, over TCP too (RFC 8482 §4.1).
    let any = ask(1, &Name::parse("example.com").unwrap(), RecordType::ANY, Some(1232));
    for transport in [Transport::Udp, Transport::Tcp] {
        let message = Message::read(&engines[0].octets(&any, transport).unwrap()).unwrap();
        let types: std::collections::BTreeSet<_> =
            message.sections[0].iter().map(|record| record.rtype).collect();
        assert_eq!(types.len(), 1, "{message}");
    }
}

/// Names that are there, names that are not, errors: a network has one account for all of it.
#[test]
fn who_asks_for_everything_gets_no_more_than_the_rate_for_all() {
    for (all, expected) in [("", 100), (", all_per_second: 25", 25)] {
        let limit = format!("rate_limit: {{responses_per_second: 10, slip: 0{all}}}");
        let mut engine = Engine::new("offer", &limit);
        engine.desk.limiter.prepare(&mut fastrand::Rng::with_seed(1));
        let mut sent = 0;
        for _ in 0..40 {
            for name in zoo::NAMES {
                let name = Name::parse(&format!("{name}.example.com")).unwrap();
                let query = ask(1, &name, RecordType::A, Some(1232));
                sent += usize::from(engine.octets(&query, Transport::Udp).is_some());
            }
        }
        assert!(zoo::NAMES.len() > 12, "there are enough names to go beyond");
        assert_eq!(sent, expected);
    }
}

/// A query that says all that can be said, cut short everywhere and with each bit turned.
#[test]
fn whatever_is_malformed_costs_a_short_answer_at_most() {
    let known = zoo::cookie([192, 0, 2, 200].into(), NOW);
    let subnet = [0, 1, 24, 0, 192, 0, 2];
    let options =
        [(SUBNET, &subnet[..]), (COOKIE, &known), (NSID, &[]), (KEEPALIVE, &[]), (PADDING, &[0; 5])];
    let query = |name: &str| {
        let name = Name::parse(&format!("{name}.example.com")).unwrap();
        zoo::with_options(ask(0x1234, &name, RecordType::A, Some(1232)), &options)
    };
    let sound = query("host");
    let mut broken: Vec<Vec<u8>> = (0..sound.len()).map(|len| sound[..len].to_vec()).collect();
    for bit in 0..sound.len() * 8 {
        let mut turned = sound.clone();
        turned[bit / 8] ^= 1 << (bit % 8);
        broken.push(turned);
    }
    // Lengths are where readers go wrong: each octet with each value.
    for at in 0..sound.len() {
        for value in 0..=255 {
            let mut other = sound.clone();
            other[at] = value;
            broken.push(other);
        }
    }
    let mut engines =
        [Engine::new("offer", ""), Engine::new("require", "rate_limit: {responses_per_second: 9}")];
    engines[1].desk.limiter.prepare(&mut fastrand::Rng::with_seed(1));
    for query in &broken {
        for engine in &mut engines {
            for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
                let Some(reply) = engine.octets(query, transport) else { continue };
                let message =
                    Message::read(&reply).unwrap_or_else(|why| panic!("{why}: {query:x?} {reply:x?}"));
                assert_eq!(reply[..2], query[..2]);
                let bound = if transport == Transport::Udp { usize::from(UDP_PAYLOAD) } else { 65_535 };
                assert!(reply.len() <= bound);
                // What could not be read is answered with little more than it was.
                if !matches!(message.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN) && transport == Transport::Udp
                {
                    assert!(reply.len() <= query.len() + 40, "{query:x?} {reply:x?}");
                }
            }
        }
    }
    // Cut short, no query is taken for a sound one; a header's worth is answered with a header.
    for len in 0..sound.len() {
        let reply = engines[0].octets(&sound[..len], Transport::Udp);
        match len {
            0..12 => assert_eq!(reply, None),
            _ => assert_eq!(Message::read(&reply.unwrap()).unwrap().rcode(), Rcode::FORMERR, "{len}"),
        }
    }
    let counts = &engines[1].desk.counts;
    assert!(counts[Counter::RateDropped] > 0 && counts[Counter::RateSlipped] > 0, "{counts:?}");
}
