//! The asking side: dnsperf for rates, and a client of our own for percentiles, which dnsperf
//! does not tell.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use pointsman::wire::{AskEdns, Message, Name, RecordType, ask_by_edns, option_code};

use super::zone::Content;

/// What is asked, for both clients.
pub struct Queries {
    file: PathBuf,
    /// Arguments for dnsperf that add EDNS.
    edns: Vec<&'static str>,
    messages: Vec<Vec<u8>>,
}

/// A client in Sweden by the test database that all servers use: family 1, 32 of 32 bits.
const SUBNET: &str = "8:0001200059a01471";
const SUBNET_DATA: [u8; 8] = [0, 1, 32, 0, 89, 160, 20, 113];

impl Queries {
    pub fn new(content: Content, names: usize, dnssec_ok: bool) -> Self {
        let kind = if content.is_dynamic() { "dynamic" } else { "plain" };
        let names: Vec<_> = (0..names).map(|n| format!("{kind}{n}.example.com")).collect();
        let mut text = String::new();
        for name in &names {
            let _ = writeln!(text, "{name} A");
        }
        let file = std::env::temp_dir().join(format!("pointsman-bench-{}-{kind}", std::process::id()));
        fs::write(&file, text).unwrap();
        let mut edns = vec!["-e"];
        if dnssec_ok {
            edns.push("-D");
        }
        if content.is_dynamic() {
            edns.extend(["-E", SUBNET]);
        }
        let options = content.is_dynamic().then(|| (option_code::CLIENT_SUBNET, SUBNET_DATA.to_vec()));
        let asked = AskEdns { payload: 1232, dnssec_ok, options: options.into_iter().collect() };
        let message = |(n, name): (usize, &String)| {
            ask_by_edns(n as u16, &Name::parse(name).unwrap(), RecordType::A, Some(&asked))
        };
        Self { file, edns, messages: names.iter().enumerate().map(message).collect() }
    }
}

impl Drop for Queries {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// What a client saw.
#[derive(Clone, Copy)]
pub struct Load {
    pub answered: u64,
    pub lost: u64,
    pub seconds: f64,
}

/// How dnsperf asks.
#[derive(Clone, Copy)]
pub struct Pace {
    pub leg: Duration,
    /// Queries in flight at most.
    pub window: u32,
    pub core: &'static str,
    /// By a client that never sleeps, instead of dnsperf.
    pub flood: bool,
}

/// Asks as fast as it can for a while.
pub fn ask_all(server: SocketAddr, queries: &Queries, pace: Pace) -> Load {
    if pace.flood { flood(server, queries, pace) } else { dnsperf(server, queries, pace) }
}

/// The same by dnsperf.
fn dnsperf(server: SocketAddr, queries: &Queries, pace: Pace) -> Load {
    let said = Command::new("taskset")
        .args(["-c", pace.core, "dnsperf", "-s", &server.ip().to_string(), "-p", &server.port().to_string()])
        .args(["-d".as_ref(), queries.file.as_os_str()])
        .args(["-l", &pace.leg.as_secs_f64().to_string(), "-q", &pace.window.to_string()])
        .args(["-c", "1", "-T", "1", "-t", "1"])
        .args(&queries.edns)
        .output()
        .expect("needs dnsperf(1); --install gets it");
    let said = String::from_utf8_lossy(&said.stdout);
    let number = |key: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(key));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        number.unwrap_or_else(|| panic!("dnsperf did not say `{key}`:\n{said}"))
    };
    let codes = said.lines().find_map(|line| line.trim().strip_prefix("Response codes:")).unwrap_or_default();
    let answered = number("Queries completed:") as u64;
    assert!(answered > 0, "no answer at all:\n{said}");
    assert!(codes.trim_start().starts_with("NOERROR"), "other answers than asked for:\n{said}");
    Load { answered, lost: number("Queries lost:") as u64, seconds: number("Run time (s):") }
}

/// Asks as fast as it can without ever sleeping, so that no answer has to wake it: what is left of
/// the server's cost is its own. Whole windows wait while the server is held, and batches fill.
fn flood(server: SocketAddr, queries: &Queries, pace: Pace) -> Load {
    /// Longer than the server is held at a time. What has not come by then does not come.
    const PATIENCE: Duration = Duration::from_millis(50);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (mut in_flight, mut answered, mut lost) = (0, 0, 0);
    let mut messages = queries.messages.iter().cycle();
    let mut buffer = [0; 4096];
    let (began, mut heard) = (Instant::now(), Instant::now());
    while began.elapsed() < pace.leg {
        while in_flight < pace.window && socket.send(messages.next().expect("endless")).is_ok() {
            in_flight += 1;
        }
        while let Ok(octets) = socket.recv(&mut buffer) {
            assert!(octets > 3 && buffer[3] & 0xf == 0, "other answers than asked for");
            in_flight = in_flight.saturating_sub(1);
            answered += 1;
            heard = Instant::now();
        }
        if heard.elapsed() > PATIENCE {
            lost += u64::from(std::mem::take(&mut in_flight));
            heard = Instant::now();
        }
    }
    assert!(answered > 0, "no answer at all");
    Load { answered, lost, seconds: began.elapsed().as_secs_f64() }
}

/// Whether the first of these names is answered with a signature when one is asked for.
pub fn is_signed(server: SocketAddr, queries: &Queries) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket.send_to(&queries.messages[0], server).unwrap();
    let mut answer = [0; 4096];
    let octets = socket.recv(&mut answer).unwrap();
    let answer = Message::read(&answer[..octets]).expect("a well-formed answer");
    answer.sections[0].iter().any(|record| record.rtype == RecordType::RRSIG)
}

/// How long answers took, in microseconds.
#[derive(Clone, Default)]
pub struct Latencies {
    /// In order.
    micros: Vec<f32>,
    pub lost: u64,
}

impl Latencies {
    pub fn together(all: &[Self]) -> Self {
        let mut micros: Vec<_> = all.iter().flat_map(|of| of.micros.iter().copied()).collect();
        micros.sort_by(f32::total_cmp);
        Self { micros, lost: all.iter().map(|of| of.lost).sum() }
    }

    pub fn percentile(&self, share: f64) -> f64 {
        let at = (self.micros.len() as f64 * share) as usize;
        self.micros.get(at.min(self.micros.len().saturating_sub(1))).copied().unwrap_or_default().into()
    }
}

/// Asks at a steady rate, whatever the answers do, and times each answer from the instant at
/// which its query was due (so that a stall counts for all that it held up). Calls `every_second`
/// once a second.
pub fn steady(
    server: SocketAddr,
    queries: &Queries,
    per_second: u32,
    duration: Duration,
    mut every_second: impl FnMut(),
) -> Latencies {
    const IDS: usize = 1 << 16;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_nonblocking(true).unwrap();
    let total = (duration.as_secs_f64() * f64::from(per_second)) as usize;
    let gap = Duration::from_secs(1) / per_second;
    let mut due_of = vec![None; IDS];
    let mut micros = Vec::with_capacity(total);
    let (mut sent, mut buffer) = (0, [0; 4096]);
    let began = Instant::now();
    let mut next_second = Duration::from_millis(500);
    let mut message = Vec::new();
    // The last answers have a tenth of a second.
    while began.elapsed() < duration + Duration::from_millis(100) {
        let now = began.elapsed();
        if now >= next_second {
            next_second += Duration::from_secs(1);
            every_second();
        }
        let due = gap * sent as u32;
        if sent < total && now >= due {
            message.clear();
            message.extend_from_slice(&queries.messages[sent % queries.messages.len()]);
            let id = sent % IDS;
            message[..2].copy_from_slice(&(id as u16).to_be_bytes());
            due_of[id] = Some(due);
            let _ = socket.send(&message);
            sent += 1;
        }
        while let Ok(len) = socket.recv(&mut buffer) {
            let Some(id) = buffer[..len].first_chunk::<2>() else { continue };
            if let Some(due) = due_of[usize::from(u16::from_be_bytes(*id))].take() {
                micros.push((began.elapsed() - due).as_secs_f32() * 1e6);
            }
        }
    }
    let lost = (sent - micros.len()) as u64;
    micros.sort_by(f32::total_cmp);
    Latencies { micros, lost }
}
