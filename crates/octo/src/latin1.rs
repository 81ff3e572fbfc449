//! Header values between HTTP, where they are bytes, and the protocol, where they are text.
//!
//! The plugin's HTTP library takes each byte for the character of the same number (tunnel.md 6.3, 6.4). So do we, in
//! both directions, and every byte arrives as itself.

use http::HeaderValue;

/// A header's value as text.
pub(crate) fn to_text(value: &[u8]) -> String {
    value.iter().copied().map(char::from).collect()
}

/// Text as the bytes of a header's value.
pub(crate) fn to_bytes(text: &str) -> Vec<u8> {
    let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    // Not from this library, then: as it stands.
    bytes.unwrap_or_else(|_| text.as_bytes().to_vec())
}

/// Bytes as a header's value; `None` if some are such as no value may have, line breaks first of all.
pub(crate) fn to_value(bytes: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(without_blanks(bytes)).ok()
}

/// Blanks around a value are not part of it (RFC 9110 §5.5); line breaks are none, and not forgiven.
fn without_blanks(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}
