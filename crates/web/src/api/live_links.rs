//! `POST /api/live/createfromappconnection`.

use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::response::Response;
use model::RelayError;
use serde::{Deserialize, Serialize};
use store::{AppConnectionRecord, AuditKind, LiveEnd};
use utoipa::ToSchema;

use super::arguments::Arguments;
use super::call::{ApiFailure, Call};
use crate::state::SiteState;

/// A day, the documented default.
const DEFAULT_HOURS: f64 = 24.0;
/// Two years, the documented maximum.
const HOURS: std::ops::RangeInclusive<f64> = 1.0..=17_520.0;

/// How long the link lasts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateLiveLink {
    /// Hours until the link ends.
    #[schema(minimum = 1, maximum = 17_520, default = 24)]
    expiration_hours: Option<f64>,
    /// Instead, the link follows the print that is running, and becomes a still page with its result when it ends.
    #[schema(default = false)]
    end_when_current_print_is_complete: Option<bool>,
}

/// A page with the printer's camera and progress, for whoever has its address.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LiveLink {
    /// Letters and digits; the length may vary.
    live_id: String,
    url: String,
    /// The same page.
    short_url: String,
}

/// Makes a Live Link.
#[utoipa::path(
    post, operation_id = "createLiveLink", path = "/api/live/createfromappconnection", tag = "Live Links",
    request_body = CreateLiveLink, responses((status = 200, body = LiveLink))
)]
pub(super) async fn create(State(state): State<SiteState>, call: Call) -> Response {
    let outcome = make(&state, &call).await;
    call.respond(&state, outcome)
}

async fn make(state: &SiteState, call: &Call) -> Result<LiveLink, ApiFailure> {
    let connection = call.authenticate(state).await?;
    let arguments = call.arguments()?;
    let asked = CreateLiveLink::read(&arguments)?;
    let now = SystemTime::now();
    let end = if asked.end_when_current_print_is_complete == Some(true) {
        end_with_print(state, &connection).await?
    } else {
        LiveEnd::At(now + expiry(asked.expiration_hours)?)
    };
    let (account, printer) = (&connection.account, &connection.printer.id);
    let id = state.store.create_live_link(account, printer, end, Some(connection.id.clone()), now).await?;
    call.note(state, &connection, AuditKind::LiveLinkCreated).await;
    Ok(LiveLink {
        url: state.url(&format!("/live/{id}")),
        short_url: state.url(&format!("/l/{id}")),
        live_id: id.into(),
    })
}

impl CreateLiveLink {
    fn read(arguments: &Arguments) -> Result<Self, ApiFailure> {
        Ok(Self {
            expiration_hours: arguments.number("ExpirationHours")?,
            end_when_current_print_is_complete: arguments.flag("EndWhenCurrentPrintIsComplete")?,
        })
    }
}

fn expiry(hours: Option<f64>) -> Result<Duration, ApiFailure> {
    let hours = hours.unwrap_or(DEFAULT_HOURS);
    if !HOURS.contains(&hours) {
        return Err(ApiFailure::bad_request("`ExpirationHours` has to be from 1 to 17520."));
    }
    Ok(Duration::from_secs_f64(hours * 3600.0))
}

async fn end_with_print(state: &SiteState, connection: &AppConnectionRecord) -> Result<LiveEnd, ApiFailure> {
    let printer = &connection.printer.id;
    // It is away because it was sent away, and waiting will not bring it back.
    if state.plugins.too_old(printer).is_some() {
        return Err(RelayError::PluginUpdateRequired.into());
    }
    if !state.live.is_online(printer).await.map_err(|_| RelayError::Unknown)? {
        return Err(RelayError::PrinterOffline.into());
    }
    // An agent that never says what its printer does is older than this.
    let printing = state.live.status(printer).await.and_then(|status| status.state);
    let Some(printing) = printing else { return Err(RelayError::PluginUpdateRequired.into()) };
    if !printing.phase.is_active() {
        return Err(RelayError::NoActivePrint.into());
    }
    // Agents name every print.
    let print_id = printing.print_id.ok_or(RelayError::PluginError)?;
    Ok(LiveEnd::WithPrint { print_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_within_two_years() {
        assert_eq!(expiry(None).expect("a day"), Duration::from_secs(86_400));
        assert_eq!(expiry(Some(1.5)).expect("a fraction"), Duration::from_secs(5400));
        for (hours, is_valid) in
            [(1.0, true), (17_520.0, true), (0.99, false), (17_520.1, false), (-1.0, false), (1e300, false)]
        {
            assert_eq!(expiry(Some(hours)).is_ok(), is_valid, "{hours}");
        }
    }
}
