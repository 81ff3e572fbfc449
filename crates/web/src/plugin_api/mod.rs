//! What the existing plugin calls on the service outside of its session: events of its prints, the first linking of its
//! printer, and small questions (service-api.md 7 to 13).
//!
//! Printers' ids are no secret, so an id alone opens nothing: who speaks for a printer shows the key that the service
//! gave it in the handshake, and the rest is told only to the address that the printer's plugin is at.

mod answer;
mod events;
mod fields;
mod identity;
mod inspect;
mod linking;
mod pages;
mod small;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use model::PrinterId;
use moka::sync::Cache;
use relay::budgets::{Budgets, Origin, Rate};
use tokio::sync::Semaphore;

use crate::state::SiteState;

/// Calls with pictures from one address: a household of printers, each of which sends some dozen for a print.
const EVENTS_OF_ADDRESS: Rate = Rate { burst: 120.0, per_second: 2.0 };
/// Events of one printer.
const EVENTS_OF_PRINTER: Rate = Rate { burst: 60.0, per_second: 0.2 };
/// Small calls from one address: printers in a household that start together.
const CALLS_OF_ADDRESS: Rate = Rate { burst: 60.0, per_second: 1.0 };
/// Questions about the linking of one printer, asked from its own address.
const QUESTIONS_OF_PRINTER: Rate = Rate { burst: 30.0, per_second: 0.2 };
/// An event that comes again within this time is the plugin trying again: after six attempts it gives up, a quarter of
/// an hour after the first.
const REPEATED_WITHIN: Duration = Duration::from_secs(30 * 60);
/// Events remembered for that, at some hundred bytes each.
const MAX_REMEMBERED: u64 = 50_000;
/// Pictures in memory at once, as they come, of printers that have proved themselves.
const PICTURES_AT_ONCE: usize = 16;
/// Pictures that are decoded at once. Each takes a core, and up to 128 MiB.
const DECODED_AT_ONCE: usize = 2;

/// What all calls share.
struct Desk {
    events_of_address: Budgets<Origin>,
    events_of_printer: Budgets<PrinterId>,
    calls_of_address: Budgets<Origin>,
    questions_of_printer: Budgets<PrinterId>,
    seen: Cache<events::Fingerprint, ()>,
    pictures: Semaphore,
    decoding: Semaphore,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            events_of_address: Budgets::new(EVENTS_OF_ADDRESS),
            events_of_printer: Budgets::new(EVENTS_OF_PRINTER),
            calls_of_address: Budgets::new(CALLS_OF_ADDRESS),
            questions_of_printer: Budgets::new(QUESTIONS_OF_PRINTER),
            seen: Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REPEATED_WITHIN).build(),
            pictures: Semaphore::new(PICTURES_AT_ONCE),
            decoding: Semaphore::new(DECODED_AT_ONCE),
        }
    }
}

/// The plugin's calls. None of them looks at cookies.
///
/// The relay lets these, and the pages, through under other names of the service too: it has a list of their paths.
pub(crate) fn routes() -> Router<SiteState> {
    Router::new()
        .route("/api/printernotifications/printerevent", post(events::take_in))
        .route("/api/gadget/inspect", post(inspect::answer))
        .route("/api/plugin/ping", get(small::ping))
        .route("/api/nginx-direct/ping/", get(small::direct_ping))
        .route("/api/printer/info", post(linking::printer_info))
        .route("/api/shortcode/create", post(linking::short_code))
        .route("/api/stats/v2/telemetryaccumulator", post(small::telemetry))
        .route("/api/plugin/sentryconfig", post(small::crash_reports))
        .route("/api/plugin/checkin", post(small::check_in).options(small::check_in_preflight))
        .route("/api/util/date", get(small::date))
        .layer(DefaultBodyLimit::disable())
        .layer(axum::Extension(Arc::<Desk>::default()))
}

/// The addresses that the plugin shows to people.
pub(crate) fn pages() -> Router<SiteState> {
    Router::new()
        .route("/code", get(pages::code))
        .route("/getstarted", get(pages::get_started))
        .route("/pluginupdate", get(pages::update))
        .route("/support", get(pages::support))
        .route("/s/{topic}", get(pages::topic))
        .route("/plugin/connectioncheck", get(pages::connection_check))
}
