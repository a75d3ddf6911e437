//! The head of an answer over HTTP/1.1, for those who want no more.
//!
//! Most checks look at the status. What follows it is not read, so there is no body to take apart
//! and no connection to keep in order: a request is written, and the answer's head is read. A whole
//! client costs half as much again as the connection itself (`cargo bench --bench checks -- http`).

use std::io::{self, ErrorKind, Write as _};
use std::pin::pin;

use hyper::body::Bytes;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, USER_AGENT,
};
use hyper::{Method, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{
    AGENT, Answer, Exchange, HEADER_BYTES_MAX, LAST_WORDS, LINES_MAX, Request, host, target, too_long,
};
use crate::config::HostPort;
use crate::io::{Clock, Contact, Failure};

/// What is read at once: more than most heads have.
const CHUNK: usize = 1024;

/// Whether nothing but the head of the answer is wanted, and nothing is sent that could be answered
/// before all of it has left.
pub(super) fn is_all(request: &Request<'_>) -> bool {
    let framed = [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| request.headers.contains_key(name));
    request.body_bytes_max == 0 && request.body.is_empty() && !framed
}

/// The request as it is sent.
pub(super) fn message(request: &Request<'_>) -> Vec<u8> {
    let Request { method, url, headers, .. } = request;
    let mut message = Vec::with_capacity(256);
    let host = host(url);
    let named = headers.get(HOST).map_or(host.as_bytes(), HeaderValue::as_bytes);
    // Writing into memory cannot fail.
    let _ = write!(message, "{method} {} HTTP/1.1\r\nhost: ", target(url));
    message.extend_from_slice(named);
    if !headers.contains_key(USER_AGENT) {
        let _ = write!(message, "\r\nuser-agent: {AGENT}");
    }
    for (name, value) in headers.iter().filter(|(name, _)| **name != HOST && **name != CONNECTION) {
        let _ = write!(message, "\r\n{name}: ");
        message.extend_from_slice(value.as_bytes());
    }
    // RFC 9110 §8.6: where a body would have a meaning, that there is none is said.
    if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        message.extend_from_slice(b"\r\ncontent-length: 0");
    }
    message.extend_from_slice(b"\r\nconnection: close\r\n\r\n");
    message
}

/// Sends a request and reads the head of the answer.
pub(super) async fn exchange<S>(
    contact: &mut Contact,
    mut stream: S,
    to: &HostPort,
    message: &[u8],
) -> Result<Exchange, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut first_at = None;
    let talk = async {
        if let Err(error) = send(&mut stream, message).await {
            // Why it was not taken often stands in what comes back: a TLS alert, say.
            return Err(match timeout(LAST_WORDS, stream.read_u8()).await {
                Ok(Err(deeper)) => Failure::of_talk(&deeper, to, false),
                _ => Failure::of_talk(&error, to, false),
            });
        }
        let mut heard = Vec::new();
        loop {
            let mut seen = heard.len();
            heard.reserve(CHUNK);
            let read = stream.read_buf(&mut heard).await;
            let read =
                read.and_then(|read| if read == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(read) });
            read.map_err(|error| Failure::of_talk(&error, to, first_at.is_some()))?;
            first_at.get_or_insert_with(|| Clock.mono());
            while is_worth_parsing(&heard, seen) {
                match parse(&heard) {
                    Err(error) => return Err(rubbish(to, &error)),
                    Ok(None) => break,
                    // Something else comes before the answer (RFC 9110 §15.2).
                    Ok(Some((head, end))) if is_interim(head.answer.status) => {
                        heard.drain(..end);
                        seen = 0;
                    }
                    Ok(Some((head, _))) => return Ok(head),
                }
            }
        }
    };
    // Pinned, so that only a pointer is handed through.
    let talked = contact.deadline().bound(pin!(talk)).await;
    if let Some(moment) = first_at {
        contact.heard_at(moment);
    }
    talked.unwrap_or_else(|_| Err(contact.silence()))
}

async fn send(mut stream: impl AsyncWrite + Unpin, message: &[u8]) -> io::Result<()> {
    stream.write_all(message).await?;
    // TLS keeps back what the socket has no room for.
    stream.flush().await
}

/// Whether a second look can show more than the first did. The first bytes tell whether it is HTTP
/// at all; from then on only the end of the header counts, however small the pieces that it comes in.
fn is_worth_parsing(heard: &[u8], seen: usize) -> bool {
    let fresh = &heard[seen.min(heard.len()).saturating_sub(3)..];
    let ends = || fresh.windows(3).any(|end| end == b"\n\r\n") || fresh.windows(2).any(|end| end == b"\n\n");
    !heard.is_empty() && (seen == 0 || heard.len() > HEADER_BYTES_MAX || ends())
}

/// The head that these bytes begin with and where it ends, once all of it has come.
fn parse(heard: &[u8]) -> Result<Option<(Exchange, usize)>, httparse::Error> {
    let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
    let mut parsed = httparse::Response::new(&mut lines);
    let end = match parsed.parse(&heard[..heard.len().min(HEADER_BYTES_MAX)])? {
        httparse::Status::Complete(end) => end,
        httparse::Status::Partial if heard.len() > HEADER_BYTES_MAX => {
            return Err(httparse::Error::TooManyHeaders);
        }
        httparse::Status::Partial => return Ok(None),
    };
    let status =
        parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(httparse::Error::Status)?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for line in parsed.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| httparse::Error::HeaderName)?;
        let value = HeaderValue::from_bytes(line.value).map_err(|_| httparse::Error::HeaderValue)?;
        headers.append(name, value);
    }
    let answer = Answer { status, headers, body: Bytes::new(), cut: false };
    Ok(Some((Exchange { answer, trailers: None, version }, end)))
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

fn rubbish(peer: &HostPort, error: &httparse::Error) -> Failure {
    match error {
        httparse::Error::TooManyHeaders => too_long(peer),
        _ => Failure::rubbish(format!("{peer} answers what is not HTTP: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::TrustFiles;

    fn asked(method: Method, headers: &[(&'static str, &'static str)]) -> String {
        let (url, trust) =
            ("http://shop.example:8080/health?deep=1#x".parse().unwrap(), TrustFiles::default());
        let mut request = Request::new(method, &url, &trust);
        for (name, value) in headers {
            request.headers.append(*name, HeaderValue::from_static(value));
        }
        String::from_utf8(message(&request)).unwrap()
    }

    #[test]
    fn asks_for_what_the_url_says() {
        let head = "HTTP/1.1\r\nhost: shop.example:8080\r\nuser-agent: ";
        let get = asked(Method::GET, &[("accept", "*/*")]);
        assert_eq!(
            get,
            format!("GET /health?deep=1 {head}{AGENT}\r\naccept: */*\r\nconnection: close\r\n\r\n")
        );
        assert!(asked(Method::POST, &[]).contains("\r\ncontent-length: 0\r\n"));
        // What the check says of itself stands instead.
        let own = asked(
            Method::HEAD,
            &[("host", "www.example"), ("user-agent", "probe"), ("connection", "upgrade")],
        );
        assert_eq!(
            own,
            "HEAD /health?deep=1 HTTP/1.1\r\nhost: www.example\r\nuser-agent: probe\r\nconnection: close\r\n\r\n"
        );
    }

    #[test]
    fn parses_what_has_come() {
        let whole = b"HTTP/1.0 302 Found\r\nLocation: /here\r\nset-cookie: a\r\nSet-Cookie: b\r\n\r\nbody";
        for cut in 1..whole.len() - 4 {
            assert!(parse(&whole[..cut]).unwrap().is_none(), "{cut}");
        }
        let (head, end) = parse(whole).unwrap().unwrap();
        assert_eq!(
            (head.version, head.answer.status, end),
            (Version::HTTP_10, StatusCode::FOUND, whole.len() - 4)
        );
        assert_eq!(
            (&head.answer.headers["location"], head.answer.headers.get_all("set-cookie").iter().count()),
            (&HeaderValue::from_static("/here"), 2)
        );
        for rubbish in ["SSH-2.0-x\r\n", "HTTP/2 200 OK\r\n", "HTTP/1.1 20 OK\r\n", "HTTP/1.1 000 No\r\n\r\n"]
        {
            assert!(parse(rubbish.as_bytes()).is_err(), "{rubbish}");
        }
    }

    /// Two answers that come before the one that counts, and part of its body, in two pieces.
    #[tokio::test]
    async fn reads_on_to_the_answer_however_the_pieces_fall() {
        let said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 Gone\r\na: b\r\n\r\nbo";
        let to = HostPort { host: "shop.example".to_owned(), port: 80 };
        for cut in 0..said.len() {
            let (ours, mut theirs) = tokio::io::duplex(4096);
            let speak = async {
                theirs.write_all(&said[..cut]).await.unwrap();
                tokio::task::yield_now().await;
                // Where the first piece had all that is asked for, nobody is there any more.
                let _ = theirs.write_all(&said[cut..]).await;
                theirs
            };
            let mut contact = Contact::new(std::time::Duration::from_secs(2));
            // In this order, so that the first piece is read before the second comes.
            let (read, _open) = tokio::join!(biased; exchange(&mut contact, ours, &to, b"GET"), speak);
            assert_eq!(read.unwrap().answer.status, StatusCode::NO_CONTENT, "cut at {cut}");
            assert!(contact.phases.heard.is_some());
        }
    }

    #[test]
    fn looks_again_only_where_something_can_be_seen() {
        let mut heard = Vec::new();
        let looked: Vec<usize> = (b"HTTP/1.1 200 OK\r\na: b\r\n\r\n".iter())
            .filter_map(|octet| {
                heard.push(*octet);
                is_worth_parsing(&heard, heard.len() - 1).then_some(heard.len())
            })
            .collect();
        assert_eq!(looked, [1, heard.len()]);
        let endless = vec![b'a'; HEADER_BYTES_MAX + 1];
        assert!(is_worth_parsing(&endless, HEADER_BYTES_MAX));
        let began = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &endless].concat();
        assert!(parse(&began[..HEADER_BYTES_MAX]).unwrap().is_none() && parse(&began).is_err());
    }
}
