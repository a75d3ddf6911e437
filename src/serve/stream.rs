//! DNS over a stream of octets (RFC 7766), plain or within TLS: messages with their length
//! before them.
//!
//! A connection holds one read's worth of queries and their answers; while a client does not
//! read those, nothing more is taken from it, and if that lasts it is dropped. A client that
//! closes its side still gets what it asked for before.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

use super::hall::{Broken, Hall, Handover, QUERY_OCTETS_MAX, Transfer};
use crate::dns::Asker;
use crate::wire::HEADER_OCTETS;

/// Queries are read in pieces of this size.
const READ_OCTETS: usize = 2048;
/// Answers to queries that came together are written together, up to this many octets.
const WRITE_OCTETS: usize = 16 * 1024;

/// Answers queries as they come, until the client leaves or is idle for too long. Zones go out
/// between the answers to other queries, so that none waits for a whole zone (RFC 7766 §6.2.1.1),
/// but not within an `outdated` TLS.
pub(super) async fn converse(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    asker: Asker,
    hall: &Rc<Hall>,
    outdated: bool,
) -> Result<(), Broken> {
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let mut transfers: VecDeque<Transfer> = VecDeque::new();
    let idle = hall.limits.tcp_idle;
    loop {
        if transfers.is_empty() {
            // Time counts until a query is whole: one that trickles in is as idle as none.
            let deadline = Instant::now() + idle;
            while whole(&input)?.is_none() {
                input.reserve(READ_OCTETS);
                let read = timeout_at(deadline, stream.read_buf(&mut input));
                match hall.stop.run_until_cancelled(read).await {
                    Some(Ok(Ok(1..))) => {}
                    // Closed, reset, idle for too long, or we are to stop.
                    _ => return Ok(()),
                }
            }
        } else if hall.stop.is_cancelled() {
            // The secondary comes again, to whoever takes over.
            return Ok(());
        } else if input.len() < READ_OCTETS {
            glance(stream, &mut input).await;
        }
        let mut taken = 0;
        while let Some(query) = whole(&input[taken..])? {
            taken += 2 + query.len();
            let append = |answer: &[u8]| push(&mut output, answer);
            match hall.transfer(query, &asker, outdated) {
                // What gets no answer is no query: whoever sent it does not speak DNS.
                None => hall.answer(query, &asker, append).ok_or(Broken)?,
                Some(Handover::Reply(message)) => push(&mut output, &message),
                Some(Handover::Stream(transfer)) => transfers.push_back(transfer),
            }
            if output.len() >= WRITE_OCTETS {
                write(stream, &mut output, idle).await?;
            }
        }
        input.drain(..taken);
        if let Some(transfer) = transfers.front_mut() {
            if let Some(message) = transfer.next() {
                push(&mut output, &message);
            } else if let Some(transfer) = transfers.pop_front() {
                transfer.completed(asker.client);
            }
            // A socket that takes all at once must not keep the thread from everybody else.
            tokio::task::yield_now().await;
        }
        write(stream, &mut output, idle).await?;
        // A connection that waits holds no more than it needs.
        output = Vec::new();
        input.shrink_to(0);
    }
}

/// Appends a message, its length before it.
fn push(output: &mut Vec<u8>, message: &[u8]) {
    output.extend((message.len() as u16).to_be_bytes());
    output.extend_from_slice(message);
}

/// Reads what is there already. If there is nothing, or nothing will come any more, the next one
/// who waits for it finds out.
async fn glance(stream: &mut (impl AsyncRead + Unpin), input: &mut Vec<u8>) {
    let mut piece = [0; READ_OCTETS];
    let mut buffer = ReadBuf::new(&mut piece);
    poll_fn(|context| {
        let _ = Pin::new(&mut *stream).poll_read(context, &mut buffer);
        Poll::Ready(())
    })
    .await;
    input.extend_from_slice(buffer.filled());
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    output: &mut Vec<u8>,
    patience: Duration,
) -> Result<(), Broken> {
    if output.is_empty() {
        return Ok(());
    }
    let writing = async {
        stream.write_all(output).await?;
        // TLS holds back what the socket did not take at once.
        stream.flush().await
    };
    let written = timeout(patience, writing).await;
    output.clear();
    match written {
        Ok(Ok(())) => Ok(()),
        // It does not read, or it is gone.
        _ => Err(Broken),
    }
}

/// The first query, if it is there as a whole; it fails if its length is one that no query has.
fn whole(input: &[u8]) -> Result<Option<&[u8]>, Broken> {
    let Some((len, rest)) = input.split_first_chunk() else { return Ok(None) };
    match usize::from(u16::from_be_bytes(*len)) {
        len @ HEADER_OCTETS..=QUERY_OCTETS_MAX => Ok(rest.get(..len)),
        _ => Err(Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_whole_queries_only() {
        let query = [&[0, 12][..], &[7; 12], &[0]].concat();
        for len in 0..14 {
            assert!(whole(&query[..len]).is_ok_and(|query| query.is_none()), "{len}");
        }
        assert!(whole(&query).is_ok_and(|query| query == Some(&[7; 12])));
        assert!(whole(&[0, 11]).is_err());
        assert!(whole(&[0x10, 1]).is_err());
        assert!(whole(&[0x10, 0]).is_ok());
    }
}
