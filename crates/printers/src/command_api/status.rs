//! The answer to `status`.

use std::time::{SystemTime, UNIX_EPOCH};

use model::printing::{Phase, PrinterState};
use serde_json::{Map, Value, json};

use super::arguments::Arguments;
use super::{CommandApi, FRESH};
use crate::platforms::{JobDetails, Outcome, two_decimals};

/// Numbers beyond it do not fit what apps keep them in.
const MAX_SECONDS: u64 = 2_147_483_600;
/// How often a look for failed prints would be taken, in seconds. Apps show it; nothing here looks.
const GADGET_INTERVAL: f64 = 30.0;

impl CommandApi {
    pub(super) async fn status(&self, arguments: &Arguments) -> Outcome<Value> {
        let names = ["IncludeMaterialSystem", "include_material_system"];
        let wants_materials = arguments.loose_truth(&names)?.unwrap_or(false);
        let platform = self.platform()?;
        platform.refresh(FRESH).await;
        let publisher = &self.shared.context.publisher;
        publisher.check()?;
        let details = publisher.details();
        let mut job = job_status(&publisher.state(), &details);
        if wants_materials {
            let materials = details.material.map(|materials| json!(materials.bounded()));
            job.insert("MaterialSystem".to_owned(), materials.unwrap_or(Value::Null));
        }
        let facts = platform.facts();
        let version = if facts.version.is_empty() { self.shared.software_version() } else { facts.version };
        Ok(json!({
            "JobStatus": job,
            "OctoEverywhereStatus": agent_status(publisher.last_print()),
            "PlatformVersion": version,
            "Features": facts.features,
            "ListWebcams": self.webcam_list(false),
        }))
    }
}

/// What apps want to know of the agent; nothing here judges pictures, so those numbers are what they are before the
/// first one.
fn agent_status(last_print: Option<(String, u64)>) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let (id, began) = last_print.map_or((None, 0.0), |(id, began)| (Some(id), began as f64));
    json!({
        "MostRecentPrintIdStr": id,
        "PrintStartTimeSec": began,
        "Gadget": {
            "LastScore": 0.0, "ScoreHistory": [], "TimeSinceLastScoreSec": now, "IntervalSec": GADGET_INTERVAL,
            "IsSuppressed": false, "TimeSinceLastWarnSec": null, "TimeSinceLastPauseSec": null,
        },
    })
}

fn job_status(state: &PrinterState, details: &JobDetails) -> Map<String, Value> {
    let layers = Some(()).filter(|()| details.knows_layers).and(state.total_layers);
    let current_layer = layers.map(|total| state.layer.unwrap_or(0).min(total));
    let mut print = json!({
        "Progress": two_decimals(state.progress.unwrap_or(0.0).into()),
        "DurationSec": state.seconds_printing.unwrap_or(0),
        "TimeLeftSec": state.seconds_left.map(|seconds| seconds.min(MAX_SECONDS)),
        "FileName": state.file.clone().unwrap_or_default(),
        "EstTotalFilUsedMm": details.filament_mm.unwrap_or(0.0) as u64,
        "CurrentLayer": current_layer,
        "TotalLayers": layers,
        "Temps": temperatures(state, details),
    });
    if let Some(weight) = details.filament_mg {
        print["EstTotalFilWeightMg"] = json!(weight as u64);
    }
    let lights = details.lights.as_ref().map(|lights| {
        let light = |light: &crate::platforms::LightState| json!({"Name": light.name, "On": light.on});
        lights.iter().map(light).collect::<Vec<_>>()
    });
    // A printer whose state has a name that is not known does at least not print.
    let phase = if state.phase == Phase::Unknown { Phase::Idle } else { state.phase };
    let error = state.message.as_ref().filter(|_| phase == Phase::Error);
    let mut job = Map::new();
    job.insert("State".to_owned(), json!(phase.as_str()));
    job.insert("SubState".to_owned(), json!(details.sub_state));
    job.insert("Error".to_owned(), json!(error));
    job.insert("Lights".to_owned(), json!(lights));
    job.insert("CurrentPrint".to_owned(), print);
    job
}

fn temperatures(state: &PrinterState, details: &JobDetails) -> Value {
    let mut temps = Map::new();
    let hotend = details.active_hotend.as_deref().unwrap_or("hotend");
    for (key, name, is_optional) in [("Bed", "bed", false), ("Hotend", hotend, false), ("Chamber", "chamber", true)] {
        let found = state.temperatures.iter().find(|temperature| temperature.name == name);
        if found.is_none() && is_optional {
            continue;
        }
        let (actual, target) = found.map_or((0.0, 0.0), |heater| (heater.actual, heater.target));
        temps.insert(format!("{key}Actual"), json!(two_decimals(actual.into())));
        temps.insert(format!("{key}Target"), json!(two_decimals(target.into())));
    }
    Value::Object(temps)
}

#[cfg(test)]
mod tests {
    use model::printing::Temperature;

    use super::*;
    use crate::platforms::LightState;

    #[test]
    fn a_print_is_told_in_the_words_of_the_interface() {
        let heater = |name: &str, actual, target| Temperature { name: name.to_owned(), actual, target };
        let state = PrinterState {
            phase: Phase::Printing,
            file: Some("a.gcode".to_owned()),
            progress: Some(12.346),
            seconds_printing: Some(60),
            seconds_left: Some(u64::MAX),
            layer: Some(9),
            total_layers: Some(8),
            temperatures: vec![heater("hotend", 20.1, 0.0), heater("hotend1", 210.3, 210.0), heater("bed", 60.0, 61.5)],
            ..PrinterState::default()
        };
        let details = JobDetails {
            knows_layers: true,
            active_hotend: Some("hotend1".to_owned()),
            filament_mm: Some(1234.5),
            lights: Some(vec![LightState { name: "case".to_owned(), on: true }]),
            ..JobDetails::default()
        };
        let expected = json!({
            "State": "printing", "SubState": null, "Error": null, "Lights": [{"Name": "case", "On": true}],
            "CurrentPrint": {
                "Progress": 12.35, "DurationSec": 60, "TimeLeftSec": 2_147_483_600_u64, "FileName": "a.gcode",
                "EstTotalFilUsedMm": 1234, "CurrentLayer": 8, "TotalLayers": 8,
                "Temps": {"BedActual": 60.0, "BedTarget": 61.5, "HotendActual": 210.3, "HotendTarget": 210.0},
            },
        });
        assert_eq!(Value::Object(job_status(&state, &details)), expected);
    }

    #[test]
    fn what_is_not_known_is_null_or_nothing() {
        let job = Value::Object(job_status(&PrinterState::default(), &JobDetails::default()));
        assert_eq!((&job["State"], &job["Lights"]), (&json!("idle"), &Value::Null));
        let print = &job["CurrentPrint"];
        assert_eq!(
            (&print["TimeLeftSec"], &print["TotalLayers"], &print["CurrentLayer"]),
            (&json!(null), &json!(null), &json!(null))
        );
        assert_eq!((&print["FileName"], &print["EstTotalFilUsedMm"]), (&json!(""), &json!(0)));
        assert!(print.get("EstTotalFilWeightMg").is_none() && print["Temps"].get("ChamberActual").is_none());
        let failed = PrinterState { phase: Phase::Error, message: Some("hot".to_owned()), ..PrinterState::default() };
        assert_eq!(job_status(&failed, &JobDetails::default())["Error"], json!("hot"));
    }
}
