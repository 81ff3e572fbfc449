//! The pages about the error codes.

use askama::Template;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use model::RelayError;

use crate::assets::{ICON, STYLESHEET};
use crate::explanation::{Explanation, Surfaces, explanation, surfaces};
use crate::not_found;
use crate::page::Page;

#[derive(Template)]
#[template(path = "errors.html")]
struct List;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorCode {
    error: RelayError,
    explanation: Explanation,
    surfaces: Surfaces,
}

pub(crate) async fn list() -> impl IntoResponse {
    Page(List)
}

pub(crate) async fn page(code: Result<Path<u16>, PathRejection>) -> Response {
    let error = code.ok().and_then(|Path(code)| RelayError::from_code(code));
    let Some(error) = error else { return not_found::page().await };
    Page(ErrorCode { error, explanation: explanation(error), surfaces: surfaces(error) }).into_response()
}
