//! A response as the existing plugin describes it, up to the bytes of HTTP that a visitor reads.

use std::time::Instant;

use http::uri::Authority;
use http::{HeaderMap, Request};
use octo::printer::{Answer, AnswerEnd};
use octo::session::BodyLength;
use octo::{Event, StreamEnd};
use url::Url;

use crate::input::{assert_reads_back, split_choice, split_line, values};
use crate::octo_session::accepted_session;

const HOST: &str = "app-x.printers.example";
/// These belong to the plugin's own connection, or contradict the length that the tunnel knows.
const NOT_PASSED: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "x-og-location",
];

/// A byte for the method and for what is wrong with the announced length, a line with the status, then header lines.
/// After an empty line, the body.
pub fn check(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let (status, rest) = split_line(rest);
    let status = String::from_utf8_lossy(status).trim().parse().unwrap_or(0);
    let end = rest.windows(2).position(|pair| pair == b"\n\n").unwrap_or(rest.len());
    let (head, body) = (&rest[..end], rest.get(end + 2..).unwrap_or_default());
    let mut answer = Answer::new(status, &[], body);
    answer.headers = head.split(|byte| *byte == b'\n').filter_map(header).collect();
    answer.announced = match choice >> 1 & 3 {
        0 => None,
        1 => Some(body.len() as u64 + 1),
        2 => (body.len() as u64).checked_sub(1),
        _ => Some(body.len() as u64),
    };
    answer.end = if choice & 8 == 0 { AnswerEnd::WithLastPiece } else { AnswerEnd::Empty };
    let is_head = choice & 1 == 1;

    let now = Instant::now();
    let mut session = accepted_session(now);
    let mut request = Request::new(());
    if is_head {
        *request.method_mut() = http::Method::HEAD;
    }
    let authority = Authority::from_static(HOST);
    let Ok(id) = session.open_http(&request, &authority, BodyLength::Known(0)) else { panic!("it can be sent") };
    for message in answer.messages(id.get(), &[]) {
        assert!(session.handle_message(&message, now).is_ok(), "a stream's faults are its own");
    }
    let (mut head, mut received, mut ended) = (None, Vec::new(), None);
    while let Some(event) = session.poll_event() {
        match event {
            Event::Head(_, response) => head = Some(response),
            Event::Data(_, data) => received.extend_from_slice(&data),
            Event::End(_, end) => ended = Some(end),
            other => panic!("{other:?}"),
        }
    }
    let Some(ended) = ended else { panic!("nothing ends") };
    let Some(head) = head else { return assert!(matches!(ended, StreamEnd::Fault(_)), "{ended:?}") };
    let status = head.response.status().as_u16();
    assert_eq!(status, answer.status);
    assert!((200..=599).contains(&status));
    assert_eq!(head.length, answer.announced);
    let has_body = !is_head && status != 204 && status != 304;
    if ended == StreamEnd::Complete && has_body {
        assert_eq!(received, body);
        assert!(head.length.is_none_or(|length| length == body.len() as u64), "a broken body passes for whole");
    } else {
        assert!(received.len() as u64 <= head.length.unwrap_or(u64::MAX));
        assert!(has_body || received.is_empty());
    }
    check_headers(&answer, head.response.headers());
    assert_reads_back(&format!("HTTP/1.1 {status} X"), head.response.headers(), true);
}

fn header(line: &[u8]) -> Option<(String, String)> {
    let line = String::from_utf8_lossy(line);
    // The plugin may write what no line of HTTP has.
    let line = line.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0");
    line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn check_headers(answer: &Answer, headers: &HeaderMap) {
    for name in headers.keys() {
        assert!(!NOT_PASSED.contains(&name.as_str()), "{name} travels on");
    }
    let sent = |wanted: &str| {
        let named = answer.headers.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
        named.map(|(_, value)| latin1(value)).collect::<Vec<_>>()
    };
    for name in headers.keys().map(|name| name.as_str()).filter(|name| *name != "location" && *name != "set-cookie") {
        let expected: Vec<Vec<u8>> = sent(name).into_iter().map(|value| trim(&value).to_vec()).collect();
        assert_eq!(values(headers, name), expected, "{name}");
    }
    // Nothing but the separators is lost where cookies are taken apart.
    let folded = |cookies: Vec<&[u8]>| {
        let all = cookies.join(&b", "[..]);
        all.into_iter().filter(|byte| !b" \t".contains(byte)).collect::<Vec<_>>()
    };
    let sent_cookies = sent("set-cookie");
    assert_eq!(folded(values(headers, "set-cookie")), folded(sent_cookies.iter().map(Vec::as_slice).collect()));
    check_location(&sent("x-og-location"), headers);
}

fn trim(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| b" \t".contains(byte);
    let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// As the plugin's library makes bytes of text.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(u8::try_from).collect::<Result<_, _>>().unwrap_or_else(|_| text.as_bytes().to_vec())
}

/// A browser must get to where the printer meant, but for the host if that is the printer's own.
fn check_location(original: &[Vec<u8>], headers: &HeaderMap) {
    let [original] = original else { return };
    let Some(said) = values(headers, "location").first().copied() else { panic!("the redirect is lost") };
    let original = original.trim_ascii();
    if said == original {
        return;
    }
    let Ok(page) = Url::parse(&format!("https://{HOST}/somewhere/deep")) else { panic!("the URL is valid") };
    let resolve = |location: &[u8]| std::str::from_utf8(location).ok().and_then(|location| page.join(location).ok());
    let (Some(meant), Some(said)) = (resolve(original), resolve(said)) else { return };
    assert_eq!(said.origin(), page.origin(), "{meant} became {said}");
    let host = meant.host_str().unwrap_or_default();
    let is_own = [HOST, "localhost", "192.0.2.17", "[::1]"].contains(&host) || host.starts_with("127.");
    assert!(is_own, "{meant} became {said}");
    assert_eq!(said[url::Position::BeforePath..], meant[url::Position::BeforePath..], "{meant} became {said}");
}
