//! Responses that last, and end when whoever receives them may receive no more.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// Breaks a response's body off when `over` is. It is cut and not ended, so that whoever watches sees that it broke off.
pub(crate) fn break_off_when(response: Response, over: impl Future<Output = ()> + Send + 'static) -> Response {
    response.map(|body| Body::new(BreakingOff { body, over: Some(over.boxed()) }))
}

struct BreakingOff {
    body: Body,
    /// None once it is over.
    over: Option<BoxFuture<'static, ()>>,
}

impl HttpBody for BreakingOff {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(over) = &mut self.over else { return Poll::Ready(None) };
        if over.poll_unpin(cx).is_ready() {
            self.over = None;
            return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::other("nothing more may be seen")))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.over.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::{StreamExt, stream};
    use http_body_util::BodyExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn an_endless_body_breaks_off_when_it_is_over_and_not_before() {
        let pieces = stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"piece")) });
        let endless = Body::from_stream(pieces.chain(stream::pending()));
        let (end, over) = oneshot::channel::<()>();
        let response = break_off_when(Response::new(endless), async move { drop(over.await) });
        let mut body = response.into_body();
        let first = body.frame().await.expect("a frame").expect("it is whole");
        assert_eq!(first.into_data().ok().as_deref(), Some(&b"piece"[..]));
        assert!(body.frame().now_or_never().is_none(), "it goes on");
        end.send(()).expect("the body waits for it");
        assert!(body.frame().await.expect("the break is seen").is_err());
        assert!(body.frame().await.is_none());
    }
}
