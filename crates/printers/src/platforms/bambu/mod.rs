//! Bambu Lab's printers, in the local network: MQTT over TLS for what they do, FTP over TLS for their files, and cameras
//! of two kinds.

mod about;
mod answers;
mod cameras;
mod certificate;
mod clock;
mod control;
mod fault;
mod files;
mod ftp;
mod material;
mod public_key;
mod report;
mod session;
mod stage;
mod start;
mod state;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use model::Secret;
use parking_lot::Mutex;
use serde_json::Value;

use self::about::About;
use self::answers::Answers;
use self::cameras::Cameras;
use self::certificate::{FirstUse, PinnedCertificate};
use self::files::FileStore;
use self::ftp::FileServer;
use self::report::Report;
use self::state::Clocks;
use super::{
    CommandFailure, Download, Facts, FileChange, FileDetails, FileRights, Listing, NativeAnswer, NativeCommand,
    Observed, Outcome, PauseOrder, Platform, PlatformContext, Root, StartOrder, Transport, Upload, VirtualPath,
    feature,
};
use crate::connector::ConnectError;
use crate::mqtt::{BrokerOptions, Message, PrinterBroker, Qos};

/// Who signs in, with the access code, wherever the printer asks.
const USER: &str = "bblp";
/// A printer that was switched off shall be noticed soon.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The only root there is.
const ROOTS: &[Root] = &[Root::Gcode];

/// Where a Bambu Lab printer listens besides the port of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BambuPorts {
    /// FTP over TLS.
    pub files: u16,
    /// The chamber's camera, where it is none that speaks RTSP.
    pub camera: u16,
}

impl Default for BambuPorts {
    fn default() -> Self {
        Self { files: 990, camera: 6000 }
    }
}

/// One printer.
struct Bambu {
    context: PlatformContext,
    broker: PrinterBroker,
    /// Where the printer reports to.
    reports: String,
    /// Where it is told something.
    requests: String,
    certificate: Arc<PinnedCertificate>,
    files: FileStore,
    cameras: Cameras,
    answers: Answers,
    known: Mutex<Known>,
}

/// What is known of the printer.
struct Known {
    /// Whether the printer has said anything since it was last connected to.
    is_connected: bool,
    report: Report,
    about: About,
    clocks: Clocks,
    /// When the printer was last asked for all of its state.
    asked_for_all: Option<Instant>,
}

pub(super) fn create(context: PlatformContext) -> Arc<dyn Platform> {
    match (context.access_code.clone(), context.serial.clone().filter(|serial| is_serial(serial))) {
        (Some(access_code), Some(serial)) => match Bambu::new(context.clone(), access_code, &serial) {
            Ok(bambu) => Arc::new(bambu),
            Err(error) => Arc::new(Unusable { context, failure: CommandFailure::NotConnected(error.to_string()) }),
        },
        _ => {
            let problem = "set `access_code` and `serial`: the printer shows both on its screen";
            Arc::new(Unusable { context, failure: CommandFailure::CredentialsRejected(problem.to_owned()) })
        }
    }
}

/// Serial numbers become part of topics.
fn is_serial(serial: &str) -> bool {
    !serial.is_empty() && serial.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

impl Bambu {
    fn new(context: PlatformContext, access_code: Secret, serial: &str) -> Result<Self, ConnectError> {
        let certificate = PinnedCertificate::open(context.directory.clone());
        let tls = Arc::clone(context.addresses.tls());
        let broker = PrinterBroker::new(
            context.connector.clone(),
            BrokerOptions {
                client_id: format!("spoolway-{}", model::RequestId::generate()),
                username: Some(USER.to_owned()),
                password: Some(access_code.clone()),
                keep_alive: KEEP_ALIVE,
                tls: Some(certificate.tls(FirstUse::Learns, &tls)),
                hangs_up_on_strangers: true,
            },
        )?;
        let cameras = Cameras::new(&context, &certificate, access_code.clone())?;
        let files = FileStore::new(FileServer {
            host: context.connector.target().host().to_owned(),
            port: context.bambu_ports.files,
            access_code,
            certificate: Arc::clone(&certificate),
            tls,
        });
        Ok(Self {
            broker,
            reports: format!("device/{serial}/report"),
            requests: format!("device/{serial}/request"),
            certificate,
            files,
            cameras,
            answers: Answers::default(),
            known: Mutex::new(Known {
                is_connected: false,
                report: Report::default(),
                about: About::of_serial(serial),
                clocks: Clocks::default(),
                asked_for_all: None,
            }),
            context,
        })
    }

    /// Publishes what is known of the printer, as of now, if it is there.
    fn publish(&self) {
        let mut known = self.known.lock();
        let Known { is_connected, report, about, clocks, .. } = &mut *known;
        if !*is_connected || !report.is_known() {
            return;
        }
        let cameras = self.cameras.of(report);
        let observed = Observed { cameras, ..state::observe(report, about, clocks, Instant::now()) };
        let began_unseen = observed.state.seconds_printing.is_none() && observed.state.phase.is_active();
        let publisher = &self.context.publisher;
        publisher.publish(observed);
        if began_unseen
            && let Some((print, began)) = publisher.last_print()
            && publisher.state().print_id.as_ref() == Some(&print)
        {
            // The print was under way before the agent was started, and what survives a restart knows since when.
            let began = SystemTime::UNIX_EPOCH + Duration::from_secs(began);
            known.clocks.recall(began.elapsed().unwrap_or_default());
        }
    }

    /// Sends a message to the printer.
    async fn send(&self, message: &Value) -> Outcome<()> {
        let payload = Bytes::from(message.to_string());
        let message = Message { topic: self.requests.clone(), payload, qos: Qos::AtMostOnce, retain: false };
        self.broker.publish(message).await
    }
}

impl Platform for Bambu {
    fn facts(&self) -> Facts {
        let known = self.known.lock();
        let has_light = !state::is_without_light(&known.report);
        Facts {
            features: if has_light { feature::START | feature::LIGHT } else { feature::START },
            version: known.about.version(),
            transport: Some(Transport::Mqtt),
            files: FileRights { list: ROOTS, upload: ROOTS, download: ROOTS, delete: ROOTS, details: ROOTS },
        }
    }

    fn observe(&self) -> BoxFuture<'_, ()> {
        self.follow().boxed()
    }

    fn refresh(&self, _max_age: Duration) -> BoxFuture<'_, ()> {
        // The printer pushes its changes; only the clocks have gone on.
        self.publish();
        ready(()).boxed()
    }

    fn pause<'a>(&'a self, _order: &'a PauseOrder) -> BoxFuture<'a, Outcome<()>> {
        self.pause_print().boxed()
    }

    fn resume(&self) -> BoxFuture<'_, Outcome<()>> {
        self.resume_print().boxed()
    }

    fn cancel(&self) -> BoxFuture<'_, Outcome<()>> {
        self.cancel_print().boxed()
    }

    fn start<'a>(&'a self, order: &'a StartOrder) -> BoxFuture<'a, Outcome<FileChange>> {
        self.start_print(order).boxed()
    }

    fn set_light<'a>(&'a self, name: Option<&'a str>, on: bool) -> BoxFuture<'a, Outcome<()>> {
        self.switch_light(name, on).boxed()
    }

    fn list_files(&self, _root: Root) -> BoxFuture<'_, Outcome<Listing>> {
        self.files.list().boxed()
    }

    fn file_details<'a>(&'a self, path: &'a VirtualPath) -> BoxFuture<'a, Outcome<FileDetails>> {
        self.files.details(path).boxed()
    }

    fn upload<'a>(&'a self, path: &'a VirtualPath, upload: Upload) -> BoxFuture<'a, Outcome<FileChange>> {
        self.files.upload(path, upload).boxed()
    }

    fn download<'a>(&'a self, path: &'a VirtualPath) -> BoxFuture<'a, Outcome<Download>> {
        self.files.download(path).boxed()
    }

    fn delete<'a>(&'a self, path: &'a VirtualPath) -> BoxFuture<'a, Outcome<FileChange>> {
        self.files.delete(path).boxed()
    }

    fn send_native<'a>(&'a self, command: &'a NativeCommand) -> BoxFuture<'a, Outcome<NativeAnswer>> {
        self.pass_native(command).boxed()
    }

    fn broker(&self) -> Option<&PrinterBroker> {
        Some(&self.broker)
    }
}

/// A printer that cannot be spoken to with the settings there are.
struct Unusable {
    context: PlatformContext,
    failure: CommandFailure,
}

impl Platform for Unusable {
    fn facts(&self) -> Facts {
        Facts { features: feature::START | feature::LIGHT, transport: Some(Transport::Mqtt), ..Facts::default() }
    }

    fn observe(&self) -> BoxFuture<'_, ()> {
        self.context.publisher.publish(Observed::trouble(self.failure.clone()));
        ready(()).boxed()
    }
}
