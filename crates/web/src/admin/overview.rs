//! How the service does: agents, and counts.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use store::ConnectionKind;

use crate::failure::PageFailure;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::signed_in::Administrator;
use crate::state::SiteState;
use crate::text::{bytes, duration, iso};

/// Rows of the table of agents; whoever has more looks at the metrics.
const MAX_AGENTS: usize = 200;

#[derive(Template)]
#[template(path = "admin/overview.html")]
struct Overview {
    layout: Layout,
    version: &'static str,
    n_accounts: usize,
    n_printers: usize,
    n_connections: usize,
    up: String,
    down: String,
    agents: Vec<Agent>,
    n_online: usize,
}

struct Agent {
    printer: String,
    owner: String,
    software: String,
    version: String,
    since: String,
    online_for: String,
    round_trip: String,
}

pub(crate) async fn page(
    State(state): State<SiteState>,
    Administrator(signed_in): Administrator,
) -> Result<Response, PageFailure> {
    let accounts = state.store.accounts().await?;
    let printers = state.store.printers(None).await?;
    let mut connections = state.store.connections(ConnectionKind::App, None).await?.rows;
    connections.extend(state.store.connections(ConnectionKind::Shared, None).await?.rows);
    let mut agents = Vec::new();
    let mut n_online = 0;
    for printer in &printers.rows {
        let Some(live) = state.live.status(&printer.id).await else { continue };
        n_online += 1;
        if agents.len() == MAX_AGENTS {
            continue;
        }
        agents.push(Agent {
            printer: printer.name.clone(),
            owner: printer.owner.to_string(),
            software: format!("{} {}", live.status.software, live.status.software_version).trim().to_owned(),
            version: live.agent_version.clone(),
            since: iso(live.connected_at),
            online_for: duration(live.connected_at.elapsed().unwrap_or_default()),
            round_trip: live.round_trip.map(|time| format!("{} ms", time.as_millis())).unwrap_or_default(),
        });
    }
    let sum = |of: fn(&store::ConnectionSummary) -> u64| connections.iter().map(of).fold(0, u64::saturating_add);
    let layout = Layout::of(&signed_in.browser);
    let page = Overview {
        layout: layout.clone(),
        version: env!("CARGO_PKG_VERSION"),
        n_accounts: accounts.rows.len(),
        n_printers: printers.rows.len(),
        n_connections: connections.len(),
        up: bytes(sum(|connection| connection.bytes_up)),
        down: bytes(sum(|connection| connection.bytes_down)),
        agents,
        n_online,
    };
    Ok(AppPage::new(&layout, page).into_response())
}
