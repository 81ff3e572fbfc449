//! The virtual printer's state.

mod files;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::printing::{Camera, Phase, PrinterCommand, PrinterState, Temperature};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    CommandFailure, Download, Facts, FileChange, FileDetails, FileRights, JobDetails, LightState, Listing, Observed,
    Outcome, PauseOrder, Platform, PlatformContext, Root, StartOrder, Upload, VirtualPath, feature,
};
use crate::software_client::SoftwareClient;

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

/// The only light.
const LIGHT: &str = "light";

/// One virtual printer.
struct VirtualPrinter {
    context: PlatformContext,
    client: SoftwareClient,
}

pub(super) fn create(context: PlatformContext) -> Arc<dyn Platform> {
    let client = SoftwareClient::new(context.connector.clone(), None);
    Arc::new(VirtualPrinter { context, client })
}

impl Platform for VirtualPrinter {
    fn facts(&self) -> Facts {
        const GCODE: &[Root] = &[Root::Gcode];
        Facts {
            features: feature::LIGHT | feature::START,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            transport: None,
            files: FileRights { list: GCODE, upload: GCODE, download: GCODE, delete: GCODE, details: GCODE },
        }
    }

    fn observe(&self) -> BoxFuture<'_, ()> {
        async {
            loop {
                self.refresh(Duration::ZERO).await;
                self.context.publisher.pause(PERIOD).await;
            }
        }
        .boxed()
    }

    fn refresh(&self, _max_age: Duration) -> BoxFuture<'_, ()> {
        async {
            let observed = self.look().await.unwrap_or_else(Observed::trouble);
            self.context.publisher.publish(observed);
        }
        .boxed()
    }

    fn pause<'a>(&'a self, _order: &'a PauseOrder) -> BoxFuture<'a, Outcome<()>> {
        self.tell(json!({"command": "pause"})).boxed()
    }

    fn resume(&self) -> BoxFuture<'_, Outcome<()>> {
        self.tell(json!({"command": "resume"})).boxed()
    }

    fn cancel(&self) -> BoxFuture<'_, Outcome<()>> {
        self.tell(json!({"command": "cancel"})).boxed()
    }

    fn set_light<'a>(&'a self, name: Option<&'a str>, on: bool) -> BoxFuture<'a, Outcome<()>> {
        async move {
            if name.is_some_and(|name| name != LIGHT) {
                return Err(CommandFailure::BadArguments("there is no light of this name".to_owned()));
            }
            let command = if on { PrinterCommand::LightOn } else { PrinterCommand::LightOff };
            self.tell(json!({"command": command.as_str()})).await
        }
        .boxed()
    }

    fn start<'a>(&'a self, order: &'a StartOrder) -> BoxFuture<'a, Outcome<FileChange>> {
        async move {
            self.tell(json!({"command": "start", "file": order.path.relative()})).await?;
            Ok(files::change(&order.path))
        }
        .boxed()
    }

    fn list_files(&self, _root: Root) -> BoxFuture<'_, Outcome<Listing>> {
        files::list(&self.client).boxed()
    }

    fn file_details<'a>(&'a self, path: &'a VirtualPath) -> BoxFuture<'a, Outcome<FileDetails>> {
        files::details(&self.client, path).boxed()
    }

    fn upload<'a>(&'a self, path: &'a VirtualPath, upload: Upload) -> BoxFuture<'a, Outcome<FileChange>> {
        files::store(&self.client, path, upload).boxed()
    }

    fn download<'a>(&'a self, path: &'a VirtualPath) -> BoxFuture<'a, Outcome<Download>> {
        files::open(&self.client, path).boxed()
    }

    fn delete<'a>(&'a self, path: &'a VirtualPath) -> BoxFuture<'a, Outcome<FileChange>> {
        files::remove(&self.client, path).boxed()
    }
}

impl VirtualPrinter {
    async fn look(&self) -> Outcome<Observed> {
        let machine: Machine = self.client.get("/api/printer").await?.json()?;
        let lights = machine.light.map(|on| vec![LightState { name: LIGHT.to_owned(), on }]);
        let camera = Camera { name: "camera".to_owned(), ..Camera::default() };
        let camera = self.context.addresses.source(camera, Some("/webcam/stream"), Some("/webcam/snapshot"));
        Ok(Observed {
            state: read(machine),
            cameras: camera.into_iter().collect(),
            details: JobDetails { lights, knows_layers: true, ..JobDetails::default() },
            trouble: None,
        })
    }

    async fn tell(&self, order: Value) -> Outcome<()> {
        let answer = self.client.post("/api/job", &order).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        let message = files::message(&answer);
        Err(match answer.status.as_u16() {
            409 => CommandFailure::WrongState(message),
            404 => CommandFailure::NotFound(message),
            400 | 422 => CommandFailure::BadArguments(message),
            status => CommandFailure::Failed(format!("the virtual printer answers {status}: {message}")),
        })
    }
}

fn read(machine: Machine) -> PrinterState {
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
    match machine.job {
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
    }
}
