//! Arguments of commands: a JSON object in the body, or else the query.

use percent_encoding::percent_decode;
use serde_json::{Map, Value};

use crate::platforms::{CommandFailure, Outcome};

/// The longest arguments are native messages.
pub(super) const MAX_BODY: usize = 256 * 1024;

/// Arguments by name; names are compared without case, so they are kept in lower case.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Arguments {
    values_by_name: Map<String, Value>,
    /// Texts from a query stand for numbers and truth values too, having no other form.
    is_query: bool,
    had_body: bool,
}

impl Arguments {
    /// Reads a body if there is one, and else the query. They are never merged.
    ///
    /// # Errors
    /// If the body is no JSON object.
    pub(super) fn read(body: &[u8], query: Option<&str>) -> Outcome<Self> {
        if body.is_empty() {
            return Ok(Self { values_by_name: read_query(query), is_query: true, had_body: false });
        }
        let object: Map<String, Value> = serde_json::from_slice(body).map_err(|_| CommandFailure::Unparsable)?;
        let values_by_name = object.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        Ok(Self { values_by_name, is_query: false, had_body: true })
    }

    /// The query alone, for commands whose body is something else.
    pub(super) fn of_query(query: Option<&str>) -> Self {
        Self { values_by_name: read_query(query), is_query: true, had_body: false }
    }

    /// Whether the arguments came in a body.
    pub(super) fn had_body(&self) -> bool {
        self.had_body
    }

    /// All of them.
    pub(super) fn all(&self) -> &Map<String, Value> {
        &self.values_by_name
    }

    /// The value of the first of these names that is there and not `null`.
    pub(super) fn get(&self, names: &[&str]) -> Option<&Value> {
        names.iter().find_map(|name| self.values_by_name.get(&name.to_lowercase())).filter(|value| !value.is_null())
    }

    /// A text, by any of its names.
    pub(super) fn text(&self, names: &[&str]) -> Outcome<Option<&str>> {
        match self.get(names) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(names, "a text")),
        }
    }

    /// A truth value; from a query also `true`, `false`, `1` and `0`.
    pub(super) fn truth(&self, names: &[&str]) -> Outcome<Option<bool>> {
        match self.get(names) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(*truth)),
            Some(Value::String(text)) if self.is_query => {
                truth_of(text).map(Some).ok_or_else(|| wrong(names, "true or false"))
            }
            Some(_) => Err(wrong(names, "true or false")),
        }
    }

    /// A truth value that is also taken as text.
    pub(super) fn loose_truth(&self, names: &[&str]) -> Outcome<Option<bool>> {
        match self.get(names) {
            Some(Value::String(text)) => truth_of(text).map(Some).ok_or_else(|| wrong(names, "true or false")),
            _ => self.truth(names),
        }
    }

    /// A finite number; truth values are none.
    pub(super) fn number(&self, names: &[&str]) -> Outcome<Option<f64>> {
        let number = match self.get(names) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) if self.is_query => text.trim().parse().ok(),
            Some(_) => None,
        };
        number.filter(|number| number.is_finite()).map(Some).ok_or_else(|| wrong(names, "a number"))
    }

    /// A finite number within bounds, which are included.
    pub(super) fn number_within(&self, names: &[&str], least: f64, most: f64) -> Outcome<Option<f64>> {
        match self.number(names)? {
            Some(number) if !(least..=most).contains(&number) => Err(wrong(names, &format!("from {least} to {most}"))),
            number => Ok(number),
        }
    }

    /// A whole number from 0 to `most`; `30.0` is one.
    pub(super) fn whole(&self, names: &[&str], most: u32) -> Outcome<Option<u32>> {
        match self.number_within(names, 0.0, f64::from(most))? {
            None => Ok(None),
            Some(number) if number.fract() == 0.0 => Ok(Some(number as u32)),
            Some(_) => Err(wrong(names, "a whole number")),
        }
    }
}

/// What is missing.
pub(super) fn missing(name: &str) -> CommandFailure {
    CommandFailure::BadArguments(format!("`{name}` is missing"))
}

fn wrong(names: &[&str], expected: &str) -> CommandFailure {
    CommandFailure::BadArguments(format!("`{}` must be {expected}", names.first().copied().unwrap_or_default()))
}

fn truth_of(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn read_query(query: Option<&str>) -> Map<String, Value> {
    let decode = |text: &str| percent_decode(text.replace('+', " ").as_bytes()).decode_utf8_lossy().into_owned();
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name).to_lowercase(), Value::String(decode(value)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(text: &str) -> Arguments {
        Arguments::read(text.as_bytes(), Some("Axis=query")).expect("it is an object")
    }

    #[test]
    fn a_body_wins_and_keys_have_no_case() {
        assert_eq!(body(r#"{"aXiS":"Y"}"#).text(&["Axis"]), Ok(Some("Y")));
        assert_eq!(body("{}").text(&["Axis"]), Ok(None), "they are never merged");
        let query =
            Arguments::read(b"", Some("AXIS=Z+%26&DistanceMm=-1.5&&On=1&flag")).expect("a query is always read");
        assert_eq!(query.text(&["Axis"]), Ok(Some("Z &")));
        assert_eq!((query.number(&["DistanceMm"]), query.truth(&["On"])), (Ok(Some(-1.5)), Ok(Some(true))));
        assert_eq!((query.text(&["flag"]), query.had_body()), (Ok(Some("")), false));
        for broken in ["{", "[]", "7", "\"x\"", "null", "{}x", "\u{feff}{}", &"[".repeat(100_000)] {
            assert_eq!(Arguments::read(broken.as_bytes(), None), Err(CommandFailure::Unparsable), "{broken:.9}");
        }
    }

    #[test]
    fn types_are_what_they_are() {
        let wild = json!({"n": 75.1, "t": true, "s": "1", "z": null, "a": [1], "w": 30.0, "h": 1e308, "neg": -1});
        let wild = body(&wild.to_string());
        assert_eq!(wild.number_within(&["n"], 0.0, 75.1), Ok(Some(75.1)));
        assert_eq!((wild.number(&["z"]), wild.number(&["x", "w"])), (Ok(None), Ok(Some(30.0))));
        for name in ["t", "s", "a"] {
            assert!(wild.number(&[name]).is_err() && wild.whole(&[name], 9).is_err(), "{name}");
        }
        assert!(wild.number_within(&["n"], 0.0, 75.0).is_err() && wild.number_within(&["h"], 0.0, 75.0).is_err());
        assert_eq!((wild.whole(&["w"], 30), wild.whole(&["w"], 29).is_err()), (Ok(Some(30)), true));
        assert!(wild.whole(&["n"], 99).is_err() && wild.whole(&["neg"], 9).is_err());
        assert!(wild.truth(&["s"]).is_err() && wild.truth(&["n"]).is_err());
        assert_eq!((wild.loose_truth(&["s"]), wild.loose_truth(&["t"])), (Ok(Some(true)), Ok(Some(true))));
        assert!(wild.loose_truth(&["w"]).is_err() && wild.text(&["t"]).is_err());
    }
}
