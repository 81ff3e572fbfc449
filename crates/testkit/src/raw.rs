//! HTTP/1.1 as bytes: what no well-behaved client would send, and what exactly came back.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::client::connect_raw;
use crate::wait::LIMIT;

/// Header lines of a response that a test reads.
const MAX_HEADERS: usize = 100;

/// A response as it was on the wire.
#[derive(Clone, Debug)]
pub struct RawResponse {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as far as it came.
    pub body: Vec<u8>,
    /// Whether the body is whole by the response's own measure.
    pub is_whole: bool,
}

/// All that one connection had to say.
#[derive(Clone, Debug)]
pub struct RawDialogue {
    /// The final responses, in order; interim ones (1xx, but not 101) are left out.
    pub responses: Vec<RawResponse>,
    /// Bytes after the last response, or that are none.
    pub rest: Vec<u8>,
}

impl RawDialogue {
    /// The statuses, in order.
    pub fn statuses(&self) -> Vec<u16> {
        self.responses.iter().map(|response| response.status).collect()
    }
}

/// Sends `bytes` on a new connection and reads until the other side closes it, which must happen.
pub async fn raw_dialogue(address: SocketAddr, bytes: &[u8]) -> RawDialogue {
    dialogue(address, bytes, false).await
}

/// The same for bytes that are no whole request: after them, the end of the sending side follows.
pub async fn raw_dialogue_cut_short(address: SocketAddr, bytes: &[u8]) -> RawDialogue {
    dialogue(address, bytes, true).await
}

async fn dialogue(address: SocketAddr, bytes: &[u8], cut_short: bool) -> RawDialogue {
    let (mut reader, mut writer) = connect_raw(address).await.into_split();
    let sending = async {
        // The other side may refuse, and close, before it has read everything.
        let _ = writer.write_all(bytes).await;
        if cut_short {
            let _ = writer.shutdown().await;
        }
    };
    let (received, ()) = tokio::join!(read_to_close(&mut reader), sending);
    parse_responses(&received)
}

/// Reads until the other side closes, with or without a reset.
pub async fn read_to_close<R: AsyncRead + Unpin>(reader: &mut R) -> Vec<u8> {
    let mut received = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = reader.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..length]);
        }
    };
    let closed = tokio::time::timeout(LIMIT, reading).await.is_ok();
    assert!(closed, "the connection stays open; it said: {}", received.escape_ascii());
    received
}

/// Cuts what a connection said into responses. None of them may be the answer to a HEAD request.
pub fn parse_responses(mut bytes: &[u8]) -> RawDialogue {
    let mut responses = Vec::new();
    while let Some((response, length)) = parse_response(bytes) {
        bytes = &bytes[length..];
        let switched = response.status == 101;
        if response.status >= 200 || switched {
            responses.push(response);
        }
        if switched {
            break;
        }
    }
    RawDialogue { responses, rest: bytes.to_vec() }
}

fn parse_response(bytes: &[u8]) -> Option<(RawResponse, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head_length)) = head.parse(bytes) else { return None };
    let status = head.code.unwrap();
    let headers: HeaderMap = head
        .headers
        .iter()
        .map(|header| {
            let name: HeaderName = header.name.parse().unwrap();
            (name, HeaderValue::from_bytes(header.value).unwrap())
        })
        .collect();
    let body = &bytes[head_length..];
    let (body, is_whole, body_length) = if status < 200 || matches!(status, 204 | 304) {
        (Vec::new(), true, 0)
    } else if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        parse_chunks(body)
    } else if let Some(length) = headers.get("content-length") {
        let length: usize = length.to_str().unwrap().parse().unwrap();
        let here = length.min(body.len());
        (body[..here].to_vec(), here == length, here)
    } else {
        (body.to_vec(), true, body.len())
    };
    Some((RawResponse { status, headers, body, is_whole }, head_length + body_length))
}

fn parse_chunks(bytes: &[u8]) -> (Vec<u8>, bool, usize) {
    let mut body = Vec::new();
    let mut at = 0;
    while let Ok(httparse::Status::Complete((line, length))) = httparse::parse_chunk_size(&bytes[at..]) {
        at += line;
        if length == 0 {
            // Trailers, and the empty line after them.
            return match bytes[at..].windows(2).position(|end| end == b"\r\n") {
                Some(0) => (body, true, at + 2),
                _ => match bytes[at..].windows(4).position(|end| end == b"\r\n\r\n") {
                    Some(end) => (body, true, at + end + 4),
                    None => (body, false, bytes.len()),
                },
            };
        }
        let length = usize::try_from(length).unwrap();
        let Some(chunk) = bytes.get(at..at + length + 2) else {
            body.extend_from_slice(&bytes[at..bytes.len().min(at + length)]);
            return (body, false, bytes.len());
        };
        body.extend_from_slice(&chunk[..length]);
        at += length + 2;
    }
    (body, false, bytes.len())
}
