//! Making an account: the first one by the setup link, others as the operator allows.

use std::time::SystemTime;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use model::Secret;
use serde::Deserialize;
use store::{EmailAddress, StoreError, TokenPurpose};

use crate::accounts::{begin_session, hash_password};
use crate::browser::Browser;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::signed_in::local_path;
use crate::state::{SignUp, SiteState};

#[derive(Template)]
#[template(path = "accounts/sign_up.html")]
struct SignUpPage {
    layout: Layout,
    is_setup: bool,
    /// Where the form goes.
    action: &'static str,
    token: String,
    to: String,
    email: String,
    email_is_fixed: bool,
    problem: Option<String>,
}

#[derive(Template)]
#[template(path = "accounts/sign_up_closed.html")]
struct ClosedPage {
    layout: Layout,
    text: &'static str,
}

#[derive(Deserialize)]
pub(crate) struct Link {
    token: Option<String>,
    to: Option<String>,
}

/// The page of the setup link.
pub(crate) async fn setup_page(
    State(state): State<SiteState>,
    browser: Browser,
    Query(link): Query<Link>,
) -> Result<Response, PageFailure> {
    let token = link.token.unwrap_or_default();
    if !exists(&state, &browser, TokenPurpose::Setup, &token).await? {
        return Ok(closed(
            &browser,
            "This setup link was used, or has expired. When the service starts and has no administrator, it prints a \
             new one.",
        ));
    }
    Ok(show(&browser, SignUpForm { token, ..SignUpForm::default() }, true, false, None))
}

/// The page on which everybody else makes an account.
pub(crate) async fn page(
    State(state): State<SiteState>,
    browser: Browser,
    Query(link): Query<Link>,
) -> Result<Response, PageFailure> {
    let token = link.token.unwrap_or_default();
    let form = SignUpForm { to: link.to, ..SignUpForm::default() };
    if token.is_empty() {
        return Ok(match state.settings.sign_up {
            SignUp::Open => show(&browser, form, false, false, None),
            SignUp::Invitation => {
                closed(&browser, "Accounts on this service are made by invitation. Ask whoever runs it.")
            }
            SignUp::Closed => closed(&browser, "This service takes no new accounts."),
        });
    }
    let invitation =
        state.store.peek_token(TokenPurpose::Invitation, &Secret::new(token.as_str()), SystemTime::now()).await?;
    let Some(invitation) = invitation else {
        state.attempts.unknown_id(browser.address())?;
        return Ok(closed(&browser, "This invitation was used, was withdrawn, or has expired. Ask for a new one."));
    };
    let email = invitation.email.map(|email| email.to_string());
    let is_fixed = email.is_some();
    Ok(show(&browser, SignUpForm { token, email: email.unwrap_or_default(), ..form }, false, is_fixed, None))
}

#[derive(Deserialize, Default)]
pub(crate) struct SignUpForm {
    #[serde(default)]
    token: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
    to: Option<String>,
}

/// Makes the administrator.
pub(crate) async fn setup(
    State(state): State<SiteState>,
    browser: Browser,
    OwnForm(mut form): OwnForm<SignUpForm>,
) -> Result<Response, PageFailure> {
    if !exists(&state, &browser, TokenPurpose::Setup, &form.token).await? {
        return Ok(closed(&browser, "This setup link was used, or has expired."));
    }
    let (email, hash) = match read(&state, &browser, &mut form).await? {
        Ok(read) => read,
        Err(problem) => return Ok(show(&browser, form, true, false, Some(problem))),
    };
    let token = Secret::new(form.token.as_str());
    match state.store.create_administrator_with_setup_token(&token, &email, &hash, SystemTime::now()).await {
        Ok(Some(account)) => {
            crate::email_proof::send(&state, &account, &email).await;
            begin_session(&state, &browser, &account, "/printers").await
        }
        Ok(None) => Ok(closed(&browser, "This setup link was used, or has expired.")),
        Err(StoreError::Conflict { .. }) => Ok(show(&browser, form, true, false, Some(taken()))),
        Err(error) => Err(error.into()),
    }
}

/// Makes an account.
pub(crate) async fn submit(
    State(state): State<SiteState>,
    browser: Browser,
    OwnForm(mut form): OwnForm<SignUpForm>,
) -> Result<Response, PageFailure> {
    state.attempts.costly_form(browser.address())?;
    let now = SystemTime::now();
    let token = Secret::new(form.token.as_str());
    let mut is_fixed = false;
    if form.token.is_empty() {
        if state.settings.sign_up != SignUp::Open {
            return Err(PageFailure::Forbidden("This service takes no new accounts without an invitation."));
        }
    } else {
        let Some(invitation) = state.store.peek_token(TokenPurpose::Invitation, &token, now).await? else {
            return Ok(closed(&browser, "This invitation was used, was withdrawn, or has expired. Ask for a new one."));
        };
        if let Some(email) = invitation.email {
            form.email = email.to_string();
            is_fixed = true;
        }
    }
    let (email, hash) = match read(&state, &browser, &mut form).await? {
        Ok(read) => read,
        Err(problem) => return Ok(show(&browser, form, false, is_fixed, Some(problem))),
    };
    let made = if form.token.is_empty() {
        state.store.add_account(&email, None, Some(&hash), now).await.map(Some)
    } else {
        state.store.sign_up_with_invitation(&token, &email, &hash, now).await
    };
    match made {
        Ok(Some(account)) => {
            crate::email_proof::send(&state, &account, &email).await;
            begin_session(&state, &browser, &account, local_path(form.to.as_deref())).await
        }
        Ok(None) => Ok(closed(&browser, "This invitation was used, was withdrawn, or has expired. Ask for a new one.")),
        Err(StoreError::Conflict { .. }) => Ok(show(&browser, form, false, is_fixed, Some(taken()))),
        Err(error) => Err(error.into()),
    }
}

async fn read(
    state: &SiteState,
    _browser: &Browser,
    form: &mut SignUpForm,
) -> Result<Result<(EmailAddress, store::PasswordHash), String>, PageFailure> {
    let password = std::mem::take(&mut form.password);
    let email = match form.email.parse::<EmailAddress>() {
        Ok(email) => email,
        Err(error) => return Ok(Err(format!("That is no e-mail address: {error}."))),
    };
    let hashed = hash_password(state, password, email.as_str()).await?;
    Ok(hashed.map(|hash| (email, hash)).map_err(str::to_owned))
}

async fn exists(state: &SiteState, browser: &Browser, purpose: TokenPurpose, token: &str) -> Result<bool, PageFailure> {
    let found = state.store.peek_token(purpose, &Secret::new(token), SystemTime::now()).await?.is_some();
    if !found {
        state.attempts.unknown_id(browser.address())?;
    }
    Ok(found)
}

fn taken() -> String {
    "There is an account with that address already. Sign in instead.".to_owned()
}

fn show(
    browser: &Browser,
    form: SignUpForm,
    is_setup: bool,
    email_is_fixed: bool,
    problem: Option<String>,
) -> Response {
    let layout = Layout::of(browser);
    let failed = problem.is_some();
    let page = SignUpPage {
        layout: layout.clone(),
        is_setup,
        action: if is_setup { "/setup" } else { "/sign-up" },
        token: form.token,
        to: local_path(form.to.as_deref()).to_owned(),
        email: form.email,
        email_is_fixed,
        problem,
    };
    let mut response = AppPage::new(&layout, page).into_response();
    if failed {
        *response.status_mut() = http::StatusCode::UNPROCESSABLE_ENTITY;
    }
    response
}

fn closed(browser: &Browser, text: &'static str) -> Response {
    let layout = Layout::of(browser);
    AppPage::new(&layout.clone(), ClosedPage { layout, text }).into_response()
}
