//! Large reads without large idle buffers.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// rustls asks its transport for 4 KiB at a time, which costs a system call each; 64 KiB steps cost about half the CPU.
const BUFFER_SIZE: usize = 64 * 1024;
/// Buffers that a thread keeps for reuse. Few, because a connection gives its buffer back as soon as it is drained.
const BUFFERS_PER_THREAD: usize = 8;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn take_buffer() -> Box<[u8]> {
    POOL.with(|pool| pool.borrow_mut().pop()).unwrap_or_else(|| vec![0; BUFFER_SIZE].into_boxed_slice())
}

fn give_back(buffer: Box<[u8]>) {
    POOL.with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < BUFFERS_PER_THREAD {
            pool.push(buffer);
        }
    });
}

/// Reads ahead from `inner` in 64 KiB steps, borrowing the buffer from a pool only while bytes wait in it, so that ten
/// thousand idle connections cost nothing. Writes pass through.
#[derive(Debug)]
pub struct PooledIo<T> {
    inner: T,
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl<T> PooledIo<T> {
    /// Wraps `inner`.
    pub fn new(inner: T) -> Self {
        Self { inner, buffer: None, start: 0, end: 0 }
    }

    /// The wrapped transport.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for PooledIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.buffer.is_none() {
            if out.remaining() >= BUFFER_SIZE {
                return Pin::new(&mut this.inner).poll_read(cx, out);
            }
            let mut buffer = take_buffer();
            let mut read = ReadBuf::new(&mut buffer);
            let outcome = Pin::new(&mut this.inner).poll_read(cx, &mut read);
            let filled = read.filled().len();
            if !matches!(outcome, Poll::Ready(Ok(()))) || filled == 0 {
                give_back(buffer);
                return outcome;
            }
            (this.start, this.end) = (0, filled);
            this.buffer = Some(buffer);
        }
        let Some(buffer) = this.buffer.as_deref() else { return Poll::Ready(Ok(())) };
        let unread = buffer.get(this.start..this.end).unwrap_or_default();
        let read = unread.get(..out.remaining()).unwrap_or(unread);
        out.put_slice(read);
        this.start += read.len();
        if this.start == this.end
            && let Some(buffer) = this.buffer.take()
        {
            give_back(buffer);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for PooledIo<T> {
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
        ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn bytes_arrive_in_order_and_the_buffer_goes_back() {
        let data: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let mut io = PooledIo::new(io::Cursor::new(data.clone()));
        let mut read = Vec::new();
        let mut small = [0u8; 777];
        loop {
            let length = io.read(&mut small).await.expect("cursors do not fail");
            if length == 0 {
                break;
            }
            read.extend_from_slice(&small[..length]);
        }
        assert_eq!(read, data);
        assert!(io.buffer.is_none());
    }
}
