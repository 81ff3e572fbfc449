//! What a Centauri Carbon does, from the parts of its status.

use model::printing::{Phase, PrinterCommand, PrinterState, Temperature};
use serde_json::{Map, Value};

use crate::platforms::{JobDetails, LightState, MaterialSystem, Observed, Tool};

/// The printer's only light.
pub(super) const LIGHT: &str = "chamber";
/// The parts of a status that matter. What else the firmware says is not kept.
const PARTS: [&str; 9] = [
    "CurrentStatus",
    "PrintInfo",
    "TempOfNozzle",
    "TempTargetNozzle",
    "TempOfHotbed",
    "TempTargetHotbed",
    "TempOfBox",
    "TempTargetBox",
    "LightStatus",
];
/// `CurrentStatus` of a printer that looks for the ends of its axes.
const HOMING: i64 = 9;
/// Ends of names that are no part of a print's name.
const EXTENSIONS: [&str; 2] = [".gcode", ".g"];

/// The newest of everything that the printer has said.
#[derive(Debug, Default)]
pub(super) struct Status {
    parts: Map<String, Value>,
    /// What the file that is printed weighs when it is a part, in milligrams, and which file that is.
    weight: Option<(String, f64)>,
}

impl Status {
    /// Takes over a status; one that leaves something out says nothing about it.
    pub(super) fn merge(&mut self, mut status: Map<String, Value>) {
        for part in PARTS {
            if let Some(value) = status.remove(part) {
                self.parts.insert(part.to_owned(), value);
            }
        }
    }

    /// Whether the printer has said what it does.
    pub(super) fn is_known(&self) -> bool {
        self.part("PrintInfo").is_object()
    }

    /// The file that is printed or was last, as the printer names it.
    pub(super) fn file(&self) -> Option<&str> {
        self.part("PrintInfo")["Filename"].as_str().filter(|name| !name.is_empty())
    }

    /// Takes note of what a file weighs, in grams.
    pub(super) fn handle_weight(&mut self, file: &str, grams: f64) {
        if grams.is_finite() && grams >= 0.0 {
            self.weight = Some((file.to_owned(), grams * 1000.0));
        }
    }

    fn part(&self, key: &str) -> &Value {
        self.parts.get(key).unwrap_or(&Value::Null)
    }

    fn number(&self, key: &str) -> Option<f64> {
        number(self.part(key))
    }

    /// The printer's light; some firmware says it in numbers and some in words.
    fn light(&self) -> Option<bool> {
        match &self.part("LightStatus")["SecondLight"] {
            Value::Bool(on) => Some(*on),
            value => number(value).map(|number| number != 0.0),
        }
    }

    /// What a look at the printer gives, without its cameras.
    pub(super) fn observed(&self) -> Observed {
        let info = self.part("PrintInfo");
        let current = match self.part("CurrentStatus") {
            Value::Array(all) => all.first().and_then(Value::as_i64),
            value => value.as_i64(),
        };
        let (phase, sub_state) = phase(current, info["Status"].as_i64());
        let light = self.light();
        let state = PrinterState {
            phase,
            temperatures: self.temperatures(),
            light,
            commands: commands(phase, light),
            ..PrinterState::default()
        };
        let state = if phase == Phase::Idle { state } else { self.with_print(state) };
        let weight = self.weight.as_ref().filter(|(file, _)| self.file() == Some(file)).map(|(_, weight)| *weight);
        let details = JobDetails {
            sub_state: sub_state.map(str::to_owned),
            lights: light.map(|on| vec![LightState { name: LIGHT.to_owned(), on }]),
            // The printer can tell it of some files; of the others it is 0, as the interface has it.
            filament_mg: Some(weight.unwrap_or(0.0)),
            knows_layers: true,
            material: Some(self.material()),
            ..JobDetails::default()
        };
        Observed { state, details, ..Observed::default() }
    }

    fn with_print(&self, state: PrinterState) -> PrinterState {
        let info = self.part("PrintInfo");
        let whole = |key: &str| number(&info[key]).filter(|number| *number >= 0.0).map(|number| number as u64);
        let layers = |key: &str| whole(key).and_then(|layers| u32::try_from(layers).ok());
        let (current, total) = (whole("CurrentTicks"), whole("TotalTicks").filter(|total| *total > 0));
        let left = current.zip(total).map(|(current, total)| total.saturating_sub(current));
        PrinterState {
            file: self.file().map(|name| print_name(name).to_owned()).filter(|name| !name.is_empty()),
            progress: number(&info["Progress"]).filter(|progress| (0.0..=100.0).contains(progress)).map(|it| it as f32),
            seconds_printing: current,
            seconds_left: left.filter(|_| state.phase.is_active()),
            layer: layers("CurrentLayer"),
            total_layers: layers("TotalLayer").filter(|total| *total > 0),
            ..state
        }
    }

    fn temperatures(&self) -> Vec<Temperature> {
        let heaters = [
            ("hotend", "TempOfNozzle", "TempTargetNozzle"),
            ("bed", "TempOfHotbed", "TempTargetHotbed"),
            ("chamber", "TempOfBox", "TempTargetBox"),
        ];
        let heater = |(name, actual, target): (&str, &str, &str)| {
            let degrees = |key: &str| self.number(key).map(|degrees| degrees as f32);
            Some(Temperature {
                name: name.to_owned(),
                actual: degrees(actual)?,
                target: degrees(target).unwrap_or(0.0),
            })
        };
        heaters.into_iter().filter_map(heater).collect()
    }

    /// One tool, fed from a spool outside.
    fn material(&self) -> MaterialSystem {
        let tool = Tool {
            id: "tool-0".to_owned(),
            index: 0,
            is_active: Some(true),
            actual_celsius: self.number("TempOfNozzle"),
            target_celsius: self.number("TempTargetNozzle"),
            ..Tool::default()
        };
        let mut material = MaterialSystem::fixed(vec![tool]);
        for source in &mut material.sources {
            source.name = Some("External spool".to_owned());
        }
        material
    }
}

/// The first row that matches.
fn phase(current: Option<i64>, print: Option<i64>) -> (Phase, Option<&'static str>) {
    if current == Some(HOMING) {
        return (Phase::Idle, Some("Homing"));
    }
    match print {
        Some(8 | 14) => (Phase::Cancelled, None),
        Some(1 | 15 | 16 | 18 | 19 | 21) => (Phase::WarmingUp, None),
        Some(9) => (Phase::Complete, None),
        Some(5) => (Phase::Paused, Some("Pausing")),
        Some(6) => (Phase::Paused, None),
        Some(13 | 7) => (Phase::Printing, None),
        Some(20) => (Phase::WarmingUp, Some("Bed Leveling")),
        _ => (Phase::Idle, None),
    }
}

fn commands(phase: Phase, light: Option<bool>) -> Vec<PrinterCommand> {
    let mut commands = match phase {
        Phase::Printing | Phase::WarmingUp => vec![PrinterCommand::Pause, PrinterCommand::Cancel],
        Phase::Paused => vec![PrinterCommand::Resume, PrinterCommand::Cancel],
        _ => vec![],
    };
    commands.extend(light.map(|on| if on { PrinterCommand::LightOff } else { PrinterCommand::LightOn }));
    commands
}

/// The name of a print: without the folder of its file, and without what every file to print ends with.
fn print_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let cut = |extension: &&str| {
        let at = name.len().checked_sub(extension.len())?;
        name.get(at..)?.eq_ignore_ascii_case(extension).then(|| name.get(..at)).flatten()
    };
    EXTENSIONS.iter().find_map(cut).unwrap_or(name)
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn status(value: Value) -> Status {
        let mut status = Status::default();
        status.merge(value.as_object().unwrap().clone());
        status
    }

    #[test]
    fn each_row_of_the_table_of_states_is_as_it_says() {
        use Phase::*;
        for (current, print, expected, sub_state) in [
            (json!([9]), json!(13), Idle, Some("Homing")),
            (json!(9), json!(0), Idle, Some("Homing")),
            (json!([0, 9]), json!(0), Idle, None),
            (json!([0]), json!(0), Idle, None),
            (json!([1]), json!(8), Cancelled, None),
            (json!([1]), json!(14), Cancelled, None),
            (json!([1]), json!(1), WarmingUp, None),
            (json!([1]), json!(9), Complete, None),
            (json!([1]), json!(5), Paused, Some("Pausing")),
            (json!([1]), json!(6), Paused, None),
            (json!([1]), json!(13), Printing, None),
            (json!([1]), json!(7), Printing, None),
            (json!([1]), json!(20), WarmingUp, Some("Bed Leveling")),
            (json!([1]), json!(15), WarmingUp, None),
            (json!([1]), json!(16), WarmingUp, None),
            (json!([1]), json!(18), WarmingUp, None),
            (json!([1]), json!(19), WarmingUp, None),
            (json!([1]), json!(21), WarmingUp, None),
            (json!([1]), json!(77), Idle, None),
            (json!([]), json!(-1), Idle, None),
            (json!("x"), json!("13"), Idle, None),
            (Value::Null, Value::Null, Idle, None),
        ] {
            let seen = status(json!({"CurrentStatus": current, "PrintInfo": {"Status": print}})).observed();
            assert_eq!(
                (seen.state.phase, seen.details.sub_state.as_deref()),
                (expected, sub_state),
                "{current} {print}"
            );
        }
    }

    #[test]
    fn a_print_is_taken_over_and_what_is_left_out_stays() {
        let mut known = status(json!({"CurrentStatus": [1], "TempOfNozzle": 215.339, "TempTargetNozzle": 215,
            "TempOfHotbed": 60, "TempTargetHotbed": 60.0, "TempOfBox": 31.5, "TempTargetBox": 0, "New": {"a": 1},
            "LightStatus": {"SecondLight": 1, "RgbLight": [0, 0, 0]},
            "PrintInfo": {"Status": 13, "Filename": "/local/parts/Benchy v1.2.GCODE", "TaskId": "t", "CurrentLayer": 3,
                "TotalLayer": 120, "CurrentTicks": 65.7, "TotalTicks": 3600, "Progress": 12}}));
        known.handle_weight("/local/parts/Benchy v1.2.GCODE", 12.5);
        known.merge(json!({"TempOfBox": 33.0}).as_object().unwrap().clone());
        assert!(!known.parts.contains_key("New"));
        let Observed { state, details, .. } = known.observed();
        assert_eq!((state.file.as_deref(), state.progress), (Some("Benchy v1.2"), Some(12.0)));
        assert_eq!((state.seconds_printing, state.seconds_left), (Some(65), Some(3535)));
        assert_eq!((state.layer, state.total_layers, state.light), (Some(3), Some(120), Some(true)));
        let heaters: Vec<_> = state.temperatures.iter().map(|heater| (heater.name.as_str(), heater.target)).collect();
        assert_eq!(heaters, [("hotend", 215.0), ("bed", 60.0), ("chamber", 0.0)]);
        assert_eq!(state.temperatures[2].actual, 33.0);
        assert_eq!(state.commands, [PrinterCommand::Pause, PrinterCommand::Cancel, PrinterCommand::LightOff]);
        assert_eq!((details.filament_mg, details.knows_layers), (Some(12500.0), true));
        assert_eq!(details.lights, Some(vec![LightState { name: "chamber".to_owned(), on: true }]));

        // Another file's weight is not this one's.
        known.merge(json!({"PrintInfo": {"Status": 13, "Filename": "other.gcode"}}).as_object().unwrap().clone());
        assert_eq!(known.observed().details.filament_mg, Some(0.0));
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let odd = status(json!({"CurrentStatus": {"a": 1}, "TempOfNozzle": "hot", "LightStatus": {"SecondLight": "x"},
            "PrintInfo": {"Status": 13, "Filename": 7, "CurrentLayer": -1, "TotalLayer": 1e30, "CurrentTicks": -5,
                "TotalTicks": 0, "Progress": 1e9}}))
        .observed();
        let PrinterState { file, progress, seconds_printing, seconds_left, layer, total_layers, .. } = odd.state;
        assert_eq!((file, progress, seconds_printing, seconds_left), (None, None, None, None));
        assert_eq!((layer, total_layers, odd.state.light, odd.details.lights), (None, None, None, None));
        assert!(odd.state.temperatures.is_empty());
        assert!(!status(json!({"PrintInfo": 7})).is_known());
        for (path, name) in [("a.gcode", "a"), ("/local/", ""), (".gcode", ""), ("ä.G", "ä"), ("v1.2", "v1.2")] {
            assert_eq!(print_name(path), name);
        }
    }

    proptest! {
        #[test]
        fn no_status_breaks_it(current in any::<i64>(), print in any::<i64>(), ticks in any::<f64>(), name in ".{0,40}") {
            let info = json!({"Status": print, "Filename": name, "CurrentTicks": ticks, "TotalTicks": current});
            status(json!({"CurrentStatus": [current], "PrintInfo": info, "TempOfBox": ticks})).observed();
        }
    }
}
