//! Elegoo Centauri Carbon: SDCP, which is JSON over one WebSocket.
//!
//! The printer serves very few clients, so there is one connection, and all that the agent wants goes through it.

mod calls;
mod camera;
mod control;
mod message;
mod session;
mod state;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;

use self::calls::Calls;
use super::{
    Facts, FileRights, NativeAnswer, NativeCommand, Outcome, PauseOrder, Platform, PlatformContext, Transport, feature,
};

/// Numbers of commands (`Cmd`).
mod command {
    pub(super) const STATUS: u64 = 0;
    pub(super) const ATTRIBUTES: u64 = 1;
    pub(super) const PAUSE: u64 = 129;
    pub(super) const STOP: u64 = 130;
    pub(super) const RESUME: u64 = 131;
    pub(super) const FILE_INFO: u64 = 260;
    pub(super) const CAMERA: u64 = 386;
    pub(super) const HOME: u64 = 402;
    pub(super) const LIGHT: u64 = 403;
}

/// One Centauri Carbon. Cheap to clone.
#[derive(Clone)]
pub(super) struct Centauri {
    context: PlatformContext,
    calls: Arc<Calls>,
}

pub(super) fn create(context: PlatformContext) -> Arc<dyn Platform> {
    Arc::new(Centauri { context, calls: Arc::default() })
}

impl Platform for Centauri {
    fn facts(&self) -> Facts {
        Facts {
            features: feature::LIGHT | feature::HOME,
            // As apps know the printer.
            version: "Elegoo-Centauri".to_owned(),
            transport: Some(Transport::Websocket),
            files: FileRights::default(),
        }
    }

    fn observe(&self) -> BoxFuture<'_, ()> {
        session::observe(self).boxed()
    }

    fn pause<'a>(&'a self, _order: &'a PauseOrder) -> BoxFuture<'a, Outcome<()>> {
        self.tell(command::PAUSE, json!({})).boxed()
    }

    fn resume(&self) -> BoxFuture<'_, Outcome<()>> {
        self.tell(command::RESUME, json!({})).boxed()
    }

    fn cancel(&self) -> BoxFuture<'_, Outcome<()>> {
        self.tell(command::STOP, json!({})).boxed()
    }

    fn set_light<'a>(&'a self, name: Option<&'a str>, on: bool) -> BoxFuture<'a, Outcome<()>> {
        self.switch_light(name, on).boxed()
    }

    fn home(&self) -> BoxFuture<'_, Outcome<()>> {
        self.tell(command::HOME, json!({"Axis": "XYZ"})).boxed()
    }

    fn send_native<'a>(&'a self, command: &'a NativeCommand) -> BoxFuture<'a, Outcome<NativeAnswer>> {
        self.pass_native(command).boxed()
    }
}
