//! Passkeys of an account, made and removed.

use std::time::SystemTime;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use store::{AuditKind, Name};
use webauthn_rs::prelude::{Passkey, RegisterPublicKeyCredential};

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::script_call::{OwnCall, ScriptFailure};
use crate::signed_in::SignedIn;
use crate::state::SiteState;

const MAX_PASSKEYS: usize = 20;

#[derive(Deserialize)]
pub(crate) struct Nothing {}

pub(crate) async fn start(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnCall(Nothing {}): OwnCall<Nothing>,
) -> Result<Response, ScriptFailure> {
    let passkeys = state.passkeys.as_ref().ok_or(ScriptFailure::new("this site takes no passkeys"))?;
    let known = state.store.passkeys(signed_in.account()).await?;
    if known.len() >= MAX_PASSKEYS {
        return Err(ScriptFailure::new("remove a passkey first: an account has at most 20"));
    }
    let known: Vec<Passkey> = known.iter().filter_map(|known| serde_json::from_str(&known.data).ok()).collect();
    let account = &signed_in.session.account;
    let browser = signed_in.browser.form_token();
    let challenge = passkeys.start_registration(&browser, &account.id, account.email.as_str(), &known)?;
    Ok(axum::Json(challenge).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Made {
    name: String,
    credential: RegisterPublicKeyCredential,
}

pub(crate) async fn finish(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnCall(made): OwnCall<Made>,
) -> Result<Response, ScriptFailure> {
    let passkeys = state.passkeys.as_ref().ok_or(ScriptFailure::new("this site takes no passkeys"))?;
    let name: Name = made.name.parse().map_err(|_| ScriptFailure::new("give the passkey a name"))?;
    let passkey = passkeys.finish_registration(&signed_in.browser.form_token(), &made.credential)?;
    let data = serde_json::to_string(&passkey).map_err(|_| ScriptFailure::new("the passkey cannot be kept"))?;
    let account = signed_in.account();
    state.store.add_passkey(account, passkey.cred_id(), &name, data, SystemTime::now()).await?;
    let address = signed_in.browser.address();
    crate::audit::note(&state, account, AuditKind::PasskeyAdded, None, name.as_str(), address).await;
    Ok(axum::Json(serde_json::json!({})).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Remove {
    id: String,
}

pub(crate) async fn remove(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<Remove>,
) -> Result<Response, PageFailure> {
    let id = data_encoding::HEXLOWER.decode(form.id.as_bytes()).map_err(|_| PageFailure::NotFound)?;
    state.store.remove_passkey(signed_in.account(), &id).await?;
    let address = signed_in.browser.address();
    crate::audit::note(&state, signed_in.account(), AuditKind::PasskeyRemoved, None, "", address).await;
    Ok(Redirect::to("/settings?said=passkey").into_response())
}
