//! The link to one of our own agents: reverse HTTP/2.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use h2::{Reason, RecvStream, SendStream};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, Limited};
use model::link::{AgentFailure, Drain, Hello, PrinterStatus};
use model::printing::PrinterState;
use model::wire;
use parking_lot::RwLock;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tunnel::body::{RecvBody, SendBodyError, send_body};
use tunnel::service_side::{LinkClient, OpenStream, StreamGuard};
use tunnel::stream_io::StreamIo;

use crate::commands::CommandPace;
use crate::link::{Link, LinkBody, LinkBodyError, LinkError, Upgrade};
use crate::timeouts::{AnswerTimeouts, LARGE_BODY};
use crate::upload::{Progress, UploadBody, UploadError};

/// For the head of an agent's answer to a question. Callers that know better wait less.
const QUESTION_LIMIT: Duration = Duration::from_secs(150);
/// For the agent's own answer to an order.
const ORDER_LIMIT: Duration = Duration::from_secs(25);
/// Time for the agent to have room for another stream.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// A body whose stream has failed ends at once; this is for a busy machine.
const UPLOAD_END_LIMIT: Duration = Duration::from_secs(1);
/// An agent's description of a failure is one line.
const MAX_DETAIL: usize = 1024;

/// A connected agent.
pub(crate) struct NativeLink {
    client: LinkClient,
    state: Arc<LinkState>,
    timeouts: AnswerTimeouts,
}

/// What is known of a connected agent besides its connection.
pub(crate) struct LinkState {
    status: RwLock<PrinterStatus>,
    printer: RwLock<Option<PrinterState>>,
    /// Microseconds; 0 before the first heartbeat.
    round_trip: AtomicU64,
    agent_version: String,
    capabilities: Vec<String>,
    connected_at: SystemTime,
}

impl LinkState {
    /// Of an agent that introduced itself with `hello`.
    pub(crate) fn new(hello: &Hello, now: SystemTime) -> Self {
        Self {
            status: RwLock::new(hello.printer.clone()),
            printer: RwLock::default(),
            round_trip: AtomicU64::new(0),
            agent_version: hello.agent_version.clone(),
            capabilities: hello.capabilities.clone(),
            connected_at: now,
        }
    }

    pub(crate) fn set_printer_state(&self, state: PrinterState) {
        *self.printer.write() = Some(state);
    }

    pub(crate) fn set_status(&self, status: PrinterStatus) {
        *self.status.write() = status;
    }

    pub(crate) fn set_round_trip(&self, round_trip: Duration) {
        self.round_trip.store(u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }
}

impl NativeLink {
    pub(crate) fn new(client: LinkClient, state: Arc<LinkState>, timeouts: AnswerTimeouts) -> Self {
        Self { client, state, timeouts }
    }

    async fn open(&self, request: Request<()>, body_is_empty: bool) -> Result<OpenStream, LinkError> {
        match tokio::time::timeout(OPEN_LIMIT, self.client.open(request, body_is_empty)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(link_error(&error)),
            Err(_) => Err(LinkError::Timeout),
        }
    }

    async fn relay(&self, request: Request<UploadBody>) -> Result<Response<LinkBody>, LinkError> {
        let for_command = request.extensions().get::<CommandPace>().map(|pace| match pace {
            CommandPace::Order => self.timeouts.command,
            CommandPace::Files => self.timeouts.file_command,
        });
        let (head, body) = into_tunnel_head(request, wire::PRINTER_AUTHORITY)?;
        let body_is_empty = body.is_end_stream();
        let (progress, activity) = (body.progress(), body.activity());
        if body_is_empty {
            activity.wait_for_answer();
        }
        let OpenStream { response, body: send, guard } = self.open(head, body_is_empty).await?;
        let mut upload = Upload::start(body, send, body_is_empty);
        let mut response = std::pin::pin!(response);
        let mut deadline = std::pin::pin!(tokio::time::sleep(for_command.unwrap_or(self.timeouts.without_body)));
        let response = loop {
            tokio::select! {
                biased;
                response = &mut response => match response {
                    Ok(response) => break response,
                    // A body that broke off resets its stream, so there are two errors, and the body's is the cause.
                    Err(error) => return Err(upload.failure().await.unwrap_or_else(|| link_error(&error))),
                },
                sent = upload.finished() => match sent {
                    // After the body the agent's answer is what counts, also where it did not want all of the body.
                    Ok(()) | Err(SendBodyError::Reset(_)) => {
                        activity.wait_for_answer();
                        let limit = for_command.unwrap_or_else(|| self.limit_after(&progress));
                        deadline.as_mut().reset(Instant::now() + limit);
                    }
                    Err(error) => return Err(upload_error(error)),
                },
                // While the visitor still sends, only idleness ends the exchange.
                () = &mut deadline, if upload.is_over() => return Err(LinkError::Timeout),
            }
        };
        let response = refuse_failures(response).await?;
        let length = content_length(response.headers());
        Ok(response.map(|stream| -> LinkBody {
            Box::pin(NativeBody { body: RecvBody::new(stream, length), _guard: guard, _upload: upload })
        }))
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<Response<LinkBody>, LinkError> {
        let (head, body) = into_tunnel_head(request, wire::AGENT_AUTHORITY)?;
        let OpenStream { response, body: mut send, guard } = self.open(head, body.is_empty()).await?;
        let asking = async {
            if !body.is_empty() {
                match send_body(Full::new(body), &mut send).await {
                    // An agent may answer before it has read all of a question.
                    Ok(()) | Err(SendBodyError::Reset(_)) => {}
                    Err(SendBodyError::Link(error)) => return Err(link_error(&error)),
                    Err(SendBodyError::Body(never)) => match never {},
                }
            }
            refuse_failures(response.await.map_err(|error| link_error(&error))?).await
        };
        let response = tokio::time::timeout(QUESTION_LIMIT, asking).await.unwrap_or(Err(LinkError::Timeout))?;
        let length = content_length(response.headers());
        Ok(response.map(|stream| -> LinkBody {
            Box::pin(NativeBody { body: RecvBody::new(stream, length), _guard: guard, _upload: Upload::None })
        }))
    }

    fn limit_after(&self, progress: &Progress) -> Duration {
        if progress.bytes() > LARGE_BODY { self.timeouts.after_large_body } else { self.timeouts.after_body }
    }

    async fn upgrade(&self, mut request: Request<()>) -> Result<Upgrade, LinkError> {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (head, ()) = into_tunnel_head(request, wire::PRINTER_AUTHORITY)?;
        let OpenStream { response, body: send, guard } = self.open(head, false).await?;
        let response = match tokio::time::timeout(self.timeouts.without_body, response).await {
            Ok(response) => response.map_err(|error| link_error(&error))?,
            Err(_) => return Err(LinkError::Timeout),
        };
        let mut response = refuse_failures(response).await?;
        if response.headers_mut().remove(wire::UPGRADED_HEADER).is_none() {
            let length = content_length(response.headers());
            return Ok(Upgrade::Refused(response.map(|stream| -> LinkBody {
                Box::pin(NativeBody { body: RecvBody::new(stream, length), _guard: guard, _upload: Upload::None })
            })));
        }
        let (parts, stream) = response.into_parts();
        let frames = GuardedIo { io: StreamIo::new(send, stream), _guard: guard };
        Ok(Upgrade::Accepted(Response::from_parts(parts, ()), Box::new(frames)))
    }
}

impl Link for NativeLink {
    fn call(&self, request: Request<UploadBody>) -> BoxFuture<'_, Result<Response<LinkBody>, LinkError>> {
        self.relay(request).boxed()
    }

    fn open_websocket(&self, request: Request<()>) -> BoxFuture<'_, Result<Upgrade, LinkError>> {
        self.upgrade(request).boxed()
    }

    fn call_agent(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<LinkBody>, LinkError>> {
        self.ask(request).boxed()
    }

    fn printer_status(&self) -> PrinterStatus {
        self.state.status.read().clone()
    }

    fn printer_state(&self) -> Option<PrinterState> {
        self.state.printer.read().clone()
    }

    fn agent_version(&self) -> String {
        self.state.agent_version.clone()
    }

    fn has_capability(&self, name: &str) -> bool {
        self.state.capabilities.iter().any(|capability| capability == name)
    }

    fn connected_at(&self) -> SystemTime {
        self.state.connected_at
    }

    fn round_trip(&self) -> Option<Duration> {
        match self.state.round_trip.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    fn drain(&self, spread: Duration) {
        let client = self.client.clone();
        let order = Drain { spread_ms: u64::try_from(spread.as_millis()).unwrap_or(u64::MAX) };
        tokio::spawn(async move {
            if let Err(error) = send_order(&client, &order).await {
                tracing::debug!(%error, "an agent was not told to connect anew");
            }
        });
    }

    fn close_when_idle(&self) {
        self.client.close_when_idle();
    }

    fn close(&self) {
        self.client.close();
    }

    fn open_streams(&self) -> usize {
        self.client.open_streams()
    }
}

async fn send_order(client: &LinkClient, order: &Drain) -> Result<(), LinkError> {
    post_to_agent(client, wire::DRAIN_PATH, serde_json::to_vec(order).unwrap_or_default()).await
}

/// Tells the agent that visitors can reach its printer.
pub(crate) async fn send_linked(client: &LinkClient) -> Result<(), LinkError> {
    post_to_agent(client, wire::LINKED_PATH, Vec::new()).await
}

async fn post_to_agent(client: &LinkClient, path: &'static str, body: Vec<u8>) -> Result<(), LinkError> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    let (head, ()) = into_tunnel_head(request, wire::AGENT_AUTHORITY)?;
    let posting = async {
        let mut stream = client.open(head, body.is_empty()).await.map_err(|error| link_error(&error))?;
        if !body.is_empty() {
            let body = Full::<Bytes>::from(body);
            send_body(body, &mut stream.body).await.map_err(|error| LinkError::Agent(error.to_string()))?;
        }
        stream.response.await.map(drop).map_err(|error| link_error(&error))
    };
    // An agent may grant no stream at all.
    tokio::time::timeout(ORDER_LIMIT, posting).await.unwrap_or(Err(LinkError::Timeout))
}

/// Opens the stream on which the agent reports events.
pub(crate) async fn open_events(client: &LinkClient) -> Result<(RecvBody, StreamGuard), LinkError> {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_static(wire::EVENTS_PATH);
    let (head, ()) = into_tunnel_head(request, wire::AGENT_AUTHORITY)?;
    let stream = client.open(head, true).await.map_err(|error| link_error(&error))?;
    let response = stream.response.await.map_err(|error| link_error(&error))?;
    if response.status() != StatusCode::OK {
        return Err(LinkError::Agent(format!("it answered {} to the request for its events", response.status())));
    }
    Ok((RecvBody::new(response.into_body(), None), stream.guard))
}

/// Sets the pseudo-headers of a tunnel request: which side it is for, and the target.
fn into_tunnel_head<B>(request: Request<B>, authority: &'static str) -> Result<(Request<()>, B), LinkError> {
    let (mut parts, body) = request.into_parts();
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(Authority::from_static(authority));
    parts.uri = Uri::from_parts(uri).map_err(|error| LinkError::Agent(error.to_string()))?;
    parts.version = http::Version::HTTP_2;
    Ok((Request::from_parts(parts, ()), body))
}

/// A request's body on its way; aborted when dropped.
enum Upload {
    None,
    Running(JoinHandle<Result<(), SendBodyError<UploadError>>>),
    Over,
}

impl Upload {
    fn start(body: UploadBody, mut send: SendStream<Bytes>, body_is_empty: bool) -> Self {
        if body_is_empty {
            return Self::None;
        }
        Self::Running(tokio::spawn(async move { send_body(body, &mut send).await }))
    }

    fn is_over(&self) -> bool {
        !matches!(self, Self::Running(_))
    }

    /// Resolves once, when the body has been sent or has failed; never, if there is none. Safe to cancel: the task
    /// keeps its result.
    async fn finished(&mut self) -> Result<(), SendBodyError<UploadError>> {
        let Self::Running(task) = self else { return std::future::pending().await };
        let outcome = task.await.unwrap_or_else(|_| Err(SendBodyError::Reset(Reason::INTERNAL_ERROR)));
        *self = Self::Over;
        outcome
    }

    /// Why the body broke off, if it did and that is why its stream failed.
    async fn failure(&mut self) -> Option<LinkError> {
        if self.is_over() {
            return None;
        }
        match tokio::time::timeout(UPLOAD_END_LIMIT, self.finished()).await {
            Ok(Err(error @ SendBodyError::Body(_))) => Some(upload_error(error)),
            _ => None,
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Self::Running(task) = self {
            task.abort();
        }
    }
}

fn upload_error(error: SendBodyError<UploadError>) -> LinkError {
    match error {
        SendBodyError::Body(UploadError::TooLarge) => LinkError::UploadTooLarge,
        SendBodyError::Body(UploadError::TooSlow) => LinkError::VisitorTooSlow,
        SendBodyError::Body(error) => LinkError::VisitorGone(error.into()),
        SendBodyError::Reset(reason) => LinkError::Agent(format!("it reset the stream with {reason}")),
        SendBodyError::Link(error) => link_error(&error),
    }
}

/// Turns the agent's own failures into errors.
async fn refuse_failures(response: Response<RecvStream>) -> Result<Response<RecvStream>, LinkError> {
    let Some(name) = response.headers().get(wire::AGENT_FAILURE_HEADER) else {
        let usable = (200..=999).contains(&response.status().as_u16());
        return if usable { Ok(response) } else { Err(LinkError::Agent(format!("status {}", response.status()))) };
    };
    let failure = AgentFailure::from_name(name.as_bytes());
    let detail = Limited::new(RecvBody::new(response.into_body(), None), MAX_DETAIL).collect().await;
    let detail = detail.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
    Err(match failure {
        AgentFailure::TargetUnreachable => LinkError::TargetUnreachable(detail),
        AgentFailure::TargetProtocol | AgentFailure::Internal => LinkError::Agent(detail),
    })
}

/// A stream that its agent reset is the agent's failure; anything else means that the link is gone.
fn link_error(error: &h2::Error) -> LinkError {
    match error.reason() {
        // The agent is closing and did not look at the request (RFC 9113 §8.7).
        Some(Reason::REFUSED_STREAM) => LinkError::Lost,
        // The printer's connection failed, so soon that not even the head was on its way.
        Some(Reason::CONNECT_ERROR) if error.is_reset() => {
            LinkError::TargetUnreachable("its connection failed".to_owned())
        }
        Some(reason) if error.is_reset() => LinkError::Agent(format!("it reset the stream with {reason}")),
        _ => LinkError::Lost,
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A response's body, with what must live as long as it.
struct NativeBody {
    body: RecvBody,
    _guard: StreamGuard,
    _upload: Upload,
}

impl Body for NativeBody {
    type Data = Bytes;
    type Error = LinkBodyError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, LinkBodyError>>> {
        std::pin::Pin::new(&mut self.body)
            .poll_frame(cx)
            .map_err(|error| if error.is_reset() { LinkBodyError::BrokeOff } else { LinkBodyError::Lost })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream of frames, counted among the link's streams while it lives.
struct GuardedIo {
    io: StreamIo,
    _guard: StreamGuard,
}

impl tokio::io::AsyncRead for GuardedIo {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        out: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_read(cx, out)
    }
}

impl tokio::io::AsyncWrite for GuardedIo {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        data: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
