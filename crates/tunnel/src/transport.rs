//! The transports that a tunnel's bytes may travel on, as one type.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::agent_side::PrinterStream;
use crate::websocket_io::WebSocketIo;

/// A connection after its upgrade.
pub enum RawIo<T> {
    /// The transport itself.
    Direct(T),
    /// The transport behind something that could not be taken apart.
    Boxed(Box<dyn PrinterStream>),
}

/// Both ways to carry a tunnel.
pub enum TunnelIo<T> {
    /// Its bytes as they are.
    Raw(RawIo<T>),
    /// Its bytes in the messages of a WebSocket.
    WebSocket(Box<WebSocketIo<RawIo<T>>>),
}

/// A transport of which some bytes have been read already.
pub(crate) struct WithEarlyBytes<T> {
    pub(crate) early: Bytes,
    pub(crate) io: T,
}

macro_rules! delegate {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Direct($io) => {
                let $io = Pin::new($io);
                $call
            }
            Self::Boxed($io) => {
                let $io = Pin::new($io);
                $call
            }
        }
    };
    (tunnel $self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Raw($io) => {
                let $io = Pin::new($io);
                $call
            }
            Self::WebSocket($io) => {
                let $io = Pin::new($io.as_mut());
                $call
            }
        }
    };
}

impl<T: AsyncRead + Unpin> AsyncRead for RawIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(self, io => io.poll_read(cx, out))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for RawIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, io => io.poll_write(cx, data))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, io => io.poll_write_vectored(cx, data))
    }
    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Direct(io) => io.is_write_vectored(),
            Self::Boxed(io) => io.is_write_vectored(),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, io => io.poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, io => io.poll_shutdown(cx))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for TunnelIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(tunnel self, io => io.poll_read(cx, out))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TunnelIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(tunnel self, io => io.poll_write(cx, data))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(tunnel self, io => io.poll_write_vectored(cx, data))
    }
    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Raw(io) => io.is_write_vectored(),
            Self::WebSocket(io) => io.is_write_vectored(),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(tunnel self, io => io.poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(tunnel self, io => io.poll_shutdown(cx))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WithEarlyBytes<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, out);
        }
        let length = self.early.len().min(out.remaining());
        out.put_slice(&self.early.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WithEarlyBytes<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, data)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
