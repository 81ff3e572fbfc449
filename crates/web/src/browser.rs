//! What ties requests of one browser together: its session, or before it signs in a cookie without meaning, and the
//! token that its forms carry.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use model::Secret;
use sha2::{Digest, Sha256};
use store::SessionRecord;
use subtle::ConstantTimeEq;

use crate::failure::PageFailure;
use crate::state::SiteState;

/// Cookies of the site begin with `__Host-` on TLS: then no other host, not even a printer's below the same domain, can
/// set one that the browser sends here.
const SECURE_PREFIX: &str = "__Host-";
const SESSION_COOKIE: &str = "spoolway_session";
const VISIT_COOKIE: &str = "spoolway_visit";
const TOUR_COOKIE: &str = "spoolway_tour";
/// The store ends sessions; the cookie only must not end before.
const SESSION_SECONDS: i64 = 30 * 24 * 3600;
/// A year, after which somebody may want to be reminded.
const TOUR_SECONDS: i64 = 365 * 24 * 3600;

/// A browser, as its request shows it.
#[derive(Clone)]
pub(crate) struct Browser {
    inner: Arc<Inner>,
}

struct Inner {
    session: Option<SessionRecord>,
    /// What the forms' token is made of: the session's cookie, or the other one.
    key: Secret,
    key_is_new: bool,
    key_was_used: AtomicBool,
    has_hidden_tour: bool,
    nonce: String,
    address: IpAddr,
    user_agent: String,
}

impl Browser {
    /// Who is signed in.
    pub(crate) fn session(&self) -> Option<&SessionRecord> {
        self.inner.session.as_ref()
    }

    /// Whether its owner has put the tour away.
    pub(crate) fn has_hidden_tour(&self) -> bool {
        self.inner.has_hidden_tour
    }

    /// Where the request comes from.
    pub(crate) fn address(&self) -> IpAddr {
        self.inner.address
    }

    /// What the browser calls itself, for the list of sessions.
    pub(crate) fn user_agent(&self) -> &str {
        &self.inner.user_agent
    }

    /// What the scripts of this response are marked with.
    pub(crate) fn nonce(&self) -> &str {
        &self.inner.nonce
    }

    /// The token that this browser's forms carry. A page of another origin cannot know it.
    pub(crate) fn form_token(&self) -> String {
        self.inner.key_was_used.store(true, Ordering::Relaxed);
        form_token(&self.inner.key)
    }

    /// Whether a form came from a page that was made for this browser.
    pub(crate) fn owns_form(&self, token: &str) -> bool {
        let expected = form_token(&self.inner.key);
        expected.as_bytes().ct_eq(token.as_bytes()).into()
    }
}

fn form_token(key: &Secret) -> String {
    let digest = Sha256::new().chain_update(b"form token\0").chain_update(key.expose().as_bytes()).finalize();
    BASE32_NOPAD.encode(&digest[..20])
}

impl<S: Send + Sync> FromRequestParts<S> for Browser {
    type Rejection = PageFailure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, PageFailure> {
        parts.extensions.get::<Self>().cloned().ok_or(PageFailure::Internal("the request passed no browser layer"))
    }
}

/// Finds out which browser a request comes from, and gives it what it needs for its next one.
pub(crate) async fn recognise(State(state): State<SiteState>, mut request: Request, next: Next) -> Response {
    let is_https = state.is_https();
    let jar = CookieJar::from_headers(request.headers());
    let read = |name| jar.get(&cookie_name(name, is_https)).map(|cookie| Secret::new(cookie.value()));
    let mut session = None;
    let mut key = None;
    if let Some(token) = read(SESSION_COOKIE) {
        match state.store.session_by_token(&token, std::time::SystemTime::now()).await {
            Ok(Some(record)) => {
                session = Some(record);
                key = Some(token);
            }
            Ok(None) => {}
            Err(error) => {
                // Whoever is signed in must not be told that they are not.
                tracing::error!(%error, "the store did not answer about a session");
                return axum::response::IntoResponse::into_response(PageFailure::StoreUnavailable);
            }
        }
    }
    let key_is_new = key.is_none() && read(VISIT_COOKIE).is_none();
    let key = key.or_else(|| read(VISIT_COOKIE)).unwrap_or_else(Secret::generate);
    let address =
        request.extensions().get::<relay::ClientAddress>().map_or(IpAddr::from([0, 0, 0, 0]), |address| address.0);
    let browser = Browser {
        inner: Arc::new(Inner {
            session,
            key,
            key_is_new,
            key_was_used: AtomicBool::new(false),
            has_hidden_tour: read(TOUR_COOKIE).is_some(),
            nonce: HEXLOWER.encode(&Sha256::digest(Secret::generate().expose())[..16]),
            address,
            user_agent: user_agent(request.headers()),
        }),
    };
    request.extensions_mut().insert(browser.clone());
    let mut response = next.run(request).await;
    if browser.inner.key_is_new && browser.inner.key_was_used.load(Ordering::Relaxed) {
        add_cookie(response.headers_mut(), VISIT_COOKIE, browser.inner.key.expose(), is_https, None);
    }
    response
}

/// Signs a browser in.
pub(crate) fn set_session_cookie(headers: &mut HeaderMap, token: &Secret, is_https: bool) {
    add_cookie(headers, SESSION_COOKIE, token.expose(), is_https, Some(SESSION_SECONDS));
}

/// Lets a browser remember that its owner needs no tour any more.
pub(crate) fn hide_tour_in(headers: &mut HeaderMap, is_https: bool) {
    add_cookie(headers, TOUR_COOKIE, "hidden", is_https, Some(TOUR_SECONDS));
}

/// Signs a browser out.
pub(crate) fn clear_session_cookie(headers: &mut HeaderMap, is_https: bool) {
    add_cookie(headers, SESSION_COOKIE, "", is_https, Some(0));
}

fn add_cookie(headers: &mut HeaderMap, name: &str, value: &str, is_https: bool, max_age_seconds: Option<i64>) {
    let mut cookie = Cookie::new(cookie_name(name, is_https), value.to_owned());
    cookie.set_path("/");
    cookie.set_http_only(true);
    cookie.set_secure(is_https);
    // Not `Strict`: whoever comes back from an app, a mail or another sign-in service is still signed in.
    cookie.set_same_site(SameSite::Lax);
    let mut text = cookie.to_string();
    if let Some(seconds) = max_age_seconds {
        text.push_str(&format!("; Max-Age={seconds}"));
    }
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.append(header::SET_COOKIE, value);
    }
}

fn cookie_name(name: &str, is_https: bool) -> String {
    if is_https { format!("{SECURE_PREFIX}{name}") } else { name.to_owned() }
}

fn user_agent(headers: &HeaderMap) -> String {
    let text = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
