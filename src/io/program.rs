//! Runs a program: an argument vector, no shell, in a process group of its own that dies as a
//! whole at the deadline.
//!
//! The program gets a clean environment: the usual variables about the system and the user, and
//! what it is given. What else is in the daemon's environment, credentials among it, is not
//! passed on.
//!
//! If the daemon itself is killed, systemd ends the program with it (`KillMode=control-group`);
//! asking the kernel for that (PR_SET_PDEATHSIG) would take unsafe code after the fork.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::{Deadline, show};

/// Bytes of each output that are kept.
const OUTPUT_BYTES_MAX: usize = 4 * 1024;
/// For how long the outputs may stay open after the program has ended: something it has left
/// behind may hold them.
const OUTPUT_LINGERS_MAX: Duration = Duration::from_millis(250);
/// For how long a killed program is waited for.
const DEATH_TIME_MAX: Duration = Duration::from_secs(2);
/// What is passed on of the daemon's own environment, besides `LC_…`.
const PASSED_ON: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"];

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// The program, as it was named.
    pub name: String,
    /// `None`: it was killed at the deadline.
    pub status: Option<ExitStatus>,
    /// What it last said on standard output: 4 KiB at most, where programs say what went wrong.
    pub stdout: String,
    /// The same of standard error.
    pub stderr: String,
}

impl Ended {
    /// "`promote.sh` exited with 1; stderr: …"; `after`: the time that it was given.
    pub fn words(&self, after: Duration) -> String {
        let mut words = match self.status.map(|status| (status.code(), status.signal())) {
            None => format!("`{}` was killed after {}: its time was up", self.name, show(after)),
            Some((Some(code), _)) => format!("`{}` exited with {code}", self.name),
            Some((None, Some(signal))) => format!("`{}` was killed by signal {signal}", self.name),
            Some((None, None)) => format!("`{}` ended", self.name),
        };
        for (name, output) in [("stderr", &self.stderr), ("stdout", &self.stdout)] {
            if !output.is_empty() {
                words.push_str(&format!("; {name}: {output}"));
            }
        }
        words
    }
}

/// Why a program could not be run.
#[derive(Debug)]
pub enum NotRun {
    /// It did not start.
    Start(io::Error),
    /// It started, and how it ended cannot be told.
    Wait(io::Error),
}

/// Runs a program until it ends, or the deadline does: then all of its group is killed.
///
/// # Errors
/// There is no such program, or the system does not let us run it.
pub async fn run(
    program: &str,
    arguments: &[String],
    environment: impl IntoIterator<Item = (String, String)>,
    deadline: Deadline,
) -> Result<Ended, NotRun> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(passed_on())
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(NotRun::Start)?;
    let group = Group::of(&child);
    let (stdout, stderr) = (Tail::of(child.stdout.take()), Tail::of(child.stderr.take()));

    let status = match deadline.bound(child.wait()).await {
        Ok(status) => {
            // What it has left behind may go on; the group's number is free from here on.
            group.leave();
            Some(status.map_err(NotRun::Wait)?)
        }
        Err(_) => {
            // Before the child is reaped: until then the group's number cannot be another's.
            drop(group);
            let _ = tokio::time::timeout(DEATH_TIME_MAX, child.wait()).await;
            None
        }
    };
    Ok(Ended { name: program.to_owned(), status, stdout: stdout.text().await, stderr: stderr.text().await })
}

fn passed_on() -> impl Iterator<Item = (String, String)> {
    let is_usual = |name: &str| PASSED_ON.contains(&name) || name.starts_with("LC_");
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(move |(name, _)| is_usual(name))
}

/// The process group of a child, killed as a whole when dropped.
struct Group(Option<Pid>);

impl Group {
    /// The child leads it: their numbers are the same.
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // That it is gone already is fine.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The last bytes of an output, as they come.
struct Tail {
    kept: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Tail {
    /// Reads on past the limit, so that the program is not held up.
    fn of(output: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let writing = Arc::clone(&kept);
        let reading = tokio::spawn(async move {
            let Some(mut output) = output else { return };
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut chunk).await {
                let mut kept = writing.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&chunk[..read]);
                let surplus = kept.len().saturating_sub(OUTPUT_BYTES_MAX);
                kept.drain(..surplus);
            }
        });
        Self { kept, reading }
    }

    /// What has come by the time that the output is closed, or soon.
    async fn text(mut self) -> String {
        if tokio::time::timeout(OUTPUT_LINGERS_MAX, &mut self.reading).await.is_err() {
            self.reading.abort();
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).trim().to_owned()
    }
}
