//! Header values between HTTP, where they are bytes, and the protocol, where they are text.
//!
//! The plugin's HTTP library takes each byte for the character of the same number (tunnel.md 6.3, 6.4). So do we, in
//! both directions, and every byte arrives as itself.

use http::HeaderValue;

/// A header's value as text.
pub(crate) fn to_text(value: &[u8]) -> String {
    value.iter().copied().map(char::from).collect()
}

/// Text as a header's value; `None` if it has characters that no value may have, line breaks first of all.
pub(crate) fn to_value(text: &str) -> Option<HeaderValue> {
    let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    // Not from this library, then: as it stands.
    let bytes = bytes.unwrap_or_else(|_| text.as_bytes().to_vec());
    HeaderValue::from_bytes(bytes.trim_ascii()).ok()
}
