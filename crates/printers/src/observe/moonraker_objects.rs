//! Klipper's objects, merged from what Moonraker sends, and what they mean.

use model::printing::{MAX_PARTS, Phase, PrinterCommand, PrinterState, Temperature};
use serde_json::{Map, Value, json};

/// Objects that every Klipper has, with the fields that matter.
const OBJECTS: [(&str, &[&str]); 4] = [
    ("print_stats", &["state", "filename", "print_duration", "total_duration", "message", "info"]),
    ("virtual_sdcard", &["progress"]),
    ("display_status", &["progress"]),
    ("webhooks", &["state", "state_message"]),
];
/// Objects of these kinds can be a light.
const LIGHTS: [&str; 4] = ["led", "neopixel", "dotstar", "output_pin"];
/// A progress from which the time that is left can be told.
const TELLING: f64 = 0.02;

/// A light that can be switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Light {
    object: String,
    name: String,
    is_pin: bool,
}

impl Light {
    /// The only object whose name says that it is a light. Where several do, switching one of them would be a guess.
    fn find(objects: &[String]) -> Option<Self> {
        let mut lights = objects.iter().filter_map(|object| {
            let (kind, name) = object.split_once(' ')?;
            let lower = name.to_ascii_lowercase();
            // The name goes into a line of G-code.
            let harmless = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let is_light = LIGHTS.contains(&kind) && harmless && lower.contains("light");
            is_light.then(|| Self { object: object.clone(), name: name.to_owned(), is_pin: kind == "output_pin" })
        });
        let light = lights.next()?;
        lights.next().is_none().then_some(light)
    }

    /// The line of G-code that switches it.
    pub(super) fn script(&self, on: bool) -> String {
        let level = u8::from(on);
        if self.is_pin {
            return format!("SET_PIN PIN={} VALUE={level}", self.name);
        }
        format!("SET_LED LED={} RED={level} GREEN={level} BLUE={level} WHITE={level}", self.name)
    }

    fn is_on(&self, fields: &Map<String, Value>) -> Option<bool> {
        if self.is_pin {
            return Some(fields.get("value")?.as_f64()? > 0.0);
        }
        let colours = fields.get("color_data")?.as_array()?.iter().flat_map(Value::as_array).flatten();
        Some(colours.filter_map(Value::as_f64).any(|level| level > 0.0))
    }
}

/// What a file's slicer said of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Metadata {
    pub(super) file: String,
    pub(super) estimated_time: Option<f64>,
    pub(super) layer_count: Option<u32>,
}

/// What is known of Klipper's objects; only those that were subscribed to are kept.
#[derive(Debug, Default)]
pub(super) struct Objects {
    heaters: Vec<String>,
    light: Option<Light>,
    fields: Map<String, Value>,
}

impl Objects {
    /// Chooses among what Klipper has.
    pub(super) fn choose(available: &[String]) -> Self {
        let is_heater = |name: &&String| {
            name.strip_prefix("extruder").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
                || *name == "heater_bed"
                || name.starts_with("heater_generic ")
        };
        let heaters = available.iter().filter(is_heater).take(MAX_PARTS).cloned().collect();
        Self { heaters, light: Light::find(available), fields: Map::new() }
    }

    /// The argument of `printer.objects.subscribe`.
    pub(super) fn subscription(&self) -> Value {
        let mut objects = Map::new();
        for (name, fields) in OBJECTS {
            objects.insert(name.to_owned(), json!(fields));
        }
        for heater in &self.heaters {
            objects.insert(heater.clone(), json!(["temperature", "target"]));
        }
        if let Some(light) = &self.light {
            objects.insert(light.object.clone(), Value::Null);
        }
        json!({ "objects": objects })
    }

    /// Takes over fields that changed.
    pub(super) fn merge(&mut self, changes: &Value) {
        for (name, fields) in changes.as_object().into_iter().flatten() {
            let is_ours = OBJECTS.iter().any(|(known, _)| known == name)
                || self.heaters.contains(name)
                || self.light.as_ref().is_some_and(|light| light.object == *name);
            let (true, Value::Object(fields)) = (is_ours, fields) else { continue };
            match self.fields.get_mut(name) {
                Some(Value::Object(known)) => known.extend(fields.clone()),
                _ => {
                    self.fields.insert(name.clone(), Value::Object(fields.clone()));
                }
            }
        }
    }

    pub(super) fn light(&self) -> Option<Light> {
        self.light.clone()
    }

    fn get(&self, object: &str, field: &str) -> Option<&Value> {
        self.fields.get(object)?.get(field)
    }

    fn text(&self, object: &str, field: &str) -> Option<String> {
        self.get(object, field)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn number(&self, object: &str, field: &str) -> Option<f64> {
        self.get(object, field)?.as_f64().filter(|number| number.is_finite())
    }

    /// The file that is printed or was printed last.
    pub(super) fn file(&self) -> Option<String> {
        self.text("print_stats", "filename")
    }

    /// What all of it means.
    pub(super) fn state(&self, metadata: &Metadata) -> PrinterState {
        let printing_for = self.number("print_stats", "print_duration").unwrap_or_default();
        let mut message = self.text("print_stats", "message");
        let mut phase = match self.text("print_stats", "state").as_deref() {
            Some("standby") => Phase::Idle,
            // The clock starts with the first filament; before, it heats and probes.
            Some("printing") if printing_for <= 0.0 => Phase::WarmingUp,
            Some("printing") => Phase::Printing,
            Some("paused") => Phase::Paused,
            Some("complete") => Phase::Complete,
            Some("cancelled") => Phase::Cancelled,
            Some("error") => Phase::Error,
            _ => Phase::Unknown,
        };
        if matches!(self.text("webhooks", "state").as_deref(), Some("shutdown" | "error")) {
            phase = Phase::Error;
            message = self.text("webhooks", "state_message").or(message);
        }
        let light = self.light.as_ref().and_then(|light| light.is_on(self.fields.get(&light.object)?.as_object()?));
        let mut commands = match phase {
            Phase::Printing | Phase::WarmingUp => vec![PrinterCommand::Pause, PrinterCommand::Cancel],
            Phase::Paused => vec![PrinterCommand::Resume, PrinterCommand::Cancel],
            _ => vec![],
        };
        commands.extend(light.map(|on| if on { PrinterCommand::LightOff } else { PrinterCommand::LightOn }));
        let temperatures = self.heaters.iter().filter_map(|heater| self.temperature(heater)).collect();
        let state = PrinterState { phase, temperatures, light, message, commands, ..PrinterState::default() };
        if matches!(phase, Phase::Idle | Phase::Unknown) {
            return state;
        }
        let file = self.file();
        let metadata = Some(metadata).filter(|metadata| Some(&metadata.file) == file.as_ref());
        // What the slicer wrote into the file (M73) is nearer to the truth than the position in the file.
        let progress = self
            .number("display_status", "progress")
            .filter(|progress| *progress > 0.0)
            .or_else(|| self.number("virtual_sdcard", "progress"))
            .filter(|_| phase != Phase::Complete)
            .or_else(|| (phase == Phase::Complete).then_some(1.0));
        let left = match (progress, metadata.and_then(|metadata| metadata.estimated_time)) {
            (Some(progress), _) if progress > TELLING => Some(printing_for / progress * (1.0 - progress)),
            (_, Some(estimate)) => Some(estimate - printing_for),
            _ => None,
        };
        let layer = |field: &str| {
            let value = self.get("print_stats", "info")?.get(field)?.as_u64()?;
            u32::try_from(value).ok()
        };
        PrinterState {
            file,
            progress: progress.map(|progress| (progress * 100.0) as f32),
            seconds_printing: Some(self.number("print_stats", "total_duration").unwrap_or(printing_for).max(0.0) as u64),
            seconds_left: left.filter(|_| phase.is_active()).map(|left| left.max(0.0) as u64),
            layer: layer("current_layer"),
            total_layers: layer("total_layer").or_else(|| metadata?.layer_count),
            ..state
        }
    }

    fn temperature(&self, heater: &str) -> Option<Temperature> {
        let name = match heater {
            "heater_bed" => "bed".to_owned(),
            other => match other.strip_prefix("extruder") {
                Some(number) => format!("hotend{number}"),
                None => other.trim_start_matches("heater_generic ").to_owned(),
            },
        };
        let actual = self.number(heater, "temperature")? as f32;
        Some(Temperature { name, actual, target: self.number(heater, "target").unwrap_or_default() as f32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(names: &[&str]) -> Objects {
        Objects::choose(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_what_is_of_use_is_subscribed_to() {
        let objects =
            objects(&["gcode", "extruder", "extruder1", "extruder_stepper x", "heater_bed", "mcu", "led case_light"]);
        let subscription = objects.subscription();
        let names: Vec<_> = subscription["objects"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
        assert_eq!(names.len(), OBJECTS.len() + 4, "{names:?}");
        assert!(subscription["objects"]["led case_light"].is_null());
    }

    #[test]
    fn changes_are_merged_and_strangers_ignored() {
        let mut objects = objects(&["extruder", "heater_bed"]);
        objects.merge(&json!({
            "print_stats": {"state": "printing", "filename": "a.gcode", "print_duration": 0.0, "message": "",
                "info": {"current_layer": null, "total_layer": null}},
            "virtual_sdcard": {"progress": 0.0},
            "extruder": {"temperature": 20.0, "target": 200.0},
            "memory_hog": {"x": "y"},
        }));
        assert_eq!(objects.state(&Metadata::default()).phase, Phase::WarmingUp);
        objects.merge(&json!({
            "print_stats": {"print_duration": 50.0, "total_duration": 100.0, "info": {"current_layer": 2, "total_layer": 9}},
            "virtual_sdcard": {"progress": 0.5}, "extruder": {"temperature": 199.5},
        }));
        let state = objects.state(&Metadata::default());
        assert_eq!(
            (state.phase, state.file.as_deref(), state.progress),
            (Phase::Printing, Some("a.gcode"), Some(50.0))
        );
        assert_eq!((state.seconds_printing, state.seconds_left), (Some(100), Some(50)));
        assert_eq!((state.layer, state.total_layers, state.message), (Some(2), Some(9), None));
        assert_eq!(state.temperatures, [Temperature { name: "hotend".into(), actual: 199.5, target: 200.0 }]);
        assert!(!objects.fields.contains_key("memory_hog"));
        objects.merge(&json!({"webhooks": {"state": "shutdown", "state_message": "Lost communication"}}));
        let state = objects.state(&Metadata::default());
        assert_eq!((state.phase, state.message.as_deref()), (Phase::Error, Some("Lost communication")));
        for garbage in [json!(1), json!([]), json!({"print_stats": 1}), json!({"extruder": {"temperature": "hot"}})] {
            objects.merge(&garbage);
            objects.state(&Metadata::default());
        }
    }

    #[test]
    fn a_slicers_metadata_count_for_its_file_only() {
        let mut objects = objects(&[]);
        objects.merge(&json!({"print_stats": {"state": "printing", "filename": "a", "print_duration": 10.0}}));
        let mut metadata = Metadata { file: "a".into(), estimated_time: Some(70.0), layer_count: Some(12) };
        let state = objects.state(&metadata);
        assert_eq!((state.seconds_left, state.total_layers), (Some(60), Some(12)));
        metadata.file = "b".into();
        assert_eq!(objects.state(&metadata).total_layers, None);
        objects.merge(&json!({"print_stats": {"state": "complete"}, "virtual_sdcard": {"progress": 0.98}}));
        let state = objects.state(&metadata);
        assert_eq!((state.phase, state.progress, state.seconds_left), (Phase::Complete, Some(100.0), None));
    }

    #[test]
    fn a_light_is_known_only_where_there_is_no_doubt() {
        let script = |names: &[&str], on| objects(names).light().map(|light| light.script(on));
        assert_eq!(
            script(&["output_pin caselight", "output_pin fan"], true).as_deref(),
            Some("SET_PIN PIN=caselight VALUE=1")
        );
        assert_eq!(
            script(&["neopixel Chamber_Light"], false).as_deref(),
            Some("SET_LED LED=Chamber_Light RED=0 GREEN=0 BLUE=0 WHITE=0")
        );
        for none in
            [&["led a_light", "led b_light"][..], &["led x"], &["output_pin light\nM112"], &["gcode_macro light"]]
        {
            assert_eq!(script(none, true), None, "{none:?}");
        }
        let mut objects = objects(&["led light"]);
        assert_eq!(objects.state(&Metadata::default()).light, None);
        objects.merge(&json!({"led light": {"color_data": [[0.0, 0.0, 0.0, 0.0]]}}));
        let state = objects.state(&Metadata::default());
        assert_eq!((state.light, state.commands), (Some(false), vec![PrinterCommand::LightOn]));
        objects.merge(&json!({"led light": {"color_data": [[0.0, 0.5, 0.0, 0.0]]}}));
        assert_eq!(objects.state(&Metadata::default()).light, Some(true));
    }
}
