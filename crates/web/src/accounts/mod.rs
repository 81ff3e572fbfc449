//! Accounts: made, signed in to, signed out of.

pub(crate) mod passkey_sign_in;
pub(crate) mod provider_sign_in;
pub(crate) mod reset;
pub(crate) mod sign_in;
pub(crate) mod sign_out;
pub(crate) mod sign_up;

mod passwords;

pub(crate) use passwords::{hash_password, verify_password};

use axum::response::{IntoResponse, Redirect, Response};
use model::AccountId;
use store::NewSession;

use crate::browser::{Browser, set_session_cookie};
use crate::failure::PageFailure;
use crate::state::SiteState;

/// Somebody who comes by at least every two weeks signs in once a month.
const LIFETIME: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

/// Signs a browser in to an account whose owner has proved to be it, and leads on.
///
/// The session is always a new one: whoever knew the browser's cookies before does not know this one.
pub(crate) async fn begin_session(
    state: &SiteState,
    browser: &Browser,
    account: &AccountId,
    to: &str,
) -> Result<Response, PageFailure> {
    let session = NewSession {
        user_agent: browser.user_agent().to_owned(),
        address: Some(browser.address()),
        lifetime: LIFETIME,
    };
    let (_, token) = state.store.create_session(account, session, std::time::SystemTime::now()).await?;
    crate::audit::note(state, account, store::AuditKind::SignIn, None, browser.user_agent(), browser.address()).await;
    let mut response = Redirect::to(to).into_response();
    set_session_cookie(response.headers_mut(), &token, state.is_https());
    Ok(response)
}
