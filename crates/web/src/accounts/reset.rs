//! A new password for somebody who has forgotten theirs, by a link in a mail.

use std::time::{Duration, SystemTime};

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use model::Secret;
use serde::Deserialize;
use store::{AuditKind, EmailAddress, TokenPurpose};

use crate::accounts::hash_password;
use crate::browser::Browser;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::state::SiteState;

const LIFETIME: Duration = Duration::from_secs(3600);

#[derive(Template)]
#[template(path = "accounts/reset.html")]
struct ResetPage {
    layout: Layout,
    was_sent: bool,
    can_mail: bool,
}

#[derive(Template)]
#[template(path = "accounts/new_password.html")]
struct NewPasswordPage {
    layout: Layout,
    token: String,
    problem: Option<&'static str>,
}

pub(crate) async fn page(State(state): State<SiteState>, browser: Browser) -> Response {
    show(&state, &browser, false)
}

#[derive(Deserialize)]
pub(crate) struct Address {
    email: String,
}

/// Sends the link, if there is such an account. The answer is the same, and as fast, if there is none.
pub(crate) async fn submit(
    State(state): State<SiteState>,
    browser: Browser,
    OwnForm(form): OwnForm<Address>,
) -> Result<Response, PageFailure> {
    state.attempts.costly_form(browser.address())?;
    if let (Ok(email), Some(mailer)) = (form.email.parse::<EmailAddress>(), state.mailer.clone())
        && state.attempts.mail(&email).is_ok()
    {
        let state = state.clone();
        tokio::spawn(async move {
            let Ok(Some(login)) = state.store.account_for_login(&email).await else { return };
            let token = state
                .store
                .issue_token(
                    TokenPurpose::ResetPassword,
                    Some(&login.account),
                    Some(&email),
                    None,
                    LIFETIME,
                    SystemTime::now(),
                )
                .await;
            let Ok(token) = token else { return };
            let url = state.url(&format!("/reset-password/set?token={}", token.expose()));
            let text = format!(
                "Hello,\n\nsomebody, probably you, asked for a new password on {}.\nOpen this link within an hour to \
                 choose one:\n\n{url}\n\nIf it was not you, you need do nothing: your password stays as it is.\n",
                state.names.domain
            );
            if let Err(error) = mailer.send(&email, "A new password for Spoolway", text).await {
                tracing::error!(error = &error as &dyn std::error::Error, "a mail was not sent");
            }
        });
    }
    Ok(show(&state, &browser, true))
}

#[derive(Deserialize)]
pub(crate) struct Link {
    token: String,
}

pub(crate) async fn set_page(
    State(state): State<SiteState>,
    browser: Browser,
    Query(link): Query<Link>,
) -> Result<Response, PageFailure> {
    let token = Secret::new(link.token.as_str());
    if state.store.peek_token(TokenPurpose::ResetPassword, &token, SystemTime::now()).await?.is_none() {
        state.attempts.unknown_id(browser.address())?;
        return Err(expired());
    }
    Ok(show_set(&browser, link.token, None))
}

#[derive(Deserialize)]
pub(crate) struct NewPassword {
    token: String,
    password: String,
}

pub(crate) async fn set(
    State(state): State<SiteState>,
    browser: Browser,
    OwnForm(form): OwnForm<NewPassword>,
) -> Result<Response, PageFailure> {
    let now = SystemTime::now();
    let token = Secret::new(form.token.as_str());
    let Some(record) = state.store.peek_token(TokenPurpose::ResetPassword, &token, now).await? else {
        state.attempts.unknown_id(browser.address())?;
        return Err(expired());
    };
    let email = record.email.as_ref().map(EmailAddress::as_str).unwrap_or_default();
    let hash = match hash_password(&state, form.password, email).await? {
        Ok(hash) => hash,
        Err(problem) => return Ok(show_set(&browser, form.token, Some(problem))),
    };
    let Some(account) =
        state.store.use_token(TokenPurpose::ResetPassword, &token, now).await?.and_then(|used| used.account)
    else {
        return Err(expired());
    };
    state.store.set_password(&account, &hash, None, now).await?;
    crate::audit::note(&state, &account, AuditKind::PasswordChanged, None, "by mail", browser.address()).await;
    Ok(Redirect::to("/sign-in").into_response())
}

fn expired() -> PageFailure {
    PageFailure::BadRequest("this link was used, or has expired; ask for another".to_owned())
}

fn show(state: &SiteState, browser: &Browser, was_sent: bool) -> Response {
    let layout = Layout::of(browser);
    AppPage::new(&layout.clone(), ResetPage { layout, was_sent, can_mail: state.mailer.is_some() }).into_response()
}

fn show_set(browser: &Browser, token: String, problem: Option<&'static str>) -> Response {
    let layout = Layout::of(browser);
    AppPage::new(&layout.clone(), NewPasswordPage { layout, token, problem }).into_response()
}
