//! What the plugin gets of a visitor's request.

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Request};
use octo::printer::PrinterEvent;
use octo::session::{BodyLength, MAX_UPLOAD_PIECE, OpenError, SendError};
use octo::wire::{PathKind, ServerHost};
use octo::{RequestError, SessionOptions, StreamEnd};

use crate::pair::{Pair, authority, get};

#[test]
fn heads_are_as_the_plugin_wants_them() {
    let mut pair = Pair::open();
    let request = Request::post("/api/job?x=1&y=%20")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x-twice", "one")
        .header("x-twice", "two")
        .header("x-latin", HeaderValue::from_bytes(b"caf\xe9").expect("obs-text is allowed"))
        .header("oe-snapshot", "1")
        .header("oe-webcamstream", "1")
        .header("connection", "close, x-mine")
        .header("transfer-encoding", "chunked")
        .header("content-length", "99")
        .header("te", "trailers")
        .header("host", "somewhere.else")
        .header("authorization", "Basic eDp5")
        .header("range", "bytes=0-1")
        .body(())
        .expect("valid");
    let (_, seen) = pair.request(&request);
    assert_eq!(seen.context.path.as_deref(), Some("/api/job?x=1&y=%20"));
    assert_eq!(seen.context.path_type, PathKind::Relative);
    assert_eq!(seen.context.method.as_deref(), Some("POST"));
    assert_eq!(seen.context.octo_host.as_deref(), Some("app-x.printers.example"));
    for (name, expected) in [
        ("cookie", Some("a=1; b=2")),
        ("x-twice", Some("one, two")),
        ("x-latin", Some("café")),
        ("host", Some("app-x.printers.example")),
        ("authorization", Some("Basic eDp5")),
        ("range", Some("bytes=0-1")),
        ("oe-snapshot", None),
        ("oe-webcamstream", None),
        ("connection", None),
        ("transfer-encoding", None),
        ("content-length", None),
        ("te", None),
    ] {
        assert_eq!(seen.header(name), expected, "{name}");
    }
    let names = seen.context.headers.iter().flatten().map(|header| header.key.as_deref());
    assert_eq!(names.clone().count(), names.collect::<std::collections::HashSet<_>>().len(), "no name comes twice");
}

#[test]
fn a_visitor_without_cookies_gets_nobody_elses() {
    let (_, seen) = Pair::open().request(&get("/"));
    assert_eq!(seen.header("cookie"), Some(""));
}

#[test]
fn requests_that_could_leave_the_printer_are_not_sent() {
    let mut pair = Pair::open();
    let mut open = |request: &Request<()>, authority: &Authority| {
        pair.session.open_http(request, authority, BodyLength::Known(0)).map(|id| id.get())
    };
    let refused = |error: RequestError| Err(OpenError::Request(error));
    assert_eq!(open(&get("*"), &authority()), refused(RequestError::Target));
    let connect = Request::connect("evil.example:80").body(()).expect("valid");
    assert_eq!(open(&connect, &authority()), refused(RequestError::Method));
    assert_eq!(open(&get("/octoeverywhere-command-api/rekey"), &authority()), refused(RequestError::Command));
    assert_eq!(open(&get("/%6fctoeverywhere-command-api/x"), &authority()), refused(RequestError::Command));
    assert_eq!(open(&get("/"), &Authority::from_static("user@printer.example")), refused(RequestError::Host));
    // Of a URL only the path is sent, so it names no other host.
    assert_eq!(open(&get("http://evil.example/x"), &authority()), Ok(1));
    assert!(pair.session.poll_transmit().is_some() && pair.session.poll_transmit().is_none());
}

#[test]
fn bodies_arrive_whole_or_not_at_all() {
    let post = Request::post("/upload").body(()).expect("valid");
    let body: Vec<u8> = (0..MAX_UPLOAD_PIECE * 2 + 17).map(|n| (n % 251) as u8).collect();
    for length in [BodyLength::Known(body.len() as u64), BodyLength::Unknown] {
        let mut pair = Pair::open();
        let id = pair.session.open_http(&post, &authority(), length).expect("it can be sent");
        pair.session.send_body(id, Bytes::copy_from_slice(&body[..9])).expect("it fits");
        pair.session.send_body(id, Bytes::copy_from_slice(&body[9..])).expect("it fits");
        pair.exchange();
        assert!(pair.asked.is_empty(), "the request waits for its end");
        pair.session.finish_body(id).expect("it is whole");
        assert_eq!(pair.session.finish_body(id), Err(SendError::Over));
        pair.exchange();
        match pair.asked.pop() {
            Some(PrinterEvent::Request(request)) => assert_eq!(request.body, body),
            other => panic!("{other:?}"),
        }
    }
    type Send = fn(&mut octo::Session, octo::StreamId) -> Result<(), SendError>;
    let wrong: [Send; 3] = [
        |session, id| session.send_body(id, Bytes::from_static(b"12345")).and_then(|()| session.finish_body(id)),
        |session, id| session.send_body(id, Bytes::from_static(b"123")).and_then(|()| session.finish_body(id)),
        |session, id| session.finish_body(id),
    ];
    for send in wrong {
        let mut pair = Pair::open();
        let id = pair.session.open_http(&post, &authority(), BodyLength::Known(4)).expect("it can be sent");
        assert_eq!(send(&mut pair.session, id), Err(SendError::Length));
        pair.exchange();
        assert!(matches!(&pair.asked[..], [PrinterEvent::Closed(_)]), "{:?}", pair.asked);
        assert_eq!(pair.session.send_body(id, Bytes::new()), Err(SendError::Over));
    }
}

#[test]
fn an_empty_request_of_known_length_takes_no_body() {
    let mut pair = Pair::open();
    let (id, _) = pair.request(&get("/"));
    assert_eq!(pair.session.send_body(id, Bytes::from_static(b"x")), Err(SendError::Over));
    assert!(pair.session.poll_transmit().is_none());
}

#[test]
fn a_visitor_who_leaves_ends_his_stream_once() {
    let mut pair = Pair::open();
    let (id, _) = pair.request(&get("/"));
    pair.session.close(id);
    pair.session.close(id);
    pair.exchange();
    assert!(matches!(&pair.asked[..], [PrinterEvent::Closed(stream)] if *stream == id.get()));
    // What was on its way still arrives, and is nobody's.
    for message in octo::printer::Answer::new(200, &[], b"late").messages(id.get(), &[]) {
        pair.receive(&message);
    }
    assert!(pair.events.is_empty());
    assert_eq!(pair.session.open_streams(), 0);
}

#[test]
fn ids_begin_anew_after_the_last_and_pass_by_those_in_use() {
    let options = SessionOptions { first_stream_id: u32::MAX - 3, ..SessionOptions::default() };
    let mut pair = Pair::accepted(ServerHost::OctoPrint, options);
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(pair.request(&get("/")).0.get());
    }
    assert_eq!(ids, [u32::MAX - 3, u32::MAX - 2, u32::MAX - 1, u32::MAX, 1, 2]);
    let options = SessionOptions { first_stream_id: 0, ..SessionOptions::default() };
    assert_eq!(Pair::accepted(ServerHost::OctoPrint, options).request(&get("/")).0.get(), 1);
}

#[test]
fn streams_are_counted() {
    let mut pair =
        Pair::accepted(ServerHost::OctoPrint, SessionOptions { max_streams: 2, ..SessionOptions::default() });
    let (first, _) = pair.request(&get("/"));
    pair.request(&get("/"));
    let refused = pair.session.open_http(&get("/"), &authority(), BodyLength::Known(0));
    assert_eq!(refused.err(), Some(OpenError::TooManyStreams));
    pair.session.close(first);
    pair.exchange();
    pair.asked.clear();
    pair.request(&get("/"));
}

#[test]
fn a_lost_session_ends_its_streams() {
    let mut pair = Pair::open();
    let (id, _) = pair.request(&get("/"));
    pair.session.handle_disconnect();
    pair.exchange();
    assert_eq!(pair.seen(id).end, Some(StreamEnd::Lost));
    assert_eq!(pair.session.open_http(&get("/"), &authority(), BodyLength::Unknown).err(), Some(OpenError::NotOpen));
}
