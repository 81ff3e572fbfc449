//! What plugins send back.

use bytes::Bytes;

use super::deflate::{Deflater, single_frame};
use crate::wire::{self, Compression, HttpHeader, HttpInitialContext, Message, StreamMessage, WebSocketKind};

/// A response, in the pieces and with the compression that it travels in.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The pieces of the body, and how each is compressed.
    pub pieces: Vec<(Vec<u8>, Compression)>,
    /// How long the body is said to be.
    pub announced: Option<u64>,
    /// Whether the head goes ahead of the first piece, which today's plugins never do.
    pub head_first: bool,
    /// How it ends.
    pub end: AnswerEnd,
}

/// How a response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerEnd {
    /// The last piece says so.
    WithLastPiece,
    /// A message without data says so.
    Empty,
    /// The same, flagged as compressed.
    EmptyFlagged,
    /// The stream is closed, and the body not said to be over.
    Closed,
    /// Not at all.
    Never,
}

impl Answer {
    /// A plain response in one piece, of known length.
    pub fn new(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        Self {
            status,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            pieces: vec![(body.to_vec(), Compression::None)],
            announced: u64::try_from(body.len()).ok(),
            head_first: false,
            end: AnswerEnd::WithLastPiece,
        }
    }

    /// The body.
    pub fn body(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|(piece, _)| piece.iter().copied()).collect()
    }

    /// The messages of the stream.
    pub fn messages(&self, stream: u32, dictionary: &[u8]) -> Vec<Bytes> {
        let mut deflater = Deflater::new(dictionary);
        let mut messages: Vec<StreamMessage> = Vec::new();
        if self.head_first || self.pieces.is_empty() {
            messages.push(StreamMessage::default());
        }
        let is_single = self.pieces.len() == 1;
        for (piece, compression) in &self.pieces {
            let mut message = StreamMessage::default();
            if !piece.is_empty() {
                message.data_compression = *compression;
                message.data = Some(match compression {
                    Compression::Zstandard if is_single => single_frame(piece, dictionary),
                    compression => deflater.message(piece, *compression),
                });
                if *compression != Compression::None {
                    message.original_data_size = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                }
            }
            messages.push(message);
        }
        match self.end {
            AnswerEnd::WithLastPiece | AnswerEnd::Never => {}
            AnswerEnd::Empty | AnswerEnd::Closed => messages.push(StreamMessage::default()),
            AnswerEnd::EmptyFlagged => {
                messages.push(StreamMessage { data_compression: Compression::Zstandard, ..StreamMessage::default() })
            }
        }
        if let Some(first) = messages.first_mut() {
            first.status_code = self.status;
            first.http_initial_context = Some(self.context());
            first.full_stream_data_size = self.announced.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1);
        }
        for message in &mut messages {
            message.stream_id = stream;
            message.is_control_flags_only = false;
        }
        if let Some(last) = messages.last_mut().filter(|_| self.end != AnswerEnd::Never) {
            last.is_close_msg = true;
            last.is_data_transmission_done = self.end != AnswerEnd::Closed;
        }
        messages.into_iter().map(|message| wire::encode(&Message::Stream(Box::new(message)))).collect()
    }

    fn context(&self) -> HttpInitialContext {
        let headers = self.headers.iter();
        let headers: Vec<HttpHeader> =
            headers.map(|(name, value)| HttpHeader { key: Some(name.clone()), value: Some(value.clone()) }).collect();
        HttpInitialContext {
            headers: Some(headers).filter(|headers| !headers.is_empty()),
            ..HttpInitialContext::default()
        }
    }
}

/// A message of a WebSocket.
pub fn message(
    stream: u32,
    kind: WebSocketKind,
    data: &[u8],
    compression: Compression,
    deflater: &mut Deflater,
) -> Bytes {
    let is_compressed = compression != Compression::None && !data.is_empty();
    wire::encode(&Message::Stream(Box::new(StreamMessage {
        stream_id: stream,
        is_control_flags_only: false,
        websocket_data_type: kind,
        data: Some(deflater.message(data, compression)).filter(|_| !data.is_empty()),
        data_compression: if is_compressed { compression } else { Compression::None },
        original_data_size: if is_compressed { u64::try_from(data.len()).unwrap_or(u64::MAX) } else { 0 },
        ..StreamMessage::default()
    })))
}

/// The end of a stream, with or without the word that the printer's software could not be reached.
pub fn close(stream: u32, is_unreachable: bool) -> Bytes {
    wire::encode(&Message::Stream(Box::new(StreamMessage {
        stream_id: stream,
        is_close_msg: true,
        close_due_to_request_connection_failure: is_unreachable,
        ..StreamMessage::default()
    })))
}
