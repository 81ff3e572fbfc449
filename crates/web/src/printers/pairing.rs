//! How an agent without an account asks to be linked: it gets a code, and asks again and again whether somebody has
//! typed it (the shape of RFC 8628).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use model::Secret;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::SystemTime;
use store::{NewPairing, PairingState};

use crate::state::SiteState;

/// Bytes of a request.
const MAX_BODY: usize = 8 * 1024;
/// How often an agent asks.
const POLL_SECONDS: u32 = 3;
const LIFETIME_SECONDS: u32 = 15 * 60;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Request {
    host: String,
    software: String,
    software_version: String,
    agent_version: String,
    lan_ip: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Code {
    code: String,
    url: String,
    url_with_code: String,
    expires_in_seconds: u32,
    poll_seconds: u32,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "lowercase", rename_all_fields = "camelCase")]
enum Answer {
    Pending,
    Linked { printer_id: String, printer_name: String },
    Denied,
}

/// Makes a code.
pub(crate) async fn start(
    State(state): State<SiteState>,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Response {
    let address = address_of(&request);
    if !state.settings.pairing {
        return problem(StatusCode::FORBIDDEN, "this service links agents by tokens only; ask whoever runs it for one");
    }
    let Some(key) = bearer(&headers) else {
        return problem(StatusCode::UNAUTHORIZED, "the agent sent no key");
    };
    if let Err(seconds) = state.attempts.pairing(address) {
        return too_many(seconds);
    }
    let Ok(body) = axum::body::to_bytes(request.into_body(), MAX_BODY).await else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
    };
    let Ok(said) = serde_json::from_slice::<Request>(&body) else {
        return problem(StatusCode::BAD_REQUEST, "the request is no JSON of the right form");
    };
    let pairing = NewPairing {
        key: &key,
        printer: None,
        host: said.host,
        software: said.software,
        software_version: said.software_version,
        agent_version: said.agent_version,
        lan_ip: said.lan_ip,
        address: Some(address),
    };
    match state.store.start_pairing(pairing, SystemTime::now()).await {
        Ok(code) => {
            let code = code.as_str().to_owned();
            let url = state.url("/link");
            let answer = Code {
                url_with_code: format!("{url}?code={code}"),
                code,
                url,
                expires_in_seconds: LIFETIME_SECONDS,
                poll_seconds: POLL_SECONDS,
            };
            ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

/// Says what became of it.
pub(crate) async fn poll(
    State(state): State<SiteState>,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Response {
    if let Err(seconds) = state.attempts.pairing_poll(address_of(&request)) {
        return too_many(seconds);
    }
    let Some(key) = bearer(&headers) else {
        return problem(StatusCode::UNAUTHORIZED, "the agent sent no key");
    };
    let answer = match state.store.pairing_state(&key, SystemTime::now()).await {
        Ok(PairingState::Pending) => Answer::Pending,
        Ok(PairingState::Linked { printer, name }) => {
            Answer::Linked { printer_id: printer.to_string(), printer_name: name }
        }
        Ok(PairingState::Denied) => Answer::Denied,
        Ok(PairingState::Unknown) => return problem(StatusCode::NOT_FOUND, "the code has expired; ask for another"),
        Err(error) => return unavailable(&error),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

fn address_of(request: &axum::extract::Request) -> IpAddr {
    request.extensions().get::<relay::ClientAddress>().map_or(IpAddr::from([0, 0, 0, 0]), |address| address.0)
}

/// The agent's key: what a printer is known by from then on, so it has to be one that cannot be guessed.
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    let is_key = (32..=128).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (scheme.eq_ignore_ascii_case("bearer") && is_key).then(|| Secret::new(key))
}

fn problem(status: StatusCode, text: &str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(serde_json::json!({ "error": text }))).into_response()
}

fn too_many(seconds: u32) -> Response {
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "too many requests from this address");
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    response
}

fn unavailable(error: &store::StoreError) -> Response {
    tracing::error!(%error, "the store did not answer about a link code");
    problem(StatusCode::SERVICE_UNAVAILABLE, "the service cannot look that up right now")
}
