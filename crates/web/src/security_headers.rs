//! Headers that tell the browser what the site never does.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, header};

use crate::state::SiteState;

/// Pages load their own stylesheet and icon, and nothing else. A page that needs more sends a policy of its own.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; \
                                       object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not `no-referrer`: with it browsers send `Origin: null` on the site's own forms, which must prove their origin.
    (header::REFERRER_POLICY, "same-origin"),
    // Printers' pages may be same-site with this one. They get no handle on its window and cannot embed its answers.
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// A year, as browsers' preload lists ask for. Without sub-domains: those may be printers' hosts, which the operator may
/// serve otherwise.
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Adds them to a response, but leaves what its handler chose.
pub(crate) async fn add_security_headers(State(state): State<SiteState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if state.is_https() {
        response.headers_mut().entry(header::STRICT_TRANSPORT_SECURITY).or_insert(STRICT_TRANSPORT);
    }
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
