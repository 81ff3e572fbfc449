//! Bodies of the responses that leave the service.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

use crate::exchange::{BrokenOff, RelayedBody};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body on its way to a visitor.
#[derive(Default)]
pub enum RelayBody {
    /// None.
    #[default]
    Empty,
    /// Bytes of our own.
    Full(Bytes),
    /// A printer's.
    Relayed(RelayedBody),
    /// A page of the site.
    Site(UnsyncBoxBody<Bytes, BoxError>),
}

/// Answers a request to the site's own host.
pub type SiteHandler =
    Box<dyn Fn(http::Request<hyper::body::Incoming>) -> BoxFuture<'static, http::Response<RelayBody>> + Send + Sync>;

impl Body for RelayBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Relayed(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|BrokenOff(error)| error.into()))),
            Self::Site(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Relayed(body) => body.is_end_stream(),
            Self::Site(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Relayed(body) => body.size_hint(),
            Self::Site(body) => body.size_hint(),
        }
    }
}
