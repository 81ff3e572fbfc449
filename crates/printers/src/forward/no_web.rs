//! What visitors get from a printer that has no web interface.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>No web interface</title>
</head>
<body>
<h1>This printer has no web interface</h1>
<p>There is nothing to show at this address.
What the printer does, its camera and its controls are on the printer's own page of the site.</p>
</body>
</html>
"#;

/// A page for people; programs see its status.
pub(super) fn no_web_interface() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(PAGE));
    *response.status_mut() = StatusCode::NOT_FOUND;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
