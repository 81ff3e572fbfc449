//! What the service wants of a session.

use std::time::Instant;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Method, Request};

use super::http_stream::HttpStream;
use super::websocket_stream::WebSocketStream;
use super::{BodyLength, MessageKind, OpenError, Phase, SendError, Session, Stream, StreamId};
use crate::handshake::{Acceptance, Introduction, Refusal};
use crate::request::{self, Picture};
use crate::response::OwnHosts;
use crate::wire::{HttpInitialContext, Message, Notification, Summon};

impl Session {
    /// Accepts the plugin that introduced itself, or tells one that was accepted what has changed.
    pub fn accept(&mut self, acceptance: Acceptance) {
        if matches!(self.phase, Phase::Introduced | Phase::Open) {
            self.phase = Phase::Open;
            self.outgoing.push(&Message::HandshakeAck(acceptance.into()));
        }
    }

    /// Refuses the plugin that introduced itself. The connection should end when this is sent.
    pub fn refuse(&mut self, refusal: Refusal) {
        // Later, it would end a session that works (tunnel.md 4.1).
        if self.phase == Phase::Introduced {
            self.outgoing.push(&Message::HandshakeAck(refusal.into()));
            self.handle_disconnect();
        }
    }

    /// Shows something on the printer's own screen. Without title and text the plugin shows nothing.
    pub fn notify(&mut self, notification: Notification) {
        if self.phase == Phase::Open {
            self.outgoing.push(&Message::Notification(notification));
        }
    }

    /// Asks the plugin to open another session elsewhere.
    pub fn summon(&mut self, summon: Summon) {
        if self.phase == Phase::Open {
            self.outgoing.push(&Message::Summon(summon));
        }
    }

    /// Sends a request's head. `authority` is what stands in the visitor's address bar.
    ///
    /// # Errors
    /// If the session takes no streams, or the request is none that the plugin could take.
    pub fn open_http(
        &mut self,
        request: &Request<()>,
        authority: &Authority,
        body: BodyLength,
    ) -> Result<StreamId, OpenError> {
        self.may_open()?;
        let context = request::http_context(request, authority)?;
        self.open_exchange(context, request.method(), authority, body)
    }

    /// Gives the plugin one of its own commands. Whether its caller may is for the caller to know; what nobody may is
    /// refused here as well.
    ///
    /// # Errors
    /// If the session takes no streams, or it is no command that can be read in one way only.
    pub fn open_command(
        &mut self,
        request: &Request<()>,
        authority: &Authority,
        body: BodyLength,
    ) -> Result<StreamId, OpenError> {
        self.may_open()?;
        let context = request::command_context(request, authority)?;
        self.open_exchange(context, request.method(), authority, body)
    }

    /// Asks for a picture of one of the printer's cameras.
    ///
    /// # Errors
    /// If the session takes no streams.
    pub fn open_camera(
        &mut self,
        picture: Picture,
        index: usize,
        authority: &Authority,
    ) -> Result<StreamId, OpenError> {
        let context = request::camera_context(picture, index, authority);
        self.open_exchange(context, &Method::GET, authority, BodyLength::Known(0))
    }

    fn open_exchange(
        &mut self,
        context: HttpInitialContext,
        method: &Method,
        authority: &Authority,
        body: BodyLength,
    ) -> Result<StreamId, OpenError> {
        let introduction = self.may_open()?;
        let own = OwnHosts { authority: authority.clone(), lan_address: introduction.lan_address };
        let id = self.ids.next(|id| self.streams.contains_key(&id));
        let stream = HttpStream::new(method, own, body, self.options.dictionary);
        self.outgoing.open_http(id, context, body);
        self.streams.insert(id, Stream::Http(stream));
        Ok(id)
    }

    /// Sends a piece of a request's body.
    ///
    /// # Errors
    /// If the stream is over, or the body is longer than announced.
    pub fn send_body(&mut self, id: StreamId, data: Bytes) -> Result<(), SendError> {
        let Some(Stream::Http(http)) = self.streams.get_mut(&id) else { return Err(SendError::Over) };
        let counted = http.handle_upload(data.len());
        self.close_unless_sound(id, counted)?;
        self.outgoing.body(id, data);
        Ok(())
    }

    /// A body of the wrong length would make the plugin drop its session.
    fn close_unless_sound(&mut self, id: StreamId, counted: Result<(), SendError>) -> Result<(), SendError> {
        counted.inspect_err(|error| {
            if *error == SendError::Length {
                self.remove(id, true);
            }
        })
    }

    /// Ends a request's body. The printer gets the request no sooner.
    ///
    /// # Errors
    /// If the stream is over, or the body is shorter than announced.
    pub fn finish_body(&mut self, id: StreamId) -> Result<(), SendError> {
        let Some(Stream::Http(http)) = self.streams.get_mut(&id) else { return Err(SendError::Over) };
        let counted = http.handle_upload_end();
        self.close_unless_sound(id, counted)?;
        self.outgoing.body_end(id);
        Ok(())
    }

    /// Opens a WebSocket. The plugin never says whether the printer accepted it, so the visitor has to be promised
    /// `protocol`, one of those it offered, beforehand.
    ///
    /// # Errors
    /// If the session takes no streams, or the request is none that the plugin could take.
    pub fn open_websocket(
        &mut self,
        request: &Request<()>,
        authority: &Authority,
        protocol: Option<&HeaderValue>,
        now: Instant,
    ) -> Result<StreamId, OpenError> {
        let host = self.may_open()?.host;
        let context = request::websocket_context(request, authority, protocol, host)?;
        Ok(self.open_frames(context, now))
    }

    /// Opens a WebSocket that speaks MQTT with the printer.
    ///
    /// # Errors
    /// If the session takes no streams, or the printer speaks no MQTT.
    pub fn open_mqtt(
        &mut self,
        request: &Request<()>,
        authority: &Authority,
        protocol: Option<&HeaderValue>,
        now: Instant,
    ) -> Result<StreamId, OpenError> {
        let host = self.may_open()?.host;
        let context = request::mqtt_context(request, authority, protocol, host)?;
        Ok(self.open_frames(context, now))
    }

    fn open_frames(&mut self, context: HttpInitialContext, now: Instant) -> StreamId {
        let id = self.ids.next(|id| self.streams.contains_key(&id));
        let stream = WebSocketStream::new(self.options.dictionary, now);
        self.early.push_back((stream.early_until(), id));
        self.outgoing.open_websocket(id, context);
        self.streams.insert(id, Stream::WebSocket(stream));
        id
    }

    /// Sends a WebSocket's message.
    ///
    /// # Errors
    /// If the stream is over, or takes no message yet.
    pub fn send_message(&mut self, id: StreamId, kind: MessageKind, data: Bytes) -> Result<(), SendError> {
        let Some(Stream::WebSocket(websocket)) = self.streams.get_mut(&id) else { return Err(SendError::Over) };
        websocket.handle_send()?;
        self.outgoing.message(id, kind, data);
        Ok(())
    }

    /// Sends a WebSocket's close frame. The printer's answer ends the stream, as [`StreamEnd::Complete`].
    ///
    /// # Errors
    /// If the stream is over, or takes no message yet.
    pub fn send_close_frame(&mut self, id: StreamId, code: u16, reason: &str) -> Result<(), SendError> {
        let Some(Stream::WebSocket(websocket)) = self.streams.get_mut(&id) else { return Err(SendError::Over) };
        websocket.handle_send()?;
        self.outgoing.close_frame(id, code, reason);
        Ok(())
    }

    /// Ends a stream at once. Nothing more is heard of it.
    pub fn close(&mut self, id: StreamId) {
        self.remove(id, true);
    }

    fn may_open(&self) -> Result<&Introduction, OpenError> {
        match &self.introduction {
            Some(introduction) if self.phase == Phase::Open => {
                if self.streams.len() < self.options.max_streams {
                    Ok(introduction)
                } else {
                    Err(OpenError::TooManyStreams)
                }
            }
            _ => Err(OpenError::NotOpen),
        }
    }
}
