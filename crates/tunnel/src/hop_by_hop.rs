//! Headers that belong to one connection and never travel on (RFC 9110 §7.6.1).

use http::header::{self, HeaderMap, HeaderName};

/// Removed always, whether `Connection` names them or not.
const ALWAYS: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// `Connection` may name any header, but naming one of these would let a stranger take a header away that decides how
/// the message is read or who sent it.
const KEPT: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::AUTHORIZATION,
    header::COOKIE,
    header::CACHE_CONTROL,
];

/// Besides the above, these have no place in a trailer section.
const NOT_IN_TRAILERS: [HeaderName; 8] = [
    header::TRAILER,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::SET_COOKIE,
    header::LOCATION,
    header::EXPECT,
    header::RANGE,
    header::MAX_FORWARDS,
];

/// Removes the hop-by-hop headers and those that `Connection` names.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            // As bytes: one that is no text must not hide the names beside it.
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| !KEPT.contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &ALWAYS {
        headers.remove(name);
    }
}

/// Removes what a trailer section must not say, because it decides how a message is framed, routed or let in (RFC 9110
/// §6.5.1), and what belongs to one connection.
pub fn remove_forbidden_trailers(trailers: &mut HeaderMap) {
    for name in ALWAYS.iter().chain(&KEPT).chain(&NOT_IN_TRAILERS) {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private ,content-length"),
            ("connection", "upgrade"),
            ("x-private", "1"),
            ("x-private", "2"),
            ("content-length", "3"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("keep-alive", "timeout=5"),
            ("accept", "*/*"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let not_text = HeaderValue::from_bytes(b"\xff, X-Beside").expect("values may hold such bytes");
        headers.append(header::CONNECTION, not_text);
        headers.append("x-beside", HeaderValue::from_static("1"));
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length"]);
    }

    #[test]
    fn a_trailer_says_nothing_that_decides_about_its_message() {
        let mut trailers = HeaderMap::new();
        for name in
            ["content-length", "transfer-encoding", "host", "authorization", "connection", "set-cookie", "x-sum"]
        {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        remove_forbidden_trailers(&mut trailers);
        let left: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-sum"]);
    }
}
