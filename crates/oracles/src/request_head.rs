//! A visitor's request on its way to the printer.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, Method, Request, Uri, Version};
use model::RequestId;
use percent_encoding::percent_decode;
use relay::Authority;
use relay::fuzzing::{COOKIE_PREFIX, Visitor, prepare_request, remove_own_arguments, screen};

use crate::input::{assert_reads_back, headers, items, split_choice, split_line, values};

const HOST: &str = "app-abc.d.example:8443";
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// Removed whether `Connection` names them or not (RFC 9110 §7.6.1).
pub(crate) const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];
/// `Connection` cannot take these away.
pub(crate) const KEPT: [&str; 6] =
    ["host", "content-length", "content-type", "authorization", "cookie", "cache-control"];

/// What printers' software believes; a visitor may say none of it, in any spelling.
const FORGED: [&str; 15] = [
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-scheme",
    "x-script-name",
    "x-external-host",
    "x-remote-user",
    "remote-user",
    "x-rewrite-url",
    "x-http-host-override",
    "x-host",
];
const FORGED_PREFIXES: [&str; 5] = ["x-forwarded-", "x-original-", "x-spoolway-", "spoolway-", "oe-"];
/// What the service says itself.
const SET: [&str; 5] = ["x-forwarded-for", "x-real-ip", "x-forwarded-proto", "x-forwarded-host", "spoolway-request-id"];

/// A byte for scheme and version; then, a line each, the method, the target and the headers.
pub fn check(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let (method, rest) = split_line(rest);
    let (target, rest) = split_line(rest);
    let before = headers(rest);
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), Uri::try_from(target)) else { return };
    check_screen(&method, &uri, &before, choice);
    check_target(&uri);
    check_headers(&before, choice & 1 == 1);
}

fn check_screen(method: &Method, uri: &Uri, headers: &HeaderMap, choice: u8) {
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers.clone();
    *request.version_mut() = if choice & 2 == 2 { Version::HTTP_2 } else { Version::HTTP_11 };
    let (parts, ()) = request.into_parts();
    let Some(is_websocket) = screen(&parts) else { return };
    // Glued to an address, anything else could name another host.
    assert!(uri.path().starts_with('/'), "{uri}");
    assert!(uri.scheme_str().is_none_or(|scheme| scheme == "http" || scheme == "https"), "{uri}");
    assert!(*method != Method::CONNECT && *method != Method::TRACE);
    if is_websocket {
        assert!(*method == Method::GET && items(headers, "upgrade").contains(&"websocket".to_owned()));
    }
}

fn is_own_argument(pair: &[u8]) -> bool {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    let name: Vec<u8> = percent_decode(name).collect();
    name == b"oe_api_key" || name == b"spoolway-plain-status"
}

/// The query without our own arguments and all else byte for byte.
fn without_own_arguments(query: &[u8]) -> Vec<u8> {
    let kept: Vec<&[u8]> = query.split(|byte| *byte == b'&').filter(|pair| !is_own_argument(pair)).collect();
    kept.join(&b"&"[..])
}

fn check_target(uri: &Uri) {
    let mut cleaned = uri.clone();
    remove_own_arguments(&mut cleaned);
    assert_eq!(cleaned.path(), uri.path());
    let expected = uri.query().map(|query| without_own_arguments(query.as_bytes())).unwrap_or_default();
    assert_eq!(cleaned.query().unwrap_or_default().as_bytes(), expected, "{uri}");
}

fn check_headers(before: &HeaderMap, is_https: bool) {
    let Ok(authority) = HOST.parse::<Authority>() else { panic!("the host is valid") };
    let request_id = RequestId::generate();
    let mut after = before.clone();
    prepare_request(&mut after, &Visitor { address: ADDRESS, is_https, authority }, &request_id);

    let named: Vec<String> = items(before, "connection");
    let is_hop_by_hop =
        |name: &str| HOP_BY_HOP.contains(&name) || (named.iter().any(|named| named == name) && !KEPT.contains(&name));
    let is_forged = |name: &str| {
        let name = name.replace('_', "-");
        FORGED.contains(&name.as_str()) || FORGED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    for name in after.keys().map(|name| name.as_str()).filter(|name| !SET.contains(name)) {
        assert!(!is_hop_by_hop(name), "{name} travels on");
        assert!(!is_forged(name), "{name} was forged");
        assert!(!["host", "expect", "http2-settings"].contains(&name), "{name} travels on");
    }
    for (name, value) in SET.into_iter().zip([
        "192.0.2.7",
        "192.0.2.7",
        if is_https { "https" } else { "http" },
        HOST,
        request_id.as_str(),
    ]) {
        assert_eq!(values(&after, name), [value.as_bytes()], "{name}");
    }
    for name in before.keys().map(|name| name.as_str()) {
        let is_changed = ["host", "expect", "http2-settings", "cookie", "referer"].contains(&name);
        if !is_changed && !is_hop_by_hop(name) && !is_forged(name) {
            assert_eq!(values(&after, name), values(before, name), "{name}");
        }
    }
    check_cookies(before, &after);
    if !is_hop_by_hop("referer") {
        check_referer(before, &after);
    }
    assert_reads_back("GET / HTTP/1.1", &after, false);
}

fn cookies(headers: &HeaderMap) -> Vec<&[u8]> {
    values(headers, "cookie")
        .into_iter()
        .flat_map(|line| line.split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

fn check_cookies(before: &HeaderMap, after: &HeaderMap) {
    let expected: Vec<&[u8]> =
        cookies(before).into_iter().filter(|cookie| !cookie.starts_with(COOKIE_PREFIX.as_bytes())).collect();
    assert_eq!(cookies(after), expected, "foreign cookies stay, in order, and ours do not");
    assert!(values(after, "cookie").len() <= 1);
}

fn check_referer(before: &HeaderMap, after: &HeaderMap) {
    let after = values(after, "referer");
    for referer in &after {
        let query = referer.split(|byte| *byte == b'?').skip(1).collect::<Vec<_>>().join(&b"?"[..]);
        let query = query.split(|byte| *byte == b'#').next().unwrap_or_default();
        assert!(!query.split(|byte| *byte == b'&').any(is_own_argument), "{}", referer.escape_ascii());
    }
    // One that names nothing of ours is not touched.
    let before = values(before, "referer");
    if !before.iter().any(|referer| referer.contains(&b'?')) {
        assert_eq!(after, before);
    }
}
