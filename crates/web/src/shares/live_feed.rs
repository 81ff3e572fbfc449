//! What a Live Link's page receives while it is open. It ends when the link does.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use model::LiveId;
use store::LiveLinkRecord;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Interval;

use crate::break_off::break_off_when;
use crate::browser::Browser;
use crate::failure::PageFailure;
use crate::printers::camera::stream_of;
use crate::printers::card::CameraView;
use crate::printers::view::CamerasPartial;
use crate::shares::live::{Found, LiveStatePartial, card, find, is_running};
use crate::shares::viewers::Place;
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
    let recheck = tokio::time::interval(RECHECK);
    let feed = Feed { state, link, changes, recheck, sent: None, cameras: None, has_ended: false };
    let events = futures_util::stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok(event), feed))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Feed {
    state: SiteState,
    link: LiveLinkRecord,
    changes: broadcast::Receiver<model::PrinterId>,
    recheck: Interval,
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
                // By the clock, however much happens to other printers meanwhile. Both can be given up at any await.
                tokio::select! {
                    changed = self.changes.recv() => match changed {
                        Ok(printer) if printer != self.link.printer => {}
                        Err(RecvError::Closed) => return None,
                        Ok(_) | Err(RecvError::Lagged(_)) => break,
                    },
                    () = self.state.stopping.cancelled() => return None,
                    _ = self.recheck.tick() => break,
                }
            }
        }
    }
}

/// A camera's stream, cut when the link ends. Each viewer costs the owner's uplink a stream of its own, so there is room
/// for so many of a printer's public links together.
pub(crate) async fn stream(state: &SiteState, link: LiveLinkRecord, index: usize) -> Response {
    let Some(place) = state.viewers.enter(&link.printer) else {
        let text = "too many people watch this printer at the moment";
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "30")], text).into_response();
    };
    let watched = Watched { state: state.clone(), link: link.id.clone(), bytes: 0, _place: place };
    let mut response = stream_of(state, &link.printer, index).await.map(|body| {
        let mut watched = watched;
        Body::new(body.map_frame(move |frame| {
            watched.handle_frame(&frame);
            frame
        }))
    });
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let state = state.clone();
    let ended = async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RECHECK) => {}
                () = state.stopping.cancelled() => return,
            }
            if !still_runs(&state, &link).await {
                return;
            }
        }
    };
    break_off_when(response, ended)
}

/// What one viewer was sent; tells the store at the end.
struct Watched {
    state: SiteState,
    link: LiveId,
    bytes: u64,
    _place: Place,
}

impl Watched {
    fn handle_frame(&mut self, frame: &Frame<Bytes>) {
        self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let (store, link, bytes) = (self.state.store.clone(), self.link.clone(), self.bytes);
        // Nothing to wait with when the whole service ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = store.add_live_link_use(&link, bytes, SystemTime::now()).await {
                    tracing::warn!(%error, "the use of a Live Link was not noted");
                }
            });
        }
    }
}

async fn still_runs(state: &SiteState, link: &LiveLinkRecord) -> bool {
    match state.store.live_link(&link.id).await {
        Ok(Some(link)) => is_running(&link, SystemTime::now()),
        Ok(None) => false,
        // Unknown is not ended; its time counts all the same.
        Err(_) => is_running(link, SystemTime::now()),
    }
}
