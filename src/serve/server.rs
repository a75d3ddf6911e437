//! All threads together.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::published::Published;
use super::socket::Sockets;
use super::{streams, udp};
use crate::config::{Carries, DnsLimits};
use crate::dns::{Counts, Limiter};
use crate::io::Certificate;
use crate::table::Table;

/// Threads that answer from the published table. They do nothing else, and nobody else runs on
/// them. Dropped or stopped, it ends within 300 ms; what has arrived by then is still answered.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    stop_streams: CancellationToken,
    threads: Vec<JoinHandle<()>>,
    published: Vec<Arc<Published>>,
    certificate: Option<Arc<Certificate>>,
}

impl Server {
    /// Starts a thread per UDP socket, one for TCP, and one for TLS, HTTPS and QUIC. `table` may be swapped at any time; each
    /// query is answered from one table.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(sockets: Sockets, table: Arc<ArcSwap<Table>>, limits: &DnsLimits) -> io::Result<Self> {
        let mut server = Self {
            stop: Arc::default(),
            stop_streams: CancellationToken::new(),
            threads: Vec::new(),
            published: Vec::new(),
            certificate: sockets.certificate.clone(),
        };
        let limiter = Limiter::default();
        for (nth, udp) in sockets.udp.into_iter().enumerate() {
            let worker = udp::Worker {
                socket: udp.socket,
                informed: udp.informed,
                limiter: limiter.clone(),
                table: Arc::clone(&table),
                stop: Arc::clone(&server.stop),
                published: server.publish(),
            };
            server.spawn(format!("dns-udp-{nth}"), move || worker.run())?;
        }
        let (plain, secure): (Vec<_>, Vec<_>) =
            sockets.doors.into_iter().partition(|door| door.carries == Carries::Dns);
        let threads = [
            ("dns-tcp", plain, Vec::new(), None),
            // Handshakes are dear: whoever comes in clear must not wait behind them.
            ("dns-tls", secure, sockets.quic, sockets.certificate),
        ];
        for (name, doors, quic, certificate) in threads {
            if doors.is_empty() && quic.is_empty() {
                continue;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let worker = streams::Worker {
                doors,
                quic,
                certificate,
                table: Arc::clone(&table),
                limits: limits.clone(),
                stop: server.stop_streams.clone(),
                published: server.publish(),
            };
            server.spawn(name.to_owned(), move || worker.run(runtime))?;
        }
        Ok(server)
    }

    /// What was counted so far, all threads together.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for published in &self.published {
            sum += published.load();
        }
        sum
    }

    /// The certificate that clients are shown.
    pub fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.certificate.as_ref()
    }

    /// A thread has ended that should not have: by a panic, since they do not end otherwise.
    pub fn is_broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Stops, and tells the last counts.
    pub fn stop(mut self) -> Counts {
        self.end();
        self.counts()
    }

    fn publish(&mut self) -> Arc<Published> {
        let published = Arc::<Published>::default();
        self.published.push(Arc::clone(&published));
        published
    }

    fn spawn(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name).spawn(run)?);
        Ok(())
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.stop_streams.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a DNS thread had ended by a panic");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
