//! `POST /api/gadget/GetStatusFromAppConnection`: what the watch over the print sees.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use model::RelayError;
use serde::Serialize;
use utoipa::ToSchema;

use super::Paces;
use super::call::{ApiFailure, Call};
use crate::state::SiteState;

/// The name under which an operator marks this API as beta, and grants it.
const FEATURE: &str = "gadget-api";

/// What the watch over the print sees.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GadgetStatus {
    /// 0 there is no watch, 1 it is off for this print, 2 nothing prints, 3 it watches, 4 it paused the print.
    #[schema(minimum = 0, maximum = 4)]
    state: u8,
    /// About four words while it watches, else empty. Found in `Result` only: beside it stands the envelope's number.
    status: &'static str,
    /// `g`, `y`, `r` or `w`.
    status_color: &'static str,
    /// From 1, failed, to 10, perfect.
    #[schema(minimum = 1, maximum = 10)]
    rating: u8,
}

/// A service without a watch says so, and finds nothing wrong with the print.
const NO_WATCH: GadgetStatus = GadgetStatus { state: 0, status: "", status_color: "w", rating: 10 };

/// The watch over the print.
#[utoipa::path(
    post, operation_id = "getGadgetStatus", path = "/api/gadget/GetStatusFromAppConnection", tag = "Gadget", responses((status = 200, body = GadgetStatus)),
    description = "Ask at most every ten seconds, and only while something prints. This service has no failure \
                   detection yet: `State` is always 0."
)]
pub(super) async fn status(
    State(state): State<SiteState>,
    Extension(paces): Extension<Arc<Paces>>,
    call: Call,
) -> Response {
    let outcome = read(&state, &paces, &call).await;
    call.respond(&state, outcome)
}

async fn read(state: &SiteState, paces: &Paces, call: &Call) -> Result<GadgetStatus, ApiFailure> {
    let connection = call.authenticate(state).await?;
    call.arguments()?;
    paces.gadget.handle_call(&connection.id, Instant::now()).map_err(ApiFailure::too_many_requests)?;
    if state.plugins.too_old(&connection.printer.id).is_some() {
        return Err(RelayError::PluginUpdateRequired.into());
    }
    let is_beta = state.settings.beta_features.iter().any(|feature| feature == FEATURE);
    if is_beta && !connection.beta.iter().any(|feature| feature.as_str() == FEATURE) {
        return Err(RelayError::NoBetaAccess.into());
    }
    Ok(NO_WATCH)
}
