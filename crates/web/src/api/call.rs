//! One call of an App API: who calls, with what, and how it is answered.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use model::{RelayError, Secret};
use relay::respond::{Asker, ErrorBody, Failure, failure_response};
use serde::Serialize;
use store::{AppConnectionRecord, AppTokenLookup, AuditKind, StoreError};

use super::arguments::Arguments;
use super::envelope;
use crate::audit;
use crate::state::SiteState;

/// The header and the body's key that carry the app's token.
pub(super) const TOKEN: &str = "AppToken";
/// The longest documented body has a URL and a list of a few numbers.
const MAX_BODY: usize = 64 * 1024;
/// A store that takes longer has not answered.
const STORE_LIMIT: Duration = Duration::from_secs(10);

/// Where calls come from that nobody sent over the network.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A call as it came in.
#[derive(Debug)]
pub(super) struct Call {
    asker: Asker,
    header_token: Option<Secret>,
    address: IpAddr,
    body: Result<Bytes, ApiFailure>,
}

/// Why a call failed.
#[derive(Clone, Debug)]
pub(super) enum ApiFailure {
    /// One of the service's codes.
    Code(Failure),
    /// An ordinary status.
    Ordinary { status: StatusCode, name: &'static str, text: Cow<'static, str>, retry_after: Option<u32> },
}

impl ApiFailure {
    pub(super) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Ordinary { status: StatusCode::BAD_REQUEST, name: "bad_request", text: text.into(), retry_after: None }
    }

    pub(super) fn too_many_requests(retry_after: u32) -> Self {
        Self::Ordinary {
            status: StatusCode::TOO_MANY_REQUESTS,
            name: "too_many_requests",
            text: "This connection calls too often.".into(),
            retry_after: Some(retry_after),
        }
    }

    fn body_too_large() -> Self {
        Self::Ordinary {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            name: "payload_too_large",
            text: "The body has more than 64 KiB.".into(),
            retry_after: None,
        }
    }
}

impl From<RelayError> for ApiFailure {
    fn from(error: RelayError) -> Self {
        Self::Code(error.into())
    }
}

/// A store that does not answer proves nothing, least of all that a connection is gone.
impl From<StoreError> for ApiFailure {
    fn from(error: StoreError) -> Self {
        if let StoreError::Full(text) = error {
            return Self::bad_request(format!("That is too many: {text}."));
        }
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed during an App API call");
        RelayError::Unknown.into()
    }
}

impl Call {
    /// The caller's connection.
    ///
    /// The order of the checks is part of the interface: no token, then what became of the token, then the owner's
    /// plan, and only then everything else that is wrong with the call.
    pub(super) async fn authenticate(&self, state: &SiteState) -> Result<Box<AppConnectionRecord>, ApiFailure> {
        let token = match &self.header_token {
            Some(token) => token.clone(),
            None => match self.arguments()?.text(TOKEN)? {
                Some(token) if !token.is_empty() => Secret::new(token),
                _ => return Err(missing_token()),
            },
        };
        let now = SystemTime::now();
        let lookup = tokio::time::timeout(STORE_LIMIT, state.store.connection_by_app_token(&token, now)).await;
        let lookup = lookup.map_err(|_| {
            tracing::error!("the store did not answer about an app's token in time");
            ApiFailure::from(RelayError::Unknown)
        })?;
        let connection = match lookup? {
            AppTokenLookup::Unknown => return Err(self.unknown_token(state, now)),
            AppTokenLookup::Dead(_) => return Err(RelayError::ConnectionRevoked.into()),
            AppTokenLookup::Alive(connection) => connection,
        };
        if !connection.plan.supporter {
            return Err(RelayError::NotSupporter.into());
        }
        if let Err(error) = state.store.touch_connection(&connection.id, now).await {
            tracing::warn!(%error, "the use of a connection was not noted");
        }
        Ok(connection)
    }

    /// What a token means that the store does not know. Whoever guesses is not told the truth any more after a while.
    fn unknown_token(&self, state: &SiteState, now: SystemTime) -> ApiFailure {
        if state.settings.unknown_until.is_some_and(|until| now < until) {
            return RelayError::Unknown.into();
        }
        match state.attempts.unknown_token(self.address) {
            Ok(()) => RelayError::ConnectionNotFound.into(),
            Err(seconds) => ApiFailure::Code(Failure { error: RelayError::Unknown, retry_after: Some(seconds) }),
        }
    }

    /// Writes what the app did into its owner's log.
    pub(super) async fn note(&self, state: &SiteState, connection: &AppConnectionRecord, kind: AuditKind) {
        let printer = Some(&connection.printer.id);
        audit::note(state, &connection.account, kind, printer, &connection.app_name, self.address).await;
    }

    /// What the call's body says.
    pub(super) fn arguments(&self) -> Result<Arguments, ApiFailure> {
        match &self.body {
            Ok(body) => Arguments::read(body),
            Err(failure) => Err(failure.clone()),
        }
    }

    /// The response to the call.
    pub(super) fn respond<T: Serialize>(&self, state: &SiteState, outcome: Result<T, ApiFailure>) -> Response {
        let body = outcome.and_then(|result| {
            envelope::success(&result).map_err(|error| {
                tracing::error!(%error, "a result could not be written");
                RelayError::Unknown.into()
            })
        });
        match body {
            Ok(body) => json_response(StatusCode::OK, body),
            Err(ApiFailure::Code(failure)) => {
                let request_id = &self.asker.request_id;
                tracing::info!(%request_id, code = failure.error.code(), "an App API call failed");
                failure_response(failure, &self.asker, &state.names).map(Body::new)
            }
            Err(ApiFailure::Ordinary { status, name, text, retry_after }) => {
                let body = ErrorBody {
                    status: status.as_u16(),
                    error: &text,
                    is_user_error: true,
                    result: None,
                    name,
                    temporary: retry_after.is_some(),
                    retry_after_sec: retry_after,
                    help_url: &state.url("/developers"),
                    request_id: self.asker.request_id.as_str(),
                };
                let mut response = json_response(status, serde_json::to_vec(&body).unwrap_or_default());
                if let Some(seconds) = retry_after {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                response
            }
        }
    }
}

fn missing_token() -> ApiFailure {
    ApiFailure::bad_request("The app's token is missing: send it in the header `AppToken`, or in the body of a POST.")
}

pub(crate) fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<S: Send + Sync> FromRequest<S> for Call {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        let asker = Asker::of_site(&parts);
        let header_token = header_token(&parts.headers);
        let address = parts.extensions.get::<relay::ClientAddress>().map_or(NO_ADDRESS, |address| address.0);
        if parts.method != Method::POST {
            return Ok(Self { asker, header_token, address, body: Ok(Bytes::new()) });
        }
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(ApiFailure::body_too_large()),
            Err(_) => Err(ApiFailure::bad_request("The body broke off.")),
        };
        Ok(Self { asker, header_token, address, body })
    }
}

fn header_token(headers: &HeaderMap) -> Option<Secret> {
    let token = headers.get(TOKEN)?.to_str().ok()?.trim();
    (!token.is_empty()).then(|| Secret::new(token))
}
