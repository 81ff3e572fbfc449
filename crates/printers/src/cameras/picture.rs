//! What kind of picture it is.
//!
//! Its first bytes say so. A camera's own word for it is not passed on: it would be a browser's word too, and a camera
//! that says `text/html` must not put a page on the printer's host.

use http::HeaderValue;

/// The kind of a picture; what cannot be told is JPEG, which almost every camera makes.
pub(super) fn kind(picture: &[u8]) -> HeaderValue {
    HeaderValue::from_static(known_kind(picture).unwrap_or("image/jpeg"))
}

/// Whether it is a picture that browsers show.
pub(crate) fn is_picture(bytes: &[u8]) -> bool {
    known_kind(bytes).is_some()
}

fn known_kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_the_first_bytes() {
        for (bytes, expected) in [
            (&b"\xff\xd8\xff\xe0rest"[..], Some("image/jpeg")),
            (b"\x89PNG\r\n\x1a\nrest", Some("image/png")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\0\0\0\0WAVE", None),
            (b"<html>", None),
            (b"\xff\xd8", None),
            (b"", None),
        ] {
            assert_eq!(known_kind(bytes), expected);
            assert_eq!(kind(bytes), expected.unwrap_or("image/jpeg"));
        }
    }
}
