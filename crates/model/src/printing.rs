//! What a printer is doing, in the same words whatever its software.
//!
//! It is made by the agent from what the printer's software says, and read by the service: neither end can trust the
//! texts and numbers in it, so both pass it through [`PrinterState::bounded`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// Characters of a file's name, a message or a problem. File systems end names at 255 bytes.
pub const MAX_TEXT: usize = 255;
/// Characters of the name of a camera or a heater.
pub const MAX_NAME: usize = 64;
/// Heaters and cameras of one printer. More than eight are not shown.
pub const MAX_PARTS: usize = 8;
/// Longer prints do not happen: a century is enough to show that a number is wrong, and fits everywhere.
const MAX_SECONDS: u64 = 100 * 365 * 24 * 60 * 60;
/// More layers than any printer's height over its thinnest layer.
const MAX_LAYERS: u32 = 10_000_000;
/// Degrees beyond which a reading is no temperature.
const MAX_TEMPERATURE: f32 = 10_000.0;

/// What a printer is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PrinterState {
    /// The part of a print's life that it is in.
    pub phase: Phase,
    /// The file that is printed or was printed last; the printer's own text.
    pub file: Option<String>,
    /// One for each print, made by the agent; it stays over pause and resume.
    pub print_id: Option<String>,
    /// How much is done, 0 to 100.
    #[serde(deserialize_with = "finite_or_none")]
    pub progress: Option<f32>,
    /// How long the print has been running.
    pub seconds_printing: Option<u64>,
    /// How long it will go on, by the printer's guess.
    pub seconds_left: Option<u64>,
    /// The layer that is being printed, from 1.
    pub layer: Option<u32>,
    /// How many layers the file has.
    pub total_layers: Option<u32>,
    /// Its heaters, at most [`MAX_PARTS`].
    pub temperatures: Vec<Temperature>,
    /// Whether the light is on; `None` where no light is known.
    pub light: Option<bool>,
    /// Whether the pause that is now was asked for by somebody who does not want it told to anybody.
    pub pause_is_quiet: bool,
    /// Why it failed or waits; the printer's own text.
    pub message: Option<String>,
    /// Its cameras, at most [`MAX_PARTS`], in the printer's order.
    pub cameras: Vec<Camera>,
    /// What the printer can be told at this moment.
    #[serde(deserialize_with = "known_commands")]
    pub commands: Vec<PrinterCommand>,
    /// Why the state cannot be read, for the owner.
    pub problem: Option<String>,
}

/// A part of a print's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing prints, and no print has just ended.
    Idle,
    /// A print has begun, and the heaters are not there yet.
    #[serde(rename = "warmingup")]
    WarmingUp,
    /// It prints.
    Printing,
    /// It waits for somebody to go on.
    Paused,
    /// It is about to go on after a pause.
    Resuming,
    /// The print has ended well.
    Complete,
    /// Somebody ended the print.
    Cancelled,
    /// The print or the printer has failed.
    Error,
    /// The state is not known, or has a name that this build does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// Whether a print is under way.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::WarmingUp | Self::Printing | Self::Paused | Self::Resuming)
    }

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::WarmingUp => "warmingup",
            Self::Printing => "printing",
            Self::Paused => "paused",
            Self::Resuming => "resuming",
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a heater measures and what it is set to, in degrees Celsius.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Temperature {
    /// `hotend`, `hotend1`, `bed`, `chamber`, or the printer's own name.
    pub name: String,
    /// Measured.
    #[serde(deserialize_with = "finite")]
    pub actual: f32,
    /// Wanted; 0 where the heater is off.
    #[serde(deserialize_with = "finite")]
    pub target: f32,
}

/// How a camera's picture has to be turned before it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Camera {
    /// The printer's name for it.
    pub name: String,
    /// Left and right are swapped.
    pub flip_h: bool,
    /// Top and bottom are swapped.
    pub flip_v: bool,
    /// Clockwise degrees after the flips: 0, 90, 180 or 270.
    pub rotation: u16,
}

/// What a printer can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrinterCommand {
    /// Stop for a while.
    Pause,
    /// Go on.
    Resume,
    /// End the print for good.
    Cancel,
    /// Switch the light on.
    LightOn,
    /// Switch the light off.
    LightOff,
}

impl PrinterCommand {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Pause, Self::Resume, Self::Cancel, Self::LightOn, Self::LightOff];

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::LightOn => "light_on",
            Self::LightOff => "light_off",
        }
    }
}

impl fmt::Display for PrinterCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no command.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a printer can be told pause, resume, cancel, light_on or light_off")]
pub struct CommandError;

impl FromStr for PrinterCommand {
    type Err = CommandError;
    fn from_str(text: &str) -> Result<Self, CommandError> {
        Self::ALL.into_iter().find(|command| command.as_str() == text).ok_or(CommandError)
    }
}

impl PrinterState {
    /// The same within the bounds of this module, without control characters and without numbers that mean nothing:
    /// what comes from another machine can be kept and shown only after this.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let text = |text: Option<String>| text.map(|text| shorten(&text, MAX_TEXT)).filter(|text| !text.is_empty());
        self.file = text(self.file);
        self.message = text(self.message);
        self.problem = text(self.problem);
        self.print_id = self.print_id.map(|id| shorten(&id, MAX_NAME)).filter(|id| !id.is_empty());
        self.progress =
            self.progress.filter(|progress| progress.is_finite()).map(|progress| progress.clamp(0.0, 100.0));
        self.seconds_printing = self.seconds_printing.filter(|seconds| *seconds <= MAX_SECONDS);
        self.seconds_left = self.seconds_left.filter(|seconds| *seconds <= MAX_SECONDS);
        self.total_layers = self.total_layers.filter(|layers| *layers <= MAX_LAYERS);
        self.layer = self.layer.filter(|layer| *layer <= self.total_layers.unwrap_or(MAX_LAYERS));
        self.temperatures.truncate(MAX_PARTS);
        for temperature in &mut self.temperatures {
            temperature.name = shorten(&temperature.name, MAX_NAME);
            temperature.actual = degrees(temperature.actual);
            temperature.target = degrees(temperature.target);
        }
        self.cameras.truncate(MAX_PARTS);
        for camera in &mut self.cameras {
            camera.name = shorten(&camera.name, MAX_NAME);
            camera.rotation = match camera.rotation {
                rotation @ (0 | 90 | 180 | 270) => rotation,
                _ => 0,
            };
        }
        let mut seen = Vec::with_capacity(PrinterCommand::ALL.len());
        self.commands.retain(|command| {
            let new = !seen.contains(command);
            seen.push(*command);
            new
        });
        self
    }
}

/// Finite, within reason, and to a tenth: sensors are not better, and a state that differs in the seventh digit
/// would be sent again.
fn degrees(value: f32) -> f32 {
    if value.is_finite() { (value.clamp(-MAX_TEMPERATURE, MAX_TEMPERATURE) * 10.0).round() / 10.0 } else { 0.0 }
}

/// At most `max` characters, none of them for control or for turning the direction of the text around it.
fn shorten(text: &str, max: usize) -> String {
    let harmless = |letter: &char| {
        !letter.is_control()
            && !matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(harmless).take(max).collect()
}

/// JSON has no infinity, but it has numbers that are too large to be told from it.
fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Ok(Some(f32::deserialize(deserializer)?).filter(|value| value.is_finite()).unwrap_or_default())
}

fn finite_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    Ok(Option::<f32>::deserialize(deserializer)?.filter(|value| value.is_finite()))
}

/// Commands of a newer agent are left out, and do not make the whole state unreadable.
fn known_commands<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PrinterCommand>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn a_state_survives_the_wire() {
        let state = PrinterState {
            phase: Phase::WarmingUp,
            file: Some("cube.gcode".into()),
            print_id: Some("abc".into()),
            progress: Some(12.5),
            layer: Some(3),
            temperatures: vec![Temperature { name: "bed".into(), actual: 20.5, target: 60.0 }],
            light: Some(true),
            cameras: vec![Camera { name: "nozzle".into(), rotation: 90, ..Camera::default() }],
            commands: vec![PrinterCommand::Cancel, PrinterCommand::LightOff],
            ..PrinterState::default()
        };
        let json = serde_json::to_string(&state).unwrap();
        for part in [r#""phase":"warmingup""#, r#""printId":"abc""#, r#""flipH":false"#, r#""light_off""#] {
            assert!(json.contains(part), "{json}");
        }
        assert_eq!(serde_json::from_str::<PrinterState>(&json).unwrap(), state);
    }

    #[test]
    fn what_a_newer_agent_says_is_read_as_far_as_it_is_known() {
        let state: PrinterState =
            serde_json::from_str(r#"{"phase":"levelling","commands":["pause","dance"],"mood":1}"#).unwrap();
        assert_eq!((state.phase, state.commands), (Phase::Unknown, vec![PrinterCommand::Pause]));
        assert_eq!(serde_json::from_str::<PrinterState>("{}").unwrap(), PrinterState::default());
        let huge: PrinterState =
            serde_json::from_str(r#"{"progress":1e39,"temperatures":[{"actual":-1e39,"target":1}]}"#).unwrap();
        assert_eq!((huge.progress, huge.temperatures[0].actual), (None, 0.0));
    }

    #[test]
    fn strangers_numbers_and_texts_are_bounded() {
        let wild = PrinterState {
            file: Some("a\u{202e}\u{1b}[31m".to_owned() + &"ä".repeat(1000)),
            message: Some("\n".into()),
            print_id: Some("x".repeat(1000)),
            progress: Some(f32::NAN),
            seconds_left: Some(u64::MAX),
            layer: Some(9),
            total_layers: Some(8),
            temperatures: vec![Temperature { name: "n".repeat(1000), actual: f32::INFINITY, target: 1e30 }; 1000],
            cameras: vec![Camera { name: "\u{7}".into(), rotation: 45, ..Camera::default() }; 1000],
            commands: vec![PrinterCommand::Pause; 1000],
            ..PrinterState::default()
        };
        let state = wild.bounded();
        let file = state.file.clone().unwrap();
        assert!(file.starts_with("a[31mä") && file.chars().count() == MAX_TEXT, "{file}");
        assert_eq!((state.message.clone(), state.progress, state.seconds_left, state.layer), (None, None, None, None));
        assert_eq!((state.temperatures.len(), state.cameras.len(), state.commands.len()), (MAX_PARTS, MAX_PARTS, 1));
        assert_eq!(state.temperatures[0].name.len(), MAX_NAME);
        assert_eq!((state.temperatures[0].actual, state.temperatures[0].target), (0.0, MAX_TEMPERATURE));
        assert_eq!((state.cameras[0].name.as_str(), state.cameras[0].rotation), ("", 0));
        assert_eq!(state.clone().bounded(), state, "bounding twice changes nothing");
        let progress = |value| PrinterState { progress: Some(value), ..PrinterState::default() }.bounded().progress;
        assert_eq!((progress(-1.0), progress(101.0)), (Some(0.0), Some(100.0)));
    }

    #[test]
    fn names_of_commands_and_phases_are_those_of_the_wire() {
        for command in PrinterCommand::ALL {
            assert_eq!(command.as_str().parse(), Ok(command));
            assert_eq!(serde_json::to_string(&command).unwrap(), format!("\"{command}\""));
        }
        assert_eq!("PAUSE".parse::<PrinterCommand>(), Err(CommandError));
        for phase in [Phase::Idle, Phase::WarmingUp, Phase::Resuming, Phase::Cancelled, Phase::Unknown] {
            assert_eq!(serde_json::to_string(&phase).unwrap(), format!("\"{phase}\""));
        }
        assert!(Phase::Paused.is_active() && !Phase::Complete.is_active());
    }
}
