//! Sizes that a plan allows, and readers who do not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use model::Limits;
use parking_lot::Mutex;
use testkit::{
    Exchange, Origin, OriginBody, Protocol, RawOrigin, Rig, empty, full, raw_exchange, stream_body, wait_for_answer,
    wait_until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// The most that the plans here let through.
const LIMIT: usize = 1000;
/// Readers who do not read.
const N_STALLED: usize = 20;

fn upload_limit() -> Limits {
    Limits { max_upload_bytes: Some(LIMIT as u64), ..Limits::default() }
}

fn download_limit() -> Limits {
    Limits { max_download_bytes: Some(LIMIT as u64), ..Limits::default() }
}

#[tokio::test]
async fn an_announced_upload_over_the_limit_never_reaches_the_printer() {
    let origin = Origin::start(echo).await;
    let rig = Rig::limited(origin.address(), upload_limit()).await;
    for protocol in Protocol::ALL {
        let exchange = upload(&rig, protocol, Full::new(Bytes::from(vec![b'x'; LIMIT + 1]))).await;
        assert_eq!(exchange.status.as_u16(), 608, "{protocol:?}");
        assert!(origin.seen().is_empty());
    }
    // Not a byte of the body is waited for, and nobody is told to send it.
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        rig.app.host,
        rig.app.bearer_header(),
        1u64 << 60,
    );
    let (answer, closed) = raw_exchange(rig.service.address(), head.as_bytes(), Duration::from_secs(20)).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 608 Upload too large\r\n") && closed, "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(origin.seen().is_empty());
    for protocol in Protocol::ALL {
        let exchange = upload(&rig, protocol, Full::new(Bytes::from(vec![b'x'; LIMIT]))).await;
        assert_eq!((exchange.status.as_u16(), exchange.text().len()), (200, LIMIT), "{protocol:?}");
    }
}

#[tokio::test]
async fn an_upload_that_crosses_the_limit_is_aborted_and_never_ended() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let n_closed = Arc::new(AtomicU64::new(0));
    let (recording, closing) = (Arc::clone(&received), Arc::clone(&n_closed));
    let origin = RawOrigin::start(move |mut stream| {
        let (recording, closing) = (Arc::clone(&recording), Arc::clone(&closing));
        async move {
            let mut buffer = vec![0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                recording.lock().extend_from_slice(&buffer[..length]);
            }
            closing.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let rig = Rig::limited(origin.address(), upload_limit()).await;
    for (n, protocol) in Protocol::ALL.into_iter().enumerate() {
        let (mut pieces, body) = http_body_util::channel::Channel::<Bytes, std::io::Error>::new(1);
        let client = rig.client(protocol);
        let request = rig.request(Method::POST, "/").body(body).unwrap();
        let answered = tokio::spawn(async move { Exchange::read(client.send(request).await.unwrap()).await });
        pieces.send_data(Bytes::from(vec![b'x'; 400])).await.unwrap();
        let seen = || String::from_utf8_lossy(&received.lock()).into_owned();
        wait_until("the printer has the start", || seen().matches('x').count() >= 400).await;
        assert_eq!(n_closed.load(Ordering::SeqCst), n as u64);
        for _ in 0..2 {
            // The second may find nobody.
            let _ = pieces.send_data(Bytes::from(vec![b'x'; 400])).await;
        }
        assert_eq!(answered.await.unwrap().status.as_u16(), 608, "{protocol:?}");
        wait_until("the printer sees the end", || n_closed.load(Ordering::SeqCst) == n as u64 + 1).await;
        let seen = seen();
        let (head, body) = seen.split_once("\r\n\r\n").unwrap();
        assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
        assert!(!body.ends_with("0\r\n\r\n"), "the printer was told that the upload is whole: {body}");
        assert!(body.matches('x').count() <= LIMIT);
        received.lock().clear();
    }
}

/// One that crosses the limit before the printer was asked at all.
#[tokio::test]
async fn an_upload_that_crosses_the_limit_at_once_is_608() {
    let origin = Origin::start(echo).await;
    let rig = Rig::limited(origin.address(), upload_limit()).await;
    for protocol in Protocol::ALL {
        for _ in 0..20 {
            let exchange = upload(&rig, protocol, unknown_length(&[400, 400, 400, 400])).await;
            assert_eq!(exchange.status.as_u16(), 608, "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn an_upload_of_unknown_length_up_to_the_limit_passes() {
    let origin = Origin::start(echo).await;
    let rig = Rig::limited(origin.address(), upload_limit()).await;
    for protocol in Protocol::ALL {
        let exchange = upload(&rig, protocol, unknown_length(&[400, 400, 200])).await;
        assert_eq!((exchange.status.as_u16(), exchange.text().len()), (200, LIMIT), "{protocol:?}");
    }
}

/// A printer that answers before it has everything has decided the status; the rest breaks off.
#[tokio::test]
async fn an_upload_that_crosses_the_limit_behind_the_responses_head_breaks_off() {
    let was_aborted = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&was_aborted);
    let origin = Origin::start(move |request| {
        let noted = Arc::clone(&noted);
        async move {
            let body = request.into_body();
            let pieces = futures_util::stream::unfold(Some(body), move |body| {
                let noted = Arc::clone(&noted);
                async move {
                    let mut body = body?;
                    match body.frame().await {
                        Some(Ok(frame)) => Some((Ok(frame.into_data().unwrap()), Some(body))),
                        Some(Err(error)) => {
                            noted.store(true, Ordering::SeqCst);
                            Some((Err(std::io::Error::other(error)), None))
                        }
                        None => None,
                    }
                }
            });
            Response::new(stream_body(pieces))
        }
    })
    .await;
    let rig = Rig::limited(origin.address(), upload_limit()).await;
    for protocol in Protocol::ALL {
        was_aborted.store(false, Ordering::SeqCst);
        let (mut pieces, body) = http_body_util::channel::Channel::<Bytes, std::io::Error>::new(4);
        pieces.send_data(Bytes::from(vec![b'x'; 400])).await.unwrap();
        let response = rig.client(protocol).send(rig.request(Method::POST, "/").body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200, "{protocol:?}");
        let mut echoed = response.into_body();
        assert!(echoed.frame().await.unwrap().is_ok());
        for _ in 0..2 {
            let _ = pieces.send_data(Bytes::from(vec![b'x'; 400])).await;
        }
        let rest = tokio::time::timeout(Duration::from_secs(20), echoed.collect()).await.unwrap();
        assert!(rest.is_err(), "{protocol:?}");
        wait_until("the printer sees the abort", || was_aborted.load(Ordering::SeqCst)).await;
        drop(pieces);
    }
}

#[tokio::test]
async fn an_announced_download_over_the_limit_is_refused_and_ended_at_the_printer() {
    let origin = Origin::start(downloads).await;
    let rig = Rig::limited(origin.address(), download_limit()).await;
    for protocol in Protocol::ALL {
        for (method, path, headers, expected) in [
            (Method::GET, "/1001", &[][..], 607),
            (Method::POST, "/1001", &[], 607),
            (Method::GET, "/1000", &[], 200),
            (Method::HEAD, "/1001", &[], 200),
            (Method::GET, "/1001?status=304", &[], 304),
            (Method::GET, "/1001?status=204", &[], 204),
            // Each range counts for itself.
            (Method::GET, "/1001", &[("range", "bytes=0-999")], 206),
            (Method::GET, "/1001", &[("range", "bytes=0-1000")], 607),
            // Also errors have bodies.
            (Method::GET, "/1001?status=500", &[], 607),
        ] {
            let context = format!("{method} {path} with {headers:?} in {protocol:?}");
            let mut request = rig.request(method, path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let exchange = rig.client(protocol).exchange(request.body(Full::default()).unwrap()).await;
            assert_eq!(exchange.status.as_u16(), expected, "{context}");
            let is_ours = exchange.headers.contains_key("x-spoolway-error");
            assert_eq!(is_ours, expected == 607, "{context}");
            assert!(exchange.body.is_ok(), "{context}");
        }
    }
    wait_until("nothing is left open", || rig.service.relay().open_sessions() == 0).await;
}

#[tokio::test]
async fn a_download_that_crosses_the_limit_breaks_off() {
    let origin = Origin::start(downloads).await;
    let rig = Rig::limited(origin.address(), download_limit()).await;
    for protocol in Protocol::ALL {
        let request = rig.request(Method::GET, "/unknown-length").body(Empty::<Bytes>::new()).unwrap();
        let response = rig.client(protocol).send(request).await.unwrap();
        assert_eq!(response.status(), 200, "{protocol:?}");
        let mut body = response.into_body();
        let mut received = 0;
        loop {
            match body.frame().await {
                Some(Ok(frame)) => received += frame.into_data().unwrap().len(),
                Some(Err(_)) => break,
                None => panic!("the body ended as if it were whole in {protocol:?}"),
            }
        }
        assert!(received <= LIMIT, "{received} in {protocol:?}");
    }
    let whole = rig.get(Protocol::Http1, "/unknown-length?pieces=10", &[]).await;
    assert_eq!(whole.text().len(), LIMIT);
}

#[tokio::test]
async fn messages_of_websockets_do_not_count() {
    let origin = RawOrigin::websocket(&[], |mut socket, _| async move {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                break;
            }
        }
    })
    .await;
    let limits = Limits { max_download_bytes: Some(LIMIT as u64), ..upload_limit() };
    let rig = Rig::limited(origin.address(), limits).await;
    let authorization = rig.app.bearer_header();
    for protocol in Protocol::ALL {
        let headers = [("authorization", authorization.as_str())];
        let mut socket = rig.client(protocol).websocket(&rig.app.host, "/ws", &headers).await.ok().unwrap();
        let message = Message::binary(vec![7u8; 100 * LIMIT]);
        socket.messages.send(message.clone()).await.unwrap();
        assert_eq!(socket.next_message().await, message);
    }
}

/// Readers who do not read cost themselves only: another request on the same printer is served as ever, and what the
/// service takes from the printer for them is bounded.
#[tokio::test]
async fn stalled_downloads_do_not_hold_up_another() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let origin = Origin::start(move |request: Request<Incoming>| {
        let sent = Arc::clone(&counted);
        async move {
            if request.uri().path() == "/other" {
                return Response::new(full(vec![b'y'; 8 * 1024 * 1024]));
            }
            let piece = Bytes::from(vec![b'x'; 64 * 1024]);
            let pieces = futures_util::stream::repeat_with(move || {
                sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
                Ok(piece.clone())
            });
            Response::builder().header("content-length", 1u64 << 30).body(stream_body(pieces)).unwrap()
        }
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    let mut stalled = Vec::new();
    for _ in 0..N_STALLED {
        stalled.push(stall(&rig).await);
    }
    let mut before = u64::MAX;
    wait_for_answer("all are stalled", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let after = sent.load(Ordering::SeqCst);
        std::mem::replace(&mut before, after).eq(&after).then_some(())
    })
    .await;
    let each = before / N_STALLED as u64 / 1024;
    println!("{N_STALLED} stalled downloads took {each} KiB each from the printer");
    assert!(each < 16 * 1024, "{each} KiB each");
    for protocol in Protocol::ALL {
        let other = rig.get(protocol, "/other", &[]).await;
        assert_eq!((other.status.as_u16(), other.body.unwrap().len()), (200, 8 * 1024 * 1024), "{protocol:?}");
    }
    assert_eq!(sent.load(Ordering::SeqCst), before, "a stalled download went on");
    // One that reads again goes on where it was.
    let mut again = stalled.pop().unwrap();
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..500 {
        let length = again.read(&mut buffer).await.unwrap();
        assert!(length > 0);
    }
    wait_until("the printer sends on", || sent.load(Ordering::SeqCst) > before).await;
}

/// Asks for a download on a connection of its own, and does not read.
async fn stall(rig: &Rig) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // The kernel would take megabytes for it.
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = socket.connect(rig.service.address()).await.unwrap();
    let head =
        format!("GET /large HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\n\r\n", rig.app.host, rig.app.bearer_header());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn upload<B>(rig: &Rig, protocol: Protocol, body: B) -> Exchange
where
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let request = rig.request(Method::POST, "/").body(body).unwrap();
    Exchange::read(rig.client(protocol).send(request).await.unwrap()).await
}

fn unknown_length(sizes: &'static [usize]) -> impl http_body::Body<Data = Bytes, Error = std::io::Error> + Send {
    let pieces = sizes.iter().map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; *size]))));
    StreamBody::new(futures_util::stream::iter(pieces))
}

async fn echo(request: Request<Incoming>) -> Response<OriginBody> {
    match request.into_body().collect().await {
        Ok(body) => Response::new(full(body.to_bytes())),
        Err(_) => Response::builder().status(400).body(empty()).unwrap(),
    }
}

/// `/1001` has as many bytes, `status=` changes the status, and `/unknown-length` comes in pieces of 100 bytes.
async fn downloads(request: Request<Incoming>) -> Response<OriginBody> {
    let argument = |name: &str| {
        let query = request.uri().query().unwrap_or_default().split('&');
        query.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    if request.uri().path() == "/unknown-length" {
        let n_pieces = argument("pieces").map_or(1000, |pieces| pieces.parse().unwrap());
        let pieces = (0..n_pieces).map(|_| Ok(Bytes::from(vec![b'x'; 100])));
        return Response::new(stream_body(futures_util::stream::iter(pieces)));
    }
    let length: usize = request.uri().path()[1..].parse().unwrap();
    let status: u16 = argument("status").map_or(200, |status| status.parse().unwrap());
    let response = Response::builder().status(status);
    if request.method() == Method::HEAD || status == 304 {
        return response.header("content-length", length).body(empty()).unwrap();
    }
    if status == 204 {
        return response.body(empty()).unwrap();
    }
    let Some(range) = request.headers().get("range") else { return response.body(full(vec![b'x'; length])).unwrap() };
    let (_, last) = range.to_str().unwrap().split_once('-').unwrap();
    let last: usize = last.parse().unwrap();
    let response = response.status(206).header("content-range", format!("bytes 0-{last}/{length}"));
    response.body(full(vec![b'x'; last + 1])).unwrap()
}
