//! A printer's cameras on the site's own pages.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use model::PrinterId;
use relay::live::CameraFailure;
use store::{Role, StoreError};

use crate::break_off::break_off_when;
use crate::failure::PageFailure;
use crate::printers::printer_of;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

/// Pictures of a printer are foreign content: the browser shows them as pictures, or not at all.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'");

/// Whoever is signed out, or loses the role, sees no more within this time: two reads of the database for each viewer.
const RECHECK: Duration = Duration::from_secs(1);

pub(crate) async fn snapshot(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path((id, index)): Path<(String, usize)>,
) -> Result<Response, PageFailure> {
    let printer = printer_of(&state, &signed_in, &id, Role::Viewer).await?;
    Ok(snapshot_of(&state, &printer.summary.id, index).await)
}

pub(crate) async fn stream(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path((id, index)): Path<(String, usize)>,
) -> Result<Response, PageFailure> {
    let printer = printer_of(&state, &signed_in, &id, Role::Viewer).await?;
    let id = printer.summary.id;
    let response = stream_of(&state, &id, index).await;
    let over = async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RECHECK) => {}
                () = state.stopping.cancelled() => return,
            }
            if !may_still_watch(&state, &signed_in, &id).await {
                return;
            }
        }
    };
    Ok(break_off_when(response, over))
}

/// Whether somebody is still signed in, and has a role on the printer. A store that does not answer proves nothing.
async fn may_still_watch(state: &SiteState, signed_in: &SignedIn, printer: &PrinterId) -> bool {
    let account = signed_in.account();
    let is_out = matches!(state.store.has_session(account, &signed_in.session.id, SystemTime::now()).await, Ok(false));
    let has_no_role = matches!(state.store.printer_of(account, printer).await, Err(StoreError::NotFound { .. }));
    !is_out && !has_no_role
}

/// One picture of a printer's camera.
pub(crate) async fn snapshot_of(state: &SiteState, printer: &PrinterId, index: usize) -> Response {
    match state.live.snapshot(printer, index).await {
        Ok(picture) => {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                (header::CONTENT_SECURITY_POLICY, POLICY),
            ];
            (headers, picture).into_response()
        }
        Err(failure) => no_picture(&failure),
    }
}

/// The moving picture of a printer's camera.
pub(crate) async fn stream_of(state: &SiteState, printer: &PrinterId, index: usize) -> Response {
    match state.live.camera(printer, index).await {
        Ok(stream) => {
            let media_type = stream
                .content_type
                .to_str()
                .ok()
                .filter(|text| text.to_ascii_lowercase().starts_with("multipart/x-mixed-replace"))
                .and_then(|text| HeaderValue::from_str(text).ok());
            let Some(media_type) = media_type else {
                return (StatusCode::BAD_GATEWAY, "the camera sent something else than pictures").into_response();
            };
            let headers = [
                (header::CONTENT_TYPE, media_type),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                (header::CONTENT_SECURITY_POLICY, POLICY),
            ];
            (headers, Body::new(stream.body)).into_response()
        }
        Err(failure) => no_picture(&failure),
    }
}

fn no_picture(failure: &CameraFailure) -> Response {
    let status = match failure {
        CameraFailure::NoCamera => StatusCode::NOT_FOUND,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    ([(header::CACHE_CONTROL, "no-store")], (status, failure.to_string())).into_response()
}
