//! The asking side: dnsperf for rates, and a client of our own for percentiles, which dnsperf
//! does not tell.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use pointsman::wire::{Name, RecordType, ask};

use super::common::CLIENT_CORE;
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
const SUBNET_OPTION: [u8; 12] = [0, 8, 0, 8, 0, 1, 32, 0, 89, 160, 20, 113];

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
        let message = |(n, name): (usize, &String)| {
            let mut message = ask(n as u16, &Name::parse(name).unwrap(), RecordType::A, Some(1232));
            if content.is_dynamic() {
                let len_at = message.len() - 1;
                message[len_at] = SUBNET_OPTION.len() as u8;
                message.extend(SUBNET_OPTION);
            }
            message
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

/// Asks as fast as it can for a while.
pub fn dnsperf(server: SocketAddr, queries: &Queries, leg: Duration) -> Load {
    let said = Command::new("taskset")
        .args([
            "-c",
            CLIENT_CORE,
            "dnsperf",
            "-s",
            &server.ip().to_string(),
            "-p",
            &server.port().to_string(),
        ])
        .args(["-d".as_ref(), queries.file.as_os_str()])
        .args(["-l", &leg.as_secs_f64().to_string(), "-c", "1", "-T", "1", "-q", "100", "-t", "1"])
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
