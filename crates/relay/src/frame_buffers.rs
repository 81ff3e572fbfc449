//! Bytes of a WebSocket's two directions, in which frames are found: whole as the visitor sends them, in pieces as the
//! printer's leave.

// A stranger's bytes are read here: what could panic, or cut a number, is done in another way (T50).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::io;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use model::RelayError;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::frames::{
    FrameHead, FrameLimits, LimitBroken, MAX_CONTROL_PAYLOAD, MAX_HEADER, MAX_MESSAGE, opcode, unmask, wide,
};

/// The largest piece of a printer's frame that leaves as one.
pub const PIECE: usize = 64 * 1024;

/// The visitor's bytes, in which frames are found.
#[derive(Default)]
pub(crate) struct FrameBuffer {
    pub(crate) bytes: BytesMut,
    /// Bytes of the current frame's payload that have not come yet.
    payload_left: u64,
    /// Whether the two ends agreed on extensions, which give the reserved bits a meaning.
    has_extensions: bool,
    /// The visitor has closed, or broken the protocol: what follows is for the printer alone to judge.
    is_over: bool,
    /// The visitor has sent a close frame.
    has_closed: bool,
}

impl FrameBuffer {
    /// For a WebSocket whose ends agreed on extensions, or did not.
    pub(crate) fn new(has_extensions: bool) -> Self {
        Self { has_extensions, ..Self::default() }
    }

    pub(crate) async fn fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> io::Result<usize> {
        self.bytes.reserve(if self.payload_left > 0 { PIECE } else { PIECE / 16 });
        reader.read_buf(&mut self.bytes).await
    }

    /// Whether the visitor has sent a close frame.
    pub(crate) fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Moves what is there to `out`, but for whole pings: those are answered.
    ///
    /// # Errors
    /// If a frame goes over a limit.
    pub(crate) fn take(
        &mut self,
        limits: &mut FrameLimits,
        now: Instant,
        out: &mut Vec<u8>,
        mut answer: impl FnMut(Vec<u8>),
    ) -> Result<(), LimitBroken> {
        loop {
            self.pass_payload(out);
            let Some((head, length)) = self.next_head() else { return Ok(()) };
            limits.handle_frame(&head, now)?;
            self.has_closed |= head.opcode == opcode::CLOSE;
            self.is_over |= self.has_closed || !head.is_proper(self.has_extensions);
            let is_ours = head.opcode == opcode::PING && !self.is_over;
            let (true, Some(mask)) = (is_ours, head.mask) else {
                self.pass(length, head.payload, out);
                continue;
            };
            let whole = length.saturating_add(narrow(head.payload));
            let Some(mut payload) = self.bytes.get(length..whole).map(<[u8]>::to_vec) else {
                limits.forget_control_frame();
                return Ok(());
            };
            unmask(&mut payload, mask);
            let mut pong = Vec::with_capacity(MAX_HEADER + payload.len());
            FrameHead::control(opcode::PONG, payload.len()).write(&mut pong);
            pong.extend_from_slice(&payload);
            answer(pong);
            let _ = self.bytes.split_to(whole);
        }
    }

    /// The next frame's head, if the bytes before it have been dealt with.
    fn next_head(&self) -> Option<(FrameHead, usize)> {
        if self.payload_left > 0 { None } else { FrameHead::read(&self.bytes) }
    }

    /// Moves a head to `out`; its payload follows.
    fn pass(&mut self, head: usize, payload: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes.split_to(head));
        self.payload_left = payload;
    }

    fn pass_payload(&mut self, out: &mut Vec<u8>) {
        let length = narrow(self.payload_left).min(self.bytes.len());
        out.extend_from_slice(&self.bytes.split_to(length));
        self.payload_left = self.payload_left.saturating_sub(wide(length));
        if self.bytes.is_empty() {
            // What a burst needed is not kept while the WebSocket is idle.
            self.bytes = BytesMut::new();
        }
    }
}

/// The printer's bytes, cut into frames that may leave.
#[derive(Default)]
pub(crate) struct PieceBuffer {
    pub(crate) bytes: BytesMut,
    /// The head of a frame that leaves in fragments, and how much of its payload is left.
    in_fragments: Option<FrameHead>,
}

/// A frame, or a fragment of one, that is whole.
pub(crate) struct Piece {
    /// Empty where `rest` has the head too.
    pub(crate) head: Vec<u8>,
    pub(crate) rest: Bytes,
    pub(crate) is_close: bool,
}

impl PieceBuffer {
    pub(crate) async fn fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> io::Result<usize> {
        if self.bytes.capacity() - self.bytes.len() < PIECE / 16 {
            self.bytes.reserve(if self.bytes.is_empty() { PIECE / 16 } else { PIECE });
        }
        reader.read_buf(&mut self.bytes).await
    }

    /// The next piece, if it is there as a whole.
    ///
    /// # Errors
    /// If the printer's bytes are no frames that a server may send, or a frame is over the limit.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Piece>, RelayError> {
        if let Some(frame) = self.in_fragments {
            let length = self.bytes.len().min(PIECE).min(narrow(frame.payload));
            return Ok((length > 0).then(|| self.fragment(frame, length)));
        }
        let Some((head, length)) = FrameHead::read(&self.bytes) else {
            if self.bytes.is_empty() {
                self.bytes = BytesMut::new();
            }
            return Ok(None);
        };
        let over_limit = if head.is_control() { MAX_CONTROL_PAYLOAD } else { MAX_MESSAGE };
        if head.mask.is_some() || head.payload > over_limit {
            return Err(RelayError::PluginError);
        }
        let payload = narrow(head.payload);
        if payload > PIECE {
            let _ = self.bytes.split_to(length);
            self.in_fragments = Some(head);
            return self.next_piece();
        }
        if self.bytes.len() < length + payload {
            return Ok(None);
        }
        let rest = self.bytes.split_to(length + payload).freeze();
        Ok(Some(Piece { head: Vec::new(), rest, is_close: head.opcode == opcode::CLOSE }))
    }

    /// Takes `length` bytes of the payload of `frame` as one fragment. The first keeps the frame's type and reserved
    /// bits, the others continue it, and the last ends the message if the frame did.
    fn fragment(&mut self, frame: FrameHead, length: usize) -> Piece {
        let left = frame.payload.saturating_sub(wide(length));
        let head = FrameHead { fin: frame.fin && left == 0, payload: wide(length), ..frame };
        let mut head_bytes = Vec::with_capacity(MAX_HEADER);
        head.write(&mut head_bytes);
        let rest = self.bytes.split_to(length).freeze();
        self.in_fragments =
            (left > 0).then_some(FrameHead { opcode: opcode::CONTINUATION, reserved: 0, payload: left, ..frame });
        Piece { head: head_bytes, rest, is_close: false }
    }
}

/// A frame's length, as far as memory goes.
fn narrow(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads frames back to messages of (type, reserved bits, payload).
    fn messages(mut bytes: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
        let mut messages: Vec<(u8, u8, Vec<u8>)> = Vec::new();
        while let Some((head, length)) = FrameHead::read(bytes) {
            let end = length + head.payload as usize;
            let payload = &bytes[length..end];
            match messages.last_mut() {
                Some(last) if head.opcode == opcode::CONTINUATION => last.2.extend_from_slice(payload),
                _ => messages.push((head.opcode, head.reserved, payload.to_vec())),
            }
            bytes = &bytes[end..];
        }
        assert!(bytes.is_empty());
        messages
    }

    proptest! {
        #[test]
        fn pieces_carry_the_same_messages_however_the_bytes_arrive(
            sizes in prop::collection::vec(0usize..200_000, 1..5), step in 1usize..100_000,
        ) {
            let mut stream = Vec::new();
            for (index, size) in sizes.iter().enumerate() {
                let head =
                    FrameHead { fin: true, reserved: 0x40, opcode: 2, mask: None, payload: *size as u64 };
                head.write(&mut stream);
                stream.extend((0..*size).map(|n| (n + index) as u8));
            }
            let mut pieces = PieceBuffer::default();
            let mut out = Vec::new();
            for bytes in stream.chunks(step) {
                pieces.bytes.extend_from_slice(bytes);
                while let Some(piece) = pieces.next_piece().map_err(|error| TestCaseError::fail(error.to_string()))? {
                    prop_assert!(piece.rest.len() <= PIECE + MAX_HEADER);
                    out.extend_from_slice(&piece.head);
                    out.extend_from_slice(&piece.rest);
                }
            }
            prop_assert_eq!(messages(&out), messages(&stream));
        }
    }

    proptest! {
        #[test]
        fn a_visitors_frames_pass_at_once_however_the_bytes_arrive(
            frames in prop::collection::vec((0usize..3000, 0u8..3), 1..8), step in 1usize..4000,
        ) {
            const MASK: [u8; 4] = [1, 2, 3, 4];
            let (mut stream, mut expected, mut expected_pongs) = (Vec::new(), Vec::new(), Vec::new());
            for (size, kind) in frames {
                let (opcode, size) = if kind == 0 { (opcode::PING, size % 126) } else { (kind, size) };
                let start = stream.len();
                let head = FrameHead { fin: true, reserved: 0, opcode, mask: Some(MASK), payload: size as u64 };
                head.write(&mut stream);
                let payload: Vec<u8> = (0..size).map(|n| n as u8).collect();
                stream.extend_from_slice(&payload);
                if opcode == opcode::PING {
                    let mut pong = Vec::new();
                    FrameHead::control(opcode::PONG, size).write(&mut pong);
                    pong.extend_from_slice(&payload);
                    unmask(&mut pong[2..], MASK);
                    expected_pongs.push(pong);
                } else {
                    expected.extend_from_slice(&stream[start..]);
                }
            }
            let now = Instant::now();
            let mut buffer = FrameBuffer::default();
            let mut limits = FrameLimits::new(now);
            let (mut out, mut pongs) = (Vec::new(), Vec::new());
            for bytes in stream.chunks(step) {
                buffer.bytes.extend_from_slice(bytes);
                prop_assert_eq!(buffer.take(&mut limits, now, &mut out, |pong| pongs.push(pong)), Ok(()));
            }
            prop_assert_eq!((out, pongs), (expected, expected_pongs));
        }
    }

    #[test]
    fn pings_after_a_close_or_a_broken_frame_are_the_printers() {
        let frame = |fin, reserved, opcode| {
            let mut bytes = Vec::new();
            FrameHead { fin, reserved, opcode, mask: Some([0; 4]), payload: 0 }.write(&mut bytes);
            bytes
        };
        let ping = frame(true, 0, opcode::PING);
        for (before, has_extensions, pongs_expected) in [
            (frame(true, 0, 1), false, 1),
            (frame(true, 0, opcode::CLOSE), false, 0),
            (frame(true, 0x40, 1), false, 0),
            (frame(true, 0x40, 1), true, 1),
            (frame(true, 0, 3), true, 0),
            (frame(true, 0, 11), false, 0),
            (frame(false, 0, opcode::PONG), false, 0),
        ] {
            let mut buffer = FrameBuffer::new(has_extensions);
            buffer.bytes.extend_from_slice(&[&before[..], &ping].concat());
            let (mut out, mut pongs) = (Vec::new(), 0);
            let now = Instant::now();
            assert_eq!(buffer.take(&mut FrameLimits::new(now), now, &mut out, |_| pongs += 1), Ok(()));
            assert_eq!(pongs, pongs_expected, "{before:?}");
            assert_eq!(out.len(), before.len() + if pongs == 0 { ping.len() } else { 0 });
        }
    }

    #[test]
    fn a_server_that_masks_or_floods_is_refused() {
        let mut pieces = PieceBuffer::default();
        pieces.bytes.extend_from_slice(&[0x82, 0x80, 0, 0, 0, 0]);
        assert_eq!(pieces.next_piece().err(), Some(RelayError::PluginError));
        pieces.bytes.clear();
        let mut head = Vec::new();
        FrameHead { fin: true, reserved: 0, opcode: 2, mask: None, payload: MAX_MESSAGE + 1 }.write(&mut head);
        pieces.bytes.extend_from_slice(&head);
        assert_eq!(pieces.next_piece().err(), Some(RelayError::PluginError));
    }
}
