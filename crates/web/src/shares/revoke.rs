//! Ending a share.

use std::time::SystemTime;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use store::{AuditKind, ConnectionKind};

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
    let connections = state.store.connections_of(signed_in.account(), None).await?;
    let connection = connections.into_iter().find(|connection| connection.id == id);
    state.store.revoke_connection_of(signed_in.account(), &id, SystemTime::now()).await?;
    let (kind, printer, subject) = match connection {
        Some(app) if app.kind == ConnectionKind::App => {
            let subject = format!("{}: {}", app.app_name.unwrap_or_default(), app.printer_name);
            (AuditKind::AppRevoked, Some(app.printer), subject)
        }
        Some(shared) => (AuditKind::ShareRevoked, Some(shared.printer), shared.printer_name),
        None => (AuditKind::ShareRevoked, None, String::new()),
    };
    let address = signed_in.browser.address();
    crate::audit::note(&state, signed_in.account(), kind, printer.as_ref(), &subject, address).await;
    Ok(Redirect::to("/shares").into_response())
}

pub(crate) async fn live(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    OwnForm(Nothing {}): OwnForm<Nothing>,
) -> Result<Response, PageFailure> {
    let id = id.parse().map_err(|_| PageFailure::NotFound)?;
    let link = state.store.live_link(&id).await?;
    state.store.revoke_live_link(signed_in.account(), &id, SystemTime::now()).await?;
    let (printer, subject) = link.map(|link| (link.printer, link.printer_name)).unzip();
    let address = signed_in.browser.address();
    let subject = subject.unwrap_or_default();
    crate::audit::note(&state, signed_in.account(), AuditKind::LiveLinkEnded, printer.as_ref(), &subject, address)
        .await;
    Ok(Redirect::to("/shares").into_response())
}
