//! HTTP/1.1 and HTTP/2, one request per connection: for probes, which must see a fresh
//! connection, the address they were told, and every phase timed.

mod head;

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::rt::Executor;
use hyper::{Method, StatusCode, Version};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::{Close, Contact, Failure, Late, Meter, Metered, Net, TrustFiles, failure};
use crate::config::{HostPort, HttpVersion};

/// Bytes of an answer's header, and lines of it: hyper takes no more of them.
const HEADER_BYTES_MAX: usize = 16 * 1024;
const LINES_MAX: usize = 100;

/// Bytes of a body that a peer may send over HTTP/2 before they are read.
const WINDOW_BYTES: u32 = 64 * 1024 - 1;

/// What HTTP/2 and HTTP/1.1 are called in ALPN (RFC 7301 §6).
const H2: &[u8] = b"h2";
const H1: &[u8] = b"http/1.1";

/// For how long a connection whose exchange has failed may take to say why.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How we name ourselves to the targets.
pub const AGENT: &str = concat!("pointsman/", env!("CARGO_PKG_VERSION"));

/// A request, and how to send it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Which versions are spoken.
    pub version: HttpVersion,
    /// The method.
    pub method: Method,
    /// Where to; `http` or `https`.
    pub url: &'a Url,
    /// Further headers; a `host` among them replaces the URL's.
    pub headers: HeaderMap,
    /// What to send.
    pub body: Bytes,
    /// Connect here instead of to the URL's host; the name stays in SNI and `Host`.
    pub connect: Option<&'a HostPort>,
    /// For `https`: whom to trust, who we are.
    pub trust: &'a TrustFiles,
    /// How much of the answer's body to read. What comes after is left unread.
    pub body_bytes_max: usize,
    /// How to close the connection.
    pub close: Close,
}

impl<'a> Request<'a> {
    /// A request over HTTP/1.1 without a body, whose answer's body is not read.
    pub fn new(method: Method, url: &'a Url, trust: &'a TrustFiles) -> Self {
        Self {
            version: HttpVersion::V1_1,
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            connect: None,
            trust,
            body_bytes_max: 0,
            close: Close::Abruptly,
        }
    }
}

/// An answer, with as much of its body as was asked for.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or its beginning.
    pub body: Bytes,
    /// The body was longer.
    pub cut: bool,
}

/// An answer, and what else was seen on the way.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The answer.
    pub answer: Answer,
    /// What came behind the body, if it was read to its end.
    pub trailers: Option<HeaderMap>,
    /// The version that was spoken.
    pub version: Version,
}

/// The host and port that a URL leads to.
pub fn authority(url: &Url) -> Option<HostPort> {
    let host = url.host_str()?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some(HostPort { host: bare.to_owned(), port: url.port_or_known_default()? })
}

/// Sends a request over a connection of its own, and reads the answer.
///
/// # Errors
/// No answer, or none that makes sense, within the contact's budget.
pub async fn exchange(contact: &mut Contact, net: &Net, request: Request<'_>) -> Result<Answer, Failure> {
    whole_exchange(contact, net, request).await.map(|exchange| exchange.answer)
}

/// The same, with what else was seen on the way.
///
/// # Errors
/// The same.
pub async fn whole_exchange(
    contact: &mut Contact,
    net: &Net,
    request: Request<'_>,
) -> Result<Exchange, Failure> {
    let authority = authority(request.url).ok_or_else(|| unusable(&request))?;
    let to = request.connect.unwrap_or(&authority);
    let stream = contact.connect(net, to, request.close).await?;
    if request.url.scheme() != "https" {
        return match request.version {
            HttpVersion::V2 => Box::pin(over_h2(contact, stream, to, &request)).await,
            HttpVersion::Auto | HttpVersion::V1_1 => over_h1(contact, stream, to, &request).await,
        };
    }
    let trust = net.trust(request.trust, contact.deadline()).await?;
    let name = ServerName::try_from(authority.host.clone()).map_err(|_| unusable(&request))?;
    let offered: &[&[u8]] = match request.version {
        HttpVersion::Auto => &[H2, H1],
        HttpVersion::V1_1 => &[],
        HttpVersion::V2 => &[H2],
    };
    // Boxed, as is what follows: thousands of checks over plain TCP do not carry the room for it.
    let stream = Box::pin(contact.secure_for(&trust, name, to, stream, offered)).await?;
    let agreed = stream.get_ref().1.alpn_protocol() == Some(H2);
    match request.version {
        HttpVersion::V2 if !agreed => Err(Failure::rubbish(format!("{to} does not offer HTTP/2 (ALPN)"))),
        _ if agreed => Box::pin(over_h2(contact, stream, to, &request)).await,
        _ => Box::pin(over_h1(contact, stream, to, &request)).await,
    }
}

async fn over_h1<S>(
    contact: &mut Contact,
    stream: S,
    to: &HostPort,
    request: &Request<'_>,
) -> Result<Exchange, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match head::is_all(request) {
        true => head::exchange(contact, stream, to, &head::message(request)).await,
        false => Box::pin(whole_over_h1(contact, stream, to, request)).await,
    }
}

async fn whole_over_h1<S>(
    contact: &mut Contact,
    stream: S,
    to: &HostPort,
    request: &Request<'_>,
) -> Result<Exchange, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let message = message(request, Version::HTTP_11)?;
    // What is kept of an answer is bounded below; what passes through, by the deadline.
    let (stream, meter) = Metered::new(stream, u64::MAX);
    let stream = TokioIo::new(stream.closing(request.close));
    let talk = async {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEADER_BYTES_MAX)
            .handshake(stream)
            .await?;
        let exchange = async {
            let answer = sender.send_request(message).await?;
            read(answer, request.body_bytes_max).await
        };
        converse(exchange, connection).await
    };
    // Pinned, so that only a pointer is handed through.
    let talked = contact.deadline().bound(pin!(talk)).await;
    conclude(contact, talked, &meter, to, "HTTP")
}

async fn over_h2<S>(
    contact: &mut Contact,
    stream: S,
    to: &HostPort,
    request: &Request<'_>,
) -> Result<Exchange, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let message = message(request, Version::HTTP_2)?;
    let (stream, meter) = Metered::new(stream, u64::MAX);
    let stream = TokioIo::new(stream.closing(request.close));
    let confined = Confined::default();
    let talk = async {
        let (mut sender, connection) = hyper::client::conn::http2::Builder::new(confined.clone())
            .max_header_list_size(HEADER_BYTES_MAX as u32)
            // The peer may send so much of a body before we have read any of it.
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(stream)
            .await?;
        let exchange = async {
            let answer = sender.send_request(message).await?;
            read(answer, request.body_bytes_max).await
        };
        converse(exchange, connection).await
    };
    let talked = contact.deadline().bound(pin!(talk)).await;
    conclude(contact, talked, &meter, to, "HTTP/2")
}

/// Runs an exchange and the connection that moves its bytes. Once the connection is done, what it
/// brought is still there. It also knows best why an exchange failed: a TLS alert, say, that came
/// before the request was written.
async fn converse(
    exchange: impl Future<Output = Result<Exchange, hyper::Error>>,
    connection: impl Future<Output = Result<(), hyper::Error>>,
) -> Result<Exchange, hyper::Error> {
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    let mut ended: Option<Result<(), hyper::Error>> = None;
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut exchange => break answer,
            end = &mut connection, if ended.is_none() => ended = Some(end),
        }
    };
    if answer.is_err() && ended.is_none() {
        ended = tokio::time::timeout(LAST_WORDS, connection).await.ok();
    }
    match (answer, ended) {
        (Err(_), Some(Err(deeper))) => Err(deeper),
        (answer, _) => answer,
    }
}

fn conclude(
    contact: &mut Contact,
    talked: Result<Result<Exchange, hyper::Error>, Late>,
    meter: &Meter,
    to: &HostPort,
    what: &str,
) -> Result<Exchange, Failure> {
    if let Some(moment) = meter.first_at() {
        contact.heard_at(moment);
    }
    match talked {
        Err(_) => Err(contact.silence()),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failure_of(&error, to, meter.heard(), what)),
    }
}

/// Runs what HTTP/2 wants run beside it, and ends it when the exchange is over, however that ends:
/// no connection outlives its contact.
#[derive(Clone, Default)]
struct Confined(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for Confined
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(work);
    }
}

fn failure_of(error: &hyper::Error, peer: &HostPort, heard: bool, what: &str) -> Failure {
    if error.is_parse_too_large() {
        return too_long(peer);
    }
    if error.is_parse() {
        return Failure::rubbish(format!("{peer} answers what is not {what}: {}", failure::innermost(error)));
    }
    // What HTTP/2 says of its own frames; what fails below it is told by those it happens to.
    if let Some(h2) = failure::find::<h2::Error>(error) {
        return match h2.get_io() {
            Some(io) => Failure::of_talk(io, peer, heard),
            None => Failure::rubbish(format!("{peer} breaks {what} off, or does not speak it: {h2}")),
        };
    }
    // Before all else what TLS says: a certificate that is not accepted ends in a closed
    // connection like many other things.
    if let Some(tls) = failure::find::<rustls::Error>(error) {
        return Failure::of_tls(tls, peer);
    }
    let closed = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
    match closed {
        true if heard => Failure::rubbish(format!("{peer} broke off in the middle of its answer")),
        true => Failure::refused(format!("{peer} closed the connection without an answer")),
        false => Failure::of_talk(error, peer, heard),
    }
}

fn too_long(peer: &HostPort) -> Failure {
    Failure::rubbish(format!(
        "{peer} answers with a header of more than {HEADER_BYTES_MAX} bytes or {LINES_MAX} lines"
    ))
}

fn unusable(request: &Request<'_>) -> Failure {
    Failure::unmeasured(format!("{} is not a URL to connect to", request.url))
}

/// What is asked for, as the request line says it.
fn target(url: &Url) -> Cow<'_, str> {
    match url.query() {
        Some(query) => Cow::Owned(format!("{}?{query}", url.path())),
        None => Cow::Borrowed(url.path()),
    }
}

/// Whom it is asked of, as the header says it.
fn host(url: &Url) -> Cow<'_, str> {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => Cow::Owned(format!("{host}:{port}")),
        None => Cow::Borrowed(host),
    }
}

/// The request as hyper sends it.
fn message(request: &Request<'_>, version: Version) -> Result<hyper::Request<Full<Bytes>>, Failure> {
    let (target, host) = (target(request.url), host(request.url));
    let uri = |text: &str| text.parse().map_err(|_| unusable(request));
    let mut message = hyper::Request::new(Full::new(request.body.clone()));
    *message.method_mut() = request.method.clone();
    let mut headers = request.headers.clone();
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    if version == Version::HTTP_2 {
        // The host stands in `:authority`, and a connection has no header (RFC 9113 §8.2.2, §8.3.1).
        let named = headers.remove(HOST);
        let authority = named.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(&host);
        *message.uri_mut() = uri(&format!("{}://{authority}{target}", request.url.scheme()))?;
        *message.version_mut() = Version::HTTP_2;
    } else {
        *message.uri_mut() = uri(&target)?;
        if let Ok(host) = HeaderValue::from_str(&host) {
            headers.entry(HOST).or_insert(host);
        }
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    *message.headers_mut() = headers;
    Ok(message)
}

async fn read(answer: hyper::Response<Incoming>, bytes_max: usize) -> Result<Exchange, hyper::Error> {
    let (head, mut body) = answer.into_parts();
    let mut read = Vec::new();
    let (mut cut, mut trailers) = (false, None);
    while bytes_max > 0 && !cut {
        let Some(frame) = body.frame().await else { break };
        match frame?.into_data() {
            Ok(data) => {
                let room = bytes_max - read.len();
                cut = data.len() > room;
                read.extend_from_slice(&data[..data.len().min(room)]);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let (status, headers, version) = (head.status, head.headers, head.version);
    Ok(Exchange { answer: Answer { status, headers, body: read.into(), cut }, trailers, version })
}
