//! DNS over HTTPS (RFC 8484): one HTTP/2 request, one answer.
//!
//! | request | status |
//! |---|---|
//! | `GET /dns-query?dns=` with a query in base64url | 200, whatever the answer's code |
//! | `POST /dns-query` with a body of `application/dns-message` | 200 |
//! | another path | 404 |
//! | another method | 405 |
//! | a body longer than any query | 413 |
//! | a body of another type | 415 |
//! | what is no query | 400 |
//!
//! Answers depend on where the client is, so only its own cache may keep them, and for as long as
//! the records in them live (RFC 8484 §5.1).

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};

use super::hall::{Broken, Hall, QUERY_OCTETS_MAX};
use crate::dns::{Asker, Counter};
use crate::wire::{Base64, Message, RecordType};

/// The one path there is, in every published template of a DoH server.
const PATH: &str = "/dns-query";
const DNS_MESSAGE: &str = "application/dns-message";
/// Requests that are under way on one connection.
const STREAMS_MAX: u32 = 100;
/// All headers of a request; those that matter take a few hundred octets, and a query in a GET
/// at most 4/3 of [`QUERY_OCTETS_MAX`].
const HEADER_OCTETS_MAX: u32 = 16 * 1024;
/// What a client may send ahead, per request and per connection; a longer body is not read on.
const STREAM_WINDOW: u32 = 8 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024;
/// Answers that wait for the client to read them, per request.
const SEND_OCTETS_MAX: usize = 64 * 1024;
/// A connection that is over has this long to finish what it has begun.
const GOODBYE_MAX: Duration = Duration::from_millis(200);

/// Serves a connection until the client leaves or is idle for too long.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    asker: Asker,
    hall: &Rc<Hall>,
) -> Result<(), Broken> {
    let idle = hall.limits.tcp_idle;
    let asked_at = Rc::new(Cell::new(Instant::now()));
    let service = service_fn(|request| {
        asked_at.set(Instant::now());
        let hall = Rc::clone(hall);
        async move { Ok::<_, Infallible>(respond(request, &asker, &hall).await) }
    });
    let mut connection = pin!(
        http2::Builder::new(InThisThread)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_OCTETS_MAX)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_OCTETS_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    // Pings and settings are no reason to stay; requests are.
    loop {
        let deadline = asked_at.get() + idle;
        if Instant::now() >= deadline {
            break;
        }
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(|_| Broken),
            () = sleep_until(deadline) => {}
            () = hall.stop.cancelled() => break,
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GOODBYE_MAX, connection).await;
    Ok(())
}

type Reply = Response<Full<Bytes>>;

async fn respond(request: Request<Incoming>, asker: &Asker, hall: &Hall) -> Reply {
    match query(request, hall.limits.tcp_idle).await {
        Ok(query) => match hall.answer(&query, asker, fit) {
            Some(reply) => reply,
            None => unfit(StatusCode::BAD_REQUEST, hall),
        },
        Err(status) => unfit(status, hall),
    }
}

/// The query in a request.
async fn query(request: Request<Incoming>, patience: Duration) -> Result<Vec<u8>, StatusCode> {
    let (head, body) = request.into_parts();
    // Read whatever is wrong with the request: a client that is cut off while it still writes may
    // not hear why.
    let body = match timeout(patience, Limited::new(body, STREAM_WINDOW as usize).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => return Err(StatusCode::REQUEST_TIMEOUT),
    };
    if head.uri.path() != PATH {
        return Err(StatusCode::NOT_FOUND);
    }
    match head.method {
        Method::GET => {
            let mut parameters = head.uri.query().unwrap_or_default().split('&');
            let query = parameters.find_map(|parameter| parameter.strip_prefix("dns="));
            from_base64url(query.ok_or(StatusCode::BAD_REQUEST)?).ok_or(StatusCode::BAD_REQUEST)
        }
        Method::POST => {
            let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
            if !kind.trim().eq_ignore_ascii_case(DNS_MESSAGE) {
                return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            }
            if body.len() > QUERY_OCTETS_MAX {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            Ok(body.to_vec())
        }
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// Reads base 64 for URLs, without padding (RFC 4648 §5, RFC 8484 §6).
fn from_base64url(text: &str) -> Option<Vec<u8>> {
    if text.len() > QUERY_OCTETS_MAX.div_ceil(3) * 4 || text.contains(['+', '/', '=']) {
        return None;
    }
    let padding = &"==="[..(4 - text.len() % 4) % 4];
    let plain = text.replace('-', "+").replace('_', "/") + padding;
    let (mut base64, mut octets) = (Base64::default(), Vec::with_capacity(plain.len() / 4 * 3));
    (base64.push(plain.as_bytes(), &mut octets) && base64.finish()).then_some(octets)
}

fn fit(answer: &[u8]) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::copy_from_slice(answer)));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(DNS_MESSAGE));
    let fresh = format!("private, max-age={}", fresh_for(answer));
    if let Ok(fresh) = fresh.try_into() {
        headers.insert(CACHE_CONTROL, fresh);
    }
    reply
}

/// For how many seconds an answer may be kept: as long as the record in it that lives shortest;
/// if there is none, as long as the SOA says that there is none (RFC 2308 §5).
fn fresh_for(answer: &[u8]) -> u32 {
    let Ok(Message { sections: [answers, authority, _], .. }) = Message::read(answer) else { return 0 };
    let denial = authority.iter().filter(|record| record.rtype == RecordType::SOA);
    let shortest = answers.iter().map(|record| record.ttl).min();
    shortest.or_else(|| denial.map(|record| record.ttl).min()).unwrap_or(0)
}

fn unfit(status: StatusCode, hall: &Hall) -> Reply {
    hall.count(Counter::HttpsUnfit);
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
    }
    reply
}

/// Requests of a connection run in its thread, beside it.
#[derive(Clone, Copy)]
struct InThisThread;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for InThisThread {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Name, ask};

    #[test]
    fn reads_base64_as_urls_have_it() {
        // The example of RFC 8484 §4.1.1.
        let query = from_base64url("AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB").unwrap();
        assert_eq!(query.get(12..29), Some(&b"\x03www\x07example\x03com\x00"[..]));
        assert_eq!(from_base64url("-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(from_base64url("_w"), Some(vec![0xff]));
        for bad in ["+/8", "_w==", "_", "_x", "a b", "dns=AA"] {
            assert_eq!(from_base64url(bad), None, "{bad}");
        }
        assert!(from_base64url(&"A".repeat(QUERY_OCTETS_MAX.div_ceil(3) * 4 + 1)).is_none());
    }

    #[test]
    fn answers_stay_fresh_as_long_as_their_records() {
        let record = |rtype: u8, ttl: u8| [0xc0, 12, 0, rtype, 0, 1, 0, 0, 0, ttl, 0, 4, 192, 0, 2, 1];
        let soa = |ttl: u8| {
            let data = [&[0, 0][..], &[0; 20]].concat();
            [&[0xc0, 12, 0, 6, 0, 1, 0, 0, 0, ttl, 0, data.len() as u8][..], &data].concat()
        };
        let message = |counts: [u8; 2], records: &[Vec<u8>]| {
            let mut message = ask(0, &Name::parse("a.example").unwrap(), RecordType::A, None);
            (message[2], message[7], message[9]) = (0x84, counts[0], counts[1]);
            [&message[..], &records.concat()].concat()
        };
        let of = |counts, records: &[Vec<u8>]| fresh_for(&message(counts, records));
        assert_eq!(of([2, 1], &[record(1, 60).into(), record(1, 20).into(), soa(5)]), 20);
        assert_eq!(of([0, 1], &[soa(30)]), 30);
        assert_eq!(of([0, 0], &[]), 0);
        assert_eq!(fresh_for(b"rubbish"), 0);
    }
}
