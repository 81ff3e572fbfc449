//! Lights of a Klipper printer: outputs and LEDs of its own, and power devices of Moonraker's.

use serde_json::{Map, Value, json};

/// Objects of these kinds can be a light.
const KINDS: [&str; 4] = ["led", "neopixel", "dotstar", "output_pin"];
/// What is in the name of a light.
const NAMES: [&str; 2] = ["light", "cavity_led"];

/// A light that can be switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Light {
    /// As its owner has named it.
    pub(super) name: String,
    means: Means,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// An output of Klipper's.
    Pin,
    /// A chain of LEDs of Klipper's.
    Led,
    /// A relay or a plug that Moonraker switches.
    Power,
}

/// A power device that is a light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PowerLight {
    pub(super) name: String,
    pub(super) on: bool,
}

impl PowerLight {
    /// Reads one of Moonraker's devices; `None` where its name is not that of a light.
    pub(super) fn read(device: &Value) -> Option<Self> {
        let name = device["device"].as_str().filter(|name| is_name_of_light(name))?;
        Some(Self { name: name.to_owned(), on: device["status"] == "on" })
    }

    /// How it is switched.
    pub(super) fn light(&self) -> Light {
        Light { name: self.name.clone(), means: Means::Power }
    }
}

/// What switches a light.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Switch {
    /// A line of G-code.
    Script(String),
    /// Parameters of `machine.device_power.post_device`.
    Device(Value),
}

impl Light {
    /// Reads the name of one of Klipper's objects; `None` where it is no light.
    pub(super) fn read(object: &str) -> Option<Self> {
        let (kind, name) = object.split_once(' ')?;
        // The name goes into a line of G-code.
        let harmless = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_light = KINDS.contains(&kind) && harmless && is_name_of_light(name);
        let means = if kind == "output_pin" { Means::Pin } else { Means::Led };
        is_light.then(|| Self { name: name.to_owned(), means })
    }

    pub(super) fn switch(&self, on: bool) -> Switch {
        let level = u8::from(on);
        match self.means {
            Means::Pin => Switch::Script(format!("SET_PIN PIN={} VALUE={level}", self.name)),
            Means::Led => Switch::Script(format!(
                "SET_LED LED={} RED={level} GREEN={level} BLUE={level} WHITE={level}",
                self.name
            )),
            Means::Power => Switch::Device(json!({"device": self.name, "action": if on { "on" } else { "off" }})),
        }
    }

    /// Whether it is on, by the fields of its object.
    pub(super) fn is_on(&self, fields: &Map<String, Value>) -> Option<bool> {
        if self.means == Means::Pin {
            return Some(fields.get("value")?.as_f64()? > 0.0);
        }
        let colours = fields.get("color_data")?.as_array()?.iter().flat_map(Value::as_array).flatten();
        Some(colours.filter_map(Value::as_f64).any(|level| level > 0.0))
    }
}

fn is_name_of_light(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|known| name.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_light_has_its_switch() {
        let script = |object: &str, on| Light::read(object).map(|light| light.switch(on));
        let text = |text: &str| Some(Switch::Script(text.to_owned()));
        assert_eq!(script("output_pin caselight", true), text("SET_PIN PIN=caselight VALUE=1"));
        assert_eq!(
            script("neopixel Chamber_Light", false),
            text("SET_LED LED=Chamber_Light RED=0 GREEN=0 BLUE=0 WHITE=0")
        );
        assert_eq!(script("led cavity_led", true), text("SET_LED LED=cavity_led RED=1 GREEN=1 BLUE=1 WHITE=1"));
        for none in ["led x", "output_pin fan", "output_pin light\nM112", "gcode_macro light", "light", "fan light"] {
            assert_eq!(script(none, true), None, "{none:?}");
        }
        let device = |text: &str| PowerLight::read(&serde_json::from_str(text).unwrap_or_default());
        let plug = device(r#"{"device": "Work Light", "status": "on"}"#);
        assert_eq!(plug, Some(PowerLight { name: "Work Light".to_owned(), on: true }));
        let switch = plug.map(|plug| plug.light().switch(false));
        assert_eq!(switch, Some(Switch::Device(json!({"device": "Work Light", "action": "off"}))));
        for none in [r#"{"device":"printer","status":"on"}"#, r#"{"device":7}"#, "[]", ""] {
            assert_eq!(device(none), None, "{none}");
        }
    }
}
