//! Ctrl-C, in the middle of anything: what was started is ended and removed all the same.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for somebody to end the demo early.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    /// From now on signals end nothing by themselves.
    ///
    /// # Errors
    /// Signals cannot be listened for.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Does some work, unless it is stopped: then the work is dropped where it stands.
    ///
    /// # Errors
    /// Those of the work, or that it was stopped.
    pub async fn unless<T>(&mut self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        tokio::select! {
            done = work => done,
            _ = self.interrupt.recv() => stopped(),
            _ = self.terminate.recv() => stopped(),
            _ = self.hangup.recv() => stopped(),
        }
    }
}

fn stopped<T>() -> Result<T, String> {
    Err("interrupted; everything that the demo had started is ended".to_owned())
}
