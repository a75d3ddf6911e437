//! HTTP for agents: requests that change something out there.
//!
//! What matters is not the answer alone but what is known when there is none. Until the
//! connection is ready nothing of the request has left; from then on it may have arrived,
//! whatever became of the answer. So there is one connection per request and no retry below
//! ours, no proxy, and no redirect that would carry the request to somebody else.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Method, StatusCode, Url};

use super::{Clock, Deadline, Failure, Net, Resolver, TrustFiles, failure, http};

/// Bytes of an answer's body that are kept.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Redirects that are followed, all on the same host.
const REDIRECTS_MAX: usize = 3;
/// For how long a body may dawdle after the status has come: it only adds words.
const BODY_TIME_MAX: Duration = Duration::from_secs(5);

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Further headers.
    pub headers: HeaderMap,
    /// What to send.
    pub body: Option<String>,
}

/// An answer, with the beginning of its body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as text, or its beginning.
    pub body: String,
    /// Where it came from in the end.
    pub url: Url,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nothing of the request has left.
    #[error("{0}")]
    NotSent(Failure),
    /// It may have arrived.
    #[error("{0}")]
    Lost(Failure),
}

/// Sends a request.
///
/// # Errors
/// There is no answer by the deadline, and whether the request may have arrived.
pub async fn send(net: &Net, request: Request, deadline: Deadline) -> Result<Answer, NoAnswer> {
    let place = place(&request.url);
    let client = client(net, &request.method, deadline).await.map_err(NoAnswer::NotSent)?;
    let mut building = client.request(request.method, request.url).headers(request.headers);
    if let Some(body) = request.body {
        building = building.body(body);
    }
    // The client's own timeout tells a connection that took too long from an answer that did.
    let sent = building.timeout(deadline.left()).send().await;
    let mut response = sent.map_err(|error| no_answer(&error, &place))?;

    let deadline = deadline.within(BODY_TIME_MAX);
    let mut body = Vec::new();
    while body.len() < BODY_BYTES_MAX {
        match deadline.bound(response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                let room = BODY_BYTES_MAX - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            // The status has come: that the rest is missing changes nothing.
            _ => break,
        }
    }
    Ok(Answer {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        body: String::from_utf8_lossy(&body).into_owned(),
        url: response.url().clone(),
    })
}

/// A client for one request.
async fn client(net: &Net, method: &Method, deadline: Deadline) -> Result<Client, Failure> {
    let tls = match net.trust(&TrustFiles::default(), deadline).await {
        Ok(trust) => (*trust.config()).clone(),
        // A machine without CA certificates can still call http:// hooks; https:// will fail
        // with an unknown issuer.
        Err(_) => bare_tls()?,
    };
    let safe = method.is_safe();
    Client::builder()
        .user_agent(http::AGENT)
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .http1_only()
        .pool_max_idle_per_host(0)
        .retry(reqwest::retry::never())
        .redirect(Policy::custom(move |attempt| follow(attempt, safe)))
        .referer(false)
        .dns_resolver(Names(net.resolver().clone()))
        // Half of the time at most, so that the two kinds of timeout cannot be mistaken.
        .connect_timeout(deadline.left() / 2)
        .build()
        .map_err(|error| {
            Failure::unmeasured(format!("cannot make an HTTP client: {}", failure::innermost(&error)))
        })
}

fn bare_tls() -> Result<rustls::ClientConfig, Failure> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| Failure::unmeasured(format!("cannot prepare TLS: {why}")))?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

/// Follows a redirect on the same host, if the request stays what it is: after 301, 302 and 303
/// a POST would become a GET, and its answer would speak of something else (RFC 9110 §15.4).
fn follow(attempt: Attempt<'_>, safe: bool) -> reqwest::redirect::Action {
    let origin =
        |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    let same = attempt.previous().first().is_some_and(|first| origin(first) == origin(attempt.url()));
    let kept = safe || matches!(attempt.status().as_u16(), 307 | 308);
    match same && kept && attempt.previous().len() <= REDIRECTS_MAX {
        true => attempt.follow(),
        false => attempt.stop(),
    }
}

fn no_answer(error: &reqwest::Error, place: &str) -> NoAnswer {
    if error.is_builder() {
        let why = failure::innermost(error);
        return NoAnswer::NotSent(Failure::unmeasured(format!("cannot make a request for {place}: {why}")));
    }
    if error.is_connect() {
        return NoAnswer::NotSent(connect_failure(error, place));
    }
    if error.is_timeout() {
        return NoAnswer::Lost(Failure::silent(format!(
            "{place} took the request and did not answer in time"
        )));
    }
    let failed = Failure::of_talk(error, place, false);
    NoAnswer::Lost(Failure { words: format!("the request was sent, and then: {}", failed.words), ..failed })
}

fn connect_failure(error: &reqwest::Error, place: &str) -> Failure {
    if let Some(failure) = failure::find::<Failure>(error) {
        return failure.clone();
    }
    if error.is_timeout() {
        return Failure::silent(format!("no connection to {place} in time"));
    }
    if let Some(tls) = failure::find::<rustls::Error>(error) {
        return Failure::of_tls(tls, place);
    }
    match failure::find::<std::io::Error>(error) {
        Some(io) => Failure::of_connect(io, place),
        None => Failure::unmeasured(format!("cannot connect to {place}: {}", failure::innermost(error))),
    }
}

/// Scheme, host and port: a path or a query may hold what must not be shown.
pub fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

/// The daemon's own name resolution, for the client.
struct Names(Resolver);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        // The client's connect timeout ends it sooner.
        const LONG: Duration = Duration::from_secs(600);
        let resolver = self.0.clone();
        Box::pin(async move {
            let found = resolver.resolve(name.as_str(), 0, Clock.deadline(LONG)).await?;
            Ok(Box::new(found.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send> as Addrs)
        })
    }
}
