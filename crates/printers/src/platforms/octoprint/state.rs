//! OctoPrint's state, from its REST API.

use http::StatusCode;
use model::printing::{Phase, PrinterCommand, PrinterState, Temperature};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::platforms::{CommandFailure, JobDetails, MaterialSystem, Observed, Tool};
use crate::software_client::{Answer, SoftwareClient};

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
    filament: Filament,
}

/// By tool; `null` where the file was not analysed.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct Filament(Value);

impl Filament {
    /// Millimetres that the first tool takes.
    fn first(&self) -> Option<f64> {
        self.0.get("tool0")?.get("length")?.as_f64().filter(|length| length.is_finite() && *length >= 0.0)
    }
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
    operational: bool,
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
pub(super) struct LastEnd {
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

/// What one look has shown.
pub(super) struct Seen {
    pub(super) observed: Observed,
    /// OctoPrint's `temperature`.
    pub(super) heaters: Map<String, Value>,
    /// Whether it has come to rest; a printer that is about to pause still moves.
    pub(super) is_paused: bool,
}

/// One look.
pub(super) async fn look(client: &SoftwareClient, end: &mut LastEnd) -> Result<Seen, CommandFailure> {
    let job = client.get("/api/job").await?;
    check(client, &job)?;
    let job: JobAnswer = job.json()?;
    let printer = client.get("/api/printer?exclude=sd").await?;
    if printer.status == StatusCode::CONFLICT {
        let observed = offline(&job)?;
        return Ok(Seen { observed, heaters: Map::new(), is_paused: false });
    }
    check(client, &printer)?;
    Ok(seen(job, printer.json()?, end))
}

/// State as OctoPrint pushes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pushed {
    state: PushedState,
    job: Job,
    progress: Progress,
    /// Of some moments, the last of which counts; none where no temperature has changed.
    temps: Vec<Map<String, Value>>,
    /// What is added to targets, by heater.
    offsets: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PushedState {
    text: Option<String>,
    error: Option<String>,
    flags: Flags,
}

impl Pushed {
    /// What it shows; `heaters` are those known before.
    pub(super) fn read(self, heaters: &mut Map<String, Value>, end: &mut LastEnd) -> Result<Seen, CommandFailure> {
        let error = self.state.error.filter(|error| !error.is_empty());
        let job = JobAnswer { job: self.job, progress: self.progress, state: self.state.text, error };
        if !self.state.flags.operational {
            // As to a question for the printer, which is answered 409 then.
            let observed = offline(&job)?;
            return Ok(Seen { observed, heaters: Map::new(), is_paused: false });
        }
        if let Some(mut last) = self.temps.into_iter().next_back() {
            last.remove("time");
            *heaters = last;
        }
        for (name, offset) in self.offsets {
            if let Some(heater) = heaters.get_mut(&name).and_then(Value::as_object_mut) {
                heater.insert("offset".to_owned(), offset);
            }
        }
        let printer = PrinterAnswer { temperature: heaters.clone(), state: StateAnswer { flags: self.state.flags } };
        Ok(seen(job, printer, end))
    }
}

fn seen(job: JobAnswer, printer: PrinterAnswer, end: &mut LastEnd) -> Seen {
    let details = JobDetails {
        filament_mm: job.job.filament.first(),
        material: Some(materials(&printer.temperature)),
        ..JobDetails::default()
    };
    let heaters = printer.temperature.clone();
    let is_paused = printer.state.flags.paused && !printer.state.flags.pausing;
    let observed = Observed { state: read(job, printer, end), details, ..Observed::default() };
    Seen { observed, heaters, is_paused }
}

/// OctoPrint without a printer, or with one that has failed.
fn offline(job: &JobAnswer) -> Result<Observed, CommandFailure> {
    let state = job.state.as_deref().unwrap_or_default();
    let failed = job.error.is_some() || state.contains("rror");
    if failed {
        let message = job.error.clone().unwrap_or_else(|| state.to_owned());
        let state = PrinterState { phase: Phase::Error, message: Some(message), ..PrinterState::default() };
        return Ok(Observed { state, ..Observed::default() });
    }
    Err(CommandFailure::NotConnected(format!("OctoPrint is not connected to the printer: {state}")))
}

fn check(client: &SoftwareClient, answer: &Answer) -> Result<(), CommandFailure> {
    match answer.status {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(refused(client)),
        status => {
            Err(CommandFailure::Failed(format!("OctoPrint answers {} when it is asked for its state", status.as_u16())))
        }
    }
}

/// It asks for a key, or does not accept ours.
pub(super) fn refused(client: &SoftwareClient) -> CommandFailure {
    let problem = if client.api_key().is_some() {
        "OctoPrint does not accept the API key: make a new one, or give its user the rights that are missing"
    } else {
        "OctoPrint asks for an API key: set `api_key`"
    };
    CommandFailure::CredentialsRejected(problem.to_owned())
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
    } else if flags.paused || flags.pausing {
        Phase::Paused
    } else if flags.printing || flags.finishing || flags.cancelling {
        let begins = completion.is_none_or(|completion| completion < f64::from(BEGINNING));
        // OctoPrint's clock starts with the file, which begins with heating.
        let is_at_zero = job.progress.print_time.is_none_or(|time| time <= 0.0);
        let is_warming_up = is_at_zero || (begins && is_cold);
        if is_warming_up && flags.printing && !flags.cancelling { Phase::WarmingUp } else { Phase::Printing }
    } else {
        end.handle_ready(file.as_ref(), completion)
    };
    if phase.is_active() {
        end.handle_active(file.as_ref());
    }
    let commands = match phase {
        _ if flags.cancelling || flags.finishing => vec![],
        Phase::Printing | Phase::WarmingUp => vec![PrinterCommand::Pause, PrinterCommand::Cancel],
        Phase::Paused if !flags.pausing => vec![PrinterCommand::Resume, PrinterCommand::Cancel],
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

/// One tool for each hot end, each with a source of its own.
fn materials(heaters: &Map<String, Value>) -> MaterialSystem {
    let tools = heaters.iter().filter_map(|(name, heater)| {
        let index: u32 = name.strip_prefix("tool")?.parse().ok()?;
        let degrees = |field: &str| heater.get(field).and_then(Value::as_f64);
        let (actual_celsius, target_celsius) = (degrees("actual"), degrees("target"));
        Some(Tool { id: format!("tool-{index}"), index, actual_celsius, target_celsius, ..Tool::default() })
    });
    let mut tools: Vec<Tool> = tools.collect();
    tools.sort_by_key(|tool| tool.index);
    // OctoPrint does not say which of several is chosen.
    if let [only] = tools.as_mut_slice() {
        only.is_active = Some(true);
    }
    MaterialSystem::fixed(tools)
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
                WarmingUp, Printing, Printing, Paused, Paused, Resuming, Printing, Complete, Complete, Printing,
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
        assert!(offline(&job(r#"{"state":"Offline"}"#)).unwrap_err().to_string().ends_with("printer: Offline"));
        let failed = offline(&job(r#"{"state":"Offline after error","error":"Too hot"}"#)).unwrap().state;
        assert_eq!((failed.phase, failed.message.as_deref()), (Phase::Error, Some("Too hot")));
    }
}
