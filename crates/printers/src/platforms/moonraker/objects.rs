//! Klipper's objects, merged from what Moonraker sends, and what they mean.

use model::printing::{MAX_PARTS, Phase, PrinterCommand, PrinterState, Temperature};
use serde_json::{Map, Value, json};

use super::Parts;
use super::lights::{Light, PowerLight};
use super::metadata::Metadata;
use crate::platforms::{JobDetails, LightState, MaterialSystem, Tool};

/// Objects that every Klipper has, with the fields that matter.
const OBJECTS: [(&str, &[&str]); 6] = [
    ("print_stats", &["state", "filename", "print_duration", "total_duration", "message", "info"]),
    ("virtual_sdcard", &["progress"]),
    ("display_status", &["progress"]),
    ("webhooks", &["state", "state_message"]),
    ("gcode_move", &["speed_factor", "gcode_position"]),
    ("toolhead", &["extruder"]),
];
/// What is in the name of the thermometer of a chamber.
const CHAMBERS: [&str; 3] = ["chamber", "enclosure", "cavity"];
/// Lights of one printer; more are not shown.
const MAX_LIGHTS: usize = 16;
/// Klipper's clock of the print, in seconds, has begun to run.
const BEGUN: f64 = 0.000_01;
/// A progress from which the time that is left can be told.
const TELLING: f64 = 0.02;

/// What is known of Klipper's objects; only those that were subscribed to are kept.
#[derive(Debug, Default)]
pub(super) struct Objects {
    heaters: Vec<String>,
    /// The heater or thermometer of the chamber.
    chamber: Option<String>,
    /// Objects that are lights.
    lights: Vec<(String, Light)>,
    fields: Map<String, Value>,
}

impl Objects {
    /// Chooses among what Klipper has.
    pub(super) fn choose(available: &[String]) -> Self {
        let is_heater =
            |name: &&String| is_extruder(name) || *name == "heater_bed" || name.starts_with("heater_generic ");
        let chamber = |kind: &str| {
            available.iter().find(|name| {
                let is_chamber = |name: &str| CHAMBERS.iter().any(|known| name.to_ascii_lowercase().contains(known));
                name.strip_prefix(kind).is_some_and(is_chamber)
            })
        };
        let chamber = chamber("heater_generic ").or_else(|| chamber("temperature_sensor ")).cloned();
        let mut heaters: Vec<String> = available.iter().filter(is_heater).take(MAX_PARTS).cloned().collect();
        if let Some(chamber) = &chamber
            && !heaters.contains(chamber)
        {
            heaters.truncate(MAX_PARTS - 1);
            heaters.push(chamber.clone());
        }
        let mut lights: Vec<(String, Light)> = Vec::new();
        for object in available {
            if let Some(light) = Light::read(object)
                && lights.len() < MAX_LIGHTS
                && !lights.iter().any(|(_, known)| known.name == light.name)
            {
                lights.push((object.clone(), light));
            }
        }
        Self { heaters, chamber, lights, fields: Map::new() }
    }

    /// What commands need to know.
    pub(super) fn parts(&self, power: &[PowerLight]) -> Parts {
        let lights = self.lights.iter().map(|(_, light)| light.clone()).chain(power.iter().map(PowerLight::light));
        let chamber_heater = self.chamber.as_ref().and_then(|name| name.strip_prefix("heater_generic "));
        let chamber_heater =
            chamber_heater.filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        Parts { lights: lights.take(MAX_LIGHTS).collect(), chamber_heater: chamber_heater.map(str::to_owned) }
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
        for tool in self.heaters.iter().filter(|name| is_extruder(name)) {
            objects.insert(tool.clone(), json!(["temperature", "target", "nozzle_diameter"]));
        }
        for (object, _) in &self.lights {
            objects.insert(object.clone(), Value::Null);
        }
        json!({ "objects": objects })
    }

    /// Takes over fields that changed.
    pub(super) fn merge(&mut self, changes: &Value) {
        for (name, fields) in changes.as_object().into_iter().flatten() {
            let is_ours = OBJECTS.iter().any(|(known, _)| known == name)
                || self.heaters.contains(name)
                || self.lights.iter().any(|(object, _)| object == name);
            let (true, Value::Object(fields)) = (is_ours, fields) else { continue };
            match self.fields.get_mut(name) {
                Some(Value::Object(known)) => known.extend(fields.clone()),
                _ => {
                    self.fields.insert(name.clone(), Value::Object(fields.clone()));
                }
            }
        }
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
    pub(super) fn state(&self, metadata: &Metadata, power: &[PowerLight]) -> PrinterState {
        let printing_for = self.number("print_stats", "print_duration").unwrap_or_default();
        let mut message = self.text("print_stats", "message");
        let mut phase = match self.text("print_stats", "state").as_deref() {
            Some("standby") => Phase::Idle,
            // The clock starts with the first filament; before, it heats and probes.
            Some("printing") if printing_for < BEGUN => Phase::WarmingUp,
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
        // One of several would be a guess.
        let light = match self.light_states(power).as_slice() {
            [only] => Some(only.on),
            _ => None,
        };
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
        let speed = self.number("gcode_move", "speed_factor").filter(|factor| *factor > 0.0).unwrap_or(1.0);
        let left = match (progress, metadata.and_then(|metadata| metadata.estimated_time)) {
            (Some(progress), Some(estimate)) if estimate > 0.0 => Some(estimate * (1.0 - progress) / speed),
            (Some(progress), _) if progress > TELLING => Some(printing_for / progress * (1.0 - progress)),
            (None, Some(estimate)) => Some(estimate - printing_for),
            _ => None,
        };
        let (layer, total_layers) = self.layers(metadata, printing_for);
        PrinterState {
            file,
            progress: progress.map(|progress| (progress * 100.0) as f32),
            seconds_printing: Some(self.number("print_stats", "total_duration").unwrap_or(printing_for).max(0.0) as u64),
            seconds_left: left.filter(|_| phase.is_active()).map(|left| left.max(0.0) as u64),
            layer,
            total_layers,
            ..state
        }
    }

    /// The current layer and how many there are, as the slicer wrote them into the file, else by heights.
    fn layers(&self, metadata: Option<&Metadata>, printing_for: f64) -> (Option<u32>, Option<u32>) {
        let said = |field: &str| {
            let value = self.get("print_stats", "info")?.get(field)?.as_u64()?;
            u32::try_from(value).ok()
        };
        let total = said("total_layer").filter(|layers| *layers > 0).or_else(|| metadata?.total_layers());
        let by_height = || {
            if printing_for < BEGUN {
                return Some(0);
            }
            metadata?.layer_at(self.get("gcode_move", "gcode_position")?.get(2)?.as_f64()?)
        };
        let current = said("current_layer").or_else(by_height);
        (current.map(|layer| layer.min(total.unwrap_or(u32::MAX))), total)
    }

    /// What only programs want to know.
    pub(super) fn details(&self, metadata: &Metadata, power: &[PowerLight]) -> JobDetails {
        let metadata = Some(metadata).filter(|metadata| Some(&metadata.file) == self.file().as_ref());
        let lights = self.light_states(power);
        JobDetails {
            sub_state: None,
            lights: (!lights.is_empty()).then_some(lights),
            filament_mm: metadata.and_then(|metadata| metadata.filament_mm),
            filament_mg: metadata.and_then(|metadata| metadata.filament_mg),
            knows_layers: true,
            active_hotend: self.active_tool().map(hotend_name),
            material: Some(self.materials()),
        }
    }

    fn light_states(&self, power: &[PowerLight]) -> Vec<LightState> {
        let own = self.lights.iter().filter_map(|(object, light)| {
            let on = light.is_on(self.fields.get(object)?.as_object()?)?;
            Some(LightState { name: light.name.clone(), on })
        });
        own.chain(power.iter().map(|light| LightState { name: light.name.clone(), on: light.on }))
            .take(MAX_LIGHTS)
            .collect()
    }

    fn active_tool(&self) -> Option<&str> {
        self.get("toolhead", "extruder")?.as_str().filter(|name| is_extruder(name))
    }

    /// One tool for each extruder, each with a source of its own.
    fn materials(&self) -> MaterialSystem {
        let active = self.active_tool();
        let tool = |heater: &String| {
            let number = if heater == "extruder" { "0" } else { heater.strip_prefix("extruder")? };
            let index: u32 = number.parse().ok()?;
            Some(Tool {
                id: format!("tool-{index}"),
                index,
                is_active: active.map(|active| active == heater),
                actual_celsius: self.number(heater, "temperature"),
                target_celsius: self.number(heater, "target"),
                nozzle_diameter_mm: self.number(heater, "nozzle_diameter"),
            })
        };
        MaterialSystem::fixed(self.heaters.iter().filter_map(tool).collect())
    }

    fn temperature(&self, heater: &str) -> Option<Temperature> {
        let name = match heater {
            "heater_bed" => "bed".to_owned(),
            other if Some(other) == self.chamber.as_deref() => "chamber".to_owned(),
            other if is_extruder(other) => hotend_name(other),
            other => other.trim_start_matches("heater_generic ").to_owned(),
        };
        let actual = self.number(heater, "temperature")? as f32;
        Some(Temperature { name, actual, target: self.number(heater, "target").unwrap_or_default() as f32 })
    }
}

/// `extruder`, `extruder1`, …
fn is_extruder(object: &str) -> bool {
    object.strip_prefix("extruder").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn hotend_name(extruder: &str) -> String {
    format!("hotend{}", extruder.trim_start_matches("extruder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(names: &[&str]) -> Objects {
        Objects::choose(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    fn state_of(objects: &Objects, metadata: &Metadata) -> PrinterState {
        objects.state(metadata, &[])
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
        assert_eq!(state_of(&objects, &Metadata::default()).phase, Phase::WarmingUp);
        objects.merge(&json!({
            "print_stats": {"print_duration": 50.0, "total_duration": 100.0, "info": {"current_layer": 2, "total_layer": 9}},
            "virtual_sdcard": {"progress": 0.5}, "extruder": {"temperature": 199.5},
        }));
        let state = state_of(&objects, &Metadata::default());
        assert_eq!(
            (state.phase, state.file.as_deref(), state.progress),
            (Phase::Printing, Some("a.gcode"), Some(50.0))
        );
        assert_eq!((state.seconds_printing, state.seconds_left), (Some(100), Some(50)));
        assert_eq!((state.layer, state.total_layers, state.message), (Some(2), Some(9), None));
        assert_eq!(state.temperatures, [Temperature { name: "hotend".into(), actual: 199.5, target: 200.0 }]);
        assert!(!objects.fields.contains_key("memory_hog"));
        objects.merge(&json!({"webhooks": {"state": "shutdown", "state_message": "Lost communication"}}));
        let state = state_of(&objects, &Metadata::default());
        assert_eq!((state.phase, state.message.as_deref()), (Phase::Error, Some("Lost communication")));
        for garbage in [json!(1), json!([]), json!({"print_stats": 1}), json!({"extruder": {"temperature": "hot"}})] {
            objects.merge(&garbage);
            let _ = state_of(&objects, &Metadata::default());
        }
    }

    #[test]
    fn a_slicers_metadata_count_for_its_file_only() {
        let mut objects = objects(&[]);
        objects.merge(&json!({"print_stats": {"state": "printing", "filename": "a", "print_duration": 10.0}}));
        let mut metadata = Metadata::of("a".into());
        metadata.handle(&json!({"estimated_time": 70.0, "layer_count": 12}));
        let state = state_of(&objects, &metadata);
        assert_eq!((state.seconds_left, state.total_layers), (Some(60), Some(12)));
        metadata.file = "b".into();
        assert_eq!(state_of(&objects, &metadata).total_layers, None);
        objects.merge(&json!({"print_stats": {"state": "complete"}, "virtual_sdcard": {"progress": 0.98}}));
        let state = state_of(&objects, &metadata);
        assert_eq!((state.phase, state.progress, state.seconds_left), (Phase::Complete, Some(100.0), None));
    }

    #[test]
    fn a_light_is_known_only_where_there_is_no_doubt() {
        let mut lit = objects(&["led light"]);
        assert_eq!(state_of(&lit, &Metadata::default()).light, None);
        lit.merge(&json!({"led light": {"color_data": [[0.0, 0.0, 0.0, 0.0]]}}));
        let dark = state_of(&lit, &Metadata::default());
        assert_eq!((dark.light, dark.commands), (Some(false), vec![PrinterCommand::LightOn]));
        lit.merge(&json!({"led light": {"color_data": [[0.0, 0.5, 0.0, 0.0]]}}));
        assert_eq!(state_of(&lit, &Metadata::default()).light, Some(true));
        let plug = [PowerLight { name: "shelf light".to_owned(), on: true }];
        assert_eq!(lit.state(&Metadata::default(), &plug).light, None, "of two, neither is the light");
        let lights = lit.details(&Metadata::default(), &plug).lights.unwrap_or_default();
        let light = |name: &str| LightState { name: name.to_owned(), on: true };
        assert_eq!(lights, [light("light"), light("shelf light")]);
        assert_eq!(lit.parts(&plug).lights.len(), 2);
    }

    #[test]
    fn the_chamber_and_the_active_tool_are_found() {
        let names = ["extruder", "extruder1", "temperature_sensor Chamber_top", "heater_generic enclosure_heater"];
        let mut warm = objects(&names);
        warm.merge(&json!({"heater_generic enclosure_heater": {"temperature": 45.0, "target": 50.0},
            "extruder": {"temperature": 20.0}, "extruder1": {"temperature": 210.0, "nozzle_diameter": 0.6},
            "toolhead": {"extruder": "extruder1"}}));
        let chamber = Temperature { name: "chamber".into(), actual: 45.0, target: 50.0 };
        assert!(state_of(&warm, &Metadata::default()).temperatures.contains(&chamber));
        assert_eq!(warm.parts(&[]).chamber_heater.as_deref(), Some("enclosure_heater"));
        let details = warm.details(&Metadata::default(), &[]);
        assert_eq!(details.active_hotend.as_deref(), Some("hotend1"));
        let tools = details.material.unwrap_or_default().tools;
        let seen: Vec<_> = tools.iter().map(|tool| (tool.is_active, tool.nozzle_diameter_mm)).collect();
        assert_eq!(seen, [(Some(false), None), (Some(true), Some(0.6))]);
        let sensor = objects(&["temperature_sensor cavity"]);
        assert_eq!((sensor.chamber.is_some(), sensor.parts(&[]).chamber_heater), (true, None));
    }

    #[test]
    fn layers_come_from_the_slicer_or_from_the_height() {
        let mut objects = objects(&[]);
        let mut metadata = Metadata::of("a".into());
        metadata.handle(&json!({"object_height": 2.0, "layer_height": 0.2, "first_layer_height": 0.2}));
        let mut check = |changes: Value, expected| {
            objects.merge(&changes);
            let state = state_of(&objects, &metadata);
            assert_eq!((state.layer, state.total_layers), expected, "{changes}");
        };
        check(
            json!({"print_stats": {"state": "printing", "filename": "a", "print_duration": 0.0}}),
            (Some(0), Some(10)),
        );
        check(
            json!({"print_stats": {"print_duration": 1.0}, "gcode_move": {"gcode_position": [0, 0, 0.6, 0]}}),
            (Some(3), Some(10)),
        );
        check(json!({"gcode_move": {"gcode_position": [0, 0, 50.0, 0]}}), (Some(10), Some(10)));
        check(json!({"print_stats": {"info": {"current_layer": 4, "total_layer": 8}}}), (Some(4), Some(8)));
        check(json!({"print_stats": {"info": {"current_layer": 9, "total_layer": 0}}}), (Some(9), Some(10)));
    }
}
