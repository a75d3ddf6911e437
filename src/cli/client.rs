//! Asking the daemon, over its control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Exit;
use super::args::Common;
use crate::admin::OrderAnswer;
use crate::decide::{Order, What};
use crate::sys;

/// The daemon answers an order within its own limit; this is a little more.
const ANSWER_WAIT: Duration = Duration::from_secs(35);
/// The daemon's own limits for a successor, its preparations and its first round of checks
/// together; this is a little more.
const UPGRADE_WAIT: Duration = Duration::from_secs(180);

/// Where the daemon listens: as said, or as its configuration says.
fn socket(common: &Common) -> Result<PathBuf, Exit> {
    if let Some(path) = &common.control {
        return Ok(path.clone());
    }
    sys::control_socket(&common.config).map_err(|mistakes| {
        let config = common.config.display();
        Exit::Missing(format!(
            "{}the control socket is named in {config}, which cannot be read; name it with --control",
            mistakes.render(super::text::colour(true))
        ))
    })
}

/// Gets something from the daemon.
pub(super) fn get<T: DeserializeOwned>(
    common: &Common,
    path: &str,
    query: &[(&str, &str)],
) -> Result<T, Exit> {
    ask(common, Method::GET, path, query, None::<&()>)
}

/// Gives an order; what the daemon says to it.
pub(super) fn order(
    common: &Common,
    owner: Option<String>,
    reason: String,
    what: What,
) -> Result<String, Exit> {
    let order = Order { owner: owner.unwrap_or_else(whoami), reason, what };
    let answer: OrderAnswer = ask(common, Method::POST, "/v1/orders", &[], Some(&order))?;
    Ok(answer.said)
}

/// Asks for a reload, of everything or of one zone; what is new.
pub(super) fn reload(common: &Common, zone: Option<&str>) -> Result<String, Exit> {
    let query: Vec<_> = zone.iter().map(|zone| ("zone", *zone)).collect();
    let answer: OrderAnswer = ask(common, Method::POST, "/v1/reload", &query, None::<&()>)?;
    Ok(answer.said)
}

/// Asks for an upgrade in place; who serves now.
pub(super) fn upgrade(common: &Common) -> Result<String, Exit> {
    let answer: OrderAnswer = ask_for(UPGRADE_WAIT, common, Method::POST, "/v1/upgrade", &[], None::<&()>)?;
    Ok(answer.said)
}

fn ask<T: DeserializeOwned>(
    common: &Common,
    method: Method,
    path: &str,
    query: &[(&str, &str)],
    body: Option<&impl Serialize>,
) -> Result<T, Exit> {
    ask_for(ANSWER_WAIT, common, method, path, query, body)
}

fn ask_for<T: DeserializeOwned>(
    patience: Duration,
    common: &Common,
    method: Method,
    path: &str,
    query: &[(&str, &str)],
    body: Option<&impl Serialize>,
) -> Result<T, Exit> {
    let socket = socket(common)?;
    let unreachable = |why: &dyn std::fmt::Display| {
        Exit::Missing(format!(
            "the daemon cannot be reached at {}: {why}\nis it running, and may you open its socket?",
            socket.display()
        ))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| Exit::Missing(format!("no event loop: {why}")))?;
    let exchanged = runtime.block_on(async {
        let exchange = exchange(&socket, method, path, query, body);
        tokio::time::timeout(patience, exchange).await.map_err(|_| "no answer in time".to_owned())?
    });
    let (status, answer) = exchanged.map_err(|why: String| unreachable(&why))?;
    if !status.is_success() {
        let problem: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        let detail = match problem["detail"].as_str() {
            Some(detail) => detail.to_owned(),
            None => String::from_utf8_lossy(&answer).into_owned(),
        };
        return Err(match status.is_client_error() {
            true => Exit::No(detail),
            false => Exit::Missing(detail),
        });
    }
    serde_json::from_slice(&answer)
        .map_err(|why| Exit::Missing(format!("the daemon speaks another version of this program: {why}")))
}

/// One request over the socket, and its answer.
async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    query: &[(&str, &str)],
    body: Option<&impl Serialize>,
) -> Result<(StatusCode, Vec<u8>), String> {
    let stream = UnixStream::connect(socket).await.map_err(|why| why.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|why| why.to_string())?;
    tokio::spawn(connection);
    let mut url = reqwest::Url::parse("http://pointsman").expect("it is one");
    url.set_path(path);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let body = match body {
        Some(body) => serde_json::to_vec(body).expect("orders have texts for keys"),
        None => Vec::new(),
    };
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "pointsman")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|why| why.to_string())?;
    let response = sender.send_request(request).await.map_err(|why| why.to_string())?;
    let status = response.status();
    let answer = response.into_body().collect().await.map_err(|why| why.to_string())?;
    Ok((status, answer.to_bytes().to_vec()))
}

/// Who gives the order, if nothing else is said: whoever is behind `sudo`, or is logged in.
fn whoami() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|variable| std::env::var(variable).ok().filter(|name| !name.is_empty()))
        .unwrap_or_else(|| "unknown".to_owned())
}
