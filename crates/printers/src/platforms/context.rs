//! What a platform is given: how to reach its printer, and where to tell what it sees.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::Secret;
use model::printing::{MAX_PARTS, Phase, PrinterState};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::warn;

use super::{BambuPorts, CommandFailure, JobDetails, Observed};
use crate::cameras::{CameraAddresses, CameraSource};
use crate::connector::PrinterConnector;
use crate::observe::{Login, PrintTracker};

/// A printer on the same LAN answers at once or is not there.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach a printer, and where to tell what it does. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PlatformContext {
    /// Opens connections to the software.
    pub(crate) connector: PrinterConnector,
    /// A key of the software's.
    pub(crate) api_key: Option<Secret>,
    /// A user of the software's.
    pub(crate) login: Option<Login>,
    /// The code that a printer without a web interface shows on its screen.
    pub(crate) access_code: Option<Secret>,
    /// The printer's serial number, where its software is asked by it.
    pub(crate) serial: Option<String>,
    /// For what must outlive a restart; its owner is the agent's user. `None` where nothing can be kept.
    pub(crate) directory: Option<PathBuf>,
    /// Where a Bambu Lab printer listens besides the connector's port.
    pub(crate) bambu_ports: BambuPorts,
    /// Which addresses of cameras may be used.
    pub(crate) addresses: Arc<CameraAddresses>,
    /// Where observations go.
    pub(crate) publisher: Publisher,
}

/// How often a printer that pushes nothing is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookPeriods {
    /// While a print is under way.
    pub(crate) printing: Duration,
    /// While the printer does nothing.
    pub(crate) idle: Duration,
}

/// What is known of a printer, for everybody who asks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Publisher {
    published: Arc<Published>,
}

struct Published {
    state: watch::Sender<PrinterState>,
    cameras: Mutex<Cameras>,
    quiet_pause: Mutex<QuietPause>,
    details: Mutex<JobDetails>,
    trouble: Mutex<Option<CommandFailure>>,
    tracker: Mutex<PrintTracker>,
    memory: Option<PathBuf>,
    /// Somebody has told the printer something, and it will look different.
    look: Notify,
}

#[derive(Default)]
struct Cameras {
    /// Those that the printer's software knows.
    own: Vec<CameraSource>,
    /// Those that the owner has added at the agent.
    local: Vec<CameraSource>,
}

impl Cameras {
    fn all(&self) -> Vec<CameraSource> {
        self.own.iter().chain(&self.local).take(MAX_PARTS).cloned().collect()
    }
}

/// A pause that nobody is to be told of.
#[derive(Default)]
struct QuietPause {
    /// Until when it is expected.
    until: Option<Instant>,
    /// Whether the pause that is now is that one.
    is_now: bool,
}

impl QuietPause {
    /// Whether a printer in this phase is in such a pause.
    fn handle_phase(&mut self, phase: Phase, was_paused: bool, now: Instant) -> bool {
        if phase != Phase::Paused {
            self.is_now = false;
        } else if !was_paused {
            self.is_now = self.until.take().is_some_and(|until| now <= until);
        }
        self.is_now
    }
}

impl Publisher {
    /// `memory` is a file in which the id of the current print survives a restart.
    pub(crate) fn new(memory: Option<PathBuf>) -> Self {
        let kept = memory.as_ref().and_then(|path| std::fs::read(path).ok());
        let published = Published {
            state: watch::Sender::new(PrinterState::default()),
            cameras: Mutex::default(),
            quiet_pause: Mutex::default(),
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
        let Observed { mut state, cameras, details, trouble } = observed;
        let all = {
            let mut known = this.cameras.lock();
            known.own = cameras;
            known.all()
        };
        state.cameras = all.iter().map(|source| source.camera.clone()).collect();
        let was_paused = this.state.borrow().phase == Phase::Paused;
        state.pause_is_quiet = this.quiet_pause.lock().handle_phase(state.phase, was_paused, Instant::now());
        let mut state = state.bounded();
        let kept = {
            let mut tracker = this.tracker.lock();
            tracker.handle_state(&mut state, SystemTime::now()).then(|| tracker.kept())
        };
        if let (Some(path), Some(kept)) = (&this.memory, kept)
            && let Err(error) = crate::whole_file::write_whole(path, &kept)
        {
            warn!(%error, "the print's id cannot be kept over a restart");
        }
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

    /// Looks again and again, for as long as the future lives; `look` publishes what it sees.
    pub(crate) async fn poll<F: Future<Output = ()>>(&self, periods: impl Fn() -> LookPeriods, look: impl Fn() -> F) {
        loop {
            look().await;
            let periods = periods();
            let period = if self.state().phase.is_active() { periods.printing } else { periods.idle };
            self.pause(period).await;
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

    /// Cameras that the owner has added, in place of those added before.
    pub(crate) fn set_local_cameras(&self, cameras: Vec<CameraSource>) {
        let all = {
            let mut known = self.published.cameras.lock();
            known.local = cameras;
            known.all()
        };
        self.published.state.send_if_modified(|published| {
            let shown: Vec<_> = all.iter().map(|source| source.camera.clone()).collect();
            let state = PrinterState { cameras: shown, ..published.clone() }.bounded();
            let changed = *published != state;
            *published = state;
            changed
        });
    }

    /// A pause that comes `within` was asked for by somebody who knows of it already.
    pub(crate) fn expect_quiet_pause(&self, within: Duration) {
        self.published.quiet_pause.lock().until = Some(Instant::now() + within);
    }

    /// It will not come.
    pub(crate) fn expect_no_pause(&self) {
        self.published.quiet_pause.lock().until = None;
    }

    pub(crate) fn cameras(&self) -> Vec<CameraSource> {
        self.published.cameras.lock().all()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pause_that_was_asked_for_is_quiet() {
        let start = Instant::now();
        let mut quiet = QuietPause { until: Some(start + Duration::from_secs(20)), is_now: false };
        let mut at =
            |phase, was_paused, seconds| quiet.handle_phase(phase, was_paused, start + Duration::from_secs(seconds));
        assert!(!at(Phase::Printing, false, 1));
        assert!(at(Phase::Paused, false, 2) && at(Phase::Paused, true, 500));
        assert!(!at(Phase::Printing, true, 501) && !at(Phase::Paused, false, 502), "once");
        let mut late = QuietPause { until: Some(start), is_now: false };
        assert!(!late.handle_phase(Phase::Paused, false, start + Duration::from_secs(1)));
    }
}
