//! A primary and its standby, as far as the demo needs them: each has a role, and takes writes
//! only as the writer. It stands in for PostgreSQL in the demo only; with `--real`, and in the
//! tests, the `database` agent drives a real one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{post, put};
use axum::{Json, Router};
use serde_json::{Value, json};

/// Both nodes, behind one port: `/REGION/role` and `/REGION/write`.
#[derive(Debug)]
pub struct Pair {
    address: SocketAddr,
    nodes: Arc<Mutex<Nodes>>,
}

/// What became of the pair so far.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    /// Which regions' nodes take writes. Never two at once, if the fence does its work.
    pub writers: Vec<String>,
    /// Writes taken, by region.
    pub taken: BTreeMap<String, u64>,
    /// Writes refused, by region.
    pub refused: BTreeMap<String, u64>,
    /// The most writers there ever were at one moment.
    pub writers_max: usize,
    /// How often each node was made the writer.
    pub promoted: BTreeMap<String, u64>,
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
        let first = Nodes { writers: vec![writer.to_owned()], writers_max: 1, ..Nodes::default() };
        let nodes = Arc::new(Mutex::new(first));
        let router = Router::new()
            .route("/{region}/role", put(role))
            .route("/{region}/write", post(write))
            .with_state(Arc::clone(&nodes));
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

    /// What became of it so far.
    pub fn nodes(&self) -> Nodes {
        lock(&self.nodes).clone()
    }

    /// A client's write at a region's node; whether it was taken.
    pub fn write(&self, region: &str) -> bool {
        let mut nodes = lock(&self.nodes);
        let takes = nodes.writers.iter().any(|writer| writer == region);
        let counts = if takes { &mut nodes.taken } else { &mut nodes.refused };
        *counts.entry(region.to_owned()).or_default() += 1;
        takes
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
    let is_writer = nodes.writers.contains(&region);
    match body["role"].as_str() {
        Some("writer") if !is_writer => {
            nodes.writers.push(region.clone());
            nodes.writers_max = nodes.writers_max.max(nodes.writers.len());
            *nodes.promoted.entry(region.clone()).or_default() += 1;
        }
        Some("reader") => nodes.writers.retain(|writer| *writer != region),
        Some("writer") => {}
        _ => return (StatusCode::BAD_REQUEST, Json(json!({ "error": "a role is writer or reader" }))),
    }
    (StatusCode::OK, Json(json!({ "region": region, "role": body["role"] })))
}

async fn write(State(nodes): Shared, Path(region): Path<String>) -> StatusCode {
    match lock(&nodes).writers.contains(&region) {
        true => StatusCode::OK,
        false => StatusCode::FORBIDDEN,
    }
}
