//! Every route of the site.

use axum::Router;
use axum::middleware::map_response;
use axum::routing::get;

use crate::assets::{ICON, STYLESHEET};
use crate::health::ReadyCheck;
use crate::security_headers::add_security_headers;
use crate::{error_codes, health, not_found, start};

/// What the site needs of the rest of the service.
#[derive(Clone)]
pub struct SiteState {
    /// Asked by `/readyz`.
    pub ready: ReadyCheck,
}

/// The site. It answers every path, with a page that says so where there is nothing.
pub fn router(state: SiteState) -> Router {
    Router::new()
        .route("/", get(start::page))
        .route("/errors", get(error_codes::list))
        .route("/errors/{code}", get(error_codes::page))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route(&STYLESHEET.path, get(|| async { STYLESHEET.response() }))
        .route(&ICON.path, get(|| async { ICON.response() }))
        .fallback(not_found::page)
        .layer(map_response(add_security_headers))
        .with_state(state)
}
