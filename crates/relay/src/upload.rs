//! A visitor's body on its way to the printer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use crate::exchange::Activity;
use crate::timeouts::Pace;

/// Counts what the visitor sends and breaks off at the plan's limit.
///
/// It fails and does not end there, so that the stream to the agent is reset and the printer never keeps a cut file.
pub struct UploadBody {
    body: Incoming,
    limit: Option<u64>,
    progress: Arc<Progress>,
    activity: Activity,
    patience: Patience,
}

/// Bytes of a body that have come from the visitor.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

impl Progress {
    /// The count.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why an upload broke off.
#[derive(Debug, Error)]
pub enum UploadError {
    /// It is over the plan's limit.
    #[error("the body is over the limit")]
    TooLarge,
    /// It comes so slowly that it is only held open.
    #[error("the body comes too slowly")]
    TooSlow,
    /// The visitor went away or sent no HTTP.
    #[error("the visitor broke off")]
    Visitor(#[source] hyper::Error),
}

impl UploadBody {
    /// Passes `body` on up to `limit` bytes, as long as it keeps `pace`.
    pub fn new(body: Incoming, limit: Option<u64>, pace: Pace, activity: Activity) -> Self {
        Self { body, limit, progress: Arc::default(), activity, patience: Patience::new(pace) }
    }

    /// To say that the body is through and the printer's answer is waited for.
    pub fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// The count of bytes, to be looked at while the body is elsewhere.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(frame)) => frame.map_err(UploadError::Visitor)?,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {
                return this.patience.poll_over(this.progress.bytes(), cx).map(|()| Some(Err(UploadError::TooSlow)));
            }
        };
        this.patience.handle_arrival();
        this.activity.touch();
        if let Some(data) = frame.data_ref() {
            let length = data.len() as u64;
            this.activity.count_up(data.len());
            let total = this.progress.0.fetch_add(length, Ordering::Relaxed) + length;
            if this.limit.is_some_and(|limit| total > limit) {
                return Poll::Ready(Some(Err(UploadError::TooLarge)));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Adds up the time spent waiting for a body. Time in which the printer takes nothing is not the visitor's.
struct Patience {
    pace: Pace,
    waited: Duration,
    waiting_since: Option<Instant>,
    /// Rings no later than the patience can end, and is set anew then: most bodies never touch it twice.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(pace: Pace) -> Self {
        Self { pace, waited: Duration::ZERO, waiting_since: None, timer: None }
    }

    /// Something came.
    fn handle_arrival(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }

    /// Nothing is there after `bytes`. Ready when the waiting has taken too long for so few.
    fn poll_over(&mut self, bytes: u64, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let grace = self.pace.grace;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(grace)));
        while timer.as_mut().poll(cx).is_ready() {
            let allowed = grace.max(Duration::from_secs(bytes / self.pace.bytes_per_second.max(1)));
            let left = allowed.saturating_sub(self.waited + since.elapsed());
            if left.is_zero() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + left);
        }
        Poll::Pending
    }
}
