//! How long a plan lets people watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use model::{Limits, WebcamWindow};
use testkit::{Origin, OriginBody, Protocol, Rig, TestAgent, full, stream_body, wait_until};

const STREAM: &str = "/webcam/?action=stream";
/// A stream that nothing but its response shows to be one.
const UNANNOUNCED: &str = "/camera";
const SNAPSHOT: &str = "/webcam/?action=snapshot";
/// Large enough to come in several pieces, and of no round size.
const PICTURE: usize = 100_003;

fn window(window: Duration, total: Duration) -> Limits {
    Limits { webcam_window: Some(WebcamWindow { window, total }), ..Limits::default() }
}

#[tokio::test]
async fn a_stream_is_cut_when_its_time_is_up_and_between_two_pictures() {
    let limit = Duration::from_millis(700);
    let camera = Camera::start().await;
    // Its bytes are not limited.
    let limits = Limits { webcam_stream: Some(limit), max_download_bytes: Some(1000), ..Limits::default() };
    let rig = Rig::limited(camera.origin.address(), limits).await;
    for protocol in Protocol::ALL {
        for path in [STREAM, UNANNOUNCED] {
            let started = Instant::now();
            let response = watch(&rig, protocol, path).await;
            assert_eq!(response.status(), 200);
            let (received, broke_off) = read(response).await;
            let elapsed = started.elapsed();
            assert!(broke_off, "the stream ended as if it were whole in {protocol:?}");
            let n_parts = received.len() / part().len();
            assert!(received == part().repeat(n_parts), "a picture was torn in {protocol:?}");
            assert!(elapsed >= limit && elapsed < limit + Duration::from_secs(10), "{elapsed:?} in {protocol:?}");
            assert!(n_parts >= 2, "{n_parts}");
            println!("{n_parts} pictures in {elapsed:.2?}");
        }
    }
    wait_until("the camera is let go", || camera.n_open.load(Ordering::SeqCst) == 0).await;
}

/// A camera that has stopped sending has no frame's end to wait for.
#[tokio::test]
async fn a_stream_that_stands_still_is_cut_too() {
    let origin = Origin::start(|_| async {
        use futures_util::StreamExt;
        let start = futures_util::stream::iter([Ok(Bytes::from(part()[..50].to_vec()))]);
        stream_response(stream_body(start.chain(futures_util::stream::pending())))
    })
    .await;
    let limits = Limits { webcam_stream: Some(Duration::from_millis(100)), ..Limits::default() };
    let rig = Rig::limited(origin.address(), limits).await;
    let (received, broke_off) = read(watch(&rig, Protocol::Http1, STREAM).await).await;
    assert_eq!((received.as_slice(), broke_off), (&part()[..50], true));
}

#[tokio::test]
async fn a_used_up_window_refuses_until_it_has_moved_on() {
    tokio::join!(use_up_and_wait(Protocol::Http1), use_up_and_wait(Protocol::Http2));
}

async fn use_up_and_wait(protocol: Protocol) {
    let camera = Camera::start().await;
    let rig = Rig::limited(camera.origin.address(), window(Duration::from_secs(3), Duration::from_secs(1))).await;
    let mut first = watch(&rig, protocol, STREAM).await.into_body();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1100) {
        first.frame().await.unwrap().unwrap();
    }
    for path in [STREAM, UNANNOUNCED] {
        let refused = rig.get(protocol, path, &[]).await;
        assert_eq!(refused.status.as_u16(), 609, "{path} in {protocol:?}");
    }
    // What runs, runs on.
    for _ in 0..5 {
        first.frame().await.unwrap().unwrap();
    }
    drop(first);
    wait_until("the camera is let go", || camera.n_open.load(Ordering::SeqCst) == 0).await;

    for _ in 0..20 {
        let snapshot = rig.get(protocol, SNAPSHOT, &[]).await;
        assert_eq!((snapshot.status.as_u16(), snapshot.body.unwrap().len()), (200, PICTURE));
    }
    // No stream flows in answer to a HEAD.
    let request = rig.request(Method::HEAD, UNANNOUNCED).body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(rig.client(protocol).send(request).await.unwrap().status(), 200);

    let refused = rig.get(protocol, STREAM, &[]).await;
    // A machine that was busy for as long has let the window pass.
    if refused.status.as_u16() == 609 {
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=3).contains(&seconds), "{seconds}");
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    assert_eq!(watch(&rig, protocol, STREAM).await.status(), 200, "{protocol:?}");
}

#[tokio::test]
async fn snapshots_use_nothing_up() {
    let camera = Camera::start().await;
    let rig = Rig::limited(camera.origin.address(), window(Duration::from_secs(600), Duration::from_millis(1))).await;
    for _ in 0..50 {
        assert_eq!(rig.get(Protocol::Http1, SNAPSHOT, &[]).await.status, 200);
    }
    assert_eq!(watch(&rig, Protocol::Http1, STREAM).await.status(), 200);
}

/// Limits are counted for each printer.
#[tokio::test]
async fn one_printers_window_is_not_anothers() {
    let camera = Camera::start().await;
    let rig = Rig::limited(camera.origin.address(), window(Duration::from_secs(600), Duration::from_millis(1))).await;
    crate::codes_scenes::use_up_webcam(&rig.service, &rig.app, STREAM).await;
    let (other, app) = Rig::printer_on(&rig.service, window(Duration::from_secs(600), Duration::from_millis(1))).await;
    let _agent = TestAgent::start(&rig.service, &other, camera.origin.address()).await;
    let request = app.request(Method::GET, STREAM).body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(rig.client(Protocol::Http1).send(request).await.unwrap().status(), 200);
    // Another connection to the same printer is the same printer.
    let second = rig.service.app_connection(&rig.printer.id).await;
    let request = second.request(Method::GET, STREAM).body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(rig.client(Protocol::Http1).send(request).await.unwrap().status().as_u16(), 609);
}

/// A camera that takes a picture every few milliseconds, and counts who watches.
struct Camera {
    origin: Origin,
    n_open: Arc<AtomicUsize>,
}

struct Watching(Arc<AtomicUsize>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Camera {
    async fn start() -> Self {
        let n_open = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&n_open);
        let origin = Origin::start(move |request: Request<Incoming>| {
            let counted = Arc::clone(&counted);
            async move {
                if request.uri().query() == Some("action=snapshot") {
                    let picture = full(vec![0xd8; PICTURE]);
                    return Response::builder().header("content-type", "image/jpeg").body(picture).unwrap();
                }
                if request.method() == Method::HEAD {
                    return stream_response(testkit::empty());
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let pictures = futures_util::stream::unfold(Watching(counted), |watching| async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Some((Ok(Bytes::from(part())), watching))
                });
                stream_response(stream_body(pictures))
            }
        })
        .await;
        Self { origin, n_open }
    }
}

fn stream_response(body: OriginBody) -> Response<OriginBody> {
    Response::builder().header("content-type", "multipart/x-mixed-replace;boundary=frame").body(body).unwrap()
}

fn part() -> Vec<u8> {
    let mut part = format!("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {PICTURE}\r\n\r\n").into_bytes();
    part.resize(part.len() + PICTURE, 0xd8);
    part.extend_from_slice(b"\r\n");
    part
}

async fn watch(rig: &Rig, protocol: Protocol, path: &str) -> Response<Incoming> {
    let request = rig.request(Method::GET, path).body(Empty::<Bytes>::new()).unwrap();
    rig.client(protocol).send(request).await.unwrap()
}

/// What comes, and whether it broke off.
async fn read(response: Response<Incoming>) -> (Vec<u8>, bool) {
    let mut body = response.into_body();
    let mut received = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => received.extend_from_slice(&frame.into_data().unwrap()),
            Err(_) => return (received, true),
        }
    }
    (received, false)
}
