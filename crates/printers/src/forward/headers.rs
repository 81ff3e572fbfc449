//! What changes in the heads of forwarded messages.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Uri, Version};
use http_body::Body;
use model::wire;
use tunnel::hop_by_hop::remove_hop_by_hop;

use super::{ForwardError, Shared, VisitorAddress};
use crate::printer_url::PrinterUrl;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The id of a request for the log, `-` if the service sent none.
pub(super) fn take_request_id(headers: &mut HeaderMap) -> String {
    let id = headers.remove(wire::REQUEST_ID_HEADER);
    id.and_then(|id| id.to_str().map(str::to_owned).ok()).unwrap_or_else(|| "-".to_owned())
}

/// Makes an HTTP/1.1 request for the printer from one of the tunnel's.
///
/// The printer sees the visitor's own `Host`. `Origin`, `Referer`, cookies and the URLs that it makes then all fit
/// together as they would without a tunnel, which is what OctoPrint's login and Moonraker's check of `Origin` need.
pub(super) fn prepare_request<B>(request: &mut Request<B>, shared: &Shared) -> Result<(), ForwardError> {
    let target = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = target.parse::<Uri>().map_err(http::Error::from)?;
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    remove_internal(headers);
    if shared.visitor_address == VisitorAddress::Hide {
        headers.remove(FORWARDED_FOR);
        headers.remove(REAL_IP);
    }
    let host = match headers.get(FORWARDED_HOST) {
        Some(host) => host.clone(),
        None => HeaderValue::from_str(shared.connector.target().authority()).map_err(http::Error::from)?,
    };
    headers.insert(header::HOST, host);
    Ok(())
}

/// Says that a body of unknown length follows. hyper does so by itself, but for the methods that rarely have one: it
/// would leave the body out.
pub(super) fn announce_body<B: Body>(request: &mut Request<B>) {
    let has_length =
        request.headers().contains_key(header::CONTENT_LENGTH) || request.body().size_hint().exact().is_some();
    if !request.body().is_end_stream() && !has_length {
        request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Makes a response for the tunnel from one of the printer's.
pub(super) fn prepare_response(headers: &mut HeaderMap, target: &PrinterUrl) {
    remove_hop_by_hop(headers);
    remove_internal(headers);
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let local = headers.get(&name).and_then(|value| value.to_str().ok()).and_then(|url| within(url, target));
        if let Some(path) = local.and_then(|path| HeaderValue::from_str(&path).ok()) {
            headers.insert(name, path);
        }
    }
}

/// Neither side may speak with the service's own voice.
fn remove_internal(headers: &mut HeaderMap) {
    let internal: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(wire::INTERNAL_PREFIX)).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

/// The path, query and fragment of a URL that points to the printer itself, by the address that only the agent knows.
fn within(url: &str, target: &PrinterUrl) -> Option<String> {
    let parsed = url::Url::parse(url).ok()?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return None;
    }
    let port = parsed.port_or_known_default()?;
    let host = parsed.host_str()?.trim_start_matches('[').trim_end_matches(']');
    if !host.eq_ignore_ascii_case(target.host()) || port != target.port() {
        return None;
    }
    let path = &parsed[url::Position::BeforePath..];
    // Without the `/.`, a browser would take what follows two slashes for another host.
    Some(if path.starts_with("//") { format!("/.{path}") } else { path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_to_the_printers_own_address_become_paths() {
        let target: PrinterUrl = "http://192.168.1.7:5000".parse().expect("it is a URL");
        for (location, expected) in [
            ("http://192.168.1.7:5000/login/?next=%2F#top", "/login/?next=%2F#top"),
            ("HTTP://192.168.1.7:5000", "/"),
            ("http://192.168.1.7:5000//elsewhere.example/", "/.//elsewhere.example/"),
            ("http://192.168.1.7:5000/\\elsewhere.example/", "/.//elsewhere.example/"),
            ("http://192.168.1.7:5001/", "http://192.168.1.7:5001/"),
            ("https://elsewhere.example/x", "https://elsewhere.example/x"),
            ("other://192.168.1.7:5000", "other://192.168.1.7:5000"),
            ("/already/a/path", "/already/a/path"),
            ("relative", "relative"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, HeaderValue::from_static(location));
            prepare_response(&mut headers, &target);
            assert_eq!(headers[header::LOCATION], expected);
        }
    }

    #[test]
    fn a_printer_cannot_speak_as_the_agent() {
        let target: PrinterUrl = "http://127.0.0.1".parse().expect("it is a URL");
        let mut headers = HeaderMap::new();
        headers.insert(wire::AGENT_FAILURE_HEADER, HeaderValue::from_static("internal"));
        headers.insert(wire::UPGRADED_HEADER, HeaderValue::from_static("1"));
        headers.insert("connection", HeaderValue::from_static("x-other"));
        headers.insert("x-other", HeaderValue::from_static("1"));
        prepare_response(&mut headers, &target);
        assert!(headers.is_empty(), "{headers:?}");
    }
}
