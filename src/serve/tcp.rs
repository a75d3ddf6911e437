//! TCP connections: let in, served, and sent away when it is over.
//!
//! One thread serves all of them: they wait far more than they work.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::hall::{Hall, Seat};
use super::published::Published;
use super::stream::converse;
use crate::config::DnsLimits;
use crate::dns::{Asker, Transport};
use crate::table::Table;

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
        let hall = Hall::new(table, limits, stop, published);
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

async fn accept(listener: TcpListener, hall: Rc<Hall>, tasks: TaskTracker) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot listen over TCP"),
    };
    let stop = hall.stop.clone();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                let asker = Asker { client: peer.ip(), transport: Transport::Tcp };
                if let Some(seat) = hall.seat(asker.client, asker.transport) {
                    tasks.spawn_local(serve(stream, asker, seat));
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

async fn serve(mut stream: TcpStream, asker: Asker, seat: Seat) {
    // An answer is written at once: there is nothing to wait for. Without it, it still works.
    let _ = stream.set_nodelay(true);
    if converse(&mut stream, asker, &seat.hall).await.is_err() {
        seat.hall.broken(asker.transport);
    }
}
