//! The App APIs: what an app that was given an App Connection can ask the service itself.
//!
//! They know apps by the connection's token and nothing else; no cookie is looked at, so that any page may call them.

mod arguments;
mod call;
mod case;
mod developers;
pub(crate) mod envelope;
mod gadget;
mod info;
mod live_links;
mod openapi;
mod pace;
mod webhook;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderValue, Method, StatusCode, header};

use crate::state::SiteState;
pub(crate) use call::json_response;
pub(crate) use case::ignoring_case;

/// The App APIs. Paths are in lower case, see [`ignoring_case`].
pub(crate) fn routes() -> Router<SiteState> {
    Router::new()
        .route("/api/appconnection/info", get(info::info))
        .route("/api/live/createfromappconnection", post(live_links::create))
        .route("/api/gadget/getstatusfromappconnection", post(gadget::status))
        .route("/api/appconnection/setnotificationwebhook", post(webhook::set))
        .route("/api/appconnection/deletenotificationwebhook", post(webhook::delete))
        .route("/api/appconnection/testwebhook", get(webhook::test))
        .route("/api/openapi.json", get(openapi_document))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(open_to_every_page))
        .layer(axum::Extension(Arc::clone(&PACES)))
}

/// The pages about them, which have forms.
pub(crate) fn pages() -> Router<SiteState> {
    developers::routes()
}

/// One for the process: the playground's calls count too.
static PACES: LazyLock<Arc<Paces>> = LazyLock::new(Arc::default);

/// How often each connection calls what costs more than a look into the database.
#[derive(Debug, Default)]
struct Paces {
    gadget: pace::Pace,
    webhook_tests: pace::Pace,
}

async fn openapi_document() -> Response {
    json_response(StatusCode::OK, format!("{:#}\n", *openapi::DOCUMENT).into_bytes())
}

async fn method_not_allowed() -> Response {
    let body = r#"{"Status":405,"Error":"This call has another method.","IsUserError":true,"Result":null}"#;
    json_response(StatusCode::METHOD_NOT_ALLOWED, body.into())
}

/// Lets pages of every origin call and read. There is nothing to borrow: without cookies, a page that has no token of
/// its own gets nowhere.
async fn open_to_every_page(request: Request, next: Next) -> Response {
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let exposed = "X-Spoolway-Error, Retry-After";
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
    if is_preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
        let allowed = "AppToken, Content-Type, X-Spoolway-Plain-Status";
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    response
}
