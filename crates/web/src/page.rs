//! Templates as responses.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::{StatusCode, header};

/// A rendered page.
pub(crate) struct Page<T>(pub(crate) T);

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            // Pages name the current stylesheet, so a kept copy must not outlive an update of the service.
            Ok(html) => ([(header::CACHE_CONTROL, "no-cache")], Html(html)).into_response(),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a page could not be rendered");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
