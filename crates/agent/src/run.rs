//! `spoolway-agent run`: all printers at once.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span};
use tunnel::dial::DialOptions;

use crate::logging;
use crate::printer_link::{self, VERSION};
use crate::recent_log;
use crate::settings::Settings;

/// Links that do not end in order within this time are cut.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Keeps all printers linked until `shutdown` is cancelled.
///
/// Each has a task of its own; one that fails never stops the others.
///
/// # Errors
/// If one of the printers could not be linked and trying again cannot help.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> anyhow::Result<()> {
    let tls = settings.tls()?;
    info!("spoolway-agent {VERSION} links {} to {}", count(settings.printers.len()), settings.server);
    let several = settings.printers.len() > 1;
    let mut links = JoinSet::new();
    for printer in settings.printers {
        let dial = DialOptions { server: settings.server.clone(), tls: tls.clone(), insecure: settings.insecure };
        let name = printer.name.clone();
        let span = if several { info_span!(recent_log::SPAN, name) } else { tracing::Span::none() };
        let log = logging::recent().of(several.then_some(name.as_str()));
        let link = printer_link::run(printer, dial, log, shutdown.clone());
        links.spawn(async move { (name, link.await) }.instrument(span));
    }
    let mut n_failed = 0;
    let mut last_failure = None;
    while let Some(ended) = next(&mut links, &shutdown).await {
        let failure = match ended {
            Ok((_, Ok(()))) => continue,
            Ok((name, Err(failure))) => failure.context(format!("printer \"{name}\" is not linked")),
            Err(panic) => anyhow::Error::from(panic).context("a printer's task broke; this is a fault of the agent"),
        };
        n_failed += 1;
        if several {
            error!("{failure:#}");
        }
        last_failure = Some(failure);
    }
    match last_failure {
        None => Ok(()),
        Some(failure) if !several => Err(failure),
        Some(_) => bail!("{} could not be linked; see above", count(n_failed)),
    }
}

/// The next task that ends; after `shutdown`, only within the limit.
async fn next<T: 'static>(
    links: &mut JoinSet<T>,
    shutdown: &CancellationToken,
) -> Option<Result<T, tokio::task::JoinError>> {
    tokio::select! {
        ended = links.join_next() => ended,
        () = async {
            shutdown.cancelled().await;
            tokio::time::sleep(SHUTDOWN_LIMIT).await;
        } => {
            links.abort_all();
            None
        }
    }
}

fn count(n_printers: usize) -> String {
    if n_printers == 1 { "1 printer".to_owned() } else { format!("{n_printers} printers") }
}

/// Runs until somebody asks the process to end; a second request ends it at once.
pub(crate) async fn run_until_signal(settings: Settings) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let mut running = std::pin::pin!(run(settings, shutdown.clone()));
    let mut signals = Signals::new().context("listen for signals")?;
    tokio::select! {
        outcome = &mut running => return outcome,
        () = signals.next() => {}
    }
    info!("stopping");
    shutdown.cancel();
    tokio::select! {
        // Asked to end, it has ended: what failed before has been told.
        _ = &mut running => Ok(()),
        () = signals.next() => Ok(()),
    }
}

/// What the system asks a process to end with.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(not(unix))]
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
