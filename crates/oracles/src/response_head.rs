//! A printer's response on its way to the visitor.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, Version};
use relay::Authority;
use relay::fuzzing::{COOKIE_PREFIX, MAX_SET_COOKIE, Visitor, prepare_response};
use url::Url;

use crate::input::{assert_reads_back, headers, items, split_choice, values};
use crate::request_head::{HOP_BY_HOP, KEPT};

const HOST: &str = "shared-abc.d.example:8443";
/// Would outlive or leave the printer's own host, or would be taken for the service's word.
const NOT_FOR_VISITORS: [&str; 7] = [
    "x-spoolway-error",
    "spoolway-agent-failure",
    "spoolway-upgraded",
    "alt-svc",
    "strict-transport-security",
    "service-worker-allowed",
    "clear-site-data",
];

/// A byte for scheme and version, then header lines.
pub fn check(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let (is_https, is_http2) = (choice & 1 == 1, choice & 2 == 2);
    let before = headers(rest);
    let mut after = before.clone();
    let Ok(authority) = HOST.parse::<Authority>() else { panic!("the host is valid") };
    let visitor = Visitor { address: IpAddr::V4(Ipv4Addr::LOCALHOST), is_https, authority };
    prepare_response(&mut after, &visitor, if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 });

    let named = items(&before, "connection");
    let is_dropped = |name: &str| {
        HOP_BY_HOP.contains(&name)
            || NOT_FOR_VISITORS.contains(&name)
            || (named.iter().any(|named| named == name) && !KEPT.contains(&name))
            || (is_http2 && name == "trailer")
    };
    for name in after.keys().map(|name| name.as_str()) {
        assert!(!is_dropped(name), "{name} travels on");
        assert!(before.contains_key(name), "{name} comes from nowhere");
    }
    for name in before.keys().map(|name| name.as_str()) {
        if !is_dropped(name) && !["set-cookie", "location", "content-location"].contains(&name) {
            assert_eq!(values(&after, name), values(&before, name), "{name}");
        }
    }
    check_cookies(&before, &after, is_https, is_dropped("set-cookie"));
    for name in ["location", "content-location"] {
        check_location(&before, &after, name, is_https);
    }
    assert_reads_back("HTTP/1.1 200 OK", &after, true);
}

/// Name, value, and attributes as a browser takes them apart (RFC 6265 §5.2).
fn parse_cookie(cookie: &[u8]) -> (&[u8], Vec<(String, &[u8])>) {
    let mut parts = cookie.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let pair = parts.next().unwrap_or_default();
    let attributes = parts.map(|attribute| {
        let equals = attribute.iter().position(|byte| *byte == b'=').unwrap_or(attribute.len());
        let name = String::from_utf8_lossy(attribute[..equals].trim_ascii()).to_ascii_lowercase();
        (name, attribute.get(equals + 1..).unwrap_or_default().trim_ascii())
    });
    (pair, attributes.collect())
}

/// What a browser sends back: a cookie without a name is its value alone.
fn sent_back(pair: &[u8]) -> &[u8] {
    pair.strip_prefix(b"=").map_or(pair, <[u8]>::trim_ascii)
}

fn check_cookies(before: &HeaderMap, after: &HeaderMap, is_https: bool, are_dropped: bool) {
    let after = values(after, "set-cookie");
    if are_dropped {
        return assert!(after.is_empty());
    }
    let expected: Vec<_> = values(before, "set-cookie")
        .into_iter()
        .map(parse_cookie)
        .filter(|(pair, _)| !sent_back(pair).starts_with(COOKIE_PREFIX.as_bytes()))
        .take(MAX_SET_COOKIE)
        .map(|(pair, attributes)| {
            let kept: Vec<(String, &[u8])> = attributes
                .into_iter()
                .filter(|(name, _)| name != "domain" && (is_https || name != "secure"))
                .map(|(name, value)| match name.as_str() {
                    "samesite" if !is_https && value.eq_ignore_ascii_case(b"none") => (name, &b"Lax"[..]),
                    _ => (name, value),
                })
                .collect();
            (pair, kept)
        })
        .collect();
    assert_eq!(after.into_iter().map(parse_cookie).collect::<Vec<_>>(), expected);
}

fn check_location(before: &HeaderMap, after: &HeaderMap, name: &str, is_https: bool) {
    let (before, after) = (values(before, name), values(after, name));
    let ([before], [after]) = (&before[..], &after[..]) else { return };
    if before == after {
        return;
    }
    let scheme = if is_https { "https" } else { "http" };
    let Ok(page) = Url::parse(&format!("{scheme}://{HOST}/somewhere/deep")) else { panic!("the URL is valid") };
    let resolve = |location: &[u8]| std::str::from_utf8(location).ok().and_then(|location| page.join(location).ok());
    let (Some(meant), Some(said)) = (resolve(before), resolve(after)) else {
        panic!("{} became {}", before.escape_ascii(), after.escape_ascii());
    };
    let differ = || format!("{meant} became {said}");
    assert_eq!(said.host_str().map(trim_dot), meant.host_str().map(trim_dot), "{}", differ());
    assert_eq!(said.origin(), page.origin(), "{}", differ());
    assert_eq!(said[url::Position::BeforePath..], meant[url::Position::BeforePath..], "{}", differ());
}

fn trim_dot(host: &str) -> &str {
    host.trim_end_matches('.')
}
