//! What the printer says of itself, put together from its reports.
//!
//! A full report holds everything; the others hold only what has changed. Everything in them is the firmware's word,
//! so types are looked at where they are used, and what is kept has bounds.

use serde_json::{Map, Value};

/// Bytes of one message. Full reports are a tenth of it.
const MAX_MESSAGE: usize = 256 * 1024;
/// Objects and lists within one another; the material system goes five deep.
const MAX_DEPTH: usize = 16;
/// About as many bytes as everything that is known of the printer may take.
const MAX_WEIGHT: usize = 512 * 1024;
/// What a value takes besides its text.
const VALUE_WEIGHT: usize = 32;
/// A report with more keys than this is a full one; the firmware has no other mark for it.
const MAX_PARTIAL_KEYS: usize = 40;

/// Reads a message: an object of objects, each about one subject. `None` if it is none, or too large to be one.
pub(super) fn read_message(payload: &[u8]) -> Option<Map<String, Value>> {
    if payload.len() > MAX_MESSAGE {
        return None;
    }
    let message: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    message.values().all(|value| is_shallow(value, MAX_DEPTH)).then_some(message)
}

fn is_shallow(value: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match value {
        Value::Object(members) => members.values().all(|value| is_shallow(value, depth)),
        Value::Array(values) => values.iter().all(|value| is_shallow(value, depth)),
        _ => true,
    }
}

/// Everything that is known of the printer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Report {
    fields: Map<String, Value>,
}

impl Report {
    /// Takes over the `print` object of a report. What would make more of it than a printer can have to say is
    /// forgotten with everything before it.
    pub(super) fn handle(&mut self, changes: &Map<String, Value>) {
        if changes.len() > MAX_PARTIAL_KEYS {
            self.fields = changes.clone();
        } else {
            merge(&mut self.fields, changes);
        }
        let weight: usize = self.fields.iter().map(|(name, value)| name.len() + weight(value)).sum();
        if weight > MAX_WEIGHT {
            self.fields = Map::new();
        }
    }

    /// Whether the printer has said what it does.
    pub(super) fn is_known(&self) -> bool {
        self.text("gcode_state").is_some()
    }

    /// A value, by its path.
    pub(super) fn at(&self, path: &[&str]) -> &Value {
        let mut names = path.iter();
        let first = names.next().and_then(|name| self.fields.get(*name));
        names.fold(first.unwrap_or(&Value::Null), |value, name| &value[*name])
    }

    /// A number, which some firmware writes as text.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        number(self.at(&[name]))
    }

    /// A text that says something.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        text(self.at(&[name]))
    }
}

/// Objects are merged, everything else is replaced.
fn merge(known: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (name, change) in changes {
        match (known.get_mut(name), change) {
            (Some(Value::Object(known)), Value::Object(changes)) => merge(known, changes),
            _ => drop(known.insert(name.clone(), change.clone())),
        }
    }
}

fn weight(value: &Value) -> usize {
    VALUE_WEIGHT
        + match value {
            Value::Object(members) => members.iter().map(|(name, value)| name.len() + weight(value)).sum(),
            Value::Array(values) => values.iter().map(weight).sum(),
            Value::String(text) => text.len(),
            _ => 0,
        }
}

/// A finite number, also where it is written as text.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    number.filter(|number| number.is_finite())
}

/// A whole number that is not negative and no larger than `most`.
pub(super) fn whole(value: &Value, most: u32) -> Option<u32> {
    let number = number(value)?;
    ((0.0..=f64::from(most)).contains(&number) && number.fract() == 0.0).then_some(number as u32)
}

/// A text that says something.
pub(super) fn text(value: &Value) -> Option<&str> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A report of one message.
    pub(in crate::platforms::bambu) fn report(fields: Value) -> Report {
        Report { fields: fields.as_object().unwrap().clone() }
    }

    fn handle(report: &mut Report, changes: Value) {
        report.handle(changes.as_object().unwrap());
    }

    #[test]
    fn partial_reports_are_merged_and_full_ones_replace() {
        let mut report = Report::default();
        assert!(!report.is_known());
        handle(
            &mut report,
            json!({"gcode_state": "RUNNING", "ams": {"tray_now": "1", "ams": [1, 2]}, "mc_percent": 5}),
        );
        assert!(report.is_known());
        handle(
            &mut report,
            json!({"ams": {"ams": [3], "version": 4}, "mc_percent": "6", "upload": {"status": "idle"}}),
        );
        assert_eq!(report.at(&["ams"]), &json!({"tray_now": "1", "ams": [3], "version": 4}));
        assert_eq!((report.number("mc_percent"), report.at(&["upload", "status"])), (Some(6.0), &json!("idle")));
        assert_eq!(
            (report.at(&["ams", "x", "y"]), report.at(&["x"]), report.at(&[])),
            (&json!(null), &json!(null), &json!(null))
        );
        handle(&mut report, json!({"ams": 7}));
        assert_eq!(report.at(&["ams", "ams"]), &json!(null));

        let forty: Map<String, Value> = (0..40).map(|key| (format!("k{key}"), json!(key))).collect();
        report.handle(&forty);
        assert!(report.is_known(), "forty keys are no full report");
        let mut full = forty;
        full.insert("gcode_state".to_owned(), json!(""));
        report.handle(&full);
        assert!(!report.is_known() && report.number("mc_percent").is_none());
    }

    #[test]
    fn what_is_too_large_or_too_deep_is_not_kept() {
        let deep = |levels: usize| format!("{{\"print\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(read_message(deep(15).as_bytes()).is_some());
        for levels in [16, 100, 5000] {
            assert!(read_message(deep(levels).as_bytes()).is_none(), "{levels}");
        }
        let long = json!({"print": {"a": "x".repeat(MAX_MESSAGE)}}).to_string();
        assert!(read_message(long.as_bytes()).is_none());
        for other in ["", "[]", "7", "null", "{", "{\"a\":1}x", "\u{0}"] {
            assert!(read_message(other.as_bytes()).is_none(), "{other}");
        }
        // Firmware that always has something new to say.
        let mut report = Report::default();
        for round in 0..100 {
            handle(&mut report, json!({"nested": {format!("key{round}"): "y".repeat(10_000)}, "gcode_state": "IDLE"}));
            assert!(report.fields.values().map(weight).sum::<usize>() <= MAX_WEIGHT);
        }
        assert!(report.is_known());
    }

    #[test]
    fn numbers_are_numbers() {
        assert_eq!((number(&json!("1.5 ")), number(&json!(-2)), number(&json!("inf"))), (Some(1.5), Some(-2.0), None));
        assert_eq!((whole(&json!(3.0), 3), whole(&json!(4), 3), whole(&json!(1.5), 3)), (Some(3), None, None));
        assert_eq!((whole(&json!(-1), 3), whole(&json!(true), 3), text(&json!(" "))), (None, None, None));
    }

    pub(in crate::platforms::bambu) fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "[0-9]{1,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map("[a-z_]{1,6}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn merging_twice_is_merging_once(first in any_value(), second in any_value()) {
            let wrap = |value: &Value| json!({"print": value, "gcode_state": "X"});
            let mut report = Report::default();
            handle(&mut report, wrap(&first));
            handle(&mut report, wrap(&second));
            let once = report.clone();
            handle(&mut report, wrap(&second));
            prop_assert_eq!(&once, &report);
            if !first.is_object() || !second.is_object() {
                prop_assert_eq!(report.at(&["print"]), &second);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_message(&payload);
        }
    }
}
