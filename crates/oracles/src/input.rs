//! Making inputs of bytes, in forms that can be read and written by hand.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The first byte, which chooses between variants, and the rest.
pub(crate) fn split_choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(choice, rest)| (*choice, rest))
}

/// The first line, and what follows it.
pub(crate) fn split_line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}

/// Header lines `name: value`. Those that no HTTP library lets through are left out.
pub(crate) fn headers(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// Cuts `data` into pieces of lengths that `seed` decides: all in one for 0.
pub(crate) fn pieces(data: &[u8], seed: u8) -> Vec<&[u8]> {
    /// From single bytes to pieces that hold several of everything.
    const LONGEST: [usize; 6] = [1, 2, 9, 64, 700, 70_000];
    if seed == 0 {
        return vec![data];
    }
    let longest = LONGEST[usize::from(seed) % LONGEST.len()];
    let mut state = u32::from(seed);
    let mut pieces = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        // The generator of Numerical Recipes: any that differs from step to step would do.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = (1 + (state >> 8) as usize % longest).min(rest.len());
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Headers with these names, in their order.
pub(crate) fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

/// The items of a comma-separated header, in lower case.
pub(crate) fn items(headers: &HeaderMap, name: &str) -> Vec<String> {
    values(headers, name)
        .into_iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|item| String::from_utf8_lossy(item).trim().to_ascii_lowercase())
        .collect()
}

/// Whether a head as another HTTP/1 library writes it is read back the same.
pub(crate) fn assert_reads_back(first_line: &str, headers: &HeaderMap, is_response: bool) {
    let mut bytes = format!("{first_line}\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    let mut room = vec![httparse::EMPTY_HEADER; headers.len() + 1];
    let (status, read) = if is_response {
        let mut response = httparse::Response::new(&mut room);
        (response.parse(&bytes), response.headers.iter().map(|header| (header.name, header.value)).collect::<Vec<_>>())
    } else {
        let mut request = httparse::Request::new(&mut room);
        (request.parse(&bytes), request.headers.iter().map(|header| (header.name, header.value)).collect::<Vec<_>>())
    };
    assert_eq!(status, Ok(httparse::Status::Complete(bytes.len())), "{}", bytes.escape_ascii());
    let written: Vec<(&str, &[u8])> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes().trim_ascii())).collect();
    assert_eq!(read, written);
}
