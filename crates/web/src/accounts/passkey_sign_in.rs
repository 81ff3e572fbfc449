//! Signing in with a passkey: possession and a check of the person in one, so no second factor is asked for.

use std::time::SystemTime;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde::Deserialize;
use webauthn_rs::prelude::PublicKeyCredential;

use crate::accounts::begin_session;
use crate::browser::Browser;
use crate::passkeys::{PasskeyError, Passkeys};
use crate::script_call::{OwnCall, ScriptFailure};
use crate::signed_in::local_path;
use crate::state::SiteState;

#[derive(Deserialize)]
pub(crate) struct Nothing {}

pub(crate) async fn start(
    State(state): State<SiteState>,
    browser: Browser,
    OwnCall(Nothing {}): OwnCall<Nothing>,
) -> Result<Response, ScriptFailure> {
    state.attempts.costly_form(browser.address())?;
    let passkeys = state.passkeys.as_ref().ok_or(ScriptFailure::new("this site takes no passkeys"))?;
    let challenge = passkeys.start_sign_in(&browser.form_token())?;
    Ok(axum::Json(challenge).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Answer {
    to: Option<String>,
    credential: PublicKeyCredential,
}

pub(crate) async fn finish(
    State(state): State<SiteState>,
    browser: Browser,
    OwnCall(answer): OwnCall<Answer>,
) -> Result<Response, ScriptFailure> {
    state.attempts.costly_form(browser.address())?;
    let passkeys = state.passkeys.as_ref().ok_or(ScriptFailure::new("this site takes no passkeys"))?;
    let id = Passkeys::credential_id(&answer.credential);
    let Some((account, stored)) = state.store.passkey_by_credential(&id).await? else {
        return Err(ScriptFailure::new("that passkey belongs to no account here"));
    };
    let changed = match passkeys.finish_sign_in(&browser.form_token(), &answer.credential, &stored) {
        Ok(changed) => changed,
        Err(error @ PasskeyError::Stored(_)) => {
            tracing::error!(%account, error = &error as &dyn std::error::Error, "a passkey cannot be checked");
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    state.store.update_passkey(&id, changed.unwrap_or(stored), SystemTime::now()).await?;
    let to = local_path(answer.to.as_deref());
    let redirect = begin_session(&state, &browser, &account, to).await?;
    let mut response = axum::Json(serde_json::json!({ "to": to })).into_response();
    for cookie in redirect.headers().get_all(header::SET_COOKIE) {
        response.headers_mut().append(header::SET_COOKIE, cookie.clone());
    }
    Ok(response)
}
