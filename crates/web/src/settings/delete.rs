//! Deleting the account.

use std::time::SystemTime;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use store::StoreError;

use crate::browser::clear_session_cookie;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::settings::prove_again;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

#[derive(Deserialize)]
pub(crate) struct Delete {
    #[serde(default)]
    password: String,
    #[serde(default)]
    confirm: String,
}

pub(crate) async fn submit(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<Delete>,
) -> Result<Response, PageFailure> {
    if !form.confirm.trim().eq_ignore_ascii_case(signed_in.session.account.email.as_str()) {
        return Err(PageFailure::BadRequest("type the account's address to delete it; nothing was changed".to_owned()));
    }
    prove_again(&state, &signed_in, form.password).await?;
    match state.store.delete_account_by_id(signed_in.account(), SystemTime::now()).await {
        Ok(()) => {}
        Err(StoreError::Conflict { .. }) => {
            return Err(PageFailure::BadRequest(
                "you are the only administrator; make somebody else one first".to_owned(),
            ));
        }
        Err(error) => return Err(error.into()),
    }
    let mut response = Redirect::to("/").into_response();
    clear_session_cookie(response.headers_mut(), state.is_https());
    response
        .headers_mut()
        .insert("clear-site-data", http::HeaderValue::from_static("\"cache\", \"cookies\", \"storage\""));
    Ok(response)
}
