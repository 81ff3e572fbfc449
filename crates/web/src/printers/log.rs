//! What happened to a printer's connection lately, and to the requests of those who use it.

use std::fmt::Write as _;

use askama::Template;
use model::events::EventKind;
use relay::live::{ConnectionChange, ConnectionEvent, DisconnectReason, ErrorEvent, ReportedEvent, Surface};
use store::OwnPrinter;

use crate::state::SiteState;
use crate::text::iso;

/// Rows of each kind: a page, not an archive.
const ROWS: usize = 20;

/// The log of one printer, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRows {
    pub(crate) events: Vec<ConnectionRow>,
    pub(crate) connections: Vec<ConnectionRow>,
    pub(crate) errors: Vec<ErrorRow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionRow {
    pub(crate) at: String,
    pub(crate) what: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorRow {
    pub(crate) at: String,
    pub(crate) code: u16,
    pub(crate) name: &'static str,
    pub(crate) surface: String,
}

/// The log, for when it changes.
#[derive(Template)]
#[template(path = "printers/log_partial.html")]
pub(crate) struct LogPartial {
    pub(crate) log: LogRows,
}

impl LogRows {
    pub(crate) fn of(state: &SiteState, printer: &OwnPrinter) -> Self {
        let summary = &printer.summary;
        let mut connections: Vec<ConnectionRow> =
            state.live.connections(&summary.id).iter().take(ROWS).map(connection_row).collect();
        if connections.is_empty() {
            // Since the service started nothing has happened; what was last is in the store.
            let last = [
                (summary.last_disconnected_at, "The agent disconnected"),
                (summary.last_connected_at, "The agent connected"),
            ];
            let mut last: Vec<_> = last.into_iter().filter_map(|(at, what)| Some((at?, what))).collect();
            last.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            connections = last.into_iter().map(|(at, what)| ConnectionRow { at: iso(at), what: what.into() }).collect();
        }
        let errors = state.live.recent_errors(&summary.id).iter().take(ROWS).map(error_row).collect();
        let events = state.live.recent_events(&summary.id).iter().take(ROWS).map(|event| event_row(event)).collect();
        Self { events, connections, errors }
    }
}

fn connection_row(event: &ConnectionEvent) -> ConnectionRow {
    let what = match event.change {
        ConnectionChange::Connected => "The agent connected".to_owned(),
        ConnectionChange::Reconnected => "The agent connected anew, and the old connection was replaced".to_owned(),
        ConnectionChange::Disconnected(reason) => {
            let why = match reason {
                DisconnectReason::Closed => "it or its network ended the connection",
                DisconnectReason::Silent => "nothing came from it any more",
                DisconnectReason::Protocol => "it did not keep to the protocol",
                DisconnectReason::ByService => "the service ended the connection",
            };
            format!("The agent disconnected: {why}")
        }
        ConnectionChange::TooOld => "The plugin was refused, because it is too old for this service".to_owned(),
        ConnectionChange::WrongKey(address) => {
            format!("An agent at {address} said to be this printer and had another key; it was refused")
        }
    };
    ConnectionRow { at: iso(event.at), what: times(what, event.times) }
}

fn event_row(reported: &ReportedEvent) -> ConnectionRow {
    let event = &reported.event;
    let mut what = event.kind.to_string();
    if let Some(progress) = event.progress.filter(|_| event.kind == EventKind::Progress) {
        let _ = write!(what, " {progress} %");
    }
    for text in [&event.file, &event.reason, &event.error].into_iter().flatten() {
        let _ = write!(what, ", {text}");
    }
    ConnectionRow { at: iso(reported.at), what }
}

fn error_row(event: &ErrorEvent) -> ErrorRow {
    let surface = match event.surface {
        Surface::Request => "a request",
        Surface::WebSocketOpening => "opening a WebSocket",
        Surface::Body => "a transfer under way",
        Surface::WebSocket => "an open WebSocket",
    };
    ErrorRow {
        at: iso(event.at),
        code: event.code.code(),
        name: event.code.reason_phrase(),
        surface: times(surface.to_owned(), event.times),
    }
}

fn times(what: String, times: u32) -> String {
    if times > 1 { format!("{what}, {times} times") } else { what }
}
