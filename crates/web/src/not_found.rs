//! The page that stands where there is none.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::assets::{ICON, STYLESHEET};
use crate::page::Page;

#[derive(Template)]
#[template(path = "not_found.html")]
struct NotFound;

pub(crate) async fn page() -> Response {
    response()
}

pub(crate) fn response() -> Response {
    (StatusCode::NOT_FOUND, Page(NotFound)).into_response()
}
