//! One daemon takes over from another: a new binary in place of the old one, on the same sockets.
//!
//! ```text
//!  running daemon                     its successor
//!    starts it ── sockets ──────────► reads the configuration, prepares all it can
//!    closes the store ◄── prepared ──
//!        ── go ─────────────────────► opens the store, serves
//!    stops ◄────────────── serving ──
//! ```
//! The two talk over a socket pair that is the successor's standard input: nothing else is
//! inherited by accident, and when one of them dies the other reads the end of file. Whatever
//! goes wrong before `serving`, the running daemon goes on. Both answer from the same sockets
//! for a moment, so that no query waits in one that nobody reads.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::Passed;
use crate::io::Clock;

/// Says to a process that it is a successor.
const VARIABLE: &str = "POINTSMAN_SUCCEEDS";
/// Descriptors in one message; the kernel takes 253 (unix(7), SCM_MAX_FD).
const CHUNK: usize = 64;
/// Sockets handed over at most: thousands of addresses, each for every thread.
const SOCKETS_MAX: usize = 16_384;
/// A word is shorter than this.
const WORD_MAX: usize = 64;
/// The running daemon answers its successor within this, or is no more what it was.
const GO_WAIT: Duration = Duration::from_secs(60);

const PREPARED: &str = "prepared";
const GO: &str = "go";
const SERVING: &str = "serving";

/// What it takes to start a successor: kept from the start of the process on, since the program
/// on disk is another one by the time it is needed.
pub struct Succession {
    program: PathBuf,
    arguments: Vec<OsString>,
    sockets: Vec<OwnedFd>,
}

impl Succession {
    /// The program at the path that this process was started from, with the same arguments, on
    /// these sockets.
    ///
    /// # Errors
    /// The path is not known.
    pub fn of_this_process(sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        Ok(Self { program, arguments: std::env::args_os().skip(1).collect(), sockets })
    }

    /// The program that would be started.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts the successor and hands it the sockets. It writes to the same log.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn begin(&self) -> io::Result<Successor> {
        let (line, theirs) = UnixStream::pair()?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env(VARIABLE, "1")
            // Meant for this process alone (sd_watchdog_enabled(3), sd_listen_fds(3)).
            .env_remove("WATCHDOG_PID")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        let successor = Successor { child, line, served: false };
        let sockets: Vec<_> = self.sockets.iter().map(AsFd::as_fd).collect();
        match send_sockets(&successor.line, &sockets) {
            // It has ended already: whoever waits for it is told how.
            Err(why) if matches!(why.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
            sent => sent?,
        }
        Ok(successor)
    }
}

impl fmt::Debug for Succession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Succession({}, {} sockets)", self.program.display(), self.sockets.len())
    }
}

/// A process that is to take over. Killed when it is dropped before it serves.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    line: UnixStream,
    served: bool,
}

impl Successor {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has prepared all that it can without the store. Blocks.
    ///
    /// # Errors
    /// It ended, or took too long; its own log says why.
    pub fn prepared(&mut self, patience: Duration) -> Result<(), String> {
        self.hear(PREPARED, patience)
    }

    /// Lets it have the store, and waits until it serves. Blocks.
    ///
    /// # Errors
    /// It ended, or took too long: it is killed, and the store is free again.
    pub fn serves(&mut self, patience: Duration) -> Result<(), String> {
        let said = say(&self.line, GO).map_err(|why| format!("it is gone: {why}"));
        let served = said.and_then(|()| self.hear(SERVING, patience));
        self.served = served.is_ok();
        if !self.served {
            self.end();
        }
        served
    }

    fn hear(&mut self, word: &str, patience: Duration) -> Result<(), String> {
        hear(&self.line, word, patience).map_err(|why| {
            let ended = match why.kind() {
                // It may be gone a moment before it can be waited for. Reset: without having read all.
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => self.child.wait().ok(),
                _ => None,
            };
            match ended {
                Some(status) => format!("it ended before it was {word} ({status}); its log says why"),
                None => format!("it was not {word}: {why}"),
            }
        })
    }

    fn end(&mut self) {
        // Gone already, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.served {
            self.end();
        }
    }
}

/// The daemon that this process takes over from.
#[derive(Debug)]
pub struct Predecessor {
    line: UnixStream,
}

impl Predecessor {
    /// Finds out whether there is one, and takes its sockets over. Once per process.
    ///
    /// # Errors
    /// There is one, and it hands nothing over.
    pub fn find() -> Result<Option<(Self, Passed)>, String> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let received = std::io::stdin().as_fd().try_clone_to_owned().and_then(|line| {
            let line = UnixStream::from(line);
            Ok((receive_sockets(&line)?, line))
        });
        let (sockets, line) = received.map_err(|why| {
            format!("{VARIABLE} is set, but standard input hands no sockets over ({why}); it is set by `pointsman upgrade` alone")
        })?;
        Ok(Some((Self { line }, Passed::of(sockets)?)))
    }

    /// Says that all is prepared, and waits for the store. Blocks.
    ///
    /// # Errors
    /// The other one has thought better of it, or is gone.
    pub fn give_way(&mut self) -> Result<(), String> {
        say(&self.line, PREPARED)
            .and_then(|()| hear(&self.line, GO, GO_WAIT))
            .map_err(|why| format!("the daemon to take over from does not give way: {why}"))
    }

    /// Says that this process serves: the other one stops.
    ///
    /// # Errors
    /// It is gone; so much the better.
    pub fn serving(self) -> io::Result<()> {
        say(&self.line, SERVING)
    }
}

fn say(mut line: &UnixStream, word: &str) -> io::Result<()> {
    line.write_all(format!("{word}\n").as_bytes())
}

fn hear(mut line: &UnixStream, expected: &str, patience: Duration) -> io::Result<()> {
    let began = Clock.mono();
    let mut word = Vec::new();
    loop {
        let left = patience.saturating_sub(Clock.mono().since(began));
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("not within {patience:?}")));
        }
        line.set_read_timeout(Some(left))?;
        let mut octet = [0];
        match line.read(&mut octet) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if octet == *b"\n" => break,
            Ok(_) if word.len() < WORD_MAX => word.extend(octet),
            Ok(_) => break,
            Err(why)
                if matches!(
                    why.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) => {}
            Err(why) => return Err(why),
        }
    }
    match word == expected.as_bytes() {
        true => Ok(()),
        false => {
            let word = String::from_utf8_lossy(&word).into_owned();
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("it said `{word}`")))
        }
    }
}

/// Each message holds some sockets and an octet that tells whether more follow.
fn send_sockets(line: &UnixStream, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut rest = sockets;
    loop {
        let (chunk, after) = rest.split_at(rest.len().min(CHUNK));
        rest = after;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !chunk.is_empty() && !control.push(SendAncillaryMessage::ScmRights(chunk)) {
            return Err(io::Error::other("too many sockets for one message"));
        }
        let more = [u8::from(!rest.is_empty())];
        sendmsg(line, &[IoSlice::new(&more)], &mut control, SendFlags::NOSIGNAL)?;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

fn receive_sockets(line: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::new();
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut more = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(line, &mut [IoSliceMut::new(&mut more)], &mut control, flags)?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                sockets.extend(descriptors);
            }
        }
        if more == [0] {
            return Ok(sockets);
        }
        if sockets.len() > SOCKETS_MAX {
            return Err(io::Error::other("more sockets than anybody listens on"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn sockets_arrive_however_many() {
        let (here, there) = UnixStream::pair().unwrap();
        for count in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let sockets: Vec<_> = (0..count).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
            let given: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            send_sockets(&here, &given).unwrap();
            let arrived = receive_sockets(&there).unwrap();
            let ports = |sockets: Vec<UdpSocket>| {
                sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect::<Vec<_>>()
            };
            let arrived = arrived.into_iter().map(UdpSocket::from).collect();
            assert_eq!(ports(arrived), ports(sockets));
        }
    }

    #[test]
    fn words_are_waited_for_and_others_refused() {
        let (here, there) = UnixStream::pair().unwrap();
        say(&here, PREPARED).unwrap();
        say(&here, SERVING).unwrap();
        let wait = Duration::from_millis(50);
        assert!(hear(&there, PREPARED, wait).is_ok());
        assert_eq!(hear(&there, GO, wait).unwrap_err().to_string(), "it said `serving`");
        assert_eq!(hear(&there, GO, wait).unwrap_err().kind(), io::ErrorKind::TimedOut);
        (&here).write_all(&[b'x'; 2 * WORD_MAX]).unwrap();
        assert_eq!(hear(&there, GO, wait).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(here);
        while let Err(why) = hear(&there, GO, wait) {
            if why.kind() == io::ErrorKind::UnexpectedEof {
                return;
            }
        }
    }
}
