//! Calls that the site's own scripts make: JSON, with the form token in a header.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::de::DeserializeOwned;
use store::StoreError;

use crate::browser::Browser;
use crate::failure::PageFailure;
use crate::passkeys::PasskeyError;

/// An answer of an authenticator is a few kilobytes.
const MAX_BODY: usize = 64 * 1024;
const TOKEN_HEADER: &str = "x-form-token";

/// A call that came from a page which was made for this browser.
pub(crate) struct OwnCall<T>(pub(crate) T);

/// What a script shows to the person.
#[derive(Debug)]
pub(crate) struct ScriptFailure {
    status: StatusCode,
    text: String,
}

impl ScriptFailure {
    pub(crate) fn new(text: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: text.to_owned() }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OwnCall<T> {
    type Rejection = ScriptFailure;

    async fn from_request(request: Request, state: &S) -> Result<Self, ScriptFailure> {
        let (mut parts, body) = request.into_parts();
        let browser = Browser::from_request_parts(&mut parts, state).await?;
        let token = parts.headers.get(TOKEN_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !browser.owns_form(token) {
            return Err(PageFailure::ForeignForm.into());
        }
        let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| ScriptFailure::new("that is too large"))?;
        serde_json::from_slice(&body).map(Self).map_err(|_| ScriptFailure::new("that cannot be read"))
    }
}

impl From<PageFailure> for ScriptFailure {
    fn from(failure: PageFailure) -> Self {
        let (status, text) = match failure {
            PageFailure::SignInFirst(_) => (StatusCode::UNAUTHORIZED, "Sign in first.".to_owned()),
            PageFailure::ForeignForm => (StatusCode::FORBIDDEN, "Load the page again, and try once more.".to_owned()),
            PageFailure::TooMany(seconds) => {
                (StatusCode::TOO_MANY_REQUESTS, format!("Too many tries. Wait {seconds} seconds."))
            }
            PageFailure::BadRequest(text) => (StatusCode::BAD_REQUEST, text),
            PageFailure::Forbidden(text) => (StatusCode::FORBIDDEN, text.to_owned()),
            PageFailure::NotFound => (StatusCode::NOT_FOUND, "There is no such thing.".to_owned()),
            PageFailure::StoreUnavailable | PageFailure::Internal(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "The service cannot do that right now.".to_owned())
            }
        };
        Self { status, text }
    }
}

impl From<StoreError> for ScriptFailure {
    fn from(error: StoreError) -> Self {
        PageFailure::from(error).into()
    }
}

impl From<PasskeyError> for ScriptFailure {
    fn from(error: PasskeyError) -> Self {
        tracing::debug!(error = &error as &dyn std::error::Error, "a passkey was not taken");
        Self::new(&error.to_string())
    }
}

impl IntoResponse for ScriptFailure {
    fn into_response(self) -> Response {
        let body = axum::Json(serde_json::json!({ "error": self.text }));
        (self.status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
    }
}
