//! What changes in the heads of relayed messages.

// A stranger's bytes are read here: what could panic, or cut a number, is done in another way (T50).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Uri, Version};
use model::{RequestId, wire};
use tunnel::hop_by_hop::remove_hop_by_hop;

use crate::authority::Authority;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Cookies of ours on a printer's host begin with it; printers never see them.
pub const COOKIE_PREFIX: &str = "__spoolway";
/// A response that sets more cookies than this sets none beyond it: floods of them make a browser's requests too
/// large for any server.
pub const MAX_SET_COOKIE: usize = 40;

/// By these, services in front of a printer's software tell it who its visitor is, or where it is mounted. Software
/// believes them, so they are ours to set.
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
/// The same as groups.
const FORGED_PREFIXES: [&str; 5] = ["x-forwarded-", "x-original-", "x-spoolway-", wire::INTERNAL_PREFIX, "oe-"];

/// Headers of a printer that would outlive or leave its own host, and what only services and agents say to each other.
///
/// A service worker's scope never leaves its host, which belongs to one connection alone. Without
/// `Service-Worker-Allowed` it does not leave its script's folder either, so that a file which somebody stored on the
/// printer does not come to answer for the printer's pages. `Clear-Site-Data` can name the cookies of the whole
/// registrable domain, the site's among them.
const NOT_FOR_VISITORS: [HeaderName; 7] = [
    HeaderName::from_static(wire::ERROR_HEADER),
    HeaderName::from_static(wire::AGENT_FAILURE_HEADER),
    HeaderName::from_static(wire::UPGRADED_HEADER),
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("clear-site-data"),
];

/// Who makes a request, and how it reached us.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    pub(crate) address: IpAddr,
    /// Whether the visitor's own connection is encrypted, by us or by a trusted proxy.
    pub(crate) is_https: bool,
    pub(crate) authority: Authority,
}

impl Visitor {
    fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }
}

/// Prepares a visitor's request for the link: nothing that opened the door travels on, nothing that only we may say
/// comes from a stranger.
pub(crate) fn prepare_request(headers: &mut HeaderMap, visitor: &Visitor, request_id: &RequestId) {
    remove_hop_by_hop(headers);
    remove_forged(headers);
    headers.remove(header::HOST);
    // The edge has answered it: by asking the visitor for the body.
    headers.remove(header::EXPECT);
    headers.remove(HeaderName::from_static("http2-settings"));
    keep_foreign_cookies(headers);
    clean_referer(headers);
    let mut insert = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    let address = visitor.address.to_string();
    insert(FORWARDED_FOR, &address);
    insert(REAL_IP, &address);
    insert(FORWARDED_PROTO, visitor.scheme());
    insert(FORWARDED_HOST, &visitor.authority.to_string());
    insert(HeaderName::from_static(wire::REQUEST_ID_HEADER), request_id.as_str());
}

/// Software that maps header names to variables reads `_` for `-`, so both spellings are one name.
fn remove_forged(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str().replace('_', "-");
            FORGED.contains(&name.as_str()) || FORGED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        })
        .cloned()
        .collect();
    for name in forged {
        headers.remove(name);
    }
}

/// Removes our own cookies. HTTP/2 may split `Cookie` into several lines (RFC 9113 §8.2.3); they are joined again.
fn keep_foreign_cookies(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::COOKIE);
    if lines.iter().count() <= 1 && !lines.iter().any(|line| contains(line.as_bytes(), COOKIE_PREFIX.as_bytes())) {
        return;
    }
    let kept: Vec<&[u8]> = lines
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|cookie| !cookie.is_empty() && !cookie.starts_with(COOKIE_PREFIX.as_bytes()))
        .collect();
    match HeaderValue::from_bytes(&kept.join(&b"; "[..])) {
        Ok(value) if !value.is_empty() => {
            headers.insert(header::COOKIE, value);
        }
        _ => {
            headers.remove(header::COOKIE);
        }
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

/// A page opened with credentials in its URL names them again in the requests that it causes.
fn clean_referer(headers: &mut HeaderMap) {
    for value in headers.get_all(header::REFERER).iter().map(HeaderValue::as_bytes) {
        let mut parts = value.splitn(2, |byte| *byte == b'?');
        let (Some(before), Some(after)) = (parts.next(), parts.next()) else { continue };
        let query = after.split(|byte| *byte == b'#').next().unwrap_or_default();
        let Some(query) = without_own_arguments(query) else { continue };
        let cleaned = if query.is_empty() { before.to_vec() } else { [before, b"?", &query].concat() };
        // Several make no sense; what is left of the first that needed cleaning is enough.
        match HeaderValue::from_bytes(&cleaned) {
            Ok(value) => headers.insert(header::REFERER, value),
            Err(_) => headers.remove(header::REFERER),
        };
        return;
    }
}

/// Removes our own arguments from a request's target.
pub(crate) fn remove_own_arguments(uri: &mut Uri) {
    let Some(query) = uri.query().map(str::as_bytes).and_then(without_own_arguments) else { return };
    let path = uri.path().as_bytes();
    let target = if query.is_empty() { path.to_vec() } else { [path, b"?", &query].concat() };
    if let Ok(target) = PathAndQuery::try_from(target) {
        *uri = Uri::from(target);
    }
}

/// The query without our arguments, or `None` if it has none of them.
fn without_own_arguments(query: &[u8]) -> Option<Vec<u8>> {
    let is_own = |pair: &&[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        let is = |own: &str| percent_encoding::percent_decode(name).eq(own.bytes());
        is(wire::API_KEY_QUERY) || is(wire::PLAIN_STATUS_QUERY)
    };
    let mut pairs = query.split(|byte| *byte == b'&');
    if !pairs.clone().any(|pair| is_own(&pair)) {
        return None;
    }
    let kept: Vec<&[u8]> = pairs.by_ref().filter(|pair| !is_own(pair)).collect();
    Some(kept.join(&b"&"[..]))
}

/// Prepares a printer's response for the visitor.
pub(crate) fn prepare_response(headers: &mut HeaderMap, visitor: &Visitor, version: Version) {
    remove_hop_by_hop(headers);
    for name in &NOT_FOR_VISITORS {
        headers.remove(name);
    }
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let own = headers.get(&name).and_then(|value| value.to_str().ok()).and_then(|url| own_path(url, visitor));
        if let Some(path) = own.and_then(|path| HeaderValue::from_str(path).ok()) {
            headers.insert(name, path);
        }
    }
    rewrite_set_cookie(headers, visitor);
    // Trailers reach an HTTP/1.1 visitor only if they are announced; in HTTP/2 the announcement says nothing.
    if version == Version::HTTP_2 {
        headers.remove(header::TRAILER);
    }
}

/// Whether a browser asks for the script of a service worker; pages cannot set this header (Service Workers §4.2).
pub(crate) fn asks_for_worker(headers: &HeaderMap) -> bool {
    headers.get("service-worker").is_some_and(|value| value == "script")
}

/// Lets a browser ask again each time it looks for a newer worker. A page may have it look into its cache instead, and a
/// revocation would not end the worker for a day.
pub(crate) fn keep_worker_fresh(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.remove(header::EXPIRES);
}

/// Software behind a proxy makes URLs of the host that it was asked for, often with the wrong scheme or with its own
/// port. A path alone is right whatever the visitor's are.
fn own_path<'a>(url: &'a str, visitor: &Visitor) -> Option<&'a str> {
    let after_scheme = url
        .get(..8)
        .filter(|start| start.eq_ignore_ascii_case("https://"))
        .or_else(|| url.get(..7).filter(|start| start.eq_ignore_ascii_case("http://")))
        .map(|scheme| &url[scheme.len()..])
        .or_else(|| url.strip_prefix("//"))?;
    let end = after_scheme.find(['/', '?', '#', '\\']).unwrap_or(after_scheme.len());
    let (authority, path) = after_scheme.split_at(end);
    let is_own = authority.parse::<Authority>().is_ok_and(|authority| authority.host() == visitor.authority.host());
    match path {
        "" if is_own => Some("/"),
        // Browsers read `\` as `/` and leave tabs out, and behind two slashes they look for another host.
        path if is_own
            && path.starts_with('/')
            && !path.starts_with("//")
            && !path.starts_with("/\\")
            && !path.contains('\t') =>
        {
            Some(path)
        }
        _ => None,
    }
}

/// A printer's cookie belongs to its own host name: `Domain` goes, and `Secure` fits how the visitor came.
fn rewrite_set_cookie(headers: &mut HeaderMap, visitor: &Visitor) {
    if !headers.contains_key(header::SET_COOKIE) {
        return;
    }
    let rewritten: Vec<HeaderValue> = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter_map(|cookie| rewrite_cookie(cookie.as_bytes(), visitor.is_https))
        .take(MAX_SET_COOKIE)
        .collect();
    headers.remove(header::SET_COOKIE);
    for cookie in rewritten {
        headers.append(header::SET_COOKIE, cookie);
    }
}

fn rewrite_cookie(cookie: &[u8], is_https: bool) -> Option<HeaderValue> {
    let mut parts = cookie.split(|byte| *byte == b';');
    let pair = parts.next()?.trim_ascii();
    // A cookie without a name comes back from the browser as its value alone.
    let sent_back = pair.strip_prefix(b"=").map_or(pair, <[u8]>::trim_ascii);
    if sent_back.starts_with(COOKIE_PREFIX.as_bytes()) {
        return None;
    }
    let mut rewritten = pair.to_vec();
    for attribute in parts.map(<[u8]>::trim_ascii) {
        let mut halves = attribute.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
        let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        let named = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        let kept: &[u8] = if named(b"domain") || (named(b"secure") && !is_https) {
            continue;
        } else if named(b"samesite") && value.eq_ignore_ascii_case(b"none") && !is_https {
            // Browsers take `None` only together with `Secure`.
            b"SameSite=Lax"
        } else {
            attribute
        };
        rewritten.extend_from_slice(b"; ");
        rewritten.extend_from_slice(kept);
    }
    HeaderValue::from_bytes(&rewritten).ok()
}

#[cfg(test)]
mod tests;
