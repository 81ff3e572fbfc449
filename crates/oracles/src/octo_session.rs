//! A session with the existing plugin: what it says, what visitors want, and time, in any order.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Request, Uri};
use model::Secret;
use octo::printer::{Answer, AnswerEnd, Deflater, Printer, close, message};
use octo::session::{BodyLength, MessageKind, SendError};
use octo::wire::{Compression, ServerHost, WebSocketKind};
use octo::{Acceptance, ChallengeAnswer, Event, Session, SessionOptions, StreamId};

use crate::input::{headers, split_choice, split_line};
use crate::octo_decompress::dictionary;

const ANSWER: [u8; 64] = [b'a'; 64];
/// Streams at once; few, so that they meet.
const MAX_STREAMS: usize = 5;
/// Bytes before each step: what it is, which stream, and how long.
const HEAD: usize = 3;

fn acceptance() -> Acceptance {
    let Some(answer) = ChallengeAnswer::from_plaintext(&ANSWER) else { panic!("it is one") };
    Acceptance { answer, octokey: Secret::new("octokey"), accounts: Vec::new() }
}

/// A session whose plugin was accepted.
pub(crate) fn accepted_session(now: Instant) -> Session {
    accepted(ServerHost::OctoPrint, now).0
}

fn accepted(host: ServerHost, now: Instant) -> (Session, Printer) {
    let answer = String::from_utf8_lossy(&ANSWER).into_owned();
    let mut printer = Printer::new(host, &answer);
    let options = SessionOptions { dictionary: dictionary(), max_streams: MAX_STREAMS, ..SessionOptions::default() };
    let mut session = Session::new(options, now);
    let (id, key) = ("A".repeat(60), "a".repeat(80));
    let introduction = printer.introduction(&id, &key, &[1; 512], Compression::Zstandard);
    assert!(session.handle_message(&introduction, now).is_ok());
    assert!(matches!(session.poll_event(), Some(Event::Introduced(_))));
    session.accept(acceptance());
    while let Some(message) = session.poll_transmit() {
        assert!(printer.handle_message(&message).is_ok());
    }
    (session, printer)
}

/// What has been seen of a stream.
#[derive(Default)]
struct Seen {
    is_websocket: bool,
    has_head: bool,
    announced: Option<u64>,
    received: u64,
    is_over: bool,
}

/// A byte for the flavour, then steps.
pub fn check(data: &[u8]) {
    let (flavour, mut rest) = split_choice(data);
    let start = Instant::now();
    let mut now = start;
    let (mut session, mut printer) = accepted(ServerHost::from(i8::try_from(flavour % 8).unwrap_or(0)), now);
    let mut streams: Vec<StreamId> = Vec::new();
    let mut seen: HashMap<StreamId, Seen> = HashMap::new();
    let mut deflaters: HashMap<StreamId, Deflater> = HashMap::new();
    while let Some((head, after)) = rest.split_at_checked(HEAD) {
        let (step, stream) = (head[0], streams.get(usize::from(head[1])).copied());
        let (payload, after) = after.split_at(usize::from(head[2]).min(after.len()));
        rest = after;
        let opened = match (step % 11, stream) {
            (0, _) => open(&mut session, payload, None),
            (1, _) => open(&mut session, payload, Some(now)),
            (2, Some(id)) => {
                // A body of the wrong length ends its stream, and whoever sent it knows.
                if send(&mut session, id, payload) == Err(SendError::Length) {
                    seen.entry(id).or_default().is_over = true;
                }
                None
            }
            (3, Some(id)) => {
                session.close(id);
                seen.entry(id).or_default().is_over = true;
                None
            }
            (4, _) => {
                now += Duration::from_millis(u64::from(head[1]) * 40);
                if session.poll_timeout().is_some_and(|at| at <= now) && session.handle_timeout(now).is_err() {
                    assert!(session.poll_timeout().is_none());
                }
                None
            }
            (kind, id) => {
                for message in said(kind, id, step, payload, &mut deflaters) {
                    if session.handle_message(&message, now).is_err() {
                        assert_eq!(session.open_streams(), 0);
                    }
                }
                None
            }
        };
        if let Some((id, is_websocket)) = opened {
            assert!(seen.get(&id).is_none_or(|seen| seen.is_over), "an id is used twice");
            seen.insert(id, Seen { is_websocket, ..Seen::default() });
            streams.push(id);
        }
        assert!(session.open_streams() <= MAX_STREAMS);
        while let Some(event) = session.poll_event() {
            note(&mut seen, event);
        }
        while let Some(message) = session.poll_transmit() {
            if let Err(reset) = printer.handle_message(&message) {
                panic!("the plugin drops its session: {reset:?}");
            }
        }
    }
    assert_eq!(seen.values().filter(|seen| !seen.is_over).count(), session.open_streams());
    session.handle_disconnect();
    while let Some(event) = session.poll_event() {
        note(&mut seen, event);
    }
    assert!(seen.values().all(|seen| seen.is_over), "a stream outlives its session");
}

/// A line with method, length of the body, and target, then header lines.
fn open(session: &mut Session, payload: &[u8], websocket_at: Option<Instant>) -> Option<(StreamId, bool)> {
    let (line, rest) = split_line(payload);
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let mut request = Request::new(());
    *request.method_mut() = words.next()?.parse().ok()?;
    let length = words.next()?.parse().map_or(BodyLength::Unknown, BodyLength::Known);
    *request.uri_mut() = words.next()?.parse::<Uri>().ok()?;
    *request.headers_mut() = headers(rest);
    let authority = Authority::from_static("app-x.printers.example");
    match websocket_at {
        None => session.open_http(&request, &authority, length).ok().map(|id| (id, false)),
        Some(now) => {
            let protocol = request.headers().get("sec-websocket-protocol").cloned();
            let protocol: Option<&HeaderValue> = protocol.as_ref();
            session.open_websocket(&request, &authority, protocol, now).ok().map(|id| (id, true))
        }
    }
}

fn send(session: &mut Session, id: StreamId, payload: &[u8]) -> Result<(), SendError> {
    let (choice, data) = split_choice(payload);
    let data = Bytes::copy_from_slice(data);
    match choice % 5 {
        0 => session.send_body(id, data),
        1 => session.finish_body(id),
        2 => session.send_message(id, MessageKind::Text, data),
        3 => session.send_message(id, MessageKind::Binary, data),
        _ => session.send_close_frame(id, u16::from(choice) * 20, &String::from_utf8_lossy(&data)),
    }
}

/// What the plugin says, well-formed or not.
fn said(
    kind: u8,
    id: Option<StreamId>,
    step: u8,
    payload: &[u8],
    deflaters: &mut HashMap<StreamId, Deflater>,
) -> Vec<Bytes> {
    let compression = match step / 11 % 3 {
        0 => Compression::None,
        1 => Compression::Zlib,
        _ => Compression::Zstandard,
    };
    let number = id.map_or(0, StreamId::get);
    match kind {
        5 => {
            let (choice, body) = split_choice(payload);
            let mut answer = Answer::new(200 + 50 * u16::from(choice & 7), &[], body);
            answer.pieces = body.chunks(16).map(|piece| (piece.to_vec(), compression)).collect();
            answer.announced = (choice & 8 == 0).then_some(body.len() as u64 + u64::from(choice >> 6));
            answer.head_first = choice & 16 == 0;
            answer.end = if choice & 32 == 0 { AnswerEnd::EmptyFlagged } else { AnswerEnd::Never };
            answer.messages(number, &[])
        }
        6 => {
            let deflater = id.map(|id| deflaters.entry(id).or_default());
            deflater
                .map(|deflater| message(number, WebSocketKind::Text, payload, compression, deflater))
                .into_iter()
                .collect()
        }
        7 => vec![close(number, step & 1 == 1)],
        8 => vec![Bytes::copy_from_slice(payload)],
        _ => {
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            vec![Bytes::from([&length.to_le_bytes(), payload].concat())]
        }
    }
}

fn note(seen: &mut HashMap<StreamId, Seen>, event: Event) {
    let (Event::Head(id, _)
    | Event::Data(id, _)
    | Event::WebSocketData { stream: id, .. }
    | Event::Writable(id)
    | Event::End(id, _)) = event
    else {
        panic!("nobody introduces himself twice");
    };
    let Some(stream) = seen.get_mut(&id) else { panic!("nobody opened {id:?}") };
    assert!(!stream.is_over, "something comes after the end: {event:?}");
    match event {
        Event::Head(_, head) => {
            assert!(!stream.is_websocket && !std::mem::replace(&mut stream.has_head, true));
            stream.announced = head.length;
        }
        Event::Data(_, data) => {
            assert!(stream.has_head && !data.is_empty());
            stream.received += data.len() as u64;
            assert!(stream.announced.is_none_or(|announced| stream.received <= announced), "more than announced");
        }
        Event::WebSocketData { .. } | Event::Writable(_) => assert!(stream.is_websocket),
        Event::End(..) => stream.is_over = true,
        Event::Introduced(_) => {}
    }
}
