//! The link to a printer through the existing plugin.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use model::link::{PrinterStatus, capability};
use model::printing::PrinterState;
use model::{Caller, wire};
use octo::session::{BodyLength, OpenError, SendError};
use octo::wire::ServerHost;
use octo::{Introduction, RequestError, ResponseHead, StreamId};
use parking_lot::RwLock;
use tokio::sync::oneshot;

use super::backlog::{Ended, Reading};
use super::orders::{self, Order};
use super::shared::{Shared, StreamGuard};
use super::status::Report;
use super::visitor_frames::VisitorFrames;
use crate::commands::CommandPace;
use crate::link::{DownloadLimit, Link, LinkBody, LinkBodyError, LinkError, Upgrade};
use crate::timeouts::{AnswerTimeouts, LARGE_BODY};
use crate::upload::{UploadBody, UploadError};

/// Set by us on every request; the plugin wants it apart from the other headers.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// As the plugin spells it.
const MQTT_TARGET: &str = "/octoeverywhere-command-api/proxy/mqtt";

/// See the module.
pub(super) struct PluginLink {
    pub(super) shared: Arc<Shared>,
    introduction: Introduction,
    pub(super) timeouts: AnswerTimeouts,
    /// The service's own name, for its own requests.
    pub(super) own_authority: Authority,
    connected_at: SystemTime,
    /// What the plugin last said that its printer does.
    pub(super) said: RwLock<Said>,
}

/// What is known of the printer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) report: Option<Report>,
    /// What is wrong with the printer, in a few words; empty where nothing is.
    pub(super) problem: String,
}

impl PluginLink {
    pub(super) fn new(
        shared: Arc<Shared>,
        introduction: Introduction,
        timeouts: AnswerTimeouts,
        own_authority: Authority,
    ) -> Self {
        Self { shared, introduction, timeouts, own_authority, connected_at: SystemTime::now(), said: RwLock::default() }
    }

    async fn relay(&self, request: Request<UploadBody>) -> Result<Response<LinkBody>, LinkError> {
        let for_command = request.extensions().get::<CommandPace>().map(|pace| match pace {
            CommandPace::Order => self.timeouts.command,
            CommandPace::Files => self.timeouts.file_command,
        });
        let limit = request.extensions().get::<DownloadLimit>().map(|limit| limit.0);
        let caller = caller_of(request.headers());
        let (mut head, body) = into_plugin_head(request);
        let authority = authority_of(&head)?;
        if let Some(caller) = caller {
            let order = match Order::read(&head, caller) {
                Ok(order) => order,
                Err((status, reason)) => return Ok(orders::refusal(StatusCode::OK, status, reason)),
            };
            *head.uri_mut() = order.uri().ok_or_else(|| LinkError::Agent("the command has no address".to_owned()))?;
        }
        let is_read = matches!(*head.method(), Method::GET | Method::HEAD);
        // Who repeats a refused handshake as a plain request, to read the code, gets the same one.
        if is_read && !self.may_open(head.uri().path()) {
            return Err(not_accepted());
        }
        let length = match body.size_hint().exact() {
            Some(length) => BodyLength::Known(length),
            None => BodyLength::Unknown,
        };
        let (progress, activity) = (body.progress(), body.activity());
        let (sender, mut response) = oneshot::channel();
        self.shared.room().await;
        let opened = self.shared.open(Some(sender), None, |session| match caller {
            Some(_) => session.open_command(&head, &authority, length),
            None => session.open_http(&head, &authority, length),
        });
        let guard = match opened {
            Ok(guard) => guard,
            Err(OpenError::Request(RequestError::Command)) => return Ok(not_found()),
            Err(error) => return Err(open_error(error)),
        };
        if let Some(limit) = limit {
            guard.slot.backlog.limit(limit);
        }
        let mut is_sent = length == BodyLength::Known(0);
        if is_sent {
            activity.wait_for_answer();
        }
        let mut upload = std::pin::pin!(self.upload(guard.id, body));
        let mut deadline = std::pin::pin!(tokio::time::sleep(for_command.unwrap_or(self.timeouts.without_body)));
        let head = loop {
            tokio::select! {
                biased;
                head = &mut response => break head.unwrap_or(Err(LinkError::Lost))?,
                sent = &mut upload, if !is_sent => {
                    sent?;
                    is_sent = true;
                    activity.wait_for_answer();
                    let large = progress.bytes() > LARGE_BODY;
                    let limit = if large { self.timeouts.after_large_body } else { self.timeouts.after_body };
                    deadline.as_mut().reset(tokio::time::Instant::now() + for_command.unwrap_or(limit));
                }
                // While the visitor still sends, only idleness ends the exchange.
                () = &mut deadline, if is_sent => return Err(LinkError::Timeout),
            }
        };
        Ok(with_body(head, guard))
    }

    async fn upload(&self, id: StreamId, mut body: UploadBody) -> Result<(), LinkError> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| match error {
                UploadError::TooLarge => LinkError::UploadTooLarge,
                UploadError::TooSlow => LinkError::VisitorTooSlow,
                UploadError::Visitor(error) => LinkError::VisitorGone(error.into()),
            })?;
            // Trailers have no place in the plugin's protocol.
            let Ok(data) = frame.into_data() else { continue };
            self.shared.room().await;
            match self.shared.command(|session| session.send_body(id, data)) {
                // The printer has answered already, or the stream's end will say what happened.
                Ok(()) | Err(SendError::Over | SendError::NotYet) => {}
                Err(SendError::Length) => return Err(wrong_length()),
            }
        }
        match self.shared.command(|session| session.finish_body(id)) {
            Ok(()) | Err(SendError::Over | SendError::NotYet) => Ok(()),
            Err(SendError::Length) => Err(wrong_length()),
        }
    }

    pub(super) fn is_closed_here(&self) -> bool {
        self.shared.is_closed_here()
    }

    fn may_open(&self, path: &str) -> bool {
        self.shared.openings().lock().may_open(path, Instant::now())
    }

    fn upgrade(&self, request: Request<()>) -> Result<Upgrade, LinkError> {
        let caller = caller_of(request.headers());
        let (mut head, ()) = into_plugin_head(request);
        let authority = authority_of(&head)?;
        if let Some(caller) = caller {
            // Any other WebSocket on a command, and this one where there is no MQTT, ends the plugin's session.
            match Order::read(&head, caller) {
                Ok(order) if order.is_mqtt() && self.introduction.host.has_mqtt() => {
                    *head.uri_mut() = Uri::from_static(MQTT_TARGET);
                }
                Ok(order) if order.is_mqtt() => {
                    let reason = "this printer speaks no MQTT";
                    let refusal = orders::refusal(StatusCode::BAD_REQUEST, orders::NOT_SUPPORTED, reason);
                    return Ok(Upgrade::Refused(refusal));
                }
                Ok(_) => return Ok(Upgrade::Refused(not_found())),
                Err((status, reason)) => {
                    return Ok(Upgrade::Refused(orders::refusal(StatusCode::FORBIDDEN, status, reason)));
                }
            }
        }
        let path = head.uri().path().to_owned();
        if !self.may_open(&path) {
            return Err(not_accepted());
        }
        // What the printer would choose is never heard of, so the visitor gets the first of its own.
        let protocol = first_protocol(head.headers());
        head.headers_mut().remove(header::SEC_WEBSOCKET_EXTENSIONS);
        let opened = self.shared.open(None, Some(path), |session| match caller {
            Some(_) => session.open_mqtt(&head, &authority, protocol.as_ref(), Instant::now()),
            None => session.open_websocket(&head, &authority, protocol.as_ref(), Instant::now()),
        });
        let guard = match opened {
            Ok(guard) => guard,
            Err(OpenError::Request(RequestError::Command | RequestError::WebSocket)) => {
                return Ok(Upgrade::Refused(not_found()));
            }
            Err(error) => return Err(open_error(error)),
        };
        let mut accepted = Response::new(());
        if let Some(protocol) = protocol {
            accepted.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        Ok(Upgrade::Accepted(accepted, Box::new(VisitorFrames::new(Arc::clone(&self.shared), guard))))
    }
}

impl Link for PluginLink {
    fn call(&self, request: Request<UploadBody>) -> BoxFuture<'_, Result<Response<LinkBody>, LinkError>> {
        self.relay(request).boxed()
    }

    fn open_websocket(&self, request: Request<()>) -> BoxFuture<'_, Result<Upgrade, LinkError>> {
        std::future::ready(self.upgrade(request)).boxed()
    }

    fn call_agent(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<LinkBody>, LinkError>> {
        self.ask_plugin(request).boxed()
    }

    fn printer_status(&self) -> PrinterStatus {
        let problem = self.said.read().problem.clone();
        PrinterStatus {
            reachable: problem.is_empty(),
            problem,
            software: software_of(self.introduction.host).to_owned(),
            lan_ip: self.introduction.lan_address.map(|address| address.to_string()).unwrap_or_default(),
            ..PrinterStatus::default()
        }
    }

    fn printer_state(&self) -> Option<PrinterState> {
        self.said.read().report.as_ref().map(|report| report.state.clone())
    }

    fn agent_version(&self) -> String {
        self.introduction.version_text.clone()
    }

    fn has_capability(&self, name: &str) -> bool {
        matches!(name, capability::STATE | capability::COMMANDS | capability::CAMERAS)
    }

    fn connected_at(&self) -> SystemTime {
        self.connected_at
    }

    fn round_trip(&self) -> Option<Duration> {
        None
    }

    fn drain(&self, _: Duration) {
        // The protocol has no word for it. The plugin comes back 11 to 31 seconds after its session has ended.
        self.shared.close_when_idle();
    }

    fn close_when_idle(&self) {
        self.shared.close_when_idle();
    }

    fn close(&self) {
        self.shared.close();
    }

    fn open_streams(&self) -> usize {
        self.shared.open_streams()
    }
}

/// By the names that our own agent uses.
pub(super) fn software_of(host: ServerHost) -> &'static str {
    match host {
        ServerHost::OctoPrint => "octoprint",
        ServerHost::Moonraker => "moonraker",
        ServerHost::PrusaLink => "prusalink",
        ServerHost::Bambu => "bambu",
        ServerHost::Elegoo => "elegoo-cc1",
        ServerHost::Elegoo2 => "elegoo-cc2",
        ServerHost::NotSaid | ServerHost::Unknown(_) => "unknown",
    }
}

/// Who gives a command; `None` where the service's door saw none. Visitors cannot say it.
fn caller_of(headers: &HeaderMap) -> Option<Caller> {
    headers.get(wire::CALLER_HEADER)?.to_str().ok()?.parse().ok()
}

/// A printer's answer, whose body is still to come.
pub(super) fn with_body(head: ResponseHead, guard: StreamGuard) -> Response<LinkBody> {
    let (mut response, length) = (head.response, head.length);
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(|()| -> LinkBody { Box::pin(PluginBody { guard, reading: Reading::default(), length }) })
}

/// Without what the service and its own agents say to each other.
fn into_plugin_head<B>(request: Request<B>) -> (Request<()>, B) {
    let (mut parts, body) = request.into_parts();
    let internal: Vec<HeaderName> =
        parts.headers.keys().filter(|name| name.as_str().starts_with(wire::INTERNAL_PREFIX)).cloned().collect();
    for name in internal {
        parts.headers.remove(name);
    }
    (Request::from_parts(parts, ()), body)
}

fn authority_of(head: &Request<()>) -> Result<Authority, LinkError> {
    let host = head.headers().get(FORWARDED_HOST).and_then(|host| host.to_str().ok());
    host.and_then(|host| host.parse().ok()).ok_or_else(|| LinkError::Agent("the visitor's host is unknown".to_owned()))
}

fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let first = offered.split(',').map(str::trim).find(|protocol| !protocol.is_empty())?;
    HeaderValue::from_str(first).ok()
}

fn not_accepted() -> LinkError {
    LinkError::TargetUnreachable("it refused this WebSocket again and again".to_owned())
}

fn wrong_length() -> LinkError {
    LinkError::VisitorGone("the body does not have its announced length".into())
}

pub(super) fn open_error(error: OpenError) -> LinkError {
    match error {
        OpenError::NotOpen => LinkError::Lost,
        OpenError::TooManyStreams => LinkError::Timeout,
        OpenError::Request(error) => LinkError::VisitorGone(error.into()),
    }
}

/// In place of the plugin's own commands: on a printer's host they are nothing.
pub(super) fn not_found() -> Response<LinkBody> {
    let mut response = orders::own_response(Bytes::new());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// A response's body, and the end of its stream.
struct PluginBody {
    guard: StreamGuard,
    reading: Reading,
    /// Bytes of the body that have not been taken, if that is known.
    length: Option<u64>,
}

impl Body for PluginBody {
    type Data = Bytes;
    type Error = LinkBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, LinkBodyError>>> {
        let this = &mut *self;
        let next = std::task::ready!(this.guard.slot.backlog.poll_next(&mut this.reading, cx));
        Poll::Ready(match next {
            Ok(data) => {
                this.length = this.length.map(|length| length.saturating_sub(data.len() as u64));
                Some(Ok(Frame::data(data)))
            }
            Err(Ended::Complete) => None,
            Err(Ended::Lost) => Some(Err(LinkBodyError::Lost)),
            Err(Ended::BrokeOff | Ended::TargetUnreachable | Ended::Fault | Ended::TooSlow) => {
                Some(Err(LinkBodyError::BrokeOff))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.guard.slot.backlog.over(&self.reading) == Some(Ended::Complete)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
