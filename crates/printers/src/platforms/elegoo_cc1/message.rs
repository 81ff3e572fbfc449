//! Messages of SDCP (Smart Device Control Protocol 3.0), as the Centauri Carbon writes them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What somebody whom the printer has no room for is told, whatever the words around it.
const TOO_MANY: &str = "too many";

/// A request; `id` is what its answer is known by.
pub(super) fn request(command: u64, data: &Value, id: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({"Id": "", "Data": {"Cmd": command, "Data": data, "From": 1, "MainboardId": "", "RequestId": id,
        "TimeStamp": now.as_secs()}})
    .to_string()
}

/// What the printer says.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    /// An answer to a request.
    Answer(Answer),
    /// What it does; the object has the keys of the newest state.
    Status(Map<String, Value>),
    /// What it is.
    Attributes(Map<String, Value>),
    /// It serves as many clients as it can.
    TooManyClients,
    /// Anything else: other firmware may say more.
    Other,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// The id of the request.
    pub(super) request_id: String,
    /// What it says; `Ack` 0 is success.
    pub(super) data: Value,
    /// All of it.
    pub(super) whole: Value,
}

impl Answer {
    /// The number of the refusal; `None` where the printer has obeyed.
    pub(super) fn refusal(&self) -> Option<i64> {
        self.data["Ack"].as_i64().filter(|ack| *ack != 0)
    }
}

/// Reads a message.
pub(super) fn read(text: &str) -> Incoming {
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(rename = "Topic", default)]
        topic: String,
    }
    // Other words than `pong` are a complaint.
    let Ok(Envelope { topic }) = serde_json::from_str(text) else {
        return if is_too_many(text) { Incoming::TooManyClients } else { Incoming::Other };
    };
    let Ok(mut whole) = serde_json::from_str::<Value>(text) else { return Incoming::Other };
    // Some firmware puts the object into `Data`, as the protocol's description has it.
    let mut inner = |key: &str| match whole[key].take() {
        Value::Object(object) => Some(object),
        _ => match whole["Data"][key].take() {
            Value::Object(object) => Some(object),
            _ => None,
        },
    };
    match topic.split('/').nth(1) {
        Some("status") => inner("Status").map_or(Incoming::Other, Incoming::Status),
        Some("attributes") => inner("Attributes").map_or(Incoming::Other, Incoming::Attributes),
        Some("response") => {
            let data = &whole["Data"];
            let Some(id) = data["RequestID"].as_str() else { return Incoming::Other };
            Incoming::Answer(Answer { request_id: id.to_owned(), data: data["Data"].clone(), whole })
        }
        _ if is_too_many(text) => Incoming::TooManyClients,
        _ => Incoming::Other,
    }
}

/// Whether a text says that the printer has no room for another client.
pub(super) fn is_too_many(text: &str) -> bool {
    text.to_ascii_lowercase().contains(TOO_MANY)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_spelled_as_the_printer_wants_them() {
        let request: Value = serde_json::from_str(&request(403, &json!({"a": 1}), "abc")).unwrap();
        assert!(request["Data"]["TimeStamp"].as_u64().unwrap() > 1_700_000_000);
        let expected = json!({"Cmd": 403, "Data": {"a": 1}, "From": 1, "MainboardId": "", "RequestId": "abc",
            "TimeStamp": request["Data"]["TimeStamp"]});
        assert_eq!(request, json!({"Id": "", "Data": expected}));
    }

    #[test]
    fn messages_are_known_by_their_topics() {
        let status = json!({"Topic": "sdcp/status/1", "Status": {"PrintInfo": {}}, "New": [1]});
        let Incoming::Status(read_status) = read(&status.to_string()) else { panic!("no status") };
        assert!(read_status.contains_key("PrintInfo"));
        let nested = json!({"Topic": "sdcp/status/1", "Data": {"Status": {"A": 1}}});
        assert_eq!(read(&nested.to_string()), Incoming::Status(Map::from_iter([("A".to_owned(), json!(1))])));
        let attributes = json!({"Topic": "sdcp/attributes/1", "Attributes": {"Name": "C"}});
        assert!(matches!(read(&attributes.to_string()), Incoming::Attributes(_)));
        let answer = json!({"Topic": "sdcp/response/1", "Data": {"RequestID": "x", "Cmd": 1, "Data": {"Ack": 1}}});
        let Incoming::Answer(answer) = read(&answer.to_string()) else { panic!("no answer") };
        assert_eq!((answer.request_id.as_str(), answer.refusal()), ("x", Some(1)));
        for other in [
            "pong",
            "",
            "{",
            "[]",
            "7",
            "{}",
            r#"{"Topic":7}"#,
            r#"{"Topic":"sdcp/status/1"}"#,
            r#"{"Topic":"sdcp/status/1","Status":[]}"#,
            r#"{"Topic":"sdcp/response/1","Data":{"RequestID":7}}"#,
            r#"{"Topic":"sdcp/error/1","Data":{"Data":{"ErrorCode":"1"}}}"#,
        ] {
            assert_eq!(read(other), Incoming::Other, "{other}");
        }
        for refusal in ["Too many clients", r#"{"error":"too many client"}"#] {
            assert_eq!(read(refusal), Incoming::TooManyClients);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_breaks_it(text in ".{0,200}", topic in "sdcp/[a-z]{0,10}/x", key in "[A-Za-z]{0,8}") {
            read(&text);
            read(&json!({"Topic": topic, key: text, "Data": {"RequestID": text}}).to_string());
        }
    }
}
