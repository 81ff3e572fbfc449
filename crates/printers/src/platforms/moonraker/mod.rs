//! Moonraker, with Klipper behind it: JSON-RPC over one WebSocket, and HTTP for files.

mod control;
mod files;
mod lights;
mod metadata;
mod objects;
mod rpc;
mod session;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;

use self::lights::Light;
use self::rpc::{CallFailure, Rpc};
use super::{
    CommandFailure, Download, Facts, FileChange, FileDetails, FileRights, Heat, Listing, Move, NativeAnswer,
    NativeCommand, Observed, Outcome, PauseOrder, Platform, PlatformContext, Root, StartOrder, Transport, Upload,
    VirtualPath, feature,
};
use crate::software_client::SoftwareClient;

/// Moonraker's versions are shorter; what is longer is cut.
const MAX_VERSION: usize = 64;
/// All that Klipper can be told.
const FEATURES: u32 =
    feature::LIGHT | feature::MOVE | feature::HOME | feature::EXTRUDE | feature::SET_TEMP | feature::START;

/// One Moonraker.
pub(super) struct Moonraker {
    context: PlatformContext,
    client: SoftwareClient,
    rpc: Rpc,
    known: Mutex<Known>,
}

/// What was found out about this printer.
#[derive(Default)]
struct Known {
    version: String,
    /// `None` until Klipper has said what it has.
    parts: Option<Parts>,
}

/// What commands need to know of a printer's parts.
#[derive(Clone, Debug, Default, PartialEq)]
struct Parts {
    lights: Vec<Light>,
    /// The name of the heater of the chamber.
    chamber_heater: Option<String>,
}

pub(super) fn create(context: PlatformContext) -> Arc<dyn Platform> {
    let client = SoftwareClient::new(context.connector.clone(), context.api_key.clone());
    Arc::new(Moonraker { context, client, rpc: Rpc::default(), known: Mutex::default() })
}

impl Moonraker {
    fn publish(&self, observed: Observed) {
        self.context.publisher.publish(observed);
    }

    fn handle_version(&self, version: &str) {
        let version = version.chars().filter(|letter| !letter.is_control()).take(MAX_VERSION).collect();
        self.known.lock().version = version;
    }

    fn handle_parts(&self, parts: Parts) {
        self.known.lock().parts = Some(parts);
    }

    fn parts(&self) -> Parts {
        self.known.lock().parts.clone().unwrap_or_default()
    }

    fn key_failure(&self) -> CommandFailure {
        session::key_problem(self).into()
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, CallFailure> {
        self.rpc.call(&self.context.publisher, method, params).await
    }
}

impl Platform for Moonraker {
    fn facts(&self) -> Facts {
        let known = self.known.lock();
        let has_no_light = known.parts.as_ref().is_some_and(|parts| parts.lights.is_empty());
        let features = if has_no_light { FEATURES & !feature::LIGHT } else { FEATURES };
        const WRITABLE: &[Root] = &[Root::Gcode, Root::Config];
        Facts {
            features,
            version: known.version.clone(),
            transport: Some(Transport::Websocket),
            files: FileRights {
                list: &Root::ALL,
                upload: WRITABLE,
                download: &Root::ALL,
                delete: WRITABLE,
                details: &[Root::Gcode],
            },
        }
    }

    fn observe(&self) -> BoxFuture<'_, ()> {
        session::observe(self).boxed()
    }

    // Klipper's own macro parks the head.
    fn pause<'a>(&'a self, _order: &'a PauseOrder) -> BoxFuture<'a, Outcome<()>> {
        self.tell("printer.print.pause").boxed()
    }

    fn resume(&self) -> BoxFuture<'_, Outcome<()>> {
        self.tell("printer.print.resume").boxed()
    }

    fn cancel(&self) -> BoxFuture<'_, Outcome<()>> {
        self.tell("printer.print.cancel").boxed()
    }

    fn set_light<'a>(&'a self, name: Option<&'a str>, on: bool) -> BoxFuture<'a, Outcome<()>> {
        self.switch_light(name, on).boxed()
    }

    fn start<'a>(&'a self, order: &'a StartOrder) -> BoxFuture<'a, Outcome<FileChange>> {
        self.start_print(order).boxed()
    }

    fn move_axis(&self, movement: Move) -> BoxFuture<'_, Outcome<()>> {
        self.move_by(movement).boxed()
    }

    fn home(&self) -> BoxFuture<'_, Outcome<()>> {
        self.run("G28").boxed()
    }

    fn extrude(&self, extruder: u32, distance_mm: f64) -> BoxFuture<'_, Outcome<()>> {
        self.extrude_by(extruder, distance_mm).boxed()
    }

    fn set_temperatures(&self, heat: Heat) -> BoxFuture<'_, Outcome<()>> {
        self.heat(heat).boxed()
    }

    fn list_files(&self, root: Root) -> BoxFuture<'_, Outcome<Listing>> {
        self.list(root).boxed()
    }

    fn file_details<'a>(&'a self, path: &'a VirtualPath) -> BoxFuture<'a, Outcome<FileDetails>> {
        self.details(path).boxed()
    }

    fn upload<'a>(&'a self, path: &'a VirtualPath, upload: Upload) -> BoxFuture<'a, Outcome<FileChange>> {
        self.store(path, upload).boxed()
    }

    fn download<'a>(&'a self, path: &'a VirtualPath) -> BoxFuture<'a, Outcome<Download>> {
        self.open(path).boxed()
    }

    fn delete<'a>(&'a self, path: &'a VirtualPath) -> BoxFuture<'a, Outcome<FileChange>> {
        self.remove(path).boxed()
    }

    fn send_native<'a>(&'a self, command: &'a NativeCommand) -> BoxFuture<'a, Outcome<NativeAnswer>> {
        self.pass_native(command).boxed()
    }
}
