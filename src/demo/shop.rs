//! The web server of one region in the demo: it answers health checks, whatever happens to the
//! store behind it, and takes capacity calls. That a region answers and still cannot commit a
//! write is the whole point of the story.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

/// A web server on a free port of the loopback address.
#[derive(Debug)]
pub struct Shop {
    address: SocketAddr,
    scaled: Arc<Mutex<BTreeSet<String>>>,
}

impl Shop {
    /// Starts it.
    ///
    /// # Errors
    /// No port could be had.
    pub async fn start() -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let scaled = Arc::<Mutex<BTreeSet<String>>>::default();
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/capacity", post(capacity))
            .with_state(Arc::clone(&scaled));
        tokio::spawn(async move {
            // It lives as long as the demo does.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, scaled })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it made room: once per idempotency key.
    pub fn times_scaled(&self) -> usize {
        self.scaled.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Makes room once per idempotency key, however often it is asked.
async fn capacity(State(scaled): State<Arc<Mutex<BTreeSet<String>>>>, headers: HeaderMap) -> Json<Value> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    let first = scaled.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned());
    Json(json!({ "scaled": first }))
}
