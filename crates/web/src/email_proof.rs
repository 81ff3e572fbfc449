//! Proof that an account's address is its owner's, by a link in a mail.

use std::time::{Duration, SystemTime};

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use model::{AccountId, Secret};
use serde::Deserialize;
use store::{EmailAddress, TokenPurpose};

use crate::accounts::sign_out::Nothing;
use crate::browser::Browser;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

const LIFETIME: Duration = Duration::from_secs(48 * 3600);

/// Sends the link, where the service sends mail. A failure is logged: the account works without, and asks again.
pub(crate) async fn send(state: &SiteState, account: &AccountId, email: &EmailAddress) {
    let Some(mailer) = &state.mailer else { return };
    if state.attempts.mail(email).is_err() {
        return;
    }
    let token = state
        .store
        .issue_token(TokenPurpose::VerifyEmail, Some(account), Some(email), None, LIFETIME, SystemTime::now())
        .await;
    let token = match token {
        Ok(token) => token,
        Err(error) => return tracing::error!(%error, "no proof of an address could be made"),
    };
    let url = state.url(&format!("/verify-email?token={}", token.expose()));
    let text = format!(
        "Hello,\n\nsomebody, probably you, made an account at {} with this address.\nOpen this link within two days \
         to say that it is yours:\n\n{url}\n\nIf it was not you, you need do nothing.\n",
        state.names.domain
    );
    let (mailer, email) = (mailer.clone(), email.clone());
    // The mail server may take its time; the person does not wait for it, nor learns from it whether an account exists.
    tokio::spawn(async move {
        if let Err(error) = mailer.send(&email, "Your address for Spoolway", text).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a mail was not sent");
        }
    });
}

#[derive(Deserialize)]
pub(crate) struct Link {
    token: String,
}

/// The link of the mail.
pub(crate) async fn verify(
    State(state): State<SiteState>,
    browser: Browser,
    Query(link): Query<Link>,
) -> Result<Response, PageFailure> {
    let token = Secret::new(link.token);
    let now = SystemTime::now();
    let used = state.store.use_token(TokenPurpose::VerifyEmail, &token, now).await?;
    let Some(account) = used.and_then(|used| used.account) else {
        state.attempts.unknown_id(browser.address())?;
        let text = "this link was used, or has expired; ask for another in the settings";
        return Err(PageFailure::BadRequest(text.to_owned()));
    };
    state.store.set_email_verified(&account, now).await?;
    Ok(Redirect::to("/settings?said=email-verified").into_response())
}

/// Asks for another mail.
pub(crate) async fn resend(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(Nothing {}): OwnForm<Nothing>,
) -> Response {
    send(&state, signed_in.account(), &signed_in.session.account.email).await;
    Redirect::to("/settings?said=mail-sent").into_response()
}
