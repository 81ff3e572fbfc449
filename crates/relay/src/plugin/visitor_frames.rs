//! A visitor's WebSocket on a plugin's stream: frames on one side, whole messages on the other.

// A stranger's bytes are read here: what could panic, or cut a number, is done in another way (T50).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use octo::session::{MessageKind, SendError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::backlog::{Ended, Reading};
use super::shared::{Shared, StreamGuard};
use crate::frames::{FrameHead, MAX_HEADER, MAX_MESSAGE, close_frame, opcode, unmask, wide};
use crate::link::LinkError;

/// RFC 6455 §7.4.1: in order.
const NORMAL_CLOSURE: u16 = 1000;

/// A piece of a printer's message as a frame for the visitor.
pub(crate) fn message_frame(kind: MessageKind, data: &Bytes, is_first: bool, is_last: bool) -> Bytes {
    let kind = match kind {
        MessageKind::Text => 1,
        MessageKind::Binary => 2,
    };
    let opcode = if is_first { kind } else { opcode::CONTINUATION };
    let head = FrameHead { fin: is_last, reserved: 0, opcode, mask: None, payload: wide(data.len()) };
    let mut frame = Vec::with_capacity(MAX_HEADER + data.len());
    head.write(&mut frame);
    frame.extend_from_slice(data);
    frame.into()
}

/// What a visitor wants to send.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Message(MessageKind, Bytes),
    Close(u16, String),
}

/// Puts a visitor's frames together to messages.
#[derive(Default)]
struct Assembler {
    buffer: BytesMut,
    message: Option<(MessageKind, BytesMut)>,
}

impl Assembler {
    /// The next thing that a visitor sent as a whole.
    fn next(&mut self) -> Result<Option<Wanted>, LinkError> {
        let broken = || LinkError::VisitorGone("the visitor's frames break the protocol".into());
        loop {
            let Some((head, length)) = FrameHead::read(&self.buffer) else { return Ok(None) };
            // Nothing was agreed on that gives the reserved bits a meaning.
            let Some(mask) = head.mask.filter(|_| head.is_proper(false)) else { return Err(broken()) };
            let payload = usize::try_from(head.payload).map_err(|_| broken())?;
            if self.buffer.len() < length + payload {
                return Ok(None);
            }
            self.buffer.advance(length);
            let mut payload = self.buffer.split_to(payload);
            unmask(&mut payload, mask);
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            let (kind, message) = match (head.opcode, self.message.take()) {
                (opcode::CLOSE, _) => return Ok(Some(close_of(&payload))),
                // Pings have been answered; pongs answer nobody.
                (opcode::PING | opcode::PONG, message) => {
                    self.message = message;
                    continue;
                }
                (opcode::CONTINUATION, Some((kind, mut message))) => {
                    message.extend_from_slice(&payload);
                    (kind, message)
                }
                (1, None) => (MessageKind::Text, payload),
                (2, None) => (MessageKind::Binary, payload),
                _ => return Err(broken()),
            };
            if wide(message.len()) > MAX_MESSAGE {
                return Err(broken());
            }
            if head.fin {
                return Ok(Some(Wanted::Message(kind, message.freeze())));
            }
            self.message = Some((kind, message));
        }
    }
}

fn close_of(payload: &[u8]) -> Wanted {
    match payload.split_first_chunk::<2>() {
        Some((code, reason)) => Wanted::Close(u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned()),
        None => Wanted::Close(NORMAL_CLOSURE, String::new()),
    }
}

/// See the module.
pub(crate) struct VisitorFrames {
    shared: Arc<Shared>,
    guard: StreamGuard,
    reading: Reading,
    /// Of a frame that was read in part.
    unread: Bytes,
    is_over: bool,
    assembler: Assembler,
    wanted: Option<Wanted>,
}

impl VisitorFrames {
    pub(crate) fn new(shared: Arc<Shared>, guard: StreamGuard) -> Self {
        Self {
            shared,
            guard,
            reading: Reading::default(),
            unread: Bytes::new(),
            is_over: false,
            assembler: Assembler::default(),
            wanted: None,
        }
    }

    /// Sends what the visitor has sent as a whole.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let wanted = match self.wanted.take() {
                Some(wanted) => wanted,
                None => match self.assembler.next() {
                    Ok(Some(wanted)) => wanted,
                    Ok(None) => return Poll::Ready(Ok(())),
                    Err(error) => return Poll::Ready(Err(io::Error::other(error))),
                },
            };
            self.guard.slot.writer.register(cx.waker());
            if !self.shared.has_room() {
                self.wanted = Some(wanted);
                return Poll::Pending;
            }
            let id = self.guard.id;
            let sent = self.shared.command(|session| match &wanted {
                Wanted::Message(kind, data) => session.send_message(id, *kind, data.clone()),
                Wanted::Close(code, reason) => session.send_close_frame(id, *code, reason),
            });
            match sent {
                Ok(()) => {}
                Err(SendError::NotYet) => {
                    self.wanted = Some(wanted);
                    return Poll::Pending;
                }
                Err(SendError::Over | SendError::Length) => {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
            }
        }
    }
}

impl AsyncRead for VisitorFrames {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.unread.is_empty() && !this.is_over {
            match ready!(this.guard.slot.backlog.poll_next(&mut this.reading, cx)) {
                Ok(frame) => this.unread = frame,
                Err(end) => {
                    this.is_over = true;
                    let error = match end {
                        // The tunnel loses the printer's own code.
                        Ended::Complete => {
                            this.unread = close_frame(NORMAL_CLOSURE, "").into();
                            None
                        }
                        // Its end without a close frame says it.
                        Ended::TargetUnreachable => None,
                        Ended::BrokeOff | Ended::Fault => Some(LinkError::Agent("it broke the stream".to_owned())),
                        Ended::Lost => Some(LinkError::Lost),
                        Ended::TooSlow => Some(LinkError::VisitorTooSlow),
                    };
                    if let Some(error) = error {
                        return Poll::Ready(Err(io::Error::other(error)));
                    }
                }
            }
        }
        let length = this.unread.len().min(out.remaining());
        out.put_slice(&this.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for VisitorFrames {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        self.assembler.buffer.extend_from_slice(data);
        // What cannot go yet goes with the next bytes, or when there is room.
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(data.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }
}
