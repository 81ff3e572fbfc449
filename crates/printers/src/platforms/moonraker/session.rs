//! Moonraker's state, as it pushes it over its WebSocket (JSON-RPC 2.0).

use std::time::Duration;

use futures_util::StreamExt;
use model::printing::Camera;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tunnel::backoff::{Backoff, random_fraction};

use super::Moonraker;
use super::lights::PowerLight;
use super::metadata::Metadata;
use super::objects::Objects;
use super::rpc::{Call, Pending, RpcError};
use crate::cameras::CameraSource;
use crate::platforms::{CommandFailure, Observed};
use crate::software_client::websocket::{self, PING_PERIOD, SILENCE, Socket, SocketError};

/// Klipper reports four times a second; the state is made from it this often.
const PERIOD: Duration = Duration::from_millis(500);
/// Klipper starts when its board is switched on, and nothing says so to those who came before Moonraker knew it.
const KLIPPER_PERIOD: Duration = Duration::from_secs(10);
/// Numbers of our questions. Each is under way once at the most, so the number says what an answer is to.
mod question {
    pub(super) const OBJECTS: u64 = 1;
    pub(super) const SUBSCRIBE: u64 = 2;
    pub(super) const WEBCAMS: u64 = 3;
    pub(super) const METADATA: u64 = 4;
    pub(super) const INFO: u64 = 5;
    pub(super) const POWER: u64 = 6;
}

#[derive(Debug, Error)]
pub(super) enum Lost {
    #[error("{0}")]
    Socket(#[from] SocketError),
    #[error("Moonraker asks for an API key: set `api_key`")]
    KeyMissing,
    #[error("Moonraker does not accept the API key")]
    KeyWrong,
}

impl From<Lost> for CommandFailure {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::KeyMissing | Lost::KeyWrong => Self::CredentialsRejected(lost.to_string()),
            _ => Self::NotConnected(lost.to_string()),
        }
    }
}

pub(super) async fn observe(moonraker: &Moonraker) {
    let mut backoff = Backoff::default();
    loop {
        let began = Instant::now();
        let lost = match connect(moonraker).await {
            Ok(socket) => {
                let lost = Session::new(moonraker, socket).run().await;
                backoff.handle_connection_lasted(began.elapsed());
                lost
            }
            Err(lost) => lost,
        };
        // A key that is missing is missing until somebody acts; a printer that is switched on is wanted soon.
        let is_about_key = matches!(lost, Lost::KeyMissing | Lost::KeyWrong);
        let delay =
            if is_about_key { KLIPPER_PERIOD } else { backoff.next_delay(random_fraction()).min(KLIPPER_PERIOD) };
        moonraker.publish(Observed::trouble(lost.into()));
        tokio::time::sleep(delay).await;
    }
}

async fn connect(moonraker: &Moonraker) -> Result<Socket, Lost> {
    let key = moonraker.client.api_key();
    websocket::open(moonraker.client.connector(), "/websocket", key).await.map_err(|error| match error {
        SocketError::Refused => key_problem(moonraker),
        other => Lost::Socket(other),
    })
}

pub(super) fn key_problem(moonraker: &Moonraker) -> Lost {
    if moonraker.client.api_key().is_some() { Lost::KeyWrong } else { Lost::KeyMissing }
}

/// One connection.
struct Session<'a> {
    moonraker: &'a Moonraker,
    socket: Socket,
    /// What others want to ask.
    calls: mpsc::Receiver<Call>,
    pending: Pending,
    /// `None` until Klipper has said what it has.
    objects: Option<Objects>,
    /// Lights that Moonraker switches without Klipper.
    power_lights: Vec<PowerLight>,
    metadata: Metadata,
    cameras: Vec<CameraSource>,
}

#[derive(Deserialize)]
struct Incoming {
    id: Option<u64>,
    method: Option<String>,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    result: Value,
    error: Option<RpcError>,
}

impl<'a> Session<'a> {
    fn new(moonraker: &'a Moonraker, socket: Socket) -> Self {
        let calls = moonraker.rpc.begin();
        Self {
            moonraker,
            socket,
            calls,
            pending: Pending::default(),
            power_lights: vec![],
            objects: None,
            metadata: Metadata::default(),
            cameras: vec![],
        }
    }

    async fn run(mut self) -> Lost {
        match self.follow().await {
            Ok(never) => match never {},
            Err(lost) => lost,
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, Lost> {
        self.ask(question::INFO, "server.info", json!({})).await?;
        self.ask(question::WEBCAMS, "server.webcams.list", json!({})).await?;
        self.ask(question::POWER, "machine.device_power.devices", json!({})).await?;
        self.ask(question::OBJECTS, "printer.objects.list", json!({})).await?;
        let now = Instant::now();
        let (mut heard, mut pinged, mut asked, mut published) = (now, now, now, now);
        let mut changed = false;
        loop {
            let klipper_is_due = self.objects.is_none();
            tokio::select! {
                message = self.socket.next() => {
                    heard = Instant::now();
                    match message.ok_or(SocketError::Closed)?.map_err(SocketError::Broke)? {
                        Message::Text(text) => changed |= self.handle(text.as_str()).await?,
                        Message::Close(_) => return Err(SocketError::Closed.into()),
                        _ => {}
                    }
                }
                // The sender stays with the platform, which outlives the session.
                Some(call) = self.calls.recv() => {
                    if let Some(question) = self.pending.ask(call) {
                        self.send(Message::text(question)).await?;
                    }
                }
                () = sleep_until(published + PERIOD), if changed => {
                    changed = false;
                    published = Instant::now();
                    self.publish();
                }
                () = sleep_until(asked + KLIPPER_PERIOD), if klipper_is_due => {
                    asked = Instant::now();
                    self.ask(question::OBJECTS, "printer.objects.list", json!({})).await?;
                }
                () = sleep_until(pinged + PING_PERIOD) => {
                    pinged = Instant::now();
                    if heard.elapsed() > SILENCE {
                        return Err(SocketError::Silent.into());
                    }
                    self.send(Message::Ping(bytes::Bytes::new())).await?;
                }
            }
        }
    }

    async fn ask(&mut self, id: u64, method: &str, params: Value) -> Result<(), Lost> {
        let question = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(Message::text(question.to_string())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Lost> {
        Ok(websocket::send(&mut self.socket, message).await?)
    }

    /// Returns whether the state may have changed.
    async fn handle(&mut self, text: &str) -> Result<bool, Lost> {
        // What is no JSON-RPC is none of ours: other versions may say more.
        let Ok(incoming) = serde_json::from_str::<Incoming>(text) else { return Ok(false) };
        if let Some(method) = &incoming.method {
            return self.handle_notification(method, &incoming.params).await;
        }
        if let Some(number) = incoming.id.filter(|number| *number > question::POWER) {
            let answer = incoming.error.map_or(Ok(incoming.result), Err);
            self.pending.handle(number, answer);
            return Ok(false);
        }
        if incoming.error.as_ref().is_some_and(RpcError::is_about_key) {
            return Err(key_problem(self.moonraker));
        }
        let failed = incoming.error.is_some();
        match incoming.id {
            // Klipper is asked again later.
            Some(question::OBJECTS) if failed => {
                self.objects = None;
                self.moonraker.publish(self.without_klipper());
                return Ok(false);
            }
            Some(question::OBJECTS) => {
                let names = incoming.result["objects"].as_array().into_iter().flatten();
                let names: Vec<String> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
                let objects = Objects::choose(&names);
                let subscription = objects.subscription();
                self.objects = Some(objects);
                self.ask(question::SUBSCRIBE, "printer.objects.subscribe", subscription).await?;
                return Ok(false);
            }
            Some(question::SUBSCRIBE) if failed => self.objects = None,
            Some(question::SUBSCRIBE) => self.merge(&incoming.result["status"]).await?,
            Some(question::WEBCAMS) => self.cameras = self.read_cameras(&incoming.result),
            Some(question::METADATA) => self.metadata.handle(&incoming.result),
            Some(question::INFO) => {
                self.moonraker.handle_version(incoming.result["moonraker_version"].as_str().unwrap_or_default());
                return Ok(false);
            }
            // Not every Moonraker has power devices, and then this is an error.
            Some(question::POWER) => {
                let devices = incoming.result["devices"].as_array().into_iter().flatten();
                self.power_lights = devices.filter_map(PowerLight::read).collect();
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn handle_notification(&mut self, method: &str, params: &Value) -> Result<bool, Lost> {
        match method {
            "notify_status_update" => self.merge(&params[0]).await?,
            "notify_klippy_ready" => {
                self.ask(question::OBJECTS, "printer.objects.list", json!({})).await?;
                return Ok(false);
            }
            "notify_klippy_disconnected" => {
                self.objects = None;
                self.moonraker.publish(self.without_klipper());
                return Ok(false);
            }
            "notify_klippy_shutdown" => {
                self.merge(&json!({"webhooks": {"state": "shutdown"}})).await?;
            }
            "notify_power_changed" => {
                let Some(changed) = PowerLight::read(&params[0]) else { return Ok(false) };
                let Some(known) = self.power_lights.iter_mut().find(|light| light.name == changed.name) else {
                    return Ok(false);
                };
                *known = changed;
            }
            "notify_webcams_changed" => self.cameras = self.read_cameras(&params[0]),
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn merge(&mut self, changes: &Value) -> Result<(), Lost> {
        let Some(objects) = &mut self.objects else { return Ok(()) };
        objects.merge(changes);
        if let Some(file) = objects.file()
            && file != self.metadata.file
        {
            self.metadata = Metadata::of(file.clone());
            self.ask(question::METADATA, "server.files.metadata", json!({"filename": file})).await?;
        }
        Ok(())
    }

    fn read_cameras(&self, answer: &Value) -> Vec<CameraSource> {
        #[derive(Deserialize)]
        struct Webcam {
            name: String,
            #[serde(default = "yes")]
            enabled: bool,
            #[serde(default)]
            stream_url: String,
            #[serde(default)]
            snapshot_url: String,
            #[serde(default)]
            flip_horizontal: bool,
            #[serde(default)]
            flip_vertical: bool,
            #[serde(default)]
            rotation: u16,
        }
        const fn yes() -> bool {
            true
        }
        let webcams = answer["webcams"].as_array().into_iter().flatten();
        webcams
            .filter_map(|webcam| Webcam::deserialize(webcam).ok())
            .filter(|webcam| webcam.enabled)
            .filter_map(|webcam| {
                let camera = Camera {
                    name: webcam.name,
                    flip_h: webcam.flip_horizontal,
                    flip_v: webcam.flip_vertical,
                    rotation: webcam.rotation,
                };
                self.moonraker.context.addresses.source(camera, Some(&webcam.stream_url), Some(&webcam.snapshot_url))
            })
            .collect()
    }

    fn without_klipper(&self) -> Observed {
        let problem = "Klipper is not running, or not ready: is the printer switched on?";
        Observed { cameras: self.cameras.clone(), ..Observed::not_connected(problem) }
    }

    fn publish(&self) {
        let Some(objects) = &self.objects else {
            self.moonraker.publish(self.without_klipper());
            return;
        };
        self.moonraker.handle_parts(objects.parts(&self.power_lights));
        self.moonraker.publish(Observed {
            state: objects.state(&self.metadata, &self.power_lights),
            details: objects.details(&self.metadata, &self.power_lights),
            cameras: self.cameras.clone(),
            trouble: None,
        });
    }
}
