//! The printer's state, from what it has reported.

use std::time::Instant;

use model::printing::{Phase, PrinterCommand, PrinterState, Temperature};

use super::about::About;
use super::clock::{Activity, Countdown, PrintClock};
use super::fault::Fault;
use super::report::{Report, text, whole};
use super::{material, stage};
use crate::platforms::{JobDetails, LightState, Observed};

/// What the only light is called here.
pub(super) const LIGHT: &str = "chamber";
/// And by the printer.
pub(super) const LIGHT_NODE: &str = "chamber_light";
/// More layers than a printer's height over the thinnest layer.
const MAX_LAYERS: u32 = 1_000_000;
/// Ends of names of files to print, longest first.
const EXTENSIONS: [&str; 4] = [".gcode.3mf", ".3mf", ".bgcode", ".gcode"];

/// Measures what the printer does not.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    print: PrintClock,
    left: Countdown,
}

impl Clocks {
    /// See [`PrintClock::recall`].
    pub(super) fn recall(&mut self, took: std::time::Duration) {
        self.print.recall(took);
    }
}

/// All there is to see, without cameras.
pub(super) fn observe(report: &Report, about: &About, clocks: &mut Clocks, now: Instant) -> Observed {
    let Doing { phase, activity, fault } = doing(report);
    let name = file(report);
    let percent = report.number("mc_percent").filter(|percent| (0.0..=100.0).contains(percent));
    let took = clocks.print.handle(activity, name.as_deref().unwrap_or_default(), percent, now);
    let left = clocks.left.handle(report.number("mc_remaining_time"), activity, now);
    let light = light(report);
    let mut state = PrinterState {
        phase,
        temperatures: temperatures(report, about),
        light,
        commands: commands(activity, light),
        message: fault,
        ..PrinterState::default()
    };
    if activity != Activity::Nothing {
        let is_under_way = activity != Activity::Ended;
        state.file = name;
        state.progress = percent.map(|percent| percent as f32);
        state.seconds_printing = took;
        state.seconds_left = left.filter(|_| is_under_way);
        state.layer = layers(report, "layer_num").or(Some(0));
        state.total_layers = layers(report, "total_layer_num").or(Some(0));
    }
    let details = JobDetails {
        sub_state: stage(report).and_then(stage::text).map(str::to_owned),
        lights: light.map(|on| vec![LightState { name: LIGHT.to_owned(), on }]),
        knows_layers: true,
        material: Some(material::read(report)),
        ..JobDetails::default()
    };
    Observed { state, details, ..Observed::default() }
}

/// What the printer does, whatever a fault makes of it.
struct Doing {
    phase: Phase,
    activity: Activity,
    fault: Option<String>,
}

fn doing(report: &Report) -> Doing {
    let word = report.text("gcode_state").unwrap_or_default().to_ascii_uppercase();
    let heats = matches!(stage(report), Some(stage::HEATING_BED | stage::HEATING_HOTEND));
    let (phase, activity) = match word.as_str() {
        "IDLE" | "INIT" | "OFFLINE" | "UNKNOWN" => (Phase::Idle, Activity::Nothing),
        "RUNNING" | "SLICING" if heats => (Phase::WarmingUp, Activity::Preparing),
        "RUNNING" | "SLICING" => (Phase::Printing, Activity::Running),
        "PREPARE" => (Phase::WarmingUp, Activity::Preparing),
        "PAUSE" => (Phase::Paused, Activity::Waiting),
        // So it is after its self-test, too, which prints nothing.
        "FINISH" if layers(report, "total_layer_num").unwrap_or(0) == 0 => (Phase::Idle, Activity::Nothing),
        "FINISH" => (Phase::Complete, Activity::Ended),
        "FAILED" => (Phase::Cancelled, Activity::Ended),
        _ => (Phase::Unknown, Activity::Nothing),
    };
    let is_under_way = !matches!(activity, Activity::Nothing | Activity::Ended);
    match Fault::of(whole(report.at(&["print_error"]), u32::MAX).map_or(0, u64::from)) {
        Fault::Error(text) => Doing { phase: Phase::Error, activity, fault: Some(text) },
        Fault::Pause if is_under_way => Doing { phase: Phase::Paused, activity: Activity::Waiting, fault: None },
        _ => Doing { phase, activity, fault: None },
    }
}

/// What it can be told. A print that waits because of a fault can go on once somebody has seen to it.
fn commands(activity: Activity, light: Option<bool>) -> Vec<PrinterCommand> {
    use PrinterCommand::*;
    let mut commands = match activity {
        Activity::Preparing | Activity::Running => vec![Pause, Cancel],
        Activity::Waiting => vec![Resume, Cancel],
        Activity::Nothing | Activity::Ended => vec![],
    };
    commands.extend(light.map(|on| if on { LightOff } else { LightOn }));
    commands
}

fn stage(report: &Report) -> Option<i64> {
    report.number("stg_cur").filter(|stage| stage.fract() == 0.0).map(|stage| stage as i64)
}

/// Newer firmware has moved the layers into an object of their own.
fn layers(report: &Report, name: &str) -> Option<u32> {
    whole(report.at(&[name]), MAX_LAYERS).or_else(|| whole(report.at(&["3D", name]), MAX_LAYERS))
}

fn file(report: &Report) -> Option<String> {
    let task = report.text("subtask_name");
    let file = || report.text("gcode_file").map(|path| path.rsplit('/').next().unwrap_or(path));
    task.or_else(file).map(without_extension).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// A file's name as people know it.
pub(super) fn without_extension(name: &str) -> &str {
    let cut = |extension: &&str| {
        let at = name.len().checked_sub(extension.len())?;
        name.get(at..)?.eq_ignore_ascii_case(extension).then(|| name.get(..at)).flatten()
    };
    EXTENSIONS.iter().find_map(cut).unwrap_or(name)
}

fn temperatures(report: &Report, about: &About) -> Vec<Temperature> {
    let heater = |name: &str, actual: Option<f64>, target: Option<f64>| {
        let (actual, target) = (actual? as f32, target.unwrap_or(0.0) as f32);
        Some(Temperature { name: name.to_owned(), actual, target })
    };
    let packed = |part: &str| material::unpacked(report.at(&["device", part, "info", "temp"]));
    let (bed, bed_target) = packed("bed");
    let (chamber, chamber_target) = packed("ctc");
    let chamber = heater("chamber", report.number("chamber_temper").or(chamber), chamber_target);
    [
        heater("hotend", report.number("nozzle_temper"), report.number("nozzle_target_temper")),
        heater("bed", report.number("bed_temper").or(bed), report.number("bed_target_temper").or(bed_target)),
        chamber.filter(|_| about.has_chamber()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether the light is on; anything but off is, such as blinking.
fn light(report: &Report) -> Option<bool> {
    let mut lights = report.at(&["lights_report"]).as_array()?.iter();
    let light = lights.find(|light| light["node"] == LIGHT_NODE)?;
    text(&light["mode"]).map(|mode| !mode.eq_ignore_ascii_case("off"))
}

/// Whether the printer has said which lights it has, and there is none that can be switched.
pub(super) fn is_without_light(report: &Report) -> bool {
    report
        .at(&["lights_report"])
        .as_array()
        .is_some_and(|lights| !lights.iter().any(|light| light["node"] == LIGHT_NODE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::report::tests::{any_value, report};
    use super::*;

    fn look(fields: Value) -> Observed {
        let about = About::of_serial("00M09A000000001");
        observe(&report(fields), &about, &mut Clocks::default(), Instant::now())
    }

    #[test]
    fn each_state_has_its_phase() {
        use Phase::*;
        for (word, stage, layers, expected) in [
            ("IDLE", 255, 0, Idle),
            ("INIT", 0, 0, Idle),
            ("OFFLINE", 0, 0, Idle),
            ("UNKNOWN", -1, 0, Idle),
            ("RUNNING", 0, 10, Printing),
            ("running", 1, 10, Printing),
            ("RUNNING", 2, 10, WarmingUp),
            ("RUNNING", 7, 10, WarmingUp),
            ("SLICING", 0, 0, Printing),
            ("SLICING", 2, 0, WarmingUp),
            ("PREPARE", 13, 0, WarmingUp),
            ("PAUSE", 16, 10, Paused),
            ("FINISH", 0, 10, Complete),
            ("FINISH", 0, 0, Idle),
            ("FAILED", 0, 10, Cancelled),
            ("DANCING", 0, 10, Unknown),
            ("", 0, 10, Unknown),
        ] {
            let fields = json!({"gcode_state": word, "stg_cur": stage, "total_layer_num": layers});
            assert_eq!(look(fields.clone()).state.phase, expected, "{fields}");
        }
    }

    #[test]
    fn faults_go_before_states_and_plain_pauses_are_no_faults() {
        use Phase::*;
        let hex = |number: u32| json!(number);
        for (word, error, expected, message) in [
            ("RUNNING", hex(0x0300_8003), Error, Some("Print Failure Detected")),
            ("PAUSE", hex(0x0700_8011), Error, Some("Filament Run Out")),
            ("IDLE", hex(0x0500_4001), Error, Some("Error: 0500-4001, see the printer's screen")),
            ("FAILED", hex(0x0300_4000), Error, Some("Error: 0300-4000, see the printer's screen")),
            ("PAUSE", hex(0x0300_8013), Paused, None),
            ("PAUSE", hex(0x0300_8001), Paused, None),
            ("RUNNING", hex(0x0300_8000), Paused, None),
            ("FINISH", hex(0x0300_8000), Complete, None),
            ("IDLE", hex(0x0300_8001), Idle, None),
            ("FAILED", hex(0x0300_400C), Cancelled, None),
            ("RUNNING", hex(0x0500_C011), Printing, None),
            ("RUNNING", hex(0), Printing, None),
            ("RUNNING", json!("50364419"), Error, Some("Print Failure Detected")),
            ("RUNNING", json!([1]), Printing, None),
            ("RUNNING", json!(-7), Printing, None),
        ] {
            let state = look(json!({"gcode_state": word, "print_error": error, "total_layer_num": 5})).state;
            assert_eq!((state.phase, state.message.as_deref()), (expected, message), "{word} {error}");
        }
        // What waits for filament can go on.
        let commands = |word: &str| look(json!({"gcode_state": word, "print_error": 0x0700_8011})).state.commands;
        use PrinterCommand::*;
        assert_eq!((commands("PAUSE"), commands("RUNNING")), (vec![Resume, Cancel], vec![Pause, Cancel]));
        assert_eq!(commands("FAILED"), vec![]);
    }

    #[test]
    fn a_print_is_told_with_all_that_is_known() {
        let running = json!({"gcode_state": "RUNNING", "stg_cur": 4, "subtask_name": "Benchy.gcode.3mf", "mc_percent": 42,
            "mc_remaining_time": 90, "layer_num": 17, "total_layer_num": 240, "nozzle_temper": 219.96875,
            "nozzle_target_temper": 220.0, "bed_temper": 55, "bed_target_temper": 60, "chamber_temper": 31.0,
            "lights_report": [{"node": "work_light", "mode": "off"}, {"node": "chamber_light", "mode": "flashing"}]});
        let Observed { state, details, .. } = look(running);
        let heater = |name: &str, actual, target| Temperature { name: name.to_owned(), actual, target };
        assert_eq!(
            state.temperatures,
            [heater("hotend", 219.96875, 220.0), heater("bed", 55.0, 60.0), heater("chamber", 31.0, 0.0)]
        );
        assert_eq!(
            (state.file.as_deref(), state.progress, state.seconds_left),
            (Some("Benchy"), Some(42.0), Some(5400))
        );
        assert_eq!((state.layer, state.total_layers, state.light), (Some(17), Some(240), Some(true)));
        assert_eq!(state.seconds_printing, None, "it began before the first look");
        use PrinterCommand::*;
        assert_eq!(state.commands, [Pause, Cancel, LightOff]);
        assert_eq!(details.sub_state.as_deref(), Some("Changing filament"));
        assert_eq!(details.lights, Some(vec![LightState { name: "chamber".to_owned(), on: true }]));

        let p1 = About::of_serial("01P");
        let cold = report(json!({"gcode_state": "IDLE", "chamber_temper": 5, "bed_temper": 20, "subtask_name": "old",
            "mc_percent": 100, "mc_remaining_time": 5, "layer_num": 3, "stg_cur": 255}));
        let Observed { state, details, .. } = observe(&cold, &p1, &mut Clocks::default(), Instant::now());
        assert_eq!(state.temperatures, [heater("bed", 20.0, 0.0)]);
        assert_eq!((state.file, state.progress, state.seconds_left, state.layer), (None, None, None, None));
        assert_eq!((state.light, details.lights, details.sub_state), (None, None, None));
    }

    #[test]
    fn newer_firmware_has_other_places() {
        let state =
            look(json!({"gcode_state": "PREPARE", "gcode_file": "/data/Metadata/plate_1.GCODE", "mc_percent": "7",
            "3D": {"layer_num": 2, "total_layer_num": 9}, "device": {"bed": {"info": {"temp": 60 << 16 | 58}},
            "ctc": {"info": {"temp": 40 << 16 | 33}}}}))
            .state;
        assert_eq!((state.layer, state.total_layers, state.file.as_deref()), (Some(2), Some(9), Some("plate_1")));
        let told: Vec<_> = state.temperatures.iter().map(|heater| (heater.actual, heater.target)).collect();
        assert_eq!(told, [(58.0, 60.0), (33.0, 40.0)]);
    }

    #[test]
    fn names_are_cut_where_they_end() {
        for (name, expected) in
            [("a.3mf", "a"), ("a.gcode.3mf", "a"), ("b.GCODE", "b"), ("c.bgcode", "c"), ("ü", "ü"), (".3mf", "")]
        {
            assert_eq!(without_extension(name), expected);
        }
    }

    proptest! {
        #[test]
        fn firmware_may_say_anything(
            keys in proptest::collection::vec(0_usize..16, 1..8),
            values in proptest::collection::vec(any_value(), 8),
            word in prop_oneof!["RUNNING", "PAUSE", "FINISH", "FAILED", "IDLE", "PREPARE", "\\PC{0,9}"],
        ) {
            const KEYS: [&str; 16] = ["print_error", "stg_cur", "mc_percent", "mc_remaining_time", "layer_num", "3D",
                "total_layer_num", "subtask_name", "gcode_file", "nozzle_temper", "bed_temper", "chamber_temper",
                "lights_report", "ams", "device", "vt_tray"];
            let mut fields = json!({"gcode_state": word});
            for (key, value) in keys.iter().zip(values) {
                fields[KEYS[*key]] = value;
            }
            let state = look(fields).state.bounded();
            prop_assert!(state.progress.is_none_or(|progress| (0.0..=100.0).contains(&progress)));
            prop_assert!(state.layer <= state.total_layers);
        }
    }
}
