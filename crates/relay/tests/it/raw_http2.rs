//! HTTP/2 frame by frame: floods are cut off and cost nothing, broken frames end in an error, and every head is one
//! request or none.

use testkit::raw_http2::{PREFACE, RawFrame, RawHttp2, field_block, flag, kind, push_length};
use testkit::{Client, Protocol, alone, resident_bytes};

use crate::raw_http::{Stage, Taken};

/// RFC 9113 §7.
mod code {
    pub(super) const REFUSED_STREAM: u32 = 7;
    pub(super) const CANCEL: u32 = 8;
    pub(super) const ENHANCE_YOUR_CALM: u32 = 11;
}

/// All that floods together may leave behind.
const MEMORY: u64 = 8 * 1024 * 1024;

/// What became of a request, or of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Status(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}

/// Reads until stream 1 is answered or ends, or the connection does.
async fn outcome(connection: &mut RawHttp2) -> Outcome {
    let decides = |frame: &RawFrame| {
        (frame.stream == 1 && matches!(frame.kind, kind::HEADERS | kind::RST_STREAM)) || frame.kind == kind::GOAWAY
    };
    match connection.read_until(decides).await {
        Some(frame) if frame.kind == kind::HEADERS => Outcome::Status(frame.status().unwrap()),
        Some(frame) if frame.kind == kind::RST_STREAM => Outcome::Reset(frame.error_code().unwrap()),
        Some(frame) => Outcome::GoAway(frame.error_code().unwrap()),
        None => Outcome::Closed,
    }
}

type Field<'a> = (&'a [u8], &'a [u8]);

fn get(host: &str) -> Vec<Field<'_>> {
    vec![(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", host.as_bytes())]
}

/// Sends `bytes` over and over on a connection of its own.
async fn flood(stage: &Stage, start: &[RawFrame], bytes: &[u8], count: usize) -> (usize, Option<u32>) {
    let mut connection = RawHttp2::connect(stage.service.address(), &[]).await;
    for frame in start {
        connection.send(frame).await.unwrap();
    }
    let (sent, goaway) = connection.flood(bytes, count).await;
    (sent, goaway.and_then(|frame| frame.error_code()))
}

#[test]
fn floods_are_cut_off_and_leave_nothing_behind() {
    alone("raw_http2::floods_are_cut_off_and_leave_nothing_behind", async {
        let stage = Stage::set().await;
        let host = stage.shared.host.clone();
        // What each kind of request needs once is not what floods leave.
        for protocol in Protocol::ALL {
            let client = Client::speaking(protocol, stage.service.address());
            assert_eq!(client.get(&host, "/", &[]).await.status, 200);
        }
        assert!(flood(&stage, &[], &RawFrame::new(kind::PING, 0, 0, [0; 8]).to_bytes(), 1_000).await.0 < 1_000);
        let before = resident_bytes();

        for (what, frame, count) in [
            ("PING", RawFrame::new(kind::PING, 0, 0, [0; 8]), 200_000),
            ("PING answers", RawFrame::new(kind::PING, flag::ACK, 0, [0; 8]), 200_000),
            ("SETTINGS", RawFrame::settings(&[(3, 1), (4, 65_535)]), 200_000),
            ("empty SETTINGS", RawFrame::settings(&[]), 200_000),
            ("PRIORITY", RawFrame::new(kind::PRIORITY, 0, 3, [0, 0, 0, 1, 7]), 200_000),
            ("unknown frames", RawFrame::new(0xaa, 0, 0, [0; 8]), 200_000),
            ("GOAWAY", RawFrame::new(kind::GOAWAY, 0, 0, [0; 8]), 200_000),
        ] {
            let (sent, _) = flood(&stage, &[], &frame.to_bytes(), count).await;
            assert!(sent < count, "{what}: all {count} frames were taken");
        }

        // Frames that belong to a stream.
        let open = RawFrame::headers(0, 1, &[(b":method", b"POST"), get(&host)[1], get(&host)[2], get(&host)[3]]);
        let empty_data = RawFrame::new(kind::DATA, 0, 1, []).to_bytes();
        let (sent, code) = flood(&stage, std::slice::from_ref(&open), &empty_data, 1_000_000).await;
        assert!(sent < 1_000_000 && code == Some(code::ENHANCE_YOUR_CALM), "empty DATA: {sent}, {code:?}");
        let padded = RawFrame::new(kind::DATA, flag::PADDED, 1, [0]).to_bytes();
        let (sent, _) = flood(&stage, std::slice::from_ref(&open), &padded, 1_000_000).await;
        assert!(sent < 1_000_000, "empty DATA with padding: {sent}");

        let unfinished = RawFrame::new(kind::HEADERS, 0, 1, field_block(&get(&host)));
        for block in [vec![], field_block(&[(b"x", &[b'y'; 1000])])] {
            let continuation = RawFrame::new(kind::CONTINUATION, 0, 1, block).to_bytes();
            let (sent, code) = flood(&stage, std::slice::from_ref(&unfinished), &continuation, 200_000).await;
            assert!(sent < 200_000 && code == Some(code::ENHANCE_YOUR_CALM), "CONTINUATION: {sent}, {code:?}");
        }

        rapid_resets(&stage).await;
        hpack_bombs(&stage).await;
        closed_windows(&stage).await;

        let growth = resident_bytes().saturating_sub(before);
        assert!(growth < MEMORY, "{growth} bytes are left of the floods");
        stage.check_that_all_is_well().await;
    });
}

/// Requests that are taken back as soon as they are made (CVE-2023-44487), and ones that the service resets itself
/// because of what follows them (CVE-2025-8671).
async fn rapid_resets(stage: &Stage) {
    let fields = get(&stage.shared.host);
    for ending in ["reset", "window overflow", "broken length"] {
        let mut connection = RawHttp2::connect(stage.service.address(), &[]).await;
        let mut requests = 0;
        while requests < 50_000 {
            let stream = 1 + 2 * requests;
            let mut bytes = match ending {
                "broken length" => {
                    let with_length = [&fields[..], &[(b"content-length", b"5")]].concat();
                    RawFrame::headers(flag::END_STREAM, stream, &with_length).to_bytes()
                }
                _ => RawFrame::headers(flag::END_STREAM, stream, &fields).to_bytes(),
            };
            match ending {
                "reset" => bytes.extend(RawFrame::reset(stream, code::CANCEL).to_bytes()),
                "window overflow" => bytes.extend(RawFrame::window_update(stream, i32::MAX as u32).to_bytes()),
                _ => {}
            }
            if connection.send_bytes(&bytes).await.is_err() {
                break;
            }
            requests += 1;
        }
        assert!(requests < 50_000, "{ending}: all were taken");
    }
    // What was under way when the connections ended may still reach the printer.
    testkit::wait_until("all requests to end", || stage.service.relay().open_sessions() == 0).await;
}

/// A few kilobytes that unpack to megabytes: a large entry of the table, named again and again.
async fn hpack_bombs(stage: &Stage) {
    let mut block = field_block(&get(&stage.shared.host));
    block.push(0x40);
    push_length(&mut block, 0, 127, 1);
    block.push(b'x');
    push_length(&mut block, 0, 127, 3_900);
    block.extend([b'y'; 3_900]);
    block.extend([0xbe; 8_000]);
    let mut connection = RawHttp2::connect(stage.service.address(), &[]).await;
    let end = flag::END_STREAM | flag::END_HEADERS;
    connection.send(&RawFrame::new(kind::HEADERS, end, 1, block)).await.unwrap();
    let outcome = outcome(&mut connection).await;
    assert!(
        outcome == Outcome::Status(431) || matches!(outcome, Outcome::Reset(_) | Outcome::GoAway(_)),
        "{outcome:?}"
    );

    for (what, block) in [
        ("an index that is not there", vec![0xff, 0x80, 0x01]),
        ("index 0", vec![0x80]),
        ("an endless integer", vec![0xff; 12]),
        ("a string that is too short", vec![0x00, 0x05, b'x']),
        ("a table that is too large", vec![0x3f, 0xff, 0xff, 0xff, 0x07]),
        ("a code that is none", vec![0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00]),
    ] {
        let mut connection = RawHttp2::connect(stage.service.address(), &[]).await;
        connection.send(&RawFrame::new(kind::HEADERS, end, 1, block)).await.unwrap();
        let end = self::outcome(&mut connection).await;
        assert!(matches!(end, Outcome::GoAway(_)), "{what}: {end:?}");
    }
}

/// A hundred requests whose responses the visitor has no room for.
async fn closed_windows(stage: &Stage) {
    let mut connection = RawHttp2::connect(stage.service.address(), &[(4, 0)]).await;
    for n in 0..100 {
        connection.send(&RawFrame::headers(flag::END_STREAM, 1 + 2 * n, &get(&stage.shared.host))).await.unwrap();
    }
    for _ in 0..100 {
        assert!(connection.read_until(|frame| frame.kind == kind::HEADERS).await.is_some());
    }
    let exchange = Client::new(stage.service.address()).get(&stage.shared.host, "/", &[]).await;
    assert_eq!(exchange.status, 200);
    // One more than is allowed at once is refused, and no more than that.
    connection.send(&RawFrame::headers(flag::END_STREAM, 201, &get(&stage.shared.host))).await.unwrap();
    let refused = connection.read_until(|frame| frame.stream == 201).await.unwrap();
    assert_eq!(refused.error_code(), Some(code::REFUSED_STREAM));
}

#[test]
fn frames_that_break_the_protocol_end_the_stream_or_the_connection() {
    alone("raw_http2::frames_that_break_the_protocol_end_the_stream_or_the_connection", async {
        let stage = Stage::set().await;
        let host = stage.shared.host.clone();
        let headers = |stream| RawFrame::headers(flag::END_STREAM, stream, &get(&host));
        let settings = |id, value| RawFrame::settings(&[(id, value)]);
        let cases: Vec<(&str, Vec<RawFrame>)> = vec![
            ("DATA on a stream that is not open", vec![RawFrame::new(kind::DATA, 0, 1, [0])]),
            ("DATA on stream 0", vec![RawFrame::new(kind::DATA, 0, 0, [0])]),
            ("HEADERS on stream 0", vec![headers(0)]),
            ("HEADERS on an even stream", vec![headers(2)]),
            ("HEADERS on an earlier stream", vec![headers(5), headers(3)]),
            ("RST_STREAM on a stream that is not open", vec![RawFrame::reset(1, code::CANCEL)]),
            ("RST_STREAM on stream 0", vec![RawFrame::reset(0, code::CANCEL)]),
            ("RST_STREAM of three bytes", vec![RawFrame::new(kind::RST_STREAM, 0, 1, [0; 3])]),
            ("CONTINUATION without HEADERS", vec![RawFrame::new(kind::CONTINUATION, 4, 1, [])]),
            (
                "a frame between HEADERS and CONTINUATION",
                vec![RawFrame::new(kind::HEADERS, 0, 1, []), RawFrame::new(kind::PING, 0, 0, [0; 8])],
            ),
            ("PUSH_PROMISE", vec![RawFrame::new(kind::PUSH_PROMISE, 4, 1, [0, 0, 0, 2])]),
            ("more padding than there is", vec![RawFrame::new(kind::HEADERS, 0xd, 1, [200, 1])]),
            ("PING of seven bytes", vec![RawFrame::new(kind::PING, 0, 0, [0; 7])]),
            ("PING on a stream", vec![RawFrame::new(kind::PING, 0, 1, [0; 8])]),
            ("SETTINGS of five bytes", vec![RawFrame::new(kind::SETTINGS, 0, 0, [0; 5])]),
            ("SETTINGS on a stream", vec![RawFrame::new(kind::SETTINGS, 0, 1, [])]),
            ("an answer to SETTINGS with some", vec![RawFrame::new(kind::SETTINGS, 1, 0, [0; 6])]),
            ("a window of 2^31", vec![settings(4, 1 << 31)]),
            ("frames of 100 bytes", vec![settings(5, 100)]),
            ("frames of 2^24 bytes", vec![settings(5, 1 << 24)]),
            ("half a push", vec![settings(2, 2)]),
            ("a frame over the limit", vec![RawFrame::new(kind::DATA, 0, 1, [0; 16_385])]),
            ("WINDOW_UPDATE by 0", vec![RawFrame::window_update(0, 0)]),
            ("WINDOW_UPDATE on a stream that is not open", vec![RawFrame::window_update(1, 1)]),
            ("a connection window over 2^31", vec![RawFrame::window_update(0, i32::MAX as u32); 2]),
        ];
        for (what, frames) in cases {
            let mut connection = RawHttp2::connect(stage.service.address(), &[]).await;
            for frame in &frames {
                // The end may come before the last of them.
                let _ = connection.send(frame).await;
            }
            let goaway = connection.read_until(|frame| frame.kind == kind::GOAWAY).await;
            // Which error it is called is the library's affair, but an error it must be.
            assert!(goaway.and_then(|frame| frame.error_code()).is_some_and(|code| code != 0), "{what}");
            assert!(connection.read_until(|_| false).await.is_none(), "{what}: the connection goes on");
        }
        for (what, bytes) in [
            ("a preface that goes wrong", &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..]),
            ("HTTP/1.1 behind the preface", &[PREFACE, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat()),
        ] {
            let mut connection = RawHttp2::over(testkit::connect_raw(stage.service.address()).await);
            connection.send_bytes(bytes).await.unwrap();
            assert!(connection.read_until(|_| false).await.is_none(), "{what}");
        }
        stage.taken.lock().clear();
        stage.check_that_all_is_well().await;
    });
}

/// What must become of a head.
enum Expect {
    /// The printer sees this target, and nothing else.
    Passes(&'static str),
    /// The printer sees nothing, and the visitor a status, or the end of stream or connection.
    Refused(u16),
}

#[test]
fn every_head_is_one_request_or_none() {
    alone("raw_http2::every_head_is_one_request_or_none", async {
        use Expect::{Passes, Refused};
        let stage = Stage::set().await;
        let host = stage.shared.host.clone();
        let authority: Field<'_> = (b":authority", host.as_bytes());
        let (method, scheme, path): (Field<'_>, Field<'_>, Field<'_>) =
            ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"));
        let user = format!("user@{host}");
        let target = |path| vec![method, scheme, (&b":path"[..], path), authority];
        let with = |name, value| vec![method, scheme, path, authority, (name, value)];
        let cases: Vec<(Vec<Field<'_>>, Expect)> = vec![
            (get(&host), Passes("/")),
            (target(b"/a?b"), Passes("/a?b")),
            (target(b"//evil.example/"), Passes("//evil.example/")),
            (with(b"te", b"trailers"), Passes("/")),
            (with(b"host", host.as_bytes()), Passes("/")),
            (vec![method, scheme, path, (b"host", host.as_bytes())], Passes("/")),
            (vec![method, scheme, path, authority, (b"cookie", b"a=1"), (b"cookie", b"b=2")], Passes("/")),
            // Which host is meant.
            (vec![method, scheme, path], Refused(400)),
            (with(b"host", b"evil.example"), Refused(400)),
            (vec![method, scheme, path, authority, authority], Refused(400)),
            (
                vec![method, scheme, path, authority, (b"host", host.as_bytes()), (b"host", host.as_bytes())],
                Refused(400),
            ),
            (vec![method, scheme, path, (b"host", host.as_bytes()), (b"host", b"evil.example")], Refused(400)),
            (vec![method, scheme, path, (b":authority", b"")], Refused(400)),
            (vec![method, scheme, path, (b":authority", user.as_bytes())], Refused(400)),
            (vec![method, scheme, path, (b":authority", b"evil.example")], Refused(421)),
            (vec![method, scheme, path, (b":authority", b"evil.example"), (b"host", host.as_bytes())], Refused(400)),
            // Pseudo-headers (RFC 9113 §8.3).
            (vec![scheme, path, authority], Refused(400)),
            (vec![method, path, authority], Refused(400)),
            (vec![method, scheme, authority], Refused(400)),
            (vec![method, method, scheme, path, authority], Refused(400)),
            (vec![method, scheme, path, path, authority], Refused(400)),
            (vec![method, scheme, scheme, path, authority], Refused(400)),
            (vec![method, scheme, path, (b"x-a", b"b"), authority], Refused(400)),
            (vec![method, scheme, path, authority, (b":status", b"200")], Refused(400)),
            (vec![method, scheme, path, authority, (b":unknown", b"1")], Refused(400)),
            (vec![method, (b":scheme", b"ftp"), path, authority], Refused(400)),
            (vec![method, (b":scheme", b"a b"), path, authority], Refused(400)),
            (vec![(b":method", b"GE T"), scheme, path, authority], Refused(400)),
            (vec![(b":method", b""), scheme, path, authority], Refused(400)),
            (vec![(b":method", b"TRACE"), scheme, path, authority], Refused(405)),
            (target(b""), Refused(400)),
            (target(b"path"), Refused(400)),
            (target(b"@169.254.169.254/"), Refused(400)),
            (target(b":80/"), Refused(400)),
            (target(b"?query"), Refused(400)),
            (target(b"*"), Refused(400)),
            (target(b"http://evil.example/"), Refused(400)),
            (target(b"/a b"), Refused(400)),
            (target(b"/a\r\nX: y"), Refused(400)),
            (target(b"/a\x00"), Refused(400)),
            (target(b"/\xff"), Refused(400)),
            // Extended CONNECT is for WebSockets, and the plain one for proxies.
            (vec![(b":method", b"CONNECT"), (b":authority", b"evil.example:443")], Refused(400)),
            (vec![(b":method", b"CONNECT"), scheme, path, authority], Refused(400)),
            (vec![(b":method", b"CONNECT"), (b":protocol", b"connect-udp"), scheme, path, authority], Refused(400)),
            (
                vec![(b":method", b"CONNECT"), (b":protocol", b"websocket"), scheme, (b":path", b"*"), authority],
                Refused(400),
            ),
            (vec![method, (b":protocol", b"websocket"), scheme, path, authority], Refused(400)),
            // Fields of HTTP/1.1's connections (RFC 9113 §8.2.2).
            (with(b"connection", b"close"), Refused(400)),
            (with(b"connection", b"x-a"), Refused(400)),
            (with(b"keep-alive", b"timeout=5"), Refused(400)),
            (with(b"proxy-connection", b"close"), Refused(400)),
            (with(b"transfer-encoding", b"chunked"), Refused(400)),
            (with(b"upgrade", b"websocket"), Refused(400)),
            (with(b"te", b"gzip"), Refused(400)),
            // Names and values.
            (with(b"X-A", b"b"), Refused(400)),
            (with(b"", b"b"), Refused(400)),
            (with(b"x a", b"b"), Refused(400)),
            (with(b"x-a:", b"b"), Refused(400)),
            (with(b"x-a\r\n", b"b"), Refused(400)),
            (with(b"x-\xff", b"b"), Refused(400)),
            (with(b"x-a", b"b\r\nx-smuggled: c"), Refused(400)),
            (with(b"x-a", b"b\rc"), Refused(400)),
            (with(b"x-a", b"b\nc"), Refused(400)),
            (with(b"x-a", b"b\x00c"), Refused(400)),
            // The body's length, which is 0 here.
            (with(b"content-length", b"0"), Passes("/")),
            (with(b"content-length", b"5"), Refused(400)),
            (with(b"content-length", b"+0"), Refused(400)),
            (with(b"content-length", b"-1"), Refused(400)),
            (with(b"content-length", b"0, 0"), Refused(400)),
            (with(b"content-length", b"18446744073709551616"), Refused(400)),
        ];
        let mut problems = Vec::new();
        for (fields, expect) in cases {
            let mut connection = RawHttp2::connect(stage.service.address(), &[]).await;
            connection.send(&RawFrame::headers(flag::END_STREAM, 1, &fields)).await.unwrap();
            let outcome = outcome(&mut connection).await;
            let taken = std::mem::take(&mut *stage.taken.lock());
            let fine = match expect {
                Passes(target) => outcome == Outcome::Status(200) && taken == [Taken::new("GET", target, b"")],
                Refused(status) => {
                    let refusal = matches!(outcome, Outcome::Reset(_) | Outcome::GoAway(_) | Outcome::Closed);
                    taken.is_empty() && (refusal || outcome == Outcome::Status(status))
                }
            };
            if !fine {
                let block = field_block(&fields);
                problems.push(format!("{}: {outcome:?}, printer saw {taken:?}", block.escape_ascii()));
            }
        }
        assert!(problems.is_empty(), "{} went wrong:\n{}", problems.len(), problems.join("\n"));
        stage.check_that_all_is_well().await;
    });
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_never_reaches_the_printer_as_a_whole() {
    let stage = Stage::set().await;
    let host = stage.shared.host.clone();
    let head = |length: &'static [u8]| {
        let mut fields = get(&host);
        fields[0] = (b":method", b"POST");
        fields.push((b"content-length", length));
        RawFrame::headers(0, 1, &fields)
    };
    let data = |flags, bytes: &'static [u8]| RawFrame::new(kind::DATA, flags, 1, bytes);
    let trailers = |fields: &[Field<'_>]| RawFrame::headers(flag::END_STREAM, 1, fields);
    for (what, frames) in [
        ("shorter", vec![head(b"5"), data(flag::END_STREAM, b"hell")]),
        ("longer", vec![head(b"5"), data(0, b"hello"), data(flag::END_STREAM, b"!")]),
        ("longer at once", vec![head(b"5"), data(flag::END_STREAM, b"hello!")]),
        ("none", vec![head(b"5"), data(flag::END_STREAM, b"")]),
        ("reset", vec![head(b"5"), data(0, b"hell"), RawFrame::reset(1, code::CANCEL)]),
        ("reset at the end", vec![head(b"6"), data(0, b"hello"), RawFrame::reset(1, 0)]),
        ("trailers too soon", vec![head(b"5"), data(0, b"hell"), trailers(&[(b"x-sum", b"1")])]),
    ] {
        let mut connection = RawHttp2::connect(stage.service.address(), &[]).await;
        for frame in &frames {
            connection.send(frame).await.unwrap();
        }
        if !what.starts_with("reset") {
            let outcome = outcome(&mut connection).await;
            assert!(!matches!(outcome, Outcome::Status(200)), "{what}: {outcome:?}");
        }
    }
    testkit::wait_until("all requests to end", || stage.service.relay().open_sessions() == 0).await;
    assert_eq!(*stage.taken.lock(), []);
    let mut connection = RawHttp2::connect(stage.service.address(), &[]).await;
    for frame in [head(b"5"), data(0, b"hello"), trailers(&[(b"x-sum", b"1"), (b"host", b"evil.example")])] {
        connection.send(&frame).await.unwrap();
    }
    assert_eq!(outcome(&mut connection).await, Outcome::Status(200));
    assert_eq!(*stage.taken.lock(), [Taken::new("POST", "/", b"hello")]);
    stage.check_that_all_is_well().await;
}
