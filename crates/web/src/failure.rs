//! What goes wrong on a page, and what the person in front of it sees.

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use store::StoreError;

use crate::assets::{ICON, STYLESHEET};
use crate::not_found;
use crate::page::Page;

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum PageFailure {
    /// Nobody is signed in; the path to come back to.
    SignInFirst(String),
    /// There is no such thing, or it is somebody else's.
    NotFound,
    /// The person may not do this.
    Forbidden(&'static str),
    /// The form was not made by this site for this browser, or is too old.
    ForeignForm,
    /// What was sent makes no sense.
    BadRequest(String),
    /// It was tried too often; seconds to wait.
    TooMany(u32),
    /// The store did not answer.
    StoreUnavailable,
    /// A fault of ours.
    Internal(&'static str),
}

impl From<StoreError> for PageFailure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::NotFound,
            // A limit that is reached passes when something is removed; no time can be told.
            StoreError::Full(_) | StoreError::Conflict { .. } | StoreError::Invalid(_) => {
                Self::BadRequest(error.to_string())
            }
            _ => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store did not answer");
                Self::StoreUnavailable
            }
        }
    }
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage<'a> {
    title: &'a str,
    text: &'a str,
}

impl IntoResponse for PageFailure {
    fn into_response(self) -> Response {
        let (status, title, text) = match &self {
            Self::SignInFirst(to) => return Redirect::to(&sign_in_path(to)).into_response(),
            Self::NotFound => return not_found::response(),
            Self::Forbidden(text) => (StatusCode::FORBIDDEN, "That is not yours to do", (*text).to_owned()),
            Self::ForeignForm => (
                StatusCode::FORBIDDEN,
                "That form is no longer valid",
                "Nothing was changed. Go back, load the page again, and send it once more.".to_owned(),
            ),
            Self::BadRequest(text) => (StatusCode::BAD_REQUEST, "That did not work", sentence(text)),
            Self::TooMany(seconds) => {
                (StatusCode::TOO_MANY_REQUESTS, "Too many tries", format!("Wait {seconds} seconds, then try again."))
            }
            Self::StoreUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The service cannot look that up right now",
                "Nothing was changed. Try again in a few seconds.".to_owned(),
            ),
            Self::Internal(reason) => {
                tracing::error!(reason, "a page failed");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Something failed in the service",
                    "Try again; if it goes on, tell whoever runs the service.".to_owned(),
                )
            }
        };
        let mut response = (status, Page(FailurePage { title, text: &text })).into_response();
        if let Self::TooMany(seconds) = self {
            response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Where to sign in, to be back at a path afterwards.
pub(crate) fn sign_in_path(to: &str) -> String {
    let to = percent_encoding::utf8_percent_encode(to, percent_encoding::NON_ALPHANUMERIC);
    format!("/sign-in?to={to}")
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let text = format!("{first}{}", characters.as_str());
    if text.ends_with(['.', '?', '!']) { text } else { format!("{text}.") }
}
