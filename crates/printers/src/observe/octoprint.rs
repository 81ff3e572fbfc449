//! OctoPrint's state, from its REST API.

use std::time::Duration;

use http::StatusCode;
use model::Secret;
use model::printing::{Phase, PrinterCommand, PrinterState, Temperature};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::answer::{CommandFailure, KeyFailure};
use super::octoprint_cameras::Settings;
use super::{Observed, Shared};
use crate::cameras::CameraSource;
use crate::software_client::{Answer, AskError};

/// Each answer costs a small board some milliseconds, and nobody notices two seconds.
const PERIOD_WHILE_PRINTING: Duration = Duration::from_secs(2);
/// For a printer that does nothing.
const PERIOD_WHILE_IDLE: Duration = Duration::from_secs(10);
/// Cameras are set up once.
const SETTINGS_PERIOD: Duration = Duration::from_secs(60);
/// Further from its target than this, a heater is still warming up.
const WARM_ENOUGH: f32 = 5.0;
/// Before this much of a file is done, a cold heater means that the print has not really begun.
const BEGINNING: f32 = 1.0;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JobAnswer {
    job: Job,
    progress: Progress,
    state: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Job {
    file: File,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    name: Option<String>,
    display: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Progress {
    completion: Option<f64>,
    print_time: Option<f64>,
    print_time_left: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PrinterAnswer {
    /// `tool0`, `bed`, `chamber`; and `history`, where it was asked for.
    temperature: Map<String, Value>,
    state: StateAnswer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StateAnswer {
    flags: Flags,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Flags {
    printing: bool,
    pausing: bool,
    paused: bool,
    resuming: bool,
    finishing: bool,
    cancelling: bool,
    error: bool,
    closed_or_error: bool,
}

/// How the last print ended, which OctoPrint does not say.
#[derive(Debug, Default)]
struct LastEnd {
    file: Option<String>,
    was_active: bool,
    result: Option<Phase>,
}

impl LastEnd {
    fn handle_active(&mut self, file: Option<&String>) {
        *self = Self { file: file.cloned(), was_active: true, result: None };
    }

    /// The phase of a printer that is ready for a print.
    fn handle_ready(&mut self, file: Option<&String>, completion: Option<f64>) -> Phase {
        let is_whole = completion.is_some_and(|completion| completion > 99.99);
        if self.was_active {
            self.was_active = false;
            self.result = Some(if is_whole { Phase::Complete } else { Phase::Cancelled });
        } else if self.file.as_ref() != file {
            // Another file was chosen; or the agent is new, and OctoPrint still shows how the last print went.
            self.file = file.cloned();
            self.result = is_whole.then_some(Phase::Complete);
        }
        self.result.filter(|_| file.is_some()).unwrap_or(Phase::Idle)
    }
}

pub(super) async fn observe(shared: &Shared) {
    let mut cameras: Vec<CameraSource> = Vec::new();
    let mut settings_due = Instant::now();
    let mut end = LastEnd::default();
    loop {
        let looked = look(shared, &mut end).await;
        if looked.is_ok()
            && Instant::now() >= settings_due
            && let Ok(answer) = shared.client.get("/api/settings").await
            && answer.status == StatusCode::OK
            && let Ok(settings) = answer.json::<Settings>()
        {
            cameras = settings.cameras(&shared.addresses);
            settings_due = Instant::now() + SETTINGS_PERIOD;
        }
        let observed = match looked {
            Ok(state) => Observed { state, cameras: cameras.clone(), light: None },
            Err(problem) => Observed { cameras: cameras.clone(), ..Observed::problem(&problem) },
        };
        let period = if observed.state.phase.is_active() { PERIOD_WHILE_PRINTING } else { PERIOD_WHILE_IDLE };
        shared.publish(observed);
        shared.pause(period).await;
    }
}

/// One look; what prevents it is told to the owner.
async fn look(shared: &Shared, end: &mut LastEnd) -> Result<PrinterState, String> {
    let text = |error: AskError| error.to_string();
    let job = shared.client.get("/api/job").await.map_err(text)?;
    check(shared, &job)?;
    let job: JobAnswer = job.json().map_err(text)?;
    let printer = shared.client.get("/api/printer?exclude=sd").await.map_err(text)?;
    if printer.status == StatusCode::CONFLICT {
        return offline(&job);
    }
    check(shared, &printer)?;
    Ok(read(job, printer.json().map_err(text)?, end))
}

/// OctoPrint without a printer, or with one that has failed.
fn offline(job: &JobAnswer) -> Result<PrinterState, String> {
    let state = job.state.as_deref().unwrap_or_default();
    let failed = job.error.is_some() || state.contains("rror");
    if failed {
        let message = job.error.clone().unwrap_or_else(|| state.to_owned());
        return Ok(PrinterState { phase: Phase::Error, message: Some(message), ..PrinterState::default() });
    }
    Err(format!("OctoPrint is not connected to the printer: {state}"))
}

fn check(shared: &Shared, answer: &Answer) -> Result<(), String> {
    match answer.status {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(refused(shared).to_owned()),
        status => Err(format!("OctoPrint answers {} when it is asked for its state", status.as_u16())),
    }
}

fn refused(shared: &Shared) -> &'static str {
    if shared.client.api_key().is_some() {
        "OctoPrint does not accept the API key: make a new one, or give its user the rights that are missing"
    } else {
        "OctoPrint asks for an API key: set `api_key`"
    }
}

fn read(job: JobAnswer, printer: PrinterAnswer, end: &mut LastEnd) -> PrinterState {
    let temperatures = temperatures(&printer.temperature);
    let file = job.job.file.display.or(job.job.file.name);
    let flags = printer.state.flags;
    let completion = job.progress.completion;
    let is_cold = temperatures.iter().any(|heater| heater.target > 0.0 && heater.target - heater.actual > WARM_ENOUGH);
    let phase = if flags.error || flags.closed_or_error {
        Phase::Error
    } else if flags.resuming {
        Phase::Resuming
    } else if flags.paused {
        Phase::Paused
    } else if flags.printing || flags.pausing || flags.finishing || flags.cancelling {
        let begins = completion.is_none_or(|completion| completion < f64::from(BEGINNING));
        if begins && is_cold && !flags.cancelling { Phase::WarmingUp } else { Phase::Printing }
    } else {
        end.handle_ready(file.as_ref(), completion)
    };
    if phase.is_active() {
        end.handle_active(file.as_ref());
    }
    let commands = match phase {
        _ if flags.cancelling || flags.finishing => vec![],
        Phase::Printing | Phase::WarmingUp if !flags.pausing => vec![PrinterCommand::Pause, PrinterCommand::Cancel],
        Phase::Paused => vec![PrinterCommand::Resume, PrinterCommand::Cancel],
        phase if phase.is_active() => vec![PrinterCommand::Cancel],
        _ => vec![],
    };
    let seconds = |value: Option<f64>| value.filter(|value| *value >= 0.0).map(|value| value as u64);
    let state = PrinterState {
        phase,
        temperatures,
        commands,
        message: job.error.filter(|_| phase == Phase::Error),
        ..PrinterState::default()
    };
    if phase == Phase::Idle {
        return state;
    }
    PrinterState {
        file,
        progress: completion.map(|completion| completion as f32),
        seconds_printing: seconds(job.progress.print_time),
        seconds_left: seconds(job.progress.print_time_left).filter(|_| phase.is_active()),
        ..state
    }
}

fn temperatures(heaters: &Map<String, Value>) -> Vec<Temperature> {
    let degrees = |value: Option<&Value>| value.and_then(Value::as_f64).map(|value| value as f32);
    let mut temperatures: Vec<Temperature> = heaters
        .iter()
        .filter_map(|(name, heater)| {
            let name = match name.strip_prefix("tool") {
                Some("0") => "hotend".to_owned(),
                Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => format!("hotend{number}"),
                _ => name.clone(),
            };
            // A heater that is not there measures nothing.
            let actual = degrees(heater.get("actual"))?;
            Some(Temperature { name, actual, target: degrees(heater.get("target")).unwrap_or_default() })
        })
        .collect();
    // OctoPrint's order is that of their names. Hot ends go first, as everywhere.
    temperatures.sort_by_key(|heater| !heater.name.starts_with("hotend"));
    temperatures
}

pub(super) async fn command(shared: &Shared, command: PrinterCommand) -> Result<(), CommandFailure> {
    let body = match command {
        PrinterCommand::Pause => json!({"command": "pause", "action": "pause"}),
        PrinterCommand::Resume => json!({"command": "pause", "action": "resume"}),
        PrinterCommand::Cancel => json!({"command": "cancel"}),
        PrinterCommand::LightOn | PrinterCommand::LightOff => return Err(CommandFailure::Unsupported),
    };
    let answer = shared.client.post("/api/job", &body).await?;
    match answer.status {
        status if status.is_success() => Ok(()),
        StatusCode::CONFLICT => Err(CommandFailure::Refused(format!(
            "there is no print to {command}, or the printer is not connected to OctoPrint"
        ))),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(CommandFailure::NotAnswered(refused(shared).to_owned()))
        }
        status => Err(CommandFailure::NotAnswered(format!("OctoPrint answers {}", status.as_u16()))),
    }
}

/// A key for an app, from OctoPrint's plug-in Application Keys. The same app gets the same key again.
pub(super) async fn application_key(shared: &Shared, app: &str) -> Result<Secret, KeyFailure> {
    #[derive(Deserialize)]
    struct Made {
        api_key: String,
    }
    let answer = shared.client.post("/api/plugin/appkeys", &json!({"command": "generate", "app": app})).await?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(KeyFailure::Refused(refused(shared).to_owned()));
        }
        status => {
            let problem = format!("OctoPrint answers {} when it is asked for a key", status.as_u16());
            return Err(KeyFailure::Refused(problem));
        }
    }
    let made: Made = answer.json()?;
    // Keys have letters and digits, 32 of them at present. Anything else is no key, and would break headers.
    let is_key = (1..=256).contains(&made.api_key.len()) && made.api_key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_key {
        Ok(Secret::new(made.api_key))
    } else {
        Err(KeyFailure::Refused("OctoPrint's answer holds no key".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn state(end: &mut LastEnd, flags: &str, completion: &str, actual: f32) -> PrinterState {
        let job = format!(
            r#"{{"job":{{"file":{{"name":"a.gcode","display":"Ä.gcode"}}}},
                "progress":{{"completion":{completion},"printTime":60,"printTimeLeft":null}},"state":"?"}}"#
        );
        let printer = format!(
            r#"{{"temperature":{{"tool0":{{"actual":{actual},"target":200,"offset":0}},"tool1":{{"actual":20.04,
                "target":null}},"bed":{{"actual":60.0,"target":60}},"chamber":{{"actual":null}},"history":[]}},"state":{{"flags":{{"{flags}":true}}}}}}"#
        );
        read(serde_json::from_str(&job).unwrap(), serde_json::from_str(&printer).unwrap(), end)
    }

    #[test]
    fn a_print_is_followed_from_heating_to_its_end() {
        let mut end = LastEnd::default();
        let phases: Vec<Phase> = [
            ("printing", "0.0", 20.0),
            ("printing", "0.5", 199.0),
            ("printing", "50.0", 150.0),
            ("pausing", "50.0", 200.0),
            ("paused", "50.0", 200.0),
            ("resuming", "50.0", 200.0),
            ("printing", "99.0", 200.0),
            ("ready", "100.0", 200.0),
            ("ready", "100.0", 20.0),
            ("printing", "2.0", 200.0),
            ("cancelling", "2.0", 200.0),
            ("ready", "0.0", 200.0),
            ("error", "0.0", 20.0),
        ]
        .iter()
        .map(|(flags, completion, actual)| state(&mut end, flags, completion, *actual).phase)
        .collect();
        use Phase::*;
        assert_eq!(
            phases,
            [
                WarmingUp, Printing, Printing, Printing, Paused, Resuming, Printing, Complete, Complete, Printing,
                Printing, Cancelled, Error
            ]
        );
    }

    #[test]
    fn the_numbers_are_taken_over() {
        let state = state(&mut LastEnd::default(), "printing", "12.5", 200.0);
        assert_eq!(state.file.as_deref(), Some("Ä.gcode"));
        assert_eq!((state.progress, state.seconds_printing, state.seconds_left), (Some(12.5), Some(60), None));
        let names: Vec<_> = state.temperatures.iter().map(|heater| (heater.name.as_str(), heater.target)).collect();
        assert_eq!(names, [("hotend", 200.0), ("hotend1", 0.0), ("bed", 60.0)]);
        assert_eq!(state.commands, [PrinterCommand::Pause, PrinterCommand::Cancel]);
    }

    #[test]
    fn a_printer_that_is_not_there_is_told_from_one_that_failed() {
        let job = |text| serde_json::from_str::<JobAnswer>(text).unwrap();
        assert!(offline(&job(r#"{"state":"Offline"}"#)).unwrap_err().ends_with("printer: Offline"));
        let failed = offline(&job(r#"{"state":"Offline after error","error":"Too hot"}"#)).unwrap();
        assert_eq!((failed.phase, failed.message.as_deref()), (Phase::Error, Some("Too hot")));
    }
}
