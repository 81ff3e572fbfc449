//! What a printer is doing, found out from its software, and the few things that the service may ask of it: commands,
//! pictures, a key for an app.
//!
//! Each kind of software has a module that turns its words into [`PrinterState`]; everything else is shared.

mod answer;
mod moonraker;
mod moonraker_objects;
mod octoprint;
mod octoprint_cameras;
mod print_tracker;
mod virtual_printer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use model::Secret;
use model::link::PrinterStatus;
use model::printing::PrinterState;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::warn;
use tunnel::agent_services::{AgentServices, ServiceBody};
use tunnel::agent_side::BoxError;
use tunnel::body::RecvBody;

use self::print_tracker::PrintTracker;
use crate::PrinterUrl;
use crate::cameras::{CameraAddresses, CameraSource};
use crate::connector::{ConnectError, PrinterConnector};
use crate::detect::software;
use crate::software_client::SoftwareClient;

/// A printer on the same LAN answers at once or is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a printer is observed.
#[derive(Clone, Debug, Default)]
pub struct ObserverOptions {
    /// A key of OctoPrint's or Moonraker's.
    pub api_key: Option<Secret>,
    /// Hosts besides the printer's own that its cameras may be on, as `host` or `host:port`.
    pub camera_hosts: Vec<String>,
    /// Where the id of the current print survives a restart.
    pub memory: Option<PathBuf>,
}

/// Observes one printer and answers for it. Cheap to clone.
#[derive(Clone)]
pub struct Observer {
    shared: Arc<Shared>,
}

struct Shared {
    client: SoftwareClient,
    tls: Arc<rustls::ClientConfig>,
    addresses: CameraAddresses,
    status: watch::Receiver<PrinterStatus>,
    state: watch::Sender<PrinterState>,
    cameras: Mutex<Vec<CameraSource>>,
    light: Mutex<Option<moonraker_objects::Light>>,
    tracker: Mutex<PrintTracker>,
    memory: Option<PathBuf>,
    /// Somebody has told the printer something, and it will look different.
    look: Notify,
}

impl Observer {
    /// Observes the software at `target`, of the kind that `status` says; `tls` is used for `https` addresses.
    ///
    /// # Errors
    /// If the host's name cannot stand in a certificate.
    pub fn new(
        target: PrinterUrl,
        tls: &Arc<rustls::ClientConfig>,
        status: watch::Receiver<PrinterStatus>,
        options: ObserverOptions,
    ) -> Result<Self, ConnectError> {
        let kept = options.memory.as_ref().and_then(|path| std::fs::read(path).ok());
        let shared = Shared {
            addresses: CameraAddresses::new(&target, options.camera_hosts),
            client: SoftwareClient::new(PrinterConnector::new(target, tls, CONNECT_TIMEOUT)?, options.api_key),
            tls: Arc::clone(tls),
            status,
            state: watch::Sender::new(PrinterState::default()),
            cameras: Mutex::default(),
            light: Mutex::default(),
            tracker: Mutex::new(kept.map(|kept| PrintTracker::restore(&kept)).unwrap_or_default()),
            memory: options.memory,
            look: Notify::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Observes until nobody says any more what the printer's software is.
    pub async fn run(&self) {
        let shared = &self.shared;
        let mut status = shared.status.clone();
        loop {
            let now = status.borrow_and_update().clone();
            let observing = async {
                match now.software.as_str() {
                    software::OCTOPRINT => octoprint::observe(shared).await,
                    software::MOONRAKER => moonraker::observe(shared).await,
                    software::VIRTUAL => virtual_printer::observe(shared).await,
                    _ => {
                        shared.publish(Observed::problem(&now.problem));
                        std::future::pending().await
                    }
                }
            };
            tokio::select! {
                () = observing => {}
                changed = another_software(&mut status, &now.software) => if !changed { return },
            }
        }
    }

    /// Answers a request that the service makes of the agent.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<ServiceBody>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        answer::answer(&self.shared, request).await
    }
}

/// Waits until it is another software; `false` if nobody will say.
async fn another_software(status: &mut watch::Receiver<PrinterStatus>, software: &str) -> bool {
    loop {
        if status.changed().await.is_err() {
            return false;
        }
        if status.borrow_and_update().software != software {
            return true;
        }
    }
}

impl AgentServices for Observer {
    fn state(&self) -> watch::Receiver<PrinterState> {
        self.shared.state.subscribe()
    }

    fn call(&self, request: Request<RecvBody>) -> BoxFuture<'static, Response<ServiceBody>> {
        let this = self.clone();
        async move { this.answer(request).await }.boxed()
    }
}

/// What one look at a printer gave.
#[derive(Debug, Default)]
struct Observed {
    /// Without cameras and print id, which are filled in.
    state: PrinterState,
    cameras: Vec<CameraSource>,
    light: Option<moonraker_objects::Light>,
}

impl Observed {
    /// It cannot be looked at.
    fn problem(problem: &str) -> Self {
        let state = PrinterState { problem: Some(problem.to_owned()), ..PrinterState::default() };
        Self { state, ..Self::default() }
    }
}

impl Shared {
    fn publish(&self, observed: Observed) {
        let Observed { mut state, mut cameras, light } = observed;
        cameras.truncate(model::printing::MAX_PARTS);
        state.cameras = cameras.iter().map(|source| source.camera.clone()).collect();
        let mut state = state.bounded();
        let kept = {
            let mut tracker = self.tracker.lock();
            tracker.handle_state(&mut state, SystemTime::now()).then(|| tracker.kept())
        };
        if let (Some(path), Some(kept)) = (&self.memory, kept)
            && let Err(error) = print_tracker::write(path, &kept)
        {
            warn!(%error, "the print's id cannot be kept over a restart");
        }
        *self.cameras.lock() = cameras;
        *self.light.lock() = light;
        self.state.send_if_modified(|published| {
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

    /// Waits for the next look.
    async fn pause(&self, period: Duration) {
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = self.look.notified() => {}
        }
    }
}
