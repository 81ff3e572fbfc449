//! Taking another service's sign-in away from the account.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

#[derive(Deserialize)]
pub(crate) struct Unlink {
    issuer: String,
    subject: String,
}

pub(crate) async fn unlink(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<Unlink>,
) -> Result<Response, PageFailure> {
    let account = &signed_in.session.account;
    let passkeys = state.store.passkeys(&account.id).await?;
    let identities = state.store.identities(&account.id).await?;
    if !account.has_password && passkeys.is_empty() && identities.len() <= 1 {
        return Err(PageFailure::BadRequest(
            "set a password or add a passkey first, or you could not sign in".to_owned(),
        ));
    }
    state.store.unlink_identity(&account.id, &form.issuer, &form.subject).await?;
    Ok(Redirect::to("/settings?said=identity-off").into_response())
}
