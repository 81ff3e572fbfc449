//! Letting an app send the printer messages in its own language, and taking that back.

use std::time::SystemTime;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use store::AuditKind;

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

#[derive(Deserialize)]
pub(crate) struct FullControlForm {
    /// `yes`, or anything else.
    allow: String,
}

pub(crate) async fn set(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    OwnForm(form): OwnForm<FullControlForm>,
) -> Result<Response, PageFailure> {
    let id = id.parse().map_err(|_| PageFailure::NotFound)?;
    let allow = form.allow == "yes";
    let app = state.store.set_full_control_of(signed_in.account(), &id, allow, SystemTime::now()).await?;
    let kind = if allow { AuditKind::FullControlGiven } else { AuditKind::FullControlTaken };
    let subject = format!("{}: {}", app.app_name.unwrap_or_default(), app.printer_name);
    let address = signed_in.browser.address();
    crate::audit::note(&state, signed_in.account(), kind, Some(&app.printer), &subject, address).await;
    Ok(Redirect::to("/shares").into_response())
}
