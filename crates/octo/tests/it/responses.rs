//! What a visitor gets of a printer's response.

use bytes::Bytes;
use http::Method;
use octo::printer::{Answer, AnswerEnd, PrinterEvent, close};
use octo::session::StreamFault;
use octo::wire::{self, Compression, Message, StreamMessage};
use octo::{InflateError, ResponseError, StreamEnd};

use crate::examples::{description, example, stream};
use crate::pair::{Pair, Seen, dictionary_bytes, get};

/// An example as if it answered the request of a visitor just now.
fn replay(pair: &mut Pair, names: &[&str]) -> Seen {
    let (id, _) = pair.request(&get("/"));
    for name in names {
        let message = StreamMessage { stream_id: id.get(), ..stream(name) };
        pair.receive(&wire::encode(&Message::Stream(Box::new(message))));
    }
    pair.seen(id)
}

#[test]
fn the_examples_become_responses() {
    let mut pair = Pair::open();
    let single = replay(&mut pair, &["http_response_single"]);
    assert_eq!((single.status(), single.length(), &single.body[..]), (200, Some(10), &b"0123456789"[..]));
    assert_eq!(single.header("set-cookie"), [b"a=1; Path=/", b"b=2; Path=/"]);
    assert_eq!(single.end, Some(StreamEnd::Complete));
    assert!(single.header("content-length").is_empty(), "the length is the tunnel's to know");

    let parts = replay(&mut pair, &["http_response_head", "http_response_chunk", "http_response_last"]);
    assert_eq!(parts.status(), 200);
    assert!(parts.body.len() > 10);

    for name in ["http_response_zlib", "http_response_zstd_single"] {
        let seen = replay(&mut pair, &[name]);
        assert_eq!(
            String::from_utf8_lossy(&seen.body),
            description(name)["data_uncompressed_utf8"].as_str().expect("text")
        );
        assert_eq!((seen.length(), seen.end), (Some(seen.body.len() as u64), Some(StreamEnd::Complete)), "{name}");
    }

    let redirect = replay(&mut pair, &["http_response_redirect"]);
    assert!((300..400).contains(&redirect.status()), "{}", redirect.status());
    assert_eq!((redirect.length(), redirect.header("x-og-location").len()), (Some(0), 0));
    assert_eq!(redirect.end, Some(StreamEnd::Complete));

    let not_modified = replay(&mut pair, &["http_response_not_modified"]);
    assert_eq!((not_modified.status(), not_modified.end), (304, Some(StreamEnd::Complete)));

    let multipart = replay(&mut pair, &["http_response_multipart"]);
    assert_eq!(
        multipart.end,
        Some(StreamEnd::Fault(StreamFault::Response(ResponseError::NoHead))),
        "it is a later part"
    );
}

#[test]
fn failures_tell_who_failed() {
    let mut pair = Pair::open();
    assert_eq!(replay(&mut pair, &["close_connection_failure"]).end, Some(StreamEnd::TargetUnreachable));
    assert_eq!(replay(&mut pair, &["close"]).end, Some(StreamEnd::ClosedByPlugin));
    assert!(pair.asked.is_empty(), "a close is not answered");
    let (id, _) = pair.request(&get("/"));
    let messages =
        Answer { end: AnswerEnd::Never, announced: None, ..Answer::new(200, &[], b"x") }.messages(id.get(), &[]);
    pair.receive(&messages[0]);
    pair.receive(&close(id.get(), true));
    assert_eq!(pair.seen(id).end, Some(StreamEnd::BrokeOff));
}

#[test]
fn all_forms_of_an_ending_are_understood() {
    let mut pair = Pair::open();
    for compression in [Compression::None, Compression::Zlib, Compression::Zstandard] {
        for (end, announced, expected) in [
            (AnswerEnd::WithLastPiece, Some(600), StreamEnd::Complete),
            (AnswerEnd::WithLastPiece, None, StreamEnd::Complete),
            (AnswerEnd::Empty, None, StreamEnd::Complete),
            (AnswerEnd::EmptyFlagged, None, StreamEnd::Complete),
            (AnswerEnd::EmptyFlagged, Some(600), StreamEnd::Complete),
            (AnswerEnd::Closed, Some(600), StreamEnd::Complete),
            (AnswerEnd::Closed, None, StreamEnd::BrokeOff),
            (AnswerEnd::Empty, Some(601), StreamEnd::BrokeOff),
            (AnswerEnd::WithLastPiece, Some(601), StreamEnd::BrokeOff),
            (AnswerEnd::WithLastPiece, Some(599), StreamEnd::Fault(StreamFault::TooLong)),
        ] {
            for head_first in [false, true] {
                let pieces = [b"a".repeat(200), b"b".repeat(400)].map(|piece| (piece, compression)).to_vec();
                let answer = Answer { pieces, announced, end, head_first, ..Answer::new(200, &[], b"") };
                let seen = pair.answered(Method::GET, &answer);
                assert_eq!(seen.end, Some(expected_of(&expected)), "{compression:?} {end:?} {announced:?}");
                assert_eq!(seen.length(), announced);
                if expected == StreamEnd::Complete {
                    assert_eq!(seen.body, answer.body());
                } else if let Some(announced) = announced {
                    assert!(seen.body.len() as u64 <= announced, "no more than announced");
                }
                pair.asked.clear();
            }
        }
    }
}

fn expected_of(end: &StreamEnd) -> StreamEnd {
    match end {
        StreamEnd::Complete => StreamEnd::Complete,
        StreamEnd::BrokeOff => StreamEnd::BrokeOff,
        StreamEnd::Fault(StreamFault::TooLong) => StreamEnd::Fault(StreamFault::TooLong),
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_without_a_body_have_none_whatever_comes() {
    let mut pair = Pair::open();
    // The plugin's cache answers a HEAD with the body.
    let head = pair.answered(Method::HEAD, &Answer::new(200, &[], b"a body"));
    assert_eq!((head.length(), head.body.len(), head.end), (Some(6), 0, Some(StreamEnd::Complete)));
    // A HEAD may name the size of the body that a GET gets.
    let sized = pair.answered(Method::HEAD, &Answer { announced: Some(500), ..Answer::new(200, &[], b"") });
    assert_eq!((sized.length(), sized.end), (Some(500), Some(StreamEnd::Complete)));
    for status in [204, 304] {
        let seen = pair.answered(Method::GET, &Answer { announced: Some(7), ..Answer::new(status, &[], b"dropped") });
        assert_eq!((seen.status(), seen.body.len(), seen.end), (status, 0, Some(StreamEnd::Complete)));
    }
}

#[test]
fn the_tunnels_length_counts_and_not_the_headers() {
    let headers = [("Content-Length", "332"), ("Transfer-Encoding", "chunked"), ("Connection", "keep-alive")];
    let seen = Pair::open().answered(Method::GET, &Answer::new(200, &headers, &[b'x'; 385]));
    assert_eq!((seen.length(), seen.body.len(), seen.end.as_ref()), (Some(385), 385, Some(&StreamEnd::Complete)));
    assert!(seen.head.as_ref().is_some_and(|head| head.response.headers().is_empty()));
}

#[test]
fn redirects_are_made_of_what_the_printer_wrote() {
    let headers = [("Location", "https://pub.examplefoo/bar"), ("x-og-location", "foo/bar")];
    let seen = Pair::open().answered(Method::GET, &Answer::new(302, &headers, b""));
    assert_eq!(seen.header("location"), [b"foo/bar"]);
    assert!(seen.header("x-og-location").is_empty());
    let headers = [("x-og-location", "http://192.0.2.17:5000/login?x=1")];
    let seen = Pair::open().answered(Method::GET, &Answer::new(302, &headers, b""));
    assert_eq!(seen.header("location"), [b"/login?x=1"]);
}

#[test]
fn header_bytes_arrive_as_they_were() {
    let seen = Pair::open().answered(Method::GET, &Answer::new(200, &[("x-latin", "caf\u{e9}"), ("x-wide", "→")], b""));
    assert_eq!(seen.header("x-latin"), [b"caf\xe9"]);
    assert_eq!(seen.header("x-wide"), ["→".as_bytes()]);
}

#[test]
fn unusable_heads_end_their_stream_and_no_other() {
    let mut pair = Pair::open();
    let (other, _) = pair.request(&get("/other"));
    let fault = |error| Some(StreamEnd::Fault(StreamFault::Response(error)));
    for status in [0, 1, 100, 101, 199, 600, 601, 999, u16::MAX] {
        let seen = pair.answered(Method::GET, &Answer::new(status, &[], b"x"));
        assert_eq!(seen.end, fault(ResponseError::Status(status)));
        assert!(matches!(pair.asked.pop(), Some(PrinterEvent::Closed(_))), "the plugin is told");
    }
    for (name, value) in [
        ("x", "a\r\nSet-Cookie: b"),
        ("x", "a\nb"),
        ("x", "a\r\n"),
        ("x", "a\0b"),
        ("x y", "z"),
        ("", "z"),
        ("x:", "z"),
        ("a\r\nb", "z"),
    ] {
        let seen = pair.answered(Method::GET, &Answer::new(200, &[(name, value)], b"x"));
        assert_eq!(seen.end, fault(ResponseError::Header), "{name:?}: {value:?}");
    }
    let many: Vec<(String, String)> = (0..300).map(|n| (format!("x-{n}"), String::new())).collect();
    let seen = pair.answered(Method::GET, &Answer { headers: many, ..Answer::new(200, &[], b"x") });
    assert_eq!(seen.end, fault(ResponseError::TooManyHeaders));
    pair.asked.clear();
    pair.receive(&Answer::new(200, &[], b"fine").messages(other.get(), &[])[0]);
    assert_eq!(pair.seen(other).body, b"fine");
}

#[test]
fn flags_without_a_payload_carry_none() {
    let mut pair = Pair::open();
    let (id, _) = pair.request(&get("/"));
    let message = wire::decode(&Answer::new(200, &[], b"x").messages(id.get(), &[])[0]).expect("valid");
    let Message::Stream(mut message) = message else { panic!("a stream's message") };
    (message.is_control_flags_only, message.is_close_msg) = (true, false);
    pair.receive(&wire::encode(&Message::Stream(message)));
    let seen = pair.seen(id);
    assert!(seen.head.is_none() && seen.end.is_none(), "everything but the flags is ignored");
}

#[test]
fn messages_of_no_stream_are_nobodys() {
    let mut pair = Pair::open();
    pair.request(&get("/"));
    for id in [0, 2, u32::MAX] {
        for message in Answer::new(200, &[], b"x").messages(id, &[]) {
            pair.receive(&message);
        }
    }
    assert!(pair.events.is_empty() && pair.asked.is_empty());
    pair.receive(&example("http_open"));
    assert!(matches!(&pair.events[..], [octo::Event::End(_, StreamEnd::Fault(StreamFault::Opened))]));
}

#[test]
fn payloads_that_lie_end_their_stream() {
    let mut pair = Pair::open();
    let mut lie = |change: fn(&mut StreamMessage)| {
        let (id, _) = pair.request(&get("/"));
        let mut message = StreamMessage { stream_id: id.get(), ..stream("http_response_zlib") };
        message.full_stream_data_size = -1;
        change(&mut message);
        pair.receive(&wire::encode(&Message::Stream(Box::new(message))));
        let seen = pair.seen(id);
        assert!(matches!(pair.asked.pop(), Some(PrinterEvent::Closed(_))), "the plugin is told");
        match seen.end {
            Some(StreamEnd::Fault(StreamFault::Inflate(error))) => error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lie(|message| message.original_data_size -= 1), InflateError::Long);
    assert_eq!(lie(|message| message.original_data_size += 1), InflateError::Short);
    assert_eq!(lie(|message| message.original_data_size = 0), InflateError::Long);
    assert!(matches!(lie(|message| message.original_data_size = u64::MAX), InflateError::TooLarge { .. }));
    assert_eq!(
        lie(|message| message.data_compression = Compression::Brotli),
        InflateError::Unsupported(Compression::Brotli)
    );
    assert_eq!(
        lie(|message| message.data_compression = 77.into()),
        InflateError::Unsupported(Compression::Unknown(77))
    );
    assert_eq!(lie(|message| message.data_compression = Compression::Zstandard), InflateError::Damaged);
    assert_eq!(lie(|message| message.data = message.data.as_ref().map(|data| data.slice(..20))), InflateError::Short);
    assert_eq!(
        lie(|message| message.data = message.data.as_ref().map(|data| Bytes::from([data, &b"more"[..]].concat()))),
        InflateError::Long
    );
}

/// A zstd frame of blocks that are one byte, 128 KiB times each (RFC 8878 §3.1.1).
fn bomb(blocks: usize) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    for _ in 0..blocks {
        let head: u32 = (128 * 1024) << 3 | 1 << 1;
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.push(b'x');
    }
    frame
}

#[test]
fn bombs_do_not_go_off() {
    let mut pair = Pair::open();
    let mut light = |blocks: usize, declared: u64| {
        let (id, _) = pair.request(&get("/"));
        let message = Answer { announced: None, end: AnswerEnd::Never, ..Answer::new(200, &[], b"x") };
        let Ok(Message::Stream(mut message)) = wire::decode(&message.messages(id.get(), &[])[0]) else {
            panic!("valid")
        };
        message.data = Some(bomb(blocks).into());
        message.data_compression = Compression::Zstandard;
        message.original_data_size = declared;
        pair.receive(&wire::encode(&Message::Stream(message)));
        pair.asked.clear();
        let seen = pair.seen(id);
        (seen.body.len(), seen.end)
    };
    let fault = |error| Some(StreamEnd::Fault(StreamFault::Inflate(error)));
    let four_gibibytes = 1u64 << 32;
    let limit = 128 * 1024 * 1024;
    assert_eq!(light(32768, four_gibibytes), (0, fault(InflateError::TooLarge { declared: four_gibibytes, limit })));
    assert_eq!(light(32768, 1000), (0, fault(InflateError::Long)));
    assert_eq!(light(32768, 128 * 1024), (0, fault(InflateError::Long)));
    assert_eq!(light(8, 1024 * 1024), (1024 * 1024, None));
}

#[test]
fn windows_are_bounded() {
    let mut pair = Pair::open();
    // Frame heads that ask for windows of 8 MiB and of 16 MiB.
    for (window, is_taken) in [((23 - 10) << 3, true), ((24 - 10) << 3, false)] {
        let (id, _) = pair.request(&get("/"));
        let mut frame = bomb(1);
        frame[5] = window;
        let answer = Answer { announced: None, end: AnswerEnd::Never, ..Answer::new(200, &[], b"x") };
        let Ok(Message::Stream(mut message)) = wire::decode(&answer.messages(id.get(), &[])[0]) else {
            panic!("valid")
        };
        message.data = Some(frame.into());
        message.data_compression = Compression::Zstandard;
        message.original_data_size = 128 * 1024;
        pair.receive(&wire::encode(&Message::Stream(message)));
        pair.asked.clear();
        assert_eq!(pair.seen(id).end.is_none(), is_taken, "{window}");
    }
}

#[test]
fn a_session_without_the_dictionary_says_which_is_needed() {
    let mut pair = Pair::accepted(octo::wire::ServerHost::OctoPrint, octo::SessionOptions::default());
    let seen = replay(&mut pair, &["http_response_zstd_single"]);
    assert_eq!(seen.end, Some(StreamEnd::Fault(StreamFault::Inflate(InflateError::Dictionary(7)))));
    // Frames that need none are read.
    let (id, _) = pair.request(&get("/"));
    let pieces = vec![(b"x".repeat(1000), Compression::Zstandard), (b"y".repeat(1000), Compression::Zstandard)];
    let answer = Answer { pieces, announced: None, ..Answer::new(200, &[], b"") };
    for message in answer.messages(id.get(), &[]) {
        pair.receive(&message);
    }
    assert_eq!(pair.seen(id).body, answer.body());
}

#[test]
fn decoders_share_a_budget() {
    let options = octo::SessionOptions { max_decoder_memory: 8 * 1024 * 1024, ..octo::SessionOptions::default() };
    let mut pair = Pair::accepted(octo::wire::ServerHost::OctoPrint, options);
    let pieces = vec![(b"x".repeat(1000), Compression::Zstandard), (b"y".repeat(1000), Compression::Zstandard)];
    let answer = Answer { pieces, announced: None, end: AnswerEnd::Never, ..Answer::new(200, &[], b"") };
    let mut ends = Vec::new();
    for _ in 0..8 {
        let (id, _) = pair.request(&get("/"));
        for message in answer.messages(id.get(), &[]) {
            pair.receive(&message);
        }
        ends.extend(pair.seen(id).end);
        pair.asked.clear();
        assert!(pair.session.decoder_memory() <= 8 * 1024 * 1024);
    }
    assert!(!ends.is_empty() && ends.len() < 8, "some fit: {ends:?}");
    assert!(ends.iter().all(|end| *end == StreamEnd::Fault(StreamFault::Memory)), "{ends:?}");
}

#[test]
fn large_messages_come_in_pieces() {
    let mut pair = Pair::open();
    let body = vec![b'x'; 3 * octo::inflate::PIECE + 5];
    let (id, _) = pair.request(&get("/"));
    let answer = Answer { pieces: vec![(body.clone(), Compression::Zstandard)], ..Answer::new(200, &[], &body) };
    for message in answer.messages(id.get(), &dictionary_bytes()) {
        pair.receive(&message);
    }
    let largest = pair.events.iter().map(|event| match event {
        octo::Event::Data(_, data) => data.len(),
        _ => 0,
    });
    assert_eq!(largest.max(), Some(octo::inflate::PIECE));
    assert_eq!(pair.seen(id).body, body);
}
