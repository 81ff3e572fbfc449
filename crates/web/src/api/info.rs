//! `GET /api/appconnection/info`.

use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::response::Response;
use model::{Limits, RelayError};
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{ApiFailure, Call};
use crate::state::SiteState;
use crate::text;

/// What the documentation types as plain integers cannot be null where there is no limit. The largest that every
/// JSON reader keeps exact.
const NO_BYTE_LIMIT: u64 = (1 << 53) - 1;
/// The largest signed integer of 32 bits, which is what apps put seconds into.
const NO_SECONDS_LIMIT: u64 = i32::MAX as u64;
/// What apps take for "never".
const NEVER: &str = "0001-01-01T00:00:00";

/// What an app may know of the printer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Info {
    /// The owner's name for the printer.
    printer_name: String,
    /// The printer's last known address on its own network; empty if it is not known.
    printer_local_ip: String,
    /// Whether the printer's agent is connected now.
    is_online: bool,
    /// When the agent was last lost, ISO 8601 in UTC; `0001-01-01T00:00:00` if never.
    last_disconnect_time_utc: String,
    /// When the agent last connected, likewise.
    last_connection_time_utc: String,
    /// A page for the owner, who has to sign in there.
    user_facing_printer_url: String,
    printer_limits: PrinterLimits,
}

/// What the owner's plan allows. 9007199254740991 bytes and 2147483647 seconds mean that there is no limit.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PrinterLimits {
    /// Of one response body; more is 607.
    max_download_file_size_bytes: u64,
    /// Of one request body; more is 608.
    max_upload_file_size_bytes: u64,
    /// A camera stream is cut after this long.
    max_single_webcam_stream_length_seconds: u64,
    /// Of all camera streams within a time window; more is 609. Null where there is no limit.
    #[schema(required)]
    max_total_webcam_stream_time_per_time_window_seconds: Option<u64>,
    /// The time window, in seconds.
    #[schema(required)]
    webcam_stream_time_window: Option<u64>,
}

/// State and limits of the printer.
#[utoipa::path(
    get, operation_id = "getInfo", path = "/api/appconnection/info", tag = "App Connection", responses((status = 200, body = Info)),
    description = "An offline printer is a success with `IsOnline` false."
)]
pub(super) async fn info(State(state): State<SiteState>, call: Call) -> Response {
    let outcome = read(&state, &call).await;
    call.respond(&state, outcome)
}

async fn read(state: &SiteState, call: &Call) -> Result<Info, ApiFailure> {
    let connection = call.authenticate(state).await?;
    let printer = &connection.printer;
    let is_online = state.live.is_online(&printer.id).await.map_err(|_| RelayError::Unknown)?;
    Ok(Info {
        printer_name: printer.name.clone(),
        printer_local_ip: printer.seen.lan_ip.clone(),
        is_online,
        last_disconnect_time_utc: utc(printer.last_disconnected_at),
        last_connection_time_utc: utc(printer.last_connected_at),
        user_facing_printer_url: state.url(&format!("/view/{}", printer.id)),
        printer_limits: limits(&connection.plan.limits),
    })
}

fn limits(limits: &Limits) -> PrinterLimits {
    let bytes = |limit: Option<u64>| limit.map_or(NO_BYTE_LIMIT, |bytes| bytes.min(NO_BYTE_LIMIT));
    let seconds = |limit: Duration| limit.as_secs().min(NO_SECONDS_LIMIT);
    PrinterLimits {
        max_download_file_size_bytes: bytes(limits.max_download_bytes),
        max_upload_file_size_bytes: bytes(limits.max_upload_bytes),
        max_single_webcam_stream_length_seconds: limits.webcam_stream.map_or(NO_SECONDS_LIMIT, seconds),
        max_total_webcam_stream_time_per_time_window_seconds: limits.webcam_window.map(|window| seconds(window.total)),
        webcam_stream_time_window: limits.webcam_window.map(|window| seconds(window.window)),
    }
}

fn utc(time: Option<SystemTime>) -> String {
    time.map_or_else(|| NEVER.to_owned(), text::iso)
}

#[cfg(test)]
mod tests {
    use model::WebcamWindow;

    use super::*;

    #[test]
    fn no_limit_is_a_number_where_apps_need_one() {
        let expected = PrinterLimits {
            max_download_file_size_bytes: 9_007_199_254_740_991,
            max_upload_file_size_bytes: 9_007_199_254_740_991,
            max_single_webcam_stream_length_seconds: 2_147_483_647,
            max_total_webcam_stream_time_per_time_window_seconds: None,
            webcam_stream_time_window: None,
        };
        assert_eq!(limits(&Limits::default()), expected);
        let limited = Limits {
            max_upload_bytes: Some(1),
            max_download_bytes: Some(524_288_000),
            webcam_stream: Some(Duration::from_secs(120)),
            webcam_window: Some(WebcamWindow { window: Duration::from_secs(3600), total: Duration::from_secs(600) }),
        };
        let expected = PrinterLimits {
            max_download_file_size_bytes: 524_288_000,
            max_upload_file_size_bytes: 1,
            max_single_webcam_stream_length_seconds: 120,
            max_total_webcam_stream_time_per_time_window_seconds: Some(600),
            webcam_stream_time_window: Some(3600),
        };
        assert_eq!(limits(&limited), expected);
    }

    #[test]
    fn times_are_in_the_form_that_apps_parse() {
        assert_eq!(utc(None), "0001-01-01T00:00:00");
        assert_eq!(utc(Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500))), "1970-01-01T00:00:01Z");
    }
}
