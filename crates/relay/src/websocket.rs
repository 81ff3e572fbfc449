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

use futures_util::FutureExt;
use model::RelayError;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tunnel::stream_io::h2_error;

use crate::frame_buffers::{FrameBuffer, Piece, PieceBuffer};
use crate::frames::{FrameLimits, LimitBroken, close_frame};
use crate::link::{FrameStream, LinkError};
use crate::metrics;
use crate::sessions::Session;

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
            Ok(0) if frames.has_closed() => {
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
