//! Following what a plugin's printer does. The plugin never says it by itself, so it is asked.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::PrinterId;
use model::printing::PrinterState;
use tokio::sync::Notify;

use super::link::PluginLink;
use crate::link::Link;
use crate::live::LivePrinters;

/// While something prints: what people who watch take for live.
const BUSY_INTERVAL: Duration = Duration::from_secs(5);
/// Otherwise. A print that begins is told by an event, which has the plugin asked at once.
const IDLE_INTERVAL: Duration = Duration::from_secs(30);
/// After an order or an event, the printer needs a moment before it says something else.
const REACTION: Duration = Duration::from_millis(500);

/// Asks on and on. Ends only with its link.
pub(super) async fn watch(
    link: Arc<PluginLink>,
    live: LivePrinters,
    printer: PrinterId,
    refresh: Arc<Notify>,
) -> Infallible {
    loop {
        match link.ask_status().await {
            Ok(is_new) => {
                if let Some(state) = link.printer_state() {
                    live.handle_temperatures(&printer, &state.temperatures, SystemTime::now());
                }
                if is_new {
                    live.handle_change(&printer);
                }
            }
            Err(error) => tracing::debug!(%printer, %error, "a plugin did not say what its printer does"),
        }
        let interval = if is_busy(link.printer_state().as_ref()) { BUSY_INTERVAL } else { IDLE_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = refresh.notified() => tokio::time::sleep(REACTION).await,
        }
    }
}

fn is_busy(state: Option<&PrinterState>) -> bool {
    state.is_some_and(|state| state.phase.is_active())
}
