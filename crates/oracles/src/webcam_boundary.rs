//! Where a webcam stream is cut.

use http::{HeaderMap, HeaderValue, header};
use relay::fuzzing::webcam_cuts;

use crate::input::{pieces, split_choice, split_line};

/// RFC 2046 §5.1.1.
const MAX_BOUNDARY: usize = 70;

/// A byte for how the stream arrives, a line with its content type, and the stream.
pub fn check(data: &[u8]) {
    let (seed, rest) = split_choice(data);
    let (content_type, stream) = split_line(rest);
    let Ok(value) = HeaderValue::from_bytes(content_type.trim_ascii()) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, value);
    let Some(mut cuts) = webcam_cuts(&headers) else { return };
    let delimiter = delimiter(content_type);
    let mut passed = 0;
    let mut is_cut = false;
    for piece in pieces(stream, seed) {
        match cuts.cut_in(piece) {
            Some(length) => {
                assert!(length <= piece.len());
                passed += length;
                is_cut = true;
                break;
            }
            None => passed += piece.len(),
        }
    }
    let Some(delimiter) = delimiter else {
        // Nothing says where frames end, so the next byte is as good as any.
        return assert!(passed == 0 && (is_cut || stream.is_empty()));
    };
    match stream.windows(delimiter.len()).position(|window| window == delimiter) {
        // What has left already cannot be taken back, but no byte of the next frame's content leaves.
        Some(at) => {
            assert!(is_cut && (at..at + delimiter.len()).contains(&passed), "{passed} passed, the frame ends at {at}")
        }
        None => assert!(!is_cut && passed == stream.len()),
    }
}

/// What stands before each frame, if the content type says it.
fn delimiter(content_type: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(content_type).ok()?;
    let boundary = text.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    let boundary = boundary.trim_matches('"').trim_start_matches("--");
    ((1..=MAX_BOUNDARY).contains(&boundary.len())).then(|| format!("--{boundary}").into_bytes())
}
