//! Pictures out of a `multipart/x-mixed-replace` stream, whatever a camera's firmware makes of that form.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, header};
use model::wire::MAX_PICTURE;

use super::CameraError;

/// A boundary is at most this long (RFC 2046 §5.1.1).
const MAX_BOUNDARY: usize = 70;
/// Lines before a picture. Cameras write three; whoever writes this much writes none.
const MAX_HEAD: usize = 4 * 1024;
/// A picture begins with it.
pub(super) const START: &[u8] = &[0xff, 0xd8, 0xff];
/// And ends with it.
const END: &[u8] = &[0xff, 0xd9];

/// Whether a response is such a stream.
pub(super) fn is_multipart(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("multipart/x-mixed-replace"))
}

/// Takes bytes of the stream and gives pictures. Holds no more than one picture's worth of bytes.
#[derive(Debug)]
pub(super) struct Parser {
    /// `--` and the boundary; empty where the camera names none.
    delimiter: Vec<u8>,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of the picture.
    searched: usize,
}

impl Parser {
    /// For a response with these headers.
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = kind
            .split(';')
            .skip(1)
            .filter_map(|parameter| parameter.trim().split_once('='))
            .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))
            // Some firmware writes the dashes into the name.
            .map(|(_, boundary)| boundary.trim_matches('"').trim_start_matches("--"))
            .filter(|boundary| !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY);
        Self::with_boundary(boundary.unwrap_or_default())
    }

    /// For a stream whose boundary is known; without dashes, or empty if there is none.
    pub(super) fn with_boundary(boundary: &str) -> Self {
        let delimiter = if boundary.is_empty() { vec![] } else { format!("--{boundary}").into_bytes() };
        Self { delimiter, buffer: BytesMut::new(), searched: 0 }
    }

    /// More of the stream has come. Call [`Self::poll_picture`] until it has no more before the next one.
    pub(super) fn handle(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next picture that is whole.
    ///
    /// # Errors
    /// If a picture, or what stands in its place, is too large. The stream cannot be read on.
    pub(super) fn poll_picture(&mut self) -> Result<Option<Bytes>, CameraError> {
        let Some(start) = find(&self.buffer, START) else {
            // The last bytes may be the beginning of a picture, or of the line that says how long it is.
            if self.buffer.len() > MAX_HEAD {
                return Err(CameraError::NoPicture);
            }
            return Ok(None);
        };
        let length = content_length(&self.buffer[..start]);
        let picture = match length {
            Some(length) if length > MAX_PICTURE => return Err(CameraError::TooLarge),
            Some(length) => (self.buffer.len() >= start + length).then_some((start + length, length)),
            None => self.find_end(start).map(|length| (start + length, length)),
        };
        let Some((end, length)) = picture else {
            if self.buffer.len() - start > MAX_PICTURE {
                return Err(CameraError::TooLarge);
            }
            return Ok(None);
        };
        if length > MAX_PICTURE {
            return Err(CameraError::TooLarge);
        }
        self.searched = 0;
        let mut picture = self.buffer.split_to(end);
        picture.advance(start);
        // A copy of its own, so that a picture that somebody holds does not hold the buffer.
        Ok(Some(Bytes::copy_from_slice(&picture)))
    }

    /// Length of a picture that nobody told: up to the delimiter; or to the end of what has come, if it looks like the
    /// end of a picture, so that it need not wait for the next one.
    fn find_end(&mut self, start: usize) -> Option<usize> {
        let body = &self.buffer[start..];
        let from = self.searched.saturating_sub(self.delimiter.len()).min(body.len());
        self.searched = body.len();
        if self.delimiter.is_empty() {
            return find(&body[from..], END).map(|end| from + end + END.len());
        }
        let whole = find(&body[from..], &self.delimiter).map(|end| &body[..from + end]);
        let arrived = trim_line_ends(whole.unwrap_or(body));
        (whole.is_some() || arrived.ends_with(END)).then_some(arrived.len())
    }
}

fn trim_line_ends(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r' | b'\n'] = bytes {
        bytes = rest;
    }
    bytes
}

/// What the lines before a picture say of its length. The last one counts: others belong to parts that were no pictures.
fn content_length(head: &[u8]) -> Option<usize> {
    let head = String::from_utf8_lossy(&head[head.len().saturating_sub(MAX_HEAD)..]).to_ascii_lowercase();
    let value = head.lines().filter_map(|line| line.trim().strip_prefix("content-length:")).next_back()?;
    value.trim().parse().ok().filter(|length| *length > START.len())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const A: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 1, 0xff, 0xd9, 2, 0xff, 0xd9];
    const B: &[u8] = &[0xff, 0xd8, 0xff, 0xe1, 3, 3, 3, 0xff, 0xd9];

    fn parser(kind: &'static str) -> Parser {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        assert!(is_multipart(&headers));
        Parser::new(&headers)
    }

    /// What a stream gives, fed in steps.
    fn pictures(kind: &'static str, stream: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut parser = parser(kind);
        let mut found = Vec::new();
        for piece in stream.chunks(step) {
            parser.handle(piece);
            while let Some(picture) = parser.poll_picture().expect("the stream is sound") {
                found.push(picture.to_vec());
            }
        }
        found
    }

    #[test]
    fn pictures_are_found_however_the_stream_is_cut() {
        let with_length = [
            b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: 10\r\n\r\n",
            A,
            b"\r\n--x\r\nContent-length:9\r\nContent-Type: image/jpeg\r\n\r\n",
            B,
            b"\r\n",
        ]
        .concat();
        let kind = "multipart/x-mixed-replace; boundary=x";
        for step in 1..with_length.len() {
            assert_eq!(pictures(kind, &with_length, step), [A, B], "in steps of {step}");
        }
        // Without lengths, the delimiter ends a picture; so does what looks like an end when no more has come.
        let without = [b"--x\r\nContent-Type: image/jpeg\r\n\r\n", B, b"\r\n--x\r\n\r\n", B, b"\r\n--x--"].concat();
        for kind in ["multipart/x-mixed-replace;boundary=\"x\"", "multipart/x-mixed-replace;boundary=--x"] {
            for step in [1, 3, without.len()] {
                assert_eq!(pictures(kind, &without, step), [B, B], "{kind} in steps of {step}");
            }
        }
        assert_eq!(pictures("multipart/x-mixed-replace", &without, 5), [B, B], "no boundary is named");
    }

    #[test]
    fn endless_pictures_and_endless_heads_end() {
        let kind = "multipart/x-mixed-replace; boundary=x";
        let mut endless = parser(kind);
        endless.handle(&[b"--x\r\n\r\n", START].concat());
        let mut error = None;
        for _ in 0..100 {
            endless.handle(&[0; 100_000]);
            error = endless.poll_picture().err();
            if error.is_some() {
                break;
            }
        }
        assert!(matches!(error, Some(CameraError::TooLarge)), "{error:?}");
        assert!(endless.buffer.len() < MAX_PICTURE + 200_000);

        let mut announced = parser(kind);
        announced.handle(&[b"--x\r\nContent-Length: 52428800\r\n\r\n", START].concat());
        assert!(matches!(announced.poll_picture(), Err(CameraError::TooLarge)));

        let mut chatter = parser(kind);
        chatter.handle(&[b'a'; MAX_HEAD + 1]);
        assert!(matches!(chatter.poll_picture(), Err(CameraError::NoPicture)));
    }
}
