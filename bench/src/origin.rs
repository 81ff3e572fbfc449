//! The bench's own origin: takes uploads, echoes WebSocket messages, and is a camera.
//!
//! It runs on a thread of its own, so that the load generator never waits for it inside one event loop.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, Stream, StreamExt, stream};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

pub(crate) const UPLOAD_PATH: &str = "/upload";
pub(crate) const SOCKET_PATH: &str = "/socket";
pub(crate) const CAMERA_PATH: &str = "/camera";

/// Pictures a second that a viewer is sent.
pub(crate) const FRAMES_PER_SECOND: u32 = 30;
/// A 640 × 480 camera's picture.
const PICTURE_SIZE: usize = 40_000;

const BOUNDARY: &str = "bench-frame";

/// Starts the origin and gives its port. It lives as long as the bench does.
pub(crate) fn start() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("listen as origin")?;
    let port = listener.local_addr().context("listen as origin")?.port();
    listener.set_nonblocking(true).context("listen as origin")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the origin")?;
    let serve = move || {
        if let Err(error) = runtime.block_on(serve(listener)) {
            eprintln!("the bench's origin stopped: {error:#}");
        }
    };
    thread::Builder::new().name("origin".to_owned()).spawn(serve).context("start the origin")?;
    Ok(port)
}

/// Nanoseconds on a clock that the origin and the load generator share.
pub(crate) fn clock() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// One part of the camera's stream. All are of one length, so a reader needs to count only.
pub(crate) fn camera_part(stamp: u64) -> Bytes {
    let mut part = BytesMut::with_capacity(PICTURE_SIZE + 256);
    part.extend_from_slice(
        format!(
            "--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {PICTURE_SIZE}\r\nX-Timestamp: {stamp:020}\r\n\r\n"
        )
        .as_bytes(),
    );
    part.resize(part.len() + PICTURE_SIZE, 0xd8);
    part.extend_from_slice(b"\r\n");
    part.freeze()
}

/// Reads the time at which a part was made; fails where the boundary or the header is not as sent.
pub(crate) fn camera_stamp(part: &[u8]) -> Result<u64> {
    ensure!(part.starts_with(format!("--{BOUNDARY}\r\n").as_bytes()), "a camera part does not begin with its boundary");
    let head = part.get(..256).and_then(|head| head.windows(4).position(|four| four == b"\r\n\r\n"));
    let head = String::from_utf8_lossy(part.get(..head.context("a camera part without a head")?).unwrap_or_default());
    let stamp = head.lines().find_map(|line| line.strip_prefix("X-Timestamp: ")).context("a part without its time")?;
    stamp.parse().context("read a part's time")
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn serve(listener: std::net::TcpListener) -> Result<()> {
    let listener = TcpListener::from_std(listener).context("listen as origin")?;
    loop {
        let (stream, _) = listener.accept().await.context("accept as origin")?;
        stream.set_nodelay(true).context("turn Nagle's algorithm off")?;
        tokio::spawn(serve_connection(stream));
    }
}

async fn serve_connection(stream: TcpStream) {
    let connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(512 * 1024)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .with_upgrades();
    // Viewers leave in the middle of a stream: that is how each measurement ends.
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    match request.uri().path() {
        UPLOAD_PATH => take_upload(request).await,
        SOCKET_PATH => Ok(accept_socket(request)),
        CAMERA_PATH => Ok(show_camera()),
        _ => Ok(plain(StatusCode::NOT_FOUND)),
    }
}

async fn take_upload(request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let announced = request.body().size_hint().exact();
    let mut body = request.into_body();
    let mut n_taken = 0;
    while let Some(frame) = body.frame().await {
        n_taken += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    let whole = announced.is_none_or(|length| length == n_taken);
    Ok(plain(if whole { StatusCode::CREATED } else { StatusCode::BAD_REQUEST }))
}

fn accept_socket(request: Request<Incoming>) -> Answer {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else { return plain(StatusCode::BAD_REQUEST) };
    let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if !message.is_close() && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut answer = plain(StatusCode::SWITCHING_PROTOCOLS);
    answer.headers_mut().remove(CONTENT_LENGTH);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    answer
}

fn show_camera() -> Answer {
    let frames = pictures().map(|part| Ok(Frame::data(part)));
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    let content_type = HeaderValue::from_static("multipart/x-mixed-replace; boundary=bench-frame");
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// A picture at each tick. A viewer that cannot keep up gets the next one later, as from a real camera.
fn pictures() -> impl Stream<Item = Bytes> {
    let mut interval = tokio::time::interval(Duration::from_secs(1) / FRAMES_PER_SECOND);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    stream::unfold(interval, |mut interval| async move {
        interval.tick().await;
        Some((camera_part(clock()), interval))
    })
}

fn plain(status: StatusCode) -> Answer {
    let mut answer = Response::new(Empty::new().boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camera_parts_are_of_one_length_and_carry_their_time() {
        assert_eq!(camera_part(1).len(), camera_part(u64::MAX).len());
        assert!(matches!(camera_stamp(&camera_part(42)), Ok(42)));
        assert!(camera_stamp(&camera_part(42)[1..]).is_err());
    }
}
