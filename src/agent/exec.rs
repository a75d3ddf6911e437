//! Runs a program: an argument vector, no shell, in a process group of its own that dies as a
//! whole at the deadline.
//!
//! The program gets a clean environment: the usual variables about the system and the user,
//! what the file adds, and `POINTSMAN_EXECUTION`, `_STAGE`, `_ATTEMPT`, `_IDEMPOTENCY_KEY`,
//! `_FENCE_TOKEN` (epoch.index) and `_TIMEOUT` (seconds). What else is in the daemon's
//! environment, credentials among it, is not passed on.
//!
//! If the daemon itself is killed, systemd ends the program with it (`KillMode=control-group`);
//! asking the kernel for that (PR_SET_PDEATHSIG) would take unsafe code after the fork.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::web::text;
use super::{Step, applied, not_applied, unknown};
use crate::io::{Deadline, show};
use crate::workflow::{Act, Call, ExecOp, Outcome, Retry};

/// Bytes of each output that are kept: the last ones, where programs say what went wrong.
const OUTPUT_BYTES_MAX: usize = 4 * 1024;
/// For how long the outputs may stay open after the program has ended: something it has left
/// behind may hold them.
const OUTPUT_LINGERS_MAX: Duration = Duration::from_millis(250);
/// For how long a killed program is waited for.
const DEATH_TIME_MAX: Duration = Duration::from_secs(2);
/// Not applied, try again (sysexits.h, EX_TEMPFAIL).
const EXIT_TEMPORARY: i32 = 75;
/// Not applied, do not try again (sysexits.h, EX_CONFIG).
const EXIT_CONFIGURATION: i32 = 78;
/// What is passed on of the daemon's own environment, besides `LC_…`.
const PASSED_ON: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"];

pub(super) async fn perform(call: &Call, op: &ExecOp, deadline: Deadline) -> Outcome {
    let performed = match (call.act, &op.observe) {
        (Act::Apply, _) => apply(call, op, deadline).await,
        (Act::Observe, Some(argv)) => observe(call, op, argv, deadline).await,
        (Act::Observe, None) => {
            Err(unknown("the stage names no program that tells whether it has happened (`observe`)"))
        }
    };
    performed.unwrap_or_else(|outcome| outcome)
}

async fn apply(call: &Call, op: &ExecOp, deadline: Deadline) -> Step<Outcome> {
    let ended = run(call, op, &op.argv, deadline).await?;
    let words = ended.words();
    Ok(match ended.status.map(|status| (status.code(), status.signal())) {
        Some((Some(0), _)) => {
            let outputs = [("stdout".to_owned(), ended.stdout)].into();
            Outcome::Applied { detail: words, outputs, owed: None }
        }
        Some((Some(EXIT_TEMPORARY), _)) => not_applied(words, Retry::Backoff),
        Some((Some(EXIT_CONFIGURATION), _)) => not_applied(words, Retry::Never),
        _ => unknown(words),
    })
}

async fn observe(call: &Call, op: &ExecOp, argv: &[String], deadline: Deadline) -> Step<Outcome> {
    let ended = run(call, op, argv, deadline).await.map_err(|outcome| match outcome {
        Outcome::NotApplied { reason, .. } => unknown(reason),
        other => other,
    })?;
    let words = ended.words();
    Ok(match ended.status.and_then(|status| status.code()) {
        Some(0) => applied(words),
        Some(1) => not_applied(words, Retry::Backoff),
        _ => unknown(words),
    })
}

/// How a program ended.
struct Ended {
    name: String,
    /// `None`: it was killed at the deadline.
    status: Option<ExitStatus>,
    after: Duration,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// "`promote.sh` exited with 1; stderr: …"
    fn words(&self) -> String {
        let mut words = match self.status.map(|status| (status.code(), status.signal())) {
            None => format!("`{}` was killed after {}: its time was up", self.name, show(self.after)),
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

async fn run(call: &Call, op: &ExecOp, argv: &[String], deadline: Deadline) -> Step<Ended> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(not_applied("there is no program to run", Retry::Never));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(environment(call, op, deadline).await?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|why| {
        let retry = match why.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InvalidInput => Retry::Never,
            _ => Retry::Backoff,
        };
        not_applied(format!("cannot run `{program}`: {why}"), retry)
    })?;
    let group = Group::of(&child);
    let (stdout, stderr) = (Tail::of(child.stdout.take()), Tail::of(child.stderr.take()));

    let status = match deadline.bound(child.wait()).await {
        Ok(status) => {
            // What it has left behind may go on; the group's number is free from here on.
            group.leave();
            Some(status.map_err(|why| unknown(format!("cannot tell how `{program}` ended: {why}")))?)
        }
        Err(_) => {
            // Before the child is reaped: until then the group's number cannot be another's.
            drop(group);
            let _ = tokio::time::timeout(DEATH_TIME_MAX, child.wait()).await;
            None
        }
    };
    Ok(Ended {
        name: program.clone(),
        status,
        after: call.timeout,
        stdout: stdout.text().await,
        stderr: stderr.text().await,
    })
}

async fn environment(call: &Call, op: &ExecOp, deadline: Deadline) -> Step<Vec<(String, String)>> {
    let passed_on = |name: &str| PASSED_ON.contains(&name) || name.starts_with("LC_");
    let mut environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| passed_on(name))
        .collect();
    for (name, value) in &op.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(not_applied(format!("`{name}` is not the name of a variable"), Retry::Never));
        }
        environment.push((name.clone(), text(value, deadline).await?));
    }
    let seconds = call.timeout.as_secs_f64();
    for (name, value) in [
        ("EXECUTION", call.execution.to_string()),
        ("STAGE", call.stage.clone()),
        ("ATTEMPT", call.attempt.to_string()),
        ("IDEMPOTENCY_KEY", call.idempotency_key()),
        ("FENCE_TOKEN", call.token.to_string()),
        ("TIMEOUT", seconds.to_string()),
    ] {
        environment.push((format!("POINTSMAN_{name}"), value));
    }
    Ok(environment)
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
