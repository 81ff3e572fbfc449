//! Printer software on this very machine, which is where most agents run.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::Found;
use crate::PrinterUrl;
use crate::detect::{detect, software};

/// Where OctoPrint, web interfaces and Moonraker listen unless told otherwise.
pub(super) const PORTS: [u16; 3] = [5000, 80, 7125];

pub(super) async fn look(ports: &[u16], until: Instant, tls: &Arc<rustls::ClientConfig>) -> Vec<Found> {
    let looks = ports.iter().map(|port| async move {
        let url: PrinterUrl = format!("http://127.0.0.1:{port}").parse().ok()?;
        let status = timeout_at(until, detect(&url, tls)).await.ok()?;
        let known = [software::OCTOPRINT, software::MOONRAKER, software::PRUSALINK];
        let software = known.into_iter().find(|known| status.reachable && *known == status.software)?;
        let name = "this machine".to_owned();
        Some(Found { software, url, name, model: String::new(), version: status.software_version, serial: None })
    });
    let mut found: Vec<Found> = Vec::new();
    for printer in join_all(looks).await.into_iter().flatten() {
        // Moonraker answers behind its web interface too, and that has pages to show; its own port has none.
        if !found.iter().any(|known| known.software == printer.software) {
            found.push(printer);
        }
    }
    found
}
