//! PrusaLink's state, from its status and its job.

use model::printing::{Phase, PrinterCommand, PrinterState, Temperature};
use serde_json::{Map, Value};

use super::about::says_yes;
use super::check;
use crate::platforms::{CommandFailure, JobDetails, MaterialSystem, Observed, Outcome, Tool};
use crate::software_client::SoftwareClient;

/// Ends of names that every file to print has.
const EXTENSIONS: [&str; 7] = [".gcode", ".bgcode", ".gco", ".bgc", ".gc", ".g", ".sl1"];

/// What one look has shown.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) observed: Observed,
    /// The job's number, if there is a job.
    pub(super) job: Option<u64>,
    pub(super) has_camera: bool,
}

/// One look.
pub(super) async fn look(client: &SoftwareClient) -> Outcome<Seen> {
    let answer = client.get("/api/v1/status").await?;
    check(client, &answer)?;
    let status = Value::Object(answer.json()?);
    let job = if status["job"].is_object() || is_busy_with_a_print(&status) {
        let answer = client.get("/api/v1/job").await?;
        match answer.status.as_u16() {
            // The print has ended in between. 404 is how a Raspberry Pi's PrusaLink says the same.
            204 | 404 => Value::Null,
            _ => {
                check(client, &answer)?;
                Value::Object(answer.json()?)
            }
        }
    } else {
        Value::Null
    };
    read(&status, &job)
}

/// Whether there must be a job, also where the status does not tell it.
fn is_busy_with_a_print(status: &Value) -> bool {
    matches!(status["printer"]["state"].as_str(), Some("PRINTING" | "PAUSED"))
}

fn read(status: &Value, job: &Value) -> Outcome<Seen> {
    let printer = &status["printer"];
    let word = printer["state"].as_str();
    let word = word.ok_or_else(|| CommandFailure::Failed("PrusaLink does not say what the printer does".to_owned()))?;
    let (phase, sub_state) = phase(word, job["state"].as_str());
    let id = number_of(&job["id"]);
    let commands = match phase {
        // Orders are about a job; without its number there is nothing to address them to.
        _ if id.is_none() => vec![],
        Phase::Printing | Phase::WarmingUp => vec![PrinterCommand::Pause, PrinterCommand::Cancel],
        Phase::Paused => vec![PrinterCommand::Resume, PrinterCommand::Cancel],
        _ => vec![],
    };
    let message = printer["status_printer"]["message"].as_str().map(str::trim);
    let message = message.filter(|message| !message.is_empty() && *message != "OK");
    let state = PrinterState {
        phase,
        temperatures: temperatures(printer),
        commands,
        message: message.filter(|_| phase == Phase::Error).map(str::to_owned),
        ..PrinterState::default()
    };
    let state = if phase == Phase::Idle { state } else { with_job(state, status, job) };
    let details = JobDetails {
        sub_state,
        filament_mm: filament(job, "filament used [mm]"),
        // PrusaLink knows it of most files; of the others it is 0, as the interface has it.
        filament_mg: Some(filament(job, "filament used [g]").map_or(0.0, |grams| grams * 1000.0)),
        material: Some(material(printer)),
        ..JobDetails::default()
    };
    let observed = Observed { state, details, ..Observed::default() };
    Ok(Seen { observed, job: id, has_camera: says_yes(&status["camera"]["id"]) })
}

/// The job's state goes first: it knows of a print that the printer pauses or has just finished.
fn phase(printer: &str, job: Option<&str>) -> (Phase, Option<String>) {
    let busy = || (Phase::WarmingUp, Some("Busy".to_owned()));
    match job {
        Some("PRINTING") if printer == "BUSY" => return busy(),
        Some("PRINTING") => return (Phase::Printing, None),
        Some("PAUSED") => return (Phase::Paused, None),
        Some("FINISHED") => return (Phase::Complete, None),
        Some("STOPPED") => return (Phase::Cancelled, None),
        Some("ERROR") => return (Phase::Error, None),
        _ => {}
    }
    let phase = match printer {
        "PRINTING" => Phase::Printing,
        "PAUSED" => Phase::Paused,
        "FINISHED" => Phase::Complete,
        "STOPPED" => Phase::Cancelled,
        "ERROR" | "ATTENTION" => Phase::Error,
        "BUSY" => return busy(),
        "IDLE" | "READY" => Phase::Idle,
        _ => Phase::Unknown,
    };
    (phase, None)
}

/// The state with what is known of the job; both answers tell some of it.
fn with_job(state: PrinterState, status: &Value, job: &Value) -> PrinterState {
    let number = |key: &str| number(&job[key]).or_else(|| self::number(&status["job"][key]));
    let seconds = |key: &str| number(key).filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64);
    let file = &job["file"];
    let name = [&file["display_name"], &file["name"]].into_iter().find_map(Value::as_str);
    PrinterState {
        file: name.map(without_extension).filter(|name| !name.is_empty()).map(str::to_owned),
        progress: number("progress").filter(|progress| (0.0..=100.0).contains(progress)).map(|number| number as f32),
        seconds_printing: seconds("time_printing"),
        seconds_left: seconds("time_remaining").filter(|_| state.phase.is_active()),
        ..state
    }
}

fn without_extension(name: &str) -> &str {
    let cut = |extension: &&str| {
        let at = name.len().checked_sub(extension.len())?;
        let end = name.get(at..)?;
        end.eq_ignore_ascii_case(extension).then(|| name.get(..at)).flatten()
    };
    EXTENSIONS.iter().find_map(cut).unwrap_or(name)
}

fn temperatures(printer: &Value) -> Vec<Temperature> {
    let heater = |name: &str, actual: &str, target: &str| {
        let degrees = |key: &str| number(&printer[key]).map(|degrees| degrees as f32);
        // A heater that is not there measures nothing.
        Some(Temperature { name: name.to_owned(), actual: degrees(actual)?, target: degrees(target).unwrap_or(0.0) })
    };
    [heater("hotend", "temp_nozzle", "target_nozzle"), heater("bed", "temp_bed", "target_bed")]
        .into_iter()
        .flatten()
        .collect()
}

/// One tool, fed from a spool outside.
fn material(printer: &Value) -> MaterialSystem {
    let tool = Tool {
        id: "tool-0".to_owned(),
        index: 0,
        is_active: Some(true),
        actual_celsius: number(&printer["temp_nozzle"]),
        target_celsius: number(&printer["target_nozzle"]),
        ..Tool::default()
    };
    let mut material = MaterialSystem::fixed(vec![tool]);
    for source in &mut material.sources {
        source.name = Some("External spool".to_owned());
    }
    material
}

/// Filament that the slicer has noted in the file: a number, or text with one for each tool.
fn filament(job: &Value, key: &str) -> Option<f64> {
    let meta: &Map<String, Value> = job["file"]["meta"].as_object()?;
    let amount = match meta.get(key)? {
        Value::String(text) => {
            let amounts: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
            amounts.ok()?.into_iter().sum()
        }
        value => number(value)?,
    };
    (amount.is_finite() && amount >= 0.0).then_some(amount)
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite())
}

/// A job's number, which some versions write as text.
fn number_of(id: &Value) -> Option<u64> {
    id.as_u64().or_else(|| id.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use serde_json::json;

    use super::*;

    #[test]
    fn each_row_of_the_table_of_states_is_as_it_says() {
        use Phase::*;
        let busy = Some("Busy");
        for (job, printer, expected, sub_state) in [
            (Some("PRINTING"), "PRINTING", Printing, None),
            (Some("PRINTING"), "BUSY", WarmingUp, busy),
            (Some("PRINTING"), "IDLE", Printing, None),
            (Some("PAUSED"), "ATTENTION", Paused, None),
            (Some("PAUSED"), "BUSY", Paused, None),
            (Some("FINISHED"), "BUSY", Complete, None),
            (Some("STOPPED"), "IDLE", Cancelled, None),
            (Some("ERROR"), "PRINTING", Error, None),
            (None, "PRINTING", Printing, None),
            (None, "PAUSED", Paused, None),
            (None, "FINISHED", Complete, None),
            (None, "STOPPED", Cancelled, None),
            (None, "ERROR", Error, None),
            (None, "ATTENTION", Error, None),
            (None, "BUSY", WarmingUp, busy),
            (None, "IDLE", Idle, None),
            (None, "READY", Idle, None),
            (None, "DANCING", Unknown, None),
            (Some("DANCING"), "IDLE", Idle, None),
        ] {
            let job = job.map_or(Value::Null, |state| json!({"id": 7, "state": state}));
            let seen = read(&json!({"printer": {"state": printer}}), &job).unwrap().observed;
            let found = (seen.state.phase, seen.details.sub_state.as_deref());
            assert_eq!(found, (expected, sub_state), "{job} {printer}");
        }
    }

    #[test]
    fn a_job_is_taken_over_and_what_is_odd_is_left_out() {
        let status = json!({
            "job": {"id": 9, "progress": 12.5, "time_printing": 60, "time_remaining": 300},
            "printer": {"state": "PRINTING", "temp_nozzle": 214.96, "target_nozzle": 215, "temp_bed": 60.0, "target_bed": 60,
                "status_printer": {"ok": true, "message": "OK"}},
            "camera": {"id": "usb-1"},
        });
        let job = json!({"id": "9", "state": "PRINTING", "file": {"display_name": "Benchy v1.2.BGCODE", "size": 5,
            "meta": {"filament used [mm]": "100.5, 20", "filament used [g]": 3.25}}});
        let seen = read(&status, &job).unwrap();
        let (state, details) = (&seen.observed.state, &seen.observed.details);
        assert_eq!((seen.job, seen.has_camera, state.file.as_deref()), (Some(9), true, Some("Benchy v1.2")));
        assert_eq!((state.progress, state.seconds_printing, state.seconds_left), (Some(12.5), Some(60), Some(300)));
        assert_eq!((details.filament_mm, details.filament_mg, &state.message), (Some(120.5), Some(3250.0), &None));
        assert_eq!(state.commands, [PrinterCommand::Pause, PrinterCommand::Cancel]);
        let heaters: Vec<_> = state.temperatures.iter().map(|heater| (heater.name.as_str(), heater.target)).collect();
        assert_eq!(heaters, [("hotend", 215.0), ("bed", 60.0)]);

        let odd = json!({"id": -1, "state": "PRINTING", "progress": 1e9, "time_remaining": -5, "time_printing": "x",
            "file": {"display_name": 7, "meta": {"filament used [g]": "a,b", "filament used [mm]": -1}}});
        let seen = read(&json!({"printer": {"state": "PRINTING", "temp_bed": null}}), &odd).unwrap();
        let PrinterState { file, progress, seconds_printing, seconds_left, commands, temperatures, .. } =
            seen.observed.state;
        assert_eq!((file, progress, seconds_printing, seconds_left), (None, None, None, None));
        assert!(commands.is_empty() && temperatures.is_empty() && seen.job.is_none());
        assert_eq!((seen.observed.details.filament_mm, seen.observed.details.filament_mg), (None, Some(0.0)));
    }

    #[test]
    fn errors_have_the_printers_words_and_nothing_else_has() {
        let message = |state: &str, message: Value| {
            let status = json!({"printer": {"state": state, "status_printer": {"ok": false, "message": message}}});
            read(&status, &Value::Null).unwrap().observed.state.message
        };
        assert_eq!(message("ATTENTION", json!("Filament runout")).as_deref(), Some("Filament runout"));
        assert_eq!((message("ERROR", json!("OK")), message("ERROR", json!(5))), (None, None));
        assert_eq!(message("IDLE", json!("Welcome")), None);
        for nothing in [json!({}), json!({"printer": {"state": 5}}), json!({"printer": []})] {
            assert_eq!(read(&nothing, &Value::Null).unwrap_err().code(), 752, "{nothing}");
        }
    }

    #[test]
    fn only_known_extensions_are_cut() {
        for (name, expected) in [
            ("cube.gcode", "cube"),
            ("cube.BGCODE", "cube"),
            ("CUBE~1.GCO", "CUBE~1"),
            ("v1.2 part", "v1.2 part"),
            ("ä.g", "ä"),
            (".gcode", ""),
            ("é", "é"),
            ("", ""),
        ] {
            assert_eq!(without_extension(name), expected);
        }
    }
}
