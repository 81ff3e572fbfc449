//! Reading and writing messages of every kind, and refusing what is none.

use bytes::Bytes;
use model::Secret;
use octo::wire::{
    self, DecodeError, HandshakeSyn, HttpHeader, HttpInitialContext, MAX_MESSAGE, Message, Property, StreamMessage,
};
use proptest::prelude::*;

use crate::examples::example;

fn text() -> impl Strategy<Value = Option<String>> {
    prop::option::of("\\PC{0,20}")
}

fn context() -> impl Strategy<Value = HttpInitialContext> {
    let headers = prop::collection::vec((text(), text()).prop_map(|(key, value)| HttpHeader { key, value }), 0..6);
    (text(), any::<i8>(), text(), text(), prop::option::of(headers), any::<i8>(), text()).prop_map(
        |(path, path_type, method, octo_host, headers, auth, forwarded_for_ip)| HttpInitialContext {
            path,
            path_type: path_type.into(),
            method,
            octo_host,
            headers,
            use_octoeverywhere_auth: auth.into(),
            forwarded_for_ip,
        },
    )
}

fn stream() -> impl Strategy<Value = StreamMessage> {
    let flags = (any::<u32>(), any::<[bool; 6]>(), any::<i64>(), any::<u64>(), any::<u16>());
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
    let kinds = (any::<i8>(), any::<i8>(), any::<i8>());
    (flags, data, kinds, prop::option::of(context())).prop_map(|(flags, data, kinds, context)| StreamMessage {
        stream_id: flags.0,
        is_open_msg: flags.1[0],
        is_close_msg: flags.1[1],
        is_data_transmission_done: flags.1[2],
        is_control_flags_only: flags.1[3],
        is_websocket_stream: flags.1[4],
        close_due_to_request_connection_failure: flags.1[5],
        full_stream_data_size: flags.2,
        original_data_size: flags.3,
        status_code: flags.4,
        data: data.map(Bytes::from),
        data_compression: kinds.0.into(),
        websocket_data_type: kinds.1.into(),
        msg_priority: kinds.2.into(),
        http_initial_context: context,
        ..StreamMessage::default()
    })
}

proptest! {
    #[test]
    fn streams_survive_the_wire(stream in stream()) {
        let message = Message::Stream(Box::new(stream));
        prop_assert_eq!(wire::decode(&wire::encode(&message)).expect("our own messages are valid"), message);
    }

    #[test]
    fn introductions_survive_the_wire(
        printer_id in text(), key in text(), challenge in prop::option::of(prop::collection::vec(any::<u8>(), 0..600)),
        kinds in any::<[i8; 4]>(), pairs in prop::option::of(prop::collection::vec((text(), text()), 0..4)),
    ) {
        let message = Message::HandshakeSyn(Box::new(HandshakeSyn {
            printer_id,
            private_key: key.map(Secret::new),
            rsa_challenge: challenge.map(Bytes::from),
            summon_method: kinds[0].into(),
            server_host: kinds[1].into(),
            os_type: kinds[2].into(),
            receive_compression_type: kinds[3].into(),
            properties: pairs.map(|pairs| {
                pairs
                    .into_iter()
                    .map(|(key, value)| Property { key, str_value: value.map(Secret::new) })
                    .collect()
            }),
            ..HandshakeSyn::default()
        }));
        prop_assert_eq!(wire::decode(&wire::encode(&message)).expect("our own messages are valid"), message);
    }

    #[test]
    fn damage_is_refused_or_read_but_never_a_panic(
        name in prop::sample::select(&["handshake_syn", "http_response_single", "ws_text", "summon", "http_open"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = example(name).to_vec();
        for (position, byte) in damage {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if let Ok(message) = wire::decode(&Bytes::from(bytes)) {
            prop_assert_eq!(wire::decode(&wire::encode(&message)).expect("our own messages are valid"), message);
        }
    }

    #[test]
    fn a_cut_message_is_refused(name in prop::sample::select(&["handshake_syn", "close"]), cut in any::<prop::sample::Index>()) {
        let bytes = example(name);
        let cut = bytes.slice(..cut.index(bytes.len()));
        prop_assert!(matches!(wire::decode(&cut), Err(DecodeError::Prefix(_))));
    }
}

#[test]
fn payloads_share_the_memory_of_their_message() {
    let message =
        Message::Stream(Box::new(StreamMessage { data: Some(Bytes::from(vec![7; 1000])), ..StreamMessage::default() }));
    let bytes = wire::encode(&message);
    let Message::Stream(stream) = wire::decode(&bytes).expect("valid") else { panic!("a stream's message") };
    let data = stream.data.expect("it has data");
    assert!(bytes.as_ptr_range().contains(&data.as_ptr()));
}

#[test]
fn newer_plugins_may_say_what_we_do_not_know() {
    // A summon's table under another number.
    let mut bytes = example("summon").to_vec();
    let place = bytes.iter().position(|byte| *byte == 5).expect("its discriminant");
    bytes[place] = 77;
    assert_eq!(wire::decode(&Bytes::from(bytes)).expect("valid"), Message::Unknown(77));
}

#[test]
fn too_much_of_anything_is_refused() {
    let large = Bytes::from(vec![0; MAX_MESSAGE + 1]);
    assert!(matches!(wire::decode(&large), Err(DecodeError::TooLarge(_))));
    let with_headers = |count: usize| {
        wire::encode(&Message::Stream(Box::new(StreamMessage {
            http_initial_context: Some(HttpInitialContext {
                headers: Some(vec![HttpHeader::default(); count]),
                ..HttpInitialContext::default()
            }),
            ..StreamMessage::default()
        })))
    };
    assert!(wire::decode(&with_headers(4000)).is_ok());
    assert!(matches!(wire::decode(&with_headers(5000)), Err(DecodeError::Buffer(_))), "tables are counted");
}
