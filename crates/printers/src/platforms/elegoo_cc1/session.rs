//! The connection to a Centauri Carbon: what it says all the time, and what it is asked.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tracing::debug;
use tunnel::backoff::{Backoff, random_fraction};

use super::calls::{Call, Pending};
use super::message::{self, Answer, Incoming};
use super::state::Status;
use super::{Centauri, camera, command};
use crate::connector::{ConnectError, PrinterIo};
use crate::platforms::{CommandFailure, Observed};

/// For the handshake, and for the printer to take what we send.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A printer that prints reports once a second or more often; the state is made from it this often at the most.
const PERIOD: Duration = Duration::from_millis(500);
/// The printer forgets clients that say nothing for a minute.
const PING_PERIOD: Duration = Duration::from_secs(50);
/// What keeps a client from being forgotten.
const PING: &str = "ping";
/// Silent for longer than two pings and what is asked with them, it is gone.
const SILENCE: Duration = Duration::from_secs(120);
/// Between attempts: a printer that is switched on is wanted soon.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// Between attempts where all the places of the printer are taken.
const FULL_DELAY: Duration = Duration::from_secs(20);
/// For what a printer has said before it hung up; it is there already.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Lists of files are the longest that the printer says.
const MAX_MESSAGE: usize = 2 * 1024 * 1024;
/// tungstenite takes this much at once for each connection; its default is 128 KiB.
const BUFFER: usize = 8 * 1024;
/// Of a refusal's text.
const MAX_REFUSAL: usize = 4 * 1024;

#[derive(Debug, Error)]
enum Lost {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("the printer serves as many clients as it can: close other apps, slicers and pages that show it")]
    TooManyClients,
    #[error("there is no WebSocket of a Centauri Carbon at this address: {0}")]
    Handshake(tungstenite::Error),
    #[error("the connection to the printer broke: {0}")]
    Broke(#[from] tungstenite::Error),
    #[error("the printer has been silent for too long")]
    Silent,
    #[error("the printer closed the connection")]
    Closed,
}

impl From<Lost> for CommandFailure {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::TooManyClients => Self::TooManyClients(lost.to_string()),
            _ => Self::NotConnected(lost.to_string()),
        }
    }
}

type Socket = WebSocketStream<Box<dyn PrinterIo>>;

pub(super) async fn observe(printer: &Centauri) {
    let mut backoff = Backoff::default();
    loop {
        let began = Instant::now();
        let lost = match connect(printer).await {
            Ok(socket) => {
                let lost = Session::new(printer, socket).run().await;
                backoff.handle_connection_lasted(began.elapsed());
                lost
            }
            Err(lost) => lost,
        };
        let is_full = matches!(lost, Lost::TooManyClients);
        printer.context.publisher.publish(Observed::trouble(lost.into()));
        if is_full {
            sleep(FULL_DELAY).await;
        } else {
            // Cut short by whoever wants something of the printer, which may have come back.
            printer.context.publisher.pause(backoff.next_delay(random_fraction()).min(MAX_DELAY)).await;
        }
    }
}

async fn connect(printer: &Centauri) -> Result<Socket, Lost> {
    let connector = &printer.context.connector;
    let connection = connector.connect().await?;
    let request = format!("ws://{}/websocket", connector.target().authority()).into_client_request()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    match timeout(TIMEOUT, client_async_with_config(request, connection.io, Some(config))).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(answer))) if is_refusal(answer.body().as_deref()) => Err(Lost::TooManyClients),
        Ok(Err(error)) => Err(Lost::Handshake(error)),
        Err(_) => Err(Lost::Silent),
    }
}

fn is_refusal(body: Option<&[u8]>) -> bool {
    let body = body.unwrap_or_default();
    message::is_too_many(&String::from_utf8_lossy(&body[..body.len().min(MAX_REFUSAL)]))
}

/// One connection.
struct Session<'a> {
    printer: &'a Centauri,
    socket: Socket,
    /// What others want to ask.
    calls: mpsc::Receiver<Call>,
    pending: Pending,
    status: Status,
    /// The request about a file, by its id, and the file.
    asked_file: Option<(String, String)>,
    has_camera: bool,
}

impl<'a> Session<'a> {
    fn new(printer: &'a Centauri, socket: Socket) -> Self {
        Self {
            calls: printer.calls.begin(),
            printer,
            socket,
            pending: Pending::new(),
            status: Status::default(),
            asked_file: None,
            has_camera: true,
        }
    }

    async fn run(mut self) -> Lost {
        match self.follow().await {
            Ok(never) => match never {},
            // It may have said why before it hung up.
            Err(Lost::Broke(error)) if self.last_words_are_too_many().await => {
                debug!(%error, "the printer hung up on a client too many");
                Lost::TooManyClients
            }
            Err(lost) => lost,
        }
    }

    async fn last_words_are_too_many(&mut self) -> bool {
        while let Ok(Some(Ok(message))) = timeout(LAST_WORDS, self.socket.next()).await {
            match message {
                Message::Text(text) if message::read(text.as_str()) == Incoming::TooManyClients => return true,
                Message::Close(frame) => return frame.is_some_and(|frame| message::is_too_many(&frame.reason)),
                _ => {}
            }
        }
        false
    }

    async fn follow(&mut self) -> Result<Infallible, Lost> {
        self.ask(command::ATTRIBUTES, &json!({})).await?;
        self.ask(command::STATUS, &json!({})).await?;
        let now = Instant::now();
        let (mut heard, mut pinged) = (now, now);
        // The first state goes out at once.
        let mut published = now.checked_sub(PERIOD).unwrap_or(now);
        let mut changed = false;
        loop {
            tokio::select! {
                message = self.socket.next() => {
                    heard = Instant::now();
                    match message.ok_or(Lost::Closed)?? {
                        Message::Text(text) => changed |= self.handle(text.as_str()).await?,
                        Message::Close(frame) => {
                            let is_full = frame.is_some_and(|frame| message::is_too_many(&frame.reason));
                            return Err(if is_full { Lost::TooManyClients } else { Lost::Closed });
                        }
                        _ => {}
                    }
                }
                // The sender stays with the platform, which outlives the session.
                Some(call) = self.calls.recv() => {
                    if let Some(request) = self.pending.ask(call) {
                        self.send(request).await?;
                    }
                }
                () = sleep_until(published + PERIOD), if changed => {
                    changed = false;
                    published = Instant::now();
                    self.publish();
                }
                () = sleep_until(pinged + PING_PERIOD) => {
                    pinged = Instant::now();
                    if heard.elapsed() > SILENCE {
                        return Err(Lost::Silent);
                    }
                    self.send(PING.to_owned()).await?;
                    // Not every firmware answers a ping, but all of them answer this.
                    self.ask(command::STATUS, &json!({})).await?;
                }
            }
        }
    }

    /// Asks for what comes as a message of its own.
    async fn ask(&mut self, command: u64, data: &Value) -> Result<String, Lost> {
        let id = self.pending.new_id();
        self.send(message::request(command, data, &id)).await?;
        Ok(id)
    }

    async fn send(&mut self, text: String) -> Result<(), Lost> {
        timeout(TIMEOUT, self.socket.send(Message::text(text))).await.map_err(|_| Lost::Silent)?.map_err(Lost::Broke)
    }

    /// Returns whether the state may have changed.
    async fn handle(&mut self, text: &str) -> Result<bool, Lost> {
        match message::read(text) {
            Incoming::Status(status) => {
                self.status.merge(status);
                self.ask_about_file().await?;
                Ok(true)
            }
            Incoming::Attributes(attributes) => {
                let version = attributes.get("FirmwareVersion").and_then(Value::as_str).unwrap_or_default();
                debug!(version, "the printer has said what it is");
                self.has_camera = has_camera(&attributes);
                Ok(true)
            }
            Incoming::Answer(answer) => Ok(self.pending.handle(answer).is_some_and(|answer| self.handle_file(&answer))),
            Incoming::TooManyClients => Err(Lost::TooManyClients),
            Incoming::Other => Ok(false),
        }
    }

    /// Asks what a new file weighs.
    async fn ask_about_file(&mut self) -> Result<(), Lost> {
        let Some(file) = self.status.file() else { return Ok(()) };
        if self.asked_file.as_ref().is_some_and(|(_, asked)| asked == file) {
            return Ok(());
        }
        let file = file.to_owned();
        let path = if file.starts_with('/') { file.clone() } else { format!("/local/{file}") };
        let id = self.ask(command::FILE_INFO, &json!({"Url": path})).await?;
        self.asked_file = Some((id, file));
        Ok(())
    }

    /// Returns whether it was the answer about the file, and says something.
    fn handle_file(&mut self, answer: &Answer) -> bool {
        let Some((_, file)) = self.asked_file.as_ref().filter(|(id, _)| *id == answer.request_id) else { return false };
        let data = &answer.data;
        let Some(grams) = data["FileInfo"]["EstWeight"].as_f64().or_else(|| data["EstWeight"].as_f64()) else {
            return false;
        };
        self.status.handle_weight(file, grams);
        true
    }

    fn publish(&self) {
        // What the printer is comes before what it does.
        if !self.status.is_known() {
            return;
        }
        let cameras = if self.has_camera { camera::source(self.printer) } else { None };
        let observed = Observed { cameras: cameras.into_iter().collect(), ..self.status.observed() };
        self.printer.context.publisher.publish(observed);
    }
}

/// Whether the printer streams pictures; one that lists what it can do, and does not list that, does not.
fn has_camera(attributes: &Map<String, Value>) -> bool {
    let Some(capabilities) = attributes.get("Capabilities").and_then(Value::as_array) else { return true };
    capabilities.is_empty() || capabilities.iter().any(|capability| capability == "VIDEO_STREAM")
}
