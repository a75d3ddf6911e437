//! A client that asks over UDP, and writes to the database.
//!
//! It writes to both nodes each time: to the one that DNS sends it to, as a client should, and
//! to the other, as one with a stale answer would. So its log is a witness: if ever two nodes
//! took writes at once, they would alternate in it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use super::timeline::{Timeline, Who};
use super::world::{Database, Region};
use crate::wire::{Message, Name, RecordType, ask};

/// Between two queries.
const QUERY_EVERY: Duration = Duration::from_millis(200);
/// An answer on the loopback takes microseconds.
const QUERY_WAIT: Duration = Duration::from_millis(500);
const SERVICES: [&str; 2] = ["storefront", "petstore"];

/// What a client has seen so far. Clones share.
#[derive(Clone, Default, Debug)]
pub struct Witness(Arc<Mutex<Seen>>);

/// The same, to be read.
#[derive(Clone, Default, Debug)]
pub struct Seen {
    /// Queries asked.
    pub queries: u64,
    /// Queries without an answer.
    pub unanswered: u64,
    /// Whose nodes took writes, one after the other, and how many in a row.
    pub turns: Vec<(Region, u64)>,
    /// The numbers of the writes that were taken.
    pub taken: Vec<i64>,
    /// Writes that were refused.
    pub refused: u64,
}

impl Witness {
    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self, answered: bool) {
        let mut seen = self.lock();
        seen.queries += 1;
        seen.unanswered += u64::from(!answered);
    }

    fn wrote(&self, region: Region, number: i64, taken: bool) {
        let mut seen = self.lock();
        if !taken {
            seen.refused += 1;
            return;
        }
        seen.taken.push(number);
        match seen.turns.last_mut() {
            Some((last, count)) if *last == region => *count += 1,
            _ => seen.turns.push((region, 1)),
        }
    }
}

/// Goes on until it is aborted.
pub async fn run(timeline: Timeline, server: SocketAddr, database: Arc<Database>, witness: Witness) {
    let Ok(socket) = UdpSocket::bind("127.0.0.1:0").await else { return };
    let mut last: BTreeMap<&str, String> = BTreeMap::new();
    let (mut id, mut number) = (0u16, 0i64);
    loop {
        for service in SERVICES {
            id = id.wrapping_add(1);
            let answer = query(&socket, server, id, service).await;
            witness.asked(answer.is_some());
            let Some((address, ttl)) = answer else { continue };
            let sent_to = if address.starts_with("192.0.2.") { Region::EuWest } else { Region::UsEast };
            if last.insert(service, address.clone()).is_none_or(|was| was != address) {
                let name = sent_to.name();
                let words = format!("{service}.gtm.example.com is {address} ({name}), TTL {ttl}");
                timeline.line(Who::Client, "client", &words);
            }
            if service == "petstore" {
                for region in [sent_to, sent_to.other()] {
                    number += 1;
                    let taken = database.write(region, number).await;
                    witness.wrote(region, number, taken);
                }
            }
        }
        sleep(QUERY_EVERY).await;
    }
}

async fn query(socket: &UdpSocket, server: SocketAddr, id: u16, service: &str) -> Option<(String, u32)> {
    let name = Name::parse(&format!("{service}.gtm.example.com")).ok()?;
    socket.send_to(&ask(id, &name, RecordType::A, Some(1232)), server).await.ok()?;
    let mut buffer = [0; 1232];
    let (length, _) = timeout(QUERY_WAIT, socket.recv_from(&mut buffer)).await.ok()?.ok()?;
    let message = Message::read(&buffer[..length]).ok()?;
    let [answer, ..] = &message.sections;
    let record = answer.iter().find(|record| record.rtype == RecordType::A)?;
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(record.rdata.as_slice()).ok()?);
    Some((address.to_string(), record.ttl))
}
