//! The daemon itself: the binary that is shipped, in a process of its own, started as an operator
//! starts it and looked at from outside only: its log, its sockets, its commands.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use pointsman::decide::view::Status;
use pointsman::workflow::ExecutionView;
use rustix::process::Signal;
use serde_json::Value;

use super::{Program, Scratch, client, until};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_pointsman");

/// The longest that a daemon may take until it serves.
const START: Duration = Duration::from_secs(20);
/// A request on this machine takes milliseconds; a machine under load is given this.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// The zone that lies beside every configuration, in `gtm.example.com.zone`.
pub const ZONE: &str = "\
$ORIGIN gtm.example.com.
$TTL 300
@    IN SOA ns1 hostmaster.example.com. 1 3600 600 1209600 5
     IN NS  ns1
ns1  IN A   192.0.2.53
";

/// One daemon with a directory for its files, running or not. Its configuration must name
/// `control.sock` for the control socket.
pub struct Daemon {
    program: Option<Program>,
    scratch: Scratch,
    /// Where the log of the newest process begins in the file: each appends to it.
    log_from: usize,
    /// Where it can be read over HTTP, if its configuration says so; else the control socket is
    /// read. Both tell the same.
    pub http: Option<SocketAddr>,
}

/// What a command printed, and how it ended.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Daemon {
    /// A place for one, its configuration still to be written.
    pub fn prepare(name: &str) -> Self {
        let daemon = Self { program: None, scratch: Scratch::new(name), log_from: 0, http: None };
        daemon.write("gtm.example.com.zone", ZONE);
        daemon
    }

    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory().join("pointsman.yaml")
    }

    pub fn control(&self) -> PathBuf {
        self.directory().join("control.sock")
    }

    /// Writes a file beside the configuration.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory().join(name), text).unwrap();
    }

    // ── its life ──

    /// Starts it, and waits until it serves DNS, and says so over HTTP if it can be read there.
    pub fn start(&mut self) {
        self.start_by(binary());
    }

    /// The same, through a command that runs the program: `ip netns exec NAME pointsman`.
    pub fn start_by(&mut self, command: Command) {
        self.launch(command);
        until("the daemon to serve DNS", START, || {
            let ended = self.program.as_mut().is_none_or(Program::has_ended);
            assert!(!ended, "the daemon has ended: {}", self.log());
            let ready = || self.try_get("/readyz").is_some_and(|(code, _)| code == 200);
            !self.event("daemon.serving").is_null() && (self.http.is_none() || ready())
        });
    }

    /// Starts it without waiting.
    pub fn launch(&mut self, mut command: Command) {
        assert!(self.program.is_none(), "one process at a time");
        let log = self.log_file();
        self.log_from = std::fs::metadata(&log).map_or(0, |metadata| metadata.len() as usize);
        command.env_remove("POINTSMAN_LOG").current_dir("/");
        command.args(["serve", "--log", "json", "--config"]).arg(self.config());
        self.program = Some(Program::start(&mut command, "pointsman", &log));
    }

    fn program(&self) -> &Program {
        self.program.as_ref().expect("the daemon runs")
    }

    pub fn pid(&self) -> u32 {
        self.program().pid()
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        self.program.take().unwrap().kill();
    }

    /// As `systemctl stop`; it must end well.
    pub fn stop(&mut self) {
        self.program().signal(Signal::TERM);
        assert!(self.ends_well(), "it did not end well: {}", self.log());
    }

    /// As `systemctl reload`.
    pub fn hang_up(&self) {
        self.program().signal(Signal::HUP);
    }

    /// Waits until it ends by itself; whether it said that all went well.
    pub fn ends_well(&mut self) -> bool {
        let mut program = self.program.take().unwrap();
        program.wait();
        program.succeeded()
    }

    // ── what it says ──

    fn log_file(&self) -> PathBuf {
        self.directory().join("daemon.log")
    }

    /// What the newest process has logged.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.log_from..).unwrap_or_default()).into_owned()
    }

    /// The first line of the log about an event; null if there is none yet.
    pub fn event(&self, event: &str) -> Value {
        let log = self.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["event"] == event).unwrap_or_default()
    }

    /// Where DNS is served, by the log's own words.
    #[track_caller]
    pub fn dns(&self) -> SocketAddr {
        let line = self.event("daemon.serving");
        let addresses = line["addresses"].as_str().unwrap_or_else(|| panic!("not serving: {}", self.log()));
        addresses.trim_matches(['[', ']']).split(", ").next().unwrap().parse().unwrap()
    }

    /// The addresses that it answers for a name, sorted; none at all if it does not answer.
    #[track_caller]
    pub fn addresses(&self, name: &str) -> Vec<String> {
        client::addresses(self.dns(), name)
    }

    /// Runs another command of the same binary.
    pub fn cli(&self, arguments: &[&str]) -> Said {
        pointsman(&self.config(), arguments)
    }

    /// The same, with what it prints as JSON.
    #[track_caller]
    pub fn cli_json<T: serde::de::DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let said = self.cli(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&said.out).unwrap_or_else(|why| panic!("{arguments:?}: {why}: {said}"))
    }

    /// What is answered over HTTP to a request: status and body, if anything is.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        match &self.http {
            Some(http) => {
                let stream = TcpStream::connect_timeout(http, ANSWER_WAIT).ok()?;
                stream.set_read_timeout(Some(ANSWER_WAIT)).unwrap();
                exchange(stream, method, path, body)
            }
            None => {
                let stream = UnixStream::connect(self.control()).ok()?;
                stream.set_read_timeout(Some(ANSWER_WAIT)).unwrap();
                exchange(stream, method, path, body)
            }
        }
    }

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        self.request("GET", path, "")
    }

    #[track_caller]
    fn text(&self, path: &str) -> String {
        let answer = self.try_get(path);
        let (code, body) = answer.unwrap_or_else(|| panic!("{path}: no answer; {}", self.log()));
        assert_eq!(code, 200, "{path}: {body}");
        body
    }

    /// What it says of itself, as others read it.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    /// What it says of itself, as the command line reads it.
    #[track_caller]
    pub fn status(&self) -> Status {
        serde_json::from_str(&self.text("/v1/status")).unwrap()
    }

    /// Workflows that run or have run.
    #[track_caller]
    pub fn executions(&self) -> Vec<ExecutionView> {
        serde_json::from_str(&self.text("/v1/executions")).unwrap()
    }

    /// What a region is at present, and what it was last known to be.
    #[track_caller]
    pub fn region(&self, name: &str) -> Value {
        let status = self.get("/v1/status");
        let mut regions = status["regions"].as_array().unwrap().iter();
        regions.find(|region| region["name"] == name).unwrap_or_else(|| panic!("no region {name}")).clone()
    }

    /// A region's health, in the word that others read.
    #[track_caller]
    pub fn health(&self, region: &str) -> String {
        self.region(region)["health"].as_str().unwrap().to_owned()
    }

    /// `/metrics` as text.
    #[track_caller]
    pub fn metrics(&self) -> String {
        self.text("/metrics")
    }

    /// The value of one metric, labels as they are written.
    #[track_caller]
    pub fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.metrics();
        let line = metrics.lines().find(|line| line.split(' ').next() == Some(name))?;
        line.split(' ').nth(1)?.parse().ok()
    }
}

impl Said {
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

impl From<Output> for Said {
    fn from(Output { status, stdout, stderr }: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: status.code(), out: text(stdout), err: text(stderr) }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.out, self.err)
    }
}

/// The program with nothing around it that it could lean on.
pub fn binary() -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().current_dir("/").stdin(Stdio::null());
    command
}

/// Runs the program on a configuration and waits for its end.
pub fn pointsman(config: &Path, arguments: &[&str]) -> Said {
    binary().arg("--config").arg(config).args(arguments).output().unwrap().into()
}

/// One request on a connection of its own, so that the answer ends with it.
fn exchange(mut stream: impl Read + Write, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: pointsman\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
