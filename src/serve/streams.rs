//! A thread for connections: those over TCP have one, those over TLS, HTTPS and QUIC another,
//! so that handshakes, which are dear, never keep plain clients waiting.
//!
//! One thread each serves all of them: connections wait far more than they work.

use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::Door;
use super::hall::Hall;
use super::published::Published;
use super::quic;
use super::secure::{Secure, look_after};
use crate::config::DnsLimits;
use crate::io::Certificate;
use crate::table::Table;

/// Connections have this long to write what they have begun to, after the word to stop.
const LAST_WRITES: Duration = Duration::from_millis(200);

/// Listeners and what their thread needs.
pub(super) struct Worker {
    pub(super) doors: Vec<Door>,
    pub(super) quic: Vec<UdpSocket>,
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) limits: DnsLimits,
    pub(super) stop: CancellationToken,
    pub(super) published: Arc<Published>,
}

impl Worker {
    /// Serves connections until told to stop.
    pub(super) fn run(self, runtime: Runtime) {
        let Self { doors, quic, certificate, table, limits, stop, published } = self;
        let hall = Hall::new(table, limits, stop, published);
        let secure = certificate.clone().map(Secure::new);
        let tasks = TaskTracker::new();
        let accepting = async {
            if let Some(certificate) = certificate {
                tasks.spawn_local(look_after(certificate, hall.stop.clone()));
            }
            for door in doors {
                tasks.spawn_local(door.keep(Rc::clone(&hall), secure.clone(), tasks.clone()));
            }
            for socket in quic {
                if let Some(secure) = &secure {
                    tasks.spawn_local(quic::keep(socket, Rc::clone(&hall), secure.clone(), tasks.clone()));
                }
            }
            hall.stop.cancelled().await;
            tasks.close();
            let _ = timeout(LAST_WRITES, tasks.wait()).await;
        };
        LocalSet::new().block_on(&runtime, accepting);
        // Whoever still reads a file, from a mount that hangs, is not waited for.
        runtime.shutdown_background();
    }
}
