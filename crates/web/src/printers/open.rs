//! The way from the site to a printer's own interface, on the printer's own host.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use model::{Label, SecretHash};
use serde::Deserialize;
use store::{AuditKind, Role};

use crate::failure::PageFailure;
use crate::signed_in::{SignedIn, local_path};
use crate::state::SiteState;

#[derive(Deserialize)]
pub(crate) struct To {
    to: Option<String>,
    /// The hash of the secret that the printer's host gave to this browser.
    browser: Option<String>,
}

/// Hands a signed-in person over: a ticket that works once, for a minute, for this printer, this session and this
/// browser. Whoever comes without the hash of the host's secret is sent there first, to get it.
pub(crate) async fn hand_over(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(label): Path<String>,
    Query(query): Query<To>,
) -> Result<Response, PageFailure> {
    let label: Label = label.parse().map_err(|_| PageFailure::NotFound)?;
    let printers = state.store.printers_of(signed_in.account()).await?;
    let printer = printers.into_iter().find(|printer| printer.owner_label == label).ok_or(PageFailure::NotFound)?;
    if printer.role < Role::Operator {
        return Err(PageFailure::Forbidden("You may watch this printer, but not open its full interface."));
    }
    let to = match query.to.as_deref() {
        Some(to) if local_path(Some(to)) == to => to,
        _ => "/",
    };
    let to = percent_encoding::utf8_percent_encode(to, percent_encoding::NON_ALPHANUMERIC);
    let (scheme, domain) = (&state.names.scheme, &state.names.printers_domain);
    let enter = format!("{scheme}://p-{label}.{domain}/.spoolway/enter?to={to}");
    let Some(browser) = query.browser.as_deref().and_then(SecretHash::from_hex) else {
        return Ok(Redirect::to(&enter).into_response());
    };
    let id = printer.summary.id;
    let account = signed_in.account();
    let ticket = state.owner_views.issue(signed_in.session.id.clone(), account.clone(), id.clone(), label, browser);
    let address = signed_in.browser.address();
    crate::audit::note(&state, account, AuditKind::OwnerViewOpened, Some(&id), "", address).await;
    Ok(Redirect::to(&format!("{enter}&ticket={}", ticket.expose())).into_response())
}
