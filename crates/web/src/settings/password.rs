//! Changing the password.

use std::time::SystemTime;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use store::AuditKind;

use crate::accounts::hash_password;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::settings::prove_again;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

#[derive(Deserialize)]
pub(crate) struct Change {
    #[serde(default)]
    current: String,
    new: String,
}

pub(crate) async fn submit(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<Change>,
) -> Result<Response, PageFailure> {
    prove_again(&state, &signed_in, form.current).await?;
    let hash = hash_password(&state, form.new, signed_in.session.account.email.as_str()).await?;
    let hash = hash.map_err(|problem| PageFailure::BadRequest(problem.to_owned()))?;
    let (account, now) = (signed_in.account(), SystemTime::now());
    state.store.set_password(account, &hash, Some(&signed_in.session.id), now).await?;
    let address = signed_in.browser.address();
    crate::audit::note(&state, account, AuditKind::PasswordChanged, None, "", address).await;
    Ok(Redirect::to("/settings?said=password").into_response())
}
