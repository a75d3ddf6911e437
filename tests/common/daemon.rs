//! The daemon itself: the binary that is shipped, in a process of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use pointsman::base::Health;
use pointsman::decide::view::Status;
use pointsman::workflow::ExecutionView;
use rustix::process::Signal;

use super::{Program, Scratch, ports, until};

/// A request on loopback takes milliseconds; a machine under load is given this.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// One daemon with a directory for its files, running or not.
pub struct Daemon {
    program: Option<Program>,
    scratch: Scratch,
    /// Where it serves DNS.
    pub dns: SocketAddr,
    /// Where it can be read over HTTP.
    pub http: SocketAddr,
}

/// What a command printed, and how it ended.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Daemon {
    /// A place for one. Its configuration must listen on [`Self::dns`] and [`Self::http`].
    pub fn prepare(name: &str) -> Self {
        let free = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            program: None,
            scratch: Scratch::new(name),
            dns: free(free_for_both()),
            http: free(ports::free()),
        }
    }

    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory().join("pointsman.yaml")
    }

    /// Writes a file beside the configuration.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory().join(name), text).unwrap();
    }

    /// Starts it, and waits until it serves DNS.
    pub fn start(&mut self) {
        let mut command = self.command(&["serve", "--log", "json"]);
        self.program = Some(Program::start(&mut command, "pointsman", &self.log_file()));
        until("the daemon to serve DNS", Duration::from_secs(60), || {
            let ended = self.program.as_mut().is_none_or(Program::has_ended);
            assert!(!ended, "the daemon has ended: {}", self.log());
            self.get("/readyz").is_some_and(|(code, _)| code == 200)
        });
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        self.program.take().unwrap().kill();
    }

    /// As `systemctl stop`.
    pub fn stop(&mut self) {
        let mut program = self.program.take().unwrap();
        program.signal(Signal::TERM);
        program.wait();
        assert!(program.succeeded(), "it did not end well: {}", self.log());
    }

    /// As `systemctl reload`.
    pub fn hang_up(&self) {
        self.program.as_ref().unwrap().signal(Signal::HUP);
    }

    fn log_file(&self) -> PathBuf {
        self.directory().join("daemon.log")
    }

    /// All that it has logged, over every start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.env_clear().env("USER", "tester").current_dir("/");
        command.arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs another command of the same binary.
    pub fn cli(&self, arguments: &[&str]) -> Said {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    /// The same, with what it prints as JSON.
    pub fn cli_json<T: serde::de::DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let Said { out, err, .. } = self.cli(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|why| panic!("{arguments:?}: {why}: {out}{err}"))
    }

    /// Reads something over HTTP: status and body, if it answers.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.http, ANSWER_WAIT).ok()?;
        stream.set_read_timeout(Some(ANSWER_WAIT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: pointsman\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    #[track_caller]
    fn get_json<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let (code, body) = self.get(path).unwrap_or_else(|| panic!("{path}: no answer; {}", self.log()));
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// What it says of itself.
    #[track_caller]
    pub fn status(&self) -> Status {
        self.get_json("/v1/status")
    }

    /// A region's health.
    #[track_caller]
    pub fn health(&self, region: &str) -> Health {
        self.status().regions.into_iter().find(|view| view.name == region).unwrap().health
    }

    /// Workflows that run or have run.
    #[track_caller]
    pub fn executions(&self) -> Vec<ExecutionView> {
        self.get_json("/v1/executions")
    }

    /// The value of a metric that has no labels.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").unwrap();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no metric {name}"));
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// A port that is free for UDP and for TCP.
fn free_for_both() -> u16 {
    let mut candidates = std::iter::repeat_with(ports::free).take(100);
    candidates.find(|port| UdpSocket::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}
