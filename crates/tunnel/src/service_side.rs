//! The service's end of a link: an HTTP/2 client on a connection that the agent dialled.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::frame_meter::MeteredIo;
use crate::heartbeat::{Heartbeat, Look};
use crate::window::{self, WindowPolicy};

/// Past this stream id the agent is asked to connect anew. Ids end at 2^31 (RFC 9113 §5.1.1), so that half of them are
/// left for the requests that come meanwhile.
pub const LAST_STREAM_ID: u32 = 1 << 30;

/// Why a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// The agent closed the connection, or it broke.
    Closed,
    /// Nothing came from the agent for too long.
    Silent,
    /// The agent broke the protocol.
    Protocol,
    /// The service closed it.
    ClosedHere,
}

/// Makes requests over a link. Cheap to clone.
#[derive(Clone)]
pub struct LinkClient {
    send: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

/// Told by a [`LinkDriver`] what happens on its link.
pub trait LinkObserver: Send + 'static {
    /// A PING was answered after `round_trip`.
    fn round_trip(&mut self, round_trip: Duration);
    /// Stream ids are running out: the agent must connect anew.
    fn exhausted(&mut self);
}

#[derive(Debug, Default)]
struct Shared {
    streams: AtomicUsize,
    streams_changed: Notify,
    highest_stream_id: AtomicU32,
    finish: CancellationToken,
    close: CancellationToken,
}

/// Counts an open stream of a link until it is dropped.
#[derive(Debug)]
pub struct StreamGuard(Arc<Shared>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.streams_changed.notify_one();
        }
    }
}

/// A request under way: its response to wait for, and where its body goes.
pub struct OpenStream {
    /// Resolves to the response's head and the stream of its body.
    pub response: ResponseFuture,
    /// Takes the request's body, if it was not said to be empty.
    pub body: SendStream<Bytes>,
    /// Keep until the response's body has ended.
    pub guard: StreamGuard,
}

impl LinkClient {
    /// Starts the HTTP/2 client on an upgraded connection. The returned driver must be polled for anything to happen.
    /// Past `last_stream_id`, [`LAST_STREAM_ID`] outside of tests, the observer is told that ids run out.
    ///
    /// # Errors
    /// If the connection broke already.
    pub async fn start<T, O>(io: T, last_stream_id: u32, observer: O) -> Result<(Self, LinkDriver<T, O>), h2::Error>
    where
        T: AsyncRead + AsyncWrite + Unpin,
        O: LinkObserver,
    {
        let io = MeteredIo::new(io, 0);
        let bytes_read = io.bytes_read();
        let (send, mut connection) = h2::client::Builder::new()
            .initial_window_size(window::MAX_STREAM_WINDOW)
            .initial_connection_window_size(window::CONNECTION_WINDOW)
            .max_frame_size(window::MAX_FRAME)
            .max_header_list_size(window::MAX_HEADER_LIST)
            .max_send_buffer_size(window::SEND_BUFFER)
            .enable_push(false)
            .handshake(io)
            .await?;
        let ping_pong = connection.ping_pong().expect("nobody took the ping handle of a new connection");
        let shared = Arc::new(Shared::default());
        let client = Self { send, shared: Arc::clone(&shared) };
        let driver = LinkDriver {
            connection,
            heartbeat: Heartbeat::new(ping_pong, bytes_read),
            policy: WindowPolicy::default(),
            pending_window: None,
            last_stream_id,
            exhausted: false,
            shared,
            observer,
        };
        Ok((client, driver))
    }

    /// Sends a request's head, as soon as the agent allows another stream.
    ///
    /// # Errors
    /// If the link has ended.
    pub async fn open(&self, request: Request<()>, body_is_empty: bool) -> Result<OpenStream, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (response, body) = send.send_request(request, body_is_empty)?;
        self.shared.streams.fetch_add(1, Ordering::AcqRel);
        self.shared.highest_stream_id.fetch_max(body.stream_id().as_u32(), Ordering::Relaxed);
        self.shared.streams_changed.notify_one();
        Ok(OpenStream { response, body, guard: StreamGuard(Arc::clone(&self.shared)) })
    }

    /// Streams open now.
    pub fn open_streams(&self) -> usize {
        self.shared.streams.load(Ordering::Acquire)
    }

    /// Closes the link once its open streams have ended.
    pub fn close_when_idle(&self) {
        self.shared.finish.cancel();
    }

    /// Closes the link at once; open streams break.
    pub fn close(&self) {
        self.shared.close.cancel();
    }

    /// Whether the link still carries requests.
    pub fn is_closed(&self) -> bool {
        self.shared.close.is_cancelled()
    }
}

/// Moves the bytes of a link.
pub struct LinkDriver<T, O> {
    connection: Connection<MeteredIo<T>, Bytes>,
    heartbeat: Heartbeat,
    policy: WindowPolicy,
    pending_window: Option<u32>,
    last_stream_id: u32,
    exhausted: bool,
    shared: Arc<Shared>,
    observer: O,
}

impl<T, O> LinkDriver<T, O>
where
    T: AsyncRead + AsyncWrite + Unpin,
    O: LinkObserver,
{
    /// Runs until the link ends.
    pub async fn run(mut self) -> LinkEnd {
        let shared = Arc::clone(&self.shared);
        let end = {
            let mut closed = std::pin::pin!(shared.close.cancelled());
            let mut finished = std::pin::pin!(shared.finish.cancelled());
            let mut changed = std::pin::pin!(shared.streams_changed.notified());
            std::future::poll_fn(|cx| {
                if closed.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(LinkEnd::ClosedHere);
                }
                let finishing = finished.as_mut().poll(cx).is_ready();
                while changed.as_mut().poll(cx).is_ready() {
                    changed.set(shared.streams_changed.notified());
                    let streams = shared.streams.load(Ordering::Acquire);
                    self.pending_window = self.policy.handle_streams(streams).or(self.pending_window);
                }
                if finishing && shared.streams.load(Ordering::Acquire) == 0 {
                    return Poll::Ready(LinkEnd::ClosedHere);
                }
                self.poll_once(cx)
            })
            .await
        };
        shared.close.cancel();
        end
    }

    fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        self.announce_window();
        if let Poll::Ready(outcome) = Pin::new(&mut self.connection).poll(cx) {
            return Poll::Ready(match outcome {
                Err(error) if error.is_io() || (error.is_go_away() && error.is_remote()) => LinkEnd::Closed,
                Err(_) => LinkEnd::Protocol,
                Ok(()) => LinkEnd::Closed,
            });
        }
        if let Some(round_trip) = self.heartbeat.poll_round_trip(cx) {
            self.observer.round_trip(round_trip);
        }
        while let Poll::Ready(look) = self.heartbeat.poll_look(cx) {
            if look == Look::Dead {
                return Poll::Ready(LinkEnd::Silent);
            }
            let streams = self.shared.streams.load(Ordering::Acquire);
            self.pending_window = self.policy.handle_tick(streams).or(self.pending_window);
            self.announce_window();
            if !self.exhausted && self.shared.highest_stream_id.load(Ordering::Relaxed) >= self.last_stream_id {
                self.exhausted = true;
                self.observer.exhausted();
            }
        }
        Poll::Pending
    }

    /// Announces a changed window. While an earlier announcement is unanswered it fails, and is tried again at the
    /// next poll, which the answer causes.
    fn announce_window(&mut self) {
        if let Some(window) = self.pending_window
            && self.connection.set_initial_window_size(window).is_ok()
        {
            self.pending_window = None;
        }
    }
}

/// Splits a response into its head, ready to be passed on, and the stream of its body.
pub fn into_head(response: Response<RecvStream>) -> (Response<()>, RecvStream) {
    let (parts, stream) = response.into_parts();
    (Response::from_parts(parts, ()), stream)
}
