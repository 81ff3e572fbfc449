//! A request and its response (tunnel.md 6).

use bytes::Bytes;
use http::{Method, StatusCode};

use super::{Ends, SendError, StreamEnd, StreamFault};
use crate::inflate::{Dictionary, Inflater};
use crate::response::{self, OwnHosts, ResponseHead};
use crate::wire::{Compression, StreamMessage};

/// Bytes that one compressed message of a body may become. Plugins send files from their cache as one message, up to
/// 20 MiB when compressed (tunnel.md 6.2).
const MAX_INFLATED: u64 = 128 * 1024 * 1024;

/// How long a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// So many bytes, which may be none.
    Known(u64),
    /// Nobody said.
    Unknown,
}

#[derive(Debug)]
pub(super) struct HttpStream {
    is_head: bool,
    own: OwnHosts,
    upload: Upload,
    /// There is none before the response's head.
    download: Option<Download>,
    inflater: Inflater,
    /// The payload at hand, if it is not compressed.
    plain: Option<Bytes>,
}

#[derive(Debug)]
struct Upload {
    announced: BodyLength,
    sent: u64,
    is_done: bool,
}

#[derive(Debug)]
struct Download {
    /// False for what answers a HEAD, and for statuses that have no body. What comes all the same is dropped.
    has_body: bool,
    announced: Option<u64>,
    received: u64,
}

impl Download {
    /// Counts bytes of the body.
    fn count(&mut self, bytes: u64) -> Result<(), StreamFault> {
        self.received = self.received.saturating_add(bytes);
        match self.announced {
            Some(announced) if self.received > announced => Err(StreamFault::TooLong),
            _ => Ok(()),
        }
    }
}

impl HttpStream {
    pub(super) fn new(method: &Method, own: OwnHosts, body: BodyLength, dictionary: Option<Dictionary>) -> Self {
        Self {
            is_head: method == Method::HEAD,
            own,
            upload: Upload { announced: body, sent: 0, is_done: body == BodyLength::Known(0) },
            download: None,
            inflater: Inflater::new(dictionary, MAX_INFLATED),
            plain: None,
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.inflater.memory()
    }

    /// Bytes of the body are about to be sent.
    pub(super) fn handle_upload(&mut self, bytes: usize) -> Result<(), SendError> {
        self.upload.sent = self.upload.sent.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        match self.upload.announced {
            _ if self.upload.is_done => Err(SendError::Over),
            BodyLength::Known(announced) if self.upload.sent > announced => Err(SendError::Length),
            _ => Ok(()),
        }
    }

    /// The body is about to end.
    pub(super) fn handle_upload_end(&mut self) -> Result<(), SendError> {
        match self.upload.announced {
            _ if self.upload.is_done => Err(SendError::Over),
            BodyLength::Known(announced) if self.upload.sent != announced => Err(SendError::Length),
            _ => {
                self.upload.is_done = true;
                Ok(())
            }
        }
    }

    /// Takes in a message with a payload, or without. Returns the head if it is the first.
    pub(super) fn handle_message(&mut self, message: StreamMessage) -> Result<Option<ResponseHead>, StreamFault> {
        let mut head = None;
        if self.download.is_none() {
            let read = response::read_head(&message, &self.own)?;
            let is_bodiless = matches!(read.response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
            let has_body = !self.is_head && !is_bodiless;
            self.download = Some(Download { has_body, announced: read.length.filter(|_| has_body), received: 0 });
            head = Some(read);
        }
        // A last message may be flagged as compressed and have nothing in it (tunnel.md 6.4).
        let (Some(download), Some(data)) = (&mut self.download, message.data.filter(|data| !data.is_empty())) else {
            return Ok(head);
        };
        if !download.has_body {
            return Ok(head);
        }
        if message.data_compression == Compression::None {
            download.count(u64::try_from(data.len()).unwrap_or(u64::MAX))?;
            self.plain = Some(data);
        } else {
            download.count(message.original_data_size)?;
            self.inflater.handle_message(data, message.data_compression, message.original_data_size)?;
        }
        Ok(head)
    }

    /// The next piece of the payload at hand.
    pub(super) fn next_piece(&mut self) -> Result<Option<Bytes>, StreamFault> {
        match self.plain.take() {
            Some(data) => Ok(Some(data)),
            None => Ok(self.inflater.next_piece()?),
        }
    }

    /// How the stream ends with a message of these flags, if it does.
    pub(super) fn end(&self, ends: Ends) -> Option<StreamEnd> {
        let Some(download) = &self.download else {
            return ends.is_closed.then_some(match ends.is_unreachable {
                true => StreamEnd::TargetUnreachable,
                false => StreamEnd::ClosedByPlugin,
            });
        };
        if !ends.is_done && !ends.is_closed {
            return None;
        }
        let is_whole = match download.announced {
            // The plugin says done where the printer broke off, too.
            Some(announced) => download.received == announced,
            None => ends.is_done || !download.has_body,
        };
        Some(if is_whole { StreamEnd::Complete } else { StreamEnd::BrokeOff })
    }
}
