//! The printer's state, put together from what it pushes.

use std::collections::BTreeMap;

use model::printing::{Phase, PrinterCommand, PrinterState, Temperature};
use serde_json::Value;

use crate::platforms::{JobDetails, LightState, MaterialSystem, Observed, Tool};

/// The name of the only light.
pub(super) const LIGHT: &str = "chamber";
/// Characters of a version or model; they are shown to people.
const MAX_VERSION: usize = 60;
/// The parts of its state that mean something here.
const PARTS: [&str; 7] =
    ["machine_status", "print_status", "extruder", "heater_bed", "ztemperature_sensor", "chamber", "led"];
/// Members of one part. It has some ten; what a stranger adds is not kept.
const MAX_MEMBERS: usize = 64;
/// Characters of a text in it.
const MAX_TEXT: usize = 512;
/// Entries of a list in it.
const MAX_ENTRIES: usize = 16;

/// What is known of one printer.
#[derive(Default)]
pub(super) struct Known {
    /// Its model and the version of its firmware, as far as it has told.
    pub(super) version: Option<String>,
    parts: BTreeMap<&'static str, BTreeMap<String, Value>>,
    /// Whether the whole was seen; what is pushed before that would make a state of it that never was.
    is_whole: bool,
}

impl Known {
    /// Takes in a status. What it does not mention stays as it was. Returns whether the state is known.
    pub(super) fn handle_status(&mut self, status: &Value, is_whole: bool) -> bool {
        self.is_whole |= is_whole && status["machine_status"].is_object();
        for part in PARTS {
            let Some(changes) = status[part].as_object() else { continue };
            let members = self.parts.entry(part).or_default();
            for (name, value) in changes {
                if (members.len() < MAX_MEMBERS || members.contains_key(name))
                    && let Some(value) = small(value)
                {
                    members.insert(name.chars().take(MAX_TEXT).collect(), value);
                }
            }
        }
        self.is_whole
    }

    pub(super) fn handle_attributes(&mut self, attributes: &Value) {
        let text = |names: [&str; 3]| {
            let text = names.into_iter().find_map(|name| attributes[name].as_str())?.trim();
            let text: String = text.chars().filter(|letter| !letter.is_control()).take(MAX_VERSION).collect();
            Some(text).filter(|text| !text.is_empty())
        };
        let parts = [
            text(["machine_model", "machine_name", "hostname"]),
            text(["firmware_version", "software_version", "version"])
                .or_else(|| attributes["software_version"]["ota_version"].as_str().map(str::to_owned)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        self.version = Some(parts.join("-")).filter(|version| !version.is_empty());
    }

    /// The connection is gone, and what was true may not be any more.
    pub(super) fn forget_state(&mut self) {
        self.parts.clear();
        self.is_whole = false;
    }

    /// What it does, as everybody sees it.
    pub(super) fn observed(&self) -> Observed {
        let (phase, sub_state) = self.phase();
        let has_print =
            !matches!(phase, Phase::Idle | Phase::Unknown) && self.text("print_status", "filename").is_some();
        let seconds = |name: &str| self.number("print_status", name).filter(|_| has_print).map(|number| number as u64);
        let layers = |name: &str| seconds(name).and_then(|number| u32::try_from(number).ok());
        let progress = self.number("print_status", "progress").or_else(|| self.number("machine_status", "progress"));
        let light = self.number("led", "status").map(|status| status > 0.0);
        let mut commands = match phase {
            Phase::Printing | Phase::WarmingUp if has_print => vec![PrinterCommand::Pause, PrinterCommand::Cancel],
            Phase::Paused => vec![PrinterCommand::Resume, PrinterCommand::Cancel],
            Phase::Resuming => vec![PrinterCommand::Cancel],
            _ => vec![],
        };
        if let Some(on) = light {
            commands.push(if on { PrinterCommand::LightOff } else { PrinterCommand::LightOn });
        }
        let state = PrinterState {
            phase,
            file: self.text("print_status", "filename").filter(|_| has_print).map(str::to_owned),
            progress: progress.filter(|_| has_print).map(|progress| progress as f32),
            seconds_printing: seconds("print_duration").or_else(|| seconds("total_duration")),
            seconds_left: seconds("remaining_time_sec").filter(|_| phase.is_active()),
            layer: layers("current_layer"),
            total_layers: layers("total_layer").filter(|layers| *layers > 0),
            temperatures: self.temperatures(),
            light,
            message: (phase == Phase::Error).then(|| self.error()),
            commands,
            ..PrinterState::default()
        };
        let details = JobDetails {
            sub_state,
            lights: light.map(|on| vec![LightState { name: LIGHT.to_owned(), on }]),
            filament_mg: Some(0.0),
            knows_layers: true,
            material: Some(self.material()),
            ..JobDetails::default()
        };
        Observed { state, details, ..Observed::default() }
    }

    fn phase(&self) -> (Phase, Option<String>) {
        let with = |phase, text: &str| (phase, Some(text.to_owned()));
        let sub_status = self.number("machine_status", "sub_status").map(|number| number as i64);
        let status = self.number("machine_status", "status").map(|number| number as i64);
        if self.has_exception() {
            return (Phase::Error, None);
        }
        match (status, sub_status) {
            (Some(14), _) => with(Phase::Error, "Emergency Stop"),
            (Some(0), _) => with(Phase::Idle, "Initializing"),
            (Some(1), _) => (Phase::Idle, None),
            (Some(10), _) => with(Phase::Idle, "Homing"),
            (Some(5), _) => with(Phase::WarmingUp, "Bed Leveling"),
            (Some(2), Some(1045 | 1096)) => with(Phase::WarmingUp, "Heating Hotend"),
            (Some(2), Some(1405 | 1906)) => with(Phase::WarmingUp, "Heating Bed"),
            (Some(2), Some(2801)) => with(Phase::WarmingUp, "Homing"),
            (Some(2), Some(2901)) => with(Phase::WarmingUp, "Bed Leveling"),
            (Some(2), Some(2501 | 2502 | 2505)) => (Phase::Paused, None),
            (Some(2), Some(2401 | 2402)) => (Phase::Resuming, None),
            (Some(2), Some(2077)) => (Phase::Complete, None),
            (Some(2), Some(2503 | 2504)) => (Phase::Cancelled, None),
            (Some(2), _) => (Phase::Printing, None),
            _ => (Phase::Idle, None),
        }
    }

    fn has_exception(&self) -> bool {
        match self.member("machine_status", "exception_status") {
            Some(Value::Array(codes)) => !codes.is_empty(),
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            _ => false,
        }
    }

    fn error(&self) -> String {
        match self.member("machine_status", "exception_status") {
            Some(Value::Array(codes)) if !codes.is_empty() => {
                let codes: Vec<String> = codes.iter().map(Value::to_string).collect();
                format!("The printer reports {}", codes.join(", "))
            }
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            _ => "Emergency Stop".to_owned(),
        }
    }

    fn temperatures(&self) -> Vec<Temperature> {
        let chamber = if self.parts.contains_key("ztemperature_sensor") { "ztemperature_sensor" } else { "chamber" };
        let heaters = [("hotend", "extruder"), ("bed", "heater_bed"), ("chamber", chamber)];
        let heater = |(name, part): (&str, &str)| {
            let actual = self.number(part, "temperature")? as f32;
            let target = self.number(part, "target").unwrap_or(0.0) as f32;
            Some(Temperature { name: name.to_owned(), actual, target })
        };
        heaters.into_iter().filter_map(heater).collect()
    }

    /// One tool, fed from a spool outside.
    fn material(&self) -> MaterialSystem {
        let tool = Tool {
            id: "tool-0".to_owned(),
            index: 0,
            is_active: Some(true),
            actual_celsius: self.number("extruder", "temperature"),
            target_celsius: self.number("extruder", "target"),
            ..Tool::default()
        };
        let mut material = MaterialSystem::fixed(vec![tool]);
        for source in &mut material.sources {
            source.name = Some("External spool".to_owned());
        }
        material
    }

    fn member(&self, part: &str, name: &str) -> Option<&Value> {
        self.parts.get(part)?.get(name)
    }

    fn number(&self, part: &str, name: &str) -> Option<f64> {
        self.member(part, name)?.as_f64().filter(|number| number.is_finite())
    }

    fn text(&self, part: &str, name: &str) -> Option<&str> {
        self.member(part, name)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }
}

/// A value within reason; parts within parts mean nothing here.
fn small(value: &Value) -> Option<Value> {
    match value {
        Value::Object(_) => None,
        Value::String(text) => Some(Value::String(text.chars().take(MAX_TEXT).collect())),
        Value::Array(entries) => {
            let entries = entries.iter().filter(|entry| !entry.is_array()).filter_map(small);
            Some(Value::Array(entries.take(MAX_ENTRIES).collect()))
        }
        value => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole() -> Value {
        json!({
            "machine_status": {"status": 2, "sub_status": 0, "exception_status": [], "progress": 40},
            "print_status": {"filename": "cube.gcode", "uuid": "u", "current_layer": 3, "total_layer": 100,
                "print_duration": 60, "total_duration": 90, "remaining_time_sec": 120, "progress": 41},
            "extruder": {"temperature": 210.44, "target": 210}, "heater_bed": {"temperature": 60, "target": 60},
            "ztemperature_sensor": {"temperature": 33.3}, "led": {"status": 1}, "future": {"x": 1},
        })
    }

    fn known(changes: &Value) -> Known {
        let mut known = Known::default();
        assert!(known.handle_status(&whole(), true));
        assert!(known.handle_status(changes, false));
        known
    }

    #[test]
    fn a_print_is_read_whole() {
        let Observed { state, details, .. } = known(&json!({})).observed();
        assert_eq!(
            (state.phase, state.file.as_deref(), state.progress),
            (Phase::Printing, Some("cube.gcode"), Some(41.0))
        );
        assert_eq!((state.seconds_printing, state.seconds_left), (Some(60), Some(120)));
        assert_eq!((state.layer, state.total_layers, state.light), (Some(3), Some(100), Some(true)));
        let names: Vec<&str> = state.temperatures.iter().map(|heater| heater.name.as_str()).collect();
        assert_eq!(names, ["hotend", "bed", "chamber"]);
        assert_eq!(details.lights, Some(vec![LightState { name: "chamber".to_owned(), on: true }]));
        assert_eq!(state.commands, [PrinterCommand::Pause, PrinterCommand::Cancel, PrinterCommand::LightOff]);
    }

    #[test]
    fn each_status_has_its_phase() {
        for (status, sub_status, phase, text) in [
            (0, 0, Phase::Idle, Some("Initializing")),
            (1, 0, Phase::Idle, None),
            (10, 0, Phase::Idle, Some("Homing")),
            (5, 0, Phase::WarmingUp, Some("Bed Leveling")),
            (14, 0, Phase::Error, Some("Emergency Stop")),
            (2, 1045, Phase::WarmingUp, Some("Heating Hotend")),
            (2, 1096, Phase::WarmingUp, Some("Heating Hotend")),
            (2, 1405, Phase::WarmingUp, Some("Heating Bed")),
            (2, 1906, Phase::WarmingUp, Some("Heating Bed")),
            (2, 2801, Phase::WarmingUp, Some("Homing")),
            (2, 2901, Phase::WarmingUp, Some("Bed Leveling")),
            (2, 2501, Phase::Paused, None),
            (2, 2502, Phase::Paused, None),
            (2, 2505, Phase::Paused, None),
            (2, 2401, Phase::Resuming, None),
            (2, 2402, Phase::Resuming, None),
            (2, 2077, Phase::Complete, None),
            (2, 2503, Phase::Cancelled, None),
            (2, 2504, Phase::Cancelled, None),
            (2, 7777, Phase::Printing, None),
            (99, 0, Phase::Idle, None),
        ] {
            let known = known(&json!({"machine_status": {"status": status, "sub_status": sub_status}}));
            assert_eq!(known.phase(), (phase, text.map(str::to_owned)), "{status} {sub_status}");
        }
        let broken = known(&json!({"machine_status": {"status": 1, "exception_status": [1203, 7]}})).observed().state;
        assert_eq!((broken.phase, broken.message.as_deref()), (Phase::Error, Some("The printer reports 1203, 7")));
        let stopped = known(&json!({"machine_status": {"status": 14}})).observed().state;
        assert_eq!(stopped.message.as_deref(), Some("Emergency Stop"));
    }

    #[test]
    fn what_is_pushed_is_part_of_the_whole() {
        let mut fresh = Known::default();
        assert!(!fresh.handle_status(&json!({"machine_status": {"status": 2}}), false), "the rest is not known yet");
        let known = known(&json!({"print_status": {"current_layer": 4}, "led": {"status": 0}}));
        let state = known.observed().state;
        assert_eq!((state.layer, state.total_layers, state.light), (Some(4), Some(100), Some(false)));
    }

    #[test]
    fn firmware_that_lies_is_bounded() {
        let mut members = serde_json::Map::new();
        for number in 0..5000 {
            members.insert(format!("m{number}"), json!("x".repeat(5000)));
        }
        let known = known(&json!({"machine_status": members, "extruder": {"temperature": "hot", "target": [[1]]},
            "print_status": {"filename": {"a": 1}, "progress": -5, "remaining_time_sec": "soon", "total_layer": -3},
            "led": {"status": [1, [2], {}]}}));
        let kept = &known.parts["machine_status"];
        assert!(kept.len() <= MAX_MEMBERS && kept.values().all(|value| value.to_string().len() <= MAX_TEXT + 2));
        let state = known.observed().state.bounded();
        assert_eq!((state.total_layers, state.seconds_left, state.light), (None, None, None));
        assert_eq!(state.progress, Some(0.0));
        assert_eq!(state.temperatures.len(), 2);
        let mut odd = Known::default();
        for status in [json!(null), json!([]), json!("x"), json!({"machine_status": []})] {
            assert!(!odd.handle_status(&status, true));
        }
    }

    #[test]
    fn the_version_is_model_and_firmware() {
        let version = |attributes: Value| {
            let mut known = Known::default();
            known.handle_attributes(&attributes);
            known.version
        };
        let whole = json!({"machine_model": "Centauri Carbon 2", "firmware_version": "1.0.3\n"});
        assert_eq!(version(whole).as_deref(), Some("Centauri Carbon 2-1.0.3"));
        assert_eq!(version(json!({"software_version": {"ota_version": "2.1"}})).as_deref(), Some("2.1"));
        assert_eq!((version(json!({"machine_model": 7})), version(json!(null))), (None, None));
    }
}
