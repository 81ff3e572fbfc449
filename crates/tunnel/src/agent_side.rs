//! The agent's end of a link: an HTTP/2 server on the connection that it dialled itself.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, header};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::body::{RecvBody, send_body};
use crate::frame_meter::{CLIENT_PREFACE_LENGTH, MeteredIo};
use crate::heartbeat::{Heartbeat, Look};
use crate::stream_io::StreamIo;
use crate::window::{self, WindowPolicy};

/// Bytes in flight in each direction of an upgraded stream.
const COPY_BUFFER: usize = 32 * 1024;

/// The service's first bytes come right behind its 101. Pings begin only after them.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A bidirectional byte stream to the printer.
pub trait PrinterStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> PrinterStream for T {}

/// What a handler answers.
pub enum Answer<B> {
    /// A response.
    Response(Response<B>),
    /// The printer switched protocols: the head to send, and the stream to join with the visitor's.
    Upgraded(Response<()>, Box<dyn PrinterStream>),
}

/// Turns a request of the service into the printer's answer.
pub trait PrinterHandler: Send + Sync + 'static {
    /// Body of its responses.
    type Body: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send;

    /// Answers one request. The future is dropped when the visitor has gone. A WebSocket opening carries
    /// [`h2::ext::Protocol`] in its extensions.
    fn call(&self, request: Request<RecvBody>) -> BoxFuture<'static, Answer<Self::Body>>;
}

/// Why a link ended, seen from the agent.
#[derive(Debug, thiserror::Error)]
pub enum ServeEnd {
    /// The service closed the connection in order.
    #[error("the service closed the link")]
    Closed,
    /// Nothing came from the service for too long.
    #[error("the service has been silent for too long")]
    Silent,
    /// The agent is shutting down.
    #[error("the agent is shutting down")]
    ShutDown,
    /// The connection broke.
    #[error("the link broke")]
    Broken(#[source] h2::Error),
}

/// Counts an open stream until it is dropped.
struct StreamGuard(Arc<AtomicUsize>);

impl StreamGuard {
    fn new(open_streams: &Arc<AtomicUsize>) -> Self {
        open_streams.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(open_streams))
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Serves requests on `io` until the link ends. When `shutdown` is cancelled, open streams may finish first.
pub async fn serve<T, H>(io: T, handler: Arc<H>, shutdown: CancellationToken) -> ServeEnd
where
    T: AsyncRead + AsyncWrite + Unpin,
    H: PrinterHandler,
{
    let io = MeteredIo::new(io, CLIENT_PREFACE_LENGTH);
    let bytes_read = io.bytes_read();
    let handshake = h2::server::Builder::new()
        .initial_window_size(window::MAX_STREAM_WINDOW)
        .initial_connection_window_size(window::CONNECTION_WINDOW)
        .max_concurrent_streams(window::MAX_STREAMS)
        .max_frame_size(window::MAX_FRAME)
        .max_header_list_size(window::MAX_HEADER_LIST)
        .max_send_buffer_size(window::SEND_BUFFER)
        .enable_connect_protocol()
        .handshake(io);
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(HANDSHAKE_LIMIT, handshake) => handshake,
        () = shutdown.cancelled() => return ServeEnd::ShutDown,
    };
    let mut connection = match handshake {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return ServeEnd::Broken(error),
        Err(_) => return ServeEnd::Silent,
    };
    let ping_pong = connection.ping_pong().expect("nobody took the ping handle of a new connection");
    let mut heartbeat = Heartbeat::new(ping_pong, bytes_read);
    let open_streams = Arc::new(AtomicUsize::new(0));
    let mut policy = WindowPolicy::default();
    let mut pending_window = None;
    let mut shutting_down = false;
    let mut shutdown_asked = std::pin::pin!(shutdown.cancelled());
    std::future::poll_fn(|cx| {
        loop {
            if !shutting_down && shutdown_asked.as_mut().poll(cx).is_ready() {
                shutting_down = true;
                connection.graceful_shutdown();
            }
            if let Some(window) = pending_window
                && connection.set_initial_window_size(window).is_ok()
            {
                pending_window = None;
            }
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let guard = StreamGuard::new(&open_streams);
                    let open = open_streams.load(Ordering::Acquire);
                    pending_window = policy.handle_streams(open).or(pending_window);
                    let handler = Arc::clone(&handler);
                    let answering = async move {
                        answer(handler.as_ref(), request, respond).await;
                        drop(guard);
                    };
                    tokio::spawn(answering.in_current_span());
                    continue;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(ServeEnd::Broken(error)),
                Poll::Ready(None) if shutting_down => return Poll::Ready(ServeEnd::ShutDown),
                Poll::Ready(None) => return Poll::Ready(ServeEnd::Closed),
                Poll::Pending => {}
            }
            let _ = heartbeat.poll_round_trip(cx);
            match heartbeat.poll_look(cx) {
                Poll::Ready(Look::Dead) => return Poll::Ready(ServeEnd::Silent),
                Poll::Ready(Look::Alive) => {
                    let open = open_streams.load(Ordering::Acquire);
                    pending_window = policy.handle_tick(open).or(pending_window);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

async fn answer<H: PrinterHandler>(handler: &H, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, stream) = request.into_parts();
    if parts.extensions.get::<h2::ext::Protocol>().is_none() {
        let length = content_length(&parts.headers);
        let request = Request::from_parts(parts, RecvBody::new(stream, length));
        match unless_reset(handler.call(request), &mut respond).await {
            Some(Answer::Response(response)) => send_response(response, respond).await,
            Some(Answer::Upgraded(..)) => respond.send_reset(Reason::INTERNAL_ERROR),
            None => {}
        }
        return;
    }
    let request = Request::from_parts(parts, RecvBody::empty());
    match unless_reset(handler.call(request), &mut respond).await {
        Some(Answer::Response(response)) => send_response(response, respond).await,
        Some(Answer::Upgraded(head, mut printer)) => {
            let Ok(send) = respond.send_response(head, false) else { return };
            let mut visitor = StreamIo::new(send, stream);
            let copied =
                tokio::io::copy_bidirectional_with_sizes(&mut visitor, &mut printer, COPY_BUFFER, COPY_BUFFER).await;
            if copied.is_err() {
                visitor.reset(Reason::CONNECT_ERROR);
            }
        }
        None => {}
    }
}

/// Waits for the handler, but no longer than somebody wants its answer.
async fn unless_reset<T>(answer: impl Future<Output = T>, respond: &mut SendResponse<Bytes>) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    std::future::poll_fn(|cx| {
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        answer.as_mut().poll(cx).map(Some)
    })
    .await
}

async fn send_response<B: Body<Data = Bytes>>(response: Response<B>, mut respond: SendResponse<Bytes>) {
    let (parts, body) = response.into_parts();
    let ended = body.is_end_stream();
    let Ok(mut stream) = respond.send_response(Response::from_parts(parts, ()), ended) else { return };
    if !ended {
        // A failed body has reset its stream, which tells the service all there is to tell.
        let _ = send_body(body, &mut stream).await;
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
