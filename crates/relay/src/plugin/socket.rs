//! A plugin's WebSocket as messages.
//!
//! Plugins mask their data frames with zeros, or not at all (tunnel.md 1.3), and send frames of up to 20 MB. Buffers
//! begin small, grow with what comes and not with what is announced, and go with the message that they held.

// A stranger's bytes are read here: what could panic, or cut a number, is done in another way (T50).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::io;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::frames::{FrameHead, FrameLimits, LimitBroken, MAX_CONTROL_PAYLOAD, opcode, unmask};

/// Room for what comes while nothing is expected: pings, and most messages.
const SMALL: usize = 4 * 1024;
/// Room for what comes while a large message is under way.
const LARGE: usize = 64 * 1024;

/// Why a plugin's connection cannot go on.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the plugin sent a frame that breaks the protocol")]
    Frame,
    #[error("the plugin went over a limit")]
    Limit(LimitBroken),
}

/// What comes from a plugin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Message(Bytes),
    /// To be answered with the same payload.
    Ping(Bytes),
    Pong,
    Close,
}

/// Reads messages.
pub(crate) struct MessageReader<R> {
    reader: R,
    buffer: BytesMut,
    /// The frame whose payload is coming.
    head: Option<FrameHead>,
    /// What has come of a message in fragments.
    fragments: Option<BytesMut>,
    limits: FrameLimits,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    pub(crate) fn new(reader: R) -> Self {
        let limits = FrameLimits::new(Instant::now());
        Self { reader, buffer: BytesMut::new(), head: None, fragments: None, limits }
    }

    /// The next thing that comes; `None` at the end. May be dropped and called anew at any time.
    pub(crate) async fn next(&mut self) -> Result<Option<Incoming>, SocketError> {
        loop {
            if let Some(incoming) = self.take()? {
                return Ok(Some(incoming));
            }
            let missing = self.head.map_or(0, |head| usize::try_from(head.payload).unwrap_or(usize::MAX));
            self.buffer.reserve(if missing > SMALL { LARGE } else { SMALL });
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Result<Option<Incoming>, SocketError> {
        loop {
            let head = match self.head {
                Some(head) => head,
                None => {
                    let Some((head, length)) = FrameHead::read(&self.buffer) else {
                        self.give_back();
                        return Ok(None);
                    };
                    if head.reserved != 0 || (head.is_control() && (!head.fin || head.payload > MAX_CONTROL_PAYLOAD)) {
                        return Err(SocketError::Frame);
                    }
                    self.limits.handle_frame(&head, Instant::now()).map_err(SocketError::Limit)?;
                    let _ = self.buffer.split_to(length);
                    *self.head.insert(head)
                }
            };
            let length = usize::try_from(head.payload).map_err(|_| SocketError::Frame)?;
            if self.buffer.len() < length {
                return Ok(None);
            }
            self.head = None;
            let mut payload = self.buffer.split_to(length);
            if let Some(mask) = head.mask.filter(|mask| *mask != [0; 4]) {
                unmask(&mut payload, mask);
            }
            self.give_back();
            if let Some(incoming) = self.handle_frame(head, payload)? {
                return Ok(Some(incoming));
            }
        }
    }

    fn handle_frame(&mut self, head: FrameHead, payload: BytesMut) -> Result<Option<Incoming>, SocketError> {
        match head.opcode {
            opcode::PING => return Ok(Some(Incoming::Ping(payload.freeze()))),
            opcode::PONG => return Ok(Some(Incoming::Pong)),
            opcode::CLOSE => return Ok(Some(Incoming::Close)),
            _ => {}
        }
        let is_first = match head.opcode {
            opcode::CONTINUATION => false,
            1 | 2 => true,
            _ => return Err(SocketError::Frame),
        };
        let message = match (is_first, self.fragments.take()) {
            (true, None) => payload,
            (false, Some(mut fragments)) => {
                fragments.extend_from_slice(&payload);
                fragments
            }
            _ => return Err(SocketError::Frame),
        };
        if head.fin {
            return Ok(Some(Incoming::Message(message.freeze())));
        }
        self.fragments = Some(message);
        Ok(None)
    }

    /// An empty buffer would still hold on to the memory of what was in it.
    fn give_back(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Bytes of memory between messages.
    #[cfg(test)]
    fn memory(&self) -> usize {
        self.buffer.capacity() + self.fragments.as_ref().map_or(0, BytesMut::capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(fin: bool, opcode: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        FrameHead { fin, reserved: 0, opcode, mask, payload: payload.len() as u64 }.write(&mut bytes);
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        unmask(&mut bytes[start..], mask.unwrap_or_default());
        bytes
    }

    async fn read(bytes: &[u8]) -> (Vec<Incoming>, Result<(), SocketError>) {
        let mut reader = MessageReader::new(bytes);
        let mut incoming = Vec::new();
        loop {
            match reader.next().await {
                Ok(Some(next)) => incoming.push(next),
                Ok(None) => return (incoming, Ok(())),
                Err(error) => return (incoming, Err(error)),
            }
        }
    }

    #[tokio::test]
    async fn masked_unmasked_and_fragmented_messages_are_read() {
        let bytes = [
            frame(true, 2, Some([0; 4]), b"current"),
            frame(true, 2, None, b"old"),
            frame(true, 9, Some([1, 2, 3, 4]), b"ping"),
            frame(false, 2, Some([5, 6, 7, 8]), b"in "),
            frame(true, 10, Some([1; 4]), b""),
            frame(true, 0, None, b"parts"),
            frame(true, 8, Some([1; 4]), b"\x03\xe8"),
        ]
        .concat();
        let (incoming, end) = read(&bytes).await;
        assert!(end.is_ok());
        let message = |text: &'static [u8]| Incoming::Message(Bytes::from_static(text));
        let ping = Incoming::Ping(Bytes::from_static(b"ping"));
        let expected =
            [message(b"current"), message(b"old"), ping, Incoming::Pong, message(b"in parts"), Incoming::Close];
        assert_eq!(incoming, expected);
    }

    #[tokio::test]
    async fn what_is_no_frame_or_too_much_ends_the_connection() {
        let too_long = {
            let mut bytes = Vec::new();
            FrameHead { fin: true, reserved: 0, opcode: 2, mask: None, payload: 33 << 20 }.write(&mut bytes);
            bytes
        };
        let reserved = vec![0xc2, 0x00];
        for bytes in [
            too_long,
            reserved,
            frame(true, 0, None, b"continues nothing"),
            frame(true, 3, None, b"unknown"),
            frame(false, 9, None, b"a ping in parts"),
            [frame(false, 2, None, b"x"), frame(true, 2, None, b"y")].concat(),
            frame(true, 9, None, b"x").repeat(300),
        ] {
            assert!(read(&bytes).await.1.is_err(), "{}", bytes[..bytes.len().min(20)].escape_ascii());
        }
    }

    #[tokio::test]
    async fn large_messages_leave_no_memory_behind() {
        let bytes = [frame(true, 2, Some([0; 4]), &vec![7; 20 << 20]), frame(true, 9, Some([0; 4]), b"")].concat();
        let mut reader = MessageReader::new(&bytes[..]);
        assert!(matches!(reader.next().await, Ok(Some(Incoming::Message(message))) if message.len() == 20 << 20));
        assert!(matches!(reader.next().await, Ok(Some(Incoming::Ping(_)))));
        assert!(reader.memory() <= SMALL, "{}", reader.memory());
    }
}
