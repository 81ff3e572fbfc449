//! The messages of the JSON protocol.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use crate::mqtt::{MAX_PACKET, Message, topic};

/// What a client wants.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) wish: Wish,
    pub(super) topic: String,
    /// The client's own number for it.
    pub(super) id: Option<i64>,
    /// Whether it wants no acknowledgement.
    pub(super) no_ack: bool,
}

/// What it wants done with the topic.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    Subscribe,
    Unsubscribe,
    Publish(Bytes),
}

impl Wish {
    /// Its name on the wire.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Publish(_) => "publish",
        }
    }
}

/// Why a message is no request.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum JsonError {
    #[error("that is not a JSON object with `Type` and `Topic`")]
    Malformed,
    #[error("`Type` must be subscribe, unsubscribe or publish")]
    Type,
    #[error("`Topic` is none that can be used for that")]
    Topic,
    #[error("`Payload` is no base64, or too long")]
    Payload,
}

/// Reads a message. Unknown members are passed over.
pub(super) fn read(text: &[u8]) -> Result<Request, JsonError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wire {
        r#type: String,
        topic: String,
        #[serde(default)]
        payload: Option<String>,
        #[serde(default)]
        id: Option<i64>,
        #[serde(default)]
        no_ack: Option<bool>,
    }
    let wire: Wire = serde_json::from_slice(text).map_err(|_| JsonError::Malformed)?;
    let wish = match wire.r#type.to_ascii_lowercase().as_str() {
        "subscribe" => Wish::Subscribe,
        "unsubscribe" => Wish::Unsubscribe,
        "publish" => Wish::Publish(payload(wire.payload.as_deref().unwrap_or_default())?),
        _ => return Err(JsonError::Type),
    };
    let is_usable = match &wish {
        Wish::Publish(_) => topic::is_topic(&wire.topic),
        Wish::Subscribe | Wish::Unsubscribe => topic::is_filter(&wire.topic),
    };
    if !is_usable {
        return Err(JsonError::Topic);
    }
    Ok(Request { wish, topic: wire.topic, id: wire.id, no_ack: wire.no_ack.unwrap_or(false) })
}

fn payload(encoded: &str) -> Result<Bytes, JsonError> {
    let payload = STANDARD.decode(encoded).map_err(|_| JsonError::Payload)?;
    if payload.len() > MAX_PACKET as usize { Err(JsonError::Payload) } else { Ok(payload.into()) }
}

/// That a request was taken; 0 is success, as the documentation has it.
pub(super) fn ack(request: &Request, succeeded: bool, number: u64) -> Value {
    json!({
        "Type": format!("{}_ack", request.wish.name()),
        "AckResult": u8::from(!succeeded), "MqttMessageId": number, "Id": request.id,
    })
}

/// What the printer says to it.
pub(super) fn done(request: &Request, reason_code: u8, number: u64) -> Value {
    json!({
        "Type": format!("on_{}", request.wish.name()),
        "ReasonCodeList": [reason_code], "MqttMessageId": number, "Id": request.id,
    })
}

/// What the printer has published.
pub(super) fn message(message: &Message, number: u64) -> Value {
    json!({
        "Type": "on_message", "Topic": message.topic, "Payload": STANDARD.encode(&message.payload),
        "MqttMessageId": number,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_read() {
        let publish = br#" {"Type":"Publish","Topic":"device/1/request","Payload":"e30=","Id":7,"NoAck":true,"X":[]}"#;
        assert_eq!(
            read(publish),
            Ok(Request {
                wish: Wish::Publish(Bytes::from_static(b"{}")),
                topic: "device/1/request".to_owned(),
                id: Some(7),
                no_ack: true,
            })
        );
        let subscribe = read(br##"{"Type":"subscribe","Topic":"device/#"}"##).expect("it is whole");
        assert_eq!((subscribe.wish, subscribe.id, subscribe.no_ack), (Wish::Subscribe, None, false));
        for (text, error) in [
            ("", JsonError::Malformed),
            ("{", JsonError::Malformed),
            ("[]", JsonError::Malformed),
            (r#"{"Type":"subscribe"}"#, JsonError::Malformed),
            (r#"{"Type":"subscribe","Topic":7}"#, JsonError::Malformed),
            (r#"{"Type":"subscribe","Topic":"a","Id":"x"}"#, JsonError::Malformed),
            (r#"{"Type":"dance","Topic":"a"}"#, JsonError::Type),
            (r##"{"Type":"publish","Topic":"a/#"}"##, JsonError::Topic),
            (r#"{"Type":"subscribe","Topic":"a#"}"#, JsonError::Topic),
            (r#"{"Type":"unsubscribe","Topic":""}"#, JsonError::Topic),
            (r#"{"Type":"publish","Topic":"a","Payload":"%"}"#, JsonError::Payload),
        ] {
            assert_eq!(read(text.as_bytes()), Err(error), "{text}");
        }
        let long = STANDARD.encode(vec![0; MAX_PACKET as usize + 1]);
        assert_eq!(
            read(format!(r#"{{"Type":"publish","Topic":"a","Payload":"{long}"}}"#).as_bytes()),
            Err(JsonError::Payload)
        );
    }

    #[test]
    fn success_is_zero() {
        let request = read(br#"{"Type":"subscribe","Topic":"a","Id":3}"#).expect("it is whole");
        assert_eq!(
            ack(&request, true, 9),
            json!({"Type": "subscribe_ack", "AckResult": 0, "MqttMessageId": 9, "Id": 3})
        );
        assert_eq!(ack(&request, false, 9)["AckResult"], 1);
        assert_eq!(done(&request, 128, 9)["ReasonCodeList"], json!([128]));
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn what_is_written_is_read(topic in "[a-z/]{1,30}", payload in prop::collection::vec(any::<u8>(), 0..300), id: i64) {
            let text = json!({"Type": "publish", "Topic": topic, "Payload": STANDARD.encode(&payload), "Id": id});
            let request = read(text.to_string().as_bytes()).expect("it is whole");
            prop_assert_eq!(request.wish, Wish::Publish(payload.into()));
            prop_assert_eq!((request.topic, request.id), (topic, Some(id)));
        }

        #[test]
        fn types_are_told_apart(value in prop_oneof![
            Just(json!(null)), Just(json!(true)), Just(json!(1.5)), Just(json!("x")), Just(json!([])), Just(json!({}))
        ], key in prop_oneof![Just("Type"), Just("Topic"), Just("Payload"), Just("Id"), Just("NoAck")]) {
            let mut wire = json!({"Type": "publish", "Topic": "a", "Payload": "e30=", "Id": 1, "NoAck": false});
            wire[key] = value;
            if let Ok(request) = read(wire.to_string().as_bytes()) {
                prop_assert!(topic::is_topic(&request.topic));
            }
        }
    }
}
