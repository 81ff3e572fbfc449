//! Ending a share.

use std::time::SystemTime;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use store::AuditKind;

use crate::accounts::sign_out::Nothing;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

pub(crate) async fn connection(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    OwnForm(Nothing {}): OwnForm<Nothing>,
) -> Result<Response, PageFailure> {
    let id = id.parse().map_err(|_| PageFailure::NotFound)?;
    state.store.revoke_connection_of(signed_in.account(), &id, SystemTime::now()).await?;
    let address = signed_in.browser.address();
    crate::audit::note(&state, signed_in.account(), AuditKind::ShareRevoked, None, id.as_str(), address).await;
    Ok(Redirect::to("/shares").into_response())
}

pub(crate) async fn live(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    OwnForm(Nothing {}): OwnForm<Nothing>,
) -> Result<Response, PageFailure> {
    let id = id.parse().map_err(|_| PageFailure::NotFound)?;
    state.store.revoke_live_link(signed_in.account(), &id, SystemTime::now()).await?;
    let address = signed_in.browser.address();
    crate::audit::note(&state, signed_in.account(), AuditKind::LiveLinkEnded, None, "", address).await;
    Ok(Redirect::to("/shares").into_response())
}
