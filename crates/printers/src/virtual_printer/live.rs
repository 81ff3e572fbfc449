//! The state as it changes, over a WebSocket and as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tracing::debug;

use super::Shared;
use super::response::{ApiError, Body, empty};

/// Fast enough for a progress bar, slow enough for a phone.
const PERIOD: Duration = Duration::from_millis(250);
/// A viewer that takes no byte for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Quiet server-sent events are kept alive by a comment this often; proxies cut what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Clients have nothing to say but pings and a close.
const MAX_MESSAGE: usize = 64 * 1024;
/// tungstenite takes this much per connection at once; its default is 128 KiB.
const BUFFER: usize = 4 * 1024;

/// Hands the state on to all who follow it.
pub(super) struct Feed {
    states: watch::Sender<Utf8Bytes>,
    wake: Notify,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self { states: watch::Sender::new(Utf8Bytes::default()), wake: Notify::new() }
    }

    /// Something happened, or somebody new is following.
    pub(super) fn notify(&self) {
        self.wake.notify_one();
    }

    fn follow(&self) -> watch::Receiver<Utf8Bytes> {
        let states = self.states.subscribe();
        self.notify();
        states
    }

    /// Publishes the state whenever it changes and somebody follows it. Never returns.
    pub(super) async fn run(&self, shared: &Shared) {
        let mut last: Option<Instant> = None;
        loop {
            if self.states.receiver_count() > 0 && shared.is_moving() {
                // Whether it was woken or not, the state is due.
                let _ = timeout(PERIOD, self.wake.notified()).await;
            } else {
                self.wake.notified().await;
            }
            if let Some(last) = last {
                sleep_until(last + PERIOD).await;
            }
            let state = Utf8Bytes::from(shared.state_json());
            self.states.send_if_modified(|published| {
                let changed = *published != state;
                *published = state;
                changed
            });
            last = Some(Instant::now());
        }
    }
}

/// The state at once, and then each time it changes.
fn states(shared: Arc<Shared>) -> impl Stream<Item = Utf8Bytes> + Send {
    let following = shared.feed.follow();
    let first = Utf8Bytes::from(shared.state_json());
    stream::unfold((following, None::<Utf8Bytes>, Some(first)), |(mut following, last, first)| async move {
        if let Some(first) = first {
            return Some((first.clone(), (following, Some(first), None)));
        }
        loop {
            following.changed().await.ok()?;
            let state = following.borrow_and_update().clone();
            if last.as_ref() != Some(&state) {
                return Some((state.clone(), (following, Some(state), None)));
            }
        }
    })
}

/// Body of `GET /events`.
pub(super) fn events(shared: Arc<Shared>) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    stream::unfold(Box::pin(states(shared)), |mut states| async move {
        let text = match timeout(KEEP_ALIVE, states.next()).await {
            Ok(Some(state)) => format!("data: {state}\n\n"),
            Ok(None) => return None,
            Err(_) => ": keep-alive\n\n".to_owned(),
        };
        Some((Ok(Frame::data(Bytes::from(text))), states))
    })
}

/// Answers a WebSocket handshake and serves what follows in a task of its own.
pub(super) fn websocket(shared: &Arc<Shared>, mut request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let accept = accept_key(request.headers()).ok_or(ApiError::WebSocketOnly)?;
    let upgrade = hyper::upgrade::on(&mut request);
    let serving = Arc::clone(shared);
    shared.spawn(async move { serve(serving, upgrade).await });
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let is = |name: header::HeaderName, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    let asked = is(header::CONNECTION, "upgrade")
        && is(header::UPGRADE, "websocket")
        && is(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asked)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

async fn serve(shared: Arc<Shared>, upgrade: OnUpgrade) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            debug!(%error, "a WebSocket was not opened");
            return;
        }
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    if let Err(error) = push_states(shared, socket).await {
        debug!(%error, "a WebSocket ended");
    }
}

async fn push_states(
    shared: Arc<Shared>,
    mut socket: WebSocketStream<TokioIo<Upgraded>>,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let mut states = std::pin::pin!(states(shared));
    loop {
        // Both branches can be given up at any await: a half-read frame stays in the socket, a state in its channel.
        tokio::select! {
            state = states.next() => {
                let Some(state) = state else { return Ok(()) };
                let Ok(sent) = timeout(SEND_TIMEOUT, socket.send(Message::Text(state))).await else { return Ok(()) };
                sent?;
            }
            message = socket.next() => {
                // Pings and closes are answered by the library; there is nothing else to hear.
                let Some(message) = message else { return Ok(()) };
                message?;
            }
        }
    }
}
