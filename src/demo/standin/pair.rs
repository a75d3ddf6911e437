//! A primary and its standby, as far as the demo needs them: each has a role, and takes writes
//! only as the writer. It stands in for PostgreSQL in the demo only; with `--real`, and in the
//! tests, the `database` agent drives a real one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::put;
use axum::{Json, Router};
use serde_json::{Value, json};

/// Both nodes, behind one port: `/REGION/role`.
#[derive(Debug)]
pub struct Pair {
    address: SocketAddr,
    nodes: Arc<Mutex<Nodes>>,
}

/// What became of the pair so far.
#[derive(Debug)]
struct Nodes {
    /// Which regions' nodes take writes. Never two at once, if the fence does its work.
    writers: BTreeSet<String>,
    /// How often a node was made the writer that was not.
    promotions: u64,
}

type Shared = State<Arc<Mutex<Nodes>>>;

impl Pair {
    /// Starts both nodes; the first region's is the writer.
    ///
    /// # Errors
    /// No port could be had.
    pub async fn start(writer: &str) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let first = Nodes { writers: BTreeSet::from([writer.to_owned()]), promotions: 0 };
        let nodes = Arc::new(Mutex::new(first));
        let router = Router::new().route("/{region}/role", put(role)).with_state(Arc::clone(&nodes));
        tokio::spawn(async move {
            // It lives as long as the demo does.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, nodes })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client's write at a region's node; whether it was taken.
    pub fn write(&self, region: &str) -> bool {
        lock(&self.nodes).writers.contains(region)
    }

    /// How often a node was promoted.
    pub fn promotions(&self) -> u64 {
        lock(&self.nodes).promotions
    }
}

fn lock(nodes: &Mutex<Nodes>) -> MutexGuard<'_, Nodes> {
    nodes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a node its role. Saying it twice changes nothing.
async fn role(
    State(nodes): Shared,
    Path(region): Path<String>,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let mut nodes = lock(&nodes);
    match body["role"].as_str() {
        Some("writer") => {
            let promoted = nodes.writers.insert(region.clone());
            nodes.promotions += u64::from(promoted);
        }
        Some("reader") => {
            nodes.writers.remove(&region);
        }
        _ => return (StatusCode::BAD_REQUEST, Json(json!({ "error": "a role is writer or reader" }))),
    }
    (StatusCode::OK, Json(json!({ "region": region, "role": body["role"] })))
}
