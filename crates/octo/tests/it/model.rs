//! Bodies in any pieces, streams in any order, and any mix of compression, against what simple counting says.

use bytes::Bytes;
use http::Method;
use octo::printer::{Answer, AnswerEnd, Deflater, close, message};
use octo::session::{MessageKind, StreamFault};
use octo::wire::{Compression, WebSocketKind};
use octo::{Event, StreamEnd, StreamId};
use proptest::prelude::*;

use crate::pair::{Pair, authority, dictionary_bytes, get};

#[derive(Clone, Debug)]
enum Script {
    Http { answer: Answer, is_head: bool },
    WebSocket { messages: Vec<(bool, Vec<u8>, Compression)>, is_closed: bool },
}

/// What a visitor gets in the end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    status: Option<u16>,
    body: Vec<u8>,
    messages: Vec<(MessageKind, Vec<u8>)>,
    end: Option<StreamEnd>,
}

fn compression() -> impl Strategy<Value = Compression> {
    prop::sample::select(&[Compression::None, Compression::Zlib, Compression::Zstandard])
}

/// What compresses well, and what does not.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        (any::<u8>(), 0usize..700_000).prop_map(|(byte, length)| vec![byte; length]),
        ("[a-z ]{1,40}", 1usize..300).prop_map(|(text, times)| text.repeat(times).into_bytes()),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    let ends = prop::sample::select(&[
        AnswerEnd::WithLastPiece,
        AnswerEnd::Empty,
        AnswerEnd::EmptyFlagged,
        AnswerEnd::Closed,
        AnswerEnd::Never,
    ]);
    let announced = prop_oneof![Just(None), (-2i64..3).prop_map(Some)];
    let pieces = prop::collection::vec((payload(), compression()), 0..5);
    let status = prop::sample::select(&[200u16, 206, 204, 304, 404, 599]);
    let http = (status, pieces, announced, any::<bool>(), ends, prop::bool::weighted(0.1)).prop_map(
        |(status, pieces, announced, head_first, end, is_head)| {
            let mut answer = Answer { pieces, head_first, end, ..Answer::new(status, &[("x", "y")], b"") };
            let length = i64::try_from(answer.body().len()).expect("tests are small");
            answer.announced = announced.and_then(|wrong: i64| u64::try_from(length + wrong).ok());
            Script::Http { answer, is_head }
        },
    );
    let messages = prop::collection::vec((any::<bool>(), payload(), compression()), 0..6);
    let websocket =
        (messages, any::<bool>()).prop_map(|(messages, is_closed)| Script::WebSocket { messages, is_closed });
    prop_oneof![2 => http, 1 => websocket]
}

/// Counting alone.
fn expected(script: &Script) -> Seen {
    match script {
        Script::Http { answer, is_head } => {
            let has_body = !is_head && !matches!(answer.status, 204 | 304);
            let mut seen = Seen { status: Some(answer.status), ..Seen::default() };
            for (index, (piece, _)) in answer.pieces.iter().enumerate().filter(|_| has_body) {
                let total = (seen.body.len() + piece.len()) as u64;
                if answer.announced.is_some_and(|announced| total > announced) {
                    // A head that its own message belies is not passed on, so that there can be an error instead.
                    seen.status = seen.status.filter(|_| index > 0 || answer.head_first);
                    seen.end = Some(StreamEnd::Fault(StreamFault::TooLong));
                    return seen;
                }
                seen.body.extend_from_slice(piece);
            }
            let is_whole = match answer.announced.filter(|_| has_body) {
                Some(announced) => seen.body.len() as u64 == announced,
                None => answer.end != AnswerEnd::Closed || !has_body,
            };
            let end = if is_whole { StreamEnd::Complete } else { StreamEnd::BrokeOff };
            seen.end = (answer.end != AnswerEnd::Never).then_some(end);
            seen
        }
        Script::WebSocket { messages, is_closed } => {
            let kind = |text: bool| if text { MessageKind::Text } else { MessageKind::Binary };
            let end = if messages.is_empty() { StreamEnd::TargetUnreachable } else { StreamEnd::Complete };
            Seen {
                messages: messages.iter().map(|(text, data, _)| (kind(*text), data.clone())).collect(),
                end: is_closed.then_some(end),
                ..Seen::default()
            }
        }
    }
}

fn open(pair: &mut Pair, script: &Script) -> StreamId {
    match script {
        Script::Http { is_head, .. } => {
            let mut request = get("/");
            if *is_head {
                *request.method_mut() = Method::HEAD;
            }
            pair.request(&request).0
        }
        Script::WebSocket { .. } => {
            pair.session.open_websocket(&get("/ws"), &authority(), None, pair.now).expect("it can be sent")
        }
    }
}

fn messages(script: &Script, id: StreamId) -> Vec<Bytes> {
    match script {
        Script::Http { answer, .. } => answer.messages(id.get(), &dictionary_bytes()),
        Script::WebSocket { messages, is_closed } => {
            let mut deflater = Deflater::new(&dictionary_bytes());
            let mut sent: Vec<Bytes> = messages
                .iter()
                .map(|(text, data, compression)| {
                    let kind = if *text { WebSocketKind::Text } else { WebSocketKind::Binary };
                    message(id.get(), kind, data, *compression, &mut deflater)
                })
                .collect();
            sent.extend(is_closed.then(|| close(id.get(), false)));
            sent
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn visitors_get_what_the_printer_sent(
        scripts in prop::collection::vec(script(), 1..6),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        are_taken_at_once: bool,
    ) {
        let mut pair = Pair::open();
        let ids: Vec<StreamId> = scripts.iter().map(|script| open(&mut pair, script)).collect();
        let mut queues: Vec<Vec<Bytes>> =
            scripts.iter().zip(&ids).map(|(script, id)| messages(script, *id)).collect();
        queues.iter_mut().for_each(|queue| queue.reverse());
        // In the order drawn, then what is left, one after the other.
        let order = order.into_iter().map(|index| index.index(ids.len())).chain((0..ids.len()).cycle());
        for index in order {
            if queues.iter().all(Vec::is_empty) {
                break;
            }
            if let Some(message) = queues[index].pop() {
                pair.session.handle_message(&message, pair.now).expect("the session goes on");
                if are_taken_at_once {
                    pair.exchange();
                }
            }
        }
        pair.exchange();
        let mut seen: Vec<Seen> = ids.iter().map(|_| Seen::default()).collect();
        let mut parts: Vec<Vec<u8>> = ids.iter().map(|_| Vec::new()).collect();
        let index_of = |id: StreamId| ids.iter().position(|other| *other == id).expect("streams are known");
        for event in pair.events.drain(..) {
            match event {
                Event::Head(id, head) => seen[index_of(id)].status = Some(head.response.status().as_u16()),
                Event::Data(id, data) => seen[index_of(id)].body.extend_from_slice(&data),
                Event::End(id, end) => seen[index_of(id)].end = Some(end),
                Event::WebSocketData { stream, kind, data, is_last } => {
                    let index = index_of(stream);
                    parts[index].extend_from_slice(&data);
                    if is_last {
                        let message = std::mem::take(&mut parts[index]);
                        seen[index].messages.push((kind, message));
                    }
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        for (script, seen) in scripts.iter().zip(seen) {
            let expected = expected(script);
            prop_assert_eq!(seen.body.len(), expected.body.len());
            prop_assert_eq!(seen, expected);
        }
    }
}
