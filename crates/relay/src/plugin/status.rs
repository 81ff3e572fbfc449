//! What a plugin says of its printer (command-api.md 5), in the service's own words.

use model::printing::{Camera, Phase, PrinterCommand, PrinterState, Temperature};
use serde::Deserialize;
use serde_json::Value;

/// What a plugin said, and what is needed to give orders.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) state: PrinterState,
    /// The printer's lights, in its order.
    pub(super) lights: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    job_status: Option<JobStatus>,
    octo_everywhere_status: Option<PluginStatus>,
    list_webcams: Option<ListWebcams>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JobStatus {
    state: Option<String>,
    sub_state: Option<String>,
    error: Option<String>,
    lights: Option<Vec<Light>>,
    current_print: Option<CurrentPrint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Light {
    #[serde(default)]
    name: String,
    #[serde(default)]
    on: bool,
}

/// Numbers are read one by one: platforms differ in which of them they know, and in what they say for those that they
/// do not.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CurrentPrint {
    #[serde(default)]
    progress: Value,
    #[serde(default)]
    duration_sec: Value,
    #[serde(default)]
    time_left_sec: Value,
    file_name: Option<String>,
    #[serde(default)]
    current_layer: Value,
    #[serde(default)]
    total_layers: Value,
    #[serde(default)]
    temps: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PluginStatus {
    most_recent_print_id_str: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListWebcams {
    webcams: Option<Vec<Webcam>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Webcam {
    #[serde(default)]
    name: String,
    #[serde(default)]
    flip_h: bool,
    #[serde(default)]
    flip_v: bool,
    #[serde(default)]
    rotation: Value,
}

/// Reads the `Result` of the command `status`. `None` if it is none.
pub(super) fn read(result: Value) -> Option<Report> {
    let status: Status = serde_json::from_value(result).ok()?;
    let job = status.job_status?;
    let phase = phase_of(job.state.as_deref().unwrap_or_default());
    let print = job.current_print;
    let number = |of: fn(&CurrentPrint) -> &Value| print.as_ref().and_then(|print| of(print).as_f64());
    let counted = |of: fn(&CurrentPrint) -> &Value| number(of).filter(|number| *number >= 1.0);
    let lights = job.lights.unwrap_or_default();
    let is_on = lights.iter().any(|light| light.on);
    let webcams = status.list_webcams.and_then(|list| list.webcams).unwrap_or_default();
    let state = PrinterState {
        phase,
        file: print.as_ref().and_then(|print| print.file_name.clone()),
        print_id: status.octo_everywhere_status.and_then(|plugin| plugin.most_recent_print_id_str),
        progress: number(|print| &print.progress).map(|progress| progress as f32),
        seconds_printing: number(|print| &print.duration_sec).filter(|seconds| *seconds >= 0.0).map(|s| s as u64),
        // -1 and 0 both stand for what is not known.
        seconds_left: counted(|print| &print.time_left_sec).map(|seconds| seconds as u64),
        layer: counted(|print| &print.current_layer).map(|layer| layer as u32),
        total_layers: counted(|print| &print.total_layers).map(|layers| layers as u32),
        temperatures: print.as_ref().map(|print| temperatures(&print.temps)).unwrap_or_default(),
        light: (!lights.is_empty()).then_some(is_on),
        message: job.error.filter(|error| !error.is_empty()).or(job.sub_state),
        cameras: webcams
            .into_iter()
            .map(|camera| Camera {
                name: camera.name,
                flip_h: camera.flip_h,
                flip_v: camera.flip_v,
                rotation: camera.rotation.as_u64().and_then(|degrees| degrees.try_into().ok()).unwrap_or_default(),
            })
            .collect(),
        commands: commands(phase, !lights.is_empty()),
        ..PrinterState::default()
    };
    Some(Report { state: state.bounded(), lights: lights.into_iter().map(|light| light.name).collect() })
}

fn phase_of(state: &str) -> Phase {
    match state {
        "idle" => Phase::Idle,
        "warmingup" => Phase::WarmingUp,
        "printing" => Phase::Printing,
        "paused" => Phase::Paused,
        "resuming" => Phase::Resuming,
        "complete" => Phase::Complete,
        "cancelled" => Phase::Cancelled,
        "error" => Phase::Error,
        _ => Phase::Unknown,
    }
}

fn commands(phase: Phase, has_light: bool) -> Vec<PrinterCommand> {
    let mut commands = match phase {
        Phase::WarmingUp | Phase::Printing | Phase::Resuming => vec![PrinterCommand::Pause, PrinterCommand::Cancel],
        Phase::Paused => vec![PrinterCommand::Resume, PrinterCommand::Cancel],
        _ => Vec::new(),
    };
    if has_light {
        commands.extend([PrinterCommand::LightOn, PrinterCommand::LightOff]);
    }
    commands
}

/// 0.0 is what plugins say where there is no such heater, so that alone is no reading.
fn temperatures(temps: &Value) -> Vec<Temperature> {
    let heaters = [("hotend", "Hotend"), ("bed", "Bed"), ("chamber", "Chamber")];
    let read = |key: String| temps.get(key).and_then(Value::as_f64).unwrap_or_default() as f32;
    heaters
        .into_iter()
        .map(|(name, key)| Temperature {
            name: name.to_owned(),
            actual: read(format!("{key}Actual")),
            target: read(format!("{key}Target")),
        })
        .filter(|temperature| temperature.actual != 0.0 || temperature.target != 0.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_read_whatever_the_platform_leaves_out() {
        let report = read(json!({
            "JobStatus": {
                "State": "printing", "SubState": null, "Error": null, "Lights": [{"Name": "chamber", "On": true}],
                "CurrentPrint": {
                    "Progress": 41.5, "DurationSec": 60, "TimeLeftSec": -1, "FileName": "cube.gcode",
                    "EstTotalFilUsedMm": -1, "CurrentLayer": 3, "TotalLayers": null,
                    "Temps": {"BedActual": 60.01, "BedTarget": 60.0, "HotendActual": 210.0, "HotendTarget": 210.0,
                              "ChamberActual": 0.0, "ChamberTarget": 0.0}
                }
            },
            "OctoEverywhereStatus": {"MostRecentPrintIdStr": "PRINT", "Gadget": {}},
            "PlatformVersion": "1.0.0", "Features": 63,
            "ListWebcams": {"Webcams": [{"Name": "Nozzle", "FlipH": true, "FlipV": false, "Rotation": 90}]}
        }))
        .expect("it is one");
        let state = &report.state;
        assert_eq!((state.phase, state.progress, state.seconds_printing), (Phase::Printing, Some(41.5), Some(60)));
        assert_eq!((state.seconds_left, state.layer, state.total_layers), (None, Some(3), None));
        assert_eq!((state.light, state.print_id.as_deref()), (Some(true), Some("PRINT")));
        let heaters: Vec<&str> = state.temperatures.iter().map(|heater| heater.name.as_str()).collect();
        assert_eq!(heaters, ["hotend", "bed"]);
        assert_eq!((state.cameras[0].rotation, state.cameras[0].flip_h), (90, true));
        assert_eq!(state.commands[..2], [PrinterCommand::Pause, PrinterCommand::Cancel]);
        assert_eq!(report.lights, ["chamber"]);

        let little = read(json!({"JobStatus": {"State": "idle", "CurrentPrint": null}, "ListWebcams": null}));
        assert_eq!(little.map(|report| (report.state.phase, report.state.commands)), Some((Phase::Idle, Vec::new())));
        assert_eq!(read(json!({"JobStatus": null})), None);
        assert_eq!(read(json!([])), None);
    }
}
