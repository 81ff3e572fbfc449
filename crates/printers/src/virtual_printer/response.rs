//! Responses of the virtual printer.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde::Serialize;
use thiserror::Error;

use super::file_name::FileNameError;
use super::file_store::StoreError;
use super::machine::CommandError;

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a client gets in place of what it asked for.
#[derive(Debug, Error)]
pub(super) enum ApiError {
    #[error("there is nothing at this address")]
    NotFound,
    #[error("there is no file of this name")]
    FileNotFound,
    #[error("only {0} is possible here")]
    MethodNotAllowed(&'static str),
    #[error(transparent)]
    FileName(#[from] FileNameError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("the file is being printed; cancel the print first")]
    FileInUse,
    #[error("only G-code can be printed: .gcode, .gco or .g")]
    NotGcode,
    #[error("the body must be a JSON object like {{\"command\":\"start\",\"file\":\"cube.gcode\"}}: {0}")]
    JobMalformed(String),
    #[error("the upload stopped before its end")]
    UploadIncomplete,
    #[error("the upload paused for too long")]
    UploadTimeout,
    #[error("this address speaks WebSocket (RFC 6455, version 13)")]
    WebSocketOnly,
    #[error("the camera gives no picture")]
    NoPicture,
}

impl ApiError {
    fn status_and_name(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::FileNotFound => (StatusCode::NOT_FOUND, "file_not_found"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::FileName(_) => (StatusCode::BAD_REQUEST, "file_name_invalid"),
            Self::Store(StoreError::FileTooLarge(_)) => (StatusCode::PAYLOAD_TOO_LARGE, "file_too_large"),
            Self::Store(StoreError::Full(_)) => (StatusCode::INSUFFICIENT_STORAGE, "card_full"),
            Self::Store(StoreError::Io(_)) => (StatusCode::INTERNAL_SERVER_ERROR, "card_broken"),
            Self::Command(_) => (StatusCode::CONFLICT, "command_impossible"),
            Self::FileInUse => (StatusCode::CONFLICT, "file_in_use"),
            Self::NotGcode => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_gcode"),
            Self::JobMalformed(_) => (StatusCode::BAD_REQUEST, "job_malformed"),
            Self::UploadIncomplete => (StatusCode::BAD_REQUEST, "upload_incomplete"),
            Self::UploadTimeout => (StatusCode::REQUEST_TIMEOUT, "upload_timeout"),
            Self::WebSocketOnly => (StatusCode::UPGRADE_REQUIRED, "websocket_only"),
            Self::NoPicture => (StatusCode::SERVICE_UNAVAILABLE, "no_picture"),
        }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        #[derive(Serialize)]
        struct Problem {
            error: &'static str,
            message: String,
        }
        let (status, error) = self.status_and_name();
        let mut response = json(status, &Problem { error, message: self.to_string() });
        let headers = response.headers_mut();
        match self {
            Self::MethodNotAllowed(allowed) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            Self::WebSocketOnly => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            _ => {}
        }
        response
    }
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    // Only maps with keys that are no strings fail, and the API has none.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = bytes("application/json", text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 200 with all of `body`.
pub(super) fn bytes(content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).map_err(never).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Uploads have names and contents of anybody's choice: a browser must not take them for pages.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(never).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Refuses methods that a resource does not have; `HEAD` goes wherever `GET` does.
pub(super) fn require_method(method: &Method, allowed: &'static str) -> Result<(), ApiError> {
    if allowed.split(", ").any(|name| name == method.as_str()) {
        Ok(())
    } else {
        Err(ApiError::MethodNotAllowed(allowed))
    }
}

/// Sets a header whose value is made of characters that are known to be fine.
pub(super) fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// For bodies that cannot fail.
pub(super) fn never(error: Infallible) -> io::Error {
    match error {}
}
