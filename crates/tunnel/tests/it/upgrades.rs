//! Streams of bytes: extended CONNECT.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;
use tunnel::agent_side::Answer;
use tunnel::body::RecvBody;
use tunnel::service_side::OpenStream;
use tunnel::stream_io::{StreamIo, h2_error};

use crate::ends::{Ends, Printer, full, pattern};

/// A link to a printer that switches protocols, and the printer's ends of the streams.
async fn join() -> (Ends, mpsc::Receiver<DuplexStream>) {
    let (streams, accepted) = mpsc::channel(10);
    let printer = Printer(move |request: Request<RecvBody>| {
        let streams = streams.clone();
        async move {
            if request.extensions().get::<h2::ext::Protocol>().is_none() || request.uri().path() == "/refused" {
                return Answer::Response(Response::builder().status(403).body(full("no")).unwrap());
            }
            let (here, there) = duplex(16 * 1024);
            streams.send(there).await.unwrap();
            Answer::Upgraded(Response::builder().header("x-kept", "1").body(()).unwrap(), Box::new(here))
        }
        .boxed()
    });
    (Ends::join(printer).await, accepted)
}

async fn open(ends: &Ends, path: &str) -> (Response<()>, StreamIo, impl Drop + use<>) {
    let mut request = Request::get(format!("http://printer{path}")).body(()).unwrap();
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let OpenStream { response, body, guard } = ends.client.open(request, false).await.unwrap();
    let (head, stream) = response.await.unwrap().into_parts();
    (Response::from_parts(head, ()), StreamIo::new(body, stream), guard)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_each_side_ends_by_itself() {
    let (ends, mut accepted) = join().await;
    let (head, mut visitor, _guard) = open(&ends, "/ws").await;
    assert_eq!((head.status().as_u16(), &head.headers()["x-kept"]), (200, &"1".parse::<http::HeaderValue>().unwrap()));
    let mut at_printer = accepted.recv().await.unwrap();

    let sent = pattern(3_000_000);
    let (to_printer, to_visitor) = (sent.clone(), sent.clone());
    let printing = tokio::spawn(async move {
        let mut received = Vec::new();
        at_printer.read_to_end(&mut received).await.unwrap();
        assert!(received == to_printer, "bytes differ at the printer");
        // The visitor's side has ended; the printer's has not.
        at_printer.write_all(&to_visitor).await.unwrap();
        at_printer.shutdown().await.unwrap();
    });
    visitor.write_all(&sent).await.unwrap();
    visitor.shutdown().await.unwrap();
    let mut received = Vec::new();
    visitor.read_to_end(&mut received).await.unwrap();
    assert!(received == sent, "bytes differ at the visitor");
    printing.await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_an_ordinary_response() {
    let (ends, _accepted) = join().await;
    let (head, mut stream, _guard) = open(&ends, "/refused").await;
    assert_eq!(head.status(), 403);
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "no");
}

#[tokio::test(start_paused = true)]
async fn a_visitor_who_breaks_off_ends_the_printers_side() {
    let (ends, mut accepted) = join().await;
    let (_, visitor, _guard) = open(&ends, "/ws").await;
    let mut at_printer = accepted.recv().await.unwrap();
    drop(visitor);
    let mut buffer = [0; 10];
    let read = tokio::time::timeout(Duration::from_secs(1), at_printer.read(&mut buffer)).await.unwrap();
    assert!(!matches!(read, Ok(1..)), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn a_printer_whose_connection_fails_is_told_apart_from_one_that_ends() {
    let printer = Printer(move |_| {
        let failing = Failing(Box::pin(tokio::time::sleep(Duration::from_secs(1))));
        std::future::ready(Answer::Upgraded(Response::new(()), Box::new(failing))).boxed()
    });
    let ends = Ends::join(printer).await;
    let (_, mut visitor, _guard) = open(&ends, "/ws").await;
    let error = visitor.read_u8().await.unwrap_err();
    assert_eq!(h2_error(&error).and_then(h2::Error::reason), Some(h2::Reason::CONNECT_ERROR));
}

/// A connection that is reset after a while.
struct Failing(Pin<Box<tokio::time::Sleep>>);

impl AsyncRead for Failing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll(cx).map(|()| Err(io::ErrorKind::ConnectionReset.into()))
    }
}

impl AsyncWrite for Failing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
