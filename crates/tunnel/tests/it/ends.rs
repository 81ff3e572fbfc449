//! Both ends of a link in one process.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tunnel::agent_side::{Answer, BoxError, PrinterHandler, ServeEnd, serve};
use tunnel::body::{RecvBody, send_body};
use tunnel::service_side::{LAST_STREAM_ID, LinkClient, LinkEnd, LinkObserver, OpenStream};

/// Body of a test's messages.
pub(crate) type TestBody = UnsyncBoxBody<Bytes, BoxError>;

/// A printer that does what a closure says.
pub(crate) struct Printer<F>(pub(crate) F);

impl<F> PrinterHandler for Printer<F>
where
    F: Fn(Request<RecvBody>) -> BoxFuture<'static, Answer<TestBody>> + Send + Sync + 'static,
{
    type Body = TestBody;

    fn call(&self, request: Request<RecvBody>) -> BoxFuture<'static, Answer<TestBody>> {
        (self.0)(request)
    }
}

/// One that answers each request by `answer`.
pub(crate) fn printer<A>(
    answer: impl Fn(Request<RecvBody>) -> A + Send + Sync + 'static,
) -> Printer<impl Fn(Request<RecvBody>) -> BoxFuture<'static, Answer<TestBody>> + Send + Sync + 'static>
where
    A: Future<Output = Response<TestBody>> + Send + 'static,
{
    Printer(move |request| answer(request).map(Answer::Response).boxed())
}

/// A body that is there at once.
pub(crate) fn full(bytes: impl Into<Bytes>) -> TestBody {
    Full::new(bytes.into()).map_err(Into::into).boxed_unsync()
}

/// A body of many pieces.
pub(crate) fn pieces<S>(stream: S) -> TestBody
where
    S: futures_util::Stream<Item = Bytes> + Send + 'static,
{
    use futures_util::StreamExt;
    StreamBody::new(stream.map(|piece| Ok(Frame::data(piece)))).boxed_unsync()
}

/// What a link's observer was told.
#[derive(Clone, Default)]
pub(crate) struct Told {
    pub(crate) round_trips: Arc<Mutex<Vec<Duration>>>,
    pub(crate) exhausted: Arc<Mutex<usize>>,
}

impl LinkObserver for Told {
    fn round_trip(&mut self, round_trip: Duration) {
        self.round_trips.lock().push(round_trip);
    }
    fn exhausted(&mut self) {
        *self.exhausted.lock() += 1;
    }
}

/// A transport that can be made to neither give nor take anything, as after a cable was pulled.
pub(crate) struct Gated {
    io: DuplexStream,
    is_frozen: Arc<AtomicBool>,
}

impl AsyncRead for Gated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        // The waker is kept by the pipe, so that nothing is missed if the gate opens again.
        let outcome = Pin::new(&mut self.io).poll_read(cx, out);
        if self.is_frozen.load(Ordering::Relaxed) {
            out.clear();
            return Poll::Pending;
        }
        outcome
    }
}

impl AsyncWrite for Gated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
        if self.is_frozen.load(Ordering::Relaxed) {
            // As a socket does whose peer is gone: it takes some, and tells nobody.
            return Poll::Ready(Ok(data.len()));
        }
        Pin::new(&mut self.io).poll_write(cx, data)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A running link.
pub(crate) struct Ends {
    pub(crate) client: LinkClient,
    pub(crate) service_end: JoinHandle<LinkEnd>,
    pub(crate) agent_end: JoinHandle<ServeEnd>,
    pub(crate) agent_shutdown: CancellationToken,
    pub(crate) told: Told,
    is_frozen: Arc<AtomicBool>,
}

impl Ends {
    /// Joins both ends by a pipe that holds 64 KiB.
    pub(crate) async fn join(printer: impl PrinterHandler) -> Self {
        Self::join_with(printer, 64 * 1024, LAST_STREAM_ID).await
    }

    pub(crate) async fn join_with(printer: impl PrinterHandler, pipe: usize, last_stream_id: u32) -> Self {
        let (here, there) = tokio::io::duplex(pipe);
        let is_frozen = Arc::new(AtomicBool::new(false));
        let gated = |io| Gated { io, is_frozen: Arc::clone(&is_frozen) };
        let told = Told::default();
        let agent_shutdown = CancellationToken::new();
        let agent_end = tokio::spawn(serve(gated(there), Arc::new(printer), agent_shutdown.clone()));
        let (client, driver) = LinkClient::start(gated(here), last_stream_id, told.clone()).await.unwrap();
        let service_end = tokio::spawn(driver.run());
        Self { client, service_end, agent_end, agent_shutdown, told, is_frozen }
    }

    /// From here on nothing passes, in either direction, and neither end is told.
    pub(crate) fn freeze(&self) {
        self.is_frozen.store(true, Ordering::Relaxed);
    }

    /// Gets `path`.
    pub(crate) async fn get(&self, path: &str) -> Result<Response<TestBody>, h2::Error> {
        let request = Request::get(format!("http://printer{path}")).body(()).unwrap();
        let OpenStream { response, guard, .. } = self.client.open(request, true).await?;
        let response = response.await?;
        Ok(response.map(|stream| {
            // Holds the guard for as long as the body.
            let body = RecvBody::new(stream, None);
            body.map_frame(move |frame| {
                let _ = &guard;
                frame
            })
            .map_err(Into::into)
            .boxed_unsync()
        }))
    }

    /// Posts `body` to `path`, and reads the response while the body still flows.
    pub(crate) async fn post(&self, path: &str, body: TestBody) -> Result<Response<Bytes>, h2::Error> {
        let request = Request::post(format!("http://printer{path}")).body(()).unwrap();
        let OpenStream { response, body: mut send, guard } = self.client.open(request, false).await?;
        let sending = tokio::spawn(async move { send_body(body, &mut send).await.map_err(|error| error.to_string()) });
        let response = response.await?;
        let (parts, stream) = response.into_parts();
        let body = RecvBody::new(stream, None).collect().await?.to_bytes();
        let _ = sending.await.unwrap();
        drop(guard);
        Ok(Response::from_parts(parts, body))
    }
}

/// Bytes that differ by position.
pub(crate) fn pattern(length: usize) -> Bytes {
    (0..length).map(|n| (n % 251) as u8).collect::<Vec<u8>>().into()
}
