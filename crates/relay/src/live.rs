//! Printers as their owners see them: what they do now, what they did lately, their cameras, and commands to them.
//!
//! The site and the interfaces for apps ask here. Nothing here asks who may: that is for the caller.

mod connection_log;
mod event_log;
mod recent_errors;
mod temperatures;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cluster::Whereabouts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use model::events::PrintEvent;
use model::link::{KeyAnswer, KeyRequest, PrinterStatus, capability};
use model::printing::{PrinterCommand, PrinterState, Temperature};
use model::{PrinterId, RelayError, Secret, wire};
use moka::sync::Cache;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::broadcast;

use crate::grant::Entrance;
use crate::link::{Link, LinkBody, LinkBodyError};
use crate::metrics;
use crate::relay::LinkDirectory;
use crate::webcam;

use connection_log::ConnectionLog;
pub use connection_log::{ConnectionChange, ConnectionEvent, DisconnectReason};
use event_log::EventLog;
pub use event_log::ReportedEvent;
use recent_errors::RecentErrors;
pub use recent_errors::{ErrorEvent, Surface};
use temperatures::History;
pub use temperatures::TemperatureSample;

/// Changes that a receiver may be behind. Who misses some is told so, and looks at everything again.
const CHANGES: usize = 1024;
/// Events that a receiver may be behind; each may hold a picture of some hundred kilobytes.
const EVENTS: usize = 256;
/// Printers whose temperatures are kept: more than one node serves.
const MAX_HISTORIES: u64 = 20_000;
/// A command is an order to the printer's software, which answers at once or not at all.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// For a whole picture. A camera over a slow uplink takes seconds for one.
const PICTURE_LIMIT: Duration = Duration::from_secs(20);
/// For the head of a stream.
const STREAM_LIMIT: Duration = Duration::from_secs(20);
/// For OctoPrint to make a key: three requests of its own to a slow board.
const KEY_LIMIT: Duration = Duration::from_secs(60);
/// An agent's text about a command: a sentence.
const MAX_TEXT: usize = 1024;
/// An agent's answer with a key.
const MAX_KEY_ANSWER: usize = 4 * 1024;
/// The beginning of every JPEG.
const JPEG_MAGIC: [u8; 3] = [0xff, 0xd8, 0xff];

/// All that is known of printers now. Clones share it.
#[derive(Clone)]
pub struct LivePrinters(Arc<Inner>);

struct Inner {
    directory: LinkDirectory,
    histories: Cache<PrinterId, Arc<Mutex<History>>>,
    errors: RecentErrors,
    connections: ConnectionLog,
    prints: EventLog,
    changes: broadcast::Sender<PrinterId>,
    events: broadcast::Sender<Arc<ReportedEvent>>,
}

/// A connected printer.
#[derive(Clone, Debug)]
pub struct LiveStatus {
    /// What the agent knows of the printer's software.
    pub status: PrinterStatus,
    /// What the printer does; none where its agent does not say.
    pub state: Option<PrinterState>,
    /// Version of the agent's software.
    pub agent_version: String,
    /// How long the last heartbeat took.
    pub round_trip: Option<Duration>,
    /// Since when it is connected.
    pub connected_at: SystemTime,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CommandFailure {
    /// It did not get to the printer, or the printer gave no answer.
    #[error("the command did not get through")]
    Relay(#[source] RelayError),
    /// It does not fit what the printer does; in the printer's words.
    #[error("the printer refused the command: {0}")]
    Refused(String),
    /// The printer cannot.
    #[error("the printer does not know the command")]
    Unsupported,
}

/// Why there is no picture.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CameraFailure {
    /// The agent cannot be reached, or the camera gave no picture.
    #[error("the camera cannot be reached")]
    Relay(#[source] RelayError),
    /// The printer has no such camera.
    #[error("there is no such camera")]
    NoCamera,
}

impl CameraFailure {
    /// The code for a surface that has nothing but codes. A camera that is not there does not answer.
    pub const fn relay_error(self) -> RelayError {
        match self {
            Self::Relay(error) => error,
            Self::NoCamera => RelayError::PrinterTimeout,
        }
    }
}

/// A camera's pictures as they come. Dropping it ends the stream.
pub struct CameraStream {
    /// `multipart/x-mixed-replace` with its boundary.
    pub content_type: HeaderValue,
    /// The pictures.
    pub body: CameraBody,
}

/// The body of a [`CameraStream`].
pub struct CameraBody(LinkBody);

impl Body for CameraBody {
    type Data = Bytes;
    type Error = LinkBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, LinkBodyError>>> {
        self.0.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl LivePrinters {
    /// Those of `directory`.
    pub fn new(directory: LinkDirectory) -> Self {
        let histories = Cache::builder().max_capacity(MAX_HISTORIES).time_to_idle(temperatures::KEPT).build();
        let (changes, _) = broadcast::channel(CHANGES);
        let (events, _) = broadcast::channel(EVENTS);
        let (errors, connections, prints) = Default::default();
        Self(Arc::new(Inner { directory, histories, errors, connections, prints, changes, events }))
    }

    /// Whether the printer is connected.
    ///
    /// # Errors
    /// [`RelayError::Unknown`] if nobody can tell right now.
    pub async fn is_online(&self, printer: &PrinterId) -> Result<bool, RelayError> {
        match self.0.directory.find(printer).await {
            Ok(Whereabouts::Here(_)) => Ok(true),
            Ok(Whereabouts::Nowhere { .. }) => Ok(false),
            Err(_) => Err(RelayError::Unknown),
        }
    }

    /// What the printer says of itself; `None` while it is not connected.
    pub async fn status(&self, printer: &PrinterId) -> Option<LiveStatus> {
        let link = self.link(printer).await.ok()?;
        Some(LiveStatus {
            status: link.printer_status(),
            state: link.printer_state(),
            agent_version: link.agent_version(),
            round_trip: link.round_trip(),
            connected_at: link.connected_at(),
        })
    }

    /// What its heaters measured in the last half hour, oldest first, at most one sample in five seconds.
    pub fn temperatures(&self, printer: &PrinterId) -> Vec<TemperatureSample> {
        let history = self.0.histories.get(printer);
        history.map(|history| history.lock().samples(SystemTime::now())).unwrap_or_default()
    }

    /// Tells which printers came, went, or say something new.
    pub fn changes(&self) -> broadcast::Receiver<PrinterId> {
        self.0.changes.subscribe()
    }

    /// Something happened to a print. The one way in for all that report it: it is kept for the printer's people, and
    /// told to whoever listens to [`Self::events`].
    pub fn handle_event(&self, printer: &PrinterId, event: PrintEvent, picture: Option<Bytes>) {
        let (printer, event) = (printer.clone(), event.bounded());
        let event = Arc::new(ReportedEvent { printer, at: SystemTime::now(), event, picture });
        self.0.prints.note(&event);
        self.handle_change(&event.printer);
        // Nobody may be listening.
        let _ = self.0.events.send(event);
    }

    /// What happens to prints from here on. Who falls behind misses some, and is told so.
    pub fn events(&self) -> broadcast::Receiver<Arc<ReportedEvent>> {
        self.0.events.subscribe()
    }

    /// What happened to the printer's prints lately, the latest first. Only the latest still has its picture.
    pub fn recent_events(&self, printer: &PrinterId) -> Vec<Arc<ReportedEvent>> {
        self.0.prints.of(printer)
    }

    /// The last errors that visitors of the printer got, the latest first.
    pub fn recent_errors(&self, printer: &PrinterId) -> Vec<ErrorEvent> {
        self.0.errors.of(printer)
    }

    /// When the printer's agent came and went lately, the latest first.
    pub fn connections(&self, printer: &PrinterId) -> Vec<ConnectionEvent> {
        self.0.connections.of(printer)
    }

    /// Tells the printer to do something. It is sent once.
    ///
    /// # Errors
    /// See [`CommandFailure`].
    pub async fn command(&self, printer: &PrinterId, command: PrinterCommand) -> Result<(), CommandFailure> {
        let request = agent_request(Method::POST, &format!("{}{command}", wire::COMMAND_PATH), Bytes::new());
        let response =
            self.ask(printer, capability::COMMANDS, request, COMMAND_LIMIT).await.map_err(CommandFailure::Relay)?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::CONFLICT => {
                let text = read(response, MAX_TEXT, COMMAND_LIMIT).await.map_err(CommandFailure::Relay)?;
                Err(CommandFailure::Refused(for_people(&text)))
            }
            StatusCode::NOT_IMPLEMENTED => Err(CommandFailure::Unsupported),
            status => Err(CommandFailure::Relay(refusal(status))),
        }
    }

    /// Takes a picture.
    ///
    /// # Errors
    /// See [`CameraFailure`].
    pub async fn snapshot(&self, printer: &PrinterId, camera: usize) -> Result<Bytes, CameraFailure> {
        let request = agent_request(Method::GET, &camera_path(camera, wire::SNAPSHOT), Bytes::new());
        let response =
            self.ask(printer, capability::CAMERAS, request, PICTURE_LIMIT).await.map_err(CameraFailure::Relay)?;
        check_camera(response.status())?;
        let picture = read(response, wire::MAX_PICTURE, PICTURE_LIMIT).await.map_err(CameraFailure::Relay)?;
        if picture.starts_with(&JPEG_MAGIC) { Ok(picture) } else { Err(CameraFailure::Relay(RelayError::PluginError)) }
    }

    /// Watches a camera.
    ///
    /// # Errors
    /// See [`CameraFailure`].
    pub async fn camera(&self, printer: &PrinterId, camera: usize) -> Result<CameraStream, CameraFailure> {
        let link = self.link(printer).await.map_err(CameraFailure::Relay)?;
        open_camera(link.as_ref(), camera).await
    }

    /// Has OctoPrint make a key for an app.
    ///
    /// # Errors
    /// [`RelayError::PluginUpdateRequired`] where the agent cannot, which is also so where the printer's software is
    /// not OctoPrint.
    pub async fn octoprint_key(&self, printer: &PrinterId, app: &str) -> Result<Secret, RelayError> {
        let body = serde_json::to_vec(&KeyRequest { app: app.to_owned() }).map_err(|_| RelayError::Unknown)?;
        let request = agent_request(Method::POST, wire::OCTOPRINT_KEY_PATH, body.into());
        let response = self.ask(printer, capability::OCTOPRINT_KEY, request, KEY_LIMIT).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_IMPLEMENTED => return Err(RelayError::PluginUpdateRequired),
            status => return Err(refusal(status)),
        }
        let answer = read(response, MAX_KEY_ANSWER, KEY_LIMIT).await?;
        let answer: KeyAnswer = serde_json::from_slice(&answer).map_err(|_| RelayError::PluginError)?;
        let is_usable = !answer.api_key.is_empty() && answer.api_key.bytes().all(|byte| byte.is_ascii_graphic());
        if is_usable { Ok(Secret::new(answer.api_key)) } else { Err(RelayError::PluginError) }
    }

    async fn link(&self, printer: &PrinterId) -> Result<Arc<dyn Link>, RelayError> {
        match self.0.directory.find(printer).await {
            Ok(Whereabouts::Here(link)) => Ok(link),
            Ok(Whereabouts::Nowhere { .. }) => Err(RelayError::PrinterOffline),
            Err(_) => Err(RelayError::Unknown),
        }
    }

    /// Asks the agent for something that it said it can.
    async fn ask(
        &self,
        printer: &PrinterId,
        capability: &'static str,
        request: Request<Bytes>,
        limit: Duration,
    ) -> Result<Response<LinkBody>, RelayError> {
        ask(self.link(printer).await?.as_ref(), capability, request, limit).await
    }

    /// The printer came, went, or its status is another. For whoever puts links into the directory.
    pub fn handle_change(&self, printer: &PrinterId) {
        // Nobody may be listening.
        let _ = self.0.changes.send(printer.clone());
    }

    /// The printer's heaters measure this.
    pub(crate) fn handle_temperatures(&self, printer: &PrinterId, temperatures: &[Temperature], now: SystemTime) {
        if !temperatures.is_empty() {
            self.0.histories.get_with_by_ref(printer, Arc::default).lock().handle_reading(temperatures, now);
        }
    }

    /// The printer's agent came or went.
    pub(crate) fn handle_connection(&self, printer: &PrinterId, change: ConnectionChange) {
        self.0.connections.note(printer, change, SystemTime::now());
    }

    /// A visitor of the printer got an error.
    pub(crate) fn handle_error(&self, printer: &PrinterId, error: RelayError, kind: Entrance, surface: Surface) {
        self.0.errors.note(printer, error, kind, surface, SystemTime::now());
    }
}

/// Opens a camera's stream on a link.
pub(crate) async fn open_camera(link: &dyn Link, camera: usize) -> Result<CameraStream, CameraFailure> {
    let request = agent_request(Method::GET, &camera_path(camera, wire::STREAM), Bytes::new());
    let response = ask(link, capability::CAMERAS, request, STREAM_LIMIT).await.map_err(CameraFailure::Relay)?;
    check_camera(response.status())?;
    if !webcam::is_webcam_stream(response.headers()) {
        return Err(CameraFailure::Relay(RelayError::PluginError));
    }
    let (mut parts, body) = response.into_parts();
    let content_type = parts.headers.remove(header::CONTENT_TYPE);
    let content_type = content_type.ok_or(CameraFailure::Relay(RelayError::PluginError))?;
    Ok(CameraStream { content_type, body: CameraBody(body) })
}

impl CameraBody {
    pub(crate) fn into_link_body(self) -> LinkBody {
        self.0
    }
}

async fn ask(
    link: &dyn Link,
    capability: &'static str,
    request: Request<Bytes>,
    limit: Duration,
) -> Result<Response<LinkBody>, RelayError> {
    if !link.has_capability(capability) {
        return Err(RelayError::PluginUpdateRequired);
    }
    let answer = match tokio::time::timeout(limit, link.call_agent(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(error.relay_error()),
        Err(_) => Err(RelayError::PrinterTimeout),
    };
    metrics::asked_agent(capability, answer.as_ref().map(|response| response.status().as_u16()).map_err(|e| *e));
    answer
}

async fn read(response: Response<LinkBody>, limit: usize, time_limit: Duration) -> Result<Bytes, RelayError> {
    let reading = Limited::new(response.into_body(), limit).collect();
    match tokio::time::timeout(time_limit, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(match error.downcast_ref::<LinkBodyError>() {
            Some(LinkBodyError::Lost) => RelayError::PrinterOffline,
            Some(LinkBodyError::BrokeOff) => RelayError::PrinterTimeout,
            // Longer than the agent may be.
            None => RelayError::PluginError,
        }),
        Err(_) => Err(RelayError::PrinterTimeout),
    }
}

/// What the statuses mean that are not those of one request alone.
fn refusal(status: StatusCode) -> RelayError {
    match status {
        StatusCode::NOT_FOUND => RelayError::PluginUpdateRequired,
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => RelayError::PrinterTimeout,
        _ => RelayError::PluginError,
    }
}

/// An agent that knows cameras says 404 for one that is not there.
fn check_camera(status: StatusCode) -> Result<(), CameraFailure> {
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::NOT_FOUND => Err(CameraFailure::NoCamera),
        status => Err(CameraFailure::Relay(refusal(status))),
    }
}

fn camera_path(camera: usize, last: &str) -> String {
    format!("{}{camera}/{last}", wire::CAMERA_PATH)
}

fn agent_request(method: Method, path: &str, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = Uri::try_from(path).expect("the paths are made of constants and numbers");
    request
}

/// A text of the agent's without what could disturb a page or a terminal.
fn for_people(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|letter| !letter.is_control()).collect::<String>().trim().to_owned()
}
