//! Whatever visitors send, no message goes out that makes the plugin drop its session (tunnel.md 13.1), or that leaves
//! the printer's host.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Uri};
use http::{HeaderName, HeaderValue, Method, Request};
use octo::printer::{Answer, Deflater, PrinterEvent, close, message};
use octo::session::{BodyLength, MessageKind};
use octo::wire::{Compression, HttpInitialContext, ServerHost, WebSocketKind};
use octo::{SessionOptions, StreamId};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::pair::Pair;

#[derive(Clone, Debug)]
enum Step {
    Http(Visitor, Option<u16>),
    /// A request that the relay takes for a command, whatever it is.
    Command(Visitor, Option<u16>),
    WebSocket(Visitor, Option<Vec<u8>>),
    Mqtt(Visitor, Option<Vec<u8>>),
    Body(Index, Vec<u8>),
    Finish(Index),
    Message(Index, bool, Vec<u8>),
    CloseFrame(Index, u16, String),
    Leave(Index),
    Answer(Index, Vec<u8>),
    Say(Index, Vec<u8>),
    Hang(Index, bool),
    Wait(u16),
}

/// A request as a stranger could send it.
#[derive(Clone, Debug)]
struct Visitor {
    method: Method,
    target: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    authority: Authority,
}

impl Visitor {
    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        request
    }
}

fn target() -> impl Strategy<Value = Uri> {
    let path = prop_oneof![
        "/[ -~]{0,30}",
        "[ -~]{0,30}",
        "/\\PC{0,20}",
        "(/|//|/\\./|/x/\\.\\./|/%2e%2e/)[oO](ctoeverywhere|CTOEVERYWHERE)(-|%2d|%2D)command-api(/|%2f|)[a-z/.%]{0,12}",
        "/websocket[?a-z/]{0,9}",
        "/octoeverywhere-command-api/(rekey|get-connection-info|proxy/mqtt|status|[a-z/%.-]{0,12})[a-z/?]{0,3}",
        "https?://[a-z.@:]{1,12}(/[ -~]{0,12})?",
    ];
    path.prop_map(|text| Uri::try_from(text).unwrap_or_default())
}

fn visitor() -> impl Strategy<Value = Visitor> {
    let method = "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}|GET|POST|HEAD|OPTIONS|CONNECT"
        .prop_map(|text| Method::from_bytes(text.as_bytes()).expect("tokens are methods"));
    let name = "[!#$%&'*+.^_`|~0-9a-z-]{1,12}|cookie|oe-snapshot|oe-[a-z]{1,6}|host|content-length|transfer-encoding|\
                sec-websocket-protocol|connection|x-api-key"
        .prop_map(|text| HeaderName::from_bytes(text.as_bytes()).expect("tokens are names"));
    let value = prop::collection::vec(any::<u8>(), 0..16)
        .prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| HeaderValue::from_static("a, b")));
    let authority = prop_oneof![Just("app-x.printers.example".to_owned()), "[a-z0-9.@:\\[\\]-]{1,20}",]
        .prop_map(|text| Authority::try_from(text).unwrap_or_else(|_| Authority::from_static("[::1]:80")));
    (method, target(), prop::collection::vec((name, value), 0..8), authority)
        .prop_map(|(method, target, headers, authority)| Visitor { method, target, headers, authority })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (visitor(), prop::option::of(0u16..60)).prop_map(|(visitor, length)| Step::Http(visitor, length)),
        2 => (visitor(), prop::option::of(0u16..60)).prop_map(|(visitor, length)| Step::Command(visitor, length)),
        3 => (visitor(), prop::option::of("[ -~]{0,12}".prop_map(String::into_bytes)))
            .prop_map(|(visitor, protocol)| Step::WebSocket(visitor, protocol)),
        2 => (visitor(), prop::option::of("[ -~]{0,12}".prop_map(String::into_bytes)))
            .prop_map(|(visitor, protocol)| Step::Mqtt(visitor, protocol)),
        4 => (any::<Index>(), bytes()).prop_map(|(index, data)| Step::Body(index, data)),
        2 => any::<Index>().prop_map(Step::Finish),
        6 => (any::<Index>(), any::<bool>(), bytes()).prop_map(|(index, text, data)| Step::Message(index, text, data)),
        1 => (any::<Index>(), any::<u16>(), "\\PC{0,90}").prop_map(|(i, code, reason)| Step::CloseFrame(i, code, reason)),
        1 => any::<Index>().prop_map(Step::Leave),
        1 => (any::<Index>(), bytes()).prop_map(|(index, body)| Step::Answer(index, body)),
        1 => (any::<Index>(), bytes()).prop_map(|(index, data)| Step::Say(index, data)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(index, flag)| Step::Hang(index, flag)),
        1 => (0u16..3000).prop_map(Step::Wait),
    ]
}

fn check_context(context: &HttpInitialContext) {
    let headers = context.headers.as_deref().unwrap_or_default();
    let names: HashSet<&str> = headers.iter().filter_map(|header| header.key.as_deref()).collect();
    assert_eq!(names.len(), headers.len(), "a name comes twice: {headers:?}");
    for header in headers {
        let (name, value) = (header.key.as_deref().unwrap_or_default(), header.value.as_deref().unwrap_or_default());
        assert!(!name.starts_with("oe-"), "{name}");
        assert!(value.chars().all(|c| u32::from(c) < 256 && !"\r\n\0".contains(c)), "{value:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn no_visitor_resets_a_printers_session(
        host in (0i8..9).prop_map(ServerHost::from), steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut pair = Pair::accepted(host, SessionOptions { max_streams: 8, ..SessionOptions::default() });
        let mut streams: Vec<StreamId> = Vec::new();
        for step in steps {
            let stream = |index: Index| (!streams.is_empty()).then(|| streams[index.index(streams.len())]);
            match step {
                Step::Http(visitor, length) => {
                    let length = length.map_or(BodyLength::Unknown, |length| BodyLength::Known(length.into()));
                    let opened = pair.session.open_http(&visitor.request(), &visitor.authority, length);
                    let is_command = visitor.target.path().to_lowercase().starts_with("/octoeverywhere-command-api/");
                    prop_assert!(!is_command || opened.is_err(), "{}", visitor.target);
                    streams.extend(opened.ok());
                }
                Step::Command(visitor, length) => {
                    let length = length.map_or(BodyLength::Unknown, |length| BodyLength::Known(length.into()));
                    streams.extend(pair.session.open_command(&visitor.request(), &visitor.authority, length).ok());
                }
                Step::Mqtt(visitor, protocol) => {
                    let protocol = protocol.and_then(|protocol| HeaderValue::from_bytes(&protocol).ok());
                    let opened = pair.session.open_mqtt(
                        &visitor.request(), &visitor.authority, protocol.as_ref(), pair.now,
                    );
                    streams.extend(opened.ok());
                }
                Step::WebSocket(visitor, protocol) => {
                    let protocol = protocol.and_then(|protocol| HeaderValue::from_bytes(&protocol).ok());
                    let opened = pair.session.open_websocket(
                        &visitor.request(), &visitor.authority, protocol.as_ref(), pair.now,
                    );
                    streams.extend(opened.ok());
                }
                Step::Body(index, data) => {
                    let _ = stream(index).map(|id| pair.session.send_body(id, Bytes::from(data)));
                }
                Step::Finish(index) => {
                    let _ = stream(index).map(|id| pair.session.finish_body(id));
                }
                Step::Message(index, text, data) => {
                    let kind = if text { MessageKind::Text } else { MessageKind::Binary };
                    let _ = stream(index).map(|id| pair.session.send_message(id, kind, Bytes::from(data)));
                }
                Step::CloseFrame(index, code, reason) => {
                    let _ = stream(index).map(|id| pair.session.send_close_frame(id, code, &reason));
                }
                Step::Leave(index) => {
                    if let Some(id) = stream(index) {
                        pair.session.close(id);
                    }
                }
                Step::Answer(index, body) => {
                    for message in stream(index).map_or_else(Vec::new, |id| Answer::new(200, &[], &body).messages(id.get(), &[])) {
                        pair.receive(&message);
                    }
                }
                Step::Say(index, data) => {
                    if let Some(id) = stream(index) {
                        let mut deflater = Deflater::default();
                        pair.receive(&message(id.get(), WebSocketKind::Text, &data, Compression::None, &mut deflater));
                    }
                }
                Step::Hang(index, flag) => {
                    if let Some(id) = stream(index) {
                        pair.receive(&close(id.get(), flag));
                        pair.printer.forget(id.get());
                    }
                }
                Step::Wait(milliseconds) => pair.wait(Duration::from_millis(milliseconds.into())),
            }
            // Panics where the plugin would reset its session.
            pair.exchange();
            for asked in pair.asked.drain(..) {
                match asked {
                    PrinterEvent::Request(request) => {
                        check_context(&request.context);
                        let path = request.context.path.as_deref().unwrap_or_default().to_lowercase();
                        for forbidden in ["rekey", "get-connection-info"] {
                            prop_assert!(!path.starts_with(&format!("/octoeverywhere-command-api/{forbidden}")), "{path}");
                        }
                        prop_assert!(request.header("cookie").is_some(), "somebody else's cookies would be sent");
                    }
                    PrinterEvent::WebSocket(_, context) => check_context(&context),
                    _ => {}
                }
            }
        }
    }
}
