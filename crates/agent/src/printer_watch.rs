//! Keeps an eye on a printer's software.

use std::sync::Arc;
use std::time::Duration;

use model::link::PrinterStatus;
use printers::PrinterUrl;
use printers::detect::{detect, software};
use printers::observe::Observer;
use tokio::sync::watch;
use tracing::{info, warn};

/// Software is updated and restarted rarely.
const PERIOD: Duration = Duration::from_secs(30);
/// Somebody may be waiting for a printer that was just switched on.
const PERIOD_WHILE_UNREACHABLE: Duration = Duration::from_secs(5);

/// Publishes whether the printer answers, again and again. Ends when nobody listens any more.
pub(crate) async fn watch(
    target: PrinterUrl,
    tls: Arc<rustls::ClientConfig>,
    observer: Observer,
    publish: watch::Sender<PrinterStatus>,
) {
    match target.software() {
        Some(software) => observer.tell_status(software, &publish).await,
        None => ask(target, tls, publish).await,
    }
}

/// Asks the printer's web interface.
async fn ask(target: PrinterUrl, tls: Arc<rustls::ClientConfig>, publish: watch::Sender<PrinterStatus>) {
    loop {
        let answer = detect(&target, &tls).await;
        let status = carry_over(&publish.borrow(), answer);
        let period = if status.reachable { PERIOD } else { PERIOD_WHILE_UNREACHABLE };
        publish.send_if_modified(|published| {
            if *published == status {
                return false;
            }
            tell(&target, &status);
            *published = status;
            true
        });
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = publish.closed() => return,
        }
    }
}

/// A printer that is switched off is still the same printer.
fn carry_over(before: &PrinterStatus, now: PrinterStatus) -> PrinterStatus {
    if now.reachable || before.software.is_empty() {
        return now;
    }
    PrinterStatus { software: before.software.clone(), software_version: before.software_version.clone(), ..now }
}

fn tell(target: &PrinterUrl, status: &PrinterStatus) {
    if !status.reachable {
        let seconds = PERIOD_WHILE_UNREACHABLE.as_secs();
        warn!("the printer cannot be reached: {}; asking again every {seconds} s", status.problem);
    } else if status.problem.is_empty() {
        info!("the printer is reachable: {} at {target}", describe(status));
    } else {
        warn!("the printer is reachable, but {}", status.problem);
    }
}

/// The software's name as its makers write it, with its version.
pub(crate) fn describe(status: &PrinterStatus) -> String {
    let name = software_name(&status.software);
    if status.software_version.is_empty() { name.to_owned() } else { format!("{name} {}", status.software_version) }
}

/// The software's name as its makers write it.
pub(crate) fn software_name(software: &str) -> &'static str {
    match software {
        software::OCTOPRINT => "OctoPrint",
        software::MOONRAKER => "Moonraker",
        software::PRUSALINK => "PrusaLink",
        software::BAMBU => "Bambu Lab",
        software::ELEGOO_CC1 => "Elegoo Centauri Carbon",
        software::ELEGOO_CC2 => "Elegoo Centauri Carbon 2",
        software::VIRTUAL => "virtual printer",
        _ => "unknown software",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_printer_is_outlives_its_being_switched_off() {
        let octoprint = status(true, "octoprint", "1.11.8");
        let off = PrinterStatus { problem: "refused".to_owned(), ..status(false, "unknown", "") };
        let carried = carry_over(&octoprint, off.clone());
        assert_eq!((carried.reachable, carried.problem.as_str()), (false, "refused"));
        assert_eq!(describe(&carried), "OctoPrint 1.11.8");
        assert_eq!(carry_over(&PrinterStatus::default(), off.clone()), off);
        let moonraker = status(true, "moonraker", "");
        assert_eq!(carry_over(&octoprint, moonraker.clone()), moonraker);
    }

    fn status(reachable: bool, software: &str, version: &str) -> PrinterStatus {
        PrinterStatus {
            reachable,
            software: software.to_owned(),
            software_version: version.to_owned(),
            ..PrinterStatus::default()
        }
    }
}
