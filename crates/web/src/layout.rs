//! What every page has around its content.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::assets::{HTMX, HTMX_SSE, ICON, SITE_SCRIPT, STYLESHEET};
use crate::browser::Browser;
use crate::failure::PageFailure;

/// The frame of a page: who is signed in, the token of its forms, the mark of its scripts.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The address of whoever is signed in.
    pub(crate) email: Option<String>,
    pub(crate) is_admin: bool,
    /// For the hidden field `form_token` of every form.
    pub(crate) form_token: String,
    pub(crate) nonce: String,
    /// Paths of the files that every page loads.
    pub(crate) stylesheet: &'static str,
    pub(crate) icon: &'static str,
    pub(crate) htmx: &'static str,
    pub(crate) htmx_sse: &'static str,
    pub(crate) script: &'static str,
}

impl Layout {
    pub(crate) fn of(browser: &Browser) -> Self {
        let account = browser.session().map(|session| &session.account);
        Self {
            email: account.map(|account| account.email.to_string()),
            is_admin: account.is_some_and(|account| account.is_admin),
            form_token: browser.form_token(),
            nonce: browser.nonce().to_owned(),
            stylesheet: &STYLESHEET.path,
            icon: &ICON.path,
            htmx: &HTMX.path,
            htmx_sse: &HTMX_SSE.path,
            script: &SITE_SCRIPT.path,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Layout {
    type Rejection = PageFailure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageFailure> {
        Ok(Self::of(&Browser::from_request_parts(parts, state).await?))
    }
}
