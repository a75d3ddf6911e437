//! Serving HTTP to so many connections at once, none of which can stay for nothing.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// How many clients may stay for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once; the others wait in the kernel's backlog.
    pub(super) connections_max: usize,
    /// A request's header must be there within this, also the next one's on a connection that is kept.
    pub(super) header_wait: Duration,
    /// A connection older than this takes no further request. Whoever does not read its answer is cut
    /// off then.
    pub(super) age_max: Duration,
    /// What is under way on it then has this long to end.
    pub(super) goodbye_max: Duration,
}

impl Limits {
    /// Longer than the interval at which monitoring usually asks, so that it can keep its connection.
    pub(super) const fn of(connections_max: usize) -> Self {
        Self {
            connections_max,
            header_wait: Duration::from_secs(75),
            age_max: Duration::from_secs(600),
            goodbye_max: Duration::from_secs(30),
        }
    }
}

/// Serves until the daemon ends. `router`: for each connection its own, by who it is.
pub(super) async fn serve<L: Listener>(mut listener: L, limits: Limits, router: impl Fn(&L::Io) -> Router) {
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        // Errors of accepting are retried inside.
        let (io, _) = listener.accept().await;
        let service = TowerToHyperService::new(router(&io));
        tokio::spawn(async move {
            let _permit = permit;
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.header_wait)
                .serve_connection(TokioIo::new(io), service);
            let mut connection = pin!(connection);
            // A client that breaks off is nobody's business.
            tokio::select! {
                _ = connection.as_mut() => {}
                () = sleep(limits.age_max) => {
                    connection.as_mut().graceful_shutdown();
                    let _ = timeout(limits.goodbye_max, connection).await;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Those who came first say nothing, trickle, or never read; the next one is served all the same.
    #[tokio::test]
    async fn nobody_keeps_the_others_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits {
            connections_max: 3,
            header_wait: Duration::from_millis(300),
            age_max: Duration::from_millis(600),
            goodbye_max: Duration::from_millis(600),
        };
        let large = || async { Body::from(vec![b'x'; 64 << 20]) };
        let router = Router::new().route("/", get(|| async { "here" })).route("/large", get(large));
        tokio::spawn(serve(listener, limits, move |_| router.clone()));
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut trickles = TcpStream::connect(address).await.unwrap();
        let mut deaf = TcpStream::connect(address).await.unwrap();
        deaf.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        tokio::spawn(async move {
            for octet in b"GET / HTTP/1.1\r\nhost: a\r\n".iter().cycle() {
                if trickles.write_all(&[*octet]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
        // All three are in, and no room is left.
        sleep(Duration::from_millis(50)).await;
        let all = async { [ask(address).await, ask(address).await, ask(address).await] };
        for said in timeout(Duration::from_secs(20), all).await.expect("room was made") {
            assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("here"), "{said}");
        }
        // Also the one that does not read has gone: three at once are served.
        sleep(Duration::from_millis(1500)).await;
        let mut kept = Vec::new();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            let mut head = [0; 12];
            let read = timeout(Duration::from_millis(200), stream.read_exact(&mut head)).await;
            assert!(read.is_ok_and(|read| read.is_ok()) && &head == b"HTTP/1.1 200");
            kept.push(stream);
        }
    }

    async fn ask(address: std::net::SocketAddr) -> String {
        let mut said = String::new();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        stream.read_to_string(&mut said).await.unwrap();
        said
    }
}
