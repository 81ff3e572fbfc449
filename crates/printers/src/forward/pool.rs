//! Connections to the printer, kept for the next request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tunnel::body::RecvBody;

use super::ForwardError;
use crate::connector::PrinterConnector;

/// Idle connections kept for one printer. A browser opens six to a host; more than a few of them at once is rare.
const MAX_IDLE: usize = 32;
/// Shorter than the idle limits of the servers in use (5 s and up), so that a request rarely meets a connection that
/// the printer is closing.
const MAX_IDLE_TIME: Duration = Duration::from_secs(4);
/// Large steps cost less CPU; the buffer grows to this only while a large body flows.
const MAX_BUFFER: usize = 128 * 1024;
/// Header lines of a printer's response.
const MAX_HEADERS: usize = 200;

/// Idle connections to one printer.
#[derive(Clone)]
pub(super) struct Pool {
    connector: PrinterConnector,
    idle: Arc<Mutex<Vec<Idle>>>,
}

struct Idle {
    send: SendRequest<RecvBody>,
    since: Instant,
}

impl Pool {
    pub(super) fn new(connector: PrinterConnector) -> Self {
        Self { connector, idle: Arc::default() }
    }

    /// Sends a request on an idle connection, or on a new one.
    ///
    /// A request is repeated only where it is certain that no byte of it left: a printer must not get a command twice.
    pub(super) async fn send(&self, mut request: Request<RecvBody>) -> Result<Response<PooledBody>, ForwardError> {
        while let Some(mut send) = self.take() {
            match send.try_send_request(request).await {
                Ok(response) => return Ok(self.pooled(response, send)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut send = self.connect().await?;
        let response = send.send_request(request).await?;
        Ok(self.pooled(response, send))
    }

    async fn connect(&self) -> Result<SendRequest<RecvBody>, ForwardError> {
        let connection = self.connector.connect().await?;
        let (send, driver) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(connection.io))
            .await?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to the printer ended");
            }
        });
        Ok(send)
    }

    fn take(&self) -> Option<SendRequest<RecvBody>> {
        let mut idle = self.idle.lock();
        while let Some(candidate) = idle.pop() {
            if candidate.since.elapsed() > MAX_IDLE_TIME {
                // The last one is the youngest: all below it are older still.
                idle.clear();
            } else if candidate.send.is_ready() {
                return Some(candidate.send);
            }
        }
        None
    }

    fn pooled(&self, response: Response<Incoming>, send: SendRequest<RecvBody>) -> Response<PooledBody> {
        response.map(|body| PooledBody { body, send: Some(send), idle: Arc::clone(&self.idle) })
    }
}

/// A response's body, which gives its connection back when it has been read to the end.
pub struct PooledBody {
    body: Incoming,
    send: Option<SendRequest<RecvBody>>,
    idle: Arc<Mutex<Vec<Idle>>>,
}

impl PooledBody {
    /// A body whose connection is not for another request.
    pub(super) fn unpooled(body: Incoming) -> Self {
        Self { body, send: None, idle: Arc::default() }
    }

    fn give_back(&mut self) {
        let Some(send) = self.send.take() else { return };
        if send.is_closed() {
            return;
        }
        let mut idle = self.idle.lock();
        let now = Instant::now();
        idle.retain(|kept| now.duration_since(kept.since) <= MAX_IDLE_TIME);
        if idle.len() < MAX_IDLE {
            idle.push(Idle { send, since: now });
        }
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.give_back(),
            Some(Ok(_)) if self.body.is_end_stream() => self.give_back(),
            Some(_) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for PooledBody {
    fn drop(&mut self) {
        // A body without bytes is never polled.
        if self.body.is_end_stream() {
            self.give_back();
        }
    }
}
