//! Counts what an HTTP/2 peer makes us read.
//!
//! `h2` bounds resets, CONTINUATION and empty DATA frames, but answers PING and SETTINGS without limit. This wrapper
//! reads the frame headers (RFC 9113 §4.1) that pass by and fails the connection of a peer that sends more of them
//! than any honest one would. It also notes that bytes arrived at all, for the heartbeat.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Control frames a second that a peer may keep up.
const RATE: f64 = 10.0;
/// Control frames that it may send at once.
const BURST: f64 = 100.0;

/// RFC 9113 §6: the types that carry a stream's own traffic. All others are control frames, and unknown types too.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// What a client sends before its first frame (RFC 9113 §3.4).
pub const CLIENT_PREFACE_LENGTH: usize = 24;

/// Bytes read so far; shared with whoever must know whether the peer is alive.
#[derive(Clone, Debug, Default)]
pub struct BytesRead(Arc<AtomicU64>);

impl BytesRead {
    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A transport whose incoming HTTP/2 frames are counted.
#[derive(Debug)]
pub struct MeteredIo<T> {
    inner: T,
    bytes_read: BytesRead,
    frames: FrameReader,
    budget: Budget,
}

impl<T> MeteredIo<T> {
    /// Wraps `inner`, whose first `preface` incoming bytes are no frames.
    pub fn new(inner: T, preface: usize) -> Self {
        Self {
            inner,
            bytes_read: BytesRead::default(),
            frames: FrameReader::new(preface),
            budget: Budget { tokens: BURST, updated: Instant::now() },
        }
    }

    /// The count of bytes read.
    pub fn bytes_read(&self) -> BytesRead {
        self.bytes_read.clone()
    }
}

/// Finds frame headers in a stream of bytes.
#[derive(Debug)]
pub struct FrameReader {
    skip: usize,
    header: [u8; 9],
    header_length: usize,
}

impl FrameReader {
    /// Reads a stream whose first `preface` bytes are no frames.
    pub fn new(preface: usize) -> Self {
        Self { skip: preface, header: [0; 9], header_length: 0 }
    }

    /// Consumes `bytes` and returns how many control frames began in them.
    pub fn count_control_frames(&mut self, mut bytes: &[u8]) -> u32 {
        let mut count = 0;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes.advance(skipped);
                continue;
            }
            let Some(missing) = self.header.get_mut(self.header_length..) else { return count };
            let taken = missing.len().min(bytes.len());
            for (place, byte) in missing.iter_mut().zip(bytes) {
                *place = *byte;
            }
            bytes.advance(taken);
            self.header_length += taken;
            if self.header_length == self.header.len() {
                self.header_length = 0;
                let [high, middle, low, kind, ..] = self.header;
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                count += u32::from(!matches!(kind, DATA | HEADERS | RST_STREAM | WINDOW_UPDATE | CONTINUATION));
            }
        }
        count
    }
}

/// A token bucket.
#[derive(Debug)]
struct Budget {
    tokens: f64,
    updated: Instant,
}

impl Budget {
    fn spend(&mut self, count: u32, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.updated = now;
        self.tokens = (self.tokens + elapsed * RATE).min(BURST) - f64::from(count);
        self.tokens >= 0.0
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for MeteredIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, out))?;
        let this = &mut *self;
        let new = out.filled().get(before..).unwrap_or_default();
        this.bytes_read.0.fetch_add(u64::try_from(new.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let count = this.frames.count_control_frames(new);
        if count > 0 && !this.budget.spend(count, Instant::now()) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too many HTTP/2 control frames")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for MeteredIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![(payload >> 16) as u8, (payload >> 8) as u8, payload as u8, kind, 0, 0, 0, 0, 0];
        bytes.resize(9 + payload, 6);
        bytes
    }

    #[test]
    fn control_frames_are_found_however_the_bytes_are_cut() {
        let stream: Vec<u8> =
            [vec![1; 24], frame(4, 18), frame(DATA, 70_000), frame(6, 8), frame(HEADERS, 3), frame(200, 0)].concat();
        for piece in [1, 2, 7, 9, 10, 33, stream.len()] {
            let mut reader = FrameReader::new(CLIENT_PREFACE_LENGTH);
            let count: u32 = stream.chunks(piece).map(|bytes| reader.count_control_frames(bytes)).sum();
            assert_eq!(count, 3, "in pieces of {piece}");
        }
    }

    #[test]
    fn the_budget_refills_with_time() {
        let start = Instant::now();
        let mut budget = Budget { tokens: BURST, updated: start };
        assert!(budget.spend(100, start));
        assert!(!budget.spend(1, start));
        assert!(budget.spend(9, start + Duration::from_secs(1)));
    }
}
