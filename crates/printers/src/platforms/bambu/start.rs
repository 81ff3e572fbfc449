//! The message that starts a print, out of what apps say of it.

use serde_json::{Map, Value, json};

use super::state::without_extension;
use crate::platforms::{CommandFailure, Outcome, StartOrder};

/// Plates of one project.
const MAX_PLATE: u64 = 1000;
/// Filaments of one project.
const MAX_MAPPINGS: usize = 64;
/// The highest number of a slot, and of what stands for none.
const MAX_MAPPING: i64 = 255;
/// A slot that is not used, or the spool outside.
const NO_MAPPING: i64 = -1;

/// What is said only if somebody has said it: the printer's word, and those of apps, in lower case.
const OPTIONAL: [(&str, &[&str]); 4] = [
    ("timelapse", &["timelapse"]),
    ("bed_levelling", &["bedleveling", "bedlevelling", "bed_leveling", "bed_levelling"]),
    ("vibration_cali", &["vibrationcali", "vibration_cali"]),
    ("layer_inspect", &["layerinspect", "layer_inspect"]),
];

/// The command's name and the message.
pub(super) fn message(order: &StartOrder, number: &str) -> Outcome<(&'static str, Value)> {
    let (_, name) = order.path.folder_and_name();
    if !name.to_ascii_lowercase().ends_with(".3mf") {
        let message =
            json!({"print": {"sequence_id": number, "command": "gcode_file", "param": order.path.relative()}});
        return Ok(("gcode_file", message));
    }
    let extras = &order.extras;
    let plate = plate(get(extras, &["plate", "plateindex", "plate_index"]))?;
    let mut print = json!({
        "sequence_id": number,
        "command": "project_file",
        "param": format!("Metadata/plate_{plate}.gcode"),
        "url": format!("ftp:///{}", order.path.encoded()),
        "subtask_name": without_extension(name),
        "use_ams": truth(extras, &["useams", "use_ams"], "UseAms")?.unwrap_or(true),
        "flow_cali": truth(extras, &["flowcali", "flow_cali"], "FlowCali")?.unwrap_or(true),
    });
    if let Some(mapping) = mapping(get(extras, &["amsmapping", "ams_mapping"]))? {
        print["ams_mapping"] = json!(mapping);
    }
    for (word, names) in OPTIONAL {
        if let Some(truth) = truth(extras, names, word)? {
            print[word] = json!(truth);
        }
    }
    Ok(("project_file", json!({"print": print})))
}

fn get<'a>(extras: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| extras.get(*name)).filter(|value| !value.is_null())
}

fn bad(problem: &str) -> CommandFailure {
    CommandFailure::BadArguments(problem.to_owned())
}

fn plate(value: Option<&Value>) -> Outcome<u64> {
    let plate = match value {
        None => return Ok(1),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => whole(value).and_then(|plate| u64::try_from(plate).ok()),
    };
    plate.filter(|plate| (1..=MAX_PLATE).contains(plate)).ok_or_else(|| bad("`Plate` must be a whole number from 1"))
}

fn truth(extras: &Map<String, Value>, names: &[&str], shown: &str) -> Outcome<Option<bool>> {
    let Some(value) = get(extras, names) else { return Ok(None) };
    let truth = match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    };
    truth.map(Some).ok_or_else(|| bad(&format!("`{shown}` must be true or false")))
}

/// Which slot each filament of the file comes from: a list, or text of one, or numbers with commas.
fn mapping(value: Option<&Value>) -> Outcome<Option<Vec<i64>>> {
    let wrong = || bad("`AmsMapping` must be a list of slots' numbers");
    let numbers: Option<Vec<i64>> = match value {
        None => return Ok(None),
        Some(Value::Array(list)) => list.iter().map(whole).collect(),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => match serde_json::from_str::<Vec<Value>>(text) {
            Ok(list) => list.iter().map(whole).collect(),
            Err(_) => text.split(',').map(|number| number.trim().parse().ok()).collect(),
        },
        Some(_) => None,
    };
    let numbers = numbers.filter(|numbers| numbers.len() <= MAX_MAPPINGS).ok_or_else(wrong)?;
    if numbers.iter().any(|number| !(NO_MAPPING..=MAX_MAPPING).contains(number)) {
        return Err(wrong());
    }
    Ok((!numbers.is_empty()).then_some(numbers))
}

fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e9).map(|number| number as i64)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use crate::platforms::VirtualPath;

    fn order(path: &str, extras: Value) -> StartOrder {
        let extras = extras.as_object().unwrap().iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
        StartOrder { path: VirtualPath::parse(path).unwrap(), extras: extras.collect() }
    }

    #[test]
    fn projects_take_all_extras_and_other_files_none() {
        let told = |path: &str, extras: Value| message(&order(path, extras), "7").unwrap();
        let (command, plain) = told("gcode/a b/Benchy.gcode.3mf", json!({}));
        assert_eq!(command, "project_file");
        assert_eq!(
            plain,
            json!({"print": {"sequence_id": "7", "command": "project_file",
            "param": "Metadata/plate_1.gcode", "url": "ftp:///a%20b/Benchy.gcode.3mf", "subtask_name": "Benchy",
            "use_ams": true, "flow_cali": true}})
        );
        let (_, whole) = told(
            "gcode/x.3MF",
            json!({"PlateIndex": "3", "UseAms": "no", "FlowCali": false,
            "AmsMapping": "[0, -1, 5]", "Timelapse": "yes", "BedLevelling": "1", "VibrationCali": false,
            "LayerInspect": true, "Storage": 7}),
        );
        assert_eq!(
            whole,
            json!({"print": {"sequence_id": "7", "command": "project_file",
            "param": "Metadata/plate_3.gcode", "url": "ftp:///x.3MF", "subtask_name": "x", "use_ams": false,
            "flow_cali": false, "ams_mapping": [0, -1, 5], "timelapse": true, "bed_levelling": true,
            "vibration_cali": false, "layer_inspect": true}})
        );
        let other = told("gcode/f/a.gcode", json!({"Plate": "wrong", "UseAms": 7}));
        assert_eq!(
            other,
            ("gcode_file", json!({"print": {"sequence_id": "7", "command": "gcode_file", "param": "f/a.gcode"}}))
        );
    }

    #[test]
    fn mappings_have_three_forms() {
        let mapping = |value: Value| mapping(Some(&value)).ok().flatten();
        for value in [json!([1, 2.0]), json!("[1,2]"), json!("1, 2")] {
            assert_eq!(mapping(value), Some(vec![1, 2]));
        }
        assert_eq!((mapping(json!("")), mapping(json!([]))), (None, None));
    }

    #[test]
    fn wrong_extras_are_refused() {
        for extras in [
            json!({"Plate": 0}),
            json!({"Plate": -1}),
            json!({"Plate": 1.5}),
            json!({"Plate": true}),
            json!({"Plate": "x"}),
            json!({"Plate": 1e300}),
            json!({"UseAms": 1}),
            json!({"UseAms": "maybe"}),
            json!({"FlowCali": []}),
            json!({"Timelapse": {}}),
            json!({"AmsMapping": 3}),
            json!({"AmsMapping": ["a"]}),
            json!({"AmsMapping": [256]}),
            json!({"AmsMapping": [-2]}),
            json!({"AmsMapping": "1,,2"}),
            json!({"AmsMapping": vec![0; 65]}),
            json!({"AmsMapping": "[1, null]"}),
        ] {
            let refused = message(&order("gcode/a.3mf", extras.clone()), "7");
            assert!(matches!(refused, Err(CommandFailure::BadArguments(_))), "{extras}");
        }
    }
}
