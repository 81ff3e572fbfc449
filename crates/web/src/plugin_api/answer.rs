//! Answers to the plugin. What it does next depends on the status: 200 is done, 4xx is final, and after 5xx it tries
//! again (service-api.md 8).

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::Request;
use axum::response::Response;
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::json;

use crate::api::{envelope, json_response};

/// Why a call is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The call is malformed.
    Malformed(&'static str),
    /// It does not say who calls.
    Unproven,
    /// It is not who it says, or the printer is nobody's: one answer for both.
    Unknown,
    /// There is nothing that may be told.
    Nothing,
    /// Too much came.
    TooLarge,
    /// The printer sends more than printers do.
    TooMany(u32),
    /// The address is over its budget. Others may be behind it, so it is not final.
    Later(u32),
    /// The service cannot tell right now.
    Unavailable,
}

/// After a fault of the service's own.
const RETRY_SECONDS: u32 = 20;

impl Refusal {
    pub(super) fn response(self) -> Response {
        let (status, text, retry) = match self {
            Self::Malformed(text) => (StatusCode::BAD_REQUEST, text, None),
            Self::Unproven => (StatusCode::UNAUTHORIZED, "`PrinterId` and `OctoKey` have to come first.", None),
            Self::Unknown => (StatusCode::FORBIDDEN, "This printer is not linked here, or the key is not its.", None),
            Self::Nothing => (StatusCode::NOT_FOUND, "The printer is not connected from this address.", None),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "That is more than is taken.", None),
            Self::TooMany(seconds) => {
                (StatusCode::TOO_MANY_REQUESTS, "The printer sends more than is taken.", Some(seconds))
            }
            Self::Later(seconds) => {
                (StatusCode::SERVICE_UNAVAILABLE, "Too much comes from this address.", Some(seconds))
            }
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "The service cannot tell right now.", Some(RETRY_SECONDS))
            }
        };
        let is_user_error = status.is_client_error();
        let body = json!({ "Status": status.as_u16(), "Error": text, "IsUserError": is_user_error, "Result": null });
        let mut response = json_response(status, body.to_string().into_bytes());
        if let Some(seconds) = retry {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// A success with its result.
pub(super) fn success(result: &impl Serialize) -> Response {
    match envelope::success(result) {
        Ok(body) => json_response(StatusCode::OK, body),
        Err(error) => {
            tracing::error!(%error, "an answer to a plugin could not be written");
            Refusal::Unavailable.response()
        }
    }
}

/// Either.
pub(super) fn respond(outcome: Result<impl Serialize, Refusal>) -> Response {
    match outcome {
        Ok(result) => success(&result),
        Err(refusal) => {
            tracing::debug!(?refusal, "a plugin's call is refused");
            refusal.response()
        }
    }
}

/// Where a call comes from.
pub(super) fn address_of(request: &Request) -> IpAddr {
    let address = request.extensions().get::<relay::ClientAddress>();
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.0)
}
