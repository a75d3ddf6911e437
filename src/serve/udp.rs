//! One thread, one socket, one loop: take a batch, answer it, send it.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use fastrand::Rng;

use super::mmsg::Batch;
use super::published::Published;
use crate::dns::{Asker, Counter, Desk, Limiter, Transport, answer};
use crate::io::Clock;
use crate::table::Table;

/// A thread that waits for queries looks up this often to see whether it should stop. A prime,
/// so that threads that started together do not go on waking together.
pub(super) const WAKE: Duration = Duration::from_millis(197);
/// Batches that are still answered after the word to stop, so that what has arrived is not lost.
const LAST_BATCHES_MAX: usize = 256;
/// After a fault that waiting may mend, such as a lack of kernel memory.
const FAULT_PAUSE: Duration = Duration::from_millis(10);

/// A socket and what its thread needs.
pub(super) struct Worker {
    pub(super) socket: UdpSocket,
    /// Whether it is bound to all addresses, and tells which one was asked.
    pub(super) informed: bool,
    /// Who was sent how much, by all threads like this one.
    pub(super) limiter: Limiter,
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) published: Arc<Published>,
}

impl Worker {
    /// Answers until told to stop.
    pub(super) fn run(self) {
        let Self { socket, informed, limiter, table, stop, published } = self;
        let mut table = Cache::new(table);
        let mut batch = Batch::new(informed);
        let mut desk = Desk { limiter, ..Desk::new(Rng::new(), Clock.seconds()) };
        // What is waiting when the word comes to stop is still answered.
        let mut left = LAST_BATCHES_MAX;
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            let received = if stopping { batch.receive_waiting(&socket) } else { batch.receive(&socket) };
            match received {
                Ok(_) => {}
                Err(_) if stopping => break,
                Err(error) => {
                    if !matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) {
                        tracing::warn!(%error, "cannot receive over UDP");
                        thread::sleep(FAULT_PAUSE);
                    }
                    continue;
                }
            }
            // One look per batch: a query is answered from one table, start to end.
            let table = table.load();
            desk.now = Clock.seconds();
            if table.manners().conduct.rate_limit.is_some() && !desk.limiter.is_ready() {
                desk.limiter.prepare(&mut desk.rng);
            }
            let replies = batch.answer(|query, client, reply| {
                let asker = Asker { client, transport: Transport::Udp };
                answer(query, reply, table, &asker, &mut desk)
            });
            for _ in 0..replies.send(&socket) {
                desk.counts.add(Counter::Unsent);
            }
            published.store(&desk.counts);
            if stopping {
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
    }
}
