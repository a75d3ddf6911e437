//! A program that the demo has started: in a process group of its own, so that Ctrl-C reaches
//! the demo alone, and ended with it.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::{sleep, timeout};

use super::{LOOK_EVERY, START_MAX};
use crate::demo::directory::Directory;

/// How long a program may take to end when it is asked to, before it is killed.
const END_MAX: Duration = Duration::from_secs(5);
const LOOK_AT_END_EVERY: Duration = Duration::from_millis(10);
/// How much of a log goes into an error.
const LOG_LINES_MAX: usize = 8;

/// A running program. It is ended on drop.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
    running: PathBuf,
}

/// A command with nothing of our environment, in which other servers may be named.
pub fn command(program: &Path, servant: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/");
    if let Some((user, group)) = servant {
        command.uid(user).gid(group);
    }
    command
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command, name: &str, directory: &Directory) -> Result<Self, String> {
        let log = directory.log(name);
        let mut start = || {
            let file = OpenOptions::new().create(true).append(true).open(&log)?;
            command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
            command.spawn()
        };
        let child = start().map_err(|why| format!("cannot start {name}: {why}"))?;
        let running = directory.running(child.id());
        let program = Self { name: name.to_owned(), child, log, running };
        File::create(&program.running).map_err(|why| format!("{}: {why}", program.running.display()))?;
        Ok(program)
    }

    /// Runs one that ends by itself.
    ///
    /// # Errors
    /// It cannot be started, does not end in time, or says that it failed.
    pub async fn run(command: &mut Command, name: &str, directory: &Directory) -> Result<(), String> {
        let mut program = Self::start(command, name, directory)?;
        match program.wait(START_MAX).await {
            Some(status) if status.success() => Ok(()),
            Some(_) => Err(program.complaint("has failed")),
            None => Err(program.complaint("does not end")),
        }
    }

    /// As `kill -9`; it is gone afterwards.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        // Once it was waited for, its number may be somebody else's.
        if self.ended().is_none() {
            let _ = kill_process_group(Pid::from_child(&self.child), signal);
        }
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let ended = async {
            loop {
                if let Some(status) = self.ended() {
                    return status;
                }
                sleep(LOOK_AT_END_EVERY).await;
            }
        };
        timeout(within, ended).await.ok()
    }

    /// Waits until it is ready, which another than itself must say.
    ///
    /// # Errors
    /// It ends instead, or does not get ready.
    pub async fn until_ready(&mut self, mut ready: impl AsyncFnMut() -> bool) -> Result<(), String> {
        let wait = async {
            while !ready().await {
                if self.ended().is_some() {
                    return false;
                }
                sleep(LOOK_EVERY).await;
            }
            true
        };
        match timeout(START_MAX, wait).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.complaint("has ended by itself")),
            Err(_) => Err(self.complaint("does not get ready")),
        }
    }

    /// What is wrong, with the last lines of its log.
    fn complaint(&self, what: &str) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n  ");
        format!("{} {what}; the end of its log:\n  {last}", self.name)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // To PostgreSQL it means to end at once and to take its children along; etcd just ends.
        self.signal(Signal::QUIT);
        let tries = END_MAX.as_millis() / LOOK_AT_END_EVERY.as_millis();
        for _ in 0..tries {
            if self.ended().is_some() {
                break;
            }
            std::thread::sleep(LOOK_AT_END_EVERY);
        }
        self.kill();
        let _ = std::fs::remove_file(&self.running);
    }
}
