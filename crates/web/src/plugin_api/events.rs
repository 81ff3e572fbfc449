//! `POST /api/printernotifications/printerevent`: something happened to a print.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use model::PrinterId;
use model::events::{EventKind, PrintEvent};
use relay::budgets::Origin;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Desk;
use super::answer::{Refusal, address_of, respond};
use super::fields::{Call, Texts};
use super::identity::prove;
use crate::picture;
use crate::state::SiteState;

/// The beginning of every JPEG.
const JPEG_MAGIC: [u8; 3] = [0xff, 0xd8, 0xff];

/// What tells one event from the next. Trying again, a plugin repeats all of it unchanged.
pub(super) type Fingerprint = [u8; 32];

/// The fields that it is made of.
const TELLING: [&str; 6] = ["PrinterId", "PrintId", "Event", "ProgressPercentage", "HoursCount", "DurationSec"];

pub(super) async fn take_in(
    State(state): State<SiteState>,
    Extension(desk): Extension<Arc<Desk>>,
    request: Request,
) -> Response {
    respond(read(&state, &desk, request).await.map(|()| json!({})))
}

async fn read(state: &SiteState, desk: &Desk, request: Request) -> Result<(), Refusal> {
    let (printer, mut call) = authenticate(state, desk, request).await?;
    let turn = take_turn(desk, &call).await?;
    let picture = call.picture().await?;
    let event = event_of(&call.texts);
    // Before the picture is decoded: trying again costs next to nothing.
    let fingerprint = fingerprint_of(&call.texts);
    if desk.seen.contains_key(&fingerprint) {
        return Ok(());
    }
    let picture = match picture {
        Some(picture) => harmless(desk, picture).await,
        None => None,
    };
    drop(turn);
    if !desk.seen.entry(fingerprint).or_insert(()).is_fresh() {
        return Ok(());
    }
    tracing::debug!(%printer, kind = ?event.kind, has_picture = picture.is_some(), "an event of a plugin");
    state.live.handle_event(&printer, event, picture);
    state.plugins.refresh(&printer);
    Ok(())
}

/// Who calls, with the call up to its picture.
pub(super) async fn authenticate(
    state: &SiteState,
    desk: &Desk,
    request: Request,
) -> Result<(PrinterId, Call), Refusal> {
    let origin = Origin::of(address_of(&request));
    desk.events_of_address.spend(origin, Instant::now()).map_err(Refusal::Later)?;
    let call = Call::read(request).await?;
    let printer = prove(state, &call.texts).await?;
    desk.events_of_printer.spend(printer.clone(), Instant::now()).map_err(Refusal::TooMany)?;
    Ok((printer, call))
}

/// A place for a picture in memory.
pub(super) async fn take_turn<'a>(
    desk: &'a Desk,
    call: &Call,
) -> Result<Option<tokio::sync::SemaphorePermit<'a>>, Refusal> {
    if !call.has_picture() {
        return Ok(None);
    }
    desk.pictures.acquire().await.map(Some).map_err(|_| Refusal::Unavailable)
}

fn fingerprint_of(texts: &Texts) -> Fingerprint {
    let mut hash = Sha256::new();
    for name in TELLING {
        hash.update(texts.get(name).unwrap_or_default());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// The picture, written anew. One that cannot be read is left out: the event is worth more.
async fn harmless(desk: &Desk, picture: Bytes) -> Option<Bytes> {
    if !picture.starts_with(&JPEG_MAGIC) {
        tracing::debug!("an event's picture is no JPEG");
        return None;
    }
    let _turn = desk.decoding.acquire().await.ok()?;
    let made = tokio::task::spawn_blocking(move || picture::shrink(&picture)).await;
    made.ok().flatten().map(Bytes::from)
}

fn event_of(texts: &Texts) -> PrintEvent {
    let text = |name: &str| texts.get(name).map(str::to_owned);
    let small = |name: &str| texts.count(name).and_then(|number| u32::try_from(number).ok());
    // Both are 0 while they are not known.
    let layer = |name: &str| small(name).filter(|layers| *layers > 0);
    PrintEvent {
        kind: EventKind::from_plugin_name(texts.get("Event").unwrap_or_default()),
        print_id: text("PrintId"),
        file: text("FileName"),
        file_kilobytes: texts.count("FileSizeKb"),
        filament_mm: texts.count("FilamentUsageMm"),
        filament_mg: texts.count("FilamentWeightMg"),
        seconds_left: texts.count("TimeRemainingSec"),
        seconds_printing: texts.count("DurationSec"),
        layer: layer("CurrentLayer"),
        total_layers: layer("TotalLayers"),
        progress: texts.count("ProgressPercentage").map(|percent| percent.min(100) as u8),
        hours: small("HoursCount"),
        reason: text("Reason"),
        error: text("Error"),
        platform_error_code: text("PlatformErrorCode"),
        z_offset_mm: texts.number("ZOffsetMM").map(|number| number as f32),
        bed_celsius: texts.number("BedTempC").map(|number| number as f32),
    }
}
