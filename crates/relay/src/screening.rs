//! What of a request is decided before anything is looked up for it.

// A stranger's bytes are read here: what could panic, or cut a number, is done in another way (T50).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use sha1::{Digest, Sha1};
use tunnel::accept::has_token;

use crate::body::RelayBody;
use crate::respond::{method_not_allowed, plain_response};

/// RFC 6455 §1.3.
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether the request opens a WebSocket; refuses what no relay should pass on.
#[expect(clippy::result_large_err, reason = "the response is on its way out already")]
pub(crate) fn screen(parts: &Parts) -> Result<bool, Response<RelayBody>> {
    let bad = |text| Err(plain_response(StatusCode::BAD_REQUEST, text));
    let is_http2 = parts.version == Version::HTTP_2;
    match parts.method {
        Method::CONNECT => match parts.extensions.get::<hyper::ext::Protocol>() {
            Some(protocol) if protocol.as_str() == "websocket" && begins_with_slash(&parts.uri) => Ok(true),
            _ => bad("this is no forward proxy"),
        },
        // It would show a page the headers that the browser hides from it.
        Method::TRACE => Err(method_not_allowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
        Method::OPTIONS if parts.uri.path() == "*" => {
            let mut response = Response::new(RelayBody::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            Err(response)
        }
        _ if !begins_with_slash(&parts.uri) => bad("the request's target must begin with `/`"),
        _ if parts.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") => {
            bad("the request's target has an unknown scheme")
        }
        Method::GET if !is_http2 && is_websocket_upgrade(&parts.headers) => Ok(true),
        _ => Ok(false),
    }
}

/// Looks at the target as it will be sent: where it is a query alone, `path()` says `/`.
fn begins_with_slash(uri: &Uri) -> bool {
    uri.path_and_query().is_some_and(|target| target.as_str().starts_with('/'))
}

fn is_websocket_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket") && has_token(headers, header::CONNECTION, "upgrade")
}

/// Answers a CORS preflight. It carries no credentials by specification, so nothing is looked up for it.
pub(crate) fn preflight(parts: &Parts) -> Option<Response<RelayBody>> {
    let is_preflight = parts.method == Method::OPTIONS
        && parts.headers.contains_key(header::ORIGIN)
        && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight {
        return None;
    }
    let mut response = Response::new(RelayBody::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let asked = |name| parts.headers.get(name).cloned();
    if let Some(method) = asked(header::ACCESS_CONTROL_REQUEST_METHOD) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method);
    }
    // `*` would not cover `Authorization`.
    if let Some(names) = asked(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    headers.insert(
        header::VARY,
        HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"),
    );
    Some(response)
}

/// Whether a person's browser asks for a page.
pub(crate) fn is_navigation<B>(request: &Request<B>) -> bool {
    match request.headers().get("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => *request.method() == Method::GET && names_html(request.headers()),
    }
}

/// Whether a person's browser asks for a page of a window's own. Frames are left out: the address that a person sees is
/// that of the page around them.
pub(crate) fn is_page_in_a_window<B>(request: &Request<B>) -> bool {
    let is = |name: &str, wanted: &str| request.headers().get(name).is_none_or(|value| value == wanted);
    *request.method() == Method::GET
        && names_html(request.headers())
        && is("sec-fetch-mode", "navigate")
        && is("sec-fetch-dest", "document")
}

fn names_html(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter();
    values.any(|accept| accept.to_str().is_ok_and(|accept| accept.to_ascii_lowercase().contains("text/html")))
}

/// `Sec-WebSocket-Accept`, if the handshake is one (RFC 6455 §4.2.1).
pub(crate) fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    let is_version_13 = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let is_key = STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == 16);
    if !is_version_13 || !is_key {
        return None;
    }
    let accept = Sha1::new().chain_update(key.as_bytes()).chain_update(WEBSOCKET_GUID).finalize();
    HeaderValue::from_str(&STANDARD.encode(accept)).ok()
}

pub(crate) fn bad_handshake() -> Response<RelayBody> {
    let mut response = plain_response(StatusCode::BAD_REQUEST, "the WebSocket handshake is malformed");
    response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}
