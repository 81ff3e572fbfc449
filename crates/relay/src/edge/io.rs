//! A visitor's connection, with what it may cost.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tunnel::pooled_io::PooledIo;

use super::head_guard::HeadGuard;
use super::limits::ConnectionGuard;

/// A connection that is closed while its visitor still sends is read on for this long, and this many bytes: to close it
/// at once would answer with a reset, which takes the response from a visitor who has not read it yet (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
const MAX_LINGER: usize = 1024 * 1024;

/// The transport of a visitor or agent.
pub struct EdgeIo {
    stream: Stream,
    heads: Option<Arc<Mutex<HeadGuard>>>,
    write_stall_limit: Duration,
    write_stall: Option<Pin<Box<Sleep>>>,
    ending: Ending,
    _guard: ConnectionGuard,
}

/// How far the end of a connection has come.
enum Ending {
    Open,
    /// Our side is closed; what still comes is thrown away.
    Lingering {
        until: Pin<Box<Sleep>>,
        thrown_away: usize,
    },
    Over,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<PooledIo<TcpStream>>>),
}

impl EdgeIo {
    pub(super) fn plain(stream: TcpStream, write_stall_limit: Duration, guard: ConnectionGuard) -> Self {
        Self::new(Stream::Plain(stream), write_stall_limit, guard)
    }

    pub(super) fn tls(
        stream: TlsStream<PooledIo<TcpStream>>,
        write_stall_limit: Duration,
        guard: ConnectionGuard,
    ) -> Self {
        Self::new(Stream::Tls(Box::new(stream)), write_stall_limit, guard)
    }

    fn new(stream: Stream, write_stall_limit: Duration, guard: ConnectionGuard) -> Self {
        Self { stream, heads: None, write_stall_limit, write_stall: None, ending: Ending::Open, _guard: guard }
    }

    /// Follows the heads of an HTTP/1 connection.
    pub(super) fn guard_heads(&mut self) -> Arc<Mutex<HeadGuard>> {
        Arc::clone(self.heads.get_or_insert_default())
    }

    fn check_stall<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_stall = None;
            return outcome;
        }
        let limit = self.write_stall_limit;
        let stall = self.write_stall.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        match stall.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

macro_rules! stream {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.stream {
            Stream::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for EdgeIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let outcome = stream!(self, stream => stream.poll_read(cx, out));
        if let Some(heads) = &self.heads
            && out.filled().len() > before
        {
            heads.lock().handle_bytes(out.filled().get(before..).unwrap_or_default());
        }
        outcome
    }
}

impl AsyncWrite for EdgeIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = stream!(self, stream => stream.poll_write(cx, data));
        self.check_stall(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = stream!(self, stream => stream.poll_write_vectored(cx, data));
        self.check_stall(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = stream!(self, stream => stream.poll_flush(cx));
        self.check_stall(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.ending, Ending::Open) {
            let outcome = stream!(self, stream => stream.poll_shutdown(cx));
            ready!(self.check_stall(cx, outcome))?;
            let must_linger = self.heads.as_ref().is_some_and(|heads| heads.lock().expects_more());
            self.ending = if must_linger {
                Ending::Lingering { until: Box::pin(tokio::time::sleep(LINGER)), thrown_away: 0 }
            } else {
                Ending::Over
            };
        }
        let this = &mut *self;
        let Ending::Lingering { until, thrown_away } = &mut this.ending else { return Poll::Ready(Ok(())) };
        let mut scratch = [0; 8 * 1024];
        while until.as_mut().poll(cx).is_pending() && *thrown_away < MAX_LINGER {
            let mut read = ReadBuf::new(&mut scratch);
            match stream!(this, stream => stream.poll_read(cx, &mut read)) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => *thrown_away += read.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        this.ending = Ending::Over;
        Poll::Ready(Ok(()))
    }
}
