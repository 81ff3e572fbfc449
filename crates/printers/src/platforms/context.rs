//! What a platform is given: how to reach its printer, and where to tell what it sees.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::Secret;
use model::printing::{MAX_PARTS, PrinterState};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::warn;

use super::{CommandFailure, JobDetails, Observed};
use crate::cameras::{CameraAddresses, CameraSource};
use crate::connector::PrinterConnector;
use crate::observe::PrintTracker;

/// A printer on the same LAN answers at once or is not there.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach a printer, and where to tell what it does. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PlatformContext {
    /// Opens connections to the software.
    pub(crate) connector: PrinterConnector,
    /// A key of the software's.
    pub(crate) api_key: Option<Secret>,
    /// Which addresses of cameras may be used.
    pub(crate) addresses: Arc<CameraAddresses>,
    /// Where observations go.
    pub(crate) publisher: Publisher,
}

/// What is known of a printer, for everybody who asks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Publisher {
    published: Arc<Published>,
}

struct Published {
    state: watch::Sender<PrinterState>,
    cameras: Mutex<Vec<CameraSource>>,
    details: Mutex<JobDetails>,
    trouble: Mutex<Option<CommandFailure>>,
    tracker: Mutex<PrintTracker>,
    memory: Option<PathBuf>,
    /// Somebody has told the printer something, and it will look different.
    look: Notify,
}

impl Publisher {
    /// `memory` is a file in which the id of the current print survives a restart.
    pub(crate) fn new(memory: Option<PathBuf>) -> Self {
        let kept = memory.as_ref().and_then(|path| std::fs::read(path).ok());
        let published = Published {
            state: watch::Sender::new(PrinterState::default()),
            cameras: Mutex::default(),
            details: Mutex::default(),
            trouble: Mutex::new(Some(CommandFailure::NotConnected(
                "the printer has not been looked at yet".to_owned(),
            ))),
            tracker: Mutex::new(kept.map(|kept| PrintTracker::restore(&kept)).unwrap_or_default()),
            memory,
            look: Notify::new(),
        };
        Self { published: Arc::new(published) }
    }

    /// Takes over what a look has shown.
    pub(crate) fn publish(&self, observed: Observed) {
        let this = &self.published;
        let Observed { mut state, mut cameras, details, trouble } = observed;
        cameras.truncate(MAX_PARTS);
        state.cameras = cameras.iter().map(|source| source.camera.clone()).collect();
        let mut state = state.bounded();
        let kept = {
            let mut tracker = this.tracker.lock();
            tracker.handle_state(&mut state, SystemTime::now()).then(|| tracker.kept())
        };
        if let (Some(path), Some(kept)) = (&this.memory, kept)
            && let Err(error) = crate::observe::keep_print(path, &kept)
        {
            warn!(%error, "the print's id cannot be kept over a restart");
        }
        *this.cameras.lock() = cameras;
        *this.details.lock() = details;
        *this.trouble.lock() = trouble;
        this.state.send_if_modified(|published| {
            let changed = *published != state;
            if published.problem != state.problem
                && let Some(problem) = &state.problem
            {
                warn!("what the printer does is not known: {problem}");
            }
            *published = state;
            changed
        });
    }

    /// Waits for the next look: for `period`, or until somebody has told the printer something.
    pub(crate) async fn pause(&self, period: Duration) {
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = self.published.look.notified() => {}
        }
    }

    /// The printer was told something: the next look is due at once.
    pub(crate) fn look_again(&self) {
        self.published.look.notify_one();
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<PrinterState> {
        self.published.state.subscribe()
    }

    pub(crate) fn state(&self) -> PrinterState {
        self.published.state.borrow().clone()
    }

    pub(crate) fn details(&self) -> JobDetails {
        self.published.details.lock().clone()
    }

    pub(crate) fn cameras(&self) -> Vec<CameraSource> {
        self.published.cameras.lock().clone()
    }

    /// Whether the printer can be told anything.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) fn check(&self) -> Result<(), CommandFailure> {
        let trouble = self.published.trouble.lock().clone();
        trouble.map_or(Ok(()), Err)
    }

    /// The id of the print that is under way or was the last, and when it began, in seconds since 1970.
    pub(crate) fn last_print(&self) -> Option<(String, u64)> {
        self.published.tracker.lock().last()
    }
}
