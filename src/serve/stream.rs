//! DNS over a stream of octets (RFC 7766), plain or within TLS: messages with their length
//! before them.
//!
//! A connection holds one read's worth of queries and their answers; while a client does not
//! read those, nothing more is taken from it, and if that lasts it is dropped. A client that
//! closes its side still gets what it asked for before.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::hall::{Broken, Hall, QUERY_OCTETS_MAX};
use crate::dns::Asker;
use crate::wire::HEADER_OCTETS;

/// Queries are read in pieces of this size.
const READ_OCTETS: usize = 2048;
/// Answers to queries that came together are written together, up to this many octets.
const WRITE_OCTETS: usize = 16 * 1024;

/// Answers queries as they come, until the client leaves or is idle for too long.
pub(super) async fn converse(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    asker: Asker,
    hall: &Hall,
) -> Result<(), Broken> {
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let idle = hall.limits.tcp_idle;
    loop {
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
        let mut taken = 0;
        while let Some(query) = whole(&input[taken..])? {
            taken += 2 + query.len();
            let append = |answer: &[u8]| {
                output.extend((answer.len() as u16).to_be_bytes());
                output.extend_from_slice(answer);
            };
            // What gets no answer is no query: whoever sent it does not speak DNS.
            hall.answer(query, &asker, append).ok_or(Broken)?;
            if output.len() >= WRITE_OCTETS {
                write(stream, &mut output, idle).await?;
            }
        }
        input.drain(..taken);
        write(stream, &mut output, idle).await?;
        // A connection that waits holds no more than it needs.
        output = Vec::new();
        input.shrink_to(0);
    }
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    output: &mut Vec<u8>,
    patience: Duration,
) -> Result<(), Broken> {
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
