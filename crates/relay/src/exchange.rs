//! The body of a printer's response on its way to the visitor: counted, limited, and cut when its time is up.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use model::RelayError;
use thiserror::Error;
use tokio::time::Sleep;

use crate::link::{LinkBody, LinkBodyError};
use crate::live::Surface;
use crate::metrics;
pub(crate) use crate::sessions::Activity;
use crate::sessions::SessionGuard;
use crate::webcam::{BoundaryFinder, RunningStream};

/// A stream whose time is up waits this long for a frame's end.
const FRAME_PATIENCE: Duration = Duration::from_secs(5);
/// What was sent before a cut gets this long to leave for the visitor.
const FLUSH_TIME: Duration = Duration::from_millis(50);

/// A body that broke off. The stream to the visitor is reset, never ended in order.
#[derive(Debug, Error)]
#[error("broken off: {0}")]
pub struct BrokenOff(pub RelayError);

/// The body of a relayed response.
pub struct RelayedBody {
    guard: SessionGuard,
    limit: Option<u64>,
    sent: u64,
    hint: SizeHint,
    ended: bool,
    /// Breaks off at the next turn.
    breaking: Option<RelayError>,
    webcam: Option<WebcamCut>,
}

/// When and where a webcam stream is cut.
pub(crate) struct WebcamCut {
    _running: RunningStream,
    time_is_up: Option<Pin<Box<Sleep>>>,
    finder: BoundaryFinder,
    state: CutState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CutState {
    Streaming,
    WaitingForBoundary,
    Flushing,
    Over,
}

impl WebcamCut {
    /// Counts a stream, and cuts it after `limit`.
    pub(crate) fn new(running: RunningStream, limit: Option<Duration>, headers: &HeaderMap) -> Self {
        Self {
            _running: running,
            time_is_up: limit.map(|limit| Box::pin(tokio::time::sleep(limit))),
            finder: BoundaryFinder::new(headers),
            state: CutState::Streaming,
        }
    }

    /// Moves on as time passes. Ready when the stream must be cut now.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &mut self.time_is_up else { return Poll::Pending };
        while timer.as_mut().poll(cx).is_ready() {
            match self.state {
                CutState::Streaming => {
                    self.state = CutState::WaitingForBoundary;
                    timer.as_mut().reset(tokio::time::Instant::now() + FRAME_PATIENCE);
                }
                CutState::WaitingForBoundary | CutState::Flushing | CutState::Over => {
                    self.state = CutState::Over;
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }

    /// What of a piece may pass.
    fn pass(&mut self, piece: &Bytes) -> usize {
        if self.state != CutState::WaitingForBoundary {
            return piece.len();
        }
        let Some(length) = self.finder.cut_in(piece) else { return piece.len() };
        self.state = CutState::Flushing;
        if let Some(timer) = &mut self.time_is_up {
            timer.as_mut().reset(tokio::time::Instant::now() + FLUSH_TIME);
        }
        length
    }
}

impl RelayedBody {
    /// Passes `body` on, up to `limit` bytes.
    pub(crate) fn new(guard: SessionGuard, body: LinkBody, limit: Option<u64>, webcam: Option<WebcamCut>) -> Self {
        let (hint, ended) = (body.size_hint(), body.is_end_stream());
        if !ended {
            *guard.session.body.lock() = Some(body);
        }
        Self { guard, limit, sent: 0, hint, ended, breaking: None, webcam }
    }

    /// Breaks off, one turn later: with the error, what the server still holds for the visitor is lost, and a client
    /// that did not even get the response's head may send its request again.
    fn break_off(&mut self, error: RelayError, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let body = self.guard.session.body.lock().take();
        drop(body);
        metrics::broken_off(error);
        self.guard.note_error(error, Surface::Body);
        self.breaking = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Body for RelayedBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(error) = this.breaking {
            this.ended = true;
            return Poll::Ready(Some(Err(BrokenOff(error))));
        }
        if let Poll::Ready(error) = this.guard.session.poll_cut(cx) {
            return this.break_off(error, cx);
        }
        if let Some(webcam) = &mut this.webcam {
            if webcam.poll_over(cx).is_ready() {
                return this.break_off(RelayError::WebcamLimit, cx);
            }
            if webcam.state == CutState::Flushing {
                return Poll::Pending;
            }
        }
        let (frame, is_last) = {
            let mut body = this.guard.session.body.lock();
            let Some(body) = body.as_mut() else { return Poll::Pending };
            let frame = ready!(body.as_mut().poll_frame(cx));
            let is_last = body.is_end_stream();
            (frame, is_last)
        };
        this.guard.session.activity().touch();
        let mut frame = match frame {
            None => {
                this.ended = true;
                return Poll::Ready(None);
            }
            Some(Err(LinkBodyError::Lost)) => return this.break_off(RelayError::PrinterOffline, cx),
            Some(Err(LinkBodyError::BrokeOff)) => return this.break_off(RelayError::PrinterTimeout, cx),
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref() {
            if let Some(webcam) = &mut this.webcam {
                let length = webcam.pass(data);
                if length < data.len() {
                    frame = Frame::data(data.slice(..length));
                }
            }
            let length = frame.data_ref().map_or(0, Bytes::len);
            this.sent += length as u64;
            this.guard.session.activity().count_down(length);
            if this.limit.is_some_and(|limit| this.sent > limit) {
                return this.break_off(RelayError::DownloadTooLarge, cx);
            }
        }
        if is_last {
            this.ended = true;
            let body = this.guard.session.body.lock().take();
            drop(body);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.hint.exact() {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.sent)),
            None => SizeHint::default(),
        }
    }
}

impl Drop for RelayedBody {
    fn drop(&mut self) {
        let body = self.guard.session.body.lock().take();
        drop(body);
    }
}
