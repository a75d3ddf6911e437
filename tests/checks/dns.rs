//! DNS checks against a real name server, and ones that lie.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use pointsman::config::{CheckKind, DnsCheck, DnsExpect, DnsRecords, ExpectedRecord};
use pointsman::health::Finding;
use pointsman::wire::{Name, Rcode, RecordType};
use pointsman::zone;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::common::{Program, Scratch, find, now, ports, until};
use crate::{TIMEOUT, at, fails, passes, run};

const ZONE: &str = "\
$ORIGIN example.com.
$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
www A 192.0.2.10
www A 192.0.2.11
alias CNAME www
mail MX 10 Mail.Example.com.
mail6 AAAA 2001:db8::1
";

struct Nsd {
    port: u16,
    _program: Program,
    _scratch: Scratch,
}

fn start() -> Option<Nsd> {
    let binary = find("nsd", "nsd", &["/usr/sbin"])?;
    let scratch = Scratch::new("nsd");
    let port = ports::free_for_both();
    // As much TXT as no datagram carries.
    let long: String = (0..40).map(|n| format!("long TXT \"{n} {}\"\n", "x".repeat(100))).collect();
    std::fs::write(scratch.path().join("example.com.zone"), format!("{ZONE}{long}")).unwrap();
    let at = scratch.path().display();
    let configuration = format!(
        "server:\n ip-address: 127.0.0.1@{port}\n username: \"\"\n zonesdir: \"{at}\"\n pidfile: \"{at}/pid\"\n \
         database: \"\"\n xfrdfile: \"{at}/xfrd\"\n zonelistfile: \"{at}/zones\"\n logfile: \"{at}/log\"\n server-count: 1\n\
         remote-control:\n control-enable: no\nzone:\n name: example.com\n zonefile: example.com.zone\n"
    );
    let file = scratch.path().join("nsd.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new(binary);
    command.arg("-d").arg("-c").arg(&file);
    let program = Program::start(&mut command, "nsd", &scratch.path().join("output"));
    until("nsd", Duration::from_secs(20), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(Nsd { port, _program: program, _scratch: scratch })
}

fn check(port: u16, name: &str, rtype: RecordType) -> DnsCheck {
    let expect = DnsExpect { rcode: Rcode::NOERROR, records: DnsRecords::Some, authoritative: None };
    DnsCheck {
        server: at("127.0.0.1", port),
        name: Name::parse(name).unwrap(),
        rtype,
        recursion: false,
        expect,
    }
}

fn records(check: DnsCheck, make: fn(Vec<ExpectedRecord>) -> DnsRecords, texts: &[&str]) -> DnsCheck {
    let parse = |text: &&str| ExpectedRecord {
        text: (*text).to_owned(),
        rdata: zone::parse_rdata(check.rtype, text, &[0]).unwrap(),
    };
    let records = make(texts.iter().map(parse).collect());
    DnsCheck { expect: DnsExpect { records, ..check.expect.clone() }, ..check }
}

async fn see(check: DnsCheck) -> Finding {
    run(CheckKind::Dns(check)).await
}

#[tokio::test]
async fn judges_what_a_real_server_answers() {
    let Some(nsd) = start() else { return };
    let a = |name: &str| check(nsd.port, name, RecordType::A);
    passes(see(a("www.example.com")).await, "NOERROR, A 192.0.2.1");
    passes(see(a("alias.example.com")).await, "NOERROR, A 192.0.2.1");
    fails(see(a("gone.example.com")).await, "NXDOMAIN, wanted NOERROR");
    fails(see(a("mail.example.com")).await, "NOERROR without any A record");
    fails(see(a("elsewhere.example.net")).await, "REFUSED, wanted NOERROR");
    let gone = |check: DnsCheck| DnsCheck {
        expect: DnsExpect {
            rcode: Rcode::NXDOMAIN,
            records: DnsRecords::Whatever,
            authoritative: Some(true),
        },
        ..check
    };
    passes(see(gone(a("gone.example.com"))).await, "NXDOMAIN, no A record");
    fails(see(gone(a("www.example.com"))).await, "NOERROR, wanted NXDOMAIN");

    let (contains, equals) = (DnsRecords::Contains, DnsRecords::Equals);
    passes(see(records(a("www.example.com"), contains, &["192.0.2.11"])).await, "NOERROR");
    passes(see(records(a("www.example.com"), equals, &["192.0.2.11", "192.0.2.10"])).await, "NOERROR");
    fails(see(records(a("www.example.com"), equals, &["192.0.2.11"])).await, "there is more than was wanted");
    fails(
        see(records(a("www.example.com"), contains, &["192.0.2.99"])).await,
        "there is no `192.0.2.99`: A 192",
    );
    passes(see(records(a("mail.example.com"), equals, &[])).await, "NOERROR, no A record");
    // Names know no case.
    let mx = check(nsd.port, "MAIL.example.com", RecordType::MX);
    passes(see(records(mx, equals, &["10 mail.EXAMPLE.com."])).await, "NOERROR, MX 10 mail.example.com.");

    let authoritative = |name: &str, wanted| DnsCheck {
        expect: DnsExpect { authoritative: Some(wanted), ..a(name).expect },
        ..a(name)
    };
    passes(see(authoritative("www.example.com", true)).await, "NOERROR");
    fails(see(authoritative("www.example.com", false)).await, "the answer is authoritative");
    // More than a datagram carries comes over TCP.
    let long = see(check(nsd.port, "long.example.com", RecordType::TXT)).await;
    passes(long, "(over TCP)");
}

/// Answers each datagram with what `answer` makes of it.
async fn lying(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> (SocketAddr, JoinSet<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut octets = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut octets).await {
            for reply in answer(&octets[..length]) {
                let _ = socket.send_to(&reply, peer).await;
            }
        }
    });
    (address, task)
}

#[tokio::test]
async fn is_not_fooled() {
    let see = async |address: SocketAddr| see(check(address.port(), "www.example.com", RecordType::A)).await;
    // Nobody listens: the kernel says so.
    fails(see(([127, 0, 0, 1], ports::free_for_both()).into()).await, "connection refused by 127.0.0.1");
    let (silent, _task) = lying(|_| Vec::new()).await;
    fails(see(silent).await, "no answer from 127.0.0.1");
    // Rubbish, somebody else's identifier, somebody else's question, our own question: none is an answer.
    let (rubbish, _task) = lying(|_| vec![b"SSH-2.0".to_vec(), Vec::new(), vec![0xff; 500]]).await;
    fails(see(rubbish).await, "no answer from 127.0.0.1");
    let (echo, _task) = lying(|query| vec![query.to_vec()]).await;
    fails(see(echo).await, "no answer from 127.0.0.1");
    let (guess, _task) = lying(|query| {
        let mut answer = query.to_vec();
        answer[0] ^= 0xff;
        answer[2] |= 0x80;
        vec![answer]
    })
    .await;
    fails(see(guess).await, "no answer from 127.0.0.1");
    // A true answer among them counts; it has no records.
    let (among, _task) = lying(|query| {
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        vec![b"x".to_vec(), answer]
    })
    .await;
    fails(see(among).await, "NOERROR without any A record");
    // It says that there is more over TCP, and nobody is there.
    let (cut, _task) = lying(|query| {
        let mut answer = query.to_vec();
        answer[2] |= 0x82;
        vec![answer]
    })
    .await;
    fails(see(cut).await, "connection refused by 127.0.0.1");
    // Rubbish as fast as the kernel takes it.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let flood = std::thread::spawn(move || {
        let (_, peer) = socket.recv_from(&mut [0; 512]).unwrap();
        let started = now();
        while now() - started < TIMEOUT * 3 {
            let _ = socket.send_to(b"rubbish", peer);
        }
    });
    fails(see(address).await, "no answer from 127.0.0.1");
    flood.join().unwrap();
    // A lost datagram is asked for again.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let (late, _task) = lying(move |query| {
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Vec::new(),
            _ => vec![answer],
        }
    })
    .await;
    fails(see(late).await, "NOERROR without any A record");
}
