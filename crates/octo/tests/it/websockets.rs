//! WebSockets through the plugin.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request};
use octo::printer::{Deflater, PrinterEvent, close, message};
use octo::session::{EARLY_MESSAGES, EARLY_TIME, MessageKind, OpenError, SendError, StreamFault};
use octo::wire::{self, Compression, Message, ServerHost, StreamMessage, WebSocketKind};
use octo::{Event, RequestError, SessionOptions, StreamEnd, StreamId};

use crate::examples::{description, stream};
use crate::pair::{Pair, authority, dictionary_bytes, get};

fn open(pair: &mut Pair, request: &Request<()>, protocol: Option<&str>) -> Result<StreamId, OpenError> {
    let protocol = protocol.map(|protocol| HeaderValue::from_str(protocol).expect("valid"));
    let id = pair.session.open_websocket(request, &authority(), protocol.as_ref(), pair.now)?;
    pair.exchange();
    Ok(id)
}

fn opened(pair: &mut Pair) -> StreamId {
    let id = open(pair, &get("/websocket"), None).expect("it opens");
    pair.asked.clear();
    id
}

/// The messages that have come, each as a whole.
fn messages(pair: &mut Pair) -> Vec<(MessageKind, Vec<u8>)> {
    let mut messages = Vec::new();
    let mut parts = Vec::new();
    for event in pair.events.drain(..) {
        match event {
            Event::WebSocketData { kind, data, is_last, .. } => {
                parts.extend_from_slice(&data);
                if is_last {
                    messages.push((kind, std::mem::take(&mut parts)));
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(parts.is_empty());
    messages
}

fn end(pair: &mut Pair) -> Option<StreamEnd> {
    pair.events.drain(..).find_map(|event| match event {
        Event::End(_, end) => Some(end),
        _ => None,
    })
}

#[test]
fn openings_promise_one_protocol_and_carry_the_cookies() {
    let mut pair = Pair::open();
    let request = Request::get("/sockjs/websocket?t=1")
        .header("sec-websocket-protocol", "one, two")
        .header("cookie", "a=1")
        .header("x-api-key", "k")
        .body(())
        .expect("valid");
    open(&mut pair, &request, Some("one")).expect("it opens");
    let Some(PrinterEvent::WebSocket(_, context)) = pair.asked.pop() else { panic!("a WebSocket") };
    assert_eq!(context.path.as_deref(), Some("/sockjs/websocket?t=1"));
    let header = |name: &str| {
        let headers = context.headers.iter().flatten();
        headers
            .filter(|header| header.key.as_deref() == Some(name))
            .filter_map(|header| header.value.as_deref())
            .collect::<Vec<_>>()
    };
    assert_eq!(header("sec-websocket-protocol"), ["one"]);
    assert_eq!((header("cookie"), header("x-api-key")), (vec!["a=1"], vec!["k"]));
}

#[test]
fn openings_that_would_end_the_session_are_not_sent() {
    let refused = |error| Some(OpenError::Request(error));
    let mut pair = Pair::open();
    for path in
        ["/octoeverywhere-command-api/proxy/mqtt", "/octoeverywhere-command-api/x", "/OCTOEVERYWHERE-command-api/"]
    {
        assert_eq!(open(&mut pair, &get(path), None).err(), refused(RequestError::Command), "{path}");
    }
    let mut pair = Pair::accepted(ServerHost::Elegoo, SessionOptions::default());
    assert_eq!(open(&mut pair, &get("/"), None).err(), refused(RequestError::WebSocket));
    assert!(open(&mut pair, &get("/websocket"), None).is_ok());
}

#[test]
fn the_examples_become_messages() {
    let mut pair = Pair::open();
    for (names, kind) in [
        (&["ws_text"][..], MessageKind::Text),
        (&["ws_binary"], MessageKind::Binary),
        (&["ws_text_empty"], MessageKind::Text),
        (&["ws_text_zlib"], MessageKind::Text),
        (&["ws_text_zstd_1", "ws_text_zstd_2", "ws_text_zstd_3"], MessageKind::Text),
    ] {
        let id = opened(&mut pair);
        for name in names {
            let example = stream(name);
            let data = match description(name)["data_uncompressed_utf8"].as_str() {
                Some(text) => text.as_bytes().to_vec(),
                None => example.data.clone().unwrap_or_default().to_vec(),
            };
            pair.receive(&wire::encode(&Message::Stream(Box::new(StreamMessage { stream_id: id.get(), ..example }))));
            assert_eq!(messages(&mut pair), [(kind, data)], "{name}");
        }
    }
}

#[test]
fn messages_reach_the_printer_whole() {
    let mut pair = Pair::open();
    let id = opened(&mut pair);
    let large = Bytes::from(vec![9; 3 * 1024 * 1024]);
    for (kind, data) in [
        (MessageKind::Text, Bytes::from_static(b"hello")),
        (MessageKind::Binary, large),
        (MessageKind::Text, Bytes::new()),
    ] {
        pair.session.send_message(id, kind, data.clone()).expect("it is taken");
        pair.exchange();
        let expected = if kind == MessageKind::Text { WebSocketKind::Text } else { WebSocketKind::Binary };
        assert_eq!(pair.asked.pop(), Some(PrinterEvent::Message(id.get(), expected, data)));
    }
    pair.session.send_close_frame(id, 1001, &"é".repeat(100)).expect("it is taken");
    pair.exchange();
    let Some(PrinterEvent::Message(_, WebSocketKind::Close, body)) = pair.asked.pop() else { panic!("a close frame") };
    assert_eq!((&body[..2], body.len()), (&1001_u16.to_be_bytes()[..], 124));
    assert!(std::str::from_utf8(&body[2..]).is_ok());
}

#[test]
fn a_burst_waits_until_the_printer_must_have_accepted() {
    // As time passes, or as soon as the printer says something.
    for answers in [false, true] {
        let mut pair = Pair::open();
        let id = opened(&mut pair);
        let send = |pair: &mut Pair| pair.session.send_message(id, MessageKind::Text, Bytes::from_static(b"x"));
        for _ in 0..EARLY_MESSAGES {
            send(&mut pair).expect("it is taken");
        }
        assert_eq!(send(&mut pair), Err(SendError::NotYet));
        assert_eq!(pair.session.send_close_frame(id, 1000, ""), Err(SendError::NotYet));
        pair.wait(EARLY_TIME - Duration::from_millis(1));
        assert!(pair.events.is_empty());
        if answers {
            let text = message(id.get(), WebSocketKind::Text, b"hi", Compression::None, &mut Deflater::default());
            pair.receive(&text);
        } else {
            pair.wait(Duration::from_millis(1));
        }
        assert!(matches!(pair.events.first(), Some(Event::Writable(stream)) if *stream == id), "{:?}", pair.events);
        for _ in 0..2 * EARLY_MESSAGES {
            send(&mut pair).expect("it is taken");
        }
        pair.events.clear();
        pair.wait(EARLY_TIME);
        assert!(pair.events.is_empty(), "it is said once");
    }
}

#[test]
fn a_websocket_that_never_opened_is_no_closed_one() {
    let text =
        |id: StreamId| message(id.get(), WebSocketKind::Text, b"hi", Compression::None, &mut Deflater::default());
    let mut pair = Pair::open();
    let id = opened(&mut pair);
    pair.receive(&close(id.get(), true));
    assert_eq!(end(&mut pair), Some(StreamEnd::TargetUnreachable));

    let id = opened(&mut pair);
    pair.wait(Duration::from_millis(4999));
    pair.receive(&close(id.get(), false));
    assert_eq!(end(&mut pair), Some(StreamEnd::TargetUnreachable), "it was closed soon, and said nothing");

    let id = opened(&mut pair);
    pair.wait(Duration::from_secs(5));
    pair.receive(&close(id.get(), false));
    assert_eq!(end(&mut pair), Some(StreamEnd::Complete), "it was quiet for a while");

    let id = opened(&mut pair);
    pair.receive(&text(id));
    pair.receive(&close(id.get(), false));
    assert_eq!(end(&mut pair), Some(StreamEnd::Complete), "it has spoken");
    assert!(pair.asked.is_empty(), "a close is not answered");
}

#[test]
fn wrong_kinds_and_payloads_end_the_websocket_alone() {
    let mut pair = Pair::open();
    for kind in [WebSocketKind::None, WebSocketKind::Close, WebSocketKind::Unknown(5)] {
        let id = opened(&mut pair);
        pair.receive(&message(id.get(), kind, b"x", Compression::None, &mut Deflater::default()));
        assert_eq!(end(&mut pair), Some(StreamEnd::Fault(StreamFault::WebSocketKind(kind))));
        assert!(matches!(pair.asked.pop(), Some(PrinterEvent::Closed(_))));
    }
    let id = opened(&mut pair);
    // One that missed a message of the frame is out of step.
    let mut deflater = Deflater::new(&dictionary_bytes());
    deflater.message(&b"missed ".repeat(40), Compression::Zstandard);
    pair.receive(&message(id.get(), WebSocketKind::Text, &[b'x'; 300], Compression::Zstandard, &mut deflater));
    assert!(matches!(end(&mut pair), Some(StreamEnd::Fault(StreamFault::Inflate(_)))));
}

#[test]
fn long_compressed_messages_come_in_pieces_of_one_message() {
    let mut pair = Pair::open();
    let id = opened(&mut pair);
    let data: Vec<u8> = (0..2 * octo::inflate::PIECE).map(|n| (n / 1000) as u8).collect();
    let mut deflater = Deflater::new(&dictionary_bytes());
    for _ in 0..3 {
        pair.receive(&message(id.get(), WebSocketKind::Binary, &data, Compression::Zstandard, &mut deflater));
        assert_eq!(messages(&mut pair), [(MessageKind::Binary, data.clone())]);
    }
}
