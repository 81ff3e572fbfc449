//! The plugin's end of a session, for tests.
//!
//! It is written from the specification and from nothing else, and shares no more than [`crate::wire`] with the
//! service's end. It is as strict as the plugin: whatever makes that drop its session is a [`Reset`] here. Beyond that
//! it takes no request that would leave the printer's host.

mod answer;
mod deflate;

use std::collections::HashMap;

use bytes::Bytes;
use model::Secret;

pub use answer::{Answer, AnswerEnd, close, message};
pub use deflate::Deflater;

use crate::wire::{
    self, Compression, HandshakeAck, HandshakeSyn, HttpInitialContext, Message, Notification, PathKind, ServerHost,
    StreamMessage, Summon, WebSocketKind,
};

/// Why the plugin drops its session; each reason is one of tunnel.md 13.1.
#[derive(Debug, PartialEq, Eq)]
pub struct Reset(pub String);

/// What the service asks of the plugin.
#[derive(Debug, PartialEq, Eq)]
pub enum PrinterEvent {
    /// The service is who it says it is, and serves the printer.
    Accepted(HandshakeAck),
    /// A whole request.
    Request(PrinterRequest),
    /// A WebSocket is to be opened.
    WebSocket(u32, HttpInitialContext),
    /// A message for a WebSocket; the body of the frame if it is a close frame.
    Message(u32, WebSocketKind, Bytes),
    /// Nobody wants the stream any more.
    Closed(u32),
    /// Something for the screen.
    Notification(Notification),
    /// Another session is wanted.
    Summon(Summon),
}

/// A whole request.
#[derive(Debug, PartialEq, Eq)]
pub struct PrinterRequest {
    /// The stream.
    pub stream: u32,
    /// Its head.
    pub context: HttpInitialContext,
    /// Its body.
    pub body: Vec<u8>,
}

impl PrinterRequest {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.context.headers.as_deref().unwrap_or_default();
        headers.iter().find(|header| header.key.as_deref() == Some(name)).and_then(|header| header.value.as_deref())
    }
}

enum Stream {
    Http { context: HttpInitialContext, announced: i64, body: Vec<u8>, is_done: bool },
    WebSocket,
}

/// See the module.
pub struct Printer {
    host: ServerHost,
    expected: String,
    /// What it says that its version is.
    pub version: String,
    is_accepted: bool,
    streams: HashMap<u32, Stream>,
}

impl Printer {
    /// A plugin of a flavour that wants `expected` as the answer to its challenge.
    pub fn new(host: ServerHost, expected: &str) -> Self {
        let version = "5.3.1".to_owned();
        Self { host, expected: expected.to_owned(), version, is_accepted: false, streams: HashMap::new() }
    }

    /// The first message, with everything that a service needs.
    pub fn introduction(&self, printer_id: &str, private_key: &str, challenge: &[u8], best: Compression) -> Bytes {
        wire::encode(&Message::HandshakeSyn(Box::new(HandshakeSyn {
            printer_id: Some(printer_id.to_owned()),
            is_primary_connection: true,
            plugin_version: Some(self.version.clone()),
            local_device_ip: Some("192.0.2.17".to_owned()),
            local_http_proxy_port: 80,
            rsa_challenge: Some(Bytes::copy_from_slice(challenge)),
            ras_challenge_version: 1,
            private_key: Some(Secret::new(private_key)),
            server_host: self.host,
            receive_compression_type: best,
            ..HandshakeSyn::default()
        })))
    }

    /// Streams that are open.
    pub fn open_streams(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.streams.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Takes in a message.
    ///
    /// # Errors
    /// If it makes the plugin drop the session.
    pub fn handle_message(&mut self, bytes: &Bytes) -> Result<Option<PrinterEvent>, Reset> {
        match wire::decode(bytes).map_err(|error| Reset(format!("{error}")))? {
            Message::HandshakeAck(ack) => self.handle_ack(ack).map(Some),
            Message::Stream(stream) => self.handle_stream(*stream),
            Message::Notification(notification) => Ok(Some(PrinterEvent::Notification(notification))),
            Message::Summon(summon) => Ok(Some(PrinterEvent::Summon(summon))),
            Message::HandshakeSyn(_) => reset("an introduction of the service"),
            Message::Unknown(_) => Ok(None),
        }
    }

    fn handle_ack(&mut self, ack: HandshakeAck) -> Result<PrinterEvent, Reset> {
        if !ack.accepted {
            return reset(&format!("refused: {}", ack.error.unwrap_or_default()));
        }
        if ack.rsa_challenge_result.as_deref() != Some(&self.expected) {
            return reset("the answer to the challenge is wrong");
        }
        if ack.octokey.is_none() {
            return reset("accepted without an octokey");
        }
        self.is_accepted = true;
        Ok(PrinterEvent::Accepted(ack))
    }

    fn handle_stream(&mut self, message: StreamMessage) -> Result<Option<PrinterEvent>, Reset> {
        let id = message.stream_id;
        if id == 0 {
            return reset("stream 0");
        }
        if message.is_close_msg {
            return Ok(self.streams.remove(&id).map(|_| PrinterEvent::Closed(id)));
        }
        let mut event = None;
        if message.is_open_msg {
            if self.streams.contains_key(&id) {
                return reset("a stream is opened twice");
            }
            let Some(context) = message.http_initial_context.clone() else { return reset("opened without a head") };
            let stream = if message.is_websocket_stream {
                self.check_websocket(&context)?;
                event = Some(PrinterEvent::WebSocket(id, context));
                Stream::WebSocket
            } else {
                check_request(&context)?;
                Stream::Http { context, announced: message.full_stream_data_size, body: Vec::new(), is_done: false }
            };
            self.streams.insert(id, stream);
        }
        if message.is_control_flags_only {
            return Ok(event);
        }
        match self.streams.get_mut(&id) {
            None => Ok(None),
            Some(Stream::WebSocket) => match message.websocket_data_type {
                kind @ (WebSocketKind::Text | WebSocketKind::Binary | WebSocketKind::Close) => {
                    if event.is_some() {
                        return reset("a message within an opening is for another plugin to test");
                    }
                    Ok(Some(PrinterEvent::Message(id, kind, plain(message)?)))
                }
                kind => reset(&format!("a message of the kind {kind:?}")),
            },
            Some(Stream::Http { context, announced, body, is_done }) => {
                let done = message.is_data_transmission_done;
                let data = plain(message)?;
                if *is_done {
                    return reset("a body goes on after its end");
                }
                body.extend_from_slice(&data);
                let length = i64::try_from(body.len()).unwrap_or(i64::MAX);
                if *announced > 0 && (length > *announced || (done && length != *announced)) {
                    return reset("a body is not as long as announced");
                }
                if !done {
                    return Ok(None);
                }
                *is_done = true;
                let (context, body) = (context.clone(), std::mem::take(body));
                Ok(Some(PrinterEvent::Request(PrinterRequest { stream: id, context, body })))
            }
        }
    }

    fn check_websocket(&self, context: &HttpInitialContext) -> Result<(), Reset> {
        check_target(context)?;
        let path = context.path.as_deref().unwrap_or_default();
        if self.host == ServerHost::Elegoo && !path.starts_with("/websocket") {
            return reset("a WebSocket that this flavour does not have");
        }
        let path = path.to_lowercase();
        let command = path.strip_prefix("/octoeverywhere-command-api/");
        if command.is_some_and(|command| !command.starts_with("proxy/mqtt") || !self.host.has_mqtt()) {
            return reset("a WebSocket to a command");
        }
        Ok(())
    }

    /// The printer closed a stream, or it is answered in full.
    pub fn forget(&mut self, stream: u32) {
        self.streams.remove(&stream);
    }
}

fn check_request(context: &HttpInitialContext) -> Result<(), Reset> {
    check_target(context)?;
    if context.method.as_deref().is_none_or(str::is_empty) {
        return reset("a request without a method");
    }
    if context.octo_host.as_deref().is_none_or(str::is_empty) {
        return reset("a request without an octo_host");
    }
    Ok(())
}

fn check_target(context: &HttpInitialContext) -> Result<(), Reset> {
    let Some(path) = context.path.as_deref() else { return reset("a request without a path") };
    if context.path_type != PathKind::Relative {
        return reset("a request that leaves the printer's host");
    }
    if !path.starts_with('/') {
        return reset("a path that is glued to the printer's port");
    }
    let path = path.to_lowercase();
    let command = path.strip_prefix("/octoeverywhere-command-api/");
    if command.is_some_and(|command| command.starts_with("rekey") || command.starts_with("get-connection-info")) {
        return reset("a visitor gets at the plugin's identity or the printer's passwords");
    }
    Ok(())
}

/// Nothing that this service sends is compressed.
fn plain(message: StreamMessage) -> Result<Bytes, Reset> {
    match message.data_compression {
        Compression::None => Ok(message.data.unwrap_or_default()),
        other => reset(&format!("compressed with {other:?}")),
    }
}

fn reset<T>(reason: &str) -> Result<T, Reset> {
    Err(Reset(reason.to_owned()))
}
