//! The specification's examples, byte for byte.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use octo::wire::{self, Message, StreamMessage};
use serde_json::{Value, json};

/// The messages that a service sends. The others come from plugins.
const SENT_BY_THE_SERVICE: [&str; 2] = ["service->agent", "both"];

pub(crate) fn data(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits"))
        .collect()
}

/// The bytes of an example.
pub(crate) fn example(name: &str) -> Bytes {
    hex(&data(&format!("{name}.hex"))).into()
}

/// What an example says.
pub(crate) fn description(name: &str) -> Value {
    serde_json::from_str(&data(&format!("{name}.json"))).expect("examples are JSON")
}

/// The part of a stream that an example is.
pub(crate) fn stream(name: &str) -> StreamMessage {
    match wire::decode(&example(name)).expect("examples are valid") {
        Message::Stream(stream) => *stream,
        other => panic!("{name} is {other:?}"),
    }
}

fn names() -> Vec<String> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("the examples are there")
        .filter_map(|entry| entry.expect("readable").file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[test]
fn every_example_reads_as_described() {
    let names = names();
    assert_eq!(names.len(), 38, "an example is missing");
    for name in names {
        let description = description(&name);
        let bytes = example(&name);
        assert_eq!(json!(bytes.len()), description["total_bytes"], "{name}");
        let message = wire::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let (context, fields) = as_json(&message);
        assert_eq!(context, description["context"], "{name}");
        let mut expected = description["fields"].clone();
        remove_slots(&mut expected);
        assert_eq!(fields, expected, "{name}");
    }
}

#[test]
fn what_the_service_sends_is_read_back_the_same() {
    let mut count = 0;
    for name in names() {
        let description = description(&name);
        let message = wire::decode(&example(&name)).expect("examples are valid");
        let written = wire::encode(&message);
        assert_eq!(wire::decode(&written).expect("our own messages are valid"), message, "{name}");
        let direction = description["direction"].as_str().expect("directions are strings");
        if SENT_BY_THE_SERVICE.contains(&direction) {
            count += 1;
            // Defaults are left out as the other side leaves them out, which makes the two equally long.
            assert!(written.len().abs_diff(example(&name).len()) <= 32, "{name}: {}", written.len());
        }
    }
    assert!(count >= 20, "{count}");
}

/// As the descriptions put it: the name of the table, and its fields.
pub(crate) fn as_json(message: &Message) -> (&'static str, Value) {
    match message {
        Message::HandshakeSyn(syn) => (
            "HandshakeSyn",
            json!({
                "printer_id": syn.printer_id,
                "is_primary_connection": syn.is_primary_connection,
                "plugin_version": syn.plugin_version,
                "local_device_ip": syn.local_device_ip,
                "local_http_proxy_port": syn.local_http_proxy_port,
                "key": syn.key.as_ref().map(|key| key.expose()),
                "rsa_challenge": bytes_json(syn.rsa_challenge.as_ref()),
                "ras_challenge_version": syn.ras_challenge_version,
                "webcam_flip_h": syn.webcam_flip_h,
                "webcam_flip_v": syn.webcam_flip_v,
                "webcam_flip_rotate_90": syn.webcam_flip_rotate_90,
                "private_key": syn.private_key.as_ref().map(|key| key.expose()),
                "summon_method": i8::from(syn.summon_method),
                "server_host": i8::from(syn.server_host),
                "is_companion": syn.is_companion,
                "os_type": i8::from(syn.os_type),
                "receive_compression_type": i8::from(syn.receive_compression_type),
                "device_id": syn.device_id,
                "is_docker_container": syn.is_docker_container,
                "properties": syn.properties.as_ref().map(|properties| {
                    properties
                        .iter()
                        .map(|pair| json!({"key": pair.key, "str_value": pair.str_value.as_ref().map(|v| v.expose())}))
                        .collect::<Vec<_>>()
                }),
            }),
        ),
        Message::HandshakeAck(ack) => (
            "HandshakeAck",
            json!({
                "accepted": ack.accepted,
                "connected_accounts": ack.connected_accounts,
                "error": ack.error,
                "backoff_seconds": ack.backoff_seconds,
                "requires_plugin_update": ack.requires_plugin_update,
                "octokey": ack.octokey.as_ref().map(|key| key.expose()),
                "rsa_challenge_result": ack.rsa_challenge_result,
                "requires_rekey": ack.requires_rekey,
            }),
        ),
        Message::Stream(stream) => ("WebStreamMsg", stream_json(stream)),
        Message::Notification(notification) => (
            "OctoNotification",
            json!({
                "title": notification.title,
                "text": notification.text,
                "type": i8::from(notification.kind),
                "action_text": notification.action_text,
                "action_link": notification.action_link,
                "show_for_sec": notification.show_for_sec,
                "show_only_if_loaded_from_oe": notification.show_only_if_loaded_from_oe,
            }),
        ),
        Message::Summon(summon) => (
            "OctoSummon",
            json!({
                "server_connect_url": summon.server_connect_url,
                "summon_method": i8::from(summon.summon_method),
            }),
        ),
        Message::Unknown(kind) => panic!("no example is of kind {kind}"),
    }
}

fn stream_json(stream: &StreamMessage) -> Value {
    json!({
        "stream_id": stream.stream_id,
        "is_open_msg": stream.is_open_msg,
        "is_close_msg": stream.is_close_msg,
        "is_data_transmission_done": stream.is_data_transmission_done,
        "is_control_flags_only": stream.is_control_flags_only,
        "full_stream_data_size": stream.full_stream_data_size,
        "data": bytes_json(stream.data.as_ref()),
        "data_compression": i8::from(stream.data_compression),
        "original_data_size": stream.original_data_size,
        "http_initial_context": stream.http_initial_context.as_ref().map(|context| json!({
            "path": context.path,
            "path_type": i8::from(context.path_type),
            "method": context.method,
            "octo_host": context.octo_host,
            "headers": context.headers.as_ref().map(|headers| {
                headers.iter().map(|header| json!({"key": header.key, "value": header.value})).collect::<Vec<_>>()
            }),
            "use_octoeverywhere_auth": i8::from(context.use_octoeverywhere_auth),
            "forwarded_for_ip": context.forwarded_for_ip,
        })),
        "is_websocket_stream": stream.is_websocket_stream,
        "status_code": stream.status_code,
        "websocket_data_type": i8::from(stream.websocket_data_type),
        "msg_priority": i8::from(stream.msg_priority),
        "close_due_to_request_connection_failure": stream.close_due_to_request_connection_failure,
        "body_read_time_high_water_mark_ms": stream.body_read_time_high_water_mark_ms,
        "socket_send_time_high_water_mark_ms": stream.socket_send_time_high_water_mark_ms,
        "multipart_reads_per_second": stream.multipart_reads_per_second,
    })
}

fn bytes_json(bytes: Option<&Bytes>) -> Value {
    bytes.map_or(Value::Null, |bytes| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"len": bytes.len(), "hex": hex})
    })
}

/// Which slots are on the wire is for encoders that want to write the same bytes; ours need not.
fn remove_slots(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("_slots_on_wire");
            fields.values_mut().for_each(remove_slots);
        }
        Value::Array(elements) => elements.iter_mut().for_each(remove_slots),
        _ => {}
    }
}
