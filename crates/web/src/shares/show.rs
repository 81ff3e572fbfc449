//! A share that there is already, with its QR code.

use std::time::SystemTime;

use axum::extract::{Path, State};
use axum::response::Response;
use store::ConnectionKind;

use crate::failure::PageFailure;
use crate::shares::create::{Made, made};
use crate::shares::live::is_running;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

pub(crate) async fn live(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
) -> Result<Response, PageFailure> {
    let id: model::LiveId = id.parse().map_err(|_| PageFailure::NotFound)?;
    let own = state.store.live_links_of(signed_in.account(), None).await?;
    let link = match own.iter().any(|link| link.id == id) {
        true => state.store.live_link(&id).await?,
        false => None,
    };
    let link = link.filter(|link| is_running(link, SystemTime::now())).ok_or(PageFailure::NotFound)?;
    let (url, short_url) = (state.url(&format!("/live/{id}")), Some(state.url(&format!("/l/{id}"))));
    let made_link = Made { title: "Live Link", printer: link.printer_name, url, short_url, has_password: false };
    Ok(made(&signed_in, made_link))
}

pub(crate) async fn connection(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
) -> Result<Response, PageFailure> {
    let id: model::ConnectionId = id.parse().map_err(|_| PageFailure::NotFound)?;
    let own = state.store.connections_of(signed_in.account(), None).await?;
    let shared = own.into_iter().find(|own| own.id == id && own.kind == ConnectionKind::Shared);
    let shared = shared.ok_or(PageFailure::NotFound)?;
    let (scheme, domain) = (&state.names.scheme, &state.names.printers_domain);
    let url = format!("{scheme}://shared-{}.{domain}", shared.label);
    let has_password = shared.has_credentials;
    let made_link =
        Made { title: "Shared Connection", printer: shared.printer_name, url, short_url: None, has_password };
    Ok(made(&signed_in, made_link))
}
