//! Everything that the service knows about an account, as JSON. Secrets are not in it: nobody can read those.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use store::AuditKind;

use crate::accounts::sign_out::Nothing;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

pub(crate) async fn submit(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(Nothing {}): OwnForm<Nothing>,
) -> Result<Response, PageFailure> {
    let export = state.store.export_account(signed_in.account(), std::time::SystemTime::now()).await?;
    let address = signed_in.browser.address();
    crate::audit::note(&state, signed_in.account(), AuditKind::AccountExported, None, "", address).await;
    let json = serde_json::to_vec_pretty(&export).map_err(|_| PageFailure::Internal("an export was not JSON"))?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"spoolway-account.json\"")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, json).into_response())
}
