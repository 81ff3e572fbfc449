//! A WebSocket (tunnel.md 7).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Ends, SendError, StreamEnd, StreamFault};
use crate::inflate::{Dictionary, Inflater};
use crate::wire::{Compression, MAX_MESSAGE, StreamMessage, WebSocketKind};

/// Messages that the plugin keeps while the printer has not accepted the WebSocket. With more, it stops reading the
/// whole session for two seconds (tunnel.md 9.2).
pub const EARLY_MESSAGES: usize = 16;
/// So long after the opening the printer has accepted the WebSocket, or never will.
pub const EARLY_TIME: Duration = Duration::from_secs(2);
/// One that is closed within this time, and never said anything, was not accepted.
pub const SILENT_FAILURE: Duration = Duration::from_secs(5);

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Text. Nobody has looked whether it is UTF-8.
    Text,
    /// Binary.
    Binary,
}

#[derive(Debug)]
pub(super) struct WebSocketStream {
    opened_at: Instant,
    /// The printer has sent something, so it has accepted.
    has_received: bool,
    /// Messages that may be sent before it is clear that the printer has accepted; `None` from there on.
    early_left: Option<usize>,
    /// Somebody wants to send a message and could not.
    is_blocked: bool,
    inflater: Inflater,
    incoming: Option<Incoming>,
}

/// The message at hand.
#[derive(Debug)]
struct Incoming {
    kind: MessageKind,
    /// The payload, if it is not compressed.
    plain: Option<Bytes>,
}

/// A piece of a message.
pub(super) struct MessagePiece {
    pub(super) kind: MessageKind,
    pub(super) data: Bytes,
    pub(super) is_last: bool,
}

impl WebSocketStream {
    pub(super) fn new(dictionary: Option<Dictionary>, now: Instant) -> Self {
        Self {
            opened_at: now,
            has_received: false,
            early_left: Some(EARLY_MESSAGES),
            is_blocked: false,
            inflater: Inflater::new(dictionary, u64::try_from(MAX_MESSAGE).unwrap_or(u64::MAX)),
            incoming: None,
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.inflater.memory()
    }

    /// When messages may be sent without limit.
    pub(super) fn early_until(&self) -> Instant {
        self.opened_at + EARLY_TIME
    }

    /// Messages may be sent without limit. Returns whether somebody waits for that.
    pub(super) fn handle_early_end(&mut self) -> bool {
        self.early_left = None;
        std::mem::take(&mut self.is_blocked)
    }

    /// A message is about to be sent.
    pub(super) fn handle_send(&mut self) -> Result<(), SendError> {
        match &mut self.early_left {
            None => Ok(()),
            Some(0) => {
                self.is_blocked = true;
                Err(SendError::NotYet)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// Takes in a message. Returns whether somebody waits to send one, and can do so from here on.
    pub(super) fn handle_message(&mut self, message: StreamMessage) -> Result<bool, StreamFault> {
        let kind = match message.websocket_data_type {
            WebSocketKind::Text => MessageKind::Text,
            WebSocketKind::Binary => MessageKind::Binary,
            other => return Err(StreamFault::WebSocketKind(other)),
        };
        let data = message.data.unwrap_or_default();
        let plain = if message.data_compression == Compression::None || data.is_empty() {
            Some(data)
        } else {
            self.inflater.handle_message(data, message.data_compression, message.original_data_size)?;
            None
        };
        self.incoming = Some(Incoming { kind, plain });
        self.has_received = true;
        Ok(self.handle_early_end())
    }

    /// The next piece of the message at hand.
    pub(super) fn next_piece(&mut self) -> Result<Option<MessagePiece>, StreamFault> {
        let Some(incoming) = &mut self.incoming else { return Ok(None) };
        let kind = incoming.kind;
        let (data, is_last) = match incoming.plain.take() {
            Some(data) => (data, true),
            None => {
                let data = self.inflater.next_piece()?.unwrap_or_default();
                (data, !self.inflater.has_more())
            }
        };
        if is_last {
            self.incoming = None;
        }
        Ok(Some(MessagePiece { kind, data, is_last }))
    }

    /// How the stream ends with a message of these flags, if it does.
    pub(super) fn end(&self, ends: Ends, now: Instant) -> Option<StreamEnd> {
        let is_silent = !self.has_received && now < self.opened_at + SILENT_FAILURE;
        ends.is_closed.then_some(if ends.is_unreachable || is_silent {
            StreamEnd::TargetUnreachable
        } else {
            StreamEnd::Complete
        })
    }
}
