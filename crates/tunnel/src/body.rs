//! Bodies in and out of HTTP/2 streams, with flow control all the way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use crate::hop_by_hop::remove_forbidden_trailers;

/// A body that arrives on a stream of the link.
///
/// Bytes count against the stream's window until they are taken out here, which is what makes a slow reader slow its
/// sender. Dropping it before the end resets the stream.
#[derive(Debug)]
pub struct RecvBody {
    stream: Option<RecvStream>,
    length: Option<u64>,
    data_ended: bool,
}

impl RecvBody {
    /// A body whose message announced `length` bytes, if it did.
    pub fn new(stream: RecvStream, length: Option<u64>) -> Self {
        let data_ended = stream.is_end_stream();
        Self { stream: Some(stream), length, data_ended }
    }

    /// No body at all, for a request whose stream has another use.
    pub fn empty() -> Self {
        Self { stream: None, length: Some(0), data_ended: true }
    }
}

impl Body for RecvBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        while !this.data_ended {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => continue,
                Some(Ok(data)) => {
                    stream.flow_control().release_capacity(data.len())?;
                    this.length =
                        this.length.map(|length| length.saturating_sub(u64::try_from(data.len()).unwrap_or(u64::MAX)));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // A peer that needs no more of a request says NO_ERROR after its response (RFC 9113 §8.1): the
                // response is whole.
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => {
                    this.data_ended = true;
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => this.data_ended = true,
            }
        }
        match ready!(stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Why a body was not sent to its end.
#[derive(Debug, Error)]
pub enum SendBodyError<E> {
    /// The body itself failed; the stream was reset, so that the peer never takes the part for the whole.
    #[error("the body broke off")]
    Body(#[source] E),
    /// The peer wants no more of it.
    #[error("the peer reset the stream with {0}")]
    Reset(Reason),
    /// The link failed.
    #[error("the link failed")]
    Link(#[from] h2::Error),
}

/// Sends `body` on `stream` as fast as the peer's window allows, and ends the stream after it.
///
/// # Errors
/// See [`SendBodyError`]. The stream is reset on every error.
pub async fn send_body<B>(body: B, stream: &mut SendStream<Bytes>) -> Result<(), SendBodyError<B::Error>>
where
    B: Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    loop {
        let frame = std::future::poll_fn(|cx| {
            // A body may stay silent for hours (server-sent events); the peer's leaving must be seen meanwhile.
            if let Poll::Ready(reset) = stream.poll_reset(cx) {
                return Poll::Ready(Err(reset.map_or_else(SendBodyError::Link, SendBodyError::Reset)));
            }
            body.as_mut().poll_frame(cx).map(Ok)
        })
        .await?;
        match frame {
            None => {
                stream.send_data(Bytes::new(), true)?;
                return Ok(());
            }
            Some(Err(error)) => {
                stream.send_reset(Reason::CANCEL);
                return Err(SendBodyError::Body(error));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let last = body.is_end_stream();
                    send_data(data, last, stream).await?;
                    if last {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    if let Ok(mut trailers) = frame.into_trailers() {
                        // HTTP/2 refuses some of them, and would take the whole message for malformed.
                        remove_forbidden_trailers(&mut trailers);
                        stream.send_trailers(trailers)?;
                        return Ok(());
                    }
                }
            },
        }
    }
}

async fn send_data<E>(mut data: Bytes, last: bool, stream: &mut SendStream<Bytes>) -> Result<(), SendBodyError<E>> {
    if data.is_empty() {
        if last {
            stream.send_data(data, true)?;
        }
        return Ok(());
    }
    while data.has_remaining() {
        stream.reserve_capacity(data.len());
        let granted = std::future::poll_fn(|cx| {
            if let Poll::Ready(reset) = stream.poll_reset(cx) {
                return Poll::Ready(Err(reset.map_or_else(SendBodyError::Link, SendBodyError::Reset)));
            }
            match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) | Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Ok(granted))) => Poll::Ready(Ok(granted)),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(SendBodyError::Link(error))),
                Poll::Ready(None) => Poll::Ready(Err(SendBodyError::Reset(Reason::STREAM_CLOSED))),
            }
        })
        .await?;
        let piece = data.split_to(granted.min(data.len()));
        let end = last && data.is_empty();
        stream.send_data(piece, end)?;
    }
    Ok(())
}
