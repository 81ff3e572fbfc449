//! What a printer is doing, found out from its software, and the few things that the service may ask of it: commands,
//! pictures, a key for an app.
//!
//! Each kind of software is a [`Platform`](crate::platforms::Platform); everything that is the same for all is here.

mod answer;
mod print_tracker;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use model::Secret;
use model::link::PrinterStatus;
use model::printing::PrinterState;
use parking_lot::Mutex;
use tokio::sync::watch;
use tunnel::agent_services::{AgentServices, ServiceBody};
use tunnel::agent_side::BoxError;
use tunnel::body::RecvBody;

pub(crate) use self::print_tracker::PrintTracker;
use crate::PrinterUrl;
use crate::cameras::{CameraAddresses, CameraHub};
use crate::command_api::{CommandApi, CommandApiOptions};
use crate::connector::{ConnectError, PrinterConnector};
use crate::lan_address::lan_address;
pub use crate::platforms::BambuPorts;
use crate::platforms::{self, CONNECT_TIMEOUT, CommandFailure, Observed, Platform, PlatformContext, Publisher};

/// How a printer is observed.
#[derive(Clone, Debug, Default)]
pub struct ObserverOptions {
    /// A key of the printer's software.
    pub api_key: Option<Secret>,
    /// A user of the printer's software, where that has users in place of keys; a key goes before it.
    pub login: Option<Login>,
    /// The code that a printer without a web interface shows on its screen.
    pub access_code: Option<Secret>,
    /// The printer's serial number, where its software is asked by it.
    pub serial: Option<String>,
    /// Where a platform keeps what must outlive a restart.
    pub directory: Option<PathBuf>,
    /// Where a Bambu Lab printer listens besides the port of its address.
    pub bambu_ports: BambuPorts,
    /// Hosts besides the printer's own that its cameras may be on, as `host` or `host:port`.
    pub camera_hosts: Vec<String>,
    /// Where the id of the current print survives a restart.
    pub memory: Option<PathBuf>,
}

/// A user of a printer's software. It stays between the agent and the printer.
#[derive(Clone, Debug)]
pub struct Login {
    /// Its name.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

/// Observes one printer and answers for it. Cheap to clone.
#[derive(Clone)]
pub struct Observer {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) context: PlatformContext,
    pub(crate) hub: CameraHub,
    status: watch::Receiver<PrinterStatus>,
    /// `None` until it is known what the printer's software is.
    platform: Mutex<Option<Arc<dyn Platform>>>,
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
        let context = PlatformContext {
            addresses: Arc::new(CameraAddresses::new(&target, options.camera_hosts, tls)),
            connector: PrinterConnector::new(target, tls, CONNECT_TIMEOUT)?,
            api_key: options.api_key,
            login: options.login,
            access_code: options.access_code,
            serial: options.serial,
            directory: options.directory,
            bambu_ports: options.bambu_ports,
            publisher: Publisher::new(options.memory),
        };
        let shared = Shared { context, hub: CameraHub::default(), status, platform: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Observes until nobody says any more what the printer's software is.
    pub async fn run(&self) {
        let shared = &self.shared;
        let mut status = shared.status.clone();
        loop {
            let now = status.borrow_and_update().clone();
            let platform = platforms::create(&now.software, shared.context.clone());
            *shared.platform.lock() = platform.clone();
            let observing = async {
                match &platform {
                    Some(platform) => platform.observe().await,
                    None => shared.context.publisher.publish(Observed::not_connected(now.problem.clone())),
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = observing => {}
                changed = another_software(&mut status, &now.software) => if !changed { return },
            }
        }
    }

    /// Says again and again whether a printer answers whose kind is known by its address, as its platform finds. Ends
    /// when nobody listens.
    ///
    /// Such printers allow few connections, so nobody opens one only to see whether that works.
    pub async fn tell_status(&self, software: &str, publish: &watch::Sender<PrinterStatus>) {
        let mut state = self.shared.context.publisher.subscribe();
        loop {
            state.borrow_and_update();
            let trouble = self.shared.context.publisher.check().err();
            let version = self.shared.platform().map(|platform| platform.facts().version);
            let status = PrinterStatus {
                reachable: !matches!(trouble, Some(CommandFailure::NotConnected(_))),
                software: software.to_owned(),
                software_version: version.unwrap_or_default(),
                lan_ip: lan_address(None).map(|address| address.to_string()).unwrap_or_default(),
                problem: trouble.map(|trouble| trouble.to_string()).unwrap_or_default(),
            };
            publish.send_if_modified(|published| {
                let changed = *published != status;
                *published = status;
                changed
            });
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                () = publish.closed() => return,
            }
        }
    }

    /// The command API of this printer.
    pub fn command_api(&self, options: CommandApiOptions) -> CommandApi {
        CommandApi::new(Arc::clone(&self.shared), options)
    }

    /// Answers a request that the service makes of the agent.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<ServiceBody>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        answer::answer(&self.shared, request).await
    }
}

impl Shared {
    /// `None` until it is known what the printer's software is.
    pub(crate) fn platform(&self) -> Option<Arc<dyn Platform>> {
        self.platform.lock().clone()
    }

    /// As its detection has found it.
    pub(crate) fn software_version(&self) -> String {
        self.status.borrow().software_version.clone()
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
        self.shared.context.publisher.subscribe()
    }

    fn call(&self, request: Request<RecvBody>) -> BoxFuture<'static, Response<ServiceBody>> {
        let this = self.clone();
        async move { this.answer(request).await }.boxed()
    }
}
