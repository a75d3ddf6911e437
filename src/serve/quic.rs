//! DNS over QUIC (RFC 9250): one stream, one query, one answer.
//!
//! A handshake can be begun with a forged address. As long as there is room it is taken as it
//! comes; once half of the seats are taken, or half of those that this client may have, it first
//! has to show that it is where it says (RFC 9000 §8.1.2). So nobody takes another's seats.

use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, ReadToEndError, RecvStream, SendStream, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::hall::{Broken, Hall, QUERY_OCTETS_MAX, Seat};
use super::secure::Secure;
use crate::dns::{Asker, Transport};
use crate::wire::Query;

// Error codes (RFC 9250 §4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);

/// Queries under way on one connection.
const STREAMS_MAX: u32 = 100;
/// What a client may send ahead, per query and per connection.
const STREAM_WINDOW: u32 = 8 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024;
/// Answers that wait for a client to take them.
const SEND_OCTETS_MAX: u64 = 256 * 1024;
/// From the first packet to the end of the handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Lets connections in until told to stop.
pub(super) async fn keep(socket: UdpSocket, hall: Rc<Hall>, secure: Secure, tasks: TaskTracker) {
    let endpoint = match open(socket, &hall, &secure) {
        Ok(endpoint) => endpoint,
        Err(why) => return tracing::error!("cannot listen over QUIC: {why}"),
    };
    while let Some(Some(incoming)) = hall.stop.run_until_cancelled(endpoint.accept()).await {
        let client = incoming.remote_address().ip().to_canonical();
        if hall.is_crowded(client) && incoming.may_retry() && !incoming.remote_address_validated() {
            // It may always retry once; what it has been told is remembered by the client alone.
            let _ = incoming.retry();
            continue;
        }
        match hall.enter(Transport::Quic).and_then(|seat| seat.taken_by(client)) {
            Some(seat) => {
                drop(tasks.spawn_local(serve(incoming, Asker { client, transport: Transport::Quic }, seat)))
            }
            None => incoming.refuse(),
        }
    }
    endpoint.close(NO_ERROR, b"");
    endpoint.wait_idle().await;
}

fn open(socket: UdpSocket, hall: &Hall, secure: &Secure) -> Result<Endpoint, String> {
    let tls = secure.config(b"doq").ok_or("no TLS")?;
    let tls = QuicServerConfig::try_from(tls).map_err(|why| why.to_string())?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_OCTETS_MAX)
        .datagram_receive_buffer_size(None)
        // Both sides agree on the lower of theirs. An idle time that is too long for QUIC is none.
        .max_idle_timeout(hall.limits.tcp_idle.try_into().ok());
    config.transport_config(Arc::new(transport));
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))
        .map_err(|why| why.to_string())
}

async fn serve(incoming: Incoming, asker: Asker, seat: Seat) {
    if converse(incoming, asker, &seat.hall).await.is_err() {
        seat.broken();
    }
}

async fn converse(incoming: Incoming, asker: Asker, hall: &Rc<Hall>) -> Result<(), Broken> {
    let connection = match timeout(HANDSHAKE_MAX, incoming).await {
        Ok(Ok(connection)) => connection,
        _ => return Err(Broken),
    };
    let queries = TaskTracker::new();
    loop {
        // Pings are no reason to stay; queries are.
        let deadline = Instant::now() + hall.limits.tcp_idle;
        let next = timeout_at(deadline, connection.accept_bi());
        match hall.stop.run_until_cancelled(next).await {
            Some(Ok(Ok((send, receive)))) => {
                let (connection, hall) = (connection.clone(), Rc::clone(hall));
                queries.spawn_local(async move {
                    if serve_stream(send, receive, &asker, &hall).await.is_err() {
                        connection.close(PROTOCOL_ERROR, b"");
                    }
                });
            }
            // Closed by either side, and not in the way it should be.
            Some(Ok(Err(error))) => {
                return if is_farewell(&error, &connection) { Ok(()) } else { Err(Broken) };
            }
            // Idle for too long, or we are to stop.
            _ => break,
        }
    }
    queries.close();
    let _ = timeout(hall.limits.tcp_idle, queries.wait()).await;
    connection.close(NO_ERROR, b"");
    Ok(())
}

/// Whether a connection ended as it may.
fn is_farewell(error: &quinn::ConnectionError, connection: &Connection) -> bool {
    use quinn::ConnectionError::*;
    match error {
        ApplicationClosed(_) | ConnectionClosed(_) | TimedOut | Reset => true,
        // By us: only for a breach of the protocol while the connection is served.
        LocallyClosed => connection.close_reason().is_none(),
        _ => false,
    }
}

/// Answers the query on a stream; fails if it is not as RFC 9250 wants it.
async fn serve_stream(
    mut send: SendStream,
    mut receive: RecvStream,
    asker: &Asker,
    hall: &Hall,
) -> Result<(), Broken> {
    let patience = hall.limits.tcp_idle;
    let framed = match timeout(patience, receive.read_to_end(2 + QUERY_OCTETS_MAX)).await {
        Ok(Ok(framed)) => framed,
        Ok(Err(ReadToEndError::TooLong)) => return Err(Broken),
        // Cancelled by the client, or the connection is gone.
        Ok(Err(ReadToEndError::Read(_))) => return Ok(()),
        Err(_) => {
            let _ = send.reset(NO_ERROR);
            return Ok(());
        }
    };
    let query = message(&framed).ok_or(Broken)?;
    let frame = |answer: &[u8]| [&(answer.len() as u16).to_be_bytes()[..], answer].concat();
    let answer = hall.answer(query, asker, frame).ok_or(Broken)?;
    // A client that does not want it any more, or takes too long to take it, does without.
    if let Ok(Ok(())) = timeout(patience, send.write_all(&answer)).await {
        let _ = send.finish();
    }
    Ok(())
}

/// The message on a stream: alone, with the length before it, with id 0 (RFC 9250 §4.2, §4.2.1).
fn message(framed: &[u8]) -> Option<&[u8]> {
    let (len, message) = framed.split_first_chunk()?;
    let is_whole = usize::from(u16::from_be_bytes(*len)) == message.len();
    (is_whole && message.starts_with(&[0, 0]) && !asks_for_keepalive(message)).then_some(message)
}

/// The option that has no place here (RFC 9250 §5.5.2): QUIC has idle times of its own.
fn asks_for_keepalive(message: &[u8]) -> bool {
    matches!(Query::read(message), Ok(Query { edns: Some(edns), .. }) if edns.options.keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Name, RecordType, ask};

    fn framed(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u16).to_be_bytes()[..], message].concat()
    }

    #[test]
    fn takes_one_message_with_id_zero() {
        let query = |id, edns| ask(id, &Name::parse("a.example").unwrap(), RecordType::A, edns);
        let good = framed(&query(0, Some(1232)));
        assert_eq!(message(&good), Some(&good[2..]));
        assert_eq!(message(&framed(&query(1, None))), None);
        assert_eq!(message(&good[..good.len() - 1]), None);
        assert_eq!(message(&[&good[..], b"x"].concat()), None);
        assert_eq!(message(&[0]), None);
    }

    #[test]
    fn keepalive_has_no_place_here() {
        let query = ask(0, &Name::parse("a.example").unwrap(), RecordType::A, Some(1232));
        let with = |options: &[u8]| {
            let mut query = query.clone();
            let end = query.len();
            query[end - 1] = options.len() as u8;
            framed(&[&query[..], options].concat())
        };
        assert!(message(&with(&[0, 10, 0, 2, 1, 2])).is_some());
        assert!(message(&with(&[0, 11, 0, 0])).is_none());
        assert!(message(&with(&[0, 12, 0, 1, 0, 0, 11, 0, 0])).is_none());
    }
}
