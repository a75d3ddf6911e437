//! The real program as a daemon: started as an operator starts it, and looked at through its
//! sockets only.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use pointsman::wire::{Message, Name, RecordType, ask};
use rustix::process::Signal;
use serde_json::Value;

use super::{Program, until};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_pointsman");

/// The longest that a daemon may take until it serves.
const START: Duration = Duration::from_secs(20);

/// A daemon whose files lie in a directory of its own.
pub struct Site {
    pub program: Program,
    pub directory: PathBuf,
    pub log: PathBuf,
    /// Where the log of this process begins in the file: a daemon started again appends to it.
    log_from: usize,
}

impl Site {
    /// Starts `serve` on `pointsman.yaml` in a directory and waits until DNS is served.
    pub fn start(directory: &Path) -> Self {
        Self::start_by(Command::new(BINARY), directory)
    }

    /// The same, through a command that runs the program: `ip netns exec NAME pointsman`.
    pub fn start_by(command: Command, directory: &Path) -> Self {
        let mut site = Self::launch(command, directory);
        until("DNS to be served", START, || {
            assert!(!site.program.has_ended(), "the daemon has ended: {}", site.log());
            !site.event("daemon.serving").is_null()
        });
        site
    }

    /// Starts it without waiting.
    pub fn launch(mut command: Command, directory: &Path) -> Self {
        let log = directory.join("daemon.log");
        let log_from = std::fs::metadata(&log).map_or(0, |metadata| metadata.len() as usize);
        command.env_remove("POINTSMAN_LOG").args(["serve", "--log", "json", "--config"]);
        command.arg(directory.join("pointsman.yaml"));
        let program = Program::start(&mut command, "pointsman", &log);
        Self { program, directory: directory.to_owned(), log, log_from }
    }

    /// What this process has logged.
    pub fn log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.log_from..).unwrap_or_default()).into_owned()
    }

    /// The first line of the log about an event; null if there is none yet.
    pub fn event(&self, event: &str) -> Value {
        let log = self.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["event"] == event).unwrap_or_default()
    }

    /// Where DNS is served, by the log's own words.
    pub fn dns(&self) -> SocketAddr {
        let line = self.event("daemon.serving");
        let addresses = line["addresses"].as_str().unwrap_or_else(|| panic!("not serving: {}", self.log()));
        addresses.trim_matches(['[', ']']).split(", ").next().unwrap().parse().unwrap()
    }

    /// The addresses that a name is answered with, sorted, by a query over UDP.
    pub fn addresses(&self, name: &str) -> Vec<String> {
        addresses(self.dns(), name)
    }

    pub fn control(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// What the control socket answers to a request: the status and the body.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(self.control()).ok()?;
        exchange(&mut stream, method, path, body)
    }

    pub fn get(&self, path: &str) -> Value {
        let (code, body) = self.request("GET", path, "").expect("the control socket answers");
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// What a region is at present, and what it was last known to be.
    pub fn region(&self, name: &str) -> Value {
        let status = self.get("/v1/status");
        let mut regions = status["regions"].as_array().unwrap().iter();
        regions.find(|region| region["name"] == name).unwrap_or_else(|| panic!("no region {name}")).clone()
    }

    pub fn health(&self, name: &str) -> String {
        self.region(name)["health"].as_str().unwrap().to_owned()
    }

    /// `/metrics` as text.
    pub fn metrics(&self) -> String {
        self.request("GET", "/metrics", "").expect("the control socket answers").1
    }

    /// The value of one metric, labels as they are written.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.metrics();
        let line = metrics.lines().find(|line| line.split(' ').next() == Some(name))?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// Runs another of the program's commands against this daemon.
    pub fn command(&self, arguments: &[&str]) -> Output {
        pointsman(&self.directory.join("pointsman.yaml"), arguments)
    }

    /// Asks it to stop, and waits; whether it said that all went well.
    pub fn stop(mut self) -> bool {
        self.program.signal(Signal::TERM);
        self.program.wait();
        self.program.succeeded()
    }
}

/// Runs the program on a configuration and waits for its end.
pub fn pointsman(config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.env_clear().arg("--config").arg(config).args(arguments);
    command.output().unwrap()
}

/// The addresses that a server answers for a name, sorted; none at all if it does not answer.
pub fn addresses(server: SocketAddr, name: &str) -> Vec<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let query = ask(7, &Name::parse(name).unwrap(), RecordType::A, Some(1232));
    socket.send_to(&query, server).unwrap();
    let mut buffer = [0; 1232];
    let Ok((length, _)) = socket.recv_from(&mut buffer) else { return Vec::new() };
    let message = Message::read(&buffer[..length]).unwrap();
    let answers = message.sections[0].iter().filter(|record| record.rtype == RecordType::A);
    let address = |rdata: &[u8]| std::net::Ipv4Addr::from(<[u8; 4]>::try_from(rdata).unwrap()).to_string();
    let mut addresses: Vec<_> = answers.map(|record| address(&record.rdata)).collect();
    addresses.sort();
    addresses
}

/// One request of HTTP/1.0, so that the answer ends with the connection.
pub fn exchange(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    body: &str,
) -> Option<(u16, String)> {
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nhost: pointsman\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
