//! Signing out.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::browser::clear_session_cookie;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

#[derive(Deserialize)]
pub(crate) struct Nothing {}

pub(crate) async fn submit(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(Nothing {}): OwnForm<Nothing>,
) -> Result<Response, PageFailure> {
    let now = std::time::SystemTime::now();
    state.store.end_session(signed_in.account(), &signed_in.session.id, now).await?;
    let browser = &signed_in.browser;
    let kind = store::AuditKind::SignOut;
    crate::audit::note(&state, signed_in.account(), kind, None, browser.user_agent(), browser.address()).await;
    let mut response = Redirect::to("/").into_response();
    clear_session_cookie(response.headers_mut(), state.is_https());
    Ok(response)
}
