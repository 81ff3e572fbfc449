//! The virtual printer's state.

use std::time::Duration;

use model::printing::{Camera, Phase, PrinterCommand, PrinterState, Temperature};
use serde::Deserialize;
use serde_json::json;

use super::answer::CommandFailure;
use super::{Observed, Shared};
use crate::software_client::AskError;

/// It costs nothing to ask, and whoever tries it wants to see something move.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Machine {
    state: String,
    job: Option<Job>,
    temperatures: Temperatures,
    #[serde(default)]
    light: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Job {
    file: String,
    progress: f64,
    seconds_printing: f64,
    seconds_left: f64,
    layer: Option<u32>,
    total_layers: Option<u32>,
}

#[derive(Deserialize)]
struct Temperatures {
    hotend: Heater,
    bed: Heater,
}

#[derive(Deserialize)]
struct Heater {
    actual: f32,
    target: f32,
}

impl Heater {
    fn named(&self, name: &str) -> Temperature {
        Temperature { name: name.to_owned(), actual: self.actual, target: self.target }
    }
}

pub(super) async fn observe(shared: &Shared) {
    loop {
        let observed = match look(shared).await {
            Ok(state) => Observed {
                state,
                cameras: shared
                    .addresses
                    .source(
                        Camera { name: "camera".to_owned(), ..Camera::default() },
                        Some("/webcam/stream"),
                        Some("/webcam/snapshot"),
                    )
                    .into_iter()
                    .collect(),
                light: None,
            },
            Err(error) => Observed::problem(&error.to_string()),
        };
        shared.publish(observed);
        shared.pause(PERIOD).await;
    }
}

async fn look(shared: &Shared) -> Result<PrinterState, AskError> {
    let machine: Machine = shared.client.get("/api/printer").await?.json()?;
    let phase = match machine.state.as_str() {
        "idle" => Phase::Idle,
        "printing" => Phase::Printing,
        "paused" => Phase::Paused,
        "finished" => Phase::Complete,
        "cancelled" => Phase::Cancelled,
        _ => Phase::Unknown,
    };
    let mut commands = match phase {
        Phase::Printing => vec![PrinterCommand::Pause, PrinterCommand::Cancel],
        Phase::Paused => vec![PrinterCommand::Resume, PrinterCommand::Cancel],
        _ => vec![],
    };
    match machine.light {
        Some(true) => commands.push(PrinterCommand::LightOff),
        Some(false) => commands.push(PrinterCommand::LightOn),
        None => {}
    }
    let state = PrinterState {
        phase,
        temperatures: vec![machine.temperatures.hotend.named("hotend"), machine.temperatures.bed.named("bed")],
        light: machine.light,
        commands,
        ..PrinterState::default()
    };
    Ok(match machine.job {
        None => state,
        Some(job) => PrinterState {
            file: Some(job.file),
            progress: Some((job.progress * 100.0) as f32),
            seconds_printing: Some(job.seconds_printing as u64),
            seconds_left: Some(job.seconds_left as u64),
            layer: job.layer,
            total_layers: job.total_layers,
            ..state
        },
    })
}

pub(super) async fn command(shared: &Shared, command: PrinterCommand) -> Result<(), CommandFailure> {
    let answer = shared.client.post("/api/job", &json!({ "command": command.as_str() })).await?;
    if answer.status.is_success() {
        return Ok(());
    }
    #[derive(Deserialize)]
    struct Problem {
        message: String,
    }
    let message = answer.json::<Problem>().map(|problem| problem.message).unwrap_or_default();
    Err(match answer.status.as_u16() {
        409 => CommandFailure::Refused(message),
        status => CommandFailure::NotAnswered(format!("the virtual printer answers {status}: {message}")),
    })
}
