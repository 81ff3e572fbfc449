//! Requests and responses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tunnel::agent_side::serve;
use tunnel::body::{RecvBody, SendBodyError, send_body};
use tunnel::service_side::OpenStream;

use crate::ends::{Ends, TestBody, full, pattern, pieces, printer};

#[tokio::test]
async fn a_request_and_its_response_pass_as_they_are() {
    let ends = Ends::join(printer(|request: Request<RecvBody>| async move {
        let (head, body) = request.into_parts();
        let seen =
            format!("{} {} {:?}", head.method, head.uri, head.headers.get_all("x-many").iter().collect::<Vec<_>>());
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
        Response::builder().status(418).header("x-many", "3").header("x-many", "4").body(full(seen)).unwrap()
    }))
    .await;
    let request = Request::put("http://printer/path?query")
        .header("x-many", "1")
        .header("x-many", "2")
        .header("content-length", "5")
        .body(())
        .unwrap();
    let OpenStream { response, mut body, guard } = ends.client.open(request, false).await.unwrap();
    assert_eq!(ends.client.open_streams(), 1);
    send_body(full("hello"), &mut body).await.unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 418);
    let many: Vec<_> = response.headers().get_all("x-many").iter().collect();
    assert_eq!(many, ["3", "4"]);
    let text = RecvBody::new(response.into_body(), None).collect().await.unwrap().to_bytes();
    assert_eq!(text, "PUT http://printer/path?query [\"1\", \"2\"]");
    drop(guard);
    assert_eq!(ends.client.open_streams(), 0);
}

/// An echo that answers before it has read everything.
async fn echo(request: Request<RecvBody>) -> Response<TestBody> {
    Response::new(request.into_body().map_err(Into::into).boxed_unsync())
}

#[tokio::test]
async fn large_bodies_pass_both_ways_at_once() {
    for pipe in [700, 64 * 1024] {
        let ends = Ends::join_with(printer(echo), pipe, tunnel::service_side::LAST_STREAM_ID).await;
        let sent = pattern(if pipe < 1024 { 1_000_000 } else { 8_000_000 });
        let response = ends.post("/echo", full(sent.clone())).await.unwrap();
        assert!(response.body() == &sent, "the echo differs");
    }
}

/// A peer may allow as few bytes at a time as it likes.
#[tokio::test]
async fn bodies_pass_through_the_smallest_windows() {
    let (here, there) = tokio::io::duplex(64 * 1024);
    let agent = tokio::spawn(serve(there, Arc::new(printer(echo)), Default::default()));
    let (mut client, connection) =
        h2::client::Builder::new().initial_window_size(7).handshake::<_, Bytes>(here).await.unwrap();
    let driving = tokio::spawn(connection);
    let sent = pattern(3_000);
    let (response, mut send) = client.send_request(Request::post("http://printer/").body(()).unwrap(), false).unwrap();
    let body = sent.clone();
    tokio::spawn(async move { send_body(full(body), &mut send).await.unwrap() });
    let mut stream = response.await.unwrap().into_body();
    let mut received = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        assert!(data.len() <= 7);
        received.extend_from_slice(&data);
        stream.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(received, sent);
    drop((client, driving, agent));
}

#[tokio::test]
async fn pieces_arrive_one_by_one() {
    let (send, receive) = mpsc::channel::<Bytes>(1);
    let receive = Arc::new(parking_lot::Mutex::new(Some(receive)));
    let ends = Ends::join(printer(move |_| {
        let receive = receive.lock().take().unwrap();
        async move {
            let stream = futures_util::stream::unfold(receive, |mut receive| async move {
                receive.recv().await.map(|piece| (piece, receive))
            });
            Response::new(pieces(stream))
        }
    }))
    .await;
    let mut body = ends.get("/events").await.unwrap().into_body();
    for text in ["first", "second", "third"] {
        send.send(Bytes::from_static(text.as_bytes())).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), text);
    }
    drop(send);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn trailers_pass_both_ways_without_what_they_must_not_say() {
    let ends = Ends::join(printer(|request: Request<RecvBody>| async move {
        let collected = request.into_body().collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let frames = [Frame::data(collected.to_bytes()), Frame::trailers(trailers)].map(Ok);
        Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
    }))
    .await;
    let mut trailers = HeaderMap::new();
    for name in ["x-sum", "content-length", "transfer-encoding", "connection", "host"] {
        trailers.insert(name, HeaderValue::from_static("1"));
    }
    let frames = [Frame::data(Bytes::from_static(b"body")), Frame::trailers(trailers)].map(Ok);
    let body: TestBody = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();

    let request = Request::post("http://printer/").body(()).unwrap();
    let OpenStream { response, body: mut send, guard: _guard } = ends.client.open(request, false).await.unwrap();
    send_body(body, &mut send).await.unwrap();
    let collected = RecvBody::new(response.await.unwrap().into_body(), None).collect().await.unwrap();
    let names: Vec<_> = collected.trailers().unwrap().keys().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(names, ["x-sum"]);
    assert_eq!(collected.to_bytes(), "body");
}

/// Tells when it is dropped.
struct Dropped(mpsc::Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_works_for_a_visitor_who_has_gone() {
    let (dropped, mut gone) = mpsc::channel(1);
    let ends = Ends::join(printer(move |request: Request<RecvBody>| {
        let dropped = Dropped(dropped.clone());
        async move {
            match request.uri().path() {
                "/thinking" => {
                    let _dropped = dropped;
                    std::future::pending().await
                }
                "/sending" => Response::new(pieces(futures_util::stream::repeat_with(move || {
                    let _ = &dropped;
                    Bytes::from_static(&[b'x'; 1000])
                }))),
                _ => {
                    // Silent after its head.
                    let body = futures_util::stream::poll_fn(move |_| {
                        let _ = &dropped;
                        std::task::Poll::Pending
                    });
                    Response::new(pieces(body))
                }
            }
        }
    }))
    .await;

    let request = Request::get("http://printer/thinking").body(()).unwrap();
    let stream = ends.client.open(request, true).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(stream);
    tokio::time::timeout(Duration::from_secs(1), gone.recv()).await.expect("the request is dropped");

    for path in ["/sending", "/silent"] {
        let response = ends.get(path).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(response);
        tokio::time::timeout(Duration::from_secs(1), gone.recv()).await.expect("the body is dropped");
    }
    assert_eq!(ends.client.open_streams(), 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_never_taken_for_a_whole_one() {
    let ends = Ends::join(printer(|request: Request<RecvBody>| async move {
        if request.uri().path() == "/breaks" {
            let frames = [Ok(Frame::data(Bytes::from_static(b"half"))), Err("broken".into())];
            return Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync());
        }
        let outcome = request.into_body().collect().await;
        Response::new(full(format!("{}", outcome.is_ok())))
    }))
    .await;
    // A break may overtake even the head, but never becomes an end.
    if let Ok(response) = ends.get("/breaks").await {
        assert!(response.into_body().collect().await.is_err());
    }

    // The other way, the printer's side sees the break; the visitor's own answer is the error of his body.
    let request = Request::post("http://printer/upload").body(()).unwrap();
    let OpenStream { response, mut body, .. } = ends.client.open(request, false).await.unwrap();
    let frames = [Ok(Frame::data(Bytes::from_static(b"half"))), Err("broken".into())];
    let broken: TestBody = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    assert!(matches!(send_body(broken, &mut body).await, Err(SendBodyError::Body(_))));
    assert!(response.await.is_err());
    // The link goes on.
    assert_eq!(ends.post("/upload", full("whole")).await.unwrap().body(), "true");
}

#[tokio::test]
async fn a_printer_may_answer_without_reading_the_body() {
    let ends =
        Ends::join(printer(|_| async { Response::builder().status(413).body(full("too large")).unwrap() })).await;
    let response = ends.post("/upload", full(pattern(4_000_000))).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (413, &b"too large"[..]));
    assert_eq!(ends.get("/again").await.unwrap().status(), 413);
}
