//! Signing in with another service, and linking it to an account.

use std::time::SystemTime;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use store::{EmailAddress, StoreError};

use crate::accounts::begin_session;
use crate::accounts::sign_out::Nothing;
use crate::browser::Browser;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::oidc::{Proven, ProviderError};
use crate::signed_in::{SignedIn, local_path};
use crate::state::{SignUp, SiteState};

#[derive(Deserialize)]
pub(crate) struct To {
    to: Option<String>,
}

pub(crate) async fn start(
    State(state): State<SiteState>,
    browser: Browser,
    Query(query): Query<To>,
) -> Result<Response, PageFailure> {
    let provider = state.oidc.as_ref().ok_or(PageFailure::NotFound)?;
    state.attempts.costly_form(browser.address())?;
    let to = local_path(query.to.as_deref()).to_owned();
    let url = provider.start(browser.form_token(), to, None).await.map_err(failure)?;
    Ok(Redirect::to(&url).into_response())
}

/// Begins to link the other service to the account that is signed in.
pub(crate) async fn link(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(Nothing {}): OwnForm<Nothing>,
) -> Result<Response, PageFailure> {
    let provider = state.oidc.as_ref().ok_or(PageFailure::NotFound)?;
    let to = "/settings?said=identity".to_owned();
    let account = signed_in.account().clone();
    let url = provider.start(signed_in.browser.form_token(), to, Some(account)).await.map_err(failure)?;
    Ok(Redirect::to(&url).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Back {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

pub(crate) async fn back(
    State(state): State<SiteState>,
    browser: Browser,
    Query(query): Query<Back>,
) -> Result<Response, PageFailure> {
    let provider = state.oidc.as_ref().ok_or(PageFailure::NotFound)?;
    if query.error.is_some() {
        return Err(PageFailure::BadRequest(format!("{} did not sign you in", provider.name())));
    }
    let (Some(flow), Some(code)) = (query.state, query.code) else {
        return Err(PageFailure::BadRequest("that address lacks what it should bring".to_owned()));
    };
    let proven = provider.finish(&browser.form_token(), &flow, code).await.map_err(failure)?;
    let now = SystemTime::now();
    let known = state.store.account_by_identity(&proven.issuer, &proven.subject).await?;
    if let Some(account) = &proven.link_to {
        // Only whoever began it, and still is that somebody.
        if browser.session().map(|session| &session.account.id) != Some(account) {
            return Err(failure(ProviderError::UnknownFlow));
        }
        if known.as_ref().is_some_and(|known| known != account) {
            return Err(PageFailure::BadRequest("that sign-in belongs to another account here".to_owned()));
        }
        if known.is_none() {
            state.store.link_identity(account, &proven.issuer, &proven.subject, now).await?;
        }
        return Ok(Redirect::to(&proven.to).into_response());
    }
    let account = match known {
        Some(account) => account,
        None => sign_up(&state, &proven, now).await?,
    };
    begin_session(&state, &browser, &account, &proven.to).await
}

/// Makes an account for somebody whom the other service has proven. An account that exists is never taken over by
/// its address alone: its owner links the two in the settings.
async fn sign_up(state: &SiteState, proven: &Proven, now: SystemTime) -> Result<model::AccountId, PageFailure> {
    if state.settings.sign_up != SignUp::Open {
        return Err(PageFailure::Forbidden(
            "No account here is linked to that sign-in. If you have an account, sign in to it and link the two in its \
             settings; if not, ask whoever runs this service for an invitation.",
        ));
    }
    let email = proven.email.as_deref().and_then(|email| email.parse::<EmailAddress>().ok());
    let email =
        email.ok_or(PageFailure::Forbidden("The other service does not confirm an e-mail address of yours."))?;
    match state.store.add_account_with_identity(&email, true, &proven.issuer, &proven.subject, now).await {
        Ok(account) => Ok(account),
        Err(StoreError::Conflict { .. }) => Err(PageFailure::Forbidden(
            "There is an account with your address. Sign in to it, and link the other sign-in in its settings.",
        )),
        Err(error) => Err(error.into()),
    }
}

fn failure(error: ProviderError) -> PageFailure {
    tracing::warn!(error = &error as &dyn std::error::Error, "a sign-in with the other service failed");
    PageFailure::BadRequest(match &error {
        ProviderError::UnknownFlow => error.to_string(),
        _ => "the other service could not be used to sign in; try again, or sign in another way".to_owned(),
    })
}
