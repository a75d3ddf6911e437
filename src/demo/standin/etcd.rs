//! A three-member store in this process that speaks the part of etcd's API which the daemon's
//! checks use. It stands in for etcd in the demo only; the tests run the same checks against
//! real etcd.
//!
//! Members share one model of who lives and who leads. A follower goes on naming a dead leader
//! for an election timeout, and survivors elect only with a majority, as real ones do. A read
//! that needs a quorum and has none hangs until the member's own timeout, as etcd's does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::demo::ports;

/// etcd's default election timeout.
const ELECTION: Duration = Duration::from_millis(1000);
/// How long etcd takes to give up on a read that finds no quorum.
const READ_TIMEOUT: Duration = Duration::from_secs(7);
const MEMBERS: usize = 3;
const CLUSTER_ID: u64 = 0x70_6f_69_6e_74;

/// A store of three members, each on a port of its own.
#[derive(Debug)]
pub struct Etcd {
    model: Arc<Mutex<Model>>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
}

/// Who lives, who leads, and how far the log is.
#[derive(Debug)]
struct Model {
    alive: [bool; MEMBERS],
    leader: Option<usize>,
    /// When the leader died, while its followers do not know yet or cannot elect another.
    orphaned: Option<Instant>,
    term: u64,
    index: u64,
}

impl Model {
    /// Lets the time that has passed take effect.
    fn catch_up(&mut self) {
        let living = self.alive.iter().filter(|alive| **alive).count();
        let leads = self.leader.is_some_and(|leader| self.alive[leader]) && living > MEMBERS / 2;
        if leads {
            self.orphaned = None;
            self.index += 1;
            return;
        }
        let since = self.orphaned.get_or_insert_with(Instant::now).elapsed();
        if since < ELECTION {
            return;
        }
        self.leader = None;
        if living > MEMBERS / 2 {
            self.term += 1;
            self.leader = self.alive.iter().position(|alive| *alive);
            self.orphaned = None;
        }
    }

    fn has_quorum(&self) -> bool {
        self.leader.is_some_and(|leader| self.alive[leader])
            && self.alive.iter().filter(|alive| **alive).count() > MEMBERS / 2
    }

    fn header(&self, member: usize) -> Value {
        json!({
            "cluster_id": CLUSTER_ID.to_string(),
            "member_id": id(member).to_string(),
            "revision": self.index.to_string(),
            "raft_term": self.term.to_string(),
        })
    }
}

fn id(member: usize) -> u64 {
    0xa000 + member as u64
}

type Shared = State<(Arc<Mutex<Model>>, usize)>;

impl Etcd {
    /// Starts all three members on free ports of the loopback address.
    ///
    /// # Errors
    /// No port could be had.
    pub async fn start() -> Result<Self, String> {
        let model = Model { alive: [true; MEMBERS], leader: Some(0), orphaned: None, term: 2, index: 8 };
        let mut etcd = Self { model: Arc::new(Mutex::new(model)), members: Vec::new() };
        for member in 0..MEMBERS {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
            let listener = TcpListener::bind(address).await.map_err(|why| format!("{address}: {why}"))?;
            let server = Some(etcd.serve(member, listener));
            etcd.members.push(Member { address, server });
        }
        Ok(etcd)
    }

    /// Base URLs of the members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("http://{}", member.address)).collect()
    }

    /// Kills a member: its port refuses connections from now on.
    pub fn kill(&mut self, member: usize) {
        if let Some(server) = self.members[member].server.take() {
            server.abort();
        }
        lock(&self.model).alive[member] = false;
        lock(&self.model).catch_up();
    }

    /// Brings a member back on the port it had.
    ///
    /// # Errors
    /// The port was taken by somebody else meanwhile.
    pub async fn revive(&mut self, member: usize) -> std::io::Result<()> {
        if self.members[member].server.is_none() {
            let listener = TcpListener::bind(self.members[member].address).await?;
            lock(&self.model).alive[member] = true;
            self.members[member].server = Some(self.serve(member, listener));
        }
        Ok(())
    }

    fn serve(&self, member: usize, listener: TcpListener) -> JoinHandle<()> {
        let router = Router::new()
            .route("/v3/maintenance/status", post(status))
            .route("/v3/kv/range", post(range))
            .with_state((Arc::clone(&self.model), member));
        tokio::spawn(async move {
            // It ends when it is aborted; an error of the listener ends this member, as it should.
            let _ = axum::serve(listener, router).await;
        })
    }
}

fn lock(model: &Mutex<Model>) -> MutexGuard<'_, Model> {
    model.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `Maintenance/Status`: never blocks. Zero values are left out, as proto3's JSON does.
async fn status(State((model, member)): Shared) -> Json<Value> {
    let mut model = lock(&model);
    model.catch_up();
    let mut body = json!({
        "header": model.header(member),
        "version": "3.5.0-demo",
        "dbSize": "20480",
        "raftIndex": model.index.to_string(),
        "raftTerm": model.term.to_string(),
        "raftAppliedIndex": model.index.to_string(),
        "dbSizeInUse": "16384",
    });
    match model.leader {
        Some(leader) => body["leader"] = json!(id(leader).to_string()),
        None => body["errors"] = json!(["etcdserver: no leader"]),
    }
    Json(body)
}

/// `KV/Range`: linearizable unless it says otherwise.
async fn range(State((model, member)): Shared, Json(request): Json<Value>) -> (StatusCode, Json<Value>) {
    if request["serializable"] != json!(true) {
        let deadline = Instant::now() + READ_TIMEOUT;
        loop {
            {
                let mut model = lock(&model);
                model.catch_up();
                if model.has_quorum() {
                    break;
                }
            }
            if Instant::now() >= deadline {
                let error = json!({"code": 14, "message": "etcdserver: request timed out"});
                return (StatusCode::SERVICE_UNAVAILABLE, Json(error));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let header = lock(&model).header(member);
    (StatusCode::OK, Json(json!({ "header": header })))
}
