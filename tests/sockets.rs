//! The server over real sockets: loopback, IPv4 and IPv6, UDP and TCP.
#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(clippy::disallowed_methods, reason = "a test reads the clock")]
#![allow(clippy::print_stderr, reason = "a test says why it is skipped")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pointsman::base::{Generation, RegionId, ServiceId};
use pointsman::config::DnsLimits;
use pointsman::dns::Counter;
use pointsman::region::{Audience, Choice, Pick};
use pointsman::serve::{Server, Sockets};
use pointsman::table::{Answers, Table};
use pointsman::wire::{Message, Name, Rcode, RecordType, ask};

mod zoo;

const PATIENCE: Duration = Duration::from_secs(5);

fn limits() -> DnsLimits {
    DnsLimits { tcp_idle: Duration::from_secs(2), ..zoo::config(zoo::CONFIG).dns }
}

struct Running {
    server: Server,
    table: Arc<ArcSwap<Table>>,
    addresses: Vec<SocketAddr>,
}

fn start(addresses: &[&str], threads: usize, limits: &DnsLimits) -> Running {
    let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    run(Sockets::bind(&addresses, threads).unwrap_or_else(|why| panic!("{why}")), limits)
}

fn run(sockets: Sockets, limits: &DnsLimits) -> Running {
    let addresses = sockets.tcp_addresses();
    let table = Arc::new(ArcSwap::from_pointee(zoo::table()));
    let server = Server::start(sockets, Arc::clone(&table), limits).unwrap();
    Running { server, table, addresses }
}

fn query(name: &str, rtype: RecordType) -> Vec<u8> {
    ask(7, &Name::parse(&format!("{name}.example.com")).unwrap(), rtype, Some(1232))
}

/// Asks over UDP from a socket that hears nobody but the address it asked.
fn over_udp(server: SocketAddr, query: &[u8]) -> Option<Message> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0u8; 16].into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket.connect(server).unwrap();
    socket.send(query).unwrap();
    let mut buffer = [0; 2048];
    let len = socket.recv(&mut buffer).ok()?;
    Some(Message::read(&buffer[..len]).unwrap())
}

fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn frame(query: &[u8]) -> Vec<u8> {
    [&(query.len() as u16).to_be_bytes(), query].concat()
}

fn read_frame(stream: &mut TcpStream) -> std::io::Result<Message> {
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply)?;
    Ok(Message::read(&reply).unwrap())
}

fn over_tcp(server: SocketAddr, query: &[u8]) -> Message {
    let mut stream = connect(server);
    stream.write_all(&frame(query)).unwrap();
    read_frame(&mut stream).unwrap()
}

/// Whether the other side has closed, waited for.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(len) => len == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Says that a test cannot run here. Where all must run, that is a failure.
fn skip(needs: &str) {
    assert!(std::env::var_os("POINTSMAN_TEST_REQUIRE").is_none(), "needs {needs}");
    eprintln!("ignored: needs {needs}");
}

#[test]
fn answers_over_udp_and_tcp_on_both_families() {
    let running = start(&["127.0.0.1:0", "[::1]:0"], 2, &limits());
    for address in &running.addresses {
        for name in ["host", "storefront"] {
            let query = query(name, RecordType::AAAA);
            let udp = over_udp(*address, &query).expect("it answers");
            assert_eq!((udp.rcode(), udp.sections[0].len()), (Rcode::NOERROR, 1));
            assert_eq!(over_tcp(*address, &query), udp);
        }
    }
    eventually("counts are told", || running.server.counts()[Counter::NoError] == 8);
    let counts = running.server.stop();
    assert_eq!((counts[Counter::Udp], counts[Counter::Tcp], counts[Counter::TcpAccepted]), (4, 4, 4));
}

#[test]
fn what_udp_cannot_hold_is_had_over_tcp() {
    let running = start(&["127.0.0.1:0"], 1, &limits());
    let query = query("big", RecordType::TXT);
    let udp = over_udp(running.addresses[0], &query).expect("it answers");
    assert!(udp.flag_words().any(|word| word == "tc") && udp.sections[0].is_empty());
    let tcp = over_tcp(running.addresses[0], &query);
    assert!(!tcp.flag_words().any(|word| word == "tc"));
    assert_eq!(tcp.sections[0].len(), 11);
}

#[test]
fn dig_agrees() {
    if Command::new("dig").arg("-v").output().is_err() {
        return skip("dig (bind9-dnsutils)");
    }
    let running = start(&["127.0.0.1:0"], 1, &limits());
    let port = running.addresses[0].port().to_string();
    let dig = |args: &[&str]| {
        let output =
            Command::new("dig").args(["@127.0.0.1", "-p", &port, "+time=2", "+tries=1"]).args(args).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(dig(&["+short", "storefront.example.com", "A"]), "192.0.2.10\n");
    assert_eq!(dig(&["+short", "shop.example.com", "A"]), "storefront.example.com.\n192.0.2.10\n");
    // It comes back over TCP by itself.
    assert_eq!(dig(&["+short", "big.example.com", "TXT"]).lines().count(), 11);
    let text = dig(&["-x", "192.0.2.1"]);
    assert!(text.contains("status: REFUSED"), "{text}");
    // Cookies and padding are options that we do not know.
    let text = dig(&["+cookie", "+dnssec", "host.example.com", "A"]);
    assert!(
        text.contains("status: NOERROR") && text.contains("udp: 1232") && text.contains("flags: do"),
        "{text}"
    );
    assert!(!text.contains("malformed") && !text.contains("Warning"), "{text}");
    // Our printer says what dig says.
    let ours = over_udp(running.addresses[0], &query("lab", RecordType::A)).unwrap().to_string();
    let theirs = dig(&["+norec", "lab.example.com", "A"]);
    let records = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
        let mut lines: Vec<_> =
            lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        lines.sort();
        lines
    };
    assert_eq!(records(&ours), records(&theirs));
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let running = start(&["0.0.0.0:0"], 1, &limits());
    let port = running.addresses[0].port();
    // All of 127/8 is here. Without care, replies to a local client leave from 127.0.0.1.
    for last in [1, 2, 77] {
        let asked = SocketAddr::from(([127, 0, 0, last], port));
        assert!(over_udp(asked, &query("host", RecordType::A)).is_some(), "{asked}");
    }
}

/// Runs in a network namespace of its own, where the loopback device has several addresses.
#[test]
fn answers_come_from_the_address_that_was_asked_of_several() {
    const INSIDE: &str = "POINTSMAN_TEST_IN_NAMESPACE";
    if std::env::var_os(INSIDE).is_none() {
        let this = std::env::current_exe().unwrap();
        let script = format!(
            "ip link set lo up && ip -6 addr add fd00::1/128 dev lo nodad && ip -6 addr add fd00::2/128 dev lo nodad && \
             ip addr add 10.0.0.1/32 dev lo && ip addr add 10.0.0.2/32 dev lo && exec {} --exact answers_come_from_the_address_that_was_asked_of_several",
            this.display()
        );
        let output = Command::new("unshare").args(["-rn", "sh", "-c", &script]).env(INSIDE, "1").output();
        match output {
            Ok(output) if output.status.success() => {}
            Ok(output) if !String::from_utf8_lossy(&output.stdout).contains("running 1 test") => {
                skip("network namespaces (unshare -rn, ip)");
            }
            Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stdout)),
            Err(_) => skip("unshare(1)"),
        }
        return;
    }
    let running = start(&["0.0.0.0:0", "[::]:0"], 1, &limits());
    for address in ["127.0.0.1", "10.0.0.1", "10.0.0.2", "::1", "fd00::1", "fd00::2"] {
        let address: IpAddr = address.parse().unwrap();
        let bound = running.addresses.iter().find(|bound| bound.is_ipv4() == address.is_ipv4()).unwrap();
        let asked = SocketAddr::new(address, bound.port());
        assert!(over_udp(asked, &query("host", RecordType::A)).is_some(), "{asked}");
        assert_eq!(over_tcp(asked, &query("host", RecordType::A)).rcode(), Rcode::NOERROR);
    }
}

#[test]
fn garbage_is_no_trouble() {
    let running = start(&["127.0.0.1:0"], 1, &limits());
    let address = running.addresses[0];
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..500 {
        let octets: Vec<_> = (0..rng.usize(0..1400)).map(|_| rng.u8(..)).collect();
        socket.send_to(&octets, address).unwrap();
    }
    assert!(over_udp(address, &query("host", RecordType::A)).is_some());
    let counts = running.server.counts();
    assert!(counts[Counter::Dropped] > 100, "{counts:?}");
}

#[test]
fn nothing_is_lost_while_tables_are_swapped() {
    const QUERIES: usize = 20_000;
    let running = start(&["127.0.0.1:0"], 2, &limits());
    let (address, table) = (running.addresses[0], Arc::clone(&running.table));
    let done = Arc::new(AtomicBool::new(false));
    let swapping = {
        let done = Arc::clone(&done);
        let config = zoo::config(zoo::CONFIG);
        thread::spawn(move || {
            let mut generation = Generation(1);
            while !done.load(Ordering::Relaxed) {
                generation = generation.next();
                let region = RegionId(generation.0 as u16 & 1);
                let choice = Choice::of(Pick::certain(region), 20);
                let live = table.load();
                let mut answers = live.all_answers().to_vec();
                let service = &config.services[ServiceId(0)];
                answers[0] = Answers::compile(service, &Audience::unlocated(service), &choice);
                table.store(Arc::new(Table::new(generation, Arc::clone(live.image()), answers)));
                thread::sleep(Duration::from_millis(10));
            }
            generation.0
        })
    };
    let clients: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.connect(address).unwrap();
                let query = query("storefront", RecordType::A);
                let mut seen = [0; 2];
                let mut buffer = [0; 512];
                for _ in 0..QUERIES / 4 {
                    socket.send(&query).unwrap();
                    let len = socket.recv(&mut buffer).expect("a query was lost");
                    let message = Message::read(&buffer[..len]).unwrap();
                    match message.sections[0][0].rdata[..] {
                        [192, 0, 2, 10] => seen[0] += 1,
                        [198, 51, 100, 10] => seen[1] += 1,
                        ref other => panic!("neither table says {other:?}"),
                    }
                }
                seen
            })
        })
        .collect();
    let seen: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    done.store(true, Ordering::Relaxed);
    let swaps = swapping.join().unwrap();
    assert!(swaps > 10 && seen.iter().all(|seen| seen[0] > 0 && seen[1] > 0), "{swaps} swaps, {seen:?}");
    let counts = running.server.stop();
    assert_eq!((counts[Counter::Udp], counts[Counter::NoError]), (QUERIES as u64, QUERIES as u64));
}

#[test]
fn stops_at_once() {
    let running = start(&["127.0.0.1:0", "[::1]:0"], 2, &limits());
    let idle = connect(running.addresses[0]);
    over_udp(running.addresses[0], &query("host", RecordType::A)).unwrap();
    let started = Instant::now();
    running.server.stop();
    assert!(started.elapsed() < Duration::from_millis(300), "{:?}", started.elapsed());
    drop(idle);
    // The port is free again.
    let again = Sockets::bind(&[running.addresses[0]], 1);
    assert!(again.is_ok(), "{again:?}");
}

#[test]
fn what_waits_when_it_stops_is_answered() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..200 {
        client.send_to(&query("host", RecordType::A), socket.local_addr().unwrap()).unwrap();
    }
    let running = run(Sockets::adopt(vec![vec![socket]], vec![], 1).unwrap(), &limits());
    assert_eq!(running.server.stop()[Counter::NoError], 200);
}

#[test]
fn several_threads_share_an_adopted_socket() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = std::net::TcpListener::bind(udp.local_addr().unwrap()).unwrap();
    let copy = udp.try_clone().unwrap();
    let running = run(Sockets::adopt(vec![vec![udp]], vec![tcp], 3).unwrap(), &limits());
    for _ in 0..50 {
        assert!(over_udp(running.addresses[0], &query("host", RecordType::A)).is_some());
    }
    over_tcp(running.addresses[0], &query("host", RecordType::A));
    let address = running.addresses[0];
    running.server.stop();
    // It is not ours to close: what comes now waits for whoever takes over.
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(&query("host", RecordType::A), address).unwrap();
    let next = run(Sockets::adopt(vec![vec![copy]], vec![], 1).unwrap(), &limits());
    assert!(client.recv(&mut [0; 512]).is_ok());
    drop(next);
}

#[test]
fn says_why_it_cannot_listen_and_what_to_do() {
    let running = start(&["127.0.0.1:0"], 1, &limits());
    let taken = running.addresses[0];
    let why = Sockets::bind(&[taken], 1).unwrap_err().to_string();
    assert!(
        why.starts_with(&format!("cannot listen on {taken} (TCP): "))
            && why.contains("another process has it"),
        "{why}"
    );
    // A port that somebody has over UDP and nobody over TCP.
    let free_over_tcp =
        |socket: &UdpSocket| std::net::TcpListener::bind(socket.local_addr().unwrap()).is_ok();
    let udp_only =
        std::iter::repeat_with(|| UdpSocket::bind("127.0.0.1:0").unwrap()).find(free_over_tcp).unwrap();
    let taken = udp_only.local_addr().unwrap();
    let why = Sockets::bind(&[taken], 1).unwrap_err().to_string();
    assert!(
        why.starts_with(&format!("cannot listen on {taken} (UDP): ")) && why.contains("ss -lnup"),
        "{why}"
    );
    let why = Sockets::bind(&["192.0.2.1:0".parse().unwrap()], 1).unwrap_err().to_string();
    assert!(why.contains("no interface has this address"), "{why}");
}

// ── TCP ──

#[test]
fn queries_may_come_in_pieces_and_all_at_once() {
    let running = start(&["127.0.0.1:0"], 1, &limits());
    let mut stream = connect(running.addresses[0]);
    stream.set_nodelay(true).unwrap();
    for octet in frame(&query("host", RecordType::A)) {
        stream.write_all(&[octet]).unwrap();
    }
    assert_eq!(read_frame(&mut stream).unwrap().rcode(), Rcode::NOERROR);
    // Two hundred at once, the answers in the same order, more of them than one write takes.
    let many: Vec<u8> = (0..200u16)
        .flat_map(|id| {
            let mut query = query(if id & 1 == 0 { "big" } else { "none" }, RecordType::TXT);
            query[..2].copy_from_slice(&id.to_be_bytes());
            frame(&query)
        })
        .collect();
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&many).unwrap());
    for id in 0..200u16 {
        let message = read_frame(&mut stream).unwrap();
        assert_eq!(message.id, id);
        assert_eq!(message.rcode(), if id & 1 == 0 { Rcode::NOERROR } else { Rcode::NXDOMAIN });
    }
    writing.join().unwrap();
}

#[test]
fn a_connection_that_makes_no_sense_is_closed() {
    let running = start(&["127.0.0.1:0"], 1, &limits());
    let mut response = query("host", RecordType::A);
    response[2] |= 0x80;
    for rubbish in
        [vec![0, 0], vec![0, 11], vec![0xff, 0xff], frame(&response), b"GET / HTTP/1.1\r\n\r\n".to_vec()]
    {
        let mut stream = connect(running.addresses[0]);
        stream.write_all(&rubbish).unwrap();
        assert!(is_closed(&mut stream), "{rubbish:x?}");
    }
    eventually("they are counted", || running.server.counts()[Counter::TcpBroken] == 5);
    // What is merely wrong is told so, and the connection goes on.
    let mut stream = connect(running.addresses[0]);
    stream.write_all(&frame(&query("host", RecordType::A)[..20])).unwrap();
    assert_eq!(read_frame(&mut stream).unwrap().rcode(), Rcode::FORMERR);
    stream.write_all(&frame(&query("host", RecordType::A))).unwrap();
    assert_eq!(read_frame(&mut stream).unwrap().rcode(), Rcode::NOERROR);
}

#[test]
fn connections_are_limited_in_number() {
    let limits = DnsLimits { tcp_connections_max: 4, tcp_connections_per_client_max: 3, ..limits() };
    let running = start(&["127.0.0.1:0", "[::1]:0"], 1, &limits);
    let [ipv4, ipv6] = running.addresses[..] else { panic!() };
    let works = |stream: &mut TcpStream| {
        stream.write_all(&frame(&query("host", RecordType::A))).is_ok() && read_frame(stream).is_ok()
    };
    let mut open: Vec<_> = (0..3).map(|_| connect(ipv4)).collect();
    assert!(open.iter_mut().all(works));
    // One too many for this client, then one too many for all.
    assert!(is_closed(&mut connect(ipv4)));
    let mut other = connect(ipv6);
    assert!(works(&mut other));
    assert!(is_closed(&mut connect(ipv6)));
    assert_eq!(running.server.counts()[Counter::TcpRefused], 2);
    // A place that becomes free is taken again.
    open.pop();
    eventually("a place becomes free", || works(&mut connect(ipv4)));
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let limits = DnsLimits { tcp_idle: Duration::from_millis(300), ..limits() };
    let running = start(&["127.0.0.1:0"], 1, &limits);
    let started = Instant::now();
    let mut silent = connect(running.addresses[0]);
    let mut trickling = connect(running.addresses[0]);
    let mut writer = trickling.try_clone().unwrap();
    // An octet now and then is no query.
    let trickle = thread::spawn(move || {
        for octet in frame(&query("host", RecordType::A)) {
            if writer.write_all(&[octet]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    assert!(is_closed(&mut silent) && is_closed(&mut trickling));
    assert!((250..5000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    trickle.join().unwrap();
}

#[test]
fn who_does_not_read_is_dropped() {
    let limits = DnsLimits { tcp_idle: Duration::from_millis(300), ..limits() };
    let running = start(&["127.0.0.1:0"], 1, &limits);
    let mut stream = connect(running.addresses[0]);
    let many: Vec<u8> = (0..100).flat_map(|_| frame(&query("big", RecordType::TXT))).collect();
    // Answers fill all buffers on the way, then the server waits no longer.
    let started = Instant::now();
    while stream.write_all(&many).is_ok() {
        assert!(started.elapsed() < PATIENCE * 2, "it takes everything");
    }
    eventually("it is counted", || running.server.counts()[Counter::TcpBroken] == 1);
    // Others were answered all the while.
    over_tcp(running.addresses[0], &query("host", RecordType::A));
}
