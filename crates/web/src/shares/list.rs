//! All shares of an account, and the forms that make new ones.

use std::time::SystemTime;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use store::{ConnectionKind, ConnectionSummary, LiveEnd, LiveLinkSummary, Role};

use crate::failure::PageFailure;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::signed_in::SignedIn;
use crate::state::SiteState;
use crate::text::{bytes, iso};

#[derive(Template)]
#[template(path = "shares/list.html")]
struct SharesPage {
    layout: Layout,
    printers: Vec<Choice>,
    only: Option<String>,
    live: Vec<LiveRow>,
    shared: Vec<ConnectionRow>,
    apps: Vec<ConnectionRow>,
}

struct Choice {
    id: String,
    name: String,
    is_chosen: bool,
}

struct LiveRow {
    id: String,
    url: String,
    printer: String,
    until: String,
    has_ended: bool,
    last_used: Option<String>,
    down: String,
}

struct ConnectionRow {
    id: String,
    url: String,
    name: String,
    printer: String,
    protection: &'static str,
    created: String,
    expires: Option<String>,
    last_used: Option<String>,
    up: String,
    down: String,
    has_full_control: bool,
}

#[derive(Deserialize)]
pub(crate) struct Only {
    printer: Option<String>,
}

pub(crate) async fn page(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Query(query): Query<Only>,
) -> Result<Response, PageFailure> {
    let now = SystemTime::now();
    let account = signed_in.account();
    let own = state.store.printers_of(account).await?;
    let own: Vec<_> = own.into_iter().filter(|printer| printer.role == Role::Owner).collect();
    let only = own
        .iter()
        .find(|printer| query.printer.as_deref() == Some(printer.summary.id.as_str()))
        .map(|printer| printer.summary.id.clone());
    let connections = state.store.connections_of(account, only.as_ref()).await?;
    let live = state.store.live_links_of(account, only.as_ref()).await?;
    let rows = |kind| {
        let of_kind = connections.iter().filter(move |connection| connection.kind == kind);
        of_kind.map(|connection| connection_row(&state, connection)).collect()
    };
    let layout = Layout::of(&signed_in.browser);
    let page = SharesPage {
        layout: layout.clone(),
        printers: own
            .iter()
            .map(|printer| Choice {
                id: printer.summary.id.to_string(),
                name: printer.summary.name.clone(),
                is_chosen: only.as_ref() == Some(&printer.summary.id),
            })
            .collect(),
        only: only.map(|id| id.to_string()),
        live: live.iter().map(|link| live_row(&state, link, now)).collect(),
        shared: rows(ConnectionKind::Shared),
        apps: rows(ConnectionKind::App),
    };
    Ok(AppPage::new(&layout, page).into_response())
}

fn live_row(state: &SiteState, link: &LiveLinkSummary, now: SystemTime) -> LiveRow {
    let has_ended = link.ended_at.is_some() || matches!(link.end, LiveEnd::At(at) if at <= now);
    LiveRow {
        id: link.id.to_string(),
        url: state.url(&format!("/live/{}", link.id)),
        printer: link.printer_name.clone(),
        until: match &link.end {
            LiveEnd::At(at) => iso(*at),
            LiveEnd::WithPrint { .. } => String::new(),
        },
        has_ended,
        last_used: link.last_used_at.map(iso),
        down: bytes(link.bytes_down),
    }
}

fn connection_row(state: &SiteState, connection: &ConnectionSummary) -> ConnectionRow {
    let prefix = match connection.kind {
        ConnectionKind::App => "app",
        ConnectionKind::Shared => "shared",
    };
    ConnectionRow {
        id: connection.id.to_string(),
        url: format!("{}://{prefix}-{}.{}", state.names.scheme, connection.label, state.names.printers_domain),
        name: connection.app_name.clone().unwrap_or_default(),
        printer: connection.printer_name.clone(),
        protection: if connection.has_credentials { "password" } else { "open to whoever has the link" },
        created: iso(connection.created_at),
        expires: connection.expires_at.map(iso),
        last_used: connection.last_used_at.map(iso),
        up: bytes(connection.bytes_up),
        down: bytes(connection.bytes_down),
        has_full_control: connection.has_full_control,
    }
}
