//! A printer's cameras on the site's own pages.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use model::PrinterId;
use relay::live::CameraFailure;
use store::Role;

use crate::failure::PageFailure;
use crate::printers::printer_of;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

/// Pictures of a printer are foreign content: the browser shows them as pictures, or not at all.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'");

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
    Ok(stream_of(&state, &printer.summary.id, index).await)
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
