//! The envelope in which App APIs answer.

use serde::Serialize;
use serde_json::{Map, Value};

/// Keys of the envelope itself. The status of a print watch is a text under one of them: apps that read the envelope
/// need the number there, and those find the text in `Result`.
const KEYS: [&str; 4] = ["Status", "Error", "IsUserError", "Result"];

/// A success: the envelope that apps in the field read, and beside it the result's own keys, which the documentation
/// shows alone.
pub(crate) fn success(result: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let result = serde_json::to_value(result)?;
    let mut members = Map::new();
    if let Value::Object(inner) = &result {
        members.extend(inner.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    // After the result's keys: the envelope's win.
    let envelope = [Value::from(200), Value::from(""), Value::from(false), result];
    members.extend(KEYS.map(str::to_owned).into_iter().zip(envelope));
    serde_json::to_vec(&members)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_in_the_envelope_and_beside_it() {
        let body = success(&json!({ "State": 0, "Status": "", "Rating": 10 })).expect("it can be written");
        let expected = json!({
            "Status": 200, "Error": "", "IsUserError": false,
            "Result": { "State": 0, "Status": "", "Rating": 10 },
            "State": 0, "Rating": 10
        });
        assert_eq!(serde_json::from_slice::<Value>(&body).expect("it is JSON"), expected);
    }

    #[test]
    fn a_result_without_keys_is_an_envelope() {
        let body = success(&json!({})).expect("it can be written");
        let expected = json!({ "Status": 200, "Error": "", "IsUserError": false, "Result": {} });
        assert_eq!(serde_json::from_slice::<Value>(&body).expect("it is JSON"), expected);
    }
}
