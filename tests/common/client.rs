//! A client that asks a name server about some names, over and over, and notes every answer.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pointsman::wire::{Message, Name, RecordType, ask};

use super::now;

/// Between two rounds of questions.
const EVERY: Duration = Duration::from_millis(50);
/// A resolver that has to ask first, on a machine under load.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
const RECURSION_DESIRED: u8 = 1;

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// One address, and for how long it may be kept.
    Address(Ipv4Addr, u32),
    /// Anything else: an error, no address or several, nothing in time.
    Other(String),
}

/// A question and its answer.
#[derive(Clone, Debug)]
pub struct Seen {
    pub asked: Instant,
    pub answered: Instant,
    pub name: &'static str,
    pub answer: Answer,
}

/// Asks until it is stopped or dropped.
pub struct Client {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    pub fn start(server: SocketAddr, names: &[&'static str]) -> Self {
        let (stop, seen) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Seen>>>::default());
        let (stopped, noted, names) = (Arc::clone(&stop), Arc::clone(&seen), names.to_vec());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for name in &names {
                    let asked = now();
                    let answer = query(server, name);
                    noted.lock().unwrap().push(Seen { asked, answered: now(), name, answer });
                }
                std::thread::sleep(EVERY);
            }
        });
        Self { stop, seen, thread: Some(thread) }
    }

    /// The newest answer to a name.
    pub fn newest(&self, name: &str) -> Option<Answer> {
        let seen = self.seen.lock().unwrap();
        seen.iter().rev().find(|seen| seen.name == name).map(|seen| seen.answer.clone())
    }

    /// Stops it; every answer, in order.
    pub fn stop(mut self) -> Vec<Seen> {
        self.end();
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks once for the IPv4 address of a name.
pub fn query(server: SocketAddr, name: &str) -> Answer {
    exchange(server, name).unwrap_or_else(Answer::Other)
}

fn exchange(server: SocketAddr, name: &str) -> Result<Answer, String> {
    // A socket of its own for every question: a late answer to an earlier one cannot be mistaken.
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|why| why.to_string())?;
    socket.connect(server).map_err(|why| why.to_string())?;
    socket.set_read_timeout(Some(ANSWER_WAIT)).map_err(|why| why.to_string())?;
    let id = fastrand::u16(..);
    let mut question = ask(id, &Name::parse(name).unwrap(), RecordType::A, Some(1232));
    question[2] |= RECURSION_DESIRED;
    socket.send(&question).map_err(|why| why.to_string())?;
    let mut buffer = [0; 1232];
    let length = socket.recv(&mut buffer).map_err(|why| format!("no answer: {why}"))?;
    let message = Message::read(&buffer[..length])?;
    if message.id != id || message.rcode().0 != 0 {
        return Err(format!("rcode {}", message.rcode().0));
    }
    let [answer, ..] = &message.sections;
    match answer.as_slice() {
        [record] if record.rtype == RecordType::A => {
            let octets = <[u8; 4]>::try_from(record.rdata.as_slice()).map_err(|why| why.to_string())?;
            Ok(Answer::Address(octets.into(), record.ttl))
        }
        records => Err(format!("{} records", records.len())),
    }
}
