//! An HTTP/2 stream as a pair of bytes streams, for upgraded requests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes given to the stream at a time.
const WRITE_STEP: usize = 64 * 1024;

/// Both directions of an accepted extended CONNECT (RFC 8441 §5).
///
/// Dropping it before both sides ended resets the stream, so that the peer sees a break and not an orderly end.
#[derive(Debug)]
pub struct StreamIo {
    send: SendStream<Bytes>,
    recv: RecvStream,
    unread: Bytes,
    recv_ended: bool,
    send_ended: bool,
}

impl StreamIo {
    /// Joins the two halves of a stream.
    pub fn new(send: SendStream<Bytes>, recv: RecvStream) -> Self {
        Self { send, recv, unread: Bytes::new(), recv_ended: false, send_ended: false }
    }

    /// Breaks the stream off with a reason that the peer sees.
    pub fn reset(&mut self, reason: Reason) {
        self.send_ended = true;
        self.send.send_reset(reason);
    }
}

impl Drop for StreamIo {
    fn drop(&mut self) {
        if !self.send_ended {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

/// The `h2` error inside an [`io::Error`] of [`StreamIo`].
pub fn h2_error(error: &io::Error) -> Option<&h2::Error> {
    error.get_ref()?.downcast_ref()
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl AsyncRead for StreamIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.unread.is_empty() {
            if this.recv_ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(this.recv.poll_data(cx)) {
                Some(Ok(data)) => this.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => this.recv_ended = true,
            }
        }
        let length = this.unread.len().min(out.remaining());
        out.put_slice(&this.unread.split_to(length));
        this.recv.flow_control().release_capacity(length).map_err(broken)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if let Poll::Ready(reset) = this.send.poll_reset(cx) {
            let error = reset.map_or_else(broken, |reason| broken(reason.into()));
            return Poll::Ready(Err(error));
        }
        this.send.reserve_capacity(data.len().min(WRITE_STEP));
        loop {
            match ready!(this.send.poll_capacity(cx)) {
                Some(Ok(0)) => {}
                Some(Ok(granted)) => {
                    let piece = data.chunks(granted.min(WRITE_STEP)).next().unwrap_or_default();
                    let length = piece.len();
                    this.send.send_data(Bytes::copy_from_slice(piece), false).map_err(broken)?;
                    return Poll::Ready(Ok(length));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.send_ended {
            self.send_ended = true;
            self.send.send_data(Bytes::new(), true).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}
