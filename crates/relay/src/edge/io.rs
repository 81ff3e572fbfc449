//! A visitor's connection, with what it may cost.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tunnel::pooled_io::PooledIo;

use super::head_guard::HeadGuard;
use super::limits::ConnectionGuard;

/// A visitor who takes no byte for this long has gone, or holds a connection open on purpose.
const WRITE_STALL_LIMIT: Duration = Duration::from_secs(60);

/// The transport of a visitor or agent.
pub struct EdgeIo {
    stream: Stream,
    heads: Option<Arc<Mutex<HeadGuard>>>,
    write_stall: Option<Pin<Box<Sleep>>>,
    _guard: ConnectionGuard,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<PooledIo<TcpStream>>>),
}

impl EdgeIo {
    pub(super) fn plain(stream: TcpStream, guard: ConnectionGuard) -> Self {
        Self { stream: Stream::Plain(stream), heads: None, write_stall: None, _guard: guard }
    }

    pub(super) fn tls(stream: TlsStream<PooledIo<TcpStream>>, guard: ConnectionGuard) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), heads: None, write_stall: None, _guard: guard }
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
        let stall = self
            .write_stall
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_STALL_LIMIT)));
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
            heads.lock().handle_bytes(&out.filled()[before..]);
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
        let outcome = stream!(self, stream => stream.poll_shutdown(cx));
        self.check_stall(cx, outcome)
    }
}
