//! DNS over TCP (RFC 7766): messages with their length before them, one after the other.
//!
//! One thread serves all connections, which wait far more than they work. A connection holds
//! one read's worth of queries and their answers; while a client does not read those, nothing
//! more is taken from it, and if that lasts it is dropped.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::published::Published;
use crate::config::DnsLimits;
use crate::dns::{Asker, Counter, Desk, Transport, answer};
use crate::io::Clock;
use crate::table::Table;
use crate::wire::HEADER_OCTETS;

/// A query is at most so long; longer ones are no questions to us (no updates, no signatures).
const QUERY_OCTETS_MAX: usize = 4096;
/// Queries are read in pieces of this size.
const READ_OCTETS: usize = 2048;
/// Answers to queries that came together are written together, up to this many octets.
const WRITE_OCTETS: usize = 16 * 1024;
/// An answer and its length.
const ANSWER_OCTETS: usize = 2 + 65_535;
/// After the system refused to hand out a connection, for lack of descriptors or memory.
const FAULT_PAUSE: Duration = Duration::from_millis(100);
/// Connections have this long to write what they have begun to, after the word to stop.
const LAST_WRITES: Duration = Duration::from_millis(200);

/// Listeners and what their thread needs.
pub(super) struct Worker {
    pub(super) listeners: Vec<TcpListener>,
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) limits: DnsLimits,
    pub(super) stop: CancellationToken,
    pub(super) published: Arc<Published>,
}

impl Worker {
    /// Serves connections until told to stop.
    pub(super) fn run(self, runtime: &tokio::runtime::Runtime) {
        let Self { listeners, table, limits, stop, published } = self;
        let state = State {
            desk: Desk::new(Rng::new()),
            clients: HashMap::new(),
            connections: 0,
            scratch: vec![0; ANSWER_OCTETS],
        };
        let hall = Rc::new(Hall { table, limits, stop, published, state: RefCell::new(state) });
        let tasks = TaskTracker::new();
        let accepting = async {
            for listener in listeners {
                tasks.spawn_local(accept(listener, Rc::clone(&hall), tasks.clone()));
            }
            hall.stop.cancelled().await;
            tasks.close();
            let _ = timeout(LAST_WRITES, tasks.wait()).await;
        };
        LocalSet::new().block_on(runtime, accepting);
    }
}

/// What all connections share. They run in one thread and never hold it across an await.
struct Hall {
    table: Arc<ArcSwap<Table>>,
    limits: DnsLimits,
    stop: CancellationToken,
    published: Arc<Published>,
    state: RefCell<State>,
}

struct State {
    desk: Desk,
    /// Connections per client.
    clients: HashMap<IpAddr, usize>,
    connections: usize,
    /// Where answers are made.
    scratch: Vec<u8>,
}

/// A connection's right to be there.
struct Seat {
    hall: Rc<Hall>,
    client: IpAddr,
}

/// Why a connection was closed, other than by its client or for idleness.
struct Broken;

async fn accept(listener: TcpListener, hall: Rc<Hall>, tasks: TaskTracker) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot listen over TCP"),
    };
    let stop = hall.stop.clone();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                if let Some(seat) = hall.seat(peer.ip()) {
                    tasks.spawn_local(serve(stream, peer.ip(), seat));
                }
            }
            Err(error) => {
                // The client was quicker to leave than we to accept.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tracing::warn!(%error, "cannot accept a TCP connection");
                    sleep(FAULT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, client: IpAddr, seat: Seat) {
    if converse(stream, client, &seat.hall).await.is_err() {
        seat.hall.count(Counter::TcpBroken);
    }
}

/// Answers queries as they come, in their order.
async fn converse(mut stream: TcpStream, client: IpAddr, hall: &Hall) -> Result<(), Broken> {
    // An answer is written at once: there is nothing to wait for. Without it, it still works.
    let _ = stream.set_nodelay(true);
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let idle = hall.limits.tcp_idle;
    loop {
        // Time counts until a query is whole: one that trickles in is as idle as none.
        let deadline = Instant::now() + idle;
        while whole(&input)?.is_none() {
            input.reserve(READ_OCTETS);
            let read = timeout_at(deadline, stream.read_buf(&mut input));
            match hall.stop.run_until_cancelled(read).await {
                Some(Ok(Ok(1..))) => {}
                // Closed, reset, idle for too long, or we are to stop.
                _ => return Ok(()),
            }
        }
        let mut taken = 0;
        while let Some(query) = whole(&input[taken..])? {
            taken += 2 + query.len();
            hall.answer(query, client, &mut output)?;
            if output.len() >= WRITE_OCTETS {
                write(&mut stream, &mut output, idle).await?;
            }
        }
        input.drain(..taken);
        write(&mut stream, &mut output, idle).await?;
        // A connection that waits holds no more than it needs.
        output = Vec::new();
        input.shrink_to(0);
    }
}

async fn write(stream: &mut TcpStream, output: &mut Vec<u8>, patience: Duration) -> Result<(), Broken> {
    let written = timeout(patience, stream.write_all(output)).await;
    output.clear();
    match written {
        Ok(Ok(())) => Ok(()),
        // It does not read, or it is gone.
        _ => Err(Broken),
    }
}

/// The first query, if it is there as a whole; it fails if its length is one that no query has.
fn whole(input: &[u8]) -> Result<Option<&[u8]>, Broken> {
    let Some((len, rest)) = input.split_first_chunk() else { return Ok(None) };
    match usize::from(u16::from_be_bytes(*len)) {
        len @ HEADER_OCTETS..=QUERY_OCTETS_MAX => Ok(rest.get(..len)),
        _ => Err(Broken),
    }
}

impl Hall {
    /// Lets a client in, or counts it as one too many.
    fn seat(self: &Rc<Self>, client: IpAddr) -> Option<Seat> {
        let client = whose(client);
        let mut state = self.state.borrow_mut();
        let of_client = state.clients.get(&client).copied().unwrap_or_default();
        let fits = state.connections < self.limits.tcp_connections_max
            && of_client < self.limits.tcp_connections_per_client_max;
        if fits {
            state.connections += 1;
            state.clients.insert(client, of_client + 1);
        }
        drop(state);
        self.count(if fits { Counter::TcpAccepted } else { Counter::TcpRefused });
        fits.then(|| Seat { hall: Rc::clone(self), client })
    }

    /// Appends the answer to a query, its length before it.
    fn answer(&self, query: &[u8], client: IpAddr, output: &mut Vec<u8>) -> Result<(), Broken> {
        let State { desk, scratch, .. } = &mut *self.state.borrow_mut();
        let asker = Asker { client, transport: Transport::Tcp, now: Clock.seconds() };
        let len = answer(query, scratch, &self.table.load(), &asker, desk);
        self.published.store(&desk.counts);
        let answer = len.and_then(|len| scratch.get(..len)).ok_or(Broken)?;
        output.extend((answer.len() as u16).to_be_bytes());
        output.extend_from_slice(answer);
        Ok(())
    }

    fn count(&self, counter: Counter) {
        let counts = &mut self.state.borrow_mut().desk.counts;
        counts.add(counter);
        self.published.store(counts);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.hall.state.borrow_mut();
        state.connections -= 1;
        if let Some(count) = state.clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                state.clients.remove(&self.client);
            }
        }
    }
}

/// Whom connections are counted for: with IPv6 the whole /64, of which a client has all addresses.
fn whose(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        ipv4 => ipv4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_whole_queries_only() {
        let query = [&[0, 12][..], &[7; 12], &[0]].concat();
        for len in 0..14 {
            assert!(whole(&query[..len]).is_ok_and(|query| query.is_none()), "{len}");
        }
        assert!(whole(&query).is_ok_and(|query| query == Some(&[7; 12])));
        assert!(whole(&[0, 11]).is_err());
        assert!(whole(&[0x10, 1]).is_err());
        assert!(whole(&[0x10, 0]).is_ok());
    }

    #[test]
    fn counts_ipv6_clients_by_their_network() {
        let whose = |text: &str| whose(text.parse().unwrap()).to_string();
        assert_eq!(whose("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(whose("192.0.2.7"), "192.0.2.7");
        assert_eq!(whose("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
