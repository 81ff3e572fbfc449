//! A printer's response as it comes through the plugin (tunnel.md 6.4).

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Response, StatusCode};
use thiserror::Error;

use crate::latin1;
use crate::location;
use crate::wire::{HttpHeader, StreamMessage};

/// Headers of one response. Servers and browsers stop at some hundred.
pub(crate) const MAX_HEADERS: usize = 256;
/// Bytes of all names and values of one response.
pub(crate) const MAX_HEADER_BYTES: usize = 128 * 1024;

/// The redirect's target as the printer wrote it; the plugin has rewritten `Location`, often wrongly.
const ORIGINAL_LOCATION: HeaderName = HeaderName::from_static("x-og-location");

/// These say how long the body is, or belong to the printer's connection. The length is the tunnel's to know: the
/// plugin changes bodies and leaves the old length in place.
const NOT_PASSED: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    ORIGINAL_LOCATION,
];

/// Why a response is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// The first message has no head.
    #[error("the response has no head")]
    NoHead,
    /// No status that a printer's software may answer with.
    #[error("the response has the status {0}")]
    Status(u16),
    /// A header that HTTP cannot carry.
    #[error("the response has a header that cannot be carried")]
    Header,
    /// More headers than anyone takes.
    #[error("the response has too many headers")]
    TooManyHeaders,
}

/// Whose redirects stay with the visitor's own host.
#[derive(Clone, Debug)]
pub(crate) struct OwnHosts {
    /// What stands in the visitor's address bar.
    pub(crate) authority: Authority,
    /// The printer's address at home.
    pub(crate) lan_address: Option<IpAddr>,
}

/// A response's head.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status and headers. There is no `Content-Length` among them.
    pub response: Response<()>,
    /// Bytes of the body, if that is known. For the answer to a HEAD: of the body that a GET would get.
    pub length: Option<u64>,
}

/// Reads the head in the first message of a response.
pub(crate) fn read_head(message: &StreamMessage, own: &OwnHosts) -> Result<ResponseHead, ResponseError> {
    let context = message.http_initial_context.as_ref().ok_or(ResponseError::NoHead)?;
    let status = StatusCode::from_u16(message.status_code)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or(ResponseError::Status(message.status_code))?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = read_headers(context.headers.as_deref().unwrap_or_default(), own)?;
    Ok(ResponseHead { response, length: u64::try_from(message.full_stream_data_size).ok() })
}

fn read_headers(headers: &[HttpHeader], own: &OwnHosts) -> Result<HeaderMap, ResponseError> {
    let size: usize = headers.iter().map(|header| text(&header.key).len() + text(&header.value).len()).sum();
    if headers.len() > MAX_HEADERS || size > MAX_HEADER_BYTES {
        return Err(ResponseError::TooManyHeaders);
    }
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let name = HeaderName::from_bytes(text(&header.key).as_bytes()).map_err(|_| ResponseError::Header)?;
        let value = latin1::to_bytes(text(&header.value));
        let values = if name == header::SET_COOKIE { split_cookies(&value) } else { vec![&value[..]] };
        for value in values {
            map.append(&name, latin1::to_value(value).ok_or(ResponseError::Header)?);
        }
    }
    if let Some(original) = map.get(ORIGINAL_LOCATION) {
        let location = location::for_visitor(original.as_bytes(), own);
        map.insert(header::LOCATION, HeaderValue::from_bytes(&location).map_err(|_| ResponseError::Header)?);
    }
    for name in &NOT_PASSED {
        map.remove(name);
    }
    Ok(map)
}

fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

/// Takes folded cookies apart: where a comma and a blank are followed by a name and `=`. Dates have commas, too.
fn split_cookies(folded: &[u8]) -> Vec<&[u8]> {
    let mut cookies = Vec::new();
    let (mut rest, mut searched) = (folded, 0);
    while let Some(found) =
        rest.get(searched..).and_then(|unsearched| unsearched.windows(2).position(|two| two == b", "))
    {
        let comma = searched + found;
        let after = rest.get(comma + 2..).unwrap_or_default();
        searched = comma + 2;
        if begins_cookie(after) {
            cookies.push(rest.get(..comma).unwrap_or_default());
            (rest, searched) = (after, 0);
        }
    }
    cookies.push(rest);
    cookies
}

fn begins_cookie(text: &[u8]) -> bool {
    let name = text.iter().take_while(|byte| is_token(**byte)).count();
    name > 0 && text.get(name) == Some(&b'=')
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_cookies_are_split_where_the_next_begins() {
        for (folded, expected) in [
            ("a=1; Path=/, b=2; Path=/", &["a=1; Path=/", "b=2; Path=/"][..]),
            ("a=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT, b=2", &["a=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT", "b=2"]),
            ("a=1; Expires=Thursday, 01-Jan-26 00:00:00 GMT", &["a=1; Expires=Thursday, 01-Jan-26 00:00:00 GMT"]),
            ("a=1,b=2, c", &["a=1,b=2, c"]),
            ("a=, =, b=", &["a=, =", "b="]),
            ("", &[""]),
            (", a=1", &["", "a=1"]),
        ] {
            let expected: Vec<&[u8]> = expected.iter().map(|cookie| cookie.as_bytes()).collect();
            assert_eq!(split_cookies(folded.as_bytes()), expected);
        }
    }
}
