//! A session with a plugin, the service's end of it.
//!
//! A pure state machine. Messages and the time go in; messages, events and the next moment to wake come out. It knows
//! no socket, no clock and no secrets of the service: who decrypts the challenge, and decides whom to accept, gets an
//! [`Event::Introduced`] and answers with [`Session::accept`] or [`Session::refuse`].
//!
//! After each call of a `handle_*` method, and after each command, take what [`Session::poll_transmit`] and
//! [`Session::poll_event`] have, until they have nothing, and look at [`Session::poll_timeout`] anew.
//!
//! What a plugin does wrong within a stream ends that stream and no other. In the other direction there is no such
//! mercy: a message that the plugin cannot take makes it drop the whole session (tunnel.md 13.1), so no command makes
//! one, whatever a visitor sends.

mod commands;
mod events;
mod http_stream;
mod outgoing;
mod stream_id;
mod websocket_stream;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::handshake::{Introduction, Refusal};
use crate::inflate::Dictionary;
use crate::wire::{self, Message, StreamMessage};

pub use events::{Event, OpenError, SendError, SessionError, StreamEnd, StreamFault};
pub use http_stream::BodyLength;
pub use stream_id::StreamId;
pub use websocket_stream::{EARLY_MESSAGES, EARLY_TIME, MessageKind, SILENT_FAILURE};

use http_stream::HttpStream;
use outgoing::Outgoing;
use stream_id::StreamIds;
use websocket_stream::{MessagePiece, WebSocketStream};

/// Bytes of a request's body in one message: printers have little memory (tunnel.md 9.3).
pub const MAX_UPLOAD_PIECE: usize = 1024 * 1024;
/// Plugins ping for the first time after 60 seconds, then every 30 (tunnel.md 1.4). One that is silent for longer is
/// gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(110);
/// The introduction is the first thing that a plugin sends.
const INTRODUCTION_LIMIT: Duration = Duration::from_secs(10);

/// What a session may cost, and what it can understand.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// What compresses, and what plugins with zstd need.
    pub dictionary: Option<Dictionary>,
    /// Streams open at once.
    pub max_streams: usize,
    /// Bytes that the decoders of all streams may hold. One holds a window of some 2 MiB, or 8 MiB at the most.
    pub max_decoder_memory: usize,
    /// The id of the first stream. Anything but 1 is for tests.
    pub first_stream_id: u32,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { dictionary: None, max_streams: 256, max_decoder_memory: 128 * 1024 * 1024, first_stream_id: 1 }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Waiting { until: Instant },
    Introduced,
    Open,
    Over,
}

#[derive(Debug)]
enum Stream {
    Http(HttpStream),
    WebSocket(WebSocketStream),
}

/// A message whose payload is being handed on.
#[derive(Clone, Copy, Debug)]
struct Current {
    stream: StreamId,
    ends: Ends,
    now: Instant,
}

/// The flags of a message that may end its stream.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    is_done: bool,
    is_closed: bool,
    is_unreachable: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    phase: Phase,
    introduction: Option<Introduction>,
    streams: HashMap<StreamId, Stream>,
    ids: StreamIds,
    outgoing: Outgoing,
    events: VecDeque<Event>,
    current: Option<Current>,
    /// When WebSockets take messages without limit, in the order of opening, which is that of time.
    early: VecDeque<(Instant, StreamId)>,
    last_heard: Instant,
}

impl Session {
    /// A session on a connection that began at `now`.
    pub fn new(options: SessionOptions, now: Instant) -> Self {
        Self {
            options,
            phase: Phase::Waiting { until: now + INTRODUCTION_LIMIT },
            introduction: None,
            streams: HashMap::new(),
            ids: StreamIds::starting_at(options.first_stream_id),
            outgoing: Outgoing::default(),
            events: VecDeque::new(),
            current: None,
            early: VecDeque::new(),
            last_heard: now,
        }
    }

    /// Who the plugin says that it is.
    pub fn introduction(&self) -> Option<&Introduction> {
        self.introduction.as_ref()
    }

    /// Streams that are open.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes of messages that wait to be sent.
    pub fn waiting_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// Bytes that decoders hold.
    pub fn decoder_memory(&self) -> usize {
        self.streams.values().map(Stream::memory).sum()
    }

    /// Something came that is no message, such as a ping.
    pub fn handle_activity(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// Takes in a message.
    ///
    /// # Errors
    /// If the session cannot go on. All streams are then over.
    pub fn handle_message(&mut self, bytes: &Bytes, now: Instant) -> Result<(), SessionError> {
        self.last_heard = now;
        // Nobody has asked for the rest of the message before; its place in the order is before this one.
        while self.advance() {}
        let handled = match wire::decode(bytes) {
            Ok(message) => self.handle(message, now),
            Err(error) => Err(SessionError::Malformed(error)),
        };
        handled.inspect_err(|_| self.handle_disconnect())
    }

    fn handle(&mut self, message: Message, now: Instant) -> Result<(), SessionError> {
        match (message, &self.phase) {
            (_, Phase::Over) => Ok(()),
            (Message::HandshakeSyn(syn), Phase::Waiting { .. }) => match Introduction::try_from(*syn) {
                Ok(introduction) => {
                    self.phase = Phase::Introduced;
                    self.introduction = Some(introduction.clone());
                    self.events.push_back(Event::Introduced(Box::new(introduction)));
                    Ok(())
                }
                Err(error) => {
                    let refusal = Refusal { error: error.to_string(), backoff_seconds: 0, update_required: false };
                    self.outgoing.push(&Message::HandshakeAck(refusal.into()));
                    Err(SessionError::Introduction(error))
                }
            },
            (_, Phase::Waiting { .. }) => Err(SessionError::NotIntroduced),
            (Message::HandshakeSyn(_), _) => Err(SessionError::IntroducedTwice),
            (Message::Stream(stream), _) => {
                self.handle_stream(*stream, now);
                Ok(())
            }
            // Only the service says these, and what is unknown is for newer services.
            (Message::HandshakeAck(_) | Message::Notification(_) | Message::Summon(_) | Message::Unknown(_), _) => {
                Ok(())
            }
        }
    }

    fn handle_stream(&mut self, message: StreamMessage, now: Instant) {
        // Of a stream that both ends closed at once, something may still be on its way.
        let Some(id) = StreamId::new(message.stream_id) else { return };
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if message.is_open_msg {
            return self.fail(id, StreamFault::Opened);
        }
        let ends = Ends {
            is_done: message.is_data_transmission_done && !message.is_control_flags_only,
            is_closed: message.is_close_msg,
            is_unreachable: message.close_due_to_request_connection_failure,
        };
        // The flag stands for all that is not a flag, which a peer has to ignore (tunnel.md 5, rule 5).
        if !message.is_control_flags_only {
            let handled = match stream {
                Stream::Http(http) => http.handle_message(message).map(|head| head.map(|head| Event::Head(id, head))),
                Stream::WebSocket(websocket) => {
                    websocket.handle_message(message).map(|woken| woken.then_some(Event::Writable(id)))
                }
            };
            match handled {
                Ok(event) => self.events.extend(event),
                Err(fault) => return self.fail(id, fault),
            }
        }
        self.current = Some(Current { stream: id, ends, now });
    }

    /// The connection is gone: every stream is over.
    pub fn handle_disconnect(&mut self) {
        self.phase = Phase::Over;
        self.current = None;
        self.early.clear();
        let mut ids: Vec<StreamId> = self.streams.drain().map(|(id, _)| id).collect();
        ids.sort_unstable();
        self.events.extend(ids.into_iter().map(|id| Event::End(id, StreamEnd::Lost)));
    }

    /// It is `now`, no earlier than what [`Self::poll_timeout`] said.
    ///
    /// # Errors
    /// If the plugin has been silent for too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        let is_late = match self.phase {
            Phase::Over => return Ok(()),
            Phase::Waiting { until } => now >= until,
            Phase::Introduced | Phase::Open => now >= self.last_heard + SILENCE_LIMIT,
        };
        if is_late {
            self.handle_disconnect();
            return Err(SessionError::Silent);
        }
        while let Some((_, id)) = self.early.pop_front_if(|(until, _)| *until <= now) {
            if let Some(Stream::WebSocket(websocket)) = self.streams.get_mut(&id)
                && websocket.handle_early_end()
            {
                self.events.push_back(Event::Writable(id));
            }
        }
        Ok(())
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let limit = match self.phase {
            Phase::Over => return None,
            Phase::Waiting { until } => until,
            Phase::Introduced | Phase::Open => self.last_heard + SILENCE_LIMIT,
        };
        Some(self.early.front().map_or(limit, |(until, _)| limit.min(*until)))
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.outgoing.pop()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if !self.advance() {
                return None;
            }
        }
    }

    /// Goes one step on with the message at hand. Returns false if there is none.
    fn advance(&mut self) -> bool {
        let Some(Current { stream: id, ends, now }) = self.current else { return false };
        let Some(stream) = self.streams.get_mut(&id) else {
            self.current = None;
            return false;
        };
        let piece = match stream {
            Stream::Http(http) => http.next_piece().map(|piece| piece.map(|data| Event::Data(id, data))),
            Stream::WebSocket(websocket) => websocket.next_piece().map(|piece| {
                piece.map(|MessagePiece { kind, data, is_last }| Event::WebSocketData {
                    stream: id,
                    kind,
                    data,
                    is_last,
                })
            }),
        };
        match piece {
            Ok(Some(event)) => self.events.push_back(event),
            Ok(None) => self.finish_message(id, ends, now),
            Err(fault) => self.fail(id, fault),
        }
        true
    }

    /// The message at hand has been handed on.
    fn finish_message(&mut self, id: StreamId, ends: Ends, now: Instant) {
        self.current = None;
        let Some(stream) = self.streams.get(&id) else { return };
        let end = match stream {
            Stream::Http(http) => http.end(ends),
            Stream::WebSocket(websocket) => websocket.end(ends, now),
        };
        let has_decoder = stream.memory() > 0;
        if let Some(end) = end {
            self.remove(id, !ends.is_closed);
            self.events.push_back(Event::End(id, end));
        } else if has_decoder && self.decoder_memory() > self.options.max_decoder_memory {
            self.fail(id, StreamFault::Memory);
        }
    }

    /// Ends a stream that the plugin broke.
    fn fail(&mut self, id: StreamId, fault: StreamFault) {
        self.remove(id, true);
        self.events.push_back(Event::End(id, StreamEnd::Fault(fault)));
    }

    /// Forgets a stream, and tells the plugin if it does not know.
    fn remove(&mut self, id: StreamId, tell: bool) {
        if self.streams.remove(&id).is_none() {
            return;
        }
        if self.current.as_ref().is_some_and(|current| current.stream == id) {
            self.current = None;
        }
        if tell {
            self.outgoing.close(id);
        }
    }
}

impl Stream {
    fn memory(&self) -> usize {
        match self {
            Self::Http(http) => http.memory(),
            Self::WebSocket(websocket) => websocket.memory(),
        }
    }
}
