//! The messages of streams towards the plugin, each of a form that it takes (tunnel.md 5, 6.1, 7.1, 13.1).

use std::collections::VecDeque;

use bytes::Bytes;

use super::{BodyLength, MAX_UPLOAD_PIECE, MessageKind, StreamId};
use crate::wire::{self, HttpInitialContext, Message, StreamMessage, WebSocketKind};

/// RFC 6455 §5.5, less the code.
const MAX_CLOSE_REASON: usize = 123;

/// Messages that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Outgoing {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let message = self.messages.pop_front()?;
        self.bytes = self.bytes.saturating_sub(message.len());
        Some(message)
    }

    pub(super) fn push(&mut self, message: &Message) {
        let bytes = wire::encode(message);
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.messages.push_back(bytes);
    }

    fn push_stream(&mut self, message: StreamMessage) {
        self.push(&Message::Stream(Box::new(message)));
    }

    /// A request's head, and all of the request if it has no body.
    pub(super) fn open_http(&mut self, id: StreamId, context: HttpInitialContext, body: BodyLength) {
        let is_whole = body == BodyLength::Known(0);
        let size = match body {
            BodyLength::Known(size @ 1..) => i64::try_from(size).ok(),
            BodyLength::Known(0) | BodyLength::Unknown => None,
        };
        self.push_stream(StreamMessage {
            stream_id: id.get(),
            is_open_msg: true,
            is_data_transmission_done: is_whole,
            // With the flag, the plugin would not see that the request is whole, and wait for ever.
            is_control_flags_only: !is_whole,
            full_stream_data_size: size.unwrap_or(-1),
            http_initial_context: Some(context),
            ..StreamMessage::default()
        });
    }

    pub(super) fn body(&mut self, id: StreamId, mut data: Bytes) {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(MAX_UPLOAD_PIECE));
            self.push_stream(StreamMessage { data: Some(piece), ..payload(id) });
        }
    }

    pub(super) fn body_end(&mut self, id: StreamId) {
        self.push_stream(StreamMessage { is_data_transmission_done: true, ..payload(id) });
    }

    pub(super) fn open_websocket(&mut self, id: StreamId, context: HttpInitialContext) {
        self.push_stream(StreamMessage {
            stream_id: id.get(),
            is_open_msg: true,
            is_websocket_stream: true,
            // Without the flag, the plugin would take the opening for a message as well, of no valid kind.
            is_control_flags_only: true,
            http_initial_context: Some(context),
            ..StreamMessage::default()
        });
    }

    pub(super) fn message(&mut self, id: StreamId, kind: MessageKind, data: Bytes) {
        let kind = match kind {
            MessageKind::Text => WebSocketKind::Text,
            MessageKind::Binary => WebSocketKind::Binary,
        };
        let data = Some(data).filter(|data| !data.is_empty());
        self.push_stream(StreamMessage { websocket_data_type: kind, data, ..payload(id) });
    }

    pub(super) fn close_frame(&mut self, id: StreamId, code: u16, reason: &str) {
        let reason = reason.get(..reason.floor_char_boundary(MAX_CLOSE_REASON)).unwrap_or_default();
        let data = Bytes::from([&code.to_be_bytes(), reason.as_bytes()].concat());
        self.push_stream(StreamMessage { websocket_data_type: WebSocketKind::Close, data: Some(data), ..payload(id) });
    }

    pub(super) fn close(&mut self, id: StreamId) {
        self.push_stream(StreamMessage { stream_id: id.get(), is_close_msg: true, ..StreamMessage::default() });
    }
}

fn payload(id: StreamId) -> StreamMessage {
    StreamMessage { stream_id: id.get(), is_control_flags_only: false, ..StreamMessage::default() }
}
