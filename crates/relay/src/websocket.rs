//! Relaying an open WebSocket.
//!
//! Frames pass through with their payloads untouched, so that sub-protocols, extensions, close codes and reasons are
//! those of the printer. Two things are ours. Frames of the printer leave in pieces of at most 64 KiB, as fragments
//! of the same message (RFC 6455 §5.4), so that there is always a place near for a close frame that says why a
//! WebSocket ends. And the visitor's pings are answered here, between two pieces, however long a message takes.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use model::RelayError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tunnel::stream_io::h2_error;

use crate::frames::{
    FrameHead, FrameLimits, LimitBroken, MAX_CONTROL_PAYLOAD, MAX_HEADER, MAX_MESSAGE, close_frame, opcode, unmask,
};
use crate::link::{FrameStream, LinkError};
use crate::metrics;
use crate::sessions::Session;

/// The largest piece of a printer's frame that leaves as one.
pub const PIECE: usize = 64 * 1024;
/// Pongs that wait for their turn. More pings than this unanswered deserve no more (RFC 6455 §5.5.3).
const WAITING_PONGS: usize = 16;
/// After the last frame the visitor gets this long to close its side; closing at once could destroy that frame.
const LINGER: Duration = Duration::from_secs(2);

/// Why a WebSocket ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The printer's close frame has passed, or the visitor has gone.
    InOrder,
    /// With a code of ours.
    Error(RelayError),
    /// The visitor went over a limit.
    Limit(LimitBroken),
    /// The service is going down.
    GoingDown,
}

/// RFC 6455 §7.4.1 and its registry: the server is restarting, come back.
const SERVICE_RESTART: u16 = 1012;

/// Joins a visitor's WebSocket with the printer's until either ends, or the session is cut. Returns the error that
/// ended it, if one did.
pub(crate) async fn relay<V>(
    visitor: V,
    printer: Box<dyn FrameStream>,
    session: Arc<Session>,
    has_extensions: bool,
    going_down: CancellationToken,
) -> Option<RelayError>
where
    V: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (visitor_read, mut visitor_write) = tokio::io::split(visitor);
    let (printer_read, printer_write) = tokio::io::split(printer);
    let (pongs, waiting_pongs) = mpsc::channel(WAITING_PONGS);
    let mut visitor_read = Some(visitor_read);
    let end = {
        let upstream = to_printer(&mut visitor_read, printer_write, pongs, FrameBuffer::new(has_extensions), &session);
        let downstream = to_visitor(printer_read, &mut visitor_write, waiting_pongs, &session, &going_down);
        let both = async {
            tokio::select! {
                end = upstream => end,
                end = downstream => end,
            }
        };
        AssertUnwindSafe(both).catch_unwind().await.unwrap_or_else(|_| {
            metrics::panicked();
            End::Error(RelayError::Unknown)
        })
    };
    let close = match &end {
        End::InOrder => None,
        End::Error(error) => {
            metrics::broken_off(*error);
            Some(close_frame(error.close_code(), error.name()))
        }
        End::GoingDown => Some(close_frame(SERVICE_RESTART, "service restart")),
        End::Limit(limit) => Some(close_frame(limit.close_code(), "limit exceeded")),
    };
    let goodbye = async {
        if let Some(close) = close {
            visitor_write.write_all(&close).await?;
        }
        visitor_write.shutdown().await?;
        let Some(mut read) = visitor_read else { return Ok(()) };
        tokio::io::copy(&mut read, &mut tokio::io::sink()).await.map(drop)
    };
    let _: Result<io::Result<()>, _> = tokio::time::timeout(LINGER, goodbye).await;
    match end {
        End::Error(error) => Some(error),
        End::InOrder | End::Limit(_) | End::GoingDown => None,
    }
}

/// Passes the visitor's frames to the printer; answers pings.
async fn to_printer<V, P>(
    visitor: &mut Option<ReadHalf<V>>,
    mut printer: WriteHalf<P>,
    pongs: mpsc::Sender<Vec<u8>>,
    mut frames: FrameBuffer,
    session: &Session,
) -> End
where
    V: AsyncRead + AsyncWrite,
    P: AsyncRead + AsyncWrite + Unpin,
{
    let Some(visitor) = visitor.as_mut() else { return End::InOrder };
    let mut limits = FrameLimits::new(Instant::now());
    loop {
        match frames.fill(visitor).await {
            Ok(0) if frames.has_closed => {
                // The close frame may still be on its way, and a reset would overtake it; the printer ends the rest.
                let _ = printer.shutdown().await;
                tokio::time::sleep(LINGER).await;
                return End::InOrder;
            }
            Ok(0) | Err(_) => {
                // Dropped without an end, the stream is reset: the printer sees the visitor break off.
                return End::InOrder;
            }
            Ok(_) => session.activity().touch(),
        }
        let mut out = Vec::with_capacity(frames.bytes.len());
        let answer = |pong| {
            let _ = pongs.try_send(pong);
        };
        if let Err(limit) = frames.take(&mut limits, Instant::now(), &mut out, answer) {
            return End::Limit(limit);
        }
        if !out.is_empty() {
            let sent = async {
                printer.write_all(&out).await?;
                printer.flush().await
            };
            if sent.await.is_err() {
                // The other direction knows why, and will say so.
                std::future::pending::<()>().await;
            }
            session.activity().count_up(out.len());
            session.activity().touch();
        }
    }
}

/// Passes the printer's frames to the visitor in pieces, with pongs in between.
async fn to_visitor<V, P>(
    mut printer: ReadHalf<P>,
    visitor: &mut WriteHalf<V>,
    mut waiting_pongs: mpsc::Receiver<Vec<u8>>,
    session: &Session,
    going_down: &CancellationToken,
) -> End
where
    V: AsyncRead + AsyncWrite,
    P: AsyncRead + AsyncWrite + Unpin,
{
    let mut pieces = PieceBuffer::default();
    let mut closed_by_printer = false;
    loop {
        while let Some(piece) = match pieces.next_piece() {
            Ok(piece) => piece,
            Err(error) => return End::Error(error),
        } {
            closed_by_printer |= piece.is_close;
            let mut writing = std::pin::pin!(write_piece(visitor, &piece, &mut waiting_pongs));
            let written = tokio::select! {
                biased;
                error = std::future::poll_fn(|cx| session.poll_cut(cx)) => {
                    // A close frame inside of another frame would be taken for its payload.
                    return match tokio::time::timeout(LINGER, writing).await {
                        Ok(Ok(())) => End::Error(error),
                        _ => End::InOrder,
                    };
                }
                written = &mut writing => written,
            };
            if written.is_err() {
                return End::InOrder;
            }
            session.activity().count_down(piece.rest.len());
            session.activity().touch();
        }
        tokio::select! {
            biased;
            error = std::future::poll_fn(|cx| session.poll_cut(cx)) => return End::Error(error),
            () = going_down.cancelled() => return End::GoingDown,
            Some(pong) = waiting_pongs.recv() => {
                if visitor.write_all(&pong).await.is_err() || visitor.flush().await.is_err() {
                    return End::InOrder;
                }
            }
            read = pieces.fill(&mut printer) => match read {
                Ok(0) if closed_by_printer => return End::InOrder,
                // The printer's connection ended without a close frame.
                Ok(0) => return End::Error(RelayError::PrinterTimeout),
                Ok(_) => session.activity().touch(),
                Err(_) if closed_by_printer => return End::InOrder,
                Err(error) => return End::Error(broken_link(&error)),
            },
        }
    }
}

async fn write_piece<V: AsyncRead + AsyncWrite>(
    visitor: &mut WriteHalf<V>,
    piece: &Piece,
    waiting_pongs: &mut mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    while let Ok(pong) = waiting_pongs.try_recv() {
        visitor.write_all(&pong).await?;
    }
    visitor.write_all(&piece.head).await?;
    visitor.write_all(&piece.rest).await?;
    visitor.flush().await
}

fn broken_link(error: &io::Error) -> RelayError {
    if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<LinkError>()) {
        return error.relay_error();
    }
    match h2_error(error) {
        Some(error) if error.reason() == Some(h2::Reason::CONNECT_ERROR) => RelayError::PrinterTimeout,
        Some(error) if error.is_reset() => RelayError::PluginError,
        _ => RelayError::PrinterOffline,
    }
}

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

    async fn fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> io::Result<usize> {
        self.bytes.reserve(if self.payload_left > 0 { PIECE } else { PIECE / 16 });
        reader.read_buf(&mut self.bytes).await
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
            let whole = length + head.payload as usize;
            if self.bytes.len() < whole {
                limits.forget_control_frame();
                return Ok(());
            }
            let mut payload = self.bytes[length..whole].to_vec();
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
        let length = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(self.bytes.len());
        out.extend_from_slice(&self.bytes.split_to(length));
        self.payload_left -= length as u64;
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
    is_close: bool,
}

impl PieceBuffer {
    async fn fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> io::Result<usize> {
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
            let length = self.bytes.len().min(PIECE).min(usize::try_from(frame.payload).unwrap_or(usize::MAX));
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
        let payload = head.payload as usize;
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
        let left = frame.payload - length as u64;
        let head = FrameHead { fin: frame.fin && left == 0, payload: length as u64, ..frame };
        let mut head_bytes = Vec::with_capacity(MAX_HEADER);
        head.write(&mut head_bytes);
        let rest = self.bytes.split_to(length).freeze();
        self.in_fragments =
            (left > 0).then_some(FrameHead { opcode: opcode::CONTINUATION, reserved: 0, payload: left, ..frame });
        Piece { head: head_bytes, rest, is_close: false }
    }
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
