//! Where the portal ends if the app names no other place, and the page for a connection that rests.

use std::sync::LazyLock;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use url::form_urlencoded;

use super::logo::Logos;
use super::request::PortalRequest;
use crate::assets::{Asset, ICON, STYLESHEET};
use crate::browser::Browser;
use crate::failure::PageFailure;
use crate::layout::Layout;
use crate::page::{AppPage, Page};
use crate::signed_in::SignedIn;
use crate::state::SiteState;

/// Takes the secrets out of the address bar.
pub(super) static CLEAR_QUERY: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("clear-query", "js", "text/javascript; charset=utf-8", include_str!("../../assets/clear-query.js"))
});

#[derive(Template)]
#[template(path = "portal/complete.html")]
struct Complete {
    nonce: String,
    script: &'static str,
    is_connected: bool,
}

#[derive(Template)]
#[template(path = "portal/no_supporter.html")]
struct NoSupporter {
    layout: Layout,
    app: Option<String>,
    plan: Option<String>,
}

/// The address of this page has the secrets in it, for whoever opened it and reads the address. Nothing of it is
/// written into the page.
pub(super) async fn complete(RawQuery(query): RawQuery, browser: Browser) -> Response {
    let query = query.unwrap_or_default();
    let is_connected = form_urlencoded::parse(query.as_bytes()).any(|(key, value)| key == "success" && value == "true");
    let nonce = browser.nonce().to_owned();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; form-action 'none'; \
         base-uri 'none'; frame-ancestors 'none'"
    );
    let Ok(policy) = HeaderValue::from_str(&policy) else {
        return PageFailure::Internal("a nonce fits no header").into_response();
    };
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let mut response = Page(Complete { nonce, script: &CLEAR_QUERY.path, is_connected }).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Apps open it after a 605.
pub(super) async fn no_supporter(
    State(state): State<SiteState>,
    RawQuery(query): RawQuery,
    browser: Browser,
    layout: Layout,
) -> Result<Response, PageFailure> {
    let request = PortalRequest::read(query.as_deref().unwrap_or_default());
    // An id says nothing that a stranger could not have put there; only a registered app is named.
    let app = match request.has_app_id() {
        true => state.store.app(request.app_id.trim()).await?.map(|app| app.name.to_string()),
        false => None,
    };
    let plan = browser.session().map(|session| &session.account.plan);
    let plan = plan.filter(|plan| !plan.supporter).map(|plan| plan.name.clone());
    Ok(AppPage::new(&layout, NoSupporter { layout: layout.clone(), app, plan }).into_response())
}

/// The logo of an app whose consent page is being looked at.
pub(super) async fn logo(
    State(state): State<SiteState>,
    Extension(logos): Extension<Logos>,
    Path(id): Path<String>,
    _signed_in: SignedIn,
) -> Response {
    match logos.picture(&id, &state.outbound).await {
        Some(png) => {
            let cache = HeaderValue::from_static("private, max-age=600");
            ([(header::CONTENT_TYPE, HeaderValue::from_static("image/png")), (header::CACHE_CONTROL, cache)], png)
                .into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
