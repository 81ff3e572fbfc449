//! What agent and service say to each other about the link itself.

use std::fmt::Debug;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue, Request};
use model::link::{
    AgentEvent, Drain, Hello, KeyRequest, PairingAnswer, PairingOffer, PairingRequest, Refusal, Welcome,
};
use model::printing::{MAX_PARTS, PrinterState};
use model::wire;
use relay::fuzzing::{Events, MAX_EVENT};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tunnel::accept::{Arrival, decode, encode};

use crate::input::{headers, pieces, split_choice};

/// A byte for the kind of message and how it arrives, then the message.
pub fn check(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    match choice & 3 {
        0 => check_events(rest, choice >> 2),
        1 => check_hello(rest),
        2 => check_arrival(rest),
        _ => {
            check_message::<Hello>(rest);
            check_message::<Welcome>(rest);
            check_message::<Refusal>(rest);
            check_message::<Drain>(rest);
            check_message::<AgentEvent>(rest);
            check_message::<PairingRequest>(rest);
            check_message::<PairingOffer>(rest);
            check_message::<PairingAnswer>(rest);
            check_message::<KeyRequest>(rest);
            check_state(rest);
        }
    }
}

/// A message survives being written and read.
fn check_message<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(message) = serde_json::from_slice::<T>(bytes) else { return };
    let Ok(written) = serde_json::to_vec(&message) else { panic!("{message:?} cannot be written") };
    assert_eq!(serde_json::from_slice::<T>(&written).ok().as_ref(), Some(&message));
}

/// What an agent says of its printer fits where it is kept, whatever it says, and one event again.
fn check_state(bytes: &[u8]) {
    let Ok(state) = serde_json::from_slice::<PrinterState>(bytes) else { return };
    let state = state.bounded();
    assert!(state.temperatures.len() <= MAX_PARTS && state.cameras.len() <= MAX_PARTS);
    assert_eq!(state.clone().bounded(), state);
    let Ok(event) = serde_json::to_vec(&AgentEvent::PrinterState(state)) else { panic!("a state can be written") };
    assert!(event.len() < MAX_EVENT);
}

fn check_events(stream: &[u8], seed: u8) {
    let mut expected = Vec::new();
    let mut lines = stream.split(|byte| *byte == b'\n').peekable();
    let mut is_heard = true;
    while let Some(line) = lines.next() {
        if line.len() > MAX_EVENT {
            is_heard = false;
            break;
        }
        // The last one is not whole yet.
        if lines.peek().is_some() {
            expected.extend(serde_json::from_slice::<AgentEvent>(line));
        }
    }
    let mut events = Events::default();
    let mut seen = Vec::new();
    let heard = pieces(stream, seed).into_iter().all(|piece| events.handle_bytes(piece, |event| seen.push(event)));
    assert_eq!(heard, is_heard);
    assert_eq!(seen, expected);
}

/// A hello in its header, as an agent sends it.
fn check_hello(json: &[u8]) {
    let mut request = Request::new(());
    let Ok(packed) = HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(json)) else { panic!("base64 is text") };
    for (name, value) in [
        ("upgrade", HeaderValue::from_static("spoolway-tunnel")),
        ("authorization", HeaderValue::from_static("Bearer 0123456789abcdef0123456789abcdef")),
        (wire::HELLO_HEADER, packed),
    ] {
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    match Arrival::read(&request) {
        Ok(arrival) => {
            assert_eq!(serde_json::from_slice::<Hello>(json).ok().as_ref(), Some(&arrival.hello));
            request.headers_mut().insert(wire::HELLO_HEADER, encode(&arrival.hello));
            // Written anew it may be longer: what was left out has its default spelt out.
            if request.headers()[wire::HELLO_HEADER].len() <= 8 * 1024 {
                assert_eq!(decode::<Hello>(request.headers(), wire::HELLO_HEADER), Some(arrival.hello));
            }
        }
        Err(_) => assert!(json.len() > 6 * 1024 || serde_json::from_slice::<Hello>(json).is_err()),
    }
}

/// An upgrade request of any shape.
fn check_arrival(lines: &[u8]) {
    let mut request = Request::new(());
    *request.headers_mut() = headers(lines);
    let Ok(arrival) = Arrival::read(&request) else { return };
    assert!((32..=256).contains(&arrival.key.expose().len()));
    if let Some(printer) = &arrival.hello.printer_id {
        assert!(printer.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
