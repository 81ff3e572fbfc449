//! What a Live Link's page receives while it is open. It ends when the link does.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{FutureExt, Stream};
use http::{HeaderValue, header};
use http_body::{Body as HttpBody, Frame};
use store::LiveLinkRecord;

use crate::browser::Browser;
use crate::failure::PageFailure;
use crate::printers::camera::stream_of;
use crate::printers::card::CameraView;
use crate::printers::view::CamerasPartial;
use crate::shares::live::{Found, LiveStatePartial, card, find, is_running};
use crate::state::SiteState;

/// A revoked link must end soon; each look is one read of the database for each viewer.
const RECHECK: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The state, anew when it changes.
pub(crate) async fn events(
    State(state): State<SiteState>,
    browser: Browser,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, PageFailure> {
    let Found::Running(link) = find(&state, &browser, &id).await? else { return Err(PageFailure::NotFound) };
    let changes = state.live.changes();
    let feed = Feed { state, link, changes, sent: None, cameras: None, has_ended: false };
    let events = futures_util::stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok(event), feed))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Feed {
    state: SiteState,
    link: LiveLinkRecord,
    changes: tokio::sync::broadcast::Receiver<model::PrinterId>,
    sent: Option<String>,
    cameras: Option<Vec<CameraView>>,
    has_ended: bool,
}

impl Feed {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.has_ended {
                return None;
            }
            if !still_runs(&self.state, &self.link).await {
                self.has_ended = true;
                // The page loads itself anew and is the page of a link that has ended.
                return Some(Event::default().event("ended").data("ended"));
            }
            let card = card(&self.state, &self.link).await;
            if self.cameras.as_ref() != Some(&card.cameras) {
                self.cameras = Some(card.cameras.clone());
                return Some(Event::default().data(CamerasPartial { card }.render().ok()?));
            }
            let html = LiveStatePartial { card }.render().ok()?;
            if self.sent.as_ref() != Some(&html) {
                self.sent = Some(html.clone());
                return Some(Event::default().data(html));
            }
            loop {
                match tokio::time::timeout(RECHECK, self.changes.recv()).await {
                    Ok(Ok(printer)) if printer != self.link.printer => {}
                    Ok(Err(tokio::sync::broadcast::error::RecvError::Closed)) => return None,
                    _ => break,
                }
            }
        }
    }
}

/// A camera's stream, cut when the link ends.
pub(crate) async fn stream(state: &SiteState, link: LiveLinkRecord, index: usize) -> Response {
    let response = stream_of(state, &link.printer, index).await;
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let state = state.clone();
    let ended = async move {
        loop {
            tokio::time::sleep(RECHECK).await;
            if !still_runs(&state, &link).await {
                return;
            }
        }
    };
    (parts, Body::new(UntilEnded { body, ended: ended.boxed() })).into_response()
}

async fn still_runs(state: &SiteState, link: &LiveLinkRecord) -> bool {
    match state.store.live_link(&link.id).await {
        Ok(Some(link)) => is_running(&link, SystemTime::now()),
        Ok(None) => false,
        // Unknown is not ended; its time counts all the same.
        Err(_) => is_running(link, SystemTime::now()),
    }
}

struct UntilEnded {
    body: Body,
    ended: futures_util::future::BoxFuture<'static, ()>,
}

impl HttpBody for UntilEnded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended.poll_unpin(cx).is_ready() {
            // Cut, not ended: whoever watches sees that the stream broke off.
            self.ended = std::future::pending().boxed();
            return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::other("the link has ended")))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}
