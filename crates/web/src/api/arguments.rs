//! The bodies of App API calls, read as forgivingly as apps need it.

use serde_json::{Map, Value};

use super::call::ApiFailure;

/// A call's arguments. Keys are as documented, case included; unknown ones are ignored, so that newer apps can call.
#[derive(Debug, Default)]
pub(super) struct Arguments(Map<String, Value>);

impl Arguments {
    /// Reads a body. None at all is an object without keys.
    pub(super) fn read(body: &[u8]) -> Result<Self, ApiFailure> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
        if body.is_empty() {
            return Ok(Self::default());
        }
        // The documentation's own sample has a comma after its last member, and apps copied it.
        let value = serde_json::from_slice(body).or_else(|_| serde_json::from_slice(&without_trailing_commas(body)));
        match value {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(ApiFailure::bad_request("The body has to be a JSON object.")),
            Err(error) => Err(ApiFailure::bad_request(format!(
                "The body is no valid JSON: line {}, column {}.",
                error.line(),
                error.column()
            ))),
        }
    }

    /// A text; absent and null are the same, as everywhere below.
    pub(super) fn text(&self, key: &'static str) -> Result<Option<&str>, ApiFailure> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiFailure::bad_request(format!("`{key}` has to be a string."))),
        }
    }

    pub(super) fn number(&self, key: &'static str) -> Result<Option<f64>, ApiFailure> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(ApiFailure::bad_request(format!("`{key}` has to be a number."))),
            },
        }
    }

    pub(super) fn flag(&self, key: &'static str) -> Result<Option<bool>, ApiFailure> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(ApiFailure::bad_request(format!("`{key}` has to be true or false."))),
        }
    }

    pub(super) fn integers(&self, key: &'static str) -> Result<Vec<i64>, ApiFailure> {
        let wrong = || ApiFailure::bad_request(format!("`{key}` has to be a list of integers."));
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => {
                values.iter().map(|value| value.as_i64().ok_or_else(wrong)).collect::<Result<_, _>>()
            }
            Some(_) => Err(wrong()),
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }
}

/// The text without commas that stand before a closing bracket, those in strings apart.
fn without_trailing_commas(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    // Where in `out` a comma stands that only white space has followed since.
    let mut comma = None;
    let (mut in_string, mut is_escaped) = (false, false);
    for &byte in json {
        if in_string {
            in_string = is_escaped || byte != b'"';
            is_escaped = byte == b'\\' && !is_escaped;
        } else {
            match byte {
                b'}' | b']' => {
                    if let Some(position) = comma.take() {
                        out.remove(position);
                    }
                }
                b',' => comma = Some(out.len()),
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => {
                    comma = None;
                    in_string = byte == b'"';
                }
            }
        }
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn trailing_commas_are_ignored_where_they_trail() {
        for (given, expected) in [
            (r#"{"AppToken": "a",}"#, r#"{"AppToken": "a"}"#),
            ("{\"a\": [1, 2, ], \r\n\t}", "{\"a\": [1, 2 ] \r\n\t}"),
            (r#"{"a": "x,}", "b": "\",]",}"#, r#"{"a": "x,}", "b": "\",]"}"#),
            (r#"{"a": "\\",}"#, r#"{"a": "\\"}"#),
            ("{}", "{}"),
            ("{,}", "{}"),
            (r#"{"a": 1}"#, r#"{"a": 1}"#),
        ] {
            assert_eq!(String::from_utf8_lossy(&without_trailing_commas(given.as_bytes())), expected);
        }
        assert!(Arguments::read(br#"{"a": 1,,}"#).is_err());
    }

    #[test]
    fn a_body_is_an_object_or_nothing() {
        for body in ["", "  \r\n", "{}", "\u{feff}{\"a\": null}"] {
            let arguments = Arguments::read(body.as_bytes()).expect(body);
            assert_eq!(arguments.text("a").expect("null is absent"), None);
        }
        for body in ["[]", "1", "null", "\"a\"", "{", "AppToken=a", "{\"a\": \"\u{0}\"}", "\u{0}"] {
            assert!(Arguments::read(body.as_bytes()).is_err(), "{body:?}");
        }
        assert!(Arguments::read(b"{\"a\": \"\xff\"}").is_err());
        assert!(Arguments::read("[".repeat(60_000).as_bytes()).is_err());
    }

    #[test]
    fn types_are_as_documented_and_keys_keep_their_case() {
        let arguments = Arguments::read(br#"{"t": "x", "n": 1.5, "f": true, "l": [1, -2], "T": 1}"#).expect("JSON");
        assert_eq!(arguments.text("t").expect("a text"), Some("x"));
        assert_eq!(arguments.number("n").expect("a number"), Some(1.5));
        assert_eq!(arguments.flag("f").expect("a flag"), Some(true));
        assert_eq!(arguments.integers("l").expect("integers"), [1, -2]);
        assert!(arguments.text("n").is_err() && arguments.text("T").is_err());
        assert!(arguments.number("t").is_err() && arguments.flag("n").is_err());
        assert!(arguments.integers("n").is_err());
        assert!(Arguments::read(br#"{"l": [1.5]}"#).expect("JSON").integers("l").is_err());
    }

    proptest! {
        #[test]
        fn what_is_valid_stays_as_it_is(text in "\\PC{0,40}", numbers in proptest::collection::vec(any::<i32>(), 0..5)) {
            let json = serde_json::json!({ "text": text, "numbers": numbers, "deep": [[], {}] }).to_string();
            prop_assert_eq!(without_trailing_commas(json.as_bytes()), json.as_bytes());
        }

        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Arguments::read(&body);
        }
    }
}
