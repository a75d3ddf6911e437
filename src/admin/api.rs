//! What can be read (status, explanations, executions, metrics, health), and what others may tell.

use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::inbound;
use super::limit::{self, Limits};
use super::metrics::Metrics;
use crate::base::Prefix;
use crate::control::{Gone, Handle, telemetry};
use crate::io::Clock;

/// Connections at once on the read-only port.
const CONNECTIONS_MAX: usize = 256;
/// The owner of the state answers in less, or something is very wrong with it.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Executions that are over, in a list.
const SETTLED_MAX: usize = 100;

const INDEX: &str = "pointsman\n\
    /healthz                  200 while the daemon's loop moves\n\
    /readyz                   200 while DNS is served\n\
    /metrics                  for Prometheus\n\
    /v1/status                everything, as JSON\n\
    /v1/explain?name=NAME&client=ADDRESS   why a name is answered the way it is, to this client\n\
    /v1/executions            workflows that run, and those that are over\n\
    /v1/executions/ID         one of them\n\
    /v1/obligations           what regions still owe\n\
    POST /v1/push/NAME        a target's report of itself, with its token\n\
    POST /v1/alertmanager/NAME             Alertmanager's webhook, with its token\n";

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) handle: Handle,
    metrics: Metrics,
}

/// Serves the read-only API until the daemon ends.
pub async fn serve(listener: TcpListener, handle: Handle, metrics: Metrics) {
    let router = routes(handle, metrics);
    limit::serve(listener, Limits::of(CONNECTIONS_MAX), |_| router.clone()).await;
}

/// All that can be read.
pub(super) fn routes(handle: Handle, metrics: Metrics) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .route("/v1/status", get(status))
        .route("/v1/explain", get(explain))
        .route("/v1/executions", get(executions))
        .route("/v1/executions/{id}", get(execution))
        .route("/v1/obligations", get(obligations))
        .route("/v1/push/{name}", post(inbound::push))
        .route("/v1/alertmanager/{name}", post(inbound::alertmanager))
        .with_state(Shared { handle, metrics })
}

/// Why a request could not be answered.
pub(super) enum Problem {
    /// The daemon is stopping.
    Gone,
    /// Its loop does not move.
    Stuck,
    /// There is nothing of that name.
    NotFound(String),
    /// The question makes no sense.
    Bad(String),
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, detail) = match self {
            Self::Gone => (StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned()),
            Self::Stuck => (StatusCode::SERVICE_UNAVAILABLE, "the daemon's loop does not move".to_owned()),
            Self::NotFound(detail) => (StatusCode::NOT_FOUND, detail),
            Self::Bad(detail) => (StatusCode::BAD_REQUEST, detail),
        };
        problem(status, &detail)
    }
}

/// An error as RFC 9457 has it.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({
        "title": status.canonical_reason().unwrap_or("error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

async fn within<T>(asked: impl Future<Output = Result<T, Gone>>) -> Result<T, Problem> {
    match timeout(ANSWER_WAIT, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Gone)) => Err(Problem::Gone),
        Err(_) => Err(Problem::Stuck),
    }
}

async fn healthz(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    within(shared.handle.look(|_, _| ())).await?;
    Ok("ok\n")
}

async fn readyz(State(shared): State<Shared>) -> Response {
    match within(shared.handle.look(|_, running| running.serving)).await {
        Ok(true) => "serving\n".into_response(),
        Ok(false) => (StatusCode::SERVICE_UNAVAILABLE, "not serving yet\n").into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn scrape(State(shared): State<Shared>) -> Result<impl IntoResponse, Problem> {
    within(shared.handle.look(telemetry::refresh)).await?;
    shared.handle.inbox().measure(Clock.mono());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render()))
}

async fn status(State(shared): State<Shared>) -> Result<impl IntoResponse, Problem> {
    let status = shared.handle.look(|daemon, running| daemon.status(running.serving, running.now));
    Ok(Json(within(status).await?))
}

#[derive(Deserialize)]
struct Asked {
    name: String,
    client: Option<String>,
}

async fn explain(
    State(shared): State<Shared>,
    Query(Asked { name, client }): Query<Asked>,
) -> Result<impl IntoResponse, Problem> {
    let client = client.map(|text| text.parse::<Prefix>()).transpose();
    let client = client.map_err(|why| Problem::Bad(format!("client: {why}")))?;
    let asked = name.clone();
    let view =
        shared.handle.look(move |daemon, running| daemon.explain(&asked, client.as_ref(), running.now));
    match within(view).await? {
        Some(view) => Ok(Json(view)),
        None => Err(Problem::NotFound(format!("`{name}` is neither a service nor one of a service's names"))),
    }
}

async fn executions(State(shared): State<Shared>) -> Result<impl IntoResponse, Problem> {
    let views = shared.handle.look(|daemon, running| daemon.executions(running.now, SETTLED_MAX));
    Ok(Json(within(views).await?))
}

async fn execution(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let asked = id.clone();
    let view = shared.handle.look(move |daemon, running| daemon.execution(&asked, running.now));
    match within(view).await? {
        Some(view) => Ok(Json(view)),
        None => Err(Problem::NotFound(format!("there is no execution `{id}`"))),
    }
}

async fn obligations(State(shared): State<Shared>) -> Result<impl IntoResponse, Problem> {
    let views = shared.handle.look(|daemon, running| daemon.obligations(running.now));
    Ok(Json(within(views).await?))
}
