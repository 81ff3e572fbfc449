//! A visitor's body on its way to the printer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

use crate::exchange::Activity;

/// Counts what the visitor sends and breaks off at the plan's limit.
///
/// It fails and does not end there, so that the stream to the agent is reset and the printer never keeps a cut file.
pub struct UploadBody {
    body: Incoming,
    limit: Option<u64>,
    progress: Arc<Progress>,
    activity: Activity,
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
    /// The visitor went away or sent no HTTP.
    #[error("the visitor broke off")]
    Visitor(#[source] hyper::Error),
}

impl UploadBody {
    /// Passes `body` on up to `limit` bytes.
    pub fn new(body: Incoming, limit: Option<u64>, activity: Activity) -> Self {
        Self { body, limit, progress: Arc::default(), activity }
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
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)) else { return Poll::Ready(None) };
        let frame = frame.map_err(UploadError::Visitor)?;
        this.activity.touch();
        if let Some(data) = frame.data_ref() {
            let length = data.len() as u64;
            crate::metrics::bytes_from_visitors(length);
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
