//! The frame layer of WebSockets (RFC 6455 §5.2), as much as a relay must understand of it.
//!
//! Payloads pass through unread. What the relay needs is to know where frames end: between two of them it can put a
//! close frame of its own, or a pong, and it can hold a peer to the limits.

// A stranger's bytes are read here: what could panic, or cut a number, is done in another way (T50).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::time::Instant;

/// Payload bytes of one message.
pub const MAX_MESSAGE: u64 = 32 * 1024 * 1024;
/// Frames of one message. They pass without being kept, so many cost little; Autobahn's conformance cases send 65,536.
pub const MAX_FRAGMENTS: u32 = 100_000;
/// Control frames a second that a peer may keep up, and how many it may send at once.
const CONTROL_RATE: f64 = 20.0;
const CONTROL_BURST: f64 = 200.0;
/// RFC 6455 §5.5.
pub(crate) const MAX_CONTROL_PAYLOAD: u64 = 125;
/// Two bytes, eight of length, four of mask.
pub const MAX_HEADER: usize = 14;

/// Frame types (RFC 6455 §11.8).
pub(crate) mod opcode {
    pub(crate) const CONTINUATION: u8 = 0;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
}

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const MASKED: u8 = 0x80;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) fin: bool,
    /// The three reserved bits, which extensions give a meaning.
    pub(crate) reserved: u8,
    pub(crate) opcode: u8,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) payload: u64,
}

impl FrameHead {
    /// A frame of the service's own.
    pub(crate) fn control(opcode: u8, payload: usize) -> Self {
        Self { fin: true, reserved: 0, opcode, mask: None, payload: wide(payload) }
    }

    pub(crate) fn is_control(&self) -> bool {
        self.opcode >= opcode::CLOSE
    }

    /// Whether a client may send such a frame (RFC 6455 §5.1, §5.2, §5.5).
    pub(crate) fn is_proper(&self, has_extensions: bool) -> bool {
        let known = matches!(self.opcode, 0..=2 | opcode::CLOSE | opcode::PING | opcode::PONG);
        let fits = !self.is_control() || (self.fin && self.payload <= MAX_CONTROL_PAYLOAD);
        known && fits && self.mask.is_some() && (self.reserved == 0 || (has_extensions && !self.is_control()))
    }

    /// Reads a head from the start of `bytes`; `None` if more are needed. Returns it with its length.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (payload, mut length) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let mask = if second & MASKED == 0 {
            None
        } else {
            let mask = bytes.get(length..length + 4)?.try_into().ok()?;
            length += 4;
            Some(mask)
        };
        let head = Self { fin: first & FIN != 0, reserved: first & RESERVED_BITS, opcode: first & 0x0f, mask, payload };
        Some((head, length))
    }

    /// Appends the head in its shortest form.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(if self.fin { FIN } else { 0 } | self.reserved | self.opcode);
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        match (u8::try_from(self.payload), u16::try_from(self.payload)) {
            (Ok(short @ 0..=125), _) => out.push(masked | short),
            (_, Ok(medium)) => {
                out.push(masked | 126);
                out.extend_from_slice(&medium.to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend_from_slice(&self.payload.to_be_bytes());
            }
        }
        if let Some(mask) = self.mask {
            out.extend_from_slice(&mask);
        }
    }
}

/// A peer went over a limit, with the close code that says so (RFC 6455 §7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitBroken {
    /// 1009.
    MessageTooBig,
    /// 1008.
    Flood,
}

impl LimitBroken {
    pub(crate) const fn close_code(self) -> u16 {
        match self {
            Self::MessageTooBig => 1009,
            Self::Flood => 1008,
        }
    }
}

/// Holds one direction of a WebSocket to the limits.
#[derive(Debug)]
pub(crate) struct FrameLimits {
    message: u64,
    fragments: u32,
    control_tokens: f64,
    updated: Instant,
}

impl FrameLimits {
    pub(crate) fn new(now: Instant) -> Self {
        Self { message: 0, fragments: 0, control_tokens: CONTROL_BURST, updated: now }
    }

    /// A frame begins.
    ///
    /// # Errors
    /// If it goes over a limit.
    pub(crate) fn handle_frame(&mut self, head: &FrameHead, now: Instant) -> Result<(), LimitBroken> {
        if head.is_control() {
            let elapsed = now.saturating_duration_since(self.updated).as_secs_f64();
            self.updated = now;
            self.control_tokens = (self.control_tokens + elapsed * CONTROL_RATE).min(CONTROL_BURST) - 1.0;
            return if self.control_tokens < 0.0 { Err(LimitBroken::Flood) } else { Ok(()) };
        }
        self.message = self.message.saturating_add(head.payload);
        self.fragments += 1;
        if self.message > MAX_MESSAGE {
            return Err(LimitBroken::MessageTooBig);
        }
        if self.fragments > MAX_FRAGMENTS {
            return Err(LimitBroken::Flood);
        }
        if head.fin {
            (self.message, self.fragments) = (0, 0);
        }
        Ok(())
    }
}

impl FrameLimits {
    /// The control frame just counted is not whole yet and will be counted again.
    pub(crate) fn forget_control_frame(&mut self) {
        self.control_tokens += 1.0;
    }
}

/// A close frame with a code and a reason (RFC 6455 §5.5.1), the reason cut to what fits.
pub(crate) fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    const ROOM: usize = 125 - 2;
    let reason = reason.get(..reason.floor_char_boundary(ROOM)).unwrap_or_default();
    let mut frame = Vec::with_capacity(MAX_HEADER + 2 + reason.len());
    FrameHead::control(opcode::CLOSE, 2 + reason.len()).write(&mut frame);
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(reason.as_bytes());
    frame
}

/// A length in memory as frames have it.
pub(crate) fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Removes, or applies, a mask (RFC 6455 §5.3).
pub(crate) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn heads_survive_writing_and_reading(
            fin: bool, reserved in 0u8..8, opcode in 0u8..16, mask: Option<[u8; 4]>, payload: u64,
        ) {
            let head = FrameHead { fin, reserved: reserved << 4, opcode, mask, payload };
            let mut bytes = Vec::new();
            head.write(&mut bytes);
            prop_assert!(bytes.len() <= MAX_HEADER);
            for cut in 0..bytes.len() {
                prop_assert_eq!(FrameHead::read(&bytes[..cut]), None);
            }
            bytes.extend_from_slice(b"payload");
            prop_assert_eq!(FrameHead::read(&bytes), Some((head, bytes.len() - 7)));
        }

        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = FrameHead::read(&bytes);
        }

        #[test]
        fn close_frames_fit_and_stay_utf8(reason in "\\PC{0,200}") {
            let frame = close_frame(4601, &reason);
            prop_assert!(frame.len() <= 127);
            prop_assert!(std::str::from_utf8(&frame[4..]).is_ok());
        }
    }

    #[test]
    fn limits_count_messages_fragments_and_control_frames() {
        let now = Instant::now();
        let data = |fin, payload| FrameHead { fin, reserved: 0, opcode: 2, mask: None, payload };
        let mut limits = FrameLimits::new(now);
        assert_eq!(limits.handle_frame(&data(true, MAX_MESSAGE), now), Ok(()));
        assert_eq!(limits.handle_frame(&data(false, MAX_MESSAGE), now), Ok(()));
        assert_eq!(limits.handle_frame(&data(false, 1), now), Err(LimitBroken::MessageTooBig));

        let mut limits = FrameLimits::new(now);
        assert!((0..100_000).all(|_| limits.handle_frame(&data(false, 1), now).is_ok()));
        assert_eq!(limits.handle_frame(&data(true, 1), now), Err(LimitBroken::Flood));

        let mut limits = FrameLimits::new(now);
        let ping = FrameHead::control(opcode::PING, 0);
        assert!((0..200).all(|_| limits.handle_frame(&ping, now).is_ok()));
        assert_eq!(limits.handle_frame(&ping, now), Err(LimitBroken::Flood));
    }
}
