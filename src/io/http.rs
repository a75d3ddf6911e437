//! HTTP/1.1, one request per connection: for probes, which must see a fresh connection, the
//! address they were told, and every phase timed.

use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Close, Contact, Failure, Metered, Net, TrustFiles, failure};
use crate::config::HostPort;

/// Bytes of an answer's header. (hyper itself takes at most 100 lines.)
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// For how long a connection whose exchange has failed may take to say why.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How we name ourselves to the targets.
pub const AGENT: &str = concat!("pointsman/", env!("CARGO_PKG_VERSION"));

/// A request, and how to send it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
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
    /// A request without a body, whose answer's body is not read.
    pub fn new(method: Method, url: &'a Url, trust: &'a TrustFiles) -> Self {
        Self {
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
    let url = request.url;
    let fail = || Failure::unmeasured(format!("{url} is not a URL to connect to"));
    let authority = authority(request.url).ok_or_else(fail)?;
    let to = request.connect.unwrap_or(&authority).clone();
    let (secure, trust, close) = (request.url.scheme() == "https", request.trust, request.close);
    let body_bytes_max = request.body_bytes_max;
    let message = message(request).ok_or_else(fail)?;
    let stream = contact.connect(net, &to, close).await?;
    if secure {
        let trust = net.trust(trust, contact.deadline()).await?;
        let name = ServerName::try_from(authority.host.clone()).map_err(|_| fail())?;
        let stream = contact.secure(&trust, name, &to, stream).await?;
        over(contact, stream, &to, message, body_bytes_max).await
    } else {
        over(contact, stream, &to, message, body_bytes_max).await
    }
}

async fn over<S>(
    contact: &mut Contact,
    stream: S,
    to: &HostPort,
    message: hyper::Request<Full<Bytes>>,
    body_bytes_max: usize,
) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // What is kept of an answer is bounded below; what passes through, by the deadline.
    let (stream, meter) = Metered::new(stream, u64::MAX);
    let stream = TokioIo::new(stream);
    let talk = async {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEADER_BYTES_MAX)
            .handshake(stream)
            .await?;
        let mut connection = pin!(connection);
        let mut exchange = pin!(async {
            let answer = sender.send_request(message).await?;
            read(answer, body_bytes_max).await
        });
        // The connection moves the bytes; once it is done, what it brought is still there. It
        // also knows best why an exchange failed: a TLS alert, say, that came before the request
        // was written.
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
    };
    let talked = contact.deadline().bound(talk).await;
    if let Some(moment) = meter.first_at() {
        contact.heard_at(moment);
    }
    match talked {
        Err(_) => Err(contact.silence()),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failure_of(&error, to, meter.heard())),
    }
}

fn failure_of(error: &hyper::Error, peer: &HostPort, heard: bool) -> Failure {
    if error.is_parse_too_large() {
        return Failure::rubbish(format!(
            "{peer} answers with a header of more than {HEADER_BYTES_MAX} bytes"
        ));
    }
    if error.is_parse() {
        return Failure::rubbish(format!("{peer} answers what is not HTTP: {}", failure::innermost(error)));
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

/// The request as hyper sends it; `None` if its URL does not fit into a request line.
fn message(request: Request<'_>) -> Option<hyper::Request<Full<Bytes>>> {
    let url = request.url;
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let mut message = hyper::Request::new(Full::new(request.body));
    *message.method_mut() = request.method;
    *message.uri_mut() = target.parse().ok()?;
    let headers = message.headers_mut();
    *headers = request.headers;
    if let Ok(host) = HeaderValue::from_str(&host) {
        headers.entry(HOST).or_insert(host);
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Some(message)
}

async fn read(answer: hyper::Response<Incoming>, bytes_max: usize) -> Result<Answer, hyper::Error> {
    let (head, mut body) = answer.into_parts();
    let mut read = Vec::new();
    let mut cut = false;
    while bytes_max > 0 && !cut {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame?.into_data() {
            let room = bytes_max - read.len();
            cut = data.len() > room;
            read.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(Answer { status: head.status, headers: head.headers, body: read.into(), cut })
}
