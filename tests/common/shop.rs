//! What a region runs for its clients, as far as the daemon can see: a web server with a health
//! page, a hook that makes room, and a few more that workflows call.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post, put};
use tokio::sync::watch;

use super::servers::Server;

/// One region's web server. Ends when dropped.
pub struct Shop {
    server: Server,
    ledger: Arc<Ledger>,
}

/// What it was asked to do, and what it does.
struct Ledger {
    healthy: watch::Sender<bool>,
    /// While set, the capacity hook takes requests and does not answer.
    stalled: watch::Sender<bool>,
    gate_open: watch::Sender<bool>,
    /// Keys of the requests for room, each time one came.
    asked_for_room: Mutex<Vec<String>>,
    told: Mutex<Vec<serde_json::Value>>,
    puts: Mutex<Vec<String>>,
}

impl Shop {
    pub async fn start() -> Self {
        let ledger = Arc::new(Ledger {
            healthy: watch::Sender::new(true),
            stalled: watch::Sender::new(false),
            gate_open: watch::Sender::new(false),
            asked_for_room: Mutex::default(),
            told: Mutex::default(),
            puts: Mutex::default(),
        });
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/capacity", post(capacity))
            .route("/gate", get(gate))
            .route("/told", post(told))
            .route("/put", put(take_put))
            .with_state(Arc::clone(&ledger));
        Self { server: Server::http(router).await, ledger }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// Whether `/healthz` answers 200.
    pub fn set_healthy(&self, healthy: bool) {
        self.ledger.healthy.send_replace(healthy);
    }

    /// Whether `/capacity` takes requests and does not answer them.
    pub fn set_stalled(&self, stalled: bool) {
        self.ledger.stalled.send_replace(stalled);
    }

    /// Lets `/gate` answer 200.
    pub fn open_gate(&self) {
        self.ledger.gate_open.send_replace(true);
    }

    /// How often `/capacity` was asked.
    pub fn times_asked_for_room(&self) -> usize {
        self.ledger.asked_for_room.lock().unwrap().len()
    }

    /// How often it made room: once for each key, as its contract says.
    pub fn times_room_was_made(&self) -> usize {
        self.ledger.asked_for_room.lock().unwrap().iter().collect::<BTreeSet<_>>().len()
    }

    /// Every message that `/told` got.
    pub fn told(&self) -> Vec<serde_json::Value> {
        self.ledger.told.lock().unwrap().clone()
    }

    /// Every body that was put to `/put`.
    pub fn puts(&self) -> Vec<String> {
        self.ledger.puts.lock().unwrap().clone()
    }
}

async fn healthz(State(ledger): State<Arc<Ledger>>) -> StatusCode {
    ok_if(*ledger.healthy.borrow())
}

async fn gate(State(ledger): State<Arc<Ledger>>) -> StatusCode {
    ok_if(*ledger.gate_open.borrow())
}

fn ok_if(so: bool) -> StatusCode {
    if so { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn capacity(State(ledger): State<Arc<Ledger>>, headers: HeaderMap) -> StatusCode {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or("no key");
    ledger.asked_for_room.lock().unwrap().push(key.to_owned());
    let mut stalled = ledger.stalled.subscribe();
    // The sender lives as long as the ledger does.
    let _ = stalled.wait_for(|stalled| !stalled).await;
    StatusCode::OK
}

async fn told(State(ledger): State<Arc<Ledger>>, body: Bytes) -> StatusCode {
    ledger.told.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    StatusCode::NO_CONTENT
}

async fn take_put(State(ledger): State<Arc<Ledger>>, body: Bytes) -> StatusCode {
    ledger.puts.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
    StatusCode::NO_CONTENT
}
