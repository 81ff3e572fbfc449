//! Looks at request heads as they were on the wire.
//!
//! hyper takes `Content-Length` away where `Transfer-Encoding` stands beside it, and merges repeated ones, so nothing
//! above can tell that a request had two ways of telling its length. Such a request is an attempt at smuggling
//! (RFC 9112 §6.3, §11.2) and must be refused, which takes a look at the bytes. So do bare line feeds, codings under
//! `chunked` and fragments, all of which hyper lets pass.

// A stranger's bytes are read here: what could panic, or cut a number, is done in another way (T50).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use bytes::{Buf, BytesMut};
use http::HeaderMap;
use memchr::memmem;

/// A head is at most this long; hyper refuses longer ones itself. The tunnel has room for what the relay adds.
pub(crate) const MAX_HEAD: usize = 64 * 1024;
/// Bytes kept of a visitor who sends on without waiting for responses.
pub const MAX_KEPT: usize = 4 * MAX_HEAD;

/// Follows one HTTP/1 connection.
#[derive(Debug)]
pub(crate) enum HeadGuard {
    /// Keeps what comes, from the start of a head on.
    Keeping(BytesMut),
    /// Lets the rest of a body pass first.
    Skipping(u64),
    /// No longer knows where heads begin. The connection must end with this request's response.
    Lost,
    /// Another protocol is spoken, in which there are no heads.
    Switched,
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadFault {
    /// Two ways of telling the body's length, or one of them twice.
    AmbiguousLength,
    /// A line that ends in LF alone, which other software may read differently (RFC 9112 §2.2).
    BareLineFeed,
    /// A coding besides `chunked`, or `chunked` twice. The printer would get the body with the other coding still on
    /// it, and no word of that (RFC 9112 §6.1).
    UnknownCoding,
    /// A target with a fragment, which hyper takes away (RFC 9112 §3.2).
    Fragment,
}

/// The head that a request came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadVerdict {
    pub(crate) fault: Option<HeadFault>,
    /// Whether what follows the request can still be told apart.
    pub(crate) can_continue: bool,
}

impl Default for HeadGuard {
    fn default() -> Self {
        Self::Keeping(BytesMut::new())
    }
}

impl HeadGuard {
    /// Whether the visitor has sent something, or is about to, that nobody has read as a request or its body.
    pub(crate) fn expects_more(&self) -> bool {
        match self {
            Self::Keeping(kept) => !kept.is_empty(),
            Self::Skipping(_) | Self::Lost => true,
            Self::Switched => false,
        }
    }

    /// Bytes were read from the visitor.
    pub(crate) fn handle_bytes(&mut self, mut bytes: &[u8]) {
        if let Self::Skipping(left) = self {
            let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            *left -= u64::try_from(skipped).unwrap_or(*left);
            bytes.advance(skipped);
            if *left > 0 {
                return;
            }
            *self = Self::default();
        }
        if let Self::Keeping(kept) = self {
            if kept.len() + bytes.len() > MAX_KEPT {
                *self = Self::Lost;
            } else {
                kept.extend_from_slice(bytes);
            }
        }
    }

    /// The next request was read; `headers` are what hyper made of its head.
    pub(crate) fn handle_request(&mut self, headers: &HeaderMap) -> HeadVerdict {
        let Self::Keeping(kept) = self else { return HeadVerdict { fault: None, can_continue: false } };
        // Empty lines before a request are allowed (RFC 9112 §2.2).
        let leading = kept.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        kept.advance(leading);
        let Some(length) = head_length(kept) else {
            *self = Self::Lost;
            return HeadVerdict { fault: None, can_continue: false };
        };
        let head = kept.split_to(length);
        let fault = fault_of(&head);
        if headers.contains_key(http::header::TRANSFER_ENCODING) {
            *self = Self::Lost;
            return HeadVerdict { fault, can_continue: false };
        }
        let body = headers
            .get(http::header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
            .unwrap_or(0);
        let here = usize::try_from(body).unwrap_or(usize::MAX).min(kept.len());
        kept.advance(here);
        let to_come = body.saturating_sub(u64::try_from(here).unwrap_or(body));
        if to_come > 0 {
            *self = Self::Skipping(to_come);
        } else if kept.is_empty() {
            *kept = BytesMut::new();
        }
        HeadVerdict { fault, can_continue: true }
    }
}

/// The length of the head that `bytes` begin with, the empty line included.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let strict = memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
    let lenient = [&b"\n\n"[..], &b"\n\r\n"[..]]
        .into_iter()
        .filter_map(|end| {
            memmem::find(strict.and_then(|length| bytes.get(..length)).unwrap_or(bytes), end).map(|at| at + end.len())
        })
        .min();
    lenient.or(strict)
}

fn fault_of(head: &[u8]) -> Option<HeadFault> {
    let mut lengths = 0;
    let mut codings = 0;
    let mut is_chunked = true;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        if !line.ends_with(b"\r\n") {
            return Some(HeadFault::BareLineFeed);
        }
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (halves.next(), halves.next().map(<[u8]>::trim_ascii)) else { continue };
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            codings += 1;
            is_chunked &= value.eq_ignore_ascii_case(b"chunked");
        }
    }
    // Methods may contain `#`, so it is looked for after the first space.
    let mut in_target = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    in_target.advance(memchr::memchr(b' ', in_target).unwrap_or(0));
    if lengths > 1 || (lengths == 1 && codings > 0) {
        Some(HeadFault::AmbiguousLength)
    } else if codings > 1 || !is_chunked {
        Some(HeadFault::UnknownCoding)
    } else if in_target.contains(&b'#') {
        Some(HeadFault::Fragment)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// What hyper would make of a head: enough for the guard.
    fn parsed(head: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in head.lines().skip(1).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').expect("test heads have colons");
            let name: http::HeaderName = name.trim().parse().expect("test names are valid");
            headers.insert(name, HeaderValue::from_str(value.trim()).expect("test values are valid"));
        }
        if headers.contains_key("transfer-encoding") {
            headers.remove("content-length");
        }
        headers
    }

    const ENDS: &[(&str, Option<HeadFault>)] = &[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Some(HeadFault::AmbiguousLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH: 5\r\n\r\n",
            Some(HeadFault::AmbiguousLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            Some(HeadFault::AmbiguousLength),
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\t Chunked \r\n\r\n", None),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Some(HeadFault::UnknownCoding)),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\nReferer: c#d\r\n\r\n", Some(HeadFault::Fragment)),
        ("GET /a HTTP/1.1\r\nHost: a\r\nReferer: c#d\r\n\r\n", None),
        ("A#B /a HTTP/1.1\r\nHost: a\r\n\r\n", None),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Some(HeadFault::BareLineFeed)),
        ("GET / HTTP/1.1\r\nHost: a\n\n", Some(HeadFault::BareLineFeed)),
    ];

    #[test]
    fn faults_are_found_however_the_bytes_arrive() {
        for (head, fault) in ENDS {
            for step in [1, 3, 1000] {
                let mut guard = HeadGuard::default();
                for bytes in head.as_bytes().chunks(step) {
                    guard.handle_bytes(bytes);
                }
                assert_eq!(guard.handle_request(&parsed(head)).fault, *fault, "{head:?} by {step}");
            }
        }
    }

    #[test]
    fn heads_are_found_behind_bodies_and_pipelined_requests() {
        let requests = [
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n",
            "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /3 HTTP/1.1\nHost: a\r\n\r\n",
        ];
        // The body looks like a head with a fault.
        let body = "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n   ";
        assert_eq!(body.len(), 60);
        let stream = format!("{}{body}{}\r\n{}", requests[0], requests[1], requests[2]);
        for step in 1..stream.len() {
            let mut guard = HeadGuard::default();
            let mut read = 0;
            let mut verdicts = Vec::new();
            let ends = [requests[0].len(), requests[0].len() + 60 + requests[1].len(), stream.len()];
            for (request, end) in requests.iter().zip(ends) {
                while read < end {
                    let next = (read + step).min(stream.len());
                    guard.handle_bytes(&stream.as_bytes()[read..next]);
                    read = next;
                }
                verdicts.push(guard.handle_request(&parsed(request)).fault);
            }
            assert_eq!(verdicts, [None, None, Some(HeadFault::BareLineFeed)], "by {step}");
        }
    }

    #[test]
    fn after_a_chunked_body_the_connection_must_end() {
        let mut guard = HeadGuard::default();
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        guard.handle_bytes(head.as_bytes());
        assert_eq!(guard.handle_request(&parsed(head)), HeadVerdict { fault: None, can_continue: false });
        guard.handle_bytes(&vec![0; 10 * MAX_KEPT]);
        assert!(matches!(guard, HeadGuard::Lost));
    }
}
