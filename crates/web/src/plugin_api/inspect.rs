//! `POST /api/gadget/inspect`: the plugin offers a picture for the watch over its print.
//!
//! This service has no such watch. It says so in a way that costs one picture in ten minutes, and keeps the plugin's own
//! status sensible (service-api.md 9).

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;

use super::Desk;
use super::answer::{Refusal, respond};
use super::events::{authenticate, take_turn};
use crate::state::SiteState;

/// Seconds until the next picture.
const INTERVAL: u32 = 600;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Verdict {
    next_inspect_interval_sec: u32,
    is_suppressed: bool,
    score: f32,
}

pub(super) async fn answer(
    State(state): State<SiteState>,
    Extension(desk): Extension<Arc<Desk>>,
    request: Request,
) -> Response {
    respond(read(&state, &desk, request).await)
}

async fn read(state: &SiteState, desk: &Desk, request: Request) -> Result<Verdict, Refusal> {
    let (_, mut call) = authenticate(state, desk, request).await?;
    let _turn = take_turn(desk, &call).await?;
    // To its end: otherwise the plugin takes the answer for a broken connection.
    call.picture().await?;
    Ok(Verdict { next_inspect_interval_sec: INTERVAL, is_suppressed: true, score: 0.0 })
}
