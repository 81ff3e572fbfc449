//! Kinds of printer software, each behind [`Platform`].
//!
//! A new kind is one folder here that implements the trait, and one line in [`REGISTERED`]. Everything that is the
//! same for all of them is outside: which commands there are and what their arguments mean (`command_api`), who
//! knows one print from the next (`observe`), how pictures get to many viewers (`cameras`).

mod bambu;
mod context;
mod elegoo_cc1;
mod elegoo_cc2;
mod failure;
mod files;
mod material;
mod moonraker;
mod native;
mod observed;
mod octoprint;
mod orders;
mod prusalink;
mod virtual_printer;

pub use self::bambu::BambuPorts;
pub(crate) use self::context::{CONNECT_TIMEOUT, LookPeriods, PlatformContext, Publisher};
pub(crate) use self::failure::{CommandFailure, Outcome};
pub(crate) use self::files::{
    Download, FileChange, FileDetails, FileEntry, FileRights, Listing, Root, Upload, VirtualPath, encode_path,
};
pub(crate) use self::material::{MaterialSystem, Tool, two_decimals};
pub(crate) use self::native::{NativeAnswer, NativeCommand, NativeHttp, Transport};
pub(crate) use self::observed::{JobDetails, LightState, Observed};
pub(crate) use self::orders::{Axis, Heat, Move, PauseOrder, StartOrder};

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use model::Secret;

use crate::detect::software;
use crate::mqtt::PrinterBroker;

/// What a kind of software can do, and how it is named to programs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The bits of [`feature`] that this very printer can be expected to do.
    pub(crate) features: u32,
    /// The software's version or the printer's model, as `PlatformVersion` has it.
    pub(crate) version: String,
    /// How native messages travel; `None` where there are none.
    pub(crate) transport: Option<Transport>,
    /// What may be done with which files.
    pub(crate) files: FileRights,
}

/// Bits of `Features` in the answer to `status`.
pub(crate) mod feature {
    pub(crate) const LIGHT: u32 = 1;
    pub(crate) const MOVE: u32 = 2;
    pub(crate) const HOME: u32 = 4;
    pub(crate) const EXTRUDE: u32 = 8;
    pub(crate) const SET_TEMP: u32 = 16;
    pub(crate) const START: u32 = 32;
}

/// One printer's software.
///
/// Every method but the first two has an answer already: that the platform cannot do this. A method is asked only
/// after the arguments were checked, the caller's rights too, and for `pause`, `resume` and `cancel` also whether
/// they fit what the printer does. It need not watch the time: whoever asks gives up by itself and drops the future.
pub(crate) trait Platform: Send + Sync + 'static {
    /// What it can do; cheap, and it may change as more becomes known.
    fn facts(&self) -> Facts;

    /// Looks at the printer for as long as the future lives, and publishes what it sees with [`Publisher::publish`].
    fn observe(&self) -> BoxFuture<'_, ()>;

    /// Brings what was published up to date where it is older than `max_age`; nothing to do where the printer pushes its
    /// changes.
    fn refresh(&self, _max_age: Duration) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    /// Stops a print for a while.
    fn pause<'a>(&'a self, _order: &'a PauseOrder) -> BoxFuture<'a, Outcome<()>> {
        not_supported()
    }

    /// Goes on after a pause.
    fn resume(&self) -> BoxFuture<'_, Outcome<()>> {
        not_supported()
    }

    /// Ends a print for good.
    fn cancel(&self) -> BoxFuture<'_, Outcome<()>> {
        not_supported()
    }

    /// Prints a file.
    fn start<'a>(&'a self, _order: &'a StartOrder) -> BoxFuture<'a, Outcome<FileChange>> {
        not_supported()
    }

    /// Switches a light, by one of the names that [`JobDetails::lights`] has; `None` means the only one.
    fn set_light<'a>(&'a self, _name: Option<&'a str>, _on: bool) -> BoxFuture<'a, Outcome<()>> {
        not_supported()
    }

    /// Moves one axis from where it is.
    fn move_axis(&self, _movement: Move) -> BoxFuture<'_, Outcome<()>> {
        not_supported()
    }

    /// Finds the ends of all axes.
    fn home(&self) -> BoxFuture<'_, Outcome<()>> {
        not_supported()
    }

    /// Pushes `distance_mm` of filament, or pulls it where negative; `extruder` counts from 0.
    fn extrude(&self, _extruder: u32, _distance_mm: f64) -> BoxFuture<'_, Outcome<()>> {
        not_supported()
    }

    /// Sets heaters.
    fn set_temperatures(&self, _heat: Heat) -> BoxFuture<'_, Outcome<()>> {
        not_supported()
    }

    /// All files below a root that [`FileRights::list`] has.
    fn list_files(&self, _root: Root) -> BoxFuture<'_, Outcome<Listing>> {
        not_supported()
    }

    /// What is known of one file.
    fn file_details<'a>(&'a self, _path: &'a VirtualPath) -> BoxFuture<'a, Outcome<FileDetails>> {
        not_supported()
    }

    /// Stores a file; the body streams and must not be collected.
    fn upload<'a>(&'a self, _path: &'a VirtualPath, _upload: Upload) -> BoxFuture<'a, Outcome<FileChange>> {
        not_supported()
    }

    /// Opens a file; its body streams.
    fn download<'a>(&'a self, _path: &'a VirtualPath) -> BoxFuture<'a, Outcome<Download>> {
        not_supported()
    }

    /// Removes a file.
    fn delete<'a>(&'a self, _path: &'a VirtualPath) -> BoxFuture<'a, Outcome<FileChange>> {
        not_supported()
    }

    /// The software's own log; where there is none, the agent's is given out.
    fn log(&self) -> BoxFuture<'_, Outcome<Download>> {
        not_supported()
    }

    /// Passes on a message in the printer's own language.
    fn send_native<'a>(&'a self, _command: &'a NativeCommand) -> BoxFuture<'a, Outcome<NativeAnswer>> {
        not_supported()
    }

    /// The printer's MQTT broker, where it is one.
    fn broker(&self) -> Option<&PrinterBroker> {
        None
    }

    /// Makes a key for an app, where the software hands them out.
    fn application_key<'a>(&'a self, _app: &'a str) -> BoxFuture<'a, Outcome<Secret>> {
        not_supported()
    }
}

fn not_supported<'a, T: Send + 'a>() -> BoxFuture<'a, Outcome<T>> {
    ready(Err(CommandFailure::NotSupported)).boxed()
}

/// A kind of software: the name that [`software`] has for it, and how it is made.
struct Registration {
    software: &'static str,
    create: fn(PlatformContext) -> Arc<dyn Platform>,
}

const REGISTERED: [Registration; 7] = [
    Registration { software: software::OCTOPRINT, create: octoprint::create },
    Registration { software: software::MOONRAKER, create: moonraker::create },
    Registration { software: software::PRUSALINK, create: prusalink::create },
    Registration { software: software::ELEGOO_CC2, create: elegoo_cc2::create },
    Registration { software: software::ELEGOO_CC1, create: elegoo_cc1::create },
    Registration { software: software::BAMBU, create: bambu::create },
    Registration { software: software::VIRTUAL, create: virtual_printer::create },
];

/// The platform of a kind of software; `None` where there is none.
pub(crate) fn create(software: &str, context: PlatformContext) -> Option<Arc<dyn Platform>> {
    let found = REGISTERED.iter().find(|registration| registration.software == software)?;
    Some((found.create)(context))
}
