//! A stream that notes when the first byte comes, and stops at a limit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Clock, Close};
use crate::base::Mono;

/// What has come over a stream so far. Clones share.
#[derive(Clone, Default, Debug)]
pub struct Meter(Arc<Counts>);

#[derive(Default, Debug)]
struct Counts {
    /// Microseconds of the monotonic clock; zero: nothing has come.
    first_at: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    /// When the first byte came.
    pub fn first_at(&self) -> Option<Mono> {
        match self.0.first_at.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Mono(Duration::from_micros(micros))),
        }
    }

    /// Whether anything has come.
    pub fn heard(&self) -> bool {
        self.first_at().is_some()
    }

    /// Counts bytes; tells how many there are now.
    fn count(&self, bytes: usize) -> u64 {
        if bytes > 0 && !self.heard() {
            let micros = u64::try_from(Clock.mono().0.as_micros()).unwrap_or(u64::MAX);
            self.0.first_at.store(micros.max(1), Ordering::Relaxed);
        }
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64
    }
}

/// A stream with a [`Meter`] that fails once more than so many bytes have come.
#[derive(Debug)]
pub struct Metered<S> {
    stream: S,
    meter: Meter,
    bytes_max: u64,
    close: Close,
}

impl<S> Metered<S> {
    /// Puts a meter on a stream.
    pub fn new(stream: S, bytes_max: u64) -> (Self, Meter) {
        let meter = Meter::default();
        (Self { stream, meter: meter.clone(), bytes_max, close: Close::Gracefully }, meter)
    }

    /// The same, closed in this way. What is closed abruptly says no farewell: its FIN, or its
    /// close_notify, would cost a round of packets, and the RST overtakes them.
    #[must_use]
    pub fn closing(self, close: Close) -> Self {
        Self { close, ..self }
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Looked at before reading: an error must not come together with bytes.
        if self.meter.count(0) > self.bytes_max {
            let words = format!("more than {} bytes", self.bytes_max);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.meter.count(buf.filled().len() - before);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.close {
            Close::Gracefully => Pin::new(&mut self.stream).poll_shutdown(cx),
            Close::Abruptly => Poll::Ready(Ok(())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn stops_at_its_limit() {
        let (mut metered, meter) = Metered::new(tokio::io::repeat(7), 10_000);
        assert!(!meter.heard());
        let mut read = Vec::new();
        let error = metered.read_to_end(&mut read).await.unwrap_err();
        assert_eq!(error.to_string(), "more than 10000 bytes");
        assert!(meter.heard() && read.len() <= 20_000);
    }
}
