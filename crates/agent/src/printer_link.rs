//! One printer: its identity, its software, its link.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use model::link::{PairingRequest, PrinterStatus, capability};
use parking_lot::Mutex;
use printers::command_api::{AgentLog, CommandApiOptions, Gate, WebcamMemory};
use printers::forward::Forwarder;
use printers::observe::{BambuPorts, Observer, ObserverOptions};
use printers::virtual_printer::{VirtualPrinter, VirtualPrinterOptions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Level, debug, error, info, warn};
use tunnel::agent_loop::{AgentOptions, Identity, Notice};
use tunnel::agent_services::AgentServices;
use tunnel::dial::{DialError, DialOptions};

use crate::data_directory::DataDirectory;
use crate::identity::IdentityStore;
use crate::link_state::LinkState;
use crate::messages::{self, Message};
use crate::pairing::{self, News};
use crate::printer_watch::watch;
use crate::settings::{PrinterSettings, Target};

/// This program's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// So long the first contact waits for the printer to say what it is, so that the service knows it at once. A printer
/// that is off must not hold up the link.
const FIRST_LOOK: Duration = Duration::from_secs(4);

/// Where the id of the current print survives a restart.
const PRINT_FILE: &str = "print.json";
/// Cameras that the owner has added, and which one is the default.
const WEBCAM_FILE: &str = "webcams.json";

const CAPABILITIES: [&str; 4] =
    [capability::STATE, capability::COMMANDS, capability::CAMERAS, capability::OCTOPRINT_KEY];

/// Keeps one printer linked until `shutdown` is cancelled.
///
/// # Errors
/// If it cannot be linked and trying again cannot help.
pub(crate) async fn run(
    settings: PrinterSettings,
    dial: DialOptions,
    log: Arc<dyn AgentLog>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let directory = DataDirectory::take(&settings.directory)?;
    let identity = Arc::new(IdentityStore::open(&directory, settings.token.clone())?);
    let tls = settings.tls(&dial.tls)?;

    // It ends with this function, and its files with it.
    let (target, _virtual_printer) = match &settings.target {
        Target::Address(url) => (url.clone(), None),
        Target::Virtual(options) => {
            let options = VirtualPrinterOptions { directory: Some(directory.path().join("files")), ..options.clone() };
            let port = options.port;
            let printer = VirtualPrinter::start(options)
                .await
                .with_context(|| format!("the virtual printer cannot be started on port {port}"))?;
            info!("the virtual printer is at {}", printer.url());
            (printer.url(), Some(printer))
        }
    };
    let forwarder = Arc::new(Forwarder::new(&target, &tls, settings.visitor_address)?);

    let (publish, mut status) = watch::channel(PrinterStatus::default());
    let observed = ObserverOptions {
        api_key: settings.api_key.clone(),
        login: settings.login.clone(),
        access_code: settings.access_code.clone(),
        serial: settings.serial.clone(),
        directory: Some(directory.path().to_owned()),
        bambu_ports: BambuPorts::default(),
        camera_hosts: settings.camera_hosts.clone(),
        memory: Some(directory.path().join(PRINT_FILE)),
    };
    let observer = Observer::new(target.clone(), &tls, status.clone(), observed)?;
    let webcams = WebcamMemory { path: Some(directory.path().join(WEBCAM_FILE)) };
    let commands = observer.command_api(CommandApiOptions { webcams, log: Some(log) });
    let gate = Arc::new(Gate::new(commands, forwarder));
    let watching = AbortOnDrop(tokio::spawn(watch(target, tls, observer.clone(), publish).in_current_span()));
    tokio::select! {
        _ = tokio::time::timeout(FIRST_LOOK, status.changed()) => {}
        () = shutdown.cancelled() => return Ok(()),
    }

    // A mistake in the settings ends this printer's link, not the others'.
    let stop = shutdown.child_token();
    let reporter = Reporter {
        server: dial.server.to_string(),
        directory: directory.path().to_owned(),
        stop: stop.clone(),
        last: Mutex::default(),
    };
    if identity.printer_id().is_none() && settings.token.is_none() {
        let paired = tokio::select! {
            paired = pair(&settings.name, &dial, &identity, &status, &reporter) => paired,
            () = shutdown.cancelled() => return Ok(()),
        };
        if let Err(message) = paired {
            reporter.keep(false, message.to_string());
            return Err(anyhow!("{message}"));
        }
    }
    let services = observer.clone();
    let observing = AbortOnDrop(tokio::spawn(async move { services.run().await }.in_current_span()));
    let options = AgentOptions {
        dial,
        version: VERSION.to_owned(),
        capabilities: CAPABILITIES.map(str::to_owned).into(),
        services: Some(Arc::new(observer) as Arc<dyn AgentServices>),
    };
    let ended = tunnel::agent_loop::run(options, identity, status, gate, |notice| reporter.handle(notice), stop).await;
    drop((watching, observing));
    let outcome = match ended {
        Err(refusal) => Err(messages::refused(&refusal, VERSION)),
        Ok(()) => reporter.last.lock().fatal.take().map_or(Ok(()), Err),
    };
    match outcome {
        Ok(()) => {
            reporter.keep(false, "the agent was stopped".to_owned());
            Ok(())
        }
        Err(message) => {
            reporter.keep(false, message.to_string());
            Err(anyhow!("{message}"))
        }
    }
}

/// Has the printer linked by a code that its owner enters on the service's site.
async fn pair(
    name: &str,
    dial: &DialOptions,
    identity: &IdentityStore,
    status: &watch::Receiver<PrinterStatus>,
    reporter: &Reporter,
) -> Result<(), Message> {
    let printer = status.borrow().clone();
    let request = PairingRequest {
        host: pairing::host_name(),
        software: printer.software,
        software_version: printer.software_version,
        agent_version: VERSION.to_owned(),
        lan_ip: printer.lan_ip,
    };
    let mut last = None;
    let tell = |news: News<'_>| match news {
        News::Offer(offer) => {
            last = None;
            pairing::show(name, offer);
            info!("the printer can be linked at {} with the code {}", offer.url, offer.code);
            reporter.keep(false, format!("waits for the code {} to be entered at {}", offer.code, offer.url));
        }
        // A service that is down for a day must not fill the log.
        News::Retry(message, delay) if last.as_ref() == Some(&message) => debug!(?delay, "{message}"),
        News::Retry(message, delay) => {
            log(&message, Some(delay));
            reporter.keep(false, message.to_string());
            last = Some(message);
        }
    };
    let id = pairing::pair(dial, &identity.key(), &request, tell).await?;
    identity
        .enrolled(&id)
        .map_err(|error| messages::describe(&Notice::IdentityNotKept(error), VERSION, SystemTime::now()))
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells what happens to a link: on standard output, in the log, and for `status`.
struct Reporter {
    server: String,
    directory: PathBuf,
    stop: CancellationToken,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    message: Option<Message>,
    printer_name: Option<String>,
    /// Set when trying again cannot help.
    fatal: Option<Message>,
}

impl Reporter {
    fn handle(&self, notice: Notice) {
        let now = SystemTime::now();
        let message = messages::describe(&notice, VERSION, now);
        if let Notice::Connected { welcome, .. } = &notice {
            // Whoever waits for this line may have gone; the link does not depend on it.
            let _ = writeln!(std::io::stdout(), "connected to {} as \"{}\"", self.server, welcome.printer_name);
            self.last.lock().printer_name = Some(welcome.printer_name.clone());
            if let Some(warning) = messages::clock_warning(welcome, now) {
                log(&warning, None);
            }
        }
        if let Notice::Failed { error: DialError::PlainHttp(_), .. } = &notice {
            self.last.lock().fatal = Some(message);
            self.stop.cancel();
            return;
        }
        let retry_in = messages::retry_in(&notice);
        if self.last.lock().message.replace(message.clone()).as_ref() == Some(&message) {
            // A service that is down for a day must not fill the log.
            debug!(?retry_in, "{message}");
            return;
        }
        log(&message, retry_in);
        self.keep(matches!(notice, Notice::Connected { .. }), message.to_string());
    }

    fn keep(&self, connected: bool, message: String) {
        let printer_name = self.last.lock().printer_name.clone();
        let state = LinkState::new(connected, SystemTime::now(), printer_name, message);
        if let Err(error) = state.write(&self.directory) {
            debug!(%error, "the state for `spoolway-agent status` cannot be kept");
        }
    }
}

fn log(message: &Message, retry_in: Option<Duration>) {
    let retry = match retry_in {
        None => String::new(),
        Some(delay) if delay.is_zero() => "; trying again at once".to_owned(),
        Some(delay) => format!("; trying again in {:.1} s", delay.as_secs_f64()),
    };
    let hint = message.hint.as_ref().map(|hint| format!(" — {hint}")).unwrap_or_default();
    let text = format!("{}{retry}{hint}", message.text);
    match message.level {
        Level::ERROR => error!("{text}"),
        Level::WARN => warn!("{text}"),
        _ => info!("{text}"),
    }
}
