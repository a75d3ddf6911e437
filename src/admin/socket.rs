//! The control socket: everything that can be read, and orders.
//!
//! Who may open the socket may give orders; its mode and its directory decide that. The user
//! behind each connection is written down beside the owner that the order names.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};

use super::api::{problem, routes};
use super::limit::{self, Limits};
use super::metrics::Metrics;
use crate::control::{Handle, Reloader};
use crate::decide::Order;

/// Connections at once on the control socket.
const CONNECTIONS_MAX: usize = 64;
/// Who may open the socket: the daemon's user and group.
const MODE: u32 = 0o660;
/// An order is answered once it is written. A store that hangs must not hang the operator.
const ORDER_WAIT: Duration = Duration::from_secs(30);

/// What became of an order, a reload or an upgrade.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderAnswer {
    /// In words.
    pub said: String,
}

/// The user behind a connection.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: Option<u32>,
}

/// Opens the socket.
///
/// # Errors
/// Another daemon listens there, or the path cannot be used.
fn open(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    if let Ok(there) = std::fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            let why = "there is a file of another kind: name another path as `listen: control:`";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        // One that nobody listens on was left behind by a process that was killed.
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let why = format!("another daemon listens on {}", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    Ok(listener)
}

/// Opens a socket in the place of one that another daemon listens on, in one step: whoever
/// connects reaches one of the two.
fn replace(path: &Path) -> io::Result<UnixListener> {
    let beside = path.with_extension("next");
    let _ = std::fs::remove_file(&beside);
    let listener = open(&beside)?;
    std::fs::rename(&beside, path)?;
    Ok(listener)
}

/// Opens the control socket and serves it in a task of its own. `succeeds`: in the place of the
/// daemon that this one takes over from.
///
/// # Errors
/// Names the path, and what is wrong with it.
pub fn serve(
    path: &Path,
    succeeds: bool,
    handle: Handle,
    reloader: Arc<Reloader>,
    metrics: Metrics,
) -> Result<(), String> {
    let listener = if succeeds { replace(path) } else { open(path) };
    let listener = listener.map_err(|why| format!("control socket {}: {why}", path.display()))?;
    let orders = Router::new()
        .route("/v1/orders", post(order))
        .route("/v1/upgrade", post(upgrade))
        .with_state(handle.clone())
        .route("/v1/reload", post(reload))
        .layer(Extension(reloader));
    let router = routes(handle, metrics).merge(orders);
    let for_peer = move |stream: &UnixStream| {
        let peer = Peer { uid: stream.peer_cred().ok().map(|user| user.uid()) };
        router.clone().layer(Extension(peer))
    };
    tokio::spawn(limit::serve(listener, Limits::of(CONNECTIONS_MAX), for_peer));
    Ok(())
}

async fn order(
    State(handle): State<Handle>,
    Extension(peer): Extension<Peer>,
    Json(mut order): Json<Order>,
) -> Response {
    if let Some(uid) = peer.uid {
        order.owner = format!("{} (uid {uid})", order.owner);
    }
    match tokio::time::timeout(ORDER_WAIT, handle.order(order)).await {
        Ok(Ok(Ok(said))) => Json(OrderAnswer { said }).into_response(),
        Ok(Ok(Err(why))) => problem(StatusCode::CONFLICT, &why),
        Ok(Err(gone)) => problem(StatusCode::SERVICE_UNAVAILABLE, &gone.to_string()),
        Err(_) => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "the order was taken and is not written yet: the store hangs; `pointsman status` shows whether it holds",
        ),
    }
}

async fn upgrade(State(handle): State<Handle>) -> Response {
    match handle.upgrade().await {
        Ok(Ok(said)) => Json(OrderAnswer { said }).into_response(),
        Ok(Err(why)) => problem(StatusCode::CONFLICT, &why),
        Err(gone) => problem(StatusCode::SERVICE_UNAVAILABLE, &gone.to_string()),
    }
}

/// What to reload: all, or one zone.
#[derive(Deserialize)]
struct Reload {
    zone: Option<String>,
}

async fn reload(Extension(reloader): Extension<Arc<Reloader>>, Query(what): Query<Reload>) -> Response {
    let said = match &what.zone {
        None => reloader.reload().await,
        Some(zone) => reloader.reload_zone(zone).await,
    };
    match said {
        Ok(said) => Json(OrderAnswer { said }).into_response(),
        Err(why) => problem(StatusCode::CONFLICT, &why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_gives_way() {
        let directory = std::env::temp_dir().join(format!("pointsman-control-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (file, socket) = (directory.join("pointsman.yaml"), directory.join("control.sock"));
        std::fs::write(&file, "version: 1").unwrap();
        let refused = open(&file).unwrap_err().to_string();
        let kept = std::fs::read_to_string(&file);
        let first = open(&socket).unwrap();
        let taken = open(&socket).unwrap_err().to_string();
        drop(first);
        let again = open(&socket);
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(refused.contains("name another path"), "{refused}");
        assert_eq!(kept.unwrap(), "version: 1");
        assert!(taken.contains("another daemon listens"), "{taken}");
        assert!(again.is_ok(), "left behind by a process that was killed");
    }
}
