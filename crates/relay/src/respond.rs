//! The one place where a failure becomes a response, on printers' hosts and in the site's App APIs alike.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use model::{RelayError, RequestId, wire};
use serde::Serialize;

use crate::authority::{Host, SiteNames};
use crate::body::RelayBody;
use crate::pages;

/// Ends what a printer's pages left in a browser and what would outlive a revocation: a service worker, which may answer
/// in the printer's stead for ever, its caches, and the browser's own.
///
/// It goes with every such failure and not with pages alone, because a worker keeps pages from asking us; what
/// still gets here is the browser's own look for a newer worker. Without `"cookies"`: a browser would clear those of
/// the whole registrable domain, and with them the site's. A dead host's cookies go nowhere, since labels are never
/// issued twice.
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// What a response to a failed request depends on, taken from the request before it is consumed.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Names the request in the body and in logs.
    pub request_id: RequestId,
    is_head: bool,
    has_body: bool,
    wants_page: bool,
    wants_plain_status: bool,
    is_app_host: bool,
    /// The failure that says that the host leads nowhere any more: of owners' views nothing is remembered once their
    /// printer is removed. The site's own host never ends.
    end_of_host: Option<RelayError>,
    is_http1: bool,
    is_upgrade: bool,
}

impl Asker {
    /// Who asked the site, whose handlers read bodies to their end.
    pub fn of_site(parts: &http::request::Parts) -> Self {
        Self::new(parts, &Host::Site, RequestId::generate(), false)
    }

    pub(crate) fn new(parts: &http::request::Parts, host: &Host, request_id: RequestId, has_body: bool) -> Self {
        let plain_header = parts.headers.get(wire::PLAIN_STATUS_HEADER).is_some_and(|value| value == "1");
        let plain_query = parts.uri.query().is_some_and(|query| {
            query.split('&').any(|pair| pair.split_once('=') == Some((wire::PLAIN_STATUS_QUERY, "1")))
        });
        Self {
            request_id,
            is_head: parts.method == Method::HEAD,
            has_body,
            wants_page: prefers_html(&parts.headers),
            wants_plain_status: plain_header || plain_query,
            is_app_host: matches!(host, Host::App(_)),
            end_of_host: match host {
                Host::App(_) | Host::Shared(_) => Some(RelayError::ConnectionRevoked),
                Host::Owner(_) => Some(RelayError::ConnectionNotFound),
                Host::Site | Host::Foreign => None,
            },
            is_http1: parts.version < Version::HTTP_2,
            is_upgrade: parts.headers.contains_key(header::UPGRADE),
        }
    }
}

/// A failure and what is known of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What failed.
    pub error: RelayError,
    /// Seconds until a retry makes sense, where it is known better than by the error alone.
    pub retry_after: Option<u32>,
}

impl Failure {
    /// A failure of which no more is known.
    pub const fn new(error: RelayError) -> Self {
        Self { error, retry_after: None }
    }

    pub(crate) const fn retry_after(error: RelayError, seconds: u32) -> Self {
        Self { error, retry_after: Some(seconds) }
    }
}

impl From<RelayError> for Failure {
    fn from(error: RelayError) -> Self {
        Self::new(error)
    }
}

/// The body of a failure, for programs. The first four keys are the envelope that apps in the field parse.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorBody<'a> {
    /// The code, or the HTTP status where there is no code.
    pub status: u16,
    /// For people.
    pub error: &'a str,
    /// Whether the caller can fix the cause.
    pub is_user_error: bool,
    /// Always null.
    pub result: Option<()>,
    /// For programs.
    pub name: &'a str,
    /// Whether waiting may help.
    pub temporary: bool,
    /// The header `Retry-After`.
    pub retry_after_sec: Option<u32>,
    /// A page for people.
    pub help_url: &'a str,
    /// What an operator searches for.
    pub request_id: &'a str,
}

/// The response to a failed request.
pub fn failure_response(failure: Failure, asker: &Asker, names: &SiteNames) -> Response<RelayBody> {
    let Failure { error, retry_after } = failure;
    let retry_after = error.retry_after_seconds().map(|default| retry_after.unwrap_or(default));
    let help_url = names.help_url(error);
    let mut response = Response::new(RelayBody::Empty);
    let code = if asker.wants_plain_status { error.plain_status() } else { error.code() };
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !asker.wants_plain_status {
        response.extensions_mut().insert(ReasonPhrase::from_static(error.reason_phrase().as_bytes()));
    }
    let body = if asker.wants_page {
        let facts = pages::ErrorPageFacts { help_url: &help_url, request_id: &asker.request_id, retry_after };
        pages::error_page(error, &facts).into_bytes()
    } else {
        let body = ErrorBody {
            status: error.code(),
            error: error.message(),
            is_user_error: error.is_user_error(),
            result: None,
            name: error.name(),
            temporary: error.is_temporary(),
            retry_after_sec: retry_after,
            help_url: &help_url,
            request_id: asker.request_id.as_str(),
        };
        serde_json::to_vec(&body).unwrap_or_default()
    };
    let headers = response.headers_mut();
    headers.insert(wire::ERROR_HEADER, HeaderValue::from(error.code()));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if asker.wants_page {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_SECURITY_POLICY, pages::ERROR_PAGE_POLICY.clone());
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if asker.end_of_host == Some(error) {
        headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"cache\", \"storage\""));
    }
    if asker.is_app_host {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let exposed = HeaderValue::from_static("X-Spoolway-Error, Retry-After");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    close_if_in_doubt(headers, asker);
    if !asker.is_head {
        *response.body_mut() = RelayBody::Full(Bytes::from(body));
    }
    response
}

/// A short text in ordinary HTTP, for what goes wrong before a connection is even identified.
pub(crate) fn plain_response(status: StatusCode, text: &str) -> Response<RelayBody> {
    let mut response = Response::new(RelayBody::Full(Bytes::from(format!("{text}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Refuses a method, and names those that there are, as RFC 9110 §15.5.6 demands.
pub(crate) fn method_not_allowed(allowed: &'static str) -> Response<RelayBody> {
    let mut response = plain_response(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// What follows a body that was not read, or an upgrade that was not granted, may be taken for the next request.
fn close_if_in_doubt(headers: &mut HeaderMap, asker: &Asker) {
    if asker.is_http1 && (asker.has_body || asker.is_upgrade) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Whether `Accept` names `text/html` with a higher weight than JSON (RFC 9110 §12.5.1).
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    let mut html = 0.0_f32;
    let mut json = 0.0_f32;
    for value in headers.get_all(header::ACCEPT) {
        let Ok(value) = value.to_str() else { continue };
        for range in value.split(',') {
            let mut parameters = range.split(';').map(str::trim);
            let kind = parameters.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parameters
                .find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")))
                .map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            match kind.as_str() {
                "text/html" => html = html.max(weight),
                "application/json" => json = json.max(weight),
                _ => {}
            }
        }
    }
    html > json
}

#[cfg(test)]
mod tests {
    use model::Label;

    use super::*;

    #[test]
    fn a_browser_clears_a_host_that_has_ended_and_never_the_site() {
        let domain: crate::Authority = "spoolway.example".parse().expect("a valid name");
        let names = SiteNames { scheme: "https".to_owned(), domain: domain.clone(), printers_domain: domain };
        let label = Label::generate();
        for (host, end) in [
            (Host::App(label.clone()), Some(RelayError::ConnectionRevoked)),
            (Host::Shared(label.clone()), Some(RelayError::ConnectionRevoked)),
            (Host::Owner(label), Some(RelayError::ConnectionNotFound)),
            (Host::Site, None),
        ] {
            for accept in ["text/html", "*/*"] {
                let request = http::Request::get("/").header(header::ACCEPT, accept).body(()).expect("a valid request");
                let asker = Asker::new(&request.into_parts().0, &host, RequestId::generate(), false);
                for error in RelayError::ALL {
                    let response = failure_response(error.into(), &asker, &names);
                    let cleared = response.headers().get(CLEAR_SITE_DATA);
                    assert_eq!(cleared.is_some(), end == Some(error), "{error} at {host:?}");
                    assert!(
                        cleared.is_none_or(|value| value == "\"cache\", \"storage\""),
                        "cookies of other hosts stay"
                    );
                }
            }
        }
    }

    #[test]
    fn a_page_is_sent_only_where_html_is_named_and_preferred() {
        for (accept, expected) in [
            (None, false),
            (Some("*/*"), false),
            (Some("text/html"), true),
            (Some("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"), true),
            (Some("application/json, text/html"), false),
            (Some("application/json;q=0.5, text/html"), true),
            (Some("text/html;q=0"), false),
            (Some("TEXT/HTML; Q=0.3"), true),
            (Some("text/*"), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(prefers_html(&headers), expected, "{accept:?}");
        }
    }
}
