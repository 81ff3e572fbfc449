//! What happens in a session, and what can go wrong.

use bytes::Bytes;
use thiserror::Error;

use super::{MessageKind, StreamId};
use crate::handshake::{Introduction, IntroductionError};
use crate::inflate::InflateError;
use crate::request::RequestError;
use crate::response::{ResponseError, ResponseHead};
use crate::wire::{DecodeError, WebSocketKind};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The plugin introduced itself, and waits to be accepted or refused.
    Introduced(Box<Introduction>),
    /// The head of a response.
    Head(StreamId, ResponseHead),
    /// A piece of a response's body.
    Data(StreamId, Bytes),
    /// A piece of a WebSocket's message.
    WebSocketData {
        /// Which WebSocket.
        stream: StreamId,
        /// What the message is.
        kind: MessageKind,
        /// The piece.
        data: Bytes,
        /// Whether it ends the message.
        is_last: bool,
    },
    /// The WebSocket that did not take a message takes the next.
    Writable(StreamId),
    /// The stream is over, and its id means nothing any more.
    End(StreamId, StreamEnd),
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The response is whole, or the WebSocket was closed.
    Complete,
    /// The response is not whole.
    BrokeOff,
    /// The printer's software could not be reached.
    TargetUnreachable,
    /// The plugin closed for reasons of its own before it had a response.
    ClosedByPlugin,
    /// The plugin broke the rules.
    Fault(StreamFault),
    /// The session is over.
    Lost,
}

/// What a plugin did wrong in a stream.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum StreamFault {
    /// The response is unusable.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// The payload cannot be decompressed.
    #[error(transparent)]
    Inflate(#[from] InflateError),
    /// The body is longer than announced.
    #[error("the body is longer than announced")]
    TooLong,
    /// A WebSocket's message is neither text nor binary.
    #[error("a message of the kind {0:?} is not for a WebSocket")]
    WebSocketKind(WebSocketKind),
    /// Only the service opens streams.
    #[error("the plugin opened a stream")]
    Opened,
    /// The decoders of all streams hold too much.
    #[error("the session's decoders hold too much memory")]
    Memory,
}

/// Why a session cannot go on. What [`Session::poll_transmit`] still has should be sent before the connection ends.
#[derive(Debug, Error)]
pub enum SessionError {
    /// A message is none.
    #[error("the plugin sent what is no message")]
    Malformed(#[source] DecodeError),
    /// The plugin began with something else than an introduction.
    #[error("the plugin did not introduce itself first")]
    NotIntroduced,
    /// The plugin introduced itself a second time.
    #[error("the plugin introduced itself twice")]
    IntroducedTwice,
    /// The introduction is not usable. It has been refused.
    #[error("the introduction is not usable")]
    Introduction(#[source] IntroductionError),
    /// Nothing came for too long.
    #[error("the plugin is silent")]
    Silent,
}

/// Why a stream is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The plugin has not been accepted, or the session is over.
    #[error("the session is not open")]
    NotOpen,
    /// Too many streams are open.
    #[error("too many streams are open")]
    TooManyStreams,
    /// The request cannot be sent.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Why something is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The stream is over, or is of another kind.
    #[error("the stream is over")]
    Over,
    /// The printer may not have opened the WebSocket yet; [`Event::Writable`] says when to try again.
    #[error("the WebSocket takes no more messages yet")]
    NotYet,
    /// The body is not as long as announced. The stream has been closed, so that the printer gets nothing.
    #[error("the body does not have the announced length")]
    Length,
}
