//! Following the heads of an HTTP/1 connection, compared with another parser of HTTP.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use relay::fuzzing::HeadGuard;

use crate::input::{pieces, split_choice};

/// As the edge allows.
const MAX_HEADERS: usize = 100;

/// A byte for how the bytes arrive, then all that a visitor sends.
pub fn check(data: &[u8]) {
    let (seed, stream) = split_choice(data);
    let mut arriving = pieces(stream, seed).into_iter();
    let mut guard = HeadGuard::default();
    let (mut arrived, mut start) = (0, 0);
    while let Some(head) = Head::read(&stream[start..]) {
        // The server has to have read the head; it may have read more.
        while arrived < start + head.length {
            let Some(piece) = arriving.next() else { panic!("the pieces are the whole stream") };
            guard.handle_bytes(piece);
            arrived += piece.len();
        }
        let verdict = guard.handle_request(&head.headers);
        assert_eq!(verdict.bare_line_feed, head.has_bare_line_feed, "{head:?}");
        if head.has_bare_line_feed {
            return;
        }
        assert_eq!(verdict.ambiguous_length, head.lengths > 1 || (head.lengths == 1 && head.is_chunked), "{head:?}");
        let others = (verdict.unknown_coding, verdict.fragment);
        let is_unknown = !verdict.ambiguous_length && head.has_unknown_coding;
        let has_fragment = !verdict.ambiguous_length && !is_unknown && head.has_fragment;
        assert_eq!(others, (is_unknown, has_fragment), "{head:?}");
        assert_eq!(verdict.can_continue, !head.is_chunked, "{head:?}");
        if verdict.ambiguous_length || others != (false, false) || !verdict.can_continue {
            return;
        }
        let Some(next) = usize::try_from(head.body).ok().and_then(|body| (start + head.length).checked_add(body))
        else {
            return;
        };
        if next > stream.len() {
            return;
        }
        start = next;
    }
}

/// A request's head as a server sees it.
#[derive(Debug)]
struct Head {
    length: usize,
    /// What the server makes of it: no length beside chunks, and one of several equal ones.
    headers: HeaderMap,
    lengths: usize,
    is_chunked: bool,
    has_unknown_coding: bool,
    has_fragment: bool,
    body: u64,
    has_bare_line_feed: bool,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut room = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut room);
        let Ok(httparse::Status::Complete(length)) = request.parse(bytes) else { return None };
        let leading = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let head = &bytes[leading..length];
        let has_bare_line_feed =
            head.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r'));
        let mut headers = HeaderMap::new();
        let (mut lengths, mut is_chunked, mut has_unknown_coding) = (0, false, false);
        let mut body = None;
        for field in request.headers.iter() {
            let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value))
            else {
                return None;
            };
            if name == header::TRANSFER_ENCODING {
                has_unknown_coding |= is_chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked");
                is_chunked = true;
            } else if name == header::CONTENT_LENGTH {
                lengths += 1;
                let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
                let length: u64 = text.parse().ok()?;
                // Servers refuse those that differ by themselves.
                if body.is_some_and(|other| other != length) {
                    return None;
                }
                if body.replace(length).is_some() {
                    continue;
                }
            }
            headers.append(name, value);
        }
        if is_chunked {
            headers.remove(header::CONTENT_LENGTH);
        }
        let has_fragment = request.path.is_some_and(|path| path.contains('#'));
        let body = body.unwrap_or(0);
        Some(Self { length, headers, lengths, is_chunked, has_unknown_coding, has_fragment, body, has_bare_line_feed })
    }
}
