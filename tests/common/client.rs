//! Clients of a name server: questions one by one, and one client that asks about some names over
//! and over, and notes every answer.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pointsman::wire::{Message, Name, Record, RecordType, ask};

use super::now;

/// Between two rounds of questions.
const EVERY: Duration = Duration::from_millis(50);
/// A resolver that has to ask first, on a machine under load.
const RESOLVER_WAIT: Duration = Duration::from_secs(5);
/// A server that knows by itself.
const AUTHORITY_WAIT: Duration = Duration::from_secs(2);
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
    match records(server, name, RESOLVER_WAIT).as_deref() {
        Ok([(address, ttl)]) => Answer::Address(*address, *ttl),
        Ok(records) => Answer::Other(format!("{} records", records.len())),
        Err(why) => Answer::Other(why.clone()),
    }
}

/// The addresses that an authoritative server answers for a name, sorted; none at all if it does
/// not answer.
pub fn addresses(server: SocketAddr, name: &str) -> Vec<String> {
    let records = records(server, name, AUTHORITY_WAIT).unwrap_or_default();
    let mut addresses: Vec<_> = records.iter().map(|(address, _)| address.to_string()).collect();
    addresses.sort();
    addresses
}

/// Asks once for the IPv4 addresses of a name: each, and for how long it may be kept.
fn records(server: SocketAddr, name: &str, wait: Duration) -> Result<Vec<(Ipv4Addr, u32)>, String> {
    // A socket of its own for every question: a late answer to an earlier one cannot be mistaken.
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|why| why.to_string())?;
    socket.connect(server).map_err(|why| why.to_string())?;
    socket.set_read_timeout(Some(wait)).map_err(|why| why.to_string())?;
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
    let address = |record: &Record| match <[u8; 4]>::try_from(record.rdata.as_slice()) {
        Ok(octets) if record.rtype == RecordType::A => Ok((octets.into(), record.ttl)),
        _ => Err(format!("{record}")),
    };
    answer.iter().map(address).collect()
}
