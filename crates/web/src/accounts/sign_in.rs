//! Signing in: a password, and a second factor where the account has one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use model::{AccountId, Secret};
use moka::sync::Cache;
use serde::Deserialize;
use store::EmailAddress;

use crate::accounts::{begin_session, verify_password};
use crate::audit::note_failed_sign_in;
use crate::browser::Browser;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::signed_in::local_path;
use crate::state::{SignUp, SiteState};
use crate::totp;

/// Whoever has given the right password has this long for the second factor.
const SECOND_FACTOR_TIME: Duration = Duration::from_secs(300);
const MAX_WAITING: u64 = 10_000;
/// Wrong codes after which the password is asked for again.
const MAX_WRONG_CODES: u8 = 5;

/// People who have given their password and not yet their second factor.
pub struct SecondFactors(Cache<String, Waiting>);

#[derive(Clone)]
struct Waiting {
    account: AccountId,
    email: EmailAddress,
    to: String,
    n_wrong: u8,
}

impl Default for SecondFactors {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_WAITING).time_to_live(SECOND_FACTOR_TIME).build())
    }
}

#[derive(Template)]
#[template(path = "accounts/sign_in.html")]
struct SignInPage {
    layout: Layout,
    to: String,
    email: String,
    problem: Option<&'static str>,
    may_sign_up: bool,
    can_reset: bool,
    has_passkeys: bool,
    provider: Option<String>,
    passkey_script: &'static str,
}

#[derive(Template)]
#[template(path = "accounts/second_factor.html")]
struct SecondFactorPage {
    layout: Layout,
    problem: Option<&'static str>,
}

#[derive(Deserialize)]
pub(crate) struct To {
    to: Option<String>,
}

pub(crate) async fn page(State(state): State<SiteState>, browser: Browser, Query(query): Query<To>) -> Response {
    let to = local_path(query.to.as_deref());
    if browser.session().is_some() {
        return Redirect::to(to).into_response();
    }
    show(&state, &browser, to, "", None)
}

#[derive(Deserialize)]
pub(crate) struct Credentials {
    email: String,
    password: String,
    to: Option<String>,
}

pub(crate) async fn submit(
    State(state): State<SiteState>,
    browser: Browser,
    OwnForm(form): OwnForm<Credentials>,
) -> Result<Response, PageFailure> {
    let to = local_path(form.to.as_deref());
    // The same words for each way of being wrong: whether somebody has an account is nobody's business.
    let wrong = || show(&state, &browser, to, &form.email, Some("That address and password do not belong together."));
    let Ok(email) = form.email.parse::<EmailAddress>() else { return Ok(wrong()) };
    let delay = state.attempts.sign_in(&email, browser.address())?;
    tokio::time::sleep(delay).await;
    let login = state.store.account_for_login(&email).await?;
    let hash = login.as_ref().and_then(|login| login.password.clone());
    let is_right = verify_password(&state, hash, form.password).await?;
    let Some(login) = login else { return Ok(wrong()) };
    if !is_right {
        note_failed_sign_in(&state, &login.account, &browser);
        return Ok(wrong());
    }
    if login.totp.is_some() {
        let waiting = Waiting { account: login.account, email, to: to.to_owned(), n_wrong: 0 };
        state.second_factors.0.insert(browser.form_token(), waiting);
        return Ok(Redirect::to("/sign-in/second-factor").into_response());
    }
    state.attempts.signed_in(&email, browser.address());
    begin_session(&state, &browser, &login.account, to).await
}

pub(crate) async fn second_factor_page(State(state): State<SiteState>, browser: Browser) -> Response {
    if state.second_factors.0.get(&browser.form_token()).is_none() {
        return Redirect::to("/sign-in").into_response();
    }
    let layout = Layout::of(&browser);
    AppPage::new(&layout.clone(), SecondFactorPage { layout, problem: None }).into_response()
}

#[derive(Deserialize)]
pub(crate) struct Code {
    code: String,
}

pub(crate) async fn second_factor(
    State(state): State<SiteState>,
    browser: Browser,
    OwnForm(form): OwnForm<Code>,
) -> Result<Response, PageFailure> {
    let key = browser.form_token();
    let Some(waiting) = state.second_factors.0.get(&key) else {
        return Ok(Redirect::to("/sign-in").into_response());
    };
    let delay = state.attempts.sign_in(&waiting.email, browser.address())?;
    tokio::time::sleep(delay).await;
    let now = SystemTime::now();
    let code: String = form.code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let login = state.store.account_for_login(&waiting.email).await?.filter(|login| login.account == waiting.account);
    let Some(totp) = login.and_then(|login| login.totp) else {
        return Ok(Redirect::to("/sign-in").into_response());
    };
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let step = totp.secret.and_then(|secret| totp::matching_step(&secret, &code, seconds));
    let is_right = match step {
        Some(step) => state.store.accept_totp_step(&waiting.account, step).await?,
        None => state.store.use_recovery_code(&waiting.account, &Secret::new(code.to_uppercase()), now).await?,
    };
    if is_right {
        state.second_factors.0.invalidate(&key);
        state.attempts.signed_in(&waiting.email, browser.address());
        return begin_session(&state, &browser, &waiting.account, &waiting.to).await;
    }
    note_failed_sign_in(&state, &waiting.account, &browser);
    let waiting = Waiting { n_wrong: waiting.n_wrong + 1, ..waiting };
    if waiting.n_wrong >= MAX_WRONG_CODES {
        state.second_factors.0.invalidate(&key);
        return Ok(Redirect::to("/sign-in").into_response());
    }
    state.second_factors.0.insert(key, waiting);
    let layout = Layout::of(&browser);
    let problem = Some("That code is not right, or was used before.");
    Ok(AppPage::new(&layout.clone(), SecondFactorPage { layout, problem }).into_response())
}

fn show(state: &SiteState, browser: &Browser, to: &str, email: &str, problem: Option<&'static str>) -> Response {
    let layout = Layout::of(browser);
    let page = SignInPage {
        to: to.to_owned(),
        email: email.chars().take(254).collect(),
        problem,
        may_sign_up: state.settings.sign_up == SignUp::Open,
        can_reset: state.mailer.is_some(),
        has_passkeys: state.passkeys.is_some(),
        provider: state.oidc.as_ref().map(|provider| provider.name().to_owned()),
        passkey_script: &crate::assets::PASSKEY_SCRIPT.path,
        layout: layout.clone(),
    };
    let mut response = AppPage::new(&layout, page).into_response();
    if problem.is_some() {
        *response.status_mut() = http::StatusCode::UNAUTHORIZED;
    }
    response
}
